"""What every way to factor the marginal covariance shares: least squares in whitened rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from metareg_sm._typing import Array
from metareg_sm.core.basis import TALL, orthonormalize, tall_inverse
from metareg_sm.core.gram import squared_length

LOG_2PI = float(np.log(2.0 * np.pi))


class Information(NamedTuple):
    """Information about parameters, (m, m) each.

    Attributes
    ----------
    average : ndarray
        1/2 y'P S_i P S_j P y: the mean of the observed and the expected information.
    expected : ndarray or None
        1/2 tr(P S_i P S_j), W for P in maximum likelihood; None where it is not affordable.
    """

    average: Array
    expected: Array | None

    @property
    def observed(self) -> Array:
        """Negative Hessian where G is linear in the parameters; the average where unaffordable."""
        return self.average if self.expected is None else 2.0 * self.average - self.expected


@dataclass(frozen=True, slots=True, eq=False)
class LeastSquares:
    """Regression of whitened outcomes on whitened columns.

    Attributes
    ----------
    Q : ndarray, (p, rows)
        Orthonormal basis of the whitened design.
    residuals : ndarray, (rows,)
        Whitened residuals.
    inverse : ndarray, (p, p)
        R^-1 of the whitened design = QR.
    coefs : ndarray, (p,)
        Coefficients of Q.
    """

    Q: Array
    residuals: Array
    inverse: Array
    coefs: Array

    @property
    def rss(self) -> float:
        """Residual sum of squares y'Py."""
        return squared_length(self.residuals)

    @property
    def logdet(self) -> float:
        """Value of log |X' Sigma^-1 X|."""
        return -2.0 * sum(math.log(abs(d)) for d in self.inverse.diagonal().tolist())

    @property
    def params(self) -> Array:
        """Coefficients of the design, (p,)."""
        params: Array = self.inverse @ self.coefs
        return params

    @property
    def cov_unscaled(self) -> Array:
        """(X' Sigma^-1 X)^-1."""
        return self.inverse @ self.inverse.T

    @property
    def columns(self) -> Array:
        """Q and the residuals, (p+1, rows)."""
        return np.concatenate([self.Q, self.residuals[None]])


def triangle(rows: Array) -> Array:
    """Triangle (c, c) or fewer columns with the same products as rows (c, n)."""
    return np.ascontiguousarray(np.asarray(np.linalg.qr(rows.T, mode="r")).T)


def least_squares(rows: Array) -> LeastSquares | None:
    """Least squares in whitened rows (p+1, rows), the outcome last; None where R is singular."""
    p, n = len(rows) - 1, rows.shape[1]
    X, y = rows[:p], rows[p]
    inverse: Array | None = None
    if n >= TALL and p:
        found = tall_inverse(X.T)
        if found is not None and found[1]:
            inverse = found[0]
            Q = inverse.T @ X
    if inverse is None:
        basis, inverse = orthonormalize(X.T)
        if inverse is None:
            return None
        Q = basis.T
    coefs = Q @ y
    e = y - coefs @ Q
    again = Q @ e
    return LeastSquares(Q, e - again @ Q, inverse, coefs + again)


class Effects(NamedTuple):
    """Predicted random effects of one term.

    Attributes
    ----------
    u : ndarray, (groups, q)
        Best linear unbiased predictions.
    cov : ndarray, (groups, q, q)
        Covariance of u less its prediction; that of the coefficients is counted in.
    """

    u: Array
    cov: Array


class Factor(Protocol):
    """A factored marginal covariance Sigma at given G."""

    @property
    def logdet(self) -> float:
        """Value of log |Sigma|."""
        ...

    def whiten(self, columns: Array) -> Array:
        """Columns (c, k) times a square root of Sigma^-1, row by row of the data; (c, k)."""
        ...

    def solve(self, columns: Array) -> Array:
        """Columns (c, k) times Sigma^-1; (c, k)."""
        ...

    def blocks(self) -> Sequence[Array]:
        """Blocks of Z' Sigma^-1 Z of each term, (groups, q, q)."""
        ...


class Evaluation(Factor, Protocol):
    """The regression at given G, in the scale of the problem, and derivatives by G."""

    @property
    def fit(self) -> LeastSquares:
        """Least squares of the whitened data."""
        ...

    def slopes(self, reml: bool) -> Sequence[Array]:
        """Derivative M (q, q) of the log-likelihood by the G of each term: dl = sum(M * dG)."""
        ...

    def information(self, stacks: Sequence[Array], reml: bool) -> Information:
        """Information about the parameters of all terms, from the derivatives (m, q, q) of each G.

        Parameters of a term stand together, in the order of the terms.
        """
        ...

    def effects(self) -> Sequence[Effects]:
        """Predicted random effects of each term."""
        ...


class Route(Protocol):
    """A way to factor the marginal covariance of one data set."""

    def evaluate(self, G: Sequence[Array]) -> Evaluation | None:
        """Factor at the covariance matrices of the terms; None where Sigma is singular."""
        ...
