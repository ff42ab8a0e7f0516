"""How resamples are fitted, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from metareg_sm._typing import Array
from metareg_sm.core.gram import apply, congruence, inverse, pairs_of, unpacked
from metareg_sm.stats.batch import BatchModel, BlockFit, join
from metareg_sm.stats.blocks import block_size, check_room, counted_block


@dataclass(frozen=True, slots=True, eq=False)
class ResampledModel(BatchModel):
    """The model that each resample is fitted with, and what is taken from its fits."""

    def __call__(self, y: Array, v: Array) -> BlockFit:
        """Fit outcomes (n, k) with variances (n, k) or (k,)."""
        return self.fit(self.prepare(y, v))

    def t_statistics(self, fit: BlockFit) -> Array:
        """Coefficients over their standard errors, (n, p)."""
        p = fit.params.shape[1]
        diagonal = [i for i, (a, b) in enumerate(pairs_of(p)) if a == b]
        return fit.params / np.sqrt(fit.unscaled[:, diagonal] * fit.scale[:, None])

    def wald(self, fit: BlockFit, contrasts: Array) -> Array:
        """Wald statistic of joint contrasts (m, p) over m, (n,)."""
        covariance = unpacked(congruence(contrasts, unpacked(fit.unscaled.T)))
        precision = inverse(covariance * fit.scale, overwrite=True)
        effect = contrasts @ fit.params.T
        return np.einsum("mn,mn->n", effect, apply(precision, effect)) / len(contrasts)


def blocks(rank: int, n: int, k: int) -> Iterator[slice]:
    """Ranges of n resamples of k studies, with so many coefficients, that are fitted together."""
    size = block_size(k, rank)
    for begin in range(0, n, size):
        yield slice(begin, min(begin + size, n))


def refit_counts(
    y: Array, v: Array, refit: ResampledModel, counts: npt.NDArray[np.generic]
) -> BlockFit:
    """Refit the same studies, each as often as a row of counts (n, k) says."""
    check_room(len(counts), refit.basis.rank, "resamples", "fewer resamples")
    fits = []
    for rows in blocks(refit.basis.rank, *counts.shape):
        block = counted_block(y, v, refit.basis, counts[rows].astype(float))
        fits.append(refit.fit(block))
    return join(fits)


def refit_outcomes(outcomes: Array, v: Array, refit: ResampledModel) -> BlockFit:
    """Refit to other outcomes (n, k) of the same studies."""
    check_room(len(outcomes), refit.basis.rank, "resamples", "fewer resamples")
    return join([refit(outcomes[rows], v) for rows in blocks(refit.basis.rank, *outcomes.shape)])


def deletions(k: int) -> Array:
    """Counts of the k data sets that lack one study each."""
    return 1.0 - np.eye(k)
