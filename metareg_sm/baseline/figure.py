"""The figure of a regression on baseline risk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from metareg_sm.baseline.arms import SCALES
from metareg_sm.baseline.record import BaselineRisk, columns_of
from metareg_sm.plots.canvas import (
    COLOURS,
    GREY,
    INK,
    PALE,
    attach,
    dress,
    legend_above,
    single,
    thin_ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_baseline(found: BaselineRisk, ax: Axes | None, width: Any) -> Figure:
    """Ellipses of the studies, the line of no effect and both slopes; see `BaselineRisk.plot`."""
    from matplotlib.patches import Ellipse

    figure, ax, size = single(ax, width, ratio=1.0)
    x, y, vx, vy = columns_of(found.frame)
    sx, sy = np.sqrt(vx), np.sqrt(vy)
    for i in range(len(x)):
        ax.add_patch(
            Ellipse((x[i], y[i]), 2.0 * sx[i], 2.0 * sy[i], fc=PALE, ec=GREY, lw=0.6, alpha=0.7)
        )
    ax.plot(x, y, "o", color=INK, ms=0.3 * size, zorder=3)
    ends = np.array([(x - sx).min(), (x + sx).max()])
    level = float(found.naive_fit.params.iloc[0])
    for label, intercept, slope, colour, dash in (
        ("no effect", 0.0, 1.0, GREY, ":"),
        (f"model: {found.slope:.3g}", found.intercept, found.slope, COLOURS[0], "-"),
        (f"naive: {found.naive:.3g}", level, found.naive, COLOURS[1], "--"),
    ):
        ax.plot(ends, intercept + slope * ends, dash, color=colour, lw=1.2, label=label, zorder=2)
    label = SCALES[found.measure.lower()].label
    ax.margins(0.05)
    dress(ax, size, f"{label} of the controls", f"{label} of the treated")
    thin_ticks(ax, size)
    legend_above(ax, size)
    return attach(figure, ax, found.frame)
