"""Tests of contrasts with the degrees of freedom of the covariance."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.stats.contrast import ContrastResults
from statsmodels.tools.sm_exceptions import ValueWarning

from metareg_sm._compat import FormulaManager
from metareg_sm._typing import Array
from metareg_sm.core.basis import Basis
from metareg_sm.design.formula import formula_error
from metareg_sm.exceptions import OptionError
from metareg_sm.options import check_alpha
from metareg_sm.postestimation.fitted import Fitted
from metareg_sm.printing import Printed

# what rounding leaves of a direction in which a covariance is singular, of its largest
_SINGULAR = 1e-13


@dataclass(frozen=True, slots=True, repr=False)
class OmnibusTest(Printed):
    """Test of all moderators together.

    Attributes
    ----------
    statistic, pvalue : float
        F, or chi-squared where tests are normal; NaN without moderators.
    df_num : float
        Number of moderators that are tested.
    df_denom : float or None
        Denominator degrees of freedom of F; None for chi-squared.
    """

    statistic: float
    pvalue: float
    df_num: float
    df_denom: float | None


class Contrasts(ContrastResults):
    """statsmodels' tests of linear hypotheses, with levels that are levels.

    Parameters
    ----------
    found : ContrastResults
        What statsmodels made.
    """

    def __init__(self, found: ContrastResults) -> None:
        self.__dict__.update(vars(found))

    def conf_int(self, alpha: float = 0.05) -> Array:
        """Confidence intervals of the contrasts, (m, 2); parameters as in statsmodels."""
        return super().conf_int(check_alpha(alpha))

    def summary(
        self, xname: list[str] | None = None, alpha: float = 0.05, title: str | None = None
    ) -> Any:
        """Summary as statsmodels prints it; parameters as there."""
        return super().summary(xname, check_alpha(alpha), title)

    def summary_frame(self, xname: list[str] | None = None, alpha: float = 0.05) -> pd.DataFrame:
        """The same as a table; parameters as in statsmodels."""
        return super().summary_frame(xname, check_alpha(alpha))


def constraints(r_matrix: Any, names: list[str]) -> tuple[Array, Array]:
    """Linear hypotheses Rb = q, from whatever statsmodels takes, as R (m, p) and q (m,).

    Raises
    ------
    OptionError
        If they cannot be read, or are not finite numbers.
    """
    own = ", ".join(names)
    try:
        found = FormulaManager().get_linear_constraints(r_matrix, names)
        R = np.atleast_2d(np.asarray(found.constraint_matrix, dtype=float))
        q = np.zeros(len(R))
        if found.constraint_values is not None:
            q = q + np.asarray(found.constraint_values, dtype=float).ravel()
    except (formula_error(), KeyError, IndexError, TypeError, ValueError) as error:
        raise OptionError(
            f"r_matrix={r_matrix!r} is no linear hypothesis about the coefficients {own}. Write "
            "'a = 0', 'a = b, c = 1', or a matrix with one column a coefficient."
        ) from error
    if (
        not R.size
        or R.shape[1] != len(names)
        or not (np.isfinite(R).all() and np.isfinite(q).all())
    ):
        raise OptionError(
            f"r_matrix must have finite numbers and {len(names)} columns, one for each of {own}; "
            f"it has the shape {R.shape}."
        )
    return R, q


def tests_of(effect: Array, q: Array, sd: Array, df: float | Array | None) -> Contrasts:
    """T tests that effects (m,) are q, normal ones where `df` is None, as statsmodels has them."""
    if len(effect) == 1:
        # one test has statistics (1, 1) and an effect (1,) in statsmodels
        sd = sd[:, None]
        df = df[:, None] if isinstance(df, np.ndarray) else df
    # a coefficient that is fixed has a standard error of 0, and statsmodels a statistic of 0 then
    t = np.divide(effect - q, sd, out=np.zeros(sd.shape), where=sd > 0.0)
    if df is None:
        return Contrasts(ContrastResults(effect=effect, statistic=t, sd=sd, distribution="norm"))
    return Contrasts(ContrastResults(effect=effect, t=t, sd=sd, df_denom=df))


def joint_test(gap: Array, root: Array, df: float | None, scalar: bool) -> ContrastResults:
    """F test that gaps (m,) are 0, a chi-squared one where `df` is None, as statsmodels has them.

    `root` (m, r) is the root of their covariance, which may be singular. The covariance itself
    would have half of the digits.
    """
    U, s, _ = np.linalg.svd(root, full_matrices=False)
    rank = int((s > _SINGULAR * s[0]).sum())
    if rank < len(gap):
        warnings.warn(
            "covariance of constraints does not have full rank. The number of constraints is "
            f"{len(gap)}, but rank is {rank}",
            ValueWarning,
            stacklevel=3,
        )
    standard = (gap @ U[:, :rank]) / s[:rank]
    statistic: Any = float(standard @ standard) if rank else np.nan
    if df is not None and rank:
        statistic /= rank
    if not scalar:
        statistic = np.array([[statistic]])
    if df is not None:
        return ContrastResults(F=statistic, df_denom=df, df_num=rank)
    return ContrastResults(
        chi2=statistic,
        df_denom=float(rank),
        statistic=statistic,
        distribution="chi2",
        distargs=(float(rank),),
    )


def smallest_df(contrasts: Array, df: Array) -> Array:
    """Smallest degrees of freedom of the coefficients in each contrast.

    Parameters
    ----------
    contrasts : ndarray, (m, p)
        In units of the standard errors, so that rounding of a 0 can be told from a weight.
    df : ndarray, (p,)
        Degrees of freedom of the coefficients.

    Returns
    -------
    ndarray, (m,)
    """
    size = np.abs(contrasts)
    inside = size > 1e-10 * size.max(1, keepdims=True)
    # a contrast of nothing has those of all coefficients
    inside |= ~inside.any(1, keepdims=True)
    return np.where(inside, df, np.inf).min(1)


def omnibus_contrasts(exog: Array, basis: Basis, constant: bool) -> Array:
    """Contrasts that are 0 where all studies have the same expected effect, (m, p)."""
    Z = basis.Z
    contrasts = Z.T @ exog
    if not constant:
        return contrasts
    # a constant effect is the null: drop its direction from the column space
    direction = Z.T @ np.ones(len(Z))
    others = np.linalg.qr(direction[:, None], mode="complete")[0][:, 1:]
    return others.T @ contrasts


def omnibus_test(fit: Fitted) -> OmnibusTest:
    """Test of all moderators of a fit."""
    if fit.df_model <= 0:
        return OmnibusTest(np.nan, np.nan, 0.0, None)
    table = fit.table
    R = omnibus_contrasts(table.exog, table.basis, bool(fit.k_constant))
    test = fit.wald_test(R, scalar=True)
    is_f = test.distribution == "F"
    df = (test.df_num, test.df_denom) if is_f else (test.df_denom, None)
    return OmnibusTest(float(test.statistic), float(test.pvalue), *df)
