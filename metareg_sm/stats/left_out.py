"""Likelihoods of the data sets that lack one study each, from sums that all of them share.

Whatever the likelihood needs at a tau2 is a sum over studies of f(v) b, where f is a power of
1/(v + tau2) and b a product of two of the columns of Z, the outcomes and 1. Products are shared;
the sums are taken over the studies that are left. For many studies see `stats.left_out_many`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from metareg_sm._typing import Array, Mask, Rows
from metareg_sm.core.gram import inverse as gram_inverse
from metareg_sm.core.likelihood import unequal
from metareg_sm.core.likelihood.profile import LOG_2PI, Derivatives, Limit
from metareg_sm.core.search.maximize import Optimum, maximize, upper_bound

# Less than this of the sum of squares of the residuals of all studies is left by cancellation.
_LEAST_LEFT = 1e-4
# Where 1 less the leverage of a study is smaller, the others do not determine the coefficients.
_DEFICIENT = 1e-6
# Matrices up to which LAPACK takes less time than the calls of an elimination that runs over them.
_FEW = 128
# Values of tau2 at which the likelihoods are looked at first, over the estimate from all studies.
_FIRST_POINTS = np.array([0.1, 0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.6, 2.0, 4.0])


class Solved(NamedTuple):
    """Weighted regressions of n data sets.

    Attributes
    ----------
    inverse : ndarray, (n, r, r)
        (Z'WZ)^-1.
    coefs : ndarray, (n, r)
        Coefficients of the basis.
    rss, q : ndarray, (n,)
        y'Py, and the same at tau2 = 0: Q_E.
    accurate : ndarray of bool, (n,)
        Whether the two kept their digits.
    """

    inverse: Array
    coefs: Array
    rss: Array
    q: Array
    accurate: Mask


@dataclass(frozen=True, slots=True, eq=False)
class LeftOut:
    """Profile likelihoods of n data sets, each of which lacks one of k studies.

    Attributes
    ----------
    v : ndarray, (k + 1,)
        Sampling variances of all studies.
    products : ndarray, (k + 1, (r + 1)^2 + 1)
        Products of two columns of [Z y], and 1, of each.
    lacks : ndarray of int, (n,)
        The study that each data set lacks.
    k, rank : int
        Number of studies that are left, and of coefficients.
    reml : bool
        Restricted likelihood, else maximum likelihood.
    far : Limit, optional
        What `limit` gives, where it is known.
    """

    v: Array
    products: Array
    lacks: Rows
    k: int
    rank: int
    reml: bool
    far: Limit | None = None

    @classmethod
    def build(cls, y: Array, v: Array, Z: Array, lacks: Rows, reml: bool) -> LeftOut:
        """Products of outcomes y (k,), with variances v, and the basis Z (k, r)."""
        k, r = Z.shape
        return cls(v, _products(np.column_stack([Z, y]).T), lacks, k - 1, r, reml)

    @property
    def df(self) -> int:
        """Degrees of freedom of each data set."""
        return self.k - self.rank

    def _sums(self, f: Array, rows: Rows | None) -> Array:
        """Sums (j, n, q) of j functions (j, n, k + 1) of the variances; f is overwritten."""
        j, n, k = f.shape
        f[:, np.arange(n), self.lacks if rows is None else self.lacks[rows]] = 0.0
        return (f.reshape(-1, k) @ self.products).reshape(j, n, -1)

    def _powers(self, tau2: Array, rows: Rows | None, highest: int) -> Array:
        """Sums with the first powers of the weights 1/(v + tau2)."""
        f = np.empty((highest, len(tau2), len(self.v)))
        np.add(self.v, tau2[:, None], out=f[0])
        np.reciprocal(f[0], out=f[0])
        for j in range(1, highest):
            np.multiply(f[j - 1], f[0], out=f[j])
        return self._sums(f, rows)

    def _regress(self, sums: Array) -> tuple[Array, Array, Array, Array]:
        """Weighted regressions by the first of j sums (j, n, q).

        Gives the products of [Z y] (j, n, r + 1, r + 1), (Z'WZ)^-1 (n, r, r), the coefficients a of
        residuals [Z y]a, (n, r + 1), and the products times a, (j, n, r + 1).
        """
        r = self.rank
        square = sums[..., :-1].reshape(*sums.shape[:2], r + 1, r + 1)
        inv = inverse(square[0, :, :r, :r])
        a = np.ones((len(inv), r + 1))
        np.negative((inv @ square[0, :, :r, r:])[..., 0], out=a[:, :r])
        return square, inv, a, (square @ a[:, :, None])[..., 0]

    def derivatives(self, tau2: Array, rows: Rows | None = None) -> Derivatives:
        """Ingredients of the derivatives at `tau2`."""
        return self.derivatives_and_rss(tau2, rows)[0]

    def derivatives_and_rss(
        self, tau2: Array, rows: Rows | None = None
    ) -> tuple[Derivatives, Array]:
        """Ingredients of the derivatives, and y'Py, at `tau2`."""
        sums, r = self._powers(tau2, rows, 3), self.rank
        square, inv, a, products = self._regress(sums)
        rss, ypp, yppp = (products * a).sum(-1)
        b = products[1, :, :r]
        yppp = yppp - ((inv @ b[..., None])[..., 0] * b).sum(-1)
        total = sums[..., -1]
        if not self.reml:
            return Derivatives(ypp, yppp, total[0], total[1]), rss
        H, K = inv @ square[1:, :, :r, :r]
        trace1 = total[0] - H.trace(axis1=1, axis2=2)
        trace2 = total[1] - 2.0 * K.trace(axis1=1, axis2=2)
        trace2 += np.einsum("nij,nji->n", H, H)
        return Derivatives(ypp, yppp, trace1, trace2), rss

    def limit(self) -> Limit:
        """Behaviour of the likelihoods as tau2 grows."""
        if self.far is not None:
            return self.far
        n, r = len(self.lacks), self.rank
        f = np.empty((2, n, len(self.v)))
        f[0], f[1] = 1.0, self.v
        sums = self._sums(f, None)
        square, inv, a, products = self._regress(sums)
        rss, yvy = (products * a).sum(-1)
        count, mean = self.k, sums[1, :, -1]
        if self.reml:
            count, mean = self.df, mean - np.einsum("nij,nij->n", inv, square[1, :, :r, :r])
        return Limit(rss, yvy / rss, count, mean / count)

    def solve(self, tau2: Array) -> Solved:
        """Weighted regression of all data sets at `tau2`, and Q_E."""
        n, r = len(tau2), self.rank
        both, rows = np.concatenate([tau2, np.zeros(n)]), np.tile(np.arange(n), 2)
        square, inv, a, products = self._regress(self._powers(both, rows, 1))
        # the residuals of the studies left are orthogonal to their moderators
        rss = products[0, :, r]
        accurate: Mask = rss >= _LEAST_LEFT * square[0, :, r, r]
        return Solved(inv[:n], -a[:n, :r], rss[:n], rss[n:], accurate[:n] & accurate[n:])

    def rss(self, tau2: Array, rows: Rows | None = None) -> Array:
        """Weighted residual sum of squares y'Py at `tau2`."""
        return self.derivatives_and_rss(tau2, rows)[1]

    def loglike(self, tau2: Array, rows: Rows | None = None) -> Array:
        """Log-likelihood at `tau2`."""
        r = self.rank
        square, _, _, products = self._regress(self._powers(tau2, rows, 1))
        theta = (self.v + tau2[:, None])[None]
        logs = self._sums(np.log(theta), rows)[0, :, -1]
        value, n = logs + products[0, :, r], self.k
        if self.reml:
            ones = self._sums(np.ones_like(theta), rows)
            whole = ones[0, :, :-1].reshape(square[0].shape)
            weighted, plain = (np.linalg.slogdet(M[:, :r, :r])[1] for M in (square[0], whole))
            value, n = value + weighted - plain, self.df
        return -0.5 * (n * LOG_2PI + value)

    def maximize(self, near: float) -> Optimum:
        """Global maximum of each; `near` is where most are expected."""
        low, high = float(self.v.min()), float(self.v.max())
        n = len(self.lacks)
        limit = self.limit()
        bottom, top = np.broadcast_to(low, n), np.broadcast_to(high, n)
        upper = upper_bound(limit.rss, self.df if self.reml else self.k, bottom, top)
        points = near * _FIRST_POINTS if near > 0.0 else None
        return maximize(replace(self, far=limit), np.zeros(n), upper, points)


def inverse(M: Array) -> Array:
    """Inverse of positive definite matrices (n, r, r), by LAPACK where there are few."""
    if len(M) <= _FEW:
        return np.asarray(np.linalg.inv(M), dtype=float)
    return np.moveaxis(gram_inverse(np.moveaxis(M, 0, -1)), -1, 0)


def _products(columns: Array) -> Array:
    """Products of two of the columns (r + 1, k), and 1: (k, (r + 1)^2 + 1)."""
    r1, k = columns.shape
    out = np.ones((k, r1 * r1 + 1))
    np.multiply(columns.T[:, :, None], columns.T[:, None], out=out[:, :-1].reshape(k, r1, r1))
    return out


def safe(v: Array, Z: Array, lacks: Rows) -> Mask:
    """Which data sets keep their digits when sums are taken as `LeftOut` takes them.

    Parameters
    ----------
    v : ndarray, (k,)
        Sampling variances.
    Z : ndarray, (k, r)
        Orthonormal basis of the moderators.
    lacks : ndarray of int, (n,)
        The study that each data set lacks.

    Returns
    -------
    ndarray of bool, (n,)
    """
    if unequal(v) or len(v) - 1 <= Z.shape[1]:
        return np.zeros(len(lacks), dtype=bool)
    z = Z[lacks]
    found: Mask = np.einsum("nr,nr->n", z, z) < 1.0 - _DEFICIENT
    return found
