"""Results of mass-univariate fits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from metareg_sm._typing import Array
from metareg_sm.core.gram import diagonal_of
from metareg_sm.exceptions import DesignError
from metareg_sm.many.layout import Plan
from metareg_sm.many.mapped import forget
from metareg_sm.many.sources import Source, write_results
from metareg_sm.stats.batch import Reason
from metareg_sm.stats.reference import interval, two_sided_pvalue

REASONS = {
    Reason.FITTED: "fitted",
    Reason.TOO_FEW_STUDIES: "not more studies than coefficients",
    Reason.REDUNDANT_MODERATORS: "the moderators are redundant among the studies that are there",
    Reason.NO_VARIATION: "all outcomes are equal",
    Reason.ZERO_VARIANCE: "a sampling variance of 0 leaves the model undefined",
    Reason.OUT_OF_RANGE: "outcomes or variances are so large or small that their powers leave "
    "floating point",
    Reason.NOT_CERTIFIED: "the search for tau2 gave up before it was certain of the global maximum",
}
"""What the codes in `ManyResults.reason` mean."""


class ManyResults:
    """Results of many meta-regressions with the same moderators.

    Arrays have one row an outcome. Given dask arrays, so are these, and nothing is computed before
    `compute()`. An outcome that cannot be fitted is NaN, and `reason` says why.

    Attributes
    ----------
    params, bse, tvalues, pvalues : ndarray, (n, p)
        Coefficients, standard errors, their ratio and two-sided p-values.
    tau2 : ndarray, (n,)
        Heterogeneity, in squared units of the outcome.
    scale : ndarray, (n,)
        Knapp-Hartung factor on the covariance; 1 for "nonrobust".
    nobs, df_resid : ndarray, (n,)
        Studies k of each outcome; k - p.
    converged : ndarray of bool, (n,)
        Whether the outcome was fitted; the search itself is certified and cannot fail.
    reason : ndarray of int, (n,)
        0 where fitted; `metareg_sm.many.REASONS` explains the others.
    exog_names : list of str
        Names of the coefficients.
    """

    def __init__(self, table: Any, plan: Plan, source: Source, names: list[str]) -> None:
        self._table, self._plan, self._source = table, plan, source
        self.exog_names = names

    def __len__(self) -> int:
        return int(self._table.shape[0])

    def __repr__(self) -> str:
        estimator = self._plan.fitting.estimator
        label = estimator.label if estimator else "fixed tau2"
        return f"<ManyResults: {len(self)} outcomes, {self._plan.p} coefficients, {label}>"

    @property
    def use_t(self) -> bool:
        """Tests refer to t rather than the normal distribution."""
        return self._plan.covariance.use_t

    def _columns(self, begin: int, end: int) -> Any:
        return self._table[:, begin:end]

    def _column(self, offset: int) -> Any:
        return self._table[:, self._plan.p + self._plan.width + offset]

    @property
    def params(self) -> Any:
        """Coefficients, (n, p)."""
        return self._columns(0, self._plan.p)

    @property
    def tau2(self) -> Any:
        """Heterogeneity, (n,)."""
        return self._column(0)

    @property
    def scale(self) -> Any:
        """Factor on the covariance, (n,)."""
        return self._column(1)

    @property
    def nobs(self) -> Any:
        """Studies of each outcome, (n,)."""
        return self._column(2)

    @property
    def df_resid(self) -> Any:
        """Studies less coefficients, (n,)."""
        return self.nobs - self._plan.p

    @property
    def reason(self) -> Any:
        """Codes of `REASONS`, (n,)."""
        return self._column(3).astype(int)

    @property
    def converged(self) -> Any:
        """Whether the outcome was fitted, (n,)."""
        return self._column(3) == 0

    def _standard_errors(self, contrasts: Array) -> Any:
        covariance = self._columns(self._plan.p, self._plan.p + self._plan.width)
        weights = diagonal_of(contrasts, np.eye(self._plan.width))
        return np.sqrt(covariance @ weights.T * self.scale[:, None])

    @property
    def bse(self) -> Any:
        """Standard errors, (n, p)."""
        return self._standard_errors(np.eye(self._plan.p))

    @property
    def tvalues(self) -> Any:
        """Coefficients over their standard errors, (n, p)."""
        return self.params / self.bse

    def _df(self) -> Any:
        return self.df_resid[:, None] if self.use_t else None

    @property
    def pvalues(self) -> Any:
        """Two-sided p-values, (n, p)."""
        return two_sided_pvalue(self.tvalues, self._df())

    def conf_int(self, alpha: float = 0.05) -> Any:
        """Confidence intervals.

        Parameters
        ----------
        alpha : float, default 0.05
            1 minus the coverage.

        Returns
        -------
        ndarray, (n, p, 2)
        """
        return interval(self.params, self.bse, alpha, self._df())

    @property
    def q(self) -> Any:
        """Residual heterogeneity Q_E with weights 1/v, (n,)."""
        return self._column(4)

    @property
    def i2(self) -> Any:
        """tau2 / (s2 + tau2), a fraction, (n,)."""
        return self._column(5)

    @cached_property
    def llf(self) -> Any:
        """Log-likelihood, restricted for REML, (n,)."""
        return self._source.map(self._plan.loglike, 1, self.tau2)[:, 0]

    def t_test(self, r_matrix: npt.ArrayLike) -> ManyTest:
        """Test linear combinations of the coefficients, in every outcome.

        Parameters
        ----------
        r_matrix : array_like, (p,) or (m, p)
            One combination a row.

        Returns
        -------
        ManyTest
            effect, sd, statistic and pvalue, (n, m) each.

        Raises
        ------
        DesignError
            If the rows do not have one element a coefficient.
        """
        R = np.atleast_2d(np.asarray(r_matrix, dtype=float))
        if R.shape[1] != self._plan.p:
            raise DesignError(
                f"r_matrix has {R.shape[1]} columns; there are {self._plan.p} coefficients."
            )
        effect, sd = self.params @ R.T, self._standard_errors(R)
        statistic = effect / sd
        return ManyTest(effect, sd, statistic, two_sided_pvalue(statistic, self._df()))

    def adjust_pvalues(self, method: str = "fdr_bh", alpha: float = 0.05) -> Array:
        """p-values adjusted across outcomes, for each coefficient by itself.

        Parameters
        ----------
        method : str, default "fdr_bh"
            As in `statsmodels.stats.multitest.multipletests`.
        alpha : float, default 0.05
            Level, for methods that depend on it.

        Returns
        -------
        ndarray, (n, p)
            NaN where the outcome was not fitted; those do not count as tests.
        """
        from statsmodels.stats.multitest import multipletests

        pvalues = np.asarray(self.pvalues)
        adjusted = np.full(pvalues.shape, np.nan)
        for column in range(pvalues.shape[1]):
            known = np.flatnonzero(~np.isnan(pvalues[:, column]))
            if known.size:
                found = multipletests(pvalues[known, column], alpha=alpha, method=method)
                adjusted[known, column] = found[1]
        return adjusted

    def to_frame(self, alpha: float = 0.05) -> pd.DataFrame:
        """All numbers as one table.

        Parameters
        ----------
        alpha : float, default 0.05
            1 minus the coverage of the intervals.

        Returns
        -------
        DataFrame
            One row an outcome; for each coefficient x the columns coef[x], se[x], statistic[x],
            pvalue[x], ci_lower[x] and ci_upper[x]; tau2, q, i2, llf, scale, nobs, df_resid, reason.
        """
        fitted = self.compute()
        ends = fitted.conf_int(alpha)
        columns: dict[str, Array] = {}
        parts = (fitted.params, fitted.bse, fitted.tvalues, fitted.pvalues)
        for j, name in enumerate(self.exog_names):
            for label, values in zip(("coef", "se", "statistic", "pvalue"), parts, strict=True):
                columns[f"{label}[{name}]"] = values[:, j]
            columns[f"ci_lower[{name}]"], columns[f"ci_upper[{name}]"] = ends[:, j].T
        for label in ("tau2", "q", "i2", "llf", "scale", "nobs", "df_resid", "reason"):
            columns[label] = getattr(fitted, label)
        return pd.DataFrame(columns, index=self._source.labels)

    def compute(self) -> ManyResults:
        """The same results in memory, where they are dask's; otherwise these."""
        if isinstance(self._table, np.ndarray):
            return self
        table, llf = self._source.compute(self._table, self.llf)
        fitted = ManyResults(table, self._plan, self._source, self.exog_names)
        fitted.__dict__["llf"] = llf
        return fitted

    def model(self, i: int) -> Any:
        """Ordinary results of one outcome, with everything that a single fit offers.

        Parameters
        ----------
        i : int
            Row of the outcome.

        Returns
        -------
        MetaRegResultsWrapper
        """
        from metareg_sm.models.metareg import MetaReg

        y, v = self._source.row(i)
        keep = ~(np.isnan(y) | np.isnan(v))
        exog = pd.DataFrame(self._source.exog, columns=self.exog_names)
        plan, estimator = self._plan, self._plan.fitting.estimator
        return MetaReg(
            pd.Series(y[keep], name="y"), exog[keep].reset_index(drop=True), vi=v[keep]
        ).fit(
            tau2=plan.fitting.fixed if estimator is None else estimator.name,
            cov_type=plan.covariance.name,
        )

    def save(self, path: str | Path) -> None:
        """Write all numbers block by block, without holding them in memory.

        Parameters
        ----------
        path : str or Path
            Ending in ".parquet" for a table with the columns of `to_frame`, or in ".npy" for an
            array with these columns in that order.

        Raises
        ------
        OptionError
            If the path ends in neither.
        """
        write_results(self, Path(path))

    def iter_frames(self) -> Iterator[pd.DataFrame]:
        """`to_frame` of one block of outcomes after another."""
        for rows, source in self._source.blocks():
            plan = self._plan
            # dask would read the block once more for every number that is asked of it
            lazy = self._source.lazy
            table = source.map(plan.fit, plan.columns) if lazy else self._table[rows]
            yield ManyResults(table, plan, source, self.exog_names).to_frame()
            forget(table)


@dataclass(frozen=True)
class ManyTest:
    """Tests of linear combinations in every outcome.

    Attributes
    ----------
    effect, sd, statistic, pvalue : ndarray, (n, m)
        Estimate, standard error, their ratio and two-sided p-value.
    """

    effect: Any
    sd: Any
    statistic: Any
    pvalue: Any
