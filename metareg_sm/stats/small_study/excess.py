"""Test of excess significance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from scipy import optimize, special, stats

from metareg_sm._typing import Array
from metareg_sm.exceptions import OptionError
from metareg_sm.printing import Printed

ALTERNATIVES = ("greater", "less", "two-sided")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ExcessSignificanceTest(Printed):
    """Whether more studies are significant than their power lets one expect.

    Attributes
    ----------
    observed : int
        Studies that are significant.
    expected : float
        Sum of their powers.
    statistic : float
        Chi-squared for "chi2", the observed number for the other tests.
    pvalue : float
    power : ndarray, (k,)
        Power of each study.
    significant : ndarray of bool, (k,)
    test, alternative : str
    theta_lim : tuple of float
        Limit estimates: the mean effects, common to all studies and in the direction of the one
        that was expected, at which the p-value is `limit_alpha`. A smaller effect would leave an
        excess. Empty where even an effect of 0 leaves none, where studies were expected to differ,
        or to lie where they were not tested; two for a two-sided test.
    """

    observed: int
    expected: float
    statistic: float
    pvalue: float
    power: Array
    significant: npt.NDArray[np.bool_]
    test: str
    alternative: str
    theta_lim: tuple[float, ...] = ()


def poisson_binomial(p: Array) -> Array:
    """Probabilities of 0, ..., k successes in k independent trials.

    Neighbours' distributions are convolved level by level; all terms are positive, so that small
    tails keep their digits.

    Parameters
    ----------
    p : ndarray, (k,)
        Probability of success of each.

    Returns
    -------
    ndarray, (k + 1,)

    Examples
    --------
    >>> poisson_binomial(np.array([0.5, 0.5]))
    array([0.25, 0.5 , 0.25])
    """
    k = len(p)
    size = 1 << max(k - 1, 0).bit_length()
    padded = np.concatenate([p, np.zeros(size - k)])
    parts = np.stack([1.0 - padded, padded], axis=-1)
    while len(parts) > 1:
        first, second = parts[::2], parts[1::2]
        n = first.shape[-1]
        edges = np.pad(first, ((0, 0), (n - 1, n - 1)))
        windows = np.lib.stride_tricks.sliding_window_view(edges, n, axis=-1)
        parts = (windows @ second[:, ::-1, None])[..., 0]
    return parts[0, : k + 1]


def _chi2(observed: int, power: Array, alternative: str) -> tuple[float, float]:
    k, expected = len(power), float(power.sum())
    room = expected * (k - expected) / k
    # powers that are all 0 or all 1 leave nothing to vary
    gap = observed - expected
    z = gap / np.sqrt(room) if room > 0.0 else np.sign(gap) * np.inf if gap else 0.0
    tails = {"greater": special.ndtr(-z), "less": special.ndtr(z)}
    pvalue = tails.get(alternative, 2.0 * special.ndtr(-abs(z)))
    return float(z * z), float(pvalue)


def _binomial(observed: int, power: Array, alternative: str) -> tuple[float, float]:
    rate = min(1.0, float(power.mean()))
    return float(observed), float(stats.binomtest(observed, len(power), rate, alternative).pvalue)


def _exact(observed: int, power: Array, alternative: str) -> tuple[float, float]:
    pmf = poisson_binomial(power)
    if alternative == "greater":
        pvalue = pmf[observed:].sum()
    elif alternative == "less":
        pvalue = pmf[: observed + 1].sum()
    else:
        # outcomes no more probable than the observed one, as the binomial test has it
        pvalue = pmf[pmf <= pmf[observed] * (1.0 + 1e-7)].sum()
    return float(observed), float(min(1.0, pvalue))


TESTS: Mapping[str, Callable[[int, Array, str], tuple[float, float]]] = MappingProxyType(
    {"chi2": _chi2, "binomial": _binomial, "exact": _exact}
)
"""Tests of the observed number: each gives a statistic and a p-value."""


def power_of(v: Array, theta: Array | float, tau2: float, alpha: float, alternative: str) -> Array:
    """Chance that each study's z test is significant, (k,).

    Parameters
    ----------
    v : ndarray, (k,)
        Sampling variances.
    theta : ndarray, (k,) or float
        Expected effects.
    tau2 : float
        Variance of the true effects about them.
    alpha, alternative
        Level and direction of the studies' tests.

    Returns
    -------
    ndarray, (k,)
    """
    se, sd = np.sqrt(v), np.sqrt(v + tau2)
    critical = -special.ndtri(alpha / 2.0 if alternative == "two-sided" else alpha)
    above = special.ndtr((theta - critical * se) / sd)
    below = special.ndtr((-theta - critical * se) / sd)
    if alternative == "two-sided":
        return above + below
    return above if alternative == "greater" else below


def excess_significance_test(
    y: Array,
    v: Array,
    theta: Array | float,
    tau2: float = 0.0,
    alpha: float = 0.05,
    alternative: str = "two-sided",
    test: str = "chi2",
    test_alternative: str = "greater",
    limit_alpha: float = 0.10,
) -> ExcessSignificanceTest:
    """Compare the number of significant studies with the sum of their powers.

    Parameters
    ----------
    y, v : ndarray, (k,)
        Outcomes and positive sampling variances.
    theta : ndarray, (k,) or float
        Expected effects: x'b of the model, so that moderators are kept.
    tau2 : float, default 0
        Heterogeneity; with it powers are averaged over the distribution of the true effects.
    alpha : float, default 0.05
        Level of the studies' own z tests of 0.
    alternative : {"two-sided", "greater", "less"}
        Their direction.
    test : {"chi2", "binomial", "exact"}
        Pearson's chi-squared; binomial with the mean power; or the distribution of a sum of
        independent trials with a power each.
    test_alternative : {"greater", "less", "two-sided"}
        "greater" is the test of excess significance.
    limit_alpha : float, default 0.10
        The p-value at the limit estimate.

    Returns
    -------
    ExcessSignificanceTest

    Raises
    ------
    OptionError
        If a name is not known.

    References
    ----------
    Ioannidis, J. P. A., & Trikalinos, T. A. (2007). An exploratory test for an excess of
    significant findings. Clinical Trials, 4(3), 245-253.
    Francis, G. (2013). Replication, statistical consistency, and publication bias. Journal of
    Mathematical Psychology, 57(5), 153-169.

    Examples
    --------
    >>> y, v = np.array([0.5, 0.6, 0.7]), np.array([0.05, 0.05, 0.1])
    >>> found = excess_significance_test(y, v, theta=0.2, test="exact")
    >>> print(found.observed, round(found.expected, 3), round(found.pvalue, 4))
    3 0.388 0.0021
    """
    named = {"alternative": alternative, "test_alternative": test_alternative}
    for name, value in named.items():
        if value not in ALTERNATIVES:
            names = ", ".join(repr(a) for a in ALTERNATIVES)
            raise OptionError(f"{name}={value!r} is not known. Choose one of {names}.")
    if not isinstance(test, str) or test not in TESTS:
        names = ", ".join(repr(t) for t in TESTS)
        raise OptionError(f"test={test!r} is not known. Choose one of {names}.")
    power = np.broadcast_to(power_of(v, theta, tau2, alpha, alternative), y.shape)
    z = y / np.sqrt(v)
    critical = -special.ndtri(alpha / 2.0 if alternative == "two-sided" else alpha)
    turned = {"two-sided": np.abs(z), "greater": z, "less": -z}[alternative]
    significant = turned >= critical
    observed = int(significant.sum())
    statistic, pvalue = TESTS[test](observed, power, test_alternative)
    expected = float(power.sum())
    found = ExcessSignificanceTest(
        observed, expected, statistic, pvalue, power, significant, test, test_alternative
    )
    common = np.unique(theta)
    tested = {"greater": 1.0, "less": -1.0}.get(alternative)
    if len(common) > 1 or tested == -np.sign(common[0]):
        # the larger the effect, the fewer would be significant
        return found

    def at(size: float) -> tuple[float, float]:
        there = power_of(v, float(np.copysign(size, common[0])), tau2, alpha, alternative)
        return float(there.sum()), TESTS[test](observed, there, test_alternative)[1] - limit_alpha

    farthest = float(np.abs(y).max() + 40.0 * np.sqrt(v.max() + tau2))
    sizes = _limits(at, farthest, observed)
    limits = sorted(float(np.copysign(size, common[0])) for size in sizes)
    return replace(found, theta_lim=tuple(limits))


def _limits(at: Callable[[float], tuple[float, float]], farthest: float, observed: int) -> Array:
    """Sizes of the effect where a p-value crosses a level, one on each side of its peak."""

    def above(size: float) -> float:
        return at(size)[1]

    def short(size: float) -> float:
        return at(size)[0] - observed

    # where as many are expected as observed, a two-sided p-value is at its peak
    ends = [0.0, farthest]
    if short(0.0) * short(farthest) < 0.0:
        ends.insert(1, optimize.brentq(short, 0.0, farthest))
    crossed = [
        optimize.brentq(above, low, high, xtol=1e-15, rtol=1e-14)
        for low, high in pairwise(ends)
        if above(low) * above(high) < 0.0
    ]
    return np.array(crossed)
