"""Likelihood ratio tests and what may be compared with what."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import special

from metareg_sm.core.studies import Studies
from metareg_sm.exceptions import ComparisonError
from metareg_sm.stats.heterogeneity import boundary_lr_test


class LRTest(NamedTuple):
    """Likelihood ratio test.

    Attributes
    ----------
    statistic : float
        Twice the difference of the log-likelihoods.
    pvalue : float
        Upper tail probability.
    df : float
        Difference in the number of parameters.
    """

    statistic: float
    pvalue: float
    df: float


def _loglike(studies: Studies, tau2: float, reml: bool) -> float:
    return float(studies.profile(reml).loglike(np.asarray(tau2)))


def lr_test_tau2(results: Any) -> LRTest:
    """Boundary test of tau2 = 0; see `MetaRegResults.lr_test_tau2`."""
    estimator = results._tau2_fit.estimator
    if estimator is None:
        raise ComparisonError("tau2 is held fixed in this fit; there is nothing to test.")
    results.model._refuse_zero_variance("at tau2=0 the weights are 1/vi")
    studies: Studies = results._studies
    reml = results.reml
    tau2 = results.tau2 if estimator.kind.likelihood else float(studies.maximize(False).tau2[0])
    statistic, pvalue = boundary_lr_test(
        _loglike(studies, tau2, reml), _loglike(studies, 0.0, reml)
    )
    return LRTest(statistic, pvalue, 1.0)


def same_studies(first: Any, second: Any) -> None:
    """Refuse results of different studies.

    Raises
    ------
    ComparisonError
        If outcomes or sampling variances differ.
    """
    a, b = first.model, second.model
    if a.endog.shape != b.endog.shape:
        raise ComparisonError(
            f"The models have different studies: {len(a.endog)} and {len(b.endog)} of them. Rows "
            "with a missing moderator are dropped; fit both to the rows that are complete."
        )
    if not (np.array_equal(a.endog, b.endog) and np.array_equal(a.vi, b.vi)):
        raise ComparisonError("The models have different outcomes or sampling variances.")


def is_nested(small: Studies, large: Studies) -> bool:
    """Whether the columns of one design lie in the span of another's."""
    outside = small.Z - large.Z @ (large.Z.T @ small.Z)
    return bool(np.abs(outside).max(initial=0.0) < 1e-8)


def compare_lr_test(full: Any, restricted: Any, refit: bool) -> LRTest:
    """Likelihood ratio test of nested fits; see `MetaRegResults.compare_lr_test`."""
    full, restricted = (getattr(r, "_results", r) for r in (full, restricted))
    same_studies(full, restricted)
    if not is_nested(restricted._studies, full._studies):
        raise ComparisonError("The restricted model is not nested: it has moderators of its own.")
    same_design = restricted.df_resid == full.df_resid
    fits = (full, restricted)
    if refit:
        llf = [r.llf if r._tau2_fit.estimator is None else _maximum(r._studies) for r in fits]
    else:
        if any(
            e is not None and not e.kind.likelihood for e in (r._tau2_fit.estimator for r in fits)
        ):
            raise ComparisonError(
                "A likelihood ratio needs fits that maximise the likelihood; at least one is by "
                "another estimator. Use tau2='ml', or refit=True."
            )
        if any(r.reml for r in fits):
            if not same_design:
                raise ComparisonError(
                    "REML likelihoods of models with different moderators are not comparable. Fit "
                    "both with tau2='ml', or use refit=True."
                )
            llf = [_loglike(r._studies, r.tau2, True) for r in fits]
        else:
            llf = [r.llf for r in fits]
    free = [r._tau2_fit.estimator is not None for r in fits]
    if free[1] and not free[0]:
        raise ComparisonError(
            "The restricted model estimates tau2, which the full one holds fixed."
        )
    if free[0] == free[1] and not free[0] and full.tau2 != restricted.tau2:
        raise ComparisonError("The two models hold tau2 fixed at different values.")
    moderators = restricted.df_resid - full.df_resid
    released = int(free[0]) - int(free[1])
    df = moderators + released
    if df <= 0:
        raise ComparisonError("The models have the same number of parameters.")
    statistic = max(0.0, 2.0 * (llf[0] - llf[1]))
    pvalue = float(special.chdtrc(df, statistic))
    if released and restricted.tau2 == 0.0:
        # half of the time tau2 is estimated as 0 under the null, which frees nothing
        at_zero = special.chdtrc(moderators, statistic) if moderators else float(statistic == 0.0)
        pvalue = 0.5 * (pvalue + float(at_zero))
    return LRTest(statistic, pvalue, float(df))


def _maximum(studies: Studies) -> float:
    return _loglike(studies, float(studies.maximize(False).tau2[0]), False)
