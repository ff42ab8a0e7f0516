"""Confidence sets for tau2."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from metareg_sm._typing import Array
from metareg_sm.core.likelihood import Profile
from metareg_sm.core.search.single import brackets_of_one, peaks_of_one
from metareg_sm.core.studies import Studies
from metareg_sm.core.tau2.estimators import rss_root


@dataclass(frozen=True, slots=True, eq=False)
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


_EPS = float(np.finfo(float).eps)
_GRID = np.linspace(0.0, 1.0, 33)
# around a crossing, as parts of the cell of the grid that holds it
_WINDOW = 0.01 * np.linspace(-1.0, 1.0, 8)
# So near to a straight line, as a part of a cell of this window, that a cubic leaves no more than
# rounding: its error is of the order of the square.
_STRAIGHT = 3e-5
_MAX_STEPS = 100
# after a step of this relative size the next one, of order three, would be below rounding
_LAST_STEP = 3e-5
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
    root = rss_root(studies.profile(True), target, np.asarray(studies.v.min()))
    low, high = map(float, root.tau2)
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
    lower, upper = map(float, studies.search_range(reml))
    peaks = peaks_of_one(profile, brackets_of_one(profile, lower, upper))
    far = max(upper, float(peaks[-1]) + float(studies.v.max()))
    *heights, at_lower, at_far = profile.loglike(np.array([*peaks, lower, far]))
    drop = 0.5 * float(special.chdtri(1, alpha))
    level = max(heights) - drop
    inside = np.flatnonzero(np.array(heights) >= level)
    first, last = float(peaks[inside[0]]), float(peaks[inside[-1]])
    while at_far > level:
        far = 2.0 * far
        at_far = profile.loglike(np.asarray(far))
    within, beyond = [last], [far]
    if at_lower < level:
        within.append(first)
        beyond.append(lower)
    high, *low = _crossings(profile, np.array(within), np.array(beyond), level, drop).tolist()
    kind = "disjoint" if _has_gap(profile, peaks, inside, level) else "interval"
    return Tau2Set(low[0] if low else 0.0, high, kind)


def _above(profile: Profile, tau2: float, level: float) -> float:
    return float(profile.loglike(np.asarray(tau2))) - level


def _crossings(profile: Profile, within: Array, beyond: Array, level: float, drop: float) -> Array:
    """Where the log-likelihood falls to a level between points above it and points below, (m,).

    `drop` is how far the level is below the maximum.

    A grid, and a second one within a small part of the cell that holds the crossing. Where a cubic
    through its values does not tell enough, Halley's method between the nearest points on either
    side.
    """

    def gaps(tau2: Array) -> Array:
        # the root of the distance from the maximum is nearly linear in the logarithm of tau2
        return 1.0 - np.sqrt(np.maximum(1.0 - (profile.loglike(tau2) - level) / drop, 0.0))

    unit = profile.smallest if profile.smallest > 0.0 else float(within.max())
    a, b = np.log(within + unit), np.log(beyond + unit)
    points = np.exp(a + (b - a) * _GRID[:, None]) - unit
    points[0], points[-1] = within, beyond
    within, beyond, share, _ = _cell(points, gaps(points))
    a, b = np.log(within + unit), np.log(beyond + unit)
    points = np.exp(a + (b - a) * np.clip(share + _WINDOW[:, None], 0.0, 1.0)) - unit
    values = gaps(points)
    if (values[0] >= 0.0).all() and (values[-1] < 0.0).all():
        within, beyond, share, bend = _cell(points, values)
        a, b = np.log(within + unit), np.log(beyond + unit)
        done = bend <= _STRAIGHT
    else:
        done = np.zeros(len(share), dtype=bool)
    t = np.exp((1.0 - share) * a + share * b) - unit
    if done.all():
        return t
    for _ in range(_MAX_STEPS):
        gap, at = profile.loglike(t) - level, profile.derivatives(t)
        within, beyond = np.where(gap >= 0.0, t, within), np.where(gap >= 0.0, beyond, t)
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = at.score
            newton = gap / slope
            new = t - newton / (1.0 + 0.5 * newton * at.observed_information / slope)
        inside = (new >= np.minimum(within, beyond)) & (new <= np.maximum(within, beyond))
        new = np.where(inside, new, 0.5 * (within + beyond))
        small = (np.abs(new - t) <= _LAST_STEP * (t + unit)) & inside
        small |= np.abs(within - beyond) <= 4.0 * _EPS * np.maximum(within, beyond)
        t = np.where(done, t, new)
        done |= small
        if done.all():
            break
    return t


def _cell(points: Array, values: Array) -> tuple[Array, Array, Array, Array]:
    """Neighbours among points (g, m) between which values first fall below 0, (m,) each.

    Also the part of the way from one to the other at which they do, by the cubic in four values
    around, and how far a straight line is from that.
    """
    above = values >= 0.0
    above[0], above[-1] = True, False
    last, columns = np.argmin(above, axis=0) - 1, np.arange(values.shape[1])
    near = [np.clip(last + i, 0, len(values) - 1) for i in (-1, 0, 1, 2)]
    known = [
        (values[i, columns], float(place)) for i, place in zip(near, (-1, 0, 1, 2), strict=True)
    ]
    a, b = known[1][0], known[2][0]
    line, share = a / (a - b), np.zeros(len(a))
    with np.errstate(divide="ignore", invalid="ignore"):
        for i, (own, place) in enumerate(known):
            weight = np.full(len(a), place)
            for j, (other, _) in enumerate(known):
                if j != i:
                    weight = weight * other / (other - own)
            share += weight
    good = (share > 0.0) & (share < 1.0)
    share = np.where(good, share, line)
    bend = np.where(good, np.abs(share - line), np.inf)
    return points[last, columns], points[last + 1, columns], share, bend


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
