"""Weighted cross products of a design for many weight vectors at once.

Z'AZ for any number of weight vectors A is one matrix product with the products of two columns of
Z, or, where these would fill the memory, one product for each A. Matrices (r, r, ...) and vectors
(r, ...) have their coefficients first, so that what is done with them runs over data sets, not over
matrices. Loops here are over coefficients; LAPACK takes matrices of many.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from metareg_sm._typing import Array, Rows

# Up to this many matrices LAPACK needs less time than the calls of an elimination that runs over
# matrices, unless they are very small.
_FEW, _SMALL = 32, 4
# From this many coefficients on it needs less time for any number of matrices.
_LARGE = 32
# Numbers in the products of columns up to which they are kept; in a block of weighted designs.
_KEPT, _BLOCK = 1 << 24, 1 << 20
# Multiplications in one matrix product. BLAS libraries start threads above about this, which cost
# more than they bring for matrices of this shape and stall where the processors are busy.
_PANEL = 1 << 18
# Numbers in a product of two vectors up to which they start none.
_VECTOR = 10_000


def studies_first(shape: tuple[int, ...]) -> Array:
    """An uninitialised array (..., k) with the studies outermost in memory.

    Loops over such arrays run over the data sets rather than over the few studies of each.
    """
    a = np.empty((shape[-1], *shape[:-1]))
    return a.T if a.ndim <= 2 else np.moveaxis(a, 0, -1)


def squared_length(x: Array) -> float:
    """Sum of squares of x, of any shape, by one thread."""
    flat = x.reshape(-1)
    if flat.size <= _VECTOR:
        return float(flat @ flat)
    return float(np.einsum("k,k->", flat, flat))


@dataclass(frozen=True, slots=True, eq=False)
class Gram:
    """Products of the columns of a design.

    Attributes
    ----------
    Z : ndarray, (k, r) or (n, k, r)
        The design; with a leading axis each data set has its own.
    columns : ndarray, (r, k) or (r, n, k)
        Its columns.
    products : ndarray, (r * r + 1, k) or (r * r + 1, n, k), or None
        Products of two columns, and a row of ones that gives the sum of the weights; None where
        they are too many to be kept, as those of a factor of a thousand levels are.
    """

    Z: Array
    columns: Array = field(init=False)
    products: Array | None = field(init=False)

    def __post_init__(self) -> None:
        columns = np.ascontiguousarray(np.moveaxis(self.Z, -1, 0))
        r = len(columns)
        products = None
        if (r * r + 1) * columns[:1].size <= _KEPT:
            products = np.empty((r * r + 1, *columns.shape[1:]))
            square = products[:-1].reshape(r, r, *columns.shape[1:])
            np.multiply(columns[:, None], columns[None], out=square)
            products[-1] = 1.0
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "products", products)

    @property
    def rank(self) -> int:
        """Number of columns r."""
        return self.Z.shape[-1]

    @property
    def shape(self) -> tuple[int, ...]:
        """Leading axes: the data sets that have a design of their own."""
        return self.Z.shape[:-2]

    def some(self, rows: Rows | None) -> Gram:
        """The designs of some data sets; the same where all share one."""
        return self if rows is None or self.Z.ndim == 2 else Gram(self.Z[rows])

    def quadratic(self, a: Array) -> tuple[Array, Array]:
        """Z'AZ, (r, r, ...), and the sum of the weights, (...), for weights a (..., k)."""
        if self.products is None:
            return self._weighted(a), np.asarray(a.sum(-1))
        out = _contract(self.products, a)
        return out[:-1].reshape(self.rank, self.rank, *out.shape[1:]), out[-1]

    def _weighted(self, a: Array) -> Array:
        """Z'AZ from weighted designs, a block of weight vectors at a time."""
        Z, r = self.Z, self.rank
        flat = a.reshape(-1, a.shape[-1])
        out = np.empty((r, r, len(flat)))
        size = max(1, _BLOCK // Z[..., :, :1].size // r)
        for begin in range(0, len(flat), size):
            here = np.arange(begin, min(begin + size, len(flat)))
            design = Z if Z.ndim == 2 else Z[here % len(Z)]
            cross = np.swapaxes(design, -1, -2) @ (flat[here, :, None] * design)
            out[..., here] = np.moveaxis(cross, 0, -1)
        return out.reshape(r, r, *a.shape[:-1])

    def linear(self, a: Array) -> Array:
        """Z'a, (r, ...), for a (..., k)."""
        return _contract(self.columns, a)

    def combine(self, coefs: Array, out: Array | None = None) -> Array:
        """Z times coefficients (r, ...): (..., k), with the studies outermost in memory."""
        if out is None:
            out = studies_first((*coefs.shape[1:], self.Z.shape[-2]))
        if self.rank == 0:
            out[...] = 0.0
            return out
        if self.Z.ndim == 2:
            rows = _by_study(out)
            _matmul(self.Z, coefs.reshape(self.rank, -1), rows.reshape(len(rows), -1))
            return out
        return np.einsum("rnk,r...n->...nk", self.columns, coefs, out=out)


def _contract(rows: Array, a: Array) -> Array:
    if rows.ndim == 3:
        return np.einsum("qnk,...nk->q...n", rows, a)
    if a.ndim == 1:
        return rows @ a
    columns = _by_study(a).reshape(a.shape[-1], -1)
    out = np.empty((len(rows), columns.shape[1]))
    _matmul(rows, columns, out)
    return out.reshape(len(rows), *a.shape[:-1])


def _by_study(a: Array) -> Array:
    """View of an array (..., k) as (k, ...)."""
    return a.T if a.ndim <= 2 else np.moveaxis(a, -1, 0)


def _matmul(A: Array, B: Array, out: Array) -> None:
    panel = max(1, _PANEL // max(A.size, 1))
    for begin in range(0, B.shape[1], panel):
        end = begin + panel
        np.matmul(A, B[:, begin:end], out=out[:, begin:end])


def inverse(M: Array, overwrite: bool = False) -> Array:
    """Inverse of positive definite matrices.

    Parameters
    ----------
    M : ndarray, (r, r, ...)
    overwrite : bool, default False
        M may be changed, which saves a copy.

    Returns
    -------
    ndarray, (r, r, ...)
        NaN where a matrix is not positive definite.
    """
    r = len(M)
    if r >= _LARGE or (r > _SMALL and M[0, 0].size <= _FEW):
        full = np.moveaxis(M, (0, 1), (-2, -1))
        definite = np.linalg.slogdet(full)[0] > 0
        if np.all(definite):
            return np.moveaxis(np.asarray(np.linalg.inv(full), dtype=float), (-2, -1), (0, 1))
        if r >= _LARGE:
            safe = np.where(definite[..., None, None], full, np.eye(r))
            out = np.moveaxis(np.asarray(np.linalg.inv(safe), dtype=float), (-2, -1), (0, 1))
            out[..., ~definite] = np.nan
            return out
    L, pivots = _factor(M if overwrite else M.copy())
    out = np.empty_like(M)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        weights = 1.0 / pivots
        # L^-1 is K, with a diagonal of ones; the inverse is K'D^-1 K
        K, scaled = np.empty_like(M), np.empty_like(M)
        for j in range(r):
            for i in range(j + 1, r):
                np.negative(L[i, j], out=K[i, j, ...])
                for m in range(j + 1, i):
                    K[i, j] -= L[i, m] * K[m, j]
                np.multiply(K[i, j], weights[i], out=scaled[i, j, ...])
        for i in range(r):
            for j in range(i + 1):
                out[i, j] = weights[i] if i == j else scaled[i, j]
                for m in range(i + 1, r):
                    out[i, j] += scaled[m, i] * K[m, j]
                out[j, i] = out[i, j]
    if not pivots.min(initial=np.inf) > 0.0:
        out[..., ~(pivots > 0.0).all(0)] = np.nan
    return out


def logdet(M: Array) -> Array:
    """Log determinant of positive definite matrices (r, r, ...); NaN where one is not."""
    if len(M) >= _LARGE:
        sign, value = np.linalg.slogdet(np.moveaxis(M, (0, 1), (-2, -1)))
        return np.where(sign > 0, value, np.nan)
    pivots = _factor(M.copy())[1]
    with np.errstate(invalid="ignore"):
        return np.log(np.where(pivots > 0.0, pivots, np.nan)).sum(0)


def _factor(M: Array) -> tuple[Array, Array]:
    """L below its diagonal of ones, in place of M, and the diagonal (r, ...) of D in LDL'."""
    r = len(M)
    L, pivots = M, np.empty((r, *M.shape[2:]))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for j in range(r):
            pivots[j] = L[j, j]
            # the part of row j beyond the diagonal is still that of the symmetric matrix
            for i in range(j + 1, r):
                np.divide(L[j, i], pivots[j], out=L[i, j, ...])
                L[i, i:] -= L[i, j] * L[j, i:]
    return L, pivots


def apply(M: Array, vector: Array) -> Array:
    """Matrix (r, r, ...) times vector (r, ...)."""
    return np.einsum("ij...,j...->i...", M, vector)


def dot(a: Array, b: Array) -> Array:
    """Inner product of vectors (r, ...)."""
    return np.einsum("r...,r...->...", a, b)


def trace(M: Array) -> Array:
    """Trace of matrices (r, r, ...)."""
    return np.einsum("ii...->...", M)


def trace_product(A: Array, B: Array) -> Array:
    """tr(AB) of symmetric matrices (r, r, ...)."""
    return np.einsum("ij...,ij...->...", A, B)


def trace_of_four(A: Array, B: Array, C: Array) -> Array:
    """tr(ABAC) of symmetric matrices (r, r, ...)."""
    H = _product(A, B)
    K = H if C is B else _product(A, C)
    return np.einsum("ij...,ji...->...", H, K)


def _product(A: Array, B: Array) -> Array:
    """AB of matrices (r, r, ...)."""
    if len(A) < _LARGE:
        return np.einsum("im...,mj...->ij...", A, B)
    # copies in which each matrix is contiguous, as BLAS wants them
    A, B = (np.ascontiguousarray(np.moveaxis(M, (0, 1), (-2, -1))) for M in (A, B))
    return np.moveaxis(A @ B, (-2, -1), (0, 1))


@lru_cache(maxsize=64)
def pairs_of(r: int) -> tuple[tuple[int, int], ...]:
    """Row and column of each of the r (r + 1) / 2 elements that are kept of a symmetric matrix."""
    return tuple((i, j) for i in range(r) for j in range(i + 1))


def packed(M: Array) -> Array:
    """Distinct elements of symmetric matrices (r, r, ...): (q, ...)."""
    rows, columns = np.tril_indices(len(M))
    return M[rows, columns]


def unpacked(elements: Array) -> Array:
    """Symmetric matrices (r, r, ...) from their distinct elements (q, ...)."""
    r = int((np.sqrt(8 * len(elements) + 1) - 1) / 2)
    rows, columns = np.tril_indices(r)
    out = np.empty((r, r, *elements.shape[1:]))
    out[rows, columns] = out[columns, rows] = elements
    return out


def congruence(T: Array, M: Array) -> Array:
    """Distinct elements of T M T' for T (p, r) and symmetric matrices M (r, r, ...): (q, ...)."""
    p, r = T.shape
    if max(p, r) >= _LARGE:
        full = np.moveaxis(M, (0, 1), (-2, -1))
        return packed(np.moveaxis(T @ full @ T.T, (-2, -1), (0, 1)))
    rows, columns = np.tril_indices(p)
    weights = np.empty((len(rows), r * (r + 1) // 2))
    for position, (i, j) in enumerate(pairs_of(r)):
        weights[:, position] = T[rows, i] * T[columns, j]
        if i != j:
            weights[:, position] += T[rows, j] * T[columns, i]
    return np.tensordot(weights, packed(M), axes=1)


def diagonal_of(to_params: Array, elements: Array) -> Array:
    """Diagonal of T M T' for symmetric M with distinct elements (q, ...) and T (p, r): (p, ...)."""
    pairs = pairs_of(to_params.shape[1])
    weights = np.stack(
        [to_params[:, i] * to_params[:, j] * (1.0 if i == j else 2.0) for i, j in pairs], axis=1
    )
    return np.tensordot(weights, elements, axes=1)
