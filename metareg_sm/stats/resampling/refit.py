"""How resamples are fitted, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from metareg_sm._typing import Array
from metareg_sm.core.gram import diagonal_of, inverse, pairs_of, times
from metareg_sm.stats.batch import BlockFit, Fitting, block_size, counted_block, join


@dataclass(frozen=True, slots=True)
class Refit(Fitting):
    """How each resample is fitted, and what is taken from its fit."""

    def __call__(self, y: Array, v: Array, heterogeneity: bool = False) -> BlockFit:
        """Fit outcomes (n, k) with variances (n, k) or (k,)."""
        return self.fit(self.prepare(y, v), heterogeneity)

    def t_statistics(self, fit: BlockFit) -> Array:
        """Coefficients over their standard errors, (n, p)."""
        variance = diagonal_of(self.basis.to_params, fit.unscaled.T) * fit.scale
        return fit.params / np.sqrt(variance.T)

    def wald(self, fit: BlockFit, contrasts: Array) -> Array:
        """Wald statistic of joint contrasts (m, p) over m, (n,)."""
        m = len(contrasts)
        T = contrasts @ self.basis.to_params
        covariance = [[_bilinear(a, b, fit.unscaled.T) for b in T] for a in T]
        precision = inverse(np.array(covariance) * fit.scale)
        effect = contrasts @ fit.params.T
        return np.einsum("mn,mn->n", effect, times(precision, effect)) / m


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


def refit_counts(
    y: Array, v: Array, refit: Refit, counts: npt.NDArray[np.generic], heterogeneity: bool = False
) -> BlockFit:
    """Refit the same studies, each as often as a row of counts (n, k) says."""
    fits = []
    for rows in blocks(*counts.shape):
        block = counted_block(y, v, refit.basis, counts[rows].astype(float))
        fits.append(refit.fit(block, heterogeneity))
    return join(fits)


def refit_outcomes(
    outcomes: Array, v: Array, refit: Refit, heterogeneity: bool = False
) -> BlockFit:
    """Refit to other outcomes (n, k) of the same studies."""
    return join([refit(outcomes[rows], v, heterogeneity) for rows in blocks(*outcomes.shape)])


def deletions(k: int) -> Array:
    """Counts of the k data sets that lack one study each."""
    return 1.0 - np.eye(k)
