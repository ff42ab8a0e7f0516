"""The likelihood of many parameter vectors at once, from products of the data and derivatives.

Everything that the likelihood and its derivatives need of a marginal covariance Sigma is its log
determinant and D' Sigma^-1 D, for D the design and the outcomes, with first and second derivatives:
`Moments`, of a few small matrices for each of any number of parameter vectors. Starts of a search,
resampled outcomes and points of a grid differ in their leading axes only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from metareg_sm._typing import Array, Codes, Mask
from metareg_sm.core.mixed.profile import LOG_2PI


class Moments(NamedTuple):
    """log |Sigma| and D' Sigma^-1 D of design and outcomes, the outcomes last, with derivatives.

    Attributes
    ----------
    logdet : ndarray, (...,)
        log |Sigma|.
    gram : ndarray, (..., p+1, p+1)
        D' Sigma^-1 D.
    logdet_1, gram_1 : ndarray, (m, ...) and (m, ..., p+1, p+1)
        First derivatives; no rows where they were not asked for.
    logdet_2, gram_2 : ndarray, (m, m, ...) and (m, m, ..., p+1, p+1)
        Second derivatives.
    """

    logdet: Array
    gram: Array
    logdet_1: Array
    gram_1: Array
    logdet_2: Array
    gram_2: Array


class Many(Protocol):
    """The data of a route as many parameter vectors, and many outcomes, want them."""

    @property
    def size(self) -> int:
        """Numbers of which there is one for each parameter vector: the measure of the work."""
        ...

    def moments(self, G: Sequence[Array], order: int, lanes: Codes | None) -> Moments:
        """Moments at covariance matrices of the terms.

        Parameters
        ----------
        G : sequence of ndarray, (..., q, q)
            One for each term.
        order : {0, 1, 2}
            Derivatives that are wanted: by the entries on and above the diagonal of each G, row by
            row, those below moving along.
        lanes : ndarray of int, (n,), optional
            Which outcomes they belong to, where these differ.
        """
        ...

    def with_outcomes(self, columns: Array, outcomes: Array) -> Many:
        """The same for other outcomes.

        Parameters
        ----------
        columns : ndarray, (p, k)
            Design.
        outcomes : ndarray, (B, k)
            Outcomes in the scale of the problem.
        """
        ...

    def without(self, columns: Array, clusters: Codes, deleted: Codes) -> Many:
        """The same without one cluster in each lane.

        Parameters
        ----------
        columns : ndarray, (p+1, k)
            Design in any basis, and the outcomes in the scale of the problem.
        clusters : ndarray of int, (k,)
            Clusters that hold whole groups of all terms and of V.
        deleted : ndarray of int, (B,)
            The cluster that each lane lacks. Of the constant in log |Sigma| it keeps its part.
        """
        ...


class Heights(NamedTuple):
    """Log-likelihoods with derivatives.

    Attributes
    ----------
    value : ndarray, (B,)
        Log-likelihood; -inf where it is undefined.
    gradient : ndarray, (B, m)
        Score.
    observed, expected : ndarray, (B, m, m)
        Negative Hessian and expected information.
    """

    value: Array
    gradient: Array
    observed: Array
    expected: Array


class Profile(NamedTuple):
    """Least squares in the moments.

    Attributes
    ----------
    value : ndarray, (...,)
        Log-likelihood; -inf where it is undefined.
    inverse : ndarray, (..., p, p)
        (X' Sigma^-1 X)^-1.
    coefs : ndarray, (..., p)
        Coefficients.
    defined : ndarray of bool, (...,)
        Whether X' Sigma^-1 X and the sum of squares are positive.
    """

    value: Array
    inverse: Array
    coefs: Array
    defined: Mask


def profile(moments: Moments, n: int, reml: bool) -> Profile:
    """Log-likelihood and coefficients of moments; n is k - p in REML, else k."""
    gram = moments.gram
    p = gram.shape[-1] - 1
    A, r, total = gram[..., :p, :p], gram[..., :p, p], gram[..., p, p]
    defined = np.isfinite(gram).all((-1, -2)) & np.isfinite(moments.logdet)
    if not defined.all():
        A = np.where(defined[..., None, None], A, np.eye(p))
    if p == 1:
        logdet, defined = np.log(np.abs(A[..., 0, 0])), defined & (A[..., 0, 0] > 0.0)
        inverse = 1.0 / np.where(defined[..., None, None], A, 1.0)
    else:
        sign, logdet = np.linalg.slogdet(A)
        defined = defined & (sign > 0.0)
        if not defined.all():
            A = np.where(defined[..., None, None], A, np.eye(p))
        inverse = np.asarray(np.linalg.inv(A), dtype=float)
    coefs = (inverse @ r[..., None])[..., 0]
    rss = total - (r * coefs).sum(-1)
    defined = defined & (rss > 0.0)
    value = moments.logdet + rss
    if reml:
        value = value + logdet
    value = np.where(defined, -0.5 * (n * LOG_2PI + value), -np.inf)
    return Profile(value, inverse, coefs, defined)


def heights(moments: Moments, n: int, reml: bool) -> Heights:
    """Log-likelihood, score and information of moments (B,); n is k - p in REML, else k."""
    at = profile(moments, n, reml)
    B, p = at.coefs.shape
    e = np.empty((B, p + 1, 1))
    np.negative(at.coefs, out=e[:, :p, 0])
    e[:, p] = 1.0
    first = moments.gram_1 @ e  # (m, B, p+1, 1)
    turned = e.transpose(0, 2, 1)
    u = first[:, :, :p]
    lead = at.inverse @ u
    slope = (turned @ first)[..., 0, 0]
    bend = (turned @ (moments.gram_2 @ e))[..., 0, 0]
    bend -= 2.0 * (u[None] * lead[:, None]).sum((-1, -2))
    logdet_1, logdet_2 = moments.logdet_1, moments.logdet_2
    if reml:
        own = moments.gram_1[..., :p, :p]
        A = at.inverse @ own
        logdet_1 = logdet_1 + (at.inverse * own).sum((-1, -2))
        second = (at.inverse * moments.gram_2[..., :p, :p]).sum((-1, -2))
        logdet_2 = logdet_2 + second - (A[:, None] * A.swapaxes(-1, -2)).sum((-1, -2))
    gradient = -0.5 * (logdet_1 + slope).T
    observed = 0.5 * (logdet_2 + bend).transpose(2, 0, 1)
    expected = -0.5 * logdet_2.transpose(2, 0, 1)
    return Heights(at.value, gradient, observed, expected)
