"""Summaries of subgroups: by the model that has them, or by a fit of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from scipy import special

from metareg_sm._typing import Array, Codes
from metareg_sm.core.basis import design_basis
from metareg_sm.core.studies import Studies
from metareg_sm.exceptions import OptionError
from metareg_sm.plots.scale import written
from metareg_sm.plots.studies import predictions_at
from metareg_sm.plots.styles import Style
from metareg_sm.postestimation.fitted import Fitted, Tau2Fitted
from metareg_sm.stats.heterogeneity import i2_h2, q_residual, q_test, typical_variance
from metareg_sm.stats.reference import interval
from metareg_sm.stats.small_study.analysis import Analysis


@dataclass(frozen=True, slots=True)
class Subgroups:
    """Summaries of the levels of a column.

    Attributes
    ----------
    means : ndarray, (J, 5)
        Mean effects, ends of their confidence and of their prediction intervals; NaN where there
        are none.
    notes : list of str
        Heterogeneity of each, or an empty text.
    test : str
        Test of equal means, or an empty text.
    """

    means: Array
    notes: list[str]
    test: str


def tau2_text(tau2: float) -> str:
    """Heterogeneity to three digits."""
    return f"\u03c4\u00b2 = {tau2:#.3g}" if tau2 > 0.0 else "\u03c4\u00b2 = 0"


def q_text(q: float, df: int, pvalue: float, i2: float, style: Style) -> str:
    """Q, its test and I2."""
    return (
        f"I\u00b2 = {100.0 * i2:.0f}%; Q = {written(q, 2)}, df = {df:.0f}, {style.pvalue(pvalue)}"
    )


def test_text(statistic: float, df: tuple[float, float | None], p: float, style: Style) -> str:
    """An F or chi-squared statistic with its p-value."""
    if df[1] is None:
        return f"\u03c7\u00b2({df[0]:.0f}) = {written(statistic, 2)}, {style.pvalue(p)}"
    return f"F({df[0]:.0f}, {df[1]:.4g}) = {written(statistic, 2)}, {style.pvalue(p)}"


def independent_tau2(fit: Fitted) -> Tau2Fitted | None:
    """The fit where its random part is one tau2, which can be estimated anew in a subgroup."""
    if not (hasattr(fit, "null_studies") and hasattr(fit, "estimator")):
        return None
    return cast(Tau2Fitted, fit)


def summarise(fit: Fitted, codes: Codes, levels: int, alpha: float, style: Style) -> Subgroups:
    """Mean effects of the levels.

    Where the moderators of the model are constant within each level, they are its predictions,
    with the common tau2. A model without moderators is fitted to each level by itself, with the
    same estimator. Where moderators vary within levels, no one mean is theirs: NaN.

    Raises
    ------
    OptionError
        If a level cannot be fitted by itself with the covariance type of the fit.
    """
    X = fit.table.exog
    first = np.array([np.flatnonzero(codes == j)[0] for j in range(levels)])
    constant = bool((X[first][codes] == X).all())
    if constant and fit.df_model > 0:
        return _by_model(fit, codes, first, alpha, style)
    tau2_fit = independent_tau2(fit)
    if constant and tau2_fit is not None:
        return _by_fits(tau2_fit, codes, levels, alpha, style)
    return Subgroups(np.full((levels, 5), np.nan), [""] * levels, "")


def _by_model(fit: Fitted, codes: Codes, first: Codes, alpha: float, style: Style) -> Subgroups:
    frame = predictions_at(fit).summary_frame(alpha).iloc[first]
    notes = [_q_note(fit, codes == j, None, style) for j in range(len(first))]
    rows = fit.table.exog[first]
    different = np.linalg.matrix_rank(rows[1:] - rows[0]) if len(rows) > 1 else 0
    text = ""
    if different:
        test = fit.wald_test(rows[1:] - rows[0], scalar=True)
        is_f = test.distribution == "F"
        df = (test.df_num, float(test.df_denom)) if is_f else (test.df_denom, None)
        text = test_text(float(test.statistic), df, float(test.pvalue), style)
    names = ("mean", "mean_ci_lower", "mean_ci_upper", "obs_ci_lower", "obs_ci_upper")
    return Subgroups(frame[list(names)].to_numpy(), notes, text)


def _by_fits(fit: Tau2Fitted, codes: Codes, levels: int, alpha: float, style: Style) -> Subgroups:
    kind, table = fit.covariance_type, fit.table
    if kind.factor is None:
        raise OptionError(
            f"by= fits each subgroup by itself, which cov_type={fit.cov_type!r} does not allow. "
            "Fit with 'knapp-hartung' or 'nonrobust', or have the column as a moderator."
        )
    fixed = fit.tau2 if fit.estimator is None else 0.0
    analysis = Analysis(fit.estimator, kind.factor, fit.use_t, fixed)
    values = np.full((levels, 5), np.nan)
    variance = np.full(levels, np.nan)
    notes = []
    for j in range(levels):
        which = codes == j
        y, v = table.endog[which], table.vi[which]
        if len(y) == 1:
            values[j, 0], variance[j] = y[0], v[0] + fixed
            values[j, 1:3] = interval(y, np.sqrt(variance[[j]]), alpha, None)[0]
            notes.append("")
            continue
        own = analysis.fit(y, v, np.ones((len(y), 1)))
        values[j, 0], variance[j] = own.params[0], own.cov[0, 0]
        values[j, 1:3] = own.conf_int(alpha)[0]
        spread = np.sqrt(variance[[j]] + own.tau2)
        values[j, 3:] = interval(own.params, spread, alpha, own.df)[0]
        notes.append(_q_note(fit, which, float(own.tau2), style))
    weights = 1.0 / variance
    centre = np.average(values[:, 0], weights=weights)
    q, df = float(weights @ (values[:, 0] - centre) ** 2), levels - 1
    text = test_text(q, (df, None), float(special.chdtrc(df, q)), style) if df else ""
    return Subgroups(values, notes, text)


def _q_note(fit: Fitted, which: np.ndarray, tau2: float | None, style: Style) -> str:
    """Heterogeneity within some studies about their mean; nothing where Q is undefined."""
    y, v = fit.table.endog[which], fit.table.vi[which]
    if len(y) < 2 or (v <= 0.0).any():
        return ""
    studies = Studies.build(y, v, design_basis(np.ones((len(y), 1))))
    test = q_test(float(q_residual(studies)), len(y) - 1)
    i2 = max(0.0, (test.q - test.df) / test.q) if test.q > 0.0 else 0.0
    if tau2 is None:
        return q_text(test.q, test.df, test.pvalue, i2, style)
    i2 = float(i2_h2(np.asarray(tau2), typical_variance(studies))[0])
    return f"{tau2_text(tau2)}; {q_text(test.q, test.df, test.pvalue, i2, style)}"
