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

import numpy as np

from metareg_sm._typing import Array, Rows


@dataclass(frozen=True, slots=True)
class Pivots:
    """Outcomes and designs as deviations from what r pivot studies predict.

    Attributes
    ----------
    rows : ndarray of int, (r, n)
        The pivot studies.
    M : ndarray, (r, k, n)
        Weight of each pivot in the prediction of each study; of pivots themselves 0 where they
        count once.
    to_columns : ndarray, (r, r, n)
        X_p^-1: maps expected effects of the pivots to coefficients of the columns of X.
    y, v : ndarray, (r, n)
        Outcomes and sampling variances of the pivots.
    g : ndarray, (k, n)
        Outcomes less what those of the pivots predict; exactly 0 for the pivots.
    others : ndarray, (k, n)
        How often each study counts beside the pivots: 0 for a pivot that counts once.
    Mc, gc : ndarray
        `M` and `g` times `others`.
    """

    rows: Rows
    M: Array
    to_columns: Array
    y: Array
    v: Array
    g: Array
    others: Array
    Mc: Array
    gc: Array

    def largest(self) -> Array:
        """Largest |M| of the studies that count, (n,)."""
        if not len(self.M):
            return np.zeros(self.others.shape[-1])
        return np.max(np.abs(self.Mc), axis=(0, 1))

    def pick(self, index: Rows) -> Pivots:
        """Some of the data sets."""

        def part(a: Array) -> Array:
            return a if a.shape[-1] == 1 else np.take(a, index, axis=-1)

        M, g = part(self.M), part(self.g)
        return Pivots(
            part(self.rows),
            M,
            part(self.to_columns),
            part(self.y),
            part(self.v),
            g,
            part(self.others),
            M if self.Mc is self.M else part(self.Mc),
            g if self.gc is self.g else part(self.gc),
        )

    def replaced(self, index: Rows, new: Pivots, n: int) -> Pivots:
        """The same for n data sets, with other pivots for some."""

        def mixed(old: Array, fresh: Array) -> Array:
            out = np.array(np.broadcast_to(old, (*old.shape[:-1], n)))
            out[..., index] = fresh
            return out

        rows, M, to_columns, y, v, g, others, Mc, gc = (
            mixed(getattr(self, name), getattr(new, name)) for name in Pivots.__slots__
        )
        if self.Mc is self.M:
            Mc, gc = M, g
        return Pivots(rows, M, to_columns, y, v, g, others, Mc, gc)


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
    n = max(weights.shape[-1], X.shape[-1])
    A = np.empty((r, k + r, n))
    A[:, :k] = X
    A[:, k:] = np.eye(r)[..., None]
    rows = np.empty((r, n), dtype=np.intp)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for j in range(r):
            rows[j] = np.argmax(weights * np.square(A[j, :k]), axis=0)
            row = np.take_along_axis(A, rows[j][None, None], 1)[:, 0]
            A[j] /= row[j]
            for i in range(r):
                if i != j:
                    A[i] -= A[j] * row[i]
        M, level = A[:, :k], np.zeros((1, 1))
        if constant and r:
            level = _at(y, rows[:1])
            y = y - level
        y1 = _at(y, rows)
        g = y - combine(M, y1)
    to_columns, y1, v1 = A[:, k:].swapaxes(0, 1), y1 + level, _at(v, rows)
    if counts is not None:
        others = np.array(np.broadcast_to(counts, (k, n)))
        np.put_along_axis(others, rows, _at(others, rows) - 1.0, 0)
        return Pivots(rows, M, to_columns, y1, v1, g, others, M * others, g * others)
    others = np.ones((k, n))
    np.put_along_axis(others, rows, 0.0, 0)
    for column in M:
        np.put_along_axis(column, rows, 0.0, 0)
    return Pivots(rows, M, to_columns, y1, v1, g, others, M, g)


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
        return np.dot(a[:, 0], b[:, 0])[None]
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
