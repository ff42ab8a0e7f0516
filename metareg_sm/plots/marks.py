"""What is drawn in the panel of a table: squares, intervals, diamonds, bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from metareg_sm.plots.axis import Axis, label_axis
from metareg_sm.plots.canvas import GREY, INK, box_in_points
from metareg_sm.plots.layout import Layout
from metareg_sm.plots.scale import set_ticks
from metareg_sm.plots.styles import Style
from metareg_sm.plots.table import Row

# side of the largest square, half heights of diamonds and bars, diameter of the largest point of
# a cloud, in rows
_SQUARE, _DIAMOND, _BAR, _POINT = 0.72, 0.36, 0.16, 0.9


def draw(layout: Layout, axis: Axis, style: Style) -> None:
    """Draw every row, the lines of no effect and of the pooled effect, and the axis."""
    panel, size = layout.panel, layout.size
    if axis.scale.log:
        panel.set_xscale("log")
    panel.set_xlim(*axis.ends)
    _vertical_lines(layout, axis)
    for row, y in zip(layout.table.rows, layout.y, strict=True):
        DRAW[row.kind](layout, axis, style, row, float(y))
    _squares(layout, axis, style)
    panel.tick_params(labelsize=size, width=0.6, length=3.0, pad=1.5)
    set_ticks(panel, size, axis.scale.log)
    label_axis(layout, axis)


def _vertical_lines(layout: Layout, axis: Axis) -> None:
    """Lines of no effect and of the pooled effect; texts that run across interrupt them."""
    spans: list[list[float]] = []
    before = None
    for row, y in zip(layout.table.rows, layout.y, strict=True):
        top, bottom = y - 0.5 * row.height, y + 0.5 * row.height
        space = row.kind == "blank" and before == "text"
        before = row.kind
        if row.kind == "text" or space:
            continue
        if spans and abs(spans[-1][1] - top) < 1e-9:
            spans[-1][1] = bottom
        else:
            spans.append([top, bottom])
    null = axis.scale.null
    if null is not None and axis.low < null < axis.high:
        for top, bottom in spans:
            layout.panel.plot(
                [axis.scale.shown(null)] * 2, [top, bottom], color=GREY, linewidth=0.6, zorder=0.5
            )
    if np.isfinite(axis.reference):
        for top, bottom in spans:
            layout.panel.plot(
                [axis.shown(axis.reference)] * 2,
                [top, bottom],
                color=GREY,
                linewidth=0.6,
                linestyle=(0, (3, 2)),
                zorder=0.5,
                gid="reference",
            )


def _line(layout: Layout, axis: Axis, row: Row, y: float, colour: str, width: float) -> None:
    """An interval; an arrow where it goes on beyond the axis."""
    low, high = axis.shown(row.lower), axis.shown(row.upper)
    layout.panel.plot(
        [low, high],
        [y, y],
        color=colour,
        linewidth=width,
        solid_capstyle="butt",
        zorder=2.0,
        gid="interval",
    )
    _arrows(layout, axis, (row.lower, row.upper), y, colour)


def _arrows(layout: Layout, axis: Axis, ends: tuple[float, float], y: float, colour: str) -> None:
    """Arrows where an interval goes on beyond the axis."""
    lower, upper = ends
    for beyond, at, marker in (
        (lower < axis.low, axis.shown(lower), "<"),
        (upper > axis.high, axis.shown(upper), ">"),
    ):
        if beyond:
            layout.panel.plot(
                [at],
                [y],
                marker=marker,
                color=colour,
                markersize=0.45 * layout.size,
                markeredgewidth=0.0,
                clip_on=False,
                linestyle="none",
                zorder=3.0,
                gid="arrow",
            )


def _study(layout: Layout, axis: Axis, style: Style, row: Row, y: float) -> None:
    colour = row.colour or style.square
    _line(layout, axis, row, y, INK, 0.8)
    if np.isfinite(row.obs_lower):
        below = y + 0.3
        layout.panel.plot(
            [axis.shown(row.obs_lower), axis.shown(row.obs_upper)],
            [below, below],
            color=style.prediction,
            linewidth=0.8,
            zorder=1.5,
            solid_capstyle="butt",
            gid="prediction",
        )
    if np.isfinite(row.fitted):
        layout.panel.plot(
            [axis.shown(row.fitted)],
            [y + (0.3 if np.isfinite(row.obs_lower) else 0.0)],
            marker="D",
            markersize=0.34 * layout.size,
            markerfacecolor="white",
            markeredgecolor=style.prediction,
            markeredgewidth=0.8,
            linestyle="none",
            zorder=4.0,
            gid="fitted",
        )
    if not np.isfinite(row.share):
        layout.panel.plot(
            [axis.shown(row.estimate)],
            [y],
            marker="o",
            markersize=0.5 * layout.size,
            color=colour,
            linestyle="none",
            zorder=3.0,
            gid="estimate",
        )


def largest_area(layout: Layout) -> float:
    """Area of the square of the study with the largest weight, in square points."""
    return (_SQUARE * layout.unit) ** 2


def _squares(layout: Layout, axis: Axis, style: Style) -> None:
    """Squares of all studies: areas proportional to weights; none outside the axis."""
    found = [
        (axis.scale.shown(r.estimate), y, r.share, r.colour or style.square)
        for r, y in zip(layout.table.rows, layout.y, strict=True)
        if r.kind == "study" and np.isfinite(r.share) and axis.low <= r.estimate <= axis.high
    ]
    if not found:
        return
    x, y, share, colours = (list(column) for column in zip(*found, strict=True))
    layout.panel.scatter(
        x,
        y,
        s=np.array(share) * largest_area(layout),
        c=colours,
        marker="s",
        linewidths=0.0,
        zorder=3.0,
        gid="squares",
    )


def _diamond(layout: Layout, axis: Axis, style: Style, row: Row, y: float) -> None:
    low, middle, high = (axis.shown(x) for x in (row.lower, row.estimate, row.upper))
    layout.panel.fill(
        [low, middle, high, middle],
        [y, y - _DIAMOND, y, y + _DIAMOND],
        facecolor=row.colour or style.diamond,
        edgecolor=row.colour or style.diamond,
        linewidth=0.4,
        zorder=3.0,
        gid="diamond",
    )
    if row.lower < axis.low or row.upper > axis.high:
        _line(layout, axis, row, y, row.colour or style.diamond, 0.8)


def _prediction(layout: Layout, axis: Axis, style: Style, row: Row, y: float) -> None:
    colour = row.colour or style.prediction
    low, high = axis.shown(row.lower), axis.shown(row.upper)
    layout.panel.fill(
        [low, high, high, low],
        [y - _BAR, y - _BAR, y + _BAR, y + _BAR],
        facecolor=colour,
        linewidth=0.0,
        zorder=3.0,
        gid="prediction",
    )
    _line(layout, axis, row, y, colour, 0.8)


def with_room(layout: Layout, axis: Axis) -> Axis:
    """The axis with room for the whole of every square and point of a cloud."""
    found = [
        (
            np.append(row.cloud, row.estimate),
            0.5 * layout.unit * np.append(_POINT * np.sqrt(row.cloud_shares), _side(row)) + 1.0,
        )
        for row in layout.table.rows
        if row.kind in ("study", "cloud") and np.isfinite(row.estimate)
    ]
    if not found:
        return axis
    at, radius = (np.concatenate(part) for part in zip(*found, strict=True))
    share = np.minimum(radius / box_in_points(layout.panel)[0], 0.2)
    linear = axis.scale.transform is None or axis.scale.log
    first, last = (axis.low, axis.high) if linear else axis.ends
    at = at if linear else axis.scale.shown(at)
    low, high = float(first), float(last)
    # wider limits make marks wider, too
    for _ in range(5):
        span = high - low
        low = min(low, float((at - share * span).min()))
        high = max(high, float((at + share * span).max()))
    if linear:
        return replace(axis, low=low, high=high)
    return replace(axis, room=(float(first) - low, high - float(last))) if first < last else axis


def _side(row: Row) -> float:
    """Side of the square of a study, in rows."""
    return _SQUARE * float(np.sqrt(row.share)) if np.isfinite(row.share) else 0.0


def _cloud(layout: Layout, axis: Axis, style: Style, row: Row, y: float) -> None:
    """Studies of one level above their mean, its interval and its prediction interval."""
    panel, colour = layout.panel, row.colour or style.square
    spread = 0.3 * row.height
    inside = (row.cloud >= axis.low) & (row.cloud <= axis.high)
    # a low-discrepancy sequence instead of random numbers: the same figure each time
    offset = (np.arange(len(row.cloud)) * 0.6180339887498949 + 0.5) % 1.0 - 0.5
    order = np.argsort(np.argsort(row.cloud, kind="stable"), kind="stable")
    panel.scatter(
        axis.scale.shown(row.cloud[inside]),
        y + 2.0 * spread * offset[order][inside],
        s=row.cloud_shares[inside] * (_POINT * layout.unit) ** 2,
        color=colour,
        alpha=0.45,
        linewidths=0.0,
        zorder=1.5,
        gid="cloud",
    )
    for lower, upper, width in ((row.obs_lower, row.obs_upper, 1.0), (row.lower, row.upper, 3.2)):
        panel.plot(
            [axis.shown(lower), axis.shown(upper)],
            [y, y],
            color=INK,
            linewidth=width,
            solid_capstyle="butt",
            zorder=3.0,
            gid="interval",
        )
    _arrows(layout, axis, (row.obs_lower, row.obs_upper), y, INK)
    panel.plot(
        [axis.shown(row.estimate)],
        [y],
        marker="o",
        markersize=0.8 * layout.size,
        markerfacecolor=colour,
        markeredgecolor=INK,
        markeredgewidth=0.9,
        linestyle="none",
        zorder=4.0,
        gid="estimate",
    )


def _nothing(layout: Layout, axis: Axis, style: Style, row: Row, y: float) -> None:
    return


DRAW: Mapping[str, Callable[[Layout, Axis, Style, Row, float], None]] = MappingProxyType(
    {
        "study": _study,
        "diamond": _diamond,
        "prediction": _prediction,
        "cloud": _cloud,
        "text": _nothing,
        "blank": _nothing,
    }
)
"""How each kind of row is drawn."""
