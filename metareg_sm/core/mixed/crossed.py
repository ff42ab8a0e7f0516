"""Crossed terms: low rank on top of nested or block-diagonal effects, by the Woodbury identity.

With N the covariance of all other terms and B = N^-1/2 Z L for the crossed ones (G = LL'), Sigma is
N^1/2 (I + BB') N^1/2'. Only the matrix of the crossed effects, I + B'B = R'R, is dense. As blocks
of N do not touch, N^-1 Z of all crossed effects takes as many solves as one block has crossed
effects at most, and stays sparse. A square root of (I + BB')^-1 is I - B (R + I)^-1 R^-T B'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.sparse import csr_matrix

from metareg_sm._typing import Array, Codes
from metareg_sm.core.mixed.profile import (
    Effects,
    Factor,
    Information,
    LeastSquares,
    Route,
    least_squares,
)
from metareg_sm.core.mixed.terms import Term, first_codes

# Entries of a dense array of columns by rows that are worked on at a time.
_CHUNK = 2_000_000


def root_of(G: Array) -> Array:
    """L with LL' = G, for any positive semidefinite G."""
    values, vectors = np.linalg.eigh(G)
    return vectors * np.sqrt(np.maximum(values, 0.0))


@dataclass(frozen=True, eq=False)
class Crossed:
    """One data set with crossed terms.

    Attributes
    ----------
    base : Route
        All other terms.
    inner, outer : tuple of int
        Positions of the terms of the base and of the crossed ones.
    terms : tuple of Term
        All terms.
    columns : ndarray, (p+1, k)
        Design and outcomes.
    partition : ndarray of int, (k,)
        Blocks of the base.
    """

    base: Route
    inner: tuple[int, ...]
    outer: tuple[int, ...]
    terms: tuple[Term, ...]
    columns: Array
    partition: Codes

    @cached_property
    def cells(self) -> list[Codes]:
        """Position of the effects of each row among those of all crossed terms."""
        found, offset = [], 0
        for i in self.outer:
            found.append(self.terms[i].cells + offset)
            offset += self.terms[i].n_groups * self.terms[i].q
        return found

    @cached_property
    def size(self) -> int:
        """Number of crossed effects."""
        return sum(self.terms[i].n_groups * self.terms[i].q for i in self.outer)

    @cached_property
    def design(self) -> csr_matrix:
        """Z of the crossed terms, (k, size)."""
        k = len(self.partition)
        columns = np.concatenate(self.cells)
        rows = np.tile(np.arange(k), len(self.cells))
        return csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(k, self.size))

    @cached_property
    def colours(self) -> tuple[list[Codes], Codes]:
        """Number of a cell within its block, by row and term; cells by block and number, -1."""
        k = len(self.partition)
        flat = np.concatenate([self.partition * self.size + cells for cells in self.cells])
        pairs, inverse = np.unique(flat, return_inverse=True)
        block = pairs // self.size
        first = np.searchsorted(block, block)
        number = np.arange(len(pairs)) - first
        table = np.full((int(block.max()) + 1, int(number.max()) + 1), -1, dtype=np.intp)
        table[block, number] = pairs % self.size
        return list(number[inverse].reshape(len(self.cells), k)), table

    def solved(self, factor: Factor) -> csr_matrix:
        """N^-1 Z of the crossed terms, (k, size)."""
        k = len(self.partition)
        numbers, table = self.colours
        step = max(1, _CHUNK // k)
        data, rows, columns = [], [], []
        everything = np.arange(k)
        for begin in range(0, table.shape[1], step):
            end = min(begin + step, table.shape[1])
            picked = np.zeros((end - begin, k))
            for number in numbers:
                here = (number >= begin) & (number < end)
                picked[number[here] - begin, everything[here]] += 1.0
            values = factor.solve(picked)
            cells = table[self.partition, begin:end].T
            kept = cells >= 0
            data.append(values[kept])
            columns.append(cells[kept])
            rows.append(np.broadcast_to(everything, cells.shape)[kept])
        entries = (np.concatenate(data), (np.concatenate(rows), np.concatenate(columns)))
        return csr_matrix(entries, shape=(k, self.size))

    def evaluate(self, G: Sequence[Array]) -> CrossedEvaluation | None:
        """Factor at the covariance matrices of the terms."""
        factor = self.base.evaluate([G[i] for i in self.inner])
        if factor is None:
            return None
        solved = self.solved(factor)
        K = (self.design.T @ solved).toarray()
        K = 0.5 * (K + K.T)
        roots = [root_of(G[i]) for i in self.outer]
        L = _block_diagonal(roots, [self.terms[i].n_groups for i in self.outer])
        A = np.asarray(L.T @ (L.T @ K).T)
        A[np.diag_indices_from(A)] += 1.0
        try:
            R = cholesky(A)
        except np.linalg.LinAlgError:
            return None
        logdet = factor.logdet + 2.0 * float(np.log(np.diagonal(R)).sum())
        partial = CrossedFactor(self, factor, solved, K, L, R, logdet)
        fit = least_squares(partial.whiten(self.columns))
        return None if fit is None else CrossedEvaluation(partial, tuple(G), fit)


def _block_diagonal(matrices: Sequence[Array], counts: Sequence[int]) -> csr_matrix:
    """Matrices along the diagonal, each as often as its count."""
    data, rows, columns, offset = [], [], [], 0
    for matrix, count in zip(matrices, counts, strict=True):
        q = len(matrix)
        base = offset + q * np.arange(count)[:, None, None]
        shape = (count, q, q)
        data.append(np.broadcast_to(matrix, shape).ravel())
        rows.append(np.broadcast_to(base + np.arange(q)[:, None], shape).ravel())
        columns.append(np.broadcast_to(base + np.arange(q), shape).ravel())
        offset += q * count
    entries = (np.concatenate(data), (np.concatenate(rows), np.concatenate(columns)))
    return csr_matrix(entries, shape=(offset, offset))


@dataclass(frozen=True, eq=False)
class CrossedFactor:
    """Sigma = N + Z L L' Z'.

    Attributes
    ----------
    problem : Crossed
        The data.
    base : Factor
        N.
    solved : csr_matrix, (k, size)
        N^-1 Z.
    K : ndarray, (size, size)
        Z' N^-1 Z.
    L : csr_matrix, (size, size)
        Square roots of G along the diagonal.
    R : ndarray, (size, size)
        Upper triangular, R'R = I + L'KL.
    logdet : float
        log |Sigma|.
    """

    problem: Crossed
    base: Factor
    solved: csr_matrix
    K: Array
    L: csr_matrix
    R: Array
    logdet: float

    def _reduce(self, columns: Array) -> Array:
        return np.asarray(self.L.T @ (self.solved.T @ columns.T))

    def _subtract(self, columns: Array, coefs: Array) -> Array:
        return columns - np.asarray(self.problem.design @ (self.L @ coefs)).T

    def whiten(self, columns: Array) -> Array:
        """Columns (c, k) times a square root of Sigma^-1."""
        step = solve_triangular(self.R, self._reduce(columns), trans="T")
        plus = self.R + np.eye(len(self.R))
        return self.base.whiten(self._subtract(columns, solve_triangular(plus, step)))

    def solve(self, columns: Array) -> Array:
        """Columns (c, k) times Sigma^-1."""
        coefs = cho_solve((self.R, False), self._reduce(columns))
        return self.base.solve(self._subtract(columns, coefs))

    @cached_property
    def inner(self) -> Array:
        """L (I + L'KL)^-1 L', (size, size)."""
        half = solve_triangular(self.R, self.L.T.toarray(), trans="T")
        return half.T @ half

    def blocks(self) -> list[Array]:
        """Blocks of Z' Sigma^-1 Z of each term, (groups, q, q)."""
        problem = self.problem
        found: list[Array] = [np.zeros(0)] * len(problem.terms)
        for i, block in zip(problem.inner, self.base.blocks(), strict=True):
            term = problem.terms[i]
            n = term.n_groups * term.q
            k = len(term.cells)
            Z = csr_matrix((np.ones(k), (term.cells, np.arange(k))), shape=(n, k))
            cross = (Z @ self.solved).tocsr()
            found[i] = block - _quadratic(cross, self.inner, term.q)
        # (I + KG)^-1 K: nothing is subtracted
        G = (self.L @ self.L.T).toarray()
        full = np.linalg.solve(np.eye(len(G)) + self.K @ G, self.K)
        offset = 0
        for i in problem.outer:
            term = problem.terms[i]
            places = offset + np.arange(term.n_groups * term.q).reshape(-1, term.q)
            block = full[places[:, :, None], places[:, None, :]]
            found[i] = 0.5 * (block + np.swapaxes(block, 1, 2))
            offset += term.n_groups * term.q
        return found


def _quadratic(rows: csr_matrix, H: Array, q: int) -> Array:
    """Blocks of rows H rows' for q rows at a time, (n / q, q, q)."""
    n, size = rows.shape
    counts = np.diff(rows.indptr)
    width = int(counts.max())
    found = np.empty((n // q, q, q))
    if q == 1 and 4 * width < size:
        # few entries in a row: only they are gathered
        row = np.repeat(np.arange(n), counts)
        place = np.arange(len(row)) - np.repeat(rows.indptr[:-1], counts)
        values, cells = np.zeros((n, width)), np.zeros((n, width), dtype=np.intp)
        values[row, place], cells[row, place] = rows.data, rows.indices
        step = max(1, _CHUNK // width**2)
        for begin in range(0, n, step):
            c, x = cells[begin : begin + step], values[begin : begin + step]
            inner = H[c[:, :, None], c[:, None, :]] @ x[:, :, None]
            found[begin : begin + step, 0, 0] = np.einsum("nd,nd->n", x, inner[..., 0])
        return found
    step = max(1, _CHUNK // (size * q)) * q
    for begin in range(0, n, step):
        part = rows[begin : begin + step].toarray()
        half = (part @ H).reshape(-1, q, size)
        part = part.reshape(half.shape)
        at = slice(begin // q, begin // q + len(part))
        found[at] = half @ np.swapaxes(part, 1, 2)
    return found


@dataclass(frozen=True, eq=False)
class CrossedEvaluation:
    """Crossed terms at given G.

    Attributes
    ----------
    factor : CrossedFactor
        The factored covariance.
    G : tuple of ndarray, (q, q)
        Covariance matrices of all terms.
    fit : LeastSquares
        Least squares of the whitened rows.
    """

    factor: CrossedFactor
    G: tuple[Array, ...]
    fit: LeastSquares

    @property
    def logdet(self) -> float:
        """Value of log |Sigma|."""
        return self.factor.logdet

    def whiten(self, columns: Array) -> Array:
        """Columns (c, k) times a square root of Sigma^-1."""
        return self.factor.whiten(columns)

    def solve(self, columns: Array) -> Array:
        """Columns (c, k) times Sigma^-1."""
        return self.factor.solve(columns)

    def blocks(self) -> list[Array]:
        """Blocks of Z' Sigma^-1 Z of each term, (groups, q, q)."""
        return self._blocks

    @cached_property
    def _blocks(self) -> list[Array]:
        return self.factor.blocks()

    @cached_property
    def scores(self) -> list[Array]:
        """Z'P of each term: a basis of the design and the residuals, (p+1, groups, q)."""
        columns = self.factor.problem.columns
        X, y = columns[:-1], columns[-1]
        residual = y - self.fit.params @ X
        solved = self.factor.solve(np.vstack([self.fit.inverse.T @ X, residual]))
        found = []
        for term in self.factor.problem.terms:
            n = term.n_groups * term.q
            sums = np.array([np.bincount(term.cells, x, minlength=n) for x in solved])
            found.append(sums.reshape(len(solved), -1, term.q))
        return found

    def slopes(self, reml: bool) -> list[Array]:
        """Derivative of the log-likelihood by the G of each term."""
        found = []
        for s, block in zip(self.scores, self._blocks, strict=True):
            used = s if reml else s[-1:]
            found.append(0.5 * (np.einsum("cga,cgb->ab", used, used) - block.sum(0)))
        return found

    def information(self, stacks: Sequence[Array], reml: bool) -> Information:  # noqa: ARG002 (protocol)
        """Average information."""
        F = []
        for term, s, stack in zip(self.factor.problem.terms, self.scores, stacks, strict=True):
            F += [(s[-1] @ D).ravel()[term.cells] for D in stack]
        rows = self.factor.whiten(np.array(F))
        inside = rows @ self.fit.Q.T
        return Information(0.5 * (rows @ rows.T - inside @ inside.T), None)

    def effects(self) -> list[Effects]:
        """Predicted random effects of each term."""
        found = []
        for s, block, G in zip(self.scores, self._blocks, self.G, strict=True):
            P = block - np.einsum("cga,cgb->gab", s[:-1], s[:-1])
            found.append(Effects(s[-1] @ G, G - G @ P @ G))
        return found


def crossed(
    base: Route, inner: Sequence[int], terms: Sequence[Term], columns: Array, partition: Codes
) -> Crossed:
    """Crossed terms, all that are not in the base, on top of a base."""
    outer = tuple(i for i in range(len(terms)) if i not in inner)
    return Crossed(base, tuple(inner), outer, tuple(terms), columns, first_codes(partition))
