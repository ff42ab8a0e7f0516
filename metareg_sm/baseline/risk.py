"""Baseline (underlying) risk: how the risk of the treated goes with that of the controls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from metareg_sm.baseline.arms import SCALES, read_arms
from metareg_sm.baseline.record import BaselineRisk, columns_of
from metareg_sm.exceptions import DesignError
from metareg_sm.models.metareg import MetaReg
from metareg_sm.models.mixed import MixedMetaReg
from metareg_sm.options import choose
from metareg_sm.results.mixed import MixedMetaRegResultsWrapper
from metareg_sm.stats.bivariate import Bivariate, describe, fit_bivariate

_ARMS = ["control", "treated"]
# Variance of the true outcomes of the controls, in sampling variances, that is none.
_NOTHING = 1e-9


def baseline_risk(
    data: pd.DataFrame | None = None,
    *,
    ai: Any,
    n1i: Any,
    ci: Any,
    n2i: Any,
    measure: str = "OR",
) -> BaselineRisk:
    """Regress the treated on the controls where both are known with sampling error.

    A meta-regression of the effect on the observed risk of the controls is biased: the risk is
    measured with error, and its error is part of the effect. Here both arms' true outcomes are
    bivariate normal, and the slope is that of one true outcome on the other.

    Parameters
    ----------
    data : DataFrame, optional
        One row a study; it is not changed.
    ai, n1i : str or array_like
        Events and participants among the treated: columns of `data`, or values.
    ci, n2i : str or array_like
        The same among the controls.
    measure : {"OR", "RR", "RD"}
        Scale: log odds, log risks or risks.

    Returns
    -------
    BaselineRisk
        slope, slope_se, intercept, naive, model (the results of `mixedmetareg`); `conf_int()`,
        `plot()`.

    Raises
    ------
    DesignError
        If a count is missing, negative or above its total, there are fewer than 4 studies, or the
        true outcomes of the controls do not differ.
    OptionError
        If the measure is unknown.

    Notes
    -----
    1/2 is added to the four counts of a study in which one of them is 0. Estimates are by maximum
    likelihood, as in the paper.

    References
    ----------
    van Houwelingen, H. C., Arends, L. R., & Stijnen, T. (2002). Advanced methods in meta-analysis:
    multivariate approach and meta-regression. Statistics in Medicine, 21(4), 589-624.

    Sharp, S. J., & Thompson, S. G. (2000). Analysing the relationship between treatment effect and
    underlying risk in meta-analysis: comparison and development of approaches. Statistics in
    Medicine, 19(23), 3251-3274.

    Examples
    --------
    >>> import metareg_sm
    >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
    >>> bcg["treated"], bcg["controls"] = bcg["tpos"] + bcg["tneg"], bcg["cpos"] + bcg["cneg"]
    >>> found = metareg_sm.baseline_risk(bcg, ai="tpos", n1i="treated", ci="cpos", n2i="controls")
    >>> round(found.slope, 4), round(found.intercept, 4)
    (0.73, -1.8437)
    """
    scale = choose(SCALES, measure, "measure")
    frame = read_arms(data, {"ai": ai, "n1i": n1i, "ci": ci, "n2i": n2i}, scale)
    columns = columns_of(frame)
    model = _both_arms(frame, fit_bivariate(*columns))
    fit = describe(*columns, model.cov_re.to_numpy())
    slope = float(fit.slope)
    if np.isnan(slope) or fit.cov[0, 0] <= _NOTHING * frame["control_vi"].min():
        raise DesignError(
            f"The {scale.label} of the controls does not differ between studies beyond sampling "
            "error: there is no baseline risk to regress on."
        )
    effect = frame.assign(
        effect=frame["treated"] - frame["control"],
        effect_vi=frame["treated_vi"] + frame["control_vi"],
    )
    naive_fit = MetaReg.from_formula("effect ~ control", effect, vi="effect_vi").fit()
    w = np.asarray(naive_fit.weights)
    true = float(w.sum() * fit.cov[0, 0])
    reliability = true / (true + float((w * columns[2]).sum()))
    return BaselineRisk(
        measure=scale.name,
        slope=slope,
        slope_se=float(fit.slope_se),
        slope_se_profile=float(fit.slope_se_observed),
        intercept=float(fit.intercept),
        intercept_se=float(fit.intercept_se),
        naive=1.0 + float(naive_fit.params["control"]),
        naive_se=float(naive_fit.bse["control"]),
        reliability=reliability,
        dilution=(1.0 - slope) * (1.0 - reliability),
        shared_arm=-(1.0 - reliability),
        frame=frame,
        model=model,
        naive_fit=naive_fit,
        _fit=fit,
    )


def _both_arms(frame: pd.DataFrame, start: Bivariate) -> MixedMetaRegResultsWrapper:
    """The bivariate model of dependent effects, by maximum likelihood."""
    k = len(frame)
    long = pd.DataFrame(
        {
            "outcome": frame[_ARMS].to_numpy().ravel(),
            "vi": frame[[f"{arm}_vi" for arm in _ARMS]].to_numpy().ravel(),
            "arm": pd.Categorical(_ARMS * k, _ARMS),
            "study": np.repeat(np.arange(k) if frame.index.has_duplicates else frame.index, 2),
        }
    )
    model = MixedMetaReg.from_formula(
        "outcome ~ 0 + arm", long, vi="vi", random="0 + arm | study", structure="un"
    )
    a = np.sqrt(start.cov[0, 0])
    b = start.cov[0, 1] / a if a > 0.0 else 0.0
    c = np.sqrt(max(start.cov[1, 1] - b**2, 0.0))
    # where there are several maxima, from the highest that is known
    return model.fit(reml=False, use_t=False, start_params=[a, b, c])
