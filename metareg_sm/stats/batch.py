"""Fits of a block of data sets that share their moderators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from metareg_sm._typing import Array, Rows
from metareg_sm.core.basis import Basis
from metareg_sm.core.gram import Gram, packed, pairs_of
from metareg_sm.core.gram import inverse as gram_inverse
from metareg_sm.core.scratch import scratch
from metareg_sm.core.search.maximize import Optimum
from metareg_sm.core.studies import Studies
from metareg_sm.core.tau2.estimators import Estimator
from metareg_sm.core.wls import wls
from metareg_sm.stats.heterogeneity import i2_h2


class Reason(IntEnum):
    """Why a data set was not fitted."""

    FITTED = 0
    TOO_FEW_STUDIES = 1
    REDUNDANT_MODERATORS = 2
    NO_VARIATION = 3
    ZERO_VARIANCE = 4


# Cells in one block: large enough that the calls for a block cost little beside its arithmetic.
BLOCK_CELLS = 160_000
# the smallest eigenvalue of Z'FZ below which the moderators of the studies left are redundant
_RANK_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Block:
    """Data sets made ready for the kernel.

    Attributes
    ----------
    studies : Studies
        All data sets; those that cannot be fitted hold harmless numbers.
    level : ndarray, (n, r)
        Coefficients of the basis that `studies.y` lacks.
    nobs : ndarray, (n,)
        Studies that each data set has.
    reason : ndarray of int, (n,)
        `Reason` of those that cannot be fitted.
    """

    studies: Studies
    level: Array
    nobs: Array
    reason: npt.NDArray[np.intp]


def prepare(
    y: Array, v: Array, basis: Basis, needs_variance: bool, needs_residuals: bool = True
) -> Block:
    """Set missing cells aside and find what cannot be fitted.

    Parameters
    ----------
    y : ndarray, (n, k)
        Outcomes; NaN where a study is missing.
    v : ndarray, (n, k) or (k,)
        Sampling variances; NaN where missing.
    basis : Basis
        Of the moderators of all studies.
    needs_variance : bool
        The estimator weights by 1/v and cannot do with a variance of 0.
    needs_residuals : bool
        The covariance is made of residuals and cannot do without any: where a constant fits
        constant outcomes exactly.

    Returns
    -------
    Block
    """
    n, k = y.shape
    r = basis.rank
    # loops over data sets rather than over the few studies of each
    y, v = np.asfortranarray(y), np.asfortranarray(v)
    reason = np.zeros(n, dtype=np.intp)
    # a sum is NaN exactly where a cell is, values being finite else
    missing = np.isnan(y.sum() + v.sum())
    counts = None
    level: Array | float = 0.0
    nobs = np.full(n, float(k))
    if missing:
        absent = np.isnan(y) | np.isnan(v)
        counts = (~absent).astype(float)
        nobs = counts.sum(-1)
        v = np.broadcast_to(v, y.shape)
        largest = np.where(absent, -np.inf, v).max(-1, keepdims=True)
        v = np.where(absent, np.where(np.isfinite(largest), largest, 1.0), v)
        # a common level of the outcomes must not stand out against what fills the gaps
        mean = np.where(absent, 0.0, y).sum(-1) / np.maximum(nobs, 1.0)
        y = np.where(absent, mean[:, None], y)
        if spans_constant(basis):
            # taking the level off first costs the rest no digits
            y, level = y - mean[:, None], mean[:, None] * basis.Z.sum(0)
        reason = count_reasons(counts, basis)
    elif k <= r:
        reason[:] = Reason.TOO_FEW_STUDIES
    low = np.where(counts > 0, y, np.inf).min(-1) if counts is not None else y.min(-1)
    high = np.where(counts > 0, y, -np.inf).max(-1) if counts is not None else y.max(-1)
    if needs_residuals:
        exact = (low == high) & (spans_constant(basis) | (low == 0.0))
        reason[(reason == 0) & exact] = Reason.NO_VARIATION
    if needs_variance:
        reason[(reason == 0) & (v.min(-1) <= 0.0)] = Reason.ZERO_VARIANCE
    bad = reason > 0
    if bad.any():
        y, v = y.copy(), np.broadcast_to(v, y.shape).copy()
        y[bad], v[bad] = np.arange(k) % 2, 1.0
        if counts is not None:
            counts[bad] = 1.0
    studies = Studies.build(y, v, basis, counts)
    return Block(studies, y @ basis.Z + level, nobs, reason)


def spans_constant(basis: Basis) -> bool:
    """Whether the moderators can say that all studies have the same expected effect."""
    return bool(np.abs(basis.Z @ basis.Z.sum(0) - 1.0).max() < 1e-9)


def block_size(k: int) -> int:
    """Data sets of k studies that are fitted together."""
    return max(64, BLOCK_CELLS // k)


def count_reasons(counts: Array, basis: Basis) -> npt.NDArray[np.intp]:
    """Which data sets have too few studies, or redundant moderators among them.

    Parameters
    ----------
    counts : ndarray, (n, k)
        How often each study counts.
    basis : Basis
        Of the moderators of all studies.

    Returns
    -------
    ndarray of int, (n,)
        `Reason` codes.
    """
    reason = np.zeros(len(counts), dtype=np.intp)
    few = np.count_nonzero(counts, axis=-1) <= basis.rank
    if basis.rank:
        inverse = gram_inverse(Gram(basis.Z).quadratic(counts)[0])
        # no element of an inverse exceeds 1 / the smallest eigenvalue
        worst = np.max(np.abs(inverse), axis=(0, 1))
        reason[~(worst < 1.0 / _RANK_TOLERANCE)] = Reason.REDUNDANT_MODERATORS
    reason[few] = Reason.TOO_FEW_STUDIES
    return reason


def counted_block(y: Array, v: Array, basis: Basis, counts: Array) -> Block:
    """Data sets that are the same studies (k,), each as often as `counts` (n, k) says."""
    reason = count_reasons(counts, basis)
    safe = np.where((reason > 0)[:, None], 1.0, counts)
    if v.min() <= 0.0:
        # a study that does not count must not make the others undefined
        largest = np.where(safe > 0.0, v, 0.0).max(-1, keepdims=True)
        v = np.where(safe > 0.0, v, largest)
    studies = Studies.build(y, v, basis, safe)
    return Block(studies, y @ basis.Z, counts.sum(-1), reason)


@dataclass(frozen=True, slots=True)
class BlockFit:
    """Fits of a block of data sets; NaN where the block's `reason` is not 0.

    Attributes
    ----------
    params : ndarray, (n, p)
        Coefficients.
    unscaled : ndarray, (n, q)
        Packed (Z'WZ)^-1 of the basis.
    tau2 : ndarray, (n,)
        Heterogeneity.
    scale : ndarray, (n,)
        Factor on the covariance.
    q, i2 : ndarray, (n,), optional
        Residual heterogeneity Q_E with weights 1/v, and I2, a fraction; NaN where a sampling
        variance is 0.
    """

    params: Array
    unscaled: Array
    tau2: Array
    scale: Array
    q: Array | None = None
    i2: Array | None = None


def join(fits: list[BlockFit], order: Rows | None = None) -> BlockFit:
    """One record of several blocks, in another order of the data sets if there is one."""
    names = [x.name for x in fields(BlockFit) if getattr(fits[0], x.name) is not None]
    parts = (np.concatenate([getattr(f, name) for f in fits]) for name in names)
    return BlockFit(*(part if order is None else part[order] for part in parts))


@dataclass(frozen=True, slots=True)
class Fitting:
    """How every data set is fitted.

    Attributes
    ----------
    basis : Basis
        Of the moderators.
    estimator : Estimator or None
        Of tau2; None where it is held at `fixed`.
    fixed : float
        The fixed value.
    factor : callable
        Factor on the covariance from the residual mean square (`CovarianceType.factor`).
    """

    basis: Basis
    estimator: Estimator | None
    fixed: float
    factor: Callable[[Array], Array]

    @property
    def reml(self) -> bool:
        """Whether tau2 maximises the restricted likelihood."""
        return self.estimator is not None and self.estimator.reml is True

    def prepare(self, y: Array, v: Array) -> Block:
        """Make outcomes (n, k) with variances (n, k) or (k,) ready; missing cells are NaN."""
        by_variance = self.fixed == 0.0
        if self.estimator is not None:
            by_variance = not self.estimator.zero_variance
        # a factor of 0 where there are no residuals leaves no standard error
        by_residuals = bool(self.factor(np.zeros(1))[0] == 0.0)
        return prepare(y, v, self.basis, by_variance, by_residuals)

    def fit(self, block: Block, heterogeneity: bool = False) -> BlockFit:
        """Fit every data set of a block.

        Parameters
        ----------
        block : Block
            From `prepare` or `counted_block`; reasons found here are added to it.
        heterogeneity : bool, default False
            Q_E and I2, too.

        Returns
        -------
        BlockFit
        """
        n = len(block.reason)
        unequal = np.broadcast_to(block.studies.unequal(), n)
        if not unequal.any() or unequal.all():
            return _fit(block, self, bool(unequal.any()), heterogeneity)
        # the few that need more care take another way, the others stay fast
        fits = []
        parts = (np.flatnonzero(~unequal), np.flatnonzero(unequal))
        for rows, careful in zip(parts, (False, True), strict=True):
            part = Block(
                block.studies.take(rows),
                block.level if block.level.ndim == 1 else block.level[rows],
                block.nobs[rows],
                block.reason[rows],
            )
            fits.append(_fit(part, self, careful, heterogeneity))
            block.reason[rows] = part.reason
        return join(fits, np.argsort(np.concatenate(parts)))


def _fit(block: Block, fitting: Fitting, careful: bool, heterogeneity: bool) -> BlockFit:
    basis, estimator = fitting.basis, fitting.estimator
    studies, n = block.studies, len(block.reason)
    if studies.v.shape[-1] <= basis.rank:
        p, q = len(basis.to_params), len(pairs_of(basis.rank))
        empty = (np.full(n, np.nan) for _ in range(4))
        return BlockFit(np.full((n, p), np.nan), np.full((n, q), np.nan), *empty)
    best = None
    if estimator is None:
        tau2 = np.full(n, fitting.fixed)
    elif estimator.reml is not None:
        best = studies.maximize(estimator.reml)
        tau2 = best.tau2
    else:
        tau2 = np.asarray(estimator.solve(studies, None).tau2)
    low = np.broadcast_to(studies.v.min(-1), n)
    safe = tau2
    if (low <= 0.0).any():
        total = np.einsum("...k,...k->...", studies.y, studies.y)
        undefined = (low <= 0.0) & (tau2 <= 2e-12 * total)
        block.reason[(block.reason == 0) & undefined] = Reason.ZERO_VARIANCE
        safe = np.where(undefined, 1.0, tau2)
    if careful:
        weights = studies.counted(1.0 / (studies.v + safe[:, None]))
        solved = wls(np.broadcast_to(studies.y, weights.shape), weights, studies.Z)
        coefs, rss = solved.params, solved.rss
        unscaled = packed(np.moveaxis(solved.cov_unscaled, 0, -1)).T
    else:
        profile, new = studies.direct(True), scratch()
        at = profile.solve(safe, None, new)
        coefs, rss, unscaled = at.coefs.T, profile.rss_of(at, None, new), packed(at.inverse).T
    params = (block.level + coefs) @ basis.to_params.T
    found = [params, unscaled, np.array(tau2, dtype=float), fitting.factor(rss / studies.df)]
    if heterogeneity:
        found += _heterogeneity(studies, tau2, low, best if fitting.reml else None)
    bad = block.reason > 0
    if bad.any():
        for values in found:
            values[bad] = np.nan
    return BlockFit(*found)


def _heterogeneity(studies: Studies, tau2: Array, low: Array, best: Optimum | None) -> list[Array]:
    """Q_E and I2; `best` is the restricted likelihood's, which has both on its way."""
    defined = low > 0.0
    q, i2 = np.full((2, len(tau2)), np.nan)
    if best is not None:
        rss, trace = best.rss, best.trace
    elif defined.all():
        at, rss = studies.profile(True).slopes_and_rss(np.zeros(len(tau2)))
        trace = at.trace
    else:
        rows = np.flatnonzero(defined)
        if rows.size:
            few = studies.take(rows)
            q[rows], i2[rows] = _heterogeneity(few, tau2[rows], low[rows], None)
        return [q, i2]
    q[defined] = rss[defined]
    i2[defined] = i2_h2(tau2, studies.df / trace)[0][defined]
    return [q, i2]


def block_loglike(block: Block, tau2: Array, reml: bool) -> Array:
    """Log-likelihood of every data set of a block.

    Parameters
    ----------
    block : Block
        From `prepare`.
    tau2 : ndarray, (n,)
        Heterogeneity of each.
    reml : bool
        Restricted likelihood, else maximum likelihood.

    Returns
    -------
    ndarray, (n,)
        NaN where a data set was not fitted.
    """
    studies = block.studies
    if studies.v.shape[-1] <= studies.rank:
        return np.full(len(tau2), np.nan)
    known = ~np.isnan(tau2)
    value = studies.profile(reml).loglike(np.where(known, tau2, 1.0))
    return np.where(known, value, np.nan)
