"""Rubin's rules: estimates from completed data sets as one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metareg_sm._typing import Array


@dataclass(frozen=True, slots=True, eq=False)
class Rubin:
    """Rubin's rules for m estimates of several numbers.

    Attributes
    ----------
    estimate : ndarray, (q,)
        Means of the estimates.
    within, between : ndarray, (q,)
        Mean variance, and variance of the estimates.
    variance : ndarray, (q,)
        Total variance: within + (1 + 1/m) between.
    df : ndarray, (q,)
        Degrees of freedom (Barnard & Rubin, 1999).
    """

    estimate: Array
    within: Array
    between: Array
    variance: Array
    df: Array

    @property
    def riv(self) -> Array:
        """Relative increase of the variance for what is missing."""
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            found: Array = (self.variance - self.within) / self.within
        return found

    @property
    def fmi(self) -> Array:
        """Fraction of missing information."""
        r = self.riv
        with np.errstate(invalid="ignore"):
            found: Array = (r + 2.0 / (self.df + 3.0)) / (r + 1.0)
        return found


def rubin(estimates: Array, variances: Array, df_complete: float | Array) -> Rubin:
    """Pool estimates (m, q) with variances (m, q); Rubin (1987), Barnard & Rubin (1999).

    Parameters
    ----------
    estimates, variances : ndarray, (m, q)
        One row a completed data set, m >= 2.
    df_complete : float or ndarray
        Degrees of freedom of the complete data; infinite for normal tests.
    """
    m = len(estimates)
    within, between = variances.mean(0), estimates.var(0, ddof=1)
    extra = (1.0 + 1.0 / m) * between
    total = within + extra
    with np.errstate(invalid="ignore"):
        missing = extra / total
    return Rubin(estimates.mean(0), within, between, total, pooled_df(missing, m, df_complete))


def pooled_df(missing: Array, m: int, df_complete: float | Array) -> Array:
    """Degrees of freedom of Barnard & Rubin (1999).

    Parameters
    ----------
    missing : ndarray
        Share of the total variance that is due to what is missing.
    m : int
        Completed data sets.
    df_complete : float or ndarray
        Degrees of freedom of the complete data.
    """
    complete = np.asarray(df_complete, dtype=float)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        old = (m - 1.0) / missing**2
        observed = (complete + 1.0) / (complete + 3.0) * complete * (1.0 - missing)
        # infinite degrees of freedom say nothing against the others
        parts = [np.where(np.isfinite(df), 1.0 / df, 0.0) for df in (old, observed)]
        found: Array = 1.0 / (parts[0] + parts[1])
    return found


def d1_df(q: int, m: int, r: float, df_complete: float) -> float:
    """Denominator degrees of freedom of the joint test D1 of q > 1 numbers.

    Reiter (2007) for few complete-data degrees of freedom; Li, Raghunathan & Rubin (1991) where
    these are infinite, or too few for Reiter's expansion, and then joined to the observed-data
    degrees of freedom as Barnard & Rubin do.
    """
    t = q * (m - 1.0)
    star = np.inf
    if df_complete < np.inf:
        star = df_complete * (df_complete + 1.0) / (df_complete + 3.0)
    if r <= 0.0:
        return star
    if t > 4.0:
        large = 4.0 + (t - 4.0) * (1.0 + (1.0 - 2.0 / t) / r) ** 2
    else:
        large = 0.5 * t * (1.0 + 1.0 / q) * (1.0 + 1.0 / r) ** 2
    if np.isinf(df_complete):
        return large
    a = r * t / (t - 2.0) if t > 2.0 else np.inf
    c0 = star - 4.0 * (1.0 + a)
    if t > 4.0 and c0 > 0.0:
        c1 = star - 2.0 * (1.0 + a)
        z = 1.0 / c0 + (
            a**2 * c1 / ((1.0 + a) ** 2 * c0)
            + 8.0 * a**2 * c1 / ((1.0 + a) * c0**2)
            + 4.0 * a**2 / ((1.0 + a) * c0)
            + 4.0 * a**2 / (c0 * c1)
            + 16.0 * a**2 * c1 / c0**3
            + 8.0 * a**2 / c0**2
        ) / (t - 4.0)
        return 4.0 + 1.0 / z
    return 1.0 / (1.0 / large + (1.0 + r) / star)
