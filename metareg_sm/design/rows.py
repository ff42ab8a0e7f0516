"""Which rows of the user's table are in a model.

statsmodels drops rows of array keywords by position and after the design is built; here whatever
removes a row does so before, so that a level which lives on removed rows alone leaves no empty
column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from metareg_sm._compat import to_pandas
from metareg_sm._typing import Array, Mask, Missing, Rows
from metareg_sm.core.basis import Basis, design_basis
from metareg_sm.design.formula import (
    check_formula,
    formula_faults,
    mentioned_columns,
    missing_rows,
    refuse_numbers_as_text,
)
from metareg_sm.design.values import container, plain_columns, refuse_nested, row_label
from metareg_sm.design.variances import (
    align,
    as_variances,
    check_range,
    column,
    exactly_one,
    squared,
)
from metareg_sm.exceptions import DesignError, MissingStudiesError, OptionError, VarianceError

MISSING: tuple[Missing, ...] = ("none", "drop", "raise")


@dataclass(frozen=True, eq=False)
class StudyRows:
    """Rows of the user's table that are in a model.

    Attributes
    ----------
    frame : DataFrame or None
        A copy of those rows; None for a model of arrays.
    labels : Index or None
        Their labels.
    positions : ndarray of int, (k,)
        Where they stand in the user's table.
    total, selected : int
        Rows of the user's table, and of its subset before missing values are dropped.
    """

    frame: pd.DataFrame | None
    labels: pd.Index | None
    positions: Rows
    total: int
    selected: int

    @property
    def dropped(self) -> int:
        """Rows of the subset that were dropped for missing values."""
        return self.selected - len(self.positions)

    def without(self, gone: Any) -> StudyRows:
        """The same without rows at some positions of these."""
        if gone is None or not len(gone):
            return self
        keep = np.delete(np.arange(len(self.positions)), list(gone))
        return self.keep(keep)

    def keep(self, rows: Rows | Mask) -> StudyRows:
        """Some of the rows."""
        return replace(
            self,
            frame=None if self.frame is None else self.frame.iloc[np.arange(len(self.frame))[rows]],
            labels=None if self.labels is None else self.labels[rows],
            positions=self.positions[rows],
        )


@dataclass(frozen=True, eq=False)
class StudyTable:
    """The studies of a model.

    Attributes
    ----------
    endog, vi : ndarray, (k,)
        Outcomes and sampling variances.
    exog : ndarray, (k, p)
        Moderators.
    basis : Basis
        Of their column space.
    rows : StudyRows
        Where they come from.
    """

    endog: Array
    vi: Array
    exog: Array
    basis: Basis
    rows: StudyRows

    def keep(self, which: Mask) -> StudyTable:
        """Some of the studies."""
        exog = self.exog[which]
        return StudyTable(
            self.endog[which], self.vi[which], exog, design_basis(exog), self.rows.keep(which)
        )


def check_missing(missing: Any) -> None:
    """Refuse an unknown way to treat missing values.

    Raises
    ------
    OptionError
        If it is none of `MISSING`.
    """
    if missing not in MISSING:
        raise OptionError(f"missing={missing!r} is not known. Choose 'none', 'drop' or 'raise'.")


def as_frame(data: Any) -> pd.DataFrame:
    """The user's table as a data frame.

    Raises
    ------
    DesignError
        If it is no table, or has no rows.
    """
    data = to_pandas(data)
    if isinstance(data, np.ndarray) and data.dtype.names:
        data = pd.DataFrame.from_records(data)
    elif isinstance(data, Mapping):
        try:
            data = pd.DataFrame(data)
        except ValueError as error:
            raise DesignError(f"data is no table: {error}.") from error
    if not isinstance(data, pd.DataFrame):
        raise DesignError(f"data must be a DataFrame; got {type(data).__name__}.")
    if not len(data):
        raise DesignError("data has no rows.")
    return data


def selected_rows(table: pd.DataFrame, subset: Any) -> Rows:
    """Positions of the rows that `subset` picks, as `DataFrame.loc` would.

    Raises
    ------
    DesignError, OptionError
        If it picks none, or cannot be read.
    """
    positions = np.arange(len(table))
    if subset is None:
        return positions
    if np.ndim(subset) == 0 and not isinstance(subset, slice) and not callable(subset):
        raise OptionError(
            "subset must be booleans or labels of rows, as DataFrame.loc takes them; got "
            f"{subset!r}."
        )
    try:
        positions = pd.Series(positions, index=table.index).loc[subset].to_numpy()
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise OptionError(f"subset does not fit the rows of data: {error}.") from error
    if not len(positions):
        raise DesignError("subset leaves no rows.")
    return positions


def formula_studies(
    formula: Any,
    data: Any,
    vi: Any,
    sei: Any,
    subset: Any,
    missing: Missing,
    context: Mapping[str, Any],
    also: Sequence[str] = (),
) -> tuple[StudyRows, Array]:
    """Apply the subset, resolve the variances and drop what is missing, before any design.

    Parameters
    ----------
    formula : str
        The formula.
    data : DataFrame
        The user's table; it is not changed.
    vi, sei : str, Series or array_like
        Exactly one of the two: a column name, or values for all rows (or for those of `subset`).
    subset : array_like, optional
        Rows to use, as `DataFrame.loc` takes them.
    missing : {"drop", "raise", "none"}
        "none" raises, as everywhere with formulas in statsmodels.
    context : mapping
        Names that the formula found where it was written.
    also : sequence of str
        Further formulas whose columns must be complete.

    Returns
    -------
    rows : StudyRows
    vi : ndarray, (k,)
        Their sampling variances.

    Raises
    ------
    VarianceError, DesignError, MissingStudiesError
        As the messages say.
    """
    check_missing(missing)
    check_formula(formula)
    table = as_frame(data)
    positions = selected_rows(table, subset)
    whole = subset is None
    v, label = _variances_of(table, vi, sei, positions, whole)
    if not whole:
        v = v[positions]
    frame = table if whole else table.iloc[positions]
    check_range(v, label, frame.index)
    if label.startswith("sei"):
        v = squared(v, label, frame.index)
    rows = StudyRows(frame, frame.index, positions, len(table), len(positions))
    absent = np.isnan(v)
    if absent.any():
        if missing != "drop":
            first = row_label(frame.index, int(np.flatnonzero(absent)[0]))
            raise MissingStudiesError(f"{label} is missing for {first}. missing='drop' drops it.")
        if absent.all():
            raise MissingStudiesError(f"No study is left: {label} is missing for every row.")
        rows, v = rows.keep(~absent), v[~absent]
    return _complete([formula, *also], rows, v, missing, context)


def _variances_of(
    table: pd.DataFrame, vi: Any, sei: Any, positions: Rows, whole: bool
) -> tuple[Array, str]:
    """Variances or standard errors of all rows of the table, and what to call them."""
    values, name = exactly_one(vi, sei)
    if isinstance(values, str):
        label = f"{name} (column {values!r})"
        return as_variances(column(table, values, name), label, table.index), label
    values = container(values, name, VarianceError)
    by_subset = not whole and len(positions) != len(table) and np.ndim(values) == 1
    if by_subset and not isinstance(values, pd.Series) and len(values) == len(positions):
        full = np.full(len(table), np.nan)
        full[positions] = as_variances(values, name)
        return full, name
    values = align(values, name, table.index, len(table), "data")
    return as_variances(values, name, table.index), name


def _complete(
    formulas: Sequence[Any], rows: StudyRows, v: Array, missing: Missing, context: Mapping[str, Any]
) -> tuple[StudyRows, Array]:
    """Rows without a missing outcome or moderator, their columns fit for a formula engine."""
    assert rows.frame is not None
    used: dict[Any, pd.Series] = {}
    for formula in formulas:
        mentioned = mentioned_columns(rows.frame, formula)
        refuse_nested(mentioned)
        refuse_numbers_as_text(formula, mentioned)
        used |= mentioned
    for name, values in used.items():
        if getattr(values.dtype, "kind", "O") == "c":
            raise DesignError(f"column {name!r} is complex; outcomes and moderators are real.")
    plain = plain_columns(used)
    if plain:
        rows = replace(rows, frame=_with_columns(rows.frame, plain))
        used |= plain
    assert rows.frame is not None
    # engines that drop a row drop all that share its label
    twins = not rows.frame.index.is_unique
    if twins or any(_has_missing(values) for values in used.values()):
        frame = rows.frame.reset_index(drop=True) if twins else rows.frame
        gone = np.zeros(len(frame), dtype=bool)
        for formula in formulas:
            with formula_faults(formula, frame):
                gone |= missing_rows(formula, frame, context)
        if missing != "drop" and gone.any():
            first = row_label(rows.labels, int(np.flatnonzero(gone)[0]))
            raise MissingStudiesError(
                f"An outcome or moderator of {first} is missing. missing='drop' drops such studies."
            )
        if gone.all():
            raise MissingStudiesError(
                "No study is left: every row has a missing outcome or moderator."
            )
        rows, v = rows.keep(~gone), v[~gone]
    assert rows.frame is not None
    return replace(rows, frame=_without_empty_levels(rows.frame, used)), v


def _has_missing(values: pd.Series) -> bool:
    kind = getattr(values.dtype, "kind", "O")
    if kind in "iub" and isinstance(values.dtype, np.dtype):
        return False
    if kind == "f" and isinstance(values.dtype, np.dtype):
        return bool(np.isnan(values.to_numpy()).any())
    return bool(values.isna().any())


def _without_empty_levels(frame: pd.DataFrame, used: Mapping[Any, pd.Series]) -> pd.DataFrame:
    changed = {}
    for name, values in used.items():
        if isinstance(values.dtype, pd.CategoricalDtype):
            # rows may have gone since the column was looked up
            kept = frame[name].cat
            trimmed = kept.remove_unused_categories()
            if len(trimmed.cat.categories) < len(kept.categories):
                changed[name] = trimmed
    return _with_columns(frame, changed) if changed else frame


def _with_columns(frame: pd.DataFrame, columns: Mapping[Any, pd.Series]) -> pd.DataFrame:
    """A copy with some columns replaced; their names need not be text."""
    copy = frame.copy(deep=False)
    for name, values in columns.items():
        copy[name] = values
    return copy
