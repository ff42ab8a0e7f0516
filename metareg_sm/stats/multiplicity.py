"""Several tests at once."""

from __future__ import annotations

from metareg_sm.stats.reference import check_alpha


def family_wise_error(m: int, alpha: float = 0.05) -> float:
    """Chance of at least one false positive among m independent tests: 1 - (1 - alpha)^m.

    Parameters
    ----------
    m : int
        Number of true null hypotheses that are tested.
    alpha : float, default 0.05
        Level of each test.

    Returns
    -------
    float

    Examples
    --------
    >>> round(family_wise_error(12), 2)
    0.46
    """
    return 1.0 - (1.0 - check_alpha(alpha)) ** m
