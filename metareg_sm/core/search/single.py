"""The search of `search` for one data set, without the bookkeeping of many."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from metareg_sm.core.likelihood import DirectProfile, Profile
from metareg_sm.core.search.cells import peak, pick, settled
from metareg_sm.core.search.maximize import climb, find_brackets

_EPS = float(np.finfo(float).eps)
_MAX_NEWTON = 100
# after a Newton step of this relative size the next one would be below rounding
_LAST_STEP = 1e-10
# One data set is looked at on a grid, which costs as little as a single point.
_FRACTIONS = np.linspace(0.0, 1.0, 25) ** 2
_LEFT, _RIGHT = np.s_[:-1], np.s_[1:]


class Bracket(NamedTuple):
    """One of `Brackets`, as plain numbers."""

    lower: float
    upper: float
    start: float
    information: float
    certified: bool


def global_bracket(profile: Profile, lower: float, upper: float) -> Bracket:
    """Bracket of the global maximum of one data set.

    Where a grid settles everything, which it nearly always does, this is several times faster than
    `find_brackets`, whose parameters it has.
    """
    if not profile.grid_pays:
        return _best(profile, lower, upper)
    edges = lower + (upper - lower) * _FRACTIONS
    at = profile.derivatives(edges)
    falls = at.ypp <= at.trace
    peaks = (falls[1:] > falls[:-1]).nonzero()[0]
    left, right = pick(at, _LEFT), pick(at, _RIGHT)
    if len(peaks) + falls[0] == 1 and settled(edges[:-1], edges[1:], left, right).all():
        if falls[0]:
            return Bracket(lower, lower, lower, 0.0, True)
        i = int(peaks[0])
        low, high = float(edges[i]), float(edges[i + 1])
        one, two = pick(at, i), pick(at, i + 1)
        start = float(peak(low, high, one, two))
        if not low < start < high:
            start = 0.5 * (low + high)
        information = 0.5 * float(one.observed_information + two.observed_information)
        return Bracket(low, high, start, abs(information), True)
    return _best(profile, lower, upper)


def _best(profile: Profile, lower: float, upper: float) -> Bracket:
    found = find_brackets(profile, np.array([lower]), np.array([upper]))
    best = 0
    if len(found.row) > 1:
        best = int(np.argmax(profile.loglike(climb(profile, found, 1)[0])))
    return Bracket(
        float(found.lower[best]),
        float(found.upper[best]),
        float(found.start[best]),
        float(found.information[best]),
        bool(found.certified.all()),
    )


def climb_one(profile: Profile, start: float, lower: float, upper: float) -> tuple[float, float]:
    """Maximum inside one bracket of one data set; `climb` without its bookkeeping.

    Parameters
    ----------
    profile : Profile
        Likelihood of one data set.
    start, lower, upper : float
        The bracket and where to begin in it.

    Returns
    -------
    tau2, information : float
        The maximum and the expected information there.
    """
    t = start
    if upper <= lower:
        return lower, float(profile.derivatives(np.asarray(lower)).expected_information)
    for _ in range(_MAX_NEWTON):
        ypp, yppp, trace, trace2 = map(float, profile.derivatives(np.asarray(t)))
        if ypp > trace:
            lower = t
        else:
            upper = t
        information = yppp - 0.5 * trace2
        step = 0.5 * (ypp - trace) / information if information > 0.0 else np.inf
        if not lower <= t + step <= upper:
            step = 0.5 * (lower + upper) - t
        t += step
        if abs(step) <= _LAST_STEP * (t + trace / trace2) or upper - lower <= 2.0 * _EPS * upper:
            break
    # of relative precision _LAST_STEP, the last step being at most that
    return t, 0.5 * trace2
