"""Weighted regressions in the coordinates of pivot studies, and traces of their projections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from metareg_sm._typing import Array
from metareg_sm.core.pivots import (
    Pivots,
    apply,
    combine,
    dot,
    inverse,
    linear,
    product,
    quadratic,
    scaled,
    total,
    trace_product,
)


@dataclass(frozen=True, slots=True, eq=False)
class PivotedFit:
    """Weighted regressions at weights a, in the coordinates of the pivots.

    Attributes
    ----------
    pivots : Pivots
        The coordinates.
    a : ndarray, (k, n)
        Weights of the studies.
    d : ndarray, (r, n)
        Inverse weights of the pivots.
    Ma : ndarray, (r, k, n)
        M times the weights.
    B, T : ndarray, (r, r, n)
        Sum of weighted products of M over the other studies; (D^-1 + B)^-1.
    shift : ndarray, (r, n)
        Expected effects of the pivots less their outcomes.
    resid : ndarray, (k, n)
        Residuals of the others.
    """

    pivots: Pivots
    a: Array
    d: Array
    Ma: Array
    B: Array
    T: Array
    shift: Array
    resid: Array

    @property
    def rss(self) -> Array:
        """Weighted residual sum of squares y'P_a y, (n,)."""
        weighted = self._counted(self.a * self.resid)
        return total(weighted, self.resid) + dot(self.shift / self.d, self.shift)

    def _counted(self, a: Array) -> Array:
        return a if self.pivots.once else a * self.pivots.others

    def root(self) -> tuple[Array, Array]:
        """K with KK' = T, and D^-1/2 K, (r, r) each, of one data set."""
        C, d = scaled(self.B, self.d)
        half = np.linalg.inv(np.linalg.cholesky(C[..., 0])).T
        return d * half, half

    def derivatives(self) -> tuple[Array, Array, Array]:
        """y'PPy, y'PPPy and y'Py, (n,) each, as sums of squares."""
        pivots, d = self.pivots, self.d
        # Py, for the pivots from the normal equations
        p, p1 = self.a * self.resid, -self.shift / d
        pc = self._counted(p)
        # PPy, as Py with Py for y
        change = apply(self.T, linear(self.Ma, pc) - apply(self.B, p1))
        e = p - combine(pivots.M, p1 + change)
        yppp = total(self._counted(self.a * e), e) + dot(change / d, change)
        return total(pc, p) + dot(p1, p1), yppp, total(pc, self.resid) + dot(p1 * d, p1)

    def trace(self, s: Array, s1: Array) -> Array:
        """tr(PS) for diagonal S: s (k, n) of the studies, s1 (r, n) of the pivots; (n,)."""
        weights = self.a * s
        found = total(weights, self.pivots.others)
        if not len(self.T):
            return found
        middle = quadratic(self.Ma * weights, self.pivots.Mc)
        own = np.einsum("ijn,jin->in", self.T, self.B) / self.d
        return found - trace_product(self.T, middle) + (own * s1).sum(0)

    def trace_of_square(self, s: Array, s1: Array) -> Array:
        """tr(PSPS) for diagonal S, as `trace`; (n,)."""
        weights = self.a * s
        found = total(weights * self.pivots.others, weights)
        if not len(self.T):
            return found
        Mas = self.Ma * weights
        half = product(self.T, quadratic(Mas, self.pivots.Mc))
        found = found - 2.0 * trace_product(self.T, quadratic(Mas * weights, self.pivots.Mc))
        found += trace_product(half, half)
        cross = np.einsum("ijn,jin->in", half, self.T)
        found += 2.0 * (cross * s1 / self.d**2).sum(0)
        own = product(self.T, self.B) / self.d[:, None] * s1
        return found + trace_product(own, own)


def regress(pivots: Pivots, a: Array, d: Array) -> PivotedFit:
    """Weighted regressions.

    Parameters
    ----------
    pivots : Pivots
        Suited to the weights.
    a : ndarray, (k, n)
        Weights of the studies.
    d : ndarray, (r, n)
        Inverse weights of the pivots.
    """
    Ma = pivots.M * a
    B = quadratic(Ma, pivots.Mc)
    T = inverse(B, d)
    shift = apply(T, linear(Ma, pivots.gc))
    return PivotedFit(pivots, a, d, Ma, B, T, shift, pivots.g - combine(pivots.M, shift))


@dataclass(frozen=True, slots=True, eq=False)
class QuadraticForm:
    """Quadratic form y'P_a y with P_a = A - AX(X'AX)^-1X'A for weights a, of each data set.

    Attributes
    ----------
    value : ndarray, (...)
        y'P_a y.
    trace, trace_v : ndarray, (...)
        tr P_a and tr P_a V.
    variance : callable
        `variance(tau2)`, (...): 2 tr(P_a S P_a S) for S = V + tau2 I.
    """

    value: Array
    trace: Array
    trace_v: Array
    variance: Callable[[Array], Array]

    @classmethod
    def of(cls, fit: PivotedFit, v: Array, shape: tuple[int, ...]) -> QuadraticForm:
        """Of weighted regressions of data sets (...) with variances v, (k, n) or (k, 1)."""
        one, pivots = np.ones((1, 1)), fit.pivots
        n = int(np.prod(shape))
        value, trace, trace_v = (
            np.broadcast_to(x, n).reshape(shape)
            for x in (fit.rss, fit.trace(one, one), fit.trace(v, pivots.v))
        )

        def variance(tau2: Array) -> Array:
            t = np.ravel(tau2)
            return 2.0 * fit.trace_of_square(v + t, pivots.v + t).reshape(np.shape(tau2))

        return cls(value, trace, trace_v, variance)
