"""Means, intervals and shrunken effects from fitted coefficients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from metareg_sm._typing import Array


def critical_value(alpha: float, df: float | Array | None) -> float | Array:
    """Two-sided critical value of t with `df` degrees of freedom, or of the normal for None."""
    if df is None:
        return float(special.ndtri(1.0 - alpha / 2.0))
    return special.stdtrit(df, 1.0 - alpha / 2.0)


def two_sided_pvalue(statistic: Array, df: float | Array | None) -> Array:
    """Two-sided p-value of t with `df` degrees of freedom, or of the normal for None."""
    lower = -np.abs(statistic)
    return 2.0 * (special.ndtr(lower) if df is None else special.stdtr(df, lower))


def interval(center: Array, se: Array, alpha: float, df: float | Array | None) -> Array:
    """Center plus or minus critical value times standard error; (..., 2)."""
    half = critical_value(alpha, df) * se
    return np.stack([center - half, center + half], axis=-1)


def tail_probability(
    mean: Array, sd: Array, threshold: float, df: float | Array | None, above: bool
) -> Array:
    """Probability that a t or normal variable with this mean and scale is beyond a threshold."""
    # a scale of 0 puts all mass on the mean
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.where(sd > 0.0, (mean - threshold) / sd, np.sign(mean - threshold) * np.inf)
    statistic = np.where(np.isnan(statistic), 0.0, statistic)
    if not above:
        statistic = -statistic
    return special.ndtr(statistic) if df is None else special.stdtr(df, statistic)


@dataclass(frozen=True, slots=True)
class RandomEffects:
    """Best linear unbiased predictions of the random effects and of the true effects.

    Attributes
    ----------
    u, u_se : ndarray, (k,)
        Random effects and their standard errors.
    theta, theta_se : ndarray, (k,)
        True effects x'b + u, shrunken towards the regression, and their standard errors.
    """

    u: Array
    u_se: Array
    theta: Array
    theta_se: Array


def random_effects(
    y: Array, v: Array, fitted: Array, fitted_var: Array, tau2: float
) -> RandomEffects:
    """Predict the random effects (empirical Bayes).

    Parameters
    ----------
    y, v : ndarray, (k,)
        Outcomes and sampling variances.
    fitted, fitted_var : ndarray, (k,)
        x'b and its variance.
    tau2 : float
        Heterogeneity.

    Returns
    -------
    RandomEffects

    References
    ----------
    Raudenbush, S. W., & Bryk, A. S. (1985). Empirical Bayes meta-analysis. Journal of Educational
    Statistics, 10(2), 75-98.
    """
    shrinkage = tau2 / (v + tau2)
    u = shrinkage * (y - fitted)
    own = shrinkage * v
    return RandomEffects(
        u=u,
        u_se=np.sqrt(own + shrinkage**2 * fitted_var),
        theta=fitted + u,
        theta_se=np.sqrt(own + (1.0 - shrinkage) ** 2 * fitted_var),
    )
