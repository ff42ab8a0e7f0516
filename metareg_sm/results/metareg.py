"""Results of a meta-regression: one line each over what answers the question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import statsmodels.base.wrapper as wrap

from metareg_sm._typing import Array, BootstrapScheme, PermutationScheme, Seed
from metareg_sm.exceptions import MetaRegError
from metareg_sm.printing import Overview
from metareg_sm.results.base import ModelResultsWrapper
from metareg_sm.results.small_study import SmallStudyResults
from metareg_sm.results.tau2 import Tau2Options

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from metareg_sm.postestimation.bootstrap import Bootstrap
    from metareg_sm.postestimation.comparison import LRTest
    from metareg_sm.postestimation.influence import Influence
    from metareg_sm.postestimation.permutation import PermutationTest
    from metareg_sm.report.tables import Block, Grid

__all__ = ["MetaRegResults", "MetaRegResultsWrapper", "Tau2Options"]


class MetaRegResults(SmallStudyResults):
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

    def plot_leave_one_out(
        self, term: str | None = None, ax: Axes | None = None, **options: Any
    ) -> Figure:
        """Forest plot of one coefficient without each study in turn.

        Parameters
        ----------
        term : str, optional
            The coefficient; the first by default.
        ax : Axes, optional
            Axes to draw in; by default a figure of its own.
        **options
            As in `metareg_sm.plots.leave_one_out`: `groups`, for instance.

        Returns
        -------
        Figure
            `metareg_data` has the plotted numbers.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
        >>> fig = res.plot_leave_one_out("ablat")
        >>> fig.metareg_data["estimate"].iloc[0].round(4)
        np.float64(-0.0293)
        """
        from metareg_sm import plots

        return plots.leave_one_out(self, term, ax=ax, **options)

    def plot_cumulative(
        self, order: Any = None, term: str | None = None, ax: Axes | None = None, **options: Any
    ) -> Figure:
        """Forest plot of one coefficient as studies are added.

        Parameters
        ----------
        order : str or array_like, optional
            What the studies come by, as in `cumulative`.
        term : str, optional
            The coefficient; the first by default.
        ax : Axes, optional
            Axes to draw in; by default a figure of its own.
        **options
            As in `metareg_sm.plots.cumulative`.

        Returns
        -------
        Figure
            `metareg_data` has the plotted numbers.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ 1", bcg, vi="vi").fit()
        >>> fig = res.plot_cumulative("year", transform="exp", labels=["author", "year"])
        >>> fig.metareg_data["shown"].iloc[[0, 1, -1]].round(3).tolist()
        [0.266, 0.378, 0.489]
        """
        from metareg_sm import plots

        return plots.cumulative(self, term, order=order, ax=ax, **options)

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

    def _blocks(
        self,
        alpha: float,  # noqa: ARG002 (intervals stand in the blocks of the scale alone)
    ) -> list[Block | Grid]:
        from metareg_sm.report.tables import heterogeneity_block

        return [heterogeneity_block(self)]

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

    _wrap_attrs = wrap.union_dicts(
        ModelResultsWrapper._wrap_attrs, {"weights": "rows", "resid_pearson": "rows"}
    )


wrap.populate_wrapper(MetaRegResultsWrapper, MetaRegResults)
