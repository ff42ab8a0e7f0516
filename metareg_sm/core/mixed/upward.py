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
from metareg_sm.core.mixed.moments import Moments, pairs, variables
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


def _raised(
    f: Array, rows: Array, t: Array, logdet: Array, gram: Array, further: bool
) -> tuple[Array, Array, Array]:
    """One level up: log determinant, products and sums with the variance of the nodes.

    All have derivatives as their first axis; f is (derivatives, ..., p+2, n): precisions and sums.
    Sums that no further level needs are not formed.
    """
    n = variables(len(f))
    _, second = _places(n)
    t = t[..., None, None]
    a, b, centre = f[..., :1, :], f[..., 1:, :], rows[..., 1:, :]
    growth = 1.0 + t * a[0]
    h = 1.0 / growth
    k = t * h
    if not n:
        gram = (h * (2.0 * b + a * centre)) @ _turned(centre) - (k * b) @ _turned(b) + gram
        logdet = np.log(growth)[..., 0, :].sum(-1) + logdet
        return logdet, gram, _shifted(h * f, centre) if further else f
    # h f and log(1 + t a), by the variances of finer levels
    g, logs = h * f, np.empty((len(f), *growth.shape))
    np.log(growth, out=logs[0])
    u = np.multiply(k, a[1 : n + 1], out=logs[1 : n + 1])
    for i in range(n):
        for j in range(i + 1):
            at, both = second[i, j], u[i] * u[j]
            bend = k * a[at]
            np.subtract(bend, both, out=logs[at])
            g[at] += (2.0 * both - bend) * g[0] - u[i] * g[1 + j] - u[j] * g[1 + i]
    g[1 : n + 1] -= u * g[0]
    own, inner = g[: n + 1, ..., :1, :], g[..., 1:, :]
    shift = g[..., :1, :] * centre
    square = t * _products(inner, b)
    added = (2.0 * inner + shift) @ _turned(centre) + gram - square[:, 0]
    added[1:] -= square[0, 1:]
    for i in range(n):
        for j in range(i + 1):
            added[second[i, j]] -= square[1 + i, 1 + j] + square[1 + j, 1 + i]
    # by the variance of the nodes: d(h f)/dt = -h a h f, and the products lose squares of sums
    s = inner[: n + 1] + shift[: n + 1]
    left = np.concatenate([s, -own[:1] * s[:1]])
    left[1:] *= 2.0
    gram = _joined(added, -left @ _turned(s[0]))
    lost = np.concatenate([own, -own[:1] * own[:1]])
    logdet = _joined(logs[..., 0, :].sum(-1) + logdet, lost[..., 0, :].sum(-1))
    return logdet, gram, _sums(_shifted(g, centre), n) if further else f


def _sums(s: Array, n: int) -> Array:
    """Precisions and sums of nodes, also by their variance, of which they lose their squares."""
    own = s[: n + 1, ..., :1, :]
    lost = -own * s[0]
    bent = -2.0 * own[0] * lost[0]
    lost[1:] -= own[0] * s[1 : n + 1]
    return _joined(s, np.concatenate([lost, bent[None]]))


def _shifted(g: Array, centre: Array) -> Array:
    """Precisions and sums (..., p+2, n) about a centre so far away."""
    found = g.copy()
    found[..., 1:, :] += g[..., :1, :] * centre
    return found


def _turned(rows: Array) -> Array:
    return rows.swapaxes(-1, -2)


def _joined(old: Array, own: Array) -> Array:
    """Packed derivatives by n variables, and those by one more, by it and each and by it twice."""
    n = variables(len(old))
    return np.concatenate([old[: n + 1], own[:1], old[n + 1 :], own[1:]])


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
def _of_terms(chain: tuple[int, ...]) -> Codes:
    """Where derivatives by the variances of the terms stand among those by levels."""
    m = len(chain)
    first, second = _places(m)
    level = np.argsort(chain).tolist()
    i, j = pairs(m)
    by_two = (second[level[a], level[b]] for a, b in zip(i.tolist(), j.tolist(), strict=True))
    return np.array([0, *(first[x] for x in level), *by_two], dtype=np.intp)
