"""The textbook's formulas of dependent effects, with k x k matrices."""

import numpy as np

from metareg_sm.core.basis import design_basis
from metareg_sm.core.mixed.likelihood import MixedLikelihood
from metareg_sm.core.mixed.structures import structure
from metareg_sm.core.mixed.terms import KnownBlock, Term


def codes(labels):
    return np.unique(labels, return_inverse=True)[1]


def known_matrix(known, k):
    """V as a matrix."""
    if isinstance(known, np.ndarray):
        return np.diag(known)
    V = np.zeros((k, k))
    for block in known:
        V[np.ix_(block.rows, block.rows)] = block.matrix
    return V


def spread(term, G):
    """Z (I x G) Z'."""
    same = term.groups[:, None] == term.groups
    return same * G[term.levels[:, None], term.levels]


def dense(y, X, known, terms, matrices, directions, reml):
    """Log-likelihood, score, information, coefficients and predicted effects.

    `directions` is a list of (term, derivative of G).
    """
    k, p = X.shape
    sigma = known_matrix(known, k) + sum(map(spread, terms, matrices))
    W = np.linalg.inv(sigma)
    XWX = X.T @ W @ X
    P = W - W @ X @ np.linalg.solve(XWX, X.T @ W)
    value = -0.5 * (k * np.log(2 * np.pi) + np.linalg.slogdet(sigma)[1] + y @ P @ y)
    if reml:
        value += 0.5 * p * np.log(2 * np.pi)
        value += 0.5 * (np.linalg.slogdet(X.T @ X)[1] - np.linalg.slogdet(XWX)[1])
    M = P if reml else W
    S = [spread(terms[i], D) for i, D in directions]
    Py = P @ y
    effects = []
    for term, G in zip(terms, matrices, strict=True):
        Z = np.zeros((k, term.n_groups * term.q))
        Z[np.arange(k), term.cells] = 1.0
        GZ = np.kron(np.eye(term.n_groups), G) @ Z.T
        cov = np.kron(np.eye(term.n_groups), G) - GZ @ P @ GZ.T
        u = (GZ @ Py).reshape(-1, term.q)
        at = np.arange(term.n_groups * term.q).reshape(-1, term.q)
        effects.append((u, cov[at[:, :, None], at[:, None, :]]))
    return {
        "value": value,
        "gradient": np.array([0.5 * (Py @ s @ Py - np.trace(M @ s)) for s in S]),
        "average": np.array([[0.5 * Py @ a @ P @ b @ Py for a in S] for b in S]),
        "expected": np.array([[0.5 * np.trace(M @ a @ M @ b) for a in S] for b in S]),
        "params": np.linalg.solve(XWX, X.T @ W @ y),
        "cov": np.linalg.inv(XWX),
        "effects": effects,
        "W": W,
    }


def problem(rng, kind, k=24):
    """A small data set of a kind: outcomes, design, V and terms, rows in no order."""
    X = np.column_stack([np.ones(k), rng.normal(size=k), rng.normal(size=k)])
    variance = 10.0 ** rng.uniform(-1.5, 0.7, k)
    outer = rng.integers(0, 5, k)
    middle = outer * 10 + rng.integers(0, 3, k)
    inner = middle * 10 + rng.integers(0, 2, k)
    other = rng.integers(0, 4, k)
    level = rng.integers(0, 3, k)
    level[:3] = [0, 1, 2]
    times = np.array([0.0, 1.0, 3.0])

    def blocks(groups):
        found = []
        for g in np.unique(groups):
            rows = rng.permutation(np.flatnonzero(groups == g))
            A = rng.normal(size=(len(rows), len(rows) + 2))
            found.append(KnownBlock(rows, A @ A.T / len(rows) + 0.1 * np.eye(len(rows))))
        return found

    def intercept(labels):
        return Term.intercept(codes(labels))

    def structured(name, groups=outer, at=times):
        return Term(codes(groups), level, structure(name, 3, at))

    kinds = {
        "one": lambda: (variance, [intercept(outer)]),
        "rows": lambda: (variance, [intercept(np.arange(k))]),
        "two": lambda: (variance, [intercept(outer), intercept(middle)]),
        "three": lambda: (variance, [intercept(outer), intercept(middle), intercept(inner)]),
        "effects": lambda: (
            variance,
            [intercept(middle), intercept(np.arange(k)), intercept(outer)],
        ),
        "dense V": lambda: (blocks(outer), [intercept(outer), intercept(np.arange(k))]),
        "V of rows": lambda: (blocks(middle), [intercept(outer), intercept(middle)]),
        "crossed": lambda: (variance, [intercept(outer), intercept(other)]),
        "crossed nested": lambda: (
            variance,
            [intercept(other), intercept(outer), intercept(middle), intercept(level)],
        ),
        "un": lambda: (variance, [structured("un")]),
        "cs": lambda: (variance, [structured("cs")]),
        "hcs": lambda: (blocks(outer), [structured("hcs")]),
        "diag": lambda: (variance, [structured("diag")]),
        "id": lambda: (variance, [structured("id")]),
        "ar": lambda: (blocks(outer), [structured("ar")]),
        "har": lambda: (variance, [structured("har")]),
        "har fractions": lambda: (
            variance,
            [structured("har", at=np.array([0.2, 0.5, 1.7])), intercept(np.arange(k))],
        ),
        "several": lambda: (
            variance,
            [structured("un", middle), structured("cs"), intercept(inner)],
        ),
    }
    known, terms = kinds[kind]()
    y = rng.normal(size=k) + 0.7 * rng.normal(size=5)[outer] + 3.0
    return y, X, known, terms


KINDS = (
    "one", "rows", "two", "three", "effects", "dense V", "V of rows", "crossed", "crossed nested",
    "un", "cs", "hcs", "diag", "id", "ar", "har", "har fractions", "several",
)  # fmt: skip


def likelihood(y, X, known, terms):
    return MixedLikelihood.build(y, design_basis(X), known, terms)


def working(rng, terms):
    """Working parameters in the interior, in units of the outcome."""
    parts = [
        t.structure.start(10.0 ** rng.uniform(-1.5, 0.5, t.q), rng.uniform(0.1, 0.8)) for t in terms
    ]
    return np.concatenate(parts)
