"""Options of a fit, looked up and checked before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from metareg_sm._typing import Array, Codes
from metareg_sm.core.tau2 import Estimator
from metareg_sm.models import checks
from metareg_sm.options import choose, flag_or_none
from metareg_sm.stats.covariance import COVARIANCES, CovarianceType

if TYPE_CHECKING:
    from metareg_sm.models.metareg import MetaReg


@dataclass(frozen=True, slots=True)
class FitOptions:
    """What `MetaReg.fit` is asked for.

    Attributes
    ----------
    covariance_type : CovarianceType
        Of the coefficients.
    groups, correction : ndarray of int and str, or None
        Clusters of the studies, and the small-sample correction of their covariance.
    use_t : bool
        t and F instead of normal and chi-squared.
    estimator : Estimator or None
        Of tau2; None where it is held at `fixed`.
    fixed : float
        The fixed value.
    genq_weights : ndarray or None
        The caller's weights of the estimator.
    """

    covariance_type: CovarianceType
    groups: Codes | None
    correction: str | None
    use_t: bool
    estimator: Estimator | None
    fixed: float
    genq_weights: Array | None


def fit_options(
    model: MetaReg,
    tau2: str | float,
    cov_type: str,
    cov_kwds: Mapping[str, Any] | None = None,
    use_t: bool | None = None,
    weights: npt.ArrayLike | None = None,
) -> FitOptions:
    """Options of `MetaReg.fit`; parameters as there.

    Raises
    ------
    OptionError, DesignError
        If one is unknown, or does not go with the others or with the studies.
    """
    covariance_type = choose(COVARIANCES, cov_type, "cov_type")
    groups = correction = None
    if cov_kwds is not None or covariance_type.name == "cluster":
        groups, correction = checks.cluster_options(covariance_type, cov_kwds, model.rows)
    use_t = flag_or_none(use_t, "use_t")
    use_t = covariance_type.use_t if use_t is None else use_t
    estimator, fixed = checks.chosen_tau2(tau2)
    checks.check_degrees_of_freedom(
        model.exog.shape, model.df_resid, covariance_type, estimator, use_t
    )
    checks.refuse_constant_outcome(model.endog, model.basis, covariance_type)
    given = checks.genq_weights(weights, estimator, model.nobs)
    return FitOptions(covariance_type, groups, correction, use_t, estimator, fixed, given)
