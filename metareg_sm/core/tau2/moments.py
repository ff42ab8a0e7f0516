"""What moment estimators of tau2 are made of: what they ask of data sets, and roots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from metareg_sm._typing import Array
from metareg_sm.core.likelihood import Derivatives, Profile
from metareg_sm.core.pivot_regression import QuadraticForm
from metareg_sm.core.search.maximize import Optimum

# after a Newton step of this relative size the next one would be below rounding
_LAST_STEP = 1e-9
_MAX_NEWTON = 200
# relative error to leave after an interpolation
_ERROR = 1e-15
_POLE = 1e-3
# so small that it is 0 for every purpose, and its cube is not
_TINY = 1e-100


class DataSets(Protocol):
    """What estimators of tau2 ask of data sets: `Studies`, or others that know the same sums."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Leading axes of the data sets, (...)."""
        ...

    @property
    def k(self) -> Any:
        """Number of studies, (...)."""
        ...

    @property
    def df(self) -> Any:
        """Degrees of freedom, (...)."""
        ...

    @property
    def outcome_variance(self) -> Array:
        """Variance of the outcomes about their mean, with divisor k; (...)."""
        ...

    @property
    def root_range(self) -> Array:
        """How far below 0 a root may lie, (...): to minus the smallest variance at most."""
        ...

    def flat(self) -> DataSets:
        """The same along one leading axis."""
        ...

    def profile(self, reml: bool) -> Profile:
        """Profile likelihood of tau2."""
        ...

    def maximize(self, reml: bool) -> Optimum:
        """Global maximum of the likelihood of each."""
        ...

    def total_weight(self, tau2: Array) -> Array:
        """Sum of the weights 1/(v + tau2), (...)."""
        ...

    def quadratic_form(self, a: Array) -> QuadraticForm:
        """Quadratic form with weights a, (k,)."""
        ...

    def quadratic_form_at(self, tau2: Array) -> QuadraticForm:
        """Quadratic form with weights 1/(v + tau2)."""
        ...


def derivatives_of(studies: DataSets, tau2: Array, reml: bool) -> tuple[Derivatives, Array]:
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
