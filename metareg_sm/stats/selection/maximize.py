"""Newton's method in a trust region, for many data sets and starts at once.

tau2 is the square of the parameter that is varied: its boundary at 0 is then an ordinary stationary
point, and nothing is constrained.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metareg_sm._typing import Array, Codes, Mask, Rows
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
    gradient = np.where(free, found.gradient, 0.0)
    both = free[:, :, None] & free[:, None, :]
    hessian = np.where(both, found.hessian, 0.0)
    # what is held fixed shall neither move nor be the smallest
    d = hessian.shape[-1]
    diagonal = np.arange(d)
    hessian[:, diagonal, diagonal] -= np.where(free, 0.0, 1.0)
    values, vectors = np.linalg.eigh(hessian)
    along = (gradient[:, None, :] @ vectors)[:, 0]
    curvature = np.maximum(np.abs(values), 1e-10 * np.abs(values).max(-1, keepdims=True))
    curvature = np.maximum(curvature, 1e-12)
    scaled = along / curvature
    step = np.where(free, (vectors @ scaled[..., None])[..., 0], 0.0)
    return step, (along * scaled).sum(-1), -values.max(-1)


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
    iteration = 0
    while rows.size and iteration < _MAX_ITERATIONS:
        iteration += 1
        here = Evaluation(now.value, now.gradient, now.hessian)
        step, decrement, information = _newton_step(here, free)
        # near tau2 = 0 that is no maximum the slope of sqrt(tau2) is next to nothing: leap
        tau = now.x[:, p]
        saddle = free[:, p] & (np.abs(tau) < _LEAP) & (here.hessian[:, p, p] > 0.0)
        leap = np.copysign(np.maximum(np.abs(step[:, p]), _LEAP), tau)
        step[:, p] = np.where(saddle, leap, step[:, p])
        length = np.sqrt((step * step).sum(-1))
        shrink = np.minimum(1.0, radius / np.maximum(length, 1e-300))
        step *= shrink[:, None]
        concave = information > _FLAT
        trusted = (decrement < _TRUSTED) & concave & (shrink == 1.0)
        new = now.x + step
        outside = free & (np.abs(new) >= limit)
        new = np.where(outside, np.copysign(limit, new), new)
        there = at(part, new)
        gain = there.value - here.value
        # the quadratic model along the shortened step; exact where nothing was shortened
        predicted = (here.gradient * step).sum(-1) * (1.0 - 0.5 * shrink)
        better = (gain > 0.0) | trusted
        poor = gain < 0.25 * predicted
        wide = (gain > 0.75 * predicted) & (shrink < 1.0)
        factor = np.where(wide, 2.0, np.where(poor & ~trusted, 0.25, 1.0))
        radius = np.where(poor, np.minimum(length, radius), radius)
        radius = np.minimum(factor * radius, _LARGEST_RADIUS)
        finished = trusted & (decrement < _DONE)
        now = Maximum(
            np.where(better[:, None], new, now.x),
            np.where(better, there.value, now.value),
            np.where(better[:, None], there.gradient, now.gradient),
            np.where(better[:, None, None], there.hessian, now.hessian),
            finished,
        )
        going = ~(finished | (radius < 1e-9) | outside.any(-1))
        if problem is not None:
            own = problem[rows]
            np.maximum.at(best, own[trusted], here.value[trusted])
            np.maximum.at(reached, own[finished], here.value[finished])
            # near a maximum the quadratic model tells how much can be gained
            prospect = here.value + np.where(concave & (decrement < _NEAR), decrement, np.inf)
            rival = np.where(trusted, reached[own], best[own])
            going &= prospect > rival + _SAME
        if not going.all() or iteration == _MAX_ITERATIONS:
            for old, recent in zip(out.arrays, now.arrays, strict=True):
                old[rows] = recent
            rows, radius, free = rows[going], radius[going], free[going]
            now = now.take(going)
            part = data.take(rows)
    return out
