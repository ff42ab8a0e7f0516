"""Formulas: where their names are found, what they drop, and what their errors mean."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from metareg_sm._compat import FormulaManager, handle_formula_data
from metareg_sm._typing import Mask
from metareg_sm.design.values import row_label
from metareg_sm.exceptions import DesignError, MetaRegError, OptionError
from metareg_sm.options import suggestion

NAME = re.compile(r"[^\W\d]\w*")
# a call, of which the arguments hold no other
_CALL = re.compile(r"[\w.]+\([^()]*\)")
_LIKE_NUMBER = re.compile(
    r"\s*[<>=~\u2264\u2265]*\s*[-+\u2212]?(\d[\d.,]*|[.,]\d+)([eE][-+]?\d+)?\s*%?\s*"
)
_MARKS = re.compile("[⧛⧚]")
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
    mentioned = dict.fromkeys(NAME.findall(formula_text(formula)))
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


def formula_text(formula: Any) -> str:
    """A formula as it was written."""
    return formula if isinstance(formula, str) else getattr(formula, "describe", formula.__str__)()


def mentioned_columns(frame: pd.DataFrame, formula: Any) -> dict[Any, pd.Series]:
    """Columns whose name occurs in the formula: all that it uses, and perhaps some more.

    Raises
    ------
    DesignError
        If two columns have the same name and the formula mentions it.
    """
    text = formula_text(formula)
    found = {}
    for name in frame.columns:
        if str(name) not in text:
            continue
        values = frame[name]
        if isinstance(values, pd.DataFrame):
            if name in NAME.findall(text) or not str(name).isidentifier():
                raise DesignError(f"data has two columns named {name!r}; the formula uses one.")
            continue
        found[name] = values
    return found


def used_columns(frame: pd.DataFrame, formula: Any) -> list[Any]:
    """Columns whose whole name occurs in the formula; names that are no identifiers, any part."""
    words = set(NAME.findall(formula_text(formula)))
    found = mentioned_columns(frame, formula)
    return [c for c in found if c in words or not str(c).isidentifier()]


def column_kinds(frame: pd.DataFrame, *formulas: Any) -> dict[Any, str]:
    """Columns that formulas use, and whether they are a "number" or a "label"; no dates."""
    used = dict.fromkeys(c for formula in formulas for c in used_columns(frame, formula))
    kinds = {"f": "number", "i": "number", "u": "number", "O": "label", "b": "label"}
    found = {c: kinds.get(getattr(frame[c].dtype, "kind", "O")) for c in used}
    return {c: kind for c, kind in found.items() if kind}


def refuse_numbers_as_text(formula: Any, columns: Mapping[Any, pd.Series]) -> None:
    """Refuse text whose values are mostly numbers, which would be a factor of many levels.

    Levels that are written in digits and come again and again, such as "1", "2" and "3", are a
    factor's. A column within C(), or passed to another function, is what its user says.

    Parameters
    ----------
    formula : str or object
        The formula.
    columns : mapping
        Columns that it mentions, by name.

    Raises
    ------
    DesignError
        If more than half of the different values of a column look like numbers; it names the row
        of one that does not.
    """
    bare, before = formula_text(formula), ""
    while bare != before:
        before, bare = bare, _CALL.sub(" ", bare)
    words = set(NAME.findall(bare))
    for name, values in columns.items():
        text = pd.api.types.is_object_dtype(values) or isinstance(values.dtype, pd.StringDtype)
        if name not in words or not text:
            continue
        levels = pd.Series(values.dropna().unique(), dtype=object)
        if not any(isinstance(value, str) for value in levels):
            continue
        like = levels.astype(str).str.fullmatch(_LIKE_NUMBER).to_numpy(dtype=bool)
        digits = bool(like.all()) and 2 * len(levels) <= int(values.notna().sum())
        if 2 * like.sum() > len(levels) and not digits:
            shown = levels[~like].iloc[0] if not like.all() else levels.iloc[0]
            row = row_label(values.index, int(values.isin([shown]).to_numpy(dtype=bool).argmax()))
            raise DesignError(
                f"column {name!r} is text, though {like.sum()} of its {len(levels)} different "
                f"values look like numbers; {row} has {shown!r}. Use pd.to_numeric(data[{name!r}], "
                f"errors='coerce') for numbers, or C({name}) in the formula for a factor."
            )


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
        left = formula_text(formula).partition("~")[0].strip()
        raise DesignError(
            f"The outcome {left!r} of the formula is not one column of numbers. Text, truth values "
            "and sums of columns cannot be outcomes."
        ) from error


def explained(
    error: Exception, formula: Any, frame: pd.DataFrame, name: str | None = None
) -> DesignError:
    """An error of the formula engine in one sentence.

    Parameters
    ----------
    error : Exception
        What the engine raised.
    formula : str or object
        The formula.
    frame : DataFrame
        The user's table.
    name : str, optional
        What to call the formula, where the user did not write it as it is.

    Returns
    -------
    DesignError
    """
    written = formula_text(formula)
    named = f"The formula {written!r}" if name is None else name
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    found = _UNKNOWN.search(text)
    if found is None:
        # engines repeat the formula and underline the place
        lines = [line for line in text.splitlines() if not _UNDERLINED.fullmatch(line)]
        if name is not None:
            lines = [line for line in lines if _MARKS.sub("", line).strip() != written.strip()]
        said = " ".join(lines)
        return DesignError(f"{named} cannot be evaluated: {' '.join(said.split())}")
    unknown = next(group for group in found.groups() if group)
    columns = [str(c) for c in frame.columns]
    hint = " With `import numpy as np` the formula finds it." if unknown == "np" else ""
    return DesignError(
        f"{named} uses {unknown!r}, which is neither a column of the data nor a name where the "
        f"formula was written.{suggestion(unknown, columns)}{hint} "
        f"The columns are {', '.join(columns)}."
    )


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
