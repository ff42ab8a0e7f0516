"""Several models of the same studies side by side: information criteria and nested tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from metareg_sm.exceptions import ComparisonError, OptionError, VarianceError
from metareg_sm.postestimation.comparison import LRTest, compare_lr_test, is_nested, same_studies

__all__ = ["compare_models"]


def compare_models(*results: Any, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Rank models of the same studies by AICc, and test those that are nested.

    Parameters
    ----------
    *results : MetaRegResults
        At least two fits of the same studies, all by ML, all by REML, or by ML and fixed tau2.
    names : list of str, optional
        Names of the models; by default their formulas where these are given and differ, else
        "model 1", "model 2" and so on.

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
    >>> from metareg_sm.postestimation.ranking import compare_models
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
    if len(results) < 2:
        raise ComparisonError(
            f"compare_models needs at least two fits; got {len(results)}. Give each as an argument "
            "of its own, a list as compare_models(*fits)."
        )
    fits = [getattr(r, "_results", r) for r in results]
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
    frame["tau2"] = [r.tau2 for r in fits]
    frame["r2"] = [_r2(r) for r in fits]
    tests = [_first_nested(fits, i) for i in range(len(fits))]
    frame["lr_against"] = [None if t is None else labels[t[0]] for t in tests]
    for column, field in (("lr_statistic", "statistic"), ("lr_df", "df"), ("lr_pvalue", "pvalue")):
        frame[column] = [np.nan if t is None else getattr(t[1], field) for t in tests]
    return frame


_CRITERIA = ("df_modelwc", "llf", "aic", "aicc", "bic")


def _labels(fits: Sequence[Any], names: Sequence[str] | None) -> list[str]:
    if names is None:
        formulas = [getattr(r.model, "formula", None) for r in fits]
        if all(isinstance(f, str) for f in formulas) and len(set(formulas)) == len(formulas):
            return [str(f) for f in formulas]
        return [f"model {i}" for i in range(1, len(fits) + 1)]
    labels = [names] if isinstance(names, str) else [str(n) for n in names]
    if len(labels) != len(fits):
        raise OptionError(f"names has {len(labels)} entries for {len(fits)} models.")
    if len(set(labels)) < len(labels):
        raise OptionError(f"names must differ from each other; got {', '.join(map(repr, labels))}.")
    return labels


def _check_comparable(fits: Sequence[Any], labels: Sequence[str]) -> None:
    first = fits[0]
    for r, label in zip(fits, labels, strict=True):
        pair = f"{labels[0]!r} and {label!r}"
        try:
            same_studies(first, r)
        except ComparisonError as error:
            raise ComparisonError(f"{pair}: {error}") from error
        estimator = r._tau2_fit.estimator
        if estimator is not None and not estimator.kind.likelihood:
            raise ComparisonError(
                f"{label!r} has tau2 by {estimator.name!r}, which does not maximise the "
                "likelihood; criteria that are made of it are not comparable. Use tau2='ml'."
            )
        if r.mle_converged is False:
            raise ComparisonError(
                f"{label!r} did not converge: its log-likelihood is not the maximum. Fit it again "
                "with another method or more iterations."
            )
        if r.reml != first.reml:
            raise ComparisonError(
                f"{pair}: one has the restricted likelihood (REML), the other the full one (ML or "
                "tau2 held fixed). Fit all with tau2='ml'."
            )
        if r.reml and not (_within(r, first) and _within(first, r)):
            raise ComparisonError(
                f"{pair}: REML likelihoods of models with different moderators are not "
                "comparable. Fit all with tau2='ml'."
            )


def _within(small: Any, large: Any) -> bool:
    return is_nested(small._studies, large._studies)


def _r2(results: Any) -> float:
    try:
        return float(results.heterogeneity.r2)
    except VarianceError:
        return float("nan")


def _first_nested(fits: Sequence[Any], i: int) -> tuple[int, LRTest] | None:
    for j in range(i):
        for full, restricted in ((fits[i], fits[j]), (fits[j], fits[i])):
            if not _within(restricted, full):
                continue
            try:
                return j, compare_lr_test(full, restricted, refit=False)
            except ComparisonError:
                # equal designs with equal or fixed tau2: the other order, or no test at all
                continue
    return None
