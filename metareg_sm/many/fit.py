"""Mass-univariate meta-regression: the same small model for very many outcomes."""

from __future__ import annotations

from inspect import currentframe
from typing import Any

import pandas as pd

from metareg_sm.exceptions import DesignError
from metareg_sm.many.layout import shared_model
from metareg_sm.many.matching import open_source
from metareg_sm.many.moderators import read_moderators
from metareg_sm.many.overview import REASONS
from metareg_sm.many.results import ManyResults, ManyTest
from metareg_sm.options import whole_number
from metareg_sm.stats.blocks import block_size

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
        One row an outcome, one column a study; NaN, or masked in a masked array, where a study is
        missing for an outcome. A path to a `.npy` or `.parquet` file is read block by block.
    exog : array_like, DataFrame or str, (k, p)
        Moderators of the studies, shared by all outcomes; or the right side of a formula, such as
        "~ age * dose", on the table `data`.
    vi : array_like, DataFrame, Series, dask array or path, (n, k) or (k,)
        Sampling variances, each outcome's own or shared; missing as in `endog`.
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
        As `MetaReg`, and if labels do not match. An outcome that has too few studies or no
        variation is no error: its numbers are NaN, and `ManyResults.reason` says why.
    FileError
        If a file cannot be read, or does not hold what its name says.
    MemoryLimitError
        If memory runs out; with outcomes in files, one block of them is held at a time.

    Notes
    -----
    Tables go together by their labels: studies are the columns of `endog` and of `vi`, the index of
    `exog` or `data`, and the index of a Series `vi`; outcomes are the index of `endog` and of `vi`.
    Where their order differs, that of `endog` holds; where their labels differ, they are refused.
    Arrays, and tables whose labels are 0, 1, 2, ... and are not those of the other in another
    order, go by position.

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
    size = None if chunk is None else whole_number(chunk, "chunk")
    here = currentframe()
    # names in a formula are those of whoever calls this function
    moderators = read_moderators(exog, data, here.f_back if here is not None else None)
    size = block_size(len(moderators.exog)) if size is None else size
    source, moderators = open_source(endog, vi, moderators, size, progress)
    model = shared_model(moderators.exog, tau2, cov_type)
    redundant = model.batch.basis.redundant
    if redundant:
        names = ", ".join(repr(moderators.names[j]) for j in redundant)
        raise DesignError(f"The moderators are redundant: leave out {names}.")
    table = source.map(model.fit, model.layout.width)
    return ManyResults(table, model, source, moderators.names)
