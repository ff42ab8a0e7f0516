"""What a fit offers to everything that asks about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeGuard, TypeVar, cast

if TYPE_CHECKING:
    from metareg_sm._typing import Array, Codes
    from metareg_sm.core.mixed.solution import MixedSolution
    from metareg_sm.core.studies import Studies
    from metareg_sm.core.tau2 import Estimator
    from metareg_sm.design.participants import Participants
    from metareg_sm.design.random import RandomTerm
    from metareg_sm.design.rows import StudyTable
    from metareg_sm.design.sampling import SamplingCovariance
    from metareg_sm.design.terms import Terms
    from metareg_sm.effectsizes import Measure
    from metareg_sm.postestimation.comparison import LRTest
    from metareg_sm.postestimation.components import MixedHeterogeneity
    from metareg_sm.postestimation.heterogeneity import Heterogeneity
    from metareg_sm.postestimation.inference import OmnibusTest
    from metareg_sm.stats.components import VarianceComponents
    from metareg_sm.stats.covariance import Covariance, CovarianceType
    from metareg_sm.stats.gls import WeightedRegression
    from metareg_sm.stats.refits import Refits, Selections


Fit = TypeVar("Fit", bound="Fitted")
Inner_co = TypeVar("Inner_co", bound="Fitted", covariant=True)


class Labelled(Protocol[Inner_co]):
    """A fit within statsmodels' wrapper, which puts pandas labels on its arrays."""

    @property
    def _results(self) -> Inner_co:
        """The fit."""

    def __getattr__(self, name: str) -> Any:
        """What the fit has, with labels."""


class HeterogeneityStatistics(Protocol):
    """What every model says of its heterogeneity."""

    @property
    def q(self) -> float:
        """Residual Q_E."""

    @property
    def q_df(self) -> int:
        """Its degrees of freedom."""

    @property
    def q_pvalue(self) -> float:
        """Its p-value."""

    @property
    def i2(self) -> float:
        """Share of heterogeneity in the total variance, a fraction."""

    @property
    def h2(self) -> float:
        """Total variance over sampling variance."""

    @property
    def r2(self) -> float:
        """Share of the heterogeneity that the moderators explain."""

    @property
    def tau2(self) -> float:
        """Heterogeneity of the fit."""

    @property
    def tau2_null(self) -> float:
        """Heterogeneity without moderators."""


class Fitted(Protocol):
    """A fitted model, whatever its random structure.

    `params` and the like are plain arrays here; statsmodels' wrapper puts labels on them.
    """

    params: Array
    use_t: bool
    nobs: float
    df_model: float
    df_resid: float
    scale: float
    k_constant: int
    covariance: Covariance
    components: VarianceComponents
    cov_type: str

    @property
    def model_name(self) -> str:
        """Class of the model, as it is printed."""

    @property
    def method(self) -> str:
        """Label of the estimator of the variances."""

    @property
    def covariance_type(self) -> CovarianceType:
        """How the covariance was computed."""

    @property
    def cov_label(self) -> str:
        """Label of the covariance."""

    @property
    def omnibus(self) -> OmnibusTest:
        """Test of all moderators together."""

    @property
    def aic(self) -> float:
        """Akaike information criterion."""

    @property
    def aicc(self) -> float:
        """AIC corrected for small samples."""

    @property
    def bic(self) -> float:
        """Bayesian information criterion."""

    @property
    def regression(self) -> WeightedRegression:
        """Weighted regression at the estimated variances."""

    @property
    def terms(self) -> Terms:
        """Names of the design, and how new rows of it are made."""

    @property
    def participants(self) -> Participants | None:
        """Moderators that are averages over participants, if the user named any."""

    @property
    def table(self) -> StudyTable:
        """The studies."""

    @property
    def measure(self) -> Measure | None:
        """What the outcomes measure, where that is known."""

    @property
    def bse(self) -> Array:
        """Standard errors, (p,)."""

    @property
    def tvalues(self) -> Array:
        """Coefficients over their standard errors, (p,)."""

    @property
    def pvalues(self) -> Array:
        """Two-sided p-values, (p,)."""

    @property
    def llf(self) -> float:
        """Log-likelihood."""

    @property
    def reml(self) -> bool:
        """Whether the log-likelihood is the restricted one."""

    @property
    def df_modelwc(self) -> float:
        """Number of parameters."""

    @property
    def redundant(self) -> list[str]:
        """Columns that depend linearly on those before them."""

    @property
    def n_dropped(self) -> int:
        """Rows of the data that were dropped for missing values."""

    @property
    def fittedvalues(self) -> Array:
        """Expected effects, (k,)."""

    @property
    def condition_number(self) -> float:
        """Condition number of the weighted design."""

    @property
    def between_variance(self) -> float:
        """Variance of the true effects of new studies about their expectation."""

    @property
    def heterogeneity(self) -> HeterogeneityStatistics:
        """Heterogeneity statistics; an error where they are undefined."""

    def compare_lr_test(self, restricted: Any, refit: bool = False) -> LRTest:
        """Likelihood ratio test against a restricted fit of the same kind."""

    def cov_params(self) -> Array:
        """Covariance of the coefficients, (p, p)."""

    def conf_int(self, alpha: float = 0.05) -> Array:
        """Confidence intervals, (p, 2)."""

    def contrast_df(self, contrasts: Array | None = None) -> float | Array | None:
        """Degrees of freedom of t tests of contrasts; None for normal tests."""

    def contrast_se(self, contrasts: Array) -> Array:
        """Standard errors of contrasts, or of means at rows of the design, (n, p) -> (n,)."""

    def t_test(self, r_matrix: Any) -> Any:
        """Statsmodels' test of linear hypotheses."""

    def wald_test(self, r_matrix: Any, *, scalar: bool = True) -> Any:
        """Statsmodels' joint test of linear hypotheses."""

    def refit_by_ml(self) -> Labelled[Fitted]:
        """The same model by maximum likelihood."""

    def fit_with_moderator(self, values: Array, name: str) -> Labelled[Fitted]:
        """The same model and options with one more moderator, its last coefficient."""


class Deletable(Fitted, Protocol):
    """A fit that is repeated on selections of its studies, all at once."""

    def fits_without(self, codes: Codes, n: int) -> Refits:
        """Fits that lack the studies of one code each."""

    def fits_to(self, counts: Selections, n: int) -> Refits:
        """Fits to n selections of the studies."""


class Tau2Fitted(Fitted, Protocol):
    """A fit whose random part is tau2 alone."""

    @property
    def tau2(self) -> float:
        """Residual heterogeneity."""

    @property
    def tau2_se(self) -> float:
        """Its standard error."""

    @property
    def tau(self) -> float:
        """Square root of tau2."""

    @property
    def heterogeneity(self) -> Heterogeneity:
        """Heterogeneity statistics; an error where they are undefined."""

    @property
    def estimator(self) -> Estimator | None:
        """How tau2 was estimated; None where it is held fixed."""

    @property
    def genq_weights(self) -> Array | None:
        """The caller's weights of the estimator "genq"."""

    @property
    def studies(self) -> Studies:
        """The studies as the kernel has them."""

    @property
    def null_studies(self) -> Studies:
        """The same with the constant alone, or no moderator where there is no constant."""

    def fit_again(self, endog: Array, exog: Array, vi: Array) -> Labelled[Tau2Fitted]:
        """Results of other studies, fitted with the same options."""

    def refit_by_ml(self) -> Labelled[Tau2Fitted]:
        """The same model by maximum likelihood."""


class MixedFitted(Fitted, Protocol):
    """A fit with dependent effects."""

    @property
    def solution(self) -> MixedSolution:
        """The regression and the variances at the maximum."""

    @property
    def random_terms(self) -> tuple[RandomTerm, ...]:
        """Random terms with their groups."""

    @property
    def sampling(self) -> SamplingCovariance | None:
        """Sampling covariance; None where errors are independent."""

    @property
    def blocks(self) -> Codes:
        """Finest groups of effects that are independent of each other, (k,)."""

    @property
    def heterogeneity(self) -> MixedHeterogeneity:
        """Heterogeneity statistics; an error where they are undefined."""

    @property
    def component_rows(self) -> list[tuple[int, bool]]:
        """Term of each component, and whether it is the first of its term."""

    def refit_by_ml(self) -> Labelled[MixedFitted]:
        """The same model by maximum likelihood."""


def has_tau2(fit: Fitted) -> TypeGuard[Tau2Fitted]:
    """Whether the random part of a fit is tau2 alone."""
    return hasattr(fit, "estimator")


def plain(results: Fit | Labelled[Fit]) -> Fit:
    """Results without the labels that statsmodels' wrapper puts on them."""
    return cast("Fit", getattr(results, "_results", results))
