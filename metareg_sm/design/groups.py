"""Labels of the clusters that studies belong to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from metareg_sm._typing import Codes
from metareg_sm.design.rows import StudyRows
from metareg_sm.design.values import row_label
from metareg_sm.design.variances import align, column
from metareg_sm.exceptions import DesignError


def group_codes(groups: Any, rows: StudyRows, argument: str = "groups") -> tuple[Codes, pd.Index]:
    """Clusters of the studies in the model as codes 0 ... J-1.

    Parameters
    ----------
    groups : str, Series or array_like
        A column of the data, or a label for each study in the model or each row of the data.
    rows : StudyRows
        The studies in the model.
    argument : str
        For errors.

    Returns
    -------
    codes : ndarray of int, (k,)
    levels : Index, (J,)
        The labels, in the order of their first appearance.

    Raises
    ------
    DesignError
        If groups do not match the studies or are missing for one.
    """
    if isinstance(groups, str):
        if rows.frame is None:
            raise DesignError(
                f"{argument}={groups!r} names a column, which only the formula interface has."
            )
        values: Any = column(rows.frame, groups, argument)
    else:
        values = one_a_study(groups, rows, argument)
    try:
        codes, levels = pd.factorize(labels_of(values), use_na_sentinel=True)
    except TypeError as error:
        raise DesignError(f"{argument} must be numbers or text: {error}.") from error
    if (codes < 0).any():
        first = row_label(rows.labels, int(np.flatnonzero(codes < 0)[0]))
        raise DesignError(f"{argument} is missing for {first}.")
    return np.asarray(codes, dtype=np.intp), pd.Index(levels)


def one_a_study(values: Any, rows: StudyRows, argument: str) -> Any:
    """Values of the studies in the model: a Series by its index, anything else by position.

    Parameters
    ----------
    values : Series or array_like
        One for each study in the model, or for each row of the data.
    rows : StudyRows
        The studies in the model.
    argument : str
        For errors.

    Raises
    ------
    DesignError
        If they do not match the studies.
    """
    if not isinstance(values, pd.Series) and np.ndim(values) == 1 and len(values) == rows.total:
        values = labels_of(values)[rows.positions]
    return align(values, argument, rows.labels, len(rows.positions), "the studies in the model")


def labels_of(values: Any) -> Any:
    """Labels as an array in which what is missing stays missing."""
    if isinstance(values, np.ma.MaskedArray):
        out = np.asarray(values, dtype=object).copy()
        out[np.ma.getmaskarray(values)] = None
        return out
    if isinstance(values, (np.ndarray, pd.Series, pd.Index, pd.Categorical)):
        return np.asarray(values)
    # numpy would write the missing value of a list of words as a word
    return np.fromiter(values, dtype=object, count=len(values))
