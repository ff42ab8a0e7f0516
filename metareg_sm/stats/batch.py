"""The same model for the data sets of a block, all at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from metareg_sm._typing import Array, Rows
from metareg_sm.core.basis import Basis
from metareg_sm.core.gram import congruence, pairs_of
from metareg_sm.core.likelihood import DirectProfile, unequal
from metareg_sm.core.likelihood.pivoted import PivotedProfile
from metareg_sm.core.search.maximize import Optimum
from metareg_sm.core.studies import Studies
from metareg_sm.core.tau2 import Estimator
from metareg_sm.exceptions import MemoryLimitError
from metareg_sm.stats.blocks import Block, Reason, prepare
from metareg_sm.stats.heterogeneity import i2_h2


@dataclass(frozen=True, slots=True, eq=False)
class BlockFit:
    """Fits of a block of data sets; NaN where a data set could not be fitted.

    Attributes
    ----------
    params : ndarray, (n, p)
        Coefficients.
    unscaled : ndarray, (n, p (p + 1) / 2)
        Distinct elements of (X'WX)^-1, as `core.gram.packed` orders them.
    tau2 : ndarray, (n,)
        Heterogeneity.
    scale : ndarray, (n,)
        Factor on the covariance.
    q, i2 : ndarray, (n,)
        Residual heterogeneity Q_E with weights 1/v, and I2, a fraction; NaN where a sampling
        variance is 0.
    """

    params: Array
    unscaled: Array
    tau2: Array
    scale: Array
    q: Array
    i2: Array


def join(fits: list[BlockFit], order: Rows | None = None) -> BlockFit:
    """One record of several blocks, in another order of the data sets if there is one."""
    parts = (np.concatenate([getattr(f, x.name) for f in fits]) for x in fields(BlockFit))
    return BlockFit(*(part if order is None else part[order] for part in parts))


@dataclass(frozen=True, slots=True, eq=False)
class BatchModel:
    """The model that every data set is fitted with.

    Attributes
    ----------
    basis : Basis
        Of the moderators.
    estimator : Estimator or None
        Of tau2; None where it is held at `fixed`.
    fixed : float
        The fixed value.
    factor : callable
        Factor on the covariance from the residual mean square (`CovarianceType.factor`).
    """

    basis: Basis
    estimator: Estimator | None
    fixed: float
    factor: Callable[[Array], Array]

    @property
    def reml(self) -> bool:
        """Whether tau2 maximises the restricted likelihood."""
        return self.estimator is not None and self.estimator.kind.reml

    def prepare(self, y: Array, v: Array) -> Block:
        """Make outcomes (n, k) with variances (n, k) or (k,) ready; missing cells are NaN."""
        by_variance = self.fixed == 0.0
        if self.estimator is not None:
            by_variance = not self.estimator.zero_variance
        # a factor of 0 where there are no residuals leaves no standard error
        by_residuals = bool(self.factor(np.zeros(1))[0] == 0.0)
        return prepare(y, v, self.basis, by_variance, by_residuals)

    def fit(self, block: Block) -> BlockFit:
        """Fit every data set of a block.

        Parameters
        ----------
        block : Block
            From `prepare` or `counted_block`; reasons found here are added to it.

        Raises
        ------
        MemoryLimitError
            If the moderators have too many columns for variances so unequal.
        """
        try:
            return self._fit(block)
        except MemoryError as error:
            raise MemoryLimitError(str(error)) from error

    def _fit(self, block: Block) -> BlockFit:
        n = len(block.reason)
        careful = np.broadcast_to(unequal(block.studies.v), n)
        if not careful.any() or careful.all():
            return _fit(block, self)
        # the few that need more care take another way, the others stay fast
        parts = (np.flatnonzero(~careful), np.flatnonzero(careful))
        fits = []
        for rows in parts:
            shift = None if block.shift is None else block.shift[rows]
            part = Block(block.studies.some(rows), shift, block.nobs[rows], block.reason[rows])
            fits.append(_fit(part, self))
            block.reason[rows] = part.reason
        return join(fits, np.argsort(np.concatenate(parts)))


def _fit(block: Block, model: BatchModel) -> BlockFit:
    basis, estimator = model.basis, model.estimator
    studies, n = block.studies, len(block.reason)
    if studies.v.shape[-1] <= basis.rank:
        p = len(basis.to_params)
        empty = (np.full(n, np.nan) for _ in range(4))
        return BlockFit(np.full((n, p), np.nan), np.full((n, p * (p + 1) // 2), np.nan), *empty)
    best: Optimum | None = None
    certified: npt.NDArray[np.bool_] | bool = True
    if estimator is None:
        tau2 = np.full(n, model.fixed)
    elif estimator.kind.likelihood:
        best = studies.maximize(estimator.kind.reml)
        tau2, certified = best.tau2, best.certified
    else:
        found = estimator.solve(studies, None)
        tau2, certified = np.asarray(found.tau2), found.certified
    low = np.broadcast_to(studies.v.min(-1), n)
    safe = tau2
    if (low <= 0.0).any():
        total = np.einsum("...k,...k->...", studies.resid, studies.resid)
        undefined = (low <= 0.0) & (tau2 <= 2e-12 * total)
        block.reason[(block.reason == 0) & undefined] = Reason.ZERO_VARIANCE
        safe = np.where(undefined, 1.0, tau2)
    params, unscaled, rss = regress(studies, safe, basis)
    if block.shift is not None:
        params = params + block.shift
    q, i2 = _heterogeneity(studies, tau2, low, best if model.reml else None)
    scale = model.factor(rss / studies.df)
    values = (params, unscaled, np.array(tau2, dtype=float), scale, q, i2)
    bad = block.reason > 0
    if bad.any():
        for a in values:
            a[bad] = np.nan
    if not np.all(certified):
        # the numbers stay: the search found no better maximum, but could not rule one out
        block.reason[~bad & ~np.asarray(certified)] = Reason.NOT_CERTIFIED
    return BlockFit(*values)


def regress(studies: Studies, tau2: Array, basis: Basis) -> tuple[Array, Array, Array]:
    """Coefficients (n, p), packed (X'WX)^-1 (n, q) and y'Py (n,) at tau2 (n,)."""
    profile = studies.profile(True)
    if isinstance(profile, PivotedProfile):
        at = profile.regress(tau2)
        E = at.pivots.to_columns
        if basis.redundant:
            E = np.einsum("pi,ijn->pjn", basis.from_columns, E)
        params = np.einsum("pjn,jn->pn", E, at.pivots.y + at.shift)
        half = np.einsum("pin,ijn->pjn", E, at.T)
        unscaled = np.array([np.einsum("jn,jn->n", half[i], E[j]) for i, j in pairs_of(len(E))])
        return params.T, unscaled.reshape(-1, params.shape[1]).T, at.rss
    if not isinstance(profile, DirectProfile):
        profile = DirectProfile(studies.resid, studies.v, studies.Z, True, studies.counts)
    solution, rss = profile.solve_and_rss(tau2)
    coefs = studies.outcome @ basis.Z + solution.coefs.T
    unscaled = congruence(basis.to_params, solution.inverse)
    return coefs @ basis.to_params.T, unscaled.T, rss


def _heterogeneity(
    studies: Studies, tau2: Array, low: Array, best: Optimum | None
) -> tuple[Array, Array]:
    """Q_E and I2; a search of the restricted likelihood, `best`, has begun where they are."""
    defined = low > 0.0
    q, i2 = np.full((2, len(tau2)), np.nan)
    if best is not None:
        rss, trace = best.rss, best.trace
    elif defined.all():
        at, rss = studies.profile(True).derivatives_and_rss(np.zeros(len(tau2)))
        trace = at.trace
    else:
        rows = np.flatnonzero(defined)
        if rows.size:
            few = studies.some(rows)
            q[rows], i2[rows] = _heterogeneity(few, tau2[rows], low[rows], None)
        return q, i2
    q[defined] = rss[defined]
    i2[defined] = i2_h2(tau2, studies.df / trace)[0][defined]
    return q, i2


def block_loglike(block: Block, tau2: Array, reml: bool) -> Array:
    """Log-likelihood of every data set of a block.

    Parameters
    ----------
    block : Block
        From `prepare`.
    tau2 : ndarray, (n,)
        Heterogeneity of each.
    reml : bool
        Restricted likelihood, else maximum likelihood.

    Returns
    -------
    ndarray, (n,)
        NaN where a data set was not fitted.
    """
    studies = block.studies
    if studies.v.shape[-1] <= studies.rank:
        return np.full(len(tau2), np.nan)
    known = ~np.isnan(tau2)
    value = studies.profile(reml).loglike(np.where(known, tau2, 1.0))
    return np.where(known, value, np.nan)
