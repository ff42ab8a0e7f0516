"""Fail-safe N: how many unpublished null results would undo a finding.

The numbers ask about the mean of all studies; moderators play no part in them.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from metareg_sm._typing import Array
from metareg_sm.exceptions import OptionError


def _whole(n: float) -> int:
    """Smallest whole number that is not below n but for rounding, and at least 0."""
    return max(0, math.ceil(n - 1e-9 * abs(n)))


def rosenthal(y: Array, v: Array, alpha: float = 0.05) -> int:
    """Null results that bring Stouffer's one-sided test of all studies to p = alpha.

    Parameters
    ----------
    y, v : ndarray, (k,)
        Outcomes and positive sampling variances.
    alpha : float, default 0.05
        One-sided level, in the direction of the outcomes' combined effect.

    Returns
    -------
    int
        0 where the combined test is not significant.

    References
    ----------
    Rosenthal, R. (1979). The "file drawer problem" and tolerance for null results. Psychological
    Bulletin, 86(3), 638-641.

    Examples
    --------
    >>> rosenthal(np.array([0.5, 0.4, 0.6]), np.array([0.04, 0.04, 0.04]))
    18
    """
    total = float((y / np.sqrt(v)).sum())
    return _whole((total / float(special.ndtri(alpha))) ** 2 - len(y))


def rosenberg(y: Array, v: Array, alpha: float = 0.05) -> int:
    """Null results of average weight that bring the common-effect test to a two-sided p = alpha.

    The test is normal. Parameters and return value are those of `rosenthal`.

    References
    ----------
    Rosenberg, M. S. (2005). The file-drawer problem revisited: A general weighted method for
    calculating fail-safe numbers in meta-analysis. Evolution, 59(2), 464-468.

    Examples
    --------
    >>> rosenberg(np.array([0.5, 0.4, 0.6]), np.array([0.04, 0.04, 0.04]))
    12
    """
    w = 1.0 / v
    total = float((w * y).sum())
    excess = (total / float(special.ndtri(alpha / 2.0))) ** 2 - w.sum()
    return _whole(len(y) * excess / float(w.sum()))


def orwin(y: Array, v: Array | None = None, target: float | None = None) -> int:
    """Null results that bring the mean outcome down to a target.

    Parameters
    ----------
    y : ndarray, (k,)
        Outcomes.
    v : ndarray, (k,), optional
        Sampling variances; with them the mean is weighted by 1/v.
    target : float, optional
        The smallest mean that matters; its sign is taken to be that of the mean. Half the mean by
        default.

    Returns
    -------
    int
        0 where the mean is below the target already.

    Raises
    ------
    OptionError
        If the target is 0 or not finite: no number of null results brings a mean to 0.

    References
    ----------
    Orwin, R. G. (1983). A fail-safe N for effect size in meta-analysis. Journal of Educational
    Statistics, 8(2), 157-159.

    Examples
    --------
    >>> orwin(np.array([0.5, 0.4, 0.6]), target=0.1)
    12
    """
    w = np.ones(len(y)) if v is None else 1.0 / v
    mean = abs(float((w * y).sum() / w.sum()))
    if target is None:
        return len(y) if mean > 0.0 else 0
    if not np.isfinite(target) or target == 0.0:
        raise OptionError(
            "target must be a finite number other than 0, the smallest mean that matters; got "
            f"{target!r}."
        )
    return _whole(len(y) * (mean / abs(target) - 1.0))
