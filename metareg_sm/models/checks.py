"""What a fit must know of its options and its studies before it begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from metareg_sm._typing import Array, Codes
from metareg_sm.core.basis import Basis, spans_constant
from metareg_sm.core.studies import constant_outcomes
from metareg_sm.core.tau2 import ESTIMATORS, Estimator
from metareg_sm.design.groups import group_codes
from metareg_sm.design.rows import StudyRows
from metareg_sm.design.values import row_label
from metareg_sm.design.variances import Variances
from metareg_sm.exceptions import DesignError, OptionError, VarianceError
from metareg_sm.options import check_keywords, choose, suggestion
from metareg_sm.stats.covariance import CORRECTIONS, CovarianceType


def cluster_keywords(
    cov_type: CovarianceType, cov_kwds: Mapping[str, Any] | None, correction: str
) -> tuple[Any, str | None]:
    """The user's clusters, if any, and the correction, which is None where there are no clusters.

    Raises
    ------
    OptionError
        If `cov_kwds` does not go with the covariance type.
    """
    if cov_kwds is not None and not isinstance(cov_kwds, Mapping):
        raise OptionError(
            f"cov_kwds must be a mapping such as {{'groups': 'lab'}}; got {cov_kwds!r}."
        )
    given = {} if cov_kwds is None else dict(cov_kwds)
    if cov_type.name != "cluster":
        check_keywords(given, (), f"cov_kwds of cov_type={cov_type.name!r}")
        return None, None
    check_keywords(given, ("groups", "correction"), "cov_kwds of cov_type='cluster'")
    table = {c.lower(): c for c in CORRECTIONS}
    chosen = choose(table, given.get("correction", correction), "cov_kwds['correction']")
    return given.get("groups"), chosen


def cluster_options(
    cov_type: CovarianceType, cov_kwds: Mapping[str, Any] | None, rows: StudyRows
) -> tuple[Codes | None, str | None]:
    """Clusters of the studies and the correction, or None twice where there are no clusters.

    Raises
    ------
    OptionError, DesignError
        If `cov_kwds` does not go with the covariance type, or the groups do not match the studies.
    """
    groups, correction = cluster_keywords(cov_type, cov_kwds, "CR1")
    if correction is None:
        return None, None
    if groups is None:
        raise OptionError("cov_type='cluster' needs cov_kwds={'groups': ...}.")
    return group_codes(groups, rows)[0], correction


def genq_weights(
    weights: npt.ArrayLike | None, estimator: Estimator | None, k: int
) -> Array | None:
    """The caller's weights of the generalised Q statistic.

    Raises
    ------
    OptionError
        If the estimator takes none, tau2 is held fixed, or they are not positive.
    """
    if weights is None:
        return None
    if estimator is None:
        raise OptionError("weights= goes with tau2='genq'; tau2 is held fixed.")
    if not estimator.weighted:
        raise OptionError(f"weights= goes with tau2='genq'; got tau2={estimator.name!r}.")
    values = np.asarray(weights, dtype=float)
    if values.shape != (k,) or not (np.isfinite(values) & (values > 0)).all():
        raise OptionError(
            f"weights must be {k} finite values > 0, one for each study in the model."
        )
    return values


def chosen_tau2(tau2: Any) -> tuple[Estimator | None, float]:
    """The estimator that is meant, or None and the value at which tau2 is held.

    Raises
    ------
    OptionError
        If there is no such estimator, or the value is negative or not finite.
    """
    if not isinstance(tau2, Real) or isinstance(tau2, (bool, np.bool_)):
        return choose(ESTIMATORS, tau2, "tau2"), 0.0
    fixed = float(tau2)
    if not np.isfinite(fixed) or fixed < 0.0:
        raise OptionError(f"A fixed tau2 must be finite and >= 0; got tau2={fixed:g}.")
    return None, fixed


def check_degrees_of_freedom(
    shape: tuple[int, ...],
    df_resid: float,
    cov_type: CovarianceType,
    estimator: Estimator | None,
    use_t: bool,
) -> None:
    """Refuse what needs more studies than coefficients where there are no more.

    Raises
    ------
    DesignError
    """
    if df_resid > 0:
        return
    needed = None
    if estimator is not None:
        needed = f"tau2={estimator.name!r}"
    elif cov_type.name != "nonrobust" or use_t:
        needed = f"cov_type={cov_type.name!r}" + (" with use_t=True" if use_t else "")
    if needed:
        raise DesignError(
            f"{needed} needs more studies than coefficients; there are {shape[0]} studies for "
            f"{shape[1]} coefficients. Use fewer moderators, or a fixed tau2 with "
            "cov_type='nonrobust'."
        )


def refuse_zero_variance(
    vi: Array,
    labels: pd.Index | None,
    why: str,
    advice: str = "It is where tau2 > 0: try another estimator, or leave the study out.",
) -> None:
    """Refuse a sampling variance of 0 where the model is then undefined.

    Raises
    ------
    VarianceError
        Which names the row and says why.
    """
    zero = np.flatnonzero(vi == 0.0)
    if zero.size:
        raise VarianceError(
            f"vi of {row_label(labels, int(zero[0]))} is 0, and {why}: the model is not defined. "
            f"{advice}"
        )


def refuse_constant_outcome(endog: Array, basis: Basis, cov_type: CovarianceType) -> None:
    """Refuse an outcome that does not vary where the covariance is made of residuals.

    A constant among the moderators leaves none but rounding errors, and so would be the tests.

    Raises
    ------
    DesignError
    """
    if not cov_type.of_residuals or not constant_outcomes(endog):
        return
    if endog[0] == 0.0 or spans_constant(basis):
        raise DesignError(
            f"endog: the outcome does not vary, all {len(endog)} studies report {endog[0]:g}. "
            f"Standard errors of cov_type={cov_type.name!r} are made of residuals, and there are "
            "none. Use cov_type='nonrobust'."
        )


def check_dropped(drop_cols: Any, columns: Sequence[str]) -> None:
    """Refuse columns to drop from a design that has none of that name.

    Raises
    ------
    OptionError
    """
    if isinstance(drop_cols, (str, bytes)) or not np.iterable(drop_cols):
        raise OptionError(f"drop_cols must be a list of columns of the design; got {drop_cols!r}.")
    for name in drop_cols:
        if name not in columns:
            raise OptionError(
                f"drop_cols: the design has no column {name!r}.{suggestion(name, columns)} It has "
                f"{', '.join(columns)}."
            )


def positional_vi(args: Sequence[Any], vi: Variances | None) -> Variances | None:
    """Sampling variances that stand behind the formula's own arguments, or under their name.

    Raises
    ------
    OptionError
        If they are given twice, or more than one argument stands there.
    """
    if not args:
        return vi
    if vi is not None or len(args) > 1:
        raise OptionError("Give the sampling variances once, as vi=.")
    found: Variances = args[0]
    return found
