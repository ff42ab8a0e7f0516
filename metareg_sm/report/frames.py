"""Numbers of the statistics layer as labelled pandas objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from metareg_sm._typing import Array
from metareg_sm.core.studies import Studies
from metareg_sm.exceptions import DesignError, VarianceError
from metareg_sm.stats.heterogeneity import i2_h2, q_decomposition, r2, typical_variance
from metareg_sm.stats.intervals import Tau2Set


@dataclass(frozen=True)
class Heterogeneity:
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


def heterogeneity(full: Studies, null: Studies, tau2: float, tau2_null: float) -> Heterogeneity:
    """Heterogeneity statistics of one fit.

    Parameters
    ----------
    full, null : Studies
        The studies with all moderators and with the constant alone.
    tau2, tau2_null : float
        The two estimates.

    Returns
    -------
    Heterogeneity

    Raises
    ------
    VarianceError
        If a sampling variance is 0: Q, I2 and H2 weight studies by 1/v.
    DesignError
        If there are no more studies than coefficients.
    """
    if not (full.v > 0.0).all():
        row = int(np.flatnonzero(full.v <= 0.0)[0])
        raise VarianceError(
            f"Q, I2 and H2 are undefined: they weight studies by 1/vi, and study {row} (counted "
            "from 0) has vi=0."
        )
    if full.df <= 0:
        raise DesignError(
            "I2 and H2 are undefined: there are no more studies than coefficients, so nothing is "
            "left to vary."
        )
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


def coefficients(
    names: list[str],
    params: Array,
    bse: Array,
    statistic: Array,
    pvalues: Array,
    conf_int: Array,
    exponentiate: bool,
) -> pd.DataFrame:
    """Coefficient table.

    With `exponentiate` the factor for one unit, its standard error by the delta method and its
    interval by transforming the ends.
    """
    scale = np.exp(params) if exponentiate else np.ones_like(params)
    return pd.DataFrame(
        {
            "coef": scale if exponentiate else params,
            "se": bse * scale,
            "statistic": statistic,
            "pvalue": pvalues,
            "ci_lower": np.exp(conf_int[:, 0]) if exponentiate else conf_int[:, 0],
            "ci_upper": np.exp(conf_int[:, 1]) if exponentiate else conf_int[:, 1],
        },
        index=pd.Index(names),
    )


def tau2_intervals(tau2: float, s2: float, found: Tau2Set) -> pd.DataFrame:
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
