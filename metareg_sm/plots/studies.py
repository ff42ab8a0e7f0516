"""What figures show of the studies: names, columns of the data, intervals, weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from metareg_sm._typing import Array, Rows
from metareg_sm.exceptions import OptionError
from metareg_sm.options import suggestion
from metareg_sm.plots.scale import minus
from metareg_sm.postestimation.fitted import Fitted
from metareg_sm.postestimation.prediction import MetaRegPrediction, predict_effects
from metareg_sm.stats.reference import interval

Columns = str | Sequence[str] | Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Studies:
    """The studies of a fit, as figures show them.

    Attributes
    ----------
    y, lower, upper : ndarray, (k,)
        Outcomes and their normal intervals.
    weights : ndarray, (k,)
        1 / marginal variance, divided by their sum.
    predictions : DataFrame
        `summary_frame` of the predictions at the moderators of the studies.
    """

    y: Array
    lower: Array
    upper: Array
    weights: Array
    predictions: pd.DataFrame


def predictions_at(fit: Fitted, exog: Any = None) -> MetaRegPrediction:
    """Predictions at moderators; true effects vary as much as they do there."""
    heterogeneity = getattr(fit, "predict_tau2", None)
    known = exog is None or isinstance(exog, pd.DataFrame)
    between = heterogeneity(exog) if heterogeneity is not None and known else None
    return predict_effects(fit, exog, True, None, None, between)


def studies_of_fit(fit: Fitted, alpha: float) -> Studies:
    """The studies of a fit, with intervals of coverage 1 - alpha."""
    table = fit.table
    ends = interval(table.endog, np.sqrt(table.vi), alpha, None)
    weights = weights_of(fit)
    predictions = predictions_at(fit).summary_frame(alpha)
    return Studies(table.endog, ends[:, 0], ends[:, 1], weights / weights.sum(), predictions)


def weights_of(fit: Fitted) -> Array:
    """Weights of the studies: 1 over their marginal variances, which every model has."""
    return 1.0 / fit.regression.variances


def has_moderators(fit: Fitted) -> bool:
    """Whether expected effects can differ between studies."""
    X = fit.table.exog
    return not bool((X[0] == X).all())


def column_of(fit: Fitted, name: Any, argument: str) -> pd.Series:
    """A column of the data, for the studies of the fit.

    Raises
    ------
    OptionError
        If the fit is of arrays, or there is no such column.
    """
    frame = fit.table.rows.frame
    if frame is None:
        raise OptionError(
            f"{argument}={name!r} needs a fit by formula, whose data have columns. This one is of "
            "arrays."
        )
    if name not in frame.columns:
        columns = [str(c) for c in frame.columns]
        raise OptionError(
            f"{argument}={name!r} is no column of the data.{suggestion(name, columns)} The columns "
            f"are {', '.join(columns)}."
        )
    return frame[name]


def headings_of(columns: Columns, argument: str) -> dict[str, str]:
    """Headings by column, from a name, names, or a mapping from names to headings.

    Raises
    ------
    OptionError
        If it is neither.
    """
    if isinstance(columns, str):
        return {columns: columns}
    if isinstance(columns, Mapping):
        return {name: str(heading) for name, heading in columns.items()}
    if not isinstance(columns, Sequence):
        raise OptionError(
            f"{argument} must be names of columns, or a mapping from names to headings; got "
            f"{columns!r}."
        )
    return {name: str(name) for name in columns}


def texts_of(values: pd.Series) -> list[str]:
    """A column as it is printed: whole numbers without a point, others to four digits."""
    return [_text(v) for v in values]


def _text(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return minus(str(value))
    if isinstance(value, (float, np.floating)):
        if np.isnan(value):
            return ""
        number = float(value)
        whole = number.is_integer() and abs(number) < 1e15
        return minus(f"{number:.0f}" if whole else f"{number:.4g}")
    return "" if pd.isna(value) else str(value)


def is_number(values: pd.Series) -> bool:
    """Whether a column has numbers, which are printed flush right."""
    return pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(
        values.dtype
    )


def names_of(fit: Fitted, labels: Any = None) -> list[str]:
    """Names of the studies.

    Parameters
    ----------
    fit : Fitted
        The fit.
    labels : str, sequence of str or None
        A column, or several that are joined. By default the index of the data, or where that only
        counts rows, the first column of texts that mostly differ.
    """
    rows = fit.table.rows
    if labels is not None:
        names = [labels] if isinstance(labels, str) else list(labels)
        parts = [texts_of(column_of(fit, name, "labels")) for name in names]
        return [" ".join(p for p in row if p) for row in zip(*parts, strict=True)]
    index = rows.labels
    if rows.frame is not None and isinstance(index, pd.Index) and _counts(index):
        for name in rows.frame.columns:
            values = rows.frame[name]
            if isinstance(values, pd.Series) and _names(values):
                return texts_of(values)
    if index is None:
        return [str(i) for i in rows.positions]
    return [_text(v) if not isinstance(v, tuple) else ", ".join(map(_text, v)) for v in index]


def _counts(index: pd.Index) -> bool:
    return index.name is None and pd.api.types.is_integer_dtype(index.dtype)


def _names(values: pd.Series) -> bool:
    if is_number(values) or not (
        pd.api.types.is_object_dtype(values.dtype) or pd.api.types.is_string_dtype(values.dtype)
    ):
        return False
    return bool(values.notna().all()) and 2 * int(values.nunique()) > len(values)


def order_of(fit: Fitted, studies: Studies, order: Any) -> Rows:
    """Positions of the studies in the order of a column, or of what figures show.

    Parameters
    ----------
    fit, studies
        The fit and its studies.
    order : str or None
        A column, "effect", "weight" or "fitted"; with "-" before it descending. None leaves the
        order of the data.
    """
    k = len(studies.y)
    if order is None:
        return np.arange(k)
    name, descending = order, False
    if isinstance(order, str) and order.startswith("-"):
        name, descending = order[1:], True
    shown = {
        "effect": studies.y,
        "weight": studies.weights,
        "fitted": studies.predictions["mean"].to_numpy(),
    }
    frame = fit.table.rows.frame
    if name in shown and (frame is None or name not in frame.columns):
        values = pd.Series(shown[name])
    else:
        values = column_of(fit, name, "order").reset_index(drop=True)
    try:
        found = values.sort_values(ascending=not descending, kind="stable", na_position="last")
    except TypeError:
        found = values.astype(str).sort_values(ascending=not descending, kind="stable")
    return found.index.to_numpy()
