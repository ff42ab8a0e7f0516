"""Nodes of a tree that stand together by parent, and sums over them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from metareg_sm._typing import Array, Codes, Mask

# A node with more than this share of its parent's precision outweighs the others.
_OUTWEIGHS = 0.999
# Rows from which on a sparse product is faster than `reduceat`.
_ROWS = 6
_NONE = np.zeros(0, dtype=np.intp)


@dataclass(frozen=True, eq=False)
class Siblings:
    """Nodes that stand together by parent.

    Attributes
    ----------
    parent : ndarray of int, (n,)
        Parent of each node, rising.
    starts : ndarray of int, (parents,)
        First node of each parent.
    """

    parent: Codes
    starts: Codes

    def sums(self, values: Array) -> Array:
        """Sums over the nodes of a parent, (..., n) to (..., parents)."""
        n = len(self.parent)
        if values.size < _ROWS * n:
            return np.add.reduceat(values, self.starts, axis=-1)
        summed = (self._members @ values.reshape(-1, n).T).T
        return np.ascontiguousarray(summed).reshape(*values.shape[:-1], -1)

    def spread(self, values: Array) -> Array:
        """Value of the parent of each node, (..., parents) to (..., n)."""
        return values.take(self.parent, axis=-1)

    @cached_property
    def _members(self) -> sp.csr_array:
        """Indicators of the nodes of each parent, (parents, n)."""
        n = len(self.parent)
        ends = np.append(self.starts, n)
        return sp.csr_array((np.ones(n), np.arange(n), ends), shape=(len(self.starts), n))

    @cached_property
    def alone(self) -> Codes:
        """Nodes without siblings."""
        return np.flatnonzero(np.bincount(self.parent)[self.parent] == 1)

    @cached_property
    def parents_of_one(self) -> Codes:
        """Parents of the nodes without siblings."""
        return self.parent[self.alone]

    @cached_property
    def _most(self) -> Array:
        """Shares above which nodes outweigh their siblings; those without any have nothing to."""
        most = np.full(len(self.parent), _OUTWEIGHS)
        most[self.alone] = 1.0
        return most

    def heavy(self, share: Array) -> Codes:
        """Nodes that outweigh the other nodes of their parent, given each node's share."""
        mask: Mask = share > self._most
        return np.flatnonzero(mask) if mask.any() else _NONE

    def others(self, values: Array, sums: Array, heavy: Codes) -> Array:
        """Sum over the other nodes of the same parent, (..., n); values are not negative."""
        rest: Array = self.spread(sums) - values
        if heavy.size:
            without = values.copy()
            without[..., heavy] = 0.0
            rest[..., heavy] = self.sums(without)[..., self.parent[heavy]]
        return rest


def products_of_others(rows: Array, clusters: Codes) -> Array:
    """Products of rows (c, k) over the columns outside of each cluster, (clusters, c, c).

    Sums over the other clusters: where one outweighs them, a difference would lose their digits.
    """
    order = np.argsort(clusters, kind="stable")
    ends = np.bincount(clusters).cumsum()
    sortd = rows[:, order]
    each = np.add.reduceat(sortd[:, None] * sortd, np.append(0, ends[:-1]), axis=-1)
    found = np.zeros((len(ends), *each.shape[:-1]))
    each = np.moveaxis(each, -1, 0)
    found[1:] += each[:-1].cumsum(0)
    found[:-1] += each[:0:-1].cumsum(0)[::-1]
    return found
