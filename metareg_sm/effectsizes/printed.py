"""Estimates and variances from what papers print: intervals, p-values, statistics, errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri, stdtrit

from metareg_sm._typing import Array, Mask
from metareg_sm.effectsizes.read import Column, Inputs, read, rows_named
from metareg_sm.effectsizes.reporting import warn
from metareg_sm.exceptions import DesignError, OptionError
from metareg_sm.options import check_alpha

# an estimate is printed with few digits: it may lie this far from the middle, in half-widths
_OFF_CENTRE = 0.1


def from_interval(
    estimate: Column | None,
    lower: Column,
    upper: Column,
    level: float = 0.95,
    log: bool = False,
    df: Column | None = None,
) -> pd.DataFrame:
    """Estimates and sampling variances from confidence intervals.

    The standard error is the width of the interval over twice the quantile, (u − l)/(2z).

    Parameters
    ----------
    estimate : array_like or None
        The estimates; None takes the middle of each interval.
    lower, upper : array_like
        Ends of the intervals.
    level : float
        Coverage, such as .95.
    log : bool
        The three are ratios (risk, odds, hazard ratios): take their logarithms first.
    df : array_like, optional
        Degrees of freedom, if the interval was made with t; the normal otherwise.

    Returns
    -------
    DataFrame
        Columns yi and vi; the index of the first Series among the arguments.

    Raises
    ------
    DesignError
        If a lower end is above the upper one, a ratio is not positive, or lengths disagree.

    Warns
    -----
    EffectSizeWarning
        If an estimate is not in the middle of its interval, as those of ratios are not unless
        `log=True`.

    References
    ----------
    Higgins et al. (2019), Cochrane Handbook, section 6.3.

    Examples
    --------
    A hazard ratio of .62 (.39 to .98):

    >>> from_interval([0.62], [0.39], [0.98], log=True).round(4)
          yi      vi
    0 -0.478  0.0553
    """
    coverage = check_alpha(level, "level")
    given = {"lower": lower, "upper": upper}
    if estimate is not None:
        given = {"estimate": estimate, **given}
    inputs = _read(given, df)
    ends = [_scale(inputs, name, log) for name in ("lower", "upper")]
    width = ends[1] - ends[0]
    _refuse(inputs, width <= 0, "lower must be below upper")
    middle = (ends[0] + ends[1]) / 2.0
    y = middle if estimate is None else _scale(inputs, "estimate", log)
    off = np.abs(y - middle) > _OFF_CENTRE * width / 2.0
    if off.any():
        reason = "" if log else " Intervals of ratios need log=True."
        warn(
            f"{rows_named(inputs.index, off)}: the estimate is not in the middle of its interval."
            + reason,
            stacklevel=3,
        )
    return _frame(inputs, y, width / (2.0 * _quantile(inputs, (1.0 - coverage) / 2.0)))


def from_pvalue(
    estimate: Column, pvalue: Column, log: bool = False, df: Column | None = None
) -> pd.DataFrame:
    """Estimates and sampling variances from two-sided p-values.

    The standard error is the estimate over the quantile that has this p-value.

    Parameters
    ----------
    estimate : array_like
        The estimates.
    pvalue : array_like
        Their two-sided p-values, as exact as they are printed.
    log : bool
        The estimates are ratios: take their logarithms first.
    df : array_like, optional
        Degrees of freedom of a t test; the normal otherwise.

    Returns
    -------
    DataFrame
        Columns yi and vi; vi is NaN where the estimate is 0 or the p-value 1.

    Raises
    ------
    DesignError
        If a p-value is not above 0 and at most 1, or a ratio is not positive.

    Warns
    -----
    EffectSizeWarning
        If a p-value of 1 or an estimate of 0 leaves the standard error undefined.

    Examples
    --------
    >>> from_pvalue([0.62], [0.04], log=True).round(4)
          yi      vi
    0 -0.478  0.0542
    """
    inputs = _read({"estimate": estimate, "pvalue": pvalue}, df)
    p = inputs.arrays["pvalue"]
    _refuse(inputs, (p <= 0) | (p > 1), "pvalue must be above 0 and at most 1")
    y = _scale(inputs, "estimate", log)
    return _ratio(inputs, y, _quantile(inputs, p / 2.0))


def from_statistic(estimate: Column, statistic: Column, log: bool = False) -> pd.DataFrame:
    """Estimates and sampling variances from z or t statistics.

    The standard error is the estimate over its statistic.

    Parameters
    ----------
    estimate : array_like
        The estimates.
    statistic : array_like
        z or t statistics of a test against 0 (against 1 for ratios).
    log : bool
        The estimates are ratios: take their logarithms first.

    Returns
    -------
    DataFrame
        Columns yi and vi; vi is NaN where the statistic is 0.

    Raises
    ------
    DesignError
        If an estimate and its statistic have opposite signs, or a ratio is not positive.

    Warns
    -----
    EffectSizeWarning
        If a statistic of 0 leaves the standard error undefined.

    Examples
    --------
    >>> from_statistic([1.2, -0.5], [2.4, -1.0])
        yi    vi
    0  1.2  0.25
    1 -0.5  0.25
    """
    inputs = _read({"estimate": estimate, "statistic": statistic}, None)
    y, z = _scale(inputs, "estimate", log), inputs.arrays["statistic"]
    _refuse(inputs, y * z < 0, "estimate and statistic must have the same sign")
    return _ratio(inputs, y, z)


def from_standard_error(
    estimate: Column, standard_error: Column, log: bool = False, delta: bool = False
) -> pd.DataFrame:
    """Estimates and sampling variances from standard errors.

    Parameters
    ----------
    estimate : array_like
        The estimates.
    standard_error : array_like
        Their standard errors.
    log : bool
        The estimates are ratios: take their logarithms. The standard errors are those of the
        logarithms.
    delta : bool
        With `log`: the standard errors are those of the ratios themselves, and are divided by
        them. That is an approximation (delta method).

    Returns
    -------
    DataFrame
        Columns yi and vi.

    Raises
    ------
    DesignError
        If a standard error is not above 0, or a ratio is not positive.
    OptionError
        If `delta` comes without `log`.

    Examples
    --------
    >>> from_standard_error([0.3], [0.1])
        yi    vi
    0  0.3  0.01
    """
    if delta and not log:
        raise OptionError("delta=True is for ratios: it goes with log=True.")
    inputs = _read({"estimate": estimate, "standard_error": standard_error}, None)
    se = inputs.arrays["standard_error"]
    _refuse(inputs, se <= 0, "standard_error must be above 0")
    y = _scale(inputs, "estimate", log)
    return _frame(inputs, y, se / inputs.arrays["estimate"] if delta else se)


def _read(given: Mapping[str, Any], df: Column | None) -> Inputs:
    for name, value in given.items():
        if isinstance(value, str):
            raise DesignError(f"{name}={value!r}: pass the values, such as data[{value!r}].")
    # a single number stands for all studies, or for one study if all are single numbers
    inputs = read(dict(given) if df is None else {**given, "df": df}, None)
    if df is not None:
        _refuse(inputs, inputs.arrays["df"] <= 0, "df must be above 0")
    return inputs


def _refuse(inputs: Inputs, bad: Mask, must: str) -> None:
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        values = ", ".join(f"{name} {a[i]:g}" for name, a in inputs.arrays.items())
        first = "" if bad.sum() == 1 else "; the first has"
        raise DesignError(f"{must}; {rows_named(inputs.index, bad)}{first}: {values}.")


def _scale(inputs: Inputs, name: str, log: bool) -> Array:
    values = inputs.arrays[name]
    if not log:
        return values
    _refuse(inputs, values <= 0, f"{name} must be above 0 for log=True")
    return np.log(values)


def _quantile(inputs: Inputs, tail: Array | float) -> Array:
    """The value that the upper tail is above; from the lower one, where small tails are exact."""
    if "df" in inputs.arrays:
        return -stdtrit(inputs.arrays["df"], tail)
    return -ndtri(tail)


def _ratio(inputs: Inputs, y: Array, statistic: Array) -> pd.DataFrame:
    there = ~np.isnan(y) & ~np.isnan(statistic)
    undefined = there & ((y == 0) | (statistic == 0))
    if undefined.any():
        warn(
            f"{rows_named(inputs.index, undefined)}: an estimate or a statistic of 0 does not "
            "tell the standard error; vi is NaN.",
            stacklevel=4,
        )
    return _frame(inputs, y, np.where(undefined, np.nan, y / np.where(undefined, 1.0, statistic)))


def _frame(inputs: Inputs, y: Array, se: Array) -> pd.DataFrame:
    return pd.DataFrame({"yi": y, "vi": se**2}, index=inputs.index)
