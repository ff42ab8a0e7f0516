"""The profile likelihood of one data set of very many studies, compressed once.

Whatever the likelihood needs at a tau2 is a sum over studies of f(v) b, where f is a power of
1/(v + tau2) or its logarithm and b a product of two of the columns of Z, the outcomes and 1. As a
function of ln v the power is analytic up to |Im ln v| = pi, so that its interpolation in Chebyshev
nodes of ln v converges geometrically. With the Lagrange polynomials l_j of the nodes

    sum_i f(v_i) b_i = sum_j f(node_j) B_j,    B_j = sum_i l_j(v_i) b_i,

to rounding: a few dozen nodes with fixed B_j stand for all studies, and no evaluation touches the
studies again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.polynomial import chebyshev

from metareg_sm._typing import Array, Rows
from metareg_sm.core.gram import apply, dot, pairs_of, trace, trace_of_four, trace_product
from metareg_sm.core.gram import inverse as gram_inverse
from metareg_sm.core.gram import logdet as gram_logdet
from metareg_sm.core.likelihood.profile import LOG_2PI, Derivatives, Limit

# Studies that are looked at together: their polynomials stay in the processor's cache. Rows of a
# power of two would share its sets, and from 2,000 on some kernels start threads for the product.
_BLOCK = 1800
# Relative error of the interpolation.
_ERROR = 1e-14
# Numbers of terms and of products are multiples of these: the matrix product is faster in panels.
_PANEL_TERMS, _PANEL_PRODUCTS = 8, 4
# Width of a band in ln v, and studies in one up to which nodes save nothing.
_BAND, _FEW = math.log(200.0), 100


@dataclass(frozen=True, slots=True, eq=False)
class CompressedProfile:
    """Profile likelihood of one data set from sums over nodes instead of studies.

    Attributes
    ----------
    nodes : ndarray, (m,)
        Sampling variances at the nodes.
    weights : ndarray, ((r + 1)^2 + 1, m)
        B_j of the products of two columns of [Z y], and of 1.
    k, rank : int
        Number of studies and of coefficients.
    reml : bool
        Restricted likelihood, else maximum likelihood.
    """

    nodes: Array
    weights: Array
    k: int
    rank: int
    reml: bool

    @property
    def grid_pays(self) -> bool:
        """Whether many points of one data set cost little more than one."""
        return True

    @property
    def smallest(self) -> float:
        """Smallest sampling variance."""
        return float(self.nodes.min())

    def of(self, reml: bool) -> CompressedProfile:
        """The restricted or the full likelihood of the same data."""
        return replace(self, reml=reml)

    @classmethod
    def build(cls, y: Array, v: Array, Z: Array, reml: bool) -> CompressedProfile:
        """Compress a data set.

        Parameters
        ----------
        y, v : ndarray, (k,)
            Residuals of the outcomes, and positive sampling variances.
        Z : ndarray, (k, r)
            Orthonormal basis of the design.
        reml : bool
            Restricted likelihood, else maximum likelihood.
        """
        k, r = Z.shape
        terms, middle, half = _range(v)
        sums = _chebyshev_sums(y, v, Z, terms, middle, half)
        nodes, lagrange = _nodes(terms, middle, half)
        return cls(nodes, sums @ lagrange, k, r, reml)

    def _moments(self, f: Array) -> tuple[Array, Array, Array, Array]:
        """Sums over studies of f(v), (..., m), times zz', zy, yy and 1."""
        r = self.rank
        found = np.moveaxis(f @ self.weights.T, -1, 0)
        full = found[:-1].reshape(r + 1, r + 1, *found.shape[1:])
        return full[:r, :r], full[:r, r], full[r, r], found[-1]

    def solve(self, tau2: Array) -> tuple[Array, Array]:
        """Z'WZ (r, r, ...) and the coefficients (r, ...) at `tau2`."""
        cross, zy, _, _ = self._moments(1.0 / (self.nodes + np.asarray(tau2)[..., None]))
        return cross, apply(gram_inverse(cross), zy)

    def derivatives(self, tau2: Array, rows: Rows | None = None) -> Derivatives:  # noqa: ARG002 (one data set)
        """Ingredients of the derivatives at `tau2`."""
        w = 1.0 / (self.nodes + np.asarray(tau2)[..., None])
        w2 = w * w
        M1, zy1, _, total = self._moments(w)
        M2, zy2, yy2, total2 = self._moments(w2)
        M3, zy3, yy3, _ = self._moments(w2 * w)
        inv = gram_inverse(M1)
        c = apply(inv, zy1)
        b = zy2 - apply(M2, c)
        ypp = yy2 - dot(c, zy2) - dot(c, b)
        yppp = yy3 - 2.0 * dot(c, zy3) + dot(c, apply(M3, c)) - dot(b, apply(inv, b))
        if not (self.reml and self.rank):
            return Derivatives(ypp, yppp, total, total2)
        trace1 = total - trace_product(inv, M2)
        trace2 = total2 - 2.0 * trace_product(inv, M3) + trace_of_four(inv, M2, M2)
        return Derivatives(ypp, yppp, trace1, trace2)

    def derivatives_and_rss(self, tau2: Array) -> tuple[Derivatives, Array]:
        """Ingredients of the derivatives, and y'Py, at `tau2`."""
        return self.derivatives(tau2), self.rss(tau2)

    def rss_and_ypp(self, tau2: Array) -> tuple[Array, Array]:
        """Form y'Py and minus its derivative, y'PPy, at `tau2`."""
        w = 1.0 / (self.nodes + np.asarray(tau2)[..., None])
        M1, zy1, yy1, _ = self._moments(w)
        M2, zy2, yy2, _ = self._moments(w * w)
        c = apply(gram_inverse(M1), zy1)
        return yy1 - dot(c, zy1), yy2 - dot(c, 2.0 * zy2 - apply(M2, c))

    def limit(self) -> Limit:
        """Behaviour of the likelihood as tau2 grows."""
        # y is orthogonal to Z
        _, _, rss, _ = self._moments(np.ones_like(self.nodes))
        M, _, yvy, total = self._moments(self.nodes)
        n = self.k
        if self.reml:
            n, total = n - self.rank, total - trace(M)
        return Limit(rss, yvy / rss, n, total / n)

    def rss(self, tau2: Array, rows: Rows | None = None) -> Array:  # noqa: ARG002 (one data set)
        """Weighted residual sum of squares y'Py at `tau2`."""
        M1, zy1, yy1, _ = self._moments(1.0 / (self.nodes + np.asarray(tau2)[..., None]))
        return yy1 - dot(zy1, apply(gram_inverse(M1), zy1))

    def loglike(self, tau2: Array, rows: Rows | None = None) -> Array:  # noqa: ARG002 (one data set)
        """Log-likelihood at `tau2`."""
        theta = self.nodes + np.asarray(tau2)[..., None]
        n, logs = self.k, self._moments(np.log(theta))[-1]
        if self.reml and self.rank:
            n, logs = n - self.rank, logs + gram_logdet(self._moments(1.0 / theta)[0])
        return -0.5 * (n * LOG_2PI + logs + self.rss(tau2))


def _range(v: Array) -> tuple[int, float, float]:
    """Number of terms that variances need, and the middle and half the range of ln v."""
    low, high = math.log(v.min()), math.log(v.max())
    half = max(0.5 * (high - low), 1e-8)
    # the error falls with the ellipse around the nodes that reaches to |Im ln v| = pi
    terms = 1 + math.ceil(-math.log(_ERROR) / math.asinh(math.pi / half))
    return _multiple(terms, _PANEL_TERMS), 0.5 * (low + high), half


def _nodes(terms: int, middle: float, half: float) -> tuple[Array, Array]:
    """Nodes, and what turns sums of T_m times products into B_j, (terms, nodes)."""
    points = chebyshev.chebpts1(terms)
    # discrete orthogonality: l_j = sum_m (2 - [m = 0]) T_m(point_j) T_m / terms
    lagrange = chebyshev.chebvander(points, terms - 1) * (2.0 / terms)
    lagrange[:, 0] *= 0.5
    return np.exp(middle + half * points), np.asarray(lagrange.T, dtype=float)


def in_bands(v: Array, products: Array) -> tuple[Array, Array]:
    """Nodes (m,) and products (q, m) at them that stand for products (q, k) of k studies.

    Each band of variances has nodes of its own: within one no power of 1/(v + tau2) is so much
    larger at one end than at the other that its error there would matter here.
    """
    logs = np.log(v)
    low = float(logs.min())
    count = 1 + int((float(logs.max()) - low) / _BAND)
    band = np.minimum(((logs - low) / _BAND).astype(np.intp), count - 1)
    order = np.argsort(band, kind="stable")
    v, logs, products = v[order], logs[order], products[:, order]
    ends = np.cumsum(np.bincount(band, minlength=count)).tolist()
    nodes, weights = [], []
    for begin, end in zip([0, *ends], ends, strict=False):
        if end - begin <= _FEW:
            nodes.append(v[begin:end])
            weights.append(products[:, begin:end])
            continue
        terms, middle, half = _range(v[begin:end])
        at, lagrange = _nodes(terms, middle, half)
        sums = np.zeros((len(products), terms))
        for start in range(begin, end, _BLOCK):
            part = slice(start, min(start + _BLOCK, end))
            s = (logs[part] - middle) / half
            T = np.empty((terms, len(s)))
            T[0], T[1] = 1.0, s
            s += s
            for j in range(2, terms):
                np.multiply(s, T[j - 1], out=T[j])
                T[j] -= T[j - 2]
            sums += products[:, part] @ T.T
        nodes.append(at)
        weights.append(sums @ lagrange)
    return np.concatenate(nodes), np.concatenate(weights, axis=1)


def _multiple(n: int, of: int) -> int:
    return -(-n // of) * of


def _chebyshev_sums(y: Array, v: Array, Z: Array, terms: int, middle: float, half: float) -> Array:
    """Sums over studies of T_j((ln v - middle) / half) times products of [Z y], and of T_j."""
    k, r = Z.shape
    pairs = pairs_of(r + 1)
    # whole panels of the matrix product are faster
    rows = _multiple(len(pairs) + 1, _PANEL_PRODUCTS)
    sums = np.zeros((rows, terms))
    size = min(k, _BLOCK)
    columns, twice = np.empty((r + 1, size)), np.empty(size)
    T, products = np.empty((terms, size)), np.zeros((rows, size))
    T[0], products[-1] = 1.0, 1.0
    for begin in range(0, k, size):
        here = slice(begin, min(begin + size, k))
        m = here.stop - begin
        if m < size:
            columns, T, products, twice = columns[:, :m], T[:, :m], products[:, :m], twice[:m]
        columns[:r], columns[r] = Z[here].T, y[here]
        position = 0
        for i in range(r + 1):
            block = products[position : position + i + 1]
            position += i + 1
            np.multiply(columns[: i + 1], columns[i], out=block)
        s = np.log(v[here], out=T[1])
        s -= middle
        s /= half
        np.add(s, s, out=twice)
        for j in range(2, terms):
            np.multiply(twice, T[j - 1], out=T[j])
            T[j] -= T[j - 2]
        sums += products @ T.T
    square = np.empty((r + 1, r + 1, terms))
    for position, (i, j) in enumerate(pairs):
        square[i, j] = square[j, i] = sums[position]
    return np.concatenate([square.reshape(-1, terms), sums[-1:]])
