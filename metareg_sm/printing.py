"""How results print: a title, a few aligned lines, and perhaps a table.

Records that know nothing of pandas print, too: tables are whatever has `to_string` and `to_html`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from html import escape
from itertools import islice
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

# rows and columns of a table that are shown before the middle is left out
_ROWS, _COLUMNS = 14, 8
# values of an array that are shown one by one
_FEW = 6


@dataclass(frozen=True, slots=True)
class Overview:
    """A title, lines of a label and what it says, and a table.

    Attributes
    ----------
    title : str
        What this is.
    lines : sequence of (str, str)
        Labels and what they say.
    frame : DataFrame, optional
        The table; numbers are shown with four digits.
    note : str
        What stands below.
    """

    title: str
    lines: Sequence[tuple[str, str]] = ()
    frame: pd.DataFrame | None = None
    note: str = ""

    def text(self) -> str:
        """As plain text, aligned."""
        width = max((len(label) for label, _ in self.lines), default=0) + 2
        shown = [self.title, *(f"{label:<{width}}{said}".rstrip() for label, said in self.lines)]
        if self.frame is not None and len(self.frame):
            shown.append(
                self.frame.to_string(
                    float_format=number,
                    na_rep="",
                    max_rows=_ROWS,
                    max_cols=_COLUMNS,
                    line_width=None,
                )
            )
        return "\n".join([*shown, *([self.note] if self.note else [])])

    def html(self) -> str:
        """As a paragraph and two tables."""
        rows = "".join(
            f"<tr><td>{escape(label)}</td><td>{escape(said)}</td></tr>"
            for label, said in self.lines
        )
        shown = [f"<p>{escape(self.title)}</p>"]
        if rows:
            shown.append(f"<table>{rows}</table>")
        if self.frame is not None and len(self.frame):
            limits: dict[str, Any] = {"max_rows": _ROWS, "max_cols": _COLUMNS}
            shown.append(self.frame.to_html(float_format=number, na_rep="", **limits))
        if self.note:
            shown.append(f"<p>{escape(self.note)}</p>")
        return "".join(shown)


class Printed:
    """A result that prints its overview, in notebooks as tables."""

    __slots__ = ()

    def overview(self) -> Overview:
        """What is printed: of a record its fields, and one table.

        The title is the first line of its documentation. The table is what `summary_frame()`
        gives, else the first field that is one.
        """
        documented = inspect.getdoc(type(self)) or type(self).__name__
        frame = self.summary_frame() if hasattr(self, "summary_frame") else None
        framed, lines = frame is not None, []
        for name, value in self._shown():
            if hasattr(value, "to_html") and hasattr(value, "columns"):
                frame = value if frame is None else frame
            elif not framed or np.ndim(value) == 0:
                lines.append((name, said(value)))
        return Overview(documented.partition("\n")[0].rstrip("."), lines, frame)

    def _shown(self) -> list[tuple[str, Any]]:
        """Fields of a record that say something to its reader, and their values."""
        names = [f.name for f in fields(self) if f.repr and not f.name.startswith("_")]  # type: ignore[arg-type]
        found = [(name, getattr(self, name)) for name in names]
        return [(n, v) for n, v in found if isinstance(v, Printed) or not is_dataclass(v)]

    def __repr__(self) -> str:
        return self.overview().text()

    def __str__(self) -> str:
        return self.overview().text()

    def _repr_html_(self) -> str:
        return self.overview().html()


def number(value: float) -> str:
    """A number with four digits, whole ones without a point.

    Examples
    --------
    >>> number(0.076348), number(13.0), number(1234.5678), number(1e-9)
    ('0.07635', '13', '1235', '1e-09')
    """
    return f"{value:.4g}" if np.isfinite(value) else str(float(value))


def said(value: Any) -> str:
    """A value of a record on one line.

    Examples
    --------
    >>> said(0.05), said(None), said(np.array([1.0, 2.5])), said(np.zeros(20))
    ('0.05', 'none', '1, 2.5', '20 values')
    """
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, Real) and not isinstance(value, bool):
        return number(float(value))
    if isinstance(value, Printed) and is_dataclass(value):
        return ", ".join(f"{name} {said(one)}" for name, one in value._shown())
    if hasattr(value, "items"):
        return _listed(value, [f"{label} {said(one)}" for label, one in _first(value.items())])
    if hasattr(value, "__len__") and not isinstance(value, str) and not hasattr(value, "_fields"):
        several = np.ndim(value) > 1 if isinstance(value, np.ndarray) else False
        return _listed(value, [] if several else [said(one) for one in _first(value)])
    found = str(value).partition("\n")[0]
    return {"None": "none", "True": "yes", "False": "no"}.get(found, found)


def _first(values: Iterable[Any]) -> list[Any]:
    return list(islice(values, _FEW + 1))


def _listed(value: Any, shown: Sequence[str]) -> str:
    """The values one by one, or how many there are."""
    if 0 < len(shown) <= _FEW or not len(value):
        return ", ".join(shown) or "none"
    shape = value.shape if isinstance(value, np.ndarray) else (len(value),)
    return f"{' x '.join(map(str, shape))} values"


def percent(alpha: float) -> str:
    """Coverage as it is written: 95 %.

    Examples
    --------
    >>> percent(0.05)
    '95 %'
    """
    return f"{100.0 * (1.0 - alpha):g} %"
