"""Profile likelihood of the coefficients of the scale."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import linalg, optimize, special

from metareg_sm._typing import Array
from metareg_sm.core.basis import design_basis
from metareg_sm.core.location_scale import LocationScale
from metareg_sm.exceptions import IntervalWarning, OptionError
from metareg_sm.options import position
from metareg_sm.postestimation.higher import HigherPoints
from metareg_sm.postestimation.scale import ScaleFitted

# an end is looked for so many half-widths of the Wald interval away
_STEPS = (1.0, 1.5, 2.0, 3.0, 4.0, 8.0, 16.0)


@dataclass(frozen=True, slots=True)
class _Held:
    """The likelihood with one coefficient of ln tau2 held.

    Attributes
    ----------
    problem : LocationScale
        The data.
    row : ndarray, (m,)
        The coefficient is this times alpha of the orthonormal design.
    free : ndarray, (m, m-1)
        Directions that leave it as it is.
    best : ndarray, (m,)
        alpha at the maximum.
    reml : bool
        Restricted likelihood.
    name : str
        Of the coefficient.
    higher : HigherPoints
        Where the likelihood turns out to be higher than at the estimate.
    """

    problem: LocationScale
    row: Array
    free: Array
    best: Array
    reml: bool
    name: str
    higher: HigherPoints

    @classmethod
    def of(cls, fit: ScaleFitted, j: int, higher: HigherPoints) -> Self:
        table = fit.table
        problem = LocationScale.build(
            table.endog, table.vi, table.basis, design_basis(fit.scale_exog)
        )
        row = problem.to_alpha[j]
        best = np.asarray(
            np.linalg.lstsq(problem.to_alpha, fit.components.values, rcond=None)[0], dtype=float
        )
        name = fit.scale_terms.names[j]
        return cls(problem, row, linalg.null_space(row[None]), best, fit.reml, name, higher)

    def loglike(self, value: float, begin: Array) -> tuple[float, Array]:
        """Maximum over the others from a start, and where it is."""
        start = begin + (value - self.row @ begin) / (self.row @ self.row) * self.row
        if not self.free.shape[1]:
            own = float(self.problem.loglike(start, self.reml))
            return self.higher.see(self.name, value, own), start

        def down(g: Array) -> tuple[float, Array]:
            at = self.problem.point(start + self.free @ g, self.reml).heights
            if not np.isfinite(at.value):
                return math.inf, np.zeros_like(g)
            return -float(at.value), -(at.gradient @ self.free)

        def curvature(g: Array) -> Array:
            point = self.problem.point(start + self.free @ g, self.reml)
            bend: Array = self.free.T @ point.heights.observed @ self.free
            return bend

        found = optimize.minimize(
            down,
            np.zeros(self.free.shape[1]),
            jac=True,
            hess=curvature,
            method="trust-exact",
            options={"gtol": 1e-8, "initial_trust_radius": 1.0, "max_trust_radius": 10.0},
        )
        return self.higher.see(self.name, value, -float(found.fun)), start + self.free @ found.x


def profile_scale(fit: ScaleFitted, name: str, values: Array) -> Array:
    """Profile log-likelihood; see `LocationScaleResults.profile_scale`."""
    higher = HigherPoints(fit.llf)
    held = _Held.of(fit, position(name, fit.scale_terms.names, "name"), higher)
    values = np.asarray(values, dtype=float)
    loglike = np.empty(len(values))
    order = np.argsort(values, kind="stable")
    at = int(np.searchsorted(values[order], held.row @ held.best))
    # from the maximum outwards, each search beginning where the last one ended
    for side in (order[at:], order[:at][::-1]):
        alpha = held.best
        for i in side:
            loglike[i], alpha = held.loglike(float(values[i]), alpha)
    higher.tell(stacklevel=3)
    return loglike


def profile_intervals(fit: ScaleFitted, alpha: float) -> Array:
    """Profile-likelihood intervals of the coefficients of ln tau2, (q, 2).

    Raises
    ------
    OptionError
        If the likelihood has no maximum.

    Warns
    -----
    IntervalWarning
        If one is unbounded.
    ConvergenceWarning
        If the likelihood is higher at some point than at the estimate.
    """
    if not np.isfinite(fit.components.se).all():
        raise OptionError(
            "The likelihood of the scale has no maximum in this fit, so there is no profile "
            "likelihood."
        )
    bar = fit.llf - 0.5 * float(special.chdtri(1, alpha))
    ends, higher = np.empty((len(fit.components.values), 2)), HigherPoints(fit.llf)
    for j, (estimate, se) in enumerate(zip(fit.components.values, fit.components.se, strict=True)):
        held = _Held.of(fit, j, higher)
        ends[j] = [_end(held, float(estimate), step * float(se), bar) for step in (-2.0, 2.0)]
    open_ended = [
        name
        for name, row in zip(fit.scale_terms.names, ends, strict=True)
        if not np.isfinite(row).all()
    ]
    if open_ended:
        warnings.warn(
            f"The profile interval of {', '.join(open_ended)} is unbounded: the likelihood stays "
            "above the level however far from the estimate.",
            IntervalWarning,
            stacklevel=3,
        )
    higher.tell(stacklevel=3)
    return ends


def _end(held: _Held, estimate: float, step: float, bar: float) -> float:
    """Where the profile crosses the level, on the side of the step; infinite if nowhere."""
    inside, alpha = estimate, held.best
    for factor in _STEPS:
        outside = estimate + factor * step
        value, found = held.loglike(outside, alpha)
        if value < bar:
            break
        inside, alpha = outside, found
    else:
        return math.copysign(math.inf, step)
    start = alpha
    return float(
        optimize.brentq(
            lambda x: held.loglike(x, start)[0] - bar, inside, outside, xtol=1e-9, rtol=1e-10
        )
    )
