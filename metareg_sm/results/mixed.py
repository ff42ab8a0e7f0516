"""Results of a meta-regression with dependent effects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
import statsmodels.base.wrapper as wrap
from statsmodels.base.model import LikelihoodResultsWrapper

from metareg_sm._compat import cached_data, cached_value
from metareg_sm._typing import Array, Codes, Seed
from metareg_sm.core.mixed.solution import MixedSolution
from metareg_sm.design.random import RandomTerm
from metareg_sm.design.sampling import SamplingCovariance
from metareg_sm.exceptions import MetaRegError
from metareg_sm.postestimation import components
from metareg_sm.postestimation.comparison import LRTest
from metareg_sm.postestimation.components import MixedHeterogeneity
from metareg_sm.postestimation.prediction import MetaRegPrediction
from metareg_sm.report.mixed import components_cells, components_frame, heterogeneity_block
from metareg_sm.report.tables import Block, Grid, summary_table, summary_table2
from metareg_sm.results.base import ModelResults
from metareg_sm.stats.covariance import MIXED_COVARIANCES, CovarianceType

if TYPE_CHECKING:
    from statsmodels.iolib.summary import Summary
    from statsmodels.iolib.summary2 import Summary as Summary2

    from metareg_sm.postestimation.clusters import (
        ClusterInfluence,
        ClusterPermutation,
        MixedBootstrap,
    )
    from metareg_sm.postestimation.mixed_tests import ComponentTest

__all__ = ["MixedMetaRegResults", "MixedMetaRegResultsWrapper"]


class MixedMetaRegResults(ModelResults):
    """Results of a meta-regression with dependent effects.

    Everything that statsmodels' likelihood results have, and what dependent effects add. `params`
    holds the coefficients; variances are in `vcomp` and `cov_re`.

    Attributes
    ----------
    params, bse, tvalues, pvalues : Series, (p,)
        Coefficients, standard errors, their ratio and two-sided p-values.
    components : VarianceComponents
        Names, values and standard errors of all variances and correlations.
    cov_type : str
        Covariance type.
    use_t : bool
        Tests refer to t and F rather than normal and chi-squared.
    nobs, df_model, df_resid : float
        Effects k; moderators without the constant; k less the rank of the design.
    mle_retvals, mle_settings : dict
        What the optimizer returned and was given; "other_maxima" holds the log-likelihoods of
        lesser maxima.
    """

    _kept_values = (
        *ModelResults._kept_values,
        "vcomp",
        "cov_re",
        "_heterogeneity",
        "component_rows",
        "tau2",
        "tau2_se",
    )

    def __init__(self, *args: Any, solution: MixedSolution, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._solution: MixedSolution | None = solution
        self._data_attr.append("_solution")

    # --- what MixedFitted asks for -------------------------------------------------------------

    @property
    def solution(self) -> MixedSolution:
        """The regression and the variances at the maximum."""
        return self._kept(self._solution)

    @property
    def random_terms(self) -> tuple[RandomTerm, ...]:
        """Random terms with their groups."""
        return self._kept(self.model.random_terms)

    @property
    def sampling(self) -> SamplingCovariance | None:
        """Sampling covariance; None where errors are independent."""
        return self.model.V

    @cached_data
    def blocks(self) -> Codes:
        """Finest groups of effects that are independent of each other, (k,)."""
        return self.model.independent_blocks()

    @property
    def covariance_type(self) -> CovarianceType:
        """Entry of the registry that `cov_type` names."""
        return MIXED_COVARIANCES[self.cov_type]

    @cached_value
    def llf(self) -> float:
        """Log-likelihood: restricted for a REML fit."""
        return self.solution.loglike

    @property
    def between_variance(self) -> float:
        """Variance of the true effects of new studies about their expectation: `tau2`."""
        return self.tau2

    # --- variances -----------------------------------------------------------------------------

    @cached_value
    def vcomp(self) -> pd.Series:
        """Variances of the intercept terms, named "district", "district/school".

        In the order of the terms and in squared units of the outcome; their standard errors are in
        `components`, their intervals in `conf_int_variance()`.
        """
        return components.vcomp(self)

    @cached_value
    def cov_re(self) -> pd.DataFrame | dict[str, pd.DataFrame]:
        """Covariance of the effects of a term with levels, its levels as labels.

        A mapping from groupings to data frames where there are several such terms, and an empty
        data frame where there is none.
        """
        return components.cov_re(self)

    @cached_value
    def tau2(self) -> float:
        """Variance of the true effects, all terms together, averaged over the effects."""
        return float(components.term_variances(self).sum())

    @cached_value
    def tau2_se(self) -> float:
        """Its standard error, by the delta method from the information about the components."""
        return components.total_variance_se(self)

    @cached_data
    def random_effects(self) -> dict[str, pd.DataFrame]:
        """Predicted effects of the groups of each term.

        A mapping from a term's grouping to a DataFrame with columns u and u_se, one row a group, or
        a group and level. Standard errors count that of the coefficients in.

        Examples
        --------
        >>> import metareg_sm
        >>> schools = metareg_sm.datasets.konstantopoulos2011.load_pandas().data
        >>> res = metareg_sm.MixedMetaReg.from_formula(
        ...     "yi ~ 1", schools, vi="vi", random="1 | district/school"
        ... ).fit()
        >>> res.random_effects["district"].loc[11].round(4).to_dict()
        {'u': -0.19, 'u_se': 0.1665}
        """
        return components.random_effects(self)

    @cached_value
    def component_rows(self) -> list[tuple[int, bool]]:
        """Term of each component, and whether it is the first of its term."""
        terms = self.solution.components().terms
        return [(term, term not in terms[:i]) for i, term in enumerate(terms)]

    @property
    def icc(self) -> pd.Series:
        """Share of each term in the variance of the true effects, one row a term.

        With nested intercepts the sum of a level and those above it is the correlation of two true
        effects of one group of that level.
        """
        return self.heterogeneity.levels["icc"]

    @property
    def i2(self) -> pd.Series:
        """I2 of each term, a fraction: its share in the total variance of a typical effect."""
        return self.heterogeneity.levels["i2"]

    @cached_value
    def _heterogeneity(self) -> MixedHeterogeneity | MetaRegError:
        # remove_data() evaluates this, and must not fail where it is undefined
        try:
            return components.heterogeneity(self)
        except MetaRegError as error:
            return error

    @property
    def heterogeneity(self) -> MixedHeterogeneity:
        """Q, I2, R2, in all and by level; see `MixedHeterogeneity`.

        Raises
        ------
        DesignError
            If they are undefined.
        """
        found = self._heterogeneity
        if isinstance(found, MetaRegError):
            raise found
        return found

    def conf_int_variance(self, alpha: float = 0.05) -> pd.DataFrame:
        """Profile-likelihood intervals of the variances and correlations.

        Parameters
        ----------
        alpha : float, default 0.05
            1 minus the coverage.

        Returns
        -------
        DataFrame
            Rows as `vcomp`, then as the other components; columns estimate, ci_lower, ci_upper.
            `attrs["kind"]` says of each whether it is an "interval", "unbounded" or "undefined".

        Warns
        -----
        IntervalWarning
            If a set is unbounded or undefined.

        References
        ----------
        Hardy, R. J., & Thompson, S. G. (1996). A likelihood approach to meta-analysis with random
        effects. Statistics in Medicine, 15(6), 619-629.

        Examples
        --------
        >>> import metareg_sm
        >>> schools = metareg_sm.datasets.konstantopoulos2011.load_pandas().data
        >>> res = metareg_sm.MixedMetaReg.from_formula(
        ...     "yi ~ 1", schools, vi="vi", random="1 | district/school"
        ... ).fit()
        >>> res.conf_int_variance().loc["district"].round(4).tolist()
        [0.0651, 0.0222, 0.2072]
        """
        return components.conf_int_variance(self, alpha)

    def lr_test_component(self, term: str) -> ComponentTest:
        """Likelihood ratio test that a random term is not needed.

        Parameters
        ----------
        term : str
            Grouping of the term, such as "district/school".

        Returns
        -------
        ComponentTest
            statistic, pvalue, df and reference, which names the distribution: one variance lies on
            the boundary, and half of the probability is at 0 (Self & Liang, 1987); with several
            parameters chi-squared with all of them bounds the p-value from above.
        """
        from metareg_sm.postestimation.mixed_tests import lr_test_component

        return lr_test_component(self, term)

    def lr_test_tau2(self) -> ComponentTest:
        """Likelihood ratio test of no heterogeneity: all random terms are 0.

        Returns
        -------
        ComponentTest
            As `lr_test_component`; for two variances the mixture of chi-squared distributions has
            the weights that the information about them gives (Self & Liang, 1987, case 7).
        """
        from metareg_sm.postestimation.mixed_tests import lr_test_tau2

        return lr_test_tau2(self)

    def compare_lr_test(self, restricted: Any, refit: bool = False) -> LRTest:
        """Likelihood ratio test of this model against a restricted one.

        Parameters
        ----------
        restricted : MixedMetaRegResults
            A fit of the same effects whose moderators and random terms are nested in these.
        refit : bool, default False
            Compare by maximum likelihood, whatever the two fits used.

        Returns
        -------
        LRTest
            statistic, pvalue, df. Where the restricted model lacks one random intercept the
            reference is the boundary mixture; where it lacks more, chi-squared with all parameters,
            which is conservative.

        Raises
        ------
        ComparisonError
            If the fits cannot be compared; in particular two REML fits with different moderators.
        """
        from metareg_sm.postestimation.mixed_tests import compare_mixed

        return compare_mixed(self, restricted, refit)

    def refit_by_ml(self) -> MixedMetaRegResultsWrapper:
        """The same model by maximum likelihood."""
        return self.model.fit(reml=False)

    # --- predictions ---------------------------------------------------------------------------

    def get_prediction(
        self,
        exog: Any = None,
        transform: bool | str | Callable[[Array], Array] = True,
        row_labels: Any = None,
        df: Any = None,
        level: str | None = None,
    ) -> MetaRegPrediction:
        """Predict mean effects, and true effects of new groups.

        Parameters
        ----------
        exog : DataFrame, dict or array_like, optional
            Moderators of the new rows, in the terms of the formula where there was one; the effects
            of the model by default. For a term with levels they hold its column, too.
        transform : bool, "natural" or callable, default True
            As for `MetaReg`.
        row_labels : list, optional
            Labels of the rows.
        df : float or "riley", optional
            Degrees of freedom of the intervals.
        level : str, optional
            Prediction intervals of the mean true effect of a new group of this grouping, such as
            "district": variances of finer groupings are left out. By default of a new true effect,
            with the variances of all terms.

        Returns
        -------
        MetaRegPrediction
            `summary_frame(alpha)` has the columns mean, mean_se, mean_ci_lower, mean_ci_upper,
            obs_ci_lower and obs_ci_upper.
        """
        from metareg_sm.postestimation.mixed_prediction import predict_mixed

        return predict_mixed(self, exog, transform, row_labels, df, level)

    # --- resampling and influence --------------------------------------------------------------

    def leave_one_cluster_out(self, groups: Any = None) -> ClusterInfluence:
        """Fit again without each cluster in turn.

        Parameters
        ----------
        groups : str or array_like, optional
            Clusters; the outermost grouping by default.

        Returns
        -------
        ClusterInfluence
            `params`, `components`, `cooks_distance`, `cov_ratio`: one row a cluster.

        Notes
        -----
        Every fit maximises the likelihood anew, beginning at the estimates of all data; the fits
        follow one another.
        """
        from metareg_sm.postestimation.clusters import leave_one_cluster_out

        return leave_one_cluster_out(self, groups)

    def permutation_test(
        self, n_resamples: int = 999, rng: Seed = None, groups: Any = None
    ) -> ClusterPermutation:
        """Permutation test of the coefficients by clusters, variances being estimated anew.

        Parameters
        ----------
        n_resamples : int, default 999
            Random changes of sign; where there are at most so many distinct ones all are listed.
        rng : int or Generator, optional
            Seed.
        groups : str or array_like, optional
            Clusters; the outermost grouping by default.

        Returns
        -------
        ClusterPermutation
            `statistic`, `pvalues`, `n_resamples`, `exact`.

        Notes
        -----
        For each coefficient the residuals of the model without it change their signs, those of a
        cluster together (Freedman & Lane, 1983): under independent clusters with symmetric errors
        all signs are as likely, whatever the dependence within.
        """
        from metareg_sm.postestimation.clusters import permutation_test

        return permutation_test(self, n_resamples, rng, groups)

    def bootstrap(self, n_resamples: int = 999, rng: Seed = None) -> MixedBootstrap:
        """Parametric bootstrap of the coefficients and the components.

        Parameters
        ----------
        n_resamples : int, default 999
            Number of data sets drawn from the fit.
        rng : int or Generator, optional
            Seed.

        Returns
        -------
        MixedBootstrap
            `distribution`, `standard_error`, `conf_int(alpha)`.
        """
        from metareg_sm.postestimation.clusters import bootstrap

        return bootstrap(self, n_resamples, rng)

    def simulate(self, n_resamples: int = 1, rng: Seed = None) -> Array:
        """Draw outcomes from the fitted model.

        Parameters
        ----------
        n_resamples : int, default 1
            Data sets.
        rng : int or Generator, optional
            Seed.

        Returns
        -------
        ndarray, (n_resamples, k)
        """
        from metareg_sm.postestimation.clusters import simulate

        return simulate(self, n_resamples, rng)

    # --- tables --------------------------------------------------------------------------------

    @property
    def components_frame(self) -> pd.DataFrame:
        """Variances and correlations: columns estimate, se, n_groups, icc, i2.

        What a correlation has not is NaN.
        """
        return components_frame(self)

    def _blocks(self) -> list[Block | Grid]:
        frame = self.components_frame
        header, cells = components_cells(frame)
        grid = Grid("Variance components", header, [str(name) for name in frame.index], cells)
        return [grid, heterogeneity_block(self.heterogeneity)]

    def summary(
        self,
        yname: str | None = None,
        xname: list[str] | None = None,
        title: str | None = None,
        alpha: float = 0.05,
        exponentiate: bool = False,
    ) -> Summary:
        """Summarise the fit; parameters as for `MetaReg`."""
        title = title or "Mixed Meta-Regression Results"
        return summary_table(self, self._blocks(), yname, xname, title, alpha, exponentiate)

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
        title = title or "Results: Mixed Meta-Regression"
        return summary_table2(
            self, self._blocks(), yname, xname, title, alpha, float_format, exponentiate
        )

    @property
    def default_model_infos(self) -> Mapping[str, Callable[[Any], str]]:
        """Rows that `summary_col` adds below the coefficients."""

        def component(i: int) -> Callable[[Any], str]:
            return lambda x: f"{x.components.values[i]:.4f}"

        return {
            **{name: component(i) for i, name in enumerate(self.components.names)},
            "I2": lambda x: f"{x.heterogeneity.i2:.4f}",
            "k": lambda x: f"{int(x.nobs)}",
        }


class MixedMetaRegResultsWrapper(LikelihoodResultsWrapper):
    """Results with pandas labels."""

    _attrs: dict[str, str] = {}  # noqa: RUF012
    _wrap_attrs = wrap.union_dicts(LikelihoodResultsWrapper._wrap_attrs, _attrs)


wrap.populate_wrapper(MixedMetaRegResultsWrapper, MixedMetaRegResults)
