"""Deletion diagnostics: what the fits without each study, or group of studies, say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from metareg_sm._typing import Array, Codes, Mask
from metareg_sm.core.gram import Gram, inverse
from metareg_sm.stats.blocks import block_size
from metareg_sm.stats.gls import WeightedRegression
from metareg_sm.stats.refits import Refits, diagonal

# a leverage that differs from 1 by less is 1: the study determines a coefficient alone
_ALONE = 1e-10


@dataclass(frozen=True, slots=True, eq=False)
class Deletion:
    """What n deletions change in a fit to k studies.

    Attributes
    ----------
    leverage, internal, external : ndarray, (k,)
        Leverages; residuals over their standard errors, from all studies and from those that are
        left when the study is deleted.
    dffits : ndarray, (k,)
        Standardised change of each study's fitted value when it is deleted.
    fitted_change, fitted_se : ndarray, (k,)
        That change, and the standard error of the fitted value without the study.
    dfbeta, dfbetas : ndarray, (n, p)
        Change of the coefficients, and over their standard errors.
    cook, cov_ratio : ndarray, (n,)
        Cook's distance; ratio of the determinants of the covariances.
    """

    leverage: Array
    internal: Array
    external: Array
    dffits: Array
    fitted_change: Array
    fitted_se: Array
    dfbeta: Array
    dfbetas: Array
    cook: Array
    cov_ratio: Array


def deletion_statistics(
    regression: WeightedRegression,
    v: Array,
    exog: Array,
    to_params: Array,
    scale: float,
    fits: Refits,
    codes: Codes,
) -> Deletion:
    """Compare the fit to all studies with those that lack some.

    Parameters
    ----------
    regression : WeightedRegression
        The fit to all studies.
    v : ndarray, (k,)
        Sampling variances.
    exog : ndarray, (k, p)
        Moderators.
    to_params : ndarray, (p, r)
        Maps coefficients of the basis to those of the moderators.
    scale : float
        Factor on the covariance of the fit to all studies.
    fits : Refits
        The n fits that lack some.
    codes : ndarray of int, (k,)
        Which of them lacks each study.

    Returns
    -------
    Deletion

    References
    ----------
    Viechtbauer, W., & Cheung, M. W.-L. (2010). Outlier and influence diagnostics for meta-analysis.
    Research Synthesis Methods, 1(2), 112-125.
    """
    variances, z = regression.variances, regression.resid
    leverage = np.einsum("kr,kr->k", regression.Q, regression.Q)
    freedom = 1.0 - leverage
    freedom = np.where(freedom > _ALONE, freedom, np.nan)
    dfbeta = -fits.change
    left_variance = v + fits.of_own(codes)
    left_scale = fits.scale[codes]
    change = np.einsum("kp,kp->k", exog, dfbeta[codes])
    Z = regression.Z
    # variance of what the others expect of the study, without the factor
    spread = ((Z[:, None] @ fits.unscaled[codes])[:, 0] * Z).sum(-1)
    resid = z * np.sqrt(variances) + change
    inner = np.linalg.solve(regression.G, dfbeta.T)
    scaled = leverage * left_variance * left_scale
    p = len(to_params)
    # of (Z'WZ)^-1: that of the moderators themselves differs by a factor which cancels
    full = 2.0 * np.linalg.slogdet(regression.inverse)[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        det = np.exp(np.linalg.slogdet(fits.unscaled)[1] - full)
        return Deletion(
            leverage=leverage,
            internal=z / np.sqrt(freedom),
            external=resid / np.sqrt(left_scale * (left_variance + spread)),
            # a study without leverage changes nothing, however the change is scaled
            dffits=np.where(leverage > 0.0, change / np.sqrt(scaled), 0.0 * scaled),
            fitted_change=change,
            fitted_se=np.sqrt(left_scale * spread),
            dfbeta=dfbeta,
            dfbetas=dfbeta / _scales(Z, v, to_params, fits, codes),
            cook=np.einsum("pn,pn->n", inner, inner) / scale,
            cov_ratio=(fits.scale / scale) ** p * det,
        )


def _scales(Z: Array, v: Array, to_params: Array, fits: Refits, codes: Codes) -> Array:
    """Standard errors of the coefficients of all studies at tau2 and factor of each fit, (n, p)."""
    if len(fits.tau2) == len(v):
        # one study more than those that are left
        own = np.argsort(codes)
        z, theta = Z[own], (v + fits.of_own(codes))[own]
        cross = np.linalg.inv(fits.unscaled) + z[:, :, None] * (z / theta[:, None])[:, None]
        whole = np.asarray(np.linalg.inv(cross), dtype=float)
    else:
        gram, size, found = Gram(Z), block_size(len(v), Z.shape[1]), []
        for begin in range(0, len(fits.tau2), size):
            tau2 = fits.of_all(slice(begin, begin + size))
            found.append(inverse(gram.quadratic(1.0 / (v + tau2))[0], overwrite=True))
        whole = np.moveaxis(np.concatenate(found, axis=-1), -1, 0)
    return np.sqrt(diagonal(to_params, whole) * fits.scale[:, None])


def influential(
    k: int, dfbetas: Array, cook: Array, dffits: Array | None = None, leverage: Array | None = None
) -> Mask:
    """Deletions that metafor's published rules call influential.

    Parameters
    ----------
    k : int
        Number of studies.
    dfbetas : ndarray, (n, p)
        Of each deletion; NaN where there is none, which no rule applies to.
    cook : ndarray, (n,)
        Cook's distance.
    dffits, leverage : ndarray, (n,), optional
        Where each deletion is of one study.

    Returns
    -------
    ndarray of bool, (n,)
        Where the absolute DFFITS exceeds 3 sqrt(p / (k - p)), Cook's distance the median of
        chi-squared with p degrees of freedom, the leverage 3 p / k, or an absolute DFBETAS 1.
    """
    p = dfbetas.shape[-1]
    found: Mask = special.gammainc(0.5 * p, 0.5 * cook) > 0.5
    found |= (np.abs(dfbetas) > 1.0).any(-1)
    if dffits is not None:
        found |= np.abs(dffits) > dffits_threshold(k, p)
    if leverage is not None:
        found |= leverage > 3.0 * p / k
    return found


def dffits_threshold(k: int, p: int) -> float:
    """3 sqrt(p / (k - p)), beyond which a DFFITS is large."""
    return float(3.0 * np.sqrt(p / (k - p)))
