"""Moments of a block-diagonal covariance, for many parameter vectors and outcomes at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from metareg_sm._typing import Array, Codes, Mask
from metareg_sm.core.mixed.blocks import Blocks, inverse_factor
from metareg_sm.core.mixed.moments import Moments, packed, pairs
from metareg_sm.core.mixed.siblings import products_of_others


@dataclass(frozen=True, eq=False)
class Blockwise:
    """Blocks of one data set; lists run over batches of blocks of one size.

    Attributes
    ----------
    problem : Blocks
        The data.
    columns : tuple of ndarray, (..., blocks, n, p+1)
        Design and outcomes.
    static : ndarray, (..., p+1, p+1)
        Products within the cells.
    left : tuple of ndarray of bool, (B, blocks), optional
        Blocks that each lane has, where these differ.
    """

    problem: Blocks
    columns: tuple[Array, ...]
    static: Array
    left: tuple[Mask, ...] | None = None

    @classmethod
    def build(cls, problem: Blocks) -> Blockwise:
        """The data of a route."""
        columns = tuple(batch.columns for batch in problem.batches)
        return cls(problem, columns, problem.static @ problem.static.T)

    def with_outcomes(self, columns: Array, outcomes: Array) -> Blockwise:
        """The same for other outcomes, (B, k)."""
        problem, B, p = self.problem, len(outcomes), len(columns)
        static = np.broadcast_to(self.static, (B, p + 1, p + 1))
        y, cells = outcomes, problem.cells
        if cells is not None:
            y = cells.mean(outcomes)
            if len(cells.S) < len(cells.cell):
                inside = cells.within(outcomes, y)
                X = cells.within(columns, cells.mean(columns))
                static = static.copy()
                static[:, p, :p] = static[:, :p, p] = inside @ X.T
                static[:, p, p] = (inside * inside).sum(1)
        found = []
        for batch in problem.batches:
            D = np.empty((B, *batch.columns.shape))
            D[..., :p] = batch.columns[..., :p]
            D[..., p] = y[:, batch.rows]
            found.append(D)
        return Blockwise(problem, tuple(found), static)

    def without(self, columns: Array, clusters: Codes, deleted: Codes) -> Blockwise:
        """The same with other columns (p+1, k), each lane without one cluster; see `Many`."""
        problem, cells = self.problem, self.problem.cells
        nodes, codes = columns, clusters
        static = np.zeros((len(deleted), *self.static.shape[-2:]))
        if cells is not None:
            nodes, codes = (
                cells.mean(columns),
                clusters[np.unique(cells.cell, return_index=True)[1]],
            )
            if len(cells.S) < len(cells.cell):
                static = products_of_others(cells.within(columns, nodes), clusters)[deleted]
        return Blockwise(
            problem,
            tuple(np.moveaxis(nodes[:, batch.rows], 0, -1) for batch in problem.batches),
            static,
            tuple(codes[batch.rows[:, 0]] != deleted[:, None] for batch in problem.batches),
        )

    @property
    def size(self) -> int:
        """Numbers of which there is one for each parameter vector."""
        return sum(batch.V.size for batch in self.problem.batches) * (1 + len(self.entries))

    @cached_property
    def entries(self) -> list[tuple[int, int, int]]:
        """Term, row and column of each entry of G that derivatives are by."""
        return [
            (i, a, b)
            for i, term in enumerate(self.problem.terms)
            for a in range(term.q)
            for b in range(a, term.q)
        ]

    @cached_property
    def patterns(self) -> list[Array]:
        """Derivatives of Sigma by those entries, (entries, blocks, n, n)."""
        found = []
        for batch in self.problem.batches:
            S = np.empty((len(self.entries), *batch.V.shape))
            for at, (i, a, b) in enumerate(self.entries):
                q = self.problem.terms[i].q
                pairs = batch.pairs[i].reshape(batch.V.shape)
                S[at] = (pairs == a * q + b) | (pairs == b * q + a)
            found.append(S)
        return found

    def moments(self, G: Sequence[Array], order: int, lanes: Codes | None = None) -> Moments:
        """Moments at covariance matrices of the terms; see `Many`."""
        sigmas = [batch.covariance(G) for batch in self.problem.batches]
        shape = sigmas[0].shape[:-3]
        B = math.prod(shape)
        m = len(self.entries) if order else 0
        c, (i, j) = self.static.shape[-1], pairs(m)
        logdet, gram = np.zeros((packed(m), B)), np.zeros((packed(m), B, c, c))
        for number, sigma in enumerate(sigmas):
            blocks, n = sigma.shape[-3:-1]
            D = self.columns[number]
            if D.ndim > 3 and lanes is not None:
                D = D[lanes]
            T = _factors(sigma.reshape(B, blocks, n, n))
            logs = np.log(T.diagonal(0, -2, -1))
            if self.left is not None:
                kept = self.left[number] if lanes is None else self.left[number][lanes]
                logs, T = logs * kept[..., None], T * kept[..., None, None]
            logdet[0] -= 2.0 * logs.sum((1, 2))
            U = T @ D
            gram[0] += _products(U, U)
            if not order:
                continue
            # derivatives of Sigma between the whitening factors
            S = T @ self.patterns[number][:, None] @ T.swapaxes(-1, -2)
            logdet[1 : m + 1] += S.diagonal(0, -2, -1).sum((2, 3))
            A = S.reshape(m, B, -1).swapaxes(0, 1)
            logdet[m + 1 :] -= (A @ A.swapaxes(1, 2))[:, i, j].T
            F = S @ U
            gram[1 : m + 1] -= _products(F, U)
            rows = F.reshape(m, B, blocks * n, c)
            left = np.ascontiguousarray(rows.transpose(1, 0, 3, 2)).reshape(B, m * c, -1)
            crossed = (left @ left.swapaxes(-1, -2)).reshape(B, m, c, m, c)
            second = crossed[:, i, :, j]
            gram[m + 1 :] += second + second.swapaxes(-1, -2)
        gram[0] += self.static if lanes is None or self.static.ndim < 3 else self.static[lanes]
        logdet[0] += self.problem.logdet
        return Moments(logdet.reshape(-1, *shape), gram.reshape(-1, *shape, c, c))


def _products(left: Array, right: Array) -> Array:
    """Sums over blocks and rows of left' right, (..., c, c)."""
    c = left.shape[-1]
    a = left.reshape(*left.shape[:-3], -1, c)
    b = right.reshape(*right.shape[:-3], -1, c)
    return a.swapaxes(-1, -2) @ b


def _factors(sigma: Array) -> Array:
    """Lower triangular T with T'T = sigma^-1, (B, blocks, n, n); nan where sigma is singular."""
    flat = sigma.reshape(-1, *sigma.shape[-2:])
    T = inverse_factor(flat)
    if T is not None:
        return T.reshape(sigma.shape)
    found = np.full(sigma.shape, np.nan)
    for lane, blocks in enumerate(sigma):
        one = inverse_factor(blocks)
        if one is not None:
            found[lane] = one
    return found
