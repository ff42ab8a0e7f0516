"""The orchard plot of a factor."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from metareg_sm.options import check_alpha, choose
from metareg_sm.plots import marks
from metareg_sm.plots.axis import axis_for
from metareg_sm.plots.canvas import COLOURS, attach
from metareg_sm.plots.layout import lay_out
from metareg_sm.plots.moderators import levels_of, moderator, rows_at, value_text
from metareg_sm.plots.scale import Transform, decimals_for, scale_of
from metareg_sm.plots.studies import predictions_at, weights_of
from metareg_sm.plots.styles import STYLES, Style
from metareg_sm.plots.table import Column, Row, Table
from metareg_sm.postestimation.fitted import Fitted, Labelled, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# height of the row of a level, in rows
_CLOUD = 3.4


def orchard(
    results: Fitted | Labelled[Fitted],
    factor: str,
    *,
    transform: Transform = "auto",
    xlim: tuple[float, float] | None = None,
    alpha: float = 0.05,
    style: str = "plain",
    width: float | str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Orchard plot: the studies of each level, their mean, its interval, the prediction interval.

    Parameters
    ----------
    results : results of any model
        A fit.
    factor : str
        A moderator with levels.
    transform, xlim, alpha, style, width, ax
        As in `forest`.

    Returns
    -------
    Figure
        `metareg_data`: one row a study (kind "study") and a level (kind "level"): level, estimate,
        ci_lower, ci_upper, obs_ci_lower, obs_ci_upper, weight.

    Raises
    ------
    OptionError
        If it is no moderator, or has too many values.

    Notes
    -----
    Thick lines are confidence intervals of the means, thin ones prediction intervals. Areas of
    points are proportional to the weights of the studies. Other moderators are held at their mean,
    factors at their most frequent level; points are the outcomes as they are.

    References
    ----------
    Nakagawa, S., et al. (2021). The orchard plot: Cultivating a forest plot for use in ecology,
    evolution, and beyond. Research Synthesis Methods, 12(1), 4-12.

    Examples
    --------
    >>> import metareg_sm
    >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
    >>> res = metareg_sm.MetaReg.from_formula("yi ~ alloc", bcg, vi="vi").fit()
    >>> fig = res.plot_orchard("alloc")
    >>> fig.metareg_data.query("kind == 'level'")["estimate"].round(3).tolist()
    [-0.966, -0.518, -0.429]
    """
    fit = plain(results)
    look: Style = choose(STYLES, style, "style")
    alpha = check_alpha(alpha)
    levels = levels_of(fit, factor, "factor")
    values = moderator(fit, factor, "factor").to_numpy()
    scale = scale_of(fit, transform)
    stated = pd.DataFrame({factor: levels})
    frame = predictions_at(fit, rows_at(fit, stated)).summary_frame(alpha)
    weights = weights_of(fit)
    lower, upper = frame["mean_ci_lower"].to_numpy(), frame["mean_ci_upper"].to_numpy()
    decimals = decimals_for(scale, lower, upper)
    rows, studies = [], []
    for j, name in enumerate(levels):
        which = values == name
        p = frame.iloc[j]
        middle = float(scale.shown(p["mean"]))
        low, high = np.sort(scale.shown([lower[j], upper[j]]))
        row = Row(
            "cloud",
            {
                "study": f"{value_text(name)} (k = {int(which.sum())})",
                "estimate": look.estimate(middle, float(low), float(high), decimals),
            },
            p["mean"],
            lower[j],
            upper[j],
            obs_lower=p["obs_ci_lower"],
            obs_upper=p["obs_ci_upper"],
            cloud=fit.table.endog[which],
            cloud_shares=weights[which] / weights.max(),
            height=_CLOUD,
            colour=COLOURS[j % len(COLOURS)],
        )
        rows.append(row)
        studies.append(
            pd.DataFrame(
                {
                    "kind": "study",
                    "level": name,
                    "estimate": row.cloud,
                    "weight": weights[which] / weights.sum(),
                },
                index=fit.table.rows.labels[which] if fit.table.rows.labels is not None else None,
            )
        )
    axis = axis_for(rows, scale, xlim)
    if xlim is None:
        ends = [x for r in rows for x in (r.obs_lower, r.obs_upper)]
        axis = replace(axis, low=min(axis.low, *ends), high=max(axis.high, *ends))
    heading = look.interval_heading(scale.label, f"{100 * (1 - alpha):g}")
    table = Table(
        rows,
        [Column("study", str(factor))],
        [Column("estimate", heading, "right")],
        xlabel=f"{scale.label} (log scale)" if scale.log else scale.label,
        rule=look.rule,
    )
    layout = lay_out(table, ax, width)
    if xlim is None:
        axis = marks.with_room(layout, axis)
    marks.draw(layout, axis, look)
    means = pd.DataFrame(
        {
            "kind": "level",
            "level": levels,
            "estimate": frame["mean"].to_numpy(),
            "ci_lower": lower,
            "ci_upper": upper,
            "obs_ci_lower": frame["obs_ci_lower"].to_numpy(),
            "obs_ci_upper": frame["obs_ci_upper"].to_numpy(),
            "y": layout.y,
        }
    )
    return attach(layout.figure, layout.host, pd.concat([means, *studies]))
