"""Two outcomes of each study about a line, both measured with error: slope by maximum likelihood.

van Houwelingen, Arends & Stijnen (2002). The true outcomes (x, y) of a study are bivariate normal;
the slope of y on x is cov(x, y) / var(x) of the true ones, which sampling errors do not bend.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from metareg_sm._typing import Array
from metareg_sm.core.basis import design_basis
from metareg_sm.core.mixed.likelihood import MixedLikelihood
from metareg_sm.core.mixed.search import maximize
from metareg_sm.core.mixed.solution import solve
from metareg_sm.core.mixed.structures import Linear, structure
from metareg_sm.core.mixed.terms import Term

# Steps of 1 standard error in which an end of an interval is looked for.
_REACH = 60


@dataclass(frozen=True, slots=True)
class Bivariate:
    """The bivariate normal model of true outcomes (x, y), by maximum likelihood.

    Attributes
    ----------
    mean : ndarray, (2,)
        Means of x and y.
    mean_cov : ndarray, (2, 2)
        Their covariance.
    cov : ndarray, (2, 2)
        Covariance of the true x and y.
    llf : float
        Log-likelihood.
    slope, intercept : float
        Of the regression of true y on true x; nan where var(x) is 0.
    slope_se, slope_se_observed : float
        By the delta method from the expected information, and from the curvature of the profile
        log-likelihood (the observed information).
    intercept_se : float
        By the delta method.
    converged : bool
        Whether the search ended at a maximum.
    """

    mean: Array
    mean_cov: Array
    cov: Array
    llf: float
    slope: float
    intercept: float
    slope_se: float
    slope_se_observed: float
    intercept_se: float
    converged: bool


def _problem(x: Array, y: Array, vx: Array, vy: Array, parts: Array | None) -> MixedLikelihood:
    k = len(x)
    study, level = np.tile(np.arange(k), 2), np.repeat([0, 1], k)
    kind = structure("un", 2) if parts is None else Linear(parts)
    design = np.repeat(np.eye(2), k, axis=0)
    return MixedLikelihood.build(
        np.concatenate([x, y]),
        design_basis(design),
        np.concatenate([vx, vy]),
        [Term(study, level, kind)],
    )


def fit_bivariate(x: Array, y: Array, vx: Array, vy: Array) -> Bivariate:
    """Fit the model to estimates x, y (k,) with sampling variances; errors are independent.

    Raises
    ------
    ArithmeticError
        If the likelihood is undefined.
    """
    problem = _problem(x, y, vx, vy, None)
    found = maximize(problem, False)
    if found is None:
        raise ArithmeticError("the likelihood is undefined")
    point = found.best.point
    solution = solve(problem, point.phi, False)
    if solution is None:
        raise ArithmeticError("the likelihood is undefined")
    mean, cov = solution.params, solution.matrices[0]
    if cov[0, 0] <= 0.0:
        slope = intercept = math.nan
        ses = [math.nan, math.nan]
    else:
        # the working parameters are the triangular root [[a, 0], [b, c]]: the slope is b / a
        a, b = solution.phi[0], solution.phi[1]
        slope = float(b / a)
        intercept = float(mean[1] - slope * mean[0])
        gradient = np.array([-b / a**2, 1.0 / a, 0.0])
        signs = np.sign(point.phi[0]) * np.sign(a)
        gradient = gradient * signs
        ses = [_delta(gradient, matrix) for matrix in (point.scoring, point.observed)]
    line = np.array([-slope, 1.0])
    intercept_var = line @ solution.cov_unscaled @ line + (mean[0] * ses[0]) ** 2
    return Bivariate(
        mean,
        solution.cov_unscaled,
        cov,
        solution.loglike,
        slope,
        intercept,
        ses[0],
        ses[1],
        float(np.sqrt(intercept_var)),
        found.best.converged,
    )


def _delta(gradient: Array, information: Array) -> float:
    """Standard error of a function; the third parameter drops out where it is at its end of 0."""
    size = np.sqrt(np.abs(np.diagonal(information)))
    use = size > 1e-8 * size.max()
    try:
        variance = gradient[use] @ np.linalg.solve(information[np.ix_(use, use)], gradient[use])
    except np.linalg.LinAlgError:
        return math.nan
    return float(np.sqrt(variance)) if variance > 0.0 else math.nan


def profile_loglike(x: Array, y: Array, vx: Array, vy: Array, slope: float) -> float:
    """Maximum of the log-likelihood with the slope of true y on true x held.

    With slope s the covariance of the true outcomes is u (1, s)'(1, s) + w (0, 1)'(0, 1), linear in
    the variances u and w >= 0.
    """
    line = np.array([1.0, slope])
    parts = np.stack([np.outer(line, line), np.diag([0.0, 1.0])])
    found = maximize(_problem(x, y, vx, vy, parts), False)
    return -math.inf if found is None else found.best.point.value


def profile_interval(
    x: Array, y: Array, vx: Array, vy: Array, fit: Bivariate, alpha: float
) -> tuple[float, float]:
    """Profile-likelihood interval of the slope; infinite where the likelihood never falls off."""
    fall = 0.5 * float(special.chdtri(1.0, alpha))
    step = fit.slope_se if np.isfinite(fit.slope_se) else max(abs(fit.slope), 0.1)

    def excess(slope: float) -> float:
        return fit.llf - profile_loglike(x, y, vx, vy, slope) - fall

    ends = []
    for side in (-1.0, 1.0):
        inner, width, end = fit.slope, step, side * math.inf
        for _ in range(_REACH):
            outer = inner + side * width
            if excess(outer) > 0.0:
                end = float(optimize.brentq(excess, inner, outer, xtol=1e-10, rtol=1e-12))
                break
            inner, width = outer, 1.5 * width
            if width > 1e6 * step:
                break
        ends.append(end)
    return ends[0], ends[1]
