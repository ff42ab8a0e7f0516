"""Likelihood of a step-function selection model and its first two derivatives, without quadrature.

A study with mean m and variance s2 = v + tau2 is published with a probability proportional to the
weight d_j of the interval that its p-value falls in. Its density is d_j N(y; m, s2) / A with
A = sum_j d_j P_j, P_j being the normal probability of the interval: differences of the normal
distribution function at bounds of y that are known (Vevea & Hedges, 1995). All derivatives of A
are Hermite polynomials of the standardised bounds times normal densities.

Everything is formed relative to A through logarithms, so that far tails lose nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from metareg_sm._typing import Array, Codes, Rows
from metareg_sm.core.likelihood.profile import total_of

_LOG_ROOT_2PI = 0.5 * float(np.log(2.0 * np.pi))
# an interval so narrow, in standard deviations, that its probability is better taken from a series
_NARROW = 0.02
# the log of a weight that is 0
LOG_ZERO = -800.0


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Log-likelihood and derivatives with respect to (coefficients, tau2, log weights but one).

    Attributes
    ----------
    value : ndarray, (n,)
    gradient : ndarray, (n, d)
    hessian : ndarray, (n, d, d)
    """

    value: Array
    gradient: Array
    hessian: Array


@dataclass(frozen=True, slots=True, eq=False)
class SelectionData:
    """n data sets of k studies, ready for the likelihood.

    Attributes
    ----------
    y, v : ndarray, (n, k)
        Outcomes, turned so that small p-values stand for large ones, and sampling variances.
    X : ndarray, (k, p) or (n, k, p)
        Moderators.
    bounds : ndarray, (C, n, k)
        Bounds of the outcome between intervals, ascending along the first axis.
    counts : ndarray, (n, J)
        Studies in each interval of the p-value.
    weight_of : ndarray of int, (C + 1,)
        Which weight each interval of the outcome has.
    """

    y: Array
    v: Array
    X: Array
    bounds: Array
    counts: Array
    weight_of: Codes

    def take(self, rows: Rows) -> SelectionData:
        """Some of the data sets, in any order and as often as wanted."""
        X = self.X if self.X.ndim == 2 else self.X[rows]
        y, v, bounds = self.y[rows], self.v[rows], self.bounds[:, rows]
        return SelectionData(y, v, X, bounds, self.counts[rows], self.weight_of)


def log_probabilities(u: Array) -> Array:
    """Logarithms of the normal probabilities between ascending bounds.

    Parameters
    ----------
    u : ndarray, (C, ...)
        Standardised bounds, ascending along the first axis.

    Returns
    -------
    ndarray, (C + 1, ...)
        Below the first, between neighbours, above the last. Relative accuracy holds in the tails
        and for narrow intervals.

    Examples
    --------
    >>> import numpy as np
    >>> np.exp(log_probabilities(np.array([0.0]))).round(3)
    array([0.5, 0.5])
    """
    below, above = special.log_ndtr(u), special.log_ndtr(-u)
    out = np.empty((len(u) + 1, *u.shape[1:]))
    out[0], out[-1] = below[0], above[-1]
    if len(u) > 1:
        low, high = u[:-1], u[1:]
        # from the tail that is nearer, where the two probabilities differ the most
        right = low > 0.0
        large = np.where(right, above[:-1], below[1:])
        small = np.where(right, above[1:], below[:-1])
        width = high - low
        narrow = (width < _NARROW) & (np.abs(low) < 2.0)
        with np.errstate(divide="ignore"):
            out[1:-1] = large + np.log1p(-np.exp(small - large))
        if narrow.any():
            m, h2 = 0.5 * (low + high)[narrow], width[narrow] ** 2
            m2 = m * m
            series = h2 * (m2 - 1.0) / 24.0 + h2 * h2 * ((m2 - 6.0) * m2 + 3.0) / 1920.0
            density = -0.5 * m2 - _LOG_ROOT_2PI
            out[1:-1][narrow] = density + 0.5 * np.log(h2) + np.log1p(series)
    return out


def _over_bounds(a: Array) -> Array:
    """Sum over the bounds, the first axis."""
    return a[0] if len(a) == 1 else total_of(a, 0)


def loglike(data: SelectionData, beta: Array, tau2: Array, log_weights: Array) -> Array:
    """Log-likelihood alone; parameters as in `evaluate`, (n,)."""
    s2 = data.v + tau2[:, None]
    mean = (data.X @ beta[..., None])[..., 0]
    u = (data.bounds - mean) / np.sqrt(s2)
    logs = log_probabilities(u) + log_weights.T[data.weight_of][..., None]
    top = logs.max(0)
    log_a = top + np.log(np.exp(logs - top).sum(0))
    density = -0.5 * np.log(s2) - 0.5 * (data.y - mean) ** 2 / s2 - _LOG_ROOT_2PI
    return (data.counts * log_weights).sum(-1) + (density - log_a).sum(-1)


def evaluate(data: SelectionData, beta: Array, tau2: Array, log_weights: Array) -> Evaluation:
    """Log-likelihood, gradient and Hessian.

    Parameters
    ----------
    data : SelectionData
    beta : ndarray, (n, p)
        Coefficients.
    tau2 : ndarray, (n,)
        Heterogeneity; v + tau2 is positive.
    log_weights : ndarray, (n, J)
        Logarithms of the weights; the first is 0. `LOG_ZERO` stands for a weight of 0.

    Returns
    -------
    Evaluation
        Derivatives with respect to beta, tau2 and `log_weights[:, 1:]`.

    References
    ----------
    Vevea, J. L., & Hedges, L. V. (1995). A general linear model for estimating effect size in the
    presence of publication bias. Psychometrika, 60(3), 419-435.
    """
    X, p = data.X, data.X.shape[-1]
    s2 = data.v + tau2[:, None]
    precision = 1.0 / s2
    root = np.sqrt(precision)
    mean = (X @ beta[..., None])[..., 0]
    z, u = (data.y - mean) * root, (data.bounds - mean) * root
    lw = log_weights.T[data.weight_of][..., None]
    logs = log_probabilities(u) + lw
    top = np.maximum.reduce(logs, 0)
    shares = np.exp(logs - top)
    total = total_of(shares, 0)
    shares /= total
    log_a = top + np.log(total) + _LOG_ROOT_2PI
    # weight times density over A, on either side of each bound
    u2 = u * u
    density = -0.5 * u2 - log_a
    under, over = np.exp(density + lw[:-1]), np.exp(density + lw[1:])
    z2 = z * z
    value = total_of(data.counts * log_weights, -1)
    value += total_of(np.log(root) - 0.5 * z2 - log_a, -1)

    # derivatives of A over A: each is (a Hermite polynomial times e), summed over bounds
    e = over - under
    eu = e * u
    third, fourth = _over_bounds(eu * u - e), _over_bounds(eu * (u2 - 3.0))
    half = 0.5 * precision
    a_mean, a_tau2 = _over_bounds(e) * root, _over_bounds(eu) * half
    weights = _Weights.build(data, shares, under, over, u, root, half)
    h_mean = a_mean * a_mean - precision - 2.0 * a_tau2
    n, J, k = len(value), data.counts.shape[-1], s2.shape[-1]
    # what is multiplied with the moderators, and what is summed, for mean, tau2 and weights
    by_mean, by_tau2 = np.empty((n, 1 + J, k)), np.empty((n, 1 + J, k))
    by_mean[:, 0] = z * root - a_mean
    by_mean[:, 1] = a_mean * a_tau2 - precision * root * (z + 0.5 * third)
    by_mean[:, 2:] = weights.share * a_mean[:, None] - weights.by_mean
    by_tau2[:, 0] = half * (z2 - 1.0) - a_tau2
    by_tau2[:, 1] = precision * precision * (0.5 - z2 - 0.25 * fourth) + a_tau2 * a_tau2
    by_tau2[:, 2:] = weights.share * a_tau2[:, None] - weights.by_tau2
    crossed, summed = by_mean @ X, total_of(by_tau2, -1)

    gradient, hessian = np.empty((n, p + J)), np.empty((n, p + J, p + J))
    gradient[:, :p], gradient[:, p] = crossed[:, 0], summed[:, 0]
    gradient[:, p + 1 :] = data.counts[:, 1:] - total_of(weights.share, -1)
    hessian[:, :p, :p] = (np.swapaxes(X, -1, -2) * h_mean[:, None, :]) @ X
    hessian[:, p:, :p] = crossed[:, 1:]
    hessian[:, :p, p:] = np.swapaxes(hessian[:, p:, :p], -1, -2)
    hessian[:, p, p:] = hessian[:, p:, p] = summed[:, 1:]
    hessian[:, p + 1 :, p + 1 :] = weights.block
    return Evaluation(value, gradient, hessian)


@dataclass(frozen=True, slots=True, eq=False)
class _Weights:
    """Shares of A of each weight but the first, and their derivatives before A changes.

    These are (n, J - 1, k); `block` is the Hessian of log weights, (n, J - 1, J - 1).
    """

    share: Array
    by_mean: Array
    by_tau2: Array
    block: Array

    @classmethod
    def build(
        cls,
        data: SelectionData,
        shares: Array,
        under: Array,
        over: Array,
        u: Array,
        root: Array,
        half: Array,
    ) -> _Weights:
        J, weight_of = data.counts.shape[-1], data.weight_of
        # shares of the intervals of the outcome, and their derivatives from both bounds of each
        each = np.zeros((3, *shares.shape))
        each[0] = shares
        each[1, 1:], each[2, 1:] = over, over * u
        each[1, :-1] -= under
        each[2, :-1] -= under * u
        if len(weight_of) == J:
            # in the opposite order: one interval of the outcome has each weight
            found = each[:, ::-1]
        else:
            found = np.zeros((3, J, *root.shape))
            for m, j in enumerate(weight_of):
                found[:, j] += each[:, m]
        share, by_mean, by_tau2 = np.swapaxes(found, 1, 2)
        block = share @ np.swapaxes(share, -1, -2)
        # rows sum to 0, for shares sum to 1: no share near 1 is taken from 1
        diagonal = np.arange(J)
        block[:, diagonal, diagonal] = 0.0
        block[:, diagonal, diagonal] = -total_of(block, -1)
        own = (by_mean[:, 1:] * root[:, None], by_tau2[:, 1:] * half[:, None])
        return cls(share[:, 1:], *own, block[:, 1:, 1:])
