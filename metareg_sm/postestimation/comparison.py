"""Models side by side: likelihood ratio tests, criteria, and what may be compared with what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from metareg_sm.core.studies import Studies
from metareg_sm.design.values import row_label
from metareg_sm.exceptions import ComparisonError, MetaRegError, OptionError, VarianceError
from metareg_sm.postestimation.fitted import Fitted, Labelled, Tau2Fitted, has_tau2, plain
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

    def __repr__(self) -> str:
        return (
            f"Likelihood ratio test: chi2({self.df:g}) = {self.statistic:.4g}, "
            f"p-value {self.pvalue:.4g}"
        )

    def __str__(self) -> str:
        return repr(self)


def _loglike(studies: Studies, tau2: float, reml: bool) -> float:
    return float(studies.profile(reml).loglike(np.asarray(tau2)))


def maximum_likelihood(studies: Studies) -> float:
    """Maximum of the full log-likelihood."""
    return _loglike(studies, float(studies.maximize(False).tau2[0]), False)


def lr_test_tau2(fit: Tau2Fitted) -> LRTest:
    """Boundary test of tau2 = 0; see `MetaRegResults.lr_test_tau2`."""
    if fit.estimator is None:
        raise ComparisonError("tau2 is held fixed in this fit; there is nothing to test.")
    table = fit.table
    zero = np.flatnonzero(table.vi == 0.0)
    if zero.size:
        raise VarianceError(
            f"vi of {row_label(table.rows.labels, int(zero[0]))} is 0, and at tau2=0 the weights "
            "are 1/vi: the likelihood is not defined there, and tau2=0 cannot be tested."
        )
    studies, maximised = fit.studies, fit.components.maximised
    reml = maximised == "reml"
    tau2 = fit.tau2 if maximised else float(studies.maximize(False).tau2[0])
    statistic, pvalue = boundary_lr_test(
        _loglike(studies, tau2, reml), _loglike(studies, 0.0, reml)
    )
    return LRTest(statistic, pvalue, 1.0)


def same_studies(first: Fitted, second: Fitted) -> None:
    """Refuse results of different studies.

    Raises
    ------
    ComparisonError
        If outcomes or sampling variances differ.
    """
    a, b = first.table, second.table
    if a.endog.shape != b.endog.shape:
        raise ComparisonError(
            f"The models have different studies: {len(a.endog)} and {len(b.endog)} of them. Rows "
            "with a missing moderator are dropped; fit both to the rows that are complete."
        )
    if not (np.array_equal(a.endog, b.endog) and np.array_equal(a.vi, b.vi)):
        raise ComparisonError("The models have different outcomes or sampling variances.")


def is_nested(small: Fitted, large: Fitted) -> bool:
    """Whether the columns of one design lie in the span of another's."""
    inside, span = small.table.basis.Z, large.table.basis.Z
    outside = inside - span @ (span.T @ inside)
    return bool(np.abs(outside).max(initial=0.0) < 1e-8)


def refuse_not_nested(full: Fitted, small: Fitted) -> None:
    """Refuse a restricted model that is no special case of the full one in its moderators.

    Raises
    ------
    ComparisonError
        If the models are of different kinds, or of different studies, or the restricted one has
        moderators of its own.
    """
    if small.components.interval != full.components.interval:
        raise ComparisonError(
            "The models are of different kinds; only models of one kind are tested against each "
            f"other. Fit both as {full.model_name}: one with fewer moderators or random terms is "
            "nested in one with more."
        )
    same_studies(full, small)
    if not is_nested(small, full):
        raise ComparisonError("The restricted model is not nested: it has moderators of its own.")


def likelihood_ratio(
    full: float, small: float, moderators: float, released: float, on_boundary: bool
) -> LRTest:
    """Likelihood ratio test from two maximised log-likelihoods.

    Parameters
    ----------
    full, small : float
        Log-likelihoods.
    moderators, released : float
        Moderators, and parameters of the variances, that the restricted model lacks.
    on_boundary : bool
        Whether what is released is one variance, which the restricted model has at 0.

    Raises
    ------
    ComparisonError
        If it lacks none.
    """
    df = moderators + released
    if df <= 0:
        raise ComparisonError("The models have the same number of parameters.")
    statistic = max(0.0, 2.0 * (full - small))
    pvalue = float(special.chdtrc(df, statistic))
    if on_boundary:
        # half of the time the variance is estimated as 0 under the null, which frees nothing
        at_zero = special.chdtrc(moderators, statistic) if moderators else float(statistic == 0.0)
        pvalue = 0.5 * (pvalue + float(at_zero))
    return LRTest(statistic, pvalue, float(df))


def compare_lr_test(
    full: Tau2Fitted, restricted: Tau2Fitted | Labelled[Tau2Fitted], refit: bool
) -> LRTest:
    """Likelihood ratio test of nested fits; see `MetaRegResults.compare_lr_test`."""
    small = plain(restricted)
    refuse_not_nested(full, small)
    same_design = small.df_resid == full.df_resid
    fits = (full, small)
    if refit:
        llf = [r.llf if r.estimator is None else maximum_likelihood(r.studies) for r in fits]
    else:
        if any(_not_maximised(r) for r in fits):
            raise ComparisonError(
                "A likelihood ratio needs fits that maximise the likelihood; at least one is by "
                "another estimator. Use tau2='ml', or refit=True."
            )
        if any(r.components.maximised == "reml" for r in fits):
            if not same_design:
                raise ComparisonError(
                    "REML likelihoods of models with different moderators are not comparable. Fit "
                    "both with tau2='ml', or use refit=True."
                )
            llf = [_loglike(r.studies, r.tau2, True) for r in fits]
        else:
            llf = [r.llf for r in fits]
    free = [r.components.n_estimated > 0 for r in fits]
    if free[1] and not free[0]:
        raise ComparisonError(
            "The restricted model estimates tau2, which the full one holds fixed."
        )
    if free[0] == free[1] and not free[0] and full.tau2 != small.tau2:
        raise ComparisonError("The two models hold tau2 fixed at different values.")
    moderators = small.df_resid - full.df_resid
    released = int(free[0]) - int(free[1])
    on_boundary = bool(released) and small.tau2 == 0.0
    return likelihood_ratio(llf[0], llf[1], moderators, released, on_boundary)


def _not_maximised(fit: Fitted) -> bool:
    return fit.components.n_estimated > 0 and fit.components.maximised is None


def compare_models(
    *results: Fitted | Labelled[Fitted] | Sequence[Fitted | Labelled[Fitted]],
    names: Sequence[str] | None = None,
    refit: bool = False,
) -> pd.DataFrame:
    """Rank models of the same studies by AICc, and test those that are nested.

    Parameters
    ----------
    *results : MetaRegResults
        At least two fits of the same studies, all by ML, all by REML, or by ML and fixed tau2; as
        arguments of their own or in one list.
    names : list of str, optional
        Names of the models; by default their formulas where these are given and differ, else
        "model 1", "model 2" and so on.
    refit : bool, default False
        Fit all again by maximum likelihood first, whatever estimated tau2; where it is held fixed
        it stays so.

    Returns
    -------
    DataFrame
        One row a model, in the order given. Columns nobs, df_modelwc, llf, aic, aicc, bic; delta,
        the distance to the smallest AICc; weight, the Akaike weights from AICc, which sum to 1;
        tau2 and r2 (NaN where a sampling variance is 0); and lr_against, lr_statistic, lr_df,
        lr_pvalue: the likelihood ratio test against the first of the models above that is nested in
        this one or that this one is nested in. They are empty for the first model and where no
        model above is nested.

    Raises
    ------
    ComparisonError
        If there are fewer than two models, studies differ, an estimate of tau2 does not maximise
        the likelihood or did not converge, REML and full likelihoods are mixed, or REML fits
        differ in their moderators.
    OptionError
        If there is not one name a model, all different.

    Notes
    -----
    A restricted likelihood depends on the moderators through the contrasts that it is a likelihood
    of, so REML fits with different moderators have no common scale; refit them with tau2="ml".
    A fit with tau2 held fixed has the full likelihood.

    Weights are relative to the models given: a set of poor models has a best one too. Criteria
    and tests do not know how many other models were tried.

    References
    ----------
    Burnham, K. P., & Anderson, D. R. (2002). Model Selection and Multimodel Inference (2nd ed.).
    Springer.

    Examples
    --------
    >>> import metareg_sm
    >>> from metareg_sm import compare_models
    >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
    >>> formulas = ["yi ~ 1", "yi ~ ablat", "yi ~ ablat + year"]
    >>> fits = [metareg_sm.MetaReg.from_formula(f, bcg, vi="vi").fit(tau2="ml") for f in formulas]
    >>> compare_models(*fits)[["aicc", "weight", "lr_against", "lr_pvalue"]].round(4)
                          aicc  weight lr_against  lr_pvalue
    model
    yi ~ 1             30.5302  0.0336        NaN        NaN
    yi ~ ablat         24.0380  0.8635     yi ~ 1     0.0016
    yi ~ ablat + year  28.2922  0.1029     yi ~ 1     0.0066
    """
    given: Sequence[Any] = results
    if len(results) == 1 and isinstance(results[0], (list, tuple)):
        given = results[0]
    if len(given) < 2:
        raise ComparisonError(
            f"compare_models needs at least two fits; got {len(given)}. Give each as an argument "
            "of its own, or all in a list."
        )
    for result in given:
        if not hasattr(result, "llf"):
            raise ComparisonError(f"compare_models compares fits; got {result!r:.60}.")
    fits: list[Fitted] = [plain(r) for r in given]
    if refit:
        fits = [plain(r.refit_by_ml()) for r in fits]
    labels = _labels(fits, names)
    _check_comparable(fits, labels)
    frame = pd.DataFrame(
        {
            "nobs": [int(r.nobs) for r in fits],
            **{c: [float(getattr(r, c)) for r in fits] for c in _CRITERIA},
        },
        index=pd.Index(labels, name="model"),
    )
    frame["delta"] = frame["aicc"] - frame["aicc"].min()
    likelihood = np.exp(-0.5 * frame["delta"])
    frame["weight"] = likelihood / likelihood.sum()
    frame["tau2"] = [float(r.between_variance) for r in fits]
    frame["r2"] = [_r2(r) for r in fits]
    tests = [_first_nested(fits, i) for i in range(len(fits))]
    frame["lr_against"] = [None if t is None else labels[t[0]] for t in tests]
    for column, field in (("lr_statistic", "statistic"), ("lr_df", "df"), ("lr_pvalue", "pvalue")):
        frame[column] = [np.nan if t is None else getattr(t[1], field) for t in tests]
    return frame


_CRITERIA = ("df_modelwc", "llf", "aic", "aicc", "bic")


def _labels(fits: Sequence[Fitted], names: Sequence[str] | None) -> list[str]:
    if names is None:
        formulas = [r.terms.formula for r in fits]
        if all(isinstance(f, str) for f in formulas) and len(set(formulas)) == len(formulas):
            return [str(f) for f in formulas]
        return [f"model {i}" for i in range(1, len(fits) + 1)]
    labels = [names] if isinstance(names, str) else [str(n) for n in names]
    if len(labels) != len(fits):
        raise OptionError(f"names has {len(labels)} entries for {len(fits)} models.")
    if len(set(labels)) < len(labels):
        raise OptionError(f"names must differ from each other; got {', '.join(map(repr, labels))}.")
    return labels


def _check_comparable(fits: Sequence[Fitted], labels: Sequence[str]) -> None:
    first = fits[0]
    for r, label in zip(fits, labels, strict=True):
        pair = f"{labels[0]!r} and {label!r}"
        try:
            same_studies(first, r)
        except ComparisonError as error:
            raise ComparisonError(f"{pair}: {error}") from error
        if _not_maximised(r):
            raise ComparisonError(
                f"{label!r} has tau2 by {r.components.label.lower()!r}, which does not maximise "
                "the likelihood; criteria that are made of it are not comparable. Use tau2='ml', "
                "or refit=True."
            )
        if r.components.converged is False:
            raise ComparisonError(
                f"{label!r} did not converge: its log-likelihood is not the maximum. Fit it again "
                "with another method or more iterations."
            )
        if (r.components.maximised == "reml") != (first.components.maximised == "reml"):
            raise ComparisonError(
                f"{pair}: one has the restricted likelihood (REML), the other the full one (ML or "
                f"tau2 held fixed). Fit all with {_ml(r)}, or use refit=True."
            )
        reml = r.components.maximised == "reml"
        if reml and not (is_nested(r, first) and is_nested(first, r)):
            raise ComparisonError(
                f"{pair}: REML likelihoods of models with different moderators are not "
                f"comparable. Fit all with {_ml(r)}, or use refit=True."
            )


def _ml(fit: Fitted) -> str:
    """The option of `fit` that asks for maximum likelihood."""
    return "tau2='ml'" if has_tau2(fit) else "reml=False"


def _r2(fit: Fitted) -> float:
    try:
        return float(fit.heterogeneity.r2)
    except MetaRegError:
        return float("nan")


def _first_nested(fits: Sequence[Fitted], i: int) -> tuple[int, LRTest] | None:
    for j in range(i):
        for full, restricted in ((fits[i], fits[j]), (fits[j], fits[i])):
            if not is_nested(restricted, full):
                continue
            try:
                return j, full.compare_lr_test(restricted)
            except ComparisonError:
                # equal designs with equal variances, or models of two kinds: the other order, or no
                # test at all
                continue
    return None
