"""A call that makes a fit again."""

from __future__ import annotations

import numpy as np

from metareg_sm.postestimation.fitted import Fitted, has_tau2
from metareg_sm.stats.covariance import COVARIANCES


def call_of(fit: Fitted) -> str:
    """A call in Python that makes a fit again, as far as the fit knows it.

    The sampling variances are named where a column of the data holds them. Clusters, whose name the
    fit does not know, are `groups`.
    """
    terms = fit.terms
    model = getattr(fit, "model", None)
    name = type(model).__name__
    given = _variances(fit) if getattr(model, "V", None) is None else "V=V"
    if terms.formula is None:
        start = f"{name}({terms.outcome}, exog"
    else:
        start = f"{name}.from_formula({str(terms.formula)!r}, data"
    arguments = ", ".join([start, given, *_random_part(model)])
    return f"{arguments}).fit({', '.join(_options(fit))})"


def _random_part(model: object) -> list[str]:
    """What a model of more than one variance was told of them."""
    terms = getattr(model, "random_terms", ())
    labels = [str(term.label) for term in terms]
    # "1 | district/school" brings "1 | district" with it
    kept = [a for a in labels if not any(b.startswith(f"{a}/") for b in labels)]
    found = [f"random={(kept[0] if len(kept) == 1 else kept)!r}"] if kept else []
    if any(not term.is_intercept for term in terms):
        found.append(f"structure={getattr(model, 'structure', 'un')!r}")
    scale = getattr(model, "scale_formula", None)
    return [*found, f"scale_formula={scale!r}"] if scale is not None else found


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
    elif fit.components.maximised == "ml":
        options.append("reml=False")
    options.append(f"cov_type={fit.cov_type!r}")
    keywords = getattr(fit, "cov_kwds", {})
    if "correction" in keywords:
        correction = keywords["correction"]
        options.append(f"cov_kwds={{'groups': groups, 'correction': {correction!r}}}")
    if fit.use_t != COVARIANCES[fit.cov_type.lower()].use_t:
        options.append(f"use_t={fit.use_t}")
    return options
