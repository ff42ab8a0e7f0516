"""Covariances with one correlation: exchangeable and autoregressive, equal or unequal variances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from metareg_sm._typing import Array
from metareg_sm.core.mixed.covariances import Held, Kind, Reported, fixing, unit, variance_names


class Correlation(Protocol):
    """Correlation matrices with one parameter."""

    @property
    def bounds(self) -> tuple[float, float]:
        """Ends of the parameter."""
        ...

    def matrices(self, r: Array) -> tuple[Array, Array, Array]:
        """The matrix and its first two derivatives, (..., q, q) each, at r (..., 1, 1)."""
        ...

    def printed(self, r: float) -> tuple[float, float]:
        """The correlation that is reported, and its derivative by the parameter."""
        ...

    def parameter(self, rho: float) -> float:
        """The parameter of a correlation that is reported."""
        ...


@dataclass(frozen=True, eq=False)
class Exchangeable:
    """The same correlation between any two of q effects."""

    q: int

    @property
    def bounds(self) -> tuple[float, float]:
        """Ends of the parameter."""
        return -1.0 / (self.q - 1), 1.0

    def matrices(self, r: Array) -> tuple[Array, Array, Array]:
        """The matrix and its first two derivatives, (..., q, q) each, at r (..., 1, 1)."""
        slope = 1.0 - np.eye(self.q)
        return np.eye(self.q) + r * slope, slope, np.zeros_like(slope)

    def printed(self, r: float) -> tuple[float, float]:
        """The correlation that is reported, and its derivative by the parameter."""
        return r, 1.0

    def parameter(self, rho: float) -> float:
        """The parameter of a correlation that is reported."""
        return rho


@dataclass(frozen=True, eq=False)
class Autoregressive:
    """Correlation rho^d of effects at a distance d in time.

    Attributes
    ----------
    distance : ndarray, (q, q)
        Distances in units in which the smallest is at least 1.
    unit : float
        That unit in the time of the data.
    lower : float
        -1 where all distances are whole numbers and one is odd, else 0.
    """

    distance: Array
    unit: float
    lower: float

    @classmethod
    def build(cls, times: Array) -> Autoregressive:
        """Correlation of effects at different times (q,)."""
        distance = np.abs(times[:, None] - times)
        whole = bool(np.all(distance == np.rint(distance)))
        if whole:
            lower = -1.0 if np.any(distance % 2.0 == 1.0) else 0.0
            return cls(distance, 1.0, lower)
        unit = float(distance[distance > 0.0].min())
        return cls(distance / unit, unit, 0.0)

    @property
    def bounds(self) -> tuple[float, float]:
        """Ends of the parameter."""
        return self.lower, 1.0

    def matrices(self, r: Array) -> tuple[Array, Array, Array]:
        """The matrix and its first two derivatives, (..., q, q) each, at r (..., 1, 1)."""
        d = self.distance
        C = np.where(d == 0.0, 1.0, r**d)
        slope = np.where(d == 0.0, 0.0, d * r ** np.maximum(d - 1.0, 0.0))
        # between distances 1 and 2 the second derivative has no limit at 0
        power = np.where((d == 0.0) | (d == 1.0), 0.0, d - 2.0)
        some = np.where(r == 0.0, 1.0, r)
        bend = np.where(r == 0.0, np.where(d == 2.0, 2.0, 0.0), d * (d - 1.0) * some**power)
        return C, slope, bend

    def printed(self, r: float) -> tuple[float, float]:
        """The correlation that is reported, and its derivative by the parameter."""
        if self.unit == 1.0:
            return r, 1.0
        if r == 0.0:
            return 0.0, 0.0
        rho = r ** (1.0 / self.unit)
        return rho, rho / (self.unit * r)

    def parameter(self, rho: float) -> float:
        """The parameter of a correlation that is reported."""
        return rho if self.unit == 1.0 else rho**self.unit


@dataclass(frozen=True, eq=False)
class Correlated:
    """One correlation and equal or unequal variances: "cs", "hcs", "ar" and "har".

    Working parameters are the variance, or the q standard deviations, and the correlation.
    """

    q: int
    correlation: Correlation
    homogeneous: bool

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What each working parameter is."""
        if self.homogeneous:
            return ("variance", "correlation")
        sd: Kind = "sd"
        return (*(sd,) * self.q, "correlation")

    @property
    def bounds(self) -> tuple[Array, Array]:
        """Ends of the working parameters."""
        n = len(self.kinds) - 1
        low, high = self.correlation.bounds
        return np.append(np.zeros(n), low), np.append(np.full(n, np.inf), high)

    def matrix(self, phi: Array) -> Array:
        """G, (..., q, q)."""
        C = self.correlation.matrices(phi[..., -1, None, None])[0]
        if self.homogeneous:
            return phi[..., 0, None, None] * C
        sd = phi[..., :-1]
        return sd[..., :, None] * sd[..., None, :] * C

    def derivatives(self, phi: Array) -> Array:
        """First derivatives of G, (..., m, q, q)."""
        C, slope, _ = self.correlation.matrices(phi[..., -1, None, None])
        if self.homogeneous:
            by_rho = phi[..., 0, None, None] * slope
            return np.stack([np.broadcast_to(C, by_rho.shape), by_rho], axis=-3)
        sd = phi[..., :-1]
        rows = unit(self.q) @ (C * sd[..., None, :])[..., None, :, :]
        by_rho = sd[..., :, None] * sd[..., None, :] * slope
        return np.concatenate([rows + rows.swapaxes(-1, -2), by_rho[..., None, :, :]], axis=-3)

    def curvature(self, phi: Array, M: Array) -> Array:
        """Second derivatives of sum(M * G) for symmetric M (..., q, q), (..., m, m)."""
        C, slope, bend = self.correlation.matrices(phi[..., -1, None, None])
        m = phi.shape[-1]
        H = np.zeros((*phi.shape, m))
        if self.homogeneous:
            H[..., 0, 1] = H[..., 1, 0] = (M * slope).sum((-1, -2))
            H[..., 1, 1] = phi[..., 0] * (M * bend).sum((-1, -2))
            return H
        sd = phi[..., :-1, None]
        H[..., :-1, :-1] = 2.0 * M * C
        H[..., :-1, -1] = H[..., -1, :-1] = 2.0 * ((M * slope) @ sd)[..., 0]
        H[..., -1, -1] = (sd * ((M * bend) @ sd)).sum((-1, -2))
        return H

    def moved(self, phi: Array, step: Array) -> Array:
        """Where a scoring step leads: that of the variances."""
        found = phi + step
        if not self.homogeneous:
            sd, by = phi[..., :-1], step[..., :-1]
            squared = sd * (sd + 2.0 * by)
            inside = by > -0.4 * sd
            found[..., :-1] = np.where(inside, np.sqrt(np.where(inside, squared, 0.0)), sd + by)
        return found

    def start(self, variances: Array, rho: Array | float) -> Array:
        """Working parameters of given variances (..., q) and about given correlations."""
        low, high = self.correlation.bounds
        phi = np.empty((*variances.shape[:-1], len(self.kinds)))
        phi[..., :-1] = variances.mean(-1, keepdims=True) if self.homogeneous else variances**0.5
        phi[..., -1] = np.clip(rho, 0.9 * low, 0.9 * high)
        return phi

    def canonical(self, phi: Array) -> Array:
        """The one phi (..., m) of all that make the same G that comparisons use."""
        return phi

    def reported(self, phi: Array) -> Reported:
        """Variances and correlations."""
        rho, slope = self.correlation.printed(float(phi[-1]))
        directions = self.derivatives(phi).copy()
        if slope:
            directions[-1] /= slope
        if np.count_nonzero(phi[:-1]) < min(len(phi) - 1, 2):
            # what does not vary correlates with nothing
            rho = np.nan
        if self.homogeneous:
            return Reported(("variance", "rho"), np.array([phi[0], rho]), directions)
        for j, sd in enumerate(phi[:-1]):
            directions[j] = directions[j] / (2.0 * sd) if sd > 0.0 else unit(self.q)[j]
        return Reported((*variance_names(self.q), "rho"), np.append(phi[:-1] ** 2, rho), directions)

    def hold(self, component: int, value: float) -> Held:
        """The structure with a variance or the correlation held."""
        kind = self.kinds[component]
        if kind == "correlation":
            value = self.correlation.parameter(value)
        return fixing(self, component, value**0.5 if kind == "sd" else value)
