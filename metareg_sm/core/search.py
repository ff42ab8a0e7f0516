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
from typing import Any

import numpy as np

from metareg_sm.core.likelihood import Profile, Slopes
from metareg_sm.core.wls import Array, Rows

_EPS = float(np.finfo(float).eps)
_MAX_HALVINGS = 60
_MAX_NEWTON = 100
# a wider first cell is seldom settled, a narrower one is work without gain
_LOG_CELL_RATIO = math.log(2.0)
_BRACKET = ("row", "lower", "upper", "start")


def upper_bound(rss: Array, n: int, v: Array) -> Array:
    """A tau2 beyond which the log-likelihood only falls.

    From y'PPy <= rss / (min v + tau2)^2 and tr P >= n / (max v + tau2).

    Parameters
    ----------
    rss : ndarray, (...)
        Residual sum of squares of the unweighted regression.
    n : int
        k - r for REML, k for ML.
    v : ndarray, (..., k)
        Sampling variances.

    Returns
    -------
    ndarray, (...)
        The bound; 0 where the maximum must be at 0.
    """
    s2, low, high = rss / n, v.min(-1), v.max(-1)
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
        Where to begin inside.
    """

    row: Rows
    lower: Array
    upper: Array
    start: Array


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
    grid = 2 + int(np.log(ratio.max()) / _LOG_CELL_RATIO)
    edges = shift[:, None] * ratio[:, None] ** (np.arange(grid) / (grid - 1.0)) - unit[:, None]
    edges[:, 0], edges[:, -1] = lower, upper
    rows = np.arange(n)
    at = profile.slopes(edges, None if n == 1 else rows[:, None])
    a, b = edges[:, :-1], edges[:, 1:]
    left, right = _pick(at, np.s_[:, :-1]), _pick(at, np.s_[:, 1:])
    cell_rows = np.broadcast_to(rows[:, None], a.shape)
    falls = np.flatnonzero(left.ypp[:, 0] <= left.trace[:, 0])
    found = [Brackets(falls, lower[falls], lower[falls], lower[falls])]
    for halving in range(_MAX_HALVINGS):
        top = (left.ypp > left.trace) & (right.ypp <= right.trace)
        settled = (
            (right.yppp > 0.5 * left.trace2)
            | (left.ypp < right.trace)
            | (right.ypp > left.trace)
            | (left.yppp < 0.5 * right.trace2)
        )
        finished = bool(settled.all())
        if not finished:
            settled |= b - a <= 4.0 * _EPS * b
            settled |= halving == _MAX_HALVINGS - 1
            top &= settled
        hit = np.nonzero(top)
        r = cell_rows[hit]
        if r.size:
            low, high = a[hit], b[hit]
            step = _log_step(_pick(left, hit), low + unit[r])
            inside = (step > 0.0) & (low + step < high)
            found.append(Brackets(r, low, high, low + np.where(inside, step, 0.5 * (high - low))))
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
    row, low, high, start = (np.concatenate([getattr(f, c) for f in found]) for c in _BRACKET)
    if len(row) == 1:
        return Brackets(row, low, high, start)
    order = np.lexsort((low, row))
    return Brackets(row[order], low[order], high[order], start[order])


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
