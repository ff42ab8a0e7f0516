"""tau2 of a fit as a record: held fixed, or by an estimator of the registry."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from metareg_sm._typing import Array
from metareg_sm.core.tau2 import Estimator
from metareg_sm.exceptions import ConvergenceWarning, MemoryLimitError
from metareg_sm.models import checks
from metareg_sm.models.optimizers import optimize_tau2
from metareg_sm.stats.components import Likelihood, Optimization, VarianceComponents

if TYPE_CHECKING:
    from metareg_sm.models.metareg import MetaReg


def fixed_tau2(model: MetaReg, tau2: float) -> VarianceComponents:
    """A tau2 that is held fixed.

    Raises
    ------
    VarianceError
        If it is 0 with a sampling variance of 0.
    """
    if tau2 == 0.0:
        _refuse_zero_variance(model, "with tau2=0 the weights are 1/vi")
    label = "common effect" if tau2 == 0.0 else "fixed tau2"
    return VarianceComponents.of_tau2(tau2, 0.0, tau2, label, None, 0)


def estimated_tau2(
    model: MetaReg,
    estimator: Estimator,
    weights: Array | None,
    optimizer: str,
    start: float | None,
    maxiter: int,
    disp: bool,
    keywords: Mapping[str, Any],
) -> VarianceComponents:
    """tau2 by an estimator of the registry; the other parameters are those of `MetaReg.fit`.

    Raises
    ------
    VarianceError
        If a sampling variance of 0 leaves the model undefined.
    MemoryLimitError
        If there are too many coefficients for variances that differ very much.

    Warns
    -----
    ConvergenceWarning
        If an iteration ended before it converged.
    """
    run = None
    if estimator.kind.likelihood:
        try:
            run = optimize_tau2(
                model.studies, estimator.kind.reml, optimizer, start, maxiter, disp, keywords
            )
        except MemoryError as error:
            raise MemoryLimitError(str(error)) from error
        tau2, se, untruncated = run.tau2, run.se, run.tau2
    else:
        if not estimator.zero_variance:
            _refuse_zero_variance(model, f"the estimator {estimator.name!r} weights by 1/vi")
        found = estimator.solve(model.studies, weights)
        tau2, se, untruncated = float(found.tau2), float(found.se), float(found.untruncated)
        if not np.all(found.certified) and keywords.get("warn_convergence", True):
            warnings.warn(
                f"The iteration of {estimator.name!r} for tau2 ended before it converged.",
                ConvergenceWarning,
                stacklevel=3,
            )
    return tau2_components(
        model, estimator, tau2, se, untruncated, None if run is None else run.optimization
    )


def tau2_components(
    model: MetaReg,
    estimator: Estimator,
    tau2: float,
    se: float,
    untruncated: float,
    optimization: Optimization | None,
) -> VarianceComponents:
    """The record of an estimate.

    Raises
    ------
    VarianceError
        If it is 0 and so is a sampling variance.
    """
    if np.minimum.reduce(model.vi) <= 0.0 and tau2 <= 2.0 * float(
        model.studies.search_range(True)[0]
    ):
        _refuse_zero_variance(model, f"the estimate of tau2 by {estimator.name!r} is 0")
    maximised: Likelihood | None = None
    if estimator.kind.likelihood:
        maximised = "reml" if estimator.kind.reml else "ml"
    return VarianceComponents.of_tau2(
        tau2, se, untruncated, estimator.label, maximised, 1, optimization
    )


def _refuse_zero_variance(model: MetaReg, why: str) -> None:
    checks.refuse_zero_variance(model.vi, model.data.row_labels, why)
