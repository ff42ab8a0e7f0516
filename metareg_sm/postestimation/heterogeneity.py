"""What a fit says of the heterogeneity: statistics, intervals and the random effects."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from metareg_sm._typing import Tau2Interval
from metareg_sm.core.studies import Studies
from metareg_sm.design.values import row_label
from metareg_sm.exceptions import DesignError, IntervalWarning, OptionError, VarianceError
from metareg_sm.options import check_alpha, choose
from metareg_sm.postestimation.fitted import Tau2Fitted
from metareg_sm.printing import Overview, Printed, number
from metareg_sm.stats import intervals
from metareg_sm.stats.heterogeneity import i2_h2, q_decomposition, r2, typical_variance
from metareg_sm.stats.random_effects import random_effects as predicted_effects

if TYPE_CHECKING:
    from metareg_sm.postestimation.scale import ScaleFitted

_KINDS = {
    "empty": "the studies vary less than their sampling variances allow for. The ends are NaN.",
    "unbounded": "no upper end exists. It is infinite.",
    "disjoint": "it has gaps, the likelihood having several maxima. The ends enclose all of it.",
}


@dataclass(frozen=True, repr=False)
class Heterogeneity(Printed):
    """How much the true effects vary, and how much of it the moderators explain.

    Attributes
    ----------
    q, q_df, q_pvalue : float, int, float
        Residual Q_E with weights 1/v, its degrees of freedom and p-value.
    i2 : float
        tau2 / (s2 + tau2), a fraction; s2 is the typical sampling variance.
    h2 : float
        tau2 / s2 + 1.
    i2_q : float
        max(0, (Q - df) / Q), a fraction.
    r2 : float
        Share of `tau2_null` that the moderators explain; 0 where `tau2_null` is 0.
    tau2, tau2_null : float
        Heterogeneity with and without the moderators, by the same estimator, in squared units of
        the outcome. Without a constant in the model, `tau2_null` is about a mean of 0.
    decomposition : DataFrame
        Rows total, model, residual; columns q, df, pvalue, i2. Q and I2 add up.
    """

    q: float
    q_df: int
    q_pvalue: float
    i2: float
    h2: float
    i2_q: float
    r2: float
    tau2: float
    tau2_null: float
    decomposition: pd.DataFrame

    def overview(self) -> Overview:
        """What is printed; each I2 says what it is made of."""
        lines = (
            ("tau2", f"{number(self.tau2)}  (without moderators {number(self.tau2_null)})"),
            ("R2", f"{self.r2:.4f}  share of tau2 that the moderators explain"),
            ("I2 from tau2", f"{self.i2:.4f}  tau2 / (s2 + tau2)"),
            ("H2 from tau2", f"{self.h2:.4f}"),
            ("I2 from Q_E", f"{self.i2_q:.4f}  (Q_E - df) / Q_E"),
            ("Q_E", f"{number(self.q)}  df {self.q_df}, p-value {self.q_pvalue:.3g}"),
        )
        frame = self.decomposition.rename(columns={"i2": "I2 of Q_total"})
        return Overview("Heterogeneity of the true effects", lines, frame)


def heterogeneity(fit: Tau2Fitted) -> Heterogeneity:
    """Heterogeneity statistics of a fit.

    Raises
    ------
    VarianceError
        If a sampling variance is 0: Q, I2 and H2 weight studies by 1/v.
    DesignError
        If there are no more studies than coefficients.
    """
    table, full, null = fit.table, fit.studies, fit.null_studies
    zero = np.flatnonzero(table.vi <= 0.0)
    if zero.size:
        raise VarianceError(
            "Q, I2 and H2 are undefined: they weight studies by 1/vi, and study "
            f"{zero[0]} (counted from 0; {row_label(table.rows.labels, int(zero[0]))}) has vi=0."
        )
    if fit.df_resid <= 0:
        raise DesignError(
            "I2 and H2 are undefined: there are no more studies than coefficients, so nothing is "
            "left to vary."
        )
    tau2 = tau2_null = fit.tau2
    if fit.estimator is not None and fit.df_model > 0:
        tau2_null = float(fit.estimator.solve(null, fit.genq_weights).tau2)
    return _statistics(full, null, tau2, tau2_null)


def _statistics(full: Studies, null: Studies, tau2: float, tau2_null: float) -> Heterogeneity:
    split = q_decomposition(full, null)
    i2, h2 = i2_h2(np.asarray(tau2), typical_variance(full))
    tests = (split.total, split.model, split.residual)
    frame = pd.DataFrame(
        {
            "q": [t.q for t in tests],
            "df": [t.df for t in tests],
            "pvalue": [t.pvalue for t in tests],
            "i2": [split.i2_total, split.i2_model, split.i2_residual],
        },
        index=["total", "model", "residual"],
    )
    residual = split.residual
    i2_q = max(0.0, (residual.q - residual.df) / residual.q) if residual.q > 0.0 else 0.0
    return Heterogeneity(
        q=residual.q,
        q_df=residual.df,
        q_pvalue=residual.pvalue,
        i2=float(i2),
        h2=float(h2),
        i2_q=i2_q,
        r2=float(r2(np.asarray(tau2), np.asarray(tau2_null))),
        tau2=tau2,
        tau2_null=tau2_null,
        decomposition=frame,
    )


def conf_int_tau2(fit: Tau2Fitted, alpha: float, method: Tau2Interval) -> pd.DataFrame:
    """Confidence interval for tau2; see `MetaRegResults.conf_int_tau2`."""
    alpha = check_alpha(alpha)
    estimator = fit.estimator
    if estimator is None:
        raise OptionError("tau2 is held fixed in this fit; there is no interval for it.")

    def likelihood() -> intervals.Tau2Set:
        if not estimator.kind.likelihood:
            raise OptionError(
                "method='profile-likelihood' needs a fit by 'reml' or 'ml'; this one is by "
                f"{estimator.name!r}."
            )
        return intervals.profile_likelihood(fit.studies, estimator.kind.reml, alpha)

    methods = {
        "q-profile": lambda: intervals.q_profile(fit.studies, alpha),
        "profile-likelihood": likelihood,
        "wald": lambda: intervals.wald(fit.tau2, fit.tau2_se, alpha),
    }
    found = choose(methods, method, "method")()
    if found.kind != "interval":
        warnings.warn(
            f"The {method} confidence set for tau2 is {found.kind}: {_KINDS[found.kind]}",
            IntervalWarning,
            stacklevel=3,
        )
    return _intervals(fit.tau2, float(typical_variance(fit.studies)), found)


def _intervals(tau2: float, s2: float, found: intervals.Tau2Set) -> pd.DataFrame:
    """Interval for tau2 and what follows from it for tau, I2 and H2.

    `attrs["kind"]` tells an interval from an empty, unbounded or disjoint set.
    """
    values = np.array([tau2, found.lower, found.upper])
    with np.errstate(invalid="ignore"):
        i2 = np.where(np.isinf(values), 1.0, values / (s2 + values))
        rows = [values, np.sqrt(values), i2, values / s2 + 1.0]
    frame = pd.DataFrame(
        rows,
        index=["tau2", "tau", "i2", "h2"],
        columns=["estimate", "ci_lower", "ci_upper"],
    )
    frame.attrs["kind"] = found.kind
    return frame


def random_effects(fit: Tau2Fitted | ScaleFitted) -> pd.DataFrame:
    """Random effects u and shrunken true effects theta; see `MetaRegResults.random_effects`."""
    table = fit.table
    variance = fit.contrast_se(table.exog) ** 2
    effects = predicted_effects(
        table.endog, table.vi, np.asarray(fit.fittedvalues), variance, np.asarray(fit.tau2)
    )
    return pd.DataFrame(
        {name: getattr(effects, name) for name in ("u", "u_se", "theta", "theta_se")},
        index=table.rows.labels,
    )
