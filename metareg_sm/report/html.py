"""One page on a fit: tables, figures, paragraphs, the data, the call and the versions."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from html import escape
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy
import statsmodels

from metareg_sm._typing import Seed
from metareg_sm._version import __version__
from metareg_sm.exceptions import FileError, MetaRegError, MissingFileError, OptionError
from metareg_sm.postestimation.fitted import has_tau2, plain
from metareg_sm.postestimation.heterogeneity import Heterogeneity
from metareg_sm.report.call import call_of
from metareg_sm.report.content import Content, Deletions, Permutation, Reported, gather
from metareg_sm.report.figures import Drawing, drawings, has_matplotlib
from metareg_sm.report.markup import Cell, Html, cell, interval_cell, named, p_cell, table
from metareg_sm.report.notes import moderators
from metareg_sm.report.paragraph import Report, paragraphs
from metareg_sm.report.typeset import I2, R2, TAU2

#: rows of the data that a page shows
MOST_ROWS = 500

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="generator" content="metareg_sm {version}">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p class="sub">{subtitle}</p>
{keys}
</header>
<main>
{sections}
</main>
</body>
</html>
"""
# nothing runs and nothing is loaded, whatever the data hold
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


# --- sections ----------------------------------------------------------------------------------


def _coefficients(content: Content) -> str:
    frame = content.table
    letter = "t" if content.fit.contrast_df() is not None else "z"
    headings: list[Cell] = [
        "",
        Html("exp(<i>b</i>)" if content.scale.exponentiate else "<i>b</i>"),
        f"{content.coverage} CI",
        Html("<i>p</i>"),
        Html(f"<i>{letter}</i>"),
        "SE",
    ]
    rows: list[list[Cell]] = [
        [
            name,
            float(row.coef),
            interval_cell(row.ci_lower, row.ci_upper),
            p_cell(float(row.pvalue)),
            float(row.statistic),
            float(row.se),
        ]
        for name, row in zip(content.names, frame.itertuples(), strict=True)
    ]
    return table(headings, rows, "coefficients")


def _omnibus(content: Content) -> list[tuple[Cell, Cell]]:
    test = content.omnibus
    if test.df_num <= 0:
        return []
    if test.df_denom is None:
        name = Html(f"<i>\u03c7</i><sup>2</sup>({test.df_num:g})")
    else:
        name = Html(f"<i>F</i>({test.df_num:g}, {test.df_denom:.4g})")
    return [
        (Html(f"All moderators: {name.text}"), test.statistic),
        (Html("All moderators: <i>p</i>"), p_cell(test.pvalue)),
    ]


def _heterogeneity(content: Content) -> str:
    fit, found = content.fit, content.heterogeneity
    rows: list[tuple[Cell, Cell]] = []
    if has_tau2(fit):
        rows.append((named(TAU2), fit.tau2))
        if fit.estimator is not None:
            rows.append((named(TAU2, ": standard error"), fit.tau2_se))
        rows.append((Html("<i>\u03c4</i>"), float(np.sqrt(fit.tau2))))
    else:
        parts = fit.components
        for name, value, se in zip(parts.names, parts.values, parts.se, strict=True):
            rows += [(name, float(value)), (f"{name}: standard error", float(se))]
    note = ""
    if isinstance(found, Heterogeneity):
        rows += [
            (Html(f"<i>Q</i>({found.q_df}), weights 1/v"), found.q),
            (Html("<i>Q</i>: <i>p</i>"), p_cell(found.q_pvalue)),
            (Html(f"{I2.html} from {TAU2.html}, %"), 100.0 * found.i2),
            (Html(f"{I2.html} from <i>Q</i>, %"), 100.0 * found.i2_q),
            (Html("<i>H</i><sup>2</sup>"), found.h2),
        ]
        if fit.df_model > 0 and has_tau2(fit) and fit.estimator is not None:
            rows += [
                (named(TAU2, " without moderators"), found.tau2_null),
                (named(R2, ", %"), 100.0 * found.r2),
            ]
    elif content.levels is not None:
        level = content.levels
        rows += [
            (Html(f"<i>Q</i>({level.q_df})"), level.q),
            (Html("<i>Q</i>: <i>p</i>"), p_cell(level.q_pvalue)),
            (named(I2, ", %"), 100.0 * level.i2),
            *(
                (named(I2, f" of {n}, %"), 100.0 * float(i2))
                for n, i2 in level.levels["i2"].items()
            ),
        ]
        if fit.df_model > 0:
            rows.append((named(R2, ", %"), 100.0 * level.r2))
    elif isinstance(found, MetaRegError):
        note = f'<p class="note">{escape(str(found))}</p>'
    rows += _omnibus(content)
    rows += [
        (name, float(value))
        for name, value in (("Log-likelihood", fit.llf), ("Parameters", fit.df_modelwc))
    ]
    return table((), rows, "heterogeneity") + note


def _value_cell(value: Any) -> Cell:
    return float(value) if isinstance(value, (int, np.number)) else value


def _predictions(content: Content) -> Iterator[str]:
    place, frame = content.place, content.predictions
    if place is None or frame is None:
        return
    names = list(place.stated[0]) if place.stated else []
    coverage = content.coverage
    headings: list[Cell] = [
        *(names or [""]),
        content.scale.shown,
        f"{coverage} CI",
        f"{coverage} prediction interval",
    ]
    rows = [
        [
            *(map(_value_cell, stated.values()) if names else ["All studies"]),
            float(row.mean),
            interval_cell(row.mean_ci_lower, row.mean_ci_upper),
            interval_cell(row.obs_ci_lower, row.obs_ci_upper),
        ]
        for stated, row in zip(place.stated, frame.itertuples(), strict=True)
    ]
    yield _section("Predictions", table(headings, rows, "predictions"))


def _figure(drawing: Drawing) -> str:
    caption = escape(drawing.caption)
    if not drawing.svgs:
        return f'<p class="note">{caption}: not drawn. {escape(drawing.problem)}</p>'
    # where there is one drawing alone it is shown on phones, too, and can be moved
    kinds = {"column": "narrow", "page": "wide"} if len(drawing.svgs) > 1 else {}
    shown = "".join(
        f'<div class="{kinds.get(width, "only")}" role="img" aria-label="{caption}">{svg}</div>'
        for width, svg in drawing.svgs.items()
    )
    box = f'<div class="box" tabindex="0">{shown}</div>'
    return f"<figure>{box}<figcaption>{caption}</figcaption></figure>"


def _figures(content: Content) -> Iterator[str]:
    if not has_matplotlib():
        note = '<p class="note">Figures need matplotlib, which is not installed.</p>'
        yield _section("Figures", note)
        return
    found = "\n".join(map(_figure, drawings(content)))
    if found:
        yield _section("Figures", found)


def data_of(fit: Reported) -> pd.DataFrame:
    """The studies as a page shows them: the rows of the data, or the arrays."""
    studies = fit.table
    frame = studies.rows.frame
    if frame is None:
        names = fit.terms.names
        columns: dict[Any, Any] = {fit.terms.outcome: studies.endog, "vi": studies.vi}
        columns |= {n: studies.exog[:, j] for j, n in enumerate(names) if j != fit.terms.constant}
        return pd.DataFrame(columns, index=studies.rows.labels)
    return frame


def _data(content: Content) -> str:
    frame = data_of(content.fit)
    total = len(frame)
    shown = frame.iloc[:MOST_ROWS]
    weights = 1.0 / content.fit.regression.variances
    shares = 100.0 * weights / weights.sum()
    headings: list[Cell] = ["", *map(str, shown.columns), "weight, %"]
    columns = [shown.iloc[:, j].tolist() for j in range(shown.shape[1])]
    rows = zip(map(str, shown.index), *columns, shares[: len(shown)].tolist(), strict=True)
    note = ""
    if total > MOST_ROWS:
        note = f'<p class="note">The first {MOST_ROWS} of {total} rows.</p>'
    dropped = content.fit.n_dropped
    if dropped:
        text = f"{dropped} row{'s' if dropped > 1 else ''} with missing values not shown."
        note += f'<p class="note">{text}</p>'
    return table(headings, rows, "data") + note


def _references(report: Report) -> str:
    items = "\n".join(f"<li>{escape(r.citation)}</li>" for r in report.references)
    return (
        f'<ul class="refs">\n{items}\n</ul>\n<details><summary>BibTeX</summary>'
        f"<pre>{escape(report.bibtex)}</pre></details>"
    )


def versions() -> Mapping[str, str]:
    """Versions of what the numbers rest on."""
    return {
        "metareg_sm": __version__,
        "statsmodels": statsmodels.__version__,
        "scipy": scipy.__version__,
        "numpy": np.__version__,
        "pandas": pd.__version__,
        "Python": platform.python_version(),
    }


def _made(fit: Reported, call: str | None) -> str:
    return (
        f"<pre>{escape(call_of(fit) if call is None else call)}</pre>\n"
        f"{table((), versions().items(), 'versions')}"
    )


def _section(title: str, content: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}\n</section>"


def _keys(content: Content) -> str:
    fit, found = content.fit, content.heterogeneity
    items: list[tuple[str, Cell]] = [("Studies" if has_tau2(fit) else "Effects", int(fit.nobs))]
    if content.pooled and content.predictions is not None:
        items.append(
            (escape(f"Pooled {content.scale.shown}"), float(content.predictions["mean"][0]))
        )
    elif fit.df_model > 0:
        items.append(("All moderators, <i>p</i>", p_cell(content.omnibus.pvalue)))
    if has_tau2(fit):
        items.append((TAU2.html, fit.tau2))
    if isinstance(found, Heterogeneity):
        items.append((f"{I2.html} from {TAU2.html}", Html(f"{100.0 * found.i2:.1f}%")))
        if fit.df_model > 0 and has_tau2(fit) and fit.estimator is not None:
            items.append((R2.html, Html(f"{100.0 * found.r2:.1f}%")))
    inner = "".join(f"<div><dt>{name}</dt><dd>{cell(v)}</dd></div>" for name, v in items)
    return f'<dl class="keys">{inner}</dl>'


def _title(fit: Reported) -> str:
    terms = fit.terms
    if isinstance(terms.formula, str):
        return terms.formula
    return f"{terms.outcome} on {', '.join(moderators(fit)) or 'a constant'}"


def page(content: Content, title: str | None = None, call: str | None = None) -> str:
    """A whole page on a fit."""
    fit = content.fit
    report = Report(paragraphs(content))
    kind = "Meta-analysis" if content.pooled else "Meta-regression"
    sections = [
        _section("Report", report.html),
        _section("Coefficients", _coefficients(content)),
        _section("Heterogeneity and fit", _heterogeneity(content)),
        *_predictions(content),
        *_figures(content),
        _section("Data", _data(content)),
        _section("References", _references(report)),
        _section("How it was made", _made(fit, call)),
    ]
    return _PAGE.format(
        policy=_POLICY,
        version=__version__,
        title=escape(_title(fit) if title is None else title),
        style=resources.files("metareg_sm.report").joinpath("page.css").read_text("utf-8"),
        subtitle=escape(f"{kind} by metareg_sm, {fit.components.label}"),
        keys=_keys(content),
        sections="\n".join(sections),
    )


def to_html(
    results: Reported,
    path: str | PathLike[str] | None,
    title: str | None = None,
    call: str | None = None,
    *,
    alpha: float = 0.05,
    exponentiate: bool | None = None,
    at: Any = None,
    influence: bool | Deletions = False,
    permutation: Permutation | int | None = None,
    adjust: str | None = None,
    rng: Seed = None,
) -> str | None:
    """Write a page on a fit, or give it; see `ModelResults.to_html`."""
    if path is not None and not isinstance(path, (str, PathLike)):
        raise OptionError(f"path must name a file; got {type(path).__name__}.")
    if path is not None and not Path(path).parent.is_dir():
        raise MissingFileError(f"The folder of {str(path)!r} does not exist.")
    fit = plain(results)
    content = gather(fit, alpha, exponentiate, at, influence, permutation, adjust, rng)
    text = page(content, title, call)
    if path is None:
        return text
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise FileError(f"{str(path)!r} cannot be written: {error.strerror}.") from error
    return None
