"""What values at the two ends of a cell of tau2 say of the likelihood inside.

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

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from metareg_sm._typing import Array, Rows
from metareg_sm.core.likelihood.profile import Derivatives, Limit

_EPS = float(np.finfo(float).eps)


class Cells(NamedTuple):
    """Cells from `low` to `high`, which may be infinite, of the data sets `row`.

    Inside, 1/r1 - tau2 is at most `variance` and 1/r2 - tau2 at most `mean`, as in `Limit`.
    """

    row: Rows
    low: Array
    high: Array
    left: Derivatives
    right: Derivatives
    variance: Array
    mean: Array

    def some(self, index: Rows) -> Cells:
        """Some of the cells."""
        row, low, high, left, right, variance, mean = self
        return Cells(
            row[index],
            low[index],
            high[index],
            pick(left, index),
            pick(right, index),
            variance[index],
            mean[index],
        )


def to_infinity(row: Rows, low: Array, left: Derivatives, limit: Limit) -> Cells:
    """Cells from `low` to infinity."""
    zero = np.zeros(len(row))
    # without residual variation there is no limit, and no maximum but the lower end
    variance = np.where(limit.rss[row] == 0.0, 0.0, limit.variance[row])
    right = Derivatives(zero, zero, zero, zero)
    return Cells(row, low, zero + np.inf, left, right, variance, limit.mean[row])


def slices(cells: Cells, points: Array, at: Derivatives) -> Cells:
    """Cells cut at the same number of ascending points each, all first points before all second."""
    row, low, high, left, right, variance, mean = cells
    with np.errstate(divide="ignore", invalid="ignore"):
        variance_left, mean_left = at.ypp / at.yppp - points, at.trace / at.trace2 - points
    return Cells(
        np.tile(row, 1 + len(points) // len(row)),
        np.concatenate([low, points]),
        np.concatenate([points, high]),
        join(left, at),
        join(at, right),
        np.concatenate([variance_left, variance]),
        np.concatenate([mean_left, mean]),
    )


def examine(cells: Cells, upper: Array) -> tuple[npt.NDArray[np.bool_], Array]:
    """Whether each cell holds at most one maximum for certain, and from where on h falls in it."""
    row, low, high, left, right, variance, mean = cells
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        width = high - low
        # h falls from low + x on
        scale = left.trace / left.trace2
        x = np.clip(variance + low - 2.0 * scale, 0.0, width)
        down = right.ypp <= right.trace
        t = np.where(down, x, width)
        above = left.ypp * (1.0 + t / (mean + low)) > left.trace * np.square(
            1.0 + t * left.yppp / left.ypp
        )
        below = left.ypp * (1.0 + x / scale) < left.trace * np.square(1.0 + x / (variance + low))
        certain = (x <= 0.0) | np.where(left.ypp > left.trace, above, below & down)
        finite = np.flatnonzero(np.isfinite(high))
        if finite.size:
            a, b = pick(left, finite), pick(right, finite)
            certain[finite] |= settled(low[finite], high[finite], a, b)
    with np.errstate(invalid="ignore"):
        certain |= (low >= upper[row]) | (high * (1.0 - 4.0 * _EPS) <= low)
    return certain, low + x


def point_inside(cells: Cells, falling: Array, limit: Limit, upper: Array) -> Array:
    """Where to cut cells."""
    row, low, high, left, *_ = cells
    scale = left.trace / left.trace2
    top = np.minimum(high, upper[row])
    infinite = np.isinf(high)
    # what is beyond a point where h certainly falls is settled: not farther than that
    end = np.where(infinite & (falling > low) & (falling < top), falling, top)
    middle = middle_of(low, end, scale)
    beyond = np.flatnonzero(infinite & (left.ypp > left.trace))
    if beyond.size:
        # nor before the maximum, where one is expected: next to it nothing tells more of h - 1
        few = cells.some(beyond)
        middle[beyond] = np.maximum(middle[beyond], guess(few, limit, upper))
    return middle


def settled(a: Any, b: Any, left: Derivatives, right: Derivatives) -> Any:
    """Whether a cell from a to b holds at most one maximum for certain."""
    width = b - a
    # the two inequalities of the module, without a division
    h_falls = (2.0 * left.trace + width * left.trace2) * right.yppp > right.ypp * left.trace2
    h_rises = 2.0 * right.trace * left.yppp < (left.ypp + width * left.yppp) * right.trace2
    return h_falls | h_rises | (left.ypp < right.trace) | (right.ypp > left.trace)


def guess(cells: Cells, limit: Limit, upper: Array) -> Array:
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
        return np.where((t > a) & (t < top), t, middle_of(a, top, left.trace / left.trace2))


def peak(low: Any, high: Any, left: Derivatives, right: Derivatives) -> Any:
    """Root of 1/h - 1, nearly linear in tau2, by inverse cubic interpolation."""
    fa, fb = left.trace / left.ypp, right.trace / right.ypp
    h = fb - fa
    s = (1.0 - fa) / h
    # d tau2 / d(1/h) at the two ends
    ma = left.ypp / (2.0 * left.yppp * fa - left.trace2)
    mb = right.ypp / (2.0 * right.yppp * fb - right.trace2)
    r = 1.0 - s
    return low + (high - low) * s * s * (3.0 - 2.0 * s) + h * s * r * (r * ma - s * mb)


def middle_of(low: Array, high: Array, unit: Array) -> Array:
    """Point between the ends, geometric in tau2 + unit where rounding allows it."""
    middle = np.sqrt((low + unit) * (high + unit)) - unit
    return np.where((middle > low) & (middle < high), middle, 0.5 * (low + high))


def pick(s: Derivatives, index: Any) -> Derivatives:
    """Derivatives of some data sets, or at some points."""
    return Derivatives(s.ypp[index], s.yppp[index], s.trace[index], s.trace2[index])


def join(s: Derivatives, t: Derivatives) -> Derivatives:
    """Derivatives of some data sets, then of others."""
    return Derivatives(
        np.concatenate([s.ypp, t.ypp]),
        np.concatenate([s.yppp, t.yppp]),
        np.concatenate([s.trace, t.trace]),
        np.concatenate([s.trace2, t.trace2]),
    )
