"""The data of one or many meta-regressions as the kernel wants them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from metareg_sm._typing import Array, Rows
from metareg_sm.core.basis import Basis
from metareg_sm.core.gram import Gram, dot, squared_length
from metareg_sm.core.likelihood import Profile, evaluator
from metareg_sm.core.likelihood.choose import pivoted
from metareg_sm.core.pivot_regression import QuadraticForm
from metareg_sm.core.search.maximize import Optimum, maximize, upper_bound

# outcomes that differ by no more than this, relative to the largest, differ by rounding
_ROUNDING = 4.0 * float(np.finfo(float).eps)

# Beyond these the powers that the likelihood needs leave floating point.
LARGEST_OUTCOME, SMALLEST_VARIANCE, LARGEST_VARIANCE = 1e45, 1e-70, 1e90


def residuals(y: Array, Z: Array) -> Array:
    """Least-squares residuals of outcomes (..., k) that carry no trace of a large level."""
    # where the first residuals are small beside what came off, rounding shows in them
    if y.ndim == 1:
        coefs = y @ Z
        y = y - Z @ coefs
        return y - Z @ (y @ Z) if coefs @ coefs > 100.0 * squared_length(y) else y
    gram = Gram(Z)
    coefs = gram.linear(y)
    y = y - gram.combine(coefs)
    if np.any(dot(coefs, coefs) > 100.0 * np.einsum("...k,...k->...", y, y)):
        y = y - gram.combine(gram.linear(y))
    return y


def constant_outcomes(y: Array, counts: Array | None = None) -> npt.NDArray[np.bool_]:
    """Whether all outcomes (..., k) that count are equal, but for rounding; (...).

    Nothing can be learnt from such a data set: estimates are 0 and their standard errors rounding.
    """
    low = high = y
    if counts is not None:
        low, high = np.where(counts > 0.0, y, np.inf), np.where(counts > 0.0, y, -np.inf)
    low, high = np.minimum.reduce(low, -1), np.maximum.reduce(high, -1)
    return np.asarray(high - low <= _ROUNDING * np.maximum(np.abs(low), np.abs(high)))


def out_of_range(y: Array, v: Array) -> npt.NDArray[np.bool_]:
    """Whether powers of outcomes and variances (..., k) would leave floating point; (...).

    The likelihood needs y^2/v^3. A variance of 0 is in range.
    """
    largest = np.maximum(np.maximum.reduce(y, -1), -np.minimum.reduce(y, -1))
    low, high = np.minimum.reduce(v, -1), np.maximum.reduce(v, -1)
    if not np.all(low > 0.0):
        low = np.where(v > 0.0, v, np.inf).min(-1)
    inside = (largest <= LARGEST_OUTCOME) & (low >= SMALLEST_VARIANCE) & (high <= LARGEST_VARIANCE)
    return np.asarray(~inside)


@dataclass(frozen=True, eq=False)
class Studies:
    """Outcomes, sampling variances and the column space of the moderators.

    Attributes
    ----------
    resid : ndarray, (..., k)
        Least-squares residuals of the outcomes: nothing that depends on tau2 changes, and a large
        common level of the outcomes costs no precision.
    v : ndarray, (..., k)
        Sampling variances, in squared units of the outcome.
    Z : ndarray, (k, r) or (..., k, r)
        Orthonormal basis of the design.
    complement : ndarray, (k, k-r), or None
        Its orthonormal complement, for few studies.
    outcome : ndarray, (..., k)
        The outcomes themselves.
    counts : ndarray, (..., k), optional
        How often each study counts: 0 for one that is missing or deleted, more than 1 in a
        bootstrap sample. Where it is 0 the outcome may be anything finite and the variance
        anything between the smallest and the largest of the data set.
    X : ndarray, shaped as `Z`, optional
        Linearly independent columns of the design itself; `Z` by default.
    from_columns : ndarray, (p, r), optional
        Maps coefficients of `X` to those that are wanted (`Basis.from_columns`).
    evaluators : dict
        What has been computed for the likelihoods (`core.likelihood.evaluator`); no data.
    """

    resid: Array
    v: Array
    Z: Array
    complement: Array | None
    outcome: Array
    counts: Array | None = None
    X: Array | None = None
    from_columns: Array | None = None
    evaluators: dict[bool, Profile] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def build(cls, y: Array, v: Array, basis: Basis, counts: Array | None = None) -> Studies:
        """Data sets that share a design."""
        resid = residuals(y, basis.Z)
        X, from_columns = basis.columns, basis.from_columns
        return cls(resid, v, basis.Z, basis.complement, y, counts, X, from_columns)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"evaluators": {}}

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
        return np.broadcast_shapes(
            self.resid.shape[:-1], self.v.shape[:-1], self.Z.shape[:-2], counts
        )

    @property
    def outcome_variance(self) -> Array:
        """Variance of the outcomes about their mean, with divisor k; (...)."""
        if self.counts is None:
            return self.outcome.var(-1)
        mean = (self.counts * self.outcome).sum(-1) / self.k
        return self.counted((self.outcome - mean[..., None]) ** 2).sum(-1) / self.k

    def counted(self, a: Array) -> Array:
        """Terms of a sum over studies (..., k), each as often as its study counts."""
        return a if self.counts is None else a * self.counts

    @property
    def root_range(self) -> Array:
        """How far below 0 a root of an equation for tau2 may lie, (...)."""
        return np.asarray(self.v.min(-1))

    def total_weight(self, tau2: Array) -> Array:
        """Sum of the weights 1/(v + tau2), (...); infinite where one is."""
        with np.errstate(divide="ignore"):
            return np.asarray(self.counted(1.0 / (self.v + tau2[..., None])).sum(-1))

    def quadratic_form(self, a: Array) -> QuadraticForm:
        """Quadratic form of each data set with weights a (..., k)."""
        flat, k = self.flat(), self.v.shape[-1]
        a = np.broadcast_to(a, (*self.shape, k)).reshape(-1, k)
        fit = pivoted(flat).regress_with(np.ascontiguousarray(a.T))
        v = flat.v.T if flat.v.ndim == 2 else flat.v[:, None]
        return QuadraticForm.of(fit, v, self.shape)

    def quadratic_form_at(self, tau2: Array) -> QuadraticForm:
        """Quadratic form of each data set with weights 1/(v + tau2), tau2 (...)."""
        return self.quadratic_form(1.0 / (self.v + tau2[..., None]))

    def flat(self) -> Studies:
        """The same data sets along one leading axis; unchanged where there is only one data set."""
        shape = self.shape
        if len(shape) <= 1:
            return self

        def ravel(a: Array | None, core: int) -> Any:
            if a is None or a.ndim == core:
                return a
            return np.broadcast_to(a, shape + a.shape[-core:]).reshape(-1, *a.shape[-core:])

        return self._each(ravel)

    def some(self, rows: Rows) -> Studies:
        """Some of the data sets along one leading axis."""
        return self._each(lambda a, core: a if a is None or a.ndim == core else a[rows])

    def _each(self, change: Any) -> Studies:
        return Studies(
            change(self.resid, 1),
            change(self.v, 1),
            change(self.Z, 2),
            self.complement,
            change(self.outcome, 1),
            change(self.counts, 1),
            change(self.X, 2),
            self.from_columns,
        )

    def profile(self, reml: bool) -> Profile:
        """Profile likelihood of tau2."""
        return evaluator(self, reml)

    def search_range(self, reml: bool) -> tuple[Array, Array]:
        """Lower and upper end of the search for a maximum, (...) each."""
        n = self.df if reml else self.k
        resid = self.resid
        if resid.ndim == 1 and self.counts is None:
            rss = np.asarray(squared_length(resid))
        else:
            rss = np.einsum("...k,...k->...", self.counted(resid), resid)
        low, high = np.minimum.reduce(self.v, -1), np.maximum.reduce(self.v, -1)
        upper = upper_bound(rss, n, low, high)
        # undefined at 0 where a variance is 0: begin so near that no sensible estimate lies below
        lower = 1e-12 * (low <= 0.0) * upper
        return lower, upper

    def maximize(self, reml: bool) -> Optimum:
        """Global maximum of the likelihood of each data set (leading axes flattened to n)."""
        flat = self.flat()
        return maximize(flat.profile(reml), *(np.atleast_1d(x) for x in flat.search_range(reml)))
