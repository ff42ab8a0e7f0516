"""Measures of means and standard deviations: two groups, one group.

`m`, `sd`, `n` with 1 or 2 are the mean, standard deviation and size of a group. Every function
broadcasts; what is undefined is NaN or infinite, which the caller reports.

statsmodels' `effectsize_smd` is not called here: it approximates the correction for bias by
1 − 3/(4N − 9) and has another large-sample variance, so it computes something else.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

from metareg_sm._typing import Array
from metareg_sm.effectsizes.counts import LOGISTIC_UNIT, NORMAL_UNIT, weighted_mean

# ln Γ(z + ½) − ln Γ(z) − ½ ln z in odd powers of 1/z (Tricomi & Erdélyi 1951)
_SERIES = (-1 / 8, 1 / 192, -1 / 640, 17 / 14336, -31 / 18432)
_SERIES_FROM = 20.0


def bias_correction(df: Array | float) -> Array:
    """Hedges' exact factor J(m) = Γ(m/2) / (√(m/2) Γ((m−1)/2)) (Hedges 1981).

    Parameters
    ----------
    df : array_like
        Degrees of freedom m of the standard deviation.

    Returns
    -------
    ndarray
        Factors between 0 and 1; NaN for m <= 1, where no correction exists.

    Examples
    --------
    >>> float(bias_correction(10.0).round(6))
    0.922746
    """
    m = np.asarray(df, dtype=float)
    z = np.where(m > 1.0, (m - 1.0) / 2.0, np.nan)
    # a difference of two large ln Γ loses digits: the series of the difference does not
    small = np.where(z < _SERIES_FROM, z, 1.0)
    direct = gammaln(small + 0.5) - gammaln(small) - 0.5 * np.log(small)
    large = np.where(z < _SERIES_FROM, _SERIES_FROM, z)
    series = sum(c * large ** -(2.0 * j + 1.0) for j, c in enumerate(_SERIES))
    log_ratio = np.where(z < _SERIES_FROM, direct, series)
    return np.exp(log_ratio - 0.5 * np.log1p(0.5 / z))


def factor(df: Array, correct: bool) -> Array:
    """`bias_correction`, or 1 without correction."""
    return bias_correction(df) if correct else np.ones_like(np.asarray(df, dtype=float))


def pooled_variance(sd1i: Array, sd2i: Array, n1i: Array, n2i: Array) -> Array:
    """Variance within both groups together."""
    return ((n1i - 1.0) * sd1i**2 + (n2i - 1.0) * sd2i**2) / (n1i + n2i - 2.0)


# ---- raw means of two groups


def mean_difference(
    m1i: Array, m2i: Array, sd1i: Array, sd2i: Array, n1i: Array, n2i: Array
) -> Array:
    """Mean of the first group minus mean of the second."""
    return m1i - m2i


def mean_difference_variance(
    yi: Array, m1i: Array, m2i: Array, sd1i: Array, sd2i: Array, n1i: Array, n2i: Array
) -> Array:
    """s₁²/n₁ + s₂²/n₂."""
    return sd1i**2 / n1i + sd2i**2 / n2i


def mean_difference_pooled(
    yi: Array, m1i: Array, m2i: Array, sd1i: Array, sd2i: Array, n1i: Array, n2i: Array
) -> Array:
    """s²(1/n₁ + 1/n₂) with the pooled variance."""
    return pooled_variance(sd1i, sd2i, n1i, n2i) * (1.0 / n1i + 1.0 / n2i)


# ---- standardized by the pooled standard deviation: d, from whatever gives it


def standardized_difference(di: Array, n1i: Array, n2i: Array, correct: bool = True) -> Array:
    """Hedges' g: d times the correction for bias."""
    return factor(n1i + n2i - 2.0, correct) * di


def large_sample(yi: Array, di: Array, n1i: Array, n2i: Array, correct: bool = True) -> Array:
    """1/n₁ + 1/n₂ + g²/(2(n₁ + n₂)) (Hedges 1982, equation 8)."""
    return 1.0 / n1i + 1.0 / n2i + yi**2 / (2.0 * (n1i + n2i))


def large_sample_shrunk(
    yi: Array, di: Array, n1i: Array, n2i: Array, correct: bool = True
) -> Array:
    """J²(1/n₁ + 1/n₂ + d²/(2(n₁ + n₂))) (Borenstein 2009, equation 12.17)."""
    shrunk = factor(n1i + n2i - 2.0, correct) ** 2
    return shrunk * large_sample(di, di, n1i, n2i)


def unbiased(yi: Array, di: Array, n1i: Array, n2i: Array, correct: bool = True) -> Array:
    """1/n₁ + 1/n₂ + (1 − (m−2)/(m J²)) g² (Hedges 1983, equation 9)."""
    m = n1i + n2i - 2.0
    return 1.0 / n1i + 1.0 / n2i + (1.0 - (m - 2.0) / (m * bias_correction(m) ** 2)) * yi**2


def averaged(yi: Array, di: Array, n1i: Array, n2i: Array, correct: bool = True) -> Array:
    """The large-sample variance at the average g of all studies, weighted by their sizes."""
    return large_sample(weighted_mean(yi, n1i + n2i), di, n1i, n2i)


def d_to_log_odds_normal(di: Array, n1i: Array, n2i: Array) -> Array:
    """1.65 d, d without correction."""
    return NORMAL_UNIT * di


def d_to_log_odds_normal_variance(yi: Array, di: Array, n1i: Array, n2i: Array) -> Array:
    """1.65² times the large-sample variance of d."""
    return NORMAL_UNIT**2 * large_sample(di, di, n1i, n2i)


def d_to_log_odds_logistic(di: Array, n1i: Array, n2i: Array) -> Array:
    """D π/√3, d without correction."""
    return LOGISTIC_UNIT * di


def d_to_log_odds_logistic_variance(yi: Array, di: Array, n1i: Array, n2i: Array) -> Array:
    """π²/3 times the large-sample variance of d."""
    return LOGISTIC_UNIT**2 * large_sample(di, di, n1i, n2i)


# ---- standardized without equal variances, or by one group


def heteroscedastic_difference(
    m1i: Array,
    m2i: Array,
    sd1i: Array,
    sd2i: Array,
    n1i: Array,
    n2i: Array,
    correct: bool = True,
) -> Array:
    """Difference over √((s₁² + s₂²)/2), corrected with n₁ + n₂ − 2 degrees of freedom."""
    return factor(n1i + n2i - 2.0, correct) * (m1i - m2i) / np.sqrt((sd1i**2 + sd2i**2) / 2.0)


def heteroscedastic_variance(
    yi: Array,
    m1i: Array,
    m2i: Array,
    sd1i: Array,
    sd2i: Array,
    n1i: Array,
    n2i: Array,
    correct: bool = True,
) -> Array:
    """J²{g²(s₁⁴/m₁ + s₂⁴/m₂)/(8s⁴) + (s₁²/m₁ + s₂²/m₂)/s²}, m the sizes less 1.

    Bonett (2008, 2009), in metafor's form: the corrected g stands in the braces as well.
    """
    square = (sd1i**2 + sd2i**2) / 2.0
    spread = (sd1i**4 / (n1i - 1.0) + sd2i**4 / (n2i - 1.0)) / (8.0 * square**2)
    raw = yi**2 * spread + (sd1i**2 / (n1i - 1.0) + sd2i**2 / (n2i - 1.0)) / square
    return factor(n1i + n2i - 2.0, correct) ** 2 * raw


def control_standardized(
    m1i: Array, m2i: Array, sd2i: Array, n1i: Array, n2i: Array, correct: bool = True
) -> Array:
    """Glass's Δ: difference over s₂, corrected with n₂ − 1 degrees of freedom."""
    return factor(n2i - 1.0, correct) * (m1i - m2i) / sd2i


def control_standardized_variance(
    yi: Array, m1i: Array, m2i: Array, sd2i: Array, n1i: Array, n2i: Array, correct: bool = True
) -> Array:
    """1/n₁ + 1/n₂ + Δ²/(2n₂)."""
    return 1.0 / n1i + 1.0 / n2i + yi**2 / (2.0 * n2i)


def control_standardized_shrunk(
    yi: Array, m1i: Array, m2i: Array, sd2i: Array, n1i: Array, n2i: Array, correct: bool = True
) -> Array:
    """J²(1/n₁ + 1/n₂ + d²/(2n₂)), d without correction."""
    shrunk = factor(n2i - 1.0, correct) ** 2
    return shrunk * (1.0 / n1i + 1.0 / n2i) + yi**2 / (2.0 * n2i)


def control_standardized_unbiased(
    yi: Array, m1i: Array, m2i: Array, sd2i: Array, n1i: Array, n2i: Array, correct: bool = True
) -> Array:
    """1/n₁ + 1/n₂ + (1 − (m−2)/(m J²)) Δ² with m = n₂ − 1."""
    m = n2i - 1.0
    return 1.0 / n1i + 1.0 / n2i + (1.0 - (m - 2.0) / (m * bias_correction(m) ** 2)) * yi**2


def control_standardized_averaged(
    yi: Array, m1i: Array, m2i: Array, sd2i: Array, n1i: Array, n2i: Array, correct: bool = True
) -> Array:
    """The large-sample variance at the average of all studies, weighted by their sizes."""
    mean = weighted_mean(yi, n1i + n2i)
    return control_standardized_variance(mean, m1i, m2i, sd2i, n1i, n2i)


def control_standardized_hetero(
    m1i: Array,
    m2i: Array,
    sd1i: Array,
    sd2i: Array,
    n1i: Array,
    n2i: Array,
    correct: bool = True,
) -> Array:
    """As `control_standardized`; the standard deviation of the first group is for the variance."""
    return control_standardized(m1i, m2i, sd2i, n1i, n2i, correct)


def control_standardized_hetero_variance(
    yi: Array,
    m1i: Array,
    m2i: Array,
    sd1i: Array,
    sd2i: Array,
    n1i: Array,
    n2i: Array,
    correct: bool = True,
) -> Array:
    """s₁²/(s₂²n₁) + 1/n₂ + Δ²/(2n₂) (Bonett 2008, 2009, in large samples)."""
    return (sd1i / sd2i) ** 2 / n1i + (1.0 + yi**2 / 2.0) / n2i


# ---- ratios of two groups


def log_mean_ratio(
    m1i: Array, m2i: Array, sd1i: Array, sd2i: Array, n1i: Array, n2i: Array
) -> Array:
    """ln(m₁/m₂)."""
    return np.log(m1i / m2i)


def log_mean_ratio_variance(
    yi: Array, m1i: Array, m2i: Array, sd1i: Array, sd2i: Array, n1i: Array, n2i: Array
) -> Array:
    """s₁²/(n₁m₁²) + s₂²/(n₂m₂²) (Hedges et al. 1999, equation 1)."""
    return (sd1i / m1i) ** 2 / n1i + (sd2i / m2i) ** 2 / n2i


def log_mean_ratio_pooled(
    yi: Array, m1i: Array, m2i: Array, sd1i: Array, sd2i: Array, n1i: Array, n2i: Array
) -> Array:
    """s²/(n₁m₁²) + s²/(n₂m₂²) with the pooled variance (Hedges et al. 1999)."""
    square = pooled_variance(sd1i, sd2i, n1i, n2i)
    return square / (n1i * m1i**2) + square / (n2i * m2i**2)


def log_mean_ratio_averaged(
    yi: Array, m1i: Array, m2i: Array, sd1i: Array, sd2i: Array, n1i: Array, n2i: Array
) -> Array:
    """CV₁²/n₁ + CV₂²/n₂ with the average CV of each group over the studies."""
    first, second = weighted_mean(sd1i / m1i, n1i), weighted_mean(sd2i / m2i, n2i)
    return first**2 / n1i + second**2 / n2i


def log_mean_ratio_averaged_both(
    yi: Array, m1i: Array, m2i: Array, sd1i: Array, sd2i: Array, n1i: Array, n2i: Array
) -> Array:
    """CV²(1/n₁ + 1/n₂) with the average CV of both groups over the studies."""
    within = (n1i * sd1i / m1i + n2i * sd2i / m2i) / (n1i + n2i)
    return weighted_mean(within, n1i + n2i) ** 2 * (1.0 / n1i + 1.0 / n2i)


def log_variation_ratio(
    m1i: Array,
    m2i: Array,
    sd1i: Array,
    sd2i: Array,
    n1i: Array,
    n2i: Array,
    correct: bool = True,
) -> Array:
    """ln(CV₁/CV₂) + 1/(2(n₁−1)) − 1/(2(n₂−1))."""
    return log_variability_ratio(sd1i, sd2i, n1i, n2i, correct) - np.log(m1i) + np.log(m2i)


def log_variation_ratio_variance(
    yi: Array,
    m1i: Array,
    m2i: Array,
    sd1i: Array,
    sd2i: Array,
    n1i: Array,
    n2i: Array,
    correct: bool = True,
) -> Array:
    """1/(2(n₁−1)) + s₁²/(n₁m₁²) + 1/(2(n₂−1)) + s₂²/(n₂m₂²)."""
    means = log_mean_ratio_variance(yi, m1i, m2i, sd1i, sd2i, n1i, n2i)
    return means + log_variability_ratio_variance(yi, sd1i, sd2i, n1i, n2i)


def log_variability_ratio(
    sd1i: Array, sd2i: Array, n1i: Array, n2i: Array, correct: bool = True
) -> Array:
    """ln(s₁/s₂) + 1/(2(n₁−1)) − 1/(2(n₂−1))."""
    bias = 0.5 / (n1i - 1.0) - 0.5 / (n2i - 1.0)
    return np.log(sd1i / sd2i) + (bias if correct else 0.0)


def log_variability_ratio_variance(
    yi: Array, sd1i: Array, sd2i: Array, n1i: Array, n2i: Array, correct: bool = True
) -> Array:
    """1/(2(n₁−1)) + 1/(2(n₂−1))."""
    return 0.5 / (n1i - 1.0) + 0.5 / (n2i - 1.0)


# ---- one group


def mean(mi: Array, sdi: Array, ni: Array) -> Array:
    """The mean."""
    return mi + 0.0


def mean_variance(yi: Array, mi: Array, sdi: Array, ni: Array) -> Array:
    """s²/n."""
    return sdi**2 / ni


def log_mean(mi: Array, sdi: Array, ni: Array) -> Array:
    """Ln m."""
    return np.log(mi)


def log_mean_variance(yi: Array, mi: Array, sdi: Array, ni: Array) -> Array:
    """s²/(n m²)."""
    return (sdi / mi) ** 2 / ni


def standardized_mean(mi: Array, sdi: Array, ni: Array, correct: bool = True) -> Array:
    """m/s, corrected with n − 1 degrees of freedom."""
    return factor(ni - 1.0, correct) * mi / sdi


def standardized_mean_variance(
    yi: Array, mi: Array, sdi: Array, ni: Array, correct: bool = True
) -> Array:
    """1/n + y²/(2n)."""
    return 1.0 / ni + yi**2 / (2.0 * ni)


def log_variation(mi: Array, sdi: Array, ni: Array, correct: bool = True) -> Array:
    """ln(s/m) + 1/(2(n−1))."""
    return log_spread(sdi, ni, correct) - np.log(mi)


def log_variation_variance(
    yi: Array, mi: Array, sdi: Array, ni: Array, correct: bool = True
) -> Array:
    """1/(2(n−1)) + s²/(n m²)."""
    return log_spread_variance(yi, sdi, ni) + log_mean_variance(yi, mi, sdi, ni)


def log_spread(sdi: Array, ni: Array, correct: bool = True) -> Array:
    """Ln s + 1/(2(n−1))."""
    return np.log(sdi) + (0.5 / (ni - 1.0) if correct else 0.0)


def log_spread_variance(yi: Array, sdi: Array, ni: Array, correct: bool = True) -> Array:
    """1/(2(n−1))."""
    return 0.5 / (ni - 1.0)
