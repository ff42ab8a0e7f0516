"""Mass-univariate meta-regression: the same small model for very many outcomes."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd

from metareg_sm.core.basis import design_basis
from metareg_sm.core.tau2 import ESTIMATORS
from metareg_sm.exceptions import DesignError, OptionError
from metareg_sm.many.layout import Plan
from metareg_sm.many.results import REASONS, ManyResults, ManyTest
from metareg_sm.many.sources import open_outcomes, right_side
from metareg_sm.options import choose
from metareg_sm.stats.batch import Fitting, block_size
from metareg_sm.stats.covariance import COVARIANCES

__all__ = ["REASONS", "ManyResults", "ManyTest", "fit_many"]


def fit_many(
    endog: Any,
    exog: Any,
    vi: Any,
    tau2: str | float = "reml",
    cov_type: str = "knapp-hartung",
    data: pd.DataFrame | None = None,
    chunk: int | None = None,
    progress: bool = False,
) -> ManyResults:
    """Fit the same meta-regression to many outcomes.

    Parameters
    ----------
    endog : array_like, DataFrame, dask array or path, (n, k)
        One row an outcome, one column a study; NaN where a study is missing for an outcome. A path
        to a `.npy` or `.parquet` file is read block by block.
    exog : array_like, DataFrame or str, (k, p)
        Moderators of the studies, shared by all outcomes; or the right side of a formula, such as
        "~ age * dose", on the table `data`.
    vi : array_like, dask array or path, (n, k) or (k,)
        Sampling variances, each outcome's own or shared.
    tau2 : str or float, default "reml"
        Estimator of the heterogeneity, as `MetaReg.fit` has it, or a fixed value.
    cov_type : str, default "knapp-hartung"
        "knapp-hartung", "knapp-hartung-adhoc" or "nonrobust".
    data : DataFrame, optional
        Table of the studies, for a formula.
    chunk : int, optional
        Outcomes in one block; by default as many as stay in the processor's cache.
    progress : bool, default False
        Show a progress bar (needs tqdm); with dask arrays use dask's own.

    Returns
    -------
    ManyResults
        Numbers equal those of single fits; the search for tau2 is global for every outcome.

    Raises
    ------
    DesignError, VarianceError, OptionError
        As `MetaReg`; an outcome that has too few studies or no variation is no error, it is NaN
        with a reason code.

    Examples
    --------
    >>> import numpy as np
    >>> from metareg_sm import fit_many
    >>> rng = np.random.default_rng(1)
    >>> dose = np.linspace(0, 1, 12)
    >>> y = rng.normal(dose, 0.5, size=(1000, 12))
    >>> many = fit_many(y, np.column_stack([np.ones(12), dose]), np.full(12, 0.1))
    >>> many.params.shape, bool(many.converged.all())
    ((1000, 2), True)
    """
    covariance = choose(COVARIANCES, cov_type, "cov_type")
    if covariance.factor is None:
        known = ", ".join(repr(t.name) for t in COVARIANCES.values() if t.factor is not None)
        raise OptionError(f"cov_type={cov_type!r} is not for many fits. Choose one of {known}.")
    estimator, fixed = None, 0.0
    if isinstance(tau2, Real) and not isinstance(tau2, bool):
        fixed = float(tau2)
        if not np.isfinite(fixed) or fixed < 0.0:
            raise OptionError(f"A fixed tau2 must be finite and >= 0; got tau2={fixed:g}.")
    else:
        estimator = choose(ESTIMATORS, tau2, "tau2")
    X, names = right_side(exog, data)
    basis = design_basis(X)
    if basis.redundant:
        redundant = ", ".join(repr(names[j]) for j in basis.redundant)
        raise DesignError(f"The moderators are redundant: leave out {redundant}.")
    if chunk is not None and (
        isinstance(chunk, bool) or not isinstance(chunk, Integral) or chunk < 1
    ):
        raise OptionError(f"chunk must be a whole number of outcomes >= 1; got {chunk!r}.")
    size = block_size(len(X)) if chunk is None else int(chunk)
    source = open_outcomes(endog, vi, X, size, progress)
    plan = Plan(Fitting(basis, estimator, fixed, covariance.factor), covariance, X)
    table = source.map(plan.fit, plan.columns)
    return ManyResults(table, plan, source, names)
