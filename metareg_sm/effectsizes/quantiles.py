"""Mean and standard deviation from a median and quartiles or range."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from scipy.special import ndtri

from metareg_sm._typing import Array, Mask
from metareg_sm.effectsizes.read import Column, read, rows_named
from metareg_sm.exceptions import DesignError, OptionError
from metareg_sm.options import choose

_FIVE = ("minimum", "q1", "median", "q3", "maximum")


def mean_sd_from_quantiles(
    n: Column,
    median: Column,
    q1: Column | None = None,
    q3: Column | None = None,
    minimum: Column | None = None,
    maximum: Column | None = None,
    method: str = "luo",
) -> pd.DataFrame:
    """Mean and standard deviation of a sample whose quantiles were printed: an approximation.

    It assumes that the values are normally distributed. A median that is not in the middle of the
    quartiles says that they are not, and mean and standard deviation are then biased.

    Parameters
    ----------
    n : array_like
        Sample sizes.
    median, q1, q3, minimum, maximum : array_like
        The median with both quartiles, with both extremes, or with all four. NaN where a study
        does not print one: each study is taken by what it has.
    method : {"luo", "wan"}
        The mean: optimal weights (Luo et al. 2018) or fixed ones (Wan et al. 2014). The standard
        deviation is that of Wan et al. in both.

    Returns
    -------
    DataFrame
        Columns mean and sd; NaN for a study with neither pair. The index is that of the first
        Series among the arguments.

    Raises
    ------
    DesignError
        If quantiles are out of order, or a sample has fewer than 2.
    OptionError
        If only one of a pair is given, or neither pair is.

    References
    ----------
    Wan, X., Wang, W., Liu, J., & Tong, T. (2014). Estimating the sample mean and standard deviation
    from the sample size, median, range and/or interquartile range. BMC Medical Research
    Methodology, 14, 135.
    Luo, D., Wan, X., Liu, J., & Tong, T. (2018). Optimally estimating the sample mean from the
    sample size, median, mid-range, and/or mid-quartile range. Statistical Methods in Medical
    Research, 27(6), 1785-1805.

    Examples
    --------
    >>> mean_sd_from_quantiles(n=[50], median=[12.0], q1=[10.0], q3=[15.0]).round(3)
         mean     sd
    0  12.354  3.817
    """
    optimal = choose({"luo": True, "wan": False}, method, "method")
    pairs = {"q1": q1, "q3": q3, "minimum": minimum, "maximum": maximum}
    for one, other in (("q1", "q3"), ("minimum", "maximum")):
        if (pairs[one] is None) != (pairs[other] is None):
            alone, missing = (one, other) if pairs[other] is None else (other, one)
            raise OptionError(f"{alone} is not enough: {missing} goes with it.")
    if q1 is None and minimum is None:
        raise OptionError("Give the quartiles (q1, q3), the extremes (minimum, maximum), or both.")
    given = {name: v for name, v in pairs.items() if v is not None}
    inputs = read({"n": n, "median": median, **given}, None)
    size = inputs.arrays["n"]
    small = size < 2
    if small.any():
        raise DesignError(f"n must be at least 2; {rows_named(inputs.index, small)} has less.")
    absent = np.full(len(inputs.index), np.nan)
    low, first, middle, third, high = (inputs.arrays.get(v, absent) for v in _FIVE)
    _check_order(inputs.arrays, inputs.index)
    extremes, quartiles = ~np.isnan(low + high), ~np.isnan(first + third)
    mid_range, mid_quartile = (low + high) / 2.0, (first + third) / 2.0
    w_range, w_quartile = _weights(size, extremes, quartiles, optimal)
    mean = (
        np.where(extremes, w_range * np.where(extremes, mid_range, 0.0), 0.0)
        + np.where(quartiles, w_quartile * np.where(quartiles, mid_quartile, 0.0), 0.0)
        + (1.0 - w_range - w_quartile) * middle
    )
    by_range, by_quartiles = sd_from_range(high - low, size), sd_from_iqr(third - first, size)
    both = extremes & quartiles
    sd = np.where(both, (by_range + by_quartiles) / 2.0, np.where(extremes, by_range, by_quartiles))
    mean = np.where(extremes | quartiles, mean, np.nan)
    return pd.DataFrame(
        {"mean": mean, "sd": np.where(np.isnan(mean), np.nan, sd)}, index=inputs.index
    )


def sd_from_range(width: Array, n: Array) -> Array:
    """(max − min)/(2Φ⁻¹((n − .375)/(n + .25))) (Wan et al. 2014, equation 9)."""
    return width / (2.0 * ndtri((n - 0.375) / (n + 0.25)))


def sd_from_iqr(width: Array, n: Array) -> Array:
    """(q₃ − q₁)/(2Φ⁻¹((.75n − .125)/(n + .25))) (Wan et al. 2014, equation 16)."""
    return width / (2.0 * ndtri((0.75 * n - 0.125) / (n + 0.25)))


def _weights(n: Array, extremes: Mask, quartiles: Mask, optimal: bool) -> tuple[Array, Array]:
    """Weights of the middle of the range and of the quartiles; the median has the rest."""
    both = extremes & quartiles
    if optimal:
        of_range = np.where(both, 2.2 / (2.2 + n**0.75), 4.0 / (4.0 + n**0.75))
        of_quartiles = np.where(both, 0.7 - 0.72 / n**0.55, 0.7 + 0.39 / n)
    else:
        of_range = np.where(both, 0.25, 0.5)
        of_quartiles = np.where(both, 0.5, 2.0 / 3.0)
    return np.where(extremes, of_range, 0.0), np.where(quartiles, of_quartiles, 0.0)


def _check_order(arrays: dict[str, Array], index: pd.Index) -> None:
    named = [name for name in _FIVE if name in arrays]
    for lower, upper in combinations(named, 2):
        wrong = arrays[lower] > arrays[upper]
        if wrong.any():
            i = int(np.flatnonzero(wrong)[0])
            raise DesignError(
                f"{lower} must not be above {upper}; {rows_named(index, wrong)}: "
                f"{arrays[lower][i]:g} and {arrays[upper][i]:g}."
            )
