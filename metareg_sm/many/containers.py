"""Numbers out of whatever holds them: lists, arrays, masked arrays, tables of pandas and others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype, is_numeric_dtype
from scipy import sparse

from metareg_sm._typing import Array
from metareg_sm.exceptions import DesignError, VarianceError

# what pandas calls arrays of objects that are all real numbers or missing
_REAL_OBJECTS = ("floating", "integer", "mixed-integer-float", "decimal", "boolean", "empty")
# kinds of numpy's types that are real numbers
REAL_KINDS = "fiub"


def as_floats(block: Any) -> Array:
    """Numbers as an array of floats, NaN where a masked array masks them."""
    if isinstance(block, np.ma.MaskedArray):
        return np.asarray(np.ma.filled(block.astype(float), np.nan))
    return np.asarray(block, dtype=float)


def is_dask(values: Any) -> bool:
    """Whether an object belongs to dask, whether or not dask has been imported."""
    return type(values).__module__.split(".")[0] == "dask"


def _expected(name: str) -> str:
    if name == "exog":
        return "exog must be an array or a DataFrame, one row a study, or a formula"
    if name == "endog":
        return "endog must be an array, a DataFrame or the path of a file, one row an outcome"
    if name == "vi":
        return "vi must be an array, a DataFrame or the path of a file"
    return f"{name} must be an array of numbers"


def refuse_what_holds_no_numbers(values: Any, name: str) -> None:
    """Say what is wrong with an argument that is no array, table or list.

    Raises
    ------
    DesignError, VarianceError
        If it is None, a mapping, an iterator, bytes, or a sparse or lazy table.
    """
    if values is None:
        error = VarianceError if name == "vi" else DesignError
        raise error(f"{_expected(name)}; got None.")
    advice = None
    if isinstance(values, Mapping):
        advice = "Make a DataFrame or an array of it"
    elif isinstance(values, Iterator):
        advice = "Make a list or an array of what it yields"
    elif sparse.issparse(values):
        advice = f"Pass {name}.toarray()"
    elif is_dask(values) and hasattr(values, "to_dask_array"):
        advice = f"Pass {name}.to_dask_array(lengths=True)"
    elif isinstance(values, (str, bytes, bytearray, memoryview)) or not (
        hasattr(values, "__array__") or isinstance(values, (Sequence, Real))
    ):
        advice = "Pass numbers"
    if advice is not None:
        raise DesignError(
            f"{_expected(name)}; got a value of type {type(values).__name__}. {advice}."
        )


def place(name: str, at: tuple[int, ...]) -> str:
    """Where a value stands, in words."""
    if len(at) == 1:
        return f"study {at[0]}"
    if name == "exog":
        return f"study {at[0]} in column {at[1]}"
    return f"study {at[1]} of outcome {at[0]}"


def in_memory(values: Any, name: str) -> Any:
    """An array of real numbers from a list or another array.

    Parameters
    ----------
    values : array_like
        Where it has a type of real numbers already, it is not copied.
    name : str
        The argument it was given to, for errors.

    Returns
    -------
    ndarray
        A masked array stays one; `as_floats` makes NaN of what it masks.

    Raises
    ------
    DesignError
        If it does not hold real numbers, or its rows differ in length.
    """
    if isinstance(values, (list, tuple)):
        masked = any(isinstance(row, np.ma.MaskedArray) for row in values)
    else:
        masked = isinstance(values, np.ma.MaskedArray)
    try:
        # a matrix or another subclass becomes a plain array
        array = np.ma.asarray(values) if masked else np.asarray(values)
    except ValueError as error:
        raise DesignError(f"{name} is no table: its rows differ in length.") from error
    if array.ndim == 0:
        raise DesignError(f"{_expected(name)}; got the single value {values!r}, of shape ().")
    if array.dtype.kind == "O":
        return _from_objects(array, name)
    if array.dtype.kind not in REAL_KINDS:
        raise DesignError(f"{name} must be numbers; it has dtype {array.dtype}.")
    return array


def _from_objects(array: Any, name: str, column: int | None = None) -> Array:
    """Numbers from an array of objects, which may be one column of a table."""
    if isinstance(array, np.ma.MaskedArray):
        array = array.filled(np.nan)
    flat = array.ravel()
    if infer_dtype(flat, skipna=True) not in _REAL_OBJECTS:
        for position, value in enumerate(flat):
            if isinstance(value, (Real, Decimal)) or _is_missing(value):
                continue
            at = tuple(int(a) for a in np.unravel_index(position, array.shape))
            where = place(name, at if column is None else (*at, column))
            raise DesignError(f"{name} must be numbers; {where} has {value!r}.")
    missing = np.array(pd.isna(flat), dtype=bool)
    numbers = np.full(flat.shape, np.nan)
    numbers[~missing] = flat[~missing].astype(float)
    return numbers.reshape(array.shape)


def _is_missing(value: object) -> bool:
    return value is None or value is pd.NA


def from_frame(frame: pd.DataFrame, name: str) -> Array:
    """The numbers of a table, NaN where a value is missing.

    Raises
    ------
    DesignError
        If a column does not hold real numbers.
    """
    if all(isinstance(t, np.dtype) and t.kind in REAL_KINDS for t in set(frame.dtypes)):
        return frame.to_numpy(dtype=float)
    numbers = np.empty(frame.shape)
    for j in range(frame.shape[1]):
        column, shown = frame.iloc[:, j], frame.columns[j]
        if is_numeric_dtype(column.dtype) and getattr(column.dtype, "kind", "O") in REAL_KINDS:
            numbers[:, j] = column.to_numpy(dtype=float, na_value=np.nan)
        elif column.dtype == object:
            numbers[:, j] = _from_objects(column.to_numpy(), name, j)
        else:
            hint = " A formula makes indicators of it." if name == "exog" else ""
            raise DesignError(
                f"{name} must be numbers; its column {shown!r} has dtype {column.dtype}.{hint}"
            )
    return numbers


def as_pandas(values: Any) -> Any:
    """Tables of other packages as pandas', with their labels; anything else as it is."""
    if isinstance(values, (pd.DataFrame, pd.Series)) or is_dask(values):
        return values
    convert = getattr(values, "to_pandas", None)
    return values if convert is None else convert()
