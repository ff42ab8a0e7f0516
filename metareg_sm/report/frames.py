"""Numbers of a fit as labelled tables."""

from __future__ import annotations

import numpy as np
import pandas as pd

from metareg_sm.options import check_alpha
from metareg_sm.postestimation.fitted import Fitted


def coefficients(fit: Fitted, alpha: float = 0.05, exponentiate: bool = False) -> pd.DataFrame:
    """Coefficient table.

    Parameters
    ----------
    fit : Fitted
        The fit.
    alpha : float, default 0.05
        1 minus the coverage of the intervals.
    exponentiate : bool, default False
        The factor for one unit, its standard error by the delta method and its interval by
        transforming the ends.

    Returns
    -------
    DataFrame
        Columns coef, se, statistic, pvalue, ci_lower, ci_upper.
    """
    params, bse = np.asarray(fit.params), np.asarray(fit.bse)
    ends = np.asarray(fit.conf_int(check_alpha(alpha)))
    if exponentiate:
        params = np.exp(params)
        bse, ends = bse * params, np.exp(ends)
    return pd.DataFrame(
        {
            "coef": params,
            "se": bse,
            "statistic": np.asarray(fit.tvalues),
            "pvalue": np.asarray(fit.pvalues),
            "ci_lower": ends[:, 0],
            "ci_upper": ends[:, 1],
        },
        index=pd.Index(fit.terms.names),
    )
