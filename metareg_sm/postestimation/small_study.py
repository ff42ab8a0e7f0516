"""Whether small studies tell another story, and what publication bias would do to a fit."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, get_args

import numpy as np
import pandas as pd

from metareg_sm._typing import Array, EggerModel
from metareg_sm.design.groups import one_a_study
from metareg_sm.design.values import numeric, row_label
from metareg_sm.exceptions import ConvergenceWarning, DesignError, OptionError, VarianceError
from metareg_sm.options import check_alpha, choose, suggestion
from metareg_sm.postestimation.comparison import LRTest
from metareg_sm.postestimation.fitted import Fitted, Labelled, Tau2Fitted, has_tau2, plain
from metareg_sm.postestimation.resampling import refit_of
from metareg_sm.printing import Overview, Printed, said
from metareg_sm.stats import small_study as statistics
from metareg_sm.stats.selection import SelectionFit, fit_selection
from metareg_sm.stats.small_study import (
    Analysis,
    EggerTest,
    ExcessSignificanceTest,
    PetPeese,
    RankCorrelationTest,
)

# the classical regression estimates no variance
_ANY = Analysis(None, np.ones_like, use_t=True)
_EGGER_MODELS: Mapping[str, EggerModel] = MappingProxyType({m: m for m in get_args(EggerModel)})


@dataclass(frozen=True, repr=False)
class TrimAndFill(Printed):
    """Studies that trim and fill takes to be missing, and the fit with them filled in.

    Attributes
    ----------
    k0, k0_se : int, float
        Estimated number of missing studies, and its standard error.
    side : {"left", "right"}
        Where they are missing.
    estimator : {"L0", "R0", "Q0"}
        How they were counted.
    results : MetaRegResults
        The fit of all studies, the filled ones included.
    filled : DataFrame
        The studies that were filled in: yi, vi, and the label of the study that each mirrors.
    record : metareg_sm.stats.small_study.TrimAndFill
        The arrays.
    """

    k0: int
    k0_se: float
    side: str
    estimator: str
    results: Labelled[Tau2Fitted]
    filled: pd.DataFrame
    record: statistics.TrimAndFill = field(repr=False)


@dataclass(frozen=True, repr=False, eq=False)
class SelectionResults(Printed):
    """A step-function selection model.

    Attributes
    ----------
    params, bse, tvalues, pvalues : Series, (p,)
        Coefficients before selection, standard errors, z statistics and two-sided p-values.
    tau2, tau2_se : float
        Heterogeneity before selection, in squared units of the outcome, and its standard error.
    weights : DataFrame
        One row an interval of p-values: weight (relative probability of publication), se,
        ci_lower, ci_upper, and studies, their number. The first weight is 1.
    llf : float
        Log-likelihood.
    lr_test : LRTest
        Likelihood ratio test against no selection.
    converged, flat : bool
        Whether a maximum was reached that is not flat; whether the likelihood is flat there.
    record : metareg_sm.stats.selection.SelectionFit
        The arrays.
    names : tuple of str
        Coefficients.
    alpha : float
        1 minus the coverage of the intervals of the weights.
    """

    record: SelectionFit
    names: tuple[str, ...]
    alpha: float

    @cached_property
    def params(self) -> pd.Series:
        """Coefficients before selection."""
        return pd.Series(self.record.params, index=self._index)

    @cached_property
    def bse(self) -> pd.Series:
        """Their standard errors."""
        return pd.Series(self.record.bse, index=self._index)

    @cached_property
    def tvalues(self) -> pd.Series:
        """Their z statistics."""
        return pd.Series(self.record.tvalues, index=self._index)

    @cached_property
    def pvalues(self) -> pd.Series:
        """Their two-sided p-values."""
        return pd.Series(self.record.pvalues, index=self._index)

    @cached_property
    def _index(self) -> pd.Index:
        return pd.Index(self.names)

    @property
    def tau2(self) -> float:
        """Heterogeneity before selection."""
        return float(self.record.tau2)

    @property
    def tau2_se(self) -> float:
        """Its standard error."""
        return float(self.record.tau2_se)

    @cached_property
    def weights(self) -> pd.DataFrame:
        """Weights of the intervals of p-values, with their own intervals."""
        found = self.record
        ends = found.conf_int_weights(self.alpha)
        columns = {
            "weight": found.weights,
            "se": found.weights_se,
            "ci_lower": ends[:, 0],
            "ci_upper": ends[:, 1],
            "studies": found.counts.astype(int),
        }
        return pd.DataFrame(columns, index=pd.Index(found.step_function.labels, name="p-value"))

    @property
    def llf(self) -> float:
        """Log-likelihood."""
        return float(self.record.llf)

    @property
    def lr_test(self) -> LRTest:
        """Likelihood ratio test against no selection."""
        found = self.record
        return LRTest(float(found.lr_statistic), float(found.lr_pvalue), float(found.lr_df))

    @property
    def converged(self) -> bool:
        """Whether a maximum was reached that is not flat."""
        return bool(self.record.converged)

    @property
    def flat(self) -> bool:
        """Whether the likelihood is flat at its maximum."""
        return bool(self.record.flat)

    def overview(self) -> Overview:
        """What is printed."""
        names = ["params", "bse", "pvalues", "tau2", "tau2_se", "llf", "lr_test", "converged"]
        lines = [(name, said(getattr(self, name))) for name in names]
        return Overview("Selection model: weights of intervals of p-values", lines, self.weights)

    def conf_int(self, alpha: float = 0.05) -> pd.DataFrame:
        """Confidence intervals of the coefficients, normal.

        Parameters
        ----------
        alpha : float, default 0.05
            1 minus the coverage.

        Returns
        -------
        DataFrame, (p, 2)
        """
        return pd.DataFrame(self.record.conf_int(check_alpha(alpha)), index=self.params.index)


def _analysis(fit: Tau2Fitted) -> Analysis:
    """How the regressions are fitted that trim and fill rests on: as the fit itself."""
    refit = refit_of(fit, "Trim and fill")
    return Analysis(refit.estimator, refit.factor, fit.use_t, refit.fixed)


def _need_variances(fit: Fitted) -> tuple[Array, Array, Array]:
    """Outcomes, variances and moderators, once no variance is 0."""
    table = fit.table
    zero = np.flatnonzero(table.vi <= 0.0)
    if zero.size:
        raise VarianceError(
            f"vi of {row_label(table.rows.labels, int(zero[0]))} is 0: tests of small-study "
            "effects compare studies by their precision, which is then infinite."
        )
    return table.endog, table.vi, table.exog


def _predictor(fit: Fitted, predictor: Any) -> tuple[Array, str, bool]:
    """Values of a predictor, what to call it, and whether it is 0 for an endless study."""
    rows = fit.table.rows
    if not isinstance(predictor, str):
        values = numeric(one_a_study(predictor, rows, "predictor"), "predictor", rows.labels)
        return values, "predictor", False
    if predictor in ("sei", "vi"):
        return statistics.precision_predictor(fit.table.vi, predictor), predictor, True
    frame = rows.frame
    known = ["sei", "vi", *([] if frame is None else map(str, frame.columns))]
    if frame is None or predictor not in frame.columns:
        raise OptionError(
            f"predictor={predictor!r} is neither 'sei' nor 'vi' nor a column of the data."
            f"{suggestion(predictor, known)}"
        )
    values = numeric(frame[predictor], f"predictor={predictor!r}", frame.index)
    missing = np.flatnonzero(~np.isfinite(values))
    if missing.size:
        raise DesignError(
            f"predictor={predictor!r} is missing or infinite for "
            f"{row_label(frame.index, int(missing[0]))}."
        )
    return values, predictor, False


def _on_predictor(fit: Fitted, x: Array, name: str) -> Labelled[Fitted]:
    """The fit again with a predictor behind its moderators."""
    if fit.redundant:
        raise DesignError(
            f"A regression on {name} needs moderators that are not redundant; see {fit.redundant}."
        )
    statistics.check_predictor(x, fit.table.basis.Z, name)
    return fit.fit_with_moderator(x, name)


def _df_of(fit: Fitted, coefficient: int) -> float | None:
    """Degrees of freedom of the t test of a coefficient; None for a normal test."""
    df = fit.contrast_df()
    if df is None:
        return None
    return float(np.broadcast_to(df, fit.params.shape)[coefficient])


def egger_test(fit: Fitted, predictor: Any, model: str, alpha: float) -> EggerTest:
    """Egger's regression test; see `ModelResults.egger_test`."""
    y, v, X = _need_variances(fit)
    x, name, vanishes = _predictor(fit, predictor)
    kind = choose(_EGGER_MODELS, model, "model")
    alpha = check_alpha(alpha)
    if kind == "multiplicative":
        if not has_tau2(fit):
            raise OptionError(
                "model='multiplicative' has weights 1/vi and one dispersion for all: it knows of "
                f"no dependence and of no moderators of the heterogeneity, and {fit.model_name} "
                "has them. Use model='mixed', which adds the predictor to this model."
            )
        return statistics.egger_test(y, v, X, _ANY, x, kind, alpha, name, vanishes)
    added = _on_predictor(fit, x, name)
    has_limit = vanishes and statistics.is_mean(X)
    regression = plain(added)
    df = _df_of(regression, -1)
    return replace(statistics.egger_of(regression, df, has_limit, alpha, kind, name), fit=added)


def rank_correlation_test(fit: Tau2Fitted) -> RankCorrelationTest:
    """Begg and Mazumdar's test; see `MetaRegResults.rank_correlation_test`."""
    return statistics.rank_correlation_test(*_need_variances(fit))


def pet_peese(fit: Fitted, alpha: float) -> PetPeese:
    """PET, PEESE and the conditional estimator; see `ModelResults.pet_peese`."""
    _need_variances(fit)
    alpha = check_alpha(alpha)
    constant = fit.terms.constant
    if constant is None:
        raise DesignError("PET and PEESE estimate the constant, and the model has none.")
    effects = []
    for predictor in ("sei", "vi"):
        x, name, _ = _predictor(fit, predictor)
        added = _on_predictor(fit, x, name)
        one = plain(added)
        estimate, se = np.asarray(one.params)[constant], one.bse[constant]
        effects.append(
            statistics.precision_effect(estimate, se, _df_of(one, constant), 0.05, added)
        )
    direction = np.where(np.asarray(fit.params)[constant] < 0.0, -1.0, 1.0)
    return statistics.conditional(effects[0], effects[1], direction, alpha)


def trim_and_fill(fit: Tau2Fitted, side: str | None, estimator: str) -> TrimAndFill:
    """Trim and fill; see `MetaRegResults.trim_and_fill`."""
    y, v, X = _need_variances(fit)
    found = statistics.trim_and_fill(y, v, X, _analysis(fit), side, estimator)
    labels = fit.table.rows.labels
    positions = np.asarray(found.mirrored, dtype=np.intp)
    filled = pd.DataFrame(
        {
            "yi": found.y[found.filled],
            "vi": found.v[found.filled],
            "mirrors": positions if labels is None else np.asarray(labels)[positions],
        }
    )
    if not found.converged:
        warnings.warn(
            "Trim and fill went round in circles: k0 is that of its last round.",
            ConvergenceWarning,
            stacklevel=3,
        )
    results = fit.fit_again(found.y, found.X, found.v)
    return TrimAndFill(
        int(found.k0), float(found.k0_se), found.side, found.estimator, results, filled, found
    )


def fail_safe_n(fit: Tau2Fitted, method: str, target: float | None, alpha: float) -> int:
    """Fail-safe N; see `MetaRegResults.fail_safe_n`."""
    y, v, _ = _need_variances(fit)
    alpha = check_alpha(alpha)
    methods = {
        "rosenthal": lambda: statistics.rosenthal(y, v, alpha),
        "rosenberg": lambda: statistics.rosenberg(y, v, alpha),
        "orwin": lambda: statistics.orwin(y, None, target),
    }
    found = choose(methods, method, "method")
    if target is not None and method.lower() != "orwin":
        raise OptionError(f"target= goes with method='orwin'; got method={method!r}.")
    return found()


def excess_significance_test(fit: Tau2Fitted, alpha: float, test: str) -> ExcessSignificanceTest:
    """Test of excess significance; see `MetaRegResults.excess_significance_test`."""
    y, v, _ = _need_variances(fit)
    expected = np.asarray(fit.fittedvalues)
    return statistics.excess_significance_test(
        y, v, expected, fit.tau2, check_alpha(alpha), test=test
    )


def selection_model(
    fit: Tau2Fitted, steps: Sequence[float] | float, alternative: str, alpha: float
) -> SelectionResults:
    """Step-function selection model; see `MetaRegResults.selection_model`."""
    y, v, X = _need_variances(fit)
    alpha = check_alpha(alpha)
    tau2 = fit.tau2 if fit.estimator is None else None
    found = fit_selection(y, v, X, steps, alternative, tau2, fit.studies)
    return SelectionResults(found, tuple(fit.terms.names), alpha)
