"""Outcomes, variances and moderators that belong together, by label or by position."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from metareg_sm._typing import Rows
from metareg_sm.exceptions import DesignError
from metareg_sm.many.containers import is_dask
from metareg_sm.many.moderators import Moderators
from metareg_sm.many.readers import Opened, ParquetTable, open_table
from metareg_sm.many.sources import Source


def is_default(labels: pd.Index) -> bool:
    """Whether labels are 0, 1, 2, ..., which tables have that nobody labelled."""
    return labels.nlevels == 1 and labels.equals(pd.RangeIndex(len(labels)))


def order_by(labels: pd.Index | None, wanted: pd.Index | None, what: str, of: str) -> Rows | None:
    """Where each wanted label stands.

    Parameters
    ----------
    labels, wanted : Index or None
        Labels of two tables; None where there are none.
    what, of : str
        What the labels are of and what the wanted ones are of, for errors: "the index of exog" and
        "the columns of endog".

    Returns
    -------
    ndarray of int or None
        Positions among `labels`; None where both are in the same order, or one of the two has no
        labels but the default ones, so that they go by position.

    Raises
    ------
    DesignError
        If both are labelled and the labels are not the same, or not unique.
    """
    if labels is None or wanted is None or labels.equals(wanted):
        return None
    by_position = is_default(labels) or is_default(wanted)
    same_length = len(labels) == len(wanted)
    if by_position and not same_length:
        return None
    if labels.is_unique and wanted.is_unique:
        order = labels.get_indexer(wanted)
        if same_length and (order >= 0).all():
            return np.asarray(order, dtype=np.intp)
        if by_position:
            return None
        absent = wanted.difference(labels, sort=False)
        extra = labels.difference(wanted, sort=False)
        first, there, here = (absent, of, what) if len(absent) else (extra, what, of)
        raise DesignError(
            f"{first.tolist()[0]!r} is in {there} and not in {here}. Both are labelled and go "
            "together by label; pass arrays to match them by position."
        )
    if by_position:
        return None
    twice = next(x for x in (labels, wanted) if not x.is_unique)
    first = twice[twice.duplicated()].tolist()[0]
    raise DesignError(
        f"{first!r} is a label more than once, and {what} differs from {of}, so that "
        "they cannot be matched. Pass arrays to match them by position."
    )


def _by_column(values: Any, order: Rows) -> Any:
    if isinstance(values, ParquetTable):
        return values.ordered(order)
    return values[..., order]


def _match_studies(
    y: Opened, v: Opened, moderators: Moderators
) -> tuple[Opened, Opened, Moderators]:
    """Variances and moderators with their studies in the order of the outcomes' columns.

    Tables go together by their labels; what has no labels, or but 0, 1, 2, ..., goes by position.
    """
    index = f"the index of {moderators.argument}"
    order = order_by(moderators.labels, y.columns, index, "the columns of endog")
    if order is not None:
        assert moderators.labels is not None
        labels = moderators.labels[order]
        moderators = replace(moderators, exog=moderators.exog[order], labels=labels)
    studies, of = y.columns, "the columns of endog"
    if studies is None or is_default(studies):
        studies, of = moderators.labels, index
    axis = "index" if v.values.ndim == 1 else "columns"
    order = order_by(v.columns, studies, f"the {axis} of vi", of)
    if order is not None:
        v = replace(v, values=_by_column(v.values, order))
    return y, v, moderators


def _match_outcomes(y: Opened, v: Opened) -> Any:
    """Variances with their rows in the order of the outcomes."""
    if v.values.ndim != 2:
        return v.values
    if not all(t.rows is not None or isinstance(t.values, ParquetTable) for t in (y, v)):
        # labels in a file are read where there are others to compare them with
        return v.values
    wanted, labels = (
        t.values.all_labels() if isinstance(t.values, ParquetTable) else t.rows for t in (y, v)
    )
    order = order_by(labels, wanted, "the index of vi", "the index of endog")
    if order is None:
        return v.values
    if isinstance(v.values, ParquetTable):
        first = int(np.flatnonzero(order != np.arange(len(order)))[0])
        raise DesignError(
            f"The outcomes stand in another order in the file of vi than in endog, from outcome "
            f"{first} on; files are read in their order. Write vi in the order of endog."
        )
    return v.values[order]


def open_source(
    endog: Any, vi: Any, moderators: Moderators, size: int, progress: bool
) -> tuple[Source, Moderators]:
    """Outcomes, variances and moderators that belong together.

    Raises
    ------
    DesignError
        If their shapes or their labels do not match.
    """
    y, v = open_table(endog, "endog"), open_table(vi, "vi")
    if y.values.ndim != 2:
        raise DesignError(
            "endog must have one row an outcome and one column a study; it has shape "
            f"{tuple(y.values.shape)}."
        )
    k = len(moderators.exog)
    if y.values.shape[1] != k:
        # the labels say more where there are any
        index = f"the index of {moderators.argument}"
        order_by(moderators.labels, y.columns, index, "the columns of endog")
        raise DesignError(f"endog has {y.values.shape[1]} columns for the {k} studies of exog.")
    shape = tuple(y.values.shape)
    if tuple(v.values.shape) not in (shape, (k,)):
        raise DesignError(f"vi has shape {tuple(v.values.shape)}; it must be {shape} or ({k},).")
    y, v, moderators = _match_studies(y, v, moderators)
    outcomes, variances = y.values, _match_outcomes(y, v)
    if is_dask(outcomes) and variances.ndim == 2 and not is_dask(variances):
        import dask.array as da

        variances = da.from_array(variances, chunks=(outcomes.chunks[0], k))
    if is_dask(variances) and not is_dask(outcomes):
        if variances.ndim == 1:
            variances = variances.compute()
        else:
            raise DesignError("vi is a dask array and endog is not; make both dask arrays.")
    return Source(outcomes, variances, size, progress, y.rows), moderators
