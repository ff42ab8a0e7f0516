"""The records of the registry: cells of a table, their layout, a measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from metareg_sm._typing import Array, Mask

Arrays = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Kind:
    """What the numbers of a cell may be.

    Attributes
    ----------
    must : str
        The requirement, for an error.
    valid : callable
        `valid(values)` marks the values that meet it.
    """

    must: str
    valid: Callable[[Array], Mask]


COUNT = Kind("a count, 0 or more", lambda x: x >= 0)
SAMPLE = Kind("a sample size of at least 2", lambda x: x >= 2)
TIME = Kind("a time at risk above 0", lambda x: x > 0)
SD = Kind("a standard deviation above 0", lambda x: x > 0)
SD_OR_ZERO = Kind("a standard deviation of 0 or more", lambda x: x >= 0)
NUMBER = Kind("a number", np.isfinite)
POSITIVE_MEAN = Kind("a mean of 0 or more, on a scale with a true zero", lambda x: x >= 0)
CORRELATION = Kind("a correlation between -1 and 1", lambda x: np.abs(x) <= 1)
P_VALUE = Kind(
    "a two-sided p-value between 0 and 1, negative where the effect is",
    lambda x: (np.abs(x) <= 1) & (x != 0),
)
R_SQUARED = Kind("a share between 0 and 1", lambda x: (x >= 0) & (x <= 1))
ALPHA = Kind("a reliability below 1", lambda x: x < 1)
ITEMS = Kind("a number of items of at least 2", lambda x: x >= 2)
PREDICTORS = Kind("a number of predictors of at least 1", lambda x: x >= 1)


@dataclass(frozen=True, slots=True)
class Cell:
    """One input of a layout.

    Attributes
    ----------
    name : str
        The argument of `effect_size`.
    what : str
        What it holds.
    kind : Kind
        What its numbers may be.
    control : bool
        Whether it describes the second group (or the second row) alone.
    """

    name: str
    what: str
    kind: Kind
    control: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """The cells that a group of measures is computed from.

    Attributes
    ----------
    title : str
        What kind of data it is.
    cells : tuple of Cell
        Every input that may be given.
    takes : tuple of str
        What the formulas take, in their order.
    needs : str
        What must be given, in words.
    ways : tuple of tuple of str
        Sets of cells of which at least one must be complete.
    complements : tuple of (part, part, total)
        Any two of the three give the third.
    counts : tuple of str
        Cells to which a constant is added if one of them is 0.
    double_zero : tuple of tuple of str
        Sets of cells that are all 0 in a study without events, or without anything but events.
    prepare : callable, optional
        `prepare(cells)` gives the arrays that `takes` names, where they are not cells.
    sizes : tuple of str
        Cells whose sum is the size of a study.
    """

    title: str
    cells: tuple[Cell, ...]
    takes: tuple[str, ...]
    needs: str
    ways: tuple[tuple[str, ...], ...]
    complements: tuple[tuple[str, str, str], ...] = ()
    counts: tuple[str, ...] = ()
    double_zero: tuple[tuple[str, ...], ...] = ()
    prepare: Callable[[Arrays], dict[str, Array]] | None = None
    sizes: tuple[str, ...] = ()

    def cell(self, name: str) -> Cell | None:
        """The cell of that name, or None if the layout has none."""
        return next((c for c in self.cells if c.name == name), None)


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure of the registry.

    Attributes
    ----------
    name : str
        As `effect_size(measure=)` and metafor's `escalc` call it.
    title : str
        What it is.
    layout : Layout
        What it is computed from.
    estimate : callable
        `estimate(**arrays)` gives the estimates; the arrays are those that `layout.takes` names.
    variances : mapping of callables
        By `vtype`, the default first: `variance(yi, **arrays)` gives the sampling variances.
    source : str
        Where it was published.
    label : str
        The axis of the estimates.
    null : float or None
        The estimate that means no effect; None for a measure of one group.
    back : callable, optional
        Takes estimates back to the natural scale: `back(y)`, or `back(y, size)` if `sized`.
    natural_label : str
        The axis of the values that `back` gives.
    sized : bool
        Whether `back` depends on the size of the study (people, or time at risk).
    add : float
        Default of `add`.
    relative : bool
        Whether a study without events in both groups says nothing about it.
    corrected : bool
        Whether it has a correction for bias, which `correct=False` leaves out.
    doubt : str
        When it is undefined, for a warning.
    size : float or None
        Of the studies whose estimates are pooled, where `measure_of` knows it: the harmonic mean.
    """

    name: str
    title: str
    layout: Layout = field(repr=False)
    estimate: Callable[..., Array] = field(repr=False)
    variances: Mapping[str, Callable[..., Array]] = field(repr=False)
    source: str = field(repr=False)
    label: str
    null: float | None = 0.0
    back: Callable[..., Array] | None = field(default=None, repr=False)
    natural_label: str = ""
    sized: bool = False
    add: float = 0.5
    relative: bool = False
    corrected: bool = False
    doubt: str = field(default="it is undefined there", repr=False)
    size: float | None = field(default=None, repr=False)

    def natural(self, y: Array | float, size: float | None = None) -> Array:
        """Estimates on the natural scale.

        Parameters
        ----------
        y : array_like
            Estimates, or ends of their intervals.
        size : float, optional
            People or time at risk, for `PFT` and `IRFT`; by default `size`, the harmonic mean of
            the studies of the table that the measure is from. Without any they are taken back as
            for a very large study.

        Returns
        -------
        ndarray
            The same values if the measure has no other scale.

        Examples
        --------
        >>> from metareg_sm.effectsizes import MEASURES
        >>> float(MEASURES["rr"].natural(0.0))
        1.0
        """
        values = np.asarray(y, dtype=float)
        if self.back is None:
            return values
        if not self.sized:
            return self.back(values)
        return self.back(values, self.size if size is None else size)

    @property
    def natural_null(self) -> float | None:
        """The value on the natural scale that means no effect."""
        return None if self.null is None else float(self.natural(self.null))
