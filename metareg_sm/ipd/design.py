"""The design of all participants, made once for all studies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.discrete.discrete_model import CountModel, MultinomialModel
from statsmodels.genmod import families
from statsmodels.genmod.generalized_linear_model import GLM

from metareg_sm._typing import Array, Codes
from metareg_sm.design.formula import explained, formula_error, used_columns
from metareg_sm.design.values import row_label
from metareg_sm.exceptions import DesignError, OptionError
from metareg_sm.options import suggestion

# Keywords of statsmodels' models that name a column, or have a value for each row.
_COLUMNS = (
    "entry",
    "exposure",
    "freq_weights",
    "offset",
    "status",
    "strata",
    "var_weights",
    "weights",
)


@dataclass(frozen=True, slots=True)
class Design:
    """Participants with complete data.

    Attributes
    ----------
    cls : type
        The model's class.
    endog, exog : ndarray, (n,) or (n, 2) and (n, p)
        Outcomes and design.
    names : tuple of str
        Columns of the design.
    rows : ndarray of int, (n,)
        Rows of the table.
    keywords : mapping
        Of the model; those that have a value for each row have them for all rows of the table.
    total : int
        Rows of the table.
    """

    cls: type
    endog: Array
    exog: Array
    names: tuple[str, ...]
    rows: Codes
    keywords: Mapping[str, Any]
    total: int

    def keywords_of(self, participants: Codes) -> dict[str, Any]:
        """Keywords of the model for some participants alone."""
        at = self.rows[participants]
        return {name: _picked(value, at, self.total) for name, value in self.keywords.items()}


def whole_design(
    formula: Any,
    table: pd.DataFrame,
    model: Callable[..., Any],
    context: Mapping[str, Any],
    keywords: Mapping[str, Any],
) -> Design:
    """Design of all participants by a formula model of statsmodels.

    Raises
    ------
    OptionError
        If the model is none that `two_stage` can fit.
    DesignError
        If the formula cannot be evaluated, the model refuses the data, or events are more than the
        total.
    """
    if isinstance(model, type) or not callable(model):
        raise OptionError(
            "model must be a model of statsmodels.formula.api, such as smf.logit; got "
            f"{model.__name__ if isinstance(model, type) else repr(model)}."
        )
    for name in _COLUMNS:
        value = keywords.get(name)
        if isinstance(value, str) and value not in table.columns:
            columns = [str(c) for c in table.columns]
            raise DesignError(
                f"{name}={value!r}: the data have no such column.{suggestion(value, columns)}"
            )
    _refuse_infinite(formula, table)
    numbered = table.reset_index(drop=True)
    known = {name: _of_rows(value, numbered) for name, value in keywords.items()}
    try:
        whole = model(formula, data=numbered, eval_env=context, **known)
    except (formula_error(), NameError) as error:
        raise explained(error, formula, table) or error from error
    except (ValueError, TypeError, KeyError) as error:
        owner: Any = getattr(model, "__self__", model)
        said = f"{getattr(owner, '__name__', owner)} refuses {formula!r}: {error}"
        raise DesignError(said) from error
    if isinstance(whole, MultinomialModel):
        raise OptionError(
            f"{type(whole).__name__} has a coefficient for each category; take models of one "
            "outcome, such as smf.logit."
        )
    exog = np.asarray(whole.exog, dtype=float)
    endog = np.asarray(whole.data.orig_endog, dtype=float)
    endog = endog[:, 0] if endog.ndim == 2 and endog.shape[1] == 1 else endog
    rows = np.asarray(whole.data.row_labels, dtype=np.intp)
    _check_events(whole, endog, table.index[rows])
    names = tuple(whole.exog_names)[: exog.shape[1]]
    return Design(type(whole), endog, exog, names, rows, known, len(table))


def _refuse_infinite(formula: Any, table: pd.DataFrame) -> None:
    for name in used_columns(table, formula):
        if table[name].dtype.kind == "f":
            bad = np.flatnonzero(np.isinf(table[name].to_numpy(float)))
            if bad.size:
                raise DesignError(
                    f"{name!r} is infinite for {row_label(table.index, int(bad[0]))}."
                )


def _of_rows(value: Any, table: pd.DataFrame) -> Any:
    """A keyword of the model, where it names a column that column."""
    if isinstance(value, str) and value in table.columns:
        return table[value]
    if isinstance(value, pd.Series) and len(value) == len(table):
        return value.reset_index(drop=True)
    return value


def _picked(value: Any, rows: Codes, total: int) -> Any:
    if isinstance(value, pd.Series):
        return value.to_numpy()[rows]
    if isinstance(value, np.ndarray) and value.ndim and len(value) == total:
        return value[rows]
    return value


def _check_events(model: Any, values: Array, index: pd.Index) -> None:
    """Refuse counts below 0, and events above totals, which a formula turns into such counts."""
    family = model.family if isinstance(model, GLM) else None
    if values.ndim == 2 and values.shape[1] == 2 and (values < 0.0).any():
        row = int(np.flatnonzero((values < 0.0).any(axis=1))[0])
        raise DesignError(
            f"{row_label(index, row)} has {values[row, 0]:g} events and {values[row, 1]:g} others: "
            "a count is negative, or events are more than the total."
        )
    if values.ndim != 1:
        return
    share = isinstance(family, families.Binomial)
    if share or isinstance(model, CountModel) or isinstance(family, families.Poisson):
        bad = np.flatnonzero((values < 0.0) | (share & (values > 1.0)))
        if bad.size:
            row = int(bad[0])
            what = (
                "events are 0 and 1, or a share of the total"
                if share
                else "a count cannot be negative"
            )
            raise DesignError(f"The outcome of {row_label(index, row)} is {values[row]:g}; {what}.")
