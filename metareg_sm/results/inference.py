"""statsmodels' methods, with the degrees of freedom that belong to the covariance."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from statsmodels.base.model import LikelihoodModelResults
from statsmodels.stats.contrast import ContrastResults

from metareg_sm._compat import ResultMixin, cached_data, cached_value
from metareg_sm._typing import Array, Codes
from metareg_sm.design.rows import StudyTable
from metareg_sm.exceptions import DataRemovedError
from metareg_sm.options import check_alpha
from metareg_sm.postestimation import inference
from metareg_sm.printing import Printed
from metareg_sm.stats.components import Optimization, VarianceComponents
from metareg_sm.stats.covariance import COVARIANCES, Covariance, CovarianceType
from metareg_sm.stats.gls import WeightedRegression
from metareg_sm.stats.reference import interval, two_sided_pvalue

if TYPE_CHECKING:
    from metareg_sm.design.participants import Participants
    from metareg_sm.design.terms import Terms
    from metareg_sm.effectsizes import Measure
    from metareg_sm.postestimation.fitted import Fitted, Labelled
    from metareg_sm.postestimation.inference import OmnibusTest


class InferenceResults(LikelihoodModelResults, ResultMixin, Printed):
    """Results of a model with known sampling variances and estimated variances of true effects.

    t and F tests have the degrees of freedom that belong to the covariance type; each contrast its
    own where the covariance is CR2 or CR3.
    """

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

    def contrast_df(self, contrasts: Array | None = None) -> float | Array | None:
        """Degrees of freedom of t tests of contrasts, of the coefficients by default.

        Parameters
        ----------
        contrasts : ndarray, (m, p), optional
            One contrast a row.

        Returns
        -------
        float, ndarray (m,) or None
            None where tests are normal.
        """
        if not self.use_t:
            return None
        if not self._own_df:
            return getattr(self, "df_resid_inference", self.df_resid)
        rows = np.eye(len(self.params)) if contrasts is None else np.atleast_2d(contrasts)
        return self._df_of(rows)

    @property
    def _own_df(self) -> bool:
        """Whether contrasts have degrees of freedom of their own."""
        covariance = self.covariance
        return covariance.sandwich is not None or covariance.coefficient_df is not None

    def _df_of(self, rows: Array) -> Array:
        covariance = self.covariance
        if covariance.sandwich is not None:
            return covariance.sandwich.satterthwaite(rows)
        assert covariance.coefficient_df is not None
        return inference.smallest_df(rows * self.bse, covariance.coefficient_df)

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

    # --- coefficients --------------------------------------------------------------------------

    @cached_value
    def bse(self) -> Array:
        """Standard errors of the coefficients."""
        return np.sqrt(np.diagonal(self.cov_params_default))

    @cached_value
    def tvalues(self) -> Array:
        """Coefficients over their standard errors."""
        # generic code of statsmodels fixes coefficients at 0 with standard error 0
        with np.errstate(invalid="ignore"):
            return self.params / self.bse

    @cached_value
    def pvalues(self) -> Array:
        """Two-sided p-values of the coefficients."""
        return two_sided_pvalue(self.tvalues, self.contrast_df())

    def conf_int(self, alpha: float = 0.05) -> Array:
        """Confidence intervals of the coefficients.

        Parameters
        ----------
        alpha : float, default 0.05
            1 minus the coverage.

        Returns
        -------
        DataFrame, (p, 2)
            Lower and upper ends, t or normal as the tests are.
        """
        return interval(self.params, self.bse, check_alpha(alpha), self.contrast_df())

    def t_test(
        self, r_matrix: Any, cov_p: Any = None, use_t: bool | None = None
    ) -> ContrastResults:
        """Test each linear hypothesis Rb = q, as statsmodels does.

        Under a "cluster" covariance with CR2 or CR3 each row has Satterthwaite degrees of freedom
        of its own. Parameters are those of `LikelihoodModelResults.t_test`.
        """
        R, q = inference.constraints(r_matrix, self.model.data.cov_names)
        found = super().t_test((R, q), cov_p=cov_p, use_t=use_t)
        if self._own_df and cov_p is None and found.distribution == "t":
            found = inference.with_df(found, self._df_of(R))
        return inference.Contrasts(found)

    def t_test_pairwise(
        self, term_name: str, method: str = "hs", alpha: float = 0.05, factor_labels: Any = None
    ) -> Any:
        """Compare all levels of a factor with each other, as statsmodels does.

        Parameters are those of `LikelihoodModelResults.t_test_pairwise`.
        """
        return super().t_test_pairwise(term_name, method, check_alpha(alpha), factor_labels)

    def wald_test(
        self,
        r_matrix: Any,
        cov_p: Any = None,
        invcov: Any = None,
        use_f: bool | None = None,
        df_constraints: float | None = None,
        scalar: bool = True,
    ) -> ContrastResults:
        """Test linear hypotheses jointly, as statsmodels does.

        Under a "cluster" covariance with CR2 or CR3 the F test is the approximate Hotelling test
        (HTZ) of Pustejovsky & Tipton (2018). Parameters are those of
        `LikelihoodModelResults.wald_test`.
        """
        sandwich = self.covariance.sandwich
        use_f = self.use_t if use_f is None else use_f
        if not (cov_p is None and invcov is None and df_constraints is None):
            return super().wald_test(r_matrix, cov_p, invcov, use_f, df_constraints, scalar)
        from metareg_sm.stats.hotelling import hotelling_test, independent_constraints

        R, q = inference.constraints(r_matrix, self.model.data.cov_names)
        R, q = independent_constraints(R, q, np.where(self.bse > 0.0, self.bse, 1.0))
        if sandwich is None or not use_f:
            found = super().wald_test((R, q), use_f=use_f, scalar=scalar)
            if not use_f or not self._own_df:
                return found
            return ContrastResults(
                F=found.statistic, df_denom=float(self._df_of(R).min()), df_num=found.df_num
            )
        test = hotelling_test(sandwich, R, R @ np.asarray(self.params) - q)
        F: Any = test.statistic if scalar else np.array([[test.statistic]])
        return ContrastResults(F=F, df_denom=test.df_denom, df_num=test.df_num)

    @cached_value
    def omnibus(self) -> OmnibusTest:
        """Test of all moderators together."""
        return inference.omnibus_test(self)

    @property
    def fvalue(self) -> float:
        """Omnibus test of the moderators: F, or chi-squared where tests are normal.

        NaN, as everywhere in statsmodels, where there is no moderator to test.
        """
        return self.omnibus.statistic

    @property
    def f_pvalue(self) -> float:
        """p-value of the omnibus test of the moderators."""
        return self.omnibus.pvalue

    @property
    def f_df(self) -> tuple[float, float | None]:
        """Degrees of freedom of the omnibus test; the second is None for chi-squared."""
        return self.omnibus.df_num, self.omnibus.df_denom

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
