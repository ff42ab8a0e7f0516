"""Permutation tests and the bootstrap on the batched kernel.

Permuting whole rows of the moderators is the same as permuting outcomes with their variances
against fixed moderators; deleting, drawing and choosing studies is counting them. So every
resampling scheme is a batch of data sets that share one design.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import factorial

import numpy as np
import numpy.typing as npt
from scipy import special

from metareg_sm._typing import Array, Rows
from metareg_sm.core.basis import Basis
from metareg_sm.core.gram import apply, inverse, pairs_of
from metareg_sm.core.likelihood import residuals_at
from metareg_sm.core.studies import Studies
from metareg_sm.stats.batch import BlockFit, Fitting, block_size, counted_block, join

# statistics of equal resamples may differ by rounding
_TIE = 1e-8


@dataclass(frozen=True, slots=True)
class Refit(Fitting):
    """How each resample is fitted, and what is taken from its fit."""

    def __call__(self, y: Array, v: Array) -> BlockFit:
        """Fit outcomes (n, k) with variances (n, k) or (k,)."""
        return self.fit(self.prepare(y, v))

    def t_statistics(self, fit: BlockFit) -> Array:
        """Coefficients over their standard errors, (n, p)."""
        p = fit.params.shape[1]
        diagonal = [i for i, (a, b) in enumerate(pairs_of(p)) if a == b]
        return fit.params / np.sqrt(fit.unscaled[:, diagonal] * fit.scale[:, None])

    def wald(self, fit: BlockFit, contrasts: Array) -> Array:
        """Wald statistic of joint contrasts (m, p) over m, (n,)."""
        m = len(contrasts)
        covariance = [[_bilinear(a, b, fit.unscaled.T) for b in contrasts] for a in contrasts]
        precision = inverse(np.array(covariance) * fit.scale)
        effect = contrasts @ fit.params.T
        return np.einsum("mn,mn->n", effect, apply(precision, effect)) / m


def _bilinear(a: Array, b: Array, packed: Array) -> Array:
    """Bilinear form a'Mb for symmetric M (q, n)."""
    pairs = pairs_of(len(a))
    weights = [a[i] * b[j] + (a[j] * b[i] if i != j else 0.0) for i, j in pairs]
    return np.asarray(weights) @ packed


def blocks(n: int, k: int) -> Iterator[slice]:
    """Ranges of resamples that are fitted together."""
    size = block_size(k)
    for begin in range(0, n, size):
        yield slice(begin, min(begin + size, n))


def count_arrangements(labels: Rows) -> int:
    """Number of distinct arrangements of labelled rows."""
    total = factorial(len(labels))
    for size in np.bincount(labels):
        total //= factorial(int(size))
    return total


def all_arrangements(labels: Rows) -> Rows:
    """Every distinct arrangement of labels, one a row, in lexicographic order."""
    current = np.sort(labels)
    found = [current.copy()]
    while True:
        rises = np.flatnonzero(current[:-1] < current[1:])
        if not rises.size:
            return np.stack(found)
        i = rises[-1]
        j = np.flatnonzero(current > current[i])
        j = j[j > i][-1]
        current[i], current[j] = current[j], current[i]
        current[i + 1 :] = current[i + 1 :][::-1].copy()
        found.append(current.copy())


def orders_of(arrangements: Rows, labels: Rows) -> Rows:
    """Orders of the studies that stand for arrangements of the rows of the moderators."""
    orders = np.empty_like(arrangements)
    orders[:, np.argsort(labels, kind="stable")] = np.argsort(arrangements, axis=1, kind="stable")
    return orders


def random_orders(n: int, k: int, rng: np.random.Generator) -> Rows:
    """Random permutations, (n, k)."""
    return rng.permuted(np.broadcast_to(np.arange(k), (n, k)), axis=1)


@dataclass(frozen=True, slots=True)
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
    y: Array, v: Array, refit: Refit, contrasts: Array, orders: Rows
) -> NullDistribution:
    """Refit with outcomes and variances in other orders against the same moderators."""
    t, omnibus = np.empty((len(orders), len(refit.basis.to_params))), np.full(len(orders), np.nan)
    for part in blocks(*orders.shape):
        fit = refit(y[orders[part]], v[orders[part]])
        t[part] = refit.t_statistics(fit)
        if len(contrasts):
            omnibus[part] = refit.wald(fit, contrasts)
    return NullDistribution(t, omnibus)


def flip_signs(y: Array, v: Array, refit: Refit, signs: Array) -> NullDistribution:
    """Refit with the signs of outcomes changed: the test of a mean of 0."""
    t = np.empty((len(signs), len(refit.basis.to_params)))
    for part in blocks(*signs.shape):
        t[part] = refit.t_statistics(refit(signs[part] * y, v))
    return NullDistribution(t, np.full(len(signs), np.nan))


def permute_residuals(
    y: Array, v: Array, refit: Refit, reduced: list[Basis], orders: Rows
) -> list[BlockFit]:
    """Freedman-Lane: refit to what a reduced model expects plus its permuted residuals.

    Residuals are standardised by sqrt(v + tau2) before, and scaled back after, they are permuted:
    only then are they exchangeable.

    Parameters
    ----------
    y, v : ndarray, (k,)
        Outcomes and variances.
    refit : Refit
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
    found = []
    for basis in reduced:
        part = replace(refit, basis=basis)
        null = part(y[None], np.broadcast_to(v, (1, len(v))))
        resid = residuals_at(Studies.build(y, v, basis), float(null.tau2[0]))
        sd = np.sqrt(v + null.tau2[0])
        expected = y - resid
        fits = [
            refit(expected + sd * (resid / sd)[orders[rows]], v) for rows in blocks(*orders.shape)
        ]
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


def refit_counts(y: Array, v: Array, refit: Refit, counts: npt.NDArray[np.generic]) -> BlockFit:
    """Refit the same studies, each as often as a row of counts (n, k) says."""
    fits = []
    for rows in blocks(*counts.shape):
        block = counted_block(y, v, refit.basis, counts[rows].astype(float))
        fits.append(refit.fit(block))
    return join(fits)


def refit_outcomes(outcomes: Array, v: Array, refit: Refit) -> BlockFit:
    """Refit to other outcomes (n, k) of the same studies."""
    return join([refit(outcomes[rows], v) for rows in blocks(*outcomes.shape)])


def deletions(k: int) -> Array:
    """Counts of the k data sets that lack one study each."""
    return 1.0 - np.eye(k)


def percentile_interval(draws: Array, alpha: float) -> Array:
    """Percentile interval of each column of draws (n, m): (m, 2)."""
    return np.quantile(draws, [alpha / 2.0, 1.0 - alpha / 2.0], axis=0).T


def bca_interval(draws: Array, estimate: Array, jackknife: Array, alpha: float) -> Array:
    """Bias-corrected and accelerated interval.

    Parameters
    ----------
    draws : ndarray, (n, m)
        Bootstrap distribution of m quantities.
    estimate : ndarray, (m,)
        Estimates from the data.
    jackknife : ndarray, (k, m)
        Estimates without each study in turn.
    alpha : float
        1 minus the coverage.

    Returns
    -------
    ndarray, (m, 2)

    References
    ----------
    Efron, B. (1987). Better bootstrap confidence intervals. Journal of the American Statistical
    Association, 82(397), 171-185.
    """
    n = len(draws)
    # draws that equal the estimate, as tau2 = 0 often does, count half
    below = (draws < estimate).mean(axis=0) + 0.5 * (draws == estimate).mean(axis=0)
    z0 = special.ndtri(np.clip(below, 0.5 / n, 1.0 - 0.5 / n))
    # without any one study there may be nothing left to fit, and no acceleration to be known
    gap = (jackknife.mean(axis=0) if len(jackknife) else 0.0) - jackknife
    spread = (gap**2).sum(axis=0)
    safe = np.where(spread > 0.0, spread, 1.0)
    acceleration = np.where(spread > 0.0, (gap**3).sum(axis=0) / (6.0 * safe**1.5), 0.0)
    ends = []
    for z in special.ndtri([alpha / 2.0, 1.0 - alpha / 2.0]):
        shifted = z0 + (z0 + z) / (1.0 - acceleration * (z0 + z))
        level = special.ndtr(shifted)
        ends.append([np.quantile(draws[:, j], level[j]) for j in range(draws.shape[1])])
    return np.asarray(ends).T
