"""What a structure of the covariance G of random effects offers, whichever it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np

from metareg_sm._typing import Array, Mask

Kind = Literal["variance", "sd", "correlation", "free"]
"""What a working parameter is: a variance, a standard deviation, a correlation, an entry of L."""


@dataclass(frozen=True, slots=True, eq=False)
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
        """G, (..., q, q), of working parameters (..., m)."""
        ...

    def derivatives(self, phi: Array) -> Array:
        """First derivatives of G, (..., m, q, q)."""
        ...

    def curvature(self, phi: Array, M: Array) -> Array:
        """Second derivatives of sum(M * G) for symmetric M (..., q, q), (..., m, m)."""
        ...

    def moved(self, phi: Array, step: Array) -> Array:
        """Where a scoring step (..., m) far from a maximum leads.

        It is one of G: small standard deviations, taken as the parameters, would overshoot.
        """
        ...

    def start(self, variances: Array, rho: Array | float) -> Array:
        """Working parameters of given variances (..., q) and about given correlations (...,)."""
        ...

    def canonical(self, phi: Array) -> Array:
        """The one phi (..., m) of all that make the same G that comparisons use."""
        ...

    def reported(self, phi: Array) -> Reported:
        """Variances and correlations."""
        ...

    def hold(self, component: int, value: float) -> Held:
        """The structure with one of the reported components held at a value."""
        ...


class Held(NamedTuple):
    """A structure one of whose reported components is held.

    Attributes
    ----------
    structure : Structure
        The structure that can be searched.
    fixed : ndarray of bool, (m,)
        Working parameters that must stay at `phi`; none where the structure itself holds it.
    phi : ndarray, (m,)
        Their values, and 0 elsewhere.
    """

    structure: Structure
    fixed: Mask
    phi: Array


def fixing(structure: Structure, component: int, value: float) -> Held:
    """Hold one working parameter."""
    m = len(structure.kinds)
    fixed, phi = np.zeros(m, dtype=bool), np.zeros(m)
    fixed[component], phi[component] = True, value
    return Held(structure, fixed, phi)


def unit(q: int) -> Array:
    """Matrices with a single 1 on the diagonal, (q, q, q)."""
    E = np.zeros((q, q, q))
    j = np.arange(q)
    E[j, j, j] = 1.0
    return E


def variance_names(q: int) -> tuple[str, ...]:
    """Names of the variances of q levels."""
    return tuple(f"variance[{j}]" for j in range(q))
