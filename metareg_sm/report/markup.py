"""Cells and tables of a page, their texts escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from metareg_sm.report.typeset import Symbol, pvalue

#: texts with more characters may break into lines
_LONG = 20


@dataclass(frozen=True, slots=True)
class Html:
    """What is HTML already, and not to be escaped."""

    text: str


Cell = str | float | int | Html | None


def cell(value: Any) -> str:
    """What stands in a cell: numbers with all their digits as their value."""
    if isinstance(value, Html):
        return value.text
    if value is None or value is pd.NA or value is pd.NaT:
        return ""
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return "" if np.isnan(number) else f'<data value="{number!r}">{_digits(number)}</data>'
    return escape(str(value))


def _digits(value: float) -> str:
    """Four significant digits; whole numbers in full."""
    size = abs(value)
    if value == 0.0 or not np.isfinite(value):
        return f"{value:g}"
    if size < 1e15 and value.is_integer():
        return f"{value:.0f}"
    return f"{value:.1f}" if 1e3 <= size < 1e7 else f"{value:#.4g}"


def _classes(cell: Cell, *kinds: str) -> str:
    """Classes of a cell with text: long ones may break into lines."""
    if not isinstance(cell, str):
        return ""
    names = [*kinds, *(["long"] if len(cell) > _LONG else [])]
    return f' class="{" ".join(names)}"' if names else ""


def table(headings: Sequence[Cell], rows: Iterable[Sequence[Cell]], kind: str = "") -> str:
    """A table whose first column names the rows; its texts are escaped."""
    lines = []
    words: set[int] = set()
    for first, *others in rows:
        words |= {j for j, c in enumerate(others, start=1) if isinstance(c, str)}
        cells = [f"<td{_classes(c, 't')}>{cell(c)}</td>" for c in others]
        lines.append(
            f'<tr><th scope="row"{_classes(first)}>{cell(first)}</th>{"".join(cells)}</tr>'
        )
    head = "".join(
        f'<th scope="col"{" class=t" if j in words else ""}>{cell(h)}</th>'
        for j, h in enumerate(headings)
    )
    thead = f"<thead><tr>{head}</tr></thead>\n" if headings else ""
    body = "\n".join(lines)
    # a region that scrolls must be within reach of a keyboard
    return (
        f'<div class="scroll {kind}" tabindex="0"><table>\n{thead}<tbody>\n{body}\n</tbody>'
        "</table></div>"
    )


def p_cell(p: float) -> Html:
    """A p-value as journals print it, with all its digits as its value."""
    if np.isnan(p):
        return Html("")
    equation = pvalue(p)
    sign = "" if equation.relation == "=" else f"{escape(equation.relation)} "
    return Html(f'<data value="{float(p)!r}">{sign}{equation.number.text}</data>')


def interval_cell(low: float, high: float) -> Html:
    """The ends of an interval."""
    return Html(f"{cell(float(low))} to {cell(float(high))}")


def named(symbol: Symbol, rest: str = "") -> Html:
    """A symbol, and text after it."""
    return Html(symbol.html + escape(rest))
