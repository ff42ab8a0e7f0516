"""Estimation of tau2 through statsmodels' optimizers.

The certified search brackets the global maximum, the chosen optimizer climbs inside, and Newton
steps on the score finish to full precision. Optimizers see theta with tau2 = s theta^2: the
boundary tau2 = 0 is then an ordinary minimum, and s is chosen so that the curvature is about 1.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from statsmodels.base.optimizer import Optimizer

from metareg_sm.core.likelihood import Profile
from metareg_sm.core.search import Brackets, climb, find_brackets
from metareg_sm.core.studies import Studies
from metareg_sm.core.wls import Array
from metareg_sm.exceptions import ConvergenceWarning, OptionError
from metareg_sm.options import check_keywords, choose

_TOLERANCE = 1e-6

OPTIMIZERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "newton": ("tol", "ridge_factor"),
        "nm": ("xtol", "ftol", "maxfun"),
        "bfgs": ("gtol", "norm", "epsilon"),
        "lbfgs": ("m", "pgtol", "factr", "maxfun", "epsilon"),
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


@dataclass(frozen=True, slots=True)
class OptimizerRun:
    """What an optimizer did.

    Attributes
    ----------
    tau2 : float
        Global maximum of the likelihood.
    retvals, settings : dict
        statsmodels' `mle_retvals` and `mle_settings`.
    """

    tau2: float
    retvals: dict[str, Any]
    settings: dict[str, Any]


class _Objective:
    """-loglike / nobs as a function of theta, with derivatives."""

    def __init__(self, profile: Profile, nobs: int, scale: float) -> None:
        self.profile, self.nobs, self.scale = profile, nobs, scale

    def tau2(self, theta: Any) -> Array:
        # a line search may overshoot to where theta^2 is infinite
        return np.minimum(self.scale * np.square(np.asarray(theta, dtype=float).ravel()), 1e300)[:1]

    def value(self, theta: Any) -> float:
        return -float(self.profile.loglike(self.tau2(theta))[0]) / self.nobs

    def gradient(self, theta: Any) -> Array:
        score = self.profile.slopes(self.tau2(theta)).score
        return -2.0 * self.scale * np.asarray(theta, dtype=float) * score / self.nobs

    def hessian(self, theta: Any) -> Array:
        t = self.tau2(theta)
        s = self.profile.slopes(t)
        curvature = 4.0 * t * s.observed_information - 2.0 * s.score
        return (self.scale * curvature / self.nobs).reshape(1, 1)

    def loglike_and_score(self, theta: Any) -> tuple[float, Array]:
        return -self.value(theta), -self.gradient(theta)


def check_optimizer(method: Any, keywords: Mapping[str, Any]) -> str:
    """Name of the optimizer, once its keywords are known to be read.

    Raises
    ------
    OptionError
        If the optimizer or a keyword is unknown.
    """
    allowed = choose(OPTIMIZERS, method, "method")
    check_keywords(keywords, (*allowed, *GENERIC), f"fit(method={method!r})")
    return str(method).lower()


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
        Where the optimizer begins; by default close to the global maximum.
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
    lower, upper, unit = studies.search_range(reml)
    brackets = find_brackets(profile, lower, upper, unit)
    if len(brackets.row) > 1:
        peaks = climb(profile, brackets, unit, single=True)
        best = int(np.argmax(profile.loglike(peaks)))
        brackets = Brackets(
            *(getattr(brackets, f)[best : best + 1] for f in ("row", "lower", "upper", "start"))
        )
    begin = float(brackets.start[0]) if start is None else start
    objective = _Objective(profile, studies.nobs, _scale(profile, begin, studies, float(unit[0])))
    theta0 = np.array([math.sqrt(begin / objective.scale)])
    options = {k: v for k, v in keywords.items() if k not in GENERIC}
    if method == "lbfgs":
        options["loglike_and_score"] = objective.loglike_and_score
        if start is None and brackets.upper[0] > 0.0:
            ends = np.sqrt(np.array([brackets.lower[0], brackets.upper[0]]) / objective.scale)
            options["bounds"] = [(ends[0], ends[1])]
    elif method == "basinhopping":
        # a fixed seed: the global random state is not ours to draw from
        options.setdefault("seed", 0)
        options.setdefault("niter", 20)
    theta, retvals, settings = Optimizer()._fit(
        objective.value,
        objective.gradient,
        theta0,
        (),
        options,
        hessian=objective.hessian,
        method=method,
        maxiter=maxiter,
        full_output=True,
        disp=disp,
        callback=keywords.get("callback"),
        retall=bool(keywords.get("retall", False)),
    )
    tau2 = float(objective.tau2(theta)[0])
    retvals = dict(retvals)
    final, converged = _finish(profile, brackets, unit, tau2, bool(retvals["converged"]))
    retvals["converged"] = converged
    settings["start_params"] = np.array([begin])
    for key in ("loglike_and_score", "extra_fit_funcs"):
        settings.pop(key, None)
    if not converged and keywords.get("warn_convergence", True):
        warnings.warn(
            f"The optimizer {method!r} stopped before the maximum of the likelihood of tau2 "
            f"(at {final:.6g}). Raise maxiter={maxiter}, or use another method. Check mle_retvals.",
            ConvergenceWarning,
            stacklevel=4,
        )
    return OptimizerRun(final, retvals, settings)


def _scale(profile: Profile, begin: float, studies: Studies, unit: float) -> float:
    """Scale s at which -loglike/nobs has a second derivative of about 1 in theta."""
    if begin > 0.0:
        information = float(profile.slopes(np.array([begin])).observed_information[0])
        if information * begin**2 > 1e-6 * studies.nobs:
            return studies.nobs / (4.0 * begin * information)
        return begin
    score = float(profile.slopes(np.zeros(1)).score[0])
    return max(studies.nobs / max(-2.0 * score, 1e-300), 1e-300) if score < 0.0 else unit


def _finish(
    profile: Profile, brackets: Brackets, unit: Array, tau2: float, converged: bool
) -> tuple[float, bool]:
    """Polish the optimizer's answer to full precision, or say that it is none.

    The answer is checked, not believed: it must lie at the global maximum to 1e-6 of the scale on
    which the likelihood varies, or the optimizer must call itself done in the right cell.
    """
    low, high = float(brackets.lower[0]), float(brackets.upper[0])
    begin = min(max(tau2, low), high)
    start = Brackets(brackets.row, brackets.lower, brackets.upper, np.array([begin]))
    peak = float(climb(profile, start, unit, single=True)[0])
    near = abs(tau2 - peak) <= _TOLERANCE * (peak + float(unit[0]))
    if near or converged:
        return peak, True
    return tau2, False


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
    values = np.asarray(start_params, dtype=float).ravel()
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
