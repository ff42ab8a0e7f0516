"""Weighted least squares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metareg_sm._typing import Array


@dataclass(frozen=True, slots=True, eq=False)
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
    Q, inverse : ndarray, (..., k, p) and (..., p, p)
        Orthonormal basis of the weighted design, and R^-1 of W^1/2 X = QR; infinite where R is
        singular.
    """

    params: Array
    cov_unscaled: Array
    wresid: Array
    leverage: Array
    rss: Array
    Q: Array
    inverse: Array


def wls(y: Array, weights: Array, X: Array) -> WLSFit:
    """Weighted least squares through a QR factorisation of the weighted design.

    Parameters
    ----------
    y : ndarray, (..., k)
        Outcomes.
    weights : ndarray, (..., k)
        Weights, for meta-regression 1/(v + tau2); 0 leaves a study out.
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
    regular = np.asarray(np.diagonal(R, axis1=-2, axis2=-1).all(-1))[..., None, None]
    inverse = np.where(regular, np.linalg.inv(np.where(regular, R, np.eye(R.shape[-1]))), np.inf)
    return WLSFit(
        params=np.matmul(inverse, coefs[..., None])[..., 0],
        cov_unscaled=np.matmul(inverse, np.swapaxes(inverse, -1, -2)),
        wresid=wresid,
        leverage=np.einsum("...kp,...kp->...k", Q, Q),
        rss=np.einsum("...k,...k->...", wresid, wresid),
        Q=Q,
        inverse=inverse,
    )
