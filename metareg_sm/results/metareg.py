"""Results of a meta-regression: one line each over what answers the question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import statsmodels.base.wrapper as wrap

from metareg_sm._typing import Array, BootstrapScheme, PermutationScheme, Seed
from metareg_sm.exceptions import MetaRegError
from metareg_sm.printing import Overview
from metareg_sm.results.small_study import SmallStudyResults
from metareg_sm.results.tau2 import Tau2Options
from metareg_sm.results.wrapper import ModelResultsWrapper

if TYPE_CHECKING:
    from metareg_sm.postestimation.bootstrap import Bootstrap
    from metareg_sm.postestimation.comparison import LRTest
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
