"""The table that `effect_size` returns, and the measure that a table carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from metareg_sm._typing import Array
from metareg_sm.effectsizes.read import Inputs, fill_cells
from metareg_sm.effectsizes.records import Measure
from metareg_sm.effectsizes.registry import MEASURES
from metareg_sm.effectsizes.reporting import warn
from metareg_sm.exceptions import OptionError

#: `attrs` key of the record of how the estimates were made.
ATTRS = "effect_size"


def measure_of(data: Any, outcome: str | None = None) -> Measure | None:
    """The measure that `effect_size` left in the `attrs` of a table.

    Parameters
    ----------
    data : object
        A table, or anything else.
    outcome : str, optional
        A column: there is a measure only if it is the one that `effect_size` computed.

    Returns
    -------
    Measure or None
        None if there is none in the registry. PFT and IRFT come with the harmonic mean of the
        sizes: of the studies in the table, where it has the columns that they were computed from;
        else of those that `effect_size` knew.

    Examples
    --------
    >>> import metareg_sm
    >>> from metareg_sm.effectsizes import measure_of
    >>> trials = metareg_sm.effect_size("OR", ai=[4, 6], bi=[9, 8], ci=[1, 3], di=[7, 9])
    >>> measure_of(trials).label, measure_of(trials).natural_label
    ('Log Odds Ratio', 'Odds Ratio')
    """
    attrs = getattr(data, "attrs", None)
    name = attrs.get("measure") if isinstance(attrs, Mapping) else None
    if not isinstance(attrs, Mapping) or not isinstance(name, str):
        return None
    if outcome not in (None, attrs.get(ATTRS, {}).get("outcome", "yi")):
        return None
    found = MEASURES.get(name.lower())
    if found is None or not found.sized:
        return found
    return replace(found, size=_pooled_size(data, found, attrs.get(ATTRS, {})))


def _pooled_size(data: Any, measure: Measure, how: Mapping[str, Any]) -> float | None:
    """Harmonic mean of the sizes of the studies in a table; None where they are not known."""
    columns, size = how.get("columns", {}), how.get("size", np.nan)
    if columns and isinstance(data, pd.DataFrame) and set(columns.values()) <= set(data.columns):
        given = {a: numbers(data[c]) for a, c in columns.items() if measure.layout.cell(a)}
        cells = fill_cells(measure.layout, Inputs(data.index, given, dict(columns)))
        size = harmonic_mean(np.sum([cells[name] for name in measure.layout.sizes], axis=0))
    return float(size) if np.isfinite(size) else None


def numbers(values: pd.Series) -> Array:
    """A column as numbers; NaN where there is none."""
    return pd.to_numeric(values, errors="coerce").to_numpy(float, na_value=np.nan)


def harmonic_mean(size: Array) -> float:
    """Harmonic mean of the positive sizes; NaN where there is none."""
    positive = size[size > 0]
    return float(len(positive) / np.sum(1.0 / positive)) if len(positive) else float("nan")


def labelled_frame(
    data: pd.DataFrame | None,
    index: pd.Index,
    y: Array,
    v: Array,
    how: dict[str, Any],
    var_names: tuple[str, str],
    append: bool,
    replace: bool,
) -> pd.DataFrame:
    """The two columns in a copy of the data, and how they were made in its `attrs`.

    Raises
    ------
    OptionError
        If both columns have one name.

    Warns
    -----
    EffectSizeWarning
        If columns of the data had other values.
    """
    first, second = var_names
    if first == second:
        raise OptionError(f"var_names must be two different names; got {var_names!r}.")
    frame = pd.DataFrame(index=index) if data is None or not append else data.copy()
    changed = []
    for name, values in ((first, y), (second, v)):
        if name not in frame.columns:
            frame[name] = values
            continue
        before = numbers(frame[name])
        now = values if replace else np.where(np.isnan(before), values, before)
        there = ~np.isnan(before)
        # values that were printed to eight digits are the same values
        if not np.allclose(before[there], now[there], rtol=1e-7, atol=0.0, equal_nan=True):
            changed.append(name)
        frame[name] = now
    if changed:
        warn(
            f"The data had other values in {' and '.join(changed)}; the copy that is returned "
            "has the new ones. var_names= gives them other names, replace=False fills gaps only.",
            stacklevel=4,
        )
    if data is not None:
        frame.attrs.update(data.attrs)
    frame.attrs["measure"] = how["measure"]
    frame.attrs[ATTRS] = how | {"outcome": first}
    return frame
