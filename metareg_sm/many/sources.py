"""Where the outcomes of mass-univariate fits come from, and where results go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.formula._manager import FormulaManager

from metareg_sm._typing import Array
from metareg_sm.exceptions import DesignError, MissingStudiesError, OptionError, VarianceError
from metareg_sm.many.mapped import TableInFile, forget, mapping


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
    if np.isfinite(y.sum() + v.sum()) and v.min(initial=0.0) >= 0.0:
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


def _is_dask(values: Any) -> bool:
    return type(values).__module__.split(".")[0] == "dask"


def right_side(exog: Any, data: pd.DataFrame | None) -> tuple[Array, list[str]]:
    """Design matrix and names of its columns from an array, a frame or a formula.

    Raises
    ------
    DesignError, MissingStudiesError, OptionError
        If a formula comes without `data`, or a moderator is missing or infinite.
    """
    if isinstance(exog, str):
        if data is None:
            raise OptionError(
                f"exog={exog!r} is a formula; give the table of the studies as data=."
            )
        text = exog.strip()
        formula = text if text.startswith("~") else f"~ {text}"
        manager = FormulaManager()
        # four frames: this one, get_matrices' caller, fit_many and its caller
        frame = manager.get_matrices(
            formula, data, eval_env=2, na_action=manager.get_na_action("drop")
        )
        if len(frame) != len(data):
            row = data.index.difference(frame.index)[0]
            raise MissingStudiesError(
                f"A moderator of row {row!r} of data is missing; every study needs all moderators."
            )
        return np.asarray(frame, dtype=float), [str(c) for c in frame.columns]
    names = [str(c) for c in exog.columns] if isinstance(exog, pd.DataFrame) else None
    X = np.asarray(exog, dtype=float)
    if X.ndim == 1:
        X = X[:, None]
    if X.ndim != 2:
        raise DesignError(f"exog must have two dimensions; it has shape {X.shape}.")
    if not np.isfinite(X).all():
        row, column = np.argwhere(~np.isfinite(X))[0]
        raise MissingStudiesError(f"exog of study {row} is missing or infinite in column {column}.")
    if names is None:
        constant = np.flatnonzero((X[0] == X).all(axis=0) & (X[0] != 0.0))
        names = [f"x{j + 1}" for j in range(X.shape[1])]
        if constant.size:
            first = int(constant[0])
            names = [f"x{j}" for j in range(1, X.shape[1])]
            names.insert(first, "const")
    return X, names


class _Parquet:
    """A table of outcomes in a parquet file, read block by block."""

    ndim = 2

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        self._file = pq.ParquetFile(path)
        groups = self._file.metadata.num_row_groups
        sizes = [self._file.metadata.row_group(g).num_rows for g in range(groups)]
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        # without the columns that hold the index of a data frame
        columns = self._file.schema_arrow.empty_table().to_pandas().shape[1]
        self.shape = (int(self._starts[-1]), columns)
        self._held: tuple[int, Array] | None = None

    def _group(self, g: int) -> Array:
        if self._held is None or self._held[0] != g:
            frame = self._file.read_row_group(g).to_pandas()
            self._held = (g, frame.to_numpy(dtype=float))
        return self._held[1]

    def __getitem__(self, rows: Any) -> Array:
        if not isinstance(rows, slice):
            row = int(rows) % self.shape[0]
            return self[row : row + 1][0]
        begin, end, _ = rows.indices(self.shape[0])
        first = int(np.searchsorted(self._starts, begin, side="right")) - 1
        parts = []
        while begin < end:
            stop = min(end, int(self._starts[first + 1]))
            base = int(self._starts[first])
            parts.append(self._group(first)[begin - base : stop - base])
            begin, first = stop, first + 1
        return np.concatenate(parts) if parts else np.empty((0, self.shape[1]))


def _open(values: Any, name: str) -> Any:
    if isinstance(values, (str, Path)):
        path = Path(values)
        if path.suffix == ".npy":
            return np.load(path, mmap_mode="r")
        if path.suffix == ".parquet":
            return _Parquet(path)
        raise OptionError(f"{name}={str(values)!r} must end in '.npy' or '.parquet'.")
    if isinstance(values, (pd.DataFrame, pd.Series)):
        return values.to_numpy(dtype=float)
    values = values if hasattr(values, "ndim") else np.asarray(values, dtype=float)
    kind = getattr(getattr(values, "dtype", None), "kind", "f")
    if kind == "O":
        values, kind = np.asarray(values, dtype=float), "f"
    if kind not in "fiub":
        raise DesignError(f"{name} must be numbers; it has dtype {values.dtype}.")
    return values


@dataclass(frozen=True)
class Source:
    """Outcomes and variances, cut into blocks.

    Attributes
    ----------
    endog, vi : array-like, (n, k), and (n, k) or (k,)
        In memory, mapped from a file, or dask's.
    exog : ndarray, (k, p)
        Moderators.
    size : int
        Outcomes in one block.
    progress : bool
        Show a progress bar.
    labels : Index or None
        Labels of the outcomes.
    part : bool
        These are a part of all outcomes, of unknown position.
    """

    endog: Any
    vi: Any
    exog: Array
    size: int
    progress: bool
    labels: pd.Index | None
    part: bool = False

    @property
    def lazy(self) -> bool:
        """Whether dask holds the outcomes."""
        return _is_dask(self.endog)

    def row(self, i: int) -> tuple[Array, Array]:
        """Outcome and variances of one data set."""
        y, v = self.endog[i], self.vi if self.vi.ndim == 1 else self.vi[i]
        return tuple(np.asarray(a, dtype=float) for a in self.compute(y, v))  # type: ignore[return-value]

    def compute(self, *arrays: Any) -> tuple[Any, ...]:
        """Arrays in memory."""
        if not any(_is_dask(a) for a in arrays):
            return arrays
        import dask

        return dask.compute(*arrays)

    def _ranges(self) -> Iterator[slice]:
        starts: Any = range(0, self.endog.shape[0], self.size)
        if self.progress:
            from tqdm.auto import tqdm

            starts = tqdm(starts, desc="blocks of outcomes", unit="block")
        for begin in starts:
            yield slice(begin, min(begin + self.size, self.endog.shape[0]))

    def blocks(self) -> Iterator[tuple[slice, Source]]:
        """One block of outcomes after another, each a source of its own."""
        for rows in self._ranges():
            y = np.asarray(self.endog[rows], dtype=float)
            v = self.vi if self.vi.ndim == 1 else np.asarray(self.vi[rows], dtype=float)
            labels = pd.RangeIndex(rows.start, rows.stop) if self.labels is None else None
            labels = labels if self.labels is None else self.labels[rows]
            yield rows, replace(self, endog=y, vi=v, progress=False, labels=labels)
            self._forget(rows)

    def _forget(self, rows: slice) -> None:
        for values in (self.endog, self.vi):
            if values.ndim == 2 and isinstance(values, np.ndarray):
                forget(values[rows])

    @property
    def in_file(self) -> bool:
        """Whether a file holds the outcomes."""
        return isinstance(self.endog, _Parquet) or mapping(self.endog) is not None

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
        """
        if self.lazy:
            return self._map_lazily(function, columns, *extra)
        shape = (self.endog.shape[0], columns)
        out = TableInFile(shape) if self.in_file else np.empty(shape, order="F")
        shared = None if self.vi.ndim == 2 else np.asarray(self.vi, dtype=float)
        for rows in self._ranges():
            y = np.asarray(self.endog[rows], dtype=float)
            v = np.asarray(self.vi[rows], dtype=float) if shared is None else shared
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
            shared = np.asarray(self.vi, dtype=float)
        size, flat = self.size, [e.ndim == 1 for e in extra]

        def blocks(*parts: Array) -> Array:
            first, *others = parts
            v = shared if shared is not None else others.pop(0)
            rest = [o[:, 0] if f else o for o, f in zip(others, flat, strict=True)]
            source = Source(first, v, np.empty((0, 0)), size, False, None, part=True)
            return source.map(function, columns, *rest)

        return da.map_blocks(
            blocks,
            *arguments,
            dtype=float,
            chunks=(y.chunks[0], (columns,)),
            meta=np.empty((0, 0)),
        )


def open_outcomes(endog: Any, vi: Any, exog: Array, size: int, progress: bool) -> Source:
    """Check the shapes of outcomes, variances and moderators.

    Raises
    ------
    DesignError
        If they do not match.
    """
    labels = endog.index if isinstance(endog, pd.DataFrame) else None
    y, v = _open(endog, "endog"), _open(vi, "vi")
    if y.ndim != 2:
        raise DesignError(
            f"endog must have one row an outcome and one column a study; it has shape {y.shape}."
        )
    k = len(exog)
    if y.shape[1] != k:
        raise DesignError(f"endog has {y.shape[1]} columns for the {k} studies of exog.")
    if tuple(v.shape) not in (tuple(y.shape), (k,)):
        raise DesignError(f"vi has shape {v.shape}; it must be {tuple(y.shape)} or ({k},).")
    if _is_dask(y) and v.ndim == 2 and not _is_dask(v):
        import dask.array as da

        v = da.from_array(v, chunks=(y.chunks[0], k))
    if _is_dask(v) and not _is_dask(y):
        if v.ndim == 1:
            v = v.compute()
        else:
            raise DesignError("vi is a dask array and endog is not; make both dask arrays.")
    return Source(y, v, exog, size, progress, labels)


def write_results(results: Any, path: Path) -> None:
    """Write results block by block; see `ManyResults.save`."""
    if path.suffix not in (".npy", ".parquet"):
        raise OptionError(f"path={str(path)!r} must end in '.parquet' or '.npy'.")
    with ExitStack() as stack:
        write = None
        for frame in _at_least_one(results):
            if write is None:
                kind = _parquet_writer if path.suffix == ".parquet" else _npy_writer
                write = kind(path, frame, len(results), stack)
            write(frame)


Write = Callable[[pd.DataFrame], object]


def _at_least_one(results: Any) -> Iterator[pd.DataFrame]:
    """Tables of the blocks; without outcomes there is no block, yet there are columns."""
    if len(results) == 0:
        yield results.to_frame()
    yield from results.iter_frames()


def _parquet_writer(path: Path, first: pd.DataFrame, rows: int, stack: ExitStack) -> Write:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.Table.from_pandas(first).schema
    writer = stack.enter_context(pq.ParquetWriter(path, schema))
    return lambda frame: writer.write_table(pa.Table.from_pandas(frame))


def _npy_writer(path: Path, first: pd.DataFrame, rows: int, stack: ExitStack) -> Write:
    file = stack.enter_context(path.open("wb"))
    descr = np.lib.format.dtype_to_descr(np.dtype(float))
    header = {"descr": descr, "fortran_order": False, "shape": (rows, first.shape[1])}
    np.lib.format.write_array_header_1_0(file, header)
    return lambda frame: file.write(np.ascontiguousarray(frame, dtype=float).data)
