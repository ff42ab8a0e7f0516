"""Covariance matrices G of the random effects of a term, as functions of few parameters.

Each structure says how its working parameters phi make G, with first and second derivatives, where
phi may lie, and which variances and correlations are reported. Working parameters are chosen so
that a variance of 0 and a correlation of -1 or 1 are ordinary points: variances and standard
deviations lie in [0, inf), correlations in a closed interval, and an unstructured G is LL' with a
triangular L that nothing restricts (Bates et al., 2015).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Literal, Protocol

import numpy as np

from metareg_sm._typing import Array, Codes

Kind = Literal["variance", "sd", "correlation", "free"]
"""What a working parameter is: a variance, a standard deviation, a correlation, an entry of L."""


@dataclass(frozen=True, slots=True)
class Reported:
    """Variances and correlations as they are printed.

    Attributes
    ----------
    names : tuple of str
        "variance", "variance[j]", "rho" or "rho[i,j]", positions of levels from 0.
    values : ndarray, (m,)
        Their values.
    directions : ndarray, (m, q, q)
        Derivatives of G.
    """

    names: tuple[str, ...]
    values: Array
    directions: Array


class Structure(Protocol):
    """A family of covariance matrices G of q random effects."""

    @property
    def q(self) -> int:
        """Number of random effects of a group."""
        ...

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What each working parameter is."""
        ...

    @property
    def bounds(self) -> tuple[Array, Array]:
        """Ends of the working parameters."""
        ...

    def matrix(self, phi: Array) -> Array:
        """G, (q, q)."""
        ...

    def derivatives(self, phi: Array) -> Array:
        """First derivatives of G, (m, q, q)."""
        ...

    def curvature(self, phi: Array, M: Array) -> Array:
        """Second derivatives of sum(M * G) for a symmetric M, (m, m)."""
        ...

    def start(self, variances: Array, rho: float) -> Array:
        """Working parameters of given variances (q,) and about a given correlation."""
        ...

    def canonical(self, phi: Array) -> Array:
        """The one phi of all that make the same G that comparisons use."""
        ...

    def reported(self, phi: Array) -> Reported:
        """Variances and correlations."""
        ...


def _unit(q: int) -> Array:
    """Matrices with a single 1 on the diagonal, (q, q, q)."""
    E = np.zeros((q, q, q))
    j = np.arange(q)
    E[j, j, j] = 1.0
    return E


def _variance_names(q: int) -> tuple[str, ...]:
    return tuple(f"variance[{j}]" for j in range(q))


@dataclass(frozen=True)
class Linear:
    """G as a combination of fixed matrices with variances as weights: "id" and "diag".

    Attributes
    ----------
    parts : ndarray, (m, q, q)
        Derivatives of G.
    """

    parts: Array

    @property
    def q(self) -> int:
        """Number of random effects of a group."""
        return self.parts.shape[-1]

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What each working parameter is."""
        kind: Kind = "variance"
        return (kind,) * len(self.parts)

    @property
    def bounds(self) -> tuple[Array, Array]:
        """Ends of the working parameters."""
        return np.zeros(len(self.parts)), np.full(len(self.parts), np.inf)

    def matrix(self, phi: Array) -> Array:
        """G, (q, q)."""
        return (phi @ self.flat).reshape(self.parts.shape[1:])

    @cached_property
    def flat(self) -> Array:
        """The parts as rows, (m, q*q)."""
        return self.parts.reshape(len(self.parts), -1)

    def derivatives(self, phi: Array) -> Array:  # noqa: ARG002
        """First derivatives of G, (m, q, q)."""
        return self.parts

    def curvature(self, phi: Array, M: Array) -> Array:  # noqa: ARG002
        """Second derivatives of sum(M * G) for a symmetric M, (m, m)."""
        return np.zeros((len(self.parts),) * 2)

    def start(self, variances: Array, rho: float) -> Array:  # noqa: ARG002
        """Working parameters of given variances (q,) and about a given correlation."""
        traces = np.trace(self.parts, axis1=1, axis2=2)
        weights: Array = np.einsum("mjj,j->m", self.parts, variances) / traces
        return weights

    def canonical(self, phi: Array) -> Array:
        """The one phi of all that make the same G that comparisons use."""
        return phi

    def reported(self, phi: Array) -> Reported:
        """Variances and correlations."""
        names = ("variance",) if len(phi) == 1 else _variance_names(len(phi))
        return Reported(names, phi.copy(), self.parts)


class Correlation(Protocol):
    """Correlation matrices with one parameter."""

    @property
    def bounds(self) -> tuple[float, float]:
        """Ends of the parameter."""
        ...

    def matrices(self, r: float) -> tuple[Array, Array, Array]:
        """The matrix and its first two derivatives, (q, q) each."""
        ...

    def printed(self, r: float) -> tuple[float, float]:
        """The correlation that is reported, and its derivative by the parameter."""
        ...


@dataclass(frozen=True)
class Exchangeable:
    """The same correlation between any two of q effects."""

    q: int

    @property
    def bounds(self) -> tuple[float, float]:
        """Ends of the parameter."""
        return -1.0 / (self.q - 1), 1.0

    def matrices(self, r: float) -> tuple[Array, Array, Array]:
        """The matrix and its first two derivatives, (q, q) each."""
        slope = 1.0 - np.eye(self.q)
        return np.eye(self.q) + r * slope, slope, np.zeros_like(slope)

    def printed(self, r: float) -> tuple[float, float]:
        """The correlation that is reported, and its derivative by the parameter."""
        return r, 1.0


@dataclass(frozen=True)
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

    def matrices(self, r: float) -> tuple[Array, Array, Array]:
        """The matrix and its first two derivatives, (q, q) each."""
        d = self.distance
        C = np.where(d == 0.0, 1.0, r**d)
        slope = np.where(d == 0.0, 0.0, d * r ** np.maximum(d - 1.0, 0.0))
        # between distances 1 and 2 the second derivative has no limit at 0
        power = np.where((d >= 2.0) | (r != 0.0), d - 2.0, 1.0)
        bend = np.where((d == 0.0) | (d == 1.0), 0.0, d * (d - 1.0) * (r if r else 0.0) ** power)
        if r == 0.0:
            bend = np.where(d == 2.0, 2.0, 0.0)
        return C, slope, bend

    def printed(self, r: float) -> tuple[float, float]:
        """The correlation that is reported, and its derivative by the parameter."""
        if self.unit == 1.0:
            return r, 1.0
        if r == 0.0:
            return 0.0, 0.0
        rho = r ** (1.0 / self.unit)
        return rho, rho / (self.unit * r)


@dataclass(frozen=True)
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
        """G, (q, q)."""
        C = self.correlation.matrices(float(phi[-1]))[0]
        return phi[0] * C if self.homogeneous else np.outer(phi[:-1], phi[:-1]) * C

    def derivatives(self, phi: Array) -> Array:
        """First derivatives of G, (m, q, q)."""
        C, slope, _ = self.correlation.matrices(float(phi[-1]))
        if self.homogeneous:
            return np.stack([C, phi[0] * slope])
        sd = phi[:-1]
        rows = _unit(self.q) @ (C * sd)
        return np.concatenate([rows + np.swapaxes(rows, 1, 2), [np.outer(sd, sd) * slope]])

    def curvature(self, phi: Array, M: Array) -> Array:
        """Second derivatives of sum(M * G) for a symmetric M, (m, m)."""
        C, slope, bend = self.correlation.matrices(float(phi[-1]))
        if self.homogeneous:
            cross = np.vdot(M, slope)
            return np.array([[0.0, cross], [cross, phi[0] * np.vdot(M, bend)]])
        sd = phi[:-1]
        H = np.empty((self.q + 1,) * 2)
        H[:-1, :-1] = 2.0 * M * C
        H[:-1, -1] = H[-1, :-1] = 2.0 * (M * slope) @ sd
        H[-1, -1] = sd @ (M * bend) @ sd
        return H

    def start(self, variances: Array, rho: float) -> Array:
        """Working parameters of given variances (q,) and about a given correlation."""
        low, high = self.correlation.bounds
        r = min(max(rho, 0.9 * low), 0.9 * high)
        scale = np.array([variances.mean()]) if self.homogeneous else np.sqrt(variances)
        return np.append(scale, r)

    def canonical(self, phi: Array) -> Array:
        """The one phi of all that make the same G that comparisons use."""
        return phi

    def reported(self, phi: Array) -> Reported:
        """Variances and correlations."""
        rho, slope = self.correlation.printed(float(phi[-1]))
        directions = self.derivatives(phi).copy()
        if slope:
            directions[-1] /= slope
        if self.homogeneous:
            return Reported(("variance", "rho"), np.array([phi[0], rho]), directions)
        for j, sd in enumerate(phi[:-1]):
            directions[j] = directions[j] / (2.0 * sd) if sd > 0.0 else _unit(self.q)[j]
        return Reported(
            (*_variance_names(self.q), "rho"), np.append(phi[:-1] ** 2, rho), directions
        )


@dataclass(frozen=True)
class Unstructured:
    """Any covariance matrix, LL' with a lower triangular L."""

    q: int

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What each working parameter is."""
        kind: Kind = "free"
        return (kind,) * (self.q * (self.q + 1) // 2)

    @property
    def bounds(self) -> tuple[Array, Array]:
        """Ends of the working parameters."""
        size = len(self.kinds)
        return np.full(size, -np.inf), np.full(size, np.inf)

    @cached_property
    def entries(self) -> tuple[Codes, Codes]:
        """Rows and columns of the entries of L."""
        i, j = np.tril_indices(self.q)
        return i, j

    def factor(self, phi: Array) -> Array:
        """L, (q, q)."""
        L = np.zeros((self.q, self.q))
        L[self.entries] = phi
        return L

    def matrix(self, phi: Array) -> Array:
        """G, (q, q)."""
        L = self.factor(phi)
        return L @ L.T

    def derivatives(self, phi: Array) -> Array:
        """First derivatives of G, (m, q, q)."""
        L = self.factor(phi)
        i, j = self.entries
        D = np.zeros((len(i), self.q, self.q))
        D[np.arange(len(i)), i] = L[:, j].T
        return D + np.swapaxes(D, 1, 2)

    def curvature(self, phi: Array, M: Array) -> Array:  # noqa: ARG002
        """Second derivatives of sum(M * G) for a symmetric M, (m, m)."""
        i, j = self.entries
        H: Array = 2.0 * M[i[:, None], i] * (j[:, None] == j)
        return H

    def start(self, variances: Array, rho: float) -> Array:
        """Working parameters of given variances (q,) and about a given correlation."""
        C = np.full((self.q, self.q), min(max(rho, -0.9 / (self.q - 1)), 0.95))
        np.fill_diagonal(C, 1.0)
        sd = np.sqrt(variances)
        return np.linalg.cholesky(C)[self.entries] * sd[self.entries[0]]

    def canonical(self, phi: Array) -> Array:
        """The one phi of all that make the same G that comparisons use."""
        i, j = self.entries
        signs = np.where(phi[i == j] < 0.0, -1.0, 1.0)
        return phi * signs[j]

    def reported(self, phi: Array) -> Reported:
        """Variances and correlations."""
        G = self.matrix(phi)
        variances = np.diagonal(G).copy()
        sd = np.sqrt(variances)
        positive = sd > 0.0
        safe = np.where(positive, sd, 1.0)
        rows = _unit(self.q) @ (G / (2.0 * safe[:, None] ** 2))
        directions = list(rows + np.swapaxes(rows, 1, 2))
        for j in np.flatnonzero(~positive).tolist():
            directions[j] = _unit(self.q)[j]
        names, values = list(_variance_names(self.q)), list(variances)
        for i in range(self.q):
            for j in range(i):
                both = bool(positive[i] and positive[j])
                R = np.zeros((self.q, self.q))
                R[i, j] = R[j, i] = sd[i] * sd[j]
                names.append(f"rho[{j},{i}]")
                values.append(float(np.clip(G[i, j] / (sd[i] * sd[j]), -1, 1)) if both else np.nan)
                directions.append(R)
        return Reported(tuple(names), np.array(values), np.array(directions))


def _identity(q: int, times: Array) -> Structure:
    return Linear(np.eye(q)[None])


def _diagonal(q: int, times: Array) -> Structure:
    return Linear(_unit(q))


def _unstructured(q: int, times: Array) -> Structure:
    return Unstructured(q)


def _exchangeable(homogeneous: bool) -> Callable[[int, Array], Structure]:
    def build(q: int, times: Array) -> Structure:
        return Correlated(q, Exchangeable(q), homogeneous)

    return build


def _autoregressive(homogeneous: bool) -> Callable[[int, Array], Structure]:
    def build(q: int, times: Array) -> Structure:
        return Correlated(q, Autoregressive.build(times), homogeneous)

    return build


STRUCTURES: Mapping[str, Callable[[int, Array], Structure]] = MappingProxyType(
    {
        "un": _unstructured,
        "cs": _exchangeable(True),
        "hcs": _exchangeable(False),
        "diag": _diagonal,
        "id": _identity,
        "ar": _autoregressive(True),
        "har": _autoregressive(False),
    }
)
"""Structures by name; each is made from the number of levels and their times (q,)."""


def structure(name: str, q: int, times: Array | None = None) -> Structure:
    """Structure of G for q levels; with a single level every structure is one variance.

    Parameters
    ----------
    name : str
        A key of `STRUCTURES`.
    q : int
        Number of levels.
    times : ndarray, (q,), optional
        Different times of the levels, read by "ar" and "har"; by default 0, 1, 2, ...

    Returns
    -------
    Structure

    Examples
    --------
    >>> import numpy as np
    >>> structure("cs", 2).matrix(np.array([4.0, 0.5]))
    array([[4., 2.],
           [2., 4.]])
    """
    if q == 1:
        return Linear(np.ones((1, 1, 1)))
    return STRUCTURES[name](q, np.arange(q, dtype=float) if times is None else times)
