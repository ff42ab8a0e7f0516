"""Questions about tau2, the residual heterogeneity of a model with one variance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from metareg_sm._compat import cached_data, cached_value
from metareg_sm._typing import Array, Codes, Tau2Interval
from metareg_sm.core.studies import Studies
from metareg_sm.results.influence import InfluenceResults

if TYPE_CHECKING:
    from metareg_sm.core.tau2 import Estimator
    from metareg_sm.postestimation.comparison import LRTest
    from metareg_sm.postestimation.fitted import Labelled, Tau2Fitted
    from metareg_sm.postestimation.heterogeneity import Heterogeneity
    from metareg_sm.results.metareg import MetaRegResultsWrapper
    from metareg_sm.stats.refits import Refits, Selections

__all__ = ["Tau2Options", "Tau2Results"]


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


class Tau2Results(InfluenceResults):
    """A fit whose random part is tau2 alone."""

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

    def fits_without(self, codes: Codes, n: int) -> Refits:
        """Fits that lack the studies of one code each, all at once."""
        from metareg_sm.postestimation.influence import fits_without

        return fits_without(self, codes, n)

    def fits_to(self, counts: Selections, n: int) -> Refits:
        """Fits to n selections of the studies, all at once."""
        from metareg_sm.postestimation.influence import fits_to

        return fits_to(self, counts, n)

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
        return 1.0 / (self._kept(self.model.vi) + self.tau2)

    @cached_value
    def llf(self) -> float:
        """Log-likelihood: restricted for a REML fit, else the full one at the estimate."""
        return float(self.studies.profile(self.reml).loglike(np.asarray(self.tau2)))

    @property
    def _asked_tau2(self) -> float | str:
        return self.tau2 if self.estimator is None else self.estimator.name

    def _fit_options(self) -> dict[str, Any]:
        return {
            **super()._fit_options(),
            "tau2": self._asked_tau2,
            "weights": self.genq_weights,
        }

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
        return model.fit(tau2=self._asked_tau2, cov_type=self.cov_type, use_t=self.use_t)

    def refit_by_ml(self) -> MetaRegResultsWrapper:
        """The same model by maximum likelihood; where tau2 is held fixed it stays so."""
        tau2 = self.tau2 if self.estimator is None else "ml"
        return self.model.fit(tau2=tau2, cov_type="nonrobust")

    # --- heterogeneity -------------------------------------------------------------------------

    def _compute_heterogeneity(self) -> Heterogeneity:
        from metareg_sm.postestimation.heterogeneity import heterogeneity

        return heterogeneity(self)

    @property
    def heterogeneity(self) -> Heterogeneity:
        """Q, I2, H2, R2 and the decomposition of Q; see `Heterogeneity`.

        Raises
        ------
        VarianceError, DesignError
            If a sampling variance is 0, or there are no more studies than coefficients.
        """
        return super().heterogeneity

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

    def compare_lr_test(
        self, restricted: Tau2Fitted | Labelled[Tau2Fitted], refit: bool = False
    ) -> LRTest:
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
