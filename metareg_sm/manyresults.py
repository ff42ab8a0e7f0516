"""Results of mass-univariate fits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from metareg_sm.core.gram import diagonal_of, packed, pairs_of
from metareg_sm.core.tau2 import Estimator
from metareg_sm.core.wls import Array, Basis, Rows, design_basis
from metareg_sm.exceptions import DesignError
from metareg_sm.manyio import Source, write_results
from metareg_sm.paging import forget
from metareg_sm.stats.batch import Block, Reason, block_loglike, fit_block, prepare
from metareg_sm.stats.covariance import CovarianceType
from metareg_sm.stats.prediction import interval, two_sided_pvalue

REASONS = {
    Reason.FITTED: "fitted",
    Reason.TOO_FEW_STUDIES: "not more studies than coefficients",
    Reason.REDUNDANT_MODERATORS: "the moderators are redundant among the studies that are there",
    Reason.NO_VARIATION: "all outcomes are equal",
    Reason.ZERO_VARIANCE: "a sampling variance of 0 leaves the model undefined",
}
"""What the codes in `ManyResults.reason` mean."""


@dataclass(frozen=True)
class Plan:
    """How each block is fitted."""

    basis: Basis
    estimator: Estimator | None
    fixed: float
    covariance: CovarianceType
    exog: Array

    @property
    def p(self) -> int:
        """Number of coefficients."""
        return self.basis.to_params.shape[0]

    @property
    def width(self) -> int:
        """Number of distinct elements of their covariance."""
        return self.basis.rank * (self.basis.rank + 1) // 2

    @property
    def columns(self) -> int:
        """Number of columns of `fit`."""
        return self.p + self.width + 6

    @property
    def reml(self) -> bool:
        """Whether the log-likelihood is the restricted one."""
        return self.estimator is not None and self.estimator.reml is True

    def prepare(self, y: Array, v: Array) -> Block:
        """Set missing cells aside and find what cannot be fitted."""
        by_variance = self.estimator is not None and not self.estimator.zero_variance
        needs = by_variance or (self.estimator is None and self.fixed == 0.0)
        return prepare(y, v, self.basis, needs)

    @cached_property
    def to_covariance(self) -> Array:
        """Maps distinct elements of a covariance of the basis to those of the coefficients."""
        T = self.basis.to_params
        unit = np.eye(T.shape[1])
        columns = []
        for i, j in pairs_of(T.shape[1]):
            element = np.outer(unit[i], unit[j])
            columns.append(packed(T @ (element if i == j else element + element.T) @ T.T))
        return np.array(columns).reshape(-1, self.width).T

    def fit(self, y: Array, v: Array) -> Array:
        """One row an outcome: params, packed covariance, tau2, scale, nobs, reason, q, i2."""
        block = self.prepare(y, v)
        factor = self.covariance.factor
        assert factor is not None
        fit = fit_block(block, self.basis, self.estimator, self.fixed, factor, heterogeneity=True)
        assert fit.q is not None
        assert fit.i2 is not None
        covariance = self.to_covariance @ fit.unscaled.T
        more = (fit.tau2, fit.scale, block.nobs, block.reason, fit.q, fit.i2)
        table = np.empty((len(block.reason), self.columns), order="F")
        np.concatenate([fit.params.T, covariance, more], out=table.T)
        for rows, keep, plan in self._by_themselves(y, v, block):
            table[rows] = plan.fit(y[np.ix_(rows, keep)], _columns(v, rows, keep))
        return table

    def loglike(self, y: Array, v: Array, tau2: Array) -> Array:
        """One row an outcome: log-likelihood, restricted for REML."""
        block = self.prepare(y, v)
        value = block_loglike(block, tau2, self.reml)[:, None]
        for rows, keep, plan in self._by_themselves(y, v, block):
            found = plan.loglike(y[np.ix_(rows, keep)], _columns(v, rows, keep), tau2[rows])
            value[rows] = found
        return value

    def _by_themselves(self, y: Array, v: Array, block: Block) -> Iterator[tuple[Rows, Rows, Plan]]:
        """Outcomes whose studies need a basis of their own, by the studies that they have.

        A moderator that is nearly all in the studies that are missing hardly shows in the basis of
        all studies, though among those left it may be as good as any.
        """
        hard = np.flatnonzero(block.reason == Reason.REDUNDANT_MODERATORS)
        if not hard.size:
            return
        absent = np.isnan(y[hard]) | np.isnan(v if v.ndim == 1 else v[hard])
        patterns, which = np.unique(absent, axis=0, return_inverse=True)
        for number, pattern in enumerate(patterns):
            keep = np.flatnonzero(~pattern)
            basis = design_basis(self.exog[keep])
            if len(keep) < len(self.exog) and not basis.redundant:
                rows = hard[np.ravel(which) == number]
                yield rows, keep, replace(self, basis=basis, exog=self.exog[keep])


def _columns(v: Array, rows: Rows, keep: Rows) -> Array:
    return v[keep] if v.ndim == 1 else v[np.ix_(rows, keep)]


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
        label = self._plan.estimator.label if self._plan.estimator else "fixed tau2"
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
        return self.nobs - self._plan.basis.rank

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
        from metareg_sm.model import MetaReg

        y, v = self._source.row(i)
        keep = ~(np.isnan(y) | np.isnan(v))
        exog = pd.DataFrame(self._source.exog, columns=self.exog_names)
        plan = self._plan
        return MetaReg(
            pd.Series(y[keep], name="y"), exog[keep].reset_index(drop=True), vi=v[keep]
        ).fit(
            tau2=plan.fixed if plan.estimator is None else plan.estimator.name,
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
