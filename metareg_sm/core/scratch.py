"""Memory for the arrays of study size that one evaluation needs, kept for the next evaluation."""

from __future__ import annotations

import threading
from collections.abc import Callable
from math import prod

import numpy as np

from metareg_sm._typing import Array

New = Callable[[tuple[int, ...]], Array]

# Elements that are kept for each thread: enough for a block of data sets.
_KEPT = 1 << 20


class _Memory(threading.local):
    def __init__(self) -> None:
        self.block = np.empty(_KEPT)


_memory = _Memory()


def studies_first(shape: tuple[int, ...]) -> Array:
    """An uninitialised array (..., k) with the studies outermost in memory.

    Loops over such arrays run over the data sets rather than over the few studies of each.
    """
    return studies_last(np.empty((shape[-1], *shape[:-1])))


def studies_last(a: Array) -> Array:
    """View of an array (k, ...) as (..., k)."""
    return a.T if a.ndim <= 2 else np.moveaxis(a, 0, -1)


def scratch() -> New:
    """What gives one uninitialised array (..., k) after another, as `studies_first` does.

    Their memory is the thread's, which the next call of `scratch` gives again: nothing of it may be
    kept or returned. Arrays of that size that are fresh come from the system page by page, which
    takes as long as to compute what is in them.
    """
    used = 0

    def new(shape: tuple[int, ...]) -> Array:
        nonlocal used
        size = prod(shape)
        if used + size > _KEPT:
            return studies_first(shape)
        part = _memory.block[used : used + size]
        used += size
        return studies_last(part.reshape(shape[-1], *shape[:-1]))

    return new
