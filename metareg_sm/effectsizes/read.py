"""From the caller's arguments to checked arrays: columns, complements, what each number may be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from metareg_sm._typing import Array, Mask
from metareg_sm.effectsizes.records import Layout, Measure
from metareg_sm.exceptions import DesignError, OptionError
from metareg_sm.options import suggestion

#: A column of the data, one value a study, or one number for all of them.
Column = str | npt.ArrayLike | pd.Series
_SHOWN = 5
# group sizes that were rounded on their way still agree with the cells
_ROUNDING = 1e-8


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the caller gave, in the order of the studies.

    Attributes
    ----------
    index : Index
        Labels of the studies.
    arrays : dict of ndarray
        Values by argument.
    columns : dict of str
        Column of the data by argument, where one was named.
    """

    index: pd.Index
    arrays: dict[str, Array]
    columns: dict[str, str]


def rows_named(index: pd.Index, marked: Mask) -> str:
    """'row 3', or 'rows 3, 5 and 7', by label; at most a few of them."""
    labels = [str(i) if isinstance(index, pd.RangeIndex) else repr(i) for i in index[marked]]
    if len(labels) == 1:
        return f"row {labels[0]}"
    if len(labels) <= _SHOWN:
        return f"rows {', '.join(labels[:-1])} and {labels[-1]}"
    return f"rows {', '.join(labels[:_SHOWN])} and {len(labels) - _SHOWN} more"


def read(given: Mapping[str, Any], data: pd.DataFrame | None) -> Inputs:
    """Arrays of the arguments that were given.

    Parameters
    ----------
    given : mapping
        Column names, arrays, Series or single numbers by argument.
    data : DataFrame or None
        The table.

    Returns
    -------
    Inputs
        Floats, NaN where a value is missing.

    Raises
    ------
    DesignError
        If a column does not exist or is not numeric, or lengths or labels do not agree.
    """
    index = _index(given, data)
    arrays, columns = {}, {}
    for argument, value in given.items():
        source, named = _column(value, argument, data)
        if named is not None:
            columns[argument] = named
        arrays[argument] = _numbers(_placed(source, argument, index), argument, named, index)
    return Inputs(index, arrays, columns)


def _index(given: Mapping[str, Any], data: pd.DataFrame | None) -> pd.Index:
    if data is not None:
        return data.index
    for value in given.values():
        if isinstance(value, pd.Series):
            return value.index
    for argument, value in given.items():
        if isinstance(value, str):
            raise DesignError(
                f"{argument}={value!r} names a column, but there is no data. Pass data=, or arrays."
            )
    lengths = [np.size(v) for v in given.values() if np.ndim(v) > 0]
    return pd.RangeIndex(lengths[0] if lengths else 1)


def _column(value: Any, argument: str, data: pd.DataFrame | None) -> tuple[Any, str | None]:
    """The values, and the column of the data that they are."""
    if isinstance(value, str):
        if data is None or value not in data.columns:
            known = [] if data is None else [str(c) for c in data.columns]
            raise DesignError(
                f"{argument}={value!r}: the data have no such column."
                f"{_nearest(value, known)} They have {', '.join(known) or 'none'}."
            )
        column = data[value]
        if isinstance(column, pd.DataFrame):
            raise DesignError(f"{argument}={value!r}: the data have several columns of that name.")
        return column, value
    # a column that was passed as a Series is known by its name, too
    if (
        data is not None
        and isinstance(value, pd.Series)
        and isinstance(value.name, str)
        and value.name in data.columns
        and value.equals(data[value.name])
    ):
        return value, value.name
    return value, None


def _nearest(name: str, known: Iterable[str]) -> str:
    # columns keep their case in the advice
    originals = {k.lower(): k for k in known}
    advice = suggestion(name, originals)
    for lower, original in originals.items():
        advice = advice.replace(f"{lower!r}", f"{original!r}")
    return advice


def _placed(value: Any, argument: str, index: pd.Index) -> Any:
    n = len(index)
    if isinstance(value, pd.Series) and not value.index.equals(index):
        raise DesignError(
            f"{argument}: the Series has other labels than the rows. Give it the same index in "
            "the same order, or pass an array in the order of the rows."
        )
    if isinstance(value, Real):
        return np.full(n, value)
    if not isinstance(value, pd.Series):
        array = np.asarray(value)
        # one text among numbers makes text of them all
        value = np.asarray(value, dtype=object) if array.dtype.kind in "US" else array
    if value.ndim != 1:
        raise DesignError(f"{argument} must be one-dimensional; it has shape {value.shape}.")
    if len(value) != n:
        raise DesignError(f"{argument} has {len(value)} values for {n} rows.")
    return value


def _numbers(value: Any, argument: str, named: str | None, index: pd.Index) -> Array:
    what = argument if named is None or named == argument else f"{argument} (column {named!r})"
    series = pd.Series(value, index=index)
    if pd.api.types.is_bool_dtype(series) or pd.api.types.is_complex_dtype(series):
        raise DesignError(f"{what} must be numbers; it has dtype {series.dtype}.")
    numeric = pd.to_numeric(series, errors="coerce")
    text = series.map(lambda v: isinstance(v, str)) if series.dtype.kind not in "iuf" else None
    lost = (numeric.isna() & series.notna()).to_numpy()
    if text is not None:
        lost = lost | text.to_numpy(dtype=bool, na_value=False)
    if lost.any():
        raise DesignError(
            f"{what} must be numbers; {rows_named(index, lost)}: {series[lost].iloc[0]!r}."
        )
    floats = numeric.to_numpy(dtype=float, na_value=np.nan)
    _refuse(np.isinf(floats), what, "finite", floats, index)
    return floats


def _refuse(bad: Mask, what: str, must: str, values: Array, index: pd.Index) -> None:
    if bad.any():
        shown = ", ".join(f"{v:g}" for v in values[bad][:_SHOWN])
        raise DesignError(
            f"{what} must be {must}; {rows_named(index, bad)} "
            f"{'has' if bad.sum() == 1 else 'have'} {shown}."
        )


def check_arguments(measure: Measure, given: Iterable[str]) -> None:
    """Refuse arguments that the measure does not use, and too few of them.

    Raises
    ------
    OptionError
        If the cells are not those of the measure.
    """
    layout, given = measure.layout, set(given)
    known = {cell.name for cell in layout.cells}
    needs = f"{measure.name} ({measure.title}) is computed from {layout.title}: {layout.needs}."
    for name in sorted(given - known):
        raise OptionError(f"{measure.name} does not use {name}. {needs}")
    whole = set(given)
    for first, second, total in layout.complements:
        if len({first, second, total} & given) >= 2:
            whole |= {first, second, total}
    if not any(set(way) <= whole for way in layout.ways):
        absent = min((set(way) - whole for way in layout.ways), key=len)
        raise OptionError(
            f"{measure.name} cannot be computed without {', '.join(sorted(absent))}. {needs}"
        )


def fill_cells(layout: Layout, inputs: Inputs) -> dict[str, Array]:
    """Check every number and complete the cells from their complements.

    Parameters
    ----------
    layout : Layout
        What the measure is computed from.
    inputs : Inputs
        What was given.

    Returns
    -------
    dict of ndarray
        Every cell of the layout; NaN where nothing was given.

    Raises
    ------
    DesignError
        If a number is impossible, a group has more events than people, or cells and totals
        disagree.
    """
    index = inputs.index
    absent = np.full(len(index), np.nan)
    cells = {cell.name: inputs.arrays.get(cell.name, absent) for cell in layout.cells}
    for name, values in inputs.arrays.items():
        cell = layout.cell(name)
        if cell is None:
            continue
        column = inputs.columns.get(name, name)
        what = f"{name} ({cell.what}" + (f", column {column!r})" if column != name else ")")
        there = ~np.isnan(values)
        _refuse(
            there & ~cell.kind.valid(np.where(there, values, 0.5)),
            what,
            cell.kind.must,
            values,
            index,
        )
    for first, second, total in layout.complements:
        _complete(cells, first, second, total, index)
    return cells


def _complete(
    cells: dict[str, Array], first: str, second: str, total: str, index: pd.Index
) -> None:
    a, b, n = cells[first], cells[second], cells[total]
    apart = np.abs(a + b - n) > _ROUNDING * np.maximum(1.0, n)
    if apart.any():
        where = rows_named(index, apart)
        raise DesignError(f"{total} is not {first} + {second} in {where}; leave one of them out.")
    for part in (a, b):
        above = part > n
        if above.any():
            name = first if part is a else second
            i = int(np.flatnonzero(above)[0])
            raise DesignError(
                f"{name} is above its total {total} in {rows_named(index, above)}: "
                f"{part[i]:g} of {n[i]:g}."
            )
    cells[first] = np.where(np.isnan(a), n - b, a)
    cells[second] = np.where(np.isnan(b), n - a, b)
    cells[total] = cells[first] + cells[second]
