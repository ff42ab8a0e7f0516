"""Questions about the variances of dependent effects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from metareg_sm._compat import cached_data, cached_value
from metareg_sm._typing import Array, Codes
from metareg_sm.core.mixed.solution import MixedSolution
from metareg_sm.design.random import RandomTerm
from metareg_sm.design.sampling import SamplingCovariance
from metareg_sm.postestimation import components
from metareg_sm.results.base import ModelResults
from metareg_sm.results.inherited import Unavailable
from metareg_sm.stats.covariance import MIXED_COVARIANCES, CovarianceType

if TYPE_CHECKING:
    from metareg_sm.postestimation.comparison import LRTest
    from metareg_sm.postestimation.components import MixedHeterogeneity
    from metareg_sm.postestimation.fitted import Labelled, MixedFitted
    from metareg_sm.postestimation.mixed_tests import ComponentTest
    from metareg_sm.results.mixed import MixedMetaRegResultsWrapper


_INDEPENDENT = (
    "it takes effects to be independent. egger_test() and pet_peese() keep the random terms; this "
    "needs a MetaReg of one effect a study."
)


class ComponentResults(ModelResults):
    """A fit whose random part has several variances and correlations."""

    _kept_values = (
        *ModelResults._kept_values,
        "vcomp",
        "cov_re",
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

    def _fit_options(self) -> dict[str, Any]:
        contained = self.covariance.coefficient_df is not None
        df = "contain" if contained else "residual"
        return {**super()._fit_options(), "reml": self.reml, "df": df}

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

        A mapping from groupings to data frames where there are several such terms (from
        "0 + outcome | study", as `random` has it, where two have one grouping), and an empty data
        frame where there is none.
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
        terms = self.solution.problem.components.terms
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

    def _compute_heterogeneity(self) -> MixedHeterogeneity:
        return components.heterogeneity(self)

    @property
    def heterogeneity(self) -> MixedHeterogeneity:
        """Q, I2, R2, in all and by level; see `MixedHeterogeneity`.

        Raises
        ------
        DesignError
            If they are undefined.
        """
        return super().heterogeneity

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
        ConvergenceWarning
            If the likelihood is higher at some point of a profile than at the estimates: then the
            fit is not at its maximum, and the interval is wrong.

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

    def profile_variance(self, name: str, values: Array) -> Array:
        """Profile log-likelihood of one variance or correlation.

        Parameters
        ----------
        name : str
            A component, as in `components.names`.
        values : ndarray, (n,)
            Where it is held: variances in squared units of the outcome. The other components are
            at their best for each.

        Returns
        -------
        ndarray, (n,)
            -inf where the likelihood is undefined.

        Raises
        ------
        OptionError
            If there is no such component.

        Warns
        -----
        ConvergenceWarning
            If the likelihood is higher at one of the values than at the estimates.
        """
        return components.profile_variance(self, name, values)

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

    def compare_lr_test(
        self, restricted: MixedFitted | Labelled[MixedFitted], refit: bool = False
    ) -> LRTest:
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

    # --- what is not there ---------------------------------------------------------------------

    rank_correlation_test = Unavailable(_INDEPENDENT)
    trim_and_fill = Unavailable(_INDEPENDENT)
    fail_safe_n = Unavailable(_INDEPENDENT)
    excess_significance_test = Unavailable(_INDEPENDENT)
    selection_model = Unavailable(_INDEPENDENT)

    def refit_by_ml(self) -> MixedMetaRegResultsWrapper:
        """The same model by maximum likelihood."""
        return self.model.fit(reml=False)
