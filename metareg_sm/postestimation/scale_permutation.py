"""Permutation tests of location-scale models."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from metareg_sm._typing import Array, PermutationScheme, Rows, Seed
from metareg_sm.core.basis import Basis, design_basis
from metareg_sm.design.terms import Terms
from metareg_sm.exceptions import ConvergenceWarning
from metareg_sm.options import generator
from metareg_sm.postestimation.inference import omnibus_contrasts
from metareg_sm.postestimation.permutation import (
    PermutationTest,
    arrangements,
    check_options,
    each_pvalue,
)
from metareg_sm.postestimation.resampling import null_basis
from metareg_sm.postestimation.scale import ScaleFitted
from metareg_sm.postestimation.scale_influence import scale_model
from metareg_sm.printing import Overview
from metareg_sm.stats.blocks import Reason
from metareg_sm.stats.resampling import permutation_pvalue
from metareg_sm.stats.resampling.scale import ScaleResampling, ScaleStatistics

__all__ = ["ScalePermutationTest", "permutation_test"]


@dataclass(frozen=True, repr=False)
class ScalePermutationTest(PermutationTest):
    """Permutation tests of a location-scale fit: of its mean, and of its heterogeneity.

    The attributes of `PermutationTest` are those of the coefficients of the mean; the same with
    `scale_` before them are those of ln tau2. Where the scale has no moderator nothing of it is
    tested: p-values are NaN, and there are no resamples.

    Attributes
    ----------
    scale_statistic, scale_pvalues, scale_pvalues_fwer : Series, (q,)
        Coefficients of ln tau2 over their standard errors, and p-values. NaN where the fit has no
        standard errors, because the likelihood grows towards a heterogeneity of 0.
    scale_omnibus_statistic, scale_omnibus_pvalue : float
        Wald statistic of all moderators of the scale over their number.
    scale_null_distribution, scale_omnibus_null : ndarray, (n, q) and (n,)
        Of the resamples.
    scale_n_resamples : int
        Resamples n.
    scale_exact : bool
        They are all the distinct ones that there are.
    scale_method : {"rows", "residuals", "none"}
        What was permuted.
    n_unbounded, scale_n_unbounded : int
        Resamples whose likelihood grows towards a heterogeneity of 0, so that some coefficient of
        ln tau2 is infinite. Their statistics are what they tend to: for the scale 0.
    n_failed, scale_n_failed : int
        Resamples without a fit; they count as extreme.
    """

    scale_statistic: pd.Series
    scale_pvalues: pd.Series
    scale_pvalues_fwer: pd.Series
    scale_omnibus_statistic: float
    scale_omnibus_pvalue: float
    scale_null_distribution: Array
    scale_omnibus_null: Array
    scale_n_resamples: int
    scale_exact: bool
    scale_method: str
    n_unbounded: int
    scale_n_unbounded: int
    n_failed: int
    scale_n_failed: int

    def overview(self) -> Overview:
        """What is printed."""
        lines = [("Resamples", _drawn(self.n_resamples, self.method, self.exact))]
        if self.scale_n_resamples:
            drawn = _drawn(self.scale_n_resamples, self.scale_method, self.scale_exact)
            lines.append(("Resamples of the scale", drawn))
        for label, pvalue in (
            ("All moderators", self.omnibus_pvalue),
            ("All moderators of the scale", self.scale_omnibus_pvalue),
        ):
            if not np.isnan(pvalue):
                lines.append((label, f"p-value {pvalue:.4g}"))
        for label, counts in (
            ("Heterogeneity towards 0", (self.n_unbounded, self.scale_n_unbounded)),
            ("Not fitted, taken as extreme", (self.n_failed, self.scale_n_failed)),
        ):
            if any(counts):
                lines.append((label, f"{counts[0]:,}; of the scale {counts[1]:,}"))
        note = "pvalue_fwer is adjusted for looking at all moderators of that part."
        return Overview("Permutation test", lines, self.summary_frame(), note)

    def summary_frame(self) -> pd.DataFrame:
        """Columns statistic, pvalue and pvalue_fwer, one row a coefficient of either part."""
        columns = {
            "statistic": self.scale_statistic,
            "pvalue": self.scale_pvalues,
            "pvalue_fwer": self.scale_pvalues_fwer,
        }
        scale = pd.DataFrame(columns).rename(index="ln tau2: {}".format)
        return pd.concat([PermutationTest.summary_frame(self), scale])

    @property
    def distributions(self) -> pd.DataFrame:
        """Statistics of the resamples, a column for each row of `summary_frame` that is tested.

        Where the two parts have not as many resamples, the shorter columns end with NaN.
        """
        parts = [pd.DataFrame(self.null_distribution), pd.DataFrame(self.scale_null_distribution)]
        frame = pd.concat(parts, axis=1)
        frame.columns = self.summary_frame().index
        return frame if self.scale_n_resamples else frame.iloc[:, : len(self.statistic)]


def _drawn(n: int, method: str, exact: bool) -> str:
    return f"{n:,} of {method}, {'all that are distinct' if exact else 'drawn at random'}"


@dataclass(frozen=True, slots=True, eq=False)
class _Resampled:
    """Resamples of one part of the model: statistics (n, p) and (n,), and why some have none."""

    method: str
    exact: bool
    t: Array
    omnibus: Array
    reason: Rows

    def tested(self, statistic: Array, omnibus: float, terms: Terms) -> dict[str, Any]:
        """The attributes of one part of the test; NaN where there is no statistic."""
        each = adjusted = np.full(len(statistic), np.nan)
        joint = np.nan
        if len(self.t):
            each, adjusted = each_pvalue(statistic, self.t, terms.constant, self.exact)
            unknown = np.isnan(statistic)
            each[unknown] = adjusted[unknown] = np.nan
            if np.isfinite(omnibus):
                observed = np.asarray(omnibus)
                joint = float(permutation_pvalue(self.omnibus, observed, self.exact))
        of_each = {"statistic": statistic, "pvalues": each, "pvalues_fwer": adjusted}
        unbounded = self.reason == Reason.UNBOUNDED
        failed = (self.reason != Reason.FITTED) & ~unbounded
        return {
            **{name: pd.Series(x, index=terms.names) for name, x in of_each.items()},
            "omnibus_statistic": omnibus,
            "omnibus_pvalue": joint,
            "null_distribution": self.t,
            "omnibus_null": self.omnibus,
            "n_resamples": len(self.t),
            "exact": self.exact,
            "method": self.method,
            "n_unbounded": int(unbounded.any(1).sum()),
            "n_failed": int(failed.any(1).sum()),
        }


def permutation_test(
    fit: ScaleFitted, n_resamples: int, method: PermutationScheme, rng: Seed
) -> ScalePermutationTest:
    """Permutation test; see `LocationScaleResults.permutation_test`."""
    n, name = check_options(n_resamples, method)
    model, table, random = scale_model(fit, "Resampling"), fit.table, generator(rng)
    equal = design_basis(np.ones((len(table.endog), 1)))
    constant = np.abs(equal.Z - model.scale.Z @ (model.scale.Z.T @ equal.Z)).max() < 1e-8
    resampling = ScaleResampling(
        table.endog,
        model,
        omnibus_contrasts(table.exog, table.basis, bool(fit.k_constant)),
        omnibus_contrasts(fit.scale_exog, model.scale, bool(constant)),
    )
    null_scale = np.ones((len(table.endog), int(constant)))
    of_mean = _of_mean(fit, resampling, name, n, random)
    of_scale = _of_scale(fit, resampling, null_scale, name, n, random)
    itself = resampling.statistics(1, resampling.with_outcomes(lambda _: table.endog[None]))
    scale_statistic = fit.components.values / fit.components.se
    known = np.isfinite(scale_statistic).all() and len(of_scale.t)
    scale_omnibus = float(itself.scale_omnibus[0]) if known else np.nan
    mean = of_mean.tested(np.asarray(fit.tvalues), float(itself.omnibus[0]), fit.terms)
    scale = of_scale.tested(scale_statistic, scale_omnibus, fit.scale_terms)
    failed = mean["n_failed"] + scale["n_failed"]
    if failed:
        warnings.warn(
            f"{failed} of {len(of_mean.t) + len(of_scale.t)} resamples could not be fitted; they "
            "count as extreme, which makes p-values larger.",
            ConvergenceWarning,
            stacklevel=3,
        )
    return ScalePermutationTest(**mean, **{f"scale_{key}": x for key, x in scale.items()})


def _of_mean(
    fit: ScaleFitted, resampling: ScaleResampling, name: str, n: int, rng: np.random.Generator
) -> _Resampled:
    table = fit.table
    name = name if len(resampling.contrasts) else "signs"
    orders, exact = arrangements(name, table.exog, n, rng)
    if name == "residuals":
        reduced = [
            design_basis(np.delete(table.exog, j, axis=1)) for j in range(table.exog.shape[1])
        ]
        models = [(basis, fit.scale_exog) for basis in (*reduced, null_basis(fit))]
        fits = _smaller(resampling, models, orders)
        t = np.column_stack([found.t[:, j] for j, found in enumerate(fits[:-1])])
        return _Resampled(name, exact, t, fits[-1].omnibus, _reasons(fits))
    if name == "rows":
        data = resampling.permuted_location(orders)
    else:
        data = resampling.with_outcomes(lambda rows: orders[rows] * table.endog)
    found = resampling.statistics(len(orders), data)
    return _Resampled(name, exact, found.t, found.omnibus, _reasons([found]))


def _of_scale(
    fit: ScaleFitted,
    resampling: ScaleResampling,
    null: Array,
    name: str,
    n: int,
    rng: np.random.Generator,
) -> _Resampled:
    Z, q = fit.scale_exog, fit.scale_exog.shape[1]
    if not len(resampling.scale_contrasts):
        none = np.empty(0)
        return _Resampled("none", False, np.empty((0, q)), none, np.empty((0, 1), dtype=np.intp))
    orders, exact = arrangements(name, Z, n, rng)
    if name == "residuals":
        designs = [*(np.delete(Z, j, axis=1) for j in range(q)), null]
        fits = _smaller(resampling, [(fit.table.basis, design) for design in designs], orders)
        t = np.column_stack([found.scale_t[:, j] for j, found in enumerate(fits[:-1])])
        return _Resampled(name, exact, t, fits[-1].scale_omnibus, _reasons(fits))
    found = resampling.statistics(len(orders), resampling.permuted_scale(orders))
    return _Resampled(name, exact, found.scale_t, found.scale_omnibus, _reasons([found]))


def _smaller(
    resampling: ScaleResampling, models: list[tuple[Basis, Array]], orders: Rows
) -> list[ScaleStatistics]:
    """Freedman & Lane (1983): the fits under what each of some smaller models expects."""
    return [
        resampling.statistics(len(orders), resampling.permuted_residuals(location, Z, orders))
        for location, Z in models
    ]


def _reasons(fits: list[ScaleStatistics]) -> Rows:
    return np.column_stack([found.reason for found in fits])
