"""Data sets made ready to be fitted together: which can be, how many at a time."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from metareg_sm._typing import Array
from metareg_sm.core.basis import Basis, spans_constant
from metareg_sm.core.gram import Gram
from metareg_sm.core.gram import inverse as gram_inverse
from metareg_sm.core.studies import Studies, constant_outcomes, out_of_range
from metareg_sm.exceptions import MemoryLimitError

# Cells in one block: large enough that the calls for a block cost little beside its arithmetic.
BLOCK_CELLS = 160_000
# Elements of the matrices of a block, of which an evaluation makes some twenty.
_BLOCK_ELEMENTS = 1 << 22
# Bytes of the covariances of all fits of a question, beyond which it is refused.
_LARGEST = 2**30
# the smallest eigenvalue of Z'FZ below which the moderators of the studies left are redundant
_RANK_TOLERANCE = 1e-6


class Reason(IntEnum):
    """Why a data set was not fitted, or not for certain."""

    FITTED = 0
    TOO_FEW_STUDIES = 1
    REDUNDANT_MODERATORS = 2
    NO_VARIATION = 3
    ZERO_VARIANCE = 4
    OUT_OF_RANGE = 5
    NOT_CERTIFIED = 6
    REDUNDANT_SCALE = 7
    UNBOUNDED = 8


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Data sets made ready for the kernel.

    Attributes
    ----------
    studies : Studies
        All data sets; those that cannot be fitted hold harmless numbers.
    shift : ndarray, (n, p), or None
        Coefficients of what was taken off the outcomes.
    nobs : ndarray, (n,)
        Studies that each data set has.
    reason : ndarray of int, (n,)
        `Reason` of those that cannot be fitted.
    """

    studies: Studies
    shift: Array | None
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
    counts = shift = None
    constant, zero = constant_outcomes(y), ~y.any(-1)
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
        constant, zero = constant_outcomes(y, counts), ~np.where(absent, 0.0, y).any(-1)
        if spans_constant(basis):
            # taking the level off first costs the rest no digits
            one = basis.Z.sum(0)
            y, shift = y - mean[:, None], mean[:, None] * (basis.to_params @ one)
        reason = count_reasons(counts, basis)
    elif k <= r:
        reason[:] = Reason.TOO_FEW_STUDIES
    if needs_residuals:
        # a fit that goes through all outcomes leaves none
        exact = constant & (spans_constant(basis) | zero)
        reason[(reason == 0) & exact] = Reason.NO_VARIATION
    reason[(reason == 0) & out_of_range(y, v)] = Reason.OUT_OF_RANGE
    if needs_variance:
        reason[(reason == 0) & (v.min(-1) <= 0.0)] = Reason.ZERO_VARIANCE
    bad = reason > 0
    if bad.any():
        y, v = y.copy(), np.broadcast_to(v, y.shape).copy()
        y[bad], v[bad] = np.arange(k) % 2, 1.0
        if counts is not None:
            counts[bad] = 1.0
    studies = Studies.build(y, v, basis, counts)
    return Block(studies, shift, nobs, reason)


def block_size(k: int, rank: int = 1) -> int:
    """Data sets of k studies that are fitted together, with matrices of as many coefficients."""
    return min(max(64, BLOCK_CELLS // k), max(1, _BLOCK_ELEMENTS // max(rank, 1) ** 2))


def check_room(n: int, rank: int, what: str, instead: str) -> None:
    """Refuse n fits whose covariances cannot stand in memory together.

    Raises
    ------
    MemoryLimitError
    """
    size = 8.0 * n * max(rank, 1) ** 2
    if size > _LARGEST:
        raise MemoryLimitError(
            f"The covariances of {n} {what} of a model with {rank} coefficients need "
            f"{size / 2**30:.0f} GB of memory. Use {instead}, or moderators with fewer columns."
        )


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
    return Block(studies, None, counts.sum(-1), reason)
