"""Tests of the coefficients and of contrasts, with the degrees of freedom of the covariance."""

from __future__ import annotations

from typing import Any

import numpy as np
from statsmodels.base.model import LikelihoodModelResults
from statsmodels.formula._manager import FormulaManager
from statsmodels.stats.contrast import ContrastResults
from statsmodels.tools._decorators import cached_value

from metareg_sm._typing import Array
from metareg_sm.stats.covariance import Covariance
from metareg_sm.stats.hotelling import hotelling_test, independent_constraints
from metareg_sm.stats.reference import interval, two_sided_pvalue


class ContrastInference(LikelihoodModelResults):
    """Inference on the coefficients, as statsmodels' results have it.

    t and F tests have the degrees of freedom that belong to the covariance type; each contrast its
    own where the covariance is CR2 or CR3.
    """

    _covariance: Covariance

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
        use_f = self.use_t if use_f is None else use_f
        if not (cov_p is None and invcov is None and df_constraints is None):
            return super().wald_test(r_matrix, cov_p, invcov, use_f, df_constraints, scalar)
        R, q = self._constraints(r_matrix)
        se = np.asarray(self.bse)
        R, q = independent_constraints(R, q, np.where(se > 0.0, se, 1.0))
        if sandwich is None or not use_f:
            return super().wald_test((R, q), use_f=use_f, scalar=scalar)
        test = hotelling_test(sandwich, R, R @ np.asarray(self.params) - q)
        F: Any = test.statistic if scalar else np.array([[test.statistic]])
        return ContrastResults(F=F, df_denom=test.df_denom, df_num=test.df_num)

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
