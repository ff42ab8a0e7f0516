"""Fits to selections of the same studies: without each, without groups, the first ones.

Coefficients enter as their change from the fit to all studies, which is what the fit to that fit's
residuals gives: a large common level of the outcomes costs no digits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from metareg_sm._typing import Array, Codes, Mask
from metareg_sm.core.basis import Basis
from metareg_sm.core.gram import unpacked
from metareg_sm.stats.batch import regress
from metareg_sm.stats.blocks import Reason, block_size, check_room, counted_block
from metareg_sm.stats.heterogeneity import i2_h2
from metareg_sm.stats.left_out import LeftOut, safe
from metareg_sm.stats.left_out_many import MANY, LeftOutMany
from metareg_sm.stats.resampling import ResampledModel

Selections = Callable[[Codes], Array]
"""How often each study counts, (len(rows), k), in some selections of the studies."""


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

    def standard_errors(self, to_params: Array) -> Array:
        """Standard errors of the coefficients, (n, p)."""
        return np.sqrt(diagonal(to_params, self.unscaled) * self.scale[:, None])

    def of_own(self, codes: Codes) -> Array:
        """Heterogeneity that each study has by the fit which lacks it, (k,).

        Parameters
        ----------
        codes : ndarray of int, (k,)
            Which fit that is.
        """
        return self.tau2[codes]

    def of_all(self, rows: slice) -> Array:
        """Heterogeneity that all studies have by some of the fits, (n, k) or (n, 1)."""
        return self.tau2[rows, None]


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
    return fits if accurate.all() else some(fits, accurate), accurate


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
    return fits if accurate.all() else some(fits, accurate), accurate


def some(fits: Refits, which: Codes | Mask) -> Refits:
    """Some of the fits."""
    return Refits(*(getattr(fits, f.name)[which] for f in fields(Refits)))


def _joined(parts: list[Refits], order: Codes | None = None) -> Refits:
    joined = parts[0]
    if len(parts) > 1:
        found = (np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Refits))
        joined = Refits(*found)
    return joined if order is None else some(joined, order)


def without_groups(codes: Codes) -> Selections:
    """Counts of the selections that lack the studies of one code each."""
    return lambda rows: (codes != rows[:, None]).astype(float)


def first_of(order: npt.NDArray[np.intp]) -> Selections:
    """Counts of the selections of the first 1, 2, ... studies in an order."""
    rank = np.empty(len(order), dtype=np.intp)
    rank[order] = np.arange(len(order))
    return lambda rows: (rank <= rows[:, None]).astype(float)


def diagonal(to_params: Array, unscaled: Array) -> Array:
    """Diagonal of T M T' for matrices M (n, r, r) and T (p, r): (n, p)."""
    return ((to_params @ unscaled) * to_params).sum(-1)


TEXTS = {
    Reason.TOO_FEW_STUDIES: "too few studies are left",
    Reason.REDUNDANT_MODERATORS: "moderators are redundant among the studies left",
    Reason.NO_VARIATION: "the outcomes left do not vary",
    Reason.ZERO_VARIANCE: "tau2 is 0 and a sampling variance is 0",
    Reason.OUT_OF_RANGE: "outcomes or variances are so large or small that their powers leave "
    "floating point",
    Reason.NOT_CERTIFIED: "the search for tau2 gave up before it was certain of the global maximum",
    Reason.REDUNDANT_SCALE: "moderators of the scale are redundant among the studies left",
    Reason.UNBOUNDED: "the likelihood grows towards a heterogeneity of 0, where ln tau2 is minus "
    "infinity",
}
"""Why a selection of the studies was not fitted, or not for certain, in words."""
