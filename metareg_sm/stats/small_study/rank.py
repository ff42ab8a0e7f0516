"""The rank correlation test of funnel plot asymmetry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from metareg_sm._typing import Array, Codes
from metareg_sm.core.wls import wls
from metareg_sm.exceptions import DesignError
from metareg_sm.printing import Printed

# deviates that differ by less, relative to the largest, are tied
_TIED = 1e-11


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RankCorrelationTest(Printed):
    """Kendall's rank correlation of standardised deviates with sampling variances.

    Attributes
    ----------
    statistic : float
        Kendall's tau_b.
    pvalue : float
        Two-sided.
    exact : bool
        Whether it is from the exact distribution; else from the normal approximation.
    """

    statistic: float
    pvalue: float
    exact: bool


def tied_ranks(a: Array) -> Codes:
    """Dense ranks of numbers (k,) of which those that differ by rounding alone are tied."""
    order = np.argsort(a, kind="stable")
    gaps = np.diff(a[order]) > _TIED * np.abs(a).max(initial=0.0)
    ranks = np.empty(len(a), dtype=np.intp)
    ranks[order] = np.concatenate([[0], np.cumsum(gaps)])
    return ranks


def rank_correlation_test(y: Array, v: Array, X: Array) -> RankCorrelationTest:
    """Test of Begg and Mazumdar: Kendall's tau_b of standardised deviates and variances.

    The deviates are residuals of the common-effect regression (weights 1/v) on the moderators, over
    their standard deviations sqrt(v (1 - h)), h being the leverage; without moderators these are
    the deviates of the paper. The p-value is exact where neither deviates nor variances are tied.

    Parameters
    ----------
    y, v : ndarray, (k,)
        Outcomes and positive sampling variances.
    X : ndarray, (k, p)
        Design of full column rank.

    Returns
    -------
    RankCorrelationTest

    Raises
    ------
    DesignError
        If all variances, or all deviates, are the same.

    References
    ----------
    Begg, C. B., & Mazumdar, M. (1994). Operating characteristics of a rank correlation test for
    publication bias. Biometrics, 50(4), 1088-1101.

    Examples
    --------
    >>> y, v = np.array([0.1, 0.2, 0.4, 0.9]), np.array([0.01, 0.02, 0.05, 0.2])
    >>> rank_correlation_test(y, v, np.ones((4, 1))).statistic
    1.0
    """
    fit = wls(y, 1.0 / v, X)
    room = 1.0 - fit.leverage
    # a study that alone determines a coefficient has the residual 0
    deviates = np.where(room > 1e-12, fit.wresid / np.sqrt(np.maximum(room, 1e-12)), 0.0)
    a, b = tied_ranks(deviates), np.unique(v, return_inverse=True)[1]
    for ranks, what in ((a, "standardised deviates"), (b, "sampling variances")):
        if ranks.max() == 0:
            raise DesignError(
                f"All {what} are equal: there is no rank correlation. The test needs studies that "
                "differ in both."
            )
    exact = a.max() == b.max() == len(a) - 1
    found = stats.kendalltau(a, b, method="exact" if exact else "asymptotic")
    return RankCorrelationTest(float(found.statistic), float(found.pvalue), bool(exact))
