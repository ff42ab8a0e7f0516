"""The radial plot: effects over their standard errors, against their precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from metareg_sm._typing import Array
from metareg_sm.options import check_alpha
from metareg_sm.plots.canvas import (
    COLOURS,
    INK,
    PALE,
    attach,
    box_in_points,
    dress,
    single,
    text_widths,
    thin_ticks,
)
from metareg_sm.plots.scale import Scale, Transform, log_steps, minus, scale_of
from metareg_sm.plots.scatter import chosen, name_points, points
from metareg_sm.plots.studies import has_moderators, names_of
from metareg_sm.postestimation.fitted import Fitted, Labelled, plain
from metareg_sm.stats.reference import critical_value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def radial(
    results: Fitted | Labelled[Fitted],
    *,
    label: int | str | None = None,
    labels: str | Sequence[str] | None = None,
    transform: Transform = "auto",
    alpha: float = 0.05,
    width: float | str = "column",
    ax: Axes | None = None,
) -> Figure:
    """Radial (Galbraith) plot: effects over their standard errors, against their precision.

    Parameters
    ----------
    results : results of any model
        A fit. With moderators the residuals take the place of the effects.
    label : int or "all", optional
        Name so many studies, those farthest from the line.
    labels : str or sequence of str, optional
        Columns that name the studies, as in `forest`.
    transform : {"auto", "exp", "tanh", "expit"}, callable, or None
        Of the effects at the arc.
    alpha : float, default 0.05
        The band has 1 - alpha of the studies if the model holds.
    width : float or {"column", "page"}, default "column"
        Of a figure of its own, in mm.
    ax : Axes, optional
        Axes to draw in.

    Returns
    -------
    Figure
        `metareg_data`: one row a study: x = 1/sqrt(vi + tau2), y = x times the effect, and effect.

    Notes
    -----
    The slope of a line from the origin through a study is its effect, which the arc at the right
    shows; that through the middle of the band is the pooled effect. Standard errors include the
    heterogeneity.

    References
    ----------
    Galbraith, R. F. (1988). Graphical display of estimates having differing standard errors.
    Technometrics, 30(3), 271-281.
    """
    fit = plain(results)
    crit = float(critical_value(check_alpha(alpha), None))
    moderated = has_moderators(fit)
    scale = Scale("Residual") if moderated else scale_of(fit, transform)
    fitted = np.asarray(fit.fittedvalues)
    effect = fit.table.endog - fitted if moderated else fit.table.endog
    slope = 0.0 if moderated else float(fitted[0])
    x = 1.0 / np.sqrt(fit.regression.variances)
    y = x * effect
    figure, ax, text = single(ax, width, 0.85)
    dress(ax, text, "Precision (1/SE)", f"{'Residual' if moderated else 'Effect'} / SE")
    area = (0.65 * text * np.clip(1.0 - 0.2 * np.log10(max(len(x) / 20.0, 1.0)), 0.55, 1.0)) ** 2
    right = float(x.max()) * 1.04
    points(ax, x, y, area, COLOURS[0], alpha=0.85)
    reach = [*y, -crit, crit, slope * right - crit, slope * right + crit]
    span = max(reach) - min(reach)
    ax.set_ylim(min(reach) - 0.08 * span, max(reach) + 0.08 * span)
    arc, end = _arc(figure, ax, scale, x, effect, slope, text, 0.5 * float(np.sqrt(area)) + 1.5)
    line = np.array([0.0, end])
    ax.fill_between(
        line, slope * line - crit, slope * line + crit, color=PALE, linewidth=0.0, zorder=0.5
    )
    ax.plot(line, slope * line, color=INK, linewidth=0.9, zorder=1.0)
    names = names_of(fit, labels)
    far = np.abs(y - slope * x)
    name_points(ax, x, y, names, chosen(label, far), area, text, arc)
    data = pd.DataFrame({"x": x, "y": y, "effect": effect}, index=names)
    return attach(figure, ax, data)


def _arc(
    figure: Figure,
    ax: Axes,
    scale: Scale,
    precision: Array,
    effect: Array,
    slope: float,
    text: float,
    radius: float,
) -> tuple[Array, float]:
    """An arc about the origin, beyond the studies, that the line of each effect meets at its value.

    Left of a study there is room for the `radius` of its point, in points.

    Returns
    -------
    places : ndarray, (n, 2)
        Points of the arc and of its labels.
    end : float
        Where the line of the slope meets it.
    """
    from matplotlib.ticker import MaxNLocator

    low, high = float(effect.min()), float(effect.max())
    ticks = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    if scale.log:
        ticks = np.log(log_steps(float(np.exp(low)), float(np.exp(high)), 5))
    texts = [minus(f"{float(scale.shown(t)):.3g}") for t in ticks]
    room = (float(text_widths(ax, texts).max(initial=0.0)) + 1.2) * text
    # labels of the axes change with their ends, and the room beside them with those
    margin = 0.0
    for _ in range(2):
        figure.draw_without_rendering()
        across, up = box_in_points(ax)
        bottom, top = ax.get_ylim()
        free = across - min(room, 0.4 * across) - margin
        # so far to the right that a circle through there passes outside of every study
        rise = np.abs(precision * effect) * up / (top - bottom)
        beside = np.sqrt(np.maximum(1.0 - (rise / free) ** 2, 0.1))
        right = 1.04 * float((precision / beside).max())
        margin = max(radius - float(precision.min()) / right * free, 0.0)
        ax.set_xlim(-margin * right / free, (across - margin) * right / free)
        thin_ticks(ax, text)
    for _ in range(2):
        figure.draw_without_rendering()
    across, up = box_in_points(ax)
    # one unit up over one unit across, in points
    unit = up / (top - bottom) / (across / np.ptp(ax.get_xlim()))

    def at(slopes: Array, radius: float) -> tuple[Array, Array]:
        x = radius / np.sqrt(1.0 + (slopes * unit) ** 2)
        return x, slopes * x

    ends = np.tan(np.linspace(np.arctan(low * unit), np.arctan(high * unit), 100)) / unit
    arc = np.column_stack(at(ends, right))
    ax.plot(*arc.T, color=INK, linewidth=0.7, zorder=1.2, gid="arc")
    last = -np.inf
    step = 1.25 * text * (top - bottom) / up
    for tick, name in zip(ticks, texts, strict=True):
        x, y = at(np.array([tick]), right)
        inside = low <= tick <= high and bottom + 0.5 * step < y[0] < top - 0.5 * step
        if not inside or y[0] - last < step:
            continue
        last = y[0]
        dash = at(np.array([tick]), right * 1.012)
        ax.plot([x[0], dash[0][0]], [y[0], dash[1][0]], color=INK, linewidth=0.7)
        ax.text(
            dash[0][0] + 0.3 * text * ax.get_xlim()[1] / across,
            dash[1][0],
            name,
            fontsize=text,
            va="center",
            ha="left",
            gid="arc label",
        )
    labels = arc + np.array([room * 0.6 * ax.get_xlim()[1] / across, 0.0])
    return np.concatenate([arc, labels]), float(at(np.array([slope]), right)[0][0])
