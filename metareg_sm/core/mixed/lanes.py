"""One likelihood at many parameter vectors, of one or of many outcomes, in single calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from scipy.ndimage import maximum_filter

from metareg_sm._typing import Array, Codes, Mask
from metareg_sm.core.mixed.ascent import Ascent, ascend
from metareg_sm.core.mixed.likelihood import MixedLikelihood
from metareg_sm.core.mixed.moments import Heights, Many, Profile, heights, profile


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
        B, m = phi.shape
        J, curvature, at = np.zeros((B, m, found.gradient.shape[1])), np.zeros((B, m, m)), 0
        for term, part in zip(problem.terms, problem.slices, strict=True):
            i, j = _entries(term.q)
            own, entries = phi[:, part], slice(at, at + len(i))
            M = np.empty((B, term.q, term.q))
            M[:, i, j] = M[:, j, i] = found.gradient[:, entries] * np.where(i == j, 1.0, 0.5)
            curvature[:, part, part] = term.structure.curvature(own, M)
            J[:, part, entries] = term.structure.derivatives(own)[..., i, j]
            at = entries.stop
        turned = J.swapaxes(1, 2)
        return Heights(
            value,
            (J @ found.gradient[..., None])[..., 0],
            J @ found.observed @ turned - curvature,
            J @ found.expected @ turned,
        )

    def peaks(self, axes: Sequence[Array]) -> Array:
        """Points (n, m) near peaks of the likelihood on a grid of variances, the highest first.

        Each is the top of parabolas, in the logarithms, through a point of the grid that is no
        lower than its neighbours.
        """
        value = self._grid(axes)
        high = (value == maximum_filter(value, 3, mode="nearest")) & np.isfinite(value)
        at = np.argwhere(high)
        at = at[np.argsort(-value[high], kind="stable")]
        found = np.empty(at.shape)
        for j, axis in enumerate(axes):
            t, last = axis.ravel(), axis.size - 1
            unit = np.eye(len(axes), dtype=int)[j]
            middle = at[:, j]
            inside = (middle > 0) & (middle < last)
            before, after = (value[tuple((at + d * inside[:, None]).T)] for d in (-unit, unit))
            bend = 2.0 * value[tuple(at.T)] - before - after
            shift = np.where(
                bend > 0.0, 0.5 * (after - before) / np.where(bend > 0.0, bend, 1.0), 0.0
            )
            found[:, j] = t[middle] * (t[1] / t[0]) ** shift
        return found

    def _grid(self, axes: Sequence[Array]) -> Array:
        """Log-likelihood on a grid of variances; each level is summed up along its own axes."""
        problem = self.problem
        G = [axis[..., None, None] for axis in axes]
        moments = self.many.moments(G, 0, None)
        return profile(moments, problem.n(self.reml), self.reml).value

    def ascend(
        self, starts: Array, fixed: Mask | None = None, outcome: Codes | None = None
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
        """
        lower, upper = self.problem.bounds
        if fixed is not None:
            lower, upper = (np.where(fixed, starts[0], end) for end in (lower, upper))
        if outcome is None:
            return ascend(self.heights, starts, lower, upper, canonical=self.problem.canonical)
        return ascend(lambda phi, at: self.heights(phi, outcome[at]), starts, lower, upper)


@cache
def _entries(q: int) -> tuple[Codes, Codes]:
    """Rows and columns of the entries of a G on and above its diagonal."""
    rows, columns = np.triu_indices(q)
    return rows, columns
