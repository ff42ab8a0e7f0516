"""Between standardized mean differences, log odds ratios and correlations.

Each conversion rests on a model of what lies behind the numbers, and is an approximation as good
as that model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from metareg_sm._typing import Array
from metareg_sm.effectsizes.counts import LOGISTIC_UNIT, NORMAL_UNIT
from metareg_sm.effectsizes.read import Column, Inputs, read, rows_named
from metareg_sm.exceptions import DesignError, OptionError, VarianceError
from metareg_sm.options import choose

# by distribution: standard deviations of the latent variable in log odds, measures of both ways
_UNITS: dict[str, tuple[float, str, str]] = {
    "logistic": (LOGISTIC_UNIT, "D2ORL", "OR2DL"),
    "normal": (NORMAL_UNIT, "D2ORN", "OR2DN"),
}


def d_to_log_odds_ratio(d: Column, vi: Column, distribution: str = "logistic") -> pd.DataFrame:
    """Log odds ratios from standardized mean differences.

    Parameters
    ----------
    d, vi : array_like
        Differences and their sampling variances.
    distribution : {"logistic", "normal"}
        Of the variable that was dichotomised: the factor is π/√3 (Hasselblad & Hedges 1995;
        Chinn 2000) or 1.65 (Cox & Snell 1989).

    Returns
    -------
    DataFrame
        Columns yi and vi; `attrs["measure"]` is "D2ORL" or "D2ORN".

    Raises
    ------
    VarianceError
        If a variance is negative.

    Examples
    --------
    >>> d_to_log_odds_ratio([0.5], [0.04]).round(4)
           yi      vi
    0  0.9069  0.1316
    """
    unit, measure, _ = choose(_UNITS, distribution, "distribution")
    inputs = _read({"d": d, "vi": vi})
    return _frame(inputs, unit * inputs.arrays["d"], unit**2 * inputs.arrays["vi"], measure)


def log_odds_ratio_to_d(
    log_odds_ratio: Column, vi: Column, distribution: str = "logistic"
) -> pd.DataFrame:
    """Standardized mean differences from log odds ratios.

    Parameters
    ----------
    log_odds_ratio, vi : array_like
        Log odds ratios and their sampling variances.
    distribution : {"logistic", "normal"}
        As in `d_to_log_odds_ratio`.

    Returns
    -------
    DataFrame
        Columns yi and vi; `attrs["measure"]` is "OR2DL" or "OR2DN".

    Raises
    ------
    VarianceError
        If a variance is negative.

    Examples
    --------
    >>> log_odds_ratio_to_d([0.9069], [0.1316]).round(4)
        yi    vi
    0  0.5  0.04
    """
    unit, _, measure = choose(_UNITS, distribution, "distribution")
    inputs = _read({"log_odds_ratio": log_odds_ratio, "vi": vi})
    y = inputs.arrays["log_odds_ratio"] / unit
    return _frame(inputs, y, inputs.arrays["vi"] / unit**2, measure)


def d_to_r(
    d: Column, vi: Column, n1i: Column | None = None, n2i: Column | None = None
) -> pd.DataFrame:
    """Correlations from standardized mean differences: r = d/√(d² + a) (Borenstein 2009).

    Parameters
    ----------
    d, vi : array_like
        Differences and their sampling variances.
    n1i, n2i : array_like, optional
        Sizes of the groups, a = (n₁ + n₂)²/(n₁n₂); equal groups, a = 4, without them.

    Returns
    -------
    DataFrame
        Columns yi and vi, with vi = a²v/(d² + a)³; `attrs["measure"]` is "COR".

    Raises
    ------
    DesignError
        If a group has nobody.
    OptionError
        If the size of one group is given without the other.
    VarianceError
        If a variance is negative.

    Examples
    --------
    >>> d_to_r([0.5], [0.04]).round(4)
           yi      vi
    0  0.2425  0.0083
    """
    inputs = _read({"d": d, "vi": vi}, n1i, n2i)
    a = _balance(inputs)
    d_, v = inputs.arrays["d"], inputs.arrays["vi"]
    return _frame(inputs, d_ / np.sqrt(d_**2 + a), a**2 * v / (d_**2 + a) ** 3, "COR")


def r_to_d(
    r: Column, vi: Column, n1i: Column | None = None, n2i: Column | None = None
) -> pd.DataFrame:
    """Standardized mean differences from correlations: d = r √a/√(1 − r²) (Borenstein 2009).

    Parameters
    ----------
    r, vi : array_like
        Correlations between -1 and 1, and their sampling variances.
    n1i, n2i : array_like, optional
        As in `d_to_r`; d = 2r/√(1 − r²) without them.

    Returns
    -------
    DataFrame
        Columns yi and vi, with vi = a v/(1 − r²)³; `attrs["measure"]` is "SMD".

    Raises
    ------
    DesignError
        If a correlation is not inside (-1, 1), or a group has nobody.
    OptionError
        If the size of one group is given without the other.
    VarianceError
        If a variance is negative.

    Examples
    --------
    >>> r_to_d([0.2425], [0.0083]).round(3)
        yi    vi
    0  0.5  0.04
    """
    inputs = _read({"r": r, "vi": vi}, n1i, n2i)
    a = _balance(inputs)
    r_, v = inputs.arrays["r"], inputs.arrays["vi"]
    end = np.abs(r_) >= 1.0
    if end.any():
        raise DesignError(f"r must be inside (-1, 1); {rows_named(inputs.index, end)}.")
    rest = (1.0 - r_) * (1.0 + r_)
    return _frame(inputs, r_ * np.sqrt(a / rest), a * v / rest**3, "SMD")


def log_odds_ratio_to_r(
    log_odds_ratio: Column, vi: Column, distribution: str = "logistic"
) -> pd.DataFrame:
    """Correlations from log odds ratios, by way of d (equal groups).

    Parameters
    ----------
    log_odds_ratio, vi : array_like
        Log odds ratios and their sampling variances.
    distribution : {"logistic", "normal"}
        As in `d_to_log_odds_ratio`.

    Returns
    -------
    DataFrame
        Columns yi and vi; `attrs["measure"]` is "COR".

    Examples
    --------
    >>> log_odds_ratio_to_r([0.9069], [0.1316]).round(4)
           yi      vi
    0  0.2425  0.0083
    """
    between = log_odds_ratio_to_d(log_odds_ratio, vi, distribution)
    return d_to_r(between["yi"], between["vi"])


def r_to_log_odds_ratio(r: Column, vi: Column, distribution: str = "logistic") -> pd.DataFrame:
    """Log odds ratios from correlations, by way of d (equal groups).

    Parameters
    ----------
    r, vi : array_like
        Correlations and their sampling variances.
    distribution : {"logistic", "normal"}
        As in `d_to_log_odds_ratio`.

    Returns
    -------
    DataFrame
        Columns yi and vi; `attrs["measure"]` is "D2ORL" or "D2ORN".

    Examples
    --------
    >>> r_to_log_odds_ratio([0.2425], [0.0083]).round(3)
          yi     vi
    0  0.907  0.131
    """
    between = r_to_d(r, vi)
    return d_to_log_odds_ratio(between["yi"], between["vi"], distribution)


def _read(given: dict[str, Any], n1i: Column | None = None, n2i: Column | None = None) -> Inputs:
    if (n1i is None) != (n2i is None):
        raise OptionError("Give both n1i and n2i, or neither.")
    sizes = {} if n1i is None else {"n1i": n1i, "n2i": n2i}
    inputs = read({**given, **sizes}, None)
    negative = inputs.arrays["vi"] < 0
    if negative.any():
        raise VarianceError(f"vi is negative in {rows_named(inputs.index, negative)}.")
    return inputs


def _balance(inputs: Inputs) -> Array:
    if "n1i" not in inputs.arrays:
        return np.full(len(inputs.index), 4.0)
    n1, n2 = inputs.arrays["n1i"], inputs.arrays["n2i"]
    nobody = (n1 < 1) | (n2 < 1)
    if nobody.any():
        raise DesignError(f"n1i and n2i must be at least 1; {rows_named(inputs.index, nobody)}.")
    return (n1 + n2) ** 2 / (n1 * n2)


def _frame(inputs: Inputs, y: Array, v: Array, measure: str) -> pd.DataFrame:
    frame = pd.DataFrame({"yi": y, "vi": v}, index=inputs.index)
    frame.attrs["measure"] = measure
    return frame
