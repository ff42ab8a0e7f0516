"""The likelihood of many parameter vectors at once, from products of the data and derivatives.

Everything that the likelihood and its derivatives need of a marginal covariance Sigma is its log
determinant and D' Sigma^-1 D, for D the design and the outcomes, with first and second derivatives:
`Moments`, of a few small matrices for each of any number of parameter vectors. Starts of a search,
resampled outcomes and points of a grid differ in their leading axes only.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple, Protocol

import numpy as np

from metareg_sm._typing import Array, Codes, Mask
from metareg_sm.core.mixed.profile import LOG_2PI


class Moments(NamedTuple):
    """log |Sigma| and D' Sigma^-1 D of design and outcomes, the outcomes last, with derivatives.

    Attributes
    ----------
    logdet : ndarray, (d, ...)
        log |Sigma| and its packed derivatives: the value, first derivatives by m variables, second
        ones by `pairs`; the value alone where no others were asked for.
    gram : ndarray, (d, ..., p+1, p+1)
        D' Sigma^-1 D in the same way.
    """

    logdet: Array
    gram: Array


def packed(m: int) -> int:
    """Number of packed derivatives by m variables."""
    return 1 + m + m * (m + 1) // 2


def variables(d: int) -> int:
    """Number of variables of d packed derivatives."""
    return round((2.0 * d + 0.25) ** 0.5 - 1.5)


@cache
def pairs(m: int) -> tuple[Codes, Codes]:
    """Variables i <= j of packed second derivatives, in their order."""
    j, i = np.tril_indices(m)
    return i, j


@cache
def _square(m: int) -> Codes:
    """Where second derivatives by any two variables stand among the packed ones, (m, m)."""
    i, j = pairs(m)
    found = np.empty((m, m), dtype=np.intp)
    found[i, j] = found[j, i] = np.arange(len(i))
    return found


# Signs of the cofactors of two rows.
_SIGNS = np.array([[1.0, -1.0], [-1.0, 1.0]])


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
        order : {0, 2}
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
    logdet, gram = moments.logdet[0], moments.gram[0]
    p = gram.shape[-1] - 1
    r = gram[..., :p, p]
    positive, size, inverse = _inverted(gram[..., :p, :p])
    coefs = (inverse @ r[..., None])[..., 0]
    rss = gram[..., p, p] - (r * coefs).sum(-1)
    total = logdet + rss + size if reml else logdet + rss
    defined = positive & (rss > 0.0) & np.isfinite(total)
    value = np.where(defined, -0.5 * (n * LOG_2PI + total), -np.inf)
    return Profile(value, inverse, coefs, defined)


def _inverted(A: Array) -> tuple[Mask, Array, Array]:
    """Whether determinants are positive, their logarithms, and inverses; those of 1 else.

    Written out for one and two rows, which most models have: calls cost more than sums.
    """
    p = A.shape[-1]
    if p > 2:
        positive = np.asarray(np.isfinite(A).all((-1, -2)))
        sign, logdet = np.linalg.slogdet(_or_identity(A, positive))
        positive = positive & (sign > 0.0)
        return positive, logdet, np.asarray(np.linalg.inv(_or_identity(A, positive)), dtype=float)
    det = A[..., 0, 0] if p == 1 else A[..., 0, 0] * A[..., 1, 1] - A[..., 0, 1] * A[..., 1, 0]
    positive = (det > 0.0) & (det < np.inf)
    if not positive.all():
        A, det = _or_identity(A, positive), np.where(positive, det, 1.0)
    cofactors = 1.0 if p == 1 else A[..., ::-1, ::-1] * _SIGNS
    return positive, np.log(det), cofactors / det[..., None, None]


def _or_identity(A: Array, which: Mask) -> Array:
    return A if which.all() else np.where(which[..., None, None], A, np.eye(A.shape[-1]))


def heights(moments: Moments, n: int, reml: bool) -> Heights:
    """Log-likelihood, score and information of moments (d, B); n is k - p in REML, else k."""
    at = profile(moments, n, reml)
    B, p = at.coefs.shape
    m = variables(len(moments.logdet))
    e = np.ones((B, p + 1))
    e[:, :p] = -at.coefs
    turned = (moments.gram[1:] @ e[..., None])[..., 0]
    # first and second derivatives of the sum of squares at fixed coefficients
    squares = np.einsum("dbi,bi->db", turned, e)
    u = turned[:m, :, :p].transpose(1, 0, 2)
    bend = _squared(squares, m) - 2.0 * (u @ at.inverse @ u.swapaxes(1, 2))
    logdet = moments.logdet[1:]
    if reml:
        own = moments.gram[1:, :, :p, :p]
        logdet = logdet + np.einsum("dbij,bij->db", own, at.inverse)
    curve = _squared(logdet, m)
    if reml:
        A = (at.inverse @ own[:m]).transpose(1, 0, 2, 3)
        curve -= A.reshape(B, m, -1) @ A.swapaxes(2, 3).reshape(B, m, -1).swapaxes(1, 2)
    gradient = -0.5 * (logdet[:m] + squares[:m]).T
    return Heights(at.value, gradient, 0.5 * (curve + bend), -0.5 * curve)


def _squared(derivatives: Array, m: int) -> Array:
    """Second derivatives (B, m, m) of packed ones without the value, (d, B)."""
    return derivatives[m:].T.take(_square(m), axis=1)
