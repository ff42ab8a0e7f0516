"""Sampling variances, from `vi` or `sei`, in the order of the studies."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from metareg_sm._typing import Array
from metareg_sm.design.values import container, numeric, row_label
from metareg_sm.exceptions import DesignError, MetaRegError, VarianceError
from metareg_sm.options import suggestion

Variances = str | npt.ArrayLike | pd.Series

_NO_VARIANCES = (
    " From the counts, means or correlations of each study metareg_sm.effect_size computes them."
)


def exactly_one(vi: Any, sei: Any) -> tuple[Any, str]:
    """The variances or the standard errors, whichever was given, and the argument's name.

    Raises
    ------
    VarianceError
        If neither or both are given.
    """
    if (vi is None) == (sei is None):
        given = "neither" if vi is None else "both"
        more = _NO_VARIANCES if vi is None else ""
        raise VarianceError(
            f"Give the sampling variances as vi= or the standard errors as sei=; got {given}.{more}"
        )
    return (vi, "vi") if sei is None else (sei, "sei")


def check_range(values: Array, name: str, index: pd.Index | None) -> None:
    """Refuse variances or standard errors that are negative or infinite.

    Raises
    ------
    VarianceError
        Which names the row.
    """
    # NaN fails both comparisons and is looked at below
    if len(values) and np.minimum.reduce(values) >= 0.0 and np.maximum.reduce(values) < np.inf:
        return
    bad = np.flatnonzero((values < 0) | np.isinf(values))
    if bad.size:
        value = values[bad[0]]
        kind = "infinite" if np.isinf(value) else "negative"
        what = "variance" if name.startswith("vi") else "standard error"
        raise VarianceError(
            f"{name} must be finite and not negative; {row_label(index, int(bad[0]))} has the "
            f"{kind} {what} {value:g}."
        )


def squared(values: Array, name: str, index: pd.Index | None) -> Array:
    """Variances from standard errors.

    Raises
    ------
    VarianceError
        If a square is beyond floating point.
    """
    with np.errstate(over="ignore", under="ignore"):
        v = values * values
    lost = np.flatnonzero((np.isinf(v) & np.isfinite(values)) | ((v == 0.0) & (values > 0.0)))
    if lost.size:
        raise VarianceError(
            f"{name} of {row_label(index, int(lost[0]))} is {values[lost[0]]:g}, whose square is "
            "beyond floating point. Use other units."
        )
    return v


def align(values: Any, name: str, index: pd.Index | None, n: int, what: str) -> Any:
    """Values in the order of the rows: a Series by its index, anything else by position.

    Parameters
    ----------
    values : array_like or Series
        One value a row.
    name : str
        Their argument, for errors.
    index : Index or None
        Labels of the rows.
    n : int
        Number of rows.
    what : str
        What the rows belong to, for errors.

    Returns
    -------
    array_like, (n,)

    Raises
    ------
    DesignError
        If they do not match the rows.
    """
    if type(values) is np.ndarray and values.shape == (n,):
        return values
    if isinstance(values, pd.DataFrame):
        if values.shape[1] != 1:
            raise DesignError(f"{name} must have one column; it has {values.shape[1]}.")
        values = values.iloc[:, 0]
    if isinstance(values, pd.Series) and index is not None and not values.index.equals(index):
        if not values.index.is_unique or not index.is_unique:
            raise DesignError(
                f"{name} cannot be aligned: its index differs from that of {what}, and one of the "
                "two has duplicate labels. Pass an array in the order of the rows."
            )
        absent = index.difference(values.index, sort=False)
        if len(absent):
            raise DesignError(
                f"{name} cannot be aligned on the index of {what}: it has no entry for "
                f"{absent[0]!r}" + (f" and {len(absent) - 1} more." if len(absent) > 1 else ".")
            )
        return values.loc[index]
    if np.ndim(values) == 0:
        raise DesignError(f"{name} must have one value a study; got the single value {values!r}.")
    if np.ndim(values) == 2 and np.shape(values)[1] == 1:
        values = np.asarray(values)[:, 0]
    if np.ndim(values) != 1:
        raise DesignError(f"{name} must be one-dimensional; it has shape {np.shape(values)}.")
    if len(values) != n:
        raise DesignError(f"{name} has {len(values)} values for the {n} rows of {what}.")
    return values


def variances(vi: Any, sei: Any, index: pd.Index | None, n: int, what: str = "endog") -> Array:
    """Sampling variances in the order of the rows; missing values stay NaN.

    Parameters
    ----------
    vi, sei : array_like or Series
        Exactly one of the two: sampling variances or standard errors.
    index : Index or None
        Labels of the rows, on which a Series is aligned.
    n : int
        Number of rows.
    what : str
        What the rows belong to, for errors.

    Returns
    -------
    ndarray, (n,)

    Raises
    ------
    VarianceError
        If neither or both are given, or a value is negative, infinite or not a number.
    DesignError
        If they do not match the rows.
    """
    values, name = exactly_one(vi, sei)
    if isinstance(values, str):
        raise VarianceError(
            f"{name}={values!r} names a column, which only the formula interface has. Pass an "
            "array here, or use smf.metareg."
        )
    values = align(container(values, name, VarianceError), name, index, n, what)
    array = as_variances(values, name, index)
    check_range(array, name, index)
    return array if name == "vi" else squared(array, name, index)


def as_variances(values: Any, name: str, index: pd.Index | None = None) -> Array:
    """Sampling variances or standard errors as floats; truth values are none."""
    return numeric(values, name, index, VarianceError, kinds="fiu")


def column(
    frame: pd.DataFrame, name: str, argument: str, error: type[MetaRegError] = VarianceError
) -> pd.Series:
    """A column of the user's table by its name.

    Raises
    ------
    MetaRegError
        If there is no such column, or more than one.
    """
    if name not in frame.columns:
        columns = [str(c) for c in frame.columns]
        raise error(
            f"{argument}={name!r}: the data have no such column.{suggestion(name, columns)} They "
            f"have {', '.join(columns)}."
        )
    found = frame[name]
    if isinstance(found, pd.DataFrame):
        raise error(f"{argument}={name!r}: the data have {found.shape[1]} columns of this name.")
    return found
