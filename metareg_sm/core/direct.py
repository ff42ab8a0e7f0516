"""The profile likelihood from the weights, for any number of studies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from metareg_sm.core.gram import Gram, times, trace_of_four, trace_product
from metareg_sm.core.gram import inverse as gram_inverse
from metareg_sm.core.profile import LOG_2PI, Limit, Slopes, take
from metareg_sm.core.wls import Array, Rows


@dataclass(frozen=True, slots=True)
class Solution:
    """Weighted regression of each data set at its tau2.

    Attributes
    ----------
    w : ndarray, (..., k)
        Weights 1/(v + tau2).
    coefs : ndarray, (r, ...)
        Coefficients of the basis.
    inverse : ndarray, (q, ...)
        Packed (Z'WZ)^-1.
    logdet : ndarray, (...)
        ln|Z'WZ|.
    resid : ndarray, (..., k)
        Residuals.
    total : ndarray, (...)
        Sum of the weights.
    """

    w: Array
    coefs: Array
    inverse: Array
    logdet: Array
    resid: Array
    total: Array


@dataclass(frozen=True, slots=True)
class DirectProfile:
    """Profile likelihood evaluated from the weights, for any number of studies.

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
    gram: Gram = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "gram", Gram(self.Z))

    def _counted(self, a: Array, rows: Rows | None) -> Array:
        return a if self.counts is None else a * take(self.counts, rows, 1)

    def solve(self, tau2: Array, rows: Rows | None = None) -> Solution:
        """Weighted regression at `tau2`."""
        y, v = take(self.y, rows, 1), take(self.v, rows, 1)
        gram = self.gram.take(rows)
        w = 1.0 / (v + np.asarray(tau2)[..., None])
        g = self._counted(w, rows)
        packed, total = gram.quadratic(g)
        inverse, logdet = gram_inverse(packed, gram.rank)
        coefs = times(inverse, gram.linear(g * y)) if gram.rank else np.zeros((0, *total.shape))
        resid = y - gram.combine(coefs)
        return Solution(w, coefs, inverse, logdet, resid, total)

    def slopes(self, tau2: Array, rows: Rows | None = None) -> Slopes:
        """Ingredients of the derivatives at `tau2`."""
        at = self.solve(tau2, rows)
        gram, w, r = self.gram.take(rows), at.w, self.gram.rank
        u = w * at.resid
        gu = self._counted(u, rows)
        wgu = w * gu
        ypp = np.einsum("...k,...k->...", gu, u)
        yppp = np.einsum("...k,...k->...", wgu, u)
        g2 = self._counted(w * w, rows)
        if r:
            b = gram.linear(wgu)
            yppp = yppp - np.einsum("r...,r...->...", b, times(at.inverse, b))
        if not (self.reml and r):
            return Slopes(ypp, yppp, at.total, g2.sum(-1))
        M2, trace2 = gram.quadratic(g2)
        M3, _ = gram.quadratic(g2 * w)
        trace = at.total - trace_product(at.inverse, M2, r)
        trace2 = trace2 - 2.0 * trace_product(at.inverse, M3, r)
        return Slopes(ypp, yppp, trace, trace2 + trace_of_four(at.inverse, M2, M2, r))

    def limit(self) -> Limit:
        """Behaviour of all data sets as tau2 grows."""
        gram, r, v = self.gram, self.gram.rank, self.v
        coefs = gram.linear(self._counted(self.y, None))
        n: Any = self.y.shape[-1]
        inverse = None
        if self.counts is not None:
            n = self.counts.sum(-1)
            if r:
                inverse, _ = gram_inverse(gram.quadratic(self.counts)[0], r)
                coefs = times(inverse, coefs)
        e2 = np.square(self.y - gram.combine(coefs))
        e2 = self._counted(e2, None)
        rss = e2.sum(-1)
        with np.errstate(invalid="ignore"):
            variance = np.einsum("...k,...k->...", e2, v) / rss
        packed, total = gram.quadratic(self._counted(v, None))
        if self.reml and r:
            n = n - r
            if inverse is None:
                # Z is orthonormal: the trace of Z'VZ is the sum of its diagonal
                total = total - packed[[i * (i + 3) // 2 for i in range(r)]].sum(0)
            else:
                total = total - trace_product(inverse, packed, r)
        return Limit(rss, variance, n, total / n)

    def rss(self, tau2: Array, rows: Rows | None = None) -> Array:
        """Weighted residual sum of squares y'Py at `tau2`."""
        return self.rss_of(self.solve(tau2, rows), rows)

    def rss_of(self, at: Solution, rows: Rows | None = None) -> Array:
        """Weighted residual sum of squares of a solution."""
        return np.einsum("...k,...k->...", self._counted(at.w * at.resid, rows), at.resid)

    def loglike(self, tau2: Array, rows: Rows | None = None) -> Array:
        """Log-likelihood at `tau2`."""
        at = self.solve(tau2, rows)
        logdet = -self._counted(np.log(at.w), rows).sum(-1)
        n: Array | int = at.w.shape[-1]
        if self.counts is not None:
            n = take(self.counts, rows, 1).sum(-1)
        if self.reml and self.gram.rank:
            logdet, n = logdet + at.logdet, n - self.gram.rank
            if self.counts is not None:
                # Z is orthonormal over all studies, not over those that count
                packed, _ = self.gram.take(rows).quadratic(take(self.counts, rows, 1))
                logdet = logdet - gram_inverse(packed, self.gram.rank)[1]
        return -0.5 * (n * LOG_2PI + logdet + self.rss_of(at, rows))
