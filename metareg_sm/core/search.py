"""Batched global maximisation of the profile log-likelihood over tau2 >= 0.

The score has the sign of h - 1 with h = y'PPy / trace, and a local maximum is where h falls through
1. Write r1 = y'PPPy / y'PPy and r2 = trace2 / trace, so that (ln h)' = r2 - 2 r1. By the
inequality of Cauchy and Schwarz neither 1/r1 - tau2 nor 1/r2 - tau2 ever falls. Hence in a cell
from a to b, with c = 1/r1(b) - b + a and d = 1/r2(b) - b + a,

    h(a + x) <= h(a) (1 + x r2(a)) / (1 + x/c)^2,    h(a + x) >= h(a) (1 + x/d) / (1 + x r1(a))^2,

and h falls from x = c - 2/r2(a) on. So a cell holds one maximum for certain if the lower bound is
above 1 as far as there, and none if the upper bound is below 1 there. h rises throughout where
2/r2(b) - b < 1/r1(a) - a. That y'PPy and the traces fall bounds the score besides. A cell that none
of this settles is cut in two. Once all are settled every local maximum lies in a bracket of its own
and none can have been missed: the likelihood does have several, mostly under ML with very unequal
variances. The limits of 1/r1(b) - b and 1/r2(b) - b are known, so that values at 0 alone settle the
cell from 0 to infinity of many data sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from metareg_sm.core.likelihood import Limit, Profile, Slopes
from metareg_sm.core.wls import Array, Rows

_EPS = float(np.finfo(float).eps)
_MAX_HALVINGS = 60
_MAX_NEWTON = 100
# after a Newton step of this relative size the next one would be below rounding
_LAST_STEP = 1e-9
# relative error to leave after an interpolation
_ERROR = 1e-15
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
    # rounding must not cut off a maximum just above 0, nor lift one that is at 0
    slack = 1e-9 * bound + 16.0 * _EPS * (s2 + high)
    return (bound > 0.0) * (bound + slack) + 0.0


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
    left : Slopes
        At the lower ends.
    """

    row: Rows
    lower: Array
    upper: Array
    start: Array
    information: Array
    left: Slopes


def find_brackets(
    profile: Profile, lower: Array, upper: Array, at: Slopes | None = None
) -> Brackets:
    """Bracket every local maximum of every data set between `lower` and `upper`.

    Parameters
    ----------
    profile : Profile
        Likelihood of n data sets.
    lower, upper : ndarray, (n,)
        Range of tau2; the log-likelihood must fall beyond `upper`. `lower` is 0 unless a zero
        variance leaves the likelihood undefined there.
    at : Slopes, optional
        At `lower`, where they are known.

    Returns
    -------
    Brackets
        Sorted by row, then by tau2. A row whose log-likelihood falls from `lower` on has the
        bracket (lower, lower).
    """
    n = len(upper)
    limit = Limit(*(np.broadcast_to(x, n) for x in profile.limit()))
    at = profile.slopes(lower) if at is None else at
    found = []
    falls = np.flatnonzero(at.ypp <= at.trace)
    if falls.size:
        low = lower[falls]
        at_low = pick(at, falls)
        found.append(Brackets(falls, low, low, low, np.zeros(len(falls)), at_low))
    cells = _to_infinity(np.arange(n), lower, at, limit)
    for halving in range(_MAX_HALVINGS):
        certain, falling = _examine(cells, upper)
        if halving == _MAX_HALVINGS - 1:
            certain[:] = True
        left, right = cells.left, cells.right
        hit = np.flatnonzero(certain & (left.ypp > left.trace) & (right.ypp <= right.trace))
        if hit.size:
            found.append(_brackets(cells.take(hit), limit, upper))
        open_ = np.flatnonzero(~certain)
        if not open_.size:
            break
        cells = cells.take(open_)
        point = _point_inside(cells, falling[open_], limit, upper)
        at = profile.slopes(point, cells.row)
        cells = _halves(cells, point, at)
    return _sorted(found, n)


def _joined(found: list[Brackets]) -> Brackets:
    row, low, high, start, information = (
        np.concatenate([getattr(f, name) for f in found]) for name in _BRACKET
    )
    left = Slopes(*(np.concatenate(parts) for parts in zip(*(f.left for f in found), strict=True)))
    return Brackets(row, low, high, start, information, left)


def _sorted(found: list[Brackets], n: int) -> Brackets:
    every = _joined(found)
    row, low = every.row, every.lower
    if len(row) == n:
        # each has one
        order = np.empty(n, dtype=np.intp)
        order[row] = np.arange(n)
    else:
        order = np.lexsort((low, row))
    return Brackets(
        row[order],
        low[order],
        every.upper[order],
        every.start[order],
        every.information[order],
        pick(every.left, order),
    )


class _Cells(NamedTuple):
    """Cells from `low` to `high`, which may be infinite, of the data sets `row`.

    Between them 1/r1 - tau2 is at most `reach1` and 1/r2 - tau2 at most `reach2`.
    """

    row: Rows
    low: Array
    high: Array
    left: Slopes
    right: Slopes
    reach1: Array
    reach2: Array

    def take(self, index: Rows) -> _Cells:
        """Some of the cells."""
        row, low, high, left, right, reach1, reach2 = self
        return _Cells(
            row[index],
            low[index],
            high[index],
            pick(left, index),
            pick(right, index),
            reach1[index],
            reach2[index],
        )


def _to_infinity(row: Rows, low: Array, left: Slopes, limit: Limit) -> _Cells:
    zero = np.zeros(len(row))
    # without residual variation there is no limit, and no maximum but the lower end
    variance = np.where(limit.rss[row] == 0.0, 0.0, limit.variance[row])
    right = Slopes(zero, zero, zero, zero)
    return _Cells(row, low, zero + np.inf, left, right, variance, limit.mean[row])


def _halves(cells: _Cells, point: Array, at: Slopes) -> _Cells:
    """Both parts of cells that are cut at a point."""
    row, low, high, left, right, reach1, reach2 = cells
    with np.errstate(divide="ignore", invalid="ignore"):
        nearer1, nearer2 = at.ypp / at.yppp - point, at.trace / at.trace2 - point
    return _Cells(
        np.concatenate([row, row]),
        np.concatenate([low, point]),
        np.concatenate([point, high]),
        _join(left, at),
        _join(at, right),
        np.concatenate([nearer1, reach1]),
        np.concatenate([nearer2, reach2]),
    )


def _examine(cells: _Cells, upper: Array) -> tuple[npt.NDArray[np.bool_], Array]:
    """Whether each cell holds at most one maximum for certain, and from where on h falls in it."""
    row, low, high, left, right, reach1, reach2 = cells
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        width = high - low
        # h falls from low + x on
        scale = left.trace / left.trace2
        x = np.clip(reach1 + low - 2.0 * scale, 0.0, width)
        down = right.ypp <= right.trace
        t = np.where(down, x, width)
        above = left.ypp * (1.0 + t / (reach2 + low)) > left.trace * np.square(
            1.0 + t * left.yppp / left.ypp
        )
        below = left.ypp * (1.0 + x / scale) < left.trace * np.square(1.0 + x / (reach1 + low))
        certain = (x <= 0.0) | np.where(left.ypp > left.trace, above, below & down)
        finite = np.flatnonzero(np.isfinite(high))
        if finite.size:
            a, b = pick(left, finite), pick(right, finite)
            certain[finite] |= settled(low[finite], high[finite], a, b)
    with np.errstate(invalid="ignore"):
        certain |= (low >= upper[row]) | (high * (1.0 - 4.0 * _EPS) <= low)
    return certain, low + x


def _point_inside(cells: _Cells, falling: Array, limit: Limit, upper: Array) -> Array:
    """Where to cut cells."""
    row, low, high, left, *_ = cells
    scale = left.trace / left.trace2
    top = np.minimum(high, upper[row])
    infinite = np.isinf(high)
    # what is beyond a point where h certainly falls is settled: not farther than that
    end = np.where(infinite & (falling > low) & (falling < top), falling, top)
    middle = _middle(low, end, scale)
    beyond = np.flatnonzero(infinite & (left.ypp > left.trace))
    if beyond.size:
        # nor before the maximum, where one is expected: next to it nothing tells more of h - 1
        few = cells.take(beyond)
        middle[beyond] = np.maximum(middle[beyond], _guess(few, limit, upper))
    return middle


def _brackets(cells: _Cells, limit: Limit, upper: Array) -> Brackets:
    row, low, high, left, right, *_ = cells
    infinite = np.isinf(high)
    if infinite.all():
        high, start = upper[row], _guess(cells, limit, upper)
        information = np.abs(left.observed_information)
    elif infinite.any():
        parts = [cells.take(np.flatnonzero(which)) for which in (infinite, ~infinite)]
        return _joined([_brackets(part, limit, upper) for part in parts])
    else:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            start = peak(low, high, left, right)
        information = np.abs(0.5 * (left.observed_information + right.observed_information))
    inside = (start > low) & (start < high)
    start = np.where(inside, start, _middle(low, high, left.trace / left.trace2))
    return Brackets(row, low, high, start, information, left)


def settled(a: Any, b: Any, left: Slopes, right: Slopes) -> Any:
    """Whether a cell from a to b holds at most one maximum for certain."""
    width = b - a
    # the two inequalities of the module, without a division
    h_falls = (2.0 * left.trace + width * left.trace2) * right.yppp > right.ypp * left.trace2
    h_rises = 2.0 * right.trace * left.yppp < (left.ypp + width * left.yppp) * right.trace2
    return h_falls | h_rises | (left.ypp < right.trace) | (right.ypp > left.trace)


def _guess(cells: _Cells, limit: Limit, upper: Array) -> Array:
    """Where h = 1 beyond the lower ends: 1/h is nearly a hyperbola with the known asymptote.

    With x = tau2 - a the hyperbola is (x + c)/s2 + d k/(x + k), of the value and slope at a.
    """
    a, left, top = cells.low, cells.left, upper[cells.row]
    rss, variance, n, mean = (x[cells.row] for x in limit)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        f = left.trace / left.ypp
        slope = f * (2.0 * left.yppp / left.ypp - left.trace2 / left.trace)
        s2 = rss / n
        start = (a + 2.0 * variance - mean) / s2
        k = (f - start) / (1.0 / s2 - slope)
        half = 0.5 * (k + s2 * (start - 1.0))
        x = np.sqrt(half * half + s2 * k * (1.0 - f)) - half
        newton = (1.0 - f) / slope
        x = np.where((k > 0.0) & (x > 0.0), x, newton)
        t = a + x
        # within the range; a wild guess is replaced by a cautious one
        return np.where((t > a) & (t < top), t, _middle(a, top, left.trace / left.trace2))


def peak(low: Any, high: Any, left: Slopes, right: Slopes) -> Any:
    """Root of 1/h - 1, nearly linear in tau2, by inverse cubic interpolation."""
    fa, fb = left.trace / left.ypp, right.trace / right.ypp
    h = fb - fa
    s = (1.0 - fa) / h
    # d tau2 / d(1/h) at the two ends
    ma = left.ypp / (2.0 * left.yppp * fa - left.trace2)
    mb = right.ypp / (2.0 * right.yppp * fb - right.trace2)
    r = 1.0 - s
    return low + (high - low) * s * s * (3.0 - 2.0 * s) + h * s * r * (r * ma - s * mb)


def _middle(low: Array, high: Array, unit: Array) -> Array:
    """Point between the ends, geometric in tau2 + unit where rounding allows it."""
    middle = np.sqrt((low + unit) * (high + unit)) - unit
    return np.where((middle > low) & (middle < high), middle, 0.5 * (low + high))


def pick(s: Slopes, index: Any) -> Slopes:
    """Slopes of some data sets, or at some points."""
    return Slopes(s.ypp[index], s.yppp[index], s.trace[index], s.trace2[index])


def _join(s: Slopes, t: Slopes) -> Slopes:
    return Slopes(
        np.concatenate([s.ypp, t.ypp]),
        np.concatenate([s.yppp, t.yppp]),
        np.concatenate([s.trace, t.trace]),
        np.concatenate([s.trace2, t.trace2]),
    )


def climb(profile: Profile, brackets: Brackets, n: int) -> Array:
    """Maximum inside each bracket, by safeguarded Newton steps to the root of 1/h - 1.

    Parameters
    ----------
    profile : Profile
        Likelihood of n data sets.
    brackets : Brackets
        Cells with one maximum each.
    n : int
        Number of data sets.

    Returns
    -------
    ndarray, (m,)
        tau2, to the precision that the score allows.
    """
    tau2 = brackets.start.copy()
    active = np.flatnonzero(brackets.upper > brackets.lower)
    row, t = brackets.row[active], tau2[active]
    low, high = brackets.lower[active], brackets.upper[active]
    before, past = low, pick(brackets.left, active)
    for _ in range(_MAX_NEWTON):
        if not active.size:
            break
        s = profile.slopes(t, None if len(row) == n and (row[1:] > row[:-1]).all() else row)
        up = s.ypp > s.trace
        low, high = np.where(up, t, low), np.where(up, high, t)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            h = s.ypp / s.trace
            scale = s.trace / s.trace2
            step = (h - 1.0) / (2.0 * s.yppp / s.ypp - 1.0 / scale)
            # Newton's method knows this point alone, the interpolation that before it, too
            cubic = peak(before, t, past, s)
            gain = np.abs(cubic - (t + step))
            close = gain <= 0.5 * np.abs(step)
            new = np.where(close, cubic, t + step)
            inside = (new >= low) & (new <= high)
            new = np.where(inside, new, _middle(low, high, scale))
            # the error left is smaller than what the interpolation corrected by distance squared
            left = gain * np.square((t - before) / scale)
        done = inside & ((np.abs(step) <= _LAST_STEP * scale) | (close & (left <= _ERROR * scale)))
        done |= high - low <= 2.0 * _EPS * high
        tau2[active] = new
        open_ = np.flatnonzero(~done)
        active, row, low, high = active[open_], row[open_], low[open_], high[open_]
        before, past, t = t[open_], pick(s, open_), new[open_]
    return tau2


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
    rss, trace : ndarray, (n,)
        y'Py and tr P (tr W for ML) where the search began, at 0 unless a variance is 0.
    """

    tau2: Array
    lower: Array
    upper: Array
    maxima: Rows
    rss: Array
    trace: Array


def maximize(profile: Profile, lower: Array, upper: Array) -> Optimum:
    """Global maximum of the profile log-likelihood of each of n data sets.

    Parameters are those of `find_brackets`. Of equally high maxima the smallest tau2 is taken.
    """
    n = len(upper)
    at, rss = profile.slopes_and_rss(lower)
    found = find_brackets(profile, lower, upper, at)
    tau2 = climb(profile, found, n)
    maxima = np.bincount(found.row, minlength=n)
    first = np.cumsum(maxima) - maxima
    best = first.copy()
    contested = np.flatnonzero(maxima[found.row] > 1)
    if contested.size:
        rows = found.row[contested]
        value = np.full(len(tau2), -np.inf)
        value[contested] = profile.loglike(tau2[contested], rows)
        order = np.lexsort((tau2, -value, found.row))
        best = order[first]
    return Optimum(tau2[best], found.lower[best], found.upper[best], maxima, rss, at.trace)
