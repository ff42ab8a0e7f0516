"""How far the moderators can be told apart: variance inflation and condition number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from metareg_sm._typing import Array
from metareg_sm.exceptions import DesignError
from metareg_sm.postestimation.fitted import Fitted, Labelled, plain

__all__ = ["condition_note", "condition_number", "vif"]

# statsmodels' own bound for the note
_LARGE = 1000.0


def vif(results: Fitted | Labelled[Fitted]) -> pd.DataFrame:
    """Variance inflation factors of the coefficients, and generalised ones of their terms.

    Parameters
    ----------
    results : MetaRegResults
        A fit with at least one coefficient beside the constant.

    Returns
    -------
    DataFrame
        One row a coefficient, the constant left out. Columns term, vif; and for the whole term
        df, its number of coefficients, gvif, and gvif_adjusted = gvif^(1 / (2 df)), which compares
        terms of different df as a factor on the length of a confidence interval. For a term of
        one column gvif is vif. Without a formula each column is a term.

    Raises
    ------
    DesignError
        If the moderators are redundant, or there is none.

    Notes
    -----
    Computed from the correlation matrix R of the coefficients under the weights 1/(vi + tau2):
    vif is the diagonal of its inverse, and gvif = |R_11| |R_22| / |R| with R_11 the block of the
    term and R_22 that of all others. It describes the design and its weights alone: scale factors
    such as Knapp-Hartung's cancel, and a robust covariance does not change it. With equal weights
    vif is statsmodels' `variance_inflation_factor`. Without a constant in the model it is relative
    to moderators that are orthogonal about zero.

    References
    ----------
    Fox, J., & Monette, G. (1992). Generalized collinearity diagnostics. Journal of the American
    Statistical Association, 87(417), 178-183.

    Examples
    --------
    >>> import metareg_sm
    >>> from metareg_sm.postestimation.collinearity import vif
    >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
    >>> res = metareg_sm.MetaReg.from_formula("yi ~ ablat + year + alloc", bcg, vi="vi").fit()
    >>> vif(res).round(4)
                          term     vif  df    gvif  gvif_adjusted
    alloc[T.random]      alloc  2.0858   2  1.2339         1.0540
    alloc[T.systematic]  alloc  2.0193   2  1.2339         1.0540
    ablat                ablat  1.7697   1  1.7697         1.3303
    year                  year  1.9148   1  1.9148         1.3838
    """
    fit = plain(results)
    if fit.redundant:
        raise DesignError(
            f"The moderators are redundant ({', '.join(map(repr, fit.redundant))}): their "
            "variance inflation is infinite. Leave redundant ones out."
        )
    names = fit.terms.names
    constant = fit.terms.constant
    kept = [j for j in range(len(names)) if j != constant]
    if not kept:
        raise DesignError("The model has no moderator, and so no variance inflation.")
    cov = fit.regression.unscaled[np.ix_(kept, kept)]
    se = np.sqrt(np.diag(cov))
    correlation = cov / np.outer(se, se)
    inflation = np.diag(np.linalg.inv(correlation))
    terms = [fit.terms.of_columns()[j] for j in kept]
    by_term = {t: _gvif(correlation, np.array([u == t for u in terms])) for t in set(terms)}
    df = np.array([terms.count(t) for t in terms])
    gvif = np.array([by_term[t] for t in terms])
    return pd.DataFrame(
        {
            "term": terms,
            "vif": inflation,
            "df": df,
            "gvif": gvif,
            "gvif_adjusted": gvif ** (0.5 / df),
        },
        index=pd.Index([names[j] for j in kept]),
    )


def _gvif(correlation: Array, own: Any) -> float:
    # logarithms of determinants: many nearly redundant columns would underflow
    blocks = (correlation[np.ix_(m, m)] for m in (own, ~own))
    inside, outside = (np.linalg.slogdet(b)[1] for b in blocks)
    return float(np.exp(inside + outside - np.linalg.slogdet(correlation)[1]))


def condition_number(results: Fitted | Labelled[Fitted], scaled: bool = False) -> float:
    """Condition number of the weighted design, the columns of exog / sqrt(vi + tau2).

    Parameters
    ----------
    results : MetaRegResults
        A fit.
    scaled : bool, default False
        Scale the weighted columns to unit length first (Belsley, Kuh & Welsch, 1980), which frees
        the number of the moderators' units, though not of where their zero is.

    Returns
    -------
    float
        Largest over smallest singular value. Unscaled it is what statsmodels' WLS with these
        weights calls `condition_number`.

    References
    ----------
    Belsley, D. A., Kuh, E., & Welsch, R. E. (1980). Regression Diagnostics. Wiley.

    Examples
    --------
    >>> import metareg_sm
    >>> from metareg_sm.postestimation.collinearity import condition_number
    >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
    >>> res = metareg_sm.MetaReg.from_formula("yi ~ ablat + year", bcg, vi="vi").fit()
    >>> round(condition_number(res)), round(condition_number(res, scaled=True))
    (472591, 574)
    """
    fit = plain(results)
    design = fit.regression.weighted(fit.table.exog)
    if scaled:
        length = np.linalg.norm(design, axis=0)
        design = design / np.where(length > 0.0, length, 1.0)
    return float(np.linalg.cond(design))


def condition_note(fit: Fitted) -> str | None:
    """What a summary should say of a large condition number; None where it is at most 1000.

    Parameters
    ----------
    fit : Fitted
        A fit.

    Returns
    -------
    str or None
        statsmodels' warning with statsmodels' bound. The number depends on the moderators' units
        and zeros (a calendar year alone exceeds 1000), so the text says what to look at instead.

    Examples
    --------
    >>> import metareg_sm
    >>> from metareg_sm.postestimation.collinearity import condition_note
    >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
    >>> condition_note(metareg_sm.MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()) is None
    True
    """
    number = fit.condition_number
    if not number > _LARGE:
        return None
    return (
        f"The condition number is large, {number:.3g}. This might indicate strong "
        "multicollinearity, but it also depends on the moderators' units and zeros; vif() does not."
    )
