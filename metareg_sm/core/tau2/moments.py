"""What moment estimators of tau2 are made of: quadratic forms, their traces, and roots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from metareg_sm._typing import Array
from metareg_sm.core.likelihood import Derivatives, Profile
from metareg_sm.core.likelihood.choose import pivoted
from metareg_sm.core.pivot_regression import PivotedFit
from metareg_sm.core.studies import Studies

# after a Newton step of this relative size the next one would be below rounding
_LAST_STEP = 1e-9
_MAX_NEWTON = 200
# relative error to leave after an interpolation
_ERROR = 1e-15
_POLE = 1e-3
# so small that it is 0 for every purpose, and its cube is not
_TINY = 1e-100


@dataclass(frozen=True, slots=True)
class QuadraticForm:
    """Quadratic form y'P_a y with P_a = A - AX(X'AX)^-1X'A for weights a, of each data set.

    Attributes
    ----------
    value : ndarray, (...)
        y'P_a y.
    trace, trace_v : ndarray, (...)
        tr P_a and tr P_a V.
    fit : PivotedFit
        The weighted regressions.
    """

    value: Array
    trace: Array
    trace_v: Array
    fit: PivotedFit
    v: Array

    def variance(self, tau2: Array) -> Array:
        """Variance 2 tr(P_a S P_a S) for S = V + tau2 I; (...)."""
        t, shape = np.ravel(tau2), np.shape(tau2)
        v = self.v.T if self.v.ndim == 2 else self.v[:, None]
        return 2.0 * self.fit.trace_of_square(v + t, self.fit.pivots.v + t).reshape(shape)


def quadratic_form(studies: Studies, a: Array) -> QuadraticForm:
    """Quadratic form of each data set with weights a (..., k)."""
    shape, flat = studies.shape, studies.flat()
    a = np.broadcast_to(a, (*shape, a.shape[-1])).reshape(-1, a.shape[-1])
    fit = pivoted(flat).regress_with(np.ascontiguousarray(a.T))
    one = np.ones((1, 1))
    v = flat.v.T if flat.v.ndim == 2 else flat.v[:, None]
    value, trace, trace_v = (
        np.broadcast_to(x, len(a)).reshape(shape)
        for x in (fit.rss, fit.trace(one, one), fit.trace(v, fit.pivots.v))
    )
    return QuadraticForm(value, trace, trace_v, fit, flat.v)


def derivatives_of(studies: Studies, tau2: Array, reml: bool) -> tuple[Derivatives, Array]:
    """Ingredients of the likelihood's derivatives, and y'Py, at a tau2 for each data set, (...)."""
    flat, shape = studies.flat(), studies.shape
    found, rss = flat.profile(reml).derivatives_and_rss(np.reshape(tau2, flat.shape))
    return Derivatives(*(np.reshape(x, shape) for x in found)), np.reshape(rss, shape)


class Root(NamedTuple):
    """Roots of an equation.

    Attributes
    ----------
    tau2 : ndarray, (n,)
        The roots, which may be negative; minus the smallest variance where there is none.
    certified : ndarray of bool, (n,)
        Whether the iteration converged.
    """

    tau2: Array
    certified: npt.NDArray[np.bool_]

    def reshape(self, shape: tuple[int, ...]) -> Root:
        """The same with other leading axes."""
        return Root(np.reshape(self.tau2, shape), np.reshape(self.certified, shape))


Falling = Callable[[Array], tuple[Array, Array]]


def falling_root(evaluate: Falling, target: Array | float, lower: Array) -> Root:
    """Solve F(tau2) = target where F = sum c/(d + tau2) with positive c, such as y'Py.

    1/F is an increasing concave function of tau2, a weighted harmonic mean of d + tau2 and linear
    for equal variances: Newton's method on it converges from everywhere. A cubic through the
    last two points takes its place where both agree.

    Parameters
    ----------
    evaluate : callable
        Gives F and -dF/dtau2 at an array of n values of tau2.
    target : array_like, (n,)
        Positive values, such as k - p or a quantile of chi-squared.
    lower : ndarray, (n,)
        Smallest sampling variance: v + tau2 stays positive above -lower.

    Returns
    -------
    Root
        Minus `lower` where there is none above -0.999 `lower`.
    """
    target, lower = np.broadcast_arrays(np.asarray(target, dtype=float), lower)
    # nearer to the pole the weights differ by more than rounding lets one compute with
    floor = np.where(lower > 0.0, -lower * (1.0 - _POLE), _TINY)
    t = np.maximum(floor, 0.0)
    value, slope = evaluate(t)
    absent = value < target
    if absent.any():
        absent &= evaluate(np.where(absent, floor, t))[0] < target
    done = absent.copy()
    goal = 1.0 / target
    before = None
    for _ in range(_MAX_NEWTON):
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            # 1/F and what tau2 gains with it
            height, scale = 1.0 / value, value / slope
            gain = value * scale
            step = gain * (goal - height)
            small = np.abs(step) <= _LAST_STEP * scale
            if before is not None:
                # Newton's method knows this point alone, an interpolation that before it, too
                last, last_height, last_gain = before
                rise = height - last_height
                s = (goal - last_height) / rise
                cubic = (t - last) * (s * s * (3.0 - 2.0 * s) - 1.0)
                cubic += rise * s * (1.0 - s) * ((1.0 - s) * last_gain - s * gain)
                change = np.abs(cubic - step)
                close = change <= 0.5 * np.abs(step)
                # the error left is smaller than what was corrected by distance squared
                left = change * np.square((t + cubic - last) / scale)
                small |= close & (left <= _ERROR * scale)
                step = np.where(close, cubic, step)
            step = np.where(done, 0.0, np.maximum(step, 0.9 * (floor - t)))
        before = t, height, gain
        t = t + step
        done |= small
        if done.all():
            break
        value, slope = evaluate(t)
    return Root(np.where(absent, -lower, t), np.asarray(done))


def rss_root(profile: Profile, target: Array | float, lower: Array) -> Root:
    """Solve y'P(tau2)y = target; parameters and return value as in `falling_root`."""
    return falling_root(profile.rss_and_ypp, target, lower)
