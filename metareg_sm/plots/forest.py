"""The forest plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from metareg_sm.design.groups import group_codes
from metareg_sm.exceptions import OptionError
from metareg_sm.options import check_alpha, choose
from metareg_sm.plots import marks
from metareg_sm.plots.axis import Axis, axis_for, data_columns
from metareg_sm.plots.canvas import attach
from metareg_sm.plots.forest_rows import SPACE, Content, blocks_of, summary_of
from metareg_sm.plots.layout import lay_out
from metareg_sm.plots.moderators import sorted_levels
from metareg_sm.plots.scale import Transform, decimals_for, scale_of
from metareg_sm.plots.studies import (
    Columns,
    column_of,
    has_moderators,
    headings_of,
    is_number,
    names_of,
    order_of,
    studies_of_fit,
    texts_of,
)
from metareg_sm.plots.styles import STYLES, Style
from metareg_sm.plots.table import Column, Row, Table
from metareg_sm.postestimation.fitted import Fitted, Labelled, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def forest(
    results: Fitted | Labelled[Fitted],
    *,
    by: str | None = None,
    order: str | None = None,
    labels: str | Sequence[str] | None = None,
    left: Columns = (),
    right: Columns = (),
    fitted: bool | None = None,
    prediction: bool | None = None,
    at: Any = None,
    heterogeneity: bool = True,
    transform: Transform = "auto",
    xlim: tuple[float, float] | None = None,
    xlabel: str | None = None,
    favours: tuple[str, str] | None = None,
    alpha: float = 0.05,
    decimals: int | None = None,
    style: str = "plain",
    width: float | str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Forest plot: every study with its interval, and what the model makes of them.

    Parameters
    ----------
    results : results of any model
        A fit.
    by : str, optional
        A column whose levels are blocks (categories in their order, numbers ascending, others as
        they appear), each with its mean effect as a diamond, its heterogeneity
        and the test between them. Where the moderators of the model are constant within levels,
        the means are the model's, with the common tau2. A model without moderators is fitted to
        each level by itself, with the same estimator; the test is then Q of the means with weights
        1/se^2. Where moderators vary within levels, blocks have no diamond.
    order : str, optional
        A column, "effect", "weight" or "fitted"; with "-" before it descending.
    labels : str or sequence of str, optional
        Columns that name the studies. By default the index of the data or, where that only counts
        rows, the first column of texts that mostly differ.
    left, right : str, sequence or mapping
        Columns of the data beside the intervals; a mapping gives their headings.
    fitted : bool, optional
        The fitted value of each study; by default where there are moderators and no blocks.
    prediction : bool, optional
        Prediction intervals: a bar below the pooled effect, a line through each diamond, and where
        `fitted`, a line below each study. By default that of the pooled effect alone.
    at : mapping or DataFrame, optional
        Moderators at which the mean effect is shown as a diamond. Moderators that are not named
        are held at their mean, factors at their most frequent level.
    heterogeneity : bool, default True
        Lines on the heterogeneity and the tests.
    transform : {"auto", "exp", "tanh", "expit"}, callable, or None
        "auto" shows effects of a known measure (see `metareg_sm.effect_size`) on its natural
        scale: log odds ratios as odds ratios, on a logarithmic axis.
    xlim : (float, float), optional
        Ends of the axis as it is shown. Intervals beyond are cut and end in arrows.
    xlabel : str, optional
        Name of the axis.
    favours : (str, str), optional
        What the left and the right side of no effect mean.
    alpha : float, default 0.05
        1 minus the coverage of all intervals.
    decimals : int, optional
        Of the printed effects.
    style : {"plain", "jama", "bmj", "revman"}
        Columns, headings, numbers and colours as a journal prints them.
    width : float or {"column", "page"}, optional
        Of a figure of its own, in mm: 89 or 183 for a journal's column or page. By default what
        the columns need. Text shrinks to no less than 5 points.
    ax : Axes, optional
        Axes that the figure fills.

    Returns
    -------
    Figure
        `metareg_data`: one row a row that has an effect: kind ("study", "diamond", "prediction"),
        block, estimate, ci_lower, ci_upper, the same as shown, weight (a fraction), clipped, and y,
        the position in the panel.

    Raises
    ------
    OptionError
        If a column or a style does not exist, or the columns do not fit into the width.

    Notes
    -----
    Squares have areas proportional to the weights 1/(vi + tau2). Intervals of studies are normal.

    References
    ----------
    Lewis, S., & Clarke, M. (2001). Forest plots: trying to see the wood and the trees. BMJ,
    322(7300), 1479-1480.

    Examples
    --------
    >>> import metareg_sm
    >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
    >>> res = metareg_sm.MetaReg.from_formula("yi ~ 1", bcg, vi="vi").fit()
    >>> fig = res.plot_forest(by="alloc", left=["tpos", "cpos"], transform="exp")
    >>> fig.metareg_data.query("kind == 'diamond'")["shown"].round(3).tolist()
    [0.379, 0.582, 0.654, 0.489]
    """
    fit = plain(results)
    look: Style = choose(STYLES, style, "style")
    level = check_alpha(alpha)
    studies = studies_of_fit(fit, level)
    scale = scale_of(fit, transform)
    headings = {
        side: headings_of(given, side) for side, given in (("left", left), ("right", right))
    }
    chosen = {
        name: column_of(fit, name, side) for side, given in headings.items() for name in given
    }
    moderated = has_moderators(fit)
    show_fitted = (moderated and by is None) if fitted is None else bool(fitted)
    content = Content(
        fit,
        studies,
        names_of(fit, labels),
        {f"data:{name}": texts_of(values) for name, values in chosen.items()},
        scale,
        look,
        decimals_for(scale, studies.lower, studies.upper) if decimals is None else decimals,
        level,
        show_fitted,
        (not moderated and by is None) if prediction is None else bool(prediction),
    )
    positions = order_of(fit, studies, order)
    if by is None:
        rows = [content.study(i, 0.0) for i in positions]
        blocks = [""] * len(rows)
    else:
        known = sorted_levels(column_of(fit, by, "by"))
        codes, levels = group_codes(by, fit.table.rows, "by")
        place = np.array([known.index(level) for level in levels])
        rows, blocks = blocks_of(content, positions, place[codes], known, heterogeneity)
    if prediction is None and by is not None and not moderated:
        content = replace(content, prediction=True)
    summary, reference = summary_of(content, at, heterogeneity)
    if by is None and summary:
        rows.append(replace(SPACE, height=0.4))
        blocks.append("")
    rows, blocks = [*rows, *summary], [*blocks, *[""] * len(summary)]
    axis = axis_for(rows, scale, xlim, reference)
    label = scale.label if xlabel is None else xlabel
    table = Table(
        rows,
        *_columns(content, headings, chosen),
        xlabel=f"{label} (log scale)" if scale.log and xlabel is None else label,
        sides=_sides(favours),
        sides_above=look.favours_above,
        rule=look.rule,
    )
    layout = lay_out(table, ax, width)
    if xlim is None:
        axis = marks.with_room(layout, axis)
    marks.draw(layout, axis, look)
    return attach(layout.figure, layout.host, _data(layout.table.rows, layout.y, blocks, axis))


def _sides(favours: Any) -> tuple[str, str] | None:
    if favours is None:
        return None
    if isinstance(favours, str) or len(favours) != 2:
        raise OptionError(
            f"favours must be two texts, such as ('favours vaccine', 'favours control'); got "
            f"{favours!r}."
        )
    return str(favours[0]), str(favours[1])


def _columns(
    content: Content, headings: dict[str, dict[str, str]], chosen: dict[str, pd.Series]
) -> tuple[list[Column], list[Column]]:
    """Columns left and right of the intervals."""
    style = content.style
    built = {
        "estimate": Column(
            "estimate", style.interval_heading(content.scale.label, content.coverage), "right"
        ),
        "weight": Column("weight", style.weight_heading, "right"),
    }
    own = {
        side: [
            Column(f"data:{name}", heading, "right" if is_number(chosen[name]) else "left")
            for name, heading in given.items()
        ]
        for side, given in headings.items()
    }
    left = [Column("study", style.studies), *own["left"], *(built[b] for b in style.before)]
    return left, [*own["right"], *(built[b] for b in style.after)]


def _data(rows: list[Row], y: np.ndarray, blocks: list[str], axis: Axis) -> pd.DataFrame:
    keep = [i for i, row in enumerate(rows) if np.isfinite(row.estimate)]
    kept = [rows[i] for i in keep]
    shares = np.array([r.share for r in kept])
    frame = pd.DataFrame(
        {
            "kind": [r.kind for r in kept],
            "block": [blocks[i] for i in keep],
            **data_columns(kept, axis),
            "weight": shares / np.nansum(shares),
            "y": y[keep],
        },
        index=pd.Index([r.cells["study"].replace("\n", " ") for r in kept], name="row"),
    )
    return frame
