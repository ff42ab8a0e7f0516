"""The printed tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from metareg_sm.exceptions import MetaRegError, VarianceError
from metareg_sm.options import check_alpha
from metareg_sm.postestimation.fitted import Fitted, Tau2Fitted
from metareg_sm.report.frames import coefficients
from metareg_sm.report.notes import notes, wrapped

if TYPE_CHECKING:
    from statsmodels.iolib.summary import Summary
    from statsmodels.iolib.summary2 import Summary as Summary2
    from statsmodels.iolib.table import SimpleTable

Items = list[tuple[str, list[str]]]


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a summary in two columns.

    Attributes
    ----------
    title : str
        Above it.
    left, right : list of (str, [str])
        Names with values, as statsmodels' `add_table_2cols` takes them.
    """

    title: str
    left: Items
    right: Items


@dataclass(frozen=True, slots=True)
class Grid:
    """A part of a summary with rows and columns.

    Attributes
    ----------
    title : str
        Above it.
    header, stubs : list of str
        Names of the columns and of the rows.
    cells : list of list of str
        One list a row.
    """

    title: str
    header: list[str]
    stubs: list[str]
    cells: list[list[str]]


def _omnibus_items(fit: Fitted) -> Items:
    if fit.df_model <= 0:
        return []
    test = fit.omnibus
    if test.df_denom is None:
        name, label = f"Wald chi2({test.df_num:.0f}):", "Prob (chi2):"
    else:
        name, label = f"F({test.df_num:.0f}, {test.df_denom:.4g}):", "Prob (F-statistic):"
    return [(name, [f"{test.statistic:#8.4g}"]), (label, [f"{test.pvalue:#6.3g}"])]


def _fit_items(results: Fitted) -> Items:
    return [
        ("Log-Likelihood:", [f"{results.llf:#8.5g}"]),
        ("AIC:", [f"{results.aic:#8.4g}"]),
        ("AICc:", [f"{results.aicc:#8.4g}"]),
        ("BIC:", [f"{results.bic:#8.4g}"]),
    ]


def heterogeneity_block(results: Tau2Fitted) -> Block:
    """tau2 and what follows from it, of a model with one variance."""
    left = [
        ("tau2:", [f"{results.tau2:#.5g}"]),
        ("SE of tau2:", [f"{results.tau2_se:#.5g}"]),
        ("tau:", [f"{results.tau:#.5g}"]),
    ]
    try:
        h = results.heterogeneity
    except MetaRegError as error:
        undefined = ["undefined: vi=0" if isinstance(error, VarianceError) else "undefined"]
        left.append(("I2 from tau2:", undefined))
        right = [(f"{name}:", undefined) for name in ("H2", "R2", "Q_E", "Prob (Q_E)")]
        return Block("Heterogeneity", left, right)
    left.append(("I2 from tau2:", [f"{h.i2:.4f}"]))
    right = [
        ("H2:", [f"{h.h2:.4f}"]),
        ("R2:", [f"{h.r2:.4f}"]),
        (f"Q_E (df={h.q_df}):", [f"{h.q:#.5g}"]),
        ("Prob (Q_E):", [f"{h.q_pvalue:#.3g}"]),
    ]
    return Block("Heterogeneity", left, right)


def summary_table(
    results: Fitted,
    blocks: Sequence[Block | Grid],
    yname: str | None,
    xname: list[str] | None,
    title: str | None,
    alpha: float,
    exponentiate: bool,
) -> Summary:
    """Summary in statsmodels' usual layout; see `MetaRegResults.summary`."""
    from statsmodels.iolib.summary import summary_params

    from metareg_sm.report.latex import NotedSummary

    alpha = check_alpha(alpha)
    omnibus = _omnibus_items(results)
    left = [
        ("Dep. Variable:", None),
        ("Model:", None),
        ("Method:", [results.method]),
        ("Date:", None),
        ("Time:", None),
        ("No. Observations:", None),
        ("Df Residuals:", None),
        ("Df Model:", None),
    ]
    right = [("Covariance Type:", [results.cov_label]), *omnibus, *_fit_items(results)]
    smry = NotedSummary()
    smry.add_table_2cols(
        results,
        title=title or "Meta-Regression Results",
        gleft=left,
        gright=right,
        yname=yname,
        xname=xname,
    )
    frame = coefficients(results, alpha, exponentiate)
    columns = [frame[c].to_numpy() for c in ("coef", "se", "statistic", "pvalue")]
    ends = frame[["ci_lower", "ci_upper"]].to_numpy()
    smry.tables.append(
        summary_params(
            (results, *columns, ends),
            yname=yname,
            xname=list(frame.index) if xname is None else xname,
            alpha=alpha,
            use_t=results.use_t,
        )
    )
    for block in blocks:
        if isinstance(block, Grid):
            smry.tables.append(_grid_table(block))
        else:
            smry.add_table_2cols(results, title=block.title, gleft=block.left, gright=block.right)
    smry.add_extra_txt(wrapped(notes(results, alpha, exponentiate)))
    return smry


def _grid_table(grid: Grid) -> SimpleTable:
    from statsmodels.iolib.table import SimpleTable
    from statsmodels.iolib.tableformatting import fmt_params

    return SimpleTable(
        grid.cells, headers=grid.header, stubs=grid.stubs, title=grid.title, txt_fmt=fmt_params
    )


def summary_table2(
    results: Fitted,
    blocks: Sequence[Block | Grid],
    yname: str | None,
    xname: list[str] | None,
    title: str | None,
    alpha: float,
    float_format: str,
    exponentiate: bool,
) -> Summary2:
    """Summary in statsmodels' second layout; see `MetaRegResults.summary2`."""
    from statsmodels.iolib.summary2 import summary_params

    from metareg_sm.report.latex import NotedSummary2

    alpha = check_alpha(alpha)
    smry = NotedSummary2()
    info = {
        "Model:": results.model_name,
        "Method:": results.method,
        "Dependent Variable:": yname or results.terms.outcome,
        "No. Observations:": f"{int(results.nobs)}",
        "Df Residuals:": f"{results.df_resid:.0f}",
        "Covariance Type:": results.cov_label,
    }
    two_columns = [block for block in blocks if isinstance(block, Block)]
    parts = [item for block in two_columns for item in (*block.left, *block.right)]
    for name, value in [*_omnibus_items(results), *_fit_items(results), *parts]:
        info[name] = value[0].strip()
    smry.add_dict(info)
    frame = coefficients(results, alpha, exponentiate)
    columns = [frame[c] for c in ("coef", "se", "statistic", "pvalue")]
    ends = frame[["ci_lower", "ci_upper"]].to_numpy()
    params = summary_params(
        (results, *columns, ends), xname=list(frame.index), alpha=alpha, use_t=results.use_t
    )
    if xname is not None:
        params.index = xname
    smry.add_df(params, float_format=float_format)
    for block in blocks:
        if isinstance(block, Grid):
            smry.add_df(pd.DataFrame(block.cells, index=block.stubs, columns=block.header))
    smry.add_title(title=title or "Results: Meta-Regression")
    for number, note in enumerate(notes(results, alpha, exponentiate), start=1):
        smry.add_text(f"[{number}] {note}")
    return smry
