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
from scipy.linalg import lapack

from metareg_sm._typing import Array, Rows
from metareg_sm.core.gram import inverse as gram_inverse
from metareg_sm.core.gram import logdet as gram_logdet
from metareg_sm.core.likelihood.pivot_sums import PivotSums
from metareg_sm.core.likelihood.profile import LOG_2PI, Derivatives, Limit
from metareg_sm.core.pivots import Pivots, choose_pivots, combine, linear, quadratic, total

# |M| up to which pivots that suit the variances alone suit every tau2: with equal weights, the
# squared condition costs four digits at most
_LARGEST = 50.0
# Studies up to which the calls of an evaluation cost more than its arithmetic.
_GRID = 2000
# Data sets that are evaluated together: their arrays stay in the processor's cache.
_TOGETHER = 1500


@dataclass(frozen=True, slots=True)
class PivotedFit:
    """Weighted regressions at weights a, in the coordinates of the pivots.

    Attributes
    ----------
    pivots : Pivots
        The coordinates.
    a : ndarray, (k, n)
        Weights of the studies.
    d : ndarray, (r, n)
        Inverse weights of the pivots.
    Ma : ndarray, (r, k, n)
        M times the weights.
    B, T : ndarray, (r, r, n)
        Sum of weighted products of M over the other studies; (D^-1 + B)^-1.
    shift : ndarray, (r, n)
        Expected effects of the pivots less their outcomes.
    resid : ndarray, (k, n)
        Residuals of the others.
    """

    pivots: Pivots
    a: Array
    d: Array
    Ma: Array
    B: Array
    T: Array
    shift: Array
    resid: Array

    @property
    def rss(self) -> Array:
        """Weighted residual sum of squares, (n,)."""
        weighted = self.a * self.resid
        if self.pivots.Mc is not self.pivots.M:
            weighted *= self.pivots.others
        return total(weighted, self.resid) + (self.shift**2 / self.d).sum(0)

    def root(self) -> tuple[Array, Array]:
        """K with KK' = T, and D^-1/2 K, (r, r) each, of one data set."""
        d = np.sqrt(self.d[:, 0])
        C = d[:, None] * self.B[..., 0] * d
        _add_diagonal(C, 1.0)
        inverse = np.linalg.inv(np.linalg.cholesky(C)).T
        return d[:, None] * inverse, inverse

    @property
    def logdet(self) -> Array:
        """ln|X'WX| - ln|X_p'X_p| plus the sum of ln d, (n,)."""
        root = np.sqrt(self.d)
        C = root[:, None] * self.B * root
        _add_diagonal(C, 1.0)
        return gram_logdet(C)


def regress(pivots: Pivots, a: Array, d: Array) -> PivotedFit:
    """Weighted regressions.

    Parameters
    ----------
    pivots : Pivots
        Suited to the weights.
    a : ndarray, (k, n)
        Weights, of which those of pivots are not used where they count once.
    d : ndarray, (r, n)
        Inverse weights of the pivots.
    """
    Ma = pivots.M * a
    B = quadratic(Ma, pivots.Mc)
    T = _inverse(B, d)
    shift = _apply(T, linear(Ma, pivots.gc))
    return PivotedFit(pivots, a, d, Ma, B, T, shift, pivots.g - combine(pivots.M, shift))


def _inverse(B: Array, d: Array) -> Array:
    """(D^-1 + B)^-1 through D^1/2 B D^1/2 + I, whose elements are of one size."""
    if not len(B):
        return B
    root = np.sqrt(d)
    C = root[:, None] * B * root
    _add_diagonal(C, 1.0)
    if C.shape[-1] == 1:
        factor, failed = lapack.dpotrf(C[..., 0])
        if failed:
            return np.full_like(C, np.nan)
        inverse = lapack.dpotri(factor)[0]
        inverse = np.triu(inverse) + np.triu(inverse, 1).T
        return root[:, None] * inverse[..., None] * root
    return root[:, None] * gram_inverse(C, overwrite=True) * root


def _add_diagonal(C: Array, value: float) -> None:
    for i in range(len(C)):
        C[i, i] += value


def _apply(A: Array, b: Array) -> Array:
    """Matrices (r, r, n) times vectors (r, n)."""
    if A.shape[-1] == b.shape[-1] == 1:
        return A[..., 0] @ b
    return np.einsum("ijn,jn->in", A, b)


def _product(A: Array, B: Array) -> Array:
    """Products of matrices (r, r, n)."""
    if A.shape[-1] == B.shape[-1] == 1:
        return (A[..., 0] @ B[..., 0])[..., None]
    return np.einsum("ijn,jmn->imn", A, B)


def _trace(A: Array, B: Array) -> Array:
    """tr(AB) of matrices (r, r, n), of which one is symmetric."""
    return (A * B).sum((0, 1))


@dataclass(frozen=True, slots=True)
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
    logdet : ndarray, (n,)
        ln|X'X| - ln|X_p'X_p|.
    again : ndarray of bool, (n,), or None
        Data sets that need other pivots for other tau2.
    sums : PivotSums or None
        Of one data set with the same pivots for every tau2.
    """

    y: Array
    v: Array
    X: Array
    reml: bool
    counts: Array | None
    constant: bool
    shape: tuple[int, ...]
    pivots: Pivots
    logdet: Array
    again: Array | None
    sums: PivotSums | None

    @property
    def grid_pays(self) -> bool:
        """Whether many points of one data set cost little more than one."""
        return len(self.v) <= _GRID

    @property
    def smallest(self) -> float:
        """Smallest sampling variance."""
        return float(np.minimum.reduce(self.v, None))

    def of(self, reml: bool) -> PivotedProfile:
        """The restricted or the full likelihood of the same data."""
        return replace(self, reml=reml)

    @classmethod
    def build(
        cls,
        y: Array,
        v: Array,
        X: Array,
        reml: bool,
        counts: Array | None = None,
        constant: bool = False,
    ) -> PivotedProfile:
        """Choose pivots.

        Parameters
        ----------
        y, v : ndarray, (k,) or (n, k)
            Outcomes and sampling variances.
        X : ndarray, (k, r) or (n, k, r)
            Design of full column rank.
        reml : bool
            Restricted likelihood, else maximum likelihood.
        counts : ndarray, (n, k), optional
            How often each study counts.
        constant : bool
            Whether the columns of X span the constant.
        """
        sets = [a.shape[:-1] for a in (y, v) if a is not None]
        sets += [X.shape[:-2]] + ([] if counts is None else [counts.shape[:-1]])
        shape = np.broadcast_shapes(*sets)
        y, v = _studies_before_sets(y), _studies_before_sets(v)
        if counts is not None:
            counts = _studies_before_sets(counts)
        X = np.ascontiguousarray(X.T[..., None] if X.ndim == 2 else X.transpose(2, 1, 0))
        # a variance of 0 has more weight than any other, but not an infinite one
        floor = np.maximum(1e-30 * v.max(0), 1e-300)
        pivots = choose_pivots(y, v, X, 1.0 / np.maximum(v, floor), counts, constant)
        full = quadratic(pivots.M, pivots.Mc)
        _add_diagonal(full, 1.0)
        logdet = gram_logdet(full)
        again = np.asarray(pivots.largest() > _LARGEST)
        others = again if again.any() else None
        sums = None
        if shape == () and others is None and counts is None:
            sums = PivotSums.build(pivots, v[:, 0], float(logdet[0]))
        return cls(y, v, X, reml, counts, constant, shape, pivots, logdet, others, sums)

    # --- evaluation ----------------------------------------------------------------------------

    def _pivots(self, t: Array, rows: Rows | None) -> tuple[Pivots, Array, Array]:
        """Pivots that suit tau2 (n,), ln|X'X| in their coordinates, and all variances."""
        single = self.shape == ()
        rows = None if single else rows
        pivots, v, logdet = self.pivots, self.v, self.logdet
        if rows is not None:
            pivots = pivots.pick(rows)
            v = v if v.shape[-1] == 1 else np.take(v, rows, axis=-1)
            logdet = logdet if len(logdet) == 1 else logdet[rows]
        if self.again is None:
            return pivots, v, logdet
        again = self.again if rows is None or len(self.again) == 1 else self.again[rows]
        index = np.flatnonzero(np.broadcast_to(again, len(t)))
        if not index.size:
            return pivots, v, logdet

        def part(a: Array) -> Array:
            if a.shape[-1] == 1:
                return a
            return np.take(a, index if rows is None else rows[index], axis=-1)

        with np.errstate(divide="ignore"):
            weights = np.minimum(1.0 / (part(self.v) + t[index]), 1e300)
        counts = None if self.counts is None else part(self.counts)
        new = choose_pivots(part(self.y), part(self.v), part(self.X), weights, counts, self.constant)
        full = quadratic(new.M, new.Mc)
        _add_diagonal(full, 1.0)
        logdet = np.array(np.broadcast_to(logdet, len(t)))
        logdet[index] = gram_logdet(full)
        return pivots.replaced(index, new, len(t)), v, logdet

    def regress(self, tau2: Array, rows: Rows | None = None) -> PivotedFit:
        """Weighted regressions at `tau2`, (n,)."""
        t = np.atleast_1d(np.asarray(tau2, dtype=float))
        pivots, v, _ = self._pivots(t, rows)
        return _regress_at(pivots, v, t)

    def regress_with(self, a: Array) -> PivotedFit:
        """Weighted regressions with other weights a (k, n)."""
        pivots = choose_pivots(self.y, self.v, self.X, a, self.counts, self.constant)
        d = 1.0 / np.take_along_axis(*_same_sets(a, pivots.rows), axis=0)
        return regress(pivots, a, d)

    def derivatives(self, tau2: Array, rows: Rows | None = None) -> Derivatives:
        """Ingredients of the derivatives at `tau2`."""
        return self.derivatives_and_rss(tau2, rows)[0]

    def derivatives_and_rss(
        self, tau2: Array, rows: Rows | None = None
    ) -> tuple[Derivatives, Array]:
        """Ingredients of the derivatives, and y'Py, at `tau2`."""
        tau2 = np.asarray(tau2, dtype=float)
        t = tau2.ravel()
        if self.sums is not None:
            found = self.sums.derivatives_and_rss(t, self.reml)
            if found is not None:
                return Derivatives(*(self._shaped(x, tau2) for x in found[0])), self._shaped(
                    found[1], tau2
                )
        n = len(t)
        if rows is None or n <= _TOGETHER:
            table = self._derivatives(t, rows)
        else:
            table = np.empty((5, n))
            for begin in range(0, n, _TOGETHER):
                part = slice(begin, begin + _TOGETHER)
                table[:, part] = self._derivatives(t[part], rows[part])
        *four, rss = (self._shaped(x, tau2) for x in table)
        return Derivatives(*four), rss

    def _derivatives(self, t: Array, rows: Rows | None) -> Array:
        """y'PPy, y'PPPy, the two traces and y'Py, (5, n)."""
        fit = self.regress(t, rows)
        pivots, w, d, T = fit.pivots, fit.a, fit.d, fit.T
        counted = pivots.Mc is not pivots.M
        # Py, for the pivots from the normal equations
        p, p1 = w * fit.resid, -fit.shift / d
        pc = p * pivots.others if counted else p
        ypp = total(pc, p) + (p1 * p1).sum(0)
        # PPy, as Py with Py for y
        change = _apply(T, linear(fit.Ma, pc) - _apply(fit.B, p1))
        e = p - combine(pivots.M, p1 + change)
        we = w * e
        yppp = total(we * pivots.others if counted else we, e) + (change * change / d).sum(0)
        rss = total(pc, fit.resid) + (p1 * p1 * d).sum(0)
        trace, trace2 = self._traces(fit) if self.reml else _sums(fit)
        return np.array(np.broadcast_arrays(ypp, yppp, trace, trace2, rss))

    def _traces(self, fit: PivotedFit) -> tuple[Array, Array]:
        """tr P and tr PP."""
        ones = np.ones((1, 1))
        return trace_of(fit, ones, ones[:1]), trace_of_two(fit, ones, ones[:1])

    def limit(self) -> Limit:
        """Behaviour of all data sets as tau2 grows."""
        weights = np.ones_like(self.v) if self.counts is None else self.counts
        pivots = choose_pivots(self.y, self.v, self.X, weights, self.counts, self.constant)
        fit = regress(pivots, np.ones((1, 1)), np.ones((len(self.X), 1)))
        square = fit.resid**2
        square *= pivots.others
        rss = square.sum(0) + (fit.shift**2).sum(0)
        with np.errstate(invalid="ignore"):
            variance = (total(square, self.v) + (fit.shift**2 * pivots.v).sum(0)) / rss
        n = self._number()
        if self.reml:
            mean = trace_of(fit, self.v, pivots.v) / n
        else:
            mean = (total(pivots.others, self.v) + pivots.v.sum(0)) / n
        if self.shape == ():
            rss, variance, mean = rss[0], variance[0], mean[0]
        return Limit(rss, variance, n, mean)

    def _number(self) -> Array | int:
        n = len(self.v) if self.counts is None else self.counts.sum(0)
        return n - len(self.X) * self.reml

    def rss(self, tau2: Array, rows: Rows | None = None) -> Array:
        """Weighted residual sum of squares y'Py at `tau2`."""
        tau2 = np.asarray(tau2, dtype=float)
        return self._shaped(self.regress(tau2.ravel(), rows).rss, tau2)

    def loglike(self, tau2: Array, rows: Rows | None = None) -> Array:
        """Log-likelihood at `tau2`."""
        tau2 = np.asarray(tau2, dtype=float)
        t = tau2.ravel()
        if self.sums is not None:
            found = self.sums.loglike(t, self.reml)
            if found is not None:
                return self._shaped(found, tau2)
        pivots, v, constant = self._pivots(t, rows)
        fit = _regress_at(pivots, v, t)
        logs = total(pivots.others, np.log(v + t))
        # of ln|X'WX| the pivots' part and their own ln d cancel
        logs = logs + (fit.logdet - constant if self.reml else np.log(fit.d).sum(0))
        n = self._number()
        if rows is not None and np.ndim(n):
            n = n[rows]
        return self._shaped(-0.5 * (n * LOG_2PI + logs + fit.rss), tau2)

    def _shaped(self, values: Array, tau2: Array) -> Array:
        return np.reshape(values, tau2.shape or (self.shape if len(values) > 1 else ()))


def _same_sets(a: Array, rows: Rows) -> tuple[Array, Rows]:
    n = max(a.shape[-1], rows.shape[-1])
    return np.broadcast_to(a, (len(a), n)), np.broadcast_to(rows, (len(rows), n))


def _studies_before_sets(a: Array) -> Array:
    return np.ascontiguousarray(a.T if a.ndim == 2 else a[:, None])


def _regress_at(pivots: Pivots, v: Array, t: Array) -> PivotedFit:
    with np.errstate(divide="ignore"):
        w = 1.0 / (v + t)
    return regress(pivots, w, pivots.v + t)


def _sums(fit: PivotedFit) -> tuple[Array, Array]:
    """tr W and tr WW."""
    w, w1 = fit.a, 1.0 / fit.d
    return total(fit.pivots.others, w) + w1.sum(0), total(fit.pivots.others * w, w) + (w1**2).sum(0)


def trace_of(fit: PivotedFit, s: Array, s1: Array) -> Array:
    """tr(PS) for diagonal S: s (k, n) of the studies, s1 (r, n) of the pivots; (n,)."""
    a, d, T, pivots = fit.a, fit.d, fit.T, fit.pivots
    as_ = a * s
    found = total(as_, pivots.others)
    if not len(T):
        return found
    middle = quadratic(fit.Ma * as_, pivots.Mc)
    own = _product(T, fit.B)
    diagonal = np.array([own[i, i] / d[i] for i in range(len(d))])
    return found - _trace(T, middle) + (diagonal * s1).sum(0)


def trace_of_two(fit: PivotedFit, s: Array, s1: Array) -> Array:
    """tr(PSPS) for diagonal S, as `trace_of`; (n,)."""
    a, d, T, pivots = fit.a, fit.d, fit.T, fit.pivots
    as_ = a * s
    found = total(as_ * pivots.others, as_)
    if not len(T):
        return found
    Mas = fit.Ma * as_
    middle = quadratic(Mas, pivots.Mc)
    found = found - 2.0 * _trace(T, quadratic(Mas * as_, pivots.Mc))
    half = _product(T, middle)
    found += _trace(half, np.swapaxes(half, 0, 1))
    cross = _product(half, T)
    found += 2.0 * sum(cross[i, i] * (s1[i % len(s1)] / d[i] ** 2) for i in range(len(d)))
    own = _product(T, fit.B) / d[:, None] * s1
    return found + _trace(own, np.swapaxes(own, 0, 1))
