"""The likelihood of dependent effects in parameters that any optimizer may search freely."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from metareg_sm._typing import Array
from metareg_sm.core.mixed.likelihood import MixedLikelihood


@dataclass(frozen=True, eq=False)
class Objective:
    """-loglike / k as a function of theta without bounds, with derivatives.

    A variance is s theta^2, a standard deviation s |theta|, an entry of L s theta, a correlation
    low + (high - low) sin(theta)^2: every end is an ordinary point.

    Attributes
    ----------
    problem : MixedLikelihood
        The data.
    reml : bool
        Restricted likelihood, else maximum likelihood.
    reference : ndarray, (m,)
        Working parameters that set the scale of theta, for instance the start of the search.
    """

    problem: MixedLikelihood
    reml: bool
    reference: Array

    @cached_property
    def _sizes(self) -> Array:
        """Size of each parameter at theta = 1."""
        typical = max(self.problem.residual_variance, self.problem.typical)
        default = np.array(
            [typical if kind == "variance" else np.sqrt(typical) for kind in self.problem.kinds]
        )
        size = np.abs(self.reference)
        return np.where(size > 1e-6 * default, size, default)

    def phi(self, theta: Array) -> Array:
        """Working parameters of theta."""
        return self._map(theta)[0]

    def theta(self, phi: Array) -> Array:
        """One theta of working parameters."""
        found = np.empty(len(phi))
        lower, upper = self.problem.bounds
        for j, kind in enumerate(self.problem.kinds):
            size = self._sizes[j]
            if kind == "variance":
                found[j] = np.sqrt(max(phi[j], 0.0) / size)
            elif kind == "correlation":
                share = (phi[j] - lower[j]) / (upper[j] - lower[j])
                found[j] = np.arcsin(np.sqrt(min(max(share, 0.0), 1.0)))
            else:
                found[j] = phi[j] / size
        return found

    def _map(self, theta: Array) -> tuple[Array, Array, Array]:
        """Working parameters and their first and second derivatives by theta."""
        # a line search may overshoot to where the square is infinite
        theta = np.clip(theta, -1e60, 1e60)
        phi, first, second = np.empty((3, len(theta)))
        lower, upper = self.problem.bounds
        for j, kind in enumerate(self.problem.kinds):
            x, size = theta[j], self._sizes[j]
            if kind == "variance":
                phi[j], first[j], second[j] = size * x**2, 2.0 * size * x, 2.0 * size
            elif kind == "sd":
                phi[j], first[j], second[j] = size * abs(x), size * (1.0 if x >= 0 else -1.0), 0.0
            elif kind == "correlation":
                width = upper[j] - lower[j]
                phi[j] = lower[j] + width * np.sin(x) ** 2
                first[j], second[j] = width * np.sin(2.0 * x), 2.0 * width * np.cos(2.0 * x)
            else:
                phi[j], first[j], second[j] = size * x, size, 0.0
        return phi, first, second

    def value(self, theta: Array) -> float:
        """-loglike / k; inf where the likelihood is undefined."""
        return -self.problem.loglike(self.phi(theta), self.reml) / self.problem.k

    def value_and_gradient(self, theta: Array) -> tuple[float, Array]:
        """Value, and gradient (m,): zeros where the likelihood is undefined."""
        phi, first, _ = self._map(theta)
        found = self.problem.slope(phi, self.reml)
        if found is None:
            return np.inf, np.zeros(len(theta))
        return -found.value / self.problem.k, -first * found.gradient / self.problem.k

    def slope_of(self, theta: Array, score: Array) -> Array:
        """Gradient (m,) where the score by the working parameters is known."""
        return -self._map(theta)[1] * score / self.problem.k

    def gradient(self, theta: Array) -> Array:
        """Gradient, (m,); zeros where the likelihood is undefined."""
        return self.value_and_gradient(theta)[1]

    def hessian(self, theta: Array) -> Array:
        """Hessian, (m, m)."""
        phi, first, second = self._map(theta)
        point = self.problem.point(phi, self.reml)
        if point is None:
            return np.eye(len(theta))
        H = np.outer(first, first) * point.observed - np.diag(second * point.gradient)
        return H / self.problem.k
