"""Several tests at once."""

from __future__ import annotations

import numpy as np
import pandas as pd

from metareg_sm.exceptions import OptionError
from metareg_sm.options import check_alpha, suggestion
from metareg_sm.postestimation.fitted import Fitted


def adjust_pvalues(fit: Fitted, method: str, alpha: float) -> pd.DataFrame:
    """Adjusted p-values of the moderators; see `adjust_pvalues` of the results."""
    from statsmodels.stats.multitest import multipletests, multitest_alias

    alpha = check_alpha(alpha)
    if not isinstance(method, str) or method not in multitest_alias:
        known = sorted(a for a in multitest_alias if len(a) > 3)
        raise OptionError(
            f"method={method!r} is not known.{suggestion(method, known)} Choose one of "
            f"statsmodels' multipletests: {', '.join(known)}."
        )
    rows = [j for j in range(len(fit.params)) if j != fit.terms.constant]
    if not rows:
        raise OptionError("There is no moderator whose p-value could be adjusted.")
    pvalues = np.asarray(fit.pvalues)[rows]
    reject, adjusted, *_ = multipletests(pvalues, alpha=alpha, method=method)
    return pd.DataFrame(
        {"pvalue": pvalues, "pvalue_adjusted": adjusted, "reject": reject},
        index=[fit.terms.names[j] for j in rows],
    )
