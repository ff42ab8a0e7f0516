"""The tetrachoric correlation of a 2x2 table, all tables at once.

The thresholds come from the margins; the correlation is the one that gives the first cell its
share, which is the maximum of the likelihood. Owen's T gives the bivariate normal probability, and
Newton steps within a bracket its root, so there is neither quadrature nor a loop over tables.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri, owens_t

from metareg_sm._typing import Array

_ITERATIONS = 100
_TOLERANCE = 4.0 * np.finfo(float).eps


def bivariate_normal(h: Array, k: Array, rho: Array) -> Array:
    """Probability that two standard normal variables of correlation rho are below h and k.

    Owen (1956): ½Φ(h) + ½Φ(k) − T(h, a) − T(k, b), less ½ if h and k have opposite signs.

    Parameters
    ----------
    h, k : ndarray
        Finite.
    rho : ndarray
        Between -1 and 1, exclusive.

    Returns
    -------
    ndarray
        Probabilities.
    """
    root = np.sqrt((1.0 - rho) * (1.0 + rho))
    opposite = (h * k < 0.0) | ((h * k == 0.0) & (h + k < 0.0))
    total = 0.5 * ndtr(h) + 0.5 * ndtr(k) - np.where(opposite, 0.5, 0.0)
    return total - _owen(h, k, rho, root) - _owen(k, h, rho, root)


def _owen(h: Array, k: Array, rho: Array, root: Array) -> Array:
    # at h = 0 the slope is infinite, with the sign of k, and at h = k = 0 it is that of h = k -> 0
    slope = np.where(
        h != 0.0,
        (k - rho * h) / (np.where(h != 0.0, h, 1.0) * root),
        np.where(k == 0.0, np.sqrt((1.0 - rho) / (1.0 + rho)), np.copysign(np.inf, k)),
    )
    return owens_t(h, slope)


def tetrachoric(ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """Correlation of the two normal variables behind the binary ones (Pearson 1900).

    Parameters
    ----------
    ai, bi, ci, di : ndarray
        The cells. A cell of 0 puts the correlation at an end, -1 or 1.

    Returns
    -------
    ndarray
        Correlations; NaN where a row or a column is empty.
    """
    n = ai + bi + ci + di
    h, k, share = ndtri((ai + bi) / n), ndtri((ai + ci) / n), ai / n
    inner = np.isfinite(h) & np.isfinite(k) & np.isfinite(share)
    rho = np.full(share.shape, np.nan)
    empty_main, empty_off = (ai == 0) | (di == 0), (bi == 0) | (ci == 0)
    rho[inner & empty_main] = -1.0
    rho[inner & empty_off & ~empty_main] = 1.0
    solve = inner & ~empty_main & ~empty_off
    rho[solve] = _root(h[solve], k[solve], share[solve])
    return rho


def _root(h: Array, k: Array, share: Array) -> Array:
    # in the angle theta = arcsin(rho) the probability is smooth up to both ends
    low, high = np.full(h.shape, -np.pi / 2), np.full(h.shape, np.pi / 2)
    theta = np.zeros(h.shape)
    for _ in range(_ITERATIONS):
        rho = np.sin(theta)
        miss = bivariate_normal(h, k, rho) - share
        low, high = np.where(miss <= 0.0, theta, low), np.where(miss >= 0.0, theta, high)
        step = miss / _density(h, k, rho)
        newton = theta - step
        inside = (newton > low) & (newton < high)
        following = np.where(inside, newton, 0.5 * (low + high))
        done = np.abs(following - theta) <= _TOLERANCE
        theta = following
        if done.all():
            break
    return np.sin(theta)


def _density(h: Array, k: Array, rho: Array) -> Array:
    """Derivative of the probability by theta: the bivariate normal density times √(1 − rho²)."""
    square = np.maximum((1.0 - rho) * (1.0 + rho), np.finfo(float).tiny)
    distance = ((h - k) ** 2 + 2.0 * h * k * (1.0 - rho)) / (2.0 * square)
    return np.maximum(np.exp(-distance) / (2.0 * np.pi), np.finfo(float).tiny)


def tetrachoric_variance(yi: Array, ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """Large-sample variance with both thresholds estimated (Pearson 1900; Hamdan 1970).

    The delta method on the four shares, of which rho, h and k are functions.
    """
    n = ai + bi + ci + di
    h, k = ndtri((ai + bi) / n), ndtri((ai + ci) / n)
    inner = np.abs(yi) < 1.0
    rho = np.where(inner, yi, 0.0)
    root = np.sqrt((1.0 - rho) * (1.0 + rho))
    # slopes of the first cell's probability by the shares of the first row and of the first column
    by_row = ndtr((k - rho * h) / root)
    by_column = ndtr((h - rho * k) / root)
    height = _density(h, k, rho) / root
    shares = (ai / n, bi / n, ci / n, di / n)
    slopes = (1.0 - by_row - by_column, -by_row, -by_column, np.zeros_like(h))
    mean = sum(p * s for p, s in zip(shares, slopes, strict=True))
    second = sum(p * (s - mean) ** 2 for p, s in zip(shares, slopes, strict=True))
    return np.where(inner, second / (n * height**2), np.nan)
