"""What the results of every model have: questions that need no more than `Fitted`."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from metareg_sm._compat import cached_data, cached_value
from metareg_sm._typing import Array, EggerModel
from metareg_sm.exceptions import MetaRegError
from metareg_sm.results.inherited import Unavailable, available
from metareg_sm.results.reports import ReportResults

if TYPE_CHECKING:
    from metareg_sm.postestimation.aggregation import AggregationBiasTest
    from metareg_sm.postestimation.prediction import MetaRegPrediction
    from metareg_sm.postestimation.slopes import SimpleSlopes
    from metareg_sm.postestimation.small_study import EggerTest, PetPeese


_NO_SCORES = (
    "studies are independent only given the variances, which are estimated from all of them; "
    "there is no score of one study. cov_type='HC3' or 'cluster' has robust standard errors."
)


class ModelResults(ReportResults):
    """What every fit can be asked, whatever its model: each method is one line over its answer.

    A subclass has `between_variance`, `llf`, and in `_compute_heterogeneity` and `_blocks` what is
    its own about heterogeneity and the summary.
    """

    _kept_values = (*ReportResults._kept_values, "_heterogeneity")

    # --- fitted values and predictions ---------------------------------------------------------

    @cached_data
    def fittedvalues(self) -> Array:
        """Expected effects of the studies."""
        return self.model.predict(self.params, self._kept(self.model.exog))

    @cached_data
    def resid(self) -> Array:
        """Outcomes less expected effects."""
        return self._kept(self.model.endog) - self.fittedvalues

    def predict(self, exog: Any = None, transform: bool = True) -> Any:
        """Expected effects at given moderators.

        Parameters
        ----------
        exog : DataFrame, dict or array_like, optional
            Moderators, in the terms of the formula where there was one; the studies of the model
            by default.
        transform : bool, default True
            Pass `exog` through the formula.

        Returns
        -------
        Series or ndarray, (n,)
            NaN where a moderator is missing.

        Raises
        ------
        DesignError
            If columns do not match or a level is unknown.
        """
        from metareg_sm.postestimation.prediction import predict

        return predict(self, exog, transform)

    def get_prediction(
        self,
        exog: Any = None,
        transform: bool | str | Callable[[Array], Array] = True,
        row_labels: Sequence[Hashable] | None = None,
        df: float | str | None = None,
    ) -> MetaRegPrediction:
        """Predict mean effects, and the true effects of new studies.

        Parameters
        ----------
        exog : DataFrame, dict or array_like, optional
            Moderators of the new studies, in the terms of the formula where there was one; the
            studies of the model by default.
        transform : bool, "natural" or callable, default True
            Pass `exog` through the formula. A callable, such as `numpy.exp` for log ratios, does
            so too, and `summary_frame` shows effects and intervals transformed by it; "natural"
            takes them back from the measure that `effect_size` computed.
        row_labels : list, optional
            Labels of the rows.
        df : float or "riley", optional
            Degrees of freedom of the intervals; "riley" is k - p - 1 for the prediction interval
            (Riley, Higgins & Deeks, 2011).

        Returns
        -------
        MetaRegPrediction
            `summary_frame(alpha)` has the columns mean, mean_se, mean_ci_lower, mean_ci_upper,
            obs_ci_lower and obs_ci_upper.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ ablat + year", bcg, vi="vi").fit()
        >>> new = res.get_prediction({"ablat": [33], "year": [1950]})
        >>> new.summary_frame()[["mean", "obs_ci_lower", "obs_ci_upper"]].round(4).values.tolist()
        [[-0.7501, -1.778, 0.2777]]
        """
        from metareg_sm.postestimation.prediction import predict_effects

        return predict_effects(self, exog, transform, row_labels, df)

    # --- moderators ----------------------------------------------------------------------------

    def adjust_pvalues(self, method: str = "holm", alpha: float = 0.05) -> pd.DataFrame:
        """p-values of the coefficients, adjusted for there being several of them.

        Parameters
        ----------
        method : str, default "holm"
            As in `statsmodels.stats.multitest.multipletests`.
        alpha : float, default 0.05
            Level of `reject`.

        Returns
        -------
        DataFrame
            One row a coefficient beside the constant: pvalue, pvalue_adjusted, reject.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ ablat + year", bcg, vi="vi").fit()
        >>> res.adjust_pvalues().round(4)
               pvalue  pvalue_adjusted  reject
        ablat  0.0332           0.0663   False
        year   0.9090           0.9090   False
        """
        from metareg_sm.postestimation.multiplicity import adjust_pvalues

        return adjust_pvalues(self, method, alpha)

    def simple_slopes(
        self, moderator: str, at: Mapping[str, Any], alpha: float = 0.05
    ) -> SimpleSlopes:
        """Slopes of one moderator at chosen values of those that it interacts with.

        Parameters
        ----------
        moderator : str
            A column of the data that enters linearly.
        at : mapping
            Values of the partners, for instance ``{"dose": [0, 1]}``; all combinations are taken.
        alpha : float, default 0.05
            1 minus the coverage of the intervals.

        Returns
        -------
        SimpleSlopes
            `frame`, and `johnson_neyman(partner)` for the values of a continuous partner at which
            the slope turns significant.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ ablat * year", bcg, vi="vi").fit()
        >>> res.simple_slopes("ablat", at={"year": [1940, 1970]}).frame["slope"].round(4).tolist()
        [-0.0176, -0.0261]
        """
        from metareg_sm.postestimation.slopes import simple_slopes

        return simple_slopes(self, moderator, at, alpha)

    def aggregation_bias_test(self, moderator: str) -> AggregationBiasTest:
        """Test that a moderator has the same slope within studies as between them.

        A slope across studies need not hold for participants; where rows are effects of
        participants, or of several groups in a study, the two slopes can be told apart.

        Parameters
        ----------
        moderator : str
            A moderator x of which the formula has ``within(x, study)`` and ``between(x, study)``,
            or x and one of the two; or a product such as "treat:x".

        Returns
        -------
        AggregationBiasTest
            within, between, difference (between - within), se, statistic, pvalue, df.

        Raises
        ------
        OptionError
            If the formula does not have the moderator in two parts.

        References
        ----------
        Fisher, D. J., Copas, A. J., Tierney, J. F., & Parmar, M. K. B. (2011). A critical review
        of methods for the assessment of patient-level interactions in individual participant data
        meta-analysis of randomized trials, and guidance for practitioners. Journal of Clinical
        Epidemiology, 64(9), 949-967.

        Examples
        --------
        Each trial reports the effect in its younger and in its older half.

        >>> import pandas as pd
        >>> from metareg_sm import MetaReg
        >>> from metareg_sm.formula.transforms import between, within
        >>> halves = pd.DataFrame(
        ...     {
        ...         "trial": [1, 1, 2, 2, 3, 3, 4, 4],
        ...         "age": [38.0, 51, 45, 57, 51, 63, 56, 70],
        ...         "yi": [0.1, 0.7, -0.1, 0.4, -0.3, 0.2, -0.6, 0.1],
        ...         "vi": 0.02,
        ...     }
        ... )
        >>> formula = "yi ~ within(age, trial) + between(age, trial)"
        >>> test = MetaReg.from_formula(formula, halves, vi="vi").fit().aggregation_bias_test("age")
        >>> round(test.within, 3), round(test.between, 3), test.pvalue < 0.001
        (0.045, -0.035, True)
        """
        from metareg_sm.postestimation.aggregation import aggregation_bias_test

        return aggregation_bias_test(self, moderator)

    def vif(self) -> pd.DataFrame:
        """Variance inflation factors, generalised for terms of several columns.

        Returns
        -------
        DataFrame
            One row a coefficient: term, vif, df, gvif and gvif_adjusted = gvif^(1/(2 df))
            (Fox & Monette, 1992).
        """
        from metareg_sm.postestimation import collinearity

        return collinearity.vif(self)

    @cached_value
    def condition_number(self) -> float:
        """Condition number of the weighted design, as statsmodels' WLS reports it."""
        from metareg_sm.postestimation import collinearity

        return collinearity.condition_number(self)

    # --- small studies -------------------------------------------------------------------------

    def egger_test(
        self, predictor: Any = "sei", model: EggerModel = "mixed", alpha: float = 0.05
    ) -> EggerTest:
        """Egger's regression test of funnel plot asymmetry, with the moderators of the model.

        Parameters
        ----------
        predictor : {"sei", "vi"}, column name or array_like, default "sei"
            Standard errors, sampling variances, or a column such as 1/n.
        model : {"mixed", "multiplicative"}
            This model with the predictor: its variances are estimated anew, and tests have the
            covariance type of the fit. Or, for `MetaReg` alone, the classical weighted regression,
            t with k - p - 1 degrees of freedom.
        alpha : float, default 0.05
            1 minus the coverage of `limit_ci`.

        Returns
        -------
        EggerTest
            statistic (z or t, as the tests of this fit are), pvalue, df, slope, and for a model
            without moderators limit and limit_ci: the expected effect of an infinitely precise
            study. `fit` has the results with the predictor.

        Raises
        ------
        VarianceError
            If a sampling variance is 0.
        DesignError
            If the predictor depends linearly on the moderators, or there are too few studies.
        OptionError
            If the predictor is not known, or the model is not for these data.

        Notes
        -----
        With dependent effects this is the multilevel Egger regression; with ``cov_type="cluster"``
        its test stands even where the working model does not (Rodgers & Pustejovsky, 2021).

        References
        ----------
        Egger, M., Davey Smith, G., Schneider, M., & Minder, C. (1997). Bias in meta-analysis
        detected by a simple, graphical test. BMJ, 315(7109), 629-634.

        Rodgers, M. A., & Pustejovsky, J. E. (2021). Evaluating meta-analytic methods to detect
        selective reporting in the presence of dependent effect sizes. Psychological Methods, 26(2),
        141-160.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ 1", bcg, vi="vi").fit(cov_type="nonrobust")
        >>> round(float(res.egger_test().statistic), 4)
        -0.8033
        """
        from metareg_sm.postestimation.small_study import egger_test

        return egger_test(self, predictor, model, alpha)

    def pet_peese(self, alpha: float = 0.05) -> PetPeese:
        """Estimate the effect of an infinitely precise study: PET, PEESE and PET-PEESE.

        PET has the standard errors as a moderator of this model, PEESE the sampling variances;
        their constant is the estimate. PET-PEESE is PEESE's where PET's is significant in a
        one-sided test.

        Parameters
        ----------
        alpha : float, default 0.05
            Level of that test.

        Returns
        -------
        PetPeese
            pet, peese, chosen, estimate, se, pvalue, ci. `pet.fit` and `peese.fit` are the results
            with the predictor.

        Raises
        ------
        VarianceError, DesignError
            As `egger_test` does, and if the model has no constant.

        References
        ----------
        Stanley, T. D., & Doucouliagos, H. (2014). Meta-regression approximations to reduce
        publication selection bias. Research Synthesis Methods, 5(1), 60-78.
        """
        from metareg_sm.postestimation.small_study import pet_peese

        return pet_peese(self, alpha)

    # --- heterogeneity -------------------------------------------------------------------------

    def _compute_heterogeneity(self) -> Any:
        raise NotImplementedError

    @cached_value
    def _heterogeneity(self) -> Any:
        # remove_data() evaluates this, and must not fail where it is undefined
        try:
            return self._compute_heterogeneity()
        except MetaRegError as error:
            return error

    @property
    def heterogeneity(self) -> Any:
        """Heterogeneity statistics; an error where they are undefined."""
        found = self._heterogeneity
        if isinstance(found, MetaRegError):
            raise found
        return found

    # --- what is not there ---------------------------------------------------------------------

    bsejac = Unavailable(_NO_SCORES)
    bsejhj = Unavailable(_NO_SCORES)
    covjac = Unavailable(_NO_SCORES)
    covjhj = Unavailable(_NO_SCORES)
    score_obsv = Unavailable(_NO_SCORES)
    hessv = Unavailable(
        "the likelihood is a function of the variances, the coefficients being profiled out. "
        "model.hessian(tau2) is its curvature; cov_params() is the covariance of the coefficients."
    )
    get_nlfun = Unavailable("statsmodels has no code for it.")

    def __dir__(self) -> list[str]:
        return available(type(self), list(super().__dir__()))
