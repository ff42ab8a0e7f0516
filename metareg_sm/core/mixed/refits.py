"""The same model with dependent effects, fitted to many outcomes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from metareg_sm._typing import Array, Mask
from metareg_sm.core.mixed.lanes import Lanes
from metareg_sm.core.mixed.likelihood import MixedLikelihood
from metareg_sm.core.mixed.moments import Many
from metareg_sm.core.mixed.starts import starts
from metareg_sm.core.studies import residuals

# Numbers that the evaluations of one block of outcomes may hold at a time.
_ROOM = 2_000_000
# Climbs begin at the estimates of the data, and at so many points far from there while these times
# the size of the problem are no more than the last: large data have one maximum. Correlations make
# more maxima than variances do.
_STARTS, _CORRELATED, _FEW = 3, 6, 2_000


class Refits(NamedTuple):
    """Fits of many outcomes.

    Attributes
    ----------
    params : ndarray, (B, p)
        Coefficients of the design.
    cov_unscaled : ndarray, (B, p, p)
        (X' Sigma^-1 X)^-1.
    components : ndarray, (B, m)
        Variances and correlations, as `Components` has them.
    converged : ndarray of bool, (B,)
        Whether a climb ended at a maximum; where none did the row means nothing.
    """

    params: Array
    cov_unscaled: Array
    components: Array
    converged: Mask


def refits(
    problem: MixedLikelihood, Z: Array, outcomes: Array, reml: bool, start: Array
) -> Refits | None:
    """Fit outcomes that share design, V and random terms with those of a problem.

    Parameters
    ----------
    problem : MixedLikelihood
        The data that they share.
    Z : ndarray, (k, p)
        Orthonormal basis of the design.
    outcomes : ndarray, (B, k)
        Outcomes.
    reml : bool
        Restricted likelihood, else maximum likelihood.
    start : ndarray, (m,)
        Working parameters near which most maxima will lie.

    Returns
    -------
    Refits or None
        None where effects are crossed, or terms have many levels: those are fitted one by one.
    """
    many = problem.many
    if many is None:
        return None
    most = _STARTS if set(problem.kinds) <= {"variance", "sd"} else _CORRELATED
    begin = np.vstack([start, starts(problem)[: min(most, _FEW // many.size)]])
    step = at_a_time(problem, many, len(begin))
    parts = [
        _block(problem, many, Z, outcomes[at : at + step], reml, begin)
        for at in range(0, len(outcomes), step)
    ]
    return Refits(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def at_a_time(problem: MixedLikelihood, many: Many, climbs: int) -> int:
    """Data sets whose evaluations, with so many climbs of each, fit into memory together."""
    derivatives = 1 + len(problem.kinds) * (len(problem.kinds) + 3) // 2
    return max(1, _ROOM // (many.size * (problem.p + 2) * derivatives * climbs))


def _block(
    problem: MixedLikelihood, many: Many, Z: Array, outcomes: Array, reml: bool, begin: Array
) -> Refits:
    scaled = residuals(outcomes, Z) / problem.scale
    lanes = Lanes(problem, many.with_outcomes(Z.T, scaled), reml)
    phi, converged = highest(lanes, begin, len(outcomes))
    fit = lanes.values(phi)
    level = outcomes @ Z
    params = (level + problem.scale * fit.coefs) @ problem.to_params.T
    half = problem.scale * problem.to_params
    return Refits(
        params, half @ fit.inverse @ half.T, problem.reported(phi), converged & fit.defined
    )


def highest(lanes: Lanes, begin: Array, B: int) -> tuple[Array, Mask]:
    """The highest end (B, m) of climbs from each of some points (n, m), and whether there is one.

    Parameters
    ----------
    lanes : Lanes
        The likelihoods of B data sets.
    begin : ndarray, (n, m)
        Where the climbs of every one of them begin.
    B : int
        Their number.
    """
    n, m = begin.shape
    found = lanes.ascend(np.repeat(begin, B, axis=0), outcome=np.tile(np.arange(B), n))
    value = np.where(found.converged, found.value, -np.inf).reshape(n, B)
    phi = found.phi.reshape(n, B, m)[value.argmax(0), np.arange(B)]
    return phi, np.isfinite(value.max(0))
