"""What the results of every model have: questions that need no more than `Fitted`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
from statsmodels.base.model import LikelihoodResultsWrapper

from metareg_sm._compat import cached_data, cached_value
from metareg_sm._typing import Array
from metareg_sm.printing import Overview
from metareg_sm.results.inference import InferenceResults
from metareg_sm.results.inherited import Unavailable, available

if TYPE_CHECKING:
    from os import PathLike

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from metareg_sm._typing import Seed
    from metareg_sm.postestimation.aggregation import AggregationBiasTest
    from metareg_sm.postestimation.permutation import PermutationTest
    from metareg_sm.postestimation.prediction import MetaRegPrediction
    from metareg_sm.postestimation.slopes import SimpleSlopes
    from metareg_sm.report.content import Deletions
    from metareg_sm.report.paragraph import Report


_NO_SCORES = (
    "studies are independent only given the variances, which are estimated from all of them; "
    "there is no score of one study. cov_type='HC3' or 'cluster' has robust standard errors."
)


class ModelResults(InferenceResults):
    """What every fit can be asked, whatever its model: each method is one line over its answer."""

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
        transform: bool | str | Callable[[Array], Array] = True,
        row_labels: Any = None,
        df: Any = None,
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
