"""Small-sample adjustments of cluster-robust covariances, for stacks of clusters of one size.

In whitened coordinates a cluster has rows Q_g of an orthonormal basis of the design and the
residual covariance C = I - Q_gQ_g' = FF'. What a cluster adds to the estimate is a_g'e_g with
adjusted scores a_g = A_g'Q_g. F'a_g stays moderate where a_g does not, and is enough.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import lapack

from metareg_sm._typing import Array

Codes = npt.NDArray[np.intp]

# Relative to 1: a singular value of the rows outside a cluster that is rounding of an exact 0. A
# study 1e12 times as precise as all others leaves 1e-6.
_SINGULAR = 1e-8
# Below this eigenvalue of C differences from 1 begin to cost digits.
_HEAVY = 0.1
# Grade of a matrix below which an ordinary singular value decomposition costs more than a digit.
_GRADED = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Slack:
    """What m clusters of one size leave to the others: I - Q_g'Q_g = V s^2 V'.

    C has the same eigenvalues s^2, and 1.

    Attributes
    ----------
    s : ndarray, (m, r)
        Ascending, within [0, 1]; exactly 0 where the design fits the cluster exactly.
    V : ndarray, (m, r, r)
        Orthonormal columns.
    Y : ndarray, (m, n, r)
        Q_g V: orthogonal columns, the longest first.
    resid : ndarray, (m, n)
        Whitened residuals e_g.
    heavy : ndarray of bool, (m,)
        Clusters that determine a coefficient nearly alone.
    """

    s: Array
    V: Array
    Y: Array
    resid: Array
    heavy: npt.NDArray[np.bool_]


def slack(Q: Array, resid: Array, members: Codes) -> Slack:
    """Slack of clusters.

    Parameters
    ----------
    Q : ndarray, (k, r)
        Orthonormal basis of the weighted design.
    resid : ndarray, (k,)
        Whitened residuals.
    members : ndarray of int, (m, n)
        Rows of each cluster.

    Returns
    -------
    Slack
    """
    r = Q.shape[1]
    Qg, e = Q[members], resid[members]
    values, V = np.linalg.eigh(np.eye(r) - np.swapaxes(Qg, -1, -2) @ Qg)
    s = np.sqrt(np.clip(values, 0.0, 1.0))
    heavy = np.asarray((values < _HEAVY).any(-1))
    Y = Qg @ V
    # There are few of these, since the traces of all Q_g'Q_g sum to r. 1 - leverage has lost its
    # digits, and so have residuals near 0. The regression of the other rows has both.
    for g in np.flatnonzero(heavy):
        left, found, Vt = np.linalg.svd(np.delete(Q, members[g], axis=0), full_matrices=False)
        found = np.where(found > _SINGULAR, np.minimum(found, 1.0), 0.0)
        rank = np.count_nonzero(found)
        if len(found) < r:  # fewer other rows than coefficients
            found, Vt = np.append(found, np.zeros(r - len(found))), _completed(Vt)
        s[g], V[g] = found[::-1], Vt[::-1].T
        Y[g] = Qg[g] @ V[g]
        coefs = Vt[:rank].T @ ((left[:, :rank].T @ np.delete(resid, members[g])) / found[:rank])
        # e_g = C times the residuals from the coefficients without the cluster
        F = _residual_root(Y[g : g + 1], s[g : g + 1])[0]
        e[g] = F @ (F.T @ (e[g] - Qg[g] @ coefs))
    return Slack(s, V, Y, e, heavy)


def _completed(Vt: Array) -> Array:
    """Orthonormal rows with those that they lack, the latter last."""
    return np.vstack([Vt, np.linalg.qr(Vt.T, mode="complete")[0][:, len(Vt) :].T])


def leverage_slack(Q: Array, resid: Array) -> tuple[Array, Array]:
    """1 - leverage and the whitened residual of each study, with all digits near leverage 1.

    Parameters
    ----------
    Q : ndarray, (k, r)
        Orthonormal basis of the weighted design.
    resid : ndarray, (k,)
        Whitened residuals.

    Returns
    -------
    remainder : ndarray, (k,)
        Exactly 0 where the design fits a study exactly.
    resid : ndarray, (k,)
    """
    remainder = 1.0 - np.einsum("kr,kr->k", Q, Q)
    heavy = np.flatnonzero(remainder < _HEAVY)
    if heavy.size:
        resid = resid.copy()
        found = slack(Q, resid, heavy[:, None])
        remainder[heavy], resid[heavy] = found.s[:, 0] ** 2, found.resid[:, 0]
    return remainder, resid


def adjusted_parts(
    Qg: Array, clusters: Slack, theta: Array, correction: str
) -> tuple[Array, Array, Array]:
    """What clusters of one size add to the estimate, and its moments under the working model.

    Parameters
    ----------
    Qg : ndarray, (m, n, r)
        Rows of the orthonormal basis.
    clusters : Slack
        Their slack.
    theta : ndarray, (m, n), or (m, n, n)
        Marginal variances; where the covariance of a cluster is not diagonal, (KK')^-1 with K what
        whitens it, which is L'L for whitening by the Cholesky factor L.
    correction : str
        "CR2" (A_g is unbiased), "CR3" (A_g is the inverse of C), others: none.

    Returns
    -------
    totals : ndarray, (m, r)
        a_g' e_g.
    own : ndarray, (m, r, r)
        a_g' C a_g, the variance of the totals.
    cross : ndarray, (m, r, r)
        a_g' Q_g; -cross_g cross_h' is the covariance of the totals of two clusters.
    """
    s, V, Y = clusters.s, clusters.V, clusters.Y
    power = {"CR2": 1, "CR3": 2}.get(correction, 0)
    f = _inverse(s) ** power
    # A function of C alone acts on the r columns of Q_g V.
    half = (Y * (f * s)[:, None, :]) @ np.swapaxes(V, -1, -2)
    scores = (V * f[:, None, :]) @ np.swapaxes(Y, -1, -2)
    totals = (scores @ clusters.resid[:, :, None])[:, :, 0]
    own = np.swapaxes(half, -1, -2) @ half
    cross = scores @ Qg
    if correction == "CR2":
        if theta.ndim == 3:
            uneven = np.arange(len(theta)) if theta.shape[-1] > 1 else np.arange(0)
        else:
            uneven = np.flatnonzero(theta.min(-1) < theta.max(-1))
        if uneven.size:
            totals[uneven], own[uneven], cross[uneven] = _uneven_parts(
                Qg[uneven], Y[uneven], s[uneven], theta[uneven], clusters.resid[uneven]
            )
    return totals, own, cross


def _uneven_parts(
    Qg: Array, Y: Array, s: Array, theta: Array, resid: Array
) -> tuple[Array, Array, Array]:
    """CR2 where the variances within a cluster differ.

    A_g' = theta S^(+1/2), S = theta C theta: the symmetric root of the unwhitened residual
    covariance weighted as in Pustejovsky & Tipton (2018). With theta F = L sigma R', A_g' is
    F^(-T) R L' but for what I - C alone contains, which touches no residual and no other cluster.
    No singular value is divided by, and what is singular is known from s: it belongs to C.
    """
    n, r = Y.shape[1:]
    U = _left_basis(Y)
    lengths = np.ones((len(s), n))
    lengths[:, : min(n, r)] = s[:, : min(n, r)]
    if theta.ndim == 3:
        size = np.einsum("mnn->mn", theta)
        K = (theta / size.max(-1)[:, None, None]) @ U * lengths[:, None, :]
        theta = size
    else:
        K = (theta / theta.max(-1, keepdims=True))[:, :, None] * U * lengths[:, None, :]
    null = n - np.count_nonzero(lengths, axis=-1)
    smallest = np.where(lengths > 0.0, lengths, 1.0).min(-1)
    graded = smallest * theta.min(-1) < _GRADED * theta.max(-1)
    L, Rt = np.zeros(K.shape), np.zeros(K.shape)
    L[~graded], _, Rt[~graded] = np.linalg.svd(K[~graded])
    for g in np.flatnonzero(graded):
        keep = slice(n - null[g])
        L[g, :, keep], Rt[g, keep, null[g] :] = _graded_svd(K[g, :, null[g] :])
    L *= np.arange(n) < (n - null)[:, None, None]
    half = np.swapaxes(Rt, -1, -2) @ (np.swapaxes(L, -1, -2) @ Qg)
    scores = np.swapaxes(_inverse(lengths)[:, :, None] * half, -1, -2) @ np.swapaxes(U, -1, -2)
    totals = (scores @ resid[:, :, None])[:, :, 0]
    return totals, np.swapaxes(half, -1, -2) @ half, scores @ Qg


def _inverse(s: Array) -> Array:
    """1/s, and 0 where s is 0."""
    return np.where(s > 0.0, 1.0, 0.0) / np.where(s > 0.0, s, 1.0)


def _left_basis(Y: Array) -> Array:
    """Orthonormal (m, n, n) whose first columns have the directions of Y's."""
    return np.linalg.qr(Y, mode="complete")[0]


def _residual_root(Y: Array, s: Array) -> Array:
    """F with FF' = C, (m, n, n): left singular vectors of Q_g times s, or times 1."""
    F = _left_basis(Y)
    shared = min(Y.shape[1:])
    F[:, :, :shared] *= s[:, None, :shared]
    return F


def _graded_svd(K: Array) -> tuple[Array, Array]:
    """Left and right singular vectors (transposed) of a matrix whose rows differ greatly in size.

    One-sided Jacobi after a pivoted QR factorisation: its errors are relative to each row, where
    those of a bidiagonalisation are relative to the largest (Drmač & Veselić, 2008, SIAM Journal
    on Matrix Analysis and Applications 29, 1322-1342).
    """
    _, left, right, _, _, info = lapack.dgejsv(K, joba=2, jobu=0, jobv=0, jobr=0, jobt=0, jobp=0)
    if info:
        raise ArithmeticError("The singular values of a cluster did not converge.")
    return left, right.T
