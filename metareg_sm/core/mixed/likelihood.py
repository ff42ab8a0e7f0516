"""The profile likelihood of dependent effects as a function of the parameters of all terms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from metareg_sm._typing import Array
from metareg_sm.core.basis import Basis
from metareg_sm.core.gram import squared_length
from metareg_sm.core.mixed.blocks import Blocks
from metareg_sm.core.mixed.blockwise import Blockwise
from metareg_sm.core.mixed.covariances import Kind
from metareg_sm.core.mixed.moments import Heights, Many
from metareg_sm.core.mixed.nested import Nested
from metareg_sm.core.mixed.profile import LOG_2PI, Evaluation, Route
from metareg_sm.core.mixed.routes import choose_route
from metareg_sm.core.mixed.terms import KnownBlock, Term
from metareg_sm.core.mixed.upward import Upward
from metareg_sm.core.studies import residuals

# Levels of a term beyond which derivatives by pairs of entries of G would cost more than they save.
_WIDE = 6
# Correlations so close to -1 or 1 are there, where their parameters have no ends.
_END = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """The log-likelihood at working parameters, with derivatives.

    Attributes
    ----------
    phi : ndarray, (m,)
        Working parameters.
    value : float
        Log-likelihood.
    gradient : ndarray, (m,)
        Score.
    observed : ndarray, (m, m)
        Negative Hessian (with the average information where the expected one is not affordable).
    scoring : ndarray, (m, m)
        Expected information, or the average information: positive semidefinite.
    exact : bool
        Whether `observed` is the Hessian.
    evaluation : Evaluation or None
        The regression there; None where it was not needed.
    """

    phi: Array
    value: float
    gradient: Array
    observed: Array
    scoring: Array
    exact: bool
    evaluation: Evaluation | None


def point_of(heights: Heights, phi: Array, lane: int) -> Point:
    """Point of one of many log-likelihoods."""
    value, gradient, observed, expected = (part[lane] for part in heights)
    return Point(phi, float(value), gradient, observed, expected, True, None)


class Slope(NamedTuple):
    """The log-likelihood and its first derivatives (m,), and the regression there."""

    value: float
    gradient: Array
    evaluation: Evaluation


class ComponentLabels(NamedTuple):
    """Variances and correlations of all terms, whatever their values.

    Attributes
    ----------
    terms : tuple of int
        Term of each component, in the order of the terms.
    names : tuple of str
        "variance", "variance[j]", "rho" or "rho[i,j]" within its term, levels from 0.
    low, high : ndarray, (m,)
        Where a component is at an end of its range.
    """

    terms: tuple[int, ...]
    names: tuple[str, ...]
    low: Array
    high: Array


@dataclass(frozen=True, eq=False)
class MixedLikelihood:
    """One data set with dependent effects: y ~ N(Xb, V + sum over terms of Z (I x G) Z').

    Attributes
    ----------
    route : Route
        How the marginal covariance is factored; in units of `scale`.
    terms : tuple of Term
        Random terms.
    scale : float
        Power of 2 that outcomes are divided by.
    k, p : int
        Number of effect sizes and of linearly independent coefficients.
    smallest, typical : float
        Smallest and mean sampling variance, over scale squared.
    least : tuple of float
        Least variance of the mean of a group of each term, were effect sizes independent, over
        scale squared: what is far below it cannot be told from 0.
    residual_variance : float
        Mean squared residual of ordinary least squares, over scale squared.
    ols : ndarray, (p,)
        Coefficients of the orthonormal basis by ordinary least squares.
    to_params : ndarray, (coefficients, p)
        Map from coefficients of the basis to those of the design.
    """

    route: Route
    terms: tuple[Term, ...]
    scale: float
    k: int
    p: int
    smallest: float
    typical: float
    least: tuple[float, ...]
    residual_variance: float
    ols: Array
    to_params: Array

    @classmethod
    def build(
        cls,
        y: Array,
        basis: Basis,
        known: Array | Sequence[KnownBlock],
        terms: Sequence[Term],
    ) -> MixedLikelihood:
        """Prepare a data set.

        Parameters
        ----------
        y : ndarray, (k,)
            Outcomes.
        basis : Basis
            Orthonormal basis of the design.
        known : ndarray, (k,), or sequence of KnownBlock
            Sampling variances, or blocks of V that cover every row once.
        terms : sequence of Term
            At least one random term.
        """
        Z = basis.Z
        k = len(y)
        e = residuals(y, Z)
        variances: Array
        if isinstance(known, np.ndarray):
            variances = known
        else:
            variances = np.concatenate([np.diagonal(block.matrix) for block in known])
        # geometric between what is known and what is seen; a power of 2 rounds nothing
        mean_square = squared_length(e) / max(k - Z.shape[1], 1)
        middle = math.sqrt(float(variances.mean()) * max(mean_square, float(variances.min())))
        scale = 2.0 ** round(0.5 * math.log2(middle)) if middle > 0.0 else 1.0
        columns = np.vstack([Z.T, e / scale])
        scaled: Array | list[KnownBlock]
        if isinstance(known, np.ndarray):
            scaled = known / scale**2
        else:
            scaled = [KnownBlock(b.rows, b.matrix / scale**2) for b in known]
        return cls(
            choose_route(columns, scaled, terms),
            tuple(terms),
            scale,
            k,
            Z.shape[1],
            float(variances.min()) / scale**2,
            float(variances.mean()) / scale**2,
            tuple(_least(term, variances) / scale**2 for term in terms),
            mean_square / scale**2,
            y @ Z,
            basis.to_params,
        )

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """Where the working parameters of each term stand."""
        ends = np.cumsum([len(term.structure.kinds) for term in self.terms]).tolist()
        return tuple(slice(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True))

    @cached_property
    def kinds(self) -> tuple[Kind, ...]:
        """What each working parameter is."""
        return tuple(kind for term in self.terms for kind in term.structure.kinds)

    @cached_property
    def bounds(self) -> tuple[Array, Array]:
        """Ends of the working parameters."""
        ends = [term.structure.bounds for term in self.terms]
        return np.concatenate([low for low, _ in ends]), np.concatenate([high for _, high in ends])

    @cached_property
    def units(self) -> Array:
        """Working parameters in units of the outcome over those that the likelihood takes, (m,)."""
        power = {"variance": 2, "sd": 1, "free": 1, "correlation": 0}
        return np.array([self.scale ** power[kind] for kind in self.kinds])

    @cached_property
    def components(self) -> ComponentLabels:
        """Which variances and correlations are reported."""
        terms: list[int] = []
        names: list[str] = []
        low, high = [], []
        for i, term in enumerate(self.terms):
            structure = term.structure
            # the names are the same at all parameters
            own = structure.reported(structure.start(np.ones(term.q), 0.3)).names
            ends = [float(end[-1]) for end in structure.bounds]
            if not math.isfinite(ends[0]):
                ends = [_END - 1.0, 1.0 - _END]
            for name in own:
                variance = name.startswith("variance")
                low.append(0.0 if variance else ends[0])
                high.append(math.inf if variance else ends[1])
            terms += [i] * len(own)
            names += own
        return ComponentLabels(tuple(terms), tuple(names), np.array(low), np.array(high))

    def n(self, reml: bool) -> int:
        """Degrees of freedom: k - p for restricted, k for maximum likelihood."""
        return self.k - self.p if reml else self.k

    def matrices(self, phi: Array) -> list[Array]:
        """G of each term."""
        pairs = zip(self.terms, self.slices, strict=True)
        return [t.structure.matrix(phi[..., at]) for t, at in pairs]

    @cached_property
    def many(self) -> Many | None:
        """The same data for many parameter vectors at once; None with crossed terms."""
        if isinstance(self.route, Nested):
            return Upward.build(self.route)
        if isinstance(self.route, Blocks) and max(term.q for term in self.terms) <= _WIDE:
            return Blockwise.build(self.route)
        return None

    def reported(self, phi: Array) -> Array:
        """Variances and correlations in units of the outcome, of working parameters (B, m)."""
        found = []
        for term, at in zip(self.terms, self.slices, strict=True):
            own, units, structure = phi[:, at], self.units[at], term.structure
            if structure.kinds == ("variance",) * (at.stop - at.start):
                found.append(own * units)
            else:
                ends = structure.canonical(own) * units
                found.append(np.array([structure.reported(lane).values for lane in ends]))
        return np.concatenate(found, axis=1)

    def moved(self, phi: Array, step: Array) -> Array:
        """Where scoring steps (B, m) lead from working parameters (B, m)."""
        pairs = zip(self.terms, self.slices, strict=True)
        found = [t.structure.moved(phi[:, at], step[:, at]) for t, at in pairs]
        return found[0] if len(found) == 1 else np.concatenate(found, axis=1)

    def canonical(self, phi: Array) -> Array:
        """The one phi (..., m) of all that make the same G that comparisons use."""
        pairs = zip(self.terms, self.slices, strict=True)
        return np.concatenate([t.structure.canonical(phi[..., s]) for t, s in pairs], axis=-1)

    def evaluate(self, phi: Array) -> Evaluation | None:
        """The regression at working parameters; None where Sigma is singular."""
        return self.route.evaluate(self.matrices(phi))

    def loglike_of(self, evaluation: Evaluation, reml: bool) -> float:
        """Log-likelihood in units of the outcome ; with 1/2 log |X'X| in REML."""
        n = self.n(reml)
        value = -0.5 * (n * LOG_2PI + evaluation.logdet + evaluation.fit.rss)
        if reml:
            value -= 0.5 * evaluation.fit.logdet
        return value - n * math.log(self.scale)

    def loglike(self, phi: Array, reml: bool) -> float:
        """Log-likelihood; -inf where Sigma is singular."""
        evaluation = self.evaluate(phi)
        return -math.inf if evaluation is None else self.loglike_of(evaluation, reml)

    def slope(self, phi: Array, reml: bool) -> Slope | None:
        """Log-likelihood and score (m,), without information; None where Sigma is singular."""
        evaluation = self.evaluate(phi)
        if evaluation is None:
            return None
        gradient = np.empty(len(phi))
        for term, at, M in zip(self.terms, self.slices, evaluation.slopes(reml), strict=True):
            D = term.structure.derivatives(phi[at])
            gradient[at] = D.reshape(len(D), -1) @ M.ravel()
        return Slope(self.loglike_of(evaluation, reml), gradient, evaluation)

    def point(self, phi: Array, reml: bool) -> Point | None:
        """Log-likelihood and derivatives; None where Sigma is singular."""
        evaluation = self.evaluate(phi)
        if evaluation is None:
            return None
        value = self.loglike_of(evaluation, reml)
        slopes = evaluation.slopes(reml)
        m = len(phi)
        gradient, curvature = np.empty(m), np.zeros((m, m))
        stacks = []
        for term, at, M in zip(self.terms, self.slices, slopes, strict=True):
            D = term.structure.derivatives(phi[at])
            gradient[at] = D.reshape(len(D), -1) @ M.ravel()
            curvature[at, at] = term.structure.curvature(phi[at], M)
            stacks.append(D)
        information = evaluation.information(stacks, reml)
        observed = information.observed - curvature
        if information.expected is None:
            return Point(phi, value, gradient, observed, information.average, False, evaluation)
        return Point(phi, value, gradient, observed, information.expected, True, evaluation)


def _least(term: Term, variances: Array) -> float:
    return 1.0 / float(np.bincount(term.groups, 1.0 / variances).max())
