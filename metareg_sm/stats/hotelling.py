"""Joint tests of linear constraints: independent rows, Hotelling's test."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import solve_triangular

from metareg_sm._typing import Array
from metareg_sm.exceptions import DesignError
from metareg_sm.stats.sandwich import Sandwich

_EPS = float(np.finfo(float).eps)


@dataclass(frozen=True, slots=True, eq=False)
class HotellingTest:
    """An approximate Hotelling T^2 test.

    Attributes
    ----------
    statistic : float
        F statistic.
    df_num, df_denom : float
        Its degrees of freedom.
    """

    statistic: float
    df_num: float
    df_denom: float


def independent_constraints(R: Array, q: Array, scale: Array) -> tuple[Array, Array]:
    """Linearly independent rows that say the same as the constraints R b = q.

    Rows are eliminated with pivots, never rotated: a rotation mixes coefficients of very different
    scale and loses the digits of the small ones. A Wald test is the same for all equivalent rows.

    Parameters
    ----------
    R : ndarray, (n, p)
        Constraints.
    q : ndarray, (n,)
        Their values.
    scale : ndarray, (p,)
        Scale of the coefficients, such as their standard errors.

    Returns
    -------
    R : ndarray, (m, p)
        Rows of unit length where the coefficients are in units of their scale.
    q : ndarray, (m,)

    Raises
    ------
    DesignError
        If the constraints contradict each other.

    Examples
    --------
    >>> R = np.array([[1.0, 1e6], [1.0, 0.0], [2.0, 1e6]])
    >>> independent_constraints(R, np.array([3.0, 1.0, 4.0]), np.array([1.0, 1e-6]))
    (array([[1.e+00, 0.e+00],
           [0.e+00, 1.e+06]]), array([1., 2.]))
    """
    n, p = R.shape
    column = np.abs(R * scale).argmax(1)
    if len(set(column.tolist())) == n and (np.count_nonzero(R, axis=1) == 1).all():
        # each says the value of a coefficient of its own, as in the test of all moderators
        value = R[np.arange(n), column]
        alone = np.zeros((n, p))
        alone[np.arange(n), column] = 1.0
        return alone / scale, q / (value * scale[column])
    reduced = np.column_stack([R * scale, q])
    largest = np.abs(reduced[:, :p]).max(1, keepdims=True, initial=0.0)
    reduced /= np.where(largest > 0.0, largest, 1.0)
    terms = np.abs(reduced)  # what the entries are sums of
    free = np.ones(n, dtype=bool)
    for _ in range(min(n, p)):
        entries = np.where(free[:, None], np.abs(reduced[:, :p]), 0.0)
        entries[entries <= 10.0 * n * _EPS * terms[:, :p]] = 0.0
        row, column = np.unravel_index(entries.argmax(), entries.shape)
        if entries[row, column] == 0.0:
            break
        free[row] = False
        terms[row] /= abs(reduced[row, column])
        reduced[row] /= reduced[row, column]
        factors = np.where(np.arange(n) == row, 0.0, reduced[:, column])
        reduced -= factors[:, None] * reduced[row]
        terms += np.abs(factors)[:, None] * terms[row]
        reduced[np.arange(n) != row, column] = 0.0
    wrong = free & (np.abs(reduced[:, p]) > 1e-10 * terms[:, p])
    if wrong.any():
        raise DesignError(
            f"Constraint {np.flatnonzero(wrong)[0]} (counted from 0) contradicts the others: its "
            "left side is a combination of theirs, its value is not. Leave one of them out, or "
            "correct the value."
        )
    kept = reduced[~free]
    kept /= np.linalg.norm(kept[:, :p], axis=1, keepdims=True)
    return kept[:, :p] / scale, kept[:, p]


def hotelling_test(sandwich: Sandwich, R: Array, gap: Array) -> HotellingTest:
    """Approximate Hotelling test (HTZ) of joint constraints.

    Parameters
    ----------
    sandwich : Sandwich
        Robust covariance.
    R : ndarray, (m, p)
        Linearly independent constraints.
    gap : ndarray, (m,)
        R b less the values that it has under the hypothesis.

    Returns
    -------
    HotellingTest

    Raises
    ------
    DesignError
        If there are too few clusters for so many constraints.

    References
    ----------
    Pustejovsky, J. E., & Tipton, E. (2018). Small-sample methods for cluster-robust variance
    estimation and hypothesis testing in fixed effects models. Journal of Business & Economic
    Statistics, 36(4), 672-683.
    """
    m, J = len(R), sandwich.n_groups
    # constraints that lie across each other: the test is the same, and rows that are nearly
    # parallel, as those of a constant and a moderator far from 0, have no cross products
    across, along = np.linalg.qr((R @ sandwich.G).T)
    sandwich, R = replace(sandwich, G=across.T), np.eye(m)
    gap = solve_triangular(along, gap, trans="T")
    if sandwich.unidentified(R):
        raise DesignError(
            f"The joint test of {m} constraints has no robust covariance: the moderators fit some "
            f"of the {J} clusters exactly, and the others do not tell the constraints apart. Test "
            "fewer constraints."
        )
    eta = sandwich.htz_df(R)
    df_denom = eta - m + 1.0
    if df_denom <= 0.0:
        raise DesignError(
            f"The joint test of {m} constraints has no degrees of freedom left with {J} clusters "
            f"(eta = {eta:.3g}). Test fewer constraints."
        )
    root = np.linalg.qr(sandwich.contrast_parts(R), mode="r")
    standard = solve_triangular(root, gap, trans="T")
    statistic = float(standard @ standard)
    return HotellingTest(statistic * df_denom / (eta * m), float(m), df_denom)
