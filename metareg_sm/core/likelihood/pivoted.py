"""The profile likelihood where sampling variances are very unequal, for any number of studies.

In the coordinates of `core.pivots` the coefficients are the expected effects of r pivot studies,
and the other studies are compared with what the pivots predict. P is then a product of terms that
are all positive, or sums over studies of 1 - h with leverages h away from 1: a precise study that
the moderators fit almost exactly is a pivot, whose terms come from the residuals of the others.
So every quantity keeps its digits for any ratio of the variances, at the cost of a few sums of
products over the studies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from metareg_sm._typing import Array, Rows
from metareg_sm.core.gram import logdet as gram_logdet
from metareg_sm.core.likelihood.direct import DirectProfile
from metareg_sm.core.likelihood.pivot_sums import (
    SharedProducts,
    derivatives_from,
    loglike_from,
    rss_and_ypp_from,
    sums_of_each,
)
from metareg_sm.core.likelihood.profile import LOG_2PI, UNEQUAL, Derivatives, Limit
from metareg_sm.core.pivot_regression import PivotedFit, regress
from metareg_sm.core.pivots import Pivots, add_diagonal, choose_pivots, logdet, quadratic, total

# |M| up to which pivots that suit the variances alone suit every tau2: with equal weights, the
# squared condition costs four digits at most
_LARGEST = 50.0
# `UNEQUAL` where so many more studies than coefficients are left that what the most precise ones
# do not take up is no small difference: 11 digits of h were right for the most hostile designs.
_UNEQUAL_SPARE, _SPARE = 1e4, 12
# Studies up to which the calls of an evaluation cost more than its arithmetic.
_GRID = 2000
# Data sets that are evaluated together: their arrays stay in the processor's cache.
_TOGETHER = 2000
# Data sets from which on it pays to evaluate two parts in two ways.
_MANY = 64


@dataclass(frozen=True, slots=True, eq=False)
class PivotedProfile:
    """Profile likelihood in the coordinates of pivot studies.

    Attributes
    ----------
    y, v : ndarray, (k, n) or (k, 1)
        Outcomes and sampling variances.
    X : ndarray, (r, k, n) or (r, k, 1)
        Columns of the design.
    reml : bool
        Restricted likelihood, else maximum likelihood.
    counts : ndarray, (k, n), or None
        How often each study counts.
    constant : bool
        Whether the columns span the constant.
    shape : tuple of int
        Leading axes of the data sets: () or (n,).
    pivots : Pivots
        Chosen for weights 1/v.
    other_v : ndarray, (k, n)
        Sampling variances, infinite for a pivot.
    again : ndarray of bool, (n,), or None
        Data sets that need other pivots for other tau2.
    shared : SharedProducts or None
        Of one data set.
    far : DirectProfile
        The same likelihood for tau2 that is large beside the variances.
    far_from : ndarray, (n,)
        A tau2 from which on it is: v + tau2 are equal enough.
    """

    y: Array
    v: Array
    X: Array
    reml: bool
    counts: Array | None
    constant: bool
    shape: tuple[int, ...]
    pivots: Pivots
    other_v: Array
    again: npt.NDArray[np.bool_] | None
    shared: SharedProducts | None
    far: DirectProfile
    far_from: Array

    @classmethod
    def build(
        cls,
        y: Array,
        v: Array,
        X: Array,
        far: DirectProfile,
        constant: bool = False,
    ) -> PivotedProfile:
        """Choose pivots.

        Parameters
        ----------
        y, v : ndarray, (k,) or (n, k)
            Outcomes and sampling variances.
        X : ndarray, (k, r) or (n, k, r)
            Design of full column rank.
        far : DirectProfile
            Of the same data.
        constant : bool
            Whether the columns of X span the constant.
        """
        counts = far.counts
        sets = [y.shape[:-1], v.shape[:-1], X.shape[:-2]]
        shape = np.broadcast_shapes(*sets, () if counts is None else counts.shape[:-1])
        y, v = _sets_last(y), _sets_last(v)
        counts = None if counts is None else _sets_last(counts)
        X = np.ascontiguousarray(X.T[..., None] if X.ndim == 2 else X.transpose(2, 1, 0))
        # a variance of 0 has more weight than any other, but not an infinite one
        floor = np.maximum(1e-30 * v.max(0), 1e-300)
        pivots = choose_pivots(y, v, X, 1.0 / np.maximum(v, floor), counts, constant)
        spare = counts is None and len(v) - len(X) >= _SPARE
        equal = _UNEQUAL_SPARE if spare else UNEQUAL
        far_from = (v.max(0) - equal * v.min(0)) / (equal - 1.0)
        other_v = np.array(np.broadcast_to(v, pivots.others.shape))
        if counts is None:
            np.put_along_axis(other_v, pivots.rows, np.inf, 0)
        else:
            other_v[pivots.others == 0.0] = np.inf
        again = np.asarray(pivots.largest() > _LARGEST)
        shared = None
        if shape == () and counts is None and not again.any():
            shared = SharedProducts.build(pivots, v[:, 0])
        return cls(
            y, v, X, far.reml, counts, constant, shape, pivots, other_v,
            again if again.any() else None, shared, far, far_from,
        )  # fmt: skip

    @property
    def grid_pays(self) -> bool:
        """Whether many points of one data set cost little more than one."""
        return len(self.v if self.shared is None else self.shared.v) <= _GRID

    @property
    def smallest(self) -> float:
        """Smallest sampling variance."""
        return float(np.minimum.reduce(self.v, None))

    def of(self, reml: bool) -> PivotedProfile:
        """The restricted or the full likelihood of the same data."""
        return replace(self, reml=reml, far=self.far.of(reml))

    def derivatives(self, tau2: Array, rows: Rows | None = None) -> Derivatives:
        """Ingredients of the derivatives at `tau2`."""
        if self.shared is not None or not self.shape or len(tau2) < _MANY:
            return self.derivatives_and_rss(tau2, rows)[0]
        is_far = tau2 >= _of(self.far_from, rows)
        near, far = np.flatnonzero(~is_far), np.flatnonzero(is_far)
        if not far.size:
            return self.derivatives_and_rss(tau2, rows)[0]
        rows = np.arange(len(tau2)) if rows is None else rows
        out = np.empty((4, len(tau2)))
        for begin in range(0, far.size, _TOGETHER):
            part = far[begin : begin + _TOGETHER]
            out[:, part] = self.far.derivatives(tau2[part], rows[part])
        if near.size:
            out[:, near] = self.derivatives_and_rss(tau2[near], rows[near])[0]
        return Derivatives(*out)

    def derivatives_and_rss(
        self, tau2: Array, rows: Rows | None = None
    ) -> tuple[Derivatives, Array]:
        """Ingredients of the derivatives, and y'Py, at `tau2`."""
        tau2 = np.asarray(tau2, dtype=float)
        t = tau2.ravel()
        if self.shared is not None:
            table, lost = derivatives_from(self.shared.sums(t, 3), self.pivots.v + t, self.reml)
            if lost.any():
                table = self._by_residuals(t, rows)
        else:
            table = self._by_parts(t, rows)
        *four, rss = (self._shaped(x, tau2) for x in table)
        return Derivatives(*four), rss

    def _by_parts(self, t: Array, rows: Rows | None) -> Array:
        """As `derivatives_from`, for as many data sets together as stay in the cache."""
        n = max((len(t), *self.shape)) if rows is None else len(t)
        table, careful = np.empty((5, n)), np.empty(n, dtype=bool)
        index = np.arange(n) if rows is None else rows
        pivots, m = self.pivots, min(n, _TOGETHER)
        own = pivots.columns.shape[-1] > 1
        # each data set's own arrays are moved to memory that all parts share
        work = np.empty((2 + own, *pivots.columns.shape[:2], m))
        w = np.empty((len(self.v), m))
        for begin in range(0, n, _TOGETHER):
            part = slice(begin, min(begin + _TOGETHER, n))
            size = part.stop - begin
            if size < m:
                m, work, w = size, work[..., :size].copy(), w[:, :size].copy()
            here = part if rows is None else rows[part]
            tau2 = t if len(t) == 1 else t[part]
            np.add(_of(self.other_v, here), tau2, out=w)
            np.reciprocal(w, out=w)
            columns, counted, others = (
                _of(pivots.columns, here, work[2] if own else None),
                None,
                None,
            )
            if not pivots.once:
                counted, others = _of(pivots.counted, here), _of(pivots.others, here)
            sums = sums_of_each(w, columns, counted, others, work)
            d = _of(pivots.v, here) + tau2
            table[:, part], careful[part] = derivatives_from(sums, d, self.reml)
        if self.again is not None:
            careful |= self.again if len(self.again) == 1 else self.again[index]
        few = np.flatnonzero(careful)
        if few.size:
            one = self.shape in ((), (1,))
            table[:, few] = self._by_residuals(
                t if len(t) == 1 else t[few], None if one else index[few]
            )
        return table

    def _by_residuals(self, t: Array, rows: Rows | None) -> Array:
        """As `derivatives_from`, in sums of squares of residuals."""
        fit = self.regress(t, rows)
        ypp, yppp, rss = fit.derivatives()
        if self.reml:
            one = np.ones((1, 1))
            traces = fit.trace(one, one), fit.trace_of_square(one, one)
        else:
            w1, others = 1.0 / fit.d, fit.pivots.others
            traces = (
                total(others, fit.a) + w1.sum(0),
                total(others * fit.a, fit.a) + (w1 * w1).sum(0),
            )
        return np.array(np.broadcast_arrays(ypp, yppp, *traces, rss))

    def _suited(self, t: Array, rows: Rows | None) -> tuple[Pivots, Array]:
        """Pivots that suit tau2 (n,), and all variances."""
        rows = None if self.shape == () else rows
        pivots, v = self.pivots, self.v
        if rows is not None:
            pivots, v = pivots.pick(rows), _of(v, rows)
        if self.again is None:
            return pivots, v
        again = self.again if rows is None or len(self.again) == 1 else self.again[rows]
        n = max(len(t), len(again))
        index = np.flatnonzero(np.broadcast_to(again, n))
        if not index.size:
            return pivots, v
        which = index if rows is None else rows[index]
        with np.errstate(divide="ignore"):
            weights = np.minimum(1.0 / (_of(self.v, which) + _of(t, index)), 1e300)
        counts = None if self.counts is None else _of(self.counts, which)
        y, X = _of(self.y, which), _of(self.X, which)
        new = choose_pivots(y, _of(self.v, which), X, weights, counts, self.constant)
        return pivots.replaced(index, new, n), v

    def regress(self, tau2: Array, rows: Rows | None = None) -> PivotedFit:
        """Weighted regressions at `tau2`, (n,)."""
        t = np.atleast_1d(np.asarray(tau2, dtype=float))
        pivots, v = self._suited(t, rows)
        return regress(pivots, 1.0 / (v + t), pivots.v + t)

    def regress_with(self, a: Array) -> PivotedFit:
        """Weighted regressions with other weights a, (k, n)."""
        pivots = choose_pivots(self.y, self.v, self.X, a, self.counts, self.constant)
        n = max(a.shape[-1], pivots.rows.shape[-1])
        rows = np.broadcast_to(pivots.rows, (len(pivots.rows), n))
        d = 1.0 / np.take_along_axis(np.broadcast_to(a, (len(a), n)), rows, 0)
        return regress(pivots, a, d)

    def rss_and_ypp(self, tau2: Array) -> tuple[Array, Array]:
        """Form y'Py and minus its derivative, y'PPy, of all data sets at `tau2`."""
        tau2 = np.asarray(tau2, dtype=float)
        t = tau2.ravel()
        if self.shared is not None:
            sums, d = self.shared.sums(t, 2), self.pivots.v + t
            *two, lost = rss_and_ypp_from(sums, d)
            if not lost.any():
                return self._shaped(two[0], tau2), self._shaped(two[1], tau2)
        fit = self.regress(t)
        p = fit.a * fit.resid
        pc, p1 = p * fit.pivots.others, fit.shift / fit.d
        ypp = total(pc, p) + (p1 * p1).sum(0)
        rss = total(pc, fit.resid) + (p1 * fit.shift).sum(0)
        return self._shaped(rss, tau2), self._shaped(ypp, tau2)

    def limit(self) -> Limit:
        """Behaviour of all data sets as tau2 grows."""
        far = self.far.limit()
        # the mean of eigenvalues is a difference of sums: certain bounds need one that is not below
        slack = 1e-15 * len(self.v) * self.v.max(0)
        return far._replace(mean=far.mean + (slack[0] if self.shape == () else slack))

    def rss(self, tau2: Array, rows: Rows | None = None) -> Array:
        """Weighted residual sum of squares y'Py at `tau2`."""
        tau2 = np.asarray(tau2, dtype=float)
        return self._shaped(self.regress(tau2.ravel(), rows).rss, tau2)

    def loglike(self, tau2: Array, rows: Rows | None = None) -> Array:
        """Log-likelihood at `tau2`."""
        tau2 = np.asarray(tau2, dtype=float)
        t = tau2.ravel()
        if self.shared is not None:
            value, lost = loglike_from(self.shared, t, self.pivots.v + t, self.reml)
            if not lost.any():
                return self._shaped(value - 0.5 * LOG_2PI * self._contrasts, tau2)
        pivots, v = self._suited(t, rows)
        fit = regress(pivots, 1.0 / (v + t), pivots.v + t)
        logs = total(pivots.others, np.log(v + t))
        n = len(self.v) if self.counts is None else _of(self.counts.sum(0), rows)
        if self.reml:
            # of ln|X'WX| the pivots' own ln d cancel
            full = quadratic(pivots.M, pivots.Mc)
            add_diagonal(full, 1.0)
            logs = logs + logdet(fit.B, fit.d) - gram_logdet(full)
            n = n - len(self.X)
        else:
            logs = logs + np.log(fit.d).sum(0)
        return self._shaped(-0.5 * (n * LOG_2PI + logs + fit.rss), tau2)

    @property
    def _contrasts(self) -> int:
        return len(self.v) - len(self.X) * self.reml

    def _shaped(self, values: Array, tau2: Array) -> Array:
        return np.reshape(values, tau2.shape or (self.shape if len(values) > 1 else ()))


def _sets_last(a: Array) -> Array:
    return np.ascontiguousarray(a.T if a.ndim == 2 else a[:, None])


def _of(a: Array, which: Rows | slice | None, out: Array | None = None) -> Array:
    """Some of the data sets, which are the last axis; all where they share one."""
    if which is None or a.shape[-1] == 1:
        return a
    if isinstance(which, slice):
        return a[..., which]
    return np.take(a, which, axis=-1, out=out, mode="clip")
