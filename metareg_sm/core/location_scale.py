"""Location-scale meta-regression: ln tau_i^2 = z_i'alpha.

Viechtbauer & López-López (2022, Research Synthesis Methods 13, 697-715). Coefficients of the
location are profiled out; y_i ~ N(x_i'beta, v_i + tau_i^2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from metareg_sm._typing import Array
from metareg_sm.core.basis import Basis
from metareg_sm.core.mixed.profile import LOG_2PI, LeastSquares, least_squares
from metareg_sm.core.studies import residuals

# ln tau^2 changes by this much in a step at most
_LONGEST = 3.0
# tau^2 over v below which a study tells nothing about alpha
_NOTHING = 1e-10
_HALVINGS = 20


@dataclass(frozen=True, slots=True, eq=False)
class ScalePoint:
    """The log-likelihood at alpha, with derivatives; alpha is that of an orthonormal design.

    Attributes
    ----------
    alpha : ndarray, (m,)
        Coefficients of the scale.
    value : float
        Log-likelihood.
    gradient : ndarray, (m,)
        Score.
    observed, expected : ndarray, (m, m)
        Observed and expected information.
    tau2 : ndarray, (k,)
        Variances of the true effects.
    fit : LeastSquares
        Least squares of the whitened data.
    """

    alpha: Array
    value: float
    gradient: Array
    observed: Array
    expected: Array
    tau2: Array
    fit: LeastSquares


@dataclass(frozen=True, eq=False)
class LocationScale:
    """One data set with a design of the location and of the scale.

    Attributes
    ----------
    columns : ndarray, (p+1, k)
        Orthonormal basis of the design, and the least-squares residuals of the outcomes.
    v : ndarray, (k,)
        Sampling variances.
    Z : ndarray, (m, k)
        Basis of the design of the scale, of mean square 1.
    to_alpha : ndarray, (q, m)
        Map from coefficients of Z to those of the design of the scale.
    ols, to_params : ndarray
        Coefficients of the basis by ordinary least squares, and the map to those of the design.
    """

    columns: Array
    v: Array
    Z: Array
    to_alpha: Array
    ols: Array
    to_params: Array

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
        e = residuals(y, location.Z)
        k = len(y)
        size = math.sqrt(k)
        Z = np.ascontiguousarray(scale_basis.Z.T * size)
        return cls(
            np.vstack([location.Z.T, e]),
            v,
            Z,
            scale_basis.to_params * size,
            y @ location.Z,
            location.to_params,
        )

    @property
    def k(self) -> int:
        """Number of studies."""
        return len(self.v)

    @property
    def p(self) -> int:
        """Number of linearly independent coefficients of the location."""
        return len(self.columns) - 1

    def tau2(self, alpha: Array) -> Array:
        """Variances of the true effects, (k,)."""
        # beyond e^600 their squares are infinite
        return np.exp(np.clip(alpha @ self.Z, -600.0, 300.0))

    def point(self, alpha: Array, reml: bool) -> ScalePoint | None:
        """Log-likelihood with derivatives; None where the weighted design is singular."""
        tau2 = self.tau2(alpha)
        total = self.v + tau2
        root = 1.0 / np.sqrt(total)
        fit = least_squares(root * self.columns)
        if fit is None:
            return None
        n = self.k - self.p if reml else self.k
        value = -0.5 * (n * LOG_2PI + float(np.log(total).sum()) + fit.rss)
        leverage = np.einsum("pk,pk->k", fit.Q, fit.Q)
        share = tau2 / total
        trace = 1.0 - leverage if reml else 1.0
        slope = 0.5 * share * (fit.residuals**2 - trace)
        D = share * self.Z
        F = D * fit.residuals
        inside = F @ fit.Q.T
        average = F @ F.T - inside @ inside.T
        weight = 1.0 - 2.0 * leverage if reml else np.ones(self.k)
        traces = (D * weight) @ D.T
        if reml:
            value -= 0.5 * fit.logdet
            H = np.einsum("mk,pk,rk->mpr", D, fit.Q, fit.Q, optimize=True).reshape(len(D), -1)
            traces = traces + H @ H.T
        return ScalePoint(
            alpha,
            value,
            self.Z @ slope,
            average - 0.5 * traces - (self.Z * slope) @ self.Z.T,
            0.5 * traces,
            tau2,
            fit,
        )

    def loglike(self, alpha: Array, reml: bool) -> float:
        """Log-likelihood; -inf where the weighted design is singular."""
        total = self.v + self.tau2(alpha)
        fit = least_squares(self.columns / np.sqrt(total))
        if fit is None:
            return -math.inf
        n = self.k - self.p if reml else self.k
        value = -0.5 * (n * LOG_2PI + float(np.log(total).sum()) + fit.rss)
        return value - 0.5 * fit.logdet if reml else value


@dataclass(frozen=True, slots=True, eq=False)
class ScaleFit:
    """A maximum of the likelihood of a location-scale model.

    Attributes
    ----------
    params, cov_unscaled : ndarray, (p,), (p, p)
        Coefficients of the location and (X'WX)^-1.
    alpha : ndarray, (q,)
        Coefficients of the scale.
    cov_alpha : ndarray, (q, q)
        Inverse of the observed information; nan at a boundary.
    tau2 : ndarray, (k,)
        Variances of the true effects.
    loglike : float
        Log-likelihood.
    converged : bool
        Whether the score is 0 within rounding.
    boundary : bool
        The likelihood grows towards tau^2 = 0 in some direction of alpha, which has no maximum.
    others : tuple of float
        Log-likelihoods of other maxima that were met.
    """

    params: Array
    cov_unscaled: Array
    alpha: Array
    cov_alpha: Array
    tau2: Array
    loglike: float
    converged: bool
    boundary: bool
    others: tuple[float, ...]


def climb_scale(
    problem: LocationScale, start: Array, reml: bool, maxiter: int = 200
) -> tuple[ScalePoint, bool] | None:
    """Climb to a maximum: the point, and whether the score is 0."""
    point = problem.point(start, reml)
    if point is None:
        return None
    for _ in range(maxiter):
        step, rise, definite = _step(point)
        if rise < 1e-22 or (not definite and rise < 1e-16):
            return point, True
        longest = float(np.abs(step @ problem.Z).max())
        step = step * min(1.0, _LONGEST / longest)
        new = _search(problem, point, step, rise, reml)
        if new is None:
            return point, rise < 1e-9 * max(1.0, abs(point.value))
        if definite and rise < 1e-14 and _step(new)[1] >= rise:
            return point, True
        point = new
    return point, False


def _search(
    problem: LocationScale, point: ScalePoint, step: Array, rise: float, reml: bool
) -> ScalePoint | None:
    length = 1.0
    for _ in range(_HALVINGS):
        new = problem.point(point.alpha + length * step, reml)
        if new is not None and (rise < 1e-7 or new.value > point.value):
            return new
        length *= 0.4
    return None


def _step(point: ScalePoint) -> tuple[Array, float, bool]:
    """Newton step, or a scoring step where the likelihood is not concave."""
    values, vectors = np.linalg.eigh(point.observed)
    definite = bool(values[0] > 1e-10)
    if not definite:
        values, vectors = np.linalg.eigh(point.expected)
    along = vectors.T @ point.gradient
    step = vectors @ (along / np.maximum(values, 1e-12))
    return step, float(point.gradient @ step), definite


def scale_starts(problem: LocationScale) -> list[Array]:
    """Coefficients of the scale to begin climbs from: equal tau^2 of several sizes, and slopes."""
    e = problem.columns[-1]
    variance, typical = float(e @ e) / max(problem.k - problem.p, 1), float(problem.v.mean())
    tau2 = max(variance - typical, 0.05 * typical)
    ones = problem.Z @ np.ones(problem.k) / problem.k
    found = [math.log(size * tau2) * ones for size in (1.0, 0.1, 0.01)]
    for j in range(len(problem.Z)):
        for slope in (-1.5, 1.5):
            tilted = found[0].copy()
            tilted[j] += slope
            found.append(tilted)
    return found


def maximize_scale(
    problem: LocationScale, reml: bool, start: Array | None = None, n_starts: int = 4
) -> ScaleFit | None:
    """Global maximum of the likelihood of a location-scale model, from several starts.

    Parameters
    ----------
    problem : LocationScale
        The data.
    reml : bool
        Restricted likelihood, else maximum likelihood.
    start : ndarray, (m,), optional
        Coefficients of the orthonormal basis of the scale to begin with.
    n_starts : int
        Number of climbs.

    Returns
    -------
    ScaleFit or None
        None where the likelihood is undefined at every start.
    """
    candidates = sorted(scale_starts(problem), key=lambda a: -problem.loglike(a, reml))
    if start is not None:
        candidates.insert(0, start)
    climbs = [climb_scale(problem, a, reml) for a in candidates[:n_starts]]
    found = [c for c in climbs if c is not None]
    if not found:
        return None
    point, converged = max(found, key=lambda c: c[0].value)
    others = sorted({round(c[0].value, 6) for c in found if c[0].value < point.value - 1e-6})
    return scale_fit(problem, point, converged, tuple(others))


def scale_fit(
    problem: LocationScale,
    point: ScalePoint,
    converged: bool,
    others: tuple[float, ...],
) -> ScaleFit:
    """Record of a maximum in the coefficients of the designs."""
    fit = point.fit
    half = problem.to_params @ fit.inverse
    boundary = bool(np.linalg.eigvalsh(point.expected)[0] < 1e-8) or bool(
        np.all(point.tau2 < _NOTHING * problem.v)
    )

    cov_alpha = np.full(problem.to_alpha.shape, np.nan)
    if not boundary and np.linalg.eigvalsh(point.observed)[0] > 0.0:
        cov_alpha = problem.to_alpha @ np.linalg.inv(point.observed) @ problem.to_alpha.T
    return ScaleFit(
        problem.to_params @ (problem.ols + fit.params),
        half @ half.T,
        problem.to_alpha @ point.alpha,
        cov_alpha,
        point.tau2,
        point.value,
        converged,
        boundary,
        others,
    )
