"""The data of one or many meta-regressions as the kernel wants them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from metareg_sm._typing import Array, Rows
from metareg_sm.core.basis import Basis
from metareg_sm.core.gram import Gram, dot
from metareg_sm.core.likelihood import DirectProfile, Profile, SpectralProfile
from metareg_sm.core.likelihood.compressed import WIDEST, CompressedProfile
from metareg_sm.core.search.maximize import Optimum, maximize, upper_bound

# Ratio of variances above which sums over studies lose too many digits for nine to be right.
UNEQUAL = 1e3
# Studies up to which an eigendecomposition is affordable where it is needed for that.
STABLE_LIMIT = 2000
# Studies of one data set from which on a compression costs less than the evaluations it saves.
COMPRESSED_FROM = 5000


def residuals(y: Array, Z: Array) -> Array:
    """Least-squares residuals of outcomes (..., k) that carry no trace of a large level."""
    if y.ndim == 1:
        y = y - Z @ (y @ Z)
        return y - Z @ (y @ Z)
    gram = Gram(Z)
    coefs = gram.linear(y)
    y = y - gram.combine(coefs)
    if np.any(dot(coefs, coefs) > 100.0 * np.einsum("...k,...k->...", y, y)):
        # the first residuals are so small that rounding shows in them
        y = y - gram.combine(gram.linear(y))
    return y


@dataclass(frozen=True)
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
    counts : ndarray, (..., k), optional
        How often each study counts: 0 for one that is missing or deleted, more than 1 in a
        bootstrap sample. Where it is 0 the outcome may be anything finite and the variance
        anything between the smallest and the largest of the data set.
    """

    y: Array
    v: Array
    Z: Array
    L: Array | None
    outcome: Array
    counts: Array | None = None

    @classmethod
    def build(cls, y: Array, v: Array, basis: Basis, counts: Array | None = None) -> Studies:
        """Data sets that share a design."""
        outcome, y = y, residuals(y, basis.Z)
        shared = basis.complement if v.ndim == 1 and counts is None else None
        return cls(y, v, basis.Z, shared, outcome, counts)

    @property
    def k(self) -> Any:
        """Number of studies k; (...) where some do not count."""
        return self.v.shape[-1] if self.counts is None else self.counts.sum(-1)

    @property
    def df(self) -> Any:
        """Degrees of freedom k - r."""
        return self.k - self.rank

    @property
    def rank(self) -> int:
        """Number of linearly independent coefficients r."""
        return self.Z.shape[-1]

    @property
    def shape(self) -> tuple[int, ...]:
        """Leading axes: the data sets."""
        counts = () if self.counts is None else self.counts.shape[:-1]
        return np.broadcast_shapes(self.y.shape[:-1], self.v.shape[:-1], self.Z.shape[:-2], counts)

    @property
    def crude(self) -> Array:
        """Variance of the outcomes about their mean, with divisor k; (...)."""
        if self.counts is None:
            return self.outcome.var(-1)
        mean = (self.counts * self.outcome).sum(-1) / self.k
        return self.counted((self.outcome - mean[..., None]) ** 2).sum(-1) / self.k

    def counted(self, a: Array) -> Array:
        """Terms of a sum over studies (..., k), each as often as its study counts."""
        return a if self.counts is None else a * self.counts

    def flat(self) -> Studies:
        """The same data sets along one leading axis; unchanged where there is only one data set."""
        shape = self.shape
        if len(shape) <= 1:
            return self

        def ravel(a: Array, core: int) -> Array:
            if a.ndim == core:
                return a
            return np.broadcast_to(a, shape + a.shape[-core:]).reshape(-1, *a.shape[-core:])

        counts = None if self.counts is None else ravel(self.counts, 1)
        y, v, outcome = (ravel(a, 1) for a in (self.y, self.v, self.outcome))
        return Studies(y, v, ravel(self.Z, 2), self.L, outcome, counts)

    def profile(self, reml: bool) -> Profile:
        """Profile likelihood of tau2."""
        if self.L is not None:
            return SpectralProfile.build(self.y, self.v, self.L, reml)
        if self.compressible:
            return replace(self.compressed, reml=reml)
        if self.v.shape[-1] > STABLE_LIMIT or not self.unequal().any():
            return self.direct(reml)
        if self.counts is None and self.Z.ndim == 2:
            L = np.linalg.qr(self.Z, mode="complete")[0][:, self.rank :]
            return SpectralProfile.build(self.y, self.v, L, reml)
        counts = np.ones(self.v.shape) if self.counts is None else self.counts
        counts = np.broadcast_to(counts, (*self.shape, counts.shape[-1]))
        return SpectralProfile.build_counted(self.y, self.v, self.Z, counts, reml)

    @property
    def compressible(self) -> bool:
        """Whether one compression of the data set serves all that is asked of its likelihood."""
        if self.v.shape[-1] < COMPRESSED_FROM or self.shape or self.counts is not None:
            return False
        low, high = float(self.v.min()), float(self.v.max())
        return low > 0.0 and high <= WIDEST * low

    @cached_property
    def compressed(self) -> CompressedProfile:
        """The restricted likelihood of one data set of very many studies."""
        return CompressedProfile.build(self.y, self.v, self.Z, True)

    def unequal(self) -> npt.NDArray[np.bool_]:
        """Data sets whose variances are too unequal for differences of weighted sums; (...)."""
        return np.asarray(self.v.max(-1) > UNEQUAL * self.v.min(-1))

    def take(self, rows: Rows) -> Studies:
        """Some of the data sets along one leading axis."""

        def pick(a: Array, core: int) -> Array:
            return a if a.ndim == core else a[rows]

        counts = None if self.counts is None else pick(self.counts, 1)
        y, v, outcome = (pick(a, 1) for a in (self.y, self.v, self.outcome))
        return Studies(y, v, pick(self.Z, 2), self.L, outcome, counts)

    def direct(self, reml: bool) -> DirectProfile:
        """The same, evaluated from the weights whatever they are."""
        return DirectProfile(self.y, self.v, self.Z, reml, self.counts)

    def search_range(self, reml: bool) -> tuple[Array, Array]:
        """Lower and upper end of the search for a maximum, (...) each."""
        n = self.df if reml else self.k
        y = self.y
        if y.ndim == 1 and self.counts is None:
            rss = y @ y
        else:
            rss = np.einsum("...k,...k->...", self.counted(y), y)
        low, high = np.minimum.reduce(self.v, -1), np.maximum.reduce(self.v, -1)
        upper = upper_bound(rss, n, low, high)
        # undefined at 0 where a variance is 0: begin so near that no sensible estimate lies below
        lower = 1e-12 * (low <= 0.0) * upper
        return lower, upper

    def maximize(self, reml: bool) -> Optimum:
        """Global maximum of the likelihood of each data set (leading axes flattened to n)."""
        flat = self.flat()
        return maximize(flat.profile(reml), *(np.atleast_1d(x) for x in flat.search_range(reml)))
