"""Results of a fitted meta-regression: thin accessors over the statistics layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import statsmodels.base.wrapper as wrap
from statsmodels.base.model import LikelihoodResultsWrapper, ResultMixin
from statsmodels.tools._decorators import cached_data, cached_value

from metareg_sm._typing import Array
from metareg_sm.core.basis import SPECTRAL_LIMIT, Basis, design_basis
from metareg_sm.core.studies import Studies
from metareg_sm.core.tau2.estimators import Estimator
from metareg_sm.exceptions import MetaRegError
from metareg_sm.postestimation.exploration import Exploration
from metareg_sm.postestimation.heterogeneity import HeterogeneityInference
from metareg_sm.postestimation.inference import ContrastInference
from metareg_sm.postestimation.prediction import MetaRegPrediction, predict_effects
from metareg_sm.report import frames
from metareg_sm.report.tables import summary_table, summary_table2
from metareg_sm.stats.covariance import Covariance, CovarianceType
from metareg_sm.stats.reference import random_effects

if TYPE_CHECKING:
    from statsmodels.iolib.summary import Summary
    from statsmodels.iolib.summary2 import Summary as Summary2

    from metareg_sm.models.optimizers import OptimizerRun

__all__ = ["MetaRegResults", "MetaRegResultsWrapper"]


@dataclass(frozen=True, slots=True)
class Tau2Fit:
    """How tau2 was found.

    Attributes
    ----------
    tau2, se, untruncated : float
        As in `Tau2Estimate`.
    estimator : Estimator or None
        None where tau2 is held fixed.
    """

    tau2: float
    se: float
    untruncated: float
    estimator: Estimator | None


class MetaRegResults(Exploration, HeterogeneityInference, ContrastInference, ResultMixin):
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

    def __init__(
        self,
        model: Any,
        params: Array,
        normalized_cov_params: Array,
        covariance: Covariance,
        tau2: Tau2Fit,
        *,
        cov_type: CovarianceType,
        correction: str | None,
        use_t: bool,
        run: OptimizerRun | None,
        weights: Array | None = None,
    ) -> None:
        super().__init__(model, params, normalized_cov_params, scale=covariance.scale)
        self._cache: dict[str, Any] = {}
        self.use_t = use_t
        self.cov_type = cov_type.name
        self.cov_kwds = {"description": covariance.description}
        if correction is not None:
            self.cov_kwds["correction"] = correction
        self.cov_params_default = covariance.cov
        self._covariance = covariance
        self._cov_label = cov_type.label if correction is None else f"cluster ({correction})"
        self._tau2_fit = tau2
        self._genq_weights = weights
        self._data_attr.append("_genq_weights")
        self.tau2, self.tau2_se = tau2.tau2, tau2.se
        self.tau2_untruncated = tau2.untruncated
        self.tau = math.sqrt(tau2.tau2)
        self.nobs = model.nobs
        self.df_model, self.df_resid = model.df_model, model.df_resid
        if covariance.df != self.df_resid:
            self.df_resid_inference = covariance.df
        if run is not None:
            self.mle_retvals, self.mle_settings = run.retvals, run.settings

    @property
    def method(self) -> str:
        """Label of the estimator of tau2."""
        estimator = self._tau2_fit.estimator
        if estimator is not None:
            return estimator.label
        return "common effect" if self.tau2 == 0.0 else "fixed tau2"

    @property
    def reml(self) -> bool:
        """Whether `llf` is the restricted log-likelihood."""
        estimator = self._tau2_fit.estimator
        return estimator is not None and estimator.kind.reml

    @property
    def mle_converged(self) -> bool | None:
        """Whether the optimizer reached the maximum; None where none was needed."""
        retvals = getattr(self, "mle_retvals", None)
        return None if retvals is None else bool(retvals["converged"])

    @property
    def redundant(self) -> list[str]:
        """Names of the columns that depend linearly on those before them."""
        return [self.model.exog_names[j] for j in self.model.redundant]

    @property
    def n_dropped(self) -> int:
        """Rows of the data (within `subset`) that were dropped for missing values."""
        return int(getattr(self.model.data, "n_dropped", 0))

    @property
    def _studies(self) -> Studies:
        return self.model._studies

    def _null_basis(self) -> Basis:
        """The constant alone, or nothing where the model has none."""
        k = int(self.nobs)
        if self.k_constant:
            return design_basis(np.ones((k, 1)))
        complement = np.eye(k) if k <= SPECTRAL_LIMIT else None
        return Basis(np.zeros((k, 0)), np.zeros((0, 0)), (), complement)

    @cached_data
    def _null_studies(self) -> Studies:
        return Studies.build(self.model.endog, self.model.vi, self._null_basis())

    # --- fitted values -------------------------------------------------------------------------

    @cached_data
    def fittedvalues(self) -> Array:
        """Expected effects of the studies."""
        return self.model.predict(self.params)

    @cached_data
    def resid(self) -> Array:
        """Outcomes less expected effects."""
        return self.model.endog - self.fittedvalues

    @cached_data
    def weights(self) -> Array:
        """Weights 1/(vi + tau2) of the studies."""
        return 1.0 / (self.model.vi + self.tau2)

    # --- likelihood ----------------------------------------------------------------------------

    def _loglike(self, tau2: float, reml: bool) -> float:
        return float(self._studies.profile(reml).loglike(np.asarray(tau2)))

    # what a summary needs after remove_data() is kept by statsmodels' _summary_cache

    @property
    def llf(self) -> float:
        """Log-likelihood: restricted for a REML fit, else the full one at the estimate."""
        return self._summary_cache("llf", lambda: self._loglike(self.tau2, self.reml))

    @cached_value
    def df_modelwc(self) -> float:
        """Number of parameters: the rank of the design, and tau2 where it is estimated."""
        return self.nobs - self.df_resid + (self._tau2_fit.estimator is not None)

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

    # --- predictions ---------------------------------------------------------------------------

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
        return predict_effects(self, exog, transform, row_labels, df)

    @cached_data
    def random_effects(self) -> pd.DataFrame:
        """Predicted random effects u and shrunken true effects theta of the studies.

        Columns u, u_se, theta, theta_se (Raudenbush & Bryk, 1985).
        """
        exog = self.model.exog
        variance = np.einsum("kp,pq,kq->k", exog, self.cov_params(), exog)
        effects = random_effects(
            self.model.endog, self.model.vi, self.fittedvalues, variance, self.tau2
        )
        return pd.DataFrame(
            {name: getattr(effects, name) for name in ("u", "u_se", "theta", "theta_se")},
            index=self.model.data.row_labels,
        )

    # --- tables --------------------------------------------------------------------------------

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
        return frames.coefficients(
            self.model.data.param_names,
            np.asarray(self.params),
            np.asarray(self.bse),
            np.asarray(self.tvalues),
            np.asarray(self.pvalues),
            np.asarray(self.conf_int(alpha)),
            exponentiate,
        )

    def summary(
        self,
        yname: str | None = None,
        xname: list[str] | None = None,
        title: str | None = None,
        alpha: float = 0.05,
        exponentiate: bool = False,
    ) -> Summary:
        """Summarise the fit.

        Parameters
        ----------
        yname, xname, title : optional
            Other names of the outcome and the coefficients, another title.
        alpha : float, default 0.05
            1 minus the coverage of the intervals.
        exponentiate : bool, default False
            Show exp(b), the factor for one unit, for ratio measures.

        Returns
        -------
        Summary
            Prints as text, shows as HTML in notebooks, converts to LaTeX and CSV.
        """
        return summary_table(self, yname, xname, title, alpha, exponentiate)

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
        return summary_table2(self, yname, xname, title, alpha, float_format, exponentiate)

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


class MetaRegResultsWrapper(LikelihoodResultsWrapper):
    """Results with pandas labels."""

    _attrs = {"weights": "rows"}  # noqa: RUF012
    _wrap_attrs = wrap.union_dicts(LikelihoodResultsWrapper._wrap_attrs, _attrs)


wrap.populate_wrapper(MetaRegResultsWrapper, MetaRegResults)
