"""Permutation tests of the moderators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import factorial
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from metareg_sm._typing import Array, PermutationScheme, Rows, Seed
from metareg_sm.core.basis import Basis, design_basis
from metareg_sm.options import choose, generator, whole_number
from metareg_sm.postestimation.fitted import Tau2Fitted
from metareg_sm.postestimation.inference import omnibus_contrasts
from metareg_sm.postestimation.resampling import null_basis, refit_of
from metareg_sm.printing import Overview, Printed
from metareg_sm.stats import resampling


@dataclass(frozen=True, repr=False)
class PermutationTest(Printed):
    """Permutation test of the coefficients.

    Attributes
    ----------
    statistic, pvalues, pvalues_fwer : Series, (p,)
        t statistics, two-sided p-values, and p-values by the maximum of |t| over all moderators,
        which control the chance of any false positive (Higgins & Thompson, 2004). The constant is
        no moderator: its adjusted p-value is its own.
    omnibus_statistic, omnibus_pvalue : float
        Wald statistic of all moderators over their number; NaN without moderators.
    null_distribution : ndarray, (n, p)
        t statistics of the resamples.
    omnibus_null : ndarray, (n,)
        Omnibus statistics of the resamples.
    n_resamples : int
        Resamples n.
    exact : bool
        They are all the distinct ones that there are.
    method : {"rows", "residuals", "signs"}
        What was permuted.
    """

    statistic: pd.Series
    pvalues: pd.Series
    pvalues_fwer: pd.Series
    omnibus_statistic: float
    omnibus_pvalue: float
    null_distribution: Array
    omnibus_null: Array
    n_resamples: int
    exact: bool
    method: str

    def overview(self) -> Overview:
        """What is printed."""
        drawn = "all that are distinct" if self.exact else "drawn at random"
        lines = [("Resamples", f"{self.n_resamples:,} of {self.method}, {drawn}")]
        if not np.isnan(self.omnibus_pvalue):
            lines.append(("All moderators", f"p-value {self.omnibus_pvalue:.4g}"))
        note = "pvalue_fwer is adjusted for looking at all moderators."
        return Overview("Permutation test", lines, self.summary_frame(), note)

    def summary_frame(self) -> pd.DataFrame:
        """Columns statistic, pvalue and pvalue_fwer, one row a coefficient."""
        return pd.DataFrame(
            {
                "statistic": self.statistic,
                "pvalue": self.pvalues,
                "pvalue_fwer": self.pvalues_fwer,
            }
        )


@dataclass(frozen=True, slots=True)
class _Tested:
    """What a scheme needs of the fit: outcomes, variances, moderators, and how to fit again."""

    y: Array
    v: Array
    X: Array
    refit: resampling.ResampledModel
    contrasts: Array
    null: Basis

    @property
    def k(self) -> int:
        return len(self.y)

    @property
    def row_labels(self) -> Rows:
        """Equal rows of the moderators have equal labels."""
        return np.unique(self.X, axis=0, return_inverse=True)[1].reshape(-1)


@dataclass(frozen=True, slots=True)
class _Scheme:
    """What is permuted: how many distinct arrangements, all or some, and the statistics of each."""

    count: Callable[[_Tested], int]
    every: Callable[[_Tested], Any]
    draw: Callable[[int, _Tested, np.random.Generator], Any]
    statistics: Callable[[_Tested, Any], resampling.NullDistribution]


def _row_orders(tested: _Tested) -> Rows:
    labels = tested.row_labels
    return resampling.orders_of(resampling.all_arrangements(labels), labels)


def _random_orders(n: int, tested: _Tested, rng: np.random.Generator) -> Rows:
    return resampling.random_orders(n, tested.k, rng)


def _rows(tested: _Tested, orders: Rows) -> resampling.NullDistribution:
    return resampling.permute_rows(tested.y, tested.v, tested.refit, tested.contrasts, orders)


def _residuals(tested: _Tested, orders: Rows) -> resampling.NullDistribution:
    """Freedman & Lane (1983): each coefficient against the model without it."""
    p = tested.X.shape[1]
    without = [design_basis(np.delete(tested.X, j, axis=1)) for j in range(p)]
    reduced = [*without, tested.null]
    fits = resampling.permute_residuals(tested.y, tested.v, tested.refit, reduced, orders)
    t = np.column_stack([tested.refit.t_statistics(fits[j])[:, j] for j in range(p)])
    return resampling.NullDistribution(t, tested.refit.wald(fits[-1], tested.contrasts))


SCHEMES: Mapping[str, _Scheme] = MappingProxyType(
    {
        "rows": _Scheme(
            lambda tested: resampling.count_arrangements(tested.row_labels),
            _row_orders,
            _random_orders,
            _rows,
        ),
        "residuals": _Scheme(
            lambda tested: factorial(tested.k),
            lambda tested: resampling.all_arrangements(np.arange(tested.k)),
            _random_orders,
            _residuals,
        ),
        "signs": _Scheme(
            lambda tested: 2**tested.k,
            lambda tested: resampling.all_signs(tested.k),
            lambda n, tested, rng: resampling.random_signs(n, tested.k, rng),
            lambda tested, signs: resampling.flip_signs(tested.y, tested.v, tested.refit, signs),
        ),
    }
)
"""What can be permuted; "signs" is the test of a model without moderators."""


def permutation_test(
    fit: Tau2Fitted, n_resamples: int, method: PermutationScheme, rng: Seed
) -> PermutationTest:
    """Permutation test; see `MetaRegResults.permutation_test`."""
    n = whole_number(n_resamples, "n_resamples")
    choose({name: name for name in ("rows", "residuals")}, method, "method")
    table, refit = fit.table, refit_of(fit)
    contrasts = omnibus_contrasts(table.exog, table.basis, bool(fit.k_constant))
    name = str(method).lower() if len(contrasts) else "signs"
    scheme = SCHEMES[name]
    tested = _Tested(table.endog, table.vi, table.exog, refit, contrasts, null_basis(fit))
    exact = scheme.count(tested) <= n
    arrangements = scheme.every(tested) if exact else scheme.draw(n, tested, generator(rng))
    null = scheme.statistics(tested, arrangements)
    statistic = np.asarray(fit.tvalues)
    observed, absolute = np.abs(statistic), np.abs(null.t)
    pvalues = resampling.permutation_pvalue(absolute, observed, exact)
    adjusted = pvalues.copy()
    names = fit.terms.names
    moderators = [j for j in range(len(names)) if j != fit.terms.constant]
    if moderators:
        largest = absolute[:, moderators].max(axis=1)[:, None]
        adjusted[moderators] = resampling.permutation_pvalue(largest, observed[moderators], exact)
    omnibus = omnibus_pvalue = np.nan
    if len(contrasts):
        itself = refit(table.endog[None], np.broadcast_to(table.vi, (1, len(table.vi))))
        omnibus = float(refit.wald(itself, contrasts)[0])
        omnibus_pvalue = float(
            resampling.permutation_pvalue(null.omnibus, np.asarray(omnibus), exact)
        )
    return PermutationTest(
        pd.Series(statistic, index=names),
        pd.Series(pvalues, index=names),
        pd.Series(adjusted, index=names),
        omnibus,
        omnibus_pvalue,
        null.t,
        null.omnibus,
        len(null.t),
        exact,
        name,
    )
