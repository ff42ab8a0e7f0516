"""Fits of a location-scale model to selections of the same studies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from metareg_sm._typing import Array, Codes
from metareg_sm.core.basis import Basis
from metareg_sm.core.location_scale import LocationScale, maximize_scale, variances
from metareg_sm.core.wls import wls
from metareg_sm.stats.blocks import Reason, check_room, count_reasons
from metareg_sm.stats.heterogeneity import i2_h2
from metareg_sm.stats.refits import Refits, Selections

# Numbers that the evaluations of some selections may hold at a time.
_ROOM = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class ScaleRefits(Refits):
    """Fits to n selections of the same studies; NaN where one could not be fitted.

    `tau2` is the mean of the studies that count.

    Attributes
    ----------
    alpha, alpha_se : ndarray, (n, q)
        Coefficients of the scale and their standard errors; NaN where they have no maximum.
    working : ndarray, (n, m)
        The same of the orthonormal basis; where they have no maximum, where the climb ended.
    problem : LocationScale
        All studies.
    """

    alpha: Array
    alpha_se: Array
    working: Array
    problem: LocationScale

    def of_own(self, codes: Codes) -> Array:
        """Heterogeneity that each study has by the fit which lacks it, (k,)."""
        return variances((self.working[codes] * self.problem.Z.T).sum(-1))

    def of_all(self, rows: slice) -> Array:
        """Heterogeneity that all studies have by some of the fits, (n, k)."""
        return self.problem.tau2(self.working[rows])


@dataclass(frozen=True, slots=True, eq=False)
class ScaleModel:
    """The model that every selection is fitted with.

    Attributes
    ----------
    problem : LocationScale
        All studies.
    location, scale : Basis
        Of the two designs.
    reml : bool
        Restricted likelihood, else maximum likelihood.
    alpha : ndarray, (m,)
        Of the fit to all studies, in the orthonormal basis: where one of the climbs begins.
    factor : callable
        Factor on the covariance from the residual mean square (`CovarianceType.factor`).
    """

    problem: LocationScale
    location: Basis
    scale: Basis
    reml: bool
    alpha: Array
    factor: Callable[[Array], Array]


def refit_scale(model: ScaleModel, n: int, counts: Selections) -> ScaleRefits:
    """Fit n selections of the studies, as many at a time as memory holds.

    Parameters
    ----------
    model : ScaleModel
        How each is fitted.
    n : int
        Number of selections.
    counts : callable
        `counts(rows)` says which studies are in some selections, (len(rows), k).
    """
    problem = model.problem
    p, m = problem.p, len(problem.Z)
    check_room(n, p, "fits that lack some studies", "get_influence(groups=...) with few groups")
    found = _nothing(problem, n)
    # the derivatives of X'WX, one climb
    size = max(1, _ROOM // (problem.k * (p + m) * (m + 1)))
    for begin in range(0, n, size):
        rows = np.arange(begin, min(begin + size, n))
        _fill(found, rows, model, counts(rows))
    return found


def _fill(found: ScaleRefits, rows: Codes, model: ScaleModel, counts: Array) -> None:
    """Fit the selections of some rows."""
    problem, p, q = model.problem, model.problem.p, len(model.problem.Z)
    reason = count_reasons(counts, model.location)
    redundant = count_reasons(counts, model.scale) == Reason.REDUNDANT_MODERATORS
    reason[(reason == 0) & redundant] = Reason.REDUNDANT_SCALE
    reason[counts.sum(-1) <= p + q] = Reason.TOO_FEW_STUDIES
    found.reason[rows] = reason
    rows, counts = rows[reason == 0], counts[reason == 0]
    if not rows.size:
        return
    own = problem.of(counts)
    best = maximize_scale(own, model.reml, model.alpha)
    found.reason[rows[~best.converged]] = Reason.NOT_CERTIFIED
    found.reason[rows[best.boundary]] = Reason.UNBOUNDED
    fit, left = best.point.fit, counts.sum(-1)
    level = problem.point(model.alpha, model.reml).fit.params
    # an infinite tau2 of a study that does not count is none of the mean
    tau2 = np.where(counts > 0.0, best.tau2, 0.0).sum(-1) / left
    q_residual, typical = _typical(own)
    found.change[rows] = (fit.params - level) @ problem.to_params.T
    found.unscaled[rows] = fit.cov_unscaled
    found.tau2[rows], found.q[rows] = tau2, q_residual
    found.scale[rows] = model.factor(fit.rss / (left - p))
    found.i2[rows] = i2_h2(tau2, typical)[0]
    found.working[rows] = best.point.alpha
    found.alpha[rows] = np.where(best.boundary[:, None], np.nan, best.alpha)
    found.alpha_se[rows] = np.sqrt(np.diagonal(best.cov_alpha, axis1=-2, axis2=-1))
    undefined = rows[~np.isfinite(best.loglike)]
    found.reason[undefined] = Reason.OUT_OF_RANGE
    for values in (found.change, found.unscaled, found.tau2, found.scale, found.i2, found.alpha):
        values[undefined] = np.nan


def _nothing(problem: LocationScale, n: int) -> ScaleRefits:
    """Selections that have not been fitted."""
    p, (q, m) = problem.p, problem.to_alpha.shape

    def unknown(*shape: int) -> Array:
        return np.full((n, *shape), np.nan)

    return ScaleRefits(
        change=unknown(len(problem.to_params)),
        unscaled=unknown(p, p),
        tau2=unknown(),
        scale=unknown(),
        q=unknown(),
        i2=unknown(),
        reason=np.zeros(n, dtype=np.intp),
        alpha=unknown(q),
        alpha_se=unknown(q),
        working=unknown(m),
        problem=problem,
    )


def _typical(problem: LocationScale) -> tuple[Array, Array]:
    """Q_E and the typical sampling variance, (n,); NaN where a study has a variance of 0."""
    counts = problem.counts
    v = np.where(counts > 0.0, problem.v, 1.0)
    weights = counts / np.where(v > 0.0, v, np.nan)
    undefined = np.isnan(weights.sum(-1))
    fit = wls(problem.e, np.where(undefined[:, None], counts, weights), problem.X)
    trace = (weights * (1.0 - fit.leverage)).sum(-1)
    q = np.where(undefined, np.nan, fit.rss)
    return q, (counts.sum(-1) - problem.p) / trace
