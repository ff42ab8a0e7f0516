"""Deletion diagnostics: what the fits without each study, or group of studies, say.

Coefficients enter as their change from the fit to all studies, which is what the fit to that fit's
residuals gives: a large common level of the outcomes costs no digits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
from scipy import special

from metareg_sm._typing import Array, Mask
from metareg_sm.core.basis import Basis
from metareg_sm.core.gram import Gram, inverse, unpacked
from metareg_sm.stats.batch import Reason, block_size, check_room, counted_block, regress
from metareg_sm.stats.gls import WeightedRegression
from metareg_sm.stats.heterogeneity import i2_h2
from metareg_sm.stats.left_out import LeftOut, safe
from metareg_sm.stats.left_out_many import MANY, LeftOutMany
from metareg_sm.stats.resampling import ResampledModel

Codes = npt.NDArray[np.intp]
Selections = Callable[[Codes], Array]
"""How often each study counts, (len(rows), k), in some selections of the studies."""

# a leverage that differs from 1 by less is 1: the study determines a coefficient alone
_ALONE = 1e-10


@dataclass(frozen=True, slots=True, eq=False)
class Refits:
    """Fits to n selections of the same studies; NaN where one could not be fitted.

    Attributes
    ----------
    change : ndarray, (n, p)
        Coefficients less those of the fit to all studies.
    unscaled : ndarray, (n, r, r)
        (Z'WZ)^-1 of the basis.
    tau2, scale, q, i2 : ndarray, (n,)
        Heterogeneity, factor on the covariance, Q_E with weights 1/v, and I2, a fraction.
    reason : ndarray of int, (n,)
        `Reason` of those that could not be fitted, or not for certain.
    """

    change: Array
    unscaled: Array
    tau2: Array
    scale: Array
    q: Array
    i2: Array
    reason: npt.NDArray[np.intp]

    def some(self, which: Codes | Mask) -> Refits:
        """Some of the fits."""
        return Refits(*(getattr(self, f.name)[which] for f in fields(Refits)))

    def standard_errors(self, to_params: Array) -> Array:
        """Standard errors of the coefficients, (n, p)."""
        return np.sqrt(_diagonal(to_params, self.unscaled) * self.scale[:, None])


def refit_selections(
    y: Array,
    v: Array,
    resid: Array,
    refit: ResampledModel,
    n: int,
    counts: Selections,
) -> Refits:
    """Fit n selections of the studies, as many at a time as memory holds.

    Parameters
    ----------
    y, v : ndarray, (k,)
        Outcomes and sampling variances.
    resid : ndarray, (k,)
        Outcomes less what the fit to all studies expects.
    refit : ResampledModel
        How each is fitted.
    n : int
        Number of selections.
    counts : callable
        `counts(rows)` gives how often each study counts, (len(rows), k), in some selections.

    Returns
    -------
    Refits
    """
    # residuals and the basis itself keep digits that a level or a year that is not centred costs
    rank = refit.basis.rank
    own, size = Basis(refit.basis.Z, np.eye(rank), (), None), block_size(len(y), rank)
    parts = []
    for begin in range(0, n, size):
        rows = np.arange(begin, min(begin + size, n))
        count = counts(rows)
        block = counted_block(y, v, refit.basis, count)
        fit = refit.fit(block)
        fitted = np.isfinite(fit.tau2)
        change, unscaled, _ = regress(
            counted_block(resid, v, own, count).studies, np.where(fitted, fit.tau2, 1.0), own
        )
        change[~fitted], unscaled[~fitted] = np.nan, np.nan
        found = (change @ refit.basis.to_params.T, np.moveaxis(unpacked(unscaled.T), -1, 0))
        parts.append(Refits(*found, fit.tau2, fit.scale, fit.q, fit.i2, block.reason))
    return _joined(parts)


def refit_deletions(
    y: Array, v: Array, resid: Array, refit: ResampledModel, tau2: float, lacks: Codes
) -> Refits:
    """Fit the data sets that lack one study each.

    Sums that all data sets share serve them, where that costs no digits; the cost of a data set
    is then linear in the number of studies at most, and does not depend on it where studies are
    many. Parameters as in `refit_selections`; `tau2` is that of all studies, `lacks` (n,) which
    study each data set lacks.
    """
    basis, estimator = refit.basis, refit.estimator
    check_room(
        len(lacks),
        basis.rank,
        "fits that lack a study",
        "get_influence(groups=...) with few groups",
    )
    counts = without_groups(np.arange(len(y)))
    parts, done = [], np.zeros(len(lacks), dtype=bool)
    fits: Refits | None = None
    if len(y) >= MANY and v.min() > 0.0 and len(y) - 1 > basis.rank:
        fits, done = _by_nodes(y, v, resid, refit, tau2, lacks)
    elif estimator is not None and estimator.kind.likelihood:
        good = np.flatnonzero(safe(v, basis.Z, lacks))
        if good.size:
            fits, accurate = _shared(v, resid, refit, tau2, lacks[good])
            done[good[accurate]] = True
    if fits is not None:
        parts.append(fits)
    others = np.flatnonzero(~done)
    if others.size:

        def kernel(rows: Codes) -> Array:
            return counts(lacks[others[rows]])

        parts.append(refit_selections(y, v, resid, refit, len(others), kernel))
    return _joined(parts, np.argsort(np.concatenate([np.flatnonzero(done), others])))


def _by_nodes(
    y: Array, v: Array, resid: Array, refit: ResampledModel, near: float, lacks: Codes
) -> tuple[Refits, Mask]:
    """The fits of `refit_deletions` from nodes that stand for many studies; which are accurate.

    Of those that are not there is no fit.
    """
    n = len(lacks)
    left = LeftOutMany.build(y, resid, v, refit.basis.Z, lacks, near, refit.reml)
    certified: Mask | bool = True
    if refit.estimator is None:
        tau2 = np.full(n, refit.fixed)
    elif refit.estimator.kind.likelihood:
        best = left.maximize(refit.reml)
        tau2, certified = best.tau2, best.certified
    else:
        estimate = refit.estimator.solve(left, None)
        tau2, certified = np.asarray(estimate.tau2), estimate.certified
    at = left.solve(tau2)
    zero, q = left.profile(True).derivatives_and_rss(np.zeros(n))
    fits = Refits(
        at.coefs @ refit.basis.to_params.T,
        at.inverse,
        tau2,
        refit.factor(at.rss / left.df),
        q,
        i2_h2(tau2, left.df / zero.trace)[0],
        np.zeros(n, dtype=np.intp),
    )
    accurate = ~left.lost & certified
    return fits if accurate.all() else fits.some(accurate), accurate


def _shared(
    v: Array, resid: Array, refit: ResampledModel, near: float, lacks: Codes
) -> tuple[Refits, Mask]:
    """The fits of `refit_deletions` by maximum likelihood, from shared sums; which are accurate.

    Of those that are not there is no fit.
    """
    left = LeftOut.build(resid, v, refit.basis.Z, lacks, refit.reml)
    best = left.maximize(near)
    at, trace = left.solve(best.tau2), best.trace
    if not refit.reml:
        trace = replace(left, reml=True).derivatives(np.zeros(len(trace))).trace
    fits = Refits(
        at.coefs @ refit.basis.to_params.T,
        at.inverse,
        best.tau2,
        refit.factor(at.rss / left.df),
        at.q,
        i2_h2(best.tau2, left.df / trace)[0],
        np.zeros(len(trace), dtype=np.intp),
    )
    accurate = at.accurate & best.certified
    return fits if accurate.all() else fits.some(accurate), accurate


def _joined(parts: list[Refits], order: Codes | None = None) -> Refits:
    joined = parts[0]
    if len(parts) > 1:
        found = (np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Refits))
        joined = Refits(*found)
    return joined if order is None else joined.some(order)


def without_groups(codes: Codes) -> Selections:
    """Counts of the selections that lack the studies of one code each."""
    return lambda rows: (codes != rows[:, None]).astype(float)


def first_of(order: npt.NDArray[np.intp]) -> Selections:
    """Counts of the selections of the first 1, 2, ... studies in an order."""
    rank = np.empty(len(order), dtype=np.intp)
    rank[order] = np.arange(len(order))
    return lambda rows: (rank <= rows[:, None]).astype(float)


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
    left_variance = v + fits.tau2[codes]
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
        z, theta = Z[own], v[own] + fits.tau2
        cross = np.linalg.inv(fits.unscaled) + z[:, :, None] * (z / theta[:, None])[:, None]
        whole = np.asarray(np.linalg.inv(cross), dtype=float)
    else:
        gram, size, found = Gram(Z), block_size(len(v), Z.shape[1]), []
        for begin in range(0, len(fits.tau2), size):
            tau2 = fits.tau2[begin : begin + size]
            found.append(inverse(gram.quadratic(1.0 / (v + tau2[:, None]))[0], overwrite=True))
        whole = np.moveaxis(np.concatenate(found, axis=-1), -1, 0)
    return np.sqrt(_diagonal(to_params, whole) * fits.scale[:, None])


def _diagonal(to_params: Array, unscaled: Array) -> Array:
    """Diagonal of T M T' for matrices M (n, r, r) and T (p, r): (n, p)."""
    return ((to_params @ unscaled) * to_params).sum(-1)


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


TEXTS = {
    Reason.TOO_FEW_STUDIES: "too few studies are left",
    Reason.REDUNDANT_MODERATORS: "moderators are redundant among the studies left",
    Reason.NO_VARIATION: "the outcomes left do not vary",
    Reason.ZERO_VARIANCE: "tau2 is 0 and a sampling variance is 0",
    Reason.OUT_OF_RANGE: "outcomes or variances are so large or small that their powers leave "
    "floating point",
    Reason.NOT_CERTIFIED: "the search for tau2 gave up before it was certain of the global maximum",
}
"""Why a selection of the studies was not fitted, or not for certain, in words."""
