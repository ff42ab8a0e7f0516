"""Location-scale meta-regression: ln tau_i^2 = z_i'alpha.

Viechtbauer & López-López (2022, Research Synthesis Methods 13, 697-715). Coefficients of the
location are profiled out; y_i ~ N(x_i'beta, v_i + tau_i^2). Leading axes are anything: starts of a
search, selections of the studies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from metareg_sm._typing import Array, Codes, Mask
from metareg_sm.core.basis import Basis
from metareg_sm.core.mixed.moments import Heights
from metareg_sm.core.mixed.profile import LOG_2PI
from metareg_sm.core.studies import residuals
from metareg_sm.core.wls import WLSFit, wls

# ln tau^2 changes by this much in a step at most
_LONGEST = 3.0
# tau^2 over v below which a study tells nothing about alpha
_NOTHING = 1e-10
# No tau^2 is that small, over v or of itself, unless alpha grows without end.
_RUN_OFF, _LEAST = 1e-100, 1e-250
# Twice the rise that a step promises below which it needs no test, and is the last one.
_NEAR, _LAST, _FLAT = 1e-7, 1e-12, 1e-13
# Eigenvalues of the information below which the likelihood is flat.
_CURVED = 1e-10
# A step is shortened by this factor until it leads up, and to this fraction of itself.
_SHORTER, _SHORTEST = 0.4, 1e-8
# Climbs, and what their number times that of the studies may reach: large data have one maximum.
_STARTS, _FEW = 2, 2000
# Log-likelihoods that differ by less are one maximum.
_SAME = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class ScalePoint:
    """The log-likelihood at alpha, with derivatives; alpha is that of an orthonormal design.

    Attributes
    ----------
    alpha : ndarray, (..., m)
        Coefficients of the scale.
    heights : Heights
        Log-likelihood, score, observed and expected information.
    tau2 : ndarray, (..., k)
        Variances of the true effects.
    fit : WLSFit
        Regression of the residuals on the basis of the location.
    """

    alpha: Array
    heights: Heights
    tau2: Array
    fit: WLSFit


@dataclass(frozen=True, eq=False)
class LocationScale:
    """Studies with a design of the location and of the scale.

    Of n data sets outcomes or counts have the leading axis, and the rest may; Z is shared.

    Attributes
    ----------
    X, e : ndarray, (..., k, p), (..., k)
        Orthonormal basis of the design, and the least-squares residuals of the outcomes.
    v : ndarray, (..., k)
        Sampling variances.
    Z : ndarray, (m, k)
        Basis of the design of the scale, of mean square 1.
    to_alpha : ndarray, (q, m)
        Map from coefficients of Z to those of the design of the scale.
    ols, to_params : ndarray, (..., p), (q, p)
        Coefficients of the basis by ordinary least squares, and the map to those of the design.
    counts : ndarray, (..., k)
        1 for studies that count, 0 for those that are left out.
    """

    X: Array
    e: Array
    v: Array
    Z: Array
    to_alpha: Array
    ols: Array
    to_params: Array
    counts: Array

    @classmethod
    def build(cls, y: Array, v: Array, location: Basis, scale_basis: Basis) -> LocationScale:
        """Prepare a data set.

        Parameters
        ----------
        y, v : ndarray, (k,)
            Outcomes and sampling variances.
        location, scale_basis : Basis
            Orthonormal bases of the two designs.
        """
        k = len(y)
        size = math.sqrt(k)
        return cls(
            location.Z,
            residuals(y, location.Z),
            v,
            np.ascontiguousarray(scale_basis.Z.T * size),
            scale_basis.to_params * size,
            y @ location.Z,
            location.to_params,
            np.ones(k),
        )

    def of(self, counts: Array) -> LocationScale:
        """The studies that count alone, (..., k)."""
        return replace(self, counts=counts)

    def at(self, lanes: Codes) -> LocationScale:
        """Some of n data sets, which may be named more than once."""
        axes = {"X": 2, "e": 1, "v": 1, "ols": 1, "counts": 1}
        own = {name: getattr(self, name) for name in axes}
        return replace(self, **{n: a[lanes] for n, a in own.items() if a.ndim > axes[n]})

    @property
    def lead(self) -> tuple[int, ...]:
        """Axes of several data sets: none, or (n,)."""
        return np.broadcast_shapes(self.e.shape[:-1], self.counts.shape[:-1])

    @property
    def k(self) -> int:
        """Number of studies."""
        return self.v.shape[-1]

    @property
    def p(self) -> int:
        """Number of linearly independent coefficients of the location."""
        return self.X.shape[-1]

    def tau2(self, alpha: Array) -> Array:
        """Variances of the true effects, (..., k)."""
        return variances(alpha @ self.Z)

    def _regression(self, alpha: Array, reml: bool) -> tuple[Array, Array, WLSFit, Array]:
        """tau2, weights, the regression and the log-likelihood; -inf where R is singular."""
        tau2 = self.tau2(alpha)
        total = self.v + tau2
        weights = self.counts / total
        fit = wls(self.e, weights, self.X)
        n = self.counts.sum(-1) - (self.p if reml else 0)
        value = -0.5 * (n * LOG_2PI + (self.counts * np.log(total)).sum(-1) + fit.rss)
        half = np.diagonal(fit.inverse, axis1=-2, axis2=-1)
        defined = np.isfinite(half).all(-1) & np.isfinite(value)
        if reml:
            value = value + np.log(np.abs(half)).sum(-1)
        return tau2, weights, fit, np.where(defined, value, -np.inf)

    def point(self, alpha: Array, reml: bool) -> ScalePoint:
        """Log-likelihood with derivatives."""
        tau2, weights, fit, value = self._regression(alpha, reml)
        share = weights * tau2
        trace = 1.0 - fit.leverage if reml else 1.0
        slope = 0.5 * share * (fit.wresid**2 - trace)
        D = share[..., None, :] * self.Z
        F = D * fit.wresid[..., None, :]
        inside = F @ fit.Q
        average = F @ _turned(F) - inside @ _turned(inside)
        weight = 1.0 - 2.0 * fit.leverage if reml else np.ones_like(share)
        traces = (D * weight[..., None, :]) @ _turned(D)
        if reml:
            Q = fit.Q[..., None, :, :]
            H = _turned(Q) @ (D[..., None] * Q)
            H = H.reshape(*H.shape[:-2], -1)
            traces = traces + H @ _turned(H)
        observed = average - 0.5 * traces - (self.Z * slope[..., None, :]) @ self.Z.T
        heights = Heights(value, slope @ self.Z.T, observed, 0.5 * traces)
        return ScalePoint(alpha, heights, tau2, fit)

    def loglike(self, alpha: Array, reml: bool) -> Array:
        """Log-likelihood, (...,); -inf where the weighted design is singular."""
        return self._regression(alpha, reml)[3]


def variances(log_variances: Array) -> Array:
    """exp, of what squares in floating point hold."""
    return np.exp(np.clip(log_variances, -600.0, 300.0))


def _turned(matrices: Array) -> Array:
    return np.swapaxes(matrices, -1, -2)


@dataclass(frozen=True, eq=False)
class ScaleFit:
    """Maxima of the likelihood of a location-scale model.

    Leading axes are those of the problem: none, or the data sets.

    Attributes
    ----------
    problem : LocationScale
        The studies.
    point : ScalePoint
        The highest maximum.
    converged : ndarray of bool, (...,)
        Whether the score is 0 within rounding.
    climbs : ndarray, (starts, ...)
        Log-likelihoods where the climbs ended.
    """

    problem: LocationScale
    point: ScalePoint
    converged: Mask
    climbs: Array

    @property
    def params(self) -> Array:
        """Coefficients of the location, (..., p)."""
        params: Array = (self.problem.ols + self.point.fit.params) @ self.problem.to_params.T
        return params

    @property
    def cov_unscaled(self) -> Array:
        """(X'WX)^-1, (..., p, p)."""
        half = self.problem.to_params @ self.point.fit.inverse
        cov: Array = half @ _turned(half)
        return cov

    @property
    def alpha(self) -> Array:
        """Coefficients of the scale, (..., q)."""
        alpha: Array = self.point.alpha @ self.problem.to_alpha.T
        return alpha

    @property
    def cov_alpha(self) -> Array:
        """Inverse of the observed information, (..., q, q); NaN at a boundary."""
        observed, to_alpha = self.point.heights.observed, self.problem.to_alpha
        defined = ~self.boundary & (np.linalg.eigvalsh(observed)[..., 0] > 0.0)
        defined = defined[..., None, None]
        inverse = np.linalg.inv(np.where(defined, observed, np.eye(len(to_alpha))))
        return np.where(defined, to_alpha @ inverse @ to_alpha.T, np.nan)

    @property
    def tau2(self) -> Array:
        """Variances of the true effects, (..., k)."""
        return self.point.tau2

    @property
    def loglike(self) -> Array:
        """Log-likelihood, (...,); -inf where it is undefined at every start."""
        return self.point.heights.value

    @property
    def boundary(self) -> Mask:
        """Where the likelihood grows towards tau^2 = 0 in some direction of alpha, (...,).

        It has no maximum there.
        """
        tau2, v, absent = self.tau2, self.problem.v, self.problem.counts == 0.0
        flat: Mask = np.linalg.eigvalsh(self.point.heights.expected)[..., 0] < 1e-8
        nothing = ((tau2 < _NOTHING * v) | absent).all(-1)
        return flat | nothing | ((tau2 <= np.maximum(_RUN_OFF * v, _LEAST)) & ~absent).any(-1)

    @property
    def others(self) -> tuple[float, ...]:
        """Log-likelihoods of other maxima that were met, where there are no leading axes."""
        lower = self.climbs[(self.climbs < self.loglike - _SAME) & np.isfinite(self.climbs)]
        return tuple(sorted({round(float(value), 6) for value in lower}))


def climb_scale(
    problem: LocationScale, start: Array, reml: bool, maxiter: int = 200
) -> tuple[Array, Array, Mask]:
    """Climb from many starts in step.

    Parameters
    ----------
    problem : LocationScale
        The studies; of n data sets, start b is one of data set b modulo n.
    start : ndarray, (B, m)
        Where climbs begin.
    reml : bool
        Restricted likelihood, else maximum likelihood.
    maxiter : int
        Evaluations at most.

    Returns
    -------
    alpha : ndarray, (B, m)
        Where they end.
    value : ndarray, (B,)
        The log-likelihood there.
    converged : ndarray of bool, (B,)
        Whether the score is 0 there.
    """
    n = math.prod(problem.lead)

    def heights(alpha: Array, lanes: Codes) -> Heights:
        return problem.at(lanes % n).point(alpha, reml).heights

    alpha, lanes = start.copy(), np.arange(len(start))
    converged = np.zeros(len(start), dtype=bool)
    at = heights(alpha, lanes)
    value, length = at.value.copy(), np.ones(len(start))
    going = np.isfinite(value)
    for _ in range(maxiter):
        lanes, length = lanes[going], length[going]
        if not lanes.size:
            break
        at = Heights(*(part[going] for part in at))
        step, rise, definite = _steps(at)
        longest = np.abs(step @ problem.Z).max(-1)
        step *= np.minimum(1.0, _LONGEST / np.maximum(longest, _LONGEST))[:, None]
        last = (definite & (rise < _LAST)) | (rise < _FLAT)
        alpha[lanes[last]] += step[last]
        # no rise can be told from rounding, or this lane is given up
        stuck = length < _SHORTEST
        small = stuck & (rise < 1e-9 * np.maximum(1.0, np.abs(at.value)))
        converged[lanes] = last | small
        going = ~(last | stuck)
        tried = alpha[lanes] + length[:, None] * step
        new = heights(tried, lanes)
        up = (new.value > at.value) | ((rise < _NEAR) & np.isfinite(new.value))
        up &= going
        alpha[lanes[up]], value[lanes[up]] = tried[up], new.value[up]
        for old, found in zip(at, new, strict=True):
            old[up] = found[up]
        length = np.where(up, 1.0, _SHORTER * length)
    return alpha, value, converged


def _steps(at: Heights) -> tuple[Array, Array, Mask]:
    """Newton steps, or scoring steps where the likelihood is not concave.

    With the rise that they promise, twice, and where the likelihood is concave, not just flat.
    """
    values, vectors = np.linalg.eigh(at.observed)
    convex = values[:, 0] < -_CURVED
    definite: Mask = values[:, 0] > _CURVED
    if convex.any():
        values[convex], vectors[convex] = np.linalg.eigh(at.expected[convex])
    along = (at.gradient[:, None] @ vectors)[:, 0]
    step = (vectors @ (along / np.maximum(values, 1e-12))[..., None])[..., 0]
    return step, (at.gradient * step).sum(-1), definite


def scale_starts(problem: LocationScale) -> Array:
    """Coefficients of the scale to begin climbs from, (starts, ..., m).

    Equal tau^2 of several sizes, and slopes.
    """
    counts, k = problem.counts, problem.counts.sum(-1)
    variance = (counts * problem.e**2).sum(-1) / np.maximum(k - problem.p, 1.0)
    typical = (counts * problem.v).sum(-1) / k
    tau2 = np.maximum(variance - typical, 0.05 * typical)
    ones = problem.Z.mean(1)
    equal = [np.log(size * tau2)[..., None] * ones for size in (1.0, 0.1, 0.01)]
    slopes = np.eye(len(ones))
    return np.stack(
        [*equal, *(equal[0] + size * s for s in slopes for size in (-5.0, -1.5, 1.5, 5.0))]
    )


def maximize_scale(problem: LocationScale, reml: bool, start: Array | None = None) -> ScaleFit:
    """Global maximum of the likelihood of a location-scale model, from several starts.

    Parameters
    ----------
    problem : LocationScale
        The studies, and data sets or selections of them that are fitted together.
    reml : bool
        Restricted likelihood, else maximum likelihood.
    start : ndarray, (m,), optional
        Coefficients of the orthonormal basis of the scale to begin with.

    Returns
    -------
    ScaleFit
    """
    together = problem if problem.lead else problem.of(problem.counts[None])
    begin = scale_starts(together)
    order = np.argsort(-together.loglike(begin, reml), axis=0, kind="stable")
    begin = np.take_along_axis(begin, order[..., None], 0)
    if start is not None:
        begin = np.concatenate([np.broadcast_to(start, (1, *begin.shape[1:])), begin])
    begin = begin[: max(_STARTS, _FEW // problem.k)]
    alpha, value, converged = climb_scale(together, begin.reshape(-1, begin.shape[-1]), reml)
    each, lead = begin.shape[:2], problem.lead
    value = value.reshape(each)
    best, own = value.argmax(0), np.arange(each[1])
    return ScaleFit(
        problem,
        problem.point(alpha.reshape(begin.shape)[best, own].reshape(*lead, -1), reml),
        converged.reshape(each)[best, own].reshape(lead),
        value.reshape(len(begin), *lead),
    )
