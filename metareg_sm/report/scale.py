"""On which scale a report gives its numbers, and at which moderators its predictions."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from metareg_sm._typing import Array
from metareg_sm.design.terms import Terms
from metareg_sm.exceptions import DesignError, OptionError
from metareg_sm.postestimation.fitted import Fitted
from metareg_sm.report.typeset import decimals_for

_WORD = re.compile(r"[^\W\d]\w*(?!\w*\s*\()")
_FACTOR = re.compile(r"(?:C\((?P<inside>\w+)(?:,.*)?\)|(?P<column>\w+))\[T\.(?P<level>.+)\]")


@dataclass(frozen=True, slots=True)
class Scale:
    """How the numbers of a fit are shown.

    Attributes
    ----------
    outcome : str
        What the model explains, in words.
    exponentiate : bool
        Coefficients are shown as exp(b).
    shown : str
        What effects are once they are taken back.
    back : callable or None
        Takes effects back; None leaves them on the scale of the model.
    transform : str or None
        What figures of the fit call this scale.
    """

    outcome: str
    exponentiate: bool
    shown: str
    back: Callable[[Array], Array] | None
    transform: str | None

    def values(self, effects: npt.ArrayLike) -> Array:
        """Effects as they are shown."""
        values = np.asarray(effects, dtype=float)
        return values if self.back is None else np.asarray(self.back(values), dtype=float)

    def interval(self, effects: npt.ArrayLike) -> tuple[float, float]:
        """Ends of an interval as they are shown; a falling transformation swaps them."""
        low, high = np.sort(self.values(effects))
        return float(low), float(high)


def _lower(label: str) -> str:
    """A label of an axis within a sentence."""
    words = label.split(" (", maxsplit=1)[0].split()
    return " ".join(w if w.endswith("'s") else w.lower() for w in words)


def scale_of(fit: Fitted, exponentiate: bool | None) -> Scale:
    """The scale of a report.

    Parameters
    ----------
    fit : Fitted
        The fit.
    exponentiate : bool or None
        Whether to show ratios; None does so where the measure of the outcomes is known to be a
        logarithm, and takes effects of other measures back to their natural scale.
    """
    measure = fit.measure
    outcome = fit.terms.outcome if measure is None else f"the {measure.title} ({fit.terms.outcome})"
    logarithm = measure is not None and measure.back is np.exp
    transform = {None: "auto", True: "exp", False: None}[exponentiate]
    if exponentiate or (exponentiate is None and logarithm):
        shown = _lower(measure.natural_label) if measure is not None and logarithm else "ratio"
        return Scale(outcome, True, shown, np.exp, transform)
    plain = "effect" if measure is None else _lower(measure.label)
    if exponentiate is None and measure is not None and measure.back and not measure.sized:
        return Scale(outcome, False, _lower(measure.natural_label), measure.natural, transform)
    return Scale(outcome, False, plain, None, transform)


# --- names -------------------------------------------------------------------------------------


def term_name(term: str) -> str:
    """A term as a text calls it: a factor by its column."""
    return re.sub(r"\bC\((\w+)(?:,[^()]*(?:\([^()]*\))?)?\)", r"\1", term)


def coefficient_names(fit: Fitted) -> list[str]:
    """Coefficients as a text calls them: a level of a factor beside its reference.

    A name of another form stays as it is in the summary.
    """
    names = list(fit.terms.names)
    found = {name: m for name in names if (m := _FACTOR.fullmatch(name)) and "]:" not in name}
    levels: dict[str, list[str]] = {}
    for match in found.values():
        levels.setdefault(match["inside"] or match["column"], []).append(match["level"])
    frame = fit.table.rows.frame

    def text(name: str, match: re.Match[str] | None) -> str:
        if match is None:
            return name
        column = match["inside"] or match["column"]
        if frame is None or column not in frame.columns:
            return name
        others = {str(v) for v in frame[column].unique()} - set(levels[column])
        return f"{column} {match['level']} against {others.pop()}" if len(others) == 1 else name

    return [text(name, found.get(name)) for name in names]


# --- where predictions are made ----------------------------------------------------------------


def _is_number(values: pd.Series) -> bool:
    kind = values.dtype
    return pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind)


def _continuous(values: pd.Series, factors: Collection[str] = ()) -> bool:
    """Whether a moderator is a number of more than two values, and no factor by C()."""
    return _is_number(values) and values.nunique() > 2 and str(values.name) not in factors


def _factors(terms: Terms) -> list[str]:
    return re.findall(r"\bC\((\w+)", " ".join(terms.of_columns()))


def _typical(values: pd.Series, factors: Collection[str] = ()) -> Any:
    """The mean of numbers, as it is printed; the most frequent level of a factor."""
    if _continuous(values, factors):
        return float(round(float(values.mean()), decimals_for(float(values.std()))))
    return values.value_counts(sort=False).idxmax()


def _all_terms(fit: Fitted) -> list[Terms]:
    """Of the mean and, where it has moderators, of the heterogeneity."""
    scale = getattr(fit, "scale_terms", None)
    return [fit.terms] if scale is None else [fit.terms, scale]


def _columns(terms: Terms, frame: pd.DataFrame) -> list[Any]:
    """Columns of the data that the moderators are made of, in the order of the model."""
    text = " ".join(terms.of_columns())
    words = set(_WORD.findall(text))
    found = [
        c for c in frame.columns if (str(c) in words if str(c).isidentifier() else str(c) in text)
    ]
    return sorted(found, key=lambda c: text.index(str(c)))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a prediction is made.

    Attributes
    ----------
    exog : object
        What `get_prediction` takes.
    transform : bool
        Whether it goes through the formula.
    stated : sequence of mappings
        For each prediction the moderators by name.
    """

    exog: Any
    transform: bool
    stated: Sequence[Mapping[str, Any]]


def typical_place(fit: Fitted) -> Place | None:
    """Moderators at their means (rounded as they are stated), factors at their commonest level.

    None where the moderators are no plain columns of the data.
    """
    terms, table = fit.terms, fit.table
    frame = table.rows.frame
    if terms.spec is None or frame is None:
        columns = {n: pd.Series(table.exog[:, j]) for j, n in enumerate(terms.names)}
        row = {n: 1.0 if j == terms.constant else _typical(c) for j, (n, c) in _counted(columns)}
        stated = {n: v for j, (n, v) in _counted(row) if j != terms.constant}
        return Place(np.array([list(row.values())], dtype=float), False, [stated])
    names = list(dict.fromkeys(c for t in _all_terms(fit) for c in _columns(t, frame)))
    factors = [c for t in _all_terms(fit) for c in _factors(t)]
    values = {c: _typical(frame[c], factors) for c in names}
    exog = pd.DataFrame({c: pd.Series([v], dtype=_kept(frame[c])) for c, v in values.items()})
    try:
        for each in _all_terms(fit):
            each.new_rows(exog)
    except DesignError:
        return None
    return Place(exog, True, [{str(c): v for c, v in values.items()}])


def continuous_moderators(fit: Fitted) -> list[Any]:
    """Columns of the data, or of the arrays, that are moderators with more than two values."""
    frame, terms = fit.table.rows.frame, fit.terms
    if terms.spec is None or frame is None:
        X = fit.table.exog
        return [n for j, n in enumerate(terms.names) if _continuous(pd.Series(X[:, j]))]
    factors = _factors(terms)
    return [c for c in _columns(terms, frame) if _continuous(frame[c], factors)]


def _counted(mapping: Mapping[str, Any]) -> Any:
    return enumerate(mapping.items())


def _kept(values: pd.Series) -> Any:
    return values.dtype if not _is_number(values) else float


def stated_place(fit: Fitted, at: Any) -> Place:
    """Moderators that the user states, in the terms of the model.

    Raises
    ------
    OptionError
        If they are neither a mapping nor a data frame, nor, for a model of arrays, numbers.
    """
    terms = fit.terms
    constant = None if terms.constant is None else terms.names[terms.constant]
    if isinstance(at, Mapping):
        scalar = all(np.ndim(v) == 0 for v in at.values())
        at = pd.DataFrame(dict(at), index=[0] if scalar else None)
    if isinstance(at, pd.DataFrame):
        rows = at.to_dict("records")
        stated = [{str(n): v for n, v in row.items() if n != constant} for row in rows]
        return Place(at, True, stated)
    if terms.spec is not None or not isinstance(at, (np.ndarray, list, tuple)):
        example = terms.of_columns()[-1]
        raise OptionError(
            f"at must map moderators to values, such as {{{example!r}: [1, 2]}}, or be a data "
            f"frame; got {type(at).__name__}."
        )
    values = np.atleast_2d(np.asarray(at))
    stated = [
        {n: v for n, v in zip(terms.names, row, strict=False) if n != constant} for row in values
    ]
    return Place(at, True, stated)
