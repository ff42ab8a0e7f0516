"""Moderators that are computed from the control arm which the outcome is computed from, too."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from metareg_sm._typing import Array
from metareg_sm.exceptions import BaselineWarning, OptionError
from metareg_sm.options import suggestion

# Studies that it takes to tell a coincidence from a computation, and digits that a table may drop.
_LEAST, _ROUNDED = 3, 2e-3
_NAME = re.compile(r"[^\W\d]\w*")


def warn_of_baseline(
    formula: str, frame: pd.DataFrame, baseline: str | Sequence[str] | None
) -> None:
    """Warn of moderators that share the control arm with the outcome.

    Parameters
    ----------
    formula : str
        The formula.
    frame : DataFrame
        The studies; `attrs` of `effect_size` name the columns of the control arm.
    baseline : str or list of str or None
        Columns that the user says are computed from the control arm.

    Raises
    ------
    OptionError
        If `baseline` names what is no column.

    Warns
    -----
    BaselineWarning
        If the right side of the formula uses such a column.
    """
    named = [baseline] if isinstance(baseline, str) else list(baseline or ())
    for name in named:
        if name not in frame.columns:
            columns = [str(c) for c in frame.columns]
            raise OptionError(
                f"baseline names {name!r}, which is no column of the data."
                f"{suggestion(name, columns)}"
            )
    made = frame.attrs.get("effect_size")
    control = _control_columns(made, frame) if isinstance(made, Mapping) else []
    used = dict.fromkeys(_NAME.findall(str(formula).rpartition("~")[2]))
    shared = [name for name in used if name in named or name in control]
    if control:
        shared += [
            str(name)
            for name in used
            if name in frame.columns and name not in shared and _is_made_of(frame, name, made)
        ]
    if shared:
        listed = ", ".join(repr(name) for name in shared)
        warnings.warn(
            f"The moderator {listed} is computed from the control arm, from which the outcome is "
            "computed too. Their sampling errors are correlated, so that the slope is biased even "
            "where the effect does not depend on the baseline risk. metareg_sm.baseline_risk "
            "models both arms.",
            BaselineWarning,
            # the caller of from_formula
            stacklevel=4,
        )


def _control_columns(made: Mapping[str, Any], frame: pd.DataFrame) -> list[str]:
    return [name for name in made.get("control", ()) if name in frame.columns]


def _is_made_of(frame: pd.DataFrame, name: str, made: Mapping[str, Any]) -> bool:
    """Whether a column is a figure of the control arm in some unit, or the logarithm of one."""
    values = _numbers(frame, name)
    cells = made.get("columns", {})
    arm = {
        cell: _numbers(frame, cells[cell])
        for cell in ("ci", "di", "n2i", "x2i", "t2i", "m2i")
        if isinstance(cells.get(cell), str) and cells[cell] in frame.columns
    }
    figures = [arm[cell] for cell in ("ci", "x2i", "m2i") if cell in arm]
    with np.errstate(all="ignore"):
        if len(arm.keys() & {"ci", "di", "n2i"}) > 1:
            events = arm["ci"] if "ci" in arm else arm["n2i"] - arm["di"]
            others = arm["di"] if "di" in arm else arm["n2i"] - events
            figures += [events / (events + others), events / others]
        if {"x2i", "t2i"} <= arm.keys():
            figures.append(arm["x2i"] / arm["t2i"])
        return any(
            _spread(values / figure, True) < _ROUNDED
            or _spread(values - np.log(figure), False) < _ROUNDED
            for figure in figures
            if _spread(figure, True) >= _ROUNDED
        )


def _numbers(frame: pd.DataFrame, name: str) -> Array:
    return pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=float)


def _spread(values: Array, relative: bool) -> float:
    """Range of what is finite, perhaps relative to the largest; infinite for too few studies."""
    known = values[np.isfinite(values)]
    size = np.abs(known).max(initial=0.0) if relative else 1.0
    return float(np.ptp(known) / size) if known.size >= _LEAST and size > 0.0 else np.inf
