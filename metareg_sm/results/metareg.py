"""Results of a meta-regression: one line each over what answers the question."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import statsmodels.base.wrapper as wrap

from metareg_sm._compat import cached_data, cached_value
from metareg_sm._typing import Array, BootstrapScheme, PermutationScheme, Seed, Tau2Interval
from metareg_sm.core.studies import Studies
from metareg_sm.exceptions import MetaRegError
from metareg_sm.printing import Overview
from metareg_sm.results.base import ModelResults, ModelResultsWrapper

if TYPE_CHECKING:
    from statsmodels.iolib.summary import Summary
    from statsmodels.iolib.summary2 import Summary as Summary2

    from metareg_sm.core.tau2 import Estimator
    from metareg_sm.postestimation.bootstrap import Bootstrap
    from metareg_sm.postestimation.comparison import LRTest
    from metareg_sm.postestimation.heterogeneity import Heterogeneity
    from metareg_sm.postestimation.influence import Influence
    from metareg_sm.postestimation.permutation import PermutationTest
    from metareg_sm.postestimation.small_study import (
        EggerTest,
        ExcessSignificanceTest,
        PetPeese,
        RankCorrelationTest,
        SelectionResults,
        TrimAndFill,
    )

__all__ = ["MetaRegResults", "MetaRegResultsWrapper", "Tau2Options"]


@dataclass(frozen=True, slots=True)
class Tau2Options:
    """How tau2 was asked for.

    Attributes
    ----------
    estimator : Estimator or None
        None where tau2 is held fixed.
    genq_weights : ndarray, (k,), or None
        The caller's weights of "genq".
    """

    estimator: Estimator | None
    genq_weights: Array | None = None


class MetaRegResults(ModelResults):
    """Results of a meta-regression.

    Everything that statsmodels' likelihood results have, and what meta-regression adds. `params`
    holds the coefficients; the residual heterogeneity is `tau2`.

    Attributes
    ----------
    params, bse, tvalues, pvalues : Series, (p,)
        Coefficients, standard errors, their ratio and two-sided p-values.
    tau2, tau2_se, tau : float
        Residual heterogeneity in squared units of the outcome, its standard error, its root.
    tau2_untruncated : float
        Solution of the estimating equation before it is truncated at 0.
    scale : float
        Knapp-Hartung factor on the covariance; 1 where there is none.
    cov_type : str
        Covariance type.
    use_t : bool
        Tests refer to t and F rather than normal and chi-squared.
    nobs, df_model, df_resid : float
        Studies k; moderators without the constant; k less the rank of the design.
    mle_retvals, mle_settings : dict
        What the optimizer returned and was given, for "reml" and "ml".
    """

    _kept_values = (*ModelResults._kept_values, "_heterogeneity")

    def __init__(self, *args: Any, options: Tau2Options, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._options = options
        self.tau2, self.tau2_se = self.components.tau2, float(self.components.se.item())
        self.tau2_untruncated = float(self.components.untruncated.item())
        self.tau = math.sqrt(self.tau2)

    @property
    def estimator(self) -> Estimator | None:
        """Entry of the registry that estimated tau2; None where it is held fixed."""
        return self._options.estimator

    @property
    def genq_weights(self) -> Array | None:
        """The caller's weights of the estimator "genq"."""
        return self._options.genq_weights

    @property
    def studies(self) -> Studies:
        """The studies as the kernel has them."""
        return self._kept(self.model.studies)

    @cached_data
    def null_studies(self) -> Studies:
        """The same with the constant alone, or no moderator where there is no constant."""
        from metareg_sm.postestimation.resampling import null_basis

        return Studies.build(self.table.endog, self.table.vi, null_basis(self))

    @property
    def between_variance(self) -> float:
        """Variance of the true effects of new studies about their expectation: tau2."""
        return self.tau2

    @cached_data
    def weights(self) -> Array:
        """Weights 1/(vi + tau2) of the studies."""
        return 1.0 / (self.model.vi + self.tau2)

    @cached_value
    def llf(self) -> float:
        """Log-likelihood: restricted for a REML fit, else the full one at the estimate."""
        return float(self.studies.profile(self.reml).loglike(np.asarray(self.tau2)))

    def fit_again(self, endog: Array, exog: Array, vi: Array) -> MetaRegResultsWrapper:
        """Fit other studies with the same options.

        Parameters
        ----------
        endog, vi : ndarray, (n,)
            Outcomes and sampling variances.
        exog : ndarray, (n, p)
            The same moderators.

        Returns
        -------
        MetaRegResultsWrapper
        """
        names = self.terms.names
        model = type(self.model)(
            pd.Series(endog, name=self.terms.outcome), pd.DataFrame(exog, columns=names), vi=vi
        )
        tau2 = self.tau2 if self.estimator is None else self.estimator.name
        return model.fit(tau2=tau2, cov_type=self.cov_type, use_t=self.use_t)

    def refit_by_ml(self) -> MetaRegResultsWrapper:
        """The same model by maximum likelihood; where tau2 is held fixed it stays so."""
        tau2 = self.tau2 if self.estimator is None else "ml"
        return self.model.fit(tau2=tau2, cov_type="nonrobust")

    # --- heterogeneity -------------------------------------------------------------------------

    @cached_value
    def _heterogeneity(self) -> Heterogeneity | MetaRegError:
        from metareg_sm.postestimation.heterogeneity import heterogeneity

        # remove_data() evaluates this, and must not fail where it is undefined
        try:
            return heterogeneity(self)
        except MetaRegError as error:
            return error

    @property
    def heterogeneity(self) -> Heterogeneity:
        """Q, I2, H2, R2 and the decomposition of Q; see `Heterogeneity`.

        Raises
        ------
        VarianceError, DesignError
            If a sampling variance is 0, or there are no more studies than coefficients.
        """
        found = self._heterogeneity
        if isinstance(found, MetaRegError):
            raise found
        return found

    def conf_int_tau2(
        self, alpha: float = 0.05, method: Tau2Interval = "q-profile"
    ) -> pd.DataFrame:
        """Confidence interval for tau2, and what follows for tau, I2 and H2.

        Parameters
        ----------
        alpha : float, default 0.05
            1 minus the coverage.
        method : {"q-profile", "profile-likelihood", "wald"}
            Viechtbauer (2007); Hardy & Thompson (1996), by the likelihood of the fit; or the
            estimate and its standard error.

        Returns
        -------
        DataFrame
            Rows tau2, tau, i2, h2; columns estimate, ci_lower, ci_upper. `attrs["kind"]` is
            "interval", "empty", "unbounded" or "disjoint".

        Raises
        ------
        OptionError
            If the method is unknown or tau2 is held fixed.

        Warns
        -----
        IntervalWarning
            If the set is empty, unbounded or has gaps.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
        >>> res.conf_int_tau2().loc["tau2"].round(4).tolist()
        [0.0763, 0.0167, 0.7848]
        """
        from metareg_sm.postestimation.heterogeneity import conf_int_tau2

        return conf_int_tau2(self, alpha, method)

    def lr_test_tau2(self) -> LRTest:
        """Likelihood ratio test of tau2 = 0, which lies on the boundary.

        Returns
        -------
        LRTest
            statistic, pvalue, df: the p-value is from the 50:50 mixture of a point mass at 0 and
            chi-squared with 1 degree of freedom (Self & Liang, 1987). A fit that is neither by
            REML nor by ML is tested by ML.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
        >>> round(res.lr_test_tau2().pvalue, 4)
        0.0041
        """
        from metareg_sm.postestimation.comparison import lr_test_tau2

        return lr_test_tau2(self)

    def compare_lr_test(self, restricted: Any, refit: bool = False) -> LRTest:
        """Likelihood ratio test of this model against a restricted one.

        Parameters
        ----------
        restricted : MetaRegResults
            A fit of the same studies whose moderators are nested in these.
        refit : bool, default False
            Compare by maximum likelihood, whatever the two fits used.

        Returns
        -------
        LRTest
            statistic, pvalue, df, as statsmodels' tuple. Where the restricted model has tau2 = 0
            the reference is the boundary mixture.

        Raises
        ------
        ComparisonError
            If the fits cannot be compared; in particular two REML fits with different moderators.
        """
        from metareg_sm.postestimation.comparison import compare_lr_test

        return compare_lr_test(self, restricted, refit)

    @cached_data
    def random_effects(self) -> pd.DataFrame:
        """Predicted random effects u and shrunken true effects theta of the studies.

        Columns u, u_se, theta, theta_se (Raudenbush & Bryk, 1985).
        """
        from metareg_sm.postestimation.heterogeneity import random_effects

        return random_effects(self)

    # --- influence of studies ------------------------------------------------------------------

    @property
    def resid_pearson(self) -> Array:
        """Residuals over sqrt(vi + tau2)."""
        return self.regression.resid

    def get_influence(self, groups: Any = None) -> Influence:
        """Deletion diagnostics: which studies drive the fit.

        Parameters
        ----------
        groups : str or array_like, optional
            A column of the data, or labels of the studies: studies that share one are deleted
            together. Each study by itself by default.

        Returns
        -------
        Influence
            `hat_matrix_diag`, `resid_studentized_external`, `dffits`, `dfbetas`, `cooks_distance`,
            `cov_ratio`, `tau2_deleted` and more, `summary_frame()` and `baujat()`. tau2 is
            estimated anew for every deletion, by the estimator of the fit.

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
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
        >>> frame = res.get_influence().summary_frame()
        >>> frame.loc[6, ["student_resid", "cooks_d", "cov_ratio"]].astype(float).round(3).tolist()
        [-2.604, 0.28, 0.294]
        """
        from metareg_sm.postestimation.influence import get_influence

        return get_influence(self, groups)

    def leave_one_out(self, groups: Any = None, alpha: float = 0.05) -> pd.DataFrame:
        """Fits without each study; tau2 is estimated anew in each.

        Parameters
        ----------
        groups : str or array_like, optional
            Studies that are left out together, as in `get_influence`.
        alpha : float, default 0.05
            1 minus the coverage of the intervals.

        Returns
        -------
        DataFrame
            Index study (what is left out) and term; columns coef, se, statistic, pvalue, ci_lower,
            ci_upper, tau2, i2 (a fraction) and q. NaN where what is left cannot be fitted:
            `attrs["reasons"]` tells why.

        Raises
        ------
        OptionError, DesignError
            As in `get_influence`, and if `alpha` is not between 0 and 1.

        Warns
        -----
        FewStudiesWarning
            If a fit is NaN.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
        >>> res.leave_one_out().loc[(0, "ablat"), ["coef", "tau2"]].round(4).tolist()
        [-0.0293, 0.0859]
        """
        from metareg_sm.postestimation.influence import leave_one_out

        return leave_one_out(self, groups, alpha)

    def cumulative(self, order: Any = None, alpha: float = 0.05) -> pd.DataFrame:
        """Fits to the first study, the first two, and so on: a cumulative meta-analysis.

        Parameters
        ----------
        order : str or array_like, optional
            A column of the data, or values of the studies, by which they come, the smallest first
            and ties as in the data; the order of the data by default.
        alpha : float, default 0.05
            1 minus the coverage of the intervals.

        Returns
        -------
        DataFrame
            Index study (the last that came) and term; columns as in `leave_one_out`. The first p
            steps, of no more studies than coefficients, are NaN: tau2 cannot be estimated from
            them. metafor shows a single study with tau2 = 0 there. `attrs["reasons"]` lists all
            steps that are NaN with the reason.

        Raises
        ------
        OptionError, DesignError
            As in `leave_one_out`, and if `order` does not match the studies or is missing for one.

        Warns
        -----
        FewStudiesWarning
            If a later step is NaN, too, because a moderator does not vary yet.

        References
        ----------
        Lau, J., Antman, E. M., Jimenez-Silva, J., Kupelnick, B., Mosteller, F., & Chalmers, T. C.
        (1992). Cumulative meta-analysis of therapeutic trials for myocardial infarction. New
        England Journal of Medicine, 327(4), 248-254.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ 1", bcg, vi="vi").fit()
        >>> frame = res.cumulative(order="year").droplevel("term")
        >>> frame["coef"].iloc[[1, 2, -1]].round(3).tolist()
        [-1.325, -0.972, -0.715]
        """
        from metareg_sm.postestimation.influence import cumulative

        return cumulative(self, order, alpha)

    # --- small-study effects -------------------------------------------------------------------

    def egger_test(
        self, predictor: Any = "sei", model: str = "mixed", alpha: float = 0.05
    ) -> EggerTest:
        """Egger's regression test of funnel plot asymmetry, with the moderators of the model.

        Parameters
        ----------
        predictor : {"sei", "vi"}, column name or array_like, default "sei"
            Standard errors, sampling variances, or a column such as 1/n.
        model : {"mixed", "multiplicative"}
            This meta-regression with the predictor, tau2 being estimated anew; or the classical
            weighted regression, t with k - p - 1 degrees of freedom.
        alpha : float, default 0.05
            1 minus the coverage of `limit_ci`.

        Returns
        -------
        EggerTest
            statistic (z or t, as the tests of this fit are), pvalue, df, slope, and for a model
            without moderators limit and limit_ci: the expected effect of an infinitely precise
            study.

        References
        ----------
        Egger, M., Davey Smith, G., Schneider, M., & Minder, C. (1997). Bias in meta-analysis
        detected by a simple, graphical test. BMJ, 315, 629-634.

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

    def rank_correlation_test(self) -> RankCorrelationTest:
        """Rank correlation of standardised effects with their variances (Begg & Mazumdar, 1994).

        With moderators the effects are residuals.

        Returns
        -------
        RankCorrelationTest
            statistic (Kendall's tau-b), pvalue, exact.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ 1", bcg, vi="vi").fit()
        >>> round(float(res.rank_correlation_test().pvalue), 4)
        0.9524
        """
        from metareg_sm.postestimation.small_study import rank_correlation_test

        return rank_correlation_test(self)

    def pet_peese(self, alpha: float = 0.05) -> PetPeese:
        """Estimate the effect of an infinitely precise study: PET, PEESE and PET-PEESE.

        PET has the standard errors as a moderator, PEESE the sampling variances; their constant is
        the estimate. PET-PEESE is PEESE's where PET's is significant in a one-sided test.

        Parameters
        ----------
        alpha : float, default 0.05
            Level of that test.

        Returns
        -------
        PetPeese
            pet, peese, chosen, estimate, se, pvalue, ci.

        References
        ----------
        Stanley, T. D., & Doucouliagos, H. (2014). Meta-regression approximations to reduce
        publication selection bias. Research Synthesis Methods, 5(1), 60-78.
        """
        from metareg_sm.postestimation.small_study import pet_peese

        return pet_peese(self, alpha)

    def trim_and_fill(self, side: str | None = None, estimator: str = "L0") -> TrimAndFill:
        """Fill in the mirror images of studies that seem to be missing (Duval & Tweedie, 2000).

        Parameters
        ----------
        side : {"left", "right"}, optional
            Where studies are missing; by default where the regression on precision says.
        estimator : {"L0", "R0", "Q0"}
            How they are counted.

        Returns
        -------
        TrimAndFill
            k0, k0_se, side, results (the fit with them), filled.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ 1", bcg, vi="vi").fit(cov_type="nonrobust")
        >>> found = res.trim_and_fill()
        >>> found.k0, found.side, round(float(found.results.params.iloc[0]), 4)
        (1, 'right', -0.6571)
        """
        from metareg_sm.postestimation.small_study import trim_and_fill

        return trim_and_fill(self, side, estimator)

    def fail_safe_n(
        self, method: str = "rosenthal", target: float | None = None, alpha: float = 0.05
    ) -> int:
        """Null results that would undo the finding; editors still ask for it.

        Parameters
        ----------
        method : {"rosenthal", "rosenberg", "orwin"}
            Until Stouffer's test, or the weighted test, is not significant; or until the mean
            outcome is `target`.
        target : float, optional
            For "orwin"; half the unweighted mean by default.
        alpha : float, default 0.05
            Level of the tests.

        Returns
        -------
        int

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> metareg_sm.MetaReg.from_formula("yi ~ 1", bcg, vi="vi").fit().fail_safe_n()
        598
        """
        from metareg_sm.postestimation.small_study import fail_safe_n

        return fail_safe_n(self, method, target, alpha)

    def excess_significance_test(
        self, alpha: float = 0.05, test: str = "chi2"
    ) -> ExcessSignificanceTest:
        """Test for more significant studies than their power allows.

        Parameters
        ----------
        alpha : float, default 0.05
            Level of the studies' own tests.
        test : {"chi2", "binomial", "exact"}
            How the numbers are compared.

        Returns
        -------
        ExcessSignificanceTest
            observed, expected, statistic, pvalue, power.

        References
        ----------
        Ioannidis, J. P. A., & Trikalinos, T. A. (2007). An exploratory test for an excess of
        significant findings. Clinical Trials, 4(3), 245-253.
        """
        from metareg_sm.postestimation.small_study import excess_significance_test

        return excess_significance_test(self, alpha, test)

    def selection_model(
        self,
        steps: Sequence[float] | float = (0.025,),
        alternative: str = "greater",
        alpha: float = 0.05,
    ) -> SelectionResults:
        """Step-function selection model with the moderators of the fit (Vevea & Hedges, 1995).

        Parameters
        ----------
        steps : sequence of float, default (0.025,)
            p-values at which the probability of publication changes.
        alternative : {"greater", "less", "two-sided"}
            Direction of the effects that have small p-values.
        alpha : float, default 0.05
            1 minus the coverage of the intervals of the weights.

        Returns
        -------
        SelectionResults
            params, bse, tau2, weights, llf and lr_test, by maximum likelihood.

        Warns
        -----
        FewStudiesWarning, ConvergenceWarning
            If an interval of p-values holds few studies, or the likelihood is flat.
        """
        from metareg_sm.postestimation.small_study import selection_model

        return selection_model(self, steps, alternative, alpha)

    # --- resampling ----------------------------------------------------------------------------

    def permutation_test(
        self, n_resamples: int = 9999, rng: Seed = None, method: PermutationScheme = "rows"
    ) -> PermutationTest:
        """Permutation test of the moderators, tau2 being estimated anew in each resample.

        Parameters
        ----------
        n_resamples : int, default 9999
            Random permutations; where there are at most so many distinct ones, all are listed and
            the test is exact.
        rng : int or Generator, optional
            Seed of the random permutations.
        method : {"rows", "residuals"}
            Permute whole rows of the moderators, or for each moderator the residuals of the model
            without it (Freedman & Lane, 1983), which tests it given the others. A model without
            moderators is tested by changing the signs of the outcomes.

        Returns
        -------
        PermutationTest
            `pvalues`, `pvalues_fwer`, `omnibus_pvalue`, `null_distribution`, `exact`.

        References
        ----------
        Higgins, J. P. T., & Thompson, S. G. (2004). Controlling the risk of spurious findings from
        meta-regression. Statistics in Medicine, 23(11), 1663-1682.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
        >>> bool(res.permutation_test(999, rng=1).pvalues["ablat"] < 0.05)
        True
        """
        from metareg_sm.postestimation.permutation import permutation_test

        return permutation_test(self, n_resamples, method, rng)

    def bootstrap(
        self, n_resamples: int = 1999, rng: Seed = None, method: BootstrapScheme = "parametric"
    ) -> Bootstrap:
        """Bootstrap of the coefficients, tau2, I2 and R2.

        Parameters
        ----------
        n_resamples : int, default 1999
            Number of resamples.
        rng : int or Generator, optional
            Seed.
        method : {"parametric", "studies"}
            Draw outcomes from the fitted model, or studies with replacement.

        Returns
        -------
        Bootstrap
            `distribution`, `conf_int(kind="percentile" or "bca")`, `conf_int_mean(exog)`.

        Warns
        -----
        FewStudiesWarning
            If samples of studies could not be fitted.
        """
        from metareg_sm.postestimation.bootstrap import bootstrap

        return bootstrap(self, n_resamples, method, rng)

    def bootstrap_lr_test_tau2(self, n_resamples: int = 1999, rng: Seed = None) -> LRTest:
        """Likelihood ratio test of tau2 = 0 by the parametric bootstrap.

        Parameters
        ----------
        n_resamples : int, default 1999
            Data sets drawn with tau2 = 0.
        rng : int or Generator, optional
            Seed.

        Returns
        -------
        LRTest
            As `lr_test_tau2`, with the p-value from the resamples instead of the mixture, which is
            conservative for few studies.
        """
        from metareg_sm.postestimation.bootstrap import bootstrap_lr_test_tau2

        return bootstrap_lr_test_tau2(self, n_resamples, rng)

    def simulate(self, n_resamples: int = 1, rng: Seed = None, tau2: float | None = None) -> Array:
        """Draw outcomes from the fitted model.

        Parameters
        ----------
        n_resamples : int, default 1
            Data sets.
        rng : int or Generator, optional
            Seed.
        tau2 : float, optional
            Heterogeneity; the estimate by default.

        Returns
        -------
        ndarray, (n_resamples, k)
        """
        from metareg_sm.postestimation.bootstrap import simulate

        return simulate(self, n_resamples, tau2, rng)

    # --- tables --------------------------------------------------------------------------------

    def summary(
        self,
        yname: str | None = None,
        xname: list[str] | None = None,
        title: str | None = None,
        alpha: float = 0.05,
        exponentiate: bool = False,
    ) -> Summary:
        """Summarise the fit.

        Parameters
        ----------
        yname, xname, title : optional
            Other names of the outcome and the coefficients, another title.
        alpha : float, default 0.05
            1 minus the coverage of the intervals.
        exponentiate : bool, default False
            Show exp(b), the factor for one unit, for ratio measures.

        Returns
        -------
        Summary
            Prints as text, shows as HTML in notebooks, converts to LaTeX and CSV.
        """
        from metareg_sm.report.tables import heterogeneity_block, summary_table

        return summary_table(
            self, [heterogeneity_block(self)], yname, xname, title, alpha, exponentiate
        )

    def summary2(
        self,
        yname: str | None = None,
        xname: list[str] | None = None,
        title: str | None = None,
        alpha: float = 0.05,
        float_format: str = "%.4f",
        exponentiate: bool = False,
    ) -> Summary2:
        """Summarise the fit in statsmodels' second layout; parameters as in `summary`."""
        from metareg_sm.report.tables import heterogeneity_block, summary_table2

        return summary_table2(
            self,
            [heterogeneity_block(self)],
            yname,
            xname,
            title,
            alpha,
            float_format,
            exponentiate,
        )

    def overview(self) -> Overview:
        """What is printed for the results themselves; `summary()` says more."""
        from metareg_sm.report.overview import fit_overview, shares, variances

        return fit_overview(self, [*variances(self), *shares(self)])

    @property
    def default_model_infos(self) -> dict[str, Any]:
        """Rows that `summary_col` adds below the coefficients."""

        def i2(x: MetaRegResults) -> str:
            try:
                return f"{x.heterogeneity.i2:.4f}"
            except MetaRegError:
                return "undefined"

        return {
            "tau2": lambda x: f"{x.tau2:.4f}",
            "I2": i2,
            "k": lambda x: f"{int(x.nobs)}",
        }


class MetaRegResultsWrapper(ModelResultsWrapper):
    """Results with pandas labels."""

    _attrs = {"weights": "rows", "resid_pearson": "rows"}  # noqa: RUF012
    _wrap_attrs = wrap.union_dicts(ModelResultsWrapper._wrap_attrs, _attrs)


wrap.populate_wrapper(MetaRegResultsWrapper, MetaRegResults)
