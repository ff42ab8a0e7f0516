"""The data of one or many meta-regressions as the kernel wants them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metareg_sm.core.likelihood import DirectProfile, Profile, SpectralProfile
from metareg_sm.core.search import Optimum, maximize, upper_bound
from metareg_sm.core.wls import Array, Basis


@dataclass(frozen=True, slots=True)
class Studies:
    """Outcomes, sampling variances and the column space of the moderators.

    Attributes
    ----------
    y : ndarray, (..., k)
        Least-squares residuals of the outcomes: nothing that depends on tau2 changes, and a large
        common level of the outcomes costs no precision.
    v : ndarray, (..., k)
        Sampling variances, in squared units of the outcome.
    Z : ndarray, (k, r) or (..., k, r)
        Orthonormal basis of the design.
    L : ndarray, (k, k-r), or None
        Its orthonormal complement, where a spectral profile pays.
    outcome : ndarray, (..., k)
        The outcomes themselves.
    """

    y: Array
    v: Array
    Z: Array
    L: Array | None
    outcome: Array

    @classmethod
    def build(cls, y: Array, v: Array, basis: Basis) -> Studies:
        """Data sets that share a design."""
        Z = basis.Z
        outcome = y
        # twice, so that the residuals carry no trace of a large level of y
        for _ in range(2):
            y = y - (y @ Z) @ Z.T
        shared = basis.complement if v.ndim == 1 else None
        return cls(y, v, Z, shared, outcome)

    @property
    def nobs(self) -> int:
        """Number of studies k."""
        return self.v.shape[-1]

    @property
    def rank(self) -> int:
        """Number of linearly independent coefficients r."""
        return self.Z.shape[-1]

    @property
    def shape(self) -> tuple[int, ...]:
        """Leading axes: the data sets."""
        return np.broadcast_shapes(self.y.shape[:-1], self.v.shape[:-1], self.Z.shape[:-2])

    @property
    def crude(self) -> Array:
        """Variance of the outcomes about their mean, with divisor k; (...)."""
        return self.outcome.var(-1)

    def flat(self) -> Studies:
        """The same data sets along one leading axis; unchanged where there is only one data set."""
        shape = self.shape
        if len(shape) <= 1:
            return self

        def ravel(a: Array, core: int) -> Array:
            if a.ndim == core:
                return a
            return np.broadcast_to(a, shape + a.shape[-core:]).reshape(-1, *a.shape[-core:])

        return Studies(
            ravel(self.y, 1), ravel(self.v, 1), ravel(self.Z, 2), self.L, ravel(self.outcome, 1)
        )

    def profile(self, reml: bool) -> Profile:
        """Profile likelihood of tau2."""
        if self.L is not None:
            return SpectralProfile.build(self.y, self.v, self.L, reml)
        return DirectProfile(self.y, self.v, self.Z, reml)

    def search_range(self, reml: bool) -> tuple[Array, Array]:
        """Lower and upper end of the search for a maximum, (...) each."""
        n = self.nobs - (self.rank if reml else 0)
        rss = np.einsum("...k,...k->...", self.y, self.y)
        low, high = np.minimum.reduce(self.v, -1), np.maximum.reduce(self.v, -1)
        upper = upper_bound(rss, n, low, high)
        # undefined at 0 where a variance is 0: begin so near that no sensible estimate lies below
        lower = np.where(low > 0.0, 0.0, 1e-12 * upper) if low.min() <= 0.0 else 0.0 * upper
        return lower, upper

    def maximize(self, reml: bool) -> Optimum:
        """Global maximum of the likelihood of each data set (leading axes flattened to n)."""
        flat = self.flat()
        return maximize(flat.profile(reml), *(np.atleast_1d(x) for x in flat.search_range(reml)))
