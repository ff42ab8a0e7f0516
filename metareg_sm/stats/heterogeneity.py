"""Heterogeneity statistics: Q, I2, H2, R2, their decomposition, and the test of tau2 = 0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from metareg_sm._typing import Array
from metareg_sm.core.studies import Studies
from metareg_sm.core.tau2.moments import derivatives_of
from metareg_sm.printing import Printed


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class QTest(Printed):
    """A heterogeneity statistic with its chi-squared reference.

    Attributes
    ----------
    q : float
        The statistic.
    df : int
        Degrees of freedom.
    pvalue : float
        Upper tail probability; 1 where there are no degrees of freedom.
    """

    q: float
    df: int
    pvalue: float


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class QDecomposition(Printed):
    """Q_total = Q_model + Q_residual with weights 1/v, and I2 on the common denominator Q_total.

    Attributes
    ----------
    total, model, residual : QTest
        The three statistics.
    i2_total, i2_model, i2_residual : float
        Fractions; total = model + residual exactly.
    """

    total: QTest
    model: QTest
    residual: QTest
    i2_total: float
    i2_model: float
    i2_residual: float


def q_test(q: float, df: int) -> QTest:
    """Refer a Q statistic to chi-squared with `df` degrees of freedom."""
    return QTest(q, df, float(special.chdtrc(df, max(q, 0.0))) if df > 0 else 1.0)


def q_residual(studies: Studies) -> Array:
    """Residual Q_E = sum (y - Xb)^2 / v, with b fitted with weights 1/v.

    Parameters
    ----------
    studies : Studies
        Data sets with positive sampling variances.

    Returns
    -------
    ndarray, (...)
    """
    return derivatives_of(studies, np.zeros(studies.shape), True)[1]


def typical_variance(studies: Studies) -> Array:
    """Typical sampling variance s2 = (k - p) / tr P at tau2 = 0 (Higgins & Thompson, 2002).

    Parameters
    ----------
    studies : Studies
        Data sets with positive sampling variances.

    Returns
    -------
    ndarray, (...)
        In squared units of the outcome.
    """
    return studies.df / derivatives_of(studies, np.zeros(studies.shape), True)[0].trace


def i2_h2(tau2: Array, s2: Array) -> tuple[Array, Array]:
    """I2 = tau2 / (s2 + tau2), a fraction, and H2 = tau2 / s2 + 1."""
    return tau2 / (s2 + tau2), tau2 / s2 + 1.0


def r2(tau2: Array, tau2_null: Array) -> Array:
    """Share of tau2_null that the moderators explain, at least 0; 0 where tau2_null is 0."""
    null = np.asarray(tau2_null)
    safe = np.where(null > 0.0, null, 1.0)
    return np.where(null > 0.0, np.maximum((null - tau2) / safe, 0.0), 0.0)


def q_decomposition(full: Studies, null: Studies) -> QDecomposition:
    """Split the total heterogeneity into what the moderators explain and the rest.

    Parameters
    ----------
    full, null : Studies
        The same studies with all moderators, and with the constant alone.

    Returns
    -------
    QDecomposition
    """
    total, residual = float(q_residual(null)), float(q_residual(full))
    df_total, df_residual = null.df, full.df
    df_model = df_total - df_residual
    # the model without moderators explains nothing: no rounding error may say otherwise
    model = total - residual if df_model else 0.0
    total = residual + model
    denominator = total if total > 0.0 else 1.0
    i2_total = max(0.0, (total - df_total) / denominator)
    i2_residual = max(0.0, (residual - df_residual) / denominator)
    i2_model = i2_total - i2_residual
    return QDecomposition(
        q_test(total, df_total),
        q_test(model, df_model),
        q_test(residual, df_residual),
        i2_residual + i2_model,
        i2_model,
        i2_residual,
    )


def boundary_lr_test(llf: float, llf_zero: float) -> tuple[float, float]:
    """Likelihood ratio test of tau2 = 0 against the 50:50 mixture of 0 and chi-squared(1).

    Parameters
    ----------
    llf, llf_zero : float
        Log-likelihood at its maximum and at tau2 = 0.

    Returns
    -------
    statistic, pvalue : float

    References
    ----------
    Self, S. G., & Liang, K.-Y. (1987). Asymptotic properties of maximum likelihood estimators and
    likelihood ratio tests under nonstandard conditions. Journal of the American Statistical
    Association, 82(398), 605-610.
    """
    statistic = max(0.0, 2.0 * (llf - llf_zero))
    return statistic, 0.5 * float(special.chdtrc(1, statistic)) if statistic > 0.0 else 1.0
