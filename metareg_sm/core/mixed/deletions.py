"""The same model with dependent effects, fitted without each cluster in turn."""

from __future__ import annotations

import numpy as np

from metareg_sm._typing import Array, Codes, Mask
from metareg_sm.core.mixed.identify import inner_point
from metareg_sm.core.mixed.lanes import Lanes
from metareg_sm.core.mixed.likelihood import MixedLikelihood
from metareg_sm.core.mixed.moments import Many, Profile
from metareg_sm.core.mixed.refits import Refits, at_a_time, highest
from metareg_sm.core.mixed.solution import MixedSolution
from metareg_sm.core.mixed.starts import starts
from metareg_sm.core.mixed.terms import Term
from metareg_sm.core.studies import residuals

# Maxima whose log-likelihoods differ by less are one.
_SAME = 1e-6
# Numbers, over all lanes and climbs, within which every deletion climbs from everywhere.
_CHEAP = 100_000
# Condition of X' Sigma^-1 X, 1 for all data, and squared length of the change of the coefficients
# by it, above which a deletion is left to a fit in a basis of its own.
_CONDITION, _FAR = 1e5, 1e4
# Share of the information of all data, or of a parameter's own, that is doubtfully more than 0.
_FLAT = 1e-7
# Share of the mean sampling variance below which a variance is 0, and below which the smallest
# sampling variance makes maxima that only a search of its own finds, and costs digits.
_NOTHING, _UNEQUAL = 1e-12, 1e-6


def deletions(
    solution: MixedSolution, y: Array, Z: Array, clusters: Codes, deleted: Codes
) -> Refits | None:
    """Fit without each of some clusters, all in step.

    Lanes share the data, in which the effects of one cluster have no weight; the columns are those
    that the fit of all data makes orthonormal, and its residuals. Log-likelihoods keep constants of
    all data, which no parameter moves.

    Parameters
    ----------
    solution : MixedSolution
        The fit of all data.
    y : ndarray, (k,)
        Outcomes.
    Z : ndarray, (k, p)
        Orthonormal basis of the design.
    clusters : ndarray of int, (k,)
        Clusters that hold whole groups of all terms and of V.
    deleted : ndarray of int, (B,)
        The cluster that each fit lacks; what is left must identify the coefficients.

    Returns
    -------
    Refits or None
        None where effects are crossed, terms have many levels, or V is very unequal: those are
        fitted one by one. So are deletions that are not said to have converged; those that may not
        identify the variances are among them.
    """
    problem = solution.problem
    many = problem.many
    if many is None or problem.smallest < _UNEQUAL * problem.typical:
        return None
    fit = solution.evaluation.fit
    columns = np.vstack([(Z @ fit.inverse).T, residuals(y, Z) / problem.scale - Z @ fit.params])
    begin = _beginnings(solution, many, len(deleted))
    whole = Lanes(problem, many, solution.reml)
    step = at_a_time(problem, many, len(begin))
    parts = []
    for at in range(0, len(deleted), step):
        some = deleted[at : at + step]
        lanes = Lanes(problem, many.without(columns, clusters, some), solution.reml)
        phi, converged = highest(lanes, begin, len(some))
        clear = _identified(lanes, whole, np.arange(len(some)))
        parts.append(_refits(solution, phi, lanes.values(phi), converged & clear))
    return Refits(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _beginnings(solution: MixedSolution, many: Many, B: int) -> Array:
    """Maxima of the likelihood of all data, the highest first, and, where that is cheap, others."""
    problem = solution.problem
    far = starts(problem)
    found = Lanes(problem, many, solution.reml).ascend(far)
    lower = np.flatnonzero(found.converged & (found.value < solution.loglike - _SAME))
    lower = lower[np.unique(np.round(found.value[lower] / _SAME), return_index=True)[1]]
    return np.vstack([solution.phi, found.phi[lower], far[: _CHEAP // (B * many.size)]])


def _identified(lanes: Lanes, whole: Lanes, which: Codes) -> Mask:
    """Whether the information of deletions has nothing of a singular one, (B,)."""
    inside = inner_point(lanes.problem)[None]
    size = np.sqrt(whole.heights(inside).expected[0].diagonal())
    size[size == 0.0] = 1.0
    found = lanes.heights(np.repeat(inside, len(which), axis=0), which).expected
    scaled = found / (size[:, None] * size)
    own = np.sqrt(np.maximum(scaled.diagonal(0, 1, 2), _FLAT))
    correlated = scaled / (own[:, :, None] * own[:, None])
    clear: Mask = np.linalg.eigvalsh(correlated)[:, 0] > _FLAT
    return clear & (own**2 > _FLAT).all(1)


def _refits(solution: MixedSolution, phi: Array, fit: Profile, converged: Mask) -> Refits:
    problem = solution.problem
    half = problem.scale * problem.to_params @ solution.evaluation.fit.inverse
    components = problem.reported(phi)
    sizes = np.linalg.eigvalsh(fit.inverse)
    far = (fit.coefs * np.linalg.solve(fit.inverse, fit.coefs[..., None])[..., 0]).sum(-1)
    exact = (sizes[:, -1] < _CONDITION * sizes[:, 0]) & (far < _FAR)
    return Refits(
        solution.params + fit.coefs @ half.T,
        half @ fit.inverse @ half.T,
        components,
        converged & fit.defined & exact & ~_vanishing(problem, phi),
    )


def _vanishing(problem: MixedLikelihood, phi: Array) -> Mask:
    """Whether a level that is correlated with others has no variance: any correlation will do."""
    found = np.zeros(len(phi), dtype=bool)
    for term, G in zip(problem.terms, problem.matrices(phi), strict=True):
        if _correlated(term):
            found |= G.diagonal(0, -2, -1).min(-1) < _NOTHING * problem.typical
    return found


def _correlated(term: Term) -> bool:
    return not set(term.structure.kinds) <= {"variance", "sd"}
