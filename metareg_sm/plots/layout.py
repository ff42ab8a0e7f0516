"""The one layout of figures that are tables with a panel of intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from metareg_sm._typing import Array
from metareg_sm.exceptions import OptionError
from metareg_sm.plots.canvas import (
    INK,
    LARGEST,
    MM,
    SMALLEST,
    WIDTHS,
    box_in_points,
    broken,
    check_axes,
    figure_of,
    new_figure,
    width_in_mm,
)
from metareg_sm.plots.table import Table, sides_in_one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# in sizes of the text: from row to row, between columns, around everything
_LINE, _GAP, _EDGE = 1.5, 1.2, 0.5
# share of the width that the intervals have at least, and while text is larger than so many points
_PANEL, _WIDE_PANEL, _READABLE = 0.22, 0.34, 6.0
# mm that they have in a figure without a given width
_WISHED = 62.0
# from line to line of a heading, and from the axis to the labels below it
HEADING, _TICKS = 1.4, 2.2


@dataclass(frozen=True, slots=True)
class Layout:
    """A table that has its place.

    Attributes
    ----------
    figure, host, panel : Figure, Axes, Axes
        The figure, the axes of the texts, and those of the intervals within them.
    size : float
        Of the text, in points.
    y : ndarray, (n,)
        Middle of each row in the panel.
    table : Table
        With the lines that texts were broken into.
    x : mapping
        Left end of each column in points, by its key; "panel" and "end", too.
    unit : float
        Height of a row in points.
    """

    figure: Figure
    host: Axes
    panel: Axes
    size: float
    y: Array
    table: Table
    x: Mapping[str, float]
    unit: float


def _broken(table: Table, ax: Axes, room: float) -> Table:
    """The table with the texts of its first column in lines that are no wider than `room`."""
    if not table.columns:
        return table
    key = table.columns[0].key
    return _in_lines(table, ax, key, room, [r.kind != "text" for r in table.rows])


def _spanning(table: Table, ax: Axes, room: float, size: float) -> Table:
    """The table with the texts that run across broken into lines."""
    return _in_lines(table, ax, "", room / size, [r.kind == "text" for r in table.rows])


def _in_lines(table: Table, ax: Axes, key: str, room: float, wanted: Sequence[bool]) -> Table:
    """The table with the texts of one key broken into lines, and rows high enough for them."""
    rows = list(table.rows)
    for bold in (False, True):
        which = [
            i
            for i, row in enumerate(rows)
            if wanted[i] and row.bold == bold and row.cells.get(key, "")
        ]
        rooms = [room - rows[i].indent for i in which]
        texts = broken(ax, [rows[i].cells[key] for i in which], rooms, bold)
        for i, text in zip(which, texts, strict=True):
            height = max(rows[i].height, 1.0 + 0.9 * text.count("\n"))
            rows[i] = replace(rows[i], cells={**rows[i].cells, key: text}, height=height)
    return replace(table, rows=rows)


@dataclass(frozen=True, slots=True)
class _Solved:
    table: Table
    widths: list[float]
    size: float


def _fixed(n_columns: int) -> float:
    """What columns take beside their texts, for text of 1 point."""
    return 2.0 * _EDGE + _GAP * n_columns


def _solve(table: Table, ax: Axes, width: float, size: float) -> _Solved:
    """The largest text up to `size` with which the table is no wider than `width` points."""
    room = width * (1.0 - _PANEL)
    widths = table.widths(ax)
    fixed = _fixed(len(widths))
    if (sum(widths) + fixed) * _READABLE > room:
        table = table.with_short_headings(ax)
        widths = table.widths(ax)
    if (sum(widths) + fixed) * SMALLEST > room and widths:
        # the names of the studies in several lines
        own = max(room / SMALLEST - fixed - sum(widths[1:]), 4.0)
        table = _broken(table, ax, own)
        widths = table.widths(ax)
    needed = sum(widths) + fixed
    wide = width * (1.0 - _WIDE_PANEL) / needed
    size = min(size, max(wide, min(_READABLE, room / needed)))
    if size < SMALLEST * 0.999:
        least = np.ceil(needed * SMALLEST / (1.0 - _PANEL) / MM)
        raise OptionError(
            f"The columns of this figure need {least:.0f} mm; there are {width / MM:.0f}. Give a "
            "greater width (or wider axes), or leave columns out."
        )
    return _Solved(table, widths, size)


def _margins(table: Table, ax: Axes, width: float) -> tuple[float, float]:
    """Room below and above the rows, in sizes of the text, for a width in the same."""
    lines = int(table.sides is not None) * (1 if sides_in_one_line(table, ax, width) else 2)
    headings = table.heading_lines
    if table.sides_above:
        # above the headings, which stand beside the panel
        headings, lines = headings + lines, 0
    return _TICKS + 1.4 * bool(table.xlabel) + 1.3 * lines, HEADING * headings + 0.6


def lay_out(table: Table, ax: Axes | None = None, width: Any = None) -> Layout:
    """Find the sizes of a table, in a figure of its own or in given axes.

    Parameters
    ----------
    table : Table
    ax : Axes, optional
        Filled by the table; without them the figure is as high as the rows need.
    width : float or str, optional
        Of a figure of its own, in mm; by default what the columns need.

    Raises
    ------
    OptionError
        If the table does not fit with text that can be read.
    """
    base = LARGEST if sum(r.height for r in table.rows) <= 60 else LARGEST - 1.0
    probe = _probe() if check_axes(ax) is None else ax
    assert probe is not None
    if ax is None:
        if width is None:
            widths = table.widths(probe)
            points = (sum(widths) + _fixed(len(widths))) * base + _WISHED * MM
            points = max(points, WIDTHS["column"] * MM)
        else:
            points = width_in_mm(width) * MM
        solved = _solve(table, probe, points, base)
        below, above = _margins(solved.table, probe, points / solved.size)
        spanned = _spanning(solved.table, probe, points - 2 * _EDGE * solved.size, solved.size)
        unit = _LINE * solved.size
        height = sum(r.height for r in spanned.rows) * unit + (above + below + 1.0) * solved.size
        figure = new_figure(points / MM, height / MM)
        host = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    else:
        host, figure = ax, figure_of(ax)
        points, height = box_in_points(host)
        solved = _solve(table, host, points, base)
        below, above = _margins(solved.table, probe, points / solved.size)
        spanned = _spanning(solved.table, host, points - 2 * _EDGE * solved.size, solved.size)
        n = sum(r.height for r in spanned.rows)
        size = min(solved.size, height / (1.15 * n + above + below + 1.0))
        if size < SMALLEST * 0.8:
            needed = SMALLEST * 0.8 * (1.15 * n + above + below + 1.0) / MM
            raise OptionError(
                f"The rows of this figure need {needed:.0f} mm; the axes are {height / MM:.0f} mm "
                "high. Give higher axes, or none for a figure of its own."
            )
        solved = replace(solved, size=size)
        unit = (height - (above + below + 1.0) * size) / n
    return _placed(
        replace(solved, table=spanned), figure, host, (points, height), unit, above, below
    )


def _probe() -> Any:
    from matplotlib.figure import Figure

    return Figure().add_subplot()


def _placed(
    solved: _Solved,
    figure: Figure,
    host: Axes,
    box: tuple[float, float],
    unit: float,
    above: float,
    below: float,
) -> Layout:
    table, size = solved.table, solved.size
    width, height = box
    host.set_axis_off()
    host.set_xlim(0.0, width)
    host.set_ylim(height, 0.0)
    widths = [w * size for w in solved.widths]
    edge, gap = _EDGE * size, _GAP * size
    x, at = {}, edge
    for column, w in zip(table.left, widths, strict=False):
        x[column.key] = at
        at += w + gap
    x["panel"] = at
    at = width - edge
    for column, w in reversed(list(zip(table.right, widths[len(table.left) :], strict=True))):
        at -= w
        x[column.key] = at
        at -= gap
    x["end"] = at if table.right else width - edge - 0.6 * size
    heights = np.array([r.height for r in table.rows])
    ends = np.cumsum(heights)
    top = (0.5 + above) * size
    total = ends[-1] * unit
    place = (
        x["panel"] / width,
        1.0 - (top + total) / height,
        (x["end"] - x["panel"]) / width,
        total / height,
    )
    panel = host.inset_axes(place)
    panel.set_ylim(ends[-1], 0.0)
    panel.set_yticks([])
    panel.patch.set_visible(False)
    panel.spines[["top", "left", "right"]].set_visible(False)
    panel.spines["bottom"].set_linewidth(0.6)
    layout = Layout(
        figure, host, panel, size, ends - 0.5 * heights, table, MappingProxyType(x), unit
    )
    _write(layout, dict(zip((c.key for c in table.columns), widths, strict=True)), top)
    return layout


def _down(text: str) -> float:
    """From the middle of a line to its baseline: half the height of a capital."""
    return 0.0 if "\n" in text else 0.36


def _write(layout: Layout, widths: Mapping[str, float], top: float) -> None:
    table, size, host = layout.table, layout.size, layout.host
    style = {"fontsize": size, "color": INK, "linespacing": 1.15}
    for column in table.columns:
        left, width = layout.x[column.key], widths[column.key]
        place = {"left": left, "right": left + width, "center": left + 0.5 * width}[column.align]
        for i, line in enumerate(reversed(column.heading.split("\n"))):
            host.text(
                place,
                top - (0.7 + HEADING * i) * size,
                line,
                ha=column.align,
                va="baseline",
                fontweight="bold",
                **style,
            )
        for row, y in zip(table.rows, layout.y, strict=True):
            text = row.cells.get(column.key, "")
            if row.kind == "text" or not text:
                continue
            indent = row.indent * size if column is table.columns[0] else 0.0
            weight = "bold" if row.bold else "normal"
            host.text(
                place + indent,
                top + y * layout.unit + _down(text) * size,
                text,
                ha=column.align,
                va="baseline" if "\n" not in text else "center",
                fontweight=weight,
                **style,
            )
    for row, y in zip(table.rows, layout.y, strict=True):
        if row.kind == "text":
            text = row.cells[""]
            host.text(
                (_EDGE + row.indent) * size,
                top + y * layout.unit + _down(text) * size,
                text,
                ha="left",
                va="baseline" if "\n" not in text else "center",
                fontweight="bold" if row.bold else "normal",
                **style,
            )
    if table.rule and table.heading_lines:
        ends = [_EDGE * size, host.get_xlim()[1] - _EDGE * size]
        host.plot(ends, [top - 0.15 * size] * 2, color=INK, linewidth=0.6)
