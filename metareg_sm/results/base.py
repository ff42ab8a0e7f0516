"""What the results of every model have: statsmodels' methods, and questions that need `Fitted`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from statsmodels.base.model import LikelihoodModelResults, LikelihoodResultsWrapper
from statsmodels.stats.contrast import ContrastResults

from metareg_sm._compat import ResultMixin, cached_data, cached_value
from metareg_sm._typing import Array
from metareg_sm.design.rows import StudyTable
from metareg_sm.exceptions import DataRemovedError
from metareg_sm.options import check_alpha
from metareg_sm.postestimation import inference
from metareg_sm.printing import Overview, Printed
from metareg_sm.results.inherited import Unavailable, available
from metareg_sm.stats.components import VarianceComponents
from metareg_sm.stats.covariance import COVARIANCES, Covariance, CovarianceType
from metareg_sm.stats.gls import WeightedRegression
from metareg_sm.stats.reference import interval, two_sided_pvalue

if TYPE_CHECKING:
    from os import PathLike

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from metareg_sm._typing import Seed
    from metareg_sm.design.formula import Terms
    from metareg_sm.design.participants import Participants
    from metareg_sm.effectsizes import Measure
    from metareg_sm.postestimation.aggregation import AggregationBiasTest
    from metareg_sm.postestimation.inference import OmnibusTest
    from metareg_sm.postestimation.permutation import PermutationTest
    from metareg_sm.postestimation.prediction import MetaRegPrediction
    from metareg_sm.postestimation.slopes import SimpleSlopes
    from metareg_sm.report.content import Deletions
    from metareg_sm.report.paragraph import Report


_NO_SCORES = (
    "studies are independent only given the variances, which are estimated from all of them; "
    "there is no score of one study. cov_type='HC3' or 'cluster' has robust standard errors."
)


class ModelResults(LikelihoodModelResults, ResultMixin, Printed):
    """Results of a model with known sampling variances and estimated variances of true effects.

    t and F tests have the degrees of freedom that belong to the covariance type; each contrast its
    own where the covariance is CR2 or CR3.
    """

    # values that a summary shows, and that remove_data() keeps
    _kept_values: tuple[str, ...] = (
        "bse",
        "tvalues",
        "pvalues",
        "omnibus",
        "llf",
        "condition_number",
        "n_dropped",
    )

    def __init__(
        self,
        model: Any,
        params: Array,
        regression: WeightedRegression,
        covariance: Covariance,
        components: VarianceComponents,
        *,
        cov_type: CovarianceType,
        correction: str | None,
        use_t: bool,
    ) -> None:
        super().__init__(model, params, regression.unscaled, scale=covariance.scale)
        self._cache: dict[str, Any] = {}
        self.use_t = use_t
        self.cov_type = cov_type.name
        self.cov_label = cov_type.label if correction is None else f"cluster ({correction})"
        self.cov_kwds = {"description": covariance.description}
        if correction is not None:
            self.cov_kwds["correction"] = correction
        self.cov_params_default = covariance.cov
        self.covariance, self.components = covariance, components
        self._regression: WeightedRegression | None = regression
        self._data_attr.append("_regression")
        self.nobs = model.nobs
        self.df_model, self.df_resid = model.df_model, model.df_resid
        if covariance.df != self.df_resid:
            self.df_resid_inference = covariance.df
        if components.retvals is not None:
            self.mle_retvals, self.mle_settings = components.retvals, components.settings

    # --- what Fitted asks for ------------------------------------------------------------------

    @property
    def regression(self) -> WeightedRegression:
        """Weighted regression at the estimated variances."""
        return self._kept(self._regression)

    @property
    def terms(self) -> Terms:
        """Names of the design, and how new rows of it are made."""
        return self.model.terms

    @property
    def participants(self) -> Participants | None:
        """Moderators that are averages over participants, if the user named any."""
        return getattr(self.model, "participants", None)

    @property
    def table(self) -> StudyTable:
        """The studies in the model."""
        model = self.model
        return StudyTable(self._kept(model.endog), model.vi, model.exog, model.basis, model.rows)

    @staticmethod
    def _kept(data: Any) -> Any:
        if data is None:
            raise DataRemovedError(
                "This needs the data of the fit, which remove_data() has removed. Fit the model "
                "again, or ask before the data are removed."
            )
        return data

    def remove_data(self) -> None:
        """Remove arrays of study size; what a summary shows stays.

        What needs the studies raises a `DataRemovedError` afterwards.
        """
        # statsmodels forgets every cached value
        kept = {name: getattr(self, name) for name in self._kept_values}
        super().remove_data()
        self._cache.update(kept)

    @property
    def measure(self) -> Measure | None:
        """What the outcomes measure, where `effect_size` computed them."""
        return self.model.measure

    @property
    def covariance_type(self) -> CovarianceType:
        """Entry of the registry that `cov_type` names."""
        return COVARIANCES[self.cov_type.lower()]

    @property
    def model_name(self) -> str:
        """Class of the model, as it is printed."""
        return type(self.model).__name__

    @property
    def method(self) -> str:
        """Label of the estimator of the variances."""
        return self.components.label

    @property
    def mle_converged(self) -> bool | None:
        """Whether the optimizer reached the maximum; None where none was needed."""
        return self.components.converged

    @property
    def reml(self) -> bool:
        """Whether `llf` is the restricted log-likelihood."""
        return self.components.maximised == "reml"

    @property
    def redundant(self) -> list[str]:
        """Names of the columns that depend linearly on those before them."""
        return [self.terms.names[j] for j in self.model.redundant]

    @cached_value
    def n_dropped(self) -> int:
        """Rows of the data (within `subset`) that were dropped for missing values."""
        return int(self.model.rows.dropped)

    def contrast_df(self, contrasts: Array | None = None) -> float | Array | None:
        """Degrees of freedom of t tests of contrasts, of the coefficients by default.

        Parameters
        ----------
        contrasts : ndarray, (m, p), optional
            One contrast a row.

        Returns
        -------
        float, ndarray (m,) or None
            None where tests are normal.
        """
        if not self.use_t:
            return None
        if not self._own_df:
            return getattr(self, "df_resid_inference", self.df_resid)
        rows = np.eye(len(self.params)) if contrasts is None else np.atleast_2d(contrasts)
        return self._df_of(rows)

    @property
    def _own_df(self) -> bool:
        """Whether contrasts have degrees of freedom of their own."""
        covariance = self.covariance
        return covariance.sandwich is not None or covariance.coefficient_df is not None

    def _df_of(self, rows: Array) -> Array:
        covariance = self.covariance
        if covariance.sandwich is not None:
            return covariance.sandwich.satterthwaite(rows)
        assert covariance.coefficient_df is not None
        return inference.smallest_df(rows * self.bse, covariance.coefficient_df)

    # --- coefficients --------------------------------------------------------------------------

    @cached_value
    def bse(self) -> Array:
        """Standard errors of the coefficients."""
        return np.sqrt(np.diagonal(self.cov_params_default))

    @cached_value
    def tvalues(self) -> Array:
        """Coefficients over their standard errors."""
        # generic code of statsmodels fixes coefficients at 0 with standard error 0
        with np.errstate(invalid="ignore"):
            return self.params / self.bse

    @cached_value
    def pvalues(self) -> Array:
        """Two-sided p-values of the coefficients."""
        return two_sided_pvalue(self.tvalues, self.contrast_df())

    def conf_int(self, alpha: float = 0.05) -> Array:
        """Confidence intervals of the coefficients.

        Parameters
        ----------
        alpha : float, default 0.05
            1 minus the coverage.

        Returns
        -------
        DataFrame, (p, 2)
            Lower and upper ends, t or normal as the tests are.
        """
        return interval(self.params, self.bse, check_alpha(alpha), self.contrast_df())

    def t_test(
        self, r_matrix: Any, cov_p: Any = None, use_t: bool | None = None
    ) -> ContrastResults:
        """Test each linear hypothesis Rb = q, as statsmodels does.

        Under a "cluster" covariance with CR2 or CR3 each row has Satterthwaite degrees of freedom
        of its own. Parameters are those of `LikelihoodModelResults.t_test`.
        """
        R, q = inference.constraints(r_matrix, self.model.data.cov_names)
        found = super().t_test((R, q), cov_p=cov_p, use_t=use_t)
        if self._own_df and cov_p is None and found.distribution == "t":
            found = inference.with_df(found, self._df_of(R))
        return inference.Contrasts(found)

    def t_test_pairwise(
        self, term_name: str, method: str = "hs", alpha: float = 0.05, factor_labels: Any = None
    ) -> Any:
        """Compare all levels of a factor with each other, as statsmodels does.

        Parameters are those of `LikelihoodModelResults.t_test_pairwise`.
        """
        return super().t_test_pairwise(term_name, method, check_alpha(alpha), factor_labels)

    def wald_test(
        self,
        r_matrix: Any,
        cov_p: Any = None,
        invcov: Any = None,
        use_f: bool | None = None,
        df_constraints: float | None = None,
        scalar: bool = True,
    ) -> ContrastResults:
        """Test linear hypotheses jointly, as statsmodels does.

        Under a "cluster" covariance with CR2 or CR3 the F test is the approximate Hotelling test
        (HTZ) of Pustejovsky & Tipton (2018). Parameters are those of
        `LikelihoodModelResults.wald_test`.
        """
        sandwich = self.covariance.sandwich
        use_f = self.use_t if use_f is None else use_f
        if not (cov_p is None and invcov is None and df_constraints is None):
            return super().wald_test(r_matrix, cov_p, invcov, use_f, df_constraints, scalar)
        from metareg_sm.stats.hotelling import hotelling_test, independent_constraints

        R, q = inference.constraints(r_matrix, self.model.data.cov_names)
        R, q = independent_constraints(R, q, np.where(self.bse > 0.0, self.bse, 1.0))
        if sandwich is None or not use_f:
            found = super().wald_test((R, q), use_f=use_f, scalar=scalar)
            if not use_f or not self._own_df:
                return found
            return ContrastResults(
                F=found.statistic, df_denom=float(self._df_of(R).min()), df_num=found.df_num
            )
        test = hotelling_test(sandwich, R, R @ np.asarray(self.params) - q)
        F: Any = test.statistic if scalar else np.array([[test.statistic]])
        return ContrastResults(F=F, df_denom=test.df_denom, df_num=test.df_num)

    @cached_value
    def omnibus(self) -> OmnibusTest:
        """Test of all moderators together."""
        return inference.omnibus_test(self)

    @property
    def fvalue(self) -> float:
        """Omnibus test of the moderators: F, or chi-squared where tests are normal.

        NaN, as everywhere in statsmodels, where there is no moderator to test.
        """
        return self.omnibus.statistic

    @property
    def f_pvalue(self) -> float:
        """p-value of the omnibus test of the moderators."""
        return self.omnibus.pvalue

    @property
    def f_df(self) -> tuple[float, float | None]:
        """Degrees of freedom of the omnibus test; the second is None for chi-squared."""
        return self.omnibus.df_num, self.omnibus.df_denom

    # --- criteria ------------------------------------------------------------------------------

    @cached_value
    def df_modelwc(self) -> float:
        """Number of parameters: the rank of the design, and the variances that are estimated."""
        return self.nobs - self.df_resid + self.components.n_estimated

    @property
    def _n_effective(self) -> float:
        return self.df_resid if self.reml else self.nobs

    @cached_value
    def aic(self) -> float:
        """Akaike information criterion."""
        return -2.0 * self.llf + 2.0 * self.df_modelwc

    @cached_value
    def aicc(self) -> float:
        """AIC corrected for small samples, with n = max(k, d + 2), or k - p for REML."""
        d = self.df_modelwc
        n = max(self._n_effective, d + 2.0)
        return -2.0 * self.llf + 2.0 * d * n / (n - d - 1.0)

    @cached_value
    def bic(self) -> float:
        """Bayesian information criterion with ln k, or ln(k - p) for REML."""
        return -2.0 * self.llf + np.log(self._n_effective) * self.df_modelwc

    # --- fitted values and predictions ---------------------------------------------------------

    @cached_data
    def fittedvalues(self) -> Array:
        """Expected effects of the studies."""
        return self.model.predict(self.params)

    @cached_data
    def resid(self) -> Array:
        """Outcomes less expected effects."""
        return self.model.endog - self.fittedvalues

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
        transform: bool | Callable[[Array], Array] = True,
        row_labels: Any = None,
        df: Any = None,
    ) -> MetaRegPrediction:
        """Predict mean effects, and the true effects of new studies.

        Parameters
        ----------
        exog : DataFrame, dict or array_like, optional
            Moderators of the new studies, in the terms of the formula where there was one; the
            studies of the model by default.
        transform : bool or callable, default True
            Pass `exog` through the formula. A callable, such as `numpy.exp` for log ratios, does
            so too, and `summary_frame` shows effects and intervals transformed by it.
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

    def summary_frame(self, alpha: float = 0.05, exponentiate: bool = False) -> pd.DataFrame:
        """Coefficient table.

        Parameters
        ----------
        alpha : float, default 0.05
            1 minus the coverage of the intervals.
        exponentiate : bool, default False
            For ratio measures: exp(b), the factor for one unit, with its standard error by the
            delta method and the exponentiated interval.

        Returns
        -------
        DataFrame
            Columns coef, se, statistic, pvalue, ci_lower, ci_upper.
        """
        from metareg_sm.report import frames

        return frames.coefficients(self, alpha, exponentiate)

    def report(
        self,
        format: str = "text",
        *,
        alpha: float = 0.05,
        exponentiate: bool | None = None,
        at: Any = None,
        influence: bool | Deletions = False,
        permutation: PermutationTest | int | None = None,
        adjust: str | None = None,
        rng: Seed = None,
    ) -> Report:
        """Paragraphs for a paper: methods, results and cautions.

        They say what PRISMA 2020 (items 13d to 13f and 20) and the Cochrane Handbook ask for, as
        far as the fit knows it. Whether moderators were chosen in advance, the authors must add.

        Parameters
        ----------
        format : {"text", "markdown", "latex"}
            What the result is a string of; its attributes have the others.
        alpha : float, default 0.05
            1 minus the coverage of all intervals.
        exponentiate : bool, optional
            Show ratios. By default where the measure of the outcomes (see
            `metareg_sm.effect_size`) is known to be the logarithm of one.
        at : mapping or DataFrame, optional
            Moderators of predictions, as `get_prediction` takes them; by default their means, and
            the most frequent levels of factors.
        influence : bool or Influence, default False
            Fits without each study.
        permutation : int or PermutationTest, optional
            A permutation test, or how many permutations to draw for one.
        adjust : str, optional
            Method of `adjust_pvalues`, such as "holm".
        rng : int or Generator, optional
            Seed of `permutation`.

        Returns
        -------
        Report
            A string, with the attributes `text`, `markdown`, `latex`, `html`, `references` and
            `bibtex`.

        References
        ----------
        Page, M. J., et al. (2021). The PRISMA 2020 statement. BMJ, 372, n71. Deeks, J. J., Higgins,
        J. P. T., & Altman, D. G. (2019). Analysing data and undertaking meta-analyses. In Cochrane
        Handbook for Systematic Reviews of Interventions, chapter 10. Wiley.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
        >>> "ablat, b = -0.0291 (95% CI -0.0472 to -0.0111, t(11) = -3.55" in res.report()
        True
        """
        from metareg_sm.report.paragraph import report

        return report(
            self,
            format,
            alpha=alpha,
            exponentiate=exponentiate,
            at=at,
            influence=influence,
            permutation=permutation,
            adjust=adjust,
            rng=rng,
        )

    def to_html(
        self,
        path: str | PathLike[str] | None = None,
        *,
        title: str | None = None,
        call: str | None = None,
        **kwargs: Any,
    ) -> str | None:
        """One page with tables, figures, the paragraphs of `report`, the data and the versions.

        Nothing on it is loaded from elsewhere. Figures need matplotlib; without it the page says
        so.

        Parameters
        ----------
        path : str or path, optional
            Where to write it.
        title : str, optional
            Title; by default the model.
        call : str, optional
            What made the fit; by default a call that does so.
        **kwargs
            Those of `report`, beside `format`.

        Returns
        -------
        str or None
            The page, where there is no path.

        Raises
        ------
        FileError
            If it cannot be written.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
        >>> "<h1>yi ~ ablat</h1>" in res.to_html()
        True
        """
        from metareg_sm.report.html import to_html

        return to_html(self, path, title, call, **kwargs)

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
        meta-analysis of randomized trials. Journal of Clinical Epidemiology, 64(9), 949-967.

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

    # --- figures -------------------------------------------------------------------------------

    def plot_forest(self, ax: Axes | None = None, **options: Any) -> Figure:
        """Forest plot: every study with its interval, and what the model makes of them.

        Parameters
        ----------
        ax : Axes, optional
            Axes to draw in; by default a figure of its own.
        **options
            As in `metareg_sm.plots.forest`.

        Returns
        -------
        Figure
            `metareg_data` has the plotted numbers.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ 1", bcg, vi="vi").fit()
        >>> fig = res.plot_forest(transform="exp", style="bmj")
        >>> round(float(fig.metareg_data.loc["Total (REML)", "shown"]), 3)
        0.489
        """
        from metareg_sm import plots

        return plots.forest(self, ax=ax, **options)

    def plot_bubble(self, x: str, ax: Axes | None = None, **options: Any) -> Figure:
        """Outcomes against a continuous moderator, with the regression line and its bands.

        Parameters
        ----------
        x : str
            A continuous moderator.
        ax : Axes, optional
            Axes to draw in; by default a figure of its own.
        **options
            As in `metareg_sm.plots.bubble`.

        Returns
        -------
        Figure
            `metareg_data` has the plotted numbers.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
        >>> fig = res.plot_bubble("ablat")
        >>> fig.metareg_data["kind"].value_counts().to_dict()
        {'line': 101, 'study': 13}
        """
        from metareg_sm import plots

        return plots.bubble(self, x, ax=ax, **options)

    def plot_orchard(self, factor: str, ax: Axes | None = None, **options: Any) -> Figure:
        """Studies, means, confidence and prediction intervals by the levels of a factor.

        Parameters
        ----------
        factor : str
            A moderator with levels.
        ax : Axes, optional
            Axes to draw in; by default a figure of its own.
        **options
            As in `metareg_sm.plots.orchard`.

        Returns
        -------
        Figure
            `metareg_data` has the plotted numbers.
        """
        from metareg_sm import plots

        return plots.orchard(self, factor, ax=ax, **options)

    def plot_simple_slopes(
        self, moderator: str, partner: str, ax: Axes | None = None, **options: Any
    ) -> Figure:
        """Slopes of one moderator along another, with the Johnson-Neyman region.

        Parameters
        ----------
        moderator : str
            The moderator whose slopes are shown.
        partner : str
            A continuous moderator that it interacts with.
        ax : Axes, optional
            Axes to draw in; by default a figure of its own.
        **options
            As in `metareg_sm.plots.simple_slopes`.

        Returns
        -------
        Figure
            `metareg_data` has the plotted numbers.
        """
        from metareg_sm import plots

        return plots.simple_slopes(self, moderator, partner, ax=ax, **options)

    def plot_funnel(self, ax: Axes | None = None, **options: Any) -> Figure:
        """Funnel plot: effects, or residuals under moderators, against their precision.

        Parameters
        ----------
        ax : Axes, optional
            Axes to draw in; by default a figure of its own.
        **options
            As in `metareg_sm.plots.funnel`.

        Returns
        -------
        Figure
            `metareg_data` has the plotted numbers.
        """
        from metareg_sm import plots

        return plots.funnel(self, ax=ax, **options)

    def plot_radial(self, ax: Axes | None = None, **options: Any) -> Figure:
        """Radial (Galbraith) plot: effects over their standard errors.

        Parameters
        ----------
        ax : Axes, optional
            Axes to draw in; by default a figure of its own.
        **options
            As in `metareg_sm.plots.radial`.

        Returns
        -------
        Figure
            `metareg_data` has the plotted numbers.
        """
        from metareg_sm import plots

        return plots.radial(self, ax=ax, **options)

    def plot_baujat(self, ax: Axes | None = None, **options: Any) -> Figure:
        """Baujat plot: which studies are heterogeneous, and which of them matter.

        Parameters
        ----------
        ax : Axes, optional
            Axes to draw in; by default a figure of its own.
        **options
            As in `metareg_sm.plots.baujat`.

        Returns
        -------
        Figure
            `metareg_data` has the plotted numbers.
        """
        from metareg_sm import plots

        return plots.baujat(self, ax=ax, **options)

    def plot_influence(self, ax: Axes | None = None, **options: Any) -> Figure:
        """Panel of the deletion diagnostics.

        Parameters
        ----------
        ax : Axes, optional
            Axes to draw in; by default a figure of its own.
        **options
            As in `metareg_sm.plots.influence`.

        Returns
        -------
        Figure
            `metareg_data` has the plotted numbers.
        """
        from metareg_sm import plots

        return plots.influence(self, ax=ax, **options)

    def plot_qq(self, ax: Axes | None = None, **options: Any) -> Figure:
        """Normal Q-Q plot of the standardised residuals, with a simulated envelope.

        Parameters
        ----------
        ax : Axes, optional
            Axes to draw in; by default a figure of its own.
        **options
            As in `metareg_sm.plots.qq`.

        Returns
        -------
        Figure
            `metareg_data` has the plotted numbers.
        """
        from metareg_sm import plots

        return plots.qq(self, ax=ax, **options)

    def plot_profile(self, ax: Axes | None = None, **options: Any) -> Figure:
        """Profile log-likelihood of each variance component, its maximum and interval.

        Parameters
        ----------
        ax : Axes, optional
            Axes to draw in; by default a figure of its own.
        **options
            As in `metareg_sm.plots.profile`.

        Returns
        -------
        Figure
            `metareg_data` has the plotted numbers.
        """
        from metareg_sm import plots

        return plots.profile(self, ax=ax, **options)

    def plot_random_effects(self, ax: Axes | None = None, **options: Any) -> Figure:
        """Caterpillar plot of the predicted random effects.

        Parameters
        ----------
        ax : Axes, optional
            Axes to draw in; by default a figure of its own.
        **options
            As in `metareg_sm.plots.random_effects`.

        Returns
        -------
        Figure
            `metareg_data` has the plotted numbers.
        """
        from metareg_sm import plots

        return plots.random_effects(self, ax=ax, **options)

    # --- what prints, and what is not there ----------------------------------------------------

    def overview(self) -> Overview:
        """What is printed for the results themselves; `summary()` says more."""
        from metareg_sm.report.overview import fit_overview, variances

        return fit_overview(self, variances(self))

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

    @property
    def __maketables_coef_table__(self) -> pd.DataFrame:
        """Coefficients as maketables reads them."""
        names = {"coef": "b", "se": "se", "statistic": "t", "pvalue": "p"}
        names |= {"ci_lower": "ci95l", "ci_upper": "ci95u"}
        from metareg_sm.report import frames

        return frames.coefficients(self).rename(columns=names).rename_axis("Coefficient")

    def __maketables_stat__(self, key: str) -> int | float | str | None:
        """One number of the fit as maketables asks for it; None for what there is not."""
        known: dict[str, Callable[[], int | float | str]] = {
            "N": lambda: int(self.nobs),
            "ll": lambda: float(self.llf),
            "aic": lambda: float(self.aic),
            "bic": lambda: float(self.bic),
            "se_type": lambda: self.cov_label,
            "tau2": lambda: float(self.components.values[0]),
        }
        return known[key]() if key in known else None

    @property
    def __maketables_depvar__(self) -> str:
        """Name of the outcome as maketables prints it."""
        return self.terms.outcome

    def __dir__(self) -> list[str]:
        return available(type(self), list(super().__dir__()))


class ModelResultsWrapper(LikelihoodResultsWrapper):
    """Results of any model with pandas labels."""

    def __repr__(self) -> str:
        return repr(self._results)

    def __str__(self) -> str:
        return str(self._results)
