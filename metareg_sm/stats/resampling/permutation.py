"""Null distributions of permutation tests, and their p-values."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from metareg_sm._typing import Array, Rows
from metareg_sm.core.basis import Basis
from metareg_sm.core.likelihood import residuals_at
from metareg_sm.core.studies import Studies
from metareg_sm.stats.batch import BlockFit, join
from metareg_sm.stats.blocks import check_room
from metareg_sm.stats.resampling.refit import ResampledModel, blocks

# statistics of equal resamples may differ by rounding
_TIE = 1e-8


@dataclass(frozen=True, slots=True, eq=False)
class NullDistribution:
    """Statistics of the resamples.

    Attributes
    ----------
    t : ndarray, (n, p)
        t statistics of the coefficients.
    omnibus : ndarray, (n,)
        Wald statistic of the moderators over their number; NaN without moderators.
    """

    t: Array
    omnibus: Array


def permute_rows(
    y: Array, v: Array, refit: ResampledModel, contrasts: Array, orders: Rows
) -> NullDistribution:
    """Refit with outcomes and variances in other orders against the same moderators."""
    t, omnibus = np.empty((len(orders), len(refit.basis.to_params))), np.full(len(orders), np.nan)
    for part in blocks(refit.basis.rank, *orders.shape):
        fit = refit(y[orders[part]], v[orders[part]])
        t[part] = refit.t_statistics(fit)
        if len(contrasts):
            omnibus[part] = refit.wald(fit, contrasts)
    return NullDistribution(t, omnibus)


def flip_signs(y: Array, v: Array, refit: ResampledModel, signs: Array) -> NullDistribution:
    """Refit with the signs of outcomes changed: the test of a mean of 0."""
    t = np.empty((len(signs), len(refit.basis.to_params)))
    for part in blocks(refit.basis.rank, *signs.shape):
        t[part] = refit.t_statistics(refit(signs[part] * y, v))
    return NullDistribution(t, np.full(len(signs), np.nan))


def permute_residuals(
    y: Array, v: Array, refit: ResampledModel, reduced: list[Basis], orders: Rows
) -> list[BlockFit]:
    """Freedman-Lane: refit to what a reduced model expects plus its permuted residuals.

    Residuals are standardised by sqrt(v + tau2) before, and scaled back after, they are permuted:
    only then are they exchangeable.

    Parameters
    ----------
    y, v : ndarray, (k,)
        Outcomes and variances.
    refit : ResampledModel
        The full model.
    reduced : list of Basis
        Designs without the tested moderators.
    orders : ndarray of int, (n, k)
        Permutations; the same for every reduced model.

    Returns
    -------
    list of BlockFit
        Fits of the full model, one entry a reduced model.

    References
    ----------
    Freedman, D., & Lane, D. (1983). A nonstochastic interpretation of reported significance
    levels. Journal of Business & Economic Statistics, 1(4), 292-298.
    """
    rank = refit.basis.rank
    check_room(len(orders) * len(reduced), rank, "resamples", "fewer resamples")
    found = []
    for basis in reduced:
        part = replace(refit, basis=basis)
        null = part(y[None], np.broadcast_to(v, (1, len(v))))
        resid = residuals_at(Studies.build(y, v, basis), float(null.tau2[0]))
        sd = np.sqrt(v + null.tau2[0])
        expected = y - resid
        ranges = blocks(refit.basis.rank, *orders.shape)
        fits = [refit(expected + sd * (resid / sd)[orders[rows]], v) for rows in ranges]
        found.append(join(fits))
    return found


def permutation_pvalue(null: Array, observed: Array, exact: bool) -> Array:
    """Share of resamples at least as extreme, larger being more extreme.

    Monte Carlo shares count the data themselves as one resample (Phipson & Smyth, 2010), so that
    no p-value is 0. A resample that could not be fitted counts as extreme.

    Parameters
    ----------
    null : ndarray, (n, ...)
        Statistics of the resamples.
    observed : ndarray, (...)
        Those of the data.
    exact : bool
        The resamples are all that there are.

    Returns
    -------
    ndarray, (...)
    """
    extreme = (~(null < observed - _TIE * np.maximum(observed, 1.0))).sum(axis=0)
    return extreme / len(null) if exact else (extreme + 1.0) / (len(null) + 1.0)
