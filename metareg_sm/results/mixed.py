"""Results of a meta-regression with dependent effects."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
import statsmodels.base.wrapper as wrap

from metareg_sm._typing import Array, Seed
from metareg_sm.report.mixed import components_cells, components_frame, heterogeneity_block
from metareg_sm.report.tables import Block, Grid
from metareg_sm.results.components import ComponentResults
from metareg_sm.results.wrapper import ModelResultsWrapper

if TYPE_CHECKING:
    from metareg_sm.postestimation.clusters import (
        ClusterInfluence,
        ClusterPermutation,
        MixedBootstrap,
    )
    from metareg_sm.postestimation.prediction import MetaRegPrediction

__all__ = ["MixedMetaRegResults", "MixedMetaRegResultsWrapper"]


class MixedMetaRegResults(ComponentResults):
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

    _heading, _rows = "Mixed Meta-Regression", "effects"

    # --- predictions ---------------------------------------------------------------------------

    def get_prediction(
        self,
        exog: Any = None,
        transform: bool | str | Callable[[Array], Array] = True,
        row_labels: Sequence[Hashable] | None = None,
        df: float | str | None = None,
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
            `params`, `components`, `cooks_distance`, `cov_ratio`: one row a cluster. Clusters that
            hold several groups of each crossed term are labelled by those of the coarsest. Rows
            are NaN, and a warning says which, where what is left does not identify the model.

        Notes
        -----
        Every fit maximises the likelihood anew, beginning at the estimates of all data; all climb
        together, but with crossed terms they follow one another.
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

        self._kept(self.model.random_terms)
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

    def _blocks(
        self,
        alpha: float,  # noqa: ARG002 (intervals stand in the blocks of the scale alone)
    ) -> list[Block | Grid]:
        frame = self.components_frame
        header, cells = components_cells(frame)
        grid = Grid("Variance components", header, [str(name) for name in frame.index], cells)
        return [grid, heterogeneity_block(self.heterogeneity)]

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


class MixedMetaRegResultsWrapper(ModelResultsWrapper):
    """Results with pandas labels."""


wrap.populate_wrapper(MixedMetaRegResultsWrapper, MixedMetaRegResults)
