"""The likelihood in the coordinates of pivot studies, from weighted sums over the other studies.

All that the derivatives consist of follows from sums of w, w^2 and w^3 times products of the
columns of [M g]. Quadratic forms in residuals are differences of such sums. Outcomes are deviations
from what the pivots predict, so that these differences cost few digits; where they cost more it is
said so, and residuals must be formed.

Matrices (r, r, n) and vectors (r, n) have the data sets last.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from metareg_sm._typing import Array
from metareg_sm.core.gram import pairs_of
from metareg_sm.core.likelihood.compressed import in_bands
from metareg_sm.core.pivots import Pivots, apply, dot, inverse, logdet, product, trace_product

# Studies from which on nodes stand for them.
_BANDS_FROM = 4000
# what must be left of a sum of squares after a difference, relative to it
_LEFT = 1e-4


@dataclass(frozen=True, slots=True)
class WeightedSums:
    """Sums over the studies that are no pivots.

    Attributes
    ----------
    products : tuple of ndarray, (r + 1, r + 1, n) each
        w, w^2, ... times products of two columns of [M g].
    total, total2 : ndarray, (n,)
        Of w and of w^2.
    """

    products: tuple[Array, ...]
    total: Array
    total2: Array


def sums_of_each(
    w: Array, columns: Array, counted: Array | None, others: Array | None, work: Array
) -> WeightedSums:
    """Sums where each data set has its own products.

    Parameters
    ----------
    w : ndarray, (k, n)
        Weights; 0 for a pivot.
    columns, counted : ndarray, (r + 1, k, n)
        [M g], and the same times `others` where that is not None.
    others : ndarray, (k, n), or None
        How often each study counts.
    work : ndarray, (2, r + 1, k, n)
        Memory that is overwritten. What is fresh comes from the system page by page, which takes
        longer than to compute what is in it.
    """
    ones = w if others is None else w * others
    total, total2 = np.einsum("kn->n", ones), np.einsum("kn,kn->n", ones, w)
    once = np.multiply(columns, w, out=work[0])
    twice = np.multiply(once, w, out=work[1])
    counted_once = once if counted is None else counted * w
    counted = columns if counted is None else counted
    pairs = ((once, counted), (twice, counted), (twice, counted_once))
    products = tuple(_products(a, b, w.shape[-1]) for a, b in pairs)
    return WeightedSums(products, total, total2)


def _products(a: Array, b: Array, n: int) -> Array:
    S = np.empty((len(a), len(a), n))
    for i, j in pairs_of(len(a)):
        np.einsum("kn,kn->n", a[i], b[j], out=S[i, j])
        if i != j:
            S[j, i] = S[i, j]
    return S


def derivatives_from(
    sums: WeightedSums, d: Array, reml: bool
) -> tuple[Array, npt.NDArray[np.bool_]]:
    """y'PPy, y'PPPy, two traces and y'Py, (5, n), and where differences lost too much, (n,).

    Parameters
    ----------
    sums : WeightedSums
        Of three powers of the weights.
    d : ndarray, (r, n)
        Inverse weights of the pivots.
    reml : bool
        Traces of P and PP, else of W and WW.
    """
    S1, S2, S3 = sums.products
    r = len(d)
    B = S1[:r, :r]
    T = inverse(B, d)
    # residuals are [M g] e, those of the pivots -shift
    e = np.ones((r + 1, S1.shape[-1]))
    shift = apply(T, S1[:r, r])
    np.negative(shift, out=e[:r])
    p1 = -shift / d
    S2e = apply(S2, e)
    rss, ypp = dot(e, apply(S1, e)), dot(e, S2e)
    change = apply(T, S2e[:r] - apply(B, p1))
    x = p1 + change
    yppp = dot(e, apply(S3, e)) + dot(x, apply(B, x) - 2.0 * S2e[:r])
    lost = yppp < _LEFT * (_size(S3, e) + _size(B, x))
    lost |= (rss < _LEFT * _size(S1, e)) | (ypp < _LEFT * _size(S2, e))
    out = np.empty((5, S1.shape[-1]))
    out[0] = ypp + dot(p1, p1)
    out[1] = yppp + dot(change, change / d)
    out[2:4] = reml_traces(sums, B, T, d) if reml else ml_traces(sums, d)
    out[4] = rss + dot(p1 * d, p1)
    return out, lost


def rss_and_ypp_from(sums: WeightedSums, d: Array) -> tuple[Array, Array, npt.NDArray[np.bool_]]:
    """Forms y'Py and y'PPy, (n,), and where differences lost too much; see `derivatives_from`."""
    S1, S2 = sums.products[:2]
    r = len(d)
    e = np.ones((r + 1, S1.shape[-1]))
    shift = apply(inverse(S1[:r, :r], d), S1[:r, r])
    np.negative(shift, out=e[:r])
    p1 = shift / d
    rss, ypp = dot(e, apply(S1, e)), dot(e, apply(S2, e))
    lost = (rss < _LEFT * _size(S1, e)) | (ypp < _LEFT * _size(S2, e))
    return rss + dot(p1, shift), ypp + dot(p1, p1), lost


def loglike_from(
    shared: SharedProducts, t: Array, d: Array, reml: bool
) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Log-likelihood but for its constant at t (n,), and where differences lost too much."""
    sums = shared.sums(t, 1)
    (S1,) = sums.products
    r = len(d)
    e = np.ones((r + 1, len(t)))
    np.negative(apply(inverse(S1[:r, :r], d), S1[:r, r]), out=e[:r])
    rss = dot(e, apply(S1, e))
    lost = rss < _LEFT * _size(S1, e)
    logs = np.log(shared.v + t[:, None]) @ shared.table[:, -1]
    logs += logdet(S1[:r, :r], d) - shared.logdet if reml else np.log(d).sum(0)
    return -0.5 * (logs + rss + dot(e[:r] / d, e[:r])), lost


def _size(S: Array, e: Array) -> Array:
    """Sum of squares in a quadratic form e'Se, (n,)."""
    return dot(np.einsum("iin->in", S), e * e)


def reml_traces(sums: WeightedSums, B: Array, T: Array, d: Array) -> tuple[Array, Array]:
    """Tr P and tr PP."""
    r = len(d)
    if not r:
        return sums.total, sums.total2
    _, S2, S3 = sums.products
    half = product(T, S2[:r, :r])
    own = product(T, B)
    own /= d[:, None]
    cross = np.einsum("ijn,jin->in", half, T)
    trace = sums.total - np.einsum("iin->n", half) + np.einsum("iin->n", own)
    trace2 = sums.total2 - 2.0 * trace_product(T, S3[:r, :r]) + trace_product(half, half)
    return trace, trace2 + 2.0 * (cross / (d * d)).sum(0) + trace_product(own, own)


def ml_traces(sums: WeightedSums, d: Array) -> tuple[Array, Array]:
    """Tr W and tr WW."""
    w = 1.0 / d
    return sums.total + w.sum(0), sums.total2 + dot(w, w)


@dataclass(frozen=True, slots=True)
class SharedProducts:
    """Products of the columns of [M g 1] of one data set.

    Attributes
    ----------
    v : ndarray, (k,)
        Sampling variances; nodes that stand for them where the studies are very many.
    table : ndarray, (k, q)
        Products of two columns, 0 for a pivot.
    square : ndarray of int, (r + 1, r + 1)
        Where the products of two columns of [M g] are; the last column of the table is 1.
    logdet : float
        ln|X'X| - ln|X_p'X_p|.
    """

    v: Array
    table: Array
    square: npt.NDArray[np.intp]
    logdet: float

    @classmethod
    def build(cls, pivots: Pivots, v: Array) -> SharedProducts:
        """Compute the products for one data set with variances (k,)."""
        columns = pivots.columns[..., 0]
        pairs = pairs_of(len(columns))
        table = np.empty((len(pairs) + 1, len(v)))
        square = np.empty((len(columns), len(columns)), dtype=np.intp)
        for position, (i, j) in enumerate(pairs):
            np.multiply(columns[i], columns[j], out=table[position])
            square[i, j] = square[j, i] = position
        table[-1] = pivots.others[:, 0]
        full = table.sum(1)[square[:-1, :-1]]
        full[np.diag_indices(len(full))] += 1.0
        if len(v) >= _BANDS_FROM and v.min() > 0.0:
            v, table = in_bands(v, table)
        return cls(v, table.T, square, float(np.linalg.slogdet(full)[1]))

    def sums(self, t: Array, powers: int) -> WeightedSums:
        """Sums at n values of tau2."""
        k, n = len(self.v), len(t)
        W = np.empty((powers, n, k))
        np.add(self.v, t[:, None], out=W[0])
        np.reciprocal(W[0], out=W[0])
        for i in range(1, powers):
            np.multiply(W[i - 1], W[0], out=W[i])
        found = (W.reshape(-1, k) @ self.table).T.reshape(-1, powers, n)
        products = found[self.square]
        return WeightedSums(
            tuple(products[:, :, i] for i in range(powers)),
            found[-1, 0],
            found[-1, min(powers, 2) - 1],
        )
