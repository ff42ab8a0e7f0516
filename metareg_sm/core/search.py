"""Batched global maximisation of the profile log-likelihood over tau2 >= 0.

The score is the difference of two falling functions of tau2, and so is the second derivative.
Their values at the two ends of a cell therefore bound the score and the curvature inside it: a
cell is settled as rising, falling, convex or concave, or it is halved. Once all cells are settled
every local maximum lies in a bracket of its own, and none can have been missed. The likelihood of
a meta-regression does have several maxima, mostly under ML with very unequal variances.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from metareg_sm.core.likelihood import Profile, Slopes
from metareg_sm.core.wls import Array, Rows

_EPS = float(np.finfo(float).eps)
_MAX_HALVINGS = 60
_MAX_NEWTON = 100
# Width of the first cells: of many data sets a wider one is seldom settled and a narrower one is
# work without gain; of one data set a whole grid costs as little as a single point.
_LOG_CELL_RATIO = math.log(2.0)
_LOG_CELL_RATIO_SINGLE = math.log(1.15)
# after a Newton step of this relative size the next one would be below rounding
_LAST_STEP = 1e-9
_LEFT, _RIGHT = np.s_[:-1], np.s_[1:]
_BRACKET = ("row", "lower", "upper", "start", "information")


def upper_bound(rss: Array, n: int, low: Array, high: Array) -> Array:
    """A tau2 beyond which the log-likelihood only falls.

    From y'PPy <= rss / (min v + tau2)^2 and tr P >= n / (max v + tau2).

    Parameters
    ----------
    rss : ndarray, (...)
        Residual sum of squares of the unweighted regression.
    n : int
        k - r for REML, k for ML.
    low, high : ndarray, (...)
        Smallest and largest sampling variance.

    Returns
    -------
    ndarray, (...)
        The bound; 0 where the maximum must be at 0.
    """
    s2 = rss / n
    bound = 0.5 * (s2 + np.sqrt(s2 * s2 + 4.0 * s2 * (high - low))) - low
    return np.maximum(bound, 0.0) * (1.0 + 1e-9)


@dataclass(frozen=True, slots=True)
class Brackets:
    """Cells that hold one local maximum each.

    Attributes
    ----------
    row : ndarray of int, (m,)
        Data set of each bracket.
    lower, upper : ndarray, (m,)
        Ends; both 0 for a maximum on the boundary tau2 = 0.
    start : ndarray, (m,)
        Where to begin inside: the maximum to a few digits.
    information : ndarray, (m,)
        Observed information nearby, for scaling; 0 on the boundary.
    """

    row: Rows
    lower: Array
    upper: Array
    start: Array
    information: Array


def _log_step(s: Slopes, shift: Array) -> Array:
    """Step of tau2 to the root of ln y'PPy - ln trace, linear in ln(tau2 + shift).

    Exact in one step for equal variances; NaN or infinite where the curvature has the wrong sign.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        slope = (2.0 * s.yppp / s.ypp - s.trace2 / s.trace) * shift
        return shift * np.expm1(np.log(s.ypp / s.trace) / slope)


def find_brackets(profile: Profile, lower: Array, upper: Array, unit: Array) -> Brackets:
    """Bracket every local maximum of every data set between `lower` and `upper`.

    Parameters
    ----------
    profile : Profile
        Likelihood of n data sets.
    lower, upper : ndarray, (n,)
        Range of tau2; the log-likelihood must fall beyond `upper`. `lower` is 0 unless a zero
        variance leaves the likelihood undefined there.
    unit : ndarray, (n,)
        A variance on whose scale the likelihood varies near 0, such as the smallest one.

    Returns
    -------
    Brackets
        Sorted by row, then by tau2. A row whose log-likelihood falls from `lower` on has the
        bracket (lower, lower).
    """
    n = len(upper)
    shift = unit + lower
    ratio = (upper + unit) / shift
    grid = 2 + int(math.log(ratio.max()) / _LOG_CELL_RATIO)
    edges = shift[:, None] * ratio[:, None] ** (np.arange(grid) / (grid - 1.0)) - unit[:, None]
    edges[:, 0], edges[:, -1] = lower, upper
    rows = np.arange(n)[:, None]
    at = profile.slopes(edges, None if n == 1 else rows)
    a, b = edges[:, :-1], edges[:, 1:]
    left, right = _pick(at, np.s_[:, :-1]), _pick(at, np.s_[:, 1:])
    cell_rows = rows.repeat(grid - 1, axis=1)
    found = []
    falls = np.flatnonzero(at.ypp[:, 0] <= at.trace[:, 0])
    if falls.size:
        low = lower[falls]
        found.append(Brackets(falls, low, low, low, np.zeros(len(falls))))
    for halving in range(_MAX_HALVINGS):
        top = (left.ypp > left.trace) & (right.ypp <= right.trace)
        settled = _settled(left, right)
        finished = bool(settled.all())
        if not finished:
            settled |= b - a <= 4.0 * _EPS * b
            settled |= halving == _MAX_HALVINGS - 1
            top &= settled
        hit = np.nonzero(top)
        r = cell_rows[hit]
        if r.size:
            found.append(_bracket(r, a[hit], b[hit], _pick(left, hit), _pick(right, hit)))
        if finished or settled.all():
            break
        open_ = np.nonzero(~settled)
        r, low, high = cell_rows[open_], a[open_], b[open_]
        middle = _middle(low, high, unit[r])
        at = profile.slopes(middle, None if n == 1 else r)
        left, right = _pick(left, open_), _pick(right, open_)
        left, right = _join(left, at), _join(at, right)
        cell_rows = np.concatenate([r, r])
        a, b = np.concatenate([low, middle]), np.concatenate([middle, high])
    if len(found) == 1:
        return found[0]
    row, low, *others = (np.concatenate([getattr(f, c) for f in found]) for c in _BRACKET)
    order = np.lexsort((low, row))
    return Brackets(row[order], low[order], *(other[order] for other in others))


def _settled(left: Slopes, right: Slopes) -> npt.NDArray[np.bool_]:
    """Whether a cell is concave, falling, rising or convex throughout."""
    return (
        (right.yppp > 0.5 * left.trace2)
        | (left.ypp < right.trace)
        | (right.ypp > left.trace)
        | (left.yppp < 0.5 * right.trace2)
    )


def _bracket(row: Rows, low: Array, high: Array, left: Slopes, right: Slopes) -> Brackets:
    start, information = _peak(low, high, left, right)
    inside = (start > low) & (start < high)
    return Brackets(row, low, high, np.where(inside, start, 0.5 * (low + high)), information)


def _middle(low: Array, high: Array, unit: Array) -> Array:
    """Point between the ends, geometric in tau2 + unit where rounding allows it."""
    middle = np.sqrt((low + unit) * (high + unit)) - unit
    return np.where((middle > low) & (middle < high), middle, 0.5 * (low + high))


def _pick(s: Slopes, index: Any) -> Slopes:
    return Slopes(s.ypp[index], s.yppp[index], s.trace[index], s.trace2[index])


def _join(s: Slopes, t: Slopes) -> Slopes:
    return Slopes(
        np.concatenate([s.ypp, t.ypp]),
        np.concatenate([s.yppp, t.yppp]),
        np.concatenate([s.trace, t.trace]),
        np.concatenate([s.trace2, t.trace2]),
    )


def climb(profile: Profile, brackets: Brackets, unit: Array, single: bool = False) -> Array:
    """Maximum inside each bracket, by safeguarded Newton steps on the score.

    Parameters
    ----------
    profile : Profile
        Likelihood of n data sets.
    brackets : Brackets
        Cells with one maximum each.
    unit : ndarray, (n,)
        As in `find_brackets`.
    single : bool
        The profile holds one data set and takes no rows.

    Returns
    -------
    ndarray, (m,)
        tau2, to the precision that the score allows.
    """
    tau2 = brackets.start.copy()
    low, high = brackets.lower.copy(), brackets.upper.copy()
    active = np.flatnonzero(high > low)
    for _ in range(_MAX_NEWTON):
        if not active.size:
            break
        t, row = tau2[active], brackets.row[active]
        s = profile.slopes(t, None if single else row)
        shift = s.trace / s.trace2
        up = s.ypp > s.trace
        lo, hi = np.where(up, t, low[active]), np.where(up, high[active], t)
        step = _log_step(s, shift)
        new = t + step
        inside = (new >= lo) & (new <= hi)
        new = np.where(inside, new, _middle(lo, hi, unit[row]))
        tau2[active], low[active], high[active] = new, lo, hi
        tiny = 8.0 * _EPS * (t + shift)
        done = (inside & (np.abs(step) <= tiny)) | (hi - lo <= 2.0 * _EPS * hi)
        active = active[~done]
    return tau2


def _peak(low: Any, high: Any, left: Slopes, right: Slopes) -> tuple[Any, Any]:
    """Root of y'PPy / trace - 1 by inverse cubic interpolation in tau2, and the information."""
    ga, gb = left.ypp / left.trace - 1.0, right.ypp / right.trace - 1.0
    h = gb - ga
    s = -ga / h
    # d tau2 / d g at the two ends
    ma = left.trace / ((ga + 1.0) * left.trace2 - 2.0 * left.yppp)
    mb = right.trace / ((gb + 1.0) * right.trace2 - 2.0 * right.yppp)
    r = 1.0 - s
    start = low + (high - low) * s * s * (3.0 - 2.0 * s) + h * s * r * (r * ma - s * mb)
    information = 0.5 * (left.yppp + right.yppp - 0.5 * (left.trace2 + right.trace2))
    return start, information


class Bracket(NamedTuple):
    """One of `Brackets`, as plain numbers."""

    lower: float
    upper: float
    start: float
    information: float


def global_bracket(profile: Profile, lower: float, upper: float, unit: float) -> Bracket:
    """Bracket of the global maximum of one data set.

    Where a fine grid settles everything at once, which it nearly always does, this is several
    times faster than `find_brackets`, whose parameters it has.
    """
    ratio = (upper + unit) / (lower + unit)
    grid = 2 + int(math.log(ratio) / _LOG_CELL_RATIO_SINGLE)
    edges = (lower + unit) * ratio ** (np.arange(grid) / (grid - 1.0)) - unit
    edges[0], edges[-1] = lower, upper
    at = profile.slopes(edges)
    falls = at.ypp <= at.trace
    peaks = np.flatnonzero(falls[1:] > falls[:-1])
    if len(peaks) + falls[0] == 1 and _settled(_pick(at, _LEFT), _pick(at, _RIGHT)).all():
        if falls[0]:
            return Bracket(lower, lower, lower, 0.0)
        i = int(peaks[0])
        low, high = float(edges[i]), float(edges[i + 1])
        start, information = _peak(low, high, _pick(at, i), _pick(at, i + 1))
        if not low < start < high:
            start = 0.5 * (low + high)
        return Bracket(low, high, float(start), float(information))
    found = find_brackets(profile, *(np.array([x]) for x in (lower, upper, unit)))
    best = 0
    if len(found.row) > 1:
        tops = climb(profile, found, np.array([unit]), single=True)
        best = int(np.argmax(profile.loglike(tops)))
    return Bracket(
        float(found.lower[best]),
        float(found.upper[best]),
        float(found.start[best]),
        float(found.information[best]),
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
        return lower, float(profile.slopes(np.asarray(lower)).expected_information)
    for _ in range(_MAX_NEWTON):
        ypp, yppp, trace, trace2 = map(float, profile.slopes(np.asarray(t)))
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


@dataclass(frozen=True, slots=True)
class Optimum:
    """Global maximum of each data set.

    Attributes
    ----------
    tau2 : ndarray, (n,)
        Where the log-likelihood is greatest.
    lower, upper : ndarray, (n,)
        Cell around it in which there is no other local maximum; both equal on the boundary.
    maxima : ndarray of int, (n,)
        How many local maxima the log-likelihood has.
    """

    tau2: Array
    lower: Array
    upper: Array
    maxima: Rows


def maximize(profile: Profile, lower: Array, upper: Array, unit: Array) -> Optimum:
    """Global maximum of the profile log-likelihood of each of n data sets.

    Parameters are those of `find_brackets`. Of equally high maxima the smallest tau2 is taken.
    """
    n = len(upper)
    found = find_brackets(profile, lower, upper, unit)
    tau2 = climb(profile, found, unit, single=n == 1)
    maxima = np.bincount(found.row, minlength=n)
    first = np.cumsum(maxima) - maxima
    best = first.copy()
    contested = np.flatnonzero(maxima[found.row] > 1)
    if contested.size:
        rows = found.row[contested]
        value = np.full(len(tau2), -np.inf)
        value[contested] = profile.loglike(tau2[contested], None if n == 1 else rows)
        order = np.lexsort((tau2, -value, found.row))
        best = order[first]
    return Optimum(tau2[best], found.lower[best], found.upper[best], maxima)
