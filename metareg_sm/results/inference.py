"""statsmodels' methods, with the degrees of freedom that belong to the covariance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from statsmodels.stats.contrast import ContrastResults

from metareg_sm._compat import cached_value
from metareg_sm._typing import Array
from metareg_sm.options import check_alpha
from metareg_sm.postestimation import inference
from metareg_sm.results.fitted import FittedResults
from metareg_sm.stats.reference import interval, two_sided_pvalue

if TYPE_CHECKING:
    from metareg_sm.postestimation.inference import OmnibusTest


class InferenceResults(FittedResults):
    """Results of a model with known sampling variances and estimated variances of true effects.

    t and F tests have the degrees of freedom that belong to the covariance type; each contrast its
    own where the covariance is CR2 or CR3.
    """

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

    def contrast_se(self, contrasts: Array) -> Array:
        """Standard errors of contrasts of the coefficients.

        Parameters
        ----------
        contrasts : ndarray, (n, p)
            One contrast a row; a row of the design for the mean there.

        Returns
        -------
        ndarray, (n,)
        """
        return self.covariance.standard_errors(contrasts)

    def _df_of(self, rows: Array) -> Array:
        covariance = self.covariance
        if covariance.sandwich is not None:
            return covariance.sandwich.satterthwaite(rows)
        assert covariance.coefficient_df is not None
        return inference.smallest_df(rows * self.bse, covariance.coefficient_df)

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
        if cov_p is not None:
            return inference.Contrasts(super().t_test((R, q), cov_p=cov_p, use_t=use_t))
        df: float | Array | None = None
        if self.use_t if use_t is None else use_t:
            residual = getattr(self, "df_resid_inference", self.df_resid)
            df = self._df_of(R) if self._own_df else residual
        return inference.tests_of(R @ np.asarray(self.params), q, self.contrast_se(R), df)

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
            gap = R @ np.asarray(self.params) - q
            df = getattr(self, "df_resid_inference", self.df_resid)
            if self._own_df:
                df = float(self._df_of(R).min())
            half = R @ self.covariance.root
            return inference.joint_test(gap, half, df if use_f else None, scalar)
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
