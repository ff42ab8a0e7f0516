"""Newton's method in a trust region, for many data sets and starts at once.

tau2 is the square of the parameter that is varied: its boundary at 0 is then an ordinary stationary
point, and nothing is constrained.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metareg_sm._typing import Array, Codes, Mask, Rows
from metareg_sm.core.likelihood.profile import total_of
from metareg_sm.stats.selection.likelihood import Evaluation, SelectionData, evaluate

# Newton decrement below which the quadratic model is trusted without looking at the likelihood
_TRUSTED = 1e-7
# and below which it tells how much is left to gain; at most half of it
_NEAR = 0.1
# maxima whose likelihoods differ by less are taken to be one
_SAME = 1e-6
# decrement after whose step the parameters are right to rounding
_DONE = 1e-11
_MAX_ITERATIONS = 100
_RADIUS, _LARGEST_RADIUS, _LEAP = 1.0, 4.0, 0.3
# a maximum is not flat where its information in the units of the search exceeds this
_FLAT = 1e-7


@dataclass(frozen=True, slots=True, eq=False)
class Maximum:
    """Where the search for each of n problems ended.

    Attributes
    ----------
    x : ndarray, (n, d)
        Coefficients, sqrt(tau2), logs of all weights but the first.
    value : ndarray, (n,)
        Log-likelihood.
    gradient, hessian : ndarray, (n, d), (n, d, d)
        With respect to x.
    converged : ndarray of bool, (n,)
        A maximum that is not flat was reached.
    """

    x: Array
    value: Array
    gradient: Array
    hessian: Array
    converged: Mask

    @property
    def arrays(self) -> tuple[Array, Array, Array, Array, Mask]:
        """All fields."""
        return self.x, self.value, self.gradient, self.hessian, self.converged

    def moved(self, better: Mask, x: Array, there: Evaluation, finished: Mask) -> Maximum:
        """The same with the points x, and what was found there, where they are better."""
        if better.all():
            return Maximum(x, there.value, there.gradient, there.hessian, finished)
        return Maximum(
            np.where(better[:, None], x, self.x),
            np.where(better, there.value, self.value),
            np.where(better[:, None], there.gradient, self.gradient),
            np.where(better[:, None, None], there.hessian, self.hessian),
            finished,
        )

    def information(self, p: int) -> Array:
        """Negative Hessian with respect to tau2 instead of its square root, which stands at p.

        What belongs to tau2 is not defined where it is 0.
        """
        out, twice = -self.hessian, 2.0 * self.x[:, p]
        twice = np.where(twice == 0.0, 1.0, twice)[:, None]
        out[:, p] /= twice
        out[:, :, p] /= twice
        out[:, p, p] += 2.0 * self.gradient[:, p] / twice[:, 0] ** 3
        return out

    def take(self, rows: Rows | Mask) -> Maximum:
        """A copy of some of them."""
        x, value, gradient, hessian, converged = self.arrays
        return Maximum(x[rows], value[rows], gradient[rows], hessian[rows], converged[rows])


def at(data: SelectionData, x: Array) -> Evaluation:
    """Likelihood and derivatives with respect to x, which holds sqrt(tau2) for tau2."""
    p = data.X.shape[-1]
    log_weights = np.zeros((len(x), x.shape[-1] - p))
    log_weights[:, 1:] = x[:, p + 1 :]
    tau = x[:, p]
    found = evaluate(data, x[:, :p], tau * tau, log_weights)
    slope = found.gradient[:, p].copy()
    jacobian = 2.0 * tau
    found.gradient[:, p] *= jacobian
    found.hessian[:, p] *= jacobian[:, None]
    found.hessian[:, :, p] *= jacobian[:, None]
    found.hessian[:, p, p] += 2.0 * slope
    return found


def _newton_step(found: Evaluation, free: Mask) -> tuple[Array, Array, Array]:
    """Step, Newton decrement, and the smallest information; (n, d), (n,), (n,).

    Directions in which the likelihood is convex are followed uphill by as much.
    """
    gradient, hessian = found.gradient, found.hessian
    every = free.all()
    if not every:
        gradient = np.where(free, gradient, 0.0)
        hessian = np.where(free[:, :, None] & free[:, None, :], hessian, 0.0)
        # what is held fixed shall neither move nor be the smallest
        diagonal = np.arange(hessian.shape[-1])
        hessian[:, diagonal, diagonal] -= np.where(free, 0.0, 1.0)
    values, vectors = np.linalg.eigh(hessian)
    along = (gradient[:, None, :] @ vectors)[:, 0]
    curvature = np.abs(values)
    least = 1e-10 * np.maximum.reduce(curvature, -1, keepdims=True)
    curvature = np.maximum(curvature, np.maximum(least, 1e-12))
    scaled = along / curvature
    step = (vectors @ scaled[..., None])[..., 0]
    if not every:
        step = np.where(free, step, 0.0)
    # in ascending order
    return step, total_of(along * scaled, -1), -values[:, -1]


def _leap(step: Array, here: Evaluation, x: Array, free: Mask, p: int) -> None:
    """Lengthen steps from a tau2 next to 0 that is no maximum, in place.

    There the slope of sqrt(tau2), parameter p, is next to nothing.
    """
    tau = x[:, p]
    saddle = (np.abs(tau) < _LEAP) & (here.hessian[:, p, p] > 0.0)
    if saddle.any():
        # uphill alone: else no step is short enough to gain anything
        saddle &= free[:, p] & (here.gradient[:, p] * tau >= 0.0)
        leap = np.copysign(np.maximum(np.abs(step[:, p]), _LEAP), tau)
        step[:, p] = np.where(saddle, leap, step[:, p])


def maximize(
    data: SelectionData, x: Array, free: Mask, limit: Array, problem: Codes | None = None
) -> Maximum:
    """Climb from each start to a local maximum.

    Parameters
    ----------
    data : SelectionData
        A data set for each start. Units are those in which a step of 1 is a moderate one.
    x : ndarray, (n, d)
        Starts: coefficients, sqrt(tau2), logs of all weights but the first.
    free : ndarray of bool, (n, d)
        Which parameters vary.
    limit : ndarray, (d,)
        Largest absolute value of each parameter; where one is reached the search ends.
    problem : ndarray of int, (n,), optional
        Which problem each start belongs to. Starts of one problem of which another start has found
        a maximum as high as they can be expected to come are given up.

    Returns
    -------
    Maximum
    """
    n, p = len(x), data.X.shape[-1]
    found = at(data, x)
    # what is still going, and where all have come to
    now = Maximum(x, found.value, found.gradient, found.hessian, np.zeros(n, dtype=bool))
    radius, rows, part = np.full(n, _RADIUS), np.arange(n), data
    out = now.take(rows)
    best = np.full(0 if problem is None else int(problem.max()) + 1, -np.inf)
    reached = best.copy()
    for iteration in range(_MAX_ITERATIONS):
        here = Evaluation(now.value, now.gradient, now.hessian)
        step, decrement, information = _newton_step(here, free)
        _leap(step, here, now.x, free, p)
        length = np.sqrt(total_of(step * step, -1))
        shrink = np.minimum(1.0, radius / np.maximum(length, 1e-300))
        step *= shrink[:, None]
        near = (decrement < _NEAR) & (information > _FLAT)
        trusted = near & (decrement < _TRUSTED) & (shrink == 1.0)
        new = now.x + step
        outside = np.abs(new) >= limit
        if outside.any():
            outside &= free
            new = np.where(outside, np.copysign(limit, new), new)
        there = at(part, new)
        gain = there.value - here.value
        # the quadratic model along the shortened step; exact where nothing was shortened
        predicted = total_of(here.gradient * step, -1) * (1.0 - 0.5 * shrink)
        better = (gain > 0.0) | trusted
        poor = ~better | (gain < 0.25 * predicted)
        if poor.any() or np.minimum.reduce(shrink) < 1.0:
            wide = (gain > 0.75 * predicted) & (shrink < 1.0)
            factor = np.where(wide, 2.0, np.where(poor & ~trusted, 0.25, 1.0))
            radius = np.where(poor, np.minimum(length, radius), radius)
            radius = np.minimum(factor * radius, _LARGEST_RADIUS)
        finished = trusted & (decrement < _DONE)
        now = now.moved(better, new, there, finished)
        going = ~(finished | (radius < 1e-9) | np.logical_or.reduce(outside, -1))
        if problem is not None and near.any():
            own = problem[rows]
            if trusted.any():
                np.maximum.at(best, own[trusted], here.value[trusted])
                np.maximum.at(reached, own[finished], here.value[finished])
            # near a maximum the quadratic model tells how much can be gained
            prospect = here.value + np.where(near, decrement, np.inf)
            rival = np.where(trusted, reached[own], best[own])
            going &= prospect > rival + _SAME
        if not going.all() or iteration == _MAX_ITERATIONS - 1:
            for old, recent in zip(out.arrays, now.arrays, strict=True):
                old[rows] = recent
            rows, radius, free = rows[going], radius[going], free[going]
            if not rows.size:
                break
            now = now.take(going)
            part = data.take(rows)
    return out
