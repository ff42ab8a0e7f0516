"""Results of a fitted meta-regression: thin accessors over the statistics layer."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import statsmodels.base.wrapper as wrap
from statsmodels.base.model import (
    LikelihoodModelResults,
    LikelihoodResultsWrapper,
    ResultMixin,
)
from statsmodels.formula._manager import FormulaManager
from statsmodels.stats.contrast import ContrastResults
from statsmodels.tools._decorators import cached_data, cached_value

from metareg_sm import frames, resample
from metareg_sm.collinearity import condition_number, vif
from metareg_sm.comparison import LRTest, compare_lr_test, lr_test_tau2
from metareg_sm.core.likelihood import DirectProfile
from metareg_sm.core.studies import Studies
from metareg_sm.core.tau2 import Estimator
from metareg_sm.core.wls import SPECTRAL_LIMIT, Array, Basis, design_basis
from metareg_sm.exceptions import DesignError, IntervalWarning, MetaRegError, OptionError
from metareg_sm.options import choose
from metareg_sm.prediction import MetaRegPrediction, predict_effects
from metareg_sm.slopes import SimpleSlopes, simple_slopes
from metareg_sm.stats import intervals
from metareg_sm.stats.covariance import Covariance, CovarianceType
from metareg_sm.stats.heterogeneity import typical_variance
from metareg_sm.stats.prediction import interval, random_effects, two_sided_pvalue
from metareg_sm.summary import summary_table, summary_table2

if TYPE_CHECKING:
    from statsmodels.iolib.summary import Summary
    from statsmodels.iolib.summary2 import Summary as Summary2

    from metareg_sm.optimize import OptimizerRun

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


class MetaRegResults(LikelihoodModelResults, ResultMixin):
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
        return estimator is not None and estimator.reml is True

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
        s = self._studies
        return float(DirectProfile(s.y, s.v, s.Z, reml).loglike(np.asarray(tau2)))

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

    # --- inference on the coefficients ---------------------------------------------------------

    def _contrast_df(self, contrasts: Array | None = None) -> float | Array | None:
        """Degrees of freedom of t tests of contrasts, of the coefficients by default."""
        if not self.use_t:
            return None
        if self._covariance.sandwich is None:
            return getattr(self, "df_resid_inference", self.df_resid)
        identity = np.eye(len(self.params))
        return self._covariance.sandwich.satterthwaite(
            identity if contrasts is None else np.atleast_2d(contrasts)
        )

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
        return two_sided_pvalue(self.tvalues, self._contrast_df())

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
        return interval(self.params, self.bse, alpha, self._contrast_df())

    def _constraints(self, r_matrix: Any) -> tuple[Array, Array]:
        found = FormulaManager().get_linear_constraints(r_matrix, self.model.data.cov_names)
        R = np.atleast_2d(np.asarray(found.constraint_matrix, dtype=float))
        q = np.zeros(len(R))
        if found.constraint_values is not None:
            q = q + np.asarray(found.constraint_values, dtype=float).ravel()
        return R, q

    def t_test(
        self, r_matrix: Any, cov_p: Any = None, use_t: bool | None = None
    ) -> ContrastResults:
        """Test each linear hypothesis Rb = q, as statsmodels does.

        Under a "cluster" covariance with CR2 or CR3 each row has Satterthwaite degrees of freedom
        of its own. Parameters are those of `LikelihoodModelResults.t_test`.
        """
        found = super().t_test(r_matrix, cov_p=cov_p, use_t=use_t)
        sandwich = self._covariance.sandwich
        if sandwich is None or cov_p is not None or found.distribution != "t":
            return found
        df = sandwich.satterthwaite(self._constraints(r_matrix)[0])
        if np.ndim(found.sd) == 2:
            df = df[:, None]
        return ContrastResults(effect=found.effect, t=found.tvalue, sd=found.sd, df_denom=df)

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
        sandwich = self._covariance.sandwich
        plain = cov_p is None and invcov is None and df_constraints is None
        use_f = self.use_t if use_f is None else use_f
        if sandwich is None or not plain or not use_f:
            return super().wald_test(r_matrix, cov_p, invcov, use_f, df_constraints, scalar)
        R, q = self._constraints(r_matrix)
        U, s, Vt = np.linalg.svd(R, full_matrices=False)
        keep = s > s.max() * max(R.shape) * np.finfo(float).eps
        # linearly independent combinations of the constraints: the test does not depend on which
        R, q = Vt[keep], (U.T @ q)[keep] / s[keep]
        m = len(R)
        gap = R @ self.params - q
        statistic = float(gap @ np.linalg.solve(R @ sandwich.cov @ R.T, gap))
        eta = sandwich.htz_df(R)
        df_denom = eta - m + 1.0
        if df_denom <= 0.0:
            raise DesignError(
                f"The joint test of {m} constraints has no degrees of freedom left with "
                f"{sandwich.n_groups} clusters (eta = {eta:.3g}). Test fewer constraints."
            )
        F: Any = statistic * df_denom / (eta * m)
        return ContrastResults(F=F if scalar else np.array([[F]]), df_denom=df_denom, df_num=m)

    @property
    def _omnibus(self) -> tuple[float, float, float, float | None]:
        """Statistic, p-value and degrees of freedom of the test of all moderators."""
        return self._summary_cache("omnibus", self._omnibus_test)

    def _omnibus_test(self) -> tuple[float, float, float, float | None]:
        if self.df_model <= 0:
            return np.nan, np.nan, 0.0, None
        test = self.wald_test(self._omnibus_contrasts(), scalar=True)
        is_f = test.distribution == "F"
        df = (test.df_num, test.df_denom) if is_f else (test.df_denom, None)
        return float(test.statistic), float(test.pvalue), *df

    def _omnibus_contrasts(self) -> Array:
        """Contrasts that are 0 where all studies have the same expected effect, (m, p)."""
        Z = self.model._basis.Z
        contrasts = Z.T @ self.model.exog
        if not self.k_constant:
            return contrasts
        # a constant effect is the null: drop its direction from the column space
        constant = Z.T @ np.ones(len(Z))
        others = np.linalg.qr(constant[:, None], mode="complete")[0][:, 1:]
        return others.T @ contrasts

    @property
    def fvalue(self) -> float:
        """Omnibus test of the moderators: F, or chi-squared where tests are normal.

        NaN, as everywhere in statsmodels, where there is no moderator to test.
        """
        return self._omnibus[0]

    @property
    def f_pvalue(self) -> float:
        """p-value of the omnibus test of the moderators."""
        return self._omnibus[1]

    @property
    def f_df(self) -> tuple[float, float | None]:
        """Degrees of freedom of the omnibus test; the second is None for chi-squared."""
        return self._omnibus[2:]

    # --- heterogeneity -------------------------------------------------------------------------

    @property
    def heterogeneity(self) -> frames.Heterogeneity:
        """Q, I2, H2, R2 and the decomposition of Q; see `Heterogeneity`."""
        return self._summary_cache("heterogeneity", self._heterogeneity)

    def _heterogeneity(self) -> frames.Heterogeneity:
        estimator = self._tau2_fit.estimator
        tau2_null = self.tau2
        if estimator is not None and self.df_model > 0:
            tau2_null = float(estimator.solve(self._null_studies, self._genq_weights).tau2)
        return frames.heterogeneity(self._studies, self._null_studies, self.tau2, tau2_null)

    def conf_int_tau2(self, alpha: float = 0.05, method: str = "q-profile") -> pd.DataFrame:
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
        estimator = self._tau2_fit.estimator
        if estimator is None:
            raise OptionError("tau2 is held fixed in this fit; there is no interval for it.")

        def likelihood() -> intervals.Tau2Set:
            if estimator.reml is None:
                raise OptionError(
                    "method='profile-likelihood' needs a fit by 'reml' or 'ml'; this one is by "
                    f"{estimator.name!r}."
                )
            return intervals.profile_likelihood(self._studies, estimator.reml, alpha)

        methods = {
            "q-profile": lambda: intervals.q_profile(self._studies, alpha),
            "profile-likelihood": likelihood,
            "wald": lambda: intervals.wald(self.tau2, self.tau2_se, alpha),
        }
        found = choose(methods, method, "method")()
        if found.kind != "interval":
            warnings.warn(
                f"The {method} confidence set for tau2 is {found.kind}: {_KINDS[found.kind]}",
                IntervalWarning,
                stacklevel=2,
            )
        return frames.tau2_intervals(self.tau2, float(typical_variance(self._studies)), found)

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
        return lr_test_tau2(self)

    def compare_lr_test(self, restricted: Any, refit: bool = False) -> LRTest:
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
        return compare_lr_test(self, restricted, refit)

    # --- predictions ---------------------------------------------------------------------------

    def get_prediction(
        self, exog: Any = None, transform: bool = True, row_labels: Any = None, df: Any = None
    ) -> MetaRegPrediction:
        """Predict mean effects, and the true effects of new studies.

        Parameters
        ----------
        exog : DataFrame, dict or array_like, optional
            Moderators of the new studies, in the terms of the formula where there was one; the
            studies of the model by default.
        transform : bool, default True
            Pass `exog` through the formula.
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

    # --- resampling ----------------------------------------------------------------------------

    def permutation_test(
        self, n_resamples: int = 9999, rng: resample.Seed = None, method: str = "rows"
    ) -> resample.PermutationTest:
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
        return resample.permutation_test(self, n_resamples, method, rng)

    def bootstrap(
        self, n_resamples: int = 1999, rng: resample.Seed = None, method: str = "parametric"
    ) -> resample.Bootstrap:
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
        return resample.bootstrap(self, n_resamples, method, rng)

    def bootstrap_lr_test_tau2(self, n_resamples: int = 1999, rng: resample.Seed = None) -> LRTest:
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
        return resample.bootstrap_lr_test_tau2(self, n_resamples, rng)

    def simulate(
        self, n_resamples: int = 1, rng: resample.Seed = None, tau2: float | None = None
    ) -> Array:
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
        return resample.simulate(self, n_resamples, tau2, rng)

    # --- several tests at once, and what they rest on -------------------------------------------

    def adjust_pvalues(self, method: str = "holm", alpha: float = 0.05) -> pd.DataFrame:
        """p-values of the coefficients, adjusted for there being several of them.

        Parameters
        ----------
        method : str, default "holm"
            As in `statsmodels.stats.multitest.multipletests`.
        alpha : float, default 0.05
            Level of the tests together.

        Returns
        -------
        DataFrame
            Columns pvalue, pvalue_adjusted and reject, one row a coefficient without the constant.

        Raises
        ------
        OptionError
            If there is no moderator.
        """
        from statsmodels.stats.multitest import multipletests

        constant = self.model.data.const_idx
        rows = [j for j in range(len(self.params)) if j != constant]
        if not rows:
            raise OptionError("There is no moderator whose p-value could be adjusted.")
        pvalues = np.asarray(self.pvalues)[rows]
        reject, adjusted, *_ = multipletests(pvalues, alpha=alpha, method=method)
        names = [self.model.data.param_names[j] for j in rows]
        return pd.DataFrame(
            {"pvalue": pvalues, "pvalue_adjusted": adjusted, "reject": reject}, index=names
        )

    def simple_slopes(
        self, moderator: str, at: Mapping[str, Any], alpha: float = 0.05
    ) -> SimpleSlopes:
        """Slopes of one moderator at chosen values of those that it interacts with.

        Parameters
        ----------
        moderator : str
            A column of the data that enters linearly.
        at : mapping
            Values of the partners, for instance ``{"dose": [0, 1]}``; all combinations are taken.
        alpha : float, default 0.05
            1 minus the coverage of the intervals.

        Returns
        -------
        SimpleSlopes
            `frame`, and `johnson_neyman(partner)` for the values of a continuous partner at which
            the slope turns significant.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ ablat * year", bcg, vi="vi").fit()
        >>> res.simple_slopes("ablat", at={"year": [1940, 1970]}).frame["slope"].round(4).tolist()
        [-0.0176, -0.0261]
        """
        return simple_slopes(self, moderator, at, alpha)

    def vif(self) -> pd.DataFrame:
        """Variance inflation factors, generalised for terms of several columns.

        Returns
        -------
        DataFrame
            One row a coefficient: term, vif, df, gvif and gvif_adjusted = gvif^(1/(2 df))
            (Fox & Monette, 1992).
        """
        return vif(self)

    @property
    def condition_number(self) -> float:
        """Condition number of the weighted design, as statsmodels' WLS reports it."""
        return condition_number(self)

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


_KINDS = {
    "empty": "the studies vary less than their sampling variances allow for. The ends are NaN.",
    "unbounded": "no upper end exists. It is infinite.",
    "disjoint": "it has gaps, the likelihood having several maxima. The ends enclose all of it.",
}


class MetaRegResultsWrapper(LikelihoodResultsWrapper):
    """Results with pandas labels."""

    _attrs = {"weights": "rows"}  # noqa: RUF012
    _wrap_attrs = wrap.union_dicts(LikelihoodResultsWrapper._wrap_attrs, _attrs)


wrap.populate_wrapper(MetaRegResultsWrapper, MetaRegResults)
