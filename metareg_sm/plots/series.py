"""Forest-like figures of other tables: cumulative and leave-one-out fits, random effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from metareg_sm.exceptions import OptionError
from metareg_sm.options import check_alpha, choose, suggestion
from metareg_sm.plots import marks
from metareg_sm.plots.axis import axis_for, data_columns
from metareg_sm.plots.canvas import attach
from metareg_sm.plots.layout import lay_out
from metareg_sm.plots.scale import (
    TRANSFORMS,
    Scale,
    Transform,
    decimals_for,
)
from metareg_sm.plots.studies import names_of
from metareg_sm.plots.styles import STYLES, Style
from metareg_sm.plots.table import Column, Row, Table
from metareg_sm.postestimation.fitted import Deletable, Fitted, Labelled, plain
from metareg_sm.stats.reference import interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def _term(frame: pd.DataFrame, term: str | None) -> tuple[pd.DataFrame, str]:
    """The rows of one coefficient of a table with the index (study, term).

    Raises
    ------
    OptionError
        If it is no such table, or has no such term.
    """
    needed = ["coef", "ci_lower", "ci_upper"]
    good = isinstance(frame, pd.DataFrame) and frame.index.nlevels == 2
    if not good or any(c not in frame.columns for c in needed):
        raise OptionError(
            "This figure needs the table of leave_one_out() or cumulative(): index (study, term), "
            f"columns {', '.join(needed)}; got {type(frame).__name__}."
        )
    terms = list(dict.fromkeys(frame.index.get_level_values(1)))
    chosen = terms[0] if term is None else term
    if chosen not in terms:
        raise OptionError(
            f"term={term!r} is no coefficient.{suggestion(term, map(str, terms))} There are "
            f"{', '.join(map(str, terms))}."
        )
    return frame.xs(chosen, level=1), str(chosen)


def _renamed(index: pd.Index, labels: Mapping[Any, Any] | pd.Series) -> pd.Index:
    """Names of the studies by their labels.

    Raises
    ------
    OptionError
        If one has no name.
    """
    absent = [label for label in index if label not in labels]
    if absent:
        raise OptionError(f"labels has no name for the study {absent[0]!r}.")
    return pd.Index([str(labels[label]) for label in index], name=index.name)


def _scale(transform: Transform, label: str, null: float | None = 0.0) -> Scale:
    if transform is None or transform is False:
        return Scale(label, null=null)
    function = (
        choose(TRANSFORMS, transform, "transform") if isinstance(transform, str) else transform
    )
    if not callable(function):
        raise OptionError(f"transform must be a name, a function or None; got {transform!r}.")
    log = function is np.exp
    return Scale(f"exp({label})" if log else label, function, log, null)


def _intervals(
    frame: pd.DataFrame,
    heading: str,
    scale: Scale,
    style: Style,
    reference: float,
    extra: dict[str, str],
    xlim: Any,
    width: Any,
    ax: Axes | None,
    alpha: float = 0.05,
) -> Figure:
    """One interval a row, the columns of `extra` beside them (heading by column)."""
    lower, upper = frame["ci_lower"].to_numpy(float), frame["ci_upper"].to_numpy(float)
    decimals = decimals_for(scale, lower, upper)
    rows = []
    for i, name in enumerate(frame.index):
        label = ", ".join(map(str, name)) if isinstance(name, tuple) else str(name)
        value = frame["coef"].iloc[i]
        if not np.isfinite(value):
            rows.append(Row("blank", {"study": label, "estimate": "not fitted"}))
            continue
        shown = scale.shown([value, lower[i], upper[i]])
        ends = np.sort(shown[1:])
        cells = {
            "study": label,
            "estimate": style.estimate(float(shown[0]), float(ends[0]), float(ends[1]), decimals),
        }
        cells |= {f"data:{c}": f"{frame[c].iloc[i]:#.3g}" for c in extra}
        rows.append(Row("study", cells, value, lower[i], upper[i]))
    axis = axis_for(rows, scale, xlim, reference)
    right = [Column(f"data:{c}", heading, "right") for c, heading in extra.items()]
    interval_heading = style.interval_heading("Estimate", f"{100 * (1 - alpha):g}")
    right.append(Column("estimate", interval_heading, "right"))
    table = Table(
        rows,
        [Column("study", heading)],
        right,
        xlabel=f"{scale.label} (log scale)" if scale.log else scale.label,
        rule=style.rule,
    )
    layout = lay_out(table, ax, width)
    marks.draw(layout, axis, style)
    kept = [i for i, row in enumerate(rows) if np.isfinite(row.estimate)]
    columns = data_columns([rows[i] for i in kept], axis)
    data = pd.DataFrame(columns, index=frame.index[kept]).assign(y=layout.y[kept])
    return attach(layout.figure, layout.host, data)


def leave_one_out(
    fits: pd.DataFrame | Deletable | Labelled[Deletable],
    term: str | None = None,
    *,
    groups: Any = None,
    labels: Mapping[Any, Any] | pd.Series | str | Sequence[str] | None = None,
    reference: float | None = None,
    transform: Transform = None,
    xlim: tuple[float, float] | None = None,
    style: str = "plain",
    width: float | str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Forest plot of the estimate without each study in turn.

    Parameters
    ----------
    fits : DataFrame, MetaRegResults or LocationScaleResults
        What `results.leave_one_out()` returns, or the fit of all studies.
    term : str, optional
        The coefficient; the first by default.
    groups : str or array_like, optional
        Of a fit: studies that are left out together.
    labels : Series, mapping, str or sequence of str, optional
        Names of the studies by their label in the index of the table, such as a column of the data;
        of a fit columns that name them, as in `forest`.
    reference : float, optional
        Where a dashed line stands; at the estimate from all studies by default where a fit is
        given, else there is none.
    transform : {"exp", "tanh", "expit"}, callable, or None
        Of the coefficients.
    xlim, style, width, ax
        As in `forest`.

    Returns
    -------
    Figure
        `metareg_data`: estimate, ci_lower, ci_upper, the same as shown, clipped, and y.

    Raises
    ------
    OptionError
        If it is no such table, or has no such term.
    """
    table, names = _table_of(fits, "leave_one_out", "groups", groups, labels)
    frame, name = _term(table, term)
    if reference is None:
        fit = None if isinstance(fits, pd.DataFrame) else plain(fits)
        reference = np.nan if fit is None else _estimates(fit)[name]
    return _refits(frame, name, "Omitted", names, reference, transform, xlim, style, width, ax)


def _estimates(fit: Fitted) -> dict[str, float]:
    """Coefficients and parameters of the heterogeneity by name."""
    names = [*fit.components.names, *fit.terms.names]
    return dict(zip(names, [*fit.components.values, *np.asarray(fit.params)], strict=True))


def cumulative(
    fits: pd.DataFrame | Deletable | Labelled[Deletable],
    term: str | None = None,
    *,
    order: Any = None,
    labels: Mapping[Any, Any] | pd.Series | str | Sequence[str] | None = None,
    transform: Transform = None,
    xlim: tuple[float, float] | None = None,
    style: str = "plain",
    width: float | str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Forest plot of a cumulative meta-analysis: the estimate as studies are added.

    The dashed line is the estimate from all studies.

    Parameters
    ----------
    fits : DataFrame, MetaRegResults or LocationScaleResults
        What `results.cumulative()` returns, or the fit of all studies.
    term : str, optional
        The coefficient; the first by default.
    order : str or array_like, optional
        Of a fit: what the studies come by, as in `results.cumulative`.
    labels, transform, xlim, style, width, ax
        As in `leave_one_out`.

    Returns
    -------
    Figure
        `metareg_data`: estimate, ci_lower, ci_upper, the same as shown, clipped, and y.

    Raises
    ------
    OptionError
        If it is no such table, or has no such term.
    """
    table, names = _table_of(fits, "cumulative", "order", order, labels)
    frame, name = _term(table, term)
    known = frame["coef"].dropna()
    last = np.nan if known.empty else float(known.iloc[-1])
    return _refits(frame, name, "Added", names, last, transform, xlim, style, width, ax)


def _table_of(
    fits: Any, method: str, argument: str, value: Any, labels: Any
) -> tuple[pd.DataFrame, Mapping[Any, Any] | None]:
    """The table of refits, and names of the studies by their labels in it.

    Raises
    ------
    OptionError
        If it is neither a table nor a fit, or what goes with the one is given for the other.
    """
    own = getattr(plain(fits), method, None)
    if own is None:
        if value is not None:
            raise OptionError(f"{argument}= goes with a fit; the table has been made already.")
        if isinstance(labels, (str, list, tuple)):
            raise OptionError(
                f"labels={labels!r}: a table does not know the columns of the data. Give names by "
                "the labels of the studies, such as data['author'], or the fit."
            )
        return fits, labels
    table = own(value)
    by_study = isinstance(table, pd.DataFrame) and (argument != "groups" or value is None)
    if by_study and not isinstance(labels, (Mapping, pd.Series)):
        fit = plain(fits)
        index = fit.table.rows.labels
        known = range(len(fit.table.endog)) if index is None else index
        labels = dict(zip(known, names_of(fit, labels), strict=True))
    return table, labels


def _refits(
    frame: pd.DataFrame,
    name: str,
    heading: str,
    labels: Mapping[Any, Any] | None,
    reference: float,
    transform: Transform,
    xlim: Any,
    style: str,
    width: Any,
    ax: Axes | None,
) -> Figure:
    if labels is not None:
        frame = frame.set_axis(_renamed(frame.index, labels))
    extra = {"tau2": "\u03c4\u00b2"} if "tau2" in frame.columns else {}
    look = choose(STYLES, style, "style")
    scale = _scale(transform, name.replace("ln tau2:", "ln \u03c4\u00b2:"))
    return _intervals(frame, heading, scale, look, reference, extra, xlim, width, ax)


def random_effects(
    results: Fitted | Labelled[Fitted],
    *,
    grouping: str | None = None,
    effects: str = "u",
    order: bool = True,
    alpha: float = 0.05,
    labels: str | Sequence[str] | None = None,
    style: str = "plain",
    width: float | str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Caterpillar plot of the predicted random effects.

    Parameters
    ----------
    results : results of any model
        A fit with `random_effects`: a table of the studies, or a mapping from groupings to tables.
    grouping : str, optional
        Which of them, where there are several; the first by default.
    effects : {"u", "theta"}
        Random effects, or with the expectation added: the shrunken true effects of the studies.
    order : bool, default True
        From the smallest to the largest.
    alpha : float, default 0.05
        1 minus the coverage of the normal intervals.
    labels, style, width, ax
        As in `forest`.

    Returns
    -------
    Figure
        `metareg_data`: estimate, ci_lower, ci_upper, the same as shown, clipped, and y.

    Raises
    ------
    OptionError
        If there are no random effects, or no such grouping or column.
    """
    fit = plain(results)
    alpha = check_alpha(alpha)
    found = getattr(fit, "random_effects", None)
    if found is None:
        raise OptionError("This model predicts no random effects.")
    of_studies = isinstance(found, pd.DataFrame)
    heading = "Study"
    if not of_studies:
        names = list(found)
        chosen = names[0] if grouping is None else grouping
        if chosen not in names:
            raise OptionError(
                f"grouping={grouping!r} is not known.{suggestion(grouping, map(str, names))} "
                f"Choose one of {', '.join(map(str, names))}."
            )
        found, heading = found[chosen], str(chosen)
    columns = [c for c in ("u", "theta") if c in found.columns]
    choose({c: c for c in columns}, effects, "effects")
    value, se = found[effects].to_numpy(float), found[f"{effects}_se"].to_numpy(float)
    ends = interval(value, se, alpha, None)
    index = pd.Index(names_of(fit, labels), name="study") if of_studies else found.index
    frame = pd.DataFrame(
        {"coef": value, "ci_lower": ends[:, 0], "ci_upper": ends[:, 1]}, index=index
    )
    if order:
        frame = frame.sort_values("coef", kind="stable")
    label = "Random effect" if effects == "u" else "True effect"
    look = choose(STYLES, style, "style")
    return _intervals(frame, heading, Scale(label), look, np.nan, {}, None, width, ax, alpha)
