"""Weighted least squares and the column space of a design."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

# beyond this many studies an eigendecomposition costs more than the evaluations it saves
SPECTRAL_LIMIT = 128


@dataclass(frozen=True, slots=True)
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
    """

    Z: Array
    to_params: Array
    redundant: tuple[int, ...]
    complement: Array | None

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
    norms = np.sqrt(np.einsum("kp,kp->p", X, X))
    scale = np.where(norms > 0, norms, 1.0)
    spectral = k <= SPECTRAL_LIMIT
    Q, R = np.linalg.qr(X / scale, mode="complete" if spectral else "reduced")
    R = R[:p]
    diagonal = np.abs(R.diagonal())
    tol = max(k, p) * np.finfo(float).eps
    if k >= p and diagonal.min(initial=1.0) > 0.0:
        inverse = np.linalg.inv(R)
        # ||R|| <= sqrt(p) for unit columns, so ||R^-1|| alone bounds the smallest singular value
        if np.sqrt(np.einsum("ij,ij->", inverse, inverse)) < 1.0 / tol:
            return Basis(Q[:, :p], inverse / scale[:, None], (), Q[:, p:] if spectral else None)
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
    return Basis(U[:, :rank], Vt[:rank].T / s[:rank], tuple(redundant), complement)


@dataclass(frozen=True, slots=True)
class WLSFit:
    """Weighted least squares with known weights.

    Attributes
    ----------
    params : ndarray, (..., p)
        Coefficients.
    cov_unscaled : ndarray, (..., p, p)
        (X'WX)^-1.
    wresid : ndarray, (..., k)
        Residuals times the square root of the weights.
    leverage : ndarray, (..., k)
        Diagonal of the hat matrix X(X'WX)^-1X'W.
    rss : ndarray, (...)
        Weighted residual sum of squares.
    """

    params: Array
    cov_unscaled: Array
    wresid: Array
    leverage: Array
    rss: Array


def wls(y: Array, weights: Array, X: Array) -> WLSFit:
    """Weighted least squares through a QR factorisation of the weighted design.

    Parameters
    ----------
    y : ndarray, (..., k)
        Outcomes.
    weights : ndarray, (..., k)
        Positive weights, for meta-regression 1/(v + tau2).
    X : ndarray, (k, p) or (..., k, p)
        Design of full column rank.

    Returns
    -------
    WLSFit

    Examples
    --------
    >>> import numpy as np
    >>> wls(np.array([1.0, 2.0, 6.0]), np.ones(3), np.ones((3, 1))).params
    array([3.])
    """
    root = np.sqrt(weights)
    Q, R = np.linalg.qr(root[..., None] * X)
    wresid = root * y
    coefs = np.zeros(Q.shape[:-2] + Q.shape[-1:])
    # the second pass removes what cancellation left of a large common level of y
    for _ in range(2):
        step = np.matmul(wresid[..., None, :], Q)[..., 0, :]
        wresid = wresid - np.matmul(Q, step[..., None])[..., 0]
        coefs = coefs + step
    inverse = np.linalg.inv(R)
    return WLSFit(
        params=np.matmul(inverse, coefs[..., None])[..., 0],
        cov_unscaled=np.matmul(inverse, np.swapaxes(inverse, -1, -2)),
        wresid=wresid,
        leverage=np.einsum("...kp,...kp->...k", Q, Q),
        rss=np.einsum("...k,...k->...", wresid, wresid),
    )
