"""Moments of nested random intercepts in one pass from the effects to the outermost groups.

A node of precision a, whose data have the weighted sum b about a fixed centre, gets the variance t:
with h = 1 / (1 + t a) precision and sum become h a and h b, the products of the data about the
centre lose t h b b', and log |Sigma| gains log(1 + t a). Moving from the centre of a node to that
of its parent, c away, adds b c' + c b' + a c c' to the products and a c to the sum; then nodes of a
parent are added. Centres are means at variances of 0, so that nothing large is subtracted.
Derivatives by all variances are carried along by the product rule, in any number of leading axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from metareg_sm._typing import Array, Codes
from metareg_sm.core.mixed.moments import Moments, packed, pairs, variables
from metareg_sm.core.mixed.nested import Nested
from metareg_sm.core.mixed.siblings import Siblings, products_of_others


@dataclass(frozen=True, eq=False)
class Upward:
    """Nested random intercepts of one data set; lists run over levels, inner ones first.

    Attributes
    ----------
    nested : Nested
        The data.
    S : ndarray, (..., n)
        Precisions of the innermost groups; 0 of those that are left out.
    rows : tuple of ndarray, (..., p+2, n)
        Ones, and centres of the nodes less that of their parent; design and outcomes.
    static : ndarray, (..., p+1, p+1)
        Products within the innermost groups.
    """

    nested: Nested
    S: Array
    rows: tuple[Array, ...]
    static: Array

    @classmethod
    def build(cls, nested: Nested) -> Upward:
        """Centres of the nodes of all levels."""
        return cls._of(nested, nested.means, nested.static @ nested.static.T)

    @classmethod
    def _of(cls, nested: Nested, centre: Array, static: Array) -> Upward:
        weight = nested.S
        rows = []
        for siblings in nested.levels:
            upper = siblings.sums(weight)
            mean = _mean(siblings, weight / siblings.spread(upper), centre)
            rows.append(_with_ones(centre - siblings.spread(mean)))
            weight, centre = upper, mean
        rows.append(_with_ones(centre))
        return cls(nested, nested.S, tuple(rows), static)

    @property
    def size(self) -> int:
        """Numbers of which there is one for each parameter vector."""
        return len(self.nested.S)

    def with_outcomes(self, columns: Array, outcomes: Array) -> Upward:
        """The same for other outcomes, (B, k)."""
        nested, B, p = self.nested, len(outcomes), len(columns)
        y = outcomes[:, None, nested.order]
        static = np.broadcast_to(self.static, (B, p + 1, p + 1))
        if len(nested.S) < len(nested.order):
            w = 1.0 / nested.variance
            mean = _mean(nested.data, w / nested.data.spread(nested.S), y)
            inside = np.sqrt(w) * (y - nested.data.spread(mean))
            X = np.sqrt(w) * (columns[:, nested.order] - nested.data.spread(nested.means[:p]))
            y = mean
            static = static.copy()
            static[:, p, :p] = static[:, :p, p] = inside[:, 0] @ X.T
            static[:, p, p] = (inside * inside).sum((1, 2))
        X = np.broadcast_to(nested.means[:p], (B, p, y.shape[-1]))
        return self._of(nested, np.concatenate([X, y], axis=1), static)

    def without(self, columns: Array, clusters: Codes, deleted: Codes) -> Upward:
        """The same with other columns (p+1, k), each lane without one cluster; see `Many`."""
        nested, D = self.nested, columns[:, self.nested.order]
        codes, static = clusters[nested.order], np.zeros((len(deleted), *self.static.shape[-2:]))
        centre = D
        if len(nested.S) < len(nested.order):
            w = 1.0 / nested.variance
            centre = _mean(nested.data, w / nested.data.spread(nested.S), D)
            inside = np.sqrt(w) * (D - nested.data.spread(centre))
            static = products_of_others(inside, codes)[deleted]
        left = codes[nested.data.starts] != deleted[:, None]
        return replace(self._of(nested, centre, static), S=np.where(left, nested.S, 0.0))

    def moments(self, G: Sequence[Array], order: int, lanes: Codes | None = None) -> Moments:
        """Moments at variances, given as 1 x 1 matrices in the order of the terms; see `Many`."""
        t = [G[i][..., 0, 0] for i in self.nested.chain]
        S, rows, static = self.S, self.rows, self.static
        if lanes is not None and static.ndim > 2 and not _all(lanes, len(static)):
            rows = tuple(part[lanes] if part.ndim > 2 else part for part in rows)
            S, static = S[lanes] if S.ndim > 1 else S, static[lanes]
        growth = 1.0 + t[0][..., None] * S
        W = np.empty((3 if order else 1, *growth.shape))
        w = np.divide(S, growth, out=W[0])
        if order:
            np.negative(w * w, out=W[1])
            np.multiply(W[1], -2.0 * w, out=W[2])
        logdet = np.empty(W.shape[:-1])
        logdet[0] = np.log(growth).sum(-1) + self.nested.logdet
        W[:-1].sum(-1, out=logdet[1:])
        f = W[..., None, :] * rows[0]
        gram = f[..., 1:, :] @ rows[0][..., 1:, :].swapaxes(-1, -2)
        gram[0] += static
        for level, siblings in enumerate(self.nested.levels, 1):
            f, further = siblings.sums(f), level < len(self.nested.levels)
            logdet, gram, f = _raised(f, rows[level], t[level], logdet, gram, further)
        if order and len(t) > 1:
            places = _of_terms(self.nested.chain)
            logdet, gram = logdet.take(places, axis=0), gram.take(places, axis=0)
        return Moments(logdet, 0.5 * (gram + gram.swapaxes(-1, -2)))


def _all(lanes: Codes, B: int) -> bool:
    """Whether the lanes are those of all outcomes, in their order."""
    return len(lanes) == B and bool((lanes == np.arange(B)).all())


def _mean(siblings: Siblings, share: Array, values: Array) -> Array:
    """Weighted means by parent, corrected once."""
    mean = siblings.sums(share * values)
    return mean + siblings.sums(share * (values - siblings.spread(mean)))


def _with_ones(rows: Array) -> Array:
    ones = np.ones((*rows.shape[:-2], 1, rows.shape[-1]))
    return np.ascontiguousarray(np.concatenate([ones, rows], axis=-2))


@cache
def _places(m: int) -> tuple[list[int], dict[tuple[int, int], int]]:
    """Where packed derivatives by m variables stand: first ones, and second ones by pair."""
    second = {}
    for at, (i, j) in enumerate(zip(*pairs(m), strict=True), 1 + m):
        second[int(i), int(j)] = second[int(j), int(i)] = at
    return list(range(1, 1 + m)), second


def _coefficients(a: Array, t: Array) -> tuple[Array, Array, Array]:
    """Values and derivatives of h = 1 / (1 + t a), of t h and of log(1 + t a), (size, ..., n).

    Parameters
    ----------
    a : ndarray, (derivatives, ..., n)
        Precisions, and where derivatives are wanted those by the variances of finer levels.
    t : ndarray, (..., 1)
        Variance of the nodes.
    """
    n = variables(len(a))
    shape = np.broadcast_shapes(a.shape[1:], t.shape)
    H, K, L = np.empty((3, packed(n + 1) if n else 1, *shape))
    growth = 1.0 + t * a[0]
    h = np.divide(1.0, growth, out=H[0])
    k = np.multiply(t, h, out=K[0])
    np.log(growth, out=L[0])
    if not n:
        return H, K, L
    old, old2 = _places(n)
    new, new2 = _places(n + 1)
    ha, hh, kh, kk = h * a[0], h * h, k * h, k * k
    H[new[n]], K[new[n]], L[new[n]] = -h * ha, hh, ha
    at = new2[n, n]
    H[at], K[at], L[at] = 2.0 * ha * h * ha, -2.0 * hh * ha, -ha * ha
    for i in range(n):
        ai, at = a[old[i]], new[i]
        H[at], K[at], L[at] = -kh * ai, -kk * ai, k * ai
        at = new2[i, n]
        H[at], K[at], L[at] = hh * ai * (2.0 * k * a[0] - 1.0), -2.0 * kh * h * ai, hh * ai
        for j in range(i + 1):
            aij, aa, at = a[old2[i, j]], ai * a[old[j]], new2[i, j]
            bend = 2.0 * k * aa - aij
            H[at], K[at], L[at] = kh * bend, kk * bend, k * (aij - k * aa)
    return H, K, L


def _raised(
    f: Array, rows: Array, t: Array, logdet: Array, gram: Array, further: bool
) -> tuple[Array, Array, Array]:
    """One level up: log determinant, products and sums with the variance of the nodes.

    All have derivatives as their first axis; f is (derivatives, ..., p+2, n): precisions and sums.
    Sums that no further level needs are not formed.
    """
    n = variables(len(f))
    old, old2 = _places(n)
    new, new2 = _places(n + 1)
    H, K, L = _coefficients(f[..., 0, :], t[..., None])
    H, K = H[..., None, :], K[..., None, :]
    centre, b = rows[..., 1:, :], f[..., 1:, :]
    linear = _products(2.0 * b + f[..., :1, :] * centre, H * centre)
    square = _products(b, K * b[0])
    added = linear[0] - square[0]
    both = linear - 2.0 * square
    for i in range(n):
        added[new[i]] += both[old[i], 0]
        added[new2[i, n]] += both[old[i], new[n]]
        left = 2.0 * K[0] * b[old[i]]
        for j in range(i + 1):
            at = new2[i, j]
            added[at] += both[old2[i, j], 0] + both[old[i], new[j]] + both[old[j], new[i]]
            added[at] -= left @ b[old[j]].swapaxes(-1, -2)
    kept = _kept(n)
    added[kept] += gram
    total = L.sum(-1)
    total[kept] += logdet
    return total, added, _sums(f, H, centre) if further else f


def _sums(f: Array, H: Array, centre: Array) -> Array:
    """Precisions and sums of nodes with their variance, about the centres of their parents."""
    n = variables(len(f))
    old, old2 = _places(n)
    new, new2 = _places(n + 1)
    F = H * f[0]
    for i in range(n):
        F[new[i]] += H[0] * f[old[i]]
        F[new2[i, n]] += H[new[n]] * f[old[i]]
        for j in range(i + 1):
            F[new2[i, j]] += H[0] * f[old2[i, j]] + H[new[i]] * f[old[j]] + H[new[j]] * f[old[i]]
    F[..., 1:, :] += F[..., :1, :] * centre
    return F


def _products(left: Array, right: Array) -> Array:
    """Sums over nodes of any of left (d, ..., c, n) with any of right (e, ..., c, n).

    (d, e, ..., c, c): one product of matrices makes them all.
    """
    found = _stacked(left) @ _stacked(right).swapaxes(-1, -2)
    c, lead = left.shape[-2], found.ndim - 2
    parts = found.reshape(*found.shape[:-2], len(left), c, len(right), c)
    return parts.transpose(lead, lead + 2, *range(lead), lead + 1, lead + 3)


def _stacked(rows: Array) -> Array:
    """Rows (d, ..., c, n) of all derivatives below each other, (..., d*c, n)."""
    last = rows.ndim - 2
    moved = rows.transpose(*range(1, last), 0, last, last + 1)
    return moved.reshape(*moved.shape[:-3], -1, rows.shape[-1])


@cache
def _kept(n: int) -> Codes:
    """Where derivatives by n variables stand among those by one more."""
    first, second = _places(n + 1)
    return np.array(
        [0, *first[:n], *(second[i, j] for j in range(n) for i in range(j + 1))], dtype=np.intp
    )


@cache
def _of_terms(chain: tuple[int, ...]) -> Codes:
    """Where derivatives by the variances of the terms stand among those by levels."""
    m = len(chain)
    first, second = _places(m)
    level = np.argsort(chain).tolist()
    i, j = pairs(m)
    by_two = (second[level[a], level[b]] for a, b in zip(i.tolist(), j.tolist(), strict=True))
    return np.array([0, *(first[x] for x in level), *by_two], dtype=np.intp)
