"""Block-diagonal marginal covariance: small dense blocks, those of one size factored together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from metareg_sm._typing import Array, Codes
from metareg_sm.core.mixed.profile import (
    Effects,
    Information,
    LeastSquares,
    least_squares,
    triangle,
)
from metareg_sm.core.mixed.terms import KnownBlock, Term, first_codes


def inverse_factor(sigma: Array) -> Array | None:
    """Lower triangular T with T'T = sigma^-1, (blocks, n, n); None unless positive definite.

    Written out for one and two rows: most blocks are that small, and calls cost more than sums.
    """
    n = sigma.shape[-1]
    if n > 2:
        try:
            upper = np.linalg.cholesky(sigma).swapaxes(1, 2)
            # of an upper triangle nothing is eliminated or pivoted: substitution only
            return np.linalg.inv(upper).swapaxes(1, 2)
        except np.linalg.LinAlgError:
            return None
    T = np.zeros(sigma.shape)
    first = sigma[:, 0, 0]
    if not first.min() > 0.0:
        return None
    if n == 2:
        slope = sigma[:, 1, 0] / first
        second = sigma[:, 1, 1] - slope * sigma[:, 1, 0]
        if not second.min() > 0.0:
            return None
        T[:, 1, 1] = last = 1.0 / np.sqrt(second)
        T[:, 1, 0] = -slope * last
    T[:, 0, 0] = 1.0 / np.sqrt(first)
    return T


@dataclass(frozen=True, eq=False)
class Cells:
    """Rows that share the effects of every term, under a diagonal V: one mean each.

    Attributes
    ----------
    cell : ndarray of int, (k,)
        Cell of each row.
    weights : ndarray, (k,)
        1 / v.
    S : ndarray, (cells,)
        Precision of the mean of a cell.
    """

    cell: Codes
    weights: Array
    S: Array

    @classmethod
    def build(cls, terms: Sequence[Term], variance: Array) -> Cells:
        """Cells of the rows of diagonal V."""
        cell = first_codes(terms[0].cells)
        for term in terms[1:]:
            cell = first_codes(cell * (int(term.cells.max()) + 1) + term.cells)
        weights = 1.0 / variance
        return cls(cell, weights, np.bincount(cell, weights).astype(float))

    def mean(self, columns: Array) -> Array:
        """Weighted means of columns (c, k) by cell, (c, cells)."""
        share = self.weights / self.S[self.cell]
        mean = np.array([np.bincount(self.cell, share * x) for x in columns])
        rest = columns - mean[:, self.cell]
        return mean + np.array([np.bincount(self.cell, share * x) for x in rest])

    def within(self, columns: Array, mean: Array) -> Array:
        """Whitened rows within the cells, (c, k)."""
        return np.sqrt(self.weights) * (columns - mean[:, self.cell])


@dataclass(frozen=True, eq=False)
class Batch:
    """Blocks of one size.

    Attributes
    ----------
    rows : ndarray of int, (blocks, n)
        Positions of the nodes of each block.
    V : ndarray, (blocks, n, n)
        Known covariance.
    columns : ndarray, (blocks, n, p+1)
        Design and outcomes.
    pairs : tuple of ndarray of int, (blocks * n * n,)
        For each term the entry of G that two nodes share, q*q where they share no group.
    """

    rows: Codes
    V: Array
    columns: Array
    pairs: tuple[Codes, ...]

    def spread(self, term: int, matrices: Array) -> Array:
        """Entries of matrices (..., q, q) where nodes share a group, (..., blocks, n, n)."""
        *lead, q, _ = matrices.shape
        flat = np.zeros((*lead, q * q + 1))
        flat[..., :-1] = matrices.reshape(*lead, q * q)
        return flat.take(self.pairs[term], axis=-1).reshape(*lead, *self.V.shape)

    def covariance(self, G: Sequence[Array]) -> Array:
        """Sigma at the G of each term (..., q, q), (..., blocks, n, n)."""
        sigma = self.V
        for term, matrices in enumerate(G):
            sigma = sigma + self.spread(term, matrices)
        return sigma


@dataclass(frozen=True, eq=False)
class Blocks:
    """One data set whose marginal covariance is block-diagonal.

    Attributes
    ----------
    k : int
        Number of effect sizes.
    terms : tuple of Term
        Random terms by node.
    batches : tuple of Batch
        Blocks by size.
    cells : Cells or None
        Rows of each node where V is diagonal; else nodes are rows.
    static : ndarray, (p+1, m)
        Whitened rows within the cells, as a triangle with the same products.
    logdet : float
        What the cells add to log |Sigma|.
    """

    k: int
    terms: tuple[Term, ...]
    batches: tuple[Batch, ...]
    cells: Cells | None
    static: Array
    logdet: float

    @classmethod
    def build(
        cls,
        columns: Array,
        known: Array | Sequence[KnownBlock],
        terms: Sequence[Term],
        partition: Codes,
    ) -> Blocks:
        """Sort the rows into blocks.

        Parameters
        ----------
        columns : ndarray, (p+1, k)
            Design and outcomes.
        known : ndarray, (k,), or sequence of KnownBlock
            V: its diagonal or its blocks.
        terms : sequence of Term
            Random terms.
        partition : ndarray of int, (k,)
            Block of each row; groups of all terms and blocks of V lie in its blocks.
        """
        k = columns.shape[1]
        cells, static, logdet = None, columns[:, :0], 0.0
        if isinstance(known, np.ndarray):
            cells = Cells.build(terms, known)
            mean = cells.mean(columns)
            if len(cells.S) < k:
                static = triangle(cells.within(columns, mean))
                logdet = float(np.log(known).sum() + np.log(cells.S).sum())
            first = np.unique(cells.cell, return_index=True)[1]
            terms = [Term(t.groups[first], t.levels[first], t.structure) for t in terms]
            partition, columns = partition[first], mean
            diagonal = 1.0 / cells.S
        sizes = np.bincount(partition)
        order = np.argsort(partition, kind="stable")
        starts = np.cumsum(sizes) - sizes
        position = np.empty(len(partition), dtype=np.intp)
        position[order] = np.arange(len(partition)) - np.repeat(starts, sizes)
        places = np.zeros(len(sizes), dtype=np.intp)
        batches = []
        batch_rows = {}
        for n in np.unique(sizes).tolist():
            blocks = np.flatnonzero(sizes == n)
            places[blocks] = np.arange(len(blocks))
            batch_rows[n] = order[starts[blocks][:, None] + np.arange(n)]
        V = {n: np.zeros((*rows.shape, n)) for n, rows in batch_rows.items()}
        if cells is not None:
            for n, rows in batch_rows.items():
                V[n][:, np.arange(n), np.arange(n)] = diagonal[rows]
        else:
            for block in known:
                code = partition[block.rows[0]]
                at = position[block.rows]
                V[int(sizes[code])][places[code], at[:, None], at] = block.matrix
        for n, rows in batch_rows.items():
            pairs = []
            for t in terms:
                g, c = t.groups[rows], t.levels[rows]
                same = g[:, :, None] == g[:, None, :]
                entry = c[:, :, None] * t.q + c[:, None, :]
                pairs.append(np.where(same, entry, t.q * t.q).ravel())
            D = np.ascontiguousarray(np.moveaxis(columns[:, rows], 0, -1))
            batches.append(Batch(rows, V[n], D, tuple(pairs)))
        return cls(k, tuple(terms), tuple(batches), cells, static, logdet)

    def evaluate(self, G: Sequence[Array]) -> BlocksEvaluation | None:
        """Factor at the covariance matrices of the terms."""
        logdet = self.logdet
        factors, rows = [], []
        for batch in self.batches:
            T = inverse_factor(batch.covariance(G))
            if T is None:
                return None
            logdet -= 2.0 * float(np.log(T.diagonal(0, 1, 2)).sum())
            factors.append(T)
            rows.append((T @ batch.columns).reshape(-1, batch.columns.shape[-1]).T)
        if self.static.shape[1]:
            rows.append(self.static)
        fit = least_squares(rows[0] if len(rows) == 1 else np.concatenate(rows, axis=1))
        return None if fit is None else BlocksEvaluation(self, tuple(G), logdet, fit, factors)


@dataclass(frozen=True, eq=False)
class BlocksEvaluation:
    """Block-diagonal covariance at given G; lists run over batches.

    Attributes
    ----------
    problem : Blocks
        The data.
    G : tuple of ndarray, (q, q)
        Covariance matrices of the terms.
    logdet : float
        log |Sigma|.
    fit : LeastSquares
        Least squares of the whitened rows.
    factors : list of ndarray, (blocks, n, n)
        Lower triangular T with T'T = Sigma^-1.
    """

    problem: Blocks
    G: tuple[Array, ...]
    logdet: float
    fit: LeastSquares
    factors: list[Array]

    @cached_property
    def weights(self) -> list[Array]:
        """Sigma^-1, (blocks, n, n)."""
        return [T.swapaxes(1, 2) @ T for T in self.factors]

    @cached_property
    def whitened(self) -> list[Array]:
        """Q and the whitened residuals by block, (blocks, n, p+1)."""
        found, at = [], 0
        columns = self.fit.columns
        for batch in self.problem.batches:
            size = batch.rows.size
            found.append(columns[:, at : at + size].T.reshape(*batch.rows.shape, len(columns)))
            at += size
        return found

    @cached_property
    def scores(self) -> list[Array]:
        """Sigma^-1 times a basis of the design and the residuals, (blocks, n, p+1)."""
        pairs = zip(self.factors, self.whitened, strict=True)
        return [T.swapaxes(1, 2) @ rows for T, rows in pairs]

    def slopes(self, reml: bool) -> list[Array]:
        """Derivative of the log-likelihood by the G of each term."""
        M = [np.zeros(G.size + 1) for G in self.G]
        for batch, W, s in zip(self.problem.batches, self.weights, self.scores, strict=True):
            used = s if reml else s[..., -1:]
            inner = (used @ used.swapaxes(1, 2) - W).ravel()
            for i, G in enumerate(self.G):
                M[i] += np.bincount(batch.pairs[i], inner, minlength=G.size + 1)
        return [0.5 * m[:-1].reshape(G.shape) for m, G in zip(M, self.G, strict=True)]

    def information(self, stacks: Sequence[Array], reml: bool) -> Information:
        """Average and expected information."""
        m, p = sum(len(stack) for stack in stacks), len(self.fit.Q)
        FF, FQ, traces = np.zeros((m, m)), np.zeros((m, p)), np.zeros((m, m))
        H = np.zeros((m, p, p))
        for batch, T, W, s, rows in zip(
            self.problem.batches,
            self.factors,
            self.weights,
            self.scores,
            self.whitened,
            strict=True,
        ):
            spread = [batch.spread(i, stack) for i, stack in enumerate(stacks)]
            S = spread[0] if len(spread) == 1 else np.concatenate(spread)
            # (m, blocks * n, p+1)
            F = (T @ (S @ s)).reshape(m, batch.rows.size, p + 1)
            Q = rows[..., :-1].reshape(batch.rows.size, p)
            e = F[..., -1]
            FF += e @ e.T
            FQ += e @ Q
            A = W @ S
            traces += A.reshape(m, -1) @ A.swapaxes(2, 3).reshape(m, -1).T
            if reml and p:
                X = F[..., :-1]
                H += Q.T @ X
                X = X.reshape(m, -1)
                traces -= 2.0 * (X @ X.T)
        average = FF - FQ @ FQ.T
        if reml and p:
            traces += H.reshape(m, -1) @ H.swapaxes(1, 2).reshape(m, -1).T
        return Information(0.5 * average, 0.5 * traces)

    def _cells(self, values: list[Array], term: Term, blocks: list[Array]) -> tuple[Array, Array]:
        """Sums of node values by effect and of node matrices by pair of effects of a group."""
        q = term.q
        n = term.n_groups * q
        sums = np.zeros(n)
        square = np.zeros(n * q)
        for batch, x, B in zip(self.problem.batches, values, blocks, strict=True):
            cells = term.cells[batch.rows]
            sums += np.bincount(cells.ravel(), x.ravel(), minlength=n)
            g, c = term.groups[batch.rows], term.levels[batch.rows]
            same = g[:, :, None] == g[:, None, :]
            pair = (cells * q)[:, :, None] + c[:, None, :]
            square += np.bincount(pair[same], B[same], minlength=n * q)
        return sums.reshape(-1, q), square.reshape(-1, q, q)

    def blocks(self) -> list[Array]:
        """Blocks of Z' Sigma^-1 Z of each term, (groups, q, q)."""
        zeros = [np.zeros(batch.rows.shape) for batch in self.problem.batches]
        return [self._cells(zeros, term, self.weights)[1] for term in self.problem.terms]

    def effects(self) -> list[Effects]:
        """Predicted random effects of each term."""
        e = [s[..., -1] for s in self.scores]
        P = [
            W - s[..., :-1] @ s[..., :-1].swapaxes(1, 2)
            for W, s in zip(self.weights, self.scores, strict=True)
        ]
        found = []
        for term, G in zip(self.problem.terms, self.G, strict=True):
            score, precision = self._cells(e, term, P)
            found.append(Effects(score @ G, G - G @ precision @ G))
        return found

    def _apply(self, means: Array, matrices: list[Array]) -> Array:
        out = np.empty_like(means)
        for batch, A in zip(self.problem.batches, matrices, strict=True):
            D = np.moveaxis(means[:, batch.rows], 0, -1)
            out[:, batch.rows] = np.moveaxis(A @ D, -1, 0)
        return out

    def whiten(self, columns: Array) -> Array:
        """Columns (c, k) times a square root of Sigma^-1."""
        cells = self.problem.cells
        if cells is None:
            return self._apply(columns, self.factors)
        mean = cells.mean(columns)
        white = self._apply(mean, self.factors)
        spread = np.sqrt(cells.weights / cells.S[cells.cell])
        return cells.within(columns, mean) + spread * white[:, cells.cell]

    def solve(self, columns: Array) -> Array:
        """Columns (c, k) times Sigma^-1."""
        cells = self.problem.cells
        if cells is None:
            return self._apply(columns, self.weights)
        mean = cells.mean(columns)
        solved = self._apply(mean, self.weights)
        share = cells.weights / cells.S[cells.cell]
        return cells.weights * (columns - mean[:, cells.cell]) + share * solved[:, cells.cell]
