"""The axis of the panel of a table: its ends, its labels, and what it shows of numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from metareg_sm._typing import Array
from metareg_sm.exceptions import OptionError
from metareg_sm.plots.canvas import INK, text_widths
from metareg_sm.plots.layout import HEADING, Layout
from metareg_sm.plots.scale import Scale, limits_of
from metareg_sm.plots.table import Row, side_texts, sides_in_one_line


@dataclass(frozen=True, slots=True)
class Axis:
    """The axis of a panel.

    Attributes
    ----------
    scale : Scale
    low, high : float
        Its ends, before the transformation.
    reference : float
        A pooled effect, for a dashed line; NaN for none.
    room : (float, float)
        Beyond the ends, as shown, on an axis that is no linear one of the effects.
    """

    scale: Scale
    low: float
    high: float
    reference: float = np.nan
    room: tuple[float, float] = (0.0, 0.0)

    @property
    def ends(self) -> Array:
        """Ends of the axis as shown."""
        return self.scale.shown([self.low, self.high]) + np.array([-1.0, 1.0]) * self.room

    def shown(self, value: float) -> float:
        """A value as shown, moved to the nearer end where it is outside."""
        return float(self.scale.shown(min(max(value, self.low), self.high)))


def axis_for(
    rows: list[Row], scale: Scale, xlim: Any = None, reference: float = np.nan, null: bool = True
) -> Axis:
    """The axis that rows need, or that the user asks for on the scale that is shown.

    Raises
    ------
    OptionError
        If `xlim` is not two ascending numbers.
    """
    if xlim is not None:
        try:
            low, high = (float(x) for x in xlim)
        except (TypeError, ValueError):
            low = high = np.nan
        if not low < high or not np.isfinite([low, high]).all():
            raise OptionError(
                f"xlim must be two ascending numbers, such as (0.1, 10); got {xlim!r}."
            )
        return Axis(scale, scale.effect(low), scale.effect(high), reference)
    marked = [r for r in rows if np.isfinite(r.estimate)]
    estimates, lower, upper = (
        np.array([getattr(r, name) for r in marked]) for name in ("estimate", "lower", "upper")
    )
    always = [x for r in marked for x in (*r.cloud, r.fitted)]
    low, high = limits_of(estimates, lower, upper, always)
    if null and scale.null is not None:
        span = high - low
        # no effect, unless the effects are far from it
        if low - 0.75 * span <= scale.null <= high + 0.75 * span:
            low, high = min(low, scale.null - 0.03 * span), max(high, scale.null + 0.03 * span)
    return Axis(scale, low, high, reference)


def data_columns(rows: list[Row], axis: Axis) -> dict[str, Array]:
    """What rows show, before and after the transformation, and what the axis cuts off."""
    names = ("estimate", "lower", "upper", "fitted", "obs_lower", "obs_upper")
    raw = {name: np.array([getattr(r, name) for r in rows]) for name in names}
    found = {
        "estimate": raw["estimate"],
        "ci_lower": raw["lower"],
        "ci_upper": raw["upper"],
        "shown": axis.scale.shown(raw["estimate"]),
        "shown_lower": axis.scale.shown(raw["lower"]),
        "shown_upper": axis.scale.shown(raw["upper"]),
        "clipped": (raw["lower"] < axis.low) | (raw["upper"] > axis.high),
    }
    for name in names[3:]:
        if np.isfinite(raw[name]).any():
            found[name] = raw[name]
    return found


def label_axis(layout: Layout, axis: Axis) -> None:
    """Name of the axis and labels of its two sides, within the width of the table."""
    table, size, host = layout.table, layout.size, layout.host
    width, height = host.get_xlim()[1], host.get_ylim()[0]
    left, right = layout.x["panel"], layout.x["end"]
    low, high = np.log(axis.ends) if axis.scale.log else axis.ends
    null = axis.scale.null
    middle = 0.5 * (left + right)
    if null is not None and axis.low < null < axis.high:
        shown = np.log(axis.scale.shown(null)) if axis.scale.log else axis.scale.shown(null)
        middle = left + float((shown - low) / (high - low)) * (right - left)
    y = height - 0.5 * size
    if table.xlabel:
        own = float(text_widths(host, [table.xlabel])[0]) * size
        centre = np.clip(0.5 * (left + right), 0.5 * own + 1.0, max(width - 0.5 * own - 1.0, 0.0))
        host.text(centre, y, table.xlabel, ha="center", va="bottom", fontsize=size, color=INK)
        y -= 1.4 * size
    texts = side_texts(table)
    if not texts:
        return
    first, second = text_widths(host, texts) * size
    gap = 0.5 * size
    edge = 0.3 * size
    start = max(middle - gap - first, edge)
    other = max(middle + gap, start + first + gap)
    other = min(other, width - second - edge)
    step = 0.0
    if sides_in_one_line(table, host, width / size):
        # where both were moved there is room for letters that come out wider than measured
        start = min(start, max(other - 1.3 * size - first, edge))
    else:
        step = 1.3 * size
    if table.sides_above:
        y = layout_top(layout) - HEADING * table.heading_lines * size
    style = {"va": "bottom", "fontsize": size, "color": INK}
    # each is anchored at the end that may touch the edge or the line of no effect
    if start <= edge + 1e-9:
        host.text(edge, y - step, texts[0], ha="left", **style)
    else:
        host.text(start + first, y - step, texts[0], ha="right", **style)
    if other + second >= width - edge - 1e-9:
        host.text(width - edge, y, texts[1], ha="right", **style)
    else:
        host.text(other, y, texts[1], ha="left", **style)


def layout_top(layout: Layout) -> float:
    """Where the headings stand, in points from the top."""
    box = layout.panel.get_window_extent()
    host = layout.host.get_window_extent()
    points = (host.y1 - box.y1) * 72.0 / layout.figure.dpi
    return float(points - 0.45 * layout.size)
