"""The rows, columns and texts of figures that are tables with a panel of intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from metareg_sm._typing import Array
from metareg_sm.plots.canvas import broken, text_widths

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Kind = Literal["study", "diamond", "prediction", "cloud", "text", "blank"]
Align = Literal["left", "right", "center"]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table.

    Attributes
    ----------
    kind : str
        What is drawn in the panel; "text" runs across all columns.
    cells : mapping
        Texts by the key of their column.
    estimate, lower, upper : float
        Effect and interval, before any transformation; NaN where there are none.
    share : float
        Weight over the largest weight of a study.
    fitted, obs_lower, obs_upper : float
        Fitted value and prediction interval; NaN where they are not shown.
    cloud, cloud_shares : ndarray
        Effects of many studies in one row, and their weights over the largest.
    bold : bool
    indent : float
        In sizes of the text.
    height : float
        In rows.
    colour : str, optional
    """

    kind: Kind
    cells: Mapping[str, str] = field(default_factory=dict)
    estimate: float = np.nan
    lower: float = np.nan
    upper: float = np.nan
    share: float = np.nan
    fitted: float = np.nan
    obs_lower: float = np.nan
    obs_upper: float = np.nan
    cloud: Array = field(default_factory=lambda: np.empty(0))
    cloud_shares: Array = field(default_factory=lambda: np.empty(0))
    bold: bool = False
    indent: float = 0.0
    height: float = 1.0
    colour: str | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """One column of texts."""

    key: str
    heading: str
    align: Align = "left"


@dataclass(frozen=True, slots=True)
class Table:
    """What is to be laid out: rows, columns left and right of the panel, texts around it.

    Attributes
    ----------
    rows : list of Row
    left, right : list of Column
    xlabel : str
        Of the panel.
    sides : tuple of str, optional
        Labels of the two sides of no effect.
    sides_above : bool
        Where they stand.
    rule : bool
        A line below the headings.
    """

    rows: list[Row]
    left: list[Column]
    right: list[Column]
    xlabel: str = ""
    sides: tuple[str, str] | None = None
    sides_above: bool = False
    rule: bool = True

    @property
    def columns(self) -> list[Column]:
        """All columns of texts."""
        return [*self.left, *self.right]

    @property
    def heading_lines(self) -> int:
        """Lines that the headings take."""
        return max((c.heading.count("\n") + 1 for c in self.columns if c.heading), default=0)

    def with_short_headings(self, ax: Axes) -> Table:
        """The table with headings in lines that are no wider than what stands below them."""
        bare = replace(
            self,
            left=[replace(c, heading="") for c in self.left],
            right=[replace(c, heading="") for c in self.right],
        )
        found = []
        for column, width in zip(self.columns, bare.widths(ax), strict=True):
            lines = column.heading.split("\n")
            heading = "\n".join(broken(ax, lines, [width] * len(lines), True))
            found.append(replace(column, heading=heading))
        n = len(self.left)
        return replace(self, left=found[:n], right=found[n:])

    def widths(self, ax: Axes) -> list[float]:
        """Widths of the columns for text of 1 point."""
        found = []
        for column in self.columns:
            widest = width_of(ax, column.heading.split("\n"), True)
            for bold in (False, True):
                rows = [r for r in self.rows if r.kind != "text" and r.bold == bold]
                texts = [r.cells.get(column.key, "") for r in rows]
                indent = max((r.indent for r in rows), default=0.0)
                own = width_of(ax, texts, bold)
                widest = max(widest, own + (indent if column is self.columns[0] else 0.0))
            found.append(widest)
        return found


def width_of(ax: Axes, texts: Sequence[str], bold: bool) -> float:
    """Width of the widest of some texts of 1 point."""
    return float(text_widths(ax, texts, bold).max(initial=0.0))


def sides_in_one_line(table: Table, ax: Axes, width: float) -> bool:
    """Whether the labels of the two sides stand beside each other in a width for 1 point."""
    return 1.06 * sum(text_widths(ax, side_texts(table))) + 1.5 <= width


def side_texts(table: Table) -> list[str]:
    """Labels of the two sides, with arrows."""
    if table.sides is None:
        return []
    return [f"\u2190 {table.sides[0]}", f"{table.sides[1]} \u2192"]
