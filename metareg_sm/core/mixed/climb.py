"""Climbs of the likelihood of dependent effects by Newton and scoring steps inside bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.linalg import lapack

from metareg_sm._typing import Array, Mask
from metareg_sm.core.mixed.bounded import FAR, LEAST, NEAR, POOR, bounded_step, misplaced
from metareg_sm.core.mixed.likelihood import MixedLikelihood, Point

# Newton decrements whose step is the last: the error of a Newton step is about the square of the
# one, and the other cannot be told from rounding.
_QUADRATIC = 1e-10
_DONE = 1e-22
_HALVINGS = 12
# Rise that a step may promise at a maximum: its square root is the error of an estimate in units of
# its standard error. And one below which it may fail to fall further, for rounding.
_EXACT, _ROUNDED = 1e-20, 1e-14
# Scores at most that finish a climb: each leaves the square root of the rise that the step before
# the first promised of the error.
_FINISH = 4

Points = Callable[[Array], Point | None]
"""What gives points of the likelihood on the way to a maximum."""


@dataclass(frozen=True, slots=True, eq=False)
class Climb:
    """Where a climb ended.

    Attributes
    ----------
    point : Point
        The end; second derivatives may be those of a point nearby, a last step before.
    converged : bool
        Whether the score is 0 within rounding in every direction that is not at an end.
    iterations, evaluations : int
        Steps, and evaluations of the likelihood with derivatives.
    """

    point: Point
    converged: bool
    iterations: int
    evaluations: int


@dataclass(frozen=True, slots=True, eq=False)
class Box:
    """Ends of the parameters, and those that are held fixed."""

    lower: Array
    upper: Array
    fixed: Mask

    def free(self, point: Point) -> Mask:
        """Parameters that the likelihood would move from where they stand."""
        low = (point.phi <= self.lower) & (point.gradient <= 0.0)
        high = (point.phi >= self.upper) & (point.gradient >= 0.0)
        found: Mask = ~(low | high | self.fixed)
        return found


def newton_step(point: Point, box: Box, observed: Array) -> tuple[Array, float, bool]:
    """Step, twice the rise that it promises, and whether the negative Hessian is definite.

    Parameters that a step would take beyond their end stop there, and the others step as is best
    then. Where the Hessian is not definite, or the maximum is far, the information replaces it, or,
    where that is singular too, directions of negative curvature are climbed as if it were positive
    (Dauphin et al., 2014).
    """
    free = box.free(point)
    step = np.zeros(len(point.phi))
    if not free.any():
        return step, 0.0, True
    size = np.sqrt(np.maximum(np.abs(observed.diagonal()), point.scoring.diagonal()))
    size[size == 0.0] = 1.0
    outer = size[:, None] * size
    gradient = point.gradient / size
    far = point.exact and float((gradient * gradient)[free].sum()) > FAR
    model, definite = _model(observed / outer, point.scoring, outer, free, far)
    low, high = (box.lower - point.phi) * size, (box.upper - point.phi) * size
    moving = free
    for _ in range(len(step)):
        if free.all():
            step = lapack.dposv(model, gradient)[1]
        else:
            left = gradient[free] - model[np.ix_(free, ~free)] @ step[~free]
            step[free] = lapack.dposv(model[np.ix_(free, free)], left)[1]
        beyond = free & ((step < low) | (step > high))
        if not beyond.any():
            break
        step[beyond] = np.where(step < low, low, high)[beyond]
        free = free & ~beyond
        if not free.any():
            break
    if (moving & ~free).any():
        # the rest may want those back that stopped first
        own = np.where(moving & moving[:, None], model, np.eye(len(step)))
        pull, low, high = (np.where(moving, a, 0.0) for a in (gradient, low, high))
        if misplaced(own, pull, step, low, high):
            step = bounded_step(own[None], pull[None], low[None], high[None])[0]
    rise = 2.0 * float(gradient @ step) - float(step @ model @ step)
    return step / size, rise, definite


def _model(H: Array, E: Array, outer: Array, free: Mask, far: bool) -> tuple[Array, bool]:
    """Positive definite matrix to step by, and whether it is the scaled negative Hessian H."""
    everything = bool(free.all())
    h = H if everything else H[np.ix_(free, free)]
    if not far:
        factor, failed = lapack.dpotrf(h)
        # least curvature that still counts as a maximum rather than a plateau
        if not failed and factor.diagonal().min() > 1e-5:
            return H, True
    e = E / outer if everything else (E / outer)[np.ix_(free, free)]
    values, vectors = np.linalg.eigh(e)
    if values[0] <= POOR:
        values, vectors = np.linalg.eigh(h)
    e = (vectors * np.maximum(np.abs(values), LEAST)) @ vectors.T
    if everything:
        return e, False
    full = np.eye(len(H))
    full[np.ix_(free, free)] = e
    return full, False


def climb(
    problem: MixedLikelihood,
    start: Array,
    reml: bool,
    fixed: Mask | None = None,
    maxiter: int = 100,
    target: Point | None = None,
    points: Points | None = None,
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
    points : callable, optional
        What gives points on the way, in less time than the likelihood itself, which has the last
        word: the climb goes on by it where it does not find the score to be 0.

    Returns
    -------
    Climb or None
        None where the likelihood is undefined at the start.
    """
    pinned = np.zeros(len(start), dtype=bool) if fixed is None else fixed
    box = Box(*problem.bounds, pinned)
    at = partial(problem.point, reml=reml) if points is None else points
    point = at(start)
    if point is None:
        return None if points is None else climb(problem, start, reml, fixed, maxiter, target)
    evaluations, converged, kicks, iteration = 1, False, 0, 0
    secant = np.zeros_like(point.observed)
    for iteration in range(maxiter):
        step, decrement, definite = newton_step(point, box, point.observed + secant)
        if not point.exact and secant.any():
            plain = newton_step(point, box, point.observed)
            # a correction far out of proportion was learnt on the way to somewhere else
            if not definite or not 0.03 < decrement / max(plain[1], 1e-300) < 30.0:
                secant = np.zeros_like(secant)
                step, decrement, definite = plain
        if decrement < _DONE:
            if definite or kicks > 2:
                converged = True
                break
            kicked = _leave_saddle(at, point, box)
            if kicked is None:
                converged = True
                break
            point, kicks = kicked, kicks + 1
            continue
        if target is not None and decrement < 1.0 and _leads_to(problem, point.phi + step, target):
            return Climb(target, True, iteration, evaluations)
        if decrement < _QUADRATIC and definite and point.exact:
            # the error of a Newton step is about the square of this
            end = finish(problem, point, step, box, reml)
            if end is not None:
                return Climb(end[0], True, iteration, evaluations + end[1])
        moved = _move(at, problem, point, (step, definite), decrement, box)
        if moved is None:
            # no further rise can be told from rounding
            converged = decrement < 1e-9 * max(1.0, abs(point.value))
            break
        following, tried = moved
        evaluations += tried
        if decrement < NEAR and definite:
            left = newton_step(following, box, following.observed + secant)[1]
            if decrement < 1e-14 and left >= decrement:
                converged = True
                break
        if not point.exact:
            secant = updated_secant(secant, point, following)
        point = following
    if points is not None:
        return climb(problem, point.phi, reml, fixed, maxiter, target)
    return Climb(point, converged, iteration, evaluations)


def finish(
    problem: MixedLikelihood, near: Point, step: Array, box: Box, reml: bool
) -> tuple[Point, int] | None:
    """End of a climb by scores alone, and how many it took; None where they do not come to 0.

    Parameters
    ----------
    problem : MixedLikelihood
        The data.
    near : Point
        A point near a maximum, with the Hessian that all steps are by.
    step : ndarray, (m,)
        The first of them.
    box : Box
        Ends of the parameters.
    reml : bool
        Restricted likelihood, else maximum likelihood.
    """
    phi, before = near.phi, np.inf
    for scores in range(1, _FINISH + 1):
        phi = np.clip(phi + step, box.lower, box.upper)
        slope = problem.slope(phi, reml)
        if slope is None:
            return None
        point = replace(
            near,
            phi=phi,
            value=slope.value,
            gradient=slope.gradient,
            evaluation=slope.evaluation,
        )
        step, rise, definite = newton_step(point, box, near.observed)
        if not definite:
            return None
        if rise < _EXACT or before <= rise < _ROUNDED:
            return point, scores
        before = rise
    return None


def updated_secant(secant: Array, old: Point, new: Point) -> Array:
    """Correction of the information towards the Hessian that the last step saw.

    The symmetric rank-one update (Conn, Gould & Toint, 1991) of what the average information
    leaves out; it makes the last steps of a climb superlinear.
    """
    change = new.phi - old.phi
    missing = old.gradient - new.gradient - (new.observed + secant) @ change
    along = float(missing @ change)
    if abs(along) <= 1e-8 * float(np.linalg.norm(missing) * np.linalg.norm(change)):
        return secant
    return secant + np.outer(missing, missing) / along


def _move(
    at: Points,
    problem: MixedLikelihood,
    point: Point,
    step: tuple[Array, bool],
    decrement: float,
    box: Box,
) -> tuple[Point, int] | None:
    """Point along a step, of Newton or not, that is higher; None if there is none."""
    by, newton = step
    length = 1.0
    for tried in range(1, _HALVINGS + 1):
        to = point.phi + length * by
        if not newton and tried == 1:
            to = problem.moved(point.phi[None], by[None])[0]
        phi = np.clip(to, box.lower, box.upper)
        new = at(phi)
        if new is not None and (decrement < NEAR or new.value > point.value):
            return new, tried
        length *= 0.25 if new is None else 0.4
    return None


def _leave_saddle(at: Points, point: Point, box: Box) -> Point | None:
    """A higher point along the direction of most negative curvature at a stationary point."""
    free = box.free(point)
    if not free.any():
        return None
    pick = np.ix_(free, free)
    H = point.observed[pick]
    size = np.sqrt(np.maximum(np.abs(np.diagonal(H)), np.diagonal(point.scoring[pick])))
    size[size == 0.0] = 1.0
    values, vectors = np.linalg.eigh(H / np.outer(size, size))
    if values[0] > -1e-8:
        return None
    for length in (1.0, 0.1, 0.01):
        for sign in (1.0, -1.0):
            phi = point.phi.copy()
            phi[free] += sign * length * vectors[:, 0] / size
            new = at(np.clip(phi, box.lower, box.upper))
            if new is not None and new.value > point.value:
                return new
    return None


def _leads_to(problem: MixedLikelihood, phi: Array, target: Point) -> bool:
    """Whether a step ends so close to a maximum, by its information, that the climb ends there."""
    gap = problem.canonical(phi) - problem.canonical(target.phi)
    return bool(gap @ target.scoring @ gap < 0.02)
