"""How resamples are fitted, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from metareg_sm._typing import Array
from metareg_sm.core.gram import apply, inverse, pairs_of
from metareg_sm.stats.batch import BlockFit, Fitting, block_size, counted_block, join


@dataclass(frozen=True, slots=True)
class Refit(Fitting):
    """How each resample is fitted, and what is taken from its fit."""

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
        m = len(contrasts)
        covariance = [[_bilinear(a, b, fit.unscaled.T) for b in contrasts] for a in contrasts]
        precision = inverse(np.array(covariance) * fit.scale)
        effect = contrasts @ fit.params.T
        return np.einsum("mn,mn->n", effect, apply(precision, effect)) / m


def _bilinear(a: Array, b: Array, packed: Array) -> Array:
    """Bilinear form a'Mb for symmetric M (q, n)."""
    pairs = pairs_of(len(a))
    weights = [a[i] * b[j] + (a[j] * b[i] if i != j else 0.0) for i, j in pairs]
    return np.asarray(weights) @ packed


def blocks(n: int, k: int) -> Iterator[slice]:
    """Ranges of resamples that are fitted together."""
    size = block_size(k)
    for begin in range(0, n, size):
        yield slice(begin, min(begin + size, n))


def refit_counts(y: Array, v: Array, refit: Refit, counts: npt.NDArray[np.generic]) -> BlockFit:
    """Refit the same studies, each as often as a row of counts (n, k) says."""
    fits = []
    for rows in blocks(*counts.shape):
        block = counted_block(y, v, refit.basis, counts[rows].astype(float))
        fits.append(refit.fit(block))
    return join(fits)


def refit_outcomes(outcomes: Array, v: Array, refit: Refit) -> BlockFit:
    """Refit to other outcomes (n, k) of the same studies."""
    return join([refit(outcomes[rows], v) for rows in blocks(*outcomes.shape)])


def deletions(k: int) -> Array:
    """Counts of the k data sets that lack one study each."""
    return 1.0 - np.eye(k)
