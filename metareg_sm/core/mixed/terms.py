"""Random terms, and how their groups lie in each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from metareg_sm._typing import Array, Codes
from metareg_sm.core.mixed.covariances import Structure
from metareg_sm.core.mixed.structures import structure


@dataclass(frozen=True, eq=False)
class Term:
    """Random effects of groups: u_g ~ N(0, G), one entry of u_g for each level.

    Attributes
    ----------
    groups : ndarray of int, (k,)
        Group of each effect size, 0 to the number of groups less 1, each occurring.
    levels : ndarray of int, (k,)
        Level of each effect size, 0 to q-1; zeros for a random intercept.
    structure : Structure
        Covariance G of the q effects of a group.
    """

    groups: Codes
    levels: Codes
    structure: Structure

    @classmethod
    def intercept(cls, groups: Codes) -> Term:
        """Random intercept of groups."""
        return cls(groups, np.zeros(len(groups), dtype=np.intp), structure("id", 1))

    @property
    def q(self) -> int:
        """Number of effects of a group."""
        return self.structure.q

    @cached_property
    def n_groups(self) -> int:
        """Number of groups."""
        return int(self.groups.max()) + 1

    @cached_property
    def cells(self) -> Codes:
        """Position of the effect of each row in the vector of all effects of the term."""
        return self.groups if self.q == 1 else self.groups * self.q + self.levels


@dataclass(frozen=True, eq=False)
class KnownBlock:
    """Known sampling covariance of some effect sizes.

    Attributes
    ----------
    rows : ndarray of int, (n,)
        Their positions, in any order.
    matrix : ndarray, (n, n)
        Symmetric and positive definite.
    """

    rows: Codes
    matrix: Array


def first_codes(labels: Codes) -> Codes:
    """The same partition with codes 0, 1, ... without gaps."""
    return np.unique(labels, return_inverse=True)[1].astype(np.intp)


def is_nested(inner: Codes, outer: Codes) -> bool:
    """Whether every inner group lies in one outer group."""
    parent = np.empty(int(inner.max()) + 1, dtype=np.intp)
    parent[inner] = outer
    return bool(np.array_equal(parent[inner], outer))


def nested_chain(partitions: Sequence[Codes]) -> list[int]:
    """Positions of partitions that lie in each other, inner ones first.

    Begins with the partition of most groups, and takes each next that the last one lies in.
    """
    order = sorted(range(len(partitions)), key=lambda i: -int(partitions[i].max()))
    chain = order[:1]
    for i in order[1:]:
        if is_nested(partitions[chain[-1]], partitions[i]):
            chain.append(i)
    return chain


def components(partitions: Sequence[Codes], k: int) -> Codes:
    """Finest partition that every given one lies in, (k,)."""
    rows, nodes, offset = [], [], k
    for partition in partitions:
        rows.append(np.arange(k))
        nodes.append(partition + offset)
        offset += int(partition.max()) + 1
    i, j = np.concatenate(rows), np.concatenate(nodes)
    graph = coo_matrix((np.ones(len(i), dtype=np.int8), (i, j)), shape=(offset, offset))
    found = connected_components(graph, directed=False)[1][:k]
    return first_codes(found)


def known_partition(blocks: Sequence[KnownBlock], k: int) -> Codes:
    """Block of each effect size, (k,)."""
    block_of = np.empty(k, dtype=np.intp)
    for code, block in enumerate(blocks):
        block_of[block.rows] = code
    return block_of
