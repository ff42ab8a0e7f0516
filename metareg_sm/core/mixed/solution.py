"""What a fit of dependent effects hands out: regression, components and predicted effects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.linalg import lapack

from metareg_sm._typing import Array, Mask
from metareg_sm.core.mixed.likelihood import MixedLikelihood
from metareg_sm.core.mixed.profile import Effects, Evaluation

# Share of a parameter's information that must be its own for a standard error.
_SINGULAR = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Components:
    """Variances and correlations of all terms, in the order of the terms.

    Attributes
    ----------
    terms : tuple of int
        Term of each component.
    names : tuple of str
        "variance", "variance[j]", "rho" or "rho[i,j]" within its term, levels from 0.
    values : ndarray, (m,)
        Variances in squared units of the outcome, and correlations; nan for the correlation with
        a level of variance 0.
    cov : ndarray, (m, m)
        Inverse of the information; nan where it is singular.
    boundary : ndarray of bool, (m,)
        Variances of 0 and correlations at the end of their range.
    information : {"expected", "average"}
        Which information `cov` inverts.
    """

    terms: tuple[int, ...]
    names: tuple[str, ...]
    values: Array
    cov: Array
    boundary: Mask
    information: Literal["expected", "average"]

    @property
    def standard_errors(self) -> Array:
        """Standard errors, (m,)."""
        se: Array = np.sqrt(np.diagonal(self.cov))
        return se


@dataclass(frozen=True, slots=True, eq=False)
class MixedSolution:
    """The regression at given variance parameters, in units of the data.

    Attributes
    ----------
    problem : MixedLikelihood
        The data.
    phi : ndarray, (m,)
        Working parameters, in units of the problem.
    evaluation : Evaluation
        The factored covariance there.
    reml : bool
        Restricted likelihood, else maximum likelihood.
    """

    problem: MixedLikelihood
    phi: Array
    evaluation: Evaluation
    reml: bool

    @property
    def loglike(self) -> float:
        """Log-likelihood."""
        return self.problem.loglike_of(self.evaluation, self.reml)

    @property
    def matrices(self) -> list[Array]:
        """G of each term, in squared units of the outcome."""
        return [G * self.problem.scale**2 for G in self.problem.matrices(self.phi)]

    @property
    def params(self) -> Array:
        """Coefficients of the design."""
        problem = self.problem
        coefs = problem.ols + problem.scale * self.evaluation.fit.params
        params: Array = problem.to_params @ coefs
        return params

    @property
    def cov_unscaled(self) -> Array:
        """(X' Sigma^-1 X)^-1, in squared units of the coefficients."""
        half = self.problem.to_params @ self.evaluation.fit.inverse * self.problem.scale
        return half @ half.T

    @property
    def rss(self) -> float:
        """y'Py: the squared length of the whitened residuals."""
        return self.evaluation.fit.rss

    def whiten(self, columns: Array) -> Array:
        """Columns (k, c) or (k,) times a square root of Sigma^-1, in the order of the data.

        Rows of a block are mixed among themselves only.
        """
        flat = columns[:, None] if columns.ndim == 1 else columns
        white = self.evaluation.whiten(np.ascontiguousarray(flat.T)).T / self.problem.scale
        return white[:, 0] if columns.ndim == 1 else white

    def solve(self, columns: Array) -> Array:
        """Columns (k, c) or (k,) times Sigma^-1."""
        flat = columns[:, None] if columns.ndim == 1 else columns
        solved = self.evaluation.solve(np.ascontiguousarray(flat.T)).T / self.problem.scale**2
        return solved[:, 0] if columns.ndim == 1 else solved

    def components(self) -> Components:
        """Variances and correlations with the inverse of their information."""
        problem, labels = self.problem, self.problem.components
        phi = self.phi * problem.units
        pairs = zip(problem.terms, problem.slices, strict=True)
        found = [term.structure.reported(phi[at]) for term, at in pairs]
        information = self.evaluation.information([f.directions for f in found], self.reml)
        kind: Literal["expected", "average"] = "expected"
        matrix = information.expected
        if matrix is None:
            matrix, kind = information.average, "average"
        values = np.concatenate([f.values for f in found])
        # directions are in units of the outcome, the evaluation in those of the problem
        cov = inverse_information(matrix) * problem.scale**4
        ends = (values <= labels.low) | (values >= labels.high)
        return Components(labels.terms, labels.names, values, cov, ends, kind)

    def effects(self) -> list[Effects]:
        """Predicted random effects of each term, one row a group."""
        s = self.problem.scale
        return [Effects(e.u * s, e.cov * s**2) for e in self.evaluation.effects()]


def inverse_information(information: Array) -> Array:
    """Inverse of an information matrix; nan for parameters that it says nothing about."""
    size = np.sqrt(np.maximum(information.diagonal(), 0.0))
    known = size > 0.0
    if known.all():
        return _inverse(information, size)
    found = np.full(information.shape, np.nan)
    pick = np.ix_(known, known)
    found[pick] = _inverse(information[pick], size[known])
    return found


def _inverse(information: Array, size: Array) -> Array:
    """Inverse where the roots of the diagonal are positive."""
    sizes = np.outer(size, size)
    values, vectors, failed = lapack.dsyev(information / sizes)
    inside = (values > _SINGULAR) & (failed == 0)
    if inside.all():
        inverse: Array = (vectors / values) @ vectors.T
        return inverse / sizes
    # what cannot be computed is loose, too
    loose = ~((vectors[:, ~inside] ** 2).sum(1) <= _SINGULAR)
    inverse = (vectors[:, inside] / values[inside]) @ vectors[:, inside].T
    inverse[loose] = np.nan
    inverse[:, loose] = np.nan
    return inverse / sizes


def solve(
    problem: MixedLikelihood, phi: Array, reml: bool, evaluation: Evaluation | None = None
) -> MixedSolution | None:
    """The regression at working parameters, if not given; None where Sigma is singular."""
    phi = problem.canonical(phi)
    if evaluation is None:
        evaluation = problem.evaluate(phi)
    return None if evaluation is None else MixedSolution(problem, phi, evaluation, reml)
