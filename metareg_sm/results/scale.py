"""Questions about the coefficients of the scale, ln tau2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from metareg_sm._compat import cached_value
from metareg_sm._typing import Array
from metareg_sm.design.terms import Terms
from metareg_sm.options import check_alpha, choose
from metareg_sm.postestimation.comparison import LRTest
from metareg_sm.postestimation.fitted import Labelled
from metareg_sm.postestimation.scale import (
    ScaleFitted,
    compare_scale,
    lr_test_scale,
    scale_wald_test,
)
from metareg_sm.postestimation.scale_profile import profile_intervals, profile_scale
from metareg_sm.results.influence import InfluenceResults
from metareg_sm.results.inherited import Unavailable
from metareg_sm.stats.reference import interval, two_sided_pvalue

if TYPE_CHECKING:
    from metareg_sm._typing import Codes
    from metareg_sm.postestimation.scale_influence import ScaleInfluence
    from metareg_sm.results.location_scale import LocationScaleResultsWrapper
    from metareg_sm.stats.refits import Selections
    from metareg_sm.stats.scale_refits import ScaleRefits

_ONE_TAU2 = (
    "it takes one tau2 for all studies. egger_test() and pet_peese() keep the moderators of the "
    "heterogeneity; for this fit MetaReg."
)

__all__ = ["ScaleEstimate", "ScaleResults"]


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


class ScaleResults(InfluenceResults):
    """A fit whose heterogeneity has moderators."""

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
        ConvergenceWarning
            If the likelihood is higher at some point of a profile than at the estimates.
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

        Warns
        -----
        ConvergenceWarning
            If the likelihood is higher at one of the values than at the estimates.
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
        return scale_wald_test(self)

    def lr_test_scale(self) -> LRTest:
        """Likelihood ratio test of equal heterogeneity: no moderator of the scale matters.

        Returns
        -------
        LRTest
            statistic, pvalue, df.
        """
        return lr_test_scale(self)

    @property
    def scale_exog(self) -> Array:
        """Design of the scale, (k, q)."""
        return self._kept(self.model.scale_exog)

    def _fit_options(self) -> dict[str, Any]:
        return {**super()._fit_options(), "reml": self.reml}

    def fits_without(self, codes: Codes, n: int) -> ScaleRefits:
        """Fits that lack the studies of one code each, all at once."""
        from metareg_sm.postestimation.scale_influence import fits_without

        return fits_without(self, codes, n)

    def fits_to(self, counts: Selections, n: int) -> ScaleRefits:
        """Fits to n selections of the studies, all at once."""
        from metareg_sm.postestimation.scale_influence import fits_to

        return fits_to(self, counts, n)

    def get_influence(self, groups: Any = None) -> ScaleInfluence:
        """Deletion diagnostics: which studies drive the fit.

        Parameters
        ----------
        groups : str or array_like, optional
            A column of the data, or labels of the studies: studies that share one are deleted
            together. Each study by itself by default.

        Returns
        -------
        ScaleInfluence
            What `MetaReg` has, and `scale_params_not_obsi`, `dfbetas_scale` and more of alpha,
            which is estimated anew for every deletion.

        Raises
        ------
        OptionError
            If the covariance type is a sandwich.
        DesignError
            If moderators are redundant, or groups do not match the studies.

        References
        ----------
        Viechtbauer, W., & Cheung, M. W.-L. (2010). Outlier and influence diagnostics for
        meta-analysis. Research Synthesis Methods, 1(2), 112-125.

        Examples
        --------
        >>> import metareg_sm
        >>> writing = metareg_sm.datasets.bangertdrowns2004.load_pandas().data
        >>> res = metareg_sm.LocationScaleMetaReg.from_formula(
        ...     "yi ~ 1", writing, vi="vi", scale_formula="~ grade"
        ... ).fit()
        >>> frame = res.get_influence().summary_frame()
        >>> frame.loc[45, ["student_resid", "cooks_d", "dfb_ln tau2: grade"]].astype(float).round(3)
        student_resid         3.460
        cooks_d               0.305
        dfb_ln tau2: grade    0.304
        Name: 45, dtype: float64
        """
        from metareg_sm.postestimation.scale_influence import get_influence

        return get_influence(self, groups)

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

    rank_correlation_test = Unavailable(_ONE_TAU2)
    trim_and_fill = Unavailable(_ONE_TAU2)
    fail_safe_n = Unavailable(_ONE_TAU2)
    excess_significance_test = Unavailable(_ONE_TAU2)
    selection_model = Unavailable(_ONE_TAU2)
