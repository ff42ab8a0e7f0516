"""Within and between studies: a moderator of participants split into its two parts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from metareg_sm._typing import Array
from metareg_sm.exceptions import DesignError

__all__ = ["between", "within"]


def _values(x: Any) -> Array:
    values = np.asarray(x)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1 or values.dtype.kind not in "fiubO":
        raise DesignError(
            "within() and between() take one numeric column; got "
            + (f"{values.dtype} values." if values.ndim == 1 else f"shape {values.shape}.")
        )
    try:
        return values.astype(float)
    except (TypeError, ValueError) as error:
        raise DesignError(f"within() and between() take a numeric column: {error}.") from error


def _labels(study: Any, n: int) -> pd.Series:
    labels = pd.Series(np.asarray(study, dtype=object))
    if len(labels) != n:
        raise DesignError(f"There are {len(labels)} labels of studies for {n} values.")
    return labels


class _StudyMeans:
    """Means of a column by study, gathered chunk by chunk (patsy's protocol)."""

    def __init__(self) -> None:
        self._chunks: list[pd.Series] = []
        self.means: dict[Any, float] = {}

    def memorize_chunk(self, x: Any, study: Any) -> None:
        """Take in some rows."""
        values = _values(x)
        self._chunks.append(pd.Series(values, index=pd.Index(_labels(study, len(values)))))

    def memorize_finish(self) -> None:
        """Compute the means."""
        rows = pd.concat(self._chunks)
        self.means = rows.groupby(level=0, sort=False).mean().to_dict()
        self._chunks = []

    def of_rows(self, x: Any, study: Any) -> tuple[Array, Array]:
        """Values, and the mean of each row's study; a new study has that of its own rows."""
        values = _values(x)
        labels = _labels(study, len(values))
        known = labels.map(self.means).to_numpy(dtype=float)
        own = pd.Series(values).groupby(labels, sort=False).transform("mean")
        means = np.where(np.isnan(known), own.to_numpy(dtype=float), known)
        # a row without a value has no part of it, and is dropped like any missing moderator
        means[np.isnan(values) | labels.isna().to_numpy()] = np.nan
        return values, means


class _Between(_StudyMeans):
    def transform(self, x: Any, study: Any) -> Any:
        """Mean of each row's study."""
        return _like(x, self.of_rows(x, study)[1])


class _Within(_StudyMeans):
    def transform(self, x: Any, study: Any) -> Any:
        """Deviation from the mean of each row's study."""
        values, means = self.of_rows(x, study)
        return _like(x, values - means)


def _like(x: Any, values: Array) -> Any:
    return pd.Series(values, index=x.index) if isinstance(x, (pd.Series, pd.DataFrame)) else values


def _evaluated(kind: type[_Between | _Within], x: Any, study: Any, state: Any) -> Any:
    transform = kind()
    if state is not None:
        _tell_formulaic()
    if state:
        transform.means = state["means"]
    else:
        transform.memorize_chunk(x, study)
        transform.memorize_finish()
        if state is not None:
            state["means"] = transform.means
    return transform.transform(x, study)


def _tell_formulaic() -> None:
    """Let formulaic find the names in later predictions.

    statsmodels' predictions by this engine know the engine's own transforms only, not the names
    that the formula found where it was written.
    """
    from formulaic.transforms import TRANSFORMS

    TRANSFORMS.setdefault("between", between)
    TRANSFORMS.setdefault("within", within)


def between(x: Any, study: Any, *, _state: Any = None, **_engine: Any) -> Any:
    """Mean of a moderator in the row's study, for use in a formula.

    Parameters
    ----------
    x : Series or array_like, (n,)
        Values of participants, or of effects, in the units of the moderator.
    study : Series or array_like, (n,)
        Labels of their studies.

    Returns
    -------
    Series or ndarray, (n,)
        NaN where `x` or `study` is missing.

    Raises
    ------
    DesignError
        If `x` is not numeric or labels do not match.

    Notes
    -----
    A stateful transform of both formula engines: the means are those of the rows that the model was
    fitted to, and predictions for a study of the model use them again. A study that the model has
    not seen has the mean of its own rows in the new data.

    Formulas find the name where they are written:
    ``from metareg_sm.formula.transforms import within, between``, or from `metareg_sm.formula.api`.
    It then works in every model of statsmodels that takes a formula.

    Examples
    --------
    >>> import numpy as np
    >>> from metareg_sm.formula.transforms import between, within
    >>> age, study = np.array([40.0, 50.0, 60.0]), np.array(["a", "a", "b"])
    >>> between(age, study)
    array([45., 45., 60.])
    >>> within(age, study)
    array([-5.,  5.,  0.])
    """
    return _evaluated(_Between, x, study, _state)


def within(x: Any, study: Any, *, _state: Any = None, **_engine: Any) -> Any:
    """Deviation of a moderator from the mean of the row's study, for use in a formula.

    Parameters and behaviour are those of `between`: ``x = within(x, study) + between(x, study)``.

    Parameters
    ----------
    x : Series or array_like, (n,)
        Values of participants, or of effects, in the units of the moderator.
    study : Series or array_like, (n,)
        Labels of their studies.

    Returns
    -------
    Series or ndarray, (n,)
        NaN where `x` or `study` is missing.

    Raises
    ------
    DesignError
        If `x` is not numeric or labels do not match.

    Examples
    --------
    >>> import pandas as pd
    >>> import statsmodels.formula.api as smf
    >>> from metareg_sm.formula.transforms import between, within
    >>> data = pd.DataFrame({"study": list("aabb"), "x": [0.0, 1, 5, 7], "y": [1.0, 3, 4, 8]})
    >>> smf.ols("y ~ within(x, study) + between(x, study)", data).fit().params.round(3).tolist()
    [1.636, 2.0, 0.727]
    """
    return _evaluated(_Within, x, study, _state)


def _no_variables(*_args: Any, **_keywords: Any) -> Iterable[Any]:
    return ()


# What the two engines look for on a function. One function serves both, and can be pickled by name.
for _function, _kind in ((between, _Between), (within, _Within)):
    vars(_function).update(
        __patsy_stateful_transform__=_kind,
        __is_stateful_transform__=True,
        get_required_variables=_no_variables,
    )
