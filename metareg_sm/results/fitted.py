"""What a fit remembers: its records, the optimizer, and how to fit the same again."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from statsmodels.base.model import LikelihoodModelResults

from metareg_sm._compat import ResultMixin, cached_data, cached_value
from metareg_sm._typing import Array, Codes
from metareg_sm.design.rows import StudyTable
from metareg_sm.exceptions import DataRemovedError
from metareg_sm.printing import Printed
from metareg_sm.stats.components import Optimization, VarianceComponents
from metareg_sm.stats.covariance import COVARIANCES, Covariance, CovarianceType
from metareg_sm.stats.gls import WeightedRegression

if TYPE_CHECKING:
    from metareg_sm.design.participants import Participants
    from metareg_sm.design.terms import Terms
    from metareg_sm.effectsizes import Measure
    from metareg_sm.postestimation.fitted import Fitted, Labelled


class FittedResults(LikelihoodModelResults, ResultMixin, Printed):
    """The records of a fit of a model with known sampling variances."""

    # values that a summary shows, and that remove_data() keeps
    _kept_values: tuple[str, ...] = (
        "bse",
        "tvalues",
        "pvalues",
        "omnibus",
        "llf",
        "condition_number",
        "n_dropped",
    )

    def __init__(
        self,
        model: Any,
        params: Array,
        regression: WeightedRegression,
        covariance: Covariance,
        components: VarianceComponents,
        *,
        cov_type: CovarianceType,
        correction: str | None,
        groups: Codes | None,
        use_t: bool,
    ) -> None:
        super().__init__(model, params, regression.unscaled, scale=covariance.scale)
        self._cache: dict[str, Any] = {}
        self.use_t = use_t
        self.cov_type = cov_type.name
        self.cov_label = cov_type.label if correction is None else f"cluster ({correction})"
        self.cov_kwds: dict[str, Any] = {"description": covariance.description}
        if correction is not None:
            self.cov_kwds |= {"correction": correction, "groups": groups}
        self.cov_params_default = covariance.cov
        self.covariance, self.components = covariance, components
        self._regression: WeightedRegression | None = regression
        self._data_attr.append("_regression")
        self.nobs = model.nobs
        self.df_model, self.df_resid = model.df_model, model.df_resid
        if covariance.df != self.df_resid:
            self.df_resid_inference = covariance.df

    # --- what Fitted asks for ------------------------------------------------------------------

    @property
    def regression(self) -> WeightedRegression:
        """Weighted regression at the estimated variances."""
        return self._kept(self._regression)

    @property
    def mse_resid(self) -> Array:
        """Expected squared residuals in units of the sampling variances, (vi + tau2) / vi, (k,).

        `mse_resid / model.weights` is the variance of an outcome, as under weighted least squares;
        but there one value serves all. With it statsmodels' `plot_fit` draws the interval in which
        the model expects each outcome.
        """
        return self.regression.variances * self.model.weights

    @property
    def terms(self) -> Terms:
        """Names of the design, and how new rows of it are made."""
        return self.model.terms

    @property
    def participants(self) -> Participants | None:
        """Moderators that are averages over participants, if the user named any."""
        return getattr(self.model, "participants", None)

    @property
    def table(self) -> StudyTable:
        """The studies in the model."""
        model = self.model
        return StudyTable(self._kept(model.endog), model.vi, model.exog, model.basis, model.rows)

    @staticmethod
    def _kept(data: Any) -> Any:
        if data is None:
            raise DataRemovedError(
                "This needs the data of the fit, which remove_data() has removed. Fit the model "
                "again, or ask before the data are removed."
            )
        return data

    def remove_data(self) -> None:
        """Remove arrays of study size; what a summary shows stays.

        What needs the studies raises a `DataRemovedError` afterwards.
        """
        kept = {name: getattr(self, name) for name in self._kept_values}
        if self.components.optimization is not None:
            _ = self.components.optimization.outcome
        super().remove_data()
        self.cov_kwds.pop("groups", None)
        # statsmodels forgets the cached arrays of a class, but not those of the classes above it
        for name in dir(type(self)):
            if isinstance(inspect.getattr_static(type(self), name), cached_data):
                self._cache.pop(name, None)
        self._cache.update(kept)

    @property
    def measure(self) -> Measure | None:
        """What the outcomes measure, where `effect_size` computed them."""
        return self.model.measure

    @property
    def covariance_type(self) -> CovarianceType:
        """Entry of the registry that `cov_type` names."""
        return COVARIANCES[self.cov_type.lower()]

    @property
    def model_name(self) -> str:
        """Class of the model, as it is printed."""
        return type(self.model).__name__

    @property
    def method(self) -> str:
        """Label of the estimator of the variances."""
        return self.components.label

    @cached_property
    def mle_retvals(self) -> Mapping[str, Any]:
        """What the optimizer returned; there is none where no optimizer was needed."""
        return self._optimization("mle_retvals").outcome[0]

    @cached_property
    def mle_settings(self) -> Mapping[str, Any]:
        """What the optimizer was given; there are none where no optimizer was needed."""
        return self._optimization("mle_settings").outcome[1]

    def _optimization(self, name: str) -> Optimization:
        if self.components.optimization is None:
            raise AttributeError(
                f"{type(self).__name__} has no {name}: {self.components.label} needs no optimizer.",
                name=name,
                obj=self,
            )
        return self.components.optimization

    def __dir__(self) -> list[str]:
        names = list(super().__dir__())
        if self.components.optimization is None:
            names = [n for n in names if n not in ("mle_retvals", "mle_settings")]
        return names

    @property
    def mle_converged(self) -> bool | None:
        """Whether the optimizer reached the maximum; None where none was needed."""
        return self.components.converged

    @property
    def reml(self) -> bool:
        """Whether `llf` is the restricted log-likelihood."""
        return self.components.maximised == "reml"

    @property
    def redundant(self) -> list[str]:
        """Names of the columns that depend linearly on those before them."""
        return [self.terms.names[j] for j in self.model.redundant]

    @cached_value
    def n_dropped(self) -> int:
        """Rows of the data (within `subset`) that were dropped for missing values."""
        return int(self.model.rows.dropped)

    # --- the same again ---------------------------------------------------------------------------

    def fit_with_moderator(self, values: Array, name: str) -> Labelled[Fitted]:
        """Fit the same model with one more moderator and the same options.

        Parameters
        ----------
        values : ndarray, (k,)
            The moderator.
        name : str
            What it is called.

        Returns
        -------
        results of the same class
            The moderator is the last of their coefficients.
        """
        self._kept(self.model.endog)
        return self.model.with_moderator(values, name).fit(**self._fit_options())

    def _fit_options(self) -> dict[str, Any]:
        """What `fit` was asked for, beside the optimizer."""
        kwds = (
            {name: self.cov_kwds[name] for name in ("groups", "correction")}
            if ("correction" in self.cov_kwds)
            else None
        )
        return {"cov_type": self.cov_type, "cov_kwds": kwds, "use_t": self.use_t}

    # --- criteria ------------------------------------------------------------------------------

    @cached_value
    def df_modelwc(self) -> float:
        """Number of parameters: the rank of the design, and the variances that are estimated."""
        return self.nobs - self.df_resid + self.components.n_estimated

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
