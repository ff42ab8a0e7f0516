"""Known covariances of sampling errors, kept as blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from metareg_sm._typing import Array, Codes, Rows
from metareg_sm.core.mixed.terms import KnownBlock
from metareg_sm.design.values import container, numeric, row_label
from metareg_sm.exceptions import VarianceError
from metareg_sm.printing import Overview, Printed, said
from metareg_sm.stats.gls import clusters_by_size

_SYMMETRIC = 1e-8


@dataclass(frozen=True, eq=False)
class Stack:
    """Blocks of one size.

    Attributes
    ----------
    rows : ndarray of int, (blocks, n)
        Positions of their effect sizes.
    matrices : ndarray, (blocks, n, n)
        Covariances.
    """

    rows: Rows
    matrices: Array


@dataclass(frozen=True, eq=False, repr=False)
class SamplingCovariance(Printed):
    """Covariance V of the sampling errors of k effect sizes, as blocks.

    Attributes
    ----------
    k : int
        Number of effect sizes.
    stacks : tuple of Stack
        The blocks by size; they cover every row once.
    labels : Index, (k,), optional
        Labels of the rows, by which they are matched to those of the data.
    """

    k: int
    stacks: tuple[Stack, ...]
    labels: pd.Index | None = None

    def overview(self) -> Overview:
        """What is printed."""
        sizes = [f"{len(s.rows)} of {s.rows.shape[1]}" for s in self.stacks]
        lines = [("blocks", said(sizes)), ("variances", said(self.vi))]
        return Overview(f"Covariance of {self.k} sampling errors", lines)

    @property
    def vi(self) -> Array:
        """Sampling variances, (k,)."""
        v = np.full(self.k, np.nan)
        for stack in self.stacks:
            v[stack.rows] = np.einsum("gnn->gn", stack.matrices)
        return v

    @property
    def is_diagonal(self) -> bool:
        """Whether no two sampling errors are correlated."""
        return all(s.rows.shape[1] == 1 for s in self.stacks)

    def to_dense(self) -> Array:
        """The whole matrix, (k, k)."""
        V = np.zeros((self.k, self.k))
        for s in self.stacks:
            V[s.rows[:, :, None], s.rows[:, None, :]] = s.matrices
        return V

    def take(self, positions: Rows) -> SamplingCovariance:
        """The covariance of some rows, in their order."""
        new = np.full(self.k, -1, dtype=np.intp)
        new[positions] = np.arange(len(positions))
        found: dict[int, list[Stack]] = {}
        for stack in self.stacks:
            rows = new[stack.rows]
            kept = (rows >= 0).sum(1)
            for n in np.unique(kept[kept > 0]):
                at = np.flatnonzero(kept == n)
                # what is kept of each block first, in its own order
                order = np.argsort(rows[at] < 0, axis=1, kind="stable")[:, :n]
                M = stack.matrices[at]
                M = np.take_along_axis(
                    np.take_along_axis(M, order[:, :, None], 1), order[:, None], 2
                )
                part = Stack(np.take_along_axis(rows[at], order, 1), M)
                found.setdefault(int(n), []).append(part)
        labels = None if self.labels is None else self.labels[positions]
        return SamplingCovariance(len(positions), _joined(found), labels)

    def aligned(self, index: pd.Index | None) -> SamplingCovariance:
        """The covariance of rows with these labels, in their order; by position without labels.

        Raises
        ------
        VarianceError
            If it does not have exactly one row for each label.
        """
        labels = self.labels
        if labels is None or index is None or labels.equals(index):
            return self
        at = labels.get_indexer(index) if labels.is_unique else np.full(len(index), -1)
        lost = (index[at < 0] if index.is_unique else index[index.duplicated()]).tolist()
        if lost:
            raise VarianceError(
                f"V has no one row for {lost[0]!r} of the data: it was made of a Series, whose "
                "index differs. Make it of columns of the same table, or of arrays in the order of "
                "its rows."
            )
        return self.take(at)

    def spread(self, positions: Rows, total: int) -> SamplingCovariance:
        """The same as a covariance of `total` rows of which it says something of some alone."""
        return SamplingCovariance(
            total, tuple(Stack(positions[s.rows], s.matrices) for s in self.stacks)
        )

    def blocks(self) -> list[KnownBlock]:
        """The blocks one by one."""
        return [
            KnownBlock(rows, matrix)
            for s in self.stacks
            for rows, matrix in zip(s.rows, s.matrices, strict=True)
        ]

    def partition(self) -> Codes:
        """Block of each effect size, (k,)."""
        found = np.full(self.k, -1, dtype=np.intp)
        begin = 0
        for s in self.stacks:
            found[s.rows] = begin + np.arange(len(s.rows))[:, None]
            begin += len(s.rows)
        return found

    def trace_of_inverse(self) -> float:
        """Tr V^-1."""
        return float(sum(np.einsum("gnn->", np.linalg.inv(s.matrices)) for s in self.stacks))

    def check_definite(self, index: pd.Index | None = None, argument: str = "V") -> None:
        """Refuse a block that is not positive definite.

        Raises
        ------
        VarianceError
            Which names its rows.
        """
        for s in self.stacks:
            d = np.sqrt(np.einsum("gnn->gn", s.matrices))
            if not (d > 0.0).all():
                g, i = np.argwhere(~(d > 0.0))[0]
                raise VarianceError(
                    f"{argument} is not positive definite: the variance of "
                    f"{row_label(index, int(s.rows[g, i]))} is 0."
                )
            if s.rows.shape[1] == 1:
                continue
            correlations = s.matrices / (d[:, :, None] * d[:, None, :])
            least = np.linalg.eigvalsh(correlations)[:, 0]
            bad = np.flatnonzero(~(least > 1e-12))
            if bad.size:
                rows = s.rows[bad[0]]
                named = ", ".join(row_label(index, int(i)) for i in rows[:6])
                more = " ..." if len(rows) > 6 else ""
                raise VarianceError(
                    f"{argument} is not positive definite: the correlation matrix of {named}{more} "
                    f"has the eigenvalue {least[bad[0]]:.3g}. Correlations of one study must go "
                    "together; is a covariance wrong, or an effect size there twice?"
                )


def _joined(found: Mapping[int, list[Stack]]) -> tuple[Stack, ...]:
    return tuple(
        Stack(
            np.concatenate([s.rows for s in found[n]]),
            np.ascontiguousarray(np.concatenate([s.matrices for s in found[n]])),
        )
        for n in sorted(found)
    )


def as_sampling_covariance(V: Any, index: pd.Index | None = None) -> SamplingCovariance:
    """V as it was given: a record, a dense matrix, or a list of blocks in the order of the rows.

    What has labels of its own is matched to `index` by them.

    Raises
    ------
    VarianceError
        If it is none of these, not square or not symmetric, or has negative or infinite values.
    """
    if isinstance(V, SamplingCovariance):
        return V.aligned(index)
    if isinstance(V, (list, tuple)) and V and all(np.ndim(block) == 2 for block in V):
        blocks = _of_blocks(V)
        named = index is not None and all(isinstance(block, pd.DataFrame) for block in V)
        return _by_label(blocks, V, index) if named else blocks
    if isinstance(V, pd.DataFrame) and index is not None and not V.index.equals(index):
        if not V.index.is_unique or len(index.difference(V.index)) or not index.is_unique:
            raise VarianceError("The rows of V and of the data have different labels.")
        V = V.loc[index, index] if set(V.columns) == set(V.index) else V
    dense = numeric(container(V, "V", VarianceError), "V", error=VarianceError)
    if dense.ndim != 2 or dense.shape[0] != dense.shape[1]:
        raise VarianceError(
            f"V must be a square matrix, a list of square blocks, or what sampling_covariance "
            f"returns; it has shape {dense.shape}. Variances alone are given as vi=."
        )
    _check_block(dense, "V")
    k = len(dense)
    i, j = np.nonzero(dense)
    graph = coo_matrix((np.ones(len(i), dtype=np.int8), (i, j)), shape=(k, k))
    codes = connected_components(graph, directed=False)[1].astype(np.intp)
    stacks = [
        Stack(rows, dense[rows[:, :, None], rows[:, None, :]]) for rows in clusters_by_size(codes)
    ]
    return SamplingCovariance(k, tuple(stacks))


def _of_blocks(blocks: Sequence[Any]) -> SamplingCovariance:
    found: dict[int, list[Stack]] = {}
    begin = 0
    for number, given in enumerate(blocks):
        name = f"block {number} of V"
        block = numeric(given, name, error=VarianceError)
        if block.shape[0] != block.shape[1]:
            raise VarianceError(f"{name} must be square; it has shape {block.shape}.")
        _check_block(block, name)
        n = len(block)
        found.setdefault(n, []).append(Stack(begin + np.arange(n)[None], block[None]))
        begin += n
    return SamplingCovariance(begin, _joined(found))


def _by_label(V: SamplingCovariance, blocks: Any, index: pd.Index) -> SamplingCovariance:
    """The rows of labelled blocks that the data have, in their order."""
    labels = blocks[0].index.append([block.index for block in blocks[1:]])
    if labels.equals(index) or not labels.is_unique:
        return V
    at = labels.get_indexer(index)
    if (at < 0).any() or not index.is_unique:
        raise VarianceError("The rows of V and of the data have different labels.")
    return V.take(at)


def _check_block(block: Array, name: str) -> None:
    diagonal = np.diagonal(block)
    if np.isinf(block).any() or (diagonal < 0.0).any():
        raise VarianceError(f"{name} must be finite, and its diagonal not negative.")
    size = np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
    gap = np.abs(block - block.T) / (size[:, None] * size)
    if np.nanmax(gap, initial=0.0) > _SYMMETRIC:
        i, j = np.unravel_index(np.nanargmax(gap), gap.shape)
        raise VarianceError(
            f"{name} must be symmetric; entry ({i}, {j}) is {block[i, j]:g}, entry ({j}, {i}) "
            f"{block[j, i]:g}."
        )
    lost = np.isnan(block) & ~np.isnan(diagonal)[:, None] & ~np.isnan(diagonal)
    if lost.any():
        i, j = np.argwhere(lost)[0]
        raise VarianceError(
            f"{name}: entry ({i}, {j}) is missing; 0 says that it is no covariance."
        )
