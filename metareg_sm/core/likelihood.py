"""Profile likelihood of tau2, by maximum likelihood (ML) or restricted maximum likelihood (REML).

With w = 1/(v + tau2) and P = W - WX(X'WX)^-1X'W the coefficients are profiled out. Everything the
likelihood, its derivatives and the search for its maximum need are four falling functions of tau2,
y'PPy, y'PPPy and two traces (of P and PP for REML, of W and WW for ML), beside the value itself.
Two profiles give them: `DirectProfile` for any number of studies, `SpectralProfile` after one
eigendecomposition, which pays for few studies and wherever X and v are shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from scipy.linalg import lapack

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


class Profile(Protocol):
    """A profile likelihood of one or many data sets; `rows` picks data sets for given tau2."""

    def slopes(self, tau2: Array, rows: Rows | None = None) -> Slopes:
        """Ingredients of the derivatives at `tau2`."""
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
class DirectProfile:
    """Profile likelihood evaluated from the weights, for any number of studies.

    Attributes
    ----------
    y, v : ndarray, (..., k)
        Outcomes and sampling variances.
    Z : ndarray, (k, r) or (..., k, r)
        Orthonormal basis of the design.
    reml : bool
        Restricted likelihood, else maximum likelihood.
    """

    y: Array
    v: Array
    Z: Array
    reml: bool

    def _solve(self, tau2: Array, rows: Rows | None) -> tuple[Array, Array, Array, Array, Array]:
        y, v, Z = (_take(a, rows, n) for a, n in ((self.y, 1), (self.v, 1), (self.Z, 2)))
        w = 1.0 / (v + np.asarray(tau2)[..., None])
        WZ = w[..., None] * Z
        A = np.matmul(np.swapaxes(WZ, -1, -2), Z)
        inverse = np.linalg.inv(A)
        coefs = np.matmul(inverse, np.matmul(np.swapaxes(WZ, -1, -2), y[..., None]))
        resid = y - np.matmul(Z, coefs)[..., 0]
        return w, WZ, A, inverse, resid

    def slopes(self, tau2: Array, rows: Rows | None = None) -> Slopes:
        """Ingredients of the derivatives at `tau2`."""
        w, WZ, _, inverse, resid = self._solve(tau2, rows)
        u = w * resid
        b = np.einsum("...kr,...k->...r", WZ, u)
        yppp = np.einsum("...k,...k,...k->...", w, u, u)
        yppp = yppp - np.einsum("...r,...rs,...s->...", b, inverse, b)
        trace, trace2 = w.sum(-1), np.einsum("...k,...k->...", w, w)
        if self.reml:
            M2 = np.matmul(np.swapaxes(WZ, -1, -2), WZ)
            M3 = np.matmul(np.swapaxes(WZ, -1, -2), w[..., None] * WZ)
            H = np.matmul(inverse, M2)
            trace2 = (
                trace2
                - 2.0 * np.einsum("...rs,...sr->...", inverse, M3)
                + np.einsum("...rs,...sr->...", H, H)
            )
            trace = trace - np.einsum("...rr->...", H)
        return Slopes(np.einsum("...k,...k->...", u, u), yppp, trace, trace2)

    def rss(self, tau2: Array, rows: Rows | None = None) -> Array:
        """Weighted residual sum of squares y'Py at `tau2`."""
        w, _, _, _, resid = self._solve(tau2, rows)
        return np.einsum("...k,...k,...k->...", w, resid, resid)

    def loglike(self, tau2: Array, rows: Rows | None = None) -> Array:
        """Log-likelihood at `tau2`."""
        w, _, A, _, resid = self._solve(tau2, rows)
        rss = np.einsum("...k,...k,...k->...", w, resid, resid)
        logdet, n = -np.log(w).sum(-1), w.shape[-1]
        if self.reml:
            logdet, n = logdet + np.linalg.slogdet(A)[1], n - A.shape[-1]
        return -0.5 * (n * LOG_2PI + logdet + rss)


@dataclass(frozen=True, slots=True)
class SpectralProfile:
    """Profile likelihood in the eigenbasis of L'VL, L being the orthogonal complement of X.

    There P is diagonal with elements 1/(d + tau2), so every term is a plain sum. It costs one
    eigendecomposition of size k - r; outcomes that share X and v share it.

    Attributes
    ----------
    d : ndarray, (..., k-r)
        Eigenvalues of L'VL.
    z2 : ndarray, (..., k-r)
        Squared error contrasts of the outcomes in that basis.
    v : ndarray, (..., k)
        Sampling variances.
    reml : bool
        Restricted likelihood, else maximum likelihood.
    """

    d: Array
    z2: Array
    v: Array
    reml: bool

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
        LtVL = np.matmul(np.swapaxes(L, -1, -2) * v[..., None, :], L)
        d, U = lapack.dsyevd(LtVL)[:2] if LtVL.ndim == 2 else np.linalg.eigh(LtVL)
        # exact eigenvalues are at least the smallest variance (Cauchy interlacing)
        d = np.maximum(d, v.min(-1, keepdims=True))
        z = np.matmul(np.matmul(y[..., None, :], L), U)[..., 0, :]
        return cls(d, z * z, v, reml)

    def slopes(self, tau2: Array, rows: Rows | None = None) -> Slopes:
        """Ingredients of the derivatives at `tau2`."""
        t = np.asarray(tau2)[..., None]
        w = 1.0 / (_take(self.d, rows, 1) + t)
        w2 = w * w
        a = _take(self.z2, rows, 1) * w2
        if self.reml:
            return Slopes(_sum(a, -1), _sum(a * w, -1), _sum(w, -1), _sum(w2, -1))
        ml = 1.0 / (_take(self.v, rows, 1) + t)
        return Slopes(_sum(a, -1), _sum(a * w, -1), _sum(ml, -1), _sum(ml * ml, -1))

    def rss(self, tau2: Array, rows: Rows | None = None) -> Array:
        """Weighted residual sum of squares y'Py at `tau2`."""
        t = np.asarray(tau2)[..., None]
        return (_take(self.z2, rows, 1) / (_take(self.d, rows, 1) + t)).sum(-1)

    def loglike(self, tau2: Array, rows: Rows | None = None) -> Array:
        """Log-likelihood at `tau2`."""
        t = np.asarray(tau2)[..., None]
        total = _take(self.d, rows, 1) + t
        rss = _sum(_take(self.z2, rows, 1) / total, -1)
        if not self.reml:
            total = _take(self.v, rows, 1) + t
        return -0.5 * (total.shape[-1] * LOG_2PI + _sum(np.log(total), -1) + rss)


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
    -1.486302
    """
    return DirectProfile(y, v, design_basis(X).Z, reml).loglike(np.asarray(tau2, dtype=float))


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
    return DirectProfile(y, v, design_basis(X).Z, reml).slopes(np.asarray(tau2, dtype=float))
