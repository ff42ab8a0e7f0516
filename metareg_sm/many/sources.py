"""The outcomes and variances of many fits, cut into blocks to which a function is applied."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd

from metareg_sm._typing import Array
from metareg_sm.exceptions import (
    DesignError,
    MemoryLimitError,
    OptionError,
    OutcomeError,
    VarianceError,
)
from metareg_sm.many.containers import as_floats, is_dask
from metareg_sm.many.mapped import TableInFile, forget, mapping
from metareg_sm.many.readers import ParquetTable


def _check_block(y: Array, v: Array, first: int | None) -> None:
    """Refuse what is neither a number nor missing; `first` is the outcome that the block has first.

    Raises
    ------
    DesignError, VarianceError
        If an outcome is infinite, or a variance is infinite or negative.
    """

    def name(row: int) -> str:
        return f"outcome {row} of its block" if first is None else f"outcome {first + row}"

    # a sum is finite where every cell is
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(y.sum() + v.sum())
    if finite and v.min(initial=0.0) >= 0.0:
        return
    if np.isinf(y).any():
        row, column = np.argwhere(np.isinf(y))[0]
        raise DesignError(f"endog is infinite in study {column} of {name(int(row))}.")
    bad = np.isinf(v) | (v < 0.0)
    if bad.any():
        row, column = np.argwhere(np.atleast_2d(bad))[0]
        value = np.atleast_2d(v)[row, column]
        raise VarianceError(
            f"vi must be finite and not negative; study {column} of {name(int(row))} has {value:g}."
        )


@dataclass(frozen=True, slots=True)
class Source:
    """Outcomes and variances, cut into blocks.

    Attributes
    ----------
    endog, vi : array-like, (n, k), and (n, k) or (k,)
        In memory, mapped from a file, `ParquetTable`, or dask's.
    size : int
        Outcomes in one block.
    progress : bool
        Show a progress bar.
    rows : Index or None
        Labels of the outcomes, where they are in memory.
    part : bool
        These are a part of all outcomes, of unknown position.
    """

    endog: Any
    vi: Any
    size: int
    progress: bool = False
    rows: pd.Index | None = None
    part: bool = False

    @property
    def lazy(self) -> bool:
        """Whether dask holds the outcomes."""
        return is_dask(self.endog)

    @property
    def labels(self) -> pd.Index | None:
        """Labels of all outcomes; None if they have none."""
        if self.rows is None and isinstance(self.endog, ParquetTable):
            return self.endog.all_labels()
        return self.rows

    def position(self, outcome: Any) -> int:
        """Row of an outcome, from its number or its label.

        Raises
        ------
        OutcomeError, OptionError
            If there is no such outcome.
        """
        n = self.endog.shape[0]
        if isinstance(outcome, Integral) and not isinstance(outcome, bool):
            if not -n <= outcome < n:
                have = f"there are {n}, 0 to {n - 1}" if n else "there are none"
                raise OutcomeError(f"There is no outcome {int(outcome)}: {have}.")
            return int(outcome) % n
        if outcome is None or isinstance(outcome, Real) or not isinstance(outcome, Hashable):
            raise OptionError(f"An outcome is a whole number or a label; got {outcome!r}.")
        labels = self.labels
        if labels is None:
            raise OutcomeError(f"There is no outcome {outcome!r}: the outcomes have no labels.")
        found = labels.get_indexer_for([outcome])
        if len(found) > 1 or found[0] < 0:
            have = "several outcomes have" if len(found) > 1 else "none has"
            raise OutcomeError(f"There is no outcome {outcome!r}: {have} this label.")
        return int(found[0])

    def row(self, i: int) -> tuple[Array, Array]:
        """Outcome and variances of one data set, by its position."""
        y, v = self.endog[i], self.vi if self.vi.ndim == 1 else self.vi[i]
        y, v = (as_floats(a) for a in self.compute(y, v))
        return y, v

    def compute(self, *arrays: Any) -> tuple[Any, ...]:
        """Arrays in memory."""
        if not any(is_dask(a) for a in arrays):
            return arrays
        import dask

        found: tuple[Any, ...] = dask.compute(*arrays)
        return found

    def _ranges(self) -> Iterator[slice]:
        starts: Any = range(0, self.endog.shape[0], self.size)
        if self.progress:
            starts = _progress_bar(starts)
        for begin in starts:
            yield slice(begin, min(begin + self.size, self.endog.shape[0]))

    def blocks(self) -> Iterator[tuple[slice, Source]]:
        """One block of outcomes after another, each a source of its own."""
        for rows in self._ranges():
            y = as_floats(self.endog[rows])
            v = self.vi if self.vi.ndim == 1 else as_floats(self.vi[rows])
            yield rows, Source(y, v, self.size, rows=self._labels_of(rows))
            self._forget(rows)

    def _labels_of(self, rows: slice) -> pd.Index:
        if self.rows is not None:
            return self.rows[rows]
        found = self.endog.labels(rows) if isinstance(self.endog, ParquetTable) else None
        return pd.RangeIndex(rows.start, rows.stop) if found is None else found

    def _forget(self, rows: slice) -> None:
        for values in (self.endog, self.vi):
            if values.ndim == 2 and isinstance(values, np.ndarray):
                forget(values[rows])

    @property
    def in_file(self) -> bool:
        """Whether a file holds the outcomes."""
        return isinstance(self.endog, ParquetTable) or mapping(self.endog) is not None

    def map(self, function: Callable[..., Array], columns: int, *extra: Any) -> Any:
        """Apply a function of outcomes, variances and more to every block.

        Parameters
        ----------
        function : callable
            Gives (rows of the block, columns).
        columns : int
            Columns of its result.
        *extra : array-like, (n, ...)
            Further arguments, one row an outcome.

        Returns
        -------
        ndarray or dask array, (n, columns)
            Each column contiguous; in a temporary file where the outcomes are in a file.

        Raises
        ------
        DesignError, VarianceError
            If an outcome is infinite, or a variance is infinite or negative.
        FileError
            If a file cannot be read, or there is no room for the results of outcomes in a file.
        MemoryLimitError
            If memory runs out.
        """
        if self.lazy:
            return self._map_lazily(function, columns, *extra)
        try:
            return self._map(function, columns, *extra)
        except MemoryError as error:
            n, k = self.endog.shape
            raise MemoryLimitError(
                f"There is not enough memory for {n} outcomes of {k} studies in blocks of "
                f"{self.size}. Use a smaller chunk=, or files (.npy or .parquet) for endog and vi, "
                "which are read and fitted one block at a time."
            ) from error

    def _map(self, function: Callable[..., Array], columns: int, *extra: Any) -> Array:
        shape = (self.endog.shape[0], columns)
        out = TableInFile(shape) if self.in_file else np.empty(shape, order="F")
        shared = None if self.vi.ndim == 2 else as_floats(self.vi)
        for rows in self._ranges():
            y = as_floats(self.endog[rows])
            v = as_floats(self.vi[rows]) if shared is None else shared
            _check_block(y, v, None if self.part else rows.start)
            out[rows] = function(y, v, *(e[rows] for e in extra))
            for used in extra:
                forget(used[rows])
            self._forget(rows)
        return out.array() if isinstance(out, TableInFile) else out

    def _map_lazily(self, function: Callable[..., Array], columns: int, *extra: Any) -> Any:
        import dask.array as da

        y = self.endog.rechunk({1: -1})
        arguments = [y, *(e[:, None] if e.ndim == 1 else e for e in extra)]
        shared = None
        if self.vi.ndim == 2:
            arguments.insert(1, self.vi.rechunk(y.chunks))
        else:
            shared = as_floats(self.vi)
        flat = tuple(e.ndim == 1 for e in extra)
        return da.map_blocks(
            _OneChunk(function, columns, self.size, shared, flat),
            *arguments,
            dtype=float,
            chunks=(y.chunks[0], (columns,)),
            meta=np.empty((0, 0)),
        )


@dataclass(frozen=True, slots=True)
class _OneChunk:
    """What dask calls for each of its chunks, here or in another process.

    Attributes
    ----------
    function, columns : callable, int
        As in `Source.map`.
    size : int
        Outcomes in one block.
    shared : ndarray, (k,), or None
        Variances, where all outcomes share them; else they come with the chunk.
    flat : tuple of bool
        Which of the further arguments have one dimension; dask sends all with two.
    """

    function: Callable[..., Array]
    columns: int
    size: int
    shared: Array | None
    flat: tuple[bool, ...]

    def __call__(self, y: Array, *others: Array) -> Array:
        rest = list(others)
        v = rest.pop(0) if self.shared is None else self.shared
        extra = [e[:, 0] if flat else e for e, flat in zip(rest, self.flat, strict=True)]
        source = Source(y, v, self.size, part=True)
        table: Array = source.map(self.function, self.columns, *extra)
        return table


def _progress_bar(starts: range) -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise OptionError("progress=True needs tqdm: pip install 'metareg_sm[many]'.") from error
    return tqdm(starts, desc="blocks of outcomes", unit="block")
