"""The numbers of a fit as plain Python objects."""

from __future__ import annotations

from typing import Any

import numpy as np

from metareg_sm.exceptions import MetaRegError
from metareg_sm.postestimation.fitted import Tau2Fitted
from metareg_sm.report.frames import coefficients


def describe(results: Tau2Fitted) -> dict[str, Any]:
    """The numbers of a fit as plain Python objects, for JSON.

    Values that are not finite become None.
    """

    def plain(value: Any) -> Any:
        value = float(value)
        return value if np.isfinite(value) else None

    frame = coefficients(results)
    test = results.omnibus
    numbers: dict[str, Any] = {
        "formula": results.terms.formula,
        "estimator": results.method,
        "cov_type": results.cov_type,
        "nobs": int(results.nobs),
        "df_resid": plain(results.df_resid),
        "coefficients": {
            str(name): {column: plain(row[column]) for column in frame.columns}
            for name, row in frame.iterrows()
        },
        "tau2": results.tau2,
        "tau2_se": results.tau2_se,
        "scale": plain(results.scale),
        "llf": plain(results.llf),
        "aic": plain(results.aic),
        "aicc": plain(results.aicc),
        "bic": plain(results.bic),
        "omnibus": None
        if test.df_num == 0
        else {
            "statistic": plain(test.statistic),
            "pvalue": plain(test.pvalue),
            "df_num": plain(test.df_num),
            "df_denom": None if test.df_denom is None else plain(test.df_denom),
        },
    }
    try:
        h = results.heterogeneity
    except MetaRegError:
        numbers["heterogeneity"] = None
        return numbers
    names = ("q", "q_df", "q_pvalue", "i2", "h2", "i2_q", "r2", "tau2_null")
    numbers["heterogeneity"] = {n: plain(getattr(h, n)) for n in names}
    return numbers
