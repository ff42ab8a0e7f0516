"""Orders and signs of the studies: how many there are, all of them, and some at random."""

from __future__ import annotations

from math import factorial

import numpy as np

from metareg_sm._typing import Array, Rows


def count_arrangements(labels: Rows) -> int:
    """Number of distinct arrangements of labelled rows."""
    total = factorial(len(labels))
    for size in np.bincount(labels):
        total //= factorial(int(size))
    return total


def all_arrangements(labels: Rows) -> Rows:
    """Every distinct arrangement of labels, one a row, in lexicographic order."""
    current = np.sort(labels)
    found = [current.copy()]
    while True:
        rises = np.flatnonzero(current[:-1] < current[1:])
        if not rises.size:
            return np.stack(found)
        i = rises[-1]
        j = np.flatnonzero(current > current[i])
        j = j[j > i][-1]
        current[i], current[j] = current[j], current[i]
        current[i + 1 :] = current[i + 1 :][::-1].copy()
        found.append(current.copy())


def orders_of(arrangements: Rows, labels: Rows) -> Rows:
    """Orders of the studies that stand for arrangements of the rows of the moderators."""
    orders = np.empty_like(arrangements)
    orders[:, np.argsort(labels, kind="stable")] = np.argsort(arrangements, axis=1, kind="stable")
    return orders


def random_orders(n: int, k: int, rng: np.random.Generator) -> Rows:
    """Random permutations, (n, k)."""
    return rng.permuted(np.broadcast_to(np.arange(k), (n, k)), axis=1)


def all_signs(k: int) -> Array:
    """All 2^k ways to sign k outcomes, (2^k, k)."""
    bits = (np.arange(2**k)[:, None] >> np.arange(k)) & 1
    return np.where(bits == 1, -1.0, 1.0)


def random_signs(n: int, k: int, rng: np.random.Generator) -> Array:
    """Random signs, (n, k)."""
    return np.where(rng.integers(0, 2, size=(n, k)) == 1, -1.0, 1.0)
