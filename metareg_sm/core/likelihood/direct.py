"""The profile likelihood from the weights, for any number of studies."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from metareg_sm._typing import Array, Rows
from metareg_sm.core.gram import (
    Gram,
    apply,
    dot,
    studies_first,
    trace,
    trace_of_four,
    trace_product,
)
from metareg_sm.core.gram import inverse as gram_inverse
from metareg_sm.core.gram import logdet as gram_logdet
from metareg_sm.core.likelihood.profile import LOG_2PI, Derivatives, Limit

# Studies up to which the calls of an evaluation cost more than its arithmetic.
_GRID = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """Weighted regression of each data set at its tau2.

    Attributes
    ----------
    w : ndarray, (..., k)
        Weights 1/(v + tau2).
    coefs : ndarray, (r, ...)
        Coefficients of the basis.
    inverse : ndarray, (r, r, ...)
        (Z'WZ)^-1.
    resid : ndarray, (..., k)
        Residuals.
    total : ndarray, (...)
        Sum of the weights.
    """

    w: Array
    coefs: Array
    inverse: Array
    resid: Array
    total: Array


@dataclass(frozen=True, slots=True, eq=False)
class DirectProfile:
    """Profile likelihood evaluated from the weights, for any number of studies.

    Arrays of many data sets should have the studies outermost in memory (`studies_first`).

    Attributes
    ----------
    y, v : ndarray, (..., k)
        Outcomes and sampling variances.
    Z : ndarray, (k, r) or (n, k, r)
        Orthonormal basis of the design.
    reml : bool
        Restricted likelihood, else maximum likelihood.
    counts : ndarray, (..., k), optional
        How often each study counts: 0 for one that is missing or deleted, more than 1 in a
        bootstrap sample.
    """

    y: Array
    v: Array
    Z: Array
    reml: bool
    counts: Array | None = None
    # made below where none is given
    gram: Gram = field(default=None, repr=False)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.gram is None:
            object.__setattr__(self, "gram", Gram(self.Z))

    @property
    def grid_pays(self) -> bool:
        """Whether many points of one data set cost little more than one."""
        return self.v.shape[-1] <= _GRID

    @property
    def smallest(self) -> float:
        """Smallest sampling variance."""
        return float(np.minimum.reduce(self.v, None))

    def of(self, reml: bool) -> DirectProfile:
        """The restricted or the full likelihood of the same data."""
        return replace(self, reml=reml)

    def _counts(self, rows: Rows | None) -> Array | None:
        return None if self.counts is None else _of_rows(self.counts, rows)

    def _counted(self, a: Array, counts: Array | None) -> Array:
        """Terms of a sum over studies, each as often as its study counts."""
        if counts is None:
            return a
        return np.multiply(a, counts, out=studies_first(_common(a.shape, counts.shape)))

    def solve(self, tau2: Array, rows: Rows | None = None) -> Solution:
        """Weighted regression at `tau2`."""
        y, v, counts = _of_rows(self.y, rows), _of_rows(self.v, rows), self._counts(rows)
        gram, t = self.gram.some(rows), np.asarray(tau2)[..., None]
        w = np.add(v, t, out=studies_first(_common(v.shape, t.shape)))
        np.reciprocal(w, out=w)
        g = self._counted(w, counts)
        cross, total = gram.quadratic(g)
        inverse = gram_inverse(cross, overwrite=True)
        resid = studies_first(_common(_common(g.shape, y.shape), (*gram.shape, 1)))
        coefs = apply(inverse, gram.linear(np.multiply(g, y, out=resid)))
        np.subtract(y, gram.combine(coefs, resid), out=resid)
        return Solution(w, coefs, inverse, resid, total)

    def solve_and_rss(self, tau2: Array) -> tuple[Solution, Array]:
        """Weighted regression of all data sets, and y'Py, at `tau2`."""
        at = self.solve(tau2)
        return at, self.rss_of(at)

    def derivatives(self, tau2: Array, rows: Rows | None = None) -> Derivatives:
        """Ingredients of the derivatives at `tau2`."""
        return self._derivatives_at(self.solve(tau2, rows), rows)

    def derivatives_and_rss(self, tau2: Array) -> tuple[Derivatives, Array]:
        """Ingredients of the derivatives, and y'Py, of all data sets at `tau2`."""
        at = self.solve(tau2, None)
        rss = self.rss_of(at, None)
        return self._derivatives_at(at, None), rss

    def rss_and_ypp(self, tau2: Array) -> tuple[Array, Array]:
        """Form y'Py and minus its derivative, y'PPy, of all data sets at `tau2`."""
        at = self.solve(tau2)
        u = np.multiply(at.w, at.resid, out=studies_first(at.resid.shape))
        gu = self._counted(u, self.counts)
        return _dot(gu, at.resid), _dot(gu, u)

    def _derivatives_at(self, at: Solution, rows: Rows | None) -> Derivatives:
        gram, w, r = self.gram.some(rows), at.w, self.gram.rank
        counts = self._counts(rows)
        u = np.multiply(w, at.resid, out=at.resid)
        gu = self._counted(u, counts)
        ypp = _dot(gu, u)
        wgu = np.multiply(w, gu, out=studies_first(u.shape))
        yppp = _dot(wgu, u)
        if r:
            b = gram.linear(wgu)
            yppp -= dot(b, apply(at.inverse, b))
        g2 = np.multiply(
            w, self._counted(w, counts), out=studies_first(at.total.shape + w.shape[-1:])
        )
        M2, trace2 = gram.quadratic(g2)
        if not (self.reml and r):
            return Derivatives(ypp, yppp, at.total, trace2)
        M3, _ = gram.quadratic(np.multiply(g2, w, out=g2))
        trace1 = at.total - trace_product(at.inverse, M2)
        trace2 -= 2.0 * trace_product(at.inverse, M3)
        trace2 += trace_of_four(at.inverse, M2, M2)
        return Derivatives(ypp, yppp, trace1, trace2)

    def limit(self) -> Limit:
        """Behaviour of all data sets, of which y is residuals, as tau2 grows."""
        gram, r, v = self.gram, self.gram.rank, self.v
        y, counts = self.y, self.counts
        n: Any = y.shape[-1]
        e2 = studies_first(_common(y.shape, (*gram.shape, 1)))
        inverse = None
        if counts is None:
            np.square(y, out=e2)
        else:
            n = counts.sum(-1)
            # y is orthogonal to Z over all studies, not over those that count
            inverse = gram_inverse(gram.quadratic(counts)[0])
            e2 = studies_first(_common(e2.shape, counts.shape))
            coefs = apply(inverse, gram.linear(np.multiply(y, counts, out=e2)))
            np.subtract(y, gram.combine(coefs, e2), out=e2)
            np.square(e2, out=e2)
            e2 *= counts
        rss = e2.sum(-1)
        with np.errstate(invalid="ignore"):
            variance = _dot(e2, v) / rss
        cross, total = gram.quadratic(self._counted(v, counts))
        if self.reml and r:
            n = n - r
            if inverse is None:
                total = total - trace(cross)
            else:
                total = total - trace_product(inverse, cross)
        return Limit(rss, variance, n, total / n)

    def rss(self, tau2: Array, rows: Rows | None = None) -> Array:
        """Weighted residual sum of squares y'Py at `tau2`."""
        return self.rss_of(self.solve(tau2, rows), rows)

    def rss_of(self, at: Solution, rows: Rows | None = None) -> Array:
        """Weighted residual sum of squares of a solution."""
        wr = np.multiply(at.w, at.resid, out=studies_first(at.resid.shape))
        return _dot(self._counted(wr, self._counts(rows)), at.resid)

    def loglike(self, tau2: Array, rows: Rows | None = None) -> Array:
        """Log-likelihood at `tau2`."""
        at = self.solve(tau2, rows)
        counts, r = self._counts(rows), self.gram.rank
        rss = self.rss_of(at, rows)
        logs = np.log(at.w, out=at.w)
        total = -self._counted(logs, counts).sum(-1)
        n: Array | int = at.w.shape[-1] if counts is None else counts.sum(-1)
        if self.reml and r:
            total, n = total - gram_logdet(at.inverse), n - r
            if counts is not None:
                # Z is orthonormal over all studies, not over those that count
                cross, _ = self.gram.some(rows).quadratic(counts)
                total = total - gram_logdet(cross)
        return -0.5 * (n * LOG_2PI + total + rss)


def _of_rows(values: Array, rows: Rows | None) -> Array:
    """Values of some data sets; all of them where they share one."""
    if rows is None or values.ndim == 1:
        return values
    out = studies_first((len(rows), values.shape[-1]))
    np.take(values.T, rows, axis=1, out=out.T, mode="clip")
    return out


def _dot(a: Array, b: Array) -> Array:
    return np.einsum("...k,...k->...", a, b)


def _common(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of arrays of two shapes; nearly always one of the two."""
    return a if b in (a, (*a[:-1], 1)) else np.broadcast_shapes(a, b)
