"""Arrays in mapped files whose pages are given back once they have been used."""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
from math import prod
from typing import Any

import numpy as np

from metareg_sm._typing import Array
from metareg_sm.exceptions import FileError, MissingFileError

# bytes before what was read of which the system may have mapped pages, too
_AROUND = 1 << 21


def file_error(text: str, cause: Exception) -> FileError:
    """An error that says what went wrong with a file and why, with the number of the system's."""
    number = cause.errno if isinstance(cause, OSError) else None
    why = str(cause).strip().split("\n")[0] if number is None else os.strerror(number)
    error = (MissingFileError if number == errno.ENOENT else FileError)(f"{text}: {why}")
    error.errno = number
    return error


def mapping(values: Any) -> mmap.mmap | None:
    """The shared mapping of a file that an array is a view of; None if it is anything else."""
    shared = False
    while isinstance(values, np.ndarray):
        if isinstance(values, np.memmap):
            # pages of a copy-on-write mapping may hold changes that are nowhere else
            shared = values.mode != "c"
        values = values.base
    return values if shared and isinstance(values, mmap.mmap) else None


def forget(values: Any) -> None:
    """Let the system drop the pages of a mapped file that an array covers.

    They are read again where they are needed again. Without this, what has been read of a file
    stays resident until memory runs short. Other arrays are left alone.

    Parameters
    ----------
    values : object
        An array, or whatever else outcomes come in.
    """
    found = mapping(values)
    if found is None or not hasattr(mmap, "MADV_DONTNEED") or values.size == 0:
        return
    first, last = np.lib.array_utils.byte_bounds(values)
    base = np.frombuffer(found, dtype=np.uint8).ctypes.data
    start = max(0, first - base - _AROUND) // mmap.PAGESIZE * mmap.PAGESIZE
    found.madvise(mmap.MADV_DONTNEED, start, last - base - start)


class TableInFile:
    """A table that is written block by block to a temporary file, which goes when the table goes.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        try:
            # closed by `array`, or with the table
            self._file = tempfile.TemporaryFile(prefix="metareg_sm")  # noqa: SIM115
        except OSError as error:
            raise self._no_room(error) from error

    def _no_room(self, error: OSError) -> FileError:
        size = 8 * prod(self.shape) / 2**20
        folder = tempfile.tempdir or "a folder for temporary files"
        return file_error(
            f"The results need {size:.0f} MiB in {folder}, where temporary files are (the "
            f"environment variable TMPDIR says where)",
            error,
        )

    def __setitem__(self, rows: slice, block: Array) -> None:
        """Write some rows, each column to where it belongs.

        Raises
        ------
        FileError
            If there is no room for the table where temporary files are.
        """
        try:
            for j, column in enumerate(block.T):
                self._file.seek(8 * (j * self.shape[0] + rows.start))
                self._file.write(np.ascontiguousarray(column).data)
            self._file.flush()
        except OSError as error:
            raise self._no_room(error) from error

    def array(self) -> Array:
        """All of it, mapped from the file: read-only, with contiguous columns."""
        if 0 in self.shape:
            return np.empty(self.shape)
        with self._file as file:
            return np.asarray(np.memmap(file, dtype=float, mode="r", shape=self.shape, order="F"))
