"""Measures of change within a group, or between matched groups, with correlation `ri`."""

from __future__ import annotations

import numpy as np

from metareg_sm._typing import Array
from metareg_sm.effectsizes.means import factor


def change_variance(sd1i: Array, sd2i: Array, ri: Array) -> Array:
    """Variance of the differences: s₁² + s₂² − 2 r s₁ s₂.

    Written as (s₁ − s₂)² + 2(1 − r)s₁s₂, which keeps its digits where both terms are alike.
    """
    return (sd1i - sd2i) ** 2 + 2.0 * (1.0 - ri) * sd1i * sd2i


def mean_change(m1i: Array, m2i: Array, sd1i: Array, sd2i: Array, ri: Array, ni: Array) -> Array:
    """First mean minus second mean."""
    return m1i - m2i


def mean_change_variance(
    yi: Array, m1i: Array, m2i: Array, sd1i: Array, sd2i: Array, ri: Array, ni: Array
) -> Array:
    """(s₁² + s₂² − 2 r s₁ s₂)/n."""
    return change_variance(sd1i, sd2i, ri) / ni


def change_standardized(
    m1i: Array,
    m2i: Array,
    sd1i: Array,
    sd2i: Array,
    ri: Array,
    ni: Array,
    correct: bool = True,
) -> Array:
    """Change over the standard deviation of the changes, corrected with n − 1 df."""
    return factor(ni - 1.0, correct) * (m1i - m2i) / np.sqrt(change_variance(sd1i, sd2i, ri))


def change_standardized_variance(
    yi: Array,
    m1i: Array,
    m2i: Array,
    sd1i: Array,
    sd2i: Array,
    ri: Array,
    ni: Array,
    correct: bool = True,
) -> Array:
    """1/n + g²/(2n) (Gibbons et al. 1993)."""
    return 1.0 / ni + yi**2 / (2.0 * ni)


def raw_standardized(
    m1i: Array, m2i: Array, sd1i: Array, ri: Array, ni: Array, correct: bool = True
) -> Array:
    """Change over the first standard deviation, corrected with n − 1 df."""
    return factor(ni - 1.0, correct) * (m1i - m2i) / sd1i


def raw_standardized_variance(
    yi: Array, m1i: Array, m2i: Array, sd1i: Array, ri: Array, ni: Array, correct: bool = True
) -> Array:
    """2(1 − r)/n + g²/(2n) (Becker 1988)."""
    return 2.0 * (1.0 - ri) / ni + yi**2 / (2.0 * ni)


def raw_standardized_hetero(
    m1i: Array,
    m2i: Array,
    sd1i: Array,
    sd2i: Array,
    ri: Array,
    ni: Array,
    correct: bool = True,
) -> Array:
    """As `raw_standardized`; the second standard deviation is for the variance."""
    return raw_standardized(m1i, m2i, sd1i, ri, ni, correct)


def raw_standardized_hetero_variance(
    yi: Array,
    m1i: Array,
    m2i: Array,
    sd1i: Array,
    sd2i: Array,
    ri: Array,
    ni: Array,
    correct: bool = True,
) -> Array:
    """J²(s_d²/s₁² + g²/2)/(n − 1), s_d that of the changes.

    Bonett (2008), in metafor's form: the corrected g stands in the bracket as well.
    """
    raw = change_variance(sd1i, sd2i, ri) / sd1i**2 + yi**2 / 2.0
    return factor(ni - 1.0, correct) ** 2 * raw / (ni - 1.0)


def log_ratio(m1i: Array, m2i: Array, sd1i: Array, sd2i: Array, ri: Array, ni: Array) -> Array:
    """ln(m₁/m₂)."""
    return np.log(m1i / m2i)


def log_ratio_variance(
    yi: Array, m1i: Array, m2i: Array, sd1i: Array, sd2i: Array, ri: Array, ni: Array
) -> Array:
    """CV₁²/n + CV₂²/n − 2 r CV₁ CV₂/n (Lajeunesse 2011)."""
    return change_variance(sd1i / m1i, sd2i / m2i, ri) / ni


def log_variation_ratio(
    m1i: Array, m2i: Array, sd1i: Array, sd2i: Array, ri: Array, ni: Array
) -> Array:
    """ln(CV₁/CV₂)."""
    return np.log(sd1i / sd2i) - np.log(m1i) + np.log(m2i)


def log_variation_ratio_variance(
    yi: Array, m1i: Array, m2i: Array, sd1i: Array, sd2i: Array, ri: Array, ni: Array
) -> Array:
    """(1 − r²)/(n − 1) and the variance of the log ratio of means."""
    means = log_ratio_variance(yi, m1i, m2i, sd1i, sd2i, ri, ni)
    return means + log_variability_ratio_variance(yi, sd1i, sd2i, ri, ni)


def log_variability_ratio(sd1i: Array, sd2i: Array, ri: Array, ni: Array) -> Array:
    """ln(s₁/s₂)."""
    return np.log(sd1i / sd2i)


def log_variability_ratio_variance(
    yi: Array, sd1i: Array, sd2i: Array, ri: Array, ni: Array
) -> Array:
    """(1 − r²)/(n − 1)."""
    return (1.0 - ri) * (1.0 + ri) / (ni - 1.0)
