"""What mass-univariate fits keep of each outcome, and how it is computed block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from metareg_sm._typing import Array, Rows
from metareg_sm.core.basis import design_basis
from metareg_sm.stats.batch import Block, Fitting, Reason, block_loglike
from metareg_sm.stats.covariance import CovarianceType


@dataclass(frozen=True)
class Plan:
    """How each block is fitted, and what is kept of it.

    Attributes
    ----------
    fitting : Fitting
        How.
    covariance : CovarianceType
        Of the coefficients.
    exog : ndarray, (k, p)
        Moderators.
    """

    fitting: Fitting
    covariance: CovarianceType
    exog: Array

    @property
    def p(self) -> int:
        """Number of coefficients."""
        return self.fitting.basis.to_params.shape[0]

    @property
    def width(self) -> int:
        """Number of distinct elements of their covariance."""
        return self.fitting.basis.rank * (self.fitting.basis.rank + 1) // 2

    @property
    def columns(self) -> int:
        """Number of columns of `fit`."""
        return self.p + self.width + 6

    def fit(self, y: Array, v: Array) -> Array:
        """One row an outcome: params, packed covariance, tau2, scale, nobs, reason, q, i2."""
        block = self.fitting.prepare(y, v)
        fit = self.fitting.fit(block)
        more = (fit.tau2, fit.scale, block.nobs, block.reason, fit.q, fit.i2)
        table = np.empty((len(block.reason), self.columns), order="F")
        np.concatenate([fit.params.T, fit.unscaled.T, more], out=table.T)
        for rows, keep, plan in self._by_themselves(y, v, block):
            table[rows] = plan.fit(y[np.ix_(rows, keep)], _columns(v, rows, keep))
        return table

    def loglike(self, y: Array, v: Array, tau2: Array) -> Array:
        """One row an outcome: log-likelihood, restricted for REML."""
        block = self.fitting.prepare(y, v)
        value = block_loglike(block, tau2, self.fitting.reml)[:, None]
        for rows, keep, plan in self._by_themselves(y, v, block):
            found = plan.loglike(y[np.ix_(rows, keep)], _columns(v, rows, keep), tau2[rows])
            value[rows] = found
        return value

    def _by_themselves(self, y: Array, v: Array, block: Block) -> Iterator[tuple[Rows, Rows, Plan]]:
        """Outcomes whose studies need a basis of their own, by the studies that they have.

        A moderator that is nearly all in the studies that are missing hardly shows in the basis of
        all studies, though among those left it may be as good as any.
        """
        hard = np.flatnonzero(block.reason == Reason.REDUNDANT_MODERATORS)
        if not hard.size:
            return
        absent = np.isnan(y[hard]) | np.isnan(v if v.ndim == 1 else v[hard])
        patterns, which = np.unique(absent, axis=0, return_inverse=True)
        for number, pattern in enumerate(patterns):
            keep = np.flatnonzero(~pattern)
            basis = design_basis(self.exog[keep])
            if len(keep) < len(self.exog) and not basis.redundant:
                rows = hard[np.ravel(which) == number]
                fitting = replace(self.fitting, basis=basis)
                yield rows, keep, replace(self, fitting=fitting, exog=self.exog[keep])


def _columns(v: Array, rows: Rows, keep: Rows) -> Array:
    return v[keep] if v.ndim == 1 else v[np.ix_(rows, keep)]
