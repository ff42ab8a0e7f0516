"""The profile likelihood after one eigendecomposition, where P is diagonal."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import lapack

from metareg_sm._typing import Array, Rows
from metareg_sm.core.likelihood.profile import LOG_2PI, Derivatives, Limit, of_rows, total_of


@dataclass(frozen=True, slots=True, eq=False)
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
    """

    d: Array
    z2: Array
    v: Array
    reml: bool

    @property
    def grid_pays(self) -> bool:
        """Whether many points of one data set cost little more than one."""
        return True

    @property
    def smallest(self) -> float:
        """Smallest sampling variance."""
        return float(np.minimum.reduce(self.v, None))

    def of(self, reml: bool) -> SpectralProfile:
        """The restricted or the full likelihood of the same data."""
        return replace(self, reml=reml)

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

    def _traces(self, t: Array, w: Array, w2: Array, rows: Rows | None) -> tuple[Array, Array]:
        if not self.reml:
            w = 1.0 / (of_rows(self.v, rows, 1) + t)
            w2 = w * w
        return total_of(w, -1), total_of(w2, -1)

    def derivatives(self, tau2: Array, rows: Rows | None = None) -> Derivatives:
        """Ingredients of the derivatives at `tau2`."""
        t = np.asarray(tau2)[..., None]
        w = 1.0 / (of_rows(self.d, rows, 1) + t)
        w2 = w * w
        traces = self._traces(t, w, w2, rows)
        if self.z2.ndim == 1:
            return Derivatives(w2 @ self.z2, (w2 * w) @ self.z2, *traces)
        a = of_rows(self.z2, rows, 1) * w2
        return Derivatives(total_of(a, -1), total_of(a * w, -1), *traces)

    def derivatives_and_rss(self, tau2: Array) -> tuple[Derivatives, Array]:
        """Ingredients of the derivatives, and y'Py, at `tau2`."""
        return self.derivatives(tau2), self.rss(tau2)

    def rss_and_ypp(self, tau2: Array) -> tuple[Array, Array]:
        """Form y'Py and minus its derivative, y'PPy, of all data sets at `tau2`."""
        w = 1.0 / (self.d + np.asarray(tau2)[..., None])
        if self.z2.ndim == 1:
            return w @ self.z2, (w * w) @ self.z2
        a = self.z2 * w
        return total_of(a, -1), total_of(a * w, -1)

    def limit(self) -> Limit:
        """Behaviour of all data sets as tau2 grows."""
        rss = total_of(self.z2, -1)
        with np.errstate(invalid="ignore"):
            variance = total_of(self.z2 * self.d, -1) / rss
        spread = self.d if self.reml else self.v
        n = spread.shape[-1]
        return Limit(rss, variance, n, total_of(spread, -1) / n)

    def rss(self, tau2: Array, rows: Rows | None = None) -> Array:
        """Weighted residual sum of squares y'Py at `tau2`."""
        t = np.asarray(tau2)[..., None]
        return (of_rows(self.z2, rows, 1) / (of_rows(self.d, rows, 1) + t)).sum(-1)

    def loglike(self, tau2: Array, rows: Rows | None = None) -> Array:
        """Log-likelihood at `tau2`."""
        t = np.asarray(tau2)[..., None]
        total = of_rows(self.d, rows, 1) + t
        rss = total_of(of_rows(self.z2, rows, 1) / total, -1)
        if not self.reml:
            total = of_rows(self.v, rows, 1) + t
        return -0.5 * (total.shape[-1] * LOG_2PI + total_of(np.log(total), -1) + rss)
