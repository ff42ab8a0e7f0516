"""Profile likelihood of tau2, by maximum likelihood (ML) or restricted maximum likelihood (REML).

With w = 1/(v + tau2) and P = W - WX(X'WX)^-1X'W the coefficients are profiled out. Everything the
likelihood, its derivatives and the search for its maximum need are four falling functions of tau2,
y'PPy, y'PPPy and two traces (of P and PP for REML, of W and WW for ML), beside the value itself.
Two profiles give them: `DirectProfile` for any number of studies, `SpectralProfile` after one
eigendecomposition, which pays for few studies, wherever X and v are shared, and where the
variances are so unequal that differences of weighted sums lose their digits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy.linalg import lapack

from metareg_sm.core.gram import Gram, times, trace_of_four, trace_product
from metareg_sm.core.gram import inverse as gram_inverse
from metareg_sm.core.wls import Array, Rows, design_basis

# half the cost of the method for arrays of study size
_sum = np.add.reduce

LOG_2PI = float(np.log(2.0 * np.pi))


class Slopes(NamedTuple):
    """What the derivatives of the profile log-likelihood consist of; each falls in tau2.

    Attributes
    ----------
    ypp, yppp : ndarray, (...)
        y'PPy and y'PPPy.
    trace, trace2 : ndarray, (...)
        tr P and tr PP for REML; tr W and tr WW for ML.
    """

    ypp: Array
    yppp: Array
    trace: Array
    trace2: Array

    @property
    def score(self) -> Array:
        """First derivative of the log-likelihood."""
        return 0.5 * (self.ypp - self.trace)

    @property
    def observed_information(self) -> Array:
        """Negative second derivative of the log-likelihood."""
        return self.yppp - 0.5 * self.trace2

    @property
    def expected_information(self) -> Array:
        """Fisher information of tau2."""
        return 0.5 * self.trace2


class Limit(NamedTuple):
    """Behaviour of the likelihood as tau2 grows, from the unweighted regression.

    There y'PPy / trace tends to (rss / n) / (tau2 + 2 variance - mean).

    Attributes
    ----------
    rss : ndarray, (...)
        Residual sum of squares e'e.
    variance : ndarray, (...)
        e'Ve / e'e: the limit of y'PPy / y'PPPy - tau2, which never falls.
    n : int or ndarray
        k - r for REML, k for ML.
    mean : ndarray, (...)
        Mean of the eigenvalues of L'VL for REML, of v for ML.
    """

    rss: Array
    variance: Array
    n: Any
    mean: Array


class Profile(Protocol):
    """A profile likelihood of one or many data sets; `rows` picks data sets for given tau2."""

    def slopes(self, tau2: Array, rows: Rows | None = None) -> Slopes:
        """Ingredients of the derivatives at `tau2`."""
        ...

    def limit(self) -> Limit:
        """Behaviour of all data sets as tau2 grows."""
        ...

    def loglike(self, tau2: Array, rows: Rows | None = None) -> Array:
        """Log-likelihood at `tau2`."""
        ...

    def rss(self, tau2: Array, rows: Rows | None = None) -> Array:
        """Weighted residual sum of squares y'Py at `tau2`."""
        ...


def _take(values: Array, rows: Rows | None, core: int) -> Array:
    return values if rows is None or values.ndim == core else values[rows]


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
        return a if self.counts is None else a * _take(self.counts, rows, 1)

    def solve(self, tau2: Array, rows: Rows | None = None) -> Solution:
        """Weighted regression at `tau2`."""
        y, v = _take(self.y, rows, 1), _take(self.v, rows, 1)
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
        return self.loglike_of(self.solve(tau2, rows), rows)

    def loglike_of(self, at: Solution, rows: Rows | None = None) -> Array:
        """Log-likelihood of a solution."""
        logdet = -self._counted(np.log(at.w), rows).sum(-1)
        n: Array | int = at.w.shape[-1]
        if self.counts is not None:
            n = _take(self.counts, rows, 1).sum(-1)
        if self.reml and self.gram.rank:
            logdet, n = logdet + at.logdet, n - self.gram.rank
            if self.counts is not None:
                # Z is orthonormal over all studies, not over those that count
                packed, _ = self.gram.take(rows).quadratic(_take(self.counts, rows, 1))
                logdet = logdet - gram_inverse(packed, self.gram.rank)[1]
        return -0.5 * (n * LOG_2PI + logdet + self.rss_of(at, rows))


@dataclass(frozen=True, slots=True)
class SpectralProfile:
    """Profile likelihood in the eigenbasis of L'VL, L being the orthogonal complement of X.

    There P is diagonal with elements 1/(d + tau2), so every term is a plain sum of like signs and
    no digits are lost, however unequal the variances. It costs one eigendecomposition of size
    k - r; outcomes that share X and v share it.

    Attributes
    ----------
    d : ndarray, (..., m)
        Eigenvalues of L'VL.
    z2 : ndarray, (..., m)
        Squared error contrasts of the outcomes in that basis.
    v : ndarray, (..., k)
        Sampling variances.
    reml : bool
        Restricted likelihood, else maximum likelihood.
    times : ndarray, (..., m), optional
        How often each eigenvalue counts; once by default.
    counts : ndarray, (..., k), optional
        How often each study counts; once by default.
    """

    d: Array
    z2: Array
    v: Array
    reml: bool
    times: Array | None = None
    counts: Array | None = None

    @classmethod
    def build(cls, y: Array, v: Array, L: Array, reml: bool) -> SpectralProfile:
        """Decompose data sets.

        Parameters
        ----------
        y, v : ndarray, (..., k)
            Outcomes and sampling variances.
        L : ndarray, (k, k-r) or (..., k, k-r)
            Orthonormal complement of the design (`Basis.complement`).
        reml : bool
            Restricted likelihood, else maximum likelihood.
        """
        LtVL = (np.swapaxes(L, -1, -2) * v[..., None, :]) @ L
        d, U = lapack.dsyevd(LtVL)[:2] if LtVL.ndim == 2 else np.linalg.eigh(LtVL)
        # exact eigenvalues are at least the smallest variance (Cauchy interlacing)
        d = np.maximum(d, np.minimum.reduce(v, -1, keepdims=True))
        z = (y @ L) @ U if U.ndim == 2 else ((y[..., None, :] @ L) @ U)[..., 0, :]
        return cls(d, z * z, v, reml)

    @classmethod
    def build_counted(
        cls, y: Array, v: Array, Z: Array, counts: Array, reml: bool
    ) -> SpectralProfile:
        """Decompose data sets whose studies count more than once, or not at all.

        A study that counts f times is one whose row is multiplied by sqrt(f), and f - 1 further
        eigenvalues v with no contrast.

        Parameters
        ----------
        y, v, counts : ndarray, (n, k)
            Outcomes, sampling variances and how often each study counts.
        Z : ndarray, (k, r) or (n, k, r)
            Basis of the design.
        reml : bool
            Restricted likelihood, else maximum likelihood.
        """
        y, v = np.broadcast_to(y, counts.shape), np.broadcast_to(v, counts.shape)
        root = np.sqrt(counts)
        here = (counts > 0.0).astype(float)
        A = root[..., None] * Z
        At = np.swapaxes(A, -1, -2)
        k = counts.shape[-1]
        Pi = here[..., None] * np.eye(k) - A @ (np.linalg.inv(At @ A) @ At)
        # eigenvalues of the null space are put above all others, where they are left out
        above = 2.0 * v.max(-1)[..., None, None]
        M = Pi @ (v[..., None] * Pi) + above * (np.eye(k) - Pi)
        d, U = np.linalg.eigh(0.5 * (M + np.swapaxes(M, -1, -2)))
        z = np.matmul(((root * y)[..., None, :] @ Pi), U)[..., 0, :]
        kept = np.arange(k) < (here.sum(-1) - Z.shape[-1])[..., None]
        d = np.maximum(d, v.min(-1, keepdims=True))
        again = np.maximum(counts - 1.0, 0.0)
        return cls(
            np.concatenate([d, v], axis=-1),
            np.concatenate([np.where(kept, z * z, 0.0), np.zeros_like(z)], axis=-1),
            v,
            reml,
            np.concatenate([kept.astype(float), again], axis=-1),
            counts,
        )

    def _traces(self, t: Array, w: Array, w2: Array, rows: Rows | None) -> tuple[Array, Array]:
        count = self.times
        if not self.reml:
            w = 1.0 / (_take(self.v, rows, 1) + t)
            w2, count = w * w, self.counts
        if count is not None:
            count = _take(count, rows, 1)
            w, w2 = count * w, count * w2
        return _sum(w, -1), _sum(w2, -1)

    def slopes(self, tau2: Array, rows: Rows | None = None) -> Slopes:
        """Ingredients of the derivatives at `tau2`."""
        t = np.asarray(tau2)[..., None]
        w = 1.0 / (_take(self.d, rows, 1) + t)
        w2 = w * w
        a = _take(self.z2, rows, 1) * w2
        return Slopes(_sum(a, -1), _sum(a * w, -1), *self._traces(t, w, w2, rows))

    def limit(self) -> Limit:
        """Behaviour of all data sets as tau2 grows."""
        rss = _sum(self.z2, -1)
        with np.errstate(invalid="ignore"):
            variance = _sum(self.z2 * self.d, -1) / rss
        spread, count = (self.d, self.times) if self.reml else (self.v, self.counts)
        if count is None:
            n: Any = spread.shape[-1]
            return Limit(rss, variance, n, _sum(spread, -1) / n)
        n = _sum(count, -1)
        return Limit(rss, variance, n, _sum(spread * count, -1) / n)

    def rss(self, tau2: Array, rows: Rows | None = None) -> Array:
        """Weighted residual sum of squares y'Py at `tau2`."""
        t = np.asarray(tau2)[..., None]
        return (_take(self.z2, rows, 1) / (_take(self.d, rows, 1) + t)).sum(-1)

    def loglike(self, tau2: Array, rows: Rows | None = None) -> Array:
        """Log-likelihood at `tau2`."""
        t = np.asarray(tau2)[..., None]
        total = _take(self.d, rows, 1) + t
        rss = _sum(_take(self.z2, rows, 1) / total, -1)
        count = self.times
        if not self.reml:
            total, count = _take(self.v, rows, 1) + t, self.counts
        logs = np.log(total)
        if count is None:
            return -0.5 * (total.shape[-1] * LOG_2PI + _sum(logs, -1) + rss)
        count = _take(count, rows, 1)
        return -0.5 * (_sum(count, -1) * LOG_2PI + _sum(count * logs, -1) + rss)


def loglike(tau2: Array, y: Array, v: Array, X: Array, reml: bool = True) -> Array:
    """Profile log-likelihood of tau2.

    ML: -(k/2)ln2pi - sum ln(v+tau2)/2 - RSS/2; REML: -((k-p)/2)ln2pi + ln|X'X|/2
    - sum ln(v+tau2)/2 - ln|X'WX|/2 - RSS/2.

    Parameters
    ----------
    tau2 : array_like, (...)
        Heterogeneity, in squared units of the outcome.
    y, v : ndarray, (..., k)
        Outcomes and their sampling variances.
    X : ndarray, (k, p)
        Design.
    reml : bool, default True
        Restricted likelihood, else maximum likelihood.

    Returns
    -------
    ndarray, (...)

    References
    ----------
    Viechtbauer, W. (2005). Bias and efficiency of meta-analytic variance estimators in the
    random-effects model. Journal of Educational and Behavioral Statistics, 30(3), 261-293.

    Examples
    --------
    >>> import numpy as np
    >>> y, v, X = np.array([0.1, 0.5, 0.9]), np.array([0.1, 0.2, 0.1]), np.ones((3, 1))
    >>> float(loglike(0.2, y, v, X).round(6))
    -1.267573
    """
    return _profile(y, v, X, reml).loglike(np.asarray(tau2, dtype=float))


def score(tau2: Array, y: Array, v: Array, X: Array, reml: bool = True) -> Array:
    """First derivative of the profile log-likelihood: (y'PPy - tr P)/2, with tr W for ML.

    Parameters and shapes are those of `loglike`.
    """
    return _slopes(tau2, y, v, X, reml).score


def hessian(tau2: Array, y: Array, v: Array, X: Array, reml: bool = True) -> Array:
    """Second derivative of the profile log-likelihood: tr(PP)/2 - y'PPPy, with tr(WW) for ML.

    Parameters and shapes are those of `loglike`.
    """
    return -_slopes(tau2, y, v, X, reml).observed_information


def information(tau2: Array, y: Array, v: Array, X: Array, reml: bool = True) -> Array:
    """Expected (Fisher) information of tau2: tr(PP)/2, with tr(WW)/2 for ML.

    Parameters and shapes are those of `loglike`.
    """
    return _slopes(tau2, y, v, X, reml).expected_information


def _slopes(tau2: Array, y: Array, v: Array, X: Array, reml: bool) -> Slopes:
    return _profile(y, v, X, reml).slopes(np.asarray(tau2, dtype=float))


def _profile(y: Array, v: Array, X: Array, reml: bool) -> Profile:
    basis = design_basis(X)
    if basis.complement is not None:
        return SpectralProfile.build(y, v, basis.complement, reml)
    return DirectProfile(y, v, basis.Z, reml)
