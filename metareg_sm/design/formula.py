"""Formulas: where their names are found, what they drop, and new rows of their design."""

from __future__ import annotations

import re
import sys
import types
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from metareg_sm._compat import FormulaManager, handle_formula_data, to_pandas
from metareg_sm._typing import Array, Mask
from metareg_sm.design.values import numeric, plain_columns, row_label
from metareg_sm.exceptions import DesignError, MetaRegError, OptionError
from metareg_sm.options import suggestion

_NAME = re.compile(r"[^\W\d]\w*")
_UNDERLINED = re.compile(r"[\s^]+")
_UNKNOWN = re.compile(r"name '(\w+)' is not defined|`(\w+)` is not present")


def formula_error() -> type[Exception]:
    """The most general error of the formula engine in use; syntax errors are such, too."""
    own = FormulaManager().factor_evaluation_error.__mro__
    return [c for c in own if c not in Exception.__mro__][-1]


def formula_context(formula: Any, eval_env: Any, caller: types.FrameType) -> dict[str, Any]:
    """The names that a formula mentions, as they are where it was written.

    They are looked up once, when the model is made. Both formula engines take such a mapping, now
    and for predictions.

    Parameters
    ----------
    formula : str or object
        The formula.
    eval_env : None, int or mapping
        None or 1 is the caller, 2 the caller's caller and so on, -1 is nowhere; or the names
        themselves.
    caller : frame
        Of whoever wrote the formula.

    Returns
    -------
    dict
    """
    mentioned = dict.fromkeys(_NAME.findall(_text(formula)))
    if eval_env is None:
        eval_env = 1
    if not isinstance(eval_env, (int, np.integer)):
        names = getattr(eval_env, "namespace", eval_env)
        if not hasattr(names, "__getitem__") or isinstance(names, (str, bytes, list, tuple)):
            raise OptionError(
                "eval_env must be a number of frames or a mapping of names to what they stand for; "
                f"got {eval_env!r}."
            )
        return {name: names[name] for name in mentioned if name in names}
    if eval_env < 0:
        return {}
    frame: types.FrameType | None = caller
    for _ in range(int(eval_env) - 1):
        frame = None if frame is None else frame.f_back
    if frame is None:
        raise OptionError(f"eval_env={eval_env} is more frames than there are callers.")
    found = {}
    for name in mentioned:
        if name in frame.f_locals:
            found[name] = frame.f_locals[name]
        elif name in frame.f_globals:
            found[name] = frame.f_globals[name]
    return found


def next_frame(eval_env: Any) -> Any:
    """The `eval_env` that a function passes on, so that it means what its caller meant."""
    if eval_env is None:
        return 2
    whole = isinstance(eval_env, (int, np.integer)) and not isinstance(eval_env, bool)
    return eval_env + 1 if whole and eval_env >= 1 else eval_env


def _text(formula: Any) -> str:
    return formula if isinstance(formula, str) else getattr(formula, "describe", formula.__str__)()


def mentioned_columns(frame: pd.DataFrame, formula: Any) -> dict[Any, pd.Series]:
    """Columns whose name occurs in the formula: all that it uses, and perhaps some more.

    Raises
    ------
    DesignError
        If two columns have the same name and the formula mentions it.
    """
    text = _text(formula)
    found = {}
    for name in frame.columns:
        if str(name) not in text:
            continue
        values = frame[name]
        if isinstance(values, pd.DataFrame):
            if name in _NAME.findall(text) or not str(name).isidentifier():
                raise DesignError(f"data has two columns named {name!r}; the formula uses one.")
            continue
        found[name] = values
    return found


def used_columns(frame: pd.DataFrame, formula: Any) -> list[Any]:
    """Columns whose whole name occurs in the formula; names that are no identifiers, any part."""
    words = set(_NAME.findall(_text(formula)))
    found = mentioned_columns(frame, formula)
    return [c for c in found if c in words or not str(c).isidentifier()]


def missing_rows(formula: Any, frame: pd.DataFrame, context: Mapping[str, Any]) -> Mask:
    """Rows that the formula engine itself would drop."""
    try:
        _, mask, _ = handle_formula_data(frame, None, formula, depth=dict(context), missing="drop")
    except (ValueError, IndexError, KeyError):
        # some engines cannot build a design from no rows at all
        if frame[list(mentioned_columns(frame, formula))].isna().any(axis=1).all():
            return np.ones(len(frame), dtype=bool)
        raise
    return np.zeros(len(frame), dtype=bool) if mask is None else np.asarray(mask, dtype=bool)


def design_columns(formula: Any, frame: pd.DataFrame, context: Mapping[str, Any]) -> list[str]:
    """Columns of the right side of a formula."""
    (_, exog), *_ = handle_formula_data(frame, None, formula, depth=dict(context), missing="drop")
    return [str(c) for c in exog.columns]


def check_formula(formula: Any) -> None:
    """Refuse what is no formula with an outcome.

    Raises
    ------
    DesignError
    """
    if not isinstance(formula, str):
        if formula is not None and isinstance(formula, _formula_types()):
            return
        raise DesignError(
            f"The formula must be text such as 'yi ~ dose'; got {type(formula).__name__}."
        )
    left, tilde, right = formula.partition("~")
    if not formula.strip():
        raise DesignError("The formula is empty; write for instance 'yi ~ dose'.")
    if not (left.strip() and tilde):
        raise DesignError(
            f"The formula {formula!r} has no outcome; write 'outcome ~ moderators', such as "
            "'yi ~ dose', or 'yi ~ 1' for the pooled mean."
        )
    if not right.strip():
        raise DesignError(
            f"The formula {formula!r} has no right side; write 'yi ~ 1' for the pooled mean."
        )


def _formula_types() -> tuple[type, ...]:
    """Classes of formulas that the engines have made."""
    import patsy

    types_: tuple[type, ...] = (patsy.ModelDesc, patsy.DesignInfo)
    if "formulaic" in sys.modules:
        types_ += (sys.modules["formulaic"].Formula, sys.modules["formulaic"].ModelSpec)
    return types_


@contextmanager
def formula_faults(formula: Any, frame: pd.DataFrame) -> Iterator[None]:
    """Errors of the formula engine in one sentence of ours.

    Raises
    ------
    DesignError
    """
    try:
        yield
    except MetaRegError:
        raise
    except (formula_error(), NameError, TypeError) as error:
        raise explained(error, formula, frame) from error
    except ValueError as error:
        # the words of statsmodels' check of the left side
        if "endog has evaluated to" not in str(error):
            raise
        left = _text(formula).partition("~")[0].strip()
        raise DesignError(
            f"The outcome {left!r} of the formula is not one column of numbers. Text, truth values "
            "and sums of columns cannot be outcomes."
        ) from error


def explained(error: Exception, formula: Any, frame: pd.DataFrame) -> DesignError:
    """An error of the formula engine in one sentence.

    Parameters
    ----------
    error : Exception
        What the engine raised.
    formula : str or object
        The formula.
    frame : DataFrame
        The user's table.

    Returns
    -------
    DesignError
    """
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    found = _UNKNOWN.search(text)
    if found is None:
        # engines repeat the formula and underline the place
        said = " ".join(line for line in text.splitlines() if not _UNDERLINED.fullmatch(line))
        return DesignError(
            f"The formula {_text(formula)!r} cannot be evaluated: {' '.join(said.split())}"
        )
    name = next(group for group in found.groups() if group)
    columns = [str(c) for c in frame.columns]
    hint = " With `import numpy as np` the formula finds it." if name == "np" else ""
    return DesignError(
        f"The formula {_text(formula)!r} uses {name!r}, which is neither a column of the data nor "
        f"a name where the formula was written.{suggestion(name, columns)}{hint} The columns are "
        f"{', '.join(columns)}."
    )


@dataclass(frozen=True)
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
    """

    names: list[str]
    outcome: str
    constant: int | None
    formula: Any = None
    spec: Any = field(default=None, repr=False)
    context: Mapping[str, Any] = field(default_factory=dict, repr=False)
    labelled: bool = False

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
            is_column = isinstance(exog.name, str) and exog.name in _NAME.findall(
                _text(self.formula)
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
        for name, values in plain_columns(mentioned_columns(numbered, self.formula)).items():
            numbered[name] = values
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


def portable(context: Mapping[str, Any]) -> dict[str, Any]:
    """What of a formula's names can be pickled: modules by name, and functions of modules."""
    kept: dict[str, Any] = {}
    for name, value in context.items():
        if isinstance(value, types.ModuleType):
            kept[name] = ("module", value.__name__)
        elif isinstance(value, types.FunctionType):
            home = sys.modules.get(value.__module__)
            if home is not None and getattr(home, value.__qualname__, None) is value:
                kept[name] = ("function", value)
        elif isinstance(value, (int, float, str, np.number, np.ndarray, pd.Series)):
            kept[name] = ("value", value)
    return kept


def restored(context: Mapping[str, Any]) -> dict[str, Any]:
    """The names that `portable` kept."""
    return {
        name: sys.modules.get(value) if kind == "module" else value
        for name, (kind, value) in context.items()
    }
