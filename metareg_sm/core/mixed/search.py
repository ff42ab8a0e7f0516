"""Global search for the maximum of the likelihood of dependent effects."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from metareg_sm._typing import Array, Mask
from metareg_sm.core.mixed.ascent import Ascent
from metareg_sm.core.mixed.climb import Box, Climb, climb, finish
from metareg_sm.core.mixed.lanes import Lanes
from metareg_sm.core.mixed.likelihood import MixedLikelihood, Point, point_of
from metareg_sm.core.mixed.moments import Many
from metareg_sm.core.mixed.starts import grid, starts

# Maxima whose log-likelihoods differ by less are one.
_SAME = 1e-6
# Twice the rise that the last step of climbs in step promises.
_CLOSE = 1e-7
# Climbs at most that follow each other.
_MANY = 5
# Numbers, over all lanes, that cost no more than the calls; numbers that a grid may have; variances
# at most that a grid is made of.
_CHEAP, _GRID, _DEEP = 2_000, 20_000, 3


@dataclass(frozen=True, slots=True, eq=False)
class Maximum:
    """The best of several climbs.

    Attributes
    ----------
    best : Climb
        The highest.
    others : tuple of float
        Log-likelihoods of other maxima that climbs from other starts ended in, highest first.
    starts : int
        Number of starts.
    """

    best: Climb
    others: tuple[float, ...]
    starts: int

    @property
    def evaluations(self) -> int:
        """Evaluations of the likelihood in the climb that won."""
        return self.best.evaluations


def maximize(
    problem: MixedLikelihood,
    reml: bool,
    start: Array | None = None,
    fixed: Mask | None = None,
    n_starts: int | None = None,
) -> Maximum | None:
    """Global maximum of the likelihood, from several starts.

    Parameters
    ----------
    problem : MixedLikelihood
        The data.
    reml : bool
        Restricted likelihood, else maximum likelihood.
    start : ndarray, (m,), optional
        Working parameters of the first climb.
    fixed : ndarray of bool, (m,), optional
        Parameters that keep their value in `start`.
    n_starts : int, optional
        Number of climbs at most.

    Returns
    -------
    Maximum or None
        None where the likelihood is undefined at every start.
    """
    if problem.many is not None:
        return _together(problem, reml, problem.many, start, fixed, n_starts)
    if n_starts is None:
        n_starts = _MANY
    given = starts(problem)
    if fixed is not None and start is not None:
        given = np.where(fixed, start, given)
    candidates = ranked(problem, reml, given)
    # the highest first, then in turn one that lies far from it and the next best
    order = [candidates[0]]
    low, high = len(candidates) - 1, 1
    while high <= low:
        order.append(candidates[high])
        if low > high:
            order.append(candidates[low])
        low, high = low - 1, high + 1
    if start is not None:
        order.insert(0, start)
    return _one_by_one(problem, reml, order[:n_starts], fixed)


def _one_by_one(
    problem: MixedLikelihood, reml: bool, order: list[Array], fixed: Mask | None
) -> Maximum | None:
    """Climbs that follow each other, the later ones only as far as they lead elsewhere."""
    best: Climb | None = None
    others: list[Point] = []
    tried = 0
    for candidate in order:
        target = None if best is None else best.point
        found = climb(problem, candidate, reml, fixed, target=target)
        tried += 1
        if found is None or found.point is target:
            continue
        if best is None:
            best = found
            continue
        if abs(found.point.value - best.point.value) > _SAME and found.converged:
            others.append(min(found.point, best.point, key=lambda p: p.value))
        if found.point.value > best.point.value:
            best = found
    values = tuple(sorted((other.value for other in others), reverse=True))
    return None if best is None else Maximum(best, values, tried)


def _together(
    problem: MixedLikelihood,
    reml: bool,
    many: Many,
    start: Array | None,
    fixed: Mask | None,
    n_starts: int | None,
) -> Maximum | None:
    """Climbs from all starts at once; the highest end is checked, and finished, by itself."""
    lanes = Lanes(problem, many, reml)
    begin = _beginnings(problem, lanes, fixed is None)
    if start is not None:
        begin = np.vstack([start, begin])
        if fixed is not None:
            begin = np.where(fixed, start, begin)
    if n_starts is not None:
        begin = begin[:n_starts]
    if len(begin) == 1:
        only = climb(problem, begin[0], reml, fixed, points=lanes.point)
        if only is not None and fixed is None:
            only = _beyond_zero(problem, reml, lanes, only)
        return None if only is None else Maximum(only, (), 1)
    found = lanes.ascend(begin, fixed, last=_CLOSE, alone=True)
    if not np.isfinite(found.value).any():
        return _one_by_one(problem, reml, list(begin[:2]), fixed)
    # an end before a lane that was given up on its way to it
    top = int(np.argmax(found.value + _SAME * found.converged))
    best = _finished(problem, reml, found, top, fixed)
    if best is None or best.point.value < found.value[top] - _SAME:
        return _one_by_one(problem, reml, list(begin[:_MANY]), fixed)
    if fixed is None:
        best = _beyond_zero(problem, reml, lanes, best)
    lesser = found.value[found.converged & (found.value < best.point.value - _SAME)]
    others: list[float] = []
    for value in sorted(lesser.tolist(), reverse=True):
        if not others or value < others[-1] - _SAME:
            others.append(value)
    return Maximum(best, tuple(others), len(begin))


def _beyond_zero(problem: MixedLikelihood, reml: bool, lanes: Lanes, best: Climb) -> Climb:
    """A higher end near one with variances of 0, if there is one.

    Levels of variance 0 are stationary whatever their correlation, with a wrong one too.
    """
    phi = best.point.phi
    tried = []
    for term, at in zip(problem.terms, problem.slices, strict=True):
        zero = phi[at][:-1] == 0.0
        if problem.kinds[at.stop - 1] != "correlation" or not zero.any():
            continue
        shapes = np.vstack([np.ones(len(zero)), 1.0 + 3.0 * np.eye(len(zero))])
        for end in term.structure.bounds:
            for size in (1e-1, 1e-2, 1e-3):
                for shape in shapes * size * problem.typical:
                    own = shape if problem.kinds[at.start] == "variance" else np.sqrt(shape)
                    new = phi.copy()
                    new[at] = np.append(np.where(zero, own, phi[at][:-1]), end[-1])
                    tried.append(new)
    if not tried:
        return best
    value = lanes.values(np.array(tried)).value
    if value.max() <= best.point.value + _SAME:
        return best
    higher = climb(problem, tried[int(value.argmax())], reml)
    return best if higher is None or higher.point.value <= best.point.value else higher


def _beginnings(problem: MixedLikelihood, lanes: Lanes, free: bool) -> Array:
    """Where climbs begin, (B, m): everywhere where that is cheap, else at peaks of a grid."""
    room = _CHEAP // lanes.many.size
    if free and lanes.intercepts and len(problem.kinds) <= _DEEP:
        peaks = lanes.peaks(grid(problem, _GRID / lanes.many.size))
        if room <= len(peaks):
            return peaks
        return np.vstack([peaks, starts(problem)[: room - len(peaks)]])
    given = starts(problem)
    room = max(_MANY, 10 * room)
    if room < len(given):
        # the highest, and others far below them
        value = lanes.values(given).value
        given = given[np.argsort(-value, kind="stable")]
        given = np.vstack([given[: room - room // 2], given[-(room // 2) :]])
    return given


def _finished(
    problem: MixedLikelihood, reml: bool, found: Ascent, lane: int, fixed: Mask | None
) -> Climb | None:
    """The end of a lane, once the likelihood itself has its score there as 0."""
    phi, at = found.phi[lane], found.heights
    if found.converged[lane]:
        held = np.zeros(len(phi), dtype=bool) if fixed is None else fixed
        near = point_of(at, phi, lane)
        end = finish(problem, near, np.zeros(len(phi)), Box(*problem.bounds, held), reml)
        if end is not None:
            total = found.evaluations + end[1]
            return Climb(end[0], True, total, total)
    return climb(problem, phi, reml, fixed)


def ranked(problem: MixedLikelihood, reml: bool, candidates: Array) -> list[Array]:
    """Starts (n, m) of climbs, the highest first."""
    return sorted(candidates, key=lambda phi: -problem.loglike(phi, reml))


def maximize_held(
    problem: MixedLikelihood, best: Array, reml: bool, term: int, component: int, value: float
) -> Maximum | None:
    """Maximum of the likelihood with one reported variance or correlation held.

    Parameters
    ----------
    problem : MixedLikelihood
        The data.
    best : ndarray, (m,)
        Working parameters of the maximum without that.
    reml : bool
        Restricted likelihood, else maximum likelihood.
    term, component : int
        Position of the term, and of the component in what its structure reports.
    value : float
        Where it is held: a variance in squared units of the outcome, or a correlation.

    Returns
    -------
    Maximum or None
        None where the likelihood is undefined there. Working parameters are those of
        `held_problem`.
    """
    changed, start, fixed = held_problem(problem, best, term, component, value)
    if fixed.all():
        found = climb(changed, start, reml, fixed)
        return None if found is None else Maximum(found, (), 1)
    return maximize(changed, reml, start=start, fixed=fixed, n_starts=3)


def held_problem(
    problem: MixedLikelihood, best: Array, term: int, component: int, value: float
) -> tuple[MixedLikelihood, Array, Mask]:
    """Problem with a component held, working parameters near the best, and which of them stay."""
    structure = problem.terms[term].structure
    reported = structure.reported(best[problem.slices[term]])
    is_variance = reported.names[component].startswith("variance")
    held = structure.hold(component, value / problem.scale**2 if is_variance else value)
    terms = list(problem.terms)
    terms[term] = replace(terms[term], structure=held.structure)
    changed = replace(problem, terms=tuple(terms))
    starts_of, fixed = [], []
    for i, (old, at) in enumerate(zip(problem.terms, problem.slices, strict=True)):
        m = len(terms[i].structure.kinds)
        if i != term:
            starts_of.append(best[at])
            fixed.append(np.zeros(m, dtype=bool))
        elif held.structure is structure:
            starts_of.append(np.where(held.fixed, held.phi, best[at]))
            fixed.append(held.fixed)
        else:
            G = old.structure.matrix(best[at])
            variances = np.maximum(np.diagonal(G), 1e-6 * problem.typical)
            starts_of.append(held.structure.start(variances, 0.3))
            fixed.append(held.fixed)
    return changed, np.concatenate(starts_of), np.concatenate(fixed)
