"""Names of a design, and how new rows of it are made."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from metareg_sm._compat import FormulaManager, to_pandas
from metareg_sm._typing import Array
from metareg_sm.design.formula import (
    NAME,
    explained,
    formula_error,
    formula_text,
    mentioned_columns,
)
from metareg_sm.design.values import numeric, plain_columns, refuse_nested, row_label
from metareg_sm.exceptions import DesignError


@dataclass(frozen=True, eq=False)
class Terms:
    """Names of a design, and how new rows of it are made; it holds no data.

    Attributes
    ----------
    names : list of str
        Columns of the design, which are the names of the coefficients.
    outcome : str
        Name of the outcome.
    constant : int or None
        Column of the constant.
    formula : str or object or None
        The formula; None for a model of arrays.
    spec : object
        The formula engine's record of the right side.
    context : dict
        Names that the formula found where it was written.
    labelled : bool
        Whether a model of arrays has names that its user gave.
    kinds : mapping
        Columns that the formula uses, and whether they are a "number" or a "label" in the model.
    """

    names: list[str]
    outcome: str
    constant: int | None
    formula: Any = None
    spec: Any = field(default=None, repr=False)
    context: Mapping[str, Any] = field(default_factory=dict, repr=False)
    labelled: bool = False
    kinds: Mapping[Any, str] = field(default_factory=dict, repr=False)

    def of_columns(self) -> list[str]:
        """Term of each column of the design; without a formula each column is a term."""
        terms = list(self.names)
        if self.spec is None:
            return terms
        manager = FormulaManager()
        for term in self.spec.terms:
            label = manager.get_term_name(term)
            for j in range(len(terms))[manager.get_slice(self.spec, term)]:
                terms[j] = label
        return terms

    def new_rows(self, exog: Any, transform: bool = True) -> tuple[Array, pd.Index | None]:
        """Rows of the design for new moderators, and their labels; what is missing stays NaN.

        Parameters
        ----------
        exog : DataFrame, Series, mapping or array_like
            Moderators, in the terms of the formula where there is one and `transform` is True; a
            data frame for a model of arrays is matched by the names of its columns.
        transform : bool, default True
            Pass them through the formula.

        Raises
        ------
        DesignError
            If columns do not match, or a factor has a level that the model does not know.
        """
        if transform and self.spec is not None:
            frame = self._new_frame(exog)
            design = self._through_formula(frame)
            return design.to_numpy(dtype=float), design.index
        return self._as_given(exog)

    def _new_frame(self, exog: Any) -> pd.DataFrame:
        exog = to_pandas(exog)
        if isinstance(exog, pd.Series):
            is_column = isinstance(exog.name, str) and exog.name in NAME.findall(
                formula_text(self.formula)
            )
            return exog.to_frame() if is_column else exog.to_frame().T.infer_objects()
        if isinstance(exog, pd.DataFrame):
            return exog
        if isinstance(exog, Mapping):
            scalar = all(np.ndim(v) == 0 for v in exog.values())
            try:
                return pd.DataFrame(dict(exog), index=[0] if scalar else None)
            except ValueError as error:
                raise DesignError(f"exog is no table: {error}.") from error
        if isinstance(exog, np.ndarray) and exog.dtype.names:
            return pd.DataFrame.from_records(exog)
        raise DesignError(
            f"exog must be a data frame or a mapping with the moderators of the formula; got "
            f"{type(exog).__name__}. With transform=False it is an array of the design's columns."
        )

    def _through_formula(self, frame: pd.DataFrame) -> pd.DataFrame:
        numbered = frame.reset_index(drop=True)
        columns = mentioned_columns(frame, self.formula)
        for name, kind in self.kinds.items():
            if kind == "number" and name in columns:
                numbered[name] = numeric(columns[name], f"exog column {name!r}", frame.index)
        refuse_nested(columns, "exog column")
        for name, values in plain_columns(mentioned_columns(numbered, self.formula)).items():
            numbered[name] = values
        for name, kind in self.kinds.items():
            if kind == "label" and name in columns and numbered[name].dtype.kind in "fiuc":
                # numbers are no levels of words, for which an engine would multiply by them
                numbered[name] = numbered[name].astype(object).where(numbered[name].notna(), None)
        with warnings.catch_warnings():
            # formulaic makes a warning of a level that it does not know, and 0 of its columns
            warnings.filterwarnings("error", message="Data has categories outside")
            try:
                design = FormulaManager().get_matrices(
                    self.spec, numbered, eval_env=dict(self.context), pandas=True, prediction=True
                )
            # engines trip over columns of another type than the model's in ways of their own
            except (
                formula_error(),
                Warning,
                LookupError,
                NameError,
                TypeError,
                ValueError,
                AttributeError,
            ) as error:
                known = explained(error, self.formula, frame)
                raise DesignError(f"exog does not fit the formula of the model. {known}") from error
        if len(design.columns) != len(self.names):
            raise DesignError(
                "exog does not fit the formula of the model: it has a level that the model does "
                f"not know, or lacks one; its columns are {', '.join(map(str, design.columns))}."
            )
        # rows with missing values were dropped
        design = design.reindex(numbered.index)
        design.index = frame.index
        return design

    def _as_given(self, exog: Any) -> tuple[Array, pd.Index | None]:
        exog = to_pandas(exog)
        p = len(self.names)
        index = exog.index if isinstance(exog, (pd.DataFrame, pd.Series)) else None
        if isinstance(exog, pd.DataFrame):
            exog = self._matched(exog)
        elif isinstance(exog, pd.Series) and p > 1:
            index = pd.Index([exog.name])
        elif isinstance(exog, Mapping):
            raise DesignError(
                "exog is a mapping, which only a formula can read; give an array or a data frame "
                f"with the columns {', '.join(self.names)}."
            )
        values = numeric(exog, "exog", index)
        if values.ndim <= 1 and p == 1:
            values = values.reshape(-1, 1)
        values = np.atleast_2d(values)
        if values.ndim != 2 or values.shape[1] != p:
            raise DesignError(
                f"exog has {values.shape[-1]} columns; the model has {p} coefficients."
            )
        return values, index

    def _matched(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Columns in the order of the model's, by their names where both have names."""
        given = [str(c) for c in frame.columns]
        if not self.labelled or all(isinstance(c, (int, np.integer)) for c in frame.columns):
            return frame
        if sorted(given) == sorted(self.names):
            return frame.iloc[:, [given.index(name) for name in self.names]]
        absent = [name for name in self.names if name not in given]
        if len(absent) == len(self.names):
            return frame
        what = f"lacks {absent[0]!r}" if absent else "has columns that the model has not"
        raise DesignError(
            f"exog {what}: the model has the columns {', '.join(self.names)}, exog "
            f"{', '.join(given)}."
        )


def refuse_missing(rows: Array, labels: pd.Index | None) -> None:
    """Refuse rows of a design with a missing or infinite value.

    Raises
    ------
    DesignError
        Which names the row.
    """
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if bad.size:
        name = row_label(None, int(bad[0])) if labels is None else f"row {labels[bad[0]]!r}"
        raise DesignError(f"exog of {name} has a missing or infinite value.")
