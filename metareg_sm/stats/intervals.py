"""Confidence sets for tau2."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from metareg_sm.core.likelihood import Profile
from metareg_sm.core.search.maximize import climb, find_brackets
from metareg_sm.core.studies import Studies
from metareg_sm.core.tau2.estimators import rss_root


@dataclass(frozen=True, slots=True)
class Tau2Set:
    """A confidence set for tau2.

    Attributes
    ----------
    lower, upper : float
        Ends; NaN where the set is empty, `upper` infinite where it is unbounded.
    kind : {"interval", "empty", "unbounded", "disjoint"}
        "disjoint": the set has gaps, and the ends are those of the smallest interval around it.
    """

    lower: float
    upper: float
    kind: str


_EMPTY = Tau2Set(np.nan, np.nan, "empty")


def q_profile(studies: Studies, alpha: float = 0.05) -> Tau2Set:
    """Q-profile interval: the values of tau2 at which y'Py is an ordinary chi-squared value.

    Parameters
    ----------
    studies : Studies
        One data set.
    alpha : float, default 0.05
        1 minus the coverage.

    Returns
    -------
    Tau2Set
        Empty where even tau2 = 0 leaves too little variation.

    References
    ----------
    Viechtbauer, W. (2007). Confidence intervals for the amount of heterogeneity in meta-analysis.
    Statistics in Medicine, 26(1), 37-52.
    """
    df = studies.df
    target = special.chdtri(df, np.array([alpha / 2.0, 1.0 - alpha / 2.0]))
    low, high = (
        float(rss_root(studies.profile(True), q, np.asarray(studies.v.min())).tau2) for q in target
    )
    if high < 0.0:
        return _EMPTY
    return Tau2Set(max(low, 0.0), high, "interval")


def profile_likelihood(studies: Studies, reml: bool, alpha: float = 0.05) -> Tau2Set:
    """Values of tau2 whose log-likelihood is within half a chi-squared(1) quantile of the maximum.

    Parameters
    ----------
    studies : Studies
        One data set.
    reml : bool
        Restricted likelihood, else maximum likelihood.
    alpha : float, default 0.05
        1 minus the coverage.

    Returns
    -------
    Tau2Set
        Both ends are found between certified stationary points, so neither can be a crossing of
        the wrong peak.

    References
    ----------
    Hardy, R. J., & Thompson, S. G. (1996). A likelihood approach to meta-analysis with random
    effects. Statistics in Medicine, 15(6), 619-629.
    """
    profile = studies.profile(reml)
    lower, upper = (np.atleast_1d(x) for x in studies.search_range(reml))
    peaks, _ = climb(profile, find_brackets(profile, lower, upper), 1)
    heights = np.array([float(profile.loglike(np.asarray(t))) for t in peaks])
    level = heights.max() - 0.5 * float(special.chdtri(1, alpha))
    inside = np.flatnonzero(heights >= level)
    first, last = float(peaks[inside[0]]), float(peaks[inside[-1]])
    low = 0.0
    if _above(profile, float(lower[0]), level) < 0.0:
        low = _crossing(profile, float(lower[0]), first, level)
    far = max(float(upper[0]), last + float(studies.v.max()))
    while _above(profile, far, level) > 0.0:
        far = 2.0 * far
    high = _crossing(profile, last, far, level)
    return Tau2Set(low, high, "disjoint" if _has_gap(profile, peaks, inside, level) else "interval")


def _above(profile: Profile, tau2: float, level: float) -> float:
    return float(profile.loglike(np.asarray(tau2))) - level


def _crossing(profile: Profile, a: float, b: float, level: float) -> float:
    root = optimize.brentq(
        lambda t: _above(profile, t, level), a, b, xtol=1e-300, rtol=8.9e-16, maxiter=500
    )
    return float(root)


def _has_gap(profile: Profile, peaks: np.ndarray, inside: np.ndarray, level: float) -> bool:
    for left, right in zip(peaks[inside[:-1]], peaks[inside[1:]], strict=True):
        valley = optimize.minimize_scalar(
            lambda t: _above(profile, t, level), bounds=(left, right), method="bounded"
        )
        if valley.fun < 0.0:
            return True
    return False


def wald(tau2: float, se: float, alpha: float = 0.05) -> Tau2Set:
    """Estimate plus or minus a normal quantile times its standard error, within tau2 >= 0."""
    half = float(special.ndtri(1.0 - alpha / 2.0)) * se
    return Tau2Set(max(tau2 - half, 0.0), tau2 + half, "interval")
