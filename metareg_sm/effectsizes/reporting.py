"""What a user must know of studies whose effect size is undefined or doubtful."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd

from metareg_sm._typing import Mask
from metareg_sm.effectsizes.read import Inputs, rows_named
from metareg_sm.effectsizes.records import COUNT, Measure
from metareg_sm.exceptions import DesignError, EffectSizeWarning


@dataclass(frozen=True, slots=True)
class Rows:
    """Studies that something is to be said about; each a mask.

    Attributes
    ----------
    double : ndarray of bool
        Without events in both groups, or with nothing but events.
    nobody : ndarray of bool
        With nobody in a group.
    drop : ndarray of bool
        Left out by `drop00`.
    constant : ndarray of bool
        With a constant added.
    undefined : ndarray of bool
        With all inputs, but without an effect size.
    defined : ndarray of bool
        With an effect size.
    certain : ndarray of bool
        With a sampling variance of 0.
    """

    double: Mask
    nobody: Mask
    drop: Mask
    constant: Mask
    undefined: Mask
    defined: Mask
    certain: Mask


def report(entry: Measure, index: pd.Index, rows: Rows) -> None:
    """Warn of what is undefined or owed to the constant; refuse if nothing is left.

    Raises
    ------
    DesignError
        If no study has an effect size that its data give.

    Warns
    -----
    EffectSizeWarning
        For the studies of each kind, by name.
    """
    what = "without events in both groups, or with nothing but events"
    blind = rows.double & (entry.relative | rows.drop)
    if blind.any() and not (rows.defined & ~blind).any():
        raise DesignError(
            f"No study says anything about {entry.name} ({entry.title}): "
            f"{rows_named(index, blind)}: {what}."
        )
    if not rows.defined.any():
        reason = entry.doubt if rows.undefined.any() else "inputs are missing in every row"
        raise DesignError(f"{entry.name} ({entry.title}) is defined in no row: {reason}.")
    if rows.drop.any():
        warn(f"{rows_named(index, rows.drop)}: {what}; drop00=True gives NaN.")
    made = rows.constant & rows.defined
    for marked, reason in ((blind & made, what), (rows.nobody & made & ~blind, "an empty group")):
        if marked.any():
            advice = " drop00=True gives NaN." if reason is what else ""
            warn(
                f"{rows_named(index, marked)}: {reason}; {entry.name} comes from the added "
                f"constant alone there.{advice}"
            )
    if rows.certain.any():
        where = rows_named(index, rows.certain)
        warn(f"vi is 0 in {where}: such a study would count as known without error.")
    if rows.undefined.any():
        warn(f"{entry.name} is NaN in {rows_named(index, rows.undefined)}: {entry.doubt}.")


def warn_fractions(entry: Measure, inputs: Inputs) -> None:
    """Warn of counts that are not whole numbers."""
    for name, values in inputs.arrays.items():
        cell = entry.layout.cell(name)
        odd = np.isfinite(values) & (values != np.round(values))
        if cell is not None and cell.kind is COUNT and odd.any():
            rows = rows_named(inputs.index, odd)
            warn(f"{name} ({cell.what}) should be counts; {rows}: not whole numbers.")


def warn(message: str, stacklevel: int = 5) -> None:
    """Warn the caller of `effect_size`, who is `stacklevel` calls away."""
    warnings.warn(message, EffectSizeWarning, stacklevel=stacklevel)
