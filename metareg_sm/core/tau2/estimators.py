"""Estimators of tau2, the residual heterogeneity, and the registry that names them.

Two mechanisms serve them all. Moment estimators equate a quadratic form y'P_a y, with weights a,
to its expectation tr(P_a V) + tau2 tr(P_a). Root estimators solve y'P(tau2)y = c. The likelihood
estimators maximise the profile likelihood.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from scipy import special

from metareg_sm._typing import Array
from metareg_sm.core.tau2.moments import DataSets, Root, derivatives_of, falling_root, rss_root


class Kind(Enum):
    """What an estimator of tau2 solves."""

    REML = "maximum of the restricted likelihood"
    ML = "maximum of the likelihood"
    MOMENT = "a quadratic form equals its expectation"
    ROOT = "a function of tau2 equals a given value"

    @property
    def likelihood(self) -> bool:
        """Whether it maximises a likelihood."""
        return self in (Kind.REML, Kind.ML)

    @property
    def reml(self) -> bool:
        """Whether it maximises the restricted likelihood."""
        return self is Kind.REML


@dataclass(frozen=True, slots=True, eq=False)
class Tau2Estimate:
    """An estimate of tau2 for each data set.

    Attributes
    ----------
    tau2 : ndarray, (...)
        The estimate, at least 0, in squared units of the outcome.
    se : ndarray, (...)
        Its standard error.
    untruncated : ndarray, (...)
        The solution of the estimating equation before it is truncated at 0. Likelihood estimators
        are constrained, not truncated: theirs is the estimate itself.
    certified : ndarray of bool, (...)
        False where a search or an iteration gave up before it was certain of its answer.
    """

    tau2: Array
    se: Array
    untruncated: Array
    certified: npt.NDArray[np.bool_] | bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Estimator:
    """One entry of the registry.

    Attributes
    ----------
    name : str
        What `fit(tau2=...)` calls it.
    label : str
        As it is printed.
    title : str
        What it is.
    citation : str
        Where it was published.
    solve : callable
        `solve(studies, weights)` gives a `Tau2Estimate`.
    aliases : tuple of str
        Other names.
    kind : Kind
        What it solves.
    weighted : bool
        Takes the weights of the caller (`fit(weights=...)`).
    zero_variance : bool
        Whether a sampling variance of 0 leaves the estimator defined.
    """

    name: str
    label: str
    title: str
    citation: str
    kind: Kind
    solve: Callable[[DataSets, Array | None], Tau2Estimate]
    aliases: tuple[str, ...] = ()
    weighted: bool = False
    zero_variance: bool = False


def _moment(studies: DataSets, weights: Array) -> Tau2Estimate:
    """Generalised method of moments (DerSimonian & Kacker, 2007)."""
    q = studies.quadratic_form(weights)
    raw = (q.value - q.trace_v) / q.trace
    tau2 = np.maximum(raw, 0.0)
    return Tau2Estimate(tau2, np.sqrt(q.variance(tau2)) / q.trace, raw)


def dersimonian_laird(studies: DataSets, weights: Array | None = None) -> Tau2Estimate:
    """Method of moments with weights 1/v."""
    df = studies.df
    at, q = derivatives_of(studies, np.zeros(studies.shape), True)
    raw = (q - df) / at.trace
    tau2 = np.maximum(raw, 0.0)
    # PV is a projection
    variance = 2.0 * (df + 2.0 * tau2 * at.trace + tau2**2 * at.trace2)
    return Tau2Estimate(tau2, np.sqrt(variance) / at.trace, raw)


def hedges(studies: DataSets, weights: Array | None = None) -> Tau2Estimate:
    """Method of moments with equal weights: the variance-component estimator."""
    return _moment(studies, np.ones(1))


def generalized_q(studies: DataSets, weights: Array | None = None) -> Tau2Estimate:
    """Method of moments with weights of the caller's choice."""
    if weights is None:
        return dersimonian_laird(studies)
    return _moment(studies, weights)


def _hunter_schmidt(studies: DataSets, small_sample: bool) -> Tau2Estimate:
    k, df = studies.k, studies.df
    at, q = derivatives_of(studies, np.zeros(studies.shape), True)
    factor = k / df if small_sample else 1.0
    total = studies.total_weight(np.zeros(studies.shape))
    raw = (factor * q - k) / total
    tau2 = np.maximum(raw, 0.0)
    variance = 2.0 * (df + 2.0 * tau2 * at.trace + tau2**2 * at.trace2)
    return Tau2Estimate(tau2, factor * np.sqrt(variance) / total, raw)


def hunter_schmidt(studies: DataSets, weights: Array | None = None) -> Tau2Estimate:
    """Observed minus sampling variance, weighted by 1/v; biased downwards."""
    return _hunter_schmidt(studies, small_sample=False)


def hunter_schmidt_k(studies: DataSets, weights: Array | None = None) -> Tau2Estimate:
    """Hunter-Schmidt with the observed variance multiplied by k/(k-p)."""
    return _hunter_schmidt(studies, small_sample=True)


def _solve(studies: DataSets, target: Array | float, iterated_dl: bool = False) -> Root:
    flat = studies.flat()
    profile = flat.profile(reml=True)
    lower = np.broadcast_to(flat.root_range, flat.shape)
    if np.ndim(target):
        target = np.ravel(target)
    if not iterated_dl:
        return rss_root(profile, target, lower).reshape(studies.shape)
    df = flat.df

    def with_trace(t: Array) -> tuple[Array, Array]:
        s, rss = profile.derivatives_and_rss(t)
        # tr(PV) = k - p - tau2 tr P
        return rss + df - t * s.trace, s.ypp + s.trace - t * s.trace2

    return falling_root(with_trace, target, lower).reshape(studies.shape)


def _root(studies: DataSets, target: Array | float) -> Tau2Estimate:
    raw, certified = _solve(studies, target)
    tau2 = np.maximum(raw, 0.0)
    total = studies.total_weight(tau2)
    return Tau2Estimate(tau2, studies.k * np.sqrt(2.0 / studies.df) / total, raw, certified)


def paule_mandel(studies: DataSets, weights: Array | None = None) -> Tau2Estimate:
    """Root of y'Py = k - p."""
    return _root(studies, studies.df)


def paule_mandel_median(studies: DataSets, weights: Array | None = None) -> Tau2Estimate:
    """Root of y'Py = median of chi-squared with k - p degrees of freedom: median-unbiased."""
    return _root(studies, special.chdtri(studies.df, 0.5))


def sidik_jonkman(studies: DataSets, weights: Array | None = None) -> Tau2Estimate:
    """Two steps from the variance c of the outcomes: c y'P(c)y / (k - p); never negative."""
    df, first = studies.df, np.asarray(studies.outcome_variance)
    positive = first > 0.0
    safe = np.where(positive, first, 1.0)
    q = studies.quadratic_form_at(safe)
    tau2 = np.where(positive, safe * q.value / df, 0.0)
    se = np.where(positive, safe * np.sqrt(q.variance(tau2)) / df, 0.0)
    return Tau2Estimate(tau2, se, tau2)


def iterated_dersimonian_laird(studies: DataSets, weights: Array | None = None) -> Tau2Estimate:
    """Fixed point of tau2 = (y'Py - (k-p)) / tr P with weights 1/(v + tau2)."""
    df = studies.df
    raw, certified = _solve(studies, 2.0 * df, iterated_dl=True)
    tau2 = np.maximum(raw, 0.0)
    s, _ = derivatives_of(studies, tau2, reml=True)
    variance = 2.0 * (df + 2.0 * tau2 * s.trace + tau2**2 * s.trace2)
    return Tau2Estimate(tau2, np.sqrt(variance) / s.trace, raw, certified)


def _likelihood(studies: DataSets, reml: bool) -> Tau2Estimate:
    best = studies.maximize(reml)
    tau2 = best.tau2.reshape(studies.shape)
    at, _ = derivatives_of(studies, tau2, reml)
    se = np.sqrt(1.0 / at.expected_information)
    return Tau2Estimate(tau2, se, tau2, best.certified.reshape(studies.shape))


def restricted_maximum_likelihood(studies: DataSets, weights: Array | None = None) -> Tau2Estimate:
    """Global maximum of the restricted likelihood."""
    return _likelihood(studies, True)


def maximum_likelihood(studies: DataSets, weights: Array | None = None) -> Tau2Estimate:
    """Global maximum of the likelihood."""
    return _likelihood(studies, False)


_PAULE_MANDEL = (
    "Paule, R. C., & Mandel, J. (1982). Consensus values and weighting factors. Journal of "
    "Research of the National Bureau of Standards, 87(5), 377-385."
)
_SIDIK_JONKMAN = (
    "Sidik, K., & Jonkman, J. N. (2005). A note on variance estimation in random effects "
    "meta-regression. Journal of Biopharmaceutical Statistics, 15(5), 823-838."
)
_DERSIMONIAN_KACKER = (
    "DerSimonian, R., & Kacker, R. (2007). Random-effects model for meta-analysis of clinical "
    "trials: An update. Contemporary Clinical Trials, 28(2), 105-114."
)

_ENTRIES = (
    Estimator(
        "reml",
        "REML",
        "restricted maximum likelihood",
        "Viechtbauer, W. (2005). Bias and efficiency of meta-analytic variance estimators in the "
        "random-effects model. Journal of Educational and Behavioral Statistics, 30(3), 261-293.",
        Kind.REML,
        restricted_maximum_likelihood,
        zero_variance=True,
    ),
    Estimator(
        "ml",
        "ML",
        "maximum likelihood",
        "Hardy, R. J., & Thompson, S. G. (1996). A likelihood approach to meta-analysis with "
        "random effects. Statistics in Medicine, 15(6), 619-629.",
        Kind.ML,
        maximum_likelihood,
        zero_variance=True,
    ),
    Estimator(
        "dl",
        "DL",
        "DerSimonian-Laird",
        "DerSimonian, R., & Laird, N. (1986). Meta-analysis in clinical trials. Controlled "
        "Clinical Trials, 7(3), 177-188.",
        Kind.MOMENT,
        dersimonian_laird,
        aliases=("dersimonian-laird",),
    ),
    Estimator(
        "pm",
        "PM",
        "Paule-Mandel",
        _PAULE_MANDEL,
        Kind.ROOT,
        paule_mandel,
        aliases=("paule-mandel", "mp"),
        zero_variance=True,
    ),
    Estimator(
        "eb",
        "EB",
        "empirical Bayes; the same estimate as Paule-Mandel",
        "Morris, C. N. (1983). Parametric empirical Bayes inference: Theory and applications. "
        "Journal of the American Statistical Association, 78(381), 47-55.",
        Kind.ROOT,
        paule_mandel,
        aliases=("empirical-bayes",),
        zero_variance=True,
    ),
    Estimator(
        "he",
        "HE",
        "Hedges (variance component)",
        "Hedges, L. V., & Olkin, I. (1985). Statistical Methods for Meta-Analysis. Academic Press.",
        Kind.MOMENT,
        hedges,
        aliases=("ho", "vc", "hedges", "hedges-olkin"),
        zero_variance=True,
    ),
    Estimator(
        "sj",
        "SJ",
        "Sidik-Jonkman",
        _SIDIK_JONKMAN,
        Kind.MOMENT,
        sidik_jonkman,
        aliases=("sidik-jonkman",),
        zero_variance=True,
    ),
    Estimator(
        "hs",
        "HS",
        "Hunter-Schmidt",
        "Hunter, J. E., & Schmidt, F. L. (1990). Methods of meta-analysis: Correcting error and "
        "bias in research findings. Sage.",
        Kind.MOMENT,
        hunter_schmidt,
        aliases=("hunter-schmidt",),
    ),
    Estimator(
        "hsk",
        "HSk",
        "Hunter-Schmidt with small-sample correction",
        "Brannick, M. T., Potter, S. M., Benitez, B., & Morris, S. B. (2019). Bias and precision "
        "of alternate estimators in meta-analysis: Benefits of blending Schmidt-Hunter and Hedges "
        "approaches. Organizational Research Methods, 22(2), 490-514.",
        Kind.MOMENT,
        hunter_schmidt_k,
        aliases=("hunter-schmidt-k",),
    ),
    Estimator(
        "dlit",
        "DLIT",
        "iterated DerSimonian-Laird",
        _DERSIMONIAN_KACKER,
        Kind.ROOT,
        iterated_dersimonian_laird,
        aliases=("iterated-dersimonian-laird",),
    ),
    Estimator(
        "sjit",
        "SJIT",
        "iterated Sidik-Jonkman; its fixed point is Paule-Mandel's",
        _SIDIK_JONKMAN,
        Kind.ROOT,
        paule_mandel,
        aliases=("iterated-sidik-jonkman",),
        zero_variance=True,
    ),
    Estimator(
        "pmm",
        "PMM",
        "median-unbiased Paule-Mandel",
        "Viechtbauer, W. (2021). Median-unbiased estimators for the amount of heterogeneity in "
        "meta-analysis. European Congress of Methodology, Valencia, Spain.",
        Kind.ROOT,
        paule_mandel_median,
        aliases=("mpm", "median-unbiased-paule-mandel"),
        zero_variance=True,
    ),
    Estimator(
        "genq",
        "GENQ",
        "generalised Q statistic, with weights of the caller's choice (1/v by default)",
        "Jackson, D., Turner, R., Rhodes, K., & Viechtbauer, W. (2014). Methods for calculating "
        "confidence and credible intervals for the residual between-study variance in random "
        "effects meta-regression models. BMC Medical Research Methodology, 14, 103.",
        Kind.MOMENT,
        generalized_q,
        weighted=True,
        aliases=("generalized-q",),
    ),
)

ESTIMATORS: Mapping[str, Estimator] = MappingProxyType(
    {name: entry for entry in _ENTRIES for name in (entry.name, *entry.aliases)}
)
"""Every name and alias of an estimator; lower case."""
