"""Fits of a location-scale model to permuted data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from metareg_sm._typing import Array, Mask, Rows
from metareg_sm.core.basis import Basis, design_basis
from metareg_sm.core.location_scale import LocationScale, ScaleFit, maximize_scale
from metareg_sm.core.studies import residuals
from metareg_sm.core.wls import wls
from metareg_sm.stats.blocks import Reason
from metareg_sm.stats.scale_refits import ScaleModel

# Numbers that an evaluation of the fits of one block may hold: fewer stay in the cache, and more
# make calls fewer.
_ROOM = 400_000

Resampled = Callable[[Rows], LocationScale]
"""The data sets of some resamples."""


@dataclass(frozen=True, slots=True, eq=False)
class ScaleStatistics:
    """Wald statistics of n fits; NaN where there is none.

    Where the likelihood grows towards a heterogeneity of 0, those of the scale are 0: what they
    tend to, as standard errors grow faster than coefficients.

    Attributes
    ----------
    t, scale_t : ndarray, (n, p) and (n, q)
        Coefficients over their standard errors, of the location and of the scale.
    omnibus, scale_omnibus : ndarray, (n,)
        Of the joint contrasts, over their number.
    reason : ndarray of int, (n,)
        `Reason` of fits that did not reach a maximum.
    """

    t: Array
    scale_t: Array
    omnibus: Array
    scale_omnibus: Array
    reason: Rows


@dataclass(frozen=True, slots=True, eq=False)
class ScaleResampling:
    """What permuted data are fitted with.

    Attributes
    ----------
    y : ndarray, (k,)
        Outcomes.
    model : ScaleModel
        The model, and how it is fitted.
    contrasts, scale_contrasts : ndarray, (m, p) and (l, q)
        What the omnibus tests say is 0.
    """

    y: Array
    model: ScaleModel
    contrasts: Array
    scale_contrasts: Array

    def permuted_location(self, orders: Rows) -> Resampled:
        """Study orders[i] is given row i of the moderators of the mean."""
        problem = self.model.problem

        def some(rows: Rows) -> LocationScale:
            X = problem.X[np.argsort(orders[rows], axis=1)]
            fit = wls(self.y, np.ones(X.shape[:-1]), X)
            return replace(problem, X=X, e=fit.wresid, ols=fit.params)

        return some

    def permuted_scale(self, orders: Rows) -> Resampled:
        """Study orders[i] is given row i of the moderators of the scale."""
        problem = self.model.problem

        def some(rows: Rows) -> LocationScale:
            own = orders[rows]
            ols = np.broadcast_to(problem.ols, (len(own), problem.p))
            return replace(problem, X=problem.X[own], e=problem.e[own], v=problem.v[own], ols=ols)

        return some

    def with_outcomes(self, outcomes: Callable[[Rows], Array]) -> Resampled:
        """Other outcomes of the same studies; `outcomes(rows)` are those of some resamples."""
        problem = self.model.problem

        def some(rows: Rows) -> LocationScale:
            y = outcomes(rows)
            return replace(problem, e=residuals(y, problem.X), ols=y @ problem.X)

        return some

    def permuted_residuals(self, location: Basis, scale_exog: Array, orders: Rows) -> Resampled:
        """Outcomes of a smaller model with permuted residuals.

        Residuals are standardised by sqrt(v + tau2) of each study before, and scaled back after,
        they are permuted: only then are they exchangeable.

        Parameters
        ----------
        location : Basis
            Of the moderators of the mean.
        scale_exog : ndarray, (k, q)
            Moderators of the scale; without any ln tau2 is 0.
        orders : ndarray of int, (n, k)
            Permutations.
        """
        v = self.model.problem.v
        tau2 = np.ones(len(v))
        if scale_exog.shape[1]:
            smaller = LocationScale.build(self.y, v, location, design_basis(scale_exog))
            tau2 = maximize_scale(smaller, self.model.reml).tau2
        sd = np.sqrt(v + tau2)
        standardised = wls(self.y, 1.0 / sd**2, location.Z).wresid
        expected = self.y - sd * standardised
        return self.with_outcomes(lambda rows: expected + sd * standardised[orders[rows]])

    def statistics(self, n: int, data: Resampled) -> ScaleStatistics:
        """Fit n data sets, as many at a time as memory holds."""
        model = self.model
        problem = model.problem
        m = len(problem.Z)
        size = max(1, _ROOM // (problem.k * (problem.p + m) * (m + 1)))
        parts = []
        for begin in range(0, n, size):
            rows = np.arange(begin, min(begin + size, n))
            parts.append(self._block(maximize_scale(data(rows), model.reml, model.alpha)))
        names = ("t", "scale_t", "omnibus", "scale_omnibus", "reason")
        return ScaleStatistics(*(np.concatenate([getattr(p, n) for p in parts]) for n in names))

    def _block(self, best: ScaleFit) -> ScaleStatistics:
        reason = np.zeros(len(best.loglike), dtype=np.intp)
        curved = np.isfinite(best.cov_alpha).all((-2, -1))
        reason[~(best.converged & curved)] = Reason.NOT_CERTIFIED
        reason[best.boundary] = Reason.UNBOUNDED
        reason[~np.isfinite(best.loglike)] = Reason.OUT_OF_RANGE
        unbounded = reason == Reason.UNBOUNDED
        failed = (reason > 0) & ~unbounded
        scale = self.model.factor(best.point.fit.rss / (best.problem.k - best.problem.p))
        cov = best.cov_unscaled * scale[:, None, None]
        t, omnibus = _wald(best.params, cov, self.contrasts, failed)
        scale_t, scale_omnibus = _wald(best.alpha, best.cov_alpha, self.scale_contrasts, failed)
        scale_t[unbounded] = 0.0
        if len(self.scale_contrasts):
            scale_omnibus[unbounded] = 0.0
        return ScaleStatistics(t, scale_t, omnibus, scale_omnibus, reason)


def _wald(params: Array, cov: Array, contrasts: Array, failed: Mask) -> tuple[Array, Array]:
    """Statistics of each coefficient, (n, p), and of the contrasts over their number, (n,)."""
    defined = np.isfinite(cov).all((-2, -1)) & ~failed
    cov = np.where(defined[:, None, None], cov, np.eye(params.shape[1]))
    t = np.where(defined[:, None], params / np.sqrt(np.diagonal(cov, axis1=-2, axis2=-1)), np.nan)
    if not len(contrasts):
        return t, np.full(len(params), np.nan)
    effect = params @ contrasts.T
    joint = np.linalg.solve(contrasts @ cov @ contrasts.T, effect[..., None])[..., 0]
    omnibus = np.where(defined, (effect * joint).sum(-1), np.nan) / len(contrasts)
    return t, omnibus
