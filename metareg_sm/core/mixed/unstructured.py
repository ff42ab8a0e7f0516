"""Unstructured covariances, whole or with one variance or correlation held."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from metareg_sm._typing import Array, Codes
from metareg_sm.core.mixed.covariances import Held, Kind, Reported, unit, variance_names

# Standard deviation, in units of the problem, below which a level has none: a climb to 0, which is
# no end of these parameters, stops within rounding of it.
_ZERO = 1e-10
# Least eigenvalue, over the largest, of a G that a scoring step may lead to.
_INSIDE = 1e-3


@dataclass(frozen=True, eq=False)
class Unstructured:
    """G = LL' with L = constant + sum of phi_a parts_a.

    Without a constant, and with parts that each have a single 1 in the lower triangle, G is any
    covariance matrix. A variance is held by a first row of L that does not change, a correlation by
    two first rows (t, 0, ...) and t' (rho, sqrt(1 - rho^2), 0, ...).

    Attributes
    ----------
    constant : ndarray, (q, q)
        What does not change of L.
    parts : ndarray, (m, q, q)
        Derivatives of L.
    order : ndarray of int, (q,)
        Levels in the order of the rows in which L is lower triangular.
    scales : int
        So many first parts are t and t' of a held correlation. They stay at 0 or above: with
        opposite signs the correlation would be -rho.
    """

    constant: Array
    parts: Array
    order: Codes
    scales: int = 0

    @classmethod
    def build(cls, q: int) -> Unstructured:
        """Any covariance matrix of q effects."""
        i, j = np.tril_indices(q)
        parts = np.zeros((len(i), q, q))
        parts[np.arange(len(i)), i, j] = 1.0
        return cls(np.zeros((q, q)), parts, np.arange(q))

    @property
    def q(self) -> int:
        """Number of random effects of a group."""
        return len(self.constant)

    @cached_property
    def kinds(self) -> tuple[Kind, ...]:
        """What each working parameter is."""
        kind: Kind = "free"
        return (kind,) * len(self.parts)

    @property
    def bounds(self) -> tuple[Array, Array]:
        """Ends of the working parameters."""
        size = len(self.parts)
        lower = np.full(size, -np.inf)
        lower[: self.scales] = 0.0
        return lower, np.full(size, np.inf)

    def factor(self, phi: Array) -> Array:
        """L, (..., q, q)."""
        return self.constant + (phi @ self._flat).reshape(*phi.shape[:-1], self.q, self.q)

    @cached_property
    def _flat(self) -> Array:
        return self.parts.reshape(len(self.parts), -1)

    @cached_property
    def _entries(self) -> tuple[Codes, Codes]:
        """Rows and columns of the entries of L, in the order of the parameters."""
        rows, columns = np.tril_indices(self.q)
        return rows, columns

    @cached_property
    def _marks(self) -> tuple[Codes, Array]:
        """The diagonal entry in the column of each entry of L, and which share a row, (m, m)."""
        rows, columns = self._entries
        return np.flatnonzero(rows == columns)[columns], np.equal.outer(rows, rows).astype(float)

    def matrix(self, phi: Array) -> Array:
        """G, (..., q, q)."""
        L = self.factor(phi)
        return L @ L.swapaxes(-1, -2)

    def derivatives(self, phi: Array) -> Array:
        """First derivatives of G, (..., m, q, q)."""
        D = self.parts @ self.factor(phi).swapaxes(-1, -2)[..., None, :, :]
        return D + D.swapaxes(-1, -2)

    def curvature(self, phi: Array, M: Array) -> Array:  # noqa: ARG002 (G is quadratic)
        """Second derivatives of sum(M * G) for a symmetric M, (..., m, m)."""
        MB = M[..., None, :, :] @ self.parts
        H: Array = 2.0 * (self._flat @ MB.reshape(*MB.shape[:-2], -1).swapaxes(-1, -2))
        return H

    def moved(self, phi: Array, step: Array) -> Array:
        """Where a scoring step leads: that of G, where it leaves G well inside."""
        found = phi + step
        if self._held:
            return found
        L = self.factor(phi)
        change = self.factor(step) @ L.swapaxes(-1, -2)
        G = L @ L.swapaxes(-1, -2) + change + change.swapaxes(-1, -2)
        values = np.linalg.eigvalsh(G)
        inside = values[..., 0] > _INSIDE * values[..., -1]
        if inside.any():
            i, j = self._entries
            found[inside] = np.linalg.cholesky(G[inside])[..., i, j]
        return found

    @cached_property
    def _held(self) -> bool:
        """Whether something of L is held."""
        return bool(self.constant.any()) or len(self.parts) < self.q * (self.q + 1) // 2

    def start(self, variances: Array, rho: Array | float) -> Array:
        """Working parameters of given variances (..., q) and about given correlations."""
        q, sd = self.q, np.sqrt(variances[..., self.order])
        r = np.minimum(np.maximum(rho, -0.9 / (q - 1)), 0.95)[..., None, None]
        L = np.empty((*sd.shape, q))
        C = np.linalg.cholesky(r + (1.0 - r) * np.eye(q))
        L[..., self.order, :] = sd[..., None] * C
        # parts share no entries; what is held stays
        phi: Array = (L - self.constant).reshape(*sd.shape[:-1], -1) @ self._flat.T
        phi[..., : self.scales] = sd[..., : self.scales]
        return phi

    def canonical(self, phi: Array) -> Array:
        """The one phi (..., m) of all that make the same G that comparisons use."""
        if self._held:
            return phi
        diagonal, row = self._marks
        found = np.where(phi[..., diagonal] < 0.0, -phi, phi)
        return np.where((found * found) @ row < _ZERO**2, 0.0, found)

    @cached_property
    def _units(self) -> Array:
        return unit(self.q)

    @cached_property
    def _pairs(self) -> tuple[Codes, Codes, Array, tuple[str, ...]]:
        """Pairs of levels, the matrices of their covariance, and the names of all components."""
        i, j = np.tril_indices(self.q, -1)
        R = np.zeros((len(i), self.q, self.q))
        R[np.arange(len(i)), i, j] = R[np.arange(len(i)), j, i] = 1.0
        rho = (f"rho[{b},{a}]" for a, b in zip(i.tolist(), j.tolist(), strict=True))
        return i, j, R, (*variance_names(self.q), *rho)

    def reported(self, phi: Array) -> Reported:
        """Variances and correlations."""
        i, j, R, names = self._pairs
        G = self.matrix(phi)
        variances = G.diagonal()
        positive = variances > 0.0
        safe = np.where(positive, variances, 1.0)
        sd = np.sqrt(safe)
        rows = self._units @ (G / (2.0 * safe[:, None]))
        own = rows + rows.swapaxes(1, 2)
        rho = np.minimum(np.maximum(G[i, j] / (sd[i] * sd[j]), -1.0), 1.0)
        if not positive.all():
            own[~positive] = self._units[~positive]
            rho[~(positive[i] & positive[j])] = np.nan
        sd = np.sqrt(variances)
        between = (sd[i] * sd[j])[:, None, None] * R
        return Reported(names, np.concatenate([variances, rho]), np.concatenate([own, between]))

    def hold(self, component: int, value: float) -> Held:
        """The structure with a variance or a correlation held."""
        q = self.q
        first = [component]
        if component >= q:
            pairs = [(j, i) for i in range(q) for j in range(i)]
            first = list(pairs[component - q])
        order = np.array(first + [level for level in range(q) if level not in first])
        constant = np.zeros((q, q))
        parts = []
        for row in range(q):
            if row == 0 and component < q:
                constant[order[0], 0] = value**0.5
                continue
            if row == 1 and component >= q:
                part = np.zeros((q, q))
                part[order[1], :2] = value, (1.0 - value**2) ** 0.5
                parts.append(part)
                continue
            for column in range(row + 1):
                part = np.zeros((q, q))
                part[order[row], column] = 1.0
                parts.append(part)
        held = Unstructured(constant, np.array(parts), order, 2 if component >= q else 0)
        m = len(parts)
        return Held(held, np.zeros(m, dtype=bool), np.zeros(m))
