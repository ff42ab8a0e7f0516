"""Simulation from a fit, and the bootstrap."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from metareg_sm._typing import Array
from metareg_sm.core.likelihood import residuals_at
from metareg_sm.core.studies import Studies
from metareg_sm.exceptions import DesignError, FewStudiesWarning, OptionError
from metareg_sm.postestimation.comparison import LRTest
from metareg_sm.postestimation.permutation import Seed, refit_of, whole_number
from metareg_sm.postestimation.prediction import new_rows
from metareg_sm.stats import resampling
from metareg_sm.stats.batch import BlockFit
from metareg_sm.stats.heterogeneity import boundary_lr_test, r2


@dataclass(frozen=True)
class Bootstrap:
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
    _results: Any

    @property
    def standard_error(self) -> pd.Series:
        """Standard deviation of the resamples."""
        return self.distribution.std(ddof=1)

    @cached_property
    def _jackknife(self) -> Array:
        model = self._results.model
        counts = resampling.deletions(len(model.endog))
        table = _counted_quantities(self._results, counts)
        keep = ~np.isnan(table).any(axis=1)
        return table[keep]

    def conf_int(self, alpha: float = 0.05, kind: str = "percentile") -> pd.DataFrame:
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
        draws, estimate = self.distribution.to_numpy(), self.estimate.to_numpy()
        return self._frame(draws, estimate, self._jackknife, alpha, kind, self.estimate.index)

    def conf_int_mean(
        self, exog: Any, alpha: float = 0.05, kind: str = "percentile", transform: bool = True
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
        rows, labels = new_rows(self._results, exog, transform)
        p = rows.shape[1]
        draws = self.distribution.to_numpy()[:, :p] @ rows.T
        estimate = rows @ self.estimate.to_numpy()[:p]
        return self._frame(draws, estimate, self._jackknife[:, :p] @ rows.T, alpha, kind, labels)

    def _frame(
        self, draws: Array, estimate: Array, jackknife: Array, alpha: float, kind: str, index: Any
    ) -> pd.DataFrame:
        if not 0.0 < alpha < 1.0:
            raise OptionError(f"alpha must be between 0 and 1; got {alpha!r}.")
        if kind == "percentile":
            ends = resampling.percentile_interval(draws, alpha)
        elif kind == "bca":
            ends = resampling.bca_interval(draws, estimate, jackknife, alpha)
        else:
            raise OptionError(f"kind={kind!r} is not known. Choose 'percentile' or 'bca'.")
        columns = {"estimate": estimate, "ci_lower": ends[:, 0], "ci_upper": ends[:, 1]}
        return pd.DataFrame(columns, index=index)


def _quantities(fit: BlockFit, tau2_null: Array) -> Array:
    return np.column_stack([fit.params, fit.tau2, fit.i2, r2(fit.tau2, tau2_null)])


def _null_refit(results: Any, refit: resampling.Refit) -> resampling.Refit:
    return replace(refit, basis=results._null_basis())


def _counted_quantities(results: Any, counts: Array) -> Array:
    refit, model = refit_of(results), results.model
    y, v = model.endog, model.vi
    fit = resampling.refit_counts(y, v, refit, counts)
    null = resampling.refit_counts(y, v, _null_refit(results, refit), counts).tau2
    return _quantities(fit, null)


def simulate(results: Any, n_resamples: int, tau2: float | None, rng: Seed) -> Array:
    """Outcomes drawn from a fit; see `MetaRegResults.simulate`."""
    n = whole_number(n_resamples, "n_resamples")
    value = results.tau2 if tau2 is None else float(tau2)
    if not np.isfinite(value) or value < 0.0:
        raise OptionError(f"tau2 must be finite and >= 0; got {value:g}.")
    model = results.model
    noise = np.random.default_rng(rng).standard_normal((n, len(model.endog)))
    return np.asarray(results.fittedvalues) + np.sqrt(model.vi + value) * noise


def bootstrap(results: Any, n_resamples: int, method: str, rng: Seed) -> Bootstrap:
    """Bootstrap; see `MetaRegResults.bootstrap`."""
    n = whole_number(n_resamples, "n_resamples")
    refit, model = refit_of(results), results.model
    # I2 and R2 must be defined for the data themselves
    h = results.heterogeneity
    y, v = model.endog, model.vi
    k = len(y)
    if method == "parametric":
        outcomes = simulate(results, n, None, rng)
        fit = resampling.refit_outcomes(outcomes, v, refit)
        null = resampling.refit_outcomes(outcomes, v, _null_refit(results, refit)).tau2
        table = _quantities(fit, null)
    elif method == "studies":
        drawn = np.random.default_rng(rng).multinomial(k, np.full(k, 1.0 / k), size=n)
        table = _counted_quantities(results, drawn.astype(float))
    else:
        raise OptionError(f"method={method!r} is not known. Choose 'parametric' or 'studies'.")
    fitted = ~np.isnan(table).any(axis=1)
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
    names = [*model.data.param_names, "tau2", "i2", "r2"]
    estimate = pd.Series([*np.asarray(results.params), results.tau2, h.i2, h.r2], index=names)
    return Bootstrap(pd.DataFrame(table[fitted], columns=names), estimate, method, failed, results)


def bootstrap_lr_test_tau2(results: Any, n_resamples: int, rng: Seed) -> LRTest:
    """Bootstrap test of tau2 = 0; see `MetaRegResults.bootstrap_lr_test_tau2`."""
    observed = results.lr_test_tau2().statistic
    n = whole_number(n_resamples, "n_resamples")
    model, reml = results.model, results.reml
    studies = results._studies
    mean = model.endog - residuals_at(studies, 0.0)
    noise = np.random.default_rng(rng).standard_normal((n, len(model.endog)))
    statistics = np.empty(n)
    for rows in resampling.blocks(n, len(mean)):
        drawn = Studies.build(mean + np.sqrt(model.vi) * noise[rows], model.vi, model._basis)
        profile = drawn.profile(reml)
        best = profile.loglike(drawn.maximize(reml).tau2)
        zero = profile.loglike(np.zeros(len(best)))
        statistics[rows] = [boundary_lr_test(a, b)[0] for a, b in zip(best, zero, strict=True)]
    pvalue = float(resampling.permutation_pvalue(statistics, np.asarray(observed), exact=False))
    return LRTest(observed, pvalue, 1.0)
