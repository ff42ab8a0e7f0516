"""The figure of a selection model: relative probabilities of publication by p-value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from metareg_sm._typing import Array
from metareg_sm.exceptions import OptionError
from metareg_sm.options import check_alpha
from metareg_sm.plots.canvas import COLOURS, GREY, INK, attach, dress, single, thin_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def selection(
    model: Any,
    *,
    intervals: Array | None = None,
    alpha: float = 0.05,
    width: float | str = "column",
    ax: Axes | None = None,
) -> Figure:
    """Relative probabilities of publication by p-value, as a selection model estimates them.

    Parameters
    ----------
    model : SelectionFit
        What `results.selection_model()` returns.
    intervals : ndarray, (J, 2), optional
        Intervals of the weights, such as profile likelihood ones; Wald intervals on the log scale
        by default.
    alpha : float, default 0.05
        1 minus the coverage of Wald intervals.
    width : float or {"column", "page"}, default "column"
        Of a figure of its own, in mm.
    ax : Axes, optional
        Axes to draw in.

    Returns
    -------
    Figure
        `metareg_data`: one row an interval of p: weight, ci_lower, ci_upper, studies.

    Raises
    ------
    OptionError
        If it is no selection model of one data set.

    Notes
    -----
    Intervals of p have equal widths on the axis, whatever their length. The first weight is 1 by
    definition; an arrow is an interval that goes on.
    """
    model = getattr(model, "record", model)
    steps = getattr(getattr(model, "step_function", None), "steps", None)
    weights = np.asarray(getattr(model, "weights", np.empty(0)), dtype=float)
    if steps is None or weights.ndim != 1 or len(weights) != len(steps):
        raise OptionError(
            f"This figure needs a selection model of one data set; got {type(model).__name__}."
        )
    given = model.conf_int_weights(check_alpha(alpha)) if intervals is None else intervals
    ends = np.asarray(given, dtype=float)
    if ends.shape != (len(weights), 2):
        raise OptionError(f"intervals must have the shape ({len(weights)}, 2); got {ends.shape}.")
    counts = np.asarray(model.counts, dtype=float)
    J = len(weights)
    figure, ax, size = single(ax, width)
    dress(ax, size, "p-value", "Relative probability of publication")
    finite = ends[np.isfinite(ends)]
    top = 1.12 * min(max([1.0, *weights, *finite]), 4.0 * max(1.0, weights.max()))
    ax.stairs(weights, np.arange(J + 1), color=COLOURS[0], linewidth=1.4, baseline=None)
    ax.axhline(1.0, color=GREY, linewidth=0.6, zorder=0.5)
    middle = np.arange(J) + 0.5
    for x, (low, high) in zip(middle[1:], ends[1:], strict=True):
        if np.isnan(low):
            continue
        ax.plot([x, x], [low, min(high, top)], color=INK, linewidth=0.9, zorder=2.0)
        if high > top:
            ax.plot([x], [top], marker="^", color=INK, markersize=0.5 * size, clip_on=False)
    ax.plot(middle, weights, marker="o", color=COLOURS[0], markersize=0.6 * size, linestyle="none")
    ax.set_xlim(0.0, J)
    ax.set_ylim(0.0, top)
    ax.set_xticks(np.arange(J + 1), ["0", *(f"{s:g}" for s in steps)])
    # the numbers of studies stand above the axes, where nothing is drawn
    for x, count in zip(middle, counts, strict=True):
        ax.text(
            x,
            1.015,
            f"k = {count:.0f}" if J <= 6 else f"{count:.0f}",
            transform=ax.get_xaxis_transform(),
            ha="center",
            va="bottom",
            fontsize=size,
        )
    thin_ticks(ax, size, "y")
    data = pd.DataFrame(
        {"weight": weights, "ci_lower": ends[:, 0], "ci_upper": ends[:, 1], "studies": counts},
        index=pd.Index(model.step_function.labels, name="p-value"),
    )
    return attach(figure, ax, data)
