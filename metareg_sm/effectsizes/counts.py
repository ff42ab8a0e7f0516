"""Measures of counts: 2x2 tables, events over time, single proportions and rates.

Cells of a 2x2 table: `ai`, `bi` with and without the event in the first group, `ci`, `di` in the
second. Every function broadcasts; a cell of 0 gives infinities or NaN, which the caller reports.

statsmodels' `effectsize_2proportions` has the same RR, OR, RD and AS, which a test holds it to. It
is not called: it answers with estimate and variance together and corrects zero cells on its own.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from metareg_sm._typing import Array

# ratio of a log odds to a probit unit: Cox & Snell (1989) and the logistic's standard deviation
NORMAL_UNIT = 1.65
LOGISTIC_UNIT = np.pi / np.sqrt(3.0)


# ---- 2x2 tables


def log_risk_ratio(ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """Ln of the ratio of the two risks."""
    return np.log(ai / (ai + bi)) - np.log(ci / (ci + di))


def log_risk_ratio_variance(yi: Array, ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """1/a − 1/n₁ + 1/c − 1/n₂."""
    return 1.0 / ai - 1.0 / (ai + bi) + 1.0 / ci - 1.0 / (ci + di)


def log_odds_ratio(ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """Ln of the ratio of the two odds."""
    return np.log(ai / bi) - np.log(ci / di)


def log_odds_ratio_variance(yi: Array, ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """1/a + 1/b + 1/c + 1/d (Woolf 1955)."""
    return 1.0 / ai + 1.0 / bi + 1.0 / ci + 1.0 / di


def risk_difference(ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """Risk of the first group minus risk of the second."""
    return ai / (ai + bi) - ci / (ci + di)


def risk_difference_variance(yi: Array, ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """p₁q₁/n₁ + p₂q₂/n₂."""
    return ai * bi / (ai + bi) ** 3 + ci * di / (ci + di) ** 3


def risk_difference_unbiased(yi: Array, ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """p₁q₁/(n₁−1) + p₂q₂/(n₂−1)."""
    n1, n2 = ai + bi, ci + di
    return ai * bi / (n1**2 * (n1 - 1.0)) + ci * di / (n2**2 * (n2 - 1.0))


def risk_difference_averaged(yi: Array, ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """p₁q₁/n₁ + p₂q₂/n₂ with the average risks of all studies, weighted by their sizes."""
    n1, n2 = ai + bi, ci + di
    p1, p2 = weighted_mean(ai / n1, n1), weighted_mean(ci / n2, n2)
    return p1 * (1.0 - p1) / n1 + p2 * (1.0 - p2) / n2


def arcsine_difference(ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """Arcsin √p₁ − arcsin √p₂."""
    return np.arcsin(np.sqrt(ai / (ai + bi))) - np.arcsin(np.sqrt(ci / (ci + di)))


def arcsine_difference_variance(yi: Array, ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """1/(4n₁) + 1/(4n₂)."""
    return 0.25 / (ai + bi) + 0.25 / (ci + di)


def peto(ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """Observed minus expected events of the first group over their hypergeometric variance."""
    n1, n = ai + bi, ai + bi + ci + di
    return (ai - n1 * (ai + ci) / n) * peto_variance(ai, ai, bi, ci, di)


def peto_variance(yi: Array, ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """Inverse of n₁n₂m₁m₂ / (N²(N−1)), m the totals of the columns."""
    n1, n2 = ai + bi, ci + di
    n = n1 + n2
    return n**2 * (n - 1.0) / (n1 * n2 * (ai + ci) * (bi + di))


def phi(ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """Pearson correlation of the two binary variables."""
    margins = (ai + bi) * (ci + di) * (ai + ci) * (bi + di)
    return (ai * di - bi * ci) / np.sqrt(margins)


def phi_cross_sectional(yi: Array, ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """Variance of phi when only the total is fixed (Yule 1912)."""
    n = ai + bi + ci + di
    p1, p2, q1, q2 = (ai + bi) / n, (ci + di) / n, (ai + ci) / n, (bi + di) / n
    rows, columns = (p1 - p2) / np.sqrt(p1 * p2), (q1 - q2) / np.sqrt(q1 * q2)
    square = yi**2
    skew = yi * (1.0 + square / 2.0) * rows * columns
    return (1.0 - square + skew - 0.75 * square * (rows**2 + columns**2)) / n


def phi_stratified(yi: Array, ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """Variance of phi when the sizes of the two groups are fixed: the delta method on p₁ and p₂."""
    n1, n2 = ai + bi, ci + di
    n = n1 + n2
    p1, p2 = ai / n1, ci / n2
    p = (ai + ci) / n
    pq = p * (1.0 - p)
    scale = np.sqrt(n1 * n2 / (n**2 * pq))
    slope = (p1 - p2) * (1.0 - 2.0 * p) / (2.0 * pq)
    by_p1 = scale * (1.0 - slope * n1 / n)
    by_p2 = -scale * (1.0 + slope * n2 / n)
    return by_p1**2 * p1 * (1.0 - p1) / n1 + by_p2**2 * p2 * (1.0 - p2) / n2


def yule_q(ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """(OR − 1)/(OR + 1)."""
    return (ai * di - bi * ci) / (ai * di + bi * ci)


def yule_q_variance(yi: Array, ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """¼(1 − Q²)²(1/a + 1/b + 1/c + 1/d)."""
    return 0.25 * (1.0 - yi**2) ** 2 * log_odds_ratio_variance(yi, ai, bi, ci, di)


def yule_y(ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """(√OR − 1)/(√OR + 1)."""
    straight, crossed = np.sqrt(ai * di), np.sqrt(bi * ci)
    return (straight - crossed) / (straight + crossed)


def yule_y_variance(yi: Array, ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """(1 − Y²)²/16 · (1/a + 1/b + 1/c + 1/d)."""
    return 0.0625 * (1.0 - yi**2) ** 2 * log_odds_ratio_variance(yi, ai, bi, ci, di)


def probit_difference(ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """Φ⁻¹(p₁) − Φ⁻¹(p₂)."""
    return ndtri(ai / (ai + bi)) - ndtri(ci / (ci + di))


def probit_difference_variance(yi: Array, ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """p₁q₁/(n₁φ(z₁)²) + p₂q₂/(n₂φ(z₂)²)."""
    n1, n2 = ai + bi, ci + di
    z1, z2 = ndtri(ai / n1), ndtri(ci / n2)
    first, second = ai * bi / n1**3 * np.exp(z1**2), ci * di / n2**3 * np.exp(z2**2)
    return 2.0 * np.pi * (first + second)


def odds_ratio_to_d_normal(ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """Ln OR / 1.65."""
    return log_odds_ratio(ai, bi, ci, di) / NORMAL_UNIT


def odds_ratio_to_d_normal_variance(yi: Array, ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """Variance of ln OR / 1.65²."""
    return log_odds_ratio_variance(yi, ai, bi, ci, di) / NORMAL_UNIT**2


def odds_ratio_to_d_logistic(ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """Ln OR · √3/π."""
    return log_odds_ratio(ai, bi, ci, di) / LOGISTIC_UNIT


def odds_ratio_to_d_logistic_variance(
    yi: Array, ai: Array, bi: Array, ci: Array, di: Array
) -> Array:
    """Variance of ln OR · 3/π²."""
    return log_odds_ratio_variance(yi, ai, bi, ci, di) / LOGISTIC_UNIT**2


# ---- events over time in two groups


def log_rate_ratio(x1i: Array, x2i: Array, t1i: Array, t2i: Array) -> Array:
    """Ln of the ratio of the two rates."""
    return np.log(x1i / t1i) - np.log(x2i / t2i)


def log_rate_ratio_variance(yi: Array, x1i: Array, x2i: Array, t1i: Array, t2i: Array) -> Array:
    """1/x₁ + 1/x₂."""
    return 1.0 / x1i + 1.0 / x2i


def rate_difference(x1i: Array, x2i: Array, t1i: Array, t2i: Array) -> Array:
    """x₁/t₁ − x₂/t₂."""
    return x1i / t1i - x2i / t2i


def rate_difference_variance(yi: Array, x1i: Array, x2i: Array, t1i: Array, t2i: Array) -> Array:
    """x₁/t₁² + x₂/t₂²."""
    return x1i / t1i**2 + x2i / t2i**2


def root_rate_difference(x1i: Array, x2i: Array, t1i: Array, t2i: Array) -> Array:
    """√(x₁/t₁) − √(x₂/t₂)."""
    return np.sqrt(x1i / t1i) - np.sqrt(x2i / t2i)


def root_rate_difference_variance(
    yi: Array, x1i: Array, x2i: Array, t1i: Array, t2i: Array
) -> Array:
    """1/(4t₁) + 1/(4t₂)."""
    return 0.25 / t1i + 0.25 / t2i


# ---- proportions of one group: xi with the event, mi without


def proportion(xi: Array, mi: Array) -> Array:
    """x/n."""
    return xi / (xi + mi)


def proportion_variance(yi: Array, xi: Array, mi: Array) -> Array:
    """p(1 − p)/n."""
    return xi * mi / (xi + mi) ** 3


def log_proportion(xi: Array, mi: Array) -> Array:
    """Ln p."""
    return np.log(xi / (xi + mi))


def log_proportion_variance(yi: Array, xi: Array, mi: Array) -> Array:
    """1/x − 1/n."""
    return 1.0 / xi - 1.0 / (xi + mi)


def log_odds(xi: Array, mi: Array) -> Array:
    """ln(p/(1 − p))."""
    return np.log(xi / mi)


def log_odds_variance(yi: Array, xi: Array, mi: Array) -> Array:
    """1/x + 1/(n − x)."""
    return 1.0 / xi + 1.0 / mi


def arcsine_proportion(xi: Array, mi: Array) -> Array:
    """Arcsin √p."""
    return np.arcsin(np.sqrt(xi / (xi + mi)))


def arcsine_proportion_variance(yi: Array, xi: Array, mi: Array) -> Array:
    """1/(4n)."""
    return 0.25 / (xi + mi)


def double_arcsine(xi: Array, mi: Array) -> Array:
    """½(arcsin √(x/(n+1)) + arcsin √((x+1)/(n+1)))."""
    n = xi + mi + 1.0
    return 0.5 * (np.arcsin(np.sqrt(xi / n)) + np.arcsin(np.sqrt((xi + 1.0) / n)))


def double_arcsine_variance(yi: Array, xi: Array, mi: Array) -> Array:
    """1/(4n + 2)."""
    return 1.0 / (4.0 * (xi + mi) + 2.0)


# ---- rates of one group: xi events in a time at risk ti


def rate(xi: Array, ti: Array) -> Array:
    """x/t."""
    return xi / ti


def rate_variance(yi: Array, xi: Array, ti: Array) -> Array:
    """x/t²."""
    return xi / ti**2


def log_rate(xi: Array, ti: Array) -> Array:
    """ln(x/t)."""
    return np.log(xi / ti)


def log_rate_variance(yi: Array, xi: Array, ti: Array) -> Array:
    """1/x."""
    return 1.0 / xi


def root_rate(xi: Array, ti: Array) -> Array:
    """√(x/t)."""
    return np.sqrt(xi / ti)


def root_rate_variance(yi: Array, xi: Array, ti: Array) -> Array:
    """1/(4t)."""
    return 0.25 / ti


def double_root_rate(xi: Array, ti: Array) -> Array:
    """½(√(x/t) + √((x+1)/t))."""
    return 0.5 * (np.sqrt(xi / ti) + np.sqrt((xi + 1.0) / ti))


def weighted_mean(values: Array, weights: Array) -> Array:
    """Mean of what is there, weighted; NaN if nothing is."""
    there = np.isfinite(values) & np.isfinite(weights)
    total = weights[there].sum()
    return np.asarray((values[there] * weights[there]).sum() / total if total > 0 else np.nan)
