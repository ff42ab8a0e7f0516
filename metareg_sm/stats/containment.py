"""Degrees of freedom of coefficients by the groupings that contain them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metareg_sm._typing import Array, Codes


def containment_df(X: Array, groupings: Sequence[Codes], rank: int) -> Array:
    """Degrees of freedom of t tests by the inner-outer rule.

    A moderator that is constant within each group of a grouping has as many independent values as
    there are groups. Of all such groupings the one of fewest groups counts; a moderator that is
    constant within no grouping has k - p.

    Parameters
    ----------
    X : ndarray, (k, p)
        Moderators.
    groupings : sequence of ndarray of int, (k,)
        Groups of each random term, codes without gaps.
    rank : int
        Rank of the moderators.

    Returns
    -------
    ndarray, (p,)

    References
    ----------
    Pinheiro, J. C., & Bates, D. M. (2000). Mixed-Effects Models in S and S-PLUS, section 2.4.2.
    Springer.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
    >>> containment_df(X, [np.array([0, 0, 1, 2])], 2)
    array([1., 2.])
    """
    k, p = X.shape
    levels = np.full(p, k)
    for codes in groupings:
        n = int(codes.max()) + 1
        some = np.empty(n, dtype=np.intp)
        some[codes] = np.arange(k)
        constant = (X[some[codes]] == X).all(axis=0)
        levels = np.where(constant, np.minimum(levels, n), levels)
    return (levels - rank).astype(float)
