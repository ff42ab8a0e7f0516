"""The records of a fit of dependent effects: regression, covariance, variance components."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np

from metareg_sm._typing import Array, Codes
from metareg_sm.core.mixed.solution import MixedSolution
from metareg_sm.exceptions import DesignError
from metareg_sm.stats.components import VarianceComponents
from metareg_sm.stats.covariance import Covariance, CovarianceType
from metareg_sm.stats.gls import BlockRegression, cluster_whitened, clusters_by_size

if TYPE_CHECKING:
    from metareg_sm.models.mixed import MixedMetaReg
    from metareg_sm.models.mixed_optimizer import MixedRun


class MixedRegression(BlockRegression):
    """Weighted regression of a fit; rows are whitened when they are asked for.

    Parameters
    ----------
    model : MixedMetaReg
        The data.
    solution : MixedSolution
        The regression at the estimated variances.
    """

    def __init__(self, model: MixedMetaReg, solution: MixedSolution) -> None:
        inverse = solution.evaluation.fit.inverse * solution.problem.scale
        half = model.basis.to_params @ inverse
        # the fields of a frozen class; those of all effects follow below
        vars(self).update(
            model=model,
            solution=solution,
            G=half,
            unscaled=half @ half.T,
            Z=model.basis.Z,
            inverse=inverse,
        )

    model: MixedMetaReg
    solution: MixedSolution

    @cached_property
    def _white(self) -> Array:
        """Basis and residuals, whitened, (k, r+1)."""
        model, solution = self.model, self.solution
        resid = model.endog - model.exog @ solution.params
        return solution.whiten(np.column_stack([self.Z, resid]))

    @cached_property
    def resid(self) -> Array:
        """Whitened residuals, (k,)."""
        return self._white[:, -1]

    @cached_property
    def Q(self) -> Array:
        """Orthonormal basis of the whitened design, (k, r)."""
        return self._white[:, :-1] @ self.inverse

    @cached_property
    def variances(self) -> Array:
        """Marginal variances, (k,)."""
        variances = self.model.vi.astype(float)
        for t, G in zip(self.model.random_terms, self.solution.matrices, strict=True):
            variances = variances + np.diagonal(G)[t.term.levels]
        return variances

    @property
    def df_resid(self) -> int:
        """K - r."""
        return len(self.Z) - self.G.shape[1]


def reported_covariance(
    model: MixedMetaReg,
    solution: MixedSolution,
    regression: BlockRegression,
    cov_type: CovarianceType,
    groups: Codes | None,
    correction: str | None,
    contained: bool,
) -> Covariance:
    """Covariance of the coefficients with the degrees of freedom of its tests."""
    if groups is not None:
        if correction == "CR2":
            resid = model.endog - model.exog @ solution.params
            blocks = cluster_covariances(model, solution, groups)
            regression = cluster_whitened(regression, resid, blocks, groups)
        return cov_type.compute(regression, groups, correction)
    found = cov_type.compute(regression, None, None)
    if not contained:
        return found
    df = model.containment
    smallest = float(df.min())
    if smallest <= 0.0:
        short = model.exog_names[np.flatnonzero(df <= 0.0)[0]]
        raise DesignError(
            f"df='contain' leaves no degrees of freedom for {short!r}: there are no more groups "
            "within which it is constant than coefficients. Use df='residual', or fewer moderators."
        )
    return replace(found, df=smallest, coefficient_df=df)


def variance_components(
    model: MixedMetaReg, solution: MixedSolution, run: MixedRun
) -> VarianceComponents:
    """Variances and correlations of a fit."""
    found = solution.components()
    names = model.component_names
    return VarianceComponents(
        names,
        found.values,
        found.standard_errors,
        found.values,
        "REML" if solution.reml else "ML",
        "reml" if solution.reml else "ml",
        len(names),
        run.optimization,
        tuple(compress(names, found.boundary)),
        "conf_int_variance",
    )


def cluster_covariances(
    model: MixedMetaReg, solution: MixedSolution, groups: Codes
) -> dict[int, Array]:
    """Marginal covariances of the clusters of each size, (m, n, n), in the order of their codes."""
    k = len(groups)
    place = np.empty((2, k), dtype=np.intp)  # position of a row's cluster, and in its cluster
    found: dict[int, Array] = {}
    size_of = np.bincount(groups)[groups]
    for members in clusters_by_size(groups):
        m, n = members.shape
        place[0, members] = np.arange(m)[:, None]
        place[1, members] = np.arange(n)
        sigma = np.zeros((m, n, n))
        if model.V is None:
            sigma[:, np.arange(n), np.arange(n)] = model.vi[members]
        for t, G in zip(model.random_terms, solution.matrices, strict=True):
            g, level = t.term.groups[members], t.term.levels[members]
            same = g[:, :, None] == g[:, None, :]
            sigma += np.where(same, G[level[:, :, None], level[:, None, :]], 0.0)
        found[n] = sigma
    if model.V is not None:
        for stack in model.V.stacks:
            sizes = size_of[stack.rows[:, 0]]
            for n in np.unique(sizes):
                rows = stack.rows[sizes == n]
                at, i = place[0][rows], place[1][rows]
                found[n][at[:, :, None], i[:, :, None], i[:, None, :]] += stack.matrices[sizes == n]
    return found
