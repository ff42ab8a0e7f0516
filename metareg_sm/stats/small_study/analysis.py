"""How the meta-regressions are fitted that the tests of small-study effects rest on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from metareg_sm._typing import Array
from metareg_sm.core.basis import design_basis
from metareg_sm.core.studies import Studies
from metareg_sm.core.tau2 import Estimator
from metareg_sm.core.wls import wls
from metareg_sm.exceptions import DesignError
from metareg_sm.stats.reference import interval, two_sided_pvalue

# smallest diagonal element of R, relative to its column, of a design of full rank
_RANK_TOLERANCE = 1e-12


def studies_of(y: Array, v: Array, X: Array) -> Studies:
    """Data sets (..., k) whose designs are shared, (k, p), or their own, (..., k, p).

    Raises
    ------
    DesignError
        If the moderators of a data set are redundant or no fewer than its studies.
    """
    k, p = X.shape[-2:]
    if k <= p:
        raise DesignError(
            f"{k} studies are too few for {p} coefficients: there must be more studies."
        )
    if X.ndim == 2:
        basis = design_basis(X)
        if basis.redundant:
            raise DesignError(
                f"Column {basis.redundant[0]} of the design depends linearly on the columns before "
                "it: leave it out."
            )
        return Studies.build(y, v, basis)
    Z, R = np.linalg.qr(X)
    sizes = np.sqrt((X * X).sum(-2))
    redundant = np.abs(np.diagonal(R, axis1=-2, axis2=-1)) <= _RANK_TOLERANCE * sizes
    if redundant.any():
        where = np.argwhere(redundant)[0]
        raise DesignError(
            f"Column {where[-1]} of the design of data set {tuple(map(int, where[:-1]))} depends "
            "linearly on the columns before it: leave it out."
        )
    y = np.broadcast_to(y, np.broadcast_shapes(y.shape, X.shape[:-1]))
    resid = y
    for _ in range(2):
        resid = resid - (Z @ (np.swapaxes(Z, -1, -2) @ resid[..., None]))[..., 0]
    return Studies(resid, v, Z, None, y)


class Regression(Protocol):
    """What the tests need of a regression, however it was fitted."""

    @property
    def params(self) -> Array:
        """Coefficients, (..., p)."""

    @property
    def bse(self) -> Array:
        """Their standard errors."""

    @property
    def tvalues(self) -> Array:
        """Their ratio."""

    @property
    def pvalues(self) -> Array:
        """Two-sided p-values."""

    def conf_int(self, alpha: float = 0.05) -> Array:
        """Confidence intervals, (..., p, 2)."""


@dataclass(frozen=True, slots=True, eq=False)
class RegressionFit:
    """A fitted meta-regression, or one for each of many data sets.

    Attributes
    ----------
    params : ndarray, (..., p)
        Coefficients.
    cov : ndarray, (..., p, p)
        Their covariance.
    tau2 : ndarray, (...)
        Heterogeneity, in squared units of the outcome; 0 under multiplicative dispersion.
    scale : ndarray, (...)
        Factor on (X'WX)^-1.
    df : int or None
        Degrees of freedom of t tests; None for normal tests.
    """

    params: Array
    cov: Array
    tau2: Array
    scale: Array
    df: int | None

    @property
    def bse(self) -> Array:
        """Standard errors of the coefficients, (..., p)."""
        return np.sqrt(np.diagonal(self.cov, axis1=-2, axis2=-1))

    @property
    def tvalues(self) -> Array:
        """Coefficients over their standard errors, (..., p)."""
        return self.params / self.bse

    @property
    def pvalues(self) -> Array:
        """Two-sided p-values of the coefficients, (..., p)."""
        return two_sided_pvalue(self.tvalues, self.df)

    def conf_int(self, alpha: float = 0.05) -> Array:
        """Confidence intervals of the coefficients, (..., p, 2)."""
        return interval(self.params, self.bse, alpha, self.df)


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """The analysis whose estimator and test distribution every refit shares.

    Attributes
    ----------
    estimator : Estimator or None
        Of tau2 (an entry of `metareg_sm.core.tau2.ESTIMATORS`); None where it is held at `fixed`.
    factor : callable
        Factor on (X'WX)^-1 from the residual mean square (`CovarianceType.factor`).
    use_t : bool
        t tests with k - p degrees of freedom, else normal ones.
    fixed : float, default 0
        The fixed value of tau2; 0 is the common-effect model.

    Examples
    --------
    >>> from metareg_sm.core.tau2 import ESTIMATORS
    >>> analysis = Analysis(ESTIMATORS["reml"], np.ones_like, use_t=False)
    >>> y, v = np.array([0.1, 0.3, 0.5]), np.array([0.2, 0.1, 0.1])
    >>> analysis.fit(y, v, np.ones((3, 1))).params.round(3)
    array([0.34])
    """

    estimator: Estimator | None
    factor: Callable[[Array], Array]
    use_t: bool
    fixed: float = 0.0

    def tau2(self, y: Array, v: Array, X: Array) -> Array:
        """Heterogeneity of each data set, (...)."""
        studies = studies_of(y, v, X)
        if self.estimator is None:
            return np.full(studies.shape, self.fixed)
        return np.asarray(self.estimator.solve(studies, None).tau2)

    def fit(self, y: Array, v: Array, X: Array) -> RegressionFit:
        """Fit every data set.

        Parameters
        ----------
        y, v : ndarray, (..., k)
            Outcomes and sampling variances.
        X : ndarray, (k, p) or (..., k, p)
            Design of full column rank.

        Returns
        -------
        RegressionFit

        Raises
        ------
        DesignError
            If the design is redundant or has no fewer columns than there are studies.
        """
        tau2 = self.tau2(y, v, X)
        return _weighted(y, 1.0 / (v + tau2[..., None]), X, tau2, self.factor, self.use_t)


def multiplicative_fit(y: Array, v: Array, X: Array) -> RegressionFit:
    """Weights 1/v and a dispersion that multiplies the sampling variances; t tests."""
    studies_of(y, v, X)
    zero = np.zeros(np.broadcast_shapes(y.shape, v.shape)[:-1])
    return _weighted(y, 1.0 / v, X, zero, lambda mean_square: mean_square, True)


def _weighted(
    y: Array,
    weights: Array,
    X: Array,
    tau2: Array,
    factor: Callable[[Array], Array],
    use_t: bool,
) -> RegressionFit:
    y, weights = np.broadcast_arrays(y, weights)
    solved = wls(y, weights, X)
    k, p = X.shape[-2:]
    scale = np.asarray(factor(np.asarray(solved.rss / (k - p))))
    cov = scale[..., None, None] * solved.cov_unscaled
    return RegressionFit(solved.params, cov, tau2, scale, k - p if use_t else None)
