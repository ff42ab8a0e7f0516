"""Results into files, block by block; a file is there when it is complete, and not before."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metareg_sm.exceptions import OptionError
from metareg_sm.many.mapped import file_error

Write = Callable[[pd.DataFrame], object]
Open = Callable[[Path, pd.DataFrame, int, ExitStack], Write]


def check_path(path: Any) -> Path:
    """The path of a file of a kind that can be written.

    Raises
    ------
    OptionError
        If it is no path, or ends neither in ".parquet" nor in ".npy".
    """
    if not isinstance(path, (str, os.PathLike)):
        raise OptionError(f"path must be the path of a file; got {path!r}.")
    found = Path(path)
    if found.suffix not in _WRITERS or "\0" in str(path):
        raise OptionError(f"path={str(path)!r} must end in '.parquet' or '.npy'.")
    return found


def write_tables(path: Path, tables: Iterator[pd.DataFrame], rows: int) -> None:
    """Write the tables of all blocks, `rows` rows together, as one file.

    Raises
    ------
    FileError
        If the file cannot be written; one that was there before is left as it was.
    """
    with _complete_or_not_at_all(path) as unfinished, ExitStack() as stack:
        write = None
        for table in tables:
            if write is None:
                write = _WRITERS[path.suffix](unfinished, table, rows, stack)
            write(table)


@contextmanager
def _complete_or_not_at_all(path: Path) -> Iterator[Path]:
    """A path beside `path`, which takes its place at the end unless there was an error."""
    # where it is a link, the file it leads to is replaced
    target = Path(os.path.realpath(path))
    unfinished = target.with_name(f".{target.name}.{uuid.uuid4().hex}.unfinished")
    try:
        yield unfinished
        if target.exists():
            shutil.copymode(target, unfinished)
        unfinished.replace(target)
    except OSError as error:
        raise file_error(f"{str(path)!r} cannot be written", error) from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def _parquet(path: Path, first: pd.DataFrame, rows: int, stack: ExitStack) -> Write:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise OptionError(
            "A .parquet file needs pyarrow: pip install 'metareg_sm[many]'."
        ) from error
    schema = pa.Table.from_pandas(first).schema
    writer = stack.enter_context(pq.ParquetWriter(path, schema))
    return lambda table: writer.write_table(pa.Table.from_pandas(table))


def _npy(path: Path, first: pd.DataFrame, rows: int, stack: ExitStack) -> Write:
    file = stack.enter_context(path.open("wb"))
    descr = np.lib.format.dtype_to_descr(np.dtype(float))
    header = {"descr": descr, "fortran_order": False, "shape": (rows, first.shape[1])}
    np.lib.format.write_array_header_1_0(file, header)
    return lambda table: file.write(np.ascontiguousarray(table, dtype=float).data)


_WRITERS: dict[str, Open] = {".parquet": _parquet, ".npy": _npy}
