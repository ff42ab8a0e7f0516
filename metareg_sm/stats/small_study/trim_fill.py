"""Trim and fill (Duval & Tweedie, 2000), about a regression where there are moderators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from scipy import stats

from metareg_sm._typing import Array
from metareg_sm.exceptions import DesignError, OptionError
from metareg_sm.stats.small_study.analysis import Analysis, RegressionFit
from metareg_sm.stats.small_study.rank import tied_ranks
from metareg_sm.stats.small_study.regression import egger_test

_MAX_ITERATIONS = 100


@dataclass(frozen=True, slots=True, eq=False)
class TrimAndFill:
    """Studies that seem to be missing, and the fit with their mirror images.

    Attributes
    ----------
    k0 : int
        Estimated number of missing studies.
    k0_se : float
        Its standard error, from k0 before it is rounded; NaN where the formula of the paper has a
        negative variance, so far from any missing study is the funnel.
    k0_pvalue : float or None
        Test that none is missing; "R0" alone has one.
    side : str
        "left" or "right": where studies are missing.
    estimator : str
    y, v : ndarray, (k + k0,)
        Outcomes and sampling variances, those filled in at the end.
    X : ndarray, (k + k0, p)
        Their design.
    filled : ndarray of bool, (k + k0,)
        Which of them were filled in.
    mirrored : ndarray of int, (k0,)
        The studies whose mirror images they are.
    fit : RegressionFit
        The model fitted to all of them.
    iterations : int
    converged : bool
        False where trimming went round in circles; the record then holds its last state.
    """

    k0: int
    k0_se: float
    k0_pvalue: float | None
    side: str
    estimator: str
    y: Array
    v: Array
    X: Array
    filled: npt.NDArray[np.bool_]
    mirrored: npt.NDArray[np.intp]
    fit: RegressionFit
    iterations: int
    converged: bool


def _rank_sum_variance(k: int, k0: float) -> float:
    """Variance of the Wilcoxon statistic; NaN where k0 is so negative that there is none."""
    total = k * (k + 1) * (2 * k + 1) + 10 * k0**3 + 27 * k0**2 + 17 * k0
    variance = (total - 18 * k * k0**2 - 18 * k * k0 + 6 * k**2 * k0) / 24.0
    return variance if variance >= 0.0 else np.nan


def _l0(k: int, rank_sum: float, run: float) -> tuple[float, float]:
    k0 = (4.0 * rank_sum - k * (k + 1)) / (2.0 * k - 1.0)
    return k0, 4.0 * np.sqrt(_rank_sum_variance(k, k0)) / (2.0 * k - 1.0)


def _r0(k: int, rank_sum: float, run: float) -> tuple[float, float]:
    k0 = run - 1.0
    return k0, float(np.sqrt(2.0 * max(0.0, k0) + 2.0))


def _q0(k: int, rank_sum: float, run: float) -> tuple[float, float]:
    # beyond the largest rank sum that the estimator is made for there is no real solution
    k0 = k - 0.5 - np.sqrt(max(0.0, 2.0 * k**2 - 4.0 * rank_sum + 0.25))
    below = (k - 0.5) ** 2 - k0 * (2.0 * k - k0 - 1.0)
    se = 2.0 * np.sqrt(_rank_sum_variance(k, k0) / below) if below > 0.0 else np.nan
    return float(k0), float(se)


ESTIMATORS: Mapping[str, Callable[[int, float, float], tuple[float, float]]] = MappingProxyType(
    {"L0": _l0, "R0": _r0, "Q0": _q0}
)
"""Estimators of the number of missing studies and its standard error.

Each takes the number of studies, the sum of the ranks of positive residuals by absolute size, and
the number of the largest ranks that all belong to positive ones.
"""


def missing_studies(resid: Array, estimator: str = "L0") -> tuple[float, float]:
    """Estimated number of studies missing on the left, and its standard error.

    Parameters
    ----------
    resid : ndarray, (k,)
        Residuals; an excess of large positive ones speaks for missing studies.
    estimator : {"L0", "R0", "Q0"}

    Returns
    -------
    k0, k0_se : float
        The number is neither rounded nor truncated at 0.
    """
    k = len(resid)
    ranks = stats.rankdata(tied_ranks(np.abs(resid)))
    negative = resid < 0.0
    run = k - float(ranks[negative].max(initial=0.0))
    return ESTIMATORS[estimator](k, float(ranks[resid > 0.0].sum()), run)


def trim_and_fill(
    y: Array,
    v: Array,
    X: Array,
    analysis: Analysis,
    side: str | None = None,
    estimator: str = "L0",
) -> TrimAndFill:
    """Estimate how many studies are missing on one side, and fit with their mirror images.

    With moderators the funnel is that of the residuals: in each round the model is fitted without
    the k0 studies of the largest residuals, the residuals of all studies from that fit are ranked,
    and k0 is estimated anew. A study filled in has the moderators and the variance of the one that
    it mirrors, and an outcome on the other side of the last fit. Of studies with equal residuals
    the more precise is trimmed first.

    Parameters
    ----------
    y, v : ndarray, (k,)
        Outcomes and sampling variances.
    X : ndarray, (k, p)
        Design of full column rank.
    analysis : Analysis
        How the model is fitted, in each round and at the end.
    side : {"left", "right"}, optional
        Where studies are missing. By default the right where Egger's regression (mixed model, on
        the standard errors) has a negative slope, else the left.
    estimator : {"L0", "R0", "Q0"}

    Returns
    -------
    TrimAndFill

    Raises
    ------
    OptionError
        If a name is not known.
    DesignError
        If so many studies are trimmed that the model cannot be fitted to the others.

    References
    ----------
    Duval, S., & Tweedie, R. (2000). A nonparametric "trim and fill" method of accounting for
    publication bias in meta-analysis. Journal of the American Statistical Association, 95(449),
    89-98.
    Duval, S., & Tweedie, R. (2000). Trim and fill: A simple funnel-plot-based method of testing and
    adjusting for publication bias in meta-analysis. Biometrics, 56(2), 455-463.

    Examples
    --------
    >>> from metareg_sm.core.tau2 import ESTIMATORS
    >>> y = np.array([0.0, 0.1, 0.12, 0.2, 0.5, 0.9])
    >>> v = np.array([0.01, 0.01, 0.02, 0.02, 0.1, 0.3])
    >>> analysis = Analysis(ESTIMATORS["reml"], np.ones_like, use_t=False)
    >>> found = trim_and_fill(y, v, np.ones((6, 1)), analysis)
    >>> found.k0, found.side
    (3, 'left')
    """
    if not isinstance(estimator, str) or estimator not in ESTIMATORS:
        names = ", ".join(repr(e) for e in ESTIMATORS)
        raise OptionError(f"estimator={estimator!r} is not known. Choose one of {names}.")
    if side not in (None, "left", "right"):
        raise OptionError(f"side={side!r} is not known. Choose one of 'left', 'right', None.")
    if side is None:
        side = "right" if egger_test(y, v, X, analysis).slope < 0.0 else "left"
    sign = -1.0 if side == "right" else 1.0
    turned, k, p = sign * y, len(y), X.shape[-1]
    trimmed: npt.NDArray[np.intp] = np.arange(0)
    iterations, converged, raw, se = 0, False, 0.0, 0.0
    resid = np.zeros(k)
    while iterations < _MAX_ITERATIONS and not converged:
        iterations += 1
        kept = np.setdiff1d(np.arange(k), trimmed)
        if len(kept) <= p:
            raise DesignError(
                f"Trim and fill with {estimator} trims {len(trimmed)} of {k} studies: too few are "
                f"left for {p} coefficients."
            )
        params = analysis.fit(turned[kept], v[kept], X[kept]).params
        resid = turned - X @ params
        raw, se = missing_studies(resid, estimator)
        k0 = max(0, round(raw))
        # of equal residuals that of the more precise study, whatever the order of the studies
        again = np.sort(np.lexsort((-v, tied_ranks(resid)))[k - k0 :])
        converged = len(again) == len(trimmed) and bool(np.all(again == trimmed))
        if not converged:
            trimmed = again
    mirror = turned[trimmed] - 2.0 * resid[trimmed]
    y_filled = np.concatenate([y, sign * mirror])
    v_filled, X_filled = np.concatenate([v, v[trimmed]]), np.concatenate([X, X[trimmed]])
    n = len(trimmed)
    return TrimAndFill(
        k0=n,
        k0_se=float(se),
        k0_pvalue=0.5 ** (n + 1) if estimator == "R0" else None,
        side=side,
        estimator=estimator,
        y=y_filled,
        v=v_filled,
        X=X_filled,
        filled=np.arange(k + n) >= k,
        mirrored=trimmed,
        fit=analysis.fit(y_filled, v_filled, X_filled),
        iterations=iterations,
        converged=converged,
    )
