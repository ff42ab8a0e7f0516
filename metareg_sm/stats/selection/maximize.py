"""Newton's method in a trust region, for many data sets and starts at once.

tau2 is the square of the parameter that is varied: its boundary at 0 is then an ordinary stationary
point, and nothing is constrained.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metareg_sm._typing import Array, Codes, Mask
from metareg_sm.stats.selection.likelihood import Evaluation, SelectionData, evaluate

# Newton decrement below which the quadratic model is trusted without looking at the likelihood
_TRUSTED = 1e-7
# and below which it tells how much is left to gain; at most half of it
_NEAR = 0.1
# maxima whose likelihoods differ by less are taken to be one
_SAME = 1e-6
# decrement after whose step the parameters are right to rounding
_DONE = 1e-15
_MAX_ITERATIONS = 100
_RADIUS, _LARGEST_RADIUS = 1.0, 4.0
# a maximum is not flat where its information in the units of the search exceeds this
_FLAT = 1e-7


@dataclass(frozen=True, slots=True)
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
    iterations : int
    """

    x: Array
    value: Array
    gradient: Array
    hessian: Array
    converged: Mask
    iterations: int


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
    return (vectors @ scaled[..., None])[..., 0], (along * scaled).sum(-1), -values.max(-1)


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
    n = len(x)
    out_x, radius = x.copy(), np.full(n, _RADIUS)
    found = at(data, x)
    value, gradient, hessian = found.value, found.gradient, found.hessian
    converged = np.zeros(n, dtype=bool)
    rows = np.arange(n)
    best = np.full(0 if problem is None else int(problem.max()) + 1, -np.inf)
    iteration = 0
    part = data
    while iteration < _MAX_ITERATIONS:
        iteration += 1
        here = Evaluation(value[rows], gradient[rows], hessian[rows])
        step, decrement, information = _newton_step(here, free[rows])
        length = np.sqrt((step * step).sum(-1))
        shrink = np.minimum(1.0, radius[rows] / np.maximum(length, 1e-300))
        step = step * shrink[:, None]
        concave = information > _FLAT
        trusted = (decrement < _TRUSTED) & concave & (shrink == 1.0)
        new = np.where(free[rows], np.clip(out_x[rows] + step, -limit, limit), out_x[rows])
        there = at(part, new)
        gain = there.value - here.value
        # the quadratic model along the shortened step; exact where nothing was shortened
        predicted = (here.gradient * step * free[rows]).sum(-1) * (1.0 - 0.5 * shrink)
        better = (gain > 0.0) | trusted
        poor = gain < 0.25 * predicted
        wide = (gain > 0.75 * predicted) & (shrink < 1.0)
        factor = np.where(wide, 2.0, np.where(poor & ~trusted, 0.25, 1.0))
        reference = np.where(poor, np.minimum(length, radius[rows]), radius[rows])
        radius[rows] = np.minimum(factor * reference, _LARGEST_RADIUS)
        accepted = rows[better]
        out_x[accepted] = new[better]
        value[accepted] = there.value[better]
        gradient[accepted], hessian[accepted] = there.gradient[better], there.hessian[better]
        finished = trusted & (decrement < _DONE)
        converged[rows[finished]] = True
        stuck = (radius[rows] < 1e-9) | np.any(free[rows] & (np.abs(new) >= limit), axis=-1)
        going = ~(finished | stuck)
        if problem is not None:
            if trusted.any():
                np.maximum.at(best, problem[rows[trusted]], here.value[trusted])
            # near a maximum the quadratic model tells how much can be gained
            prospect = here.value + np.where(concave & (decrement < _NEAR), decrement, np.inf)
            going &= trusted | (prospect > best[problem[rows]] + _SAME)
        if not going.any():
            break
        if not going.all():
            rows = rows[going]
            part = data.take(rows)
    return Maximum(out_x, value, gradient, hessian, converged, iteration)
