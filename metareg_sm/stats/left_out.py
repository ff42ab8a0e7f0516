"""Likelihoods of the data sets that lack one study each, from sums that all of them share.

Whatever the likelihood needs at a tau2 is a sum over studies of f(v) b, where f is a power of
1/(v + tau2) and b a product of two of the columns of Z, the outcomes and 1. For few studies such
sums are taken over those that are left. For many, a few dozen nodes stand for all studies
(`core.likelihood.compressed`), and the term of the study that is lacking is taken off: then the
cost of a data set does not depend on the number of studies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from metareg_sm._typing import Array, Mask, Rows
from metareg_sm.core.gram import dot, logdet, times, trace_of_four, trace_product
from metareg_sm.core.gram import inverse as gram_inverse
from metareg_sm.core.likelihood.compressed import CompressedProfile
from metareg_sm.core.likelihood.profile import LOG_2PI, Limit, Slopes
from metareg_sm.core.search.maximize import Optimum, maximize, upper_bound

# Studies from which on nodes stand for them.
NODES_FROM = 200
# Ratio of the variances beyond which sums of products lose too many digits.
WIDEST = 1e3
# Share of a sum that may be taken off: else digits go.
_LARGEST_SHARE = 0.99
# Less than this of the sum of squares of the residuals of all studies is left by cancellation.
_LEAST_LEFT = 1e-4
# Where 1 less the leverage of a study is smaller, the others do not determine the coefficients.
_DEFICIENT = 1e-6
# Matrices up to which LAPACK takes less time than the calls of an elimination that runs over them.
_FEW = 32
# Values of tau2 at which the likelihoods are looked at first, over the estimate from all studies.
_FIRST_POINTS = np.array([0.1, 0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.6, 2.0, 4.0])


class Solved(NamedTuple):
    """Weighted regressions of n data sets.

    Attributes
    ----------
    inverse : ndarray, (r, r, n)
        (Z'WZ)^-1.
    coefs : ndarray, (r, n)
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


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Profile likelihoods of n data sets, each of which lacks one of k studies.

    Attributes
    ----------
    nodes : ndarray, (m,)
        Sampling variances of the studies, or at the nodes that stand for them.
    weights : ndarray, ((r + 1)^2 + 1, m)
        Products of two columns of [Z y], and 1, of each.
    lacks : ndarray of int, (n,)
        The study that each data set lacks.
    own : ndarray, ((r + 1)^2 + 1, n), or None
        Its products, where the nodes stand for all studies.
    variance : ndarray, (n,)
        Its sampling variance.
    k, rank : int
        Number of studies that are left, and of coefficients.
    reml : bool
        Restricted likelihood, else maximum likelihood.
    far : Limit, optional
        What `limit` gives, where it is known.
    """

    nodes: Array
    weights: Array
    lacks: Rows
    own: Array | None
    variance: Array
    k: int
    rank: int
    reml: bool
    far: Limit | None = None

    @classmethod
    def build(cls, y: Array, v: Array, Z: Array, lacks: Rows, reml: bool) -> LeftOut:
        """Products of outcomes y (k,), with variances v, and the basis Z (k, r)."""
        k, r = Z.shape
        columns = np.column_stack([Z, y]).T
        own = None
        if k >= NODES_FROM:
            whole = CompressedProfile.build(y, v, Z, reml)
            nodes, weights = whole.nodes, whole.weights
            own = _products(columns[:, lacks])
        else:
            nodes, weights = v, _products(columns)
        return cls(nodes, weights, lacks, own, v[lacks], k - 1, r, reml)

    def take(self, some: slice) -> LeftOut:
        """Some of the data sets."""
        own = None if self.own is None else self.own[:, some]
        return replace(self, lacks=self.lacks[some], own=own, variance=self.variance[some])

    @property
    def df(self) -> int:
        """Degrees of freedom of each data set."""
        return self.k - self.rank

    def _sums(self, f: Array, own: Array, rows: Rows | None) -> Array:
        """Sums (q, j, n) of j functions (j, n, m) at the nodes, and (j, n) of what is lacking."""
        j, n, m = f.shape
        if self.own is None:
            f[:, np.arange(n), self.lacks if rows is None else self.lacks[rows]] = 0.0
        found = (self.weights @ f.reshape(-1, m).T).reshape(-1, j, n)
        if self.own is not None:
            found -= own * (self.own if rows is None else self.own[:, rows])[:, None]
        return found

    def _powers(self, tau2: Array, rows: Rows | None, highest: int) -> Array:
        """Sums with the first powers of the weights 1/(v + tau2)."""
        f = np.empty((highest, len(tau2), len(self.nodes)))
        np.add(self.nodes, tau2[:, None], out=f[0])
        np.reciprocal(f[0], out=f[0])
        for j in range(1, highest):
            np.multiply(f[j - 1], f[0], out=f[j])
        w = 1.0 / ((self.variance if rows is None else self.variance[rows]) + tau2)
        return self._sums(f, w ** np.arange(1, highest + 1)[:, None], rows)

    def _parts(self, sums: Array) -> tuple[Array, Array, Array, Array]:
        """Of sums (q, ...): times zz' (r, r, ...), zy (r, ...), yy and 1."""
        r = self.rank
        square = sums[:-1].reshape(r + 1, r + 1, *sums.shape[1:])
        return square[:r, :r], square[:r, r], square[r, r], sums[-1]

    def slopes(self, tau2: Array, rows: Rows | None = None) -> Slopes:
        """Ingredients of the derivatives at `tau2`."""
        return self.slopes_and_rss(tau2, rows)[0]

    def slopes_and_rss(self, tau2: Array, rows: Rows | None = None) -> tuple[Slopes, Array]:
        """Ingredients of the derivatives, and y'Py, at `tau2`."""
        M, zy, yy, total = self._parts(self._powers(tau2, rows, 3))
        inv = inverse(M[:, :, 0])
        c = times(inv, zy[:, 0])
        Mc = np.einsum("ijpn,jn->ipn", M[:, :, 1:], c)
        b = zy[:, 1] - Mc[:, 0]
        ypp = yy[1] - dot(c, zy[:, 1] + b)
        yppp = yy[2] - dot(c, 2.0 * zy[:, 2] - Mc[:, 1]) - dot(b, times(inv, b))
        rss = yy[0] - dot(c, zy[:, 0])
        if not self.reml:
            return Slopes(ypp, yppp, total[0], total[1]), rss
        trace1 = total[0] - trace_product(inv, M[:, :, 1])
        trace2 = total[1] - 2.0 * trace_product(inv, M[:, :, 2])
        trace2 += trace_of_four(inv, M[:, :, 1], M[:, :, 1])
        return Slopes(ypp, yppp, trace1, trace2), rss

    def limit(self) -> Limit:
        """Behaviour of the likelihoods as tau2 grows."""
        if self.far is not None:
            return self.far
        n = len(self.lacks)
        f = np.empty((2, n, len(self.nodes)))
        f[0], f[1] = 1.0, self.nodes
        M, zy, yy, total = self._parts(self._sums(f, np.array([np.ones(n), self.variance]), None))
        inv = inverse(M[:, :, 0])
        c = times(inv, zy[:, 0])
        rss = yy[0] - dot(c, zy[:, 0])
        yvy = yy[1] - dot(c, 2.0 * zy[:, 1] - times(M[:, :, 1], c))
        count, mean = self.k, total[1]
        if self.reml:
            count, mean = self.df, mean - trace_product(inv, M[:, :, 1])
        return Limit(rss, yvy / rss, count, mean / count)

    def solve(self, tau2: Array) -> Solved:
        """Weighted regression of all data sets at `tau2`, and Q_E."""
        n = len(tau2)
        both = np.concatenate([tau2, np.zeros(n)])
        rows = np.tile(np.arange(n), 2)
        M, zy, yy, _ = self._parts(self._powers(both, rows, 1)[:, 0])
        inv = inverse(M)
        c = times(inv, zy)
        rss = yy - dot(c, zy)
        accurate = (rss >= _LEAST_LEFT * yy).reshape(2, n).all(0)
        return Solved(inv[..., :n], c[:, :n], rss[:n], rss[n:], accurate)

    def rss(self, tau2: Array, rows: Rows | None = None) -> Array:
        """Weighted residual sum of squares y'Py at `tau2`."""
        return self.slopes_and_rss(tau2, rows)[1]

    def loglike(self, tau2: Array, rows: Rows | None = None) -> Array:
        """Log-likelihood at `tau2`."""
        sums = self._powers(tau2, rows, 1)[:, 0]
        M, zy, yy, _ = self._parts(sums)
        own = self.variance if rows is None else self.variance[rows]
        theta = (self.nodes + tau2[:, None])[None]
        logs = self._sums(np.log(theta), np.log(own + tau2)[None], rows)[-1, 0]
        value, n = logs + yy - dot(zy, times(inverse(M), zy)), self.k
        if self.reml:
            ones = self._sums(np.ones_like(theta), np.ones((1, len(tau2))), rows)
            value, n = value + logdet(M.copy()) - logdet(self._parts(ones[:, 0])[0].copy()), self.df
        return -0.5 * (n * LOG_2PI + value)

    def maximize(self, near: float) -> Optimum:
        """Global maximum of each; `near` is where most are expected."""
        low, high = float(self.nodes.min()), float(self.nodes.max())
        n = len(self.lacks)
        limit = self.limit()
        bottom, top = np.broadcast_to(low, n), np.broadcast_to(high, n)
        upper = upper_bound(limit.rss, self.df if self.reml else self.k, bottom, top)
        points = near * _FIRST_POINTS if near > 0.0 else None
        return maximize(replace(self, far=limit), np.zeros(n), upper, points)


def inverse(M: Array) -> Array:
    """Inverse of positive definite matrices (r, r, n), by LAPACK where there are few."""
    if M.shape[-1] > _FEW:
        return gram_inverse(M)
    return np.moveaxis(np.linalg.inv(np.moveaxis(M, -1, 0)), 0, -1)


def _products(columns: Array) -> Array:
    """Products of two of the columns (r + 1, k), and 1."""
    r1, k = columns.shape
    out = np.empty((r1 * r1 + 1, k))
    np.multiply(columns[:, None], columns[None], out=out[:-1].reshape(r1, r1, k))
    out[-1] = 1.0
    return out


def safe(y: Array, v: Array, Z: Array, lacks: Rows) -> Mask:
    """Which data sets keep their digits when sums are taken as `LeftOut` takes them.

    Parameters
    ----------
    y, v : ndarray, (k,)
        Residuals of the outcomes, and sampling variances.
    Z : ndarray, (k, r)
        Orthonormal basis of the moderators.
    lacks : ndarray of int, (n,)
        The study that each data set lacks.

    Returns
    -------
    ndarray of bool, (n,)
    """
    low = float(v.min())
    good = np.zeros(len(lacks), dtype=bool)
    if low <= 0.0 or float(v.max()) > WIDEST * low or len(y) - 1 <= Z.shape[1]:
        return good
    z = Z[lacks]
    leverage = np.einsum("nr,nr->n", z, z)
    if len(y) < NODES_FROM:
        return leverage < 1.0 - _DEFICIENT
    good = leverage < _LARGEST_SHARE
    w = 1.0 / v
    inv = np.linalg.inv(Z.T @ (w[:, None] * Z))
    good &= w[lacks] * np.einsum("nr,rs,ns->n", z, inv, z) < _LARGEST_SHARE
    for squares in (y * y, w * y * y):
        good &= squares[lacks] <= _LARGEST_SHARE * squares.sum()
    return good
