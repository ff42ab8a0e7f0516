"""The one place that chooses how the marginal covariance is factored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from metareg_sm._typing import Array, Codes
from metareg_sm.core.mixed.blocks import Blocks, Cells
from metareg_sm.core.mixed.crossed import crossed
from metareg_sm.core.mixed.nested import Nested
from metareg_sm.core.mixed.profile import Route
from metareg_sm.core.mixed.terms import (
    KnownBlock,
    Term,
    components,
    known_partition,
    nested_chain,
)

# Nodes of a block beyond which a term is better counted as crossed than merged into blocks.
LARGEST_BLOCK = 60


def choose_route(
    columns: Array, known: Array | Sequence[KnownBlock], terms: Sequence[Term]
) -> Route:
    """The cheapest way to factor the marginal covariance.

    Nested intercepts over a diagonal V take linear time at any depth. Otherwise terms are merged
    into blocks while those stay small, and what is left is crossed. Where blocks would be large all
    the same but V is diagonal, structured terms are crossed with nested intercepts.

    Parameters
    ----------
    columns : ndarray, (p+1, k)
        Design and outcomes.
    known : ndarray, (k,), or sequence of KnownBlock
        V: its diagonal or its blocks.
    terms : sequence of Term
        Random terms.
    """
    if not isinstance(known, np.ndarray):
        inner, merged = merge(terms, [known_partition(known, columns.shape[1])], columns.shape[1])
        return _blocks(columns, known, terms, inner, merged)
    intercepts = [i for i, term in enumerate(terms) if term.q == 1]
    if len(intercepts) == len(terms):
        return _nested(columns, known, terms, intercepts)
    inner, merged = merge(terms, [], columns.shape[1])
    if intercepts:
        cells = Cells.build(terms, known).cell
        nodes = np.bincount(merged[np.unique(cells, return_index=True)[1]])
        outside = _effects(term for i, term in enumerate(terms) if i not in inner)
        chain = nested_chain([terms[i].groups for i in intercepts])
        reached = [intercepts[i] for i in chain]
        crossing = _effects(term for i, term in enumerate(terms) if i not in reached)
        if crossing**3 < float(np.sum(nodes.astype(float) ** 3)) + outside**3:
            return _nested(columns, known, terms, intercepts)
    return _blocks(columns, known, terms, inner, merged)


def merge(terms: Sequence[Term], partitions: Sequence[Codes], k: int) -> tuple[list[int], Codes]:
    """Terms that are merged into blocks, structured ones first, and the blocks (k,)."""
    order = sorted(range(len(terms)), key=lambda i: (terms[i].q == 1, -terms[i].n_groups))
    merged = components([*partitions, terms[order[0]].groups], k)
    inner = order[:1]
    for i in order[1:]:
        larger = components([merged, terms[i].groups], k)
        if np.bincount(larger).max() <= max(LARGEST_BLOCK, np.bincount(merged).max()):
            merged = larger
            inner.append(i)
    return sorted(inner), merged


def _effects(terms: Iterable[Term]) -> float:
    return float(sum(term.n_groups * term.q for term in terms))


def _blocks(
    columns: Array,
    known: Array | Sequence[KnownBlock],
    terms: Sequence[Term],
    inner: Sequence[int],
    merged: Codes,
) -> Route:
    blocks = Blocks.build(columns, known, [terms[i] for i in inner], merged)
    return blocks if len(inner) == len(terms) else crossed(blocks, inner, terms, columns, merged)


def _nested(
    columns: Array, variance: Array, terms: Sequence[Term], intercepts: Sequence[int]
) -> Route:
    chain = [intercepts[i] for i in nested_chain([terms[i].groups for i in intercepts])]
    inner = sorted(chain)
    partitions = [terms[i].groups for i in inner]
    base = Nested.build(columns, variance, partitions, [inner.index(i) for i in chain])
    if len(inner) == len(terms):
        return base
    return crossed(base, inner, terms, columns, terms[chain[-1]].groups)
