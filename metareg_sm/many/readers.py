"""Outcomes and variances from memory, from files and from dask, not yet read as a whole."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from math import isnan
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from metareg_sm._typing import Array, Rows
from metareg_sm.exceptions import DesignError, FileError, OptionError
from metareg_sm.many.containers import (
    REAL_KINDS,
    as_pandas,
    from_frame,
    in_memory,
    is_dask,
    refuse_what_holds_no_numbers,
)
from metareg_sm.many.mapped import file_error


@dataclass(frozen=True, slots=True)
class Opened:
    """A table of outcomes or variances.

    Attributes
    ----------
    values : array-like
        In memory, mapped from a file, `ParquetTable`, or dask's; rows can be sliced.
    rows, columns : Index or None
        Labels of the outcomes and of the studies.
    """

    values: Any
    rows: pd.Index | None = None
    columns: pd.Index | None = None


def open_table(values: Any, name: str) -> Opened:
    """Make a table ready to be read block by block.

    Parameters
    ----------
    values : array_like, DataFrame, Series, dask array or path
        Outcomes or variances.
    name : str
        The argument it was given to, for errors.

    Raises
    ------
    DesignError, OptionError, FileError
        If it does not hold real numbers, or is a file that cannot be read.
    """
    if isinstance(values, (str, PurePath)):
        return _open_file(Path(values), str(values), name)
    values = as_pandas(values)
    if not _comes_in_blocks(values):
        refuse_what_holds_no_numbers(values, name)
    if isinstance(values, pd.Series):
        return Opened(from_frame(values.to_frame(), name)[:, 0], columns=values.index)
    if isinstance(values, pd.DataFrame):
        return Opened(from_frame(values, name), values.index, values.columns)
    if is_dask(values):
        if any(isnan(n) for n in values.shape):
            raise DesignError(
                f"{name} is a dask array of unknown shape; call {name}.compute_chunk_sizes() first."
            )
        if values.dtype.kind not in REAL_KINDS:
            raise DesignError(f"{name} must be numbers; it has dtype {values.dtype}.")
        return Opened(values)
    if _comes_in_blocks(values):
        if values.dtype.kind not in REAL_KINDS:
            raise DesignError(f"{name} must be numbers; it has dtype {values.dtype}.")
        return Opened(values)
    return Opened(in_memory(values, name))


def _comes_in_blocks(values: Any) -> bool:
    """Whether something else than numpy's holds an array of which it can give some rows.

    It may be larger than memory, such as a data set in an HDF5 or a zarr file.
    """
    if isinstance(values, (np.ndarray, pd.DataFrame, pd.Series)) or sparse.issparse(values):
        return False
    described = all(hasattr(values, a) for a in ("shape", "ndim", "dtype", "__getitem__"))
    return described and getattr(values.dtype, "kind", "O") in "fiubc"


def _open_file(path: Path, given: str, name: str) -> Opened:
    if path.suffix == ".npy":
        values = _map_npy(path, name)
        if values.dtype.kind not in REAL_KINDS:
            raise DesignError(f"{name} must be numbers; {path} has dtype {values.dtype}.")
        return Opened(values)
    if path.suffix == ".parquet":
        table = ParquetTable(path, name)
        return Opened(table, None, table.columns)
    raise OptionError(f"{name}={given!r} must end in '.npy' or '.parquet'.")


def _map_npy(path: Path, name: str) -> Array:
    text = f"{name}={str(path)!r}"
    try:
        return np.asarray(np.lib.format.open_memmap(path, mode="r"))
    except OSError as error:
        raise file_error(f"{text} cannot be read", error) from error
    except ValueError as error:
        raise file_error(f"{text} is no .npy file of numbers, or a part of one", error) from error


class ParquetTable:
    """A table in a parquet file, of which one group of rows is held at a time.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        The argument it was given to, for errors.
    order : ndarray of int, optional
        Columns to read, in this order; by default all as they stand.
    """

    ndim = 2

    def __init__(self, path: Path, name: str, order: Rows | None = None) -> None:
        try:
            import pyarrow.parquet as pq
        except ImportError as error:
            raise OptionError(
                f"{name}={str(path)!r} needs pyarrow: pip install 'metareg_sm[many]'."
            ) from error
        self._path, self._name, self._order = path, name, order
        try:
            self._file = pq.ParquetFile(path)
            empty = self._file.schema_arrow.empty_table().to_pandas()
        except (OSError, ValueError) as error:
            raise self._broken(error) from error
        # text and dates are found before anything is read
        from_frame(empty, name)
        groups = self._file.metadata.num_row_groups
        sizes = [self._file.metadata.row_group(g).num_rows for g in range(groups)]
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(int)
        # without the columns that hold the index of a data frame
        columns = empty.columns if order is None else empty.columns[order]
        self.columns, self.shape = columns, (int(self._starts[-1]), len(columns))
        self._labelled = not isinstance(empty.index, pd.RangeIndex)
        self._held: tuple[int, Array, pd.Index] | None = None
        # pyarrow does not promise that threads may read one file
        self._reading = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        # an open file goes to no other process; the file does
        return ParquetTable, (self._path, self._name, self._order)

    def _broken(self, error: Exception) -> FileError:
        unreadable = isinstance(error, OSError) and error.errno is not None
        what = "cannot be read" if unreadable else "is no parquet file, or a part of one"
        return file_error(f"{self._name}={str(self._path)!r} {what}", error)

    def ordered(self, order: Rows) -> ParquetTable:
        """The same table with its columns in another order."""
        return ParquetTable(self._path, self._name, order)

    def _group(self, g: int) -> tuple[int, Array, pd.Index]:
        with self._reading:
            held = self._held
            if held is None or held[0] != g:
                try:
                    frame = self._file.read_row_group(g).to_pandas()
                except (OSError, ValueError) as error:
                    raise self._broken(error) from error
                values = from_frame(frame, self._name)
                values = values if self._order is None else values[:, self._order]
                held = self._held = (g, values, frame.index)
            return held

    def _parts(self, begin: int, end: int) -> list[tuple[Array, pd.Index]]:
        first = int(np.searchsorted(self._starts, begin, side="right")) - 1
        parts = []
        while begin < end:
            stop, base = min(end, int(self._starts[first + 1])), int(self._starts[first])
            _, values, labels = self._group(first)
            parts.append((values[begin - base : stop - base], labels[begin - base : stop - base]))
            begin, first = stop, first + 1
        return parts

    def __getitem__(self, rows: int | slice) -> Array:
        if not isinstance(rows, slice):
            return self[rows : rows + 1][0]
        begin, end, _ = rows.indices(self.shape[0])
        parts = [values for values, _ in self._parts(begin, end)]
        return np.concatenate(parts) if parts else np.empty((0, self.shape[1]))

    def labels(self, rows: slice) -> pd.Index | None:
        """Labels of some outcomes; None if the file has none."""
        if not self._labelled:
            return None
        begin, end, _ = rows.indices(self.shape[0])
        parts = [labels for _, labels in self._parts(begin, end)]
        return parts[0].append(parts[1:]) if parts else None

    def all_labels(self) -> pd.Index | None:
        """Labels of all outcomes, read without their numbers; None if the file has none."""
        if not self._labelled:
            return None
        try:
            with self._reading:
                return self._file.read(columns=[], use_pandas_metadata=True).to_pandas().index
        except (OSError, ValueError) as error:
            raise self._broken(error) from error
