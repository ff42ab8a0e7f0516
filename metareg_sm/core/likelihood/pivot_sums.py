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
from metareg_sm.core.pivots import Pivots, apply, dot, inverse, logdet, trace_product

# Studies from which on nodes stand for them.
_BANDS_FROM = 4000
# what must be left of a sum of squares after a difference, relative to it
_LEFT = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class WeightedSums:
    """Sums over the studies that are no pivots.

    Attributes
    ----------
    products : ndarray, (r + 1, r + 1, m, n)
        w, w^2, ... to the power of m times products of two columns of [M g].
    total, total2 : ndarray, (n,)
        Of w and of w^2.
    """

    products: Array
    total: Array
    total2: Array


def sums_of_each(
    w: Array, columns: Array, counted: Array | None, others: Array | None, work: Array
) -> WeightedSums:
    """Sums of three powers where each data set has its own products.

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
    products = np.empty((len(columns), len(columns), 3, w.shape[-1]))
    for i, j in pairs_of(len(columns)):
        np.einsum("kn,kn->n", once[i], counted[j], out=products[i, j, 0])
        np.einsum("kn,kn->n", twice[i], counted[j], out=products[i, j, 1])
        np.einsum("kn,kn->n", twice[i], counted_once[j], out=products[i, j, 2])
        if i != j:
            products[j, i] = products[i, j]
    return WeightedSums(products, total, total2)


@dataclass(frozen=True, slots=True, eq=False)
class _Residuals:
    """Residuals of weighted regressions as combinations [M g] e of the columns.

    Attributes
    ----------
    T : ndarray, (r, r, n)
        (D^-1 + B)^-1.
    p1 : ndarray, (r, n)
        Py of the pivots.
    applied : ndarray, (r + 1, m, n)
        Se for the sums S of each power of the weights.
    forms, sizes : ndarray, (m, n)
        Quadratic forms e'Se, and what they would be if nothing cancelled.
    """

    T: Array
    p1: Array
    applied: Array
    forms: Array
    sizes: Array

    @classmethod
    def of(cls, S: Array, d: Array) -> _Residuals:
        """Of weighted sums of products and inverse weights (r, n) of the pivots."""
        r = len(d)
        T = inverse(S[:r, :r, 0], d)
        e = np.ones((r + 1, S.shape[-1]))
        np.negative(np.einsum("ijn,jn->in", T, S[:r, r, 0]), out=e[:r])
        applied = np.einsum("ijmn,jn->imn", S, e)
        forms = np.einsum("in,imn->mn", e, applied)
        return cls(T, e[:r] / d, applied, forms, np.einsum("iimn,in->mn", S, e * e))


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
    S, r = sums.products, len(d)
    B, at = S[:r, :r, 0], _Residuals.of(S, d)
    T, p1, forms, sizes = at.T, at.p1, at.forms, at.sizes
    S2e = at.applied[:r, 1]
    change = apply(T, S2e - apply(B, p1))
    x = p1 + change
    forms[2] += dot(x, apply(B, x) - 2.0 * S2e)
    sizes[2] += np.einsum("iin,in->n", B, x * x)
    lost = np.logical_or.reduce(forms < _LEFT * sizes, 0)
    out = np.empty((5, S.shape[-1]))
    out[0] = forms[1] + dot(p1, p1)
    out[1] = forms[2] + dot(change, change / d)
    out[2:4] = reml_traces(sums, T, d) if reml else ml_traces(sums, d)
    out[4] = forms[0] + dot(p1 * d, p1)
    return out, lost


def rss_and_ypp_from(sums: WeightedSums, d: Array) -> tuple[Array, Array, npt.NDArray[np.bool_]]:
    """Forms y'Py and y'PPy, (n,), and where differences lost too much; see `derivatives_from`."""
    at = _Residuals.of(sums.products, d)
    (rss, ypp), p1 = at.forms, at.p1
    lost = np.logical_or.reduce(at.forms < _LEFT * at.sizes, 0)
    return rss + dot(p1, p1 * d), ypp + dot(p1, p1), lost


def loglike_from(
    shared: SharedProducts, t: Array, d: Array, reml: bool
) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Log-likelihood but for its constant at t (n,), and where differences lost too much."""
    S, r = shared.sums(t, 1).products, len(d)
    at = _Residuals.of(S, d)
    (rss,) = at.forms
    logs = np.log(shared.v + t[:, None]) @ shared.table[:, -1]
    logs += logdet(S[:r, :r, 0], d) - shared.logdet if reml else np.log(d).sum(0)
    return -0.5 * (logs + rss + dot(at.p1, at.p1 * d)), rss < _LEFT * at.sizes[0]


def reml_traces(sums: WeightedSums, T: Array, d: Array) -> tuple[Array, Array]:
    """Tr P and tr PP."""
    r = len(d)
    if not r:
        return sums.total, sums.total2
    TS = np.einsum("ijn,jlmn->ilmn", T, sums.products[:r, :r])
    half = TS[:, :, 1]
    own = TS[:, :, 0] / d[:, None]
    traces = np.einsum("iimn->mn", TS)
    cross = np.einsum("ijn,jin,in->n", half, T, 1.0 / (d * d))
    trace = sums.total - traces[1] + np.einsum("iin->n", own)
    trace2 = sums.total2 - 2.0 * traces[2] + trace_product(half, half)
    return trace, trace2 + 2.0 * cross + trace_product(own, own)


def ml_traces(sums: WeightedSums, d: Array) -> tuple[Array, Array]:
    """Tr W and tr WW."""
    w = 1.0 / d
    return sums.total + w.sum(0), sums.total2 + dot(w, w)


@dataclass(frozen=True, slots=True, eq=False)
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
        return WeightedSums(
            found[self.square],
            found[-1, 0],
            found[-1, min(powers, 2) - 1],
        )
