"""Likelihood ratio tests of random terms and of nested models with dependent effects."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from scipy import special

from metareg_sm._typing import Array
from metareg_sm.core.mixed.search import maximize_held
from metareg_sm.exceptions import ComparisonError
from metareg_sm.options import choose
from metareg_sm.postestimation.comparison import LRTest, likelihood_ratio, refuse_not_nested
from metareg_sm.postestimation.components import known_of, refitted
from metareg_sm.postestimation.fitted import Labelled, MixedFitted, plain
from metareg_sm.printing import Printed


@dataclass(frozen=True, slots=True, repr=False)
class ComponentTest(Printed):
    """Likelihood ratio test of variance components.

    Attributes
    ----------
    statistic : float
        Twice the difference of the log-likelihoods.
    pvalue : float
        Upper tail probability.
    df : float
        Parameters that the null hypothesis does without.
    reference : str
        The distribution that the p-value is from.
    """

    statistic: float
    pvalue: float
    df: float
    reference: str


def chi_bar_weights(covariance: Array) -> Array | None:
    """Weights of chi-squared(0), (1), ... where m <= 2 variances are 0 under the null.

    Parameters
    ----------
    covariance : ndarray, (m, m)
        Of the unrestricted estimates under the null.

    Returns
    -------
    ndarray, (m + 1,), or None
        None for more than two.

    References
    ----------
    Self, S. G., & Liang, K.-Y. (1987). Asymptotic properties of maximum likelihood estimators and
    likelihood ratio tests under nonstandard conditions. Journal of the American Statistical
    Association, 82(398), 605-610.

    Examples
    --------
    >>> chi_bar_weights(np.eye(2))
    array([0.25, 0.5 , 0.25])
    """
    m = len(covariance)
    if m == 1:
        return np.array([0.5, 0.5])
    if m > 2:
        return None
    r = covariance[0, 1] / math.sqrt(covariance[0, 0] * covariance[1, 1])
    both = 0.25 + math.asin(min(max(r, -1.0), 1.0)) / (2.0 * math.pi)
    return np.array([0.5 - both, 0.5, both])


def mixture_pvalue(statistic: float, weights: Array) -> float:
    """Upper tail probability of a mixture of chi-squared(0), (1), ..."""
    if statistic <= 0.0:
        return 1.0
    return float(weights[1:] @ special.chdtrc(np.arange(1, len(weights)), statistic))


def _named(weights: Array) -> str:
    parts = [f"{w:.3g} chi2({d})" for d, w in enumerate(weights)]
    return "mixture of " + " + ".join(parts)


def _bounded(statistic: float, m: int) -> ComponentTest:
    text = f"chi2({m}), an upper bound: the mixture of chi-squared distributions is smaller"
    return ComponentTest(statistic, float(special.chdtrc(m, statistic)), float(m), text)


def lr_test_component(fit: MixedFitted, term: str) -> ComponentTest:
    """Test of one random term; see `MixedMetaRegResults.lr_test_component`."""
    table = {t.name.lower(): i for i, t in enumerate(fit.random_terms)}
    i = choose(table, term, "term")
    solution, chosen = fit.solution, fit.random_terms[i]
    parameters = len(chosen.term.structure.kinds)
    if parameters == 1:
        found = maximize_held(solution.problem, solution.phi, solution.reml, i, 0, 0.0)
        if found is None:
            raise ComparisonError(f"The likelihood without {term!r} is undefined.")
        statistic = max(0.0, 2.0 * (solution.loglike - found.best.point.value))
        weights = np.array([0.5, 0.5])
        return ComponentTest(statistic, mixture_pvalue(statistic, weights), 1.0, _named(weights))
    others = [t.term for j, t in enumerate(fit.random_terms) if j != i]
    if not others:
        return lr_test_tau2(fit)
    table_ = fit.table
    without = refitted(table_.endog, table_.basis, known_of(fit), others, fit.reml)
    return _bounded(max(0.0, 2.0 * (solution.loglike - without.loglike)), parameters)


def lr_test_tau2(fit: MixedFitted) -> ComponentTest:
    """Test that all random terms are 0; see `MixedMetaRegResults.lr_test_tau2`."""
    solution = fit.solution
    problem, reml = solution.problem, solution.reml
    m = len(problem.kinds)
    nothing = problem.point(np.zeros(m), reml)
    if nothing is None:
        raise ComparisonError("The likelihood without random terms is undefined.")
    statistic = max(0.0, 2.0 * (solution.loglike - nothing.value))
    if all(kind == "variance" for kind in problem.kinds) and m <= 2:
        weights = chi_bar_weights(np.asarray(np.linalg.inv(nothing.scoring), dtype=float))
        assert weights is not None
        return ComponentTest(
            statistic, mixture_pvalue(statistic, weights), float(m), _named(weights)
        )
    return _bounded(statistic, m)


_WITHIN: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "un": ("un", "hcs", "cs", "diag", "id", "har", "ar"),
        "hcs": ("hcs", "cs", "diag", "id"),
        "har": ("har", "ar", "diag", "id"),
        "cs": ("cs", "id"),
        "ar": ("ar", "id"),
        "diag": ("diag", "id"),
        "id": ("id",),
    }
)
"""Structures that are special cases of each; un and the others hold inner points of it."""


def compare_mixed(
    full: MixedFitted, restricted: MixedFitted | Labelled[MixedFitted], refit: bool
) -> LRTest:
    """Test of nested fits; see `MixedMetaRegResults.compare_lr_test`."""
    small = plain(restricted)
    refuse_not_nested(full, small)
    same_v = (full.sampling is None) == (small.sampling is None)
    if same_v and full.sampling is not None and small.sampling is not None:
        a, b = full.sampling, small.sampling
        same_v = len(a.stacks) == len(b.stacks) and all(
            np.array_equal(x.matrices, y.matrices) and np.array_equal(x.rows, y.rows)
            for x, y in zip(a.stacks, b.stacks, strict=True)
        )
    if not same_v:
        raise ComparisonError("The models have different sampling covariances V.")
    dropped = _dropped(full, small)
    if refit:
        full, small = (plain(r.refit_by_ml()) for r in (full, small))
    elif full.reml != small.reml:
        raise ComparisonError(
            "One fit has the restricted likelihood (REML), the other the full one. Fit both with "
            "reml=False, or use refit=True."
        )
    elif full.reml and small.df_resid != full.df_resid:
        raise ComparisonError(
            "REML likelihoods of models with different moderators are not comparable. Fit both "
            "with reml=False, or use refit=True."
        )
    moderators = small.df_resid - full.df_resid
    released = full.components.n_estimated - small.components.n_estimated
    return likelihood_ratio(
        full.llf, small.llf, moderators, released, released == 1 and dropped == 1
    )


def _dropped(full: MixedFitted, small: MixedFitted) -> int:
    """Number of terms of the full model that the restricted one lacks.

    Raises
    ------
    ComparisonError
        If the restricted model has a term that is no special case of one of the full model.
    """
    left = list(full.random_terms)
    for t in small.random_terms:
        match = next(
            (
                f
                for f in left
                if f.inner == t.inner
                and t.kind in _WITHIN[f.kind]
                and np.array_equal(f.term.groups, t.term.groups)
            ),
            None,
        )
        if match is None:
            raise ComparisonError(
                f"The restricted model is not nested: it has the random term {t.label!r} of its "
                "own, or with a structure that is no special case."
            )
        left.remove(match)
    return len(left)
