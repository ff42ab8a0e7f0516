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
from metareg_sm.core.basis import design_basis
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
class _Scheme:
    """What is permuted: how many distinct arrangements there are, all of them, and some.

    Equal rows of the moderators have equal labels.
    """

    count: Callable[[Rows], int]
    every: Callable[[Rows], Any]
    draw: Callable[[int, int, np.random.Generator], Any]


SCHEMES: Mapping[str, _Scheme] = MappingProxyType(
    {
        "rows": _Scheme(
            resampling.count_arrangements,
            lambda labels: resampling.orders_of(resampling.all_arrangements(labels), labels),
            resampling.random_orders,
        ),
        "residuals": _Scheme(
            lambda labels: factorial(len(labels)),
            lambda labels: resampling.all_arrangements(np.arange(len(labels))),
            resampling.random_orders,
        ),
        "signs": _Scheme(
            lambda labels: 2 ** len(labels),
            lambda labels: resampling.all_signs(len(labels)),
            resampling.random_signs,
        ),
    }
)
"""What can be permuted; "signs" is the test of a model without moderators."""


def arrangements(method: str, X: Array, n: int, rng: np.random.Generator) -> tuple[Any, bool]:
    """Orders or signs of the studies, and whether they are all the distinct ones.

    Parameters
    ----------
    method : str
        Of `SCHEMES`.
    X : ndarray, (k, p)
        Moderators.
    n : int
        How many are drawn where there are more.
    rng : Generator
        Where they are drawn from.
    """
    scheme = SCHEMES[method]
    labels = np.unique(X, axis=0, return_inverse=True)[1].reshape(-1)
    if scheme.count(labels) <= n:
        return scheme.every(labels), True
    return scheme.draw(n, len(X), rng), False


def each_pvalue(
    statistic: Array, null: Array, constant: int | None, exact: bool
) -> tuple[Array, Array]:
    """p-values of the coefficients, and those by the largest statistic of all moderators."""
    observed, absolute = np.abs(statistic), np.abs(null)
    pvalues = resampling.permutation_pvalue(absolute, observed, exact)
    adjusted = pvalues.copy()
    moderators = [j for j in range(len(statistic)) if j != constant]
    if moderators:
        largest = absolute[:, moderators].max(axis=1)[:, None]
        adjusted[moderators] = resampling.permutation_pvalue(largest, observed[moderators], exact)
    return pvalues, adjusted


def _residuals(
    fit: Tau2Fitted, refit: resampling.ResampledModel, contrasts: Array, orders: Rows
) -> resampling.NullDistribution:
    """Freedman & Lane (1983): each coefficient against the model without it."""
    table, p = fit.table, fit.table.exog.shape[1]
    without = [design_basis(np.delete(table.exog, j, axis=1)) for j in range(p)]
    reduced = [*without, null_basis(fit)]
    fits = resampling.permute_residuals(table.endog, table.vi, refit, reduced, orders)
    t = np.column_stack([refit.t_statistics(fits[j])[:, j] for j in range(p)])
    return resampling.NullDistribution(t, refit.wald(fits[-1], contrasts))


def permutation_test(
    fit: Tau2Fitted, n_resamples: int, method: PermutationScheme, rng: Seed
) -> PermutationTest:
    """Permutation test; see `MetaRegResults.permutation_test`."""
    n, name = check_options(n_resamples, method)
    table, refit = fit.table, refit_of(fit)
    y, v = table.endog, table.vi
    contrasts = omnibus_contrasts(table.exog, table.basis, bool(fit.k_constant))
    name = name if len(contrasts) else "signs"
    orders, exact = arrangements(name, table.exog, n, generator(rng))
    if name == "rows":
        null = resampling.permute_rows(y, v, refit, contrasts, orders)
    elif name == "residuals":
        null = _residuals(fit, refit, contrasts, orders)
    else:
        null = resampling.flip_signs(y, v, refit, orders)
    statistic = np.asarray(fit.tvalues)
    pvalues, adjusted = each_pvalue(statistic, null.t, fit.terms.constant, exact)
    omnibus = omnibus_pvalue = np.nan
    if len(contrasts):
        itself = refit(y[None], np.broadcast_to(v, (1, len(v))))
        omnibus = float(refit.wald(itself, contrasts)[0])
        omnibus_pvalue = float(
            resampling.permutation_pvalue(null.omnibus, np.asarray(omnibus), exact)
        )
    names = fit.terms.names
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


def check_options(n_resamples: int, method: PermutationScheme) -> tuple[int, str]:
    """Number of resamples, and what is permuted."""
    n = whole_number(n_resamples, "n_resamples")
    return n, choose({name: name for name in ("rows", "residuals")}, method, "method")
