"""How results print: a title, a few aligned lines, and perhaps a table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import pandas as pd

# rows of a table that are shown before the middle is left out
_ROWS = 14


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
                    float_format=number, na_rep="", max_rows=_ROWS, line_width=None
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
            shown.append(self.frame.to_html(float_format=number, na_rep="", max_rows=_ROWS))
        if self.note:
            shown.append(f"<p>{escape(self.note)}</p>")
        return "".join(shown)


class Printed(ABC):
    """A result that prints its overview, in notebooks as tables."""

    __slots__ = ()

    @abstractmethod
    def overview(self) -> Overview:
        """What is printed."""

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


def percent(alpha: float) -> str:
    """Coverage as it is written: 95 %.

    Examples
    --------
    >>> percent(0.05)
    '95 %'
    """
    return f"{100.0 * (1.0 - alpha):g} %"
