"""Moderators that are computed from the control arm which the outcome is computed from, too."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from metareg_sm.exceptions import BaselineWarning, OptionError
from metareg_sm.options import suggestion

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
            if name in frame.columns and name not in shared and _is_risk(frame, name, made)
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


def _is_risk(frame: pd.DataFrame, name: str, made: Any) -> bool:
    """Whether a column is the risk or odds of the control arm, or the logarithm of one."""
    columns = made.get("columns", {})
    counts: dict[str, Any] = {}
    for cell in ("ci", "di", "n2i"):
        if columns.get(cell) in frame.columns:
            counts[cell] = pd.to_numeric(frame[columns[cell]], errors="coerce").to_numpy(float)
    if len(counts) < 2:
        return False
    events = counts.get("ci", counts.get("n2i", 0) - counts.get("di", 0))
    others = counts.get("di", counts.get("n2i", 0) - counts.get("ci", 0))
    values = pd.to_numeric(frame[name], errors="coerce").to_numpy(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        risk, odds = events / (events + others), events / others
        candidates = (risk, 100.0 * risk, odds, np.log(odds), np.log(risk))
        known = np.isfinite(values) & np.isfinite(candidates[3])
        return bool(known.sum() > 1) and any(
            np.allclose(values[known], c[known], rtol=1e-3, atol=0.0) for c in candidates
        )
