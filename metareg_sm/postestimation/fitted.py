"""What a fit offers to everything that asks about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

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
    from metareg_sm.postestimation.heterogeneity import Heterogeneity
    from metareg_sm.postestimation.inference import OmnibusTest
    from metareg_sm.stats.components import VarianceComponents
    from metareg_sm.stats.covariance import Covariance, CovarianceType
    from metareg_sm.stats.gls import WeightedRegression


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

    def cov_params(self) -> Array:
        """Covariance of the coefficients, (p, p)."""

    def conf_int(self, alpha: float = 0.05) -> Array:
        """Confidence intervals, (p, 2)."""

    def contrast_df(self, contrasts: Array | None = None) -> float | Array | None:
        """Degrees of freedom of t tests of contrasts; None for normal tests."""

    def t_test(self, r_matrix: Any) -> Any:
        """Statsmodels' test of linear hypotheses."""

    def wald_test(self, r_matrix: Any, *, scalar: bool = True) -> Any:
        """Statsmodels' joint test of linear hypotheses."""


class Tau2Fitted(Fitted, Protocol):
    """A fit whose random part is tau2 alone."""

    @property
    def covariance_type(self) -> CovarianceType:
        """How the covariance was computed."""

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

    def fit_again(self, endog: Array, exog: Array, vi: Array) -> Any:
        """Results of other studies, fitted with the same options."""


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
    def reml(self) -> bool:
        """Whether the likelihood is the restricted one."""


def plain(results: Any) -> Any:
    """Results without the labels that statsmodels' wrapper puts on them."""
    return getattr(results, "_results", results)
