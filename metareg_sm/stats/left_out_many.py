"""What estimators of tau2 ask of the data sets that lack one of many studies each.

A few dozen nodes in the sampling variance stand for all studies (`core.likelihood.compressed`), in
the coordinates of pivot studies, which serve variances of any ratio (`core.pivots`). From each sum
over the nodes the term of the study that is lacking is taken off. The cost of a data set then does
not depend on the number of studies. Where that would cost digits, or the study is a pivot, it is
said so, and the data set must be fitted by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import NamedTuple

import numpy as np

from metareg_sm._typing import Array, Mask, Rows
from metareg_sm.core.likelihood.pivot_sums import (
    WeightedSums,
    derivatives_from,
    reml_traces,
    rss_and_ypp_from,
)
from metareg_sm.core.likelihood.profile import LOG_2PI, Derivatives, Limit
from metareg_sm.core.pivot_regression import QuadraticForm
from metareg_sm.core.pivots import apply, inverse, logdet, trace_product
from metareg_sm.core.search.maximize import Optimum, maximize, upper_bound
from metareg_sm.stats.left_out_sums import LEAST_LEFT, Coordinates

# Studies from which on nodes stand for them.
MANY = 200
# |M| up to which pivots that suit the variances alone suit every tau2.
_LARGEST = 50.0
# Pivots suit tau2 from the one that they are chosen for up to this many times as much.
_LADDER = 30.0
# Numbers in one array of weights at nodes: it stays in the processor's cache.
_CELLS = 1 << 14
# Data sets that are searched together: what is known of their cells stays in the cache.
_SEARCHED = 1000
# Values of tau2 at which the likelihoods are looked at first, over the estimate from all studies.
_FIRST_POINTS = np.array([0.1, 0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.6, 2.0, 4.0])

Found = Callable[[Coordinates, WeightedSums, Array], tuple[Array, Mask]]
"""Numbers (m, n), and where they lost digits (n,), from sums and inverse weights of the pivots."""


class Solved(NamedTuple):
    """Weighted regressions of n data sets.

    Attributes
    ----------
    coefs : ndarray, (n, r)
        Coefficients of the basis.
    inverse : ndarray, (n, r, r)
        (Z'WZ)^-1.
    rss : ndarray, (n,)
        y'Py.
    """

    coefs: Array
    inverse: Array
    rss: Array


@dataclass(frozen=True, slots=True, eq=False)
class LeftOutMany:
    """Data sets that lack one of k studies each, as estimators of tau2 want them.

    Attributes
    ----------
    outcome, y, v : ndarray, (k,)
        Outcomes, their residuals from the fit to all studies, and positive sampling variances.
    Z : ndarray, (k, r)
        Orthonormal basis of the moderators.
    lacks : ndarray of int, (n,)
        The study that each data set lacks.
    near : float
        tau2 of all studies, near which most others are expected.
    reml : bool
        Restricted likelihood, else maximum likelihood.
    marks : ndarray
        Ascending values of tau2 from which on other pivots are taken.
    kept : dict
        Coordinates at the marks.
    lost : ndarray of bool, (n,)
        Data sets of which some sum lost digits, or the study that is lacking was a pivot. It is
        written to by every question.
    """

    outcome: Array
    y: Array
    v: Array
    Z: Array
    lacks: Rows
    near: float
    reml: bool
    marks: Array
    kept: dict[int, Coordinates]
    lost: Mask
    far: Limit | None = field(default=None)

    @classmethod
    def build(
        cls, outcome: Array, y: Array, v: Array, Z: Array, lacks: Rows, near: float, reml: bool
    ) -> LeftOutMany:
        """Choose pivots."""
        first = Coordinates.build(y, v, Z, 1.0 / v, True)
        low, high = float(v.min()), float(v.max())
        marks = np.zeros(1)
        if first.pivots.largest()[0] > _LARGEST:
            steps = 1 + int(np.log(high / low) / np.log(_LADDER))
            marks = np.append(marks, low * _LADDER ** np.arange(steps + 1.0))
        lost = np.einsum("nr,nr->n", Z[lacks], Z[lacks]) > 1.0 - LEAST_LEFT
        return cls(outcome, y, v, Z, lacks, near, reml, marks, {0: first}, lost)

    @property
    def shape(self) -> tuple[int, ...]:
        """Leading axis: the data sets."""
        return self.lacks.shape

    @property
    def k(self) -> int:
        """Studies that are left."""
        return len(self.v) - 1

    @property
    def df(self) -> int:
        """Degrees of freedom."""
        return self.k - self.Z.shape[1]

    @property
    def outcome_variance(self) -> Array:
        """Variance of the outcomes about their mean, with divisor k; (n,)."""
        d = self.outcome - self.outcome.mean()
        whole, own = d @ d, d[self.lacks] ** 2 * ((self.k + 1.0) / self.k)
        self.lost[whole - own < LEAST_LEFT * whole] = True
        return np.maximum(whole - own, 0.0) / self.k

    @property
    def root_range(self) -> Array:
        """Roots below 0 are not looked for."""
        return np.zeros(self.shape)

    @property
    def grid_pays(self) -> bool:
        """Whether many points of one data set cost little more than one."""
        return True

    @property
    def smallest(self) -> float:
        """Smallest sampling variance."""
        return float(self.v.min())

    def flat(self) -> LeftOutMany:
        """The same."""
        return self

    def profile(self, reml: bool) -> LeftOutMany:
        """The restricted or the full likelihood of the same data."""
        return self if reml is self.reml else replace(self, reml=reml, far=None)

    of = profile

    def _at(self, mark: int) -> Coordinates:
        if mark not in self.kept:
            weights = 1.0 / (self.v + self.marks[mark])
            self.kept[mark] = Coordinates.build(self.y, self.v, self.Z, weights, True)
        return self.kept[mark]

    def _evaluate(
        self, tau2: Array, rows: Rows | None, powers: int, size: int, found: Found
    ) -> Array:
        """Numbers (size, n) from sums of some powers of the weights 1/(v + tau2)."""
        t = np.asarray(tau2, dtype=float)
        which = np.arange(len(t)) if rows is None else rows
        out = np.empty((size, len(t)))
        mark = np.searchsorted(self.marks, t, side="right") - 1
        for m in np.unique(mark).tolist():
            at = self._at(m)
            for part in _parts(np.flatnonzero(mark == m), len(at.v)):
                own = t[part]
                lacks = self.lacks[which[part]]
                W = np.empty((powers, len(own), len(at.v)))
                np.add(at.v, own[:, None], out=W[0])
                np.reciprocal(W[0], out=W[0])
                for j in range(1, powers):
                    np.multiply(W[j - 1], W[0], out=W[j])
                sums = (W.reshape(-1, len(at.v)) @ at.table).T.reshape(-1, powers, len(own))
                w = (1.0 / (self.v[lacks] + own)) ** np.arange(1.0, powers + 1.0)[:, None]
                left, lost = at.less(sums, w, lacks)
                out[:, part], bad = found(at, left, at.pivots.v + own)
                self.lost[which[part[lost | bad]]] = True
        return out

    def derivatives_and_rss(
        self, tau2: Array, rows: Rows | None = None
    ) -> tuple[Derivatives, Array]:
        """Ingredients of the derivatives, and y'Py, at `tau2`."""

        def found(_: Coordinates, sums: WeightedSums, d: Array) -> tuple[Array, Mask]:
            return derivatives_from(sums, d, self.reml)

        *four, rss = self._evaluate(tau2, rows, 3, 5, found)
        return Derivatives(*four), rss

    def derivatives(self, tau2: Array, rows: Rows | None = None) -> Derivatives:
        """Ingredients of the derivatives at `tau2`."""
        return self.derivatives_and_rss(tau2, rows)[0]

    def rss_and_ypp(self, tau2: Array) -> tuple[Array, Array]:
        """Form y'Py and minus its derivative, y'PPy, at `tau2`."""

        def found(_: Coordinates, sums: WeightedSums, d: Array) -> tuple[Array, Mask]:
            rss, ypp, lost = rss_and_ypp_from(sums, d)
            return np.array([rss, ypp]), lost

        rss, ypp = self._evaluate(tau2, None, 2, 2, found)
        return rss, ypp

    def rss(self, tau2: Array, rows: Rows | None = None) -> Array:
        """Weighted residual sum of squares y'Py at `tau2`."""
        return self.derivatives_and_rss(tau2, rows)[1]

    def total_weight(self, tau2: Array) -> Array:
        """Sum of the weights 1/(v + tau2), (n,)."""

        def found(_: Coordinates, sums: WeightedSums, d: Array) -> tuple[Array, Mask]:
            return (sums.total + (1.0 / d).sum(0))[None], np.zeros(d.shape[1:], dtype=bool)

        return self._evaluate(tau2, None, 1, 1, found)[0]

    def solve(self, tau2: Array) -> Solved:
        """Weighted regression of all data sets at `tau2`."""
        r = self.Z.shape[1]

        def found(at: Coordinates, sums: WeightedSums, d: Array) -> tuple[Array, Mask]:
            E = at.pivots.to_columns[..., 0]
            B, linear = sums.products[:r, :r, 0], sums.products[:r, r, 0]
            T = inverse(B, d)
            coefs = E @ (at.pivots.y + apply(T, linear))
            full = np.einsum("ai,ijn,bj->abn", E, T, E)
            rss, _, lost = rss_and_ypp_from(sums, d)
            return np.concatenate([coefs, full.reshape(r * r, -1), rss[None]]), lost

        out = self._evaluate(tau2, None, 2, r * r + r + 1, found)
        full = out[r:-1].reshape(r, r, -1)
        return Solved(out[:r].T, np.moveaxis(full, -1, 0), out[-1])

    def loglike(self, tau2: Array, rows: Rows | None = None) -> Array:
        """Log-likelihood at `tau2`."""
        r = self.Z.shape[1]
        which = np.arange(len(tau2)) if rows is None else rows

        def found(at: Coordinates, sums: WeightedSums, d: Array) -> tuple[Array, Mask]:
            rss, _, lost = rss_and_ypp_from(sums, d)
            logs = logdet(sums.products[:r, :r, 0], d) if self.reml else np.log(d).sum(0)
            return (logs + rss)[None], lost

        value = self._evaluate(tau2, rows, 2, 1, found)[0]
        mark = np.searchsorted(self.marks, tau2, side="right") - 1
        for m in np.unique(mark).tolist():
            at = self._at(m)
            M, constant = at.pivots.M[..., 0], 0.0
            if self.reml:
                full = M @ M.T + np.eye(r)
                constant, inv = np.linalg.slogdet(full)[1], np.linalg.inv(full)
            for part in _parts(np.flatnonzero(mark == m), len(at.v)):
                own, lacks = tau2[part], self.lacks[which[part]]
                value[part] += np.log(at.v + own[:, None]) @ at.table[:, -1]
                value[part] -= np.log(self.v[lacks] + own)
                if self.reml:
                    c = M[:, lacks]
                    taken = np.log1p(-np.einsum("in,ij,jn->n", c, inv, c))
                    value[part] -= constant + taken
        return -0.5 * ((self.df if self.reml else self.k) * LOG_2PI + value)

    def limit(self) -> Limit:
        """Behaviour of the likelihoods as tau2 grows."""
        if self.far is not None:
            return self.far
        e = self.y - self.Z @ (self.y @ self.Z)
        Zv = self.v[:, None] * self.Z
        z = self.Z[self.lacks]
        h = np.minimum(np.einsum("nr,nr->n", z, z), 1.0 - 0.5 * LEAST_LEFT)
        own = e[self.lacks] / (1.0 - h)
        v = self.v[self.lacks]
        # residuals of the others are those from all studies and z'c
        c = z * own[:, None]
        middle = self.Z.T @ Zv
        rss = e @ e - own * e[self.lacks]
        yvy = (self.v * e) @ e + 2.0 * c @ (e @ Zv) + _form(c, middle) - v * own * own
        self.lost[(rss < LEAST_LEFT * (e @ e)) | (yvy < LEAST_LEFT * ((self.v * e) @ e))] = True
        n, mean = self.k, self.v.sum() - v
        if self.reml:
            # tr (Z'Z - zz')^-1 (Z'VZ - v zz')
            n, gain = self.df, _form(z, middle) / (1.0 - h)
            mean = mean - (np.trace(middle) - v * h + gain - v * h * h / (1.0 - h))
        # a difference of sums: certain bounds need a mean that is not below
        slack = 1e-15 * len(self.v) * self.v.max()
        return Limit(rss, yvy / rss, n, mean / n + slack)

    def maximize(self, reml: bool) -> Optimum:
        """Global maximum of the likelihood of each."""
        own = self.profile(reml)
        limit, points = own.limit(), None
        if self.near > 0.0:
            points = self.near * _FIRST_POINTS
        low, high = (np.broadcast_to(float(x), self.shape) for x in (self.v.min(), self.v.max()))
        upper = upper_bound(limit.rss, limit.n, low, high)
        found = []
        for begin in range(0, len(self.lacks), _SEARCHED):
            part = slice(begin, begin + _SEARCHED)
            far = Limit(limit.rss[part], limit.variance[part], limit.n, limit.mean[part])
            few = replace(own, lacks=self.lacks[part], lost=self.lost[part], far=far)
            found.append(maximize(few, np.zeros(len(few.lacks)), upper[part], points))
        return Optimum(
            *(np.concatenate([getattr(o, f.name) for o in found]) for f in fields(Optimum))
        )

    def quadratic_form_at(self, tau2: Array) -> QuadraticForm:
        """Quadratic form with weights 1/(v + tau2), tau2 (n,)."""
        at, rss = self.profile(True).derivatives_and_rss(tau2)
        return QuadraticForm(rss, at.trace, self.df - tau2 * at.trace, _not_known)

    def quadratic_form(self, a: Array) -> QuadraticForm:
        """Quadratic form with weights a, (k,), the same in all data sets."""
        a = np.broadcast_to(a, self.v.shape)
        at, r = Coordinates.build(self.y, self.v, self.Z, a, False), self.Z.shape[1]
        kinds = np.array([a, a * a, a * a * self.v])
        sums, traced = (kinds @ at.table).T, float((a * self.v) @ at.table[:, -1])
        out = np.empty((3, len(self.lacks)))
        for part in _parts(np.arange(len(self.lacks)), r * r):
            lacks = self.lacks[part]
            left, lost = at.less(sums[..., None], kinds[:, lacks], lacks)
            d = np.broadcast_to(1.0 / a[at.pivots.rows], (r, len(lacks)))
            out[0, part], _, bad = rss_and_ypp_from(_first(left, 2), d)
            B = left.products[:r, :r, 0]
            T = inverse(B, d)
            out[1, part] = reml_traces(left, T, d)[0]
            own = (np.einsum("ijn,jin->in", T, B) / d * at.pivots.v).sum(0)
            taken = trace_product(T, left.products[:r, :r, 2])
            out[2, part] = traced - a[lacks] * self.v[lacks] - taken + own
            self.lost[part[lost | bad]] = True
        return QuadraticForm(out[0], out[1], out[2], _not_known)


def _first(sums: WeightedSums, n: int) -> WeightedSums:
    return replace(sums, products=sums.products[:, :, :n])


def _not_known(tau2: Array) -> Array:
    """Of variances, on which the standard error of tau2 rests, nobody asks here."""
    return np.full(np.shape(tau2), np.nan)


def _form(a: Array, M: Array) -> Array:
    """Quadratic forms a'Ma of vectors (n, r)."""
    return np.einsum("nr,rs,ns->n", a, M, a)


def _parts(index: Rows, nodes: int) -> Iterator[Rows]:
    """Data sets that are evaluated together."""
    size = max(64, _CELLS // nodes)
    for begin in range(0, len(index), size):
        yield index[begin : begin + size]
