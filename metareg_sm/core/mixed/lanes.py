"""One likelihood at many parameter vectors, of one or of many outcomes, in single calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from scipy.ndimage import maximum_filter

from metareg_sm._typing import Array, Codes, Mask
from metareg_sm.core.mixed.ascent import LAST, Ascent, ascend
from metareg_sm.core.mixed.likelihood import MixedLikelihood, Point, point_of
from metareg_sm.core.mixed.moments import Heights, Many, Profile, heights, profile
from metareg_sm.core.mixed.starts import Axis

# Points of a grid, along each axis, that a polynomial goes through; and twice the parts of a step
# at which it is looked at where there is one variance.
_NODES, _FINE = 4, 32


@dataclass(frozen=True, eq=False)
class Lanes:
    """The likelihood of a problem at parameters (..., m).

    Attributes
    ----------
    problem : MixedLikelihood
        The data, with the outcomes of which only the scale matters here.
    many : Many
        Moments of one or of many outcomes.
    reml : bool
        Restricted likelihood, else maximum likelihood.
    """

    problem: MixedLikelihood
    many: Many
    reml: bool

    @cached_property
    def intercepts(self) -> bool:
        """Whether all terms are intercepts: each parameter is the only entry of a G."""
        return all(term.q == 1 for term in self.problem.terms)

    @cached_property
    def _shift(self) -> float:
        return self.problem.n(self.reml) * float(np.log(self.problem.scale))

    def values(self, phi: Array, lanes: Codes | None = None) -> Profile:
        """Log-likelihood (...,) and least squares at parameters (..., m)."""
        problem = self.problem
        moments = self.many.moments(problem.matrices(phi), 0, lanes)
        found = profile(moments, problem.n(self.reml), self.reml)
        return found._replace(value=found.value - self._shift)

    def heights(self, phi: Array, lanes: Codes | None = None) -> Heights:
        """Log-likelihood with derivatives by the parameters, at phi (B, m)."""
        problem = self.problem
        moments = self.many.moments(problem.matrices(phi), 2, lanes)
        found = heights(moments, problem.n(self.reml), self.reml)
        value = found.value - self._shift
        if self.intercepts:
            return found._replace(value=value)
        jacobians, curvatures, at = [], [], 0
        for term, part in zip(problem.terms, problem.slices, strict=True):
            places, shares, square = _entries(term.q)
            own, n = phi[:, part], len(places)
            M = (shares * found.gradient[:, at : at + n]).take(square, axis=1)
            curvatures.append(term.structure.curvature(own, M))
            D = term.structure.derivatives(own)
            jacobians.append(D.reshape(*own.shape, -1).take(places, axis=2))
            at += n
        J, curvature = _diagonal(jacobians), _diagonal(curvatures)
        turned = J.swapaxes(1, 2)
        return Heights(
            value,
            (J @ found.gradient[..., None])[..., 0],
            J @ found.observed @ turned - curvature,
            J @ found.expected @ turned,
        )

    def point(self, phi: Array) -> Point | None:
        """The same at one vector of parameters (m,); None where it is undefined."""
        at = self.heights(phi[None])
        return point_of(at, phi, 0) if np.isfinite(at.value[0]) else None

    def peaks(self, axes: Sequence[Axis]) -> Array:
        """Points (n, m) near peaks of the likelihood on a grid of variances, the highest first.

        Each is the top, near a point of the grid that is no lower than its neighbours, of the
        polynomial through the points around, cubic along each axis.
        """
        value = self._grid(axes)
        high = np.nonzero((value == maximum_filter(value, 3, mode="nearest")) & (value > -np.inf))
        order = np.argsort(-value[high], kind="stable").tolist()
        tops = (_top(value, [int(at[i]) for at in high]) for i in order)
        return np.array([[axis.at(x) for x, axis in zip(top, axes, strict=True)] for top in tops])

    def _grid(self, axes: Sequence[Axis]) -> Array:
        """Log-likelihood on a grid of variances; each level is summed up along its own axes."""
        problem, G = self.problem, []
        for i, axis in enumerate(axes):
            shape = [1] * (len(axes) + 2)
            shape[i] = axis.points
            values = [axis.at(x) for x in range(axis.points)]
            G.append(np.array(values).reshape(shape))
        moments = self.many.moments(G, 0, None)
        return profile(moments, problem.n(self.reml), self.reml).value

    def ascend(
        self,
        starts: Array,
        fixed: Mask | None = None,
        outcome: Codes | None = None,
        last: float = LAST,
        alone: bool = False,
    ) -> Ascent:
        """Climb from each of the starts, (B, m).

        Parameters
        ----------
        starts : ndarray, (B, m)
            Working parameters to begin with.
        fixed : ndarray of bool, (m,), optional
            Parameters that stay where they are.
        outcome : ndarray of int, (B,), optional
            Which outcomes each climb is of, where there are several.
        last : float
            Newton decrement whose step is not followed by another.
        alone : bool
            Whether the last climb, where it is the highest, is left near its end.
        """
        problem = self.problem
        lower, upper = problem.bounds
        if fixed is not None:
            lower, upper = (np.where(fixed, starts[0], end) for end in (lower, upper))
        if outcome is None:
            return ascend(
                self.heights, starts, lower, upper, problem.moved, last, problem.canonical, alone
            )
        return ascend(
            lambda phi, at: self.heights(phi, outcome[at]),
            starts,
            lower,
            upper,
            problem.moved,
            last,
        )


def _top(value: Array, point: Sequence[int]) -> list[float]:
    """Place, in steps of a grid, of the top of the polynomial through the points around one."""
    around, places = [], []
    for axis, at in enumerate(point):
        n = min(_NODES, value.shape[axis])
        first = min(max(at - 1, 0), value.shape[axis] - n)
        around.append(slice(first, first + n))
        places.append((n, at - first))
    found = value[tuple(around)]
    if not np.isfinite(found).all():
        return list(point)
    fine = _FINE // 2 ** len(point)
    for n, at in places:
        # the first axis becomes the last
        found = found.reshape(n, -1).T @ _interpolation(n, at, fine)[1]
    shape = [len(_interpolation(n, at, fine)[0]) for n, at in places]
    found = found.reshape(shape)
    top = [int(i) for i in np.unravel_index(int(found.argmax()), shape)]
    tops = []
    for axis, (n, at) in enumerate(places):
        through: list[int | slice] = [*top]
        through[axis] = slice(None)
        line = found[tuple(through)]
        shift, i = 0.0, top[axis]
        if 0 < i < len(line) - 1:
            before, height, after = line[i - 1 : i + 2].tolist()
            bend = 2.0 * height - before - after
            shift = 0.5 * (after - before) / (bend * fine) if bend > 0.0 else 0.0
        tops.append(around[axis].start + float(_interpolation(n, at, fine)[0][i]) + shift)
    return tops


@cache
def _interpolation(n: int, at: int, fine: int) -> tuple[Array, Array]:
    """Places up to a step from one of n points, and weights (n, places) of the polynomial there."""
    low, high = max(at - 1, 0), min(at + 1, n - 1)
    x = np.linspace(low, high, (high - low) * fine + 1)
    powers, nodes = np.vander(x, n).T, np.vander(np.arange(float(n)), n).T
    weights = np.asarray(np.linalg.solve(nodes, powers), dtype=float)
    return x, weights


@cache
def _entries(q: int) -> tuple[Codes, Array, Codes]:
    """Entries of a G (q, q) on and above its diagonal.

    Their places among all entries, their shares of a derivative by both entries of a pair, and
    which of them each entry is, (q, q).
    """
    rows, columns = np.triu_indices(q)
    square = np.empty((q, q), dtype=np.intp)
    square[rows, columns] = square[columns, rows] = np.arange(len(rows))
    return rows * q + columns, np.where(rows == columns, 1.0, 0.5), square


def _diagonal(blocks: list[Array]) -> Array:
    """Matrices (B, r, c) with blocks along their diagonal."""
    if len(blocks) == 1:
        return blocks[0]
    ends = np.cumsum([block.shape[1:] for block in blocks], axis=0)
    found = np.zeros((len(blocks[0]), *ends[-1]))
    for block, (row, column) in zip(blocks, ends.tolist(), strict=True):
        found[:, row - block.shape[1] : row, column - block.shape[2] : column] = block
    return found
