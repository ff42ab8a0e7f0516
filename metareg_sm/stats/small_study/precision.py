"""PET and PEESE: the effect that is expected as standard errors go to 0."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from metareg_sm._typing import Array, EggerModel
from metareg_sm.exceptions import OptionError
from metareg_sm.printing import Printed
from metareg_sm.stats.reference import interval, two_sided_pvalue
from metareg_sm.stats.small_study.analysis import (
    Analysis,
    multiplicative_fit,
)
from metareg_sm.stats.small_study.regression import precision_predictor, regress_on


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PrecisionEffect(Printed):
    """Expected effect as standard errors go to 0, by PET or by PEESE.

    Attributes
    ----------
    estimate, se : ndarray, (...)
        The effect of infinitely precise studies, and its standard error.
    statistic, pvalue : ndarray, (...)
        Of the test that it is 0; two-sided.
    df : float or None
        Degrees of freedom of t; None for z.
    ci : ndarray, (..., 2)
        Confidence interval.
    fit : RegressionFit or results
        The regression, as for `EggerTest`.
    """

    estimate: Array
    se: Array
    statistic: Array
    pvalue: Array
    df: float | None
    ci: Array
    fit: Any = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PetPeese(Printed):
    """PET, PEESE, and the one that the conditional rule chooses.

    Attributes
    ----------
    pet : PrecisionEffect
        Precision-effect test: regression on the standard errors.
    peese : PrecisionEffect
        Precision-effect estimate with standard errors: regression on the sampling variances.
    uses_peese : ndarray of bool, (...)
        PET's one-sided test of an effect rejects at `alpha`: PEESE is taken.
    pet_pvalue : ndarray, (...)
        That one-sided p-value.
    direction : ndarray, (...)
        1 where the alternative is a positive effect, -1 for a negative one.
    alpha : float
        Level of that test.
    """

    pet: PrecisionEffect
    peese: PrecisionEffect
    uses_peese: npt.NDArray[np.bool_]
    pet_pvalue: Array
    direction: Array
    alpha: float

    def _choose(self, name: str) -> Array:
        first, second = getattr(self.peese, name), getattr(self.pet, name)
        condition = self.uses_peese[..., None] if name == "ci" else self.uses_peese
        found: Array = np.where(condition, first, second)[()]
        return found

    @property
    def chosen(self) -> npt.NDArray[np.str_]:
        """Which of "peese" and "pet", (...)."""
        found: npt.NDArray[np.str_] = np.where(self.uses_peese, "peese", "pet")[()]
        return found

    @property
    def estimate(self) -> Array:
        """Estimate of the chosen one, (...)."""
        return self._choose("estimate")

    @property
    def se(self) -> Array:
        """Its standard error, (...)."""
        return self._choose("se")

    @property
    def pvalue(self) -> Array:
        """Its two-sided p-value, (...)."""
        return self._choose("pvalue")

    @property
    def ci(self) -> Array:
        """Its confidence interval, (..., 2)."""
        return self._choose("ci")


def pet_peese(
    y: Array,
    v: Array,
    X: Array,
    analysis: Analysis,
    model: EggerModel = "mixed",
    alpha: float = 0.05,
    ci_alpha: float = 0.05,
    at: Array | None = None,
    alternative: str | None = None,
) -> PetPeese:
    """PET, PEESE and PET-PEESE as meta-regressions on standard errors and sampling variances.

    The convention of the conditional rule: PET's estimate is tested one-sided at `alpha` in the
    direction of the estimate without a predictor (or of `alternative`); if it is significant, the
    estimate is PEESE's, else PET's.

    Parameters
    ----------
    y, v, X, analysis, model
        As in `egger_test`.
    alpha : float, default 0.05
        Level of PET's one-sided test.
    ci_alpha : float, default 0.05
        1 minus the coverage of the intervals.
    at : ndarray, (p,), optional
        The row of moderators at which the effect is estimated; by default (1, 0, ..., 0), so that
        the effect is the first coefficient, the constant.
    alternative : {"greater", "less"}, optional
        Direction of PET's test.

    Returns
    -------
    PetPeese

    References
    ----------
    Stanley, T. D., & Doucouliagos, H. (2014). Meta-regression approximations to reduce publication
    selection bias. Research Synthesis Methods, 5(1), 60-78.

    Examples
    --------
    >>> from metareg_sm.core.tau2 import ESTIMATORS
    >>> y = np.array([0.1, 0.2, 0.4, 0.9])
    >>> v = np.array([0.01, 0.02, 0.05, 0.2])
    >>> analysis = Analysis(ESTIMATORS["reml"], np.ones_like, use_t=False)
    >>> found = pet_peese(y, v, np.ones((4, 1)), analysis)
    >>> print(found.chosen, found.estimate.round(3))
    pet -0.132
    """
    if alternative not in (None, "greater", "less"):
        raise OptionError(
            f"alternative={alternative!r} is not known. Choose one of 'greater', 'less', None."
        )
    p = X.shape[-1]
    row = np.eye(p)[0] if at is None else np.asarray(at, dtype=float)
    effects = []
    for predictor in ("sei", "vi"):
        x = precision_predictor(v, predictor)
        fit = regress_on(y, v, X, x, predictor, analysis, model)
        estimate = fit.params[..., :p] @ row
        se = np.sqrt((fit.cov[..., :p, :p] @ row) @ row)
        effects.append(precision_effect(estimate, se, fit.df, ci_alpha, fit))
    pet, peese = effects
    if alternative is None:
        plain = analysis.fit(y, v, X) if model == "mixed" else multiplicative_fit(y, v, X)
        direction = np.where(plain.params @ row < 0.0, -1.0, 1.0)
    else:
        direction = np.full(pet.estimate.shape, 1.0 if alternative == "greater" else -1.0)
    return conditional(pet, peese, direction, alpha)


def precision_effect(
    estimate: Array, se: Array, df: float | None, ci_alpha: float, fit: Any
) -> PrecisionEffect:
    """An estimate of `fit` with its test and its interval; arguments as in the record."""
    statistic = estimate / se
    pvalue = two_sided_pvalue(statistic, df)
    ci = interval(estimate, se, ci_alpha, df)
    return PrecisionEffect(estimate, se, statistic, pvalue, df, ci, fit)


def conditional(
    pet: PrecisionEffect, peese: PrecisionEffect, direction: Array, alpha: float
) -> PetPeese:
    """PEESE where PET's one-sided test in a direction rejects at alpha, else PET."""
    z = -direction * pet.statistic
    one_sided = special.ndtr(z) if pet.df is None else special.stdtr(pet.df, z)
    return PetPeese(pet, peese, one_sided < alpha, one_sided, direction[()], alpha)
