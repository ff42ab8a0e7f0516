"""Measures of correlation, and of reliability."""

from __future__ import annotations

import numpy as np
from scipy.special import hyp2f1

from metareg_sm._typing import Array
from metareg_sm.effectsizes.counts import weighted_mean

# scipy's hyp2f1 is right below this value of c and NaN from about 150
_SERIES_FROM = 20.0
_TERMS = 400


def hypergeometric(a: float, c: Array, x: Array) -> Array:
    """₂F₁(a, a; c; x) for 0 <= x <= 1; by its series where c is large."""
    large = c >= _SERIES_FROM
    safe = np.where(large, c, _SERIES_FROM)
    argument = np.where(large, x, 0.0)
    term, total = np.ones_like(argument), np.ones_like(argument)
    for k in range(_TERMS):
        term = term * (a + k) ** 2 / ((safe + k) * (k + 1.0)) * argument
        total = total + term
        if np.nanmax(term, initial=0.0) < np.finfo(float).eps / 8:
            break
    return np.where(large, total, hyp2f1(a, a, np.where(large, 1.0, c), np.where(large, 0.0, x)))


def correlation(ri: Array, ni: Array) -> Array:
    """R."""
    return ri + 0.0


def correlation_variance(yi: Array, ri: Array, ni: Array) -> Array:
    """(1 − y²)²/(n − 1)."""
    return ((1.0 - yi) * (1.0 + yi)) ** 2 / (ni - 1.0)


def correlation_averaged(yi: Array, ri: Array, ni: Array) -> Array:
    """(1 − ȳ²)²/(n − 1) with the average correlation of all studies, weighted by their sizes."""
    return correlation_variance(weighted_mean(yi, ni), ri, ni)


def unbiased_correlation(ri: Array, ni: Array) -> Array:
    """R ₂F₁(½, ½; (n−2)/2; 1 − r²) (Olkin & Pratt 1958, equation 2.3)."""
    half = np.where(ni > 4.0, (ni - 2.0) / 2.0, np.nan)
    return ri * hypergeometric(0.5, half, (1.0 - ri) * (1.0 + ri))


def unbiased_correlation_variance(yi: Array, ri: Array, ni: Array) -> Array:
    """y² less the unbiased estimate of ρ²: unbiased (Hedges 1989, with the exact equation).

    That estimate is 1 − (n−3)/(n−2) (1 − r²) ₂F₁(1, 1; n/2; 1 − r²) (Olkin & Pratt 1958).
    """
    rest = (1.0 - ri) * (1.0 + ri)
    defined = np.where(ni > 4.0, ni, np.nan)
    square = (defined - 3.0) / (defined - 2.0) * rest * hypergeometric(1.0, defined / 2.0, rest)
    return yi**2 - 1.0 + square


def fisher_z(ri: Array, ni: Array) -> Array:
    """Artanh r."""
    return np.arctanh(ri)


def fisher_z_variance(yi: Array, ri: Array, ni: Array) -> Array:
    """1/(n − 3)."""
    return 1.0 / np.where(ni > 3.0, ni - 3.0, np.nan)


# ---- partial correlations of a regression with `mi` predictors, from its t statistic


def partial_correlation(ti: Array, ni: Array, mi: Array) -> Array:
    """t/√(t² + n − m − 1)."""
    return ti / np.sqrt(ti**2 + ni - mi - 1.0)


def partial_correlation_variance(yi: Array, ti: Array, ni: Array, mi: Array) -> Array:
    """(1 − y²)²/(n − m − 1)."""
    return ((1.0 - yi) * (1.0 + yi)) ** 2 / (ni - mi - 1.0)


def fisher_z_partial(ti: Array, ni: Array, mi: Array) -> Array:
    """Artanh of the partial correlation."""
    return np.arctanh(partial_correlation(ti, ni, mi))


def fisher_z_partial_variance(yi: Array, ti: Array, ni: Array, mi: Array) -> Array:
    """1/(n − m − 1)."""
    return 1.0 / (ni - mi - 1.0)


def semipartial_correlation(ti: Array, ni: Array, mi: Array, r2i: Array) -> Array:
    """T √((1 − R²)/(n − m − 1))."""
    return ti * np.sqrt((1.0 - r2i) / (ni - mi - 1.0))


def semipartial_correlation_variance(
    yi: Array, ti: Array, ni: Array, mi: Array, r2i: Array
) -> Array:
    """(R⁴ − 2R² + R₀² + 1 − R₀⁴)/n, R₀² = R² − y² that of the other predictors."""
    others = r2i - yi**2
    return (r2i**2 - 2.0 * r2i + others + 1.0 - others**2) / ni


# ---- Cronbach's alpha `ai` of `mi` items


def alpha_raw(ai: Array, mi: Array, ni: Array) -> Array:
    """α."""
    return ai + 0.0


def alpha_raw_variance(yi: Array, ai: Array, mi: Array, ni: Array) -> Array:
    """2m(1 − α)²/((m − 1)(n − 2))."""
    return alpha_bonett_variance(yi, ai, mi, ni) * (1.0 - ai) ** 2


def alpha_hakstian_whalen(ai: Array, mi: Array, ni: Array) -> Array:
    """1 − (1 − α)^⅓."""
    return 1.0 - np.cbrt(1.0 - ai)


def alpha_hakstian_whalen_variance(yi: Array, ai: Array, mi: Array, ni: Array) -> Array:
    """18m(n−1)(1 − α)^⅔/((m − 1)(9n − 11)²)."""
    return 18.0 * mi * (ni - 1.0) * np.cbrt(1.0 - ai) ** 2 / ((mi - 1.0) * (9.0 * ni - 11.0) ** 2)


def alpha_bonett(ai: Array, mi: Array, ni: Array) -> Array:
    """−ln(1 − α)."""
    return -np.log1p(-ai)


def alpha_bonett_variance(yi: Array, ai: Array, mi: Array, ni: Array) -> Array:
    """2m/((m − 1)(n − 2))."""
    return 2.0 * mi / ((mi - 1.0) * (ni - 2.0))
