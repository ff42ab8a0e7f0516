"""Estimation of tau2 through statsmodels' optimizers.

The certified search brackets the global maximum, the chosen optimizer climbs inside, and Newton
steps on the score finish to full precision. Optimizers see theta with tau2 = s theta^2: the
boundary tau2 = 0 is then an ordinary minimum, and s is chosen so that the curvature is about 1.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from metareg_sm._compat import Optimizer
from metareg_sm._typing import Array
from metareg_sm.core.likelihood import Derivatives, Profile
from metareg_sm.core.search.single import Bracket, climb_one, global_bracket
from metareg_sm.core.studies import Studies
from metareg_sm.exceptions import ConvergenceWarning, OptionError
from metareg_sm.options import check_keywords, choose
from metareg_sm.stats.components import Optimization, Outcome

_TOLERANCE = 1e-6

OPTIMIZERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "newton": ("tol", "ridge_factor"),
        "nm": ("xtol", "ftol", "maxfun"),
        "bfgs": ("gtol", "norm", "epsilon"),
        "lbfgs": ("m", "pgtol", "factr", "maxfun"),
        "powell": ("xtol", "ftol", "maxfun", "start_direc"),
        "cg": ("gtol", "norm", "epsilon"),
        "ncg": ("avextol", "epsilon"),
        "basinhopping": (
            "niter",
            "niter_success",
            "T",
            "stepsize",
            "interval",
            "minimizer",
            "seed",
        ),
        "minimize": ("min_method", "tol", "options"),
    }
)
"""Optimizers of statsmodels and the keywords that each of them reads."""

GENERIC = ("callback", "retall", "full_output", "skip_hessian", "warn_convergence")
"""Keywords that every statsmodels model takes; what is not needed here is accepted and unused."""


Functions = tuple[Callable[[Array], float], Callable[[Array], Array], Callable[[Array], Array]]
"""A function of the parameters, its gradient and its Hessian."""


@dataclass(frozen=True, slots=True)
class OptimizerRun:
    """A maximum of the likelihood of tau2.

    Attributes
    ----------
    tau2 : float
        Where it is.
    se : float
        Its standard error, from the expected information.
    optimization : Optimization
        What the optimizer did.
    """

    tau2: float
    se: float
    optimization: Optimization


class _Objective:
    """-loglike / nobs as a function of theta, with derivatives."""

    def __init__(self, profile: Profile, nobs: int, scale: float) -> None:
        self.profile, self.nobs, self.scale = profile, nobs, scale

    def tau2(self, theta: Array) -> Array:
        # a line search may overshoot to where theta^2 is infinite
        return np.asarray(min(self.scale * float(theta[0]) ** 2, 1e300))

    def value(self, theta: Array) -> float:
        return -float(self.profile.loglike(self.tau2(theta))) / self.nobs

    def gradient(self, theta: Array) -> Array:
        return theta * (-2.0 * self.scale / self.nobs * self.derivatives(theta).score)

    def hessian(self, theta: Array) -> Array:
        s = self.derivatives(theta)
        curvature = 4.0 * self.tau2(theta) * s.observed_information - 2.0 * s.score
        return np.array([[self.scale * float(curvature) / self.nobs]])

    def derivatives(self, theta: Array) -> Derivatives:
        return self.profile.derivatives(self.tau2(theta))


def check_optimizer(method: Any, keywords: Mapping[str, Any]) -> str:
    """Name of the optimizer, once its keywords are known to be read.

    Raises
    ------
    OptionError
        If the optimizer or a keyword is unknown.
    """
    allowed = choose(OPTIMIZERS, method, "method")
    if keywords:
        check_keywords(keywords, (*allowed, *GENERIC), f"fit(method={method!r})")
    return str(method).lower()


def run_optimizer(
    functions: Functions,
    start: Array,
    method: str,
    maxiter: int,
    disp: bool,
    keywords: Mapping[str, Any],
    defaults: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[Array, dict[str, Any], dict[str, Any]]:
    """Let a statsmodels optimizer minimise a function.

    Parameters
    ----------
    functions : tuple of callable
        The function, its gradient and its Hessian.
    start : ndarray, (m,)
        Where the optimizer begins.
    method : str
        A statsmodels optimizer.
    maxiter : int
        Iterations that the optimizer may take.
    disp : bool
        Print what the optimizer prints.
    keywords : mapping
        Further keywords of `fit`.
    defaults : mapping
        Keywords of the optimizer where the user gives none.

    Returns
    -------
    ndarray, dict, dict
        Where it ended, (m,); what it returned; what it was given.
    """
    if method == "basinhopping":
        # a fixed seed: the global random state is not ours to draw from
        defaults = {"seed": 0, "niter": 20}
    value, gradient, hessian = functions
    end, retvals, settings = Optimizer()._fit(
        value,
        gradient,
        start,
        (),
        {**defaults, **{k: v for k, v in keywords.items() if k not in GENERIC}},
        hessian=hessian,
        method=method,
        maxiter=maxiter,
        full_output=True,
        disp=disp,
        callback=keywords.get("callback"),
        retall=bool(keywords.get("retall", False)),
    )
    settings.pop("extra_fit_funcs", None)
    return np.atleast_1d(end), dict(retvals), settings


def optimize_tau2(
    studies: Studies,
    reml: bool,
    method: str,
    start: float | None,
    maxiter: int,
    disp: bool,
    keywords: Mapping[str, Any],
) -> OptimizerRun:
    """Global maximum of the likelihood of one data set.

    Parameters
    ----------
    studies : Studies
        One data set.
    reml : bool
        Restricted likelihood, else maximum likelihood.
    method : str
        A statsmodels optimizer.
    start : float or None
        Where the optimizer begins; by default at the global maximum of the certified search, where
        "lbfgs" can only stay: it is run when `mle_retvals` or `mle_settings` is first read.
    maxiter : int
        Iterations that the optimizer may take; with 0 the answer is the start.
    disp : bool
        Print what the optimizer prints.
    keywords : mapping
        Further keywords of the optimizer, and `warn_convergence`.

    Returns
    -------
    OptimizerRun

    Warns
    -----
    ConvergenceWarning
        If the optimizer stopped before the maximum, for instance at `maxiter`.
    """
    profile = studies.profile(reml)
    lower, upper = map(float, studies.search_range(reml))
    bracket = global_bracket(profile, lower, upper)
    low, high = bracket.lower, bracket.upper
    if low == high > 0.0:
        # a variance of 0 and a likelihood that grows towards tau2 = 0, where it is undefined
        return OptimizerRun(low, 0.0, Optimization(False, ({"converged": False}, {})))
    # in this cell there is no other maximum, wherever the optimizer begins
    final, information = climb_one(profile, bracket.start, low, high)
    if not bracket.certified and keywords.get("warn_convergence", True):
        warnings.warn(
            "The search for tau2 gave up before it was certain that no other maximum of the "
            f"likelihood is higher than the one at {final:.6g}.",
            ConvergenceWarning,
            stacklevel=4,
        )
    begin = final if start is None else start
    climb = partial(
        _climb, studies, reml, method, begin, final, bracket, maxiter, disp, dict(keywords)
    )
    if method == "lbfgs" and start is None and not disp and not keywords:
        # begun where the score is 0, it returns its start
        return OptimizerRun(final, 1.0 / math.sqrt(information), Optimization(True, climb))
    retvals, settings = climb()
    converged = retvals["converged"]
    if not converged:
        final = retvals["tau2"]
        information = float(profile.derivatives(np.asarray(final)).expected_information)
        if keywords.get("warn_convergence", True):
            warnings.warn(
                f"The optimizer {method!r} stopped before the maximum of the likelihood of tau2 "
                f"(at {final:.6g}). Raise maxiter={maxiter}, or use another method. Check "
                "mle_retvals.",
                ConvergenceWarning,
                stacklevel=4,
            )
    optimization = Optimization(converged, (retvals, settings))
    return OptimizerRun(final, 1.0 / math.sqrt(information), optimization)


def _climb(
    studies: Studies,
    reml: bool,
    method: str,
    begin: float,
    maximum: float,
    bracket: Bracket,
    maxiter: int,
    disp: bool,
    keywords: Mapping[str, Any],
) -> Outcome:
    """What the optimizer returns when it begins at `begin`, and what it was given."""
    profile = studies.profile(reml)
    scale = _scale(profile, begin, bracket.information, studies)
    objective = _Objective(profile, studies.k, scale)
    functions = (objective.value, objective.gradient, objective.hessian)
    theta, found, settings = run_optimizer(
        functions, np.array([math.sqrt(begin / scale)]), method, maxiter, disp, keywords
    )
    tau2 = float(objective.tau2(theta))
    # Checked, not believed: the answer must lie at the global maximum, or the optimizer must call
    # itself done, which then was a lesser maximum.
    near = abs(tau2 - maximum) <= _TOLERANCE * (maximum + float(np.minimum.reduce(studies.v)))
    retvals = {
        **found,
        "converged": near or bool(found["converged"]),
        "certified": bracket.certified,
        "tau2": tau2,
    }
    settings["start_params"] = np.array([begin])
    return retvals, settings


def _scale(profile: Profile, begin: float, information: float, studies: Studies) -> float:
    """Scale s of theta at which the second derivative of -loglike/nobs is about 1."""
    if begin > 0.0:
        if information * begin**2 > 1e-6 * studies.k:
            return studies.k / (4.0 * begin * information)
        return begin
    score = float(profile.derivatives(np.zeros(())).score)
    return studies.k / (-2.0 * score) if score < 0.0 else float(studies.v.mean())


def starting_tau2(start_params: Any, p: int) -> float | None:
    """Start of tau2 from `start_params`.

    statsmodels' generic code passes a start for the coefficients, which are profiled out and need
    none: a vector of length p > 1 is accepted and says nothing about tau2.

    Raises
    ------
    OptionError
        If `start_params` is neither one tau2 >= 0 nor a vector of the coefficients.
    """
    if start_params is None:
        return None
    refusal = OptionError(f"start_params must be a finite tau2 >= 0; got {start_params!r}.")
    if np.iscomplexobj(start_params):
        raise refusal
    try:
        values = np.asarray(start_params, dtype=float).ravel()
    except (TypeError, ValueError) as error:
        raise refusal from error
    if values.size == 1:
        value = float(values[0])
        if np.isfinite(value) and value >= 0.0:
            return value
        if p == 1 and np.ndim(start_params) == 1 and np.isfinite(value):
            return None
        raise OptionError(f"start_params must be a finite tau2 >= 0; got {value:g}.")
    if values.size == p:
        return None
    raise OptionError(
        f"start_params must be one value, the start of tau2; got {values.size} values. The "
        "coefficients are profiled out and need no start."
    )
