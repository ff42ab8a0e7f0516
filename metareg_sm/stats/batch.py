"""Fits of a block of data sets that share their moderators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from metareg_sm.core.gram import Gram, packed, pairs_of
from metareg_sm.core.gram import inverse as gram_inverse
from metareg_sm.core.studies import Studies
from metareg_sm.core.tau2 import Estimator
from metareg_sm.core.wls import Array, Basis, wls


class Reason(IntEnum):
    """Why a data set was not fitted."""

    FITTED = 0
    TOO_FEW_STUDIES = 1
    REDUNDANT_MODERATORS = 2
    NO_VARIATION = 3
    ZERO_VARIANCE = 4


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


def prepare(y: Array, v: Array, basis: Basis, needs_variance: bool) -> Block:
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
        one = basis.Z.sum(0)
        if np.abs(basis.Z @ one - 1.0).max() < 1e-9:
            # the constant is a moderator: taking the level off first costs the rest no digits
            y, level = y - mean[:, None], mean[:, None] * one
        reason = count_reasons(counts, basis)
    elif k <= r:
        reason[:] = Reason.TOO_FEW_STUDIES
    low = np.where(counts > 0, y, np.inf).min(-1) if counts is not None else y.min(-1)
    high = np.where(counts > 0, y, -np.inf).max(-1) if counts is not None else y.max(-1)
    reason[(reason == 0) & (low == high)] = Reason.NO_VARIATION
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
    """

    params: Array
    unscaled: Array
    tau2: Array
    scale: Array


def fit_block(
    block: Block,
    basis: Basis,
    estimator: Estimator | None,
    fixed: float,
    factor: Callable[[Array], Array],
) -> BlockFit:
    """Fit every data set of a block.

    Parameters
    ----------
    block : Block
        From `prepare`; reasons found here are added to it.
    basis : Basis
        Of the moderators.
    estimator : Estimator or None
        Of tau2; None where it is held at `fixed`.
    fixed : float
        The fixed value.
    factor : callable
        Factor on the covariance from the residual mean square (`CovarianceType.factor`).

    Returns
    -------
    BlockFit
    """
    n = len(block.reason)
    unequal = np.broadcast_to(block.studies.unequal(), n)
    if not unequal.any() or unequal.all():
        return _fit(block, basis, estimator, fixed, factor, bool(unequal.any()))
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
        fits.append(_fit(part, basis, estimator, fixed, factor, careful))
        block.reason[rows] = part.reason
    order = np.argsort(np.concatenate(parts))
    names = ("params", "unscaled", "tau2", "scale")
    return BlockFit(*(np.concatenate([getattr(f, x) for f in fits])[order] for x in names))


def _fit(
    block: Block,
    basis: Basis,
    estimator: Estimator | None,
    fixed: float,
    factor: Callable[[Array], Array],
    careful: bool,
) -> BlockFit:
    studies, n = block.studies, len(block.reason)
    if studies.v.shape[-1] <= basis.rank:
        empty = np.full(n, np.nan)
        p, q = len(basis.to_params), len(pairs_of(basis.rank))
        return BlockFit(np.full((n, p), np.nan), np.full((n, q), np.nan), empty, empty.copy())
    if estimator is None:
        tau2 = np.full(n, fixed)
    elif estimator.reml is not None:
        tau2 = studies.maximize(estimator.reml).tau2
    else:
        tau2 = np.asarray(estimator.solve(studies, None).tau2)
    low = np.broadcast_to(studies.v.min(-1), n)
    undefined = (low <= 0.0) & (tau2 <= 2e-12 * np.einsum("...k,...k->...", studies.y, studies.y))
    block.reason[(block.reason == 0) & undefined] = Reason.ZERO_VARIANCE
    safe = np.where(undefined, 1.0, tau2)
    if careful:
        weights = studies.counted(1.0 / (studies.v + safe[:, None]))
        solved = wls(np.broadcast_to(studies.y, weights.shape), weights, studies.Z)
        coefs, rss = solved.params, solved.rss
        unscaled = packed(np.moveaxis(solved.cov_unscaled, 0, -1)).T
    else:
        profile = studies.direct(True)
        at = profile.solve(safe)
        coefs, rss, unscaled = at.coefs.T, profile.rss_of(at), packed(at.inverse).T
    params = (block.level + coefs) @ basis.to_params.T
    fit = BlockFit(params, unscaled, np.array(tau2, dtype=float), factor(rss / studies.df))
    bad = block.reason > 0
    if bad.any():
        for values in (fit.params, fit.unscaled, fit.tau2, fit.scale):
            values[bad] = np.nan
    return fit


def block_statistic(
    block: Block, tau2: Array, statistic: Callable[[Studies, Array], Array], needs_variance: bool
) -> Array:
    """A statistic of every data set of a block.

    Parameters
    ----------
    block : Block
        From `prepare`.
    tau2 : ndarray, (n,)
        Heterogeneity of each.
    statistic : callable
        Gives it from studies and tau2, such as `q_residual`.
    needs_variance : bool
        It weights by 1/v.

    Returns
    -------
    ndarray, (n, 1)
        NaN where a data set was not fitted, or weights by a sampling variance of 0.
    """
    studies = block.studies
    out = np.full((len(tau2), 1), np.nan)
    if studies.v.shape[-1] <= studies.rank:
        return out
    known = ~np.isnan(tau2)
    if needs_variance:
        known &= studies.v.min(-1) > 0.0
    if known.all():
        out[:, 0] = statistic(studies, tau2)
    elif known.any():
        out[known, 0] = statistic(studies.take(np.flatnonzero(known)), tau2[known])
    return out
