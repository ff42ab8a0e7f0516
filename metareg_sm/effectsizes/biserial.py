"""Correlation of a measurement with a group: point-biserial and biserial."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from metareg_sm._typing import Array
from metareg_sm.effectsizes.means import pooled_variance


def point_biserial(
    m1i: Array, m2i: Array, sd1i: Array, sd2i: Array, n1i: Array, n2i: Array
) -> Array:
    """d/√(d² + h), h = m/n₁ + m/n₂ with m = n₁ + n₂ − 2, which is Pearson's r."""
    d = (m1i - m2i) / np.sqrt(pooled_variance(sd1i, sd2i, n1i, n2i))
    return d / np.sqrt(d**2 + _h(n1i, n2i))


def _h(n1i: Array, n2i: Array) -> Array:
    return (n1i + n2i - 2.0) * (1.0 / n1i + 1.0 / n2i)


def point_biserial_stratified(
    yi: Array, m1i: Array, m2i: Array, sd1i: Array, sd2i: Array, n1i: Array, n2i: Array
) -> Array:
    """Sizes of the groups fixed: the large-sample variance of d by the delta method."""
    d = (m1i - m2i) / np.sqrt(pooled_variance(sd1i, sd2i, n1i, n2i))
    h = _h(n1i, n2i)
    variance = 1.0 / n1i + 1.0 / n2i + d**2 / (2.0 * (n1i + n2i))
    return h**2 / (d**2 + h) ** 3 * variance


def point_biserial_cross_sectional(
    yi: Array, m1i: Array, m2i: Array, sd1i: Array, sd2i: Array, n1i: Array, n2i: Array
) -> Array:
    """Sizes of the groups random: (1 − r²)²(1 − 3r²/2 + r²/(4pq))/n (Tate 1954)."""
    n = n1i + n2i
    pq = n1i * n2i / n**2
    square = yi**2
    return (1.0 - square) ** 2 * (1.0 - 1.5 * square + square / (4.0 * pq)) / n


def biserial(m1i: Array, m2i: Array, sd1i: Array, sd2i: Array, n1i: Array, n2i: Array) -> Array:
    """Point-biserial correlation times √(pq)/φ(z), z the threshold between the groups."""
    return point_biserial(m1i, m2i, sd1i, sd2i, n1i, n2i) * _height(n1i, n2i)


def _height(n1i: Array, n2i: Array) -> Array:
    n = n1i + n2i
    z = ndtri(n1i / n)
    return np.sqrt(n1i * n2i) / n * np.sqrt(2.0 * np.pi) * np.exp(z**2 / 2.0)


def biserial_variance(
    yi: Array, m1i: Array, m2i: Array, sd1i: Array, sd2i: Array, n1i: Array, n2i: Array
) -> Array:
    """{r⁴ + r²(pqz²/φ² + (1 − 2p)z/φ − 5/2) + pq/φ²}/(n − 1), φ the density at z (Soper 1914).

    An estimate beyond -1 or 1 counts as -1 or 1 here.
    """
    n = n1i + n2i
    p = n1i / n
    z = ndtri(p)
    square = _height(n1i, n2i) ** 2
    inverse_density = np.sqrt(2.0 * np.pi) * np.exp(z**2 / 2.0)
    middle = square * z**2 + (1.0 - 2.0 * p) * z * inverse_density - 2.5
    r2 = np.minimum(yi**2, 1.0)
    return (r2**2 + r2 * middle + square) / (n - 1.0)
