"""Estimation of dependent effects through statsmodels' optimizers.

Climbs of the engine from several starts end at the highest maximum and see whether there are
others; the chosen optimizer begins there, or at the user's start.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from metareg_sm._typing import Array
from metareg_sm.core.mixed.likelihood import MixedLikelihood, Point
from metareg_sm.core.mixed.objective import Objective
from metareg_sm.core.mixed.profile import Evaluation
from metareg_sm.core.mixed.search import Maximum, maximize
from metareg_sm.exceptions import ConvergenceWarning, DesignError, OptionError
from metareg_sm.models.optimizers import run_optimizer
from metareg_sm.stats.components import Optimization, Outcome

# Log-likelihoods that differ by less are one maximum.
_SAME = 1e-6


@dataclass(frozen=True, slots=True)
class MixedRun:
    """A maximum of the likelihood of dependent effects.

    Attributes
    ----------
    phi : ndarray, (m,)
        Working parameters at the maximum.
    evaluation : Evaluation or None
        The regression there, where it is known.
    optimization : Optimization
        What the optimizer did.
    """

    phi: Array
    evaluation: Evaluation | None
    optimization: Optimization


class _Remembered:
    """The objective, which remembers its last point: optimizers ask for value and slope apart."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self._theta: bytes = b""
        self._found: tuple[float, Array] = (np.inf, np.zeros(0))

    def both(self, theta: Array) -> tuple[float, Array]:
        theta = np.asarray(theta, dtype=float)
        key = theta.tobytes()
        if key != self._theta:
            self._theta, self._found = key, self.objective.value_and_gradient(theta)
        return self._found

    def know(self, theta: Array, point: Point) -> None:
        """Take the value and the score at a point as known."""
        value = -point.value / self.objective.problem.k
        gradient = self.objective.slope_of(theta, point.gradient)
        self._theta, self._found = theta.tobytes(), (value, gradient)

    def value(self, theta: Array) -> float:
        return self.both(theta)[0]

    def gradient(self, theta: Array) -> Array:
        return self.both(theta)[1].copy()


# optimizers that ask for the gradient wherever they ask for the value
_WITH_SLOPE = ("lbfgs", "bfgs", "cg", "minimize", "basinhopping")


def optimize_mixed(
    problem: MixedLikelihood,
    reml: bool,
    method: str,
    start: Array | None,
    maxiter: int,
    disp: bool,
    keywords: Mapping[str, Any],
) -> MixedRun:
    """Maximum of the likelihood of dependent effects.

    Parameters
    ----------
    problem : MixedLikelihood
        The data.
    reml : bool
        Restricted likelihood, else maximum likelihood.
    method : str
        A statsmodels optimizer.
    start : ndarray, (m,), or None
        Working parameters to begin with; by default the best of several.
    maxiter : int
        Iterations that the optimizer may take.
    disp : bool
        Print what the optimizer prints.
    keywords : mapping
        Further keywords of the optimizer, and `warn_convergence`.

    Returns
    -------
    MixedRun

    Raises
    ------
    DesignError
        If the likelihood is undefined at every start.

    Warns
    -----
    ConvergenceWarning
        If the optimizer stopped before the maximum, or the likelihood has several maxima.
    """
    found = maximize(problem, reml) if start is None else None
    begin = start if found is None else found.best.point.phi
    if begin is None:
        raise _undefined()
    climb = partial(_climb, problem, reml, method, begin, found, maxiter, disp, dict(keywords))
    loud = keywords.get("warn_convergence", True)
    plain = method == "lbfgs" and not disp and not keywords
    if found is not None and found.best.converged and plain:
        # begun where the score is 0, it returns its start
        if found.others:
            _tell_others(found.best.point, found.others)
        best = found.best.point
        return MixedRun(best.phi, best.evaluation, Optimization(True, climb))
    retvals, settings = climb()
    reached, value = retvals["phi"], retvals["llf"]
    if found is None:
        found = maximize(problem, reml, reached)
    if found is None or not np.isfinite(value):
        raise _undefined()
    best = found.best.point
    retvals = {**retvals, **_judged(found, value, retvals["converged"])}
    converged = retvals["converged"]
    optimization = Optimization(converged, (retvals, settings))
    if converged:
        if found.others and loud:
            _tell_others(best, found.others)
        return MixedRun(best.phi, best.evaluation, optimization)
    if loud:
        warnings.warn(
            f"The optimizer {method!r} stopped before the maximum of the likelihood of the "
            f"variances (at {value:.6g}, the maximum is {best.value:.6g}). Raise "
            f"maxiter={maxiter}, or use another method. Check mle_retvals.",
            ConvergenceWarning,
            stacklevel=3,
        )
    return MixedRun(reached, None, optimization)


def _climb(
    problem: MixedLikelihood,
    reml: bool,
    method: str,
    begin: Array,
    found: Maximum | None,
    maxiter: int,
    disp: bool,
    keywords: Mapping[str, Any],
) -> Outcome:
    """What the optimizer returns when it begins at `begin`, and what it was given."""
    objective = Objective(problem, reml, begin)
    remembered = _Remembered(objective)
    if found is not None:
        remembered.know(objective.theta(begin), found.best.point)
    value = remembered.value if method in _WITH_SLOPE else objective.value
    functions = (value, remembered.gradient, objective.hessian)
    # climbs of the engine finish: more digits than these would be found twice
    defaults = {"pgtol": 1e-4, "factr": 1e10} if method == "lbfgs" else {}
    theta, retvals, settings = run_optimizer(
        functions, objective.theta(begin), method, maxiter, disp, keywords, defaults
    )
    llf = -problem.k * remembered.value(theta)
    done = bool(retvals["converged"])
    judged = {"converged": done} if found is None else _judged(found, llf, done)
    settings["start_params"] = begin * problem.units
    return {**retvals, "phi": objective.phi(theta), "llf": llf, **judged}, settings


def _judged(found: Maximum, value: float, done: bool) -> dict[str, Any]:
    """Whether an optimizer that ended at `value`, and says it is done, reached the maximum."""
    best = found.best.point.value
    near = best - value <= _SAME * max(1.0, abs(best))
    return {
        "converged": bool(near or (done and found.best.converged)),
        "other_maxima": list(found.others),
    }


def _undefined() -> DesignError:
    return DesignError(
        "The likelihood is undefined: the marginal covariance of the effects is singular "
        "wherever the search began. Are some sampling variances extremely small?"
    )


def _tell_others(best: Point, others: tuple[float, ...]) -> None:
    heights = ", ".join(f"{value:.6g}" for value in others[:3])
    warnings.warn(
        f"The likelihood of the variances has several maxima: the highest that was found is "
        f"{best.value:.6g}, others are {heights}. The fit is at the highest; the data say little "
        "about some variance or correlation. See conf_int_variance().",
        ConvergenceWarning,
        stacklevel=4,
    )


def mixed_start(start_params: Any, problem: MixedLikelihood, p: int) -> Array | None:
    """Working parameters from `start_params`: variances, or working parameters as `loglike` has.

    Correlations begin at 0.3 where variances are given.

    statsmodels' generic code passes a start for the coefficients, which are profiled out and need
    none: a vector of length p says nothing about the variances, unless these are as many.

    Raises
    ------
    OptionError
        If it has another length, or a variance is negative.
    """
    if start_params is None:
        return None
    given = np.asarray(start_params, dtype=float).ravel()
    m = sum(term.q for term in problem.terms)
    if given.size != m:
        if given.size == p:
            return None
        if given.size == problem.units.size and np.isfinite(given).all():
            return given / problem.units
        raise OptionError(
            f"start_params must have {m} values, the variances in the order of the terms and their "
            f"levels; got {given.size}. The coefficients are profiled out and need no start."
        )
    if not (np.isfinite(given) & (given >= 0.0)).all():
        if given.size == p:
            return None
        raise OptionError("start_params must be finite variances >= 0.")
    ends = np.cumsum([term.q for term in problem.terms])
    parts = np.split(given / problem.scale**2, ends[:-1])
    pairs = zip(problem.terms, parts, strict=True)
    return np.concatenate([t.structure.start(v, 0.3 if t.q > 1 else 0.0) for t, v in pairs])
