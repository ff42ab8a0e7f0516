"""Where climbs of the likelihood of dependent effects begin."""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np

from metareg_sm._typing import Array
from metareg_sm.core.mixed.covariances import Kind
from metareg_sm.core.mixed.likelihood import MixedLikelihood

# Steps of a grid, in the logarithm of what a mean varies by, and steps that there are at least.
_NARROW, _WIDE, _FEW = 0.6, 2.3, 3
# Points at most that fill the space of many parameters.
_MOST = 100


def starts(problem: MixedLikelihood) -> Array:
    """Working parameters (n, m) to begin climbs from, rough ones included.

    Heterogeneity shared out evenly, most of it in one term, little of it, and, where terms have
    several parameters, points that fill the space of variances and correlations evenly (Roberts'
    sequence, which generalises the golden ratio).
    """
    total = max(problem.residual_variance - problem.typical, 0.1 * problem.typical)
    decades = math.ceil(math.log10(total / max(problem.smallest, 1e-300)))
    levels = tuple(term.q for term in problem.terms)
    shares, rho = _shares(levels, problem.kinds, decades)
    variances, found, at = total * shares, [], 0
    for term, r in zip(problem.terms, rho.T, strict=True):
        found.append(term.structure.start(variances[:, at : at + term.q], r))
        at += term.q
    return np.concatenate(found, axis=1)


@cache
def _shares(levels: tuple[int, ...], kinds: tuple[Kind, ...], decades: int) -> tuple[Array, Array]:
    """Variances of all levels over the total, and a correlation for each term, of the starts.

    Parameters
    ----------
    levels : tuple of int
        Levels of each term.
    kinds : tuple of str
        What each working parameter is.
    decades : int
        How far the smallest sampling variance lies below the total.
    """
    n, m, correlated = len(levels), len(kinds), "correlation" in kinds
    even = np.full(n, 1.0 / n)
    shared = [(even, 0.4), (0.1 * even, 0.0)]
    if correlated:
        shared += [(even, -1.0), (even, 0.95), (0.1 * even, 0.95)]
    if decades > 2:
        # unequal variances: a maximum may lie anywhere between the smallest of them and the total
        shared += [(10.0**-decade * even, 0.2) for decade in range(2, decades + 1)]
    if n > 1:
        shared += [(most, 0.4) for most in 0.9 * np.eye(n) + 0.1 * even]
    variances = np.array([share for share, _ in shared]).repeat(levels, axis=1)
    rho = np.array([[r] * n for _, r in shared])
    if m == 1:
        return variances, rho
    extra = min(max(4 * max(m - n - 1, 0) ** 2, 8 if correlated else 4), _MOST)
    # coordinates of the variances of each term, and then that of its correlation
    several = np.array(levels) > 1
    ends = np.cumsum(levels + several)[several] - 1
    u = _filling(sum(levels) + len(ends), extra)
    rho = np.vstack([rho, np.zeros((extra, n))])
    rho[-extra:, several] = 2.0 * u[:, ends] - 1.0
    return np.vstack([variances, 10.0 ** (2.5 * np.delete(u, ends, 1) - 2.0) / n]), rho


class Axis(NamedTuple):
    """Values unit (e^(step x) - 1) of a variance, x from 0 to points - 1.

    Evenly spread in the logarithm of what a mean varies by in all; the first is 0.
    """

    unit: float
    step: float
    points: int

    def at(self, x: float) -> float:
        """Value at any x."""
        return self.unit * math.expm1(self.step * x)


def grid(problem: MixedLikelihood, points: float) -> list[Axis]:
    """Values of each variance of a problem that has nothing else, for a grid of so many points.

    From 0 to above the total.
    """
    top = 3.0 * max(problem.residual_variance - problem.typical, 0.1 * problem.typical)
    ranges = [math.log1p(top / least) for least in problem.least]
    step = (math.prod(ranges) / points) ** (1.0 / len(ranges))
    step = min(max(step, _NARROW), _WIDE)
    found = []
    for width, least in zip(ranges, problem.least, strict=True):
        count = max(_FEW, math.ceil(width / step))
        found.append(Axis(least, width / count, 1 + count))
    return found


def _filling(dimension: int, n: int) -> Array:
    """Points (n, dimension) of Roberts' sequence in the unit cube.

    Its steps are powers of the root of x^(d+1) = x + 1.
    """
    x = 1.5
    for _ in range(40):
        x = (1.0 + x) ** (1.0 / (dimension + 1))
    ratio = x ** -np.arange(1.0, dimension + 1)
    return np.mod(0.5 + np.arange(1.0, n + 1)[:, None] * ratio, 1.0)
