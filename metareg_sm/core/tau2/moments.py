"""What moment estimators of tau2 are made of: quadratic forms, their traces, and roots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from metareg_sm._typing import Array
from metareg_sm.core.gram import Gram, times, trace_of_four, trace_product
from metareg_sm.core.gram import inverse as gram_inverse
from metareg_sm.core.likelihood import Profile, Slopes
from metareg_sm.core.studies import Studies

# after a Newton step of this relative size the next one would be below rounding
_LAST_STEP = 1e-9
_MAX_NEWTON = 200
_POLE = 1e-3
# so small that it is 0 for every purpose, and its cube is not
_TINY = 1e-100


@dataclass(frozen=True, slots=True)
class Projection:
    """Quadratic form and traces of P_a = A - AZ(Z'AZ)^-1Z'A."""

    quadratic: Array
    trace: Array
    trace_pv: Array
    trace_pp: Array
    trace_pvpv: Array
    trace_ppv: Array


def projection(studies: Studies, a: Array) -> Projection:
    """Quadratic form and traces with weights a (..., k)."""
    gram = Gram(studies.Z)
    y, v = studies.y, studies.v
    a, v, y = np.broadcast_arrays(a, v, y)
    counted = studies.counted
    inverse = gram_inverse(gram.quadratic(counted(a))[0])
    resid = y - gram.combine(times(inverse, gram.linear(counted(a * y))))
    a2 = a * a
    mids = {}
    for name, d in (("one", 1.0), ("v", v)):
        mids[name] = gram.quadratic(counted(a2 * d))

    def trace(name: str) -> Array:
        total = gram.quadratic(counted(a * (v if name == "v" else 1.0)))[1]
        return total - trace_product(inverse, mids[name][0])

    def trace_of_two(first: str, second: str, d: Array | float) -> Array:
        # tr(P D1 P D2) without forming a k x k matrix; d is D1 D2
        total = counted(a2 * d).sum(-1)
        cross, _ = gram.quadratic(counted(a2 * a * d))
        total = total - 2.0 * trace_product(inverse, cross)
        return total + trace_of_four(inverse, mids[first][0], mids[second][0])

    return Projection(
        quadratic=np.einsum("...k,...k->...", counted(a * resid), resid),
        trace=trace("one"),
        trace_pv=trace("v"),
        trace_pp=trace_of_two("one", "one", 1.0),
        trace_pvpv=trace_of_two("v", "v", v * v),
        trace_ppv=trace_of_two("one", "v", v),
    )


def slopes_of(studies: Studies, tau2: Array, reml: bool) -> Slopes:
    """Ingredients of the likelihood's derivatives at a tau2 for each data set, (...)."""
    flat, shape = studies.flat(), studies.shape
    found = flat.profile(reml).slopes(np.reshape(tau2, flat.shape))
    return Slopes(*(x.reshape(shape) for x in found))


def projection_at(studies: Studies, tau2: Array) -> Projection:
    """Quadratic form and traces with weights 1/(v + tau2).

    There P (V + tau2 I) is a projection of rank k - r, so that all traces follow from those of P
    and PP.
    """
    flat, shape = studies.flat(), studies.shape
    profile, t = flat.profile(True), np.reshape(tau2, flat.shape)
    s = profile.slopes(t)
    df = flat.df
    ppv = s.trace - t * s.trace2
    parts = (
        profile.rss(t),
        s.trace,
        df - t * s.trace,
        s.trace2,
        df - 2.0 * t * s.trace + t * t * s.trace2,
        ppv,
    )
    return Projection(*(np.reshape(x, shape) for x in np.broadcast_arrays(*parts)))


Falling = Callable[[Array], tuple[Array, Array]]


def falling_root(evaluate: Falling, target: Array | float, lower: Array) -> Array:
    """Solve F(tau2) = target where F = sum c/(d + tau2) with positive c, such as y'Py.

    1/F is an increasing concave function of tau2, a weighted harmonic mean of d + tau2 and linear
    for equal variances: Newton's method on it converges from everywhere.

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
    ndarray, (n,)
        The root, which may be negative; -lower where there is none above -0.999 lower.
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
    for _ in range(_MAX_NEWTON):
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            scale = value / slope
            step = scale * (value / target - 1.0)
            step = np.where(done, 0.0, np.maximum(step, 0.9 * (floor - t)))
        t = t + step
        done |= np.abs(step) <= _LAST_STEP * scale
        if done.all():
            break
        value, slope = evaluate(t)
    return np.where(absent, -lower, t)


def rss_root(profile: Profile, target: Array | float, lower: Array) -> Array:
    """Solve y'P(tau2)y = target; parameters and return value as in `falling_root`."""

    def evaluate(t: Array) -> tuple[Array, Array]:
        slopes, rss = profile.slopes_and_rss(t)
        return rss, slopes.ypp

    return falling_root(evaluate, target, lower)
