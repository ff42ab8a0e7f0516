"""The bubble plot of a continuous moderator, and its slopes along another one."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from metareg_sm._typing import Array
from metareg_sm.exceptions import OptionError
from metareg_sm.options import check_alpha
from metareg_sm.plots.canvas import (
    COLOURS,
    GREY,
    attach,
    dress,
    legend_above,
    single,
    thin_ticks,
)
from metareg_sm.plots.moderators import (
    data_of,
    levels_of,
    moderator,
    numbers_of,
    rows_at,
    value_text,
)
from metareg_sm.plots.scale import Scale, Transform, scale_of, set_ticks
from metareg_sm.plots.scatter import areas_of, chosen, make_room, name_points, points
from metareg_sm.plots.studies import names_of, predictions_at, weights_of
from metareg_sm.postestimation.fitted import Fitted, Labelled, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_POINTS = 101


def bubble(
    results: Fitted | Labelled[Fitted],
    x: str,
    *,
    by: str | None = None,
    at: Mapping[str, Any] | None = None,
    partial_residuals: bool = False,
    ci: bool = True,
    prediction: bool | None = None,
    label: int | str | None = None,
    labels: str | Sequence[str] | None = None,
    transform: Transform = None,
    alpha: float = 0.05,
    width: float | str = "column",
    ax: Axes | None = None,
) -> Figure:
    """Bubble plot: outcomes against a continuous moderator, with what the model expects.

    Parameters
    ----------
    results : results of any model
        A fit.
    x : str
        A continuous moderator: a column of the data, or of the array of moderators.
    by : str, optional
        A factor of the model: a line, and a colour, for each of its levels.
    at : mapping, optional
        One value for each of other moderators at which they are held. Those that are not named are
        held at their mean, factors at their most frequent level.
    partial_residuals : bool, default False
        Show the studies at these values, too: the line plus their residual. By default outcomes
        are shown as they are.
    ci : bool, default True
        The confidence band of the mean (dark).
    prediction : bool, optional
        The band of the true effects of new studies (light); by default where there is one line.
    label : int or "all", optional
        Name so many studies, those with the largest weighted residuals.
    labels : str or sequence of str, optional
        Columns that name the studies, as in `forest`.
    transform : {"auto", "exp", "tanh", "expit"}, callable, or None
        None shows the outcomes as they are, where the line is straight; "auto" shows a known
        measure on its natural scale, ratios on a logarithmic axis.
    alpha : float, default 0.05
        1 minus the coverage of the bands.
    width : float or {"column", "page"}, default "column"
        Of a figure of its own, in mm.
    ax : Axes, optional
        Axes to draw in.

    Returns
    -------
    Figure
        `metareg_data`: one row a study (kind "study": x, y, weight, area) and a point of a line
        (kind "line": x, y, ci_lower, ci_upper, obs_ci_lower, obs_ci_upper); `by` names the level.

    Raises
    ------
    OptionError
        If a name is no moderator, x is not continuous, or `at` has several values.

    Notes
    -----
    Areas are proportional to the weights 1/(vi + tau2).

    References
    ----------
    Thompson, S. G., & Higgins, J. P. T. (2002). How should meta-regression analyses be undertaken
    and interpreted? Statistics in Medicine, 21(11), 1559-1573.

    Examples
    --------
    >>> import metareg_sm
    >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
    >>> res = metareg_sm.MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
    >>> fig = res.plot_bubble("ablat")
    >>> int((fig.metareg_data["kind"] == "study").sum())
    13
    """
    fit = plain(results)
    alpha = check_alpha(alpha)
    values = numbers_of(fit, x, "x")
    scale = scale_of(fit, transform)
    held = _held(at, x, by)
    levels = [None] if by is None else levels_of(fit, by, "by")
    prediction = by is None if prediction is None else bool(prediction)
    names = names_of(fit, labels)
    weights = weights_of(fit)
    groups = [np.ones(len(values), bool)] if by is None else _members(fit, by, levels)
    outcome = _shown_outcomes(fit, x, by, held) if partial_residuals else fit.table.endog
    which = chosen(label, np.abs(fit.regression.resid))
    figure, ax, size = single(ax, width)
    dress(ax, size, str(x), scale.label)
    areas = areas_of(ax, weights, size)
    y = scale.shown(outcome)
    lines = []
    grid = np.linspace(values.min(), values.max(), _POINTS)
    for j, (name, members) in enumerate(zip(levels, groups, strict=True)):
        colour = COLOURS[j % len(COLOURS)]
        line = _line(fit, x, by, name, held, grid, alpha)
        _draw_line(ax, line, scale, colour, name, ci, prediction)
        lines.append(line.assign(kind="line", by=name))
        points(ax, values[members], y[members], areas[members], colour, alpha=0.55)
    if scale.log:
        ax.set_yscale("log")
    for band in ("obs_ci_lower", "obs_ci_upper") if prediction else ():
        ax.update_datalim(np.column_stack([grid, scale.shown(lines[0][band])]))
    if scale.log:
        make_room(ax, values, y, areas, "x")
        set_ticks(ax, size, True, "y")
        thin_ticks(ax, size, "x")
    else:
        make_room(ax, values, y, areas)
        thin_ticks(ax, size)
    if by is not None:
        legend_above(ax, size)
    name_points(ax, values, y, names, which, areas, size)
    studies = pd.DataFrame(
        {
            "kind": "study",
            "x": values,
            "y": outcome,
            "weight": weights / weights.sum(),
            "area": areas,
            "by": None if by is None else moderator(fit, by, "by").to_numpy(),
        },
        index=fit.table.rows.labels,
    )
    columns = {
        "mean": "y",
        "mean_ci_lower": "ci_lower",
        "mean_ci_upper": "ci_upper",
    }
    drawn = pd.concat(lines).drop(columns="mean_se").rename(columns=columns)
    return attach(figure, ax, pd.concat([studies, drawn]))


def _held(at: Any, x: str, by: str | None) -> dict[str, Any]:
    """Stated values of other moderators, one each."""
    if at is None:
        return {}
    if not isinstance(at, Mapping):
        raise OptionError(f"at must map moderators to values, as {{'dose': 10}}; got {at!r}.")
    for name, value in at.items():
        if name in (x, by):
            raise OptionError(f"at has {name!r}, which the figure shows at all its values.")
        if np.ndim(value) != 0:
            raise OptionError(f"at[{name!r}] must be one value; got {value!r}.")
    return dict(at)


def _members(fit: Fitted, by: str, levels: Sequence[Any]) -> list[Array]:
    values = moderator(fit, by, "by").to_numpy()
    return [values == level for level in levels]


def _stated(x: str, by: str | None, level: Any, held: Mapping[str, Any], grid: Any) -> pd.DataFrame:
    columns = {x: grid, **{name: [value] * len(grid) for name, value in held.items()}}
    if by is not None:
        columns[by] = level if isinstance(level, pd.Series) else [level] * len(grid)
    return pd.DataFrame(columns)


def _line(
    fit: Fitted,
    x: str,
    by: str | None,
    level: Any,
    held: Mapping[str, Any],
    grid: Array,
    alpha: float,
) -> pd.DataFrame:
    """Expected effects along the moderator, with their bands."""
    rows = rows_at(fit, _stated(x, by, level, held, grid))
    frame = predictions_at(fit, rows).summary_frame(alpha)
    return frame.reset_index(drop=True).assign(x=grid)


def _shown_outcomes(fit: Fitted, x: str, by: str | None, held: Mapping[str, Any]) -> Array:
    """Expected effects at the own value of x, other moderators held, plus the residuals."""
    data = data_of(fit).reset_index(drop=True)
    level = None if by is None else data[by]
    rows = rows_at(fit, _stated(x, by, level, held, data[x].to_numpy(dtype=float)))
    mean = predictions_at(fit, rows).predicted_mean
    return mean + fit.table.endog - np.asarray(fit.fittedvalues)


def _draw_line(
    ax: Axes, line: pd.DataFrame, scale: Scale, colour: str, name: Any, ci: bool, prediction: bool
) -> None:
    grid = line["x"]
    for show, kind, alpha in ((prediction, "obs", 0.10), (ci, "mean", 0.22)):
        if show:
            ax.fill_between(
                grid,
                scale.shown(line[f"{kind}_ci_lower"]),
                scale.shown(line[f"{kind}_ci_upper"]),
                color=colour,
                alpha=alpha,
                linewidth=0.0,
                zorder=1.0,
                gid=kind,
            )
    ax.plot(
        grid,
        scale.shown(line["mean"]),
        color=colour,
        linewidth=1.2,
        zorder=2.0,
        label="" if name is None else value_text(name),
    )


def simple_slopes(
    results: Fitted | Labelled[Fitted],
    moderator_name: str,
    partner: str,
    *,
    at: Mapping[str, Any] | None = None,
    alpha: float = 0.05,
    width: float | str = "column",
    ax: Axes | None = None,
) -> Figure:
    """Slopes of one moderator along another, and where they are significant.

    Parameters
    ----------
    results : results of any model
        A fit by formula.
    moderator_name : str
        The moderator whose slope is shown; it enters linearly.
    partner : str
        A continuous moderator that it interacts with.
    at : mapping, optional
        Values of further partners, one each.
    alpha : float, default 0.05
        Level of the pointwise tests, and 1 minus the coverage of the band.
    width : float or {"column", "page"}, default "column"
        Of a figure of its own, in mm.
    ax : Axes, optional
        Axes to draw in.

    Returns
    -------
    Figure
        `metareg_data`: the slopes along the partner: partner, slope, se, pvalue, ci_lower,
        ci_upper, significant; its `attrs["bounds"]` has the Johnson-Neyman bounds.

    Raises
    ------
    OptionError, DesignError
        As `results.simple_slopes` and its `johnson_neyman`.

    Notes
    -----
    The band is dark where the slope differs from 0 (Johnson-Neyman region). Dashed lines are the
    bounds within the range of the studies, whose values are the marks at the axis.

    References
    ----------
    Bauer, D. J., & Curran, P. J. (2005). Probing interactions in fixed and multilevel regression.
    Multivariate Behavioral Research, 40(3), 373-400.
    """
    from metareg_sm.postestimation.slopes import simple_slopes as slopes_at

    fit = plain(results)
    values = numbers_of(fit, partner, "partner")
    low, high = float(values.min()), float(values.max())
    others = _held(at, moderator_name, partner)
    first = slopes_at(fit, moderator_name, {partner: [low, high], **others}, alpha)
    found = first.johnson_neyman(partner)
    inside = [b for b in found.bounds if low < b < high]
    grid = np.unique(np.concatenate([np.linspace(low, high, _POINTS), inside]))
    data = slopes_at(fit, moderator_name, {partner: list(map(float, grid)), **others}, alpha).frame
    significant = np.zeros(len(grid), dtype=bool)
    for a, b in found.regions:
        significant |= (grid >= a) & (grid <= b)
    figure, ax, size = single(ax, width)
    dress(ax, size, str(partner), f"Slope of {moderator_name}")
    lower, upper = data["ci_lower"].to_numpy(), data["ci_upper"].to_numpy()
    edges = np.array([low, *inside, high])
    for a, b in itertools.pairwise(edges):
        piece = (grid >= a) & (grid <= b)
        middle = 0.5 * (a + b)
        dark = any(p <= middle <= q for p, q in found.regions)
        ax.fill_between(
            grid[piece],
            lower[piece],
            upper[piece],
            color=COLOURS[0] if dark else GREY,
            alpha=0.35 if dark else 0.18,
            linewidth=0.0,
            label=f"p < {found.alpha:g}" if dark else f"p \u2265 {found.alpha:g}",
        )
    ax.plot(grid, data["slope"], color=COLOURS[0], linewidth=1.2)
    ax.axhline(0.0, color=GREY, linewidth=0.6, zorder=0.5)
    for bound in inside:
        ax.axvline(bound, color=GREY, linewidth=0.8, linestyle=(0, (3, 2)))
    ends = ax.get_ylim()
    tick = 0.03 * (ends[1] - ends[0])
    ax.vlines(values, ends[0], ends[0] + tick, color=GREY, linewidth=0.5)
    ax.set_ylim(ends)
    thin_ticks(ax, size)
    handles = {h.get_label(): h for h in ax.get_legend_handles_labels()[0]}
    legend_above(ax, size, list(handles.values()))
    data = data.assign(significant=significant)
    data.attrs["bounds"] = found.bounds
    return attach(figure, ax, data)
