"""Several axes in one figure, or within given axes, so that nothing of them leaves its cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from metareg_sm.plots.canvas import (
    MM,
    box_in_points,
    break_labels,
    check_axes,
    figure_of,
    new_figure,
    text_size,
    width_in_mm,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Place = tuple[float, float, float, float]

# points between two cells
_GAP = 8.0


@dataclass(frozen=True, slots=True)
class Locator:
    """Places axes within others, in fractions of those; a class, so that figures can be pickled."""

    host: Axes
    place: Place

    def __call__(self, *_: Any) -> Any:
        """The place in fractions of the figure; the axes and the renderer are not needed."""
        from matplotlib.transforms import Bbox, TransformedBbox

        across = self.host.transAxes - figure_of(self.host).transFigure
        return TransformedBbox(Bbox.from_bounds(*self.place), across)


@dataclass(frozen=True, slots=True)
class Grid:
    """Axes in the cells of a host.

    Attributes
    ----------
    figure, host : Figure, Axes
        Where they stand.
    axes : list of Axes
    cells : list of (x, y, width, height)
        Their cells, in fractions of the host.
    size : float
        Size of text, in points.
    """

    figure: Figure
    host: Axes
    axes: list[Axes]
    cells: list[Place]
    size: float

    def settle(self) -> None:
        """Shrink the axes until their labels stand within their cells, too, and in line."""
        pad = 0.5 * _GAP * self.figure.dpi / 72.0
        for _ in range(2):
            for axes in self.axes:
                break_labels(axes)
            self.figure.draw_without_rendering()
            outer = [a.get_tightbbox() for a in self.axes]
            core = [a.get_window_extent() for a in self.axes]
            sides = np.array(
                [
                    (c.x0 - o.x0, c.y0 - o.y0, o.x1 - c.x1, o.y1 - c.y1)
                    for c, o in zip(core, outer, strict=True)
                ]
            )
            left, below, right, above = np.maximum(sides.max(axis=0), 0.0) + pad
            box = self.host.get_window_extent()
            for axes, (x, y, w, h) in zip(self.axes, self.cells, strict=True):
                place = (
                    x + left / box.width,
                    y + below / box.height,
                    max(w - (left + right) / box.width, 0.02),
                    max(h - (below + above) / box.height, 0.02),
                )
                axes.set_axes_locator(Locator(self.host, place))


def host_axes(ax: Axes | None, width: Any, ratio: float) -> tuple[Figure, Axes, float]:
    """Axes without a frame, of a figure of their own or given, and the size of their text."""
    if check_axes(ax) is None:
        across = width_in_mm(width)
        figure = new_figure(across, across * ratio)
        host = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    else:
        assert ax is not None
        host, figure = ax, figure_of(ax)
        across = box_in_points(host)[0] / MM
    host.set_axis_off()
    return figure, host, text_size(max(across, 89.0))


def grid(
    n: int, ax: Axes | None, width: Any, ratio: float = 0.8, narrow: int = 1, wide: int = 3
) -> Grid:
    """A grid of n axes; `ratio` is height over width of a cell.

    Parameters
    ----------
    n : int
        Number of axes.
    ax : Axes or None
        Given axes.
    width : float or str
        Of a figure of its own, in mm.
    ratio : float
        Height of a cell over its width.
    narrow, wide : int
        Columns up to 120 mm, and beyond.
    """
    check_axes(ax)
    across = width_in_mm(width) if ax is None else box_in_points(ax)[0] / MM
    columns = min(n, narrow if across < 120.0 else wide)
    rows = -(-n // columns)
    figure, host, size = host_axes(ax, width, ratio * rows / columns)
    w, h = 1.0 / columns, 1.0 / rows
    cells = [((j % columns) * w, 1.0 - (j // columns + 1) * h, w, h) for j in range(n)]
    axes = [host.inset_axes(cell) for cell in cells]
    return Grid(figure, host, axes, cells, size)
