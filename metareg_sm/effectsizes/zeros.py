"""What is done about cells of 0: `add`, `to`, `drop00`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from metareg_sm._typing import Array, Mask
from metareg_sm.effectsizes.records import Layout

#: By the name that `to` takes: given the studies with a cell of 0, the studies that are added to.
RULES: Mapping[str, Callable[[Mask], Mask]] = {
    "only0": lambda zero: zero,
    "all": np.ones_like,
    "if0all": lambda zero: np.full_like(zero, bool(zero.any())),
    "none": np.zeros_like,
}


def zero_cells(layout: Layout, cells: Mapping[str, Array]) -> Mask:
    """Studies with a count of 0."""
    return np.any([cells[name] == 0 for name in layout.counts], axis=0)


def double_zero(layout: Layout, cells: Mapping[str, Array]) -> Mask:
    """Studies without events in both groups, or with nothing but events."""
    some = next(iter(cells.values()))
    found = np.zeros(some.shape, dtype=bool)
    for group in layout.double_zero:
        found |= np.all([cells[name] == 0 for name in group], axis=0)
    return found


def added(
    layout: Layout, cells: Mapping[str, Array], add: float, rule: Callable[[Mask], Mask]
) -> tuple[dict[str, Array], Mask]:
    """Cells with the constant added, and the studies that it was added to.

    Totals are those of the cells afterwards; times at risk do not change.
    """
    marked = rule(zero_cells(layout, cells)) & (add > 0)
    bigger = {name: cells[name] + add * marked for name in layout.counts}
    return {**cells, **bigger}, marked


def empty_group(layout: Layout, cells: Mapping[str, Array]) -> Mask:
    """Studies with nobody in a group."""
    some = next(iter(cells.values()))
    found = np.zeros(some.shape, dtype=bool)
    for _, _, total in layout.complements:
        found |= cells[total] == 0
    return found
