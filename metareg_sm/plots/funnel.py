"""Funnel plots: effects against their precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from metareg_sm._typing import Array
from metareg_sm.design.values import row_label
from metareg_sm.exceptions import OptionError, VarianceError
from metareg_sm.options import check_alpha, choose
from metareg_sm.plots.canvas import (
    COLOURS,
    GREY,
    INK,
    attach,
    dress,
    legend_above,
    single,
    thin_ticks,
)
from metareg_sm.plots.scale import Scale, Transform, scale_of, set_ticks
from metareg_sm.plots.scatter import chosen, make_room, name_points, points
from metareg_sm.plots.studies import column_of, has_moderators, is_number, names_of
from metareg_sm.postestimation.fitted import Fitted, Labelled, plain
from metareg_sm.stats.reference import critical_value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: levels of a contour-enhanced funnel plot, and their shades
LEVELS, SHADES = (0.10, 0.05, 0.01), ("#ffffff", "#d9d9d9", "#bdbdbd", "#f0f0f0")


@dataclass(frozen=True, slots=True)
class PrecisionAxis:
    """A vertical axis of funnel plots.

    Attributes
    ----------
    name, label : str
        What `yaxis=` calls it, and what stands beside it.
    of_se : callable
        From standard errors.
    to_se : callable
        Back.
    inverted : bool
        Whether the most precise studies, at the top, have the smallest values.
    """

    name: str
    label: str
    of_se: Callable[[Array], Array]
    to_se: Callable[[Array], Array]
    inverted: bool


AXES: MappingProxyType[str, PrecisionAxis] = MappingProxyType(
    {
        "se": PrecisionAxis("se", "Standard error", lambda s: s, lambda y: y, True),
        "variance": PrecisionAxis("variance", "Sampling variance", np.square, np.sqrt, True),
        "precision": PrecisionAxis(
            "precision", "Precision (1/SE)", lambda s: 1.0 / s, lambda y: 1.0 / y, False
        ),
    }
)
"""Vertical axes that follow from the sampling variances; "size" takes a column."""


def _standard_errors(fit: Fitted) -> Array:
    vi = fit.table.vi
    zero = np.flatnonzero(vi <= 0.0)
    if zero.size:
        label = row_label(fit.table.rows.labels, int(zero[0]))
        raise VarianceError(f"vi of {label} is 0: it has no place among the precisions.")
    return np.sqrt(vi)


def _sizes(fit: Fitted, size: str | None) -> Array:
    if size is None:
        raise OptionError("yaxis='size' needs size=, the column that has the sizes of the studies.")
    values = column_of(fit, size, "size")
    if not is_number(values) or values.isna().any() or (values <= 0).any():
        raise OptionError(f"size={size!r} must have a number above 0 for every study.")
    return values.to_numpy(dtype=float)


def funnel(
    results: Fitted | Labelled[Fitted],
    *,
    yaxis: str = "se",
    size: str | None = None,
    contours: bool | Sequence[float] = False,
    filled: Any = None,
    label: int | str | None = None,
    labels: str | Sequence[str] | None = None,
    transform: Transform = "auto",
    alpha: float = 0.05,
    width: float | str = "column",
    ax: Axes | None = None,
) -> Figure:
    """Funnel plot: effects, or residuals under moderators, against their precision.

    Parameters
    ----------
    results : results of any model
        A fit. With moderators the residuals are shown.
    yaxis : {"se", "variance", "precision", "size"}
        What the vertical axis has; the most precise studies are at the top.
    size : str, optional
        The column with the sizes of the studies, for yaxis="size".
    contours : bool or sequence of float, default False
        Shade where an effect has a p-value below 0.10, 0.05 and 0.01 (or other levels); the
        contour-enhanced funnel plot. By default the white triangle is where 95% of the studies of
        the pooled effect would be if there were no heterogeneity.
    filled : TrimAndFill, optional
        What `results.trim_and_fill()` returns; its added studies are shown as open circles.
    label : int or "all", optional
        Name so many studies, those with the largest residuals over their standard errors.
    labels : str or sequence of str, optional
        Columns that name the studies, as in `forest`.
    transform : {"auto", "exp", "tanh", "expit"}, callable, or None
        Of the effects, as in `forest`; residuals are shown as they are.
    alpha : float, default 0.05
        1 minus the coverage of the triangle.
    width : float or {"column", "page"}, default "column"
        Of a figure of its own, in mm.
    ax : Axes, optional
        Axes to draw in.

    Returns
    -------
    Figure
        `metareg_data`: one row a study: x (the effect or residual), shown, y, filled.

    Raises
    ------
    OptionError
        If an option is unknown, or contours are asked for residuals or sizes.
    VarianceError
        If a sampling variance is 0.

    References
    ----------
    Sterne, J. A. C., & Egger, M. (2001). Funnel plots for detecting bias in meta-analysis:
    Guidelines on choice of axis. Journal of Clinical Epidemiology, 54(10), 1046-1055.
    Peters, J. L., et al. (2008). Contour-enhanced meta-analysis funnel plots help distinguish
    publication bias from other causes of asymmetry. Journal of Clinical Epidemiology, 61(10),
    991-996.

    Examples
    --------
    >>> import metareg_sm
    >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
    >>> res = metareg_sm.MetaReg.from_formula("yi ~ 1", bcg, vi="vi").fit()
    >>> fig = res.plot_funnel(contours=True)
    >>> bool((fig.metareg_data["x"].to_numpy() == bcg["yi"]).all())
    True
    """
    fit = plain(results)
    alpha = check_alpha(alpha)
    se = _standard_errors(fit)
    by_size = isinstance(yaxis, str) and yaxis.lower() == "size"
    vertical = None if by_size else choose({**AXES, "size": None}, yaxis, "yaxis")
    moderated = has_moderators(fit)
    levels = _levels(contours, moderated, by_size)
    scale = Scale("Residual") if moderated else scale_of(fit, transform)
    center = 0.0 if moderated else float(np.asarray(fit.fittedvalues)[0])
    resid = fit.table.endog - np.asarray(fit.fittedvalues)
    x = resid if moderated else fit.table.endog
    y = _sizes(fit, size) if vertical is None else vertical.of_se(se)
    added_x, added_y = _added(fit, filled, moderated, vertical)
    all_x, all_y = np.concatenate([x, added_x]), np.concatenate([y, added_y])
    figure, ax, text = single(ax, width, 0.8)
    dress(ax, text, scale.label, str(size) if vertical is None else vertical.label)
    area = (text * np.clip(1.0 - 0.2 * np.log10(max(len(x) / 20.0, 1.0)), 0.55, 1.0) * 0.65) ** 2
    shown = scale.shown(all_x)
    if scale.log:
        ax.set_xscale("log")
    top, bottom = _vertical_limits(all_y, vertical)
    low, high = _horizontal_limits(all_x, center, se, levels, scale, alpha, vertical is not None)
    ax.set_ylim(bottom, top)
    ax.set_xlim(*scale.shown([low, high]))
    make_room(ax, shown, all_y, area, "y" if scale.log else "xy")
    if vertical is not None:
        _regions(ax, vertical, scale, center, levels, alpha, (low, high))
    reference = scale.shown_null if levels and scale.shown_null is not None else None
    if reference is not None:
        ax.axvline(reference, color=INK, linewidth=0.6, zorder=1.5)
    ax.axvline(
        float(scale.shown(center)), color=INK, linewidth=0.8, linestyle=(0, (4, 2)), zorder=1.6
    )
    points(ax, scale.shown(x), y, area, COLOURS[0], "studies", alpha=0.85, gid="studies")
    if len(added_x):
        points(
            ax,
            scale.shown(added_x),
            added_y,
            area,
            "white",
            "filled in",
            edgecolors=COLOURS[1],
            linewidths=0.9,
            alpha=1.0,
            gid="filled",
        )
    if scale.log:
        set_ticks(ax, text, True)
        thin_ticks(ax, text, "y")
    else:
        thin_ticks(ax, text)
    if levels or len(added_x):
        legend_above(ax, text)
    names = names_of(fit, labels)
    middle = float(scale.shown(center)) if reference is None else reference
    bottom, top = ax.get_ylim()
    line = np.column_stack([np.full(201, middle), np.linspace(bottom, top, 201)])
    which = chosen(label, np.abs(resid) / se)
    name_points(ax, scale.shown(x), y, names, which, area, text, line)
    data = pd.DataFrame(
        {
            "x": all_x,
            "shown": shown,
            "y": all_y,
            "filled": np.arange(len(all_x)) >= len(x),
        },
        index=[*names, *["filled in"] * len(added_x)],
    )
    return attach(figure, ax, data)


def _levels(contours: Any, moderated: bool, by_size: bool) -> tuple[float, ...]:
    """Levels of significance to be shaded, the largest first; none by default."""
    if contours is False or contours is None:
        return ()
    if moderated:
        raise OptionError(
            "contours show where effects are significant; with moderators the funnel plot shows "
            "residuals, of which none is tested. Leave contours out."
        )
    if by_size:
        raise OptionError("contours follow from standard errors; yaxis='size' has none.")
    found = LEVELS if contours is True else tuple(check_alpha(c, "contours") for c in contours)
    if not 1 <= len(found) <= 3:
        raise OptionError(f"contours takes one to three levels; got {contours!r}.")
    return tuple(sorted(found, reverse=True))


def _added(
    fit: Fitted, filled: Any, moderated: bool, vertical: PrecisionAxis | None
) -> tuple[Array, Array]:
    """Studies that trim and fill added, where there are any."""
    if filled is None:
        return np.empty(0), np.empty(0)
    filled = getattr(filled, "record", filled)
    missing = [n for n in ("y", "v", "X", "filled") if not hasattr(filled, n)]
    if missing:
        raise OptionError(
            f"filled must be what trim_and_fill() returns; got {type(filled).__name__}, which has "
            f"no {missing[0]!r}."
        )
    if vertical is None:
        raise OptionError("Studies that are filled in have no size; choose another yaxis.")
    new = np.asarray(filled.filled)
    y = np.asarray(filled.y)[new]
    if moderated:
        y = y - np.asarray(filled.X)[new] @ np.asarray(fit.params)
    return y, vertical.of_se(np.sqrt(np.asarray(filled.v)[new]))


def _vertical_limits(y: Array, vertical: PrecisionAxis | None) -> tuple[float, float]:
    """Top and bottom of the axis."""
    span = float(y.max() - y.min()) or float(abs(y.max())) or 1.0
    if vertical is not None and vertical.inverted:
        return 0.0, float(y.max()) + 0.06 * span
    return float(y.max()) + 0.06 * span, max(float(y.min()) - 0.06 * span, 0.25 * float(y.min()))


def _horizontal_limits(
    x: Array,
    center: float,
    se: Array,
    levels: tuple[float, ...],
    scale: Scale,
    alpha: float,
    region: bool,
) -> tuple[float, float]:
    ends = [float(x.min()), float(x.max()), center]
    if region:
        null = scale.null or 0.0
        middle, smallest = (null, levels[-1]) if levels else (center, alpha)
        reach = float(critical_value(smallest, None)) * float(se.max())
        spread = float(np.abs(x - middle).max())
        reach = min(reach * 1.05, 2.5 * spread) if spread > 0.0 else reach
        ends += [middle - reach, middle + reach]
    low, high = min(ends), max(ends)
    span = (high - low) or 1.0
    return low - 0.04 * span, high + 0.04 * span


def _regions(
    ax: Axes,
    vertical: PrecisionAxis,
    scale: Scale,
    center: float,
    levels: tuple[float, ...],
    alpha: float,
    ends: tuple[float, float],
) -> None:
    """The triangle about the pooled effect, or shades by p-value about no effect."""
    low, high = sorted(ax.get_ylim())
    # towards a precision of 0 the triangle is as wide as the axes
    heights = np.linspace(max(low, 1e-6 * high), high, 201)
    se = vertical.to_se(heights)
    ends = tuple(np.sort(scale_ends(ax, scale, ends)))
    if not levels:
        half = float(critical_value(alpha, None)) * se
        left, right = (scale.shown(np.clip(center + s * half, *ends)) for s in (-1.0, 1.0))
        ax.set_facecolor("#f0f0f0")
        ax.fill_betweenx(heights, left, right, color="white", linewidth=0.0, zorder=0.2)
        for side in (-1.0, 1.0):
            inside = (center + side * half > ends[0]) & (center + side * half < ends[1])
            ax.plot(
                scale.shown(center + side * half[inside]),
                heights[inside],
                color=GREY,
                linewidth=0.7,
                linestyle=(0, (1, 1.5)),
                zorder=1.4,
                gid="triangle",
            )
        return
    null = scale.null or 0.0
    names = [f"{a:g} < p < {b:g}" for a, b in zip(levels[1:], levels[:-1], strict=True)]
    names = [f"p > {levels[0]:g}", *names, f"p < {levels[-1]:g}"]
    shades = [*SHADES[: len(levels)], SHADES[-1]]
    ax.set_facecolor(shades[-1])
    # from the outside in, each region upon the last
    for level, shade in zip(reversed(levels), reversed(shades[:-1]), strict=True):
        half = float(critical_value(level, None)) * se
        left, right = (scale.shown(np.clip(null + s * half, *ends)) for s in (-1.0, 1.0))
        ax.fill_betweenx(
            heights, left, right, facecolor=shade, edgecolor=GREY, linewidth=0.3, zorder=0.2
        )
    for name, shade in zip(names, shades, strict=True):
        ax.fill_between([], [], [], facecolor=shade, edgecolor=GREY, linewidth=0.3, label=name)


def scale_ends(ax: Axes, scale: Scale, ends: tuple[float, float]) -> tuple[float, float]:
    """Ends of the horizontal axis as effects."""
    if scale.transform is None:
        low, high = ax.get_xlim()
        return float(low), float(high)
    return ends
