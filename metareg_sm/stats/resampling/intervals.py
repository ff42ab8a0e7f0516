"""Bootstrap intervals."""

from __future__ import annotations

import numpy as np
from scipy import special

from metareg_sm._typing import Array


def percentile_interval(draws: Array, alpha: float) -> Array:
    """Percentile interval of each column of draws (n, m): (m, 2)."""
    return np.quantile(draws, [alpha / 2.0, 1.0 - alpha / 2.0], axis=0).T


def bca_interval(draws: Array, estimate: Array, jackknife: Array, alpha: float) -> Array:
    """Bias-corrected and accelerated interval.

    Parameters
    ----------
    draws : ndarray, (n, m)
        Bootstrap distribution of m quantities.
    estimate : ndarray, (m,)
        Estimates from the data.
    jackknife : ndarray, (k, m)
        Estimates without each study in turn.
    alpha : float
        1 minus the coverage.

    Returns
    -------
    ndarray, (m, 2)

    References
    ----------
    Efron, B. (1987). Better bootstrap confidence intervals. Journal of the American Statistical
    Association, 82(397), 171-185.
    """
    n = len(draws)
    # draws that equal the estimate, as tau2 = 0 often does, count half
    below = (draws < estimate).mean(axis=0) + 0.5 * (draws == estimate).mean(axis=0)
    z0 = special.ndtri(np.clip(below, 0.5 / n, 1.0 - 0.5 / n))
    # without any one study there may be nothing left to fit, and no acceleration to be known
    gap = (jackknife.mean(axis=0) if len(jackknife) else 0.0) - jackknife
    spread = (gap**2).sum(axis=0)
    safe = np.where(spread > 0.0, spread, 1.0)
    acceleration = np.where(spread > 0.0, (gap**3).sum(axis=0) / (6.0 * safe**1.5), 0.0)
    ends = []
    for z in special.ndtri([alpha / 2.0, 1.0 - alpha / 2.0]):
        shifted = z0 + (z0 + z) / (1.0 - acceleration * (z0 + z))
        level = special.ndtr(shifted)
        ends.append([np.quantile(draws[:, j], level[j]) for j in range(draws.shape[1])])
    return np.asarray(ends).T
