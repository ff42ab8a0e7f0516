"""Weighted cross products of a design for many weight vectors at once.

For r columns there are q = r(r+1)/2 distinct products of two of them, and Z'AZ for any number of
weight vectors A is one matrix product with these. Symmetric r x r matrices are kept packed, one
array for each distinct element, so that what is done with them runs over data sets, not over
matrices. Loops here are over coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from metareg_sm.core.wls import Array, Rows

# up to this many matrices the calls that the unrolled factorisation makes cost more than LAPACK
_FEW = 32
# Multiplications in one matrix product. BLAS libraries start threads above about this, which cost
# more than they bring for matrices of this shape and stall where the processors are busy.
_PANEL = 1 << 18


@lru_cache(maxsize=64)
def _pairs(r: int) -> tuple[tuple[tuple[int, int], ...], Rows]:
    """Row and column of each packed element, and where each full element is packed."""
    pairs = tuple((i, j) for i in range(r) for j in range(i + 1))
    where = np.empty((r, r), dtype=np.intp)
    for position, (i, j) in enumerate(pairs):
        where[i, j] = where[j, i] = position
    return pairs, where


def pairs_of(r: int) -> tuple[tuple[int, int], ...]:
    """Row and column of each packed element."""
    return _pairs(r)[0]


@dataclass(frozen=True, slots=True)
class Gram:
    """Products of the columns of a design.

    Attributes
    ----------
    Z : ndarray, (k, r) or (n, k, r)
        The design; with a leading axis each data set has its own.
    columns : ndarray, (r, k) or (r, n, k)
        Its columns.
    products : ndarray, (q + 1, k) or (q + 1, n, k)
        Products of two columns, and a row of ones that gives the sum of the weights.
    """

    Z: Array
    columns: Array = field(init=False)
    products: Array = field(init=False)

    def __post_init__(self) -> None:
        columns = np.ascontiguousarray(np.moveaxis(self.Z, -1, 0))
        pairs, _ = _pairs(len(columns))
        products = np.empty((len(pairs) + 1, *columns.shape[1:]))
        for position, (i, j) in enumerate(pairs):
            np.multiply(columns[i], columns[j], out=products[position])
        products[-1] = 1.0
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "products", products)

    @property
    def rank(self) -> int:
        """Number of columns r."""
        return self.Z.shape[-1]

    def take(self, rows: Rows | None) -> Gram:
        """The designs of some data sets; the same where all share one."""
        return self if rows is None or self.Z.ndim == 2 else Gram(self.Z[rows])

    def quadratic(self, a: Array) -> tuple[Array, Array]:
        """Packed Z'AZ, (q, ...), and the sum of the weights, (...), for weights a (..., k)."""
        out = _contract(self.products, a)
        return out[:-1], out[-1]

    def linear(self, a: Array) -> Array:
        """Z'a, (r, ...), for a (..., k)."""
        return _contract(self.columns, a)

    def combine(self, coefs: Array) -> Array:
        """Z times coefficients (r, ...): (..., k)."""
        if self.Z.ndim == 2:
            return np.moveaxis(coefs, 0, -1) @ self.columns
        return np.einsum("rnk,r...n->...nk", self.columns, coefs)


def _contract(rows: Array, a: Array) -> Array:
    if rows.ndim == 2:
        if a.ndim == 1:
            return rows @ a
        flat = a.reshape(-1, a.shape[-1])
        out = np.empty((len(rows), len(flat)))
        panel = max(1, _PANEL // max(rows.size, 1))
        for begin in range(0, len(flat), panel):
            end = begin + panel
            np.matmul(rows, flat[begin:end].T, out=out[:, begin:end])
        return out.reshape(len(rows), *a.shape[:-1])
    return np.einsum("qnk,...nk->q...n", rows, a)


def inverse(packed: Array, r: int) -> tuple[Array, Array]:
    """Inverse and log determinant of positive definite matrices.

    Parameters
    ----------
    packed : ndarray, (q, ...)
        Distinct elements.
    r : int
        Size of the matrices.

    Returns
    -------
    inverse : ndarray, (q, ...)
        Packed inverse; NaN where a matrix is not positive definite.
    logdet : ndarray, (...)
        Log determinant.
    """
    pairs, where = _pairs(r)
    if r == 0:
        return packed, np.zeros(packed.shape[1:])
    if packed[0].size <= _FEW:
        full = np.moveaxis(packed[where], (0, 1), (-2, -1))
        sign, logdet = np.linalg.slogdet(full)
        if np.all(sign > 0):
            inv = np.linalg.inv(full)
            return np.stack([inv[..., i, j] for i, j in pairs]), logdet
    with np.errstate(invalid="ignore", divide="ignore"):
        return _unrolled(packed, r)


def _unrolled(packed: Array, r: int) -> tuple[Array, Array]:
    pairs, where = _pairs(r)
    # Cholesky factor with inverted diagonal, then its inverse K, then K'K
    L = np.empty_like(packed)
    logdet = np.zeros(packed.shape[1:])
    for i, j in pairs:
        value = packed[where[i, j]].copy()
        for m in range(j):
            value -= L[where[i, m]] * L[where[j, m]]
        if i == j:
            np.log(value, out=L[where[i, i]])
            logdet += L[where[i, i]]
            L[where[i, i]] = 1.0 / np.sqrt(value)
        else:
            np.multiply(value, L[where[j, j]], out=L[where[i, j]])
    K = np.empty_like(packed)
    for j in range(r):
        K[where[j, j]] = L[where[j, j]]
        for i in range(j + 1, r):
            value = L[where[i, j]] * K[where[j, j]]
            for m in range(j + 1, i):
                value += L[where[i, m]] * K[where[m, j]]
            np.multiply(value, -L[where[i, i]], out=K[where[i, j]])
    out = np.empty_like(packed)
    for i, j in pairs:
        # rows of K from i on hold both columns
        value = K[where[i, i]] * K[where[i, j]]
        for m in range(i + 1, r):
            value += K[where[m, i]] * K[where[m, j]]
        out[where[i, j]] = value
    return out, logdet


def times(packed: Array, vector: Array) -> Array:
    """Symmetric matrix (q, ...) times vector (r, ...)."""
    r = len(vector)
    _, where = _pairs(r)
    out = np.empty((r, *np.broadcast_shapes(vector.shape[1:], packed.shape[1:])))
    for i in range(r):
        out[i] = packed[where[i, 0]] * vector[0]
        for j in range(1, r):
            out[i] += packed[where[i, j]] * vector[j]
    return out


def trace_product(A: Array, B: Array, r: int) -> Array:
    """tr(AB) of symmetric matrices (q, ...)."""
    pairs, _ = _pairs(r)
    total = np.zeros(A.shape[1:])
    for position, (i, j) in enumerate(pairs):
        term = A[position] * B[position]
        total += term if i == j else 2.0 * term
    return total


def trace_of_four(A: Array, B: Array, C: Array, r: int) -> Array:
    """tr(ABAC) of symmetric matrices (q, ...)."""
    _, where = _pairs(r)
    H = np.einsum("im...,mj...->ij...", A[where], B[where])
    K = H if C is B else np.einsum("im...,mj...->ij...", A[where], C[where])
    return np.einsum("ij...,ji...->...", H, K)


def diagonal_of(to_params: Array, packed: Array) -> Array:
    """Diagonal of T M T' for symmetric M (q, ...) and T (p, r): (p, ...)."""
    pairs, _ = _pairs(to_params.shape[1])
    weights = np.stack(
        [to_params[:, i] * to_params[:, j] * (1.0 if i == j else 2.0) for i, j in pairs], axis=1
    )
    return np.tensordot(weights, packed, axes=1)
