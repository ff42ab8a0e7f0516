"""Sums over many studies, and what is left of them without one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from metareg_sm._typing import Array, Mask, Rows
from metareg_sm.core.gram import pairs_of
from metareg_sm.core.likelihood.compressed import in_bands
from metareg_sm.core.likelihood.pivot_sums import WeightedSums
from metareg_sm.core.pivots import Pivots, choose_pivots

# Less than this of a sum is left when the term of one study is taken off: digits are lost.
LEAST_LEFT = 0.1


class Coordinates(NamedTuple):
    """Studies as deviations from what pivots predict.

    Attributes
    ----------
    pivots : Pivots
    v : ndarray, (m,)
        Sampling variances at the nodes.
    table : ndarray, (m, q)
        Products of two columns of [M g] at the nodes, and how many studies beside the pivots.
    square : ndarray of int, (r + 1, r + 1)
        Where the products of two columns are.
    is_pivot : ndarray of bool, (k,)
    """

    pivots: Pivots
    v: Array
    table: Array
    square: npt.NDArray[np.intp]
    is_pivot: Mask

    @classmethod
    def build(cls, y: Array, v: Array, Z: Array, weights: Array, nodes: bool) -> Coordinates:
        """Choose pivots for weights (k,); nodes, or the studies themselves."""
        X = np.ascontiguousarray(Z.T)[..., None]
        pivots = choose_pivots(y[:, None], v[:, None], X, weights[:, None], None, False)
        columns = pivots.columns[..., 0]
        pairs = pairs_of(len(columns))
        table = np.empty((len(pairs) + 1, len(y)))
        square = np.empty((len(columns), len(columns)), dtype=np.intp)
        for position, (i, j) in enumerate(pairs):
            np.multiply(columns[i], columns[j], out=table[position])
            square[i, j] = square[j, i] = position
        table[-1] = pivots.others[:, 0]
        is_pivot = pivots.others[:, 0] == 0.0
        at, table = in_bands(v, table) if nodes else (v, table)
        return cls(pivots, at, np.ascontiguousarray(table.T), square, is_pivot)

    def less(self, found: Array, w: Array, lacks: Rows) -> tuple[WeightedSums, Mask]:
        """Sums (q, m, n) without the terms of studies with weights (m, n); where that costs digits.

        Of the totals those of the first two of m kinds of weights are kept.
        """
        c = self.pivots.columns[:, lacks, 0]
        whole = found[self.square]
        S = whole - c[:, None, None] * c[None, :, None] * w
        lost = self.is_pivot[lacks]
        for i in range(len(c)):
            lost = lost | (S[i, i] < LEAST_LEFT * whole[i, i]).any(0)
        totals = found[-1] - w
        lost |= (totals < LEAST_LEFT * found[-1]).any(0)
        if lost.any():
            # harmless numbers: those of all studies
            S[..., lost] = np.broadcast_to(whole, S.shape)[..., lost]
            totals[:, lost] = np.broadcast_to(found[-1], totals.shape)[:, lost]
        return WeightedSums(S, totals[0], totals[min(len(w), 2) - 1]), lost
