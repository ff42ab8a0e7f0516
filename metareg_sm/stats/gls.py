"""Weighted regression at given variances, in whitened coordinates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

import numpy as np

from metareg_sm._typing import Array, Codes
from metareg_sm.core.basis import orthonormalize
from metareg_sm.core.gram import squared_length
from metareg_sm.core.likelihood import unequal
from metareg_sm.core.likelihood.choose import compressible, too_wide
from metareg_sm.core.studies import Studies

if TYPE_CHECKING:
    from metareg_sm.core.likelihood.compressed import CompressedProfile
    from metareg_sm.core.likelihood.pivoted import PivotedProfile
    from metareg_sm.core.pivot_regression import PivotedFit


@dataclass(frozen=True, eq=False)
class WeightedRegression:
    """A weighted regression in whitened coordinates.

    Attributes
    ----------
    G : ndarray, (p, r)
        Maps Q'y, with y whitened, to the coefficients; GG' is (X'WX)^-1.
    resid : ndarray, (k,)
        Whitened residuals: residuals times the square root of the weights.
    variances : ndarray, (k,)
        Marginal variances v + tau2, the inverse weights.
    unscaled : ndarray, (p, p)
        GG'.
    Z : ndarray, (k, r)
        Basis of the design.
    inverse : ndarray, (r, r)
        What makes the columns of the weighted basis orthonormal.
    factor : ndarray, (k, r), or None
        Q, where it was needed to come so far.
    """

    G: Array
    resid: Array
    variances: Array
    unscaled: Array
    Z: Array
    inverse: Array
    factor: Array | None = None

    @cached_property
    def Q(self) -> Array:
        """Orthonormal basis of the weighted design, (k, r)."""
        if self.factor is not None:
            return self.factor
        return (self.Z / np.sqrt(self.variances)[:, None]) @ self.inverse

    def weighted(self, exog: Array) -> Array:
        """Columns (k, p) of the design times the square root of the weights."""
        return exog / np.sqrt(self.variances)[:, None]

    def working(self, members: Codes) -> Array:
        """Marginal variances of clusters of one size, (m, n)."""
        return self.variances[members]

    @property
    def leverage(self) -> Array:
        """Diagonal of the hat matrix X(X'WX)^-1X'W, (k,)."""
        return np.einsum("kr,kr->k", self.Q, self.Q)

    @property
    def df_resid(self) -> int:
        """K - r."""
        return len(self.resid) - self.G.shape[1]

    @property
    def scale(self) -> float:
        """Knapp-Hartung factor: the weighted residual sum of squares over k - r."""
        return squared_length(self.resid) / self.df_resid


def whiten(studies: Studies, tau2: float, to_params: Array) -> tuple[WeightedRegression, Array]:
    """Weighted regression of one data set at a given tau2.

    Parameters
    ----------
    studies : Studies
        One data set.
    tau2 : float
        Heterogeneity.
    to_params : ndarray, (p, r)
        Maps coefficients of the basis Z to those wanted (`Basis.to_params`).

    Returns
    -------
    fit : WeightedRegression
    params : ndarray, (p,)
        Coefficients.
    """
    variances = studies.v + tau2
    # in place: pages of new memory cost more than the arithmetic of very many studies
    root = np.sqrt(variances)
    np.divide(1.0, root, out=root)
    # for a fixed tau2 nothing but this needs an evaluator, and this only these two
    if compressible(studies):
        compressed = cast("CompressedProfile", studies.profile(True))
        cross, coefs = compressed.solve(np.asarray(tau2))
        G = np.linalg.inv(np.linalg.cholesky(cross)).T
        resid = studies.Z @ coefs
        np.subtract(studies.resid, resid, out=resid)
        resid *= root
        H = to_params @ G
        whitened = WeightedRegression(H, resid, variances, H @ H.T, studies.Z, G)
        return whitened, to_params @ (studies.outcome @ studies.Z + coefs)
    if unequal(studies.v) and not too_wide(studies):
        pivoted = cast("PivotedProfile", studies.profile(True))
        return _whiten_pivoted(studies, pivoted.regress(np.asarray(tau2)), variances, to_params)
    Q, inverse = orthonormalize(root[:, None] * studies.Z)
    if inverse is None:  # an orthonormal basis times positive weights
        raise ArithmeticError("The weights 1/(vi + tau2) differ by more than floating point holds.")
    resid = root * studies.resid
    coefs = resid @ Q
    H = to_params @ inverse
    whitened = WeightedRegression(H, resid - Q @ coefs, variances, H @ H.T, studies.Z, inverse, Q)
    return whitened, to_params @ (studies.outcome @ studies.Z + inverse @ coefs)


def _whiten_pivoted(
    studies: Studies, fit: PivotedFit, variances: Array, to_params: Array
) -> tuple[WeightedRegression, Array]:
    """`whiten` from a regression in the coordinates of pivot studies."""
    root, rows = 1.0 / np.sqrt(variances), fit.pivots.rows[:, 0]
    half, inverse = fit.root()
    Q = (root[:, None] * fit.pivots.M[..., 0].T) @ half
    Q[rows] = inverse
    resid = root * fit.resid[:, 0]
    resid[rows] = -root[rows] * fit.shift[:, 0]
    from_columns = to_params if studies.from_columns is None else studies.from_columns
    from_pivots = from_columns @ fit.pivots.to_columns[..., 0]
    H = from_pivots @ half
    to_orthonormal = np.asarray(np.linalg.solve(studies.Z[rows], half), dtype=float)
    whitened = WeightedRegression(H, resid, variances, H @ H.T, studies.Z, to_orthonormal, Q)
    return whitened, from_pivots @ (fit.pivots.y + fit.shift)[:, 0]


@dataclass(frozen=True, eq=False)
class BlockRegression(WeightedRegression):
    """A regression whitened by a root of a marginal covariance that is not diagonal.

    Rows of a cluster are mixed among themselves only; `variances` is the covariance's diagonal.

    Attributes
    ----------
    mixing : mapping or None
        For each size of clusters (KK')^-1 where K whitens a cluster, (m, n, n), clusters in the
        order of their codes.
    """

    mixing: Mapping[int, Array] | None = None

    def weighted(self, exog: Array) -> Array:
        """Columns (k, p) of the design times the root of the weights."""
        inside = np.linalg.solve(self.inverse, self.Z.T @ exog)
        weighted: Array = self.Q @ inside
        return weighted

    def working(self, members: Codes) -> Array:
        """What `mixing` holds of clusters of one size; the marginal variances where it is None."""
        if self.mixing is None:
            return self.variances[members]
        return self.mixing[members.shape[1]]


def cluster_whitened(
    fit: WeightedRegression, resid: Array, covariances: Mapping[int, Array], groups: Codes
) -> BlockRegression:
    """The same regression whitened cluster by cluster, by the Cholesky factor LL' of each.

    Parameters
    ----------
    fit : WeightedRegression
        The regression in any whitening.
    resid : ndarray, (k,)
        Residuals y - Xb, not whitened.
    covariances : mapping
        Marginal covariances of the clusters of each size, (m, n, n), in the order of their codes.
    groups : ndarray of int, (k,)
        Clusters.

    Returns
    -------
    BlockRegression
    """
    Q, e = np.empty(fit.Q.shape), np.empty(len(resid))
    mixing = {}
    for members in clusters_by_size(groups):
        L = np.linalg.cholesky(covariances[members.shape[1]])
        white = np.linalg.solve(L, np.concatenate([fit.Z, resid[:, None]], axis=1)[members])
        Q[members], e[members] = white[:, :, :-1] @ fit.inverse, white[:, :, -1]
        mixing[members.shape[1]] = np.swapaxes(L, -1, -2) @ L
    return BlockRegression(fit.G, e, fit.variances, fit.unscaled, fit.Z, fit.inverse, Q, mixing)


def clusters_by_size(groups: Codes) -> list[Codes]:
    """Rows (m, n) of the clusters of each size, clusters in the order of their codes."""
    sizes = np.bincount(groups)
    order = np.argsort(groups, kind="stable")
    first = np.cumsum(sizes) - sizes
    return [
        order[first[np.flatnonzero(sizes == size)][:, None] + np.arange(size)]
        for size in np.unique(sizes[sizes > 0])
    ]
