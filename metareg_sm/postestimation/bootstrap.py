"""Simulation from a fit, and the bootstrap."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from metareg_sm._typing import Array, BootstrapInterval, BootstrapScheme, Seed
from metareg_sm.core.likelihood import residuals_at
from metareg_sm.core.studies import Studies
from metareg_sm.exceptions import DesignError, FewStudiesWarning
from metareg_sm.options import check_alpha, choose, finite_number, generator, whole_number
from metareg_sm.postestimation.comparison import LRTest, lr_test_tau2
from metareg_sm.postestimation.fitted import Tau2Fitted
from metareg_sm.postestimation.heterogeneity import heterogeneity
from metareg_sm.postestimation.prediction import new_rows
from metareg_sm.postestimation.resampling import null_basis, refit_of
from metareg_sm.printing import Overview, Printed
from metareg_sm.stats import resampling
from metareg_sm.stats.batch import BlockFit
from metareg_sm.stats.heterogeneity import r2


@dataclass(frozen=True, repr=False)
class Bootstrap(Printed):
    """Bootstrap distribution of a fit.

    Attributes
    ----------
    distribution : DataFrame
        One row a resample; the coefficients, tau2, i2 and r2.
    estimate : Series
        The same of the data.
    method : {"parametric", "studies"}
        How resamples were drawn.
    n_failed : int
        Resamples that could not be fitted and are left out.
    """

    distribution: pd.DataFrame
    estimate: pd.Series
    method: str
    n_failed: int
    _fit: Tau2Fitted = field(repr=False)

    def overview(self) -> Overview:
        """What is printed: percentile intervals at 95 %."""
        failed = f", {self.n_failed:,} could not be fitted" if self.n_failed else ""
        lines = [("Resamples", f"{len(self.distribution):,}, {self.method}{failed}")]
        frame = self.conf_int()
        frame.insert(1, "se", self.standard_error)
        note = "Percentile intervals at 95 %; conf_int(kind='bca') corrects their bias."
        return Overview("Bootstrap", lines, frame, note)

    @property
    def standard_error(self) -> pd.Series:
        """Standard deviation of the resamples."""
        return self.distribution.std(ddof=1)

    @cached_property
    def _jackknife(self) -> Array:
        counts = resampling.deletions(len(self._fit.table.endog))
        table = _counted_quantities(self._fit, counts)
        keep = ~np.isnan(table).any(axis=1)
        return table[keep]

    def conf_int(self, alpha: float = 0.05, kind: BootstrapInterval = "percentile") -> pd.DataFrame:
        """Bootstrap intervals.

        Parameters
        ----------
        alpha : float, default 0.05
            1 minus the coverage.
        kind : {"percentile", "bca"}
            Percentile, or bias-corrected and accelerated.

        Returns
        -------
        DataFrame
            Columns estimate, ci_lower, ci_upper; rows the coefficients, tau2, i2 and r2.
        """
        return self._intervals(np.eye(len(self.estimate)), self.estimate.index, alpha, kind)

    def conf_int_mean(
        self,
        exog: Any,
        alpha: float = 0.05,
        kind: BootstrapInterval = "percentile",
        transform: bool = True,
    ) -> pd.DataFrame:
        """Bootstrap intervals of mean effects at given moderators.

        Parameters
        ----------
        exog : DataFrame, dict or array_like
            Moderators, as in `get_prediction`.
        alpha, kind
            As in `conf_int`.
        transform : bool, default True
            Pass `exog` through the formula.

        Returns
        -------
        DataFrame
            Columns estimate, ci_lower, ci_upper; one row a row of `exog`.
        """
        rows, labels = new_rows(self._fit, exog, transform)
        return self._intervals(rows, labels, alpha, kind)

    def _intervals(
        self, rows: Array, index: pd.Index | None, alpha: float, kind: BootstrapInterval
    ) -> pd.DataFrame:
        """Intervals of linear combinations of the first quantities, one a row of `rows`."""
        alpha = check_alpha(alpha)
        m = rows.shape[1]
        draws = self.distribution.to_numpy()[:, :m] @ rows.T
        estimate = rows @ self.estimate.to_numpy()[:m]
        kinds = {
            "percentile": lambda: resampling.percentile_interval(draws, alpha),
            "bca": lambda: resampling.bca_interval(
                draws, estimate, self._jackknife[:, :m] @ rows.T, alpha
            ),
        }
        ends = choose(kinds, kind, "kind")()
        columns = {"estimate": estimate, "ci_lower": ends[:, 0], "ci_upper": ends[:, 1]}
        return pd.DataFrame(columns, index=index)


def _quantities(fit: BlockFit, tau2_null: Array) -> Array:
    return np.column_stack([fit.params, fit.tau2, fit.i2, r2(fit.tau2, tau2_null)])


def _null_refit(fit: Tau2Fitted, refit: resampling.ResampledModel) -> resampling.ResampledModel:
    return replace(refit, basis=null_basis(fit))


def _counted_quantities(fit: Tau2Fitted, counts: Array) -> Array:
    refit, table = refit_of(fit), fit.table
    y, v = table.endog, table.vi
    found = resampling.refit_counts(y, v, refit, counts)
    null = resampling.refit_counts(y, v, _null_refit(fit, refit), counts).tau2
    return _quantities(found, null)


def simulate(fit: Tau2Fitted, n_resamples: int, tau2: float | None, rng: Seed) -> Array:
    """Outcomes drawn from a fit; see `MetaRegResults.simulate`."""
    n = whole_number(n_resamples, "n_resamples")
    value = fit.tau2 if tau2 is None else finite_number(tau2, "tau2", least=0.0)
    table = fit.table
    noise = generator(rng).standard_normal((n, len(table.endog)))
    return np.asarray(fit.fittedvalues) + np.sqrt(table.vi + value) * noise


def bootstrap(fit: Tau2Fitted, n_resamples: int, method: BootstrapScheme, rng: Seed) -> Bootstrap:
    """Bootstrap; see `MetaRegResults.bootstrap`."""
    n = whole_number(n_resamples, "n_resamples")
    refit, table = refit_of(fit), fit.table
    # I2 and R2 must be defined for the data themselves
    h = heterogeneity(fit)
    k = len(table.endog)

    def parametric() -> Array:
        outcomes = simulate(fit, n, None, rng)
        found = resampling.refit_outcomes(outcomes, table.vi, refit)
        null = resampling.refit_outcomes(outcomes, table.vi, _null_refit(fit, refit)).tau2
        return _quantities(found, null)

    def studies() -> Array:
        drawn = generator(rng).multinomial(k, np.full(k, 1.0 / k), size=n)
        return _counted_quantities(fit, drawn.astype(float))

    quantities = choose({"parametric": parametric, "studies": studies}, method, "method")()
    fitted = ~np.isnan(quantities).any(axis=1)
    failed = int(n - fitted.sum())
    if failed:
        warnings.warn(
            f"{failed} of {n} bootstrap samples have too few different studies for the moderators "
            "and are left out.",
            FewStudiesWarning,
            stacklevel=3,
        )
    if failed == n:
        raise DesignError("No bootstrap sample can be fitted: there are too few studies.")
    names = [*fit.terms.names, "tau2", "i2", "r2"]
    estimate = pd.Series([*np.asarray(fit.params), fit.tau2, h.i2, h.r2], index=names)
    frame = pd.DataFrame(quantities[fitted], columns=names)
    return Bootstrap(frame, estimate, str(method).lower(), failed, fit)


def bootstrap_lr_test_tau2(fit: Tau2Fitted, n_resamples: int, rng: Seed) -> LRTest:
    """Bootstrap test of tau2 = 0; see `MetaRegResults.bootstrap_lr_test_tau2`."""
    observed = lr_test_tau2(fit).statistic
    n = whole_number(n_resamples, "n_resamples")
    table, reml = fit.table, fit.components.maximised == "reml"
    mean = table.endog - residuals_at(fit.studies, 0.0)
    noise = generator(rng).standard_normal((n, len(mean)))
    statistics = np.empty(n)
    for rows in resampling.blocks(table.basis.rank, n, len(mean)):
        drawn = Studies.build(mean + np.sqrt(table.vi) * noise[rows], table.vi, table.basis)
        profile = drawn.profile(reml)
        best = profile.loglike(drawn.maximize(reml).tau2)
        statistics[rows] = np.maximum(2.0 * (best - profile.loglike(np.zeros(len(best)))), 0.0)
    pvalue = float(resampling.permutation_pvalue(statistics, np.asarray(observed), exact=False))
    return LRTest(observed, pvalue, 1.0)
