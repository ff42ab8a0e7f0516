"""A fit in a few lines, as `repr` prints it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metareg_sm.exceptions import MetaRegError
from metareg_sm.postestimation.fitted import Fitted, Tau2Fitted
from metareg_sm.printing import Overview, number
from metareg_sm.report.frames import coefficients


def fit_overview(
    fit: Fitted, heterogeneity: Sequence[tuple[str, str]] = (), rows: str = "studies"
) -> Overview:
    """What `repr` of a fit prints.

    Parameters
    ----------
    fit : ModelResults
        The fit; its data may have been removed.
    heterogeneity : sequence of (str, str)
        Lines about the variances of the model.
    rows : str
        What a row of the data is.

    Returns
    -------
    Overview
    """
    formula = fit.terms.formula
    outcome = formula if isinstance(formula, str) else f"of {fit.terms.outcome}"
    lines = [("Model", f"{outcome}  ({fit.method}, {fit.cov_label})"), *heterogeneity]
    tested = _omnibus(fit)
    if tested:
        lines.append(("Moderators", tested))
    title = f"{fit.model_name}: {int(fit.nobs)} {rows}"
    return Overview(title, lines, coefficients(fit), "summary() has the notes that go with it.")


def variances(fit: Fitted) -> list[tuple[str, str]]:
    """Variances, with standard errors where they are estimated."""
    fixed = fit.components.n_estimated == 0
    found = zip(fit.components.names, fit.components.values, fit.components.se, strict=True)
    return [
        (
            str(name),
            number(value)
            + ("  held fixed" if fixed else "" if np.isnan(se) else f"  SE {number(se)}"),
        )
        for name, value, se in found
    ]


def shares(fit: Tau2Fitted) -> list[tuple[str, str]]:
    """I2 and R2 of a model with one variance."""
    try:
        found = fit.heterogeneity
    except MetaRegError:
        return [("I2, R2", "undefined, see heterogeneity")]
    return [("I2 from tau2", f"{found.i2:.4f}"), ("R2", f"{found.r2:.4f}")]


def _omnibus(fit: Fitted) -> str:
    if fit.df_model <= 0:
        return ""
    try:
        test = fit.omnibus
        m, df = test.df_num, test.df_denom
        name = f"chi2({m:.0f})" if df is None else f"F({m:.0f}, {df:.4g})"
        return f"{name} = {number(test.statistic)}, p-value {test.pvalue:.4g}"
    except MetaRegError as error:
        return str(error)
