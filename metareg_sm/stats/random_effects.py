"""Predicted random effects and shrunken true effects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metareg_sm._typing import Array


@dataclass(frozen=True, slots=True, eq=False)
class RandomEffects:
    """Best linear unbiased predictions of the random effects and of the true effects.

    Attributes
    ----------
    u, u_se : ndarray, (k,)
        Random effects and their standard errors.
    theta, theta_se : ndarray, (k,)
        True effects x'b + u, shrunken towards the regression, and their standard errors.
    """

    u: Array
    u_se: Array
    theta: Array
    theta_se: Array


def random_effects(
    y: Array, v: Array, fitted: Array, fitted_var: Array, tau2: float | Array
) -> RandomEffects:
    """Predict the random effects (empirical Bayes).

    Parameters
    ----------
    y, v : ndarray, (k,)
        Outcomes and sampling variances.
    fitted, fitted_var : ndarray, (k,)
        x'b and its variance.
    tau2 : float or ndarray, (k,)
        Heterogeneity, of all studies or of each.

    Returns
    -------
    RandomEffects

    References
    ----------
    Raudenbush, S. W., & Bryk, A. S. (1985). Empirical Bayes meta-analysis. Journal of Educational
    Statistics, 10(2), 75-98.
    """
    shrinkage = tau2 / (v + tau2)
    u = shrinkage * (y - fitted)
    own = shrinkage * v
    return RandomEffects(
        u=u,
        u_se=np.sqrt(own + shrinkage**2 * fitted_var),
        theta=fitted + u,
        theta_se=np.sqrt(own + (1.0 - shrinkage) ** 2 * fitted_var),
    )
