"""How a fit is repeated on resamples of its studies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from metareg_sm._typing import Array
from metareg_sm.core.basis import SPECTRAL_LIMIT, Basis, design_basis
from metareg_sm.exceptions import DesignError, OptionError
from metareg_sm.postestimation.fitted import Fitted, Tau2Fitted
from metareg_sm.stats.covariance import COVARIANCES
from metareg_sm.stats.resampling import ResampledModel


def refit_of(
    fit: Tau2Fitted, what: str = "Resampling", same_studies: bool = False
) -> ResampledModel:
    """How a fit is repeated on resamples.

    Parameters
    ----------
    fit : MetaRegResults
        The fit.
    what : str
        What needs it, for errors.
    same_studies : bool, default False
        Each resample has the same studies in the same places, so that weights of theirs go along.

    Raises
    ------
    OptionError
        If the fit has an option that cannot be carried over.
    DesignError
        If its moderators are redundant.
    """
    factor = factor_of(fit, what)
    estimator, weights = fit.estimator, fit.genq_weights
    if weights is not None and not same_studies:
        raise OptionError(f"{what} does not carry over weights=; fit without them.")
    if weights is not None and estimator is not None:
        solve = estimator.solve
        estimator = replace(estimator, solve=lambda studies, _: solve(studies, weights))
    return ResampledModel(fit.table.basis, estimator, fit.tau2, factor)


def factor_of(fit: Fitted, what: str) -> Callable[[Array], Array]:
    """The factor on the covariance of a fit that is repeated, from the residual mean square.

    Raises
    ------
    OptionError
        If the covariance is no multiple of (X'WX)^-1.
    DesignError
        If moderators are redundant.
    """
    factor = fit.covariance_type.factor
    if factor is None:
        known = ", ".join(repr(t.name) for t in COVARIANCES.values() if t.factor is not None)
        raise OptionError(f"{what} needs cov_type {known}; this fit has {fit.cov_type!r}.")
    if fit.table.basis.redundant:
        raise DesignError(f"{what} needs moderators that are not redundant; see {fit.redundant}.")
    return factor


def null_basis(fit: Fitted) -> Basis:
    """The constant alone, or nothing where the model has none."""
    k = int(fit.nobs)
    if fit.k_constant:
        return design_basis(np.ones((k, 1)))
    complement = np.eye(k) if k <= SPECTRAL_LIMIT else None
    return Basis(np.zeros((k, 0)), np.zeros((0, 0)), (), complement)
