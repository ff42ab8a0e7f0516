"""Reference distributions of tests and intervals: t, or normal without degrees of freedom."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from scipy import special

from metareg_sm._typing import Array
from metareg_sm.exceptions import OptionError


def check_alpha(alpha: Any, argument: str = "alpha") -> float:
    """A level or 1 minus a coverage: a number between 0 and 1.

    Raises
    ------
    OptionError
        If it is none.

    Examples
    --------
    >>> check_alpha(0.05)
    0.05
    """
    real = isinstance(alpha, Real) and not isinstance(alpha, (bool, np.bool_))
    if not real or not 0.0 < alpha < 1.0:
        raise OptionError(f"{argument} must be between 0 and 1, such as 0.05; got {alpha!r}.")
    return float(alpha)


def critical_value(alpha: float, df: float | Array | None) -> float | Array:
    """Two-sided critical value of t with `df` degrees of freedom, or of the normal for None."""
    alpha = check_alpha(alpha)
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
