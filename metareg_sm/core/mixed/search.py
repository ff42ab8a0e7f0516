"""Global search for the maximum of the likelihood of dependent effects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metareg_sm._typing import Array, Mask
from metareg_sm.core.mixed.likelihood import MixedLikelihood, Point

# Newton decrement (a difference of log-likelihoods) below which steps need no further test.
_NEAR = 1e-7
_DONE = 1e-22
_HALVINGS = 12
_SAME = 1e-3


@dataclass(frozen=True, slots=True)
class Climb:
    """Where a climb ended.

    Attributes
    ----------
    point : Point
        The end.
    converged : bool
        Whether the score is 0 within rounding in every direction that is not at an end.
    iterations, evaluations : int
        Steps, and evaluations of the likelihood with derivatives.
    """

    point: Point
    converged: bool
    iterations: int
    evaluations: int


@dataclass(frozen=True, slots=True)
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


def held(point: Point, lower: Array, upper: Array, fixed: Mask) -> Mask:
    """Parameters that the likelihood does not move from where they stand."""
    low = (point.phi <= lower) & (point.gradient <= 0.0)
    high = (point.phi >= upper) & (point.gradient >= 0.0)
    found: Mask = low | high | fixed
    return found


def newton_step(point: Point, free: Mask) -> tuple[Array, float, bool]:
    """Step, Newton decrement, and whether the negative Hessian is positive definite.

    Where it is not, directions of negative curvature are climbed as if it were positive
    (Dauphin et al., 2014), or, far from a maximum, the information replaces it.
    """
    step = np.zeros(len(point.phi))
    if not free.any():
        return step, 0.0, True
    pick = np.ix_(free, free)
    g, H = point.gradient[free], point.observed[pick]
    size = np.sqrt(np.maximum(np.abs(np.diagonal(H)), np.diagonal(point.scoring[pick])))
    size[size == 0.0] = 1.0
    g = g / size
    values, vectors = np.linalg.eigh(H / np.outer(size, size))
    # least curvature that still counts as a maximum rather than a plateau
    definite = bool(values[0] > 1e-10)
    if not definite:
        E = point.scoring[pick] / np.outer(size, size)
        expected, turned = np.linalg.eigh(E)
        if expected[0] > 1e-8:
            values, vectors = expected, turned
    magnitude = np.maximum(np.abs(values), 1e-10)
    along = vectors.T @ g
    step[free] = vectors @ (along / magnitude) / size
    return step, float(along @ (along / magnitude)), definite


def climb(
    problem: MixedLikelihood,
    start: Array,
    reml: bool,
    fixed: Mask | None = None,
    maxiter: int = 100,
    target: Point | None = None,
) -> Climb | None:
    """Climb to a maximum by Newton and scoring steps inside the bounds.

    Parameters
    ----------
    problem : MixedLikelihood
        The data.
    start : ndarray, (m,)
        Working parameters to begin with.
    reml : bool
        Restricted likelihood, else maximum likelihood.
    fixed : ndarray of bool, (m,), optional
        Parameters that stay where they are.
    maxiter : int
        Steps at most.
    target : Point, optional
        A known maximum; the climb stops once it plainly ends there.

    Returns
    -------
    Climb or None
        None where the likelihood is undefined at the start.
    """
    lower, upper = problem.bounds
    pinned = np.zeros(len(start), dtype=bool) if fixed is None else fixed
    point = problem.point(start, reml)
    if point is None:
        return None
    evaluations, converged, kicks, iteration = 1, False, 0, 0
    for iteration in range(maxiter):
        free = ~held(point, lower, upper, pinned)
        step, decrement, definite = newton_step(point, free)
        if decrement < _DONE:
            if definite or kicks > 2 or not free.any():
                converged = True
                break
            kicked = _leave_saddle(problem, point, free, reml)
            if kicked is None:
                converged = True
                break
            point, kicks = kicked, kicks + 1
            continue
        if target is not None and _within(point, target, decrement):
            return Climb(target, True, iteration, evaluations)
        moved = _move(problem, point, step, decrement, reml, pinned)
        if moved is None:
            # no further rise can be told from rounding
            converged = decrement < 1e-9 * max(1.0, abs(point.value))
            break
        following, tried = moved
        evaluations += tried
        if decrement < _NEAR and definite:
            stalled = newton_step(following, ~held(following, lower, upper, pinned))[1] >= decrement
            if stalled and decrement < 1e-14:
                converged = True
                break
        point = following
    return Climb(point, converged, iteration, evaluations)


def _move(
    problem: MixedLikelihood,
    point: Point,
    step: Array,
    decrement: float,
    reml: bool,
    pinned: Mask,
) -> tuple[Point, int] | None:
    """Point along a step from which the likelihood is higher; None if there is none."""
    lower, upper = problem.bounds
    length = 1.0
    for tried in range(1, _HALVINGS + 1):
        phi = np.clip(point.phi + length * step, lower, upper)
        phi[pinned] = point.phi[pinned]
        new = problem.point(phi, reml)
        if new is not None:
            if decrement < _NEAR or new.value > point.value:
                return new, tried
        length *= 0.25 if new is None else 0.4
    return None


def _leave_saddle(
    problem: MixedLikelihood, point: Point, free: Mask, reml: bool
) -> Point | None:
    """A higher point along the direction of most negative curvature at a stationary point."""
    pick = np.ix_(free, free)
    H = point.observed[pick]
    size = np.sqrt(np.maximum(np.abs(np.diagonal(H)), np.diagonal(point.scoring[pick])))
    size[size == 0.0] = 1.0
    values, vectors = np.linalg.eigh(H / np.outer(size, size))
    if values[0] > -1e-8:
        return None
    lower, upper = problem.bounds
    for length in (1.0, 0.1, 0.01):
        for sign in (1.0, -1.0):
            phi = point.phi.copy()
            phi[free] += sign * length * vectors[:, 0] / size
            new = problem.point(np.clip(phi, lower, upper), reml)
            if new is not None and new.value > point.value:
                return new
    return None


def _within(point: Point, target: Point, decrement: float) -> bool:
    """Whether a climb at this point ends at the known maximum: close to it by its curvature."""
    gap = point.phi - target.phi
    return bool(decrement < 1.0 and gap @ target.scoring @ gap < 0.25)


def starts(problem: MixedLikelihood) -> list[Array]:
    """Working parameters to begin climbs from: shared out evenly, one term alone, almost none."""
    total = max(problem.crude - problem.typical, 0.1 * problem.typical)
    n = len(problem.terms)
    shares = [np.full(n, 1.0 / n)]
    if n > 1 or problem.terms[0].q > 1:
        shares += [np.where(np.arange(n) == i, 0.95, 0.05 / max(n - 1, 1)) for i in range(n)]
    found = [_shared(problem, total * share, 0.4) for share in shares]
    found.append(_shared(problem, np.full(n, 1e-3 * problem.typical), 0.0))
    return found


def _shared(problem: MixedLikelihood, variances: Array, rho: float) -> Array:
    parts = [
        term.structure.start(np.full(term.q, variance), rho)
        for term, variance in zip(problem.terms, variances, strict=True)
    ]
    return np.concatenate(parts)


def maximize(
    problem: MixedLikelihood,
    reml: bool,
    start: Array | None = None,
    fixed: Mask | None = None,
    n_starts: int = 3,
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
    n_starts : int
        Number of climbs at most.

    Returns
    -------
    Maximum or None
        None where the likelihood is undefined at every start.
    """
    candidates = starts(problem)
    if start is not None:
        candidates.insert(0, start)
    if fixed is not None and start is not None:
        candidates = [np.where(fixed, start, candidate) for candidate in candidates]
    best: Climb | None = None
    others: list[Point] = []
    tried = 0
    for candidate in candidates[:n_starts]:
        target = None if best is None else best.point
        found = climb(problem, candidate, reml, fixed, target=target)
        tried += 1
        if found is None or found.point is target:
            continue
        if best is None:
            best = found
            continue
        if abs(found.point.value - best.point.value) > _SAME * 1e-3 and found.converged:
            others.append(min(found.point, best.point, key=lambda p: p.value))
        if found.point.value > best.point.value:
            best = found
    return None if best is None else Maximum(best, tuple(others), tried)
