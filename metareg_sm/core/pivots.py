"""Pivot studies: the designs of all studies expressed by those of a few.

The design row of each study is a combination of the rows of r pivot studies, so that coefficients
may stand for the expected effects of the pivots: X = M X_p. Pivots are chosen as Gaussian
elimination with partial pivoting on W^1/2 X chooses its rows. No element of M (w_i / w_p)^1/2 is
large then, and the weighted regression in these coordinates,

    (X'WX)^-1 = X_p^-1 T X_p^-T,   T = (D^-1 + B)^-1,   D = 1/w of the pivots,   B = M'WM of the
    other studies,

is as well conditioned as D^1/2 B D^1/2 + I, however unequal the weights. The elimination itself
runs in the units of the moderators, where weights cost it no digits (Powell & Reid, 1969; Cox &
Higham, 1998).

Arrays have the data sets last, the studies before; the last axis has length 1 where all data sets
share what it holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from metareg_sm._typing import Array, Rows
from metareg_sm.core.gram import inverse as gram_inverse
from metareg_sm.core.gram import logdet as gram_logdet

# Matrices up to which LAPACK needs less time than an elimination that runs over data sets.
_FEW = 32
_A = TypeVar("_A", Array, Rows)


@dataclass(frozen=True, slots=True, eq=False)
class Pivots:
    """Outcomes and designs as deviations from what r pivot studies predict.

    Attributes
    ----------
    rows : ndarray of int, (r, n)
        The pivot studies.
    columns : ndarray, (r + 1, k, n)
        M, the weight of each pivot in the prediction of each study, and g, outcomes less what those
        of the pivots predict. For the pivots g is 0, and M too where all studies count once.
    counted : ndarray, (r + 1, k, n)
        `columns` times `others`; the same array where all studies count once.
    to_columns : ndarray, (r, r, n)
        X_p^-1: maps expected effects of the pivots to coefficients of the columns of X.
    y, v : ndarray, (r, n)
        Outcomes and sampling variances of the pivots.
    others : ndarray, (k, n)
        How often each study counts beside the pivots: 0 for a pivot that counts once.
    """

    rows: Rows
    columns: Array
    counted: Array
    to_columns: Array
    y: Array
    v: Array
    others: Array

    @property
    def M(self) -> Array:
        """Weights of the pivots in predictions, (r, k, n)."""
        return self.columns[:-1]

    @property
    def Mc(self) -> Array:
        """`M` times `others`."""
        return self.counted[:-1]

    @property
    def g(self) -> Array:
        """Outcomes less predictions, (k, n)."""
        return self.columns[-1]

    @property
    def gc(self) -> Array:
        """`g` times `others`."""
        return self.counted[-1]

    @property
    def once(self) -> bool:
        """Whether all studies count once."""
        return self.counted is self.columns

    def largest(self) -> Array:
        """Largest |M| of the studies that count, (n,)."""
        if len(self.columns) == 1:
            return np.zeros(self.others.shape[-1])
        return np.maximum(self.Mc.max((0, 1)), -self.Mc.min((0, 1)))

    def pick(self, index: Rows) -> Pivots:
        """Some of the data sets."""

        def part(a: _A) -> _A:
            return a if a.shape[-1] == 1 else np.take(a, index, axis=-1)

        columns = part(self.columns)
        return Pivots(
            part(self.rows),
            columns,
            columns if self.once else part(self.counted),
            part(self.to_columns),
            part(self.y),
            part(self.v),
            part(self.others),
        )

    def replaced(self, index: Rows, new: Pivots, n: int) -> Pivots:
        """The same for n data sets, with other pivots for some."""

        def mixed(old: _A, fresh: _A) -> _A:
            out = np.array(np.broadcast_to(old, (*old.shape[:-1], n)))
            out[..., index] = fresh
            return out

        columns = mixed(self.columns, new.columns)
        return Pivots(
            mixed(self.rows, new.rows),
            columns,
            columns if self.once else mixed(self.counted, new.counted),
            mixed(self.to_columns, new.to_columns),
            mixed(self.y, new.y),
            mixed(self.v, new.v),
            mixed(self.others, new.others),
        )


def choose_pivots(
    y: Array, v: Array, X: Array, weights: Array, counts: Array | None, constant: bool
) -> Pivots:
    """Choose pivots for given weights.

    Parameters
    ----------
    y, v, weights : ndarray, (k, n) or (k, 1)
        Outcomes, sampling variances, and the weights that pivots should have most of.
    X : ndarray, (r, k, n) or (r, k, 1)
        Columns of the design.
    counts : ndarray, (k, n), optional
        How often each study counts; once by default.
    constant : bool
        Whether the columns span the constant: a common level of the outcomes then comes off before
        anything else.
    """
    r, k = X.shape[:2]
    if counts is not None:
        weights = np.where(counts > 0.0, weights, 0.0)
    n = max(weights.shape[-1], X.shape[-1], y.shape[-1])
    columns = np.empty((r + 1, k, n))
    columns[:r] = X
    E = np.empty((r, r, n))
    E[:] = np.eye(r)[..., None]
    rows = np.empty((r, n), dtype=np.intp)
    work = np.empty((k, n))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for j in range(r):
            np.square(columns[j], out=work)
            np.multiply(work, weights, out=work)
            rows[j] = np.argmax(work, axis=0)
            # divided rather than multiplied by a reciprocal: equal elements become exactly 1
            row = np.take_along_axis(columns[:r], rows[j][None, None], 1)[:, 0]
            columns[j] /= row[j]
            E[j] /= row[j]
            for i in range(r):
                if i != j:
                    np.multiply(columns[j], row[i], out=work)
                    columns[i] -= work
                    E[i] -= E[j] * row[i]
        level = np.zeros((1, 1))
        if constant and r:
            level = _at(y, rows[:1])
            y = y - level
        y1 = _at(y, rows)
        columns[r] = y
        for j in range(r):
            columns[r] -= np.multiply(columns[j], y1[j], out=work)
    to_columns, y1, v1 = E.swapaxes(0, 1), y1 + level, _at(v, rows)
    if counts is not None:
        others = np.array(np.broadcast_to(counts, (k, n)))
        np.put_along_axis(others, rows, _at(others, rows) - 1.0, 0)
        return Pivots(rows, columns, columns * others, to_columns, y1, v1, others)
    others = np.ones((k, n))
    np.put_along_axis(others, rows, 0.0, 0)
    for column in columns:
        np.put_along_axis(column, rows, 0.0, 0)
    return Pivots(rows, columns, columns, to_columns, y1, v1, others)


def _at(a: Array, rows: Rows) -> Array:
    """Elements of a (k, n) at studies (r, n)."""
    if a.shape[-1] == 1 or rows.shape[-1] == 1:
        n = max(a.shape[-1], rows.shape[-1])
        a, rows = np.broadcast_to(a, (len(a), n)), np.broadcast_to(rows, (len(rows), n))
    return np.take_along_axis(a, rows, 0)


def combine(M: Array, coefs: Array) -> Array:
    """Sum over pivots of M (r, k, n) times coefficients (r, n): (k, n)."""
    if M.shape[-1] == 1:
        return M[..., 0].T @ coefs
    out = np.zeros(M.shape[1:]) if not len(M) else M[0] * coefs[0]
    for column, coef in zip(M[1:], coefs[1:], strict=True):
        out += column * coef
    return out


def total(a: Array, b: Array) -> Array:
    """Sums over studies of a (k, n) times b (k, n): (n,)."""
    if a.shape[-1] == b.shape[-1] == 1:
        return np.array([np.dot(a[:, 0], b[:, 0])])
    return np.einsum("kn,kn->n", a, b)


def linear(M: Array, a: Array) -> Array:
    """Sums over studies of M (r, k, n) times a (k, n): (r, n)."""
    if M.shape[-1] == 1:
        return M[..., 0] @ a
    out = np.empty((len(M), M.shape[-1]))
    for i, column in enumerate(M):
        np.einsum("kn,kn->n", column, a, out=out[i])
    return out


def quadratic(M: Array, N: Array) -> Array:
    """Sums over studies of M (r, k, n) times N (r, k, n), symmetric: (r, r, n)."""
    r, n = len(M), max(M.shape[-1], N.shape[-1])
    if n == 1:
        return (M[..., 0] @ N[..., 0].T)[..., None]
    out = np.empty((r, r, n))
    for i in range(r):
        for j in range(i + 1):
            out[i, j] = out[j, i] = np.einsum("kn,kn->n", M[i], N[j])
    return out


def scaled(B: Array, d: Array) -> tuple[Array, Array]:
    """D^1/2 B D^1/2 + I, whose elements are of one size, and D^1/2."""
    root = np.sqrt(d)
    C = root[:, None] * B
    C *= root
    add_diagonal(C, 1.0)
    return C, root


def inverse(B: Array, d: Array) -> Array:
    """(D^-1 + B)^-1."""
    if not len(B):
        return B
    C, root = scaled(B, d)
    if C.shape[-1] <= _FEW:
        C = np.asarray(np.linalg.inv(C.transpose(2, 0, 1)), dtype=float).transpose(1, 2, 0)
    else:
        C = gram_inverse(C, overwrite=True)
    C *= root[:, None]
    C *= root
    return C


def logdet(B: Array, d: Array) -> Array:
    """ln|D^1/2 B D^1/2 + I|."""
    return gram_logdet(scaled(B, d)[0])


def add_diagonal(C: Array, value: float) -> None:
    """Add to the diagonal of matrices, in place."""
    for i in range(len(C)):
        C[i, i] += value


def apply(A: Array, b: Array) -> Array:
    """Matrices (r, r, n) times vectors (r, n)."""
    if A.shape[-1] == b.shape[-1] == 1:
        return A[..., 0] @ b
    return np.einsum("ijn,jn->in", A, b)


def product(A: Array, B: Array) -> Array:
    """Products of matrices (r, r, n)."""
    if A.shape[-1] == B.shape[-1] == 1:
        return (A[..., 0] @ B[..., 0])[..., None]
    return np.einsum("ijn,jmn->imn", A, B)


def trace_product(A: Array, B: Array) -> Array:
    """tr(AB) of matrices (r, r, n)."""
    if A.shape[-1] == 1:
        return np.array([np.vdot(A[..., 0].T, B[..., 0])])
    return np.einsum("ijn,jin->n", A, B)


def dot(a: Array, b: Array) -> Array:
    """Inner products of vectors (r, n)."""
    if a.shape[-1] == 1:
        return np.array([np.dot(a[:, 0], b[:, 0])])
    return np.einsum("in,in->n", a, b)
