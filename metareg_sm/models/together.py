"""Several models of the same shape, fitted in one call of the kernel."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from metareg_sm.core.studies import Studies
from metareg_sm.models.fit_options import fit_options
from metareg_sm.models.metareg import MetaReg
from metareg_sm.models.optimizers import optimize_tau2
from metareg_sm.models.tau2 import tau2_components
from metareg_sm.results.metareg import MetaRegResultsWrapper
from metareg_sm.stats.components import Optimization, Outcome

_OPTIONS = {"tau2", "cov_type", "cov_kwds", "use_t"}


def fit_together(
    models: Sequence[MetaReg],
    tau2: str | float = "reml",
    cov_type: str = "knapp-hartung",
    **fit_kwds: Any,
) -> list[MetaRegResultsWrapper]:
    """Fit models of the same studies and coefficients: tau2 of all in one call.

    Designs, outcomes and variances are stacked along a leading axis, and the estimator of tau2 runs
    once. Models are fitted one by one where their designs have other shapes or redundant columns,
    where an optimizer or weights were chosen, and where the estimate is not certain.

    Parameters
    ----------
    models : list of MetaReg
        The models.
    tau2, cov_type, **fit_kwds
        Of `MetaReg.fit`.

    Returns
    -------
    list of MetaRegResultsWrapper
        In the order of the models, each as `fit` gives it.
    """
    options = {"tau2": tau2, "cov_type": cov_type, **fit_kwds}
    checked = []
    if options.keys() <= _OPTIONS and _same_shape(models):
        checked = [fit_options(model, **options) for model in models]
    if not checked or checked[0].estimator is None or _has_zero_variance(models):
        return [model.fit(**options) for model in models]
    estimator = checked[0].estimator
    found = estimator.solve(_stacked(models), None)
    if not np.all(found.certified):
        return [model.fit(**options) for model in models]
    fits = []
    for i, (model, own) in enumerate(zip(models, checked, strict=True)):
        optimization = None
        if estimator.kind.likelihood:
            outcome = partial(_outcome, model.studies, estimator.kind.reml)
            optimization = Optimization(True, outcome)
        components = tau2_components(
            model,
            estimator,
            float(found.tau2[i]),
            float(found.se[i]),
            float(found.untruncated[i]),
            optimization,
        )
        fits.append(model.results_at(components, own))
    return fits


def _outcome(studies: Studies, reml: bool) -> Outcome:
    """What statsmodels' default optimizer returns."""
    return optimize_tau2(studies, reml, "lbfgs", None, 200, False, {}).optimization.outcome


def _same_shape(models: Sequence[MetaReg]) -> bool:
    return len({m.exog.shape for m in models}) == 1 and not any(m.redundant for m in models)


def _has_zero_variance(models: Sequence[MetaReg]) -> bool:
    return any(np.minimum.reduce(m.vi) <= 0.0 for m in models)


def _stacked(models: Sequence[MetaReg]) -> Studies:
    parts = [m.studies for m in models]
    X = [s.Z if s.X is None else s.X for s in parts]
    return Studies(
        np.stack([s.resid for s in parts]),
        np.stack([s.v for s in parts]),
        np.stack([s.Z for s in parts]),
        None,
        np.stack([s.outcome for s in parts]),
        None,
        np.stack(X),
    )
