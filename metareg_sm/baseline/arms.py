"""The two arms of each study: their counts, and what the model makes of these."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from metareg_sm._typing import Array
from metareg_sm.design.rows import as_frame
from metareg_sm.design.values import container, numeric, row_label
from metareg_sm.design.variances import align
from metareg_sm.exceptions import DesignError
from metareg_sm.options import suggestion

_LEAST_STUDIES = 4


@dataclass(frozen=True, slots=True)
class Scale:
    """Scale of the two arms' outcomes.

    Attributes
    ----------
    name, label : str
        Measure of the effect; what an arm's outcome is.
    value : callable
        Outcome and sampling variance from events and others.
    """

    name: str
    label: str
    value: Callable[[Array, Array], tuple[Array, Array]]


def _log_odds(events: Array, others: Array) -> tuple[Array, Array]:
    return np.log(events / others), 1.0 / events + 1.0 / others


def _log_risk(events: Array, others: Array) -> tuple[Array, Array]:
    n = events + others
    return np.log(events / n), 1.0 / events - 1.0 / n


def _risk(events: Array, others: Array) -> tuple[Array, Array]:
    n = events + others
    return events / n, events * others / n**3


SCALES: Mapping[str, Scale] = MappingProxyType(
    {
        "or": Scale("OR", "log odds", _log_odds),
        "rr": Scale("RR", "log risk", _log_risk),
        "rd": Scale("RD", "risk", _risk),
    }
)
"""Scales by the measure of the effect, the difference of the two arms' outcomes."""


def read_arms(data: pd.DataFrame | None, given: Mapping[str, Any], scale: Scale) -> pd.DataFrame:
    """Outcomes of both arms with their sampling variances, one row a study.

    Parameters
    ----------
    data : DataFrame or None
        Where names of columns are looked up.
    given : mapping
        "ai", "n1i", "ci" and "n2i": columns or values.
    scale : Scale
        Of the outcomes.

    Returns
    -------
    DataFrame
        Columns treated, control, treated_vi, control_vi. 1/2 is added to the four counts of a study
        in which one of them is 0.
    """
    counts, index = _counts(data, given)
    cells = np.stack(
        [
            counts["ai"],
            counts["n1i"] - counts["ai"],
            counts["ci"],
            counts["n2i"] - counts["ci"],
        ]
    )
    cells = cells + 0.5 * (cells == 0.0).any(axis=0)
    treated, treated_vi = scale.value(cells[0], cells[1])
    control, control_vi = scale.value(cells[2], cells[3])
    return pd.DataFrame(
        {
            "treated": treated,
            "control": control,
            "treated_vi": treated_vi,
            "control_vi": control_vi,
        },
        index=index,
    )


def _counts(
    data: pd.DataFrame | None, given: Mapping[str, Any]
) -> tuple[dict[str, Array], pd.Index | None]:
    """Counts of both arms, checked."""
    table = None if data is None else as_frame(data)
    index = None if table is None else table.index
    counts: dict[str, Array] = {}
    for name, values in given.items():
        chosen = values
        if isinstance(values, str):
            if table is None or values not in table.columns:
                columns = [] if table is None else [str(c) for c in table.columns]
                raise DesignError(
                    f"{name}={values!r}: the data have no such column.{suggestion(values, columns)}"
                )
            chosen = table[values]
        elif isinstance(values, pd.Series) and index is None:
            index = values.index
        chosen = container(chosen, name)
        n = len(index) if index is not None else len(next(iter(counts.values()), chosen))
        counts[name] = numeric(align(chosen, name, index, n, "data"), name, index)
        bad = np.flatnonzero(~np.isfinite(counts[name]) | (counts[name] < 0.0))
        if bad.size:
            raise DesignError(
                f"{name} of {row_label(index, int(bad[0]))} is {counts[name][bad[0]]:g}; counts "
                "must be there, finite and not negative."
            )
    k = len(counts["ai"])
    if k < _LEAST_STUDIES:
        raise DesignError(f"There are {k} studies; the model needs at least {_LEAST_STUDIES}.")
    for events, total in (("ai", "n1i"), ("ci", "n2i")):
        empty = np.flatnonzero(counts[total] == 0.0)
        if empty.size:
            raise DesignError(
                f"{total} of {row_label(index, int(empty[0]))} is 0: the arm has no participants."
            )
        above = np.flatnonzero(counts[events] > counts[total])
        if above.size:
            row = int(above[0])
            raise DesignError(
                f"{events} of {row_label(index, row)} is {counts[events][row]:g}, above the total "
                f"{total} of {counts[total][row]:g}."
            )
    return counts, index
