"""The forest plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from metareg_sm._typing import Codes, Rows
from metareg_sm.design.groups import group_codes
from metareg_sm.exceptions import MetaRegError, OptionError
from metareg_sm.options import check_alpha, choose
from metareg_sm.plots import marks
from metareg_sm.plots.canvas import attach
from metareg_sm.plots.moderators import at_values, value_text
from metareg_sm.plots.scale import Scale, Transform, decimals_for, scale_of
from metareg_sm.plots.studies import (
    Columns,
    Studies,
    column_of,
    headings_of,
    is_number,
    names_of,
    order_of,
    studies_of_fit,
    texts_of,
)
from metareg_sm.plots.styles import STYLES, Style
from metareg_sm.plots.subgroups import q_text, summarise, tau2_text, test_text
from metareg_sm.plots.table import Column, Row, Table, lay_out
from metareg_sm.postestimation.fitted import Fitted, plain
from metareg_sm.postestimation.inference import omnibus_test
from metareg_sm.postestimation.prediction import predict_effects

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class _Content:
    """What the rows of a forest plot are made of."""

    fit: Fitted
    studies: Studies
    names: list[str]
    columns: dict[str, list[str]]
    scale: Scale
    style: Style
    decimals: int
    alpha: float
    fitted: bool
    prediction: bool

    @property
    def coverage(self) -> str:
        return f"{100.0 * (1.0 - self.alpha):g}"

    def estimate_text(self, value: float, lower: float, upper: float) -> str:
        """An estimate with its interval, on the scale that is shown."""
        shown = self.scale.shown([value, lower, upper])
        # a falling transformation swaps the ends
        low, high = np.sort(shown[1:])
        return self.style.estimate(float(shown[0]), float(low), float(high), self.decimals)

    def study(self, i: int, indent: float) -> Row:
        """The row of one study."""
        s = self.studies
        cells = {name: texts[i] for name, texts in self.columns.items()}
        cells |= {
            "study": self.names[i],
            "estimate": self.estimate_text(s.y[i], s.lower[i], s.upper[i]),
            "weight": self.style.weight(s.weights[i]),
        }
        row = Row(
            "study",
            cells,
            s.y[i],
            s.lower[i],
            s.upper[i],
            s.weights[i] / s.weights.max(),
            indent=indent,
        )
        if not self.fitted:
            return row
        p = s.predictions.iloc[i]
        row = replace(row, fitted=p["mean"])
        if not self.prediction:
            return row
        return replace(row, obs_lower=p["obs_ci_lower"], obs_upper=p["obs_ci_upper"], height=1.25)

    def diamond(self, name: str, numbers: Any, share: float | None, indent: float = 0.0) -> Row:
        """The row of a mean effect: estimate, interval, prediction interval."""
        estimate, lower, upper, obs_lower, obs_upper = (float(x) for x in numbers)
        cells = {"study": name, "estimate": self.estimate_text(estimate, lower, upper)}
        if share is not None:
            cells["weight"] = self.style.weight(share)
        return Row(
            "diamond",
            cells,
            estimate,
            lower,
            upper,
            obs_lower=obs_lower,
            obs_upper=obs_upper,
            bold=True,
            indent=indent,
        )

    def bar(self, row: Row) -> Row:
        """The prediction interval of a mean effect, in a row of its own."""
        ends = np.sort(self.scale.shown([row.obs_lower, row.obs_upper]))
        text = self.style.estimate(0.0, float(ends[0]), float(ends[1]), self.decimals)
        text = text[text.index(" ") + 1 :]
        cells = {"study": f"{self.coverage}% prediction interval", "estimate": text}
        return Row(
            "prediction",
            cells,
            row.estimate,
            row.obs_lower,
            row.obs_upper,
            indent=row.indent,
        )


def _numbers(frame: pd.DataFrame, i: int) -> list[float]:
    names = ("mean", "mean_ci_lower", "mean_ci_upper", "obs_ci_lower", "obs_ci_upper")
    return [frame[n].iloc[i] for n in names]


def _without_prediction(row: Row) -> Row:
    return replace(row, obs_lower=np.nan, obs_upper=np.nan)


def _note(text: str, indent: float = 0.0) -> Row:
    return Row("text", {"": text}, indent=indent)


_SPACE = Row("blank", height=0.6)


def _blocks(
    content: _Content, order: Rows, codes: Codes, levels: Sequence[Any], notes: bool
) -> tuple[list[Row], list[str]]:
    """Rows of the studies by level, each with its mean, and the level of each row."""
    found = summarise(content.fit, codes, len(levels), content.alpha, content.style)
    rows: list[Row] = []
    blocks: list[str] = []
    for j, level in enumerate(levels):
        members = order[codes[order] == j]
        own = [Row("blank", {"study": str(level)}, bold=True)]
        own += [content.study(i, 1.0) for i in members]
        if np.isfinite(found.means[j, 0]):
            share = float(content.studies.weights[members].sum())
            row = content.diamond(f"Subtotal (k = {len(members)})", found.means[j], share, 1.0)
            own.append(row if content.prediction else _without_prediction(row))
        if notes and found.notes[j]:
            own.append(_note(found.notes[j], 1.0))
        rows += [*own, _SPACE]
        blocks += [str(level)] * (len(own) + 1)
    if notes and found.test:
        rows += [_note(f"Test for subgroup differences: {found.test}"), _SPACE]
        blocks += ["", ""]
    return rows, blocks


def _summary(content: _Content, at: Any, notes: bool) -> tuple[list[Row], float]:
    """Rows of the pooled effect, or of effects at stated moderators; the pooled effect."""
    fit, style = content.fit, content.style
    rows: list[Row] = []
    reference = np.nan
    X = fit.table.exog
    if at is not None:
        stated, values = at_values(fit, at)
        frame = predict_effects(fit, values, True, None, None).summary_frame(content.alpha)
        for i in range(len(stated)):
            name = ", ".join(f"{c} = {value_text(stated[c].iloc[i])}" for c in stated.columns)
            row = content.diamond(name, _numbers(frame, i), None)
            rows.append(row if content.prediction else _without_prediction(row))
    elif (X[0] == X).all():
        name = f"{style.pooled} ({fit.components.label})"
        row = content.diamond(name, _numbers(content.studies.predictions, 0), 1.0)
        reference = row.estimate
        rows.append(_without_prediction(row))
        if content.prediction:
            rows.append(content.bar(row))
    if notes:
        # the axis stands clear of the last line
        rows += [*(_note(text) for text in _notes(content)), replace(_SPACE, height=0.4)]
    return rows, reference


def _notes(content: _Content) -> list[str]:
    """Heterogeneity, and the test of the moderators."""
    fit, style = content.fit, content.style
    components = fit.components
    texts = [
        tau2_text(float(v), "\u03c4\u00b2" if name == "tau2" else f"\u03c3\u00b2({name})")
        for name, v in zip(components.names, components.values, strict=True)
    ]
    try:
        h = getattr(fit, "heterogeneity", None)
    except MetaRegError:
        # undefined, where a sampling variance is 0
        h = None
    if h is not None and hasattr(h, "i2"):
        texts.append(q_text(h.q, h.q_df, h.q_pvalue, h.i2, style))
    residual = "Residual heterogeneity" if fit.df_model > 0 else "Heterogeneity"
    found = [f"{residual}: {'; '.join(texts)}"]
    if fit.df_model > 0:
        test = omnibus_test(fit)
        text = test_text(test.statistic, (test.df_num, test.df_denom), test.pvalue, style)
        found.append(f"Test of moderators: {text}")
    if content.fitted:
        key = "\u25c7 fitted value"
        if content.prediction:
            key += f"; line below: {content.coverage}% prediction interval"
        found.append(key)
    return found


def forest(
    results: Any,
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
        A column whose levels are blocks, each with its mean effect as a diamond, its heterogeneity
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
        The fitted value of each study; by default where there are moderators.
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
    fit: Fitted = plain(results)
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
    moderated = not bool((fit.table.exog == fit.table.exog[0]).all())
    show_fitted = moderated if fitted is None else bool(fitted)
    content = _Content(
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
        column_of(fit, by, "by")
        codes, levels = group_codes(by, fit.table.rows, "by")
        rows, blocks = _blocks(content, positions, codes, list(levels), heterogeneity)
    if prediction is None and by is not None and not moderated:
        content = replace(content, prediction=True)
    summary, reference = _summary(content, at, heterogeneity)
    if by is None and summary:
        rows.append(replace(_SPACE, height=0.4))
        blocks.append("")
    rows, blocks = [*rows, *summary], [*blocks, *[""] * len(summary)]
    axis = marks.axis_for(rows, scale, xlim, reference)
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
    content: _Content, headings: dict[str, dict[str, str]], chosen: dict[str, pd.Series]
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


def _data(rows: list[Row], y: np.ndarray, blocks: list[str], axis: marks.Axis) -> pd.DataFrame:
    keep = [i for i, row in enumerate(rows) if np.isfinite(row.estimate)]
    kept = [rows[i] for i in keep]
    shares = np.array([r.share for r in kept])
    frame = pd.DataFrame(
        {
            "kind": [r.kind for r in kept],
            "block": [blocks[i] for i in keep],
            **marks.data_columns(kept, axis),
            "weight": shares / np.nansum(shares),
            "y": y[keep],
        },
        index=pd.Index([r.cells["study"].replace("\n", " ") for r in kept], name="row"),
    )
    return frame
