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

import numpy as np

from metareg_sm._typing import Array
from metareg_sm.core.mixed.correlated import Autoregressive, Correlated, Exchangeable
from metareg_sm.core.mixed.covariances import (
    Held,
    Kind,
    Reported,
    Structure,
    fixing,
    unit,
    variance_names,
)
from metareg_sm.core.mixed.unstructured import Unstructured


@dataclass(frozen=True, eq=False)
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
        """G, (..., q, q)."""
        return (phi @ self.flat).reshape(*phi.shape[:-1], self.q, self.q)

    @cached_property
    def flat(self) -> Array:
        """The parts as rows, (m, q*q)."""
        return self.parts.reshape(len(self.parts), -1)

    def derivatives(self, phi: Array) -> Array:
        """First derivatives of G, (..., m, q, q)."""
        if phi.ndim == 1:
            return self.parts
        return np.broadcast_to(self.parts, (*phi.shape[:-1], *self.parts.shape))

    def curvature(self, phi: Array, M: Array) -> Array:  # noqa: ARG002 (G is linear)
        """Second derivatives of sum(M * G) for a symmetric M, (..., m, m)."""
        return np.zeros((*phi.shape, phi.shape[-1]))

    def moved(self, phi: Array, step: Array) -> Array:
        """Where a scoring step leads: G is linear."""
        return phi + step

    def start(self, variances: Array, rho: Array | float) -> Array:  # noqa: ARG002 (none)
        """Working parameters of given variances (..., q) and about given correlations."""
        shares = self.parts.diagonal(0, 1, 2)
        weights: Array = variances @ shares.T / shares.sum(1)
        return weights

    def canonical(self, phi: Array) -> Array:
        """The one phi (..., m) of all that make the same G that comparisons use."""
        return phi

    def reported(self, phi: Array) -> Reported:
        """Variances and correlations."""
        names = ("variance",) if len(phi) == 1 else variance_names(len(phi))
        return Reported(names, phi.copy(), self.parts)

    def hold(self, component: int, value: float) -> Held:
        """The structure with one variance held."""
        return fixing(self, component, value)


def _identity(q: int, times: Array) -> Structure:
    return Linear(np.eye(q)[None])


def _diagonal(q: int, times: Array) -> Structure:
    return Linear(unit(q))


def _unstructured(q: int, times: Array) -> Structure:
    return Unstructured.build(q)


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
