"""Batched global maximisation of the profile log-likelihood over tau2 >= 0.

The score has the sign of h - 1 with h = y'PPy / trace, and a local maximum is where h falls through
1. Write r1 = y'PPPy / y'PPy and r2 = trace2 / trace, so that (ln h)' = r2 - 2 r1. By the
inequality of Cauchy and Schwarz neither 1/r1 - tau2 nor 1/r2 - tau2 ever falls. Hence h falls
throughout a cell from a to b where

    2/r2(a) - a  >  1/r1(b) - b,

and rises throughout it where 2/r2(b) - b < 1/r1(a) - a. That y'PPy and the traces fall bounds the
score besides. A cell that none of this settles is halved. Once all are settled every local maximum
lies in a bracket of its own and none can have been missed: the likelihood does have several, mostly
under ML with very unequal variances. The limit of 1/r1(b) - b is known, so that for ordinary data
the values at 0 settle the cell from 0 to infinity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from metareg_sm.core.likelihood import Limit, Profile, Slopes
from metareg_sm.core.wls import Array, Rows

_EPS = float(np.finfo(float).eps)
_MAX_HALVINGS = 60
_MAX_NEWTON = 100
# Share of unfinished data sets above which all are evaluated.
_MOST = 0.6
# after a Newton step of this relative size the next one would be below rounding
_LAST_STEP = 1e-9
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
    """

    row: Rows
    lower: Array
    upper: Array
    start: Array
    information: Array


def find_brackets(profile: Profile, lower: Array, upper: Array) -> Brackets:
    """Bracket every local maximum of every data set between `lower` and `upper`.

    Parameters
    ----------
    profile : Profile
        Likelihood of n data sets.
    lower, upper : ndarray, (n,)
        Range of tau2; the log-likelihood must fall beyond `upper`. `lower` is 0 unless a zero
        variance leaves the likelihood undefined there.

    Returns
    -------
    Brackets
        Sorted by row, then by tau2. A row whose log-likelihood falls from `lower` on has the
        bracket (lower, lower).
    """
    n = len(upper)
    limit = Limit(*(np.broadcast_to(x, n) for x in profile.limit()))
    left = profile.slopes(lower)
    unit = left.trace / left.trace2
    rows, a = np.arange(n), lower
    found = []
    falls = np.flatnonzero(left.ypp <= left.trace)
    if falls.size:
        low = lower[falls]
        found.append(Brackets(falls, low, low, low, np.zeros(len(falls))))
    # cells from a to infinity
    open_ = np.flatnonzero(~_settled_to_infinity(a, left, limit))
    hit = np.flatnonzero(left.ypp > left.trace)
    guess = np.where(left.ypp > left.trace, _guess(a, left, limit, upper), _middle(a, upper, unit))
    if open_.size:
        closed = np.ones(n, dtype=bool)
        closed[open_] = False
        hit = hit[closed[hit]]
    if hit.size:
        at = pick(left, hit)
        information = np.abs(at.observed_information)
        found.append(Brackets(hit, a[hit], upper[hit], guess[hit], information))
    if open_.size:
        rows, a, middle = open_, a[open_], guess[open_]
        at = profile.slopes(middle, rows)
        found += _refine(profile, rows, a, pick(left, open_), middle, at, upper, limit, unit)
    row, low, *others = (np.concatenate([getattr(f, c) for f in found]) for c in _BRACKET)
    order = np.lexsort((low, row))
    return Brackets(row[order], low[order], *(other[order] for other in others))


def _refine(
    profile: Profile,
    rows: Rows,
    a: Array,
    left: Slopes,
    middle: Array,
    at: Slopes,
    upper: Array,
    limit: Limit,
    unit: Array,
) -> list[Brackets]:
    """Brackets of rows that one cell does not settle: from a to middle and from there on."""
    found = []
    beyond = np.flatnonzero(~_settled_to_infinity(middle, at, Limit(*(x[rows] for x in limit))))
    up = at.ypp > at.trace
    simple = np.setdiff1d(np.flatnonzero(up), beyond, assume_unique=True)
    if simple.size:
        r, low, s = rows[simple], middle[simple], pick(at, simple)
        start = _guess(low, s, Limit(*(x[r] for x in limit)), upper[r])
        found.append(Brackets(r, low, upper[r], start, np.abs(s.observed_information)))
    # cells with two finite ends
    b, right = middle, at
    if beyond.size:
        r = rows[beyond]
        end = profile.slopes(upper[r], r)
        right = _join(right, end)
        left = _join(left, pick(at, beyond))
        a, b = np.concatenate([a, middle[beyond]]), np.concatenate([b, upper[r]])
        rows = np.concatenate([rows, r])
    for halving in range(_MAX_HALVINGS):
        certain = settled(a, b, left, right)
        if not certain.all():
            certain |= b - a <= 4.0 * _EPS * b
            certain |= halving == _MAX_HALVINGS - 1
        hit = np.flatnonzero(certain & (left.ypp > left.trace) & (right.ypp <= right.trace))
        if hit.size:
            found.append(_bracket(rows[hit], a[hit], b[hit], pick(left, hit), pick(right, hit)))
        open_ = np.flatnonzero(~certain)
        if not open_.size:
            break
        rows, a, b = rows[open_], a[open_], b[open_]
        middle = _middle(a, b, unit[rows])
        at = profile.slopes(middle, rows)
        left, right = pick(left, open_), pick(right, open_)
        left, right = _join(left, at), _join(at, right)
        rows = np.concatenate([rows, rows])
        a, b = np.concatenate([a, middle]), np.concatenate([middle, b])
    return found


def _settled_to_infinity(a: Any, left: Slopes, limit: Limit) -> Any:
    """Whether h falls from a on."""
    with np.errstate(divide="ignore", invalid="ignore"):
        # without residual variation there is no limit, and no maximum but the lower end
        return (2.0 * left.trace / left.trace2 - a > limit.variance) | (limit.rss == 0.0)


def settled(a: Any, b: Any, left: Slopes, right: Slopes) -> Any:
    """Whether a cell from a to b holds at most one maximum for certain."""
    width = b - a
    # the two inequalities of the module, without a division
    h_falls = (2.0 * left.trace + width * left.trace2) * right.yppp > right.ypp * left.trace2
    h_rises = 2.0 * right.trace * left.yppp < (left.ypp + width * left.yppp) * right.trace2
    return h_falls | h_rises | (left.ypp < right.trace) | (right.ypp > left.trace)


def _guess(a: Any, left: Slopes, limit: Limit, upper: Any) -> Any:
    """Where h = 1 beyond a: 1/h is nearly a hyperbola with the known asymptote.

    With x = tau2 - a the hyperbola is (x + c)/s2 + d k/(x + k), of the value and slope at a.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        f = left.trace / left.ypp
        slope = f * (2.0 * left.yppp / left.ypp - left.trace2 / left.trace)
        s2 = limit.rss / limit.n
        start = (a + 2.0 * limit.variance - limit.mean) / s2
        k = (f - start) / (1.0 / s2 - slope)
        half = 0.5 * (k + s2 * (start - 1.0))
        x = np.sqrt(half * half + s2 * k * (1.0 - f)) - half
        newton = (1.0 - f) / slope
        x = np.where((k > 0.0) & (x > 0.0), x, newton)
        t = a + x
        # within the range; a wild guess is replaced by a cautious one
        return np.where((t > a) & (t < upper), t, _middle(a, upper, left.trace / left.trace2))


def _bracket(row: Rows, low: Array, high: Array, left: Slopes, right: Slopes) -> Brackets:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        start = peak(low, high, left, right)
        inside = (start > low) & (start < high)
    start = np.where(inside, start, _middle(low, high, left.trace / left.trace2))
    information = np.abs(0.5 * (left.observed_information + right.observed_information))
    return Brackets(row, low, high, start, information)


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
    row, low, high = brackets.row, brackets.lower.copy(), brackets.upper.copy()
    open_ = high > low
    one_each = len(row) == n and bool((row[1:] > row[:-1]).all())
    active: Any = slice(None) if one_each else np.flatnonzero(open_)
    for _ in range(_MAX_NEWTON):
        if not open_.any():
            break
        # picking data sets copies them: not worth it before most of them are finished
        if not (isinstance(active, slice) and np.count_nonzero(open_) > _MOST * n):
            active = np.flatnonzero(open_)
        t = tau2[active]
        s = profile.slopes(t, None if isinstance(active, slice) else row[active])
        up = s.ypp > s.trace
        lo, hi = np.where(up, t, low[active]), np.where(up, high[active], t)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            h = s.ypp / s.trace
            scale = s.trace / s.trace2
            step = (h - 1.0) / (2.0 * s.yppp / s.ypp - 1.0 / scale)
            new = t + step
            inside = (new >= lo) & (new <= hi)
            new = np.where(inside, new, _middle(lo, hi, scale))
        done = (inside & (np.abs(step) <= _LAST_STEP * scale)) | (hi - lo <= 2.0 * _EPS * hi)
        # what is finished stays as it is, whoever shares its block
        mine = open_[active]
        tau2[active] = np.where(mine, new, t)
        low[active], high[active] = lo, hi
        open_[active] &= ~done
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


def maximize(profile: Profile, lower: Array, upper: Array) -> Optimum:
    """Global maximum of the profile log-likelihood of each of n data sets.

    Parameters are those of `find_brackets`. Of equally high maxima the smallest tau2 is taken.
    """
    n = len(upper)
    found = find_brackets(profile, lower, upper)
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
    return Optimum(tau2[best], found.lower[best], found.upper[best], maxima)
