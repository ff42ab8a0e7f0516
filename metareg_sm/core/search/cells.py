"""What values at the two ends of a cell of tau2 say of the likelihood inside.

The score has the sign of h - 1 with h = y'PPy / trace, and a local maximum is where h falls through
1. Write r1 = y'PPPy / y'PPy and r2 = trace2 / trace, so that (ln h)' = r2 - 2 r1. By the
inequality of Cauchy and Schwarz neither 1/r1 - tau2 nor 1/r2 - tau2 ever falls. Two things follow
in a cell from a to b:

- h rises up to 1/r1(a) - a - 2 (1/r2(b) - b) and falls from 1/r1(b) - b - 2 (1/r2(a) - a) on.
- f = (y'PPy)^-1/2 and g = 1/trace are concave, so that both lie above their chords and below their
  tangents at a and b. No bounds that know values and slopes at the two ends alone are tighter. h is
  above 1 where f^2 is below g.

Between the two points of the first, bounds of the second may show that h is above 1 throughout, or
below. Then the cell holds one maximum at most. A cell that this does not settle is cut in two. Once
all are settled every local maximum lies in a bracket of its own and none can have been missed: the
likelihood does have several, mostly under ML with very unequal variances. The limits of 1/r1 - tau2
and 1/r2 - tau2, and the slopes of f and g, are known as tau2 grows, so that values at 0 alone
settle the cell from 0 to infinity of many data sets.
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


def examine(cells: Cells, limit: Limit, upper: Array) -> tuple[npt.NDArray[np.bool_], Array]:
    """Whether each cell holds at most one maximum for certain, and from where on h falls in it.

    A maximum is inside one of them where h is above 1 at the lower end and not at the upper.
    """
    row, low, high, left, right, variance, mean = cells
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        width = high - low
        left_variance, left_mean = left.ypp / left.yppp, left.trace / left.trace2
        variance, mean = variance + low, mean + low
        # h rises up to low + begin, and falls from low + end on
        begin = np.clip(left_variance - 2.0 * mean, 0.0, width)
        end = np.clip(variance - 2.0 * left_mean, 0.0, width)
        certain = (end <= begin) | (low >= upper[row]) | (high * (1.0 - 4.0 * _EPS) <= low)
        few = np.flatnonzero(~certain)
        if few.size:
            first, last = pick(left, few), pick(right, few)
            f, g = _Lines.between(
                1.0 / np.sqrt(first.ypp), left_variance[few], 1.0 / np.sqrt(last.ypp),
                variance[few], width[few], 1.0 / np.sqrt(limit.rss[row[few]]),
            ), _Lines.between(
                1.0 / first.trace, left_mean[few], 1.0 / last.trace,
                mean[few], width[few], 1.0 / limit.n[row[few]],
            )  # fmt: skip
            up = f.below(g, begin[few], end[few])
            # where h is not above 1 at the lower end, it may rise and fall again
            up &= (first.ypp > first.trace) | (last.ypp > last.trace)
            certain[few] = up | f.above(g, begin[few], end[few])
    return certain, low + end


class _Lines(NamedTuple):
    """Lines that bound a concave function in cells: (value at the lower end, slope) each.

    Attributes
    ----------
    first, last : tuple of ndarray, (n,)
        Tangents at the two ends, above the function.
    chord : tuple of ndarray, (n,)
        Below it.
    """

    first: tuple[Array, Array]
    last: tuple[Array, Array]
    chord: tuple[Array, Array]

    @classmethod
    def between(
        cls, a: Array, scale_a: Array, b: Array, scale_b: Array, width: Array, slope: Array
    ) -> _Lines:
        """Lines of a function with values a, b at the ends of cells.

        The tangents are a (1 + x / scale_a) and proportional to scale_b + x. Where a cell ends at
        infinity the function becomes a line of the given slope.
        """
        infinite = np.isinf(width)
        last = np.where(infinite, slope, b / (scale_b + width))
        chord = np.where(infinite, slope, (b - a) / width)
        return cls((a, a / scale_a), (last * scale_b, last), (a, chord))

    def upper(self, x: Array) -> Array:
        """What the function does not exceed at x beyond the lower ends."""
        return np.minimum(_at(self.first, x), _at(self.last, x))

    def bend(self, begin: Array, end: Array) -> Array:
        """Where the two tangents meet, or the nearest point of a range."""
        (a, slope_a), (b, slope_b) = self.first, self.last
        return np.clip((b - a) / (slope_a - slope_b), begin, end)

    def below(self, g: _Lines, begin: Array, end: Array) -> npt.NDArray[np.bool_]:
        """Whether the square of this function is below another between two points."""
        # the least difference of a line and the square of one is at an end
        return np.logical_and.reduce(
            [
                np.square(self.upper(x)) < _at(g.chord, x)
                for x in (begin, end, self.bend(begin, end))
            ]
        )

    def above(self, g: _Lines, begin: Array, end: Array) -> npt.NDArray[np.bool_]:
        """Whether the square of this function is above another between two points."""
        value, slope = self.chord
        nearest = [
            np.clip((0.5 * line[1] / slope - value) / slope, begin, end)
            for line in (g.first, g.last)
        ]
        return np.logical_and.reduce(
            [np.square(_at(self.chord, x)) > g.upper(x) for x in (*nearest, g.bend(begin, end))]
        )


def _at(line: tuple[Array, Array], x: Array) -> Array:
    return line[0] + line[1] * x


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
    right = cells.right
    around = np.flatnonzero(~infinite & (left.ypp > left.trace) & (right.ypp <= right.trace))
    if around.size:
        # halfway to the maximum that an interpolation expects: one part is small then
        few = cells.some(around)
        a, b, unit = few.low, few.high, scale[around]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            top = peak(a, b, few.left, few.right)
            between = np.sqrt((top + unit) * (middle[around] + unit)) - unit
        good = (top > a) & (top < b) & (between > a) & (between < b)
        middle[around[good]] = between[good]
    return middle


def settled(a: Any, b: Any, left: Derivatives, right: Derivatives) -> Any:
    """Whether a cell from a to b holds at most one maximum for certain."""
    width = b - a
    # whether h falls or rises throughout, without a division
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
