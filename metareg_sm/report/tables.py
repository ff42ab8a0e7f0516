"""The printed tables."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from metareg_sm.exceptions import MetaRegError, VarianceError
from metareg_sm.postestimation.collinearity import condition_note
from metareg_sm.stats.multiplicity import family_wise_error

if TYPE_CHECKING:
    from statsmodels.iolib.summary import Summary
    from statsmodels.iolib.summary2 import Summary as Summary2

_WIDTH = 78
_MODERATOR_STUDIES = 10


def _omnibus_items(results: Any) -> list[tuple[str, list[str]]]:
    if results.df_model <= 0:
        return []
    m, df_denom = results.f_df
    if df_denom is None:
        name, label = f"Wald chi2({m:.0f}):", "Prob (chi2):"
    else:
        name, label = f"F({m:.0f}, {df_denom:.4g}):", "Prob (F-statistic):"
    return [(name, [f"{results.fvalue:#8.4g}"]), (label, [f"{results.f_pvalue:#6.3g}"])]


def _fit_items(results: Any) -> list[tuple[str, list[str]]]:
    return [
        ("Log-Likelihood:", [f"{results.llf:#8.5g}"]),
        ("AIC:", [f"{results.aic:#8.4g}"]),
        ("AICc:", [f"{results.aicc:#8.4g}"]),
        ("BIC:", [f"{results.bic:#8.4g}"]),
    ]


def _heterogeneity_items(
    results: Any,
) -> tuple[list[tuple[str, list[str]]], list[tuple[str, list[str]]]]:
    left = [
        ("tau2:", [f"{results.tau2:#.5g}"]),
        ("SE of tau2:", [f"{results.tau2_se:#.5g}"]),
        ("tau:", [f"{results.tau:#.5g}"]),
    ]
    try:
        h = results.heterogeneity
    except MetaRegError as error:
        undefined = ["undefined: vi=0" if isinstance(error, VarianceError) else "undefined"]
        left.append(("I2:", undefined))
        return left, [(f"{name}:", undefined) for name in ("H2", "R2", "Q_E", "Prob (Q_E)")]
    left.append(("I2:", [f"{h.i2:.4f}"]))
    right = [
        ("H2:", [f"{h.h2:.4f}"]),
        ("R2:", [f"{h.r2:.4f}"]),
        (f"Q_E (df={h.q_df}):", [f"{h.q:#.5g}"]),
        ("Prob (Q_E):", [f"{h.q_pvalue:#.3g}"]),
    ]
    return left, right


def notes(results: Any, alpha: float, exponentiate: bool) -> list[str]:
    """What a careful reader must know about the fit, one sentence or two each.

    Parameters
    ----------
    results : MetaRegResults
        The fit.
    alpha : float
        Level of the tests.
    exponentiate : bool
        The table shows exponentiated coefficients.

    Returns
    -------
    list of str
    """
    found = [results.cov_kwds["description"]]
    k, m = int(results.nobs), int(results.df_model)
    if exponentiate:
        found.append(
            "Coefficients are exponentiated: the factor for one unit. Their standard errors are by "
            "the delta method; tests are on the scale of the model."
        )
    if results.tau2 == 0.0 and results._tau2_fit.estimator is not None:
        found.append(
            "tau2 is estimated as 0, on the boundary. This does not show that the studies are "
            "homogeneous; see conf_int_tau2()."
        )
    if results.cov_type == "knapp-hartung" and results.scale < 1.0:
        found.append(
            f"The Knapp-Hartung factor is {results.scale:.3g}, below 1: standard errors are "
            "smaller than Wald's. cov_type='knapp-hartung-adhoc' keeps it at 1."
        )
    if m and k < _MODERATOR_STUDIES * m:
        found.append(
            f"There are {k} studies for {m} moderator{'s' if m > 1 else ''}, fewer than "
            f"{_MODERATOR_STUDIES} each: estimates are unstable."
        )
    if m > 1:
        found.append(
            f"With {m} moderators tested at {alpha:g}, the chance of at least one false positive "
            f"is up to {family_wise_error(m, alpha):.2f}; see adjust_pvalues()."
        )
    if m:
        found.append(
            "Associations are between studies. They need not hold between individuals within "
            "studies (ecological bias)."
        )
    condition = results._summary_cache("condition", lambda: condition_note(results))
    if condition:
        found.append(condition)
    if results.mle_converged is False:
        found.append("The optimizer did not converge; tau2 is not the maximum of the likelihood.")
    redundant = results.redundant
    if redundant:
        found.append(
            f"The moderators are redundant ({', '.join(redundant)}): single coefficients are not "
            "identified."
        )
    dropped = results.n_dropped
    if dropped:
        found.append(f"{dropped} row{'s' if dropped > 1 else ''} with missing values dropped.")
    return found


def _wrapped_notes(results: Any, alpha: float, exponentiate: bool) -> list[str]:
    lines = ["Notes:"]
    for number, note in enumerate(notes(results, alpha, exponentiate), start=1):
        lines += textwrap.wrap(f"[{number}] {note}", _WIDTH, subsequent_indent="    ")
    return lines


def summary_table(
    results: Any,
    yname: str | None,
    xname: list[str] | None,
    title: str | None,
    alpha: float,
    exponentiate: bool,
) -> Summary:
    """Summary in statsmodels' usual layout; see `MetaRegResults.summary`."""
    from statsmodels.iolib.summary import Summary, summary_params

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
    right = [("Covariance Type:", [results._cov_label]), *omnibus, *_fit_items(results)]
    smry = Summary()
    smry.add_table_2cols(
        results,
        title=title or "Meta-Regression Results",
        gleft=left,
        gright=right,
        yname=yname,
        xname=xname,
    )
    frame = results.summary_frame(alpha, exponentiate)
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
    own, relative = _heterogeneity_items(results)
    smry.add_table_2cols(results, title="Heterogeneity", gleft=own, gright=relative)
    smry.add_extra_txt(_wrapped_notes(results, alpha, exponentiate))
    return smry


def summary_table2(
    results: Any,
    yname: str | None,
    xname: list[str] | None,
    title: str | None,
    alpha: float,
    float_format: str,
    exponentiate: bool,
) -> Summary2:
    """Summary in statsmodels' second layout; see `MetaRegResults.summary2`."""
    from statsmodels.iolib.summary2 import Summary as Summary2
    from statsmodels.iolib.summary2 import summary_params

    smry = Summary2()
    info = {
        "Model:": "MetaReg",
        "Method:": results.method,
        "Dependent Variable:": yname or results.model.endog_names,
        "No. Observations:": f"{int(results.nobs)}",
        "Df Residuals:": f"{results.df_resid:.0f}",
        "Covariance Type:": results._cov_label,
    }
    left, right = _heterogeneity_items(results)
    for name, value in [*_omnibus_items(results), *_fit_items(results), *left, *right]:
        info[name] = value[0].strip()
    smry.add_dict(info)
    frame = results.summary_frame(alpha, exponentiate)
    columns = [frame[c] for c in ("coef", "se", "statistic", "pvalue")]
    ends = frame[["ci_lower", "ci_upper"]].to_numpy()
    params = summary_params(
        (results, *columns, ends), xname=list(frame.index), alpha=alpha, use_t=results.use_t
    )
    if xname is not None:
        params.index = xname
    smry.add_df(params, float_format=float_format)
    smry.add_title(title=title or "Results: Meta-Regression")
    for number, note in enumerate(notes(results, alpha, exponentiate), start=1):
        smry.add_text(f"[{number}] {note}")
    return smry


def describe(results: Any) -> dict[str, Any]:
    """The numbers of a fit as plain Python objects, for JSON.

    Values that are not finite become None.
    """

    def plain(value: Any) -> Any:
        value = float(value)
        return value if np.isfinite(value) else None

    frame = results.summary_frame()
    m, df_denom = results.f_df
    numbers: dict[str, Any] = {
        "formula": getattr(results.model, "formula", None),
        "estimator": results.method,
        "cov_type": results.cov_type,
        "nobs": int(results.nobs),
        "df_resid": plain(results.df_resid),
        "coefficients": {
            str(name): {column: plain(row[column]) for column in frame.columns}
            for name, row in frame.iterrows()
        },
        "tau2": results.tau2,
        "tau2_se": results.tau2_se,
        "scale": plain(results.scale),
        "llf": plain(results.llf),
        "aic": plain(results.aic),
        "aicc": plain(results.aicc),
        "bic": plain(results.bic),
        "omnibus": None
        if m == 0
        else {
            "statistic": plain(results.fvalue),
            "pvalue": plain(results.f_pvalue),
            "df_num": plain(m),
            "df_denom": None if df_denom is None else plain(df_denom),
        },
    }
    try:
        h = results.heterogeneity
    except MetaRegError:
        numbers["heterogeneity"] = None
        return numbers
    names = ("q", "q_df", "q_pvalue", "i2", "h2", "i2_q", "r2", "tau2_null")
    numbers["heterogeneity"] = {n: plain(getattr(h, n)) for n in names}
    return numbers
