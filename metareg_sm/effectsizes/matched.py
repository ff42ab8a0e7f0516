"""Measures of paired 2x2 tables, and of genotypes.

`ai` both times with the event, `bi` under the first alone, `ci` under the second alone, `di`
neither. The marginal risks are (a + b)/n and (a + c)/n.
"""

from __future__ import annotations

import numpy as np

from metareg_sm._typing import Array


def log_risk_ratio(ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """ln((a + b)/(a + c))."""
    return np.log((ai + bi) / (ai + ci))


def log_risk_ratio_variance(yi: Array, ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """(b + c)/((a + b)(a + c))."""
    return (bi + ci) / ((ai + bi) * (ai + ci))


def log_odds_ratio(ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """Ln of the ratio of the marginal odds."""
    return np.log((ai + bi) / (ci + di)) - np.log((ai + ci) / (bi + di))


def log_odds_ratio_variance(yi: Array, ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """n(1/(r₁r₂) + 1/(k₁k₂)) − 2n(ad − bc)/(r₁r₂k₁k₂), r and k the margins."""
    n = ai + bi + ci + di
    rows, columns = (ai + bi) * (ci + di), (ai + ci) * (bi + di)
    covariance = (ai * di - bi * ci) / (rows * columns)
    return n * (1.0 / rows + 1.0 / columns - 2.0 * covariance)


def risk_difference(ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """(b − c)/n."""
    return (bi - ci) / (ai + bi + ci + di)


def risk_difference_variance(yi: Array, ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """((b + c)/n − ((b − c)/n)²)/n."""
    n = ai + bi + ci + di
    return ((bi + ci) / n - ((bi - ci) / n) ** 2) / n


def conditional_log_odds_ratio(ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """ln(b/c)."""
    return np.log(bi / ci)


def conditional_log_odds_ratio_variance(
    yi: Array, ai: Array, bi: Array, ci: Array, di: Array
) -> Array:
    """1/b + 1/c."""
    return 1.0 / bi + 1.0 / ci


def peto(ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """2(b − c)/(b + c): observed minus expected over the variance, (b − c)/2 over (b + c)/4."""
    return 2.0 * (bi - ci) / (bi + ci)


def peto_variance(yi: Array, ai: Array, bi: Array, ci: Array, di: Array) -> Array:
    """4/(b + c)."""
    return 4.0 / (bi + ci)


def margins_log_odds_ratio(ai: Array, bi: Array, ci: Array, di: Array, ri: Array) -> Array:
    """Ln of the ratio of the marginal odds a/b and c/d; the correlation is for the variance."""
    return np.log(ai / bi) - np.log(ci / di)


def margins_log_odds_ratio_variance(
    yi: Array, ai: Array, bi: Array, ci: Array, di: Array, ri: Array
) -> Array:
    """v₁ + v₂ − 2r√(v₁v₂), v₁ = 1/a + 1/b and v₂ = 1/c + 1/d."""
    first, second = 1.0 / ai + 1.0 / bi, 1.0 / ci + 1.0 / di
    return first + second - 2.0 * ri * np.sqrt(first * second)


def excess_heterozygosity(ai: Array, bi: Array, ci: Array) -> Array:
    """ln(b / (2√(ac)))."""
    return np.log(bi) - np.log(2.0 * np.sqrt(ai * ci))


def excess_heterozygosity_variance(yi: Array, ai: Array, bi: Array, ci: Array) -> Array:
    """1/(4a) + 1/b + 1/(4c)."""
    return 0.25 / ai + 1.0 / bi + 0.25 / ci
