"""Batched global maximisation of the profile log-likelihood over tau2 >= 0.

Cells of tau2 are cut until each holds at most one maximum for certain (`core.search.cells`). Then
every local maximum lies in a bracket of its own and none can have been missed; inside it is found
to the precision that the score allows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from metareg_sm._typing import Array, Rows
from metareg_sm.core.likelihood.profile import Derivatives, Likelihood, Limit
from metareg_sm.core.search.cells import (
    Cells,
    examine,
    guess,
    middle_of,
    peak,
    pick,
    point_inside,
    slices,
    to_infinity,
)

_EPS = float(np.finfo(float).eps)
_MAX_CUTS = 60
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


@dataclass(frozen=True, slots=True, eq=False)
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
    left : Derivatives
        At the lower ends.
    certified : ndarray of bool, (n,)
        Data sets of which every maximum has a bracket of its own, for certain.
    """

    row: Rows
    lower: Array
    upper: Array
    start: Array
    information: Array
    left: Derivatives
    certified: npt.NDArray[np.bool_]


def find_brackets(
    profile: Likelihood,
    lower: Array,
    upper: Array,
    at: Derivatives | None = None,
    points: Array | None = None,
) -> Brackets:
    """Bracket every local maximum of every data set between `lower` and `upper`.

    Parameters
    ----------
    profile : Likelihood
        Likelihood of n data sets.
    lower, upper : ndarray, (n,)
        Range of tau2; the log-likelihood must fall beyond `upper`. `lower` is 0 unless a zero
        variance leaves the likelihood undefined there.
    at : Derivatives, optional
        At `lower`, where they are known.
    points : ndarray, (m,), optional
        Ascending values above `lower` at which the range is cut first, all in one evaluation.

    Returns
    -------
    Brackets
        Sorted by row, then by tau2. A row whose log-likelihood falls from `lower` on has the
        bracket (lower, lower).
    """
    n = len(upper)
    limit = Limit(*(np.broadcast_to(x, n) for x in profile.limit()))
    at = profile.derivatives(lower) if at is None else at
    found: list[Brackets] = []
    certified = np.ones(n, dtype=bool)
    falls = np.flatnonzero(at.ypp <= at.trace)
    if falls.size:
        low = lower[falls]
        at_low = pick(at, falls)
        found.append(Brackets(falls, low, low, low, np.zeros(len(falls)), at_low, certified))
    cells = to_infinity(np.arange(n), lower, at, limit)
    if points is not None:
        rows = np.tile(np.arange(n), len(points))
        places = np.repeat(points, n)
        cells = slices(cells, places, profile.derivatives(places, rows))
    for cut in range(_MAX_CUTS):
        certain, falling = examine(cells, limit, upper)
        if cut == _MAX_CUTS - 1:
            certified[cells.row[~certain]] = False
            certain[:] = True
        left, right = cells.left, cells.right
        hit = np.flatnonzero(certain & (left.ypp > left.trace) & (right.ypp <= right.trace))
        if hit.size:
            found.append(_brackets(cells.some(hit), limit, upper, certified))
        open_ = np.flatnonzero(~certain)
        if not open_.size:
            break
        cells = cells.some(open_)
        point = point_inside(cells, falling[open_], limit, upper)
        at = profile.derivatives(point, cells.row)
        cells = slices(cells, point, at)
    return _sorted(found, n)


def _joined(found: list[Brackets]) -> Brackets:
    row, low, high, start, information = (
        np.concatenate([getattr(f, name) for f in found]) for name in _BRACKET
    )
    left = Derivatives(
        *(np.concatenate(parts) for parts in zip(*(f.left for f in found), strict=True))
    )
    return Brackets(row, low, high, start, information, left, found[0].certified)


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
        every.certified,
    )


def _brackets(
    cells: Cells, limit: Limit, upper: Array, certified: npt.NDArray[np.bool_]
) -> Brackets:
    row, low, high, left, right, *_ = cells
    infinite = np.isinf(high)
    if infinite.all():
        high, start = upper[row], guess(cells, limit, upper)
        information = np.abs(left.observed_information)
    elif infinite.any():
        parts = [cells.some(np.flatnonzero(which)) for which in (infinite, ~infinite)]
        return _joined([_brackets(part, limit, upper, certified) for part in parts])
    else:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            start = peak(low, high, left, right)
        information = np.abs(0.5 * (left.observed_information + right.observed_information))
    inside = (start > low) & (start < high)
    start = np.where(inside, start, middle_of(low, high, left.trace / left.trace2))
    return Brackets(row, low, high, start, information, left, certified)


def climb(profile: Likelihood, brackets: Brackets, n: int) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Maximum inside each bracket, by safeguarded steps to the root of 1/h - 1.

    A step is Newton's, or the cubic interpolation from the last two points where both agree.

    Parameters
    ----------
    profile : Likelihood
        Likelihood of n data sets.
    brackets : Brackets
        Cells with one maximum each.
    n : int
        Number of data sets.

    Returns
    -------
    tau2 : ndarray, (m,)
        To the precision that the score allows.
    converged : ndarray of bool, (m,)
        Whether the steps became small enough before their number ran out.
    """
    tau2 = brackets.start.copy()
    active = np.flatnonzero(brackets.upper > brackets.lower)
    row, t = brackets.row[active], tau2[active]
    low, high = brackets.lower[active], brackets.upper[active]
    before, past = low, pick(brackets.left, active)
    for _ in range(_MAX_NEWTON):
        if not active.size:
            break
        s = profile.derivatives(t, None if len(row) == n and (row[1:] > row[:-1]).all() else row)
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
            new = np.where(inside, new, middle_of(low, high, scale))
            # the error left is smaller than what the interpolation corrected by distance squared
            error = gain * np.square((t - before) / scale)
        done = inside & ((np.abs(step) <= _LAST_STEP * scale) | (close & (error <= _ERROR * scale)))
        done |= high - low <= 2.0 * _EPS * high
        tau2[active] = new
        open_ = np.flatnonzero(~done)
        active, row, low, high = active[open_], row[open_], low[open_], high[open_]
        before, past, t = t[open_], pick(s, open_), new[open_]
    converged = np.ones(len(tau2), dtype=bool)
    converged[active] = False
    return tau2, converged


@dataclass(frozen=True, slots=True, eq=False)
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
    certified : ndarray of bool, (n,)
        Whether it is the global maximum for certain: False where the search gave up.
    """

    tau2: Array
    lower: Array
    upper: Array
    maxima: Rows
    rss: Array
    trace: Array
    certified: npt.NDArray[np.bool_]


def maximize(
    profile: Likelihood, lower: Array, upper: Array, points: Array | None = None
) -> Optimum:
    """Global maximum of the profile log-likelihood of each of n data sets.

    Parameters are those of `find_brackets`. Of equally high maxima the smallest tau2 is taken.
    """
    n = len(upper)
    at, rss = profile.derivatives_and_rss(lower)
    found = find_brackets(profile, lower, upper, at, points)
    tau2, converged = climb(profile, found, n)
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
    certified = found.certified & converged[best]
    return Optimum(
        tau2[best], found.lower[best], found.upper[best], maxima, rss, at.trace, certified
    )
