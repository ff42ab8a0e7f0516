"""Numbers from whatever container the user has them in, and the refusal of what are none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from reprlib import repr as short
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from metareg_sm._compat import to_pandas
from metareg_sm._typing import Array
from metareg_sm.exceptions import DesignError, MetaRegError, MissingStudiesError

_Index: TypeAlias = pd.Index | None


def row_label(index: _Index, position: int) -> str:
    """How errors name a row: by its label where it has one."""
    if index is None or isinstance(index, pd.RangeIndex):
        return f"row {position}"
    label = index[position]
    return f"row {(label.item() if isinstance(label, np.generic) else label)!r}"


def index_of(values: Any) -> _Index:
    """Labels of the rows of a Series or data frame."""
    return values.index if isinstance(values, (pd.Series, pd.DataFrame)) else None


def container(values: Any, name: str, error: type[MetaRegError] = DesignError) -> Any:
    """Refuse what is not a table of numbers, a column or a sequence; unmask masked arrays.

    Parameters
    ----------
    values : object
        What the user gave.
    name : str
        Its argument, for the error.
    error : type
        Class of the error.

    Returns
    -------
    object
        The same; a masked array as floats with NaN where it is masked, polars as pandas.

    Raises
    ------
    MetaRegError
        If it is None, text, a mapping, a set, an iterator or a sparse matrix.
    """
    if type(values) is np.ndarray:
        return values
    if isinstance(values, np.ma.MaskedArray):
        if values.dtype.kind not in "fiub":
            raise error(f"{name} must be numbers; it is a masked array of {values.dtype}.")
        return np.ma.filled(values.astype(float), np.nan)
    kind = type(values).__name__
    if values is None:
        raise error(f"{name} is None; give an array, a list or a pandas object.")
    if isinstance(values, (str, bytes, bytearray)):
        raise error(f"{name} must be numbers, an array or a list of them; got {short(values)}.")
    if isinstance(values, (Mapping, set, frozenset)) or hasattr(values, "__next__"):
        raise error(f"{name} must be an array, a list or a pandas object; got a {kind}.")
    if hasattr(values, "toarray"):
        raise error(f"{name} is sparse ({kind}); pass {name}.toarray().")
    return to_pandas(values)


def numeric(
    values: Any,
    name: str,
    index: _Index = None,
    error: type[MetaRegError] = DesignError,
    kinds: str = "fiub",
) -> Array:
    """Values as floats; what is missing, in whatever way, is NaN.

    Parameters
    ----------
    values : array_like
        From `container`.
    name : str
        Their argument, for the error.
    index : Index, optional
        Labels of the rows.
    error : type
        Class of the error.
    kinds : str
        Kinds of dtypes that are numbers here.

    Returns
    -------
    ndarray of float, of the shape of `values`

    Raises
    ------
    MetaRegError
        If a value is no number: the error names its row.
    """
    if type(values) is np.ndarray and values.dtype == np.float64:
        return values.copy()
    dtype = getattr(values, "dtype", None)
    if isinstance(values, (pd.Series, pd.Index)) and not isinstance(dtype, np.dtype):
        if getattr(dtype, "kind", "O") in kinds:
            return values.to_numpy(dtype=float, na_value=np.nan)
        values = values.to_numpy(dtype=object)
    try:
        array = np.asarray(values)
    except ValueError as reason:
        raise error(f"{name} must be numbers in rows of one length.") from reason
    if array.dtype.kind in kinds:
        return array.astype(float)
    if array.dtype != object:
        raise error(f"{name} must be numbers; it has dtype {array.dtype}.")
    flat = array.ravel()
    width = max(1, array.size // max(1, len(array))) if array.ndim else 1
    out = np.empty(array.size)
    for position, value in enumerate(flat):
        if value is None or value is pd.NA or value is pd.NaT:
            out[position] = np.nan
            continue
        number = isinstance(value, (int, float, np.integer, np.floating, np.bool_))
        if not number or (isinstance(value, (bool, np.bool_)) and "b" not in kinds):
            raise error(
                f"{name} must be numbers; {row_label(index, position // width)} has {value!r}, "
                "which is not numeric."
            )
        try:
            out[position] = float(value)
        except OverflowError as reason:
            raise error(
                f"{name} of {row_label(index, position // width)} is too large for floating point."
            ) from reason
    return out.reshape(array.shape)


def clean_endog(endog: Any) -> Any:
    """Outcomes as statsmodels takes them, once they are known to be numbers in one column."""
    values = container(endog, "endog")
    if type(values) is np.ndarray and values.dtype == np.float64 and 0 < values.ndim < 3:
        return values
    if isinstance(values, pd.DataFrame):
        _unique_columns(values, "endog")
        if values.shape[1] != 1:
            raise DesignError(f"endog must have one column; it has shape {values.shape}.")
        values = values.iloc[:, 0]
    array = numeric(values, "endog", index_of(values))
    if array.ndim == 0:
        raise DesignError(f"endog must have one value a study; got the single value {endog!r}.")
    if array.ndim > 2:
        raise DesignError(f"endog must have one column; it has shape {array.shape}.")
    if isinstance(values, pd.Series):
        return pd.Series(array, index=values.index, name=values.name)
    return array


def clean_exog(exog: Any) -> Any:
    """Moderators as statsmodels takes them, once they are known to be numbers."""
    values = container(exog, "exog")
    if type(values) is np.ndarray and values.dtype == np.float64:
        return values
    if isinstance(values, np.matrix):
        values = np.asarray(values)
    if isinstance(values, pd.DataFrame):
        _unique_columns(values, "exog")
        columns = {
            c: numeric(values[c], f"exog column {c!r}", values.index) for c in values.columns
        }
        return pd.DataFrame(columns, index=values.index, columns=values.columns)
    array = numeric(values, "exog", index_of(values))
    if array.ndim == 0:
        raise DesignError(f"exog must have one row a study; got the single value {exog!r}.")
    if isinstance(values, pd.Series):
        return pd.Series(array, index=values.index, name=values.name)
    return array


def _unique_columns(frame: pd.DataFrame, name: str) -> None:
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise DesignError(f"{name} has two columns named {twice[0]!r}; names must differ.")


def check_values(endog: Any, exog: Any, vi: Array, index: _Index, missing: str) -> None:
    """Refuse outcomes and moderators that are not finite, before statsmodels sees them.

    Parameters
    ----------
    endog, exog : array_like
        Outcomes and moderators, which are numbers.
    vi : ndarray
        Sampling variances.
    index : Index or None
        Labels of the rows.
    missing : str
        With "drop" missing values are left to statsmodels, unless no row is complete.

    Raises
    ------
    DesignError
        If a value is infinite, or rows do not match.
    MissingStudiesError
        If a value is missing where none may be, or no row is complete.
    """
    y, X = np.asarray(endog), np.asarray(exog)
    # sums of squares: opposite infinities cannot cancel
    if 0 < len(y) == len(X) and math.isfinite(
        float(np.vdot(y, y)) + float(np.vdot(X, X)) + float(np.add.reduce(vi))
    ):
        return
    arrays = {"endog": y, "exog": X}
    if not len(y):
        raise MissingStudiesError("No study is left: there are no rows.")
    # by the formula interface variances come with rows that the formula has dropped
    complete = ~np.isnan(vi) if len(vi) == len(y) else np.ones(len(y), dtype=bool)
    for name, values in arrays.items():
        if len(values) != len(y):
            raise DesignError(f"endog has {len(y)} rows and exog has {len(values)}.")
        table = values.reshape(len(values), -1)
        for row, column in np.argwhere(~np.isfinite(table)):
            source = endog if name == "endog" else exog
            columns = getattr(source, "columns", [getattr(source, "name", None)])
            shown = columns[column] if len(columns) > column else int(column)
            shown = "" if shown is None else f" column {shown!r}"
            label = f"{name}{shown} of {row_label(index, int(row))}"
            if not np.isnan(table[row, column]):
                raise DesignError(f"{label} is infinite; outcomes and moderators must be finite.")
            if missing != "drop":
                raise MissingStudiesError(f"{label} is missing. missing='drop' drops such studies.")
            complete[row] = False
    if not complete.any():
        raise MissingStudiesError("No study is left: every row has a missing value.")
    if missing == "raise" and not complete.all():
        row = int(np.flatnonzero(~complete)[0])
        raise MissingStudiesError(
            f"vi of {row_label(index, row)} is missing. missing='drop' drops such studies."
        )


def has_names(exog: Any) -> bool:
    """Whether moderators come with names that their user gave."""
    if isinstance(exog, pd.Series):
        return isinstance(exog.name, str)
    return isinstance(exog, pd.DataFrame) and any(isinstance(c, str) for c in exog.columns)


def aligned_rows(exog: Any, index: _Index) -> Any:
    """Moderators in the order of the outcomes, by their labels where both have labels.

    Raises
    ------
    DesignError
        If the labels are not the same.
    """
    own = index_of(exog)
    if own is None or index is None or own.equals(index) or len(own) != len(index):
        return exog
    if isinstance(own, pd.RangeIndex) or isinstance(index, pd.RangeIndex):
        raise DesignError(
            "The rows of endog and exog have different labels: one of the two has none. Give both "
            "the same index, or pass arrays in one order."
        )
    if not own.is_unique or not index.is_unique or len(index.difference(own)):
        raise DesignError(
            "The rows of endog and exog cannot be aligned: their labels differ, or occur twice. "
            "Give both the same index, or pass arrays in one order."
        )
    return exog.loc[index]


def plain_columns(columns: Mapping[Any, pd.Series]) -> dict[Any, pd.Series]:
    """Those columns that formula engines would not understand, as columns that they do.

    Parameters
    ----------
    columns : mapping
        Columns by name.

    Returns
    -------
    dict
        pandas' own types as numpy's with NaN or None; objects that are numbers as floats.
    """
    plain = {c: _plain(values) for c, values in columns.items() if _extension(values)}
    for name, values in columns.items():
        if values.dtype != object:
            continue
        if _numbers(values):
            plain[name] = pd.Series(numeric(values, f"column {name!r}"), values.index)
        elif values.isna().any():
            # pandas' NA among words is a level to some engines
            plain[name] = values.where(values.notna(), None)
    return plain


def refuse_nested(columns: Mapping[Any, pd.Series], what: str = "column") -> None:
    """Refuse columns whose cells hold lists, tables and the like, which are no levels.

    Raises
    ------
    DesignError
        Which names the column and the row.
    """
    for name, values in columns.items():
        if values.dtype != object:
            continue
        for position, value in enumerate(values):
            if isinstance(value, (list, set, Mapping, np.ndarray, pd.Series, pd.DataFrame)):
                raise DesignError(
                    f"{what} {name!r} must hold one number or label a row; "
                    f"{row_label(values.index, position)} has {short(value)}."
                )


def _extension(values: pd.Series) -> bool:
    """Whether a column has a type of pandas that formula engines do not know."""
    dtype = values.dtype
    if isinstance(dtype, np.dtype):
        return False
    if isinstance(dtype, pd.StringDtype):
        return dtype.na_value is pd.NA
    return not isinstance(dtype, (pd.CategoricalDtype, pd.DatetimeTZDtype))


def _numbers(values: pd.Series) -> bool:
    """Whether a column of objects holds numbers, which formula engines would take for labels."""
    kinds = ("integer", "floating", "mixed-integer-float", "empty")
    return pd.api.types.infer_dtype(values, skipna=True) in kinds


def _plain(values: pd.Series) -> pd.Series:
    if pd.api.types.is_bool_dtype(values.dtype) or not pd.api.types.is_numeric_dtype(values.dtype):
        objects = values.astype(object).where(values.notna(), None)
        return objects if values.isna().any() else objects.infer_objects()
    return pd.Series(
        values.to_numpy(dtype=float, na_value=np.nan), index=values.index, name=values.name
    )
