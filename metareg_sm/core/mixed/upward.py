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
            further = level < len(self.nested.levels)
            logdet, gram, f = _raised(
                siblings.sums(f), rows[level], t[level][..., None], logdet, gram, further
            )
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


def _raised(
    f: Array, rows: Array, t: Array, logdet: Array, gram: Array, further: bool
) -> tuple[Array, Array, Array]:
    """One level up: log determinant, products and sums with the variance t (..., 1) of the nodes.

    All have packed derivatives as their first axis; f is (derivatives, ..., p+2, n): precisions and
    sums. Sums that no further level needs are not moved to the centres of the parents.
    """
    a, b, centre = f[..., 0, :], f[..., 1:, :], rows[..., 1:, :]
    growth = 1.0 + t * a[0]
    n = variables(len(f))
    H = _shrinkage(1.0 / growth, t, a)
    F = _sums(H[..., None, :], f)
    sums, moved = F[..., 1:, :], F[..., :1, :] * centre
    total = np.empty(F.shape[:-2])
    total[0] = np.log(growth).sum(-1)
    turned = centre.swapaxes(-1, -2)
    added = 2.0 * (sums @ turned) + moved @ turned
    products = _products(sums, b)
    if n:
        new, old, mixed = _places(n)
        k, first, (i, j) = t * H[0], a[1:new], pairs(n)
        both = first.take(i, axis=0) * first.take(j, axis=0)
        total[1:new] = (k * first).sum(-1)
        total[old] = (k * (a[new:] - k * both)).sum(-1) + logdet[new:]
        precisions = F[: new + 1, ..., 0, :].sum(-1)
        total[new], total[mixed], total[-1] = precisions[0], precisions[1:new], precisions[new]
        total[:new] += logdet[:new]
        flat = products.reshape(-1, added[0].size)
        times, once = (chosen @ flat for chosen in _chosen(n))
        added -= t[..., None] * times.reshape(added.shape) + once.reshape(added.shape)
        added[old] += gram[new:]
        added[:new] += gram[:new]
    else:
        total += logdet
        added += gram - t[..., None] * products[0]
    if further:
        sums += moved
    return total, added, F


def _shrinkage(h: Array, t: Array, a: Array) -> Array:
    """Derivatives of h = 1 / (1 + t a) by what a (derivatives, ..., n) depends on, and by t."""
    n = variables(len(a))
    H = np.empty((packed(n + 1) if n else 1, *h.shape))
    H[0] = h
    if n:
        new, old, mixed = _places(n)
        ha, k, first, (i, j) = h * a[0], t * h, a[1:new], pairs(n)
        hk = h * k
        H[1:new] = -hk * first
        H[new] = -h * ha
        H[old] = hk * (2.0 * k * first.take(i, axis=0) * first.take(j, axis=0) - a[new:])
        H[mixed] = h * h * (2.0 * t * ha - 1.0) * first
        H[-1] = -2.0 * ha * H[new]
    return H


def _sums(H: Array, f: Array) -> Array:
    """Derivatives of h f, where f does not depend on the last variable."""
    F = H * f[0]
    n = variables(len(f))
    if n:
        new, old, mixed = _places(n)
        first, (i, j) = f[1:new], pairs(n)
        F[1:new] += H[0] * first
        F[mixed] += H[new] * first
        F[old] += (
            H[0] * f[new:]
            + H.take(1 + i, axis=0) * first.take(j, axis=0)
            + H.take(1 + j, axis=0) * first.take(i, axis=0)
        )
    return F


@cache
def _places(n: int) -> tuple[int, slice, slice]:
    """Where, with a variable more than n, its first derivative stands, and second derivatives.

    Those by two of the n, and by one of them and the last; the very last is by that twice.
    """
    end = n + 2 + n * (n + 1) // 2
    return n + 1, slice(n + 2, end), slice(end, end + n)


@cache
def _chosen(n: int) -> tuple[Array, Array]:
    """Which products make the derivatives of t (h b) b', (derivatives, products) each.

    Products are of any derivative of h b, by n variables and t, and any of b, by the n. The first
    are those where t is not derived, to be multiplied by it.
    """
    new, old = _variables_of(n + 1), _variables_of(n)
    place = {by: at for at, by in enumerate(new)}
    times, once = np.zeros((2, len(new), len(new), len(old)))
    for at, by in enumerate(old):
        for other, also in enumerate(new):
            together = tuple(sorted(by + also))
            if len(together) <= 2:
                # by a variable twice: each factor is derived once, in two ways
                times[place[together], other, at] = 2.0 if by and by == also else 1.0
            if len(together) <= 1:
                twice = 2.0 if together == (n,) else 1.0
                once[place[(*together, n)], other, at] = twice
    return times.reshape(len(new), -1), once.reshape(len(new), -1)


def _variables_of(n: int) -> list[tuple[int, ...]]:
    """Variables that each of the packed derivatives is by."""
    i, j = pairs(n)
    return [(), *((v,) for v in range(n)), *zip(i.tolist(), j.tolist(), strict=True)]


def _products(left: Array, right: Array) -> Array:
    """Sums over nodes of any of left (d, ..., c, n) with any of right (e, ..., c, n).

    (d, e, ..., c, c): one product of matrices makes them all.
    """
    if len(right) == 1:
        return (left @ right.swapaxes(-1, -2))[:, None]
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
    levels = sorted(range(len(chain)), key=chain.__getitem__)
    place = {by: at for at, by in enumerate(_variables_of(len(chain)))}
    wanted = (tuple(sorted(levels[v] for v in by)) for by in _variables_of(len(chain)))
    return np.array([place[by] for by in wanted], dtype=np.intp)
