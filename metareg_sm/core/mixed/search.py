"""Global search for the maximum of the likelihood of dependent effects."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from metareg_sm._typing import Array, Mask
from metareg_sm.core.mixed.climb import Climb, climb
from metareg_sm.core.mixed.crossed import Crossed
from metareg_sm.core.mixed.likelihood import MixedLikelihood, Point
from metareg_sm.core.mixed.starts import peaks, starts

# Maxima whose log-likelihoods differ by less are one.
_SAME = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Maximum:
    """The best of several climbs.

    Attributes
    ----------
    best : Climb
        The highest.
    others : tuple of Point
        Other maxima that climbs from other starts ended in.
    starts : int
        Number of starts.
    """

    best: Climb
    others: tuple[Point, ...]
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
    candidates: list[Array] | None = None,
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
        Number of climbs at most; by default 2, and 5 with correlations, crossed terms or many
        parameters. They begin in turn at high and at low points of `starts`.
    candidates : list of ndarray, optional
        Starts of climbs, the highest first; by default `ranked` of `starts`.

    Returns
    -------
    Maximum or None
        None where the likelihood is undefined at every start.
    """
    if n_starts is None:
        few = len(problem.kinds) < 4 and "correlation" not in problem.kinds
        n_starts = 2 if few and not isinstance(problem.route, Crossed) else 5
    if problem.kinds == ("variance",) and start is None:
        candidates = ranked(problem, reml, peaks(problem, reml))
        n_starts = len(candidates)
    elif fixed is not None and start is not None:
        held = [np.where(fixed, start, candidate) for candidate in starts(problem)]
        candidates = ranked(problem, reml, held)
    elif candidates is None:
        candidates = ranked(problem, reml, starts(problem))
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
    best: Climb | None = None
    others: list[Point] = []
    tried = 0
    for candidate in order[:n_starts]:
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
    return None if best is None else Maximum(best, tuple(others), tried)


def ranked(problem: MixedLikelihood, reml: bool, candidates: list[Array]) -> list[Array]:
    """Starts of climbs, the highest first."""
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
