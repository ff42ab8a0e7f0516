"""Two outcomes of each study about a line, both measured with error: slope by maximum likelihood.

van Houwelingen, Arends & Stijnen (2002). The true outcomes (x, y) of a study are bivariate normal;
the slope of y on x is cov(x, y) / var(x) of the true ones, which sampling errors do not bend.

Everything is a function of arrays whose last axis is the study and whose leading axes are data
sets.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import optimize, special

from metareg_sm._typing import Array, Mask

# Steps of 1 standard error in which an end of an interval is looked for.
_REACH = 60
_STEPS = 200
_HALVINGS = 12
# Squared length of a step in units of standard errors at which a climb has ended.
_DONE = 1e-24
_SMALL = 1e-10
# Correlations of the true outcomes, and shares of the variances of the observed ones, at which
# climbs begin.
_STARTS = ((0.7, 0.8), (-0.7, 0.5), (0.99, 0.1), (-0.99, 0.1))
_SHARES = (0.8, 0.1)


@dataclass(frozen=True, slots=True, eq=False)
class Bivariate:
    """The bivariate normal model of true outcomes (x, y), by maximum likelihood.

    Attributes
    ----------
    mean : ndarray, (..., 2)
        Means of x and y.
    mean_cov : ndarray, (..., 2, 2)
        Their covariance.
    cov : ndarray, (..., 2, 2)
        Covariance of the true x and y.
    llf : ndarray, (...)
        Log-likelihood.
    slope, intercept : ndarray, (...)
        Of the regression of true y on true x; nan where var(x) is 0.
    slope_se, slope_se_observed : ndarray, (...)
        By the delta method from the expected information, and from the curvature of the profile
        log-likelihood (the observed information).
    intercept_se : ndarray, (...)
        By the delta method.
    """

    mean: Array
    mean_cov: Array
    cov: Array
    llf: Array
    slope: Array
    intercept: Array
    slope_se: Array
    slope_se_observed: Array
    intercept_se: Array


@dataclass(frozen=True, slots=True, eq=False)
class _Point:
    """The log-likelihood at covariances of the true outcomes, with derivatives by (a, b, c).

    The covariance is that of the triangular root [[a, 0], [b, c]]; the means are profiled out.
    """

    value: Array
    mean: Array
    mean_cov: Array
    gradient: Array
    observed: Array
    expected: Array


def _point(data: tuple[Array, ...], root: Array) -> _Point:
    x, y, vx, vy = data
    a, b, c = (root[..., j] for j in range(3))
    s11, s12, s22 = a[..., None] ** 2 + vx, (a * b)[..., None], (b**2 + c**2)[..., None] + vy
    det = s11 * s22 - s12**2
    # P is the inverse of each study's marginal covariance
    p, q, r = s22 / det, -s12 / det, s11 / det
    A = _square(p.sum(-1), q.sum(-1), r.sum(-1))
    mean_cov = np.asarray(np.linalg.inv(A), dtype=float)
    sums = np.stack([(p * x + q * y).sum(-1), (q * x + r * y).sum(-1)], axis=-1)
    mean = np.einsum("...ij,...j->...i", mean_cov, sums)
    ex, ey = x - mean[..., :1], y - mean[..., 1:]
    z1, z2 = p * ex + q * ey, q * ex + r * ey
    k = x.shape[-1]
    value = -k * math.log(2.0 * math.pi) - 0.5 * (np.log(det) + ex * z1 + ey * z2).sum(-1)
    # by the elements (G11, G12, G22): directions E1, E2, E3 of the covariance
    M = [0.5 * (z1 * z1 - p).sum(-1), 0.5 * (z1 * z2 - q).sum(-1), 0.5 * (z2 * z2 - r).sum(-1)]
    traces = [
        [p * p, 2.0 * p * q, q * q],
        [2.0 * p * q, 2.0 * (q * q + p * r), 2.0 * q * r],
        [q * q, 2.0 * q * r, r * r],
    ]
    expected = 0.5 * _sums(traces)
    e = ((z1, 0.0 * z1), (z2, z1), (0.0 * z2, z2))
    weighted = [(p * i + q * j, q * i + r * j) for i, j in e]
    forms = _sums([[i * u + j * v for u, v in weighted] for i, j in e])
    moved = np.stack([np.stack([u.sum(-1), v.sum(-1)], axis=-1) for u, v in weighted], axis=-2)
    profiled = np.einsum("...ai,...ij,...bj->...ab", moved, mean_cov, moved)
    observed = forms - expected - profiled
    zero = np.zeros_like(a)
    J = np.stack(
        [
            np.stack([2.0 * a, zero, zero], axis=-1),
            np.stack([b, a, zero], axis=-1),
            np.stack([zero, 2.0 * b, 2.0 * c], axis=-1),
        ],
        axis=-2,
    )
    gradient = np.einsum("...ji,...j->...i", J, np.stack([M[0], 2.0 * M[1], M[2]], axis=-1))
    bend = np.zeros((*a.shape, 3, 3))
    bend[..., 0, 0] = 2.0 * M[0]
    bend[..., 0, 1] = bend[..., 1, 0] = 2.0 * M[1]
    bend[..., 1, 1] = bend[..., 2, 2] = 2.0 * M[2]
    turned = np.swapaxes(J, -1, -2)
    return _Point(
        value, mean, mean_cov, gradient, turned @ observed @ J - bend, turned @ expected @ J
    )


def _square(a: Array, b: Array, c: Array) -> Array:
    return np.stack([np.stack([a, b], axis=-1), np.stack([b, c], axis=-1)], axis=-2)


def _sums(parts: list[list[Array]]) -> Array:
    """Sums over the studies of a table of arrays (..., k), as matrices (..., i, j)."""
    return np.stack([np.stack([x.sum(-1) for x in row], axis=-1) for row in parts], axis=-2)


def _climb(data: tuple[Array, ...], root: Array, to_root: Array) -> tuple[Array, Array]:
    """Climb to a maximum, each data set (n, k) by itself.

    Parameters
    ----------
    data : tuple of ndarray, (n, k)
        x, y, vx, vy.
    root : ndarray, (n, m)
        Where to begin: coefficients of `to_root`.
    to_root : ndarray, (n, 3, m)
        Map to the elements (a, b, c) of the triangular root.

    Returns
    -------
    root, value : ndarray, (n, m) and (n,)
    """
    psi = root.copy()
    values = np.full(len(psi), -np.inf)
    alive = np.arange(len(psi))
    for _ in range(_STEPS):
        own, T = tuple(d[alive] for d in data), to_root[alive]
        at = _point(own, np.einsum("nij,nj->ni", T, psi[alive]))
        values[alive] = at.value
        gradient = np.einsum("nij,ni->nj", T, at.gradient)
        curvature = np.einsum("nia,nij,njb->nab", T, at.observed, T)
        scoring = np.einsum("nia,nij,njb->nab", T, at.expected, T)
        # in units in which the expected information is about 1
        size = np.sqrt(
            np.maximum(np.einsum("njj->nj", scoring), np.einsum("njj->nj", abs(curvature)))
        )
        size = np.where(size > 0.0, size, 1.0)
        bends, axes = np.linalg.eigh(curvature / (size[:, :, None] * size[:, None, :]))
        # a Newton step where the likelihood bends down, and up the slope where it does not
        bends = np.maximum(np.abs(bends), 1e-8)
        scaled = np.einsum("nij,ni->nj", axes, gradient / size) / bends
        step = np.einsum("nij,nj->ni", axes, scaled) / size
        gain = np.einsum("nj,nj->n", step, gradient)
        best, share = psi[alive], np.ones(len(alive))
        better = np.zeros(len(alive), dtype=bool)
        for _ in range(_HALVINGS):
            left = np.flatnonzero(~better)
            if not left.size:
                break
            tried = psi[alive[left]] + share[left, None] * step[left]
            found = _value(tuple(d[left] for d in own), np.einsum("nij,nj->ni", T[left], tried))
            rises = found >= values[alive[left]] - 1e-13 * np.abs(values[alive[left]])
            best[left[rises]] = tried[rises]
            better[left[rises]] = True
            share[left] *= 0.35
        psi[alive] = best
        alive = alive[better & (gain > _DONE)]
        if not alive.size:
            break
    return psi, _value(data, np.einsum("nij,nj->ni", to_root, psi))


def _value(data: tuple[Array, ...], root: Array) -> Array:
    x, y, vx, vy = data
    a, b, c = (root[:, j, None] for j in range(3))
    s11, s12, s22 = a**2 + vx, a * b, b**2 + c**2 + vy
    det = s11 * s22 - s12**2
    p, q, r = s22 / det, -s12 / det, s11 / det
    A = _square(p.sum(-1), q.sum(-1), r.sum(-1))
    sums = np.stack([(p * x + q * y).sum(-1), (q * x + r * y).sum(-1)], axis=-1)
    mean = np.linalg.solve(A, sums[..., None])[..., 0]
    ex, ey = x - mean[:, :1], y - mean[:, 1:]
    forms = p * ex * ex + 2.0 * q * ex * ey + r * ey * ey
    found: Array = -x.shape[-1] * math.log(2.0 * math.pi) - 0.5 * (np.log(det) + forms).sum(-1)
    return found


def _flat(*arrays: Array) -> tuple[tuple[Array, ...], tuple[int, ...]]:
    """Data sets along one axis, and the leading axes that they had."""
    same = np.broadcast_arrays(*arrays)
    shape = same[0].shape
    return tuple(np.asarray(d, dtype=float).reshape(-1, shape[-1]) for d in same), shape[:-1]


def _spreads(data: tuple[Array, ...]) -> Iterator[list[Array]]:
    """Standard deviations of the observed x and y, (n,) each: of all alike, and by precision."""
    pairs = list(zip(data[:2], data[2:], strict=True))
    for weigh in (np.ones_like, np.reciprocal):
        found = []
        for d, v in pairs:
            w = weigh(v) / weigh(v).sum(-1, keepdims=True)
            gaps = d - (w * d).sum(-1, keepdims=True)
            found.append(np.sqrt((w * gaps**2).sum(-1)))
        yield found


def fit_bivariate(x: Array, y: Array, vx: Array, vy: Array) -> Bivariate:
    """Fit the model to estimates x, y (..., k) with sampling variances; errors are independent.

    Climbs begin at several places, and the highest maximum counts.
    """
    data, shape = _flat(x, y, vx, vy)
    n = len(data[0])
    best, top = np.zeros((n, 3)), np.full(n, -np.inf)
    whole = np.broadcast_to(np.eye(3), (n, 3, 3))
    for (sx, sy), (rho, share) in product(_spreads(data), _STARTS):
        a, d = np.sqrt(share) * sx, np.sqrt(share) * sy
        begin = np.stack([a, rho * d, np.sqrt(1.0 - rho**2) * d], axis=-1)
        found, value = _climb(data, begin, whole)
        higher = value > top
        best[higher], top[higher] = found[higher], value[higher]
    return _described(data, best, shape)


def describe(x: Array, y: Array, vx: Array, vy: Array, cov: Array) -> Bivariate:
    """The model at a covariance (..., 2, 2) of the true outcomes that another fit found."""
    data, shape = _flat(x, y, vx, vy)
    G = np.reshape(cov, (-1, 2, 2))
    a = np.sqrt(np.maximum(G[:, 0, 0], 0.0))
    b = np.divide(G[:, 0, 1], a, out=np.zeros_like(a), where=a > 0.0)
    c = np.sqrt(np.maximum(G[:, 1, 1] - b**2, 0.0))
    return _described(data, np.stack([a, b, c], axis=-1), shape)


def _described(data: tuple[Array, ...], root: Array, shape: tuple[int, ...]) -> Bivariate:
    at = _point(data, root)
    a, b, c = root.T
    known = a**2 > _SMALL * data[2].min(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(known, b / a, np.nan)
        gradient = np.stack([-b / a**2, 1.0 / a, np.zeros_like(a)], axis=-1)
    inside = c**2 > _SMALL * data[3].min(-1)
    ses = [_delta(gradient, matrix, inside, known) for matrix in (at.expected, at.observed)]
    line = np.stack([-slope, np.ones_like(slope)], axis=-1)
    variance = np.einsum("ni,nij,nj->n", line, at.mean_cov, line) + (at.mean[:, 0] * ses[0]) ** 2
    found = (
        at.mean,
        at.mean_cov,
        _square(a**2, a * b, b**2 + c**2),
        at.value,
        slope,
        at.mean[:, 1] - slope * at.mean[:, 0],
        *ses,
        np.sqrt(variance),
    )
    return Bivariate(*(f.reshape((*shape, *f.shape[1:])) for f in found))


def _delta(gradient: Array, information: Array, inside: Mask, known: Mask) -> Array:
    """Standard errors of a function; the third parameter drops out where it is at its end of 0."""
    matrix = information.copy()
    ends = np.flatnonzero(~inside)
    matrix[ends, 2, :] = matrix[ends, :, 2] = 0.0
    matrix[ends, 2, 2] = 1.0
    matrix[~known], safe = np.eye(3), np.where(known[:, None], gradient, 0.0)
    try:
        solved = np.linalg.solve(matrix, safe[..., None])[..., 0]
    except np.linalg.LinAlgError:
        return np.full(len(matrix), np.nan)
    variance = np.einsum("ni,ni->n", safe, solved)
    with np.errstate(invalid="ignore"):
        return np.where(variance > 0.0, np.sqrt(variance), np.nan)


def profile_loglike(x: Array, y: Array, vx: Array, vy: Array, slope: float | Array) -> Array:
    """Maximum of the log-likelihood with the slope of true y on true x held, (...)."""
    data, shape = _flat(x, y, vx, vy)
    n = len(data[0])
    s = np.broadcast_to(np.asarray(slope, dtype=float), shape).reshape(n)
    # the root is [[a, 0], [s a, c]]
    to_root = np.zeros((n, 3, 2))
    to_root[:, 0, 0], to_root[:, 1, 0], to_root[:, 2, 1] = 1.0, s, 1.0
    top = np.full(n, -np.inf)
    for (sx, sy), share in product(_spreads(data), _SHARES):
        # no more of y than there is, on a steep line
        a = np.sqrt(share) * np.minimum(sx, 2.0 * sy / np.maximum(np.abs(s), 1e-300))
        begin = np.stack([a, np.sqrt(share) * sy], axis=-1)
        top = np.fmax(top, _climb(data, begin, to_root)[1])
    return top.reshape(shape)


def profile_interval(
    x: Array, y: Array, vx: Array, vy: Array, fit: Bivariate, alpha: float
) -> tuple[float, float]:
    """Profile-likelihood interval of the slope of one data set, x (k,).

    It is infinite on a side where the likelihood never falls off.
    """
    fall = 0.5 * float(special.chdtri(1.0, alpha))
    middle, se = float(fit.slope), float(fit.slope_se)
    step = se if np.isfinite(se) else max(abs(middle), 0.1)

    def excess(slope: float) -> float:
        return float(fit.llf - profile_loglike(x, y, vx, vy, slope)) - fall

    ends = []
    for side in (-1.0, 1.0):
        inner, width, end = middle, step, side * math.inf
        for _ in range(_REACH):
            outer = inner + side * width
            if excess(outer) > 0.0:
                end = float(optimize.brentq(excess, inner, outer, xtol=1e-10, rtol=1e-12))
                break
            inner, width = outer, 1.5 * width
            if width > 1e6 * step:
                break
        ends.append(end)
    return ends[0], ends[1]
