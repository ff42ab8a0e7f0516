"""Formula, data, sampling variances, subset and groups -> aligned arrays.

The only file that knows the rows of a data frame. statsmodels drops rows of array keywords by
position and after the design is built; here whatever removes a row does so before, so that a level
which lives on removed rows alone leaves no empty column.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from statsmodels.formula import handle_formula_data
from statsmodels.formula._manager import FormulaManager
from statsmodels.tools.data import _to_pandas

from metareg_sm.exceptions import DesignError, MissingStudiesError, OptionError, VarianceError
from metareg_sm.options import suggestion

Array = npt.NDArray[np.float64]
Variances = str | npt.ArrayLike | pd.Series


@dataclass(frozen=True, slots=True)
class FormulaStudies:
    """Rows of the user's table that enter the design.

    Attributes
    ----------
    frame : DataFrame
        A copy of those rows.
    vi : ndarray
        Their sampling variances.
    positions : ndarray of int
        Where they stand in the user's table.
    length, selected : int
        Rows of the user's table, and of its subset before missing values are dropped.
    """

    frame: pd.DataFrame
    vi: Array
    positions: npt.NDArray[np.intp]
    length: int
    selected: int


def _label(index: pd.Index | None, position: int) -> str:
    if index is None or isinstance(index, pd.RangeIndex):
        return f"row {position}"
    return f"row {index[position]!r}"


def _numeric(values: Any, name: str, index: pd.Index | None) -> Array:
    array = np.asarray(values)
    if array.dtype.kind in "fiu":
        return array.astype(float)
    if array.dtype == object:
        for position, value in enumerate(array.ravel()):
            missing = value is None or value is pd.NA or value is pd.NaT
            number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
            if not missing and not number:
                raise VarianceError(
                    f"{name} must be numbers; {_label(index, position)} has {value!r}."
                )
        return pd.to_numeric(pd.Series(array.ravel())).to_numpy(dtype=float).reshape(array.shape)
    raise VarianceError(f"{name} must be numbers; it has dtype {array.dtype}.")


def _check_range(values: Array, name: str, index: pd.Index | None) -> None:
    # NaN fails both comparisons and is looked at below
    if len(values) and np.minimum.reduce(values) >= 0.0 and np.maximum.reduce(values) < np.inf:
        return
    bad = np.flatnonzero((values < 0) | np.isinf(values))
    if bad.size:
        value = values[bad[0]]
        kind = "infinite" if np.isinf(value) else "negative"
        what = "variance" if name.startswith("vi") else "standard error"
        raise VarianceError(
            f"{name} must be finite and not negative; {_label(index, int(bad[0]))} has the "
            f"{kind} {what} {value:g}."
        )


def _exactly_one(vi: Any, sei: Any) -> tuple[Any, str]:
    if (vi is None) == (sei is None):
        given = "neither" if vi is None else "both"
        raise VarianceError(
            f"Give the sampling variances as vi= or the standard errors as sei=; got {given}."
        )
    return (vi, "vi") if sei is None else (sei, "sei")


def _align(values: Any, name: str, index: pd.Index | None, n: int, what: str) -> Any:
    """Values in the order of the rows: a Series by its index, anything else by position."""
    if type(values) is np.ndarray and values.shape == (n,):
        return values
    if isinstance(values, pd.DataFrame):
        if values.shape[1] != 1:
            raise DesignError(f"{name} must have one column; it has {values.shape[1]}.")
        values = values.iloc[:, 0]
    if isinstance(values, pd.Series) and index is not None and not values.index.equals(index):
        if not values.index.is_unique or not index.is_unique:
            raise DesignError(
                f"{name} cannot be aligned: its index differs from that of {what}, and one of the "
                "two has duplicate labels. Pass an array in the order of the rows."
            )
        absent = index.difference(values.index, sort=False)
        if len(absent):
            raise DesignError(
                f"{name} cannot be aligned on the index of {what}: it has no entry for "
                f"{absent[0]!r}" + (f" and {len(absent) - 1} more." if len(absent) > 1 else ".")
            )
        return values.loc[index]
    if np.ndim(values) == 0:
        raise DesignError(f"{name} must have one value a study; got the single value {values!r}.")
    if np.ndim(values) == 2 and np.shape(values)[1] == 1:
        values = np.asarray(values)[:, 0]
    if np.ndim(values) != 1:
        raise DesignError(f"{name} must be one-dimensional; it has shape {np.shape(values)}.")
    if len(values) != n:
        raise DesignError(f"{name} has {len(values)} values for the {n} rows of {what}.")
    return values


def variances(vi: Any, sei: Any, index: pd.Index | None, n: int, what: str = "endog") -> Array:
    """Sampling variances in the order of the rows; missing values stay NaN.

    Parameters
    ----------
    vi, sei : array_like or Series
        Exactly one of the two: sampling variances or standard errors.
    index : Index or None
        Labels of the rows, on which a Series is aligned.
    n : int
        Number of rows.
    what : str
        What the rows belong to, for errors.

    Returns
    -------
    ndarray, (n,)

    Raises
    ------
    VarianceError
        If neither or both are given, or a value is negative, infinite or not a number.
    DesignError
        If they do not match the rows.
    """
    values, name = _exactly_one(vi, sei)
    if isinstance(values, str):
        raise VarianceError(
            f"{name}={values!r} names a column, which only the formula interface has. Pass an "
            "array here, or use smf.metareg."
        )
    array = _numeric(_align(values, name, index, n, what), name, index)
    _check_range(array, name, index)
    return array if name == "vi" else array**2


def check_values(endog: Any, exog: Any, vi: Array, index: pd.Index | None, missing: str) -> None:
    """Refuse outcomes and moderators that are not finite numbers, before statsmodels sees them.

    Parameters
    ----------
    endog, exog : array_like
        Outcomes and moderators.
    vi : ndarray
        Sampling variances.
    index : Index or None
        Labels of the rows.
    missing : str
        With "drop" missing values are left to statsmodels, unless no row is complete.

    Raises
    ------
    DesignError
        If a value is infinite or not a number, or rows do not match.
    MissingStudiesError
        If a value is missing where none may be, or no row is complete.
    """
    arrays = {"endog": np.asarray(endog), "exog": np.asarray(exog)}
    y, X = arrays.values()
    numbers = y.dtype.kind in "fiub" and X.dtype.kind in "fiub" and 0 < len(y) == len(X)
    # sums of squares: opposite infinities cannot cancel
    if numbers and np.isfinite(np.vdot(y, y) + np.vdot(X, X) + np.add.reduce(vi)):
        return
    if not len(y):
        raise MissingStudiesError("No study is left: there are no rows.")
    # by the formula interface variances come with rows that the formula has dropped
    complete = ~np.isnan(vi) if len(vi) == len(y) else np.ones(len(y), dtype=bool)
    for name, values in arrays.items():
        if len(values) != len(y):
            raise DesignError(f"endog has {len(y)} rows and exog has {len(values)}.")
        if values.dtype.kind not in "fiubO":
            raise DesignError(f"{name} must be numeric; it has dtype {values.dtype}.")
        if values.dtype.kind == "O":
            continue  # statsmodels names what it cannot convert
        table = values.reshape(len(values), -1)
        bad = np.argwhere(~np.isfinite(table))
        for row, column in bad:
            source = endog if name == "endog" else exog
            columns = getattr(source, "columns", [getattr(source, "name", None)])
            shown = columns[column] if len(columns) > column else int(column)
            shown = "" if shown is None else f" column {shown!r}"
            label = f"{name}{shown} of {_label(index, int(row))}"
            if not np.isnan(table[row, column]):
                raise DesignError(f"{label} is infinite; outcomes and moderators must be finite.")
            if missing != "drop":
                raise MissingStudiesError(f"{label} is missing. missing='drop' drops such studies.")
            complete[row] = False
    if not complete.any():
        raise MissingStudiesError("No study is left: every row has a missing value.")


def _column(frame: pd.DataFrame, name: str, argument: str) -> pd.Series:
    if name not in frame.columns:
        columns = [str(c) for c in frame.columns]
        raise VarianceError(
            f"{argument}={name!r}: the data have no such column.{suggestion(name, columns)} They "
            f"have {', '.join(columns)}."
        )
    return frame[name]


def _as_frame(data: Any) -> pd.DataFrame:
    data = _to_pandas(data)
    if isinstance(data, pd.DataFrame):
        return data
    if isinstance(data, np.ndarray) and data.dtype.names:
        return pd.DataFrame.from_records(data)
    if isinstance(data, Mapping):
        return pd.DataFrame(data)
    raise DesignError(f"data must be a DataFrame; got {type(data).__name__}.")


def _mentioned(frame: pd.DataFrame, formula: Any) -> dict[Any, pd.Series]:
    """Columns whose name occurs in the formula: all that it uses, and perhaps some more."""
    text = str(formula)
    return {c: frame[c] for c in frame.columns if str(c) in text}


def formula_studies(
    formula: Any, data: Any, vi: Any, sei: Any, subset: Any, missing: str, eval_env: Any
) -> FormulaStudies:
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
    eval_env : object
        Where the formula finds names that are not columns, counted from the caller of the caller.

    Returns
    -------
    FormulaStudies

    Raises
    ------
    VarianceError, DesignError, MissingStudiesError
        As the messages say.
    """
    if missing not in ("drop", "raise", "none"):
        raise OptionError(f"missing={missing!r} is not known. Choose 'none', 'drop' or 'raise'.")
    table = _as_frame(data)
    if not len(table):
        raise DesignError("data has no rows.")
    positions = np.arange(len(table))
    if subset is not None:
        positions = pd.Series(positions, index=table.index).loc[subset].to_numpy()
        if not len(positions):
            raise DesignError("subset leaves no rows.")
    selected = len(positions)
    values, name = _exactly_one(vi, sei)
    if isinstance(values, str):
        label = f"{name} (column {values!r})"
        values = _column(table, values, name)
    else:
        label = name
        by_subset = subset is not None and len(positions) != len(table)
        if by_subset and not isinstance(values, pd.Series) and len(values) == len(positions):
            full = np.full(len(table), np.nan)
            full[positions] = _numeric(values, name, None)
            values = full
        values = _align(values, name, table.index, len(table), "data")
    v = _numeric(values, label, table.index)
    if subset is not None:
        v = v[positions]
    frame = table if subset is None else table.iloc[positions]
    _check_range(v, label, frame.index)
    if name == "sei":
        v = v**2
    absent = np.isnan(v)
    if absent.any():
        if missing != "drop":
            first = _label(frame.index, int(np.flatnonzero(absent)[0]))
            raise MissingStudiesError(f"{label} is missing for {first}. missing='drop' drops it.")
        if absent.all():
            raise MissingStudiesError(f"No study is left: {label} is missing for every row.")
        frame, v, positions = frame[~absent], v[~absent], positions[~absent]
    used = _mentioned(frame, formula)
    if any(_has_missing(values) for values in used.values()):
        gone = _missing_rows(formula, frame, eval_env)
        if missing != "drop" and gone.any():
            first = _label(frame.index, int(np.flatnonzero(gone)[0]))
            raise MissingStudiesError(
                f"An outcome or moderator of {first} is missing. missing='drop' drops such studies."
            )
        if gone.all():
            raise MissingStudiesError(
                "No study is left: every row has a missing outcome or moderator."
            )
        frame, v, positions = frame[~gone], v[~gone], positions[~gone]
    return FormulaStudies(_without_empty_levels(frame, used), v, positions, len(table), selected)


def _missing_rows(formula: Any, frame: pd.DataFrame, eval_env: Any) -> npt.NDArray[np.bool_]:
    """Rows that the formula engine itself would drop."""
    manager = FormulaManager()
    depth: Any = eval_env
    if eval_env is None:
        depth = 4
    elif isinstance(eval_env, int):
        depth = manager.get_empty_eval_env() if eval_env == -1 else eval_env + 3
    try:
        _, mask, _ = handle_formula_data(frame, None, formula, depth=depth, missing="drop")
    except (ValueError, IndexError, KeyError):
        # some engines cannot build a design from no rows at all
        if frame[list(_mentioned(frame, formula))].isna().any(axis=1).all():
            return np.ones(len(frame), dtype=bool)
        raise
    return np.zeros(len(frame), dtype=bool) if mask is None else np.asarray(mask, dtype=bool)


def _has_missing(values: pd.Series) -> bool:
    kind = getattr(values.dtype, "kind", "O")
    if kind in "iub" and isinstance(values.dtype, np.dtype):
        return False
    if kind == "f" and isinstance(values.dtype, np.dtype):
        return bool(np.isnan(values.to_numpy()).any())
    return bool(values.isna().any())


def _without_empty_levels(frame: pd.DataFrame, used: Mapping[Any, pd.Series]) -> pd.DataFrame:
    changed = {}
    for column, values in used.items():
        if isinstance(values.dtype, pd.CategoricalDtype):
            # rows may have gone since the column was looked up
            kept = frame[column].cat
            trimmed = kept.remove_unused_categories()
            if len(trimmed.cat.categories) < len(kept.categories):
                changed[column] = trimmed
    return frame.assign(**changed) if changed else frame


def group_codes(
    groups: Any, frame: pd.DataFrame | None, labels: pd.Index | None, rows: Any, n_table: int
) -> npt.NDArray[np.intp]:
    """Clusters of the studies in the model as codes 0 ... J-1.

    Parameters
    ----------
    groups : str, Series or array_like
        A column of the data, or a label for each study in the model or each row of the data.
    frame : DataFrame or None
        Rows of the data that are in the model.
    labels : Index or None
        Their labels, on which a Series is aligned.
    rows : ndarray of int
        Their positions in the user's table of `n_table` rows.

    Returns
    -------
    ndarray of int, (k,)

    Raises
    ------
    DesignError
        If groups do not match the studies or are missing for one.
    """
    k = len(rows)
    if isinstance(groups, str):
        if frame is None:
            raise DesignError(
                f"groups={groups!r} names a column, which only the formula interface has."
            )
        values: Any = _column(frame, groups, "groups")
    else:
        values = groups
        if not isinstance(values, pd.Series) and np.ndim(values) == 1 and len(values) == n_table:
            values = np.asarray(values)[rows]
        values = _align(values, "groups", labels, k, "the studies in the model")
    codes, _ = pd.factorize(np.asarray(values), use_na_sentinel=True)
    if (codes < 0).any():
        first = _label(labels, int(np.flatnonzero(codes < 0)[0]))
        raise DesignError(f"groups is missing for {first}.")
    return np.asarray(codes, dtype=np.intp)
