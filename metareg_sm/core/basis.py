"""Orthonormal bases of the column space of a design."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack

from metareg_sm._typing import Array

_EPS = float(np.finfo(float).eps)

# beyond this many studies an eigendecomposition costs more than the evaluations it saves
SPECTRAL_LIMIT = 128
# Rows from which on it pays to multiply matrices rather than to reflect columns.
TALL = 20_000


def orthonormalize(X: Array, complete: bool = False) -> tuple[Array, Array | None]:
    """QR factorisation of one matrix: Q and the inverse of R.

    LAPACK itself: the generic wrappers cost several times the work for a matrix of study size.

    Parameters
    ----------
    X : ndarray, (k, p)
        With k >= p.
    complete : bool
        All k columns of Q rather than p.

    Returns
    -------
    Q : ndarray, (k, p) or (k, k)
        Orthonormal columns.
    inverse : ndarray, (p, p), or None
        R^-1, upper triangular; None where R is exactly singular.
    """
    k, p = X.shape
    # from about this many columns on blocks are faster, for which LAPACK wants more room
    room = {"lwork": 64 * p} if p >= 32 else {}
    factored, tau, _, _ = lapack.dgeqrf(X, **room)
    inverse, singular = lapack.dtrtri(factored[:p]) if p else (np.zeros((0, 0)), 0)
    for j in range(p - 1):
        inverse[j + 1 :, j] = 0.0
    if complete:
        full = np.empty((k, k), order="F")
        full[:, :p] = factored
        factored = full
    Q = (
        lapack.dorgqr(factored, tau, overwrite_a=1, **room)[0]
        if p
        else np.eye(k)[:, : k * complete]
    )
    return Q, None if singular else inverse


def tall_inverse(X: Array) -> tuple[Array, bool] | None:
    """Inverse of R in X = QR of a tall matrix, by the Cholesky factor of X'X.

    One product of matrices instead of reflections: several times faster. Q = X R^-1 is as
    orthogonal as rounding times the squared condition of X allows.

    Parameters
    ----------
    X : ndarray, (k, p)
        With k at least `TALL`.

    Returns
    -------
    inverse : ndarray, (p, p)
        R^-1, upper triangular.
    accurate : bool
        Whether X is so well conditioned that Q needs no second pass.

    None is returned where too many digits are lost.
    """
    cross = X.T @ X
    scale = np.sqrt(np.diagonal(cross))
    if not scale.all():
        return None
    R, failed = lapack.dpotrf(cross / np.outer(scale, scale))
    if failed:
        return None
    inverse, failed = lapack.dtrtri(R)
    squared_condition = np.einsum("ij,ij->", R, R) * np.einsum("ij,ij->", inverse, inverse)
    if failed or squared_condition > 1e8:
        return None
    return inverse / scale[:, None], bool(squared_condition < 100.0 * len(R) ** 2)


def _tall_basis(X: Array) -> Basis | None:
    """Basis by one or two products of matrices; None where that loses digits.

    The second pass makes Q orthogonal to rounding (Yamamoto et al., 2015).
    """
    found = tall_inverse(X)
    if found is None:
        return None
    inverse, accurate = found
    # each column contiguous
    Q = (inverse.T @ X.T).T
    if not accurate:
        again = tall_inverse(Q)
        if again is None:
            return None
        Q, inverse = (again[0].T @ Q.T).T, inverse @ again[0]
    return Basis(Q, inverse, (), None, X)


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """Orthonormal basis of a design's column space.

    Attributes
    ----------
    Z : ndarray, (k, r)
        Orthonormal columns that span the columns of X.
    to_params : ndarray, (p, r)
        Maps coefficients of Z to coefficients of X; the minimum-norm solution where X is rank
        deficient, as statsmodels' pseudo-inverse gives it.
    redundant : tuple of int
        Columns of X that depend linearly on the columns before them.
    complement : ndarray, (k, k-r) or None
        Orthonormal columns orthogonal to Z; None beyond `SPECTRAL_LIMIT` studies.
    columns : ndarray, (k, r), or None
        The columns of X that are not redundant; Z stands for them where there are none.
    """

    Z: Array
    to_params: Array
    redundant: tuple[int, ...]
    complement: Array | None
    columns: Array | None = None

    @property
    def from_columns(self) -> Array:
        """Maps coefficients of `columns` to coefficients of X, (p, r)."""
        if self.columns is None:
            return self.to_params
        if not self.redundant:
            return np.eye(self.rank)
        return self.to_params @ (self.Z.T @ self.columns)

    @property
    def rank(self) -> int:
        """Number of linearly independent columns."""
        return self.Z.shape[-1]


def design_basis(X: Array) -> Basis:
    """Orthonormal basis of the columns of a design, with its numerical rank.

    Columns are scaled to unit length before the rank is judged, so that a moderator in other
    units (a calendar year, a population in millions) is never mistaken for a redundant one.

    Parameters
    ----------
    X : ndarray, (k, p)
        Design matrix.

    Returns
    -------
    Basis
        The basis, the map back to the coefficients of `X` and the redundant columns.

    Examples
    --------
    >>> import numpy as np
    >>> design_basis(np.array([[1.0, 2.0, 3.0], [1.0, 5.0, 6.0], [1.0, 4.0, 5.0]])).redundant
    (2,)
    """
    k, p = X.shape
    if k >= TALL and p:
        tall = _tall_basis(X)
        if tall is not None:
            return tall
    scale = np.sqrt(np.add.reduce(X * X, 0))
    scale[scale == 0.0] = 1.0
    spectral = k <= SPECTRAL_LIMIT
    tol = max(k, p) * _EPS
    if k >= p:
        Q, inverse = orthonormalize(X / scale, complete=spectral)
        # ||R|| <= sqrt(p) for unit columns, so ||R^-1|| alone bounds the smallest singular value
        if inverse is not None and np.vdot(inverse, inverse) < 1.0 / tol**2:
            inverse /= scale[:, None]
            return Basis(Q[:, :p], inverse, (), Q[:, p:] if spectral else None, X)
    redundant, kept = [], np.zeros((k, 0))
    for j in range(p):
        column = X[:, j] / scale[j]
        for _ in range(2):  # twice is enough (Kahan): orthogonal to working precision
            column = column - kept @ (kept.T @ column)
        length = float(np.linalg.norm(column))
        if length <= np.sqrt(p) * tol * 10:
            redundant.append(j)
        else:
            kept = np.column_stack([kept, column / length])
    rank = kept.shape[1]
    U, s, Vt = np.linalg.svd(X, full_matrices=spectral)
    complement = U[:, rank:] if spectral else None
    independent = np.delete(X, redundant, axis=1)
    to_params = Vt[:rank].T / s[:rank]
    return Basis(U[:, :rank], to_params, tuple(redundant), complement, independent)


def spans_constant(basis: Basis) -> bool:
    """Whether the moderators can say that all studies have the same expected effect."""
    return bool(np.abs(basis.Z @ basis.Z.sum(0) - 1.0).max() < 1e-9)
