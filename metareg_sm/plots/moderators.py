"""Moderators at which a fit is shown: stated values, the rest held at what is typical."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from metareg_sm.design.formula import mentioned_columns
from metareg_sm.exceptions import DesignError, OptionError
from metareg_sm.options import suggestion
from metareg_sm.plots.studies import column_of, is_number
from metareg_sm.postestimation.fitted import Fitted

# more values are no levels
_LEVELS = 20
_WORD = re.compile(r"[^\W\d]\w*")


def moderators_of(fit: Fitted) -> list[str]:
    """Columns of the data that the right sides of the formulas name; of arrays, its columns.

    Those of the heterogeneity, where it has a formula, come after those of the mean.
    """
    frame = fit.table.rows.frame
    if frame is None:
        return list(fit.terms.names)
    found: dict[str, None] = {}
    for terms in (fit.terms, getattr(fit, "scale_terms", None)):
        if terms is None or terms.formula is None:
            continue
        right = str(terms.formula).split("~", 1)[-1]
        words = set(_WORD.findall(right))
        for name in mentioned_columns(frame, terms.formula):
            # names that are no words are quoted in the formula
            if name in words or (not str(name).isidentifier() and str(name) in right):
                found[name] = None
    return list(found)


def data_of(fit: Fitted) -> pd.DataFrame:
    """The moderators of the studies: columns of the data, or those of the arrays."""
    frame = fit.table.rows.frame
    if frame is None:
        return pd.DataFrame(fit.table.exog, columns=list(fit.terms.names))
    return frame[moderators_of(fit)]


def moderator(fit: Fitted, name: Any, argument: str) -> pd.Series:
    """A moderator of the model, for its studies.

    Raises
    ------
    OptionError
        If it is none.
    """
    known = moderators_of(fit)
    if fit.table.rows.frame is not None:
        column_of(fit, name, argument)
    if name not in known:
        names = ", ".join(map(str, known)) or "none"
        raise OptionError(
            f"{argument}={name!r} is no moderator of the model.{suggestion(name, map(str, known))} "
            f"There are: {names}."
        )
    return data_of(fit)[name]


def numbers_of(fit: Fitted, name: Any, argument: str) -> np.ndarray:
    """A continuous moderator.

    Raises
    ------
    OptionError
        If it is not numeric, or has fewer than two values.
    """
    values = moderator(fit, name, argument)
    if not is_number(values):
        raise OptionError(
            f"{argument}={name!r} is not continuous: it has levels, not numbers. plot_orchard "
            "shows the effects of a factor."
        )
    numbers = values.to_numpy(dtype=float)
    if np.nanmin(numbers) == np.nanmax(numbers):
        raise OptionError(f"{argument}={name!r} does not vary in the studies.")
    return numbers


def levels_of(fit: Fitted, name: Any, argument: str) -> list[Any]:
    """Values of a moderator that is treated as a factor: its categories, or what occurs.

    Raises
    ------
    OptionError
        If it has more values than a figure has room for.
    """
    found = sorted_levels(moderator(fit, name, argument))
    if len(found) > _LEVELS:
        raise OptionError(
            f"{argument}={name!r} has {len(found)} values, too many for levels; plot_bubble shows "
            "a continuous moderator."
        )
    return found


def sorted_levels(values: pd.Series) -> list[Any]:
    """What occurs: categories in their order, numbers ascending, others as they appear."""
    found = list(pd.unique(values.dropna()))
    if isinstance(values.dtype, pd.CategoricalDtype):
        return [c for c in values.cat.categories if c in set(found)]
    return sorted(found) if is_number(values) else found


def most_frequent(values: pd.Series) -> Any:
    """The most frequent value; of several that which comes first."""
    counts = values.value_counts(sort=False)
    first = {v: i for i, v in reversed(list(enumerate(values)))}
    most = counts[counts == counts.max()].index
    return min(most, key=lambda v: first.get(v, len(values)))


def typical(fit: Fitted, data: pd.DataFrame, name: Any) -> Any:
    """The mean of a moderator; of a factor the most frequent level, be its levels numbers."""
    values = data[name]
    if not is_number(values):
        return most_frequent(values)
    mean = float(values.mean())
    if fit.table.rows.frame is None or values.nunique() > _LEVELS or (values == mean).any():
        return mean
    row = data.iloc[[0]].astype({name: float}).assign(**{name: mean})
    try:
        fit.terms.new_rows(row, True)
    except DesignError:
        # the formula makes levels of the numbers
        return most_frequent(values)
    return mean


def rows_at(fit: Fitted, stated: pd.DataFrame) -> Any:
    """New moderators in the terms of the model: stated columns, the others typical.

    Raises
    ------
    OptionError
        If a stated column is no moderator.
    """
    data = data_of(fit)
    for name in stated.columns:
        moderator(fit, name, "at")
    n = len(stated)
    columns = {}
    for name in data.columns:
        values = data[name]
        given = (
            stated[name].to_numpy() if name in stated.columns else [typical(fit, data, name)] * n
        )
        column = pd.Series(given, index=range(n))
        if isinstance(values.dtype, pd.CategoricalDtype):
            column = column.astype(values.dtype)
        columns[name] = column
    frame = pd.DataFrame(columns, index=range(n))
    if fit.table.rows.frame is None:
        return frame.to_numpy(dtype=float)
    return frame


def at_values(fit: Fitted, at: Any) -> tuple[pd.DataFrame, Any]:
    """Stated moderators, and complete ones in the terms of the model.

    Raises
    ------
    OptionError
        If `at` is neither a mapping nor a data frame, or is empty.
    """
    if isinstance(at, Mapping):
        scalar = all(np.ndim(v) == 0 for v in at.values())
        at = pd.DataFrame(dict(at), index=[0] if scalar else None)
    if not isinstance(at, pd.DataFrame) or at.empty:
        raise OptionError(
            f"at must map moderators to values, such as {{'dose': [10, 20]}}; got {at!r}."
        )
    stated = at.reset_index(drop=True)
    return stated, rows_at(fit, stated)


def value_text(value: Any) -> str:
    """A value of a moderator, as it is printed."""
    if isinstance(value, (float, np.floating)):
        return f"{value:.4g}".replace("-", "\u2212")
    return str(value)
