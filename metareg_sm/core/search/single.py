"""The search of `maximize` for one data set, without the bookkeeping of many."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from metareg_sm._typing import Array
from metareg_sm.core.likelihood import Profile
from metareg_sm.core.search.cells import peak, pick, settled
from metareg_sm.core.search.maximize import find_brackets

_EPS = float(np.finfo(float).eps)
_MAX_NEWTON = 100
# after a Newton step of this relative size the next one would be below rounding
_LAST_STEP = 1e-10
# the same where eight digits are enough
_ROUGH_STEP = 1e-4
# One data set is looked at on a grid, which costs little more than a single point; even in the
# logarithm of tau2 plus the smallest variance.
_FRACTIONS = np.linspace(0.0, 1.0, 25)
_LEFT, _RIGHT = np.s_[:-1], np.s_[1:]


class Bracket(NamedTuple):
    """Where a maximum of one data set lies.

    Attributes
    ----------
    lower, upper : float
        Ends; equal for a maximum at the lower end of the search.
    start : float
        Where to begin inside: the maximum to a few digits.
    information : float
        Observed information nearby, for scaling; 0 at the lower end.
    certified : bool
        Whether no other maximum can have been missed.
    """

    lower: float
    upper: float
    start: float
    information: float
    certified: bool


def brackets_of_one(profile: Profile, lower: float, upper: float) -> list[Bracket]:
    """Brackets of all local maxima of one data set, in the order of tau2.

    Where a grid settles everything, which it nearly always does, this is several times faster than
    `find_brackets`, whose parameters it has.
    """
    if profile.grid_pays:
        found = _on_grid(profile, lower, upper)
        if found is not None:
            return found
    many = find_brackets(profile, np.array([lower]), np.array([upper]))
    certified = bool(many.certified[0])
    columns = (many.lower, many.upper, many.start, many.information)
    return [
        Bracket(float(a), float(b), float(start), float(information), certified)
        for a, b, start, information in zip(*columns, strict=True)
    ]


def _on_grid(profile: Profile, lower: float, upper: float) -> list[Bracket] | None:
    unit = profile.smallest if lower == 0.0 else lower
    if upper <= lower or not unit > 0.0:
        edges = lower + (upper - lower) * _FRACTIONS
    else:
        edges = lower + unit * np.expm1(_FRACTIONS * np.log1p((upper - lower) / unit))
        edges[-1] = upper
    at = profile.derivatives(edges)
    if not settled(edges[:-1], edges[1:], pick(at, _LEFT), pick(at, _RIGHT)).all():
        return None
    falls = at.ypp <= at.trace
    found = [Bracket(lower, lower, lower, 0.0, True)] if falls[0] else []
    for i in (falls[1:] > falls[:-1]).nonzero()[0].tolist():
        low, high = float(edges[i]), float(edges[i + 1])
        one, two = pick(at, i), pick(at, i + 1)
        start = float(peak(low, high, one, two))
        if not low < start < high:
            start = 0.5 * (low + high)
        information = 0.5 * float(one.observed_information + two.observed_information)
        found.append(Bracket(low, high, start, abs(information), True))
    return found or None


def global_bracket(profile: Profile, lower: float, upper: float) -> Bracket:
    """Bracket of the global maximum of one data set; parameters as `brackets_of_one`."""
    found = brackets_of_one(profile, lower, upper)
    if len(found) == 1:
        return found[0]
    return found[int(np.argmax(profile.loglike(peaks_of_one(profile, found))))]


def peaks_of_one(profile: Profile, brackets: list[Bracket]) -> Array:
    """The maxima inside brackets of one data set, to eight digits.

    The log-likelihood there is then exact but for rounding, being flat.
    """
    return np.array(
        [climb_one(profile, b.start, b.lower, b.upper, _ROUGH_STEP)[0] for b in brackets]
    )


def climb_one(
    profile: Profile, start: float, lower: float, upper: float, last_step: float = _LAST_STEP
) -> tuple[float, float]:
    """Maximum inside one bracket of one data set; `climb` without its bookkeeping.

    Parameters
    ----------
    profile : Profile
        Likelihood of one data set.
    start, lower, upper : float
        The bracket and where to begin in it.
    last_step : float
        Relative size of the step after which to stop.

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
        if abs(step) <= last_step * (t + trace / trace2) or upper - lower <= 2.0 * _EPS * upper:
            break
    # of relative precision `last_step`, the last step being at most that
    return t, 0.5 * trace2
