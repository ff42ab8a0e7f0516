"""Results of mass-univariate fits."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
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
from metareg_sm.many.containers import as_floats, in_memory, refuse_what_holds_no_numbers
from metareg_sm.many.layout import SharedModel
from metareg_sm.many.mapped import forget
from metareg_sm.many.overview import overview, overview_of_test
from metareg_sm.many.sources import Source
from metareg_sm.many.writers import check_path, write_tables
from metareg_sm.options import check_alpha, choose
from metareg_sm.stats.blocks import Reason
from metareg_sm.stats.reference import interval, two_sided_pvalue


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
        Whether the outcome was fitted, and tau2 is the global maximum for certain where it
        maximises a likelihood.
    reason : ndarray of int, (n,)
        0 where converged; `metareg_sm.many.REASONS` explains the others.
    exog_names : list of str
        Names of the coefficients.
    """

    def __init__(self, table: Any, model: SharedModel, source: Source, names: list[str]) -> None:
        self._table, self._model, self._source = table, model, source
        self.exog_names = names

    def __len__(self) -> int:
        return int(self._table.shape[0])

    def __repr__(self) -> str:
        return overview(self).text()

    def _repr_html_(self) -> str:
        return overview(self).html()

    @property
    def use_t(self) -> bool:
        """Tests refer to t rather than the normal distribution."""
        return self._model.covariance.use_t

    @property
    def tau2_label(self) -> str:
        """How tau2 was estimated, as it is printed."""
        estimator = self._model.batch.estimator
        return f"fixed tau2, {self._model.tau2:g}" if estimator is None else estimator.label

    @property
    def cov_label(self) -> str:
        """The covariance of the coefficients, as it is printed."""
        return self._model.covariance.label

    @property
    def in_memory(self) -> Array | None:
        """The table of all numbers; None where dask has not computed it."""
        return self._table if isinstance(self._table, np.ndarray) else None

    def _read(self, name: str) -> Any:
        return self._model.layout.read(self._table, name)

    @property
    def params(self) -> Any:
        """Coefficients, (n, p)."""
        return self._read("params")

    @property
    def tau2(self) -> Any:
        """Heterogeneity, (n,)."""
        return self._read("tau2")

    @property
    def scale(self) -> Any:
        """Factor on the covariance, (n,)."""
        return self._read("scale")

    @property
    def nobs(self) -> Any:
        """Studies of each outcome, (n,)."""
        return self._read("nobs")

    @property
    def df_resid(self) -> Any:
        """Studies less coefficients, (n,)."""
        return self.nobs - len(self.exog_names)

    @property
    def reason(self) -> Any:
        """Codes of `REASONS`, (n,)."""
        return self._read("reason").astype(int)

    @property
    def converged(self) -> Any:
        """Whether the outcome was fitted, and tau2 found for certain, (n,)."""
        return self._read("reason") == Reason.FITTED

    def _standard_errors(self, contrasts: Array) -> Any:
        covariance = self._read("covariance")
        weights = diagonal_of(contrasts, np.eye(covariance.shape[1]))
        return np.sqrt(covariance @ weights.T * self.scale[:, None])

    @property
    def bse(self) -> Any:
        """Standard errors, (n, p)."""
        return self._standard_errors(np.eye(len(self.exog_names)))

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

        Raises
        ------
        OptionError
            If `alpha` is not between 0 and 1.
        """
        return interval(self.params, self.bse, check_alpha(alpha), self._df())

    @property
    def q(self) -> Any:
        """Residual heterogeneity Q_E with weights 1/v, (n,)."""
        return self._read("q")

    @property
    def i2(self) -> Any:
        """tau2 / (s2 + tau2), a fraction, (n,)."""
        return self._read("i2")

    @cached_property
    def llf(self) -> Any:
        """Log-likelihood, restricted for REML, (n,)."""
        return self._source.map(self._model.loglike, 1, self.tau2)[:, 0]

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
            If the rows do not have one finite number a coefficient.
        """
        p = len(self.exog_names)
        refuse_what_holds_no_numbers(r_matrix, "r_matrix")
        R = np.atleast_2d(as_floats(in_memory(r_matrix, "r_matrix")))
        if R.ndim != 2 or R.shape[1] != p:
            raise DesignError(
                f"r_matrix must have one element a coefficient in each row; it has shape {R.shape} "
                f"and there are {p} coefficients."
            )
        if not np.isfinite(R).all():
            row, column = np.argwhere(~np.isfinite(R))[0]
            raise DesignError(f"r_matrix is missing or infinite in row {row}, column {column}.")
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

        Raises
        ------
        OptionError
            If there is no such method, or `alpha` is not between 0 and 1.
        """
        from statsmodels.stats.multitest import multipletests, multitest_alias

        alpha = check_alpha(alpha)
        method = choose(multitest_alias, method, "method")
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
            The index has the labels of the outcomes, where they have any.

        Raises
        ------
        OptionError
            If `alpha` is not between 0 and 1.
        """
        alpha = check_alpha(alpha)
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
        fitted = ManyResults(table, self._model, self._source, self.exog_names)
        fitted.__dict__["llf"] = llf
        return fitted

    def model(self, i: Hashable) -> Any:
        """Ordinary results of one outcome, with everything that a single fit offers.

        Parameters
        ----------
        i : int or label
            The outcome's position, negative ones counting from the end, or its label, where the
            outcomes have labels that are not numbers.

        Returns
        -------
        MetaRegResultsWrapper

        Raises
        ------
        OutcomeError, OptionError
            If there is no such outcome.
        DesignError, VarianceError
            If a single fit refuses the outcome, as where it has too few studies.
        """
        from metareg_sm.models.metareg import MetaReg

        y, v = self._source.row(self._source.position(i))
        keep = ~(np.isnan(y) | np.isnan(v))
        exog = pd.DataFrame(self._model.exog[keep], columns=self.exog_names)
        return MetaReg(pd.Series(y[keep], name="y"), exog, vi=v[keep]).fit(
            tau2=self._model.tau2, cov_type=self._model.covariance.name
        )

    def save(self, path: str | Path) -> None:
        """Write all numbers block by block, without holding them in memory.

        The file takes its name when it is complete: it replaces one that was there before, which
        is left alone if there is an error or an interrupt.

        Parameters
        ----------
        path : str or Path
            Ending in ".parquet" for a table with the columns of `to_frame`, or in ".npy" for an
            array with these columns in that order.

        Raises
        ------
        OptionError
            If the path ends in neither.
        FileError
            If the file cannot be written.
        """
        write_tables(check_path(path), self._at_least_one_frame(), len(self))

    def _at_least_one_frame(self) -> Iterator[pd.DataFrame]:
        """`iter_frames`; without outcomes there is no block, yet there are columns."""
        if len(self) == 0:
            yield self.to_frame()
        yield from self.iter_frames()

    def iter_frames(self) -> Iterator[pd.DataFrame]:
        """`to_frame` of one block of outcomes after another."""
        model = self._model
        for rows, source in self._source.blocks():
            # dask would read the block once more for every number that is asked of it
            lazy = self._source.lazy
            table = source.map(model.fit, model.layout.width) if lazy else self._table[rows]
            yield ManyResults(table, model, source, self.exog_names).to_frame()
            forget(table)


@dataclass(frozen=True, slots=True)
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

    def __repr__(self) -> str:
        return overview_of_test(self).text()

    def _repr_html_(self) -> str:
        return overview_of_test(self).html()
