"""Where climbs of the likelihood of dependent effects begin."""

from __future__ import annotations

import math

import numpy as np

from metareg_sm._typing import Array
from metareg_sm.core.mixed.likelihood import MixedLikelihood

# Points at most that fill the space of many parameters.
_MOST = 100


def starts(problem: MixedLikelihood) -> list[Array]:
    """Working parameters to begin climbs from, rough ones included.

    Heterogeneity shared out evenly, most of it in one term, little of it, and, where terms have
    several parameters, points that fill the space of variances and correlations evenly (Roberts'
    sequence, which generalises the golden ratio).
    """
    total = max(problem.residual_variance - problem.typical, 0.1 * problem.typical)
    terms = problem.terms
    n = len(terms)

    def shared(variances: Array, rho: float) -> Array:
        pairs = zip(terms, variances, strict=True)
        return np.concatenate([t.structure.start(np.full(t.q, v), rho) for t, v in pairs])

    even = np.full(n, total / n)
    found = [shared(even, 0.4), shared(0.1 * even, 0.0)]
    if "correlation" in problem.kinds:
        found += [shared(even, -1.0), shared(even, 0.95), shared(0.1 * even, 0.95)]
    decades = np.log10(total / max(problem.smallest, 1e-300))
    if decades > 2.0:
        # unequal variances: a maximum may lie anywhere between the smallest of them and the total
        for size in 10.0 ** -np.arange(2.0, decades + 1.0):
            found.append(shared(size * even, 0.2))
    if n > 1:
        one = np.eye(n) * 0.9 * total + 0.1 * even
        found += [shared(variances, 0.4) for variances in one]
    m = len(problem.kinds)
    extra = (
        min(max(4 * max(m - n - 1, 0) ** 2, 8 if "correlation" in problem.kinds else 4), _MOST)
        if m > 1
        else 0
    )
    if extra > 0:
        dimension = sum(t.q + (t.q > 1) for t in terms)
        ratio = _golden(dimension)
        for i in range(1, extra + 1):
            u = np.mod(0.5 + i * ratio, 1.0)
            parts, at = [], 0
            for t in terms:
                variances = total / n * 10.0 ** (2.5 * u[at : at + t.q] - 2.0)
                rho = 2.0 * u[at + t.q] - 1.0 if t.q > 1 else 0.0
                parts.append(t.structure.start(variances, rho))
                at += t.q + (t.q > 1)
            found.append(np.concatenate(parts))
    return found


def grid(problem: MixedLikelihood, points: float) -> list[Array]:
    """Values of each variance of a problem that has nothing else, for a grid of so many points.

    From far below the smallest sampling variance, where those are unequal, to above the total; at
    least one, and at most four a decade.
    """
    top = 3.0 * max(problem.residual_variance - problem.typical, 0.1 * problem.typical)
    bottom = max(min(0.3 * problem.smallest, 0.01 * top), 1e-18 * top)
    decades, m = math.log10(top / bottom), len(problem.kinds)
    count = 1 + int(min(max(points ** (1.0 / m) - 1.0, decades), 4.0 * decades))
    return [bottom * (top / bottom) ** np.linspace(0.0, 1.0, count)] * m


def _golden(dimension: int) -> Array:
    """Steps of Roberts' sequence: powers of the root of x^(d+1) = x + 1."""
    x = 1.5
    for _ in range(40):
        x = (1.0 + x) ** (1.0 / (dimension + 1))
    return x ** -np.arange(1.0, dimension + 1)
