"""Estimation of the scale of a location-scale model through statsmodels' optimizers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from metareg_sm._typing import Array
from metareg_sm.core.location_scale import LocationScale, ScaleFit, maximize_scale, scale_starts
from metareg_sm.exceptions import (
    ConvergenceWarning,
    DesignError,
    IdentificationWarning,
    OptionError,
)
from metareg_sm.models.optimizers import run_optimizer
from metareg_sm.stats.components import Optimization

# Log-likelihoods that differ by less are one maximum.
_SAME = 1e-6


@dataclass(frozen=True, slots=True)
class ScaleRun:
    """A maximum of the likelihood of a location-scale model.

    Attributes
    ----------
    maximum : ScaleFit
        The coefficients there.
    optimization : Optimization
        What the optimizer did.
    """

    maximum: ScaleFit
    optimization: Optimization


def scale_start(start_params: Any, problem: LocationScale, p: int) -> Array | None:
    """Working parameters from `start_params`, the start of alpha.

    statsmodels' generic code passes a start for the p coefficients of the mean, which are profiled
    out and need none.

    Raises
    ------
    OptionError
        If it has another length.
    """
    q = len(problem.to_alpha)
    if start_params is None:
        return None
    if np.size(start_params) == q:
        given = np.asarray(start_params, dtype=float).ravel()
        return np.linalg.solve(problem.to_alpha, given)
    if np.size(start_params) == p:
        return None
    raise OptionError(f"start_params must have {q} values, the start of alpha.")


def optimize_scale(
    problem: LocationScale,
    reml: bool,
    method: str,
    start: Array | None,
    maxiter: int,
    disp: bool,
    keywords: Mapping[str, Any],
) -> ScaleRun:
    """Maximum of the likelihood of a location-scale model.

    Parameters
    ----------
    problem : LocationScale
        The data.
    reml : bool
        Restricted likelihood, else maximum likelihood.
    method : str
        A statsmodels optimizer.
    start : ndarray, (q,), or None
        Working parameters to begin with; by default the best of several.
    maxiter : int
        Iterations that the optimizer may take.
    disp : bool
        Print what the optimizer prints.
    keywords : mapping
        Further keywords of the optimizer, and `warn_convergence`.

    Returns
    -------
    ScaleRun

    Raises
    ------
    DesignError
        If the likelihood is undefined at every start.

    Warns
    -----
    ConvergenceWarning
        If the optimizer stopped before the maximum, or the likelihood has several maxima.
    IdentificationWarning
        If the likelihood grows towards a heterogeneity of 0.
    """
    k, q = problem.k, len(problem.to_alpha)
    begin = start
    if begin is None:
        starts = scale_starts(problem)
        begin = starts[problem.loglike(starts, reml).argmax()]

    def slopes(alpha: Array) -> tuple[Array, Array]:
        at = problem.point(alpha, reml).heights
        if not np.isfinite(at.value):
            return np.zeros(q), np.eye(q)
        return -at.gradient / k, at.observed / k

    alpha, retvals, settings = run_optimizer(
        (
            lambda a: -float(problem.loglike(a, reml)) / k,
            lambda a: slopes(a)[0],
            lambda a: slopes(a)[1],
        ),
        begin,
        method,
        maxiter,
        disp,
        keywords,
    )
    found = maximize_scale(problem, reml, alpha)
    if not np.isfinite(found.loglike):
        raise DesignError("The likelihood of the scale is undefined at every start.")
    value = problem.loglike(alpha, reml)
    near = found.loglike - value <= _SAME * max(1.0, abs(float(found.loglike)))
    retvals["converged"] = bool((near or retvals["converged"]) and found.converged)
    retvals["other_maxima"] = list(found.others)
    settings["start_params"] = problem.to_alpha @ begin
    if keywords.get("warn_convergence", True):
        if found.boundary:
            warnings.warn(
                "The likelihood grows towards a heterogeneity of 0, where ln tau2 is minus "
                "infinity: alpha has no maximum, and no standard error. Is there "
                "heterogeneity? See MetaReg.",
                IdentificationWarning,
                stacklevel=3,
            )
        elif not retvals["converged"]:
            warnings.warn(
                f"The optimizer {method!r} stopped before the maximum of the likelihood of the "
                f"scale. Raise maxiter={maxiter}, or use another method. Check mle_retvals.",
                ConvergenceWarning,
                stacklevel=3,
            )
        if found.others:
            warnings.warn(
                "The likelihood of the scale has several maxima: the highest that was found is "
                f"{found.loglike:.6g}, others are {', '.join(map(str, found.others[:3]))}.",
                ConvergenceWarning,
                stacklevel=3,
            )
    return ScaleRun(found, Optimization(retvals["converged"], (retvals, settings)))
