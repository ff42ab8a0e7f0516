"""The moderators that all outcomes share: from an array, a table or a formula."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from types import FrameType
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from metareg_sm._compat import FormulaManager
from metareg_sm._typing import Array
from metareg_sm.design.formula import formula_error
from metareg_sm.exceptions import DesignError, MissingStudiesError, OptionError
from metareg_sm.many.containers import (
    as_pandas,
    from_frame,
    in_memory,
    is_dask,
    refuse_what_holds_no_numbers,
)
from metareg_sm.options import suggestion

# how the formula engines report a name that is nowhere: name 'x' ..., `x` ...
_UNKNOWN_NAME = re.compile(r"NameError: (?:name )?['`]([^'`]+)['`]")


@dataclass(frozen=True, slots=True)
class Moderators:
    """Moderators of the studies.

    Attributes
    ----------
    exog : ndarray, (k, p)
        Their values, all finite.
    names : list of str
        Names of the columns.
    labels : Index or None
        Labels of the studies.
    argument : str
        The argument that has the labels: "exog", or "data" for a formula.
    """

    exog: Array
    names: list[str]
    labels: pd.Index | None
    argument: str = "exog"


def read_moderators(exog: Any, data: Any, caller: FrameType | None) -> Moderators:
    """Moderators from an array, a table or a formula.

    Parameters
    ----------
    exog : array_like, DataFrame, Series or str
        Values or a formula.
    data : DataFrame or None
        Table of the studies, for a formula.
    caller : frame or None
        Where a formula finds names that are not columns of `data`.

    Raises
    ------
    DesignError, MissingStudiesError, OptionError
        If they are not finite numbers, a formula cannot be evaluated, or it comes without `data`.
    """
    if isinstance(exog, str):
        names = {**caller.f_globals, **caller.f_locals} if caller is not None else {}
        found = _by_formula(exog, data, names)
    else:
        if data is not None:
            raise OptionError(
                "data= is the table of a formula, and exog is none. Pass a formula such as "
                "exog='~ dose', or leave data out."
            )
        found = _from_values(exog)
    X, labels = found.exog, found.labels
    twice = next((n for i, n in enumerate(found.names) if n in found.names[:i]), None)
    if twice is not None:
        raise DesignError(f"exog has two columns {twice!r}; give each moderator a name of its own.")
    if not X.size:
        raise DesignError(f"exog has no moderators or no studies; it has shape {X.shape}.")
    if not np.isfinite(X).all():
        row, column = np.argwhere(~np.isfinite(X))[0]
        study = f"study {row}" if labels is None else f"study {labels[[row]].tolist()[0]!r}"
        raise MissingStudiesError(
            f"exog of {study} is missing or infinite in column {column} ({found.names[column]}); "
            "every study needs all moderators."
        )
    return found


def _from_values(exog: Any) -> Moderators:
    if isinstance(exog, PurePath):
        raise DesignError(f"exog={str(exog)!r} is a path; read the moderators and pass them.")
    exog = as_pandas(exog)
    refuse_what_holds_no_numbers(exog, "exog")
    if isinstance(exog, pd.Series):
        exog = exog.to_frame("x1" if exog.name is None else exog.name)
    if isinstance(exog, pd.DataFrame):
        return Moderators(from_frame(exog, "exog"), [str(c) for c in exog.columns], exog.index)
    X = in_memory(exog.compute() if is_dask(exog) else exog, "exog")
    if X.ndim == 1:
        X = X[:, None]
    if X.ndim != 2:
        raise DesignError(f"exog must have two dimensions; it has shape {X.shape}.")
    if np.ma.is_masked(X):
        row, column = np.argwhere(np.ma.getmaskarray(X))[0]
        raise MissingStudiesError(
            f"exog of study {row} is masked in column {column}; every study needs all moderators."
        )
    X = np.asarray(X, dtype=float)
    return Moderators(X, _names(X), None)


def _names(X: Array) -> list[str]:
    """Names of columns that have none, as statsmodels gives them."""
    names = [f"x{j + 1}" for j in range(X.shape[1])]
    constant = np.flatnonzero((X[:1] == X).all(axis=0) & (X[:1] != 0.0).all(axis=0))
    if constant.size and len(X):
        names = [f"x{j}" for j in range(1, X.shape[1])]
        names.insert(int(constant[0]), "const")
    return names


def _table(data: Any, formula: str) -> pd.DataFrame:
    if data is None:
        raise OptionError(f"exog={formula!r} is a formula; give the table of the studies as data=.")
    data = as_pandas(data)
    if isinstance(data, np.ndarray) and data.dtype.names:
        data = pd.DataFrame.from_records(data)
    if isinstance(data, Mapping):
        try:
            data = pd.DataFrame(data)
        except ValueError as error:
            raise DesignError(f"data is no table: {error}") from error
    if not isinstance(data, pd.DataFrame):
        raise DesignError(f"data must be a DataFrame; got a {type(data).__name__}.")
    twice = data.columns[data.columns.duplicated()]
    used = [c for c in twice if re.search(rf"\b{re.escape(str(c))}\b", formula)]
    if used:
        raise DesignError(f"data has two columns {used[0]!r}; rename one of them.")
    return data


def _by_formula(formula: str, data: Any, names: dict[str, Any]) -> Moderators:
    text = formula.strip().removeprefix("~").strip()
    if not text:
        raise DesignError(f"exog={formula!r} is an empty formula; '~ 1' has no moderators.")
    if "~" in text:
        raise DesignError(
            f"exog={formula!r} has a left side; the outcomes are endog, and exog is the right side "
            "alone, such as '~ dose'."
        )
    table = _table(data, text)
    manager = FormulaManager()
    # rows are known by position: labels may be there twice
    rows = _with_plain_missing(table.reset_index(drop=True))
    try:
        matrix = manager.get_matrices(
            f"~ {text}", rows, eval_env=names, na_action=manager.get_na_action("drop")
        )
    except (formula_error(), ValueError, TypeError, NameError, SyntaxError) as error:
        raise DesignError(_what_is_wrong(formula, table, error)) from error
    if len(matrix) != len(table):
        row = rows.index.difference(matrix.index)[:1]
        raise MissingStudiesError(
            f"A moderator of row {table.index[row].tolist()[0]!r} of data is missing or not a "
            "number; every study needs all moderators."
        )
    columns = [str(c) for c in matrix.columns]
    return Moderators(np.asarray(matrix, dtype=float), columns, table.index, "data")


def _with_plain_missing(rows: pd.DataFrame) -> pd.DataFrame:
    """A copy with NaN or None for pandas' NA, which not every formula engine knows as missing."""
    changed = {}
    for column, dtype in rows.dtypes.items():
        if isinstance(dtype, np.dtype | pd.CategoricalDtype) or not rows[column].hasnans:
            continue
        if is_numeric_dtype(dtype):
            changed[column] = rows[column].to_numpy(dtype=float, na_value=np.nan)
        else:
            changed[column] = rows[column].to_numpy(dtype=object, na_value=None)
    return rows.assign(**changed) if changed else rows


def _what_is_wrong(formula: str, table: pd.DataFrame, error: Exception) -> str:
    unknown = _UNKNOWN_NAME.search(str(error))
    if unknown is None:
        reason = str(error).strip().split("\n")[0]
        return f"The formula exog={formula!r} cannot be evaluated: {reason}"
    name = unknown.group(1)
    columns = [str(c) for c in table.columns]
    shown = ", ".join(columns[:20]) + (", ..." if len(columns) > 20 else "")
    return (
        f"The formula exog={formula!r} names {name!r}, which is no column of data and defined "
        f"nowhere else.{suggestion(name, columns)} The columns are {shown}."
    )
