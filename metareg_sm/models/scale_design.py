"""Design of the heterogeneity of a location-scale model, from a formula or from columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from metareg_sm._compat import handle_formula_data
from metareg_sm._typing import Array
from metareg_sm.design import values
from metareg_sm.design.formula import explained, formula_error
from metareg_sm.design.rows import StudyRows
from metareg_sm.exceptions import DesignError, OptionError


@dataclass(frozen=True, slots=True)
class ScaleNames:
    """Columns of the design of the scale.

    Attributes
    ----------
    names : list of str
        Their names.
    constant : int or None
        Position of the constant.
    formula : str or None
        The formula that they are of.
    labelled : bool
        Whether it was the user who named them.
    """

    names: list[str]
    constant: int | None
    formula: str | None
    labelled: bool


def right_side(scale_formula: Any) -> str:
    """Right side of a formula of the scale.

    Raises
    ------
    OptionError
        If it is no formula, or has a left side.
    """
    if not isinstance(scale_formula, str) or not scale_formula.strip():
        raise OptionError(
            f"scale_formula={scale_formula!r} is no formula; write for instance '~ grade'."
        )
    left, tilde, right = scale_formula.rpartition("~")
    if left.strip():
        raise OptionError(f"scale_formula={scale_formula!r} has a left side; ln tau2 is meant.")
    return right if tilde else scale_formula


def formula_columns(
    scale_formula: str, formula: str, frame: Any, context: Mapping[str, Any]
) -> tuple[Any, Any]:
    """Design of the scale by the formula engine, and its record of the right side.

    Parameters
    ----------
    scale_formula, formula : str
        As the user gave it, and with the outcome on its left.
    frame : DataFrame
        The studies in the model.
    context : mapping
        What the formula may refer to beside columns.

    Raises
    ------
    DesignError
        If a column is missing or the formula cannot be read.
    """
    try:
        found, _, spec = handle_formula_data(
            frame, None, formula, depth=dict(context), missing="raise"
        )
    except (formula_error(), TypeError) as error:
        raise explained(error, formula, frame, f"scale_formula={scale_formula!r}") from error
    return found[1], spec


def array_columns(given: Any, rows: StudyRows) -> tuple[Array, list[str], bool]:
    """Design of the scale for the studies in the model, from columns for all rows.

    Returns
    -------
    Z : ndarray, (k, q)
    names : list of str
    named : bool
        Whether it was the user who named them.

    Raises
    ------
    DesignError
        If rows do not match, or a value is missing or infinite.
    """
    Z = np.asarray(given, dtype=float).reshape(len(given), -1)
    if len(Z) != rows.total:
        raise DesignError(f"scale_exog has {len(Z)} rows, and endog {rows.total}.")
    named = values.has_names(given)
    columns = getattr(given, "columns", range(Z.shape[1]))
    names = [
        str(c) if named else ("const" if np.ptp(Z[:, j]) == 0 else f"z{j}")
        for j, c in enumerate(columns)
    ]
    Z = Z[rows.positions]
    bad = np.flatnonzero(~np.isfinite(Z).all(1))
    if bad.size:
        label = values.row_label(rows.labels, int(bad[0]))
        raise DesignError(f"scale_exog of {label} is missing or infinite.")
    return Z, names, named
