"""Results of a location-scale meta-regression."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import statsmodels.base.wrapper as wrap
from scipy import special

from metareg_sm._compat import cached_value
from metareg_sm._typing import Array
from metareg_sm.design.terms import Terms, refuse_missing
from metareg_sm.exceptions import DesignError, MetaRegError, OptionError
from metareg_sm.options import check_alpha, choose
from metareg_sm.postestimation.comparison import LRTest
from metareg_sm.postestimation.fitted import Labelled
from metareg_sm.postestimation.prediction import MetaRegPrediction, predict_effects
from metareg_sm.postestimation.scale import (
    ScaleFitted,
    ScaleHeterogeneity,
    compare_scale,
    heterogeneity,
)
from metareg_sm.postestimation.scale_profile import profile_intervals, profile_scale
from metareg_sm.report.tables import Block, Grid
from metareg_sm.results.base import ModelResults, ModelResultsWrapper
from metareg_sm.stats.reference import interval, two_sided_pvalue

__all__ = ["LocationScaleResults", "LocationScaleResultsWrapper", "ScaleEstimate"]


@dataclass(frozen=True, slots=True)
class ScaleEstimate:
    """Estimate of the scale.

    Attributes
    ----------
    alpha : ndarray, (q,)
        Coefficients of ln tau2.
    cov : ndarray, (q, q)
        Inverse of the observed information; NaN where the likelihood has no maximum.
    tau2 : ndarray, (k,)
        Fitted heterogeneity of the studies.
    loglike : float
        Log-likelihood.
    """

    alpha: Array
    cov: Array
    tau2: Array
    loglike: float


class LocationScaleResults(ModelResults):
    """Results of a location-scale meta-regression.

    `params` holds the coefficients of the mean; those of ln tau2 are `scale_params`.
    """

    _heading = "Location-Scale Meta-Regression"

    def __init__(self, *args: Any, scale: ScaleEstimate, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._scale_estimate = scale

    @property
    def scale_terms(self) -> Terms:
        """Names of the design of the scale, and how new rows of it are made."""
        return self.model.scale_terms

    @property
    def _scale_index(self) -> pd.Index:
        return pd.Index(self.scale_terms.names)

    def _scale_series(self, values: Array, name: str) -> pd.Series:
        return pd.Series(values, index=self._scale_index, name=name)

    @property
    def _scale_df(self) -> float | None:
        q = len(self._scale_estimate.alpha)
        return float(self.nobs - q) if self.use_t else None

    @cached_value
    def llf(self) -> float:
        """Log-likelihood: restricted for a REML fit."""
        return self._scale_estimate.loglike

    @property
    def scale_params(self) -> pd.Series:
        """Coefficients alpha of ln tau2, (q,)."""
        return self._scale_series(self._scale_estimate.alpha, "scale_params")

    @property
    def scale_cov_params(self) -> pd.DataFrame:
        """Covariance of alpha, the inverse of the observed information, (q, q)."""
        index = self._scale_index
        return pd.DataFrame(self._scale_estimate.cov, index=index, columns=index)

    @property
    def scale_bse(self) -> pd.Series:
        """Standard errors of alpha."""
        return self._scale_series(np.sqrt(np.diagonal(self._scale_estimate.cov)), "scale_bse")

    @property
    def scale_tvalues(self) -> pd.Series:
        """Coefficients of the scale over their standard errors."""
        return (self.scale_params / self.scale_bse).rename("scale_tvalues")

    @property
    def scale_pvalues(self) -> pd.Series:
        """Two-sided p-values of alpha: normal, or t with k - q degrees of freedom."""
        values = two_sided_pvalue(self.scale_tvalues.to_numpy(), self._scale_df)
        return self._scale_series(values, "scale_pvalues")

    def scale_conf_int(
        self, alpha: float = 0.05, method: Literal["wald", "profile-likelihood"] = "wald"
    ) -> pd.DataFrame:
        """Intervals of the coefficients of the scale.

        Parameters
        ----------
        alpha : float, default 0.05
            1 minus the coverage.
        method : {"wald", "profile-likelihood"}
            The profile likelihood needs no standard error, and its intervals need not be
            symmetric; an end is infinite where the likelihood stays above the level.

        Returns
        -------
        DataFrame, (q, 2)

        Raises
        ------
        OptionError
            If the method is not known, or the likelihood has no maximum to profile.

        Warns
        -----
        IntervalWarning
            If a profile interval is unbounded.
        """
        alpha = check_alpha(alpha)

        def wald() -> Array:
            se = self.scale_bse.to_numpy()
            return interval(self._scale_estimate.alpha, se, alpha, self._scale_df)

        methods = {"wald": wald, "profile-likelihood": lambda: profile_intervals(self, alpha)}
        return pd.DataFrame(choose(methods, method, "method")(), index=self._scale_index)

    def profile_scale(self, name: str, values: Array) -> Array:
        """Profile log-likelihood of one coefficient of ln tau2.

        Parameters
        ----------
        name : str
            A coefficient, as in `scale_params`.
        values : ndarray, (n,)
            Where it is held; the other coefficients are at their best for each.

        Returns
        -------
        ndarray, (n,)
            -inf where the likelihood is undefined.

        Raises
        ------
        OptionError
            If there is no such coefficient.
        """
        return profile_scale(self, name, values)

    def scale_wald_test(self) -> LRTest:
        """Wald test that no moderator of the scale matters: chi-squared.

        Returns
        -------
        LRTest
            statistic, pvalue, df.

        Raises
        ------
        OptionError
            If the scale has no moderator.
        """
        rows = self._scale_moderators()
        a, cov = self._scale_estimate.alpha[rows], self._scale_estimate.cov[np.ix_(rows, rows)]
        statistic = float(a @ np.linalg.solve(cov, a))
        return LRTest(statistic, float(special.chdtrc(len(rows), statistic)), float(len(rows)))

    def lr_test_scale(self) -> LRTest:
        """Likelihood ratio test of equal heterogeneity: no moderator of the scale matters.

        Returns
        -------
        LRTest
            statistic, pvalue, df.
        """
        rows = self._scale_moderators()
        model = self._kept(self.model)
        if self.scale_terms.constant is None:
            raise OptionError("The scale has no intercept; equal heterogeneity is not nested.")
        equal = type(model)(model.endog, model.exog, vi=model.vi).fit(reml=self.reml)
        statistic = max(0.0, 2.0 * (self.llf - equal.llf))
        return LRTest(statistic, float(special.chdtrc(len(rows), statistic)), float(len(rows)))

    @property
    def scale_exog(self) -> Array:
        """Design of the scale, (k, q)."""
        return self._kept(self.model.scale_exog)

    def refit_by_ml(self) -> LocationScaleResultsWrapper:
        """The same model by maximum likelihood."""
        return self.model.fit(reml=False)

    def compare_lr_test(
        self, restricted: ScaleFitted | Labelled[ScaleFitted], refit: bool = False
    ) -> LRTest:
        """Likelihood ratio test of this model against a restricted one.

        Parameters
        ----------
        restricted : LocationScaleResults
            A fit of the same studies whose moderators, of the mean and of the scale, are nested in
            these.
        refit : bool, default False
            Compare by maximum likelihood, whatever the two fits used.

        Returns
        -------
        LRTest
            statistic, pvalue, df.

        Raises
        ------
        ComparisonError
            If the fits cannot be compared; in particular two REML fits with different moderators of
            the mean.
        """
        return compare_scale(self, restricted, refit)

    def _compute_heterogeneity(self) -> ScaleHeterogeneity:
        return heterogeneity(self)

    @property
    def heterogeneity(self) -> ScaleHeterogeneity:
        """Q, I2, H2 and R2 of the mean heterogeneity; see `ScaleHeterogeneity`.

        Raises
        ------
        VarianceError, DesignError
            If they are undefined.
        """
        return super().heterogeneity

    def _scale_moderators(self) -> list[int]:
        terms = self.scale_terms
        rows = [j for j in range(len(terms.names)) if j != terms.constant]
        if not rows:
            raise OptionError("The scale has no moderator to test.")
        return rows

    @property
    def tau2(self) -> pd.Series:
        """Fitted heterogeneity of each study, (k,), in squared units of the outcome."""
        return pd.Series(self._scale_estimate.tau2, index=self.table.rows.labels, name="tau2")

    @property
    def between_variance(self) -> float:
        """Mean of the fitted heterogeneity; predictions have their own."""
        return float(self._scale_estimate.tau2.mean())

    def predict_tau2(self, exog: Any = None, transform: bool = True) -> Array:
        """Heterogeneity at given moderators of the scale.

        Parameters
        ----------
        exog : DataFrame, dict or array_like, optional
            Moderators of the scale; those of the studies by default.
        transform : bool, default True
            Pass `exog` through the scale formula.

        Returns
        -------
        ndarray, (n,)
        """
        if exog is None:
            return self._scale_estimate.tau2
        rows, labels = self.scale_terms.new_rows(exog, transform)
        refuse_missing(rows, labels)
        return np.exp(rows @ self._scale_estimate.alpha)

    def get_prediction(
        self,
        exog: Any = None,
        transform: bool | str | Callable[[Array], Array] = True,
        row_labels: Any = None,
        df: Any = None,
        scale_exog: Any = None,
    ) -> MetaRegPrediction:
        """Predict mean effects, and true effects of new studies with their own heterogeneity.

        Parameters
        ----------
        exog : DataFrame, dict or array_like, optional
            Moderators of the new studies; by formulas those of the mean and of the scale. The
            studies of the model by default.
        transform, row_labels, df
            As for `MetaReg`.
        scale_exog : DataFrame, dict or array_like, optional
            Moderators of the scale where `exog` does not hold them, as in a model of arrays.

        Returns
        -------
        MetaRegPrediction

        Raises
        ------
        DesignError
            If moderators of the scale are not there, or not of as many rows.
        """
        through = True if callable(transform) else bool(transform)
        terms = self.scale_terms
        given = scale_exog
        if given is None and exog is not None and terms.spec is not None and through:
            given = exog
        if given is None and exog is not None:
            if len(terms.names) > 1 or terms.constant is None:
                raise DesignError("Give the moderators of the scale as scale_exog=.")
            between: Array = np.exp(self._scale_estimate.alpha)
        else:
            between = self.predict_tau2(given, through)
        found = predict_effects(self, exog, transform, row_labels, df, between)
        if len(between) not in (1, len(found.predicted_mean)):
            raise DesignError(
                f"scale_exog has {len(between)} rows, and exog {len(found.predicted_mean)}."
            )
        return found

    # --- tables --------------------------------------------------------------------------------

    def scale_frame(self, alpha: float = 0.05) -> pd.DataFrame:
        """Coefficients of the scale.

        Parameters
        ----------
        alpha : float, default 0.05
            1 minus the coverage of the intervals.

        Returns
        -------
        DataFrame
            Columns coef, se, statistic, pvalue, ci_lower, ci_upper.
        """
        ends = self.scale_conf_int(alpha)
        return pd.DataFrame(
            {
                "coef": self.scale_params,
                "se": self.scale_bse,
                "statistic": self.scale_tvalues,
                "pvalue": self.scale_pvalues,
                "ci_lower": ends[0],
                "ci_upper": ends[1],
            }
        )

    def _blocks(self, alpha: float) -> list[Block | Grid]:
        frame = self.scale_frame(alpha)
        letter = "t" if self.use_t else "z"
        tail = f"{alpha / 2.0:.3g}"
        header = ["coef", "std err", letter, f"P>|{letter}|", f"[{tail}", f"{1 - alpha / 2:.3g}]"]
        cells = [
            [f"{row.coef:.4f}", *(f"{x:.3f}" for x in list(row)[1:])]
            for row in frame.itertuples(index=False)
        ]
        tau2 = self._scale_estimate.tau2
        block = Block(
            "Fitted tau2",
            [("Smallest:", [f"{tau2.min():#.5g}"]), ("Mean:", [f"{tau2.mean():#.5g}"])],
            [("Largest:", [f"{tau2.max():#.5g}"]), *self._q_items()],
        )
        return [Grid("ln tau2", header, list(self._scale_index), cells), block]

    def _q_items(self) -> list[tuple[str, list[str]]]:
        found = self._heterogeneity
        if isinstance(found, MetaRegError):
            return [("Q_E:", ["undefined"])]
        return [(f"Q_E (df={found.q_df}):", [f"{found.q:#.5g}"])]

    @property
    def default_model_infos(self) -> dict[str, Callable[[Any], str]]:
        """Rows that `summary_col` adds below the coefficients."""

        def coefficient(i: int) -> Callable[[Any], str]:
            return lambda x: f"{x.components.values[i]:.4f}"

        return {
            **{name: coefficient(i) for i, name in enumerate(self.components.names)},
            "k": lambda x: f"{int(x.nobs)}",
        }


class LocationScaleResultsWrapper(ModelResultsWrapper):
    """Results with pandas labels."""


wrap.populate_wrapper(LocationScaleResultsWrapper, LocationScaleResults)
