"""A call that makes a fit again."""

from __future__ import annotations

import numpy as np

from metareg_sm.postestimation.fitted import Fitted
from metareg_sm.report.content import has_tau2
from metareg_sm.stats.covariance import COVARIANCES


def call_of(fit: Fitted) -> str:
    """A call in Python that makes a fit again, as far as the fit knows it.

    The sampling variances are named where a column of the data holds them. Clusters, whose name the
    fit does not know, are `groups`.
    """
    terms = fit.terms
    name = type(getattr(fit, "model", None)).__name__
    if terms.formula is None:
        made = f"{name}({terms.outcome}, exog, vi=vi)"
    else:
        made = f"{name}.from_formula({str(terms.formula)!r}, data, {_variances(fit)})"
    return f"{made}.fit({', '.join(_options(fit))})"


def _variances(fit: Fitted) -> str:
    frame, vi = fit.table.rows.frame, fit.table.vi
    numeric = {} if frame is None else frame.select_dtypes("number")
    for column, values in numeric.items():
        if np.array_equal(values.to_numpy(dtype=float), vi):
            return f"vi={str(column)!r}"
    for column, values in numeric.items():
        if np.allclose(values.to_numpy(dtype=float) ** 2, vi, rtol=1e-14, atol=0.0):
            return f"sei={str(column)!r}"
    return "vi=vi"


def _options(fit: Fitted) -> list[str]:
    options = []
    if has_tau2(fit):
        tau2 = fit.tau2 if fit.estimator is None else fit.estimator.name
        options.append(f"tau2={tau2!r}")
        if fit.genq_weights is not None:
            options.append("weights=weights")
    options.append(f"cov_type={fit.cov_type!r}")
    keywords = getattr(fit, "cov_kwds", {})
    if "correction" in keywords:
        correction = keywords["correction"]
        options.append(f"cov_kwds={{'groups': groups, 'correction': {correction!r}}}")
    if fit.use_t != COVARIANCES[fit.cov_type.lower()].use_t:
        options.append(f"use_t={fit.use_t}")
    return options
