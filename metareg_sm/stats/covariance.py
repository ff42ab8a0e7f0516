"""The covariance types that `fit` knows: model-based, Knapp-Hartung and sandwiches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from metareg_sm._typing import Array
from metareg_sm.exceptions import DesignError, OptionError
from metareg_sm.stats.gls import WeightedRegression
from metareg_sm.stats.sandwich import (
    CORRECTIONS,
    Codes,
    Sandwich,
    cluster_sandwich,
    hc_root,
)

__all__ = [
    "CORRECTIONS",
    "COVARIANCES",
    "Covariance",
    "CovarianceType",
    "Sandwich",
    "cluster_sandwich",
    "hc_root",
]


@dataclass(frozen=True, slots=True, eq=False)
class Covariance:
    """Covariance of the coefficients and the reference distribution that goes with it.

    Attributes
    ----------
    cov : ndarray, (p, p)
        Covariance.
    root : ndarray, (p, m)
        Its root: `cov` is root root', by way of an orthonormal basis of the moderators.
    scale : float
        Factor on (X'WX)^-1: Knapp-Hartung's, or 1.
    df : float
        Degrees of freedom of t and F tests.
    sandwich : Sandwich or None
        Where each contrast has degrees of freedom of its own.
    description : str
        A sentence for the summary.
    coefficient_df : ndarray, (p,), or None
        Degrees of freedom of each coefficient, where these differ; a contrast has the smallest of
        those that are in it.
    """

    cov: Array
    root: Array
    scale: float
    df: float
    sandwich: Sandwich | None
    description: str
    coefficient_df: Array | None = None

    def standard_errors(self, contrasts: Array) -> Array:
        """Standard errors of contrasts (n, p) of the coefficients, or of fitted means, (n,).

        Lengths of rows of the root. A quadratic form in `cov` is a difference of large numbers
        where a moderator is far from 0 in units of its spread, and may even be negative.
        """
        half = contrasts @ self.root
        return np.sqrt(np.einsum("nr,nr->n", half, half))


@dataclass(frozen=True, slots=True, eq=False)
class CovarianceType:
    """One entry of the registry.

    Attributes
    ----------
    name : str
        What `fit(cov_type=...)` calls it.
    label : str
        As it is printed.
    use_t : bool
        Whether tests refer to t and F unless `fit(use_t=...)` says otherwise.
    compute : callable
        `compute(fit, groups, correction)`; groups and correction are None but for clusters.
    factor : callable or None
        Where the covariance is a factor times (X'WX)^-1, that factor as a function of the residual
        mean square; it serves batches of fits.
    of_residuals : bool
        Whether it is made of the residuals, so that there must be some.
    """

    name: str
    label: str
    use_t: bool
    compute: Callable[[WeightedRegression, Codes | None, str | None], Covariance]
    factor: Callable[[Any], Any] | None = None
    of_residuals: bool = True


def _model_based(
    name: str,
    label: str,
    use_t: bool,
    factor: Callable[[Any], Any],
    text: str,
) -> CovarianceType:
    def compute(
        fit: WeightedRegression, groups: Codes | None, correction: str | None
    ) -> Covariance:
        scale = float(factor(fit.scale if fit.df_resid else np.nan))
        root = np.sqrt(scale) * fit.G
        return Covariance(scale * fit.unscaled, root, scale, fit.df_resid, None, text)

    # a factor of 0 where there are no residuals leaves no standard error
    of_residuals = bool(factor(np.zeros(1))[0] == 0.0)
    return CovarianceType(name, label, use_t, compute, factor, of_residuals)


def _hc(name: str, power: float) -> CovarianceType:
    def compute(
        fit: WeightedRegression, groups: Codes | None, correction: str | None
    ) -> Covariance:
        factor = len(fit.resid) / fit.df_resid if name == "HC1" else 1.0
        text = f"Standard errors are heteroscedasticity robust ({name})."
        root = hc_root(fit, power, factor)
        return Covariance(root @ root.T, root, 1.0, fit.df_resid, None, text)

    return CovarianceType(name, name, True, compute)


def _cluster(fit: WeightedRegression, groups: Codes | None, correction: str | None) -> Covariance:
    if groups is None or correction is None:
        raise OptionError("cov_type='cluster' needs cov_kwds={'groups': ..., 'correction': ...}.")
    r = fit.Q.shape[1]
    J = int(groups.max()) + 1
    small_sample = correction in ("CR2", "CR3")
    if J < 2:
        raise DesignError(
            "cov_type='cluster' needs at least 2 clusters; groups has 1. Give the column that says "
            "which studies belong together."
        )
    if r >= J and not small_sample:
        raise DesignError(
            f"correction={correction!r} needs more clusters than coefficients; groups has {J} for "
            f"{r} coefficients. Use correction='CR2', or fewer moderators."
        )
    sandwich = cluster_sandwich(fit, groups, correction)
    df = "Satterthwaite degrees of freedom" if small_sample else f"{J - r} degrees of freedom"
    text = f"Standard errors are robust to clustering ({correction}, {J} clusters, {df})."
    own = sandwich if small_sample else None
    return Covariance(sandwich.cov, sandwich.root, 1.0, float(J - r), own, text)


_TYPES = (
    _model_based(
        "knapp-hartung",
        "Knapp-Hartung",
        True,
        lambda q: q,
        "Standard errors use the Knapp-Hartung adjustment.",
    ),
    _model_based(
        "knapp-hartung-adhoc",
        "Knapp-Hartung (ad hoc)",
        True,
        lambda q: np.maximum(q, 1.0),
        "Standard errors use the Knapp-Hartung adjustment with a factor of at least 1.",
    ),
    _model_based(
        "nonrobust",
        "nonrobust (Wald)",
        False,
        np.ones_like,
        "Standard errors assume that the sampling variances and the estimate of tau2 are the true "
        "variances.",
    ),
    _hc("HC0", 0.0),
    _hc("HC1", 0.0),
    _hc("HC2", 0.5),
    _hc("HC3", 1.0),
    CovarianceType("cluster", "cluster", True, _cluster),
)

COVARIANCES: Mapping[str, CovarianceType] = MappingProxyType({t.name.lower(): t for t in _TYPES})
"""Every covariance type, by its name in lower case."""


def _mixed_nonrobust(
    fit: WeightedRegression, groups: Codes | None, correction: str | None
) -> Covariance:
    text = (
        "Standard errors assume that the sampling covariances and the estimates of the variance "
        "components are the true ones."
    )
    return Covariance(fit.unscaled, fit.G, 1.0, fit.df_resid, None, text)


MIXED_COVARIANCES: Mapping[str, CovarianceType] = MappingProxyType(
    {
        t.name: t
        for t in (
            CovarianceType("nonrobust", "nonrobust", True, _mixed_nonrobust, of_residuals=False),
            CovarianceType("cluster", "cluster", True, _cluster),
        )
    }
)
"""Those of models with dependent effects."""
