"""Influence, permutation and bootstrap of dependent effects, cluster by cluster.

Resampled outcomes share design, V and random terms, and deletions all but the effects of a cluster:
their likelihoods are climbed together, from the estimates of the data and from points far from
there. Crossed terms are fitted one by one.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from metareg_sm._typing import Array, Codes, Mask, Rows, Seed
from metareg_sm.core.basis import Basis, design_basis
from metareg_sm.core.mixed.deletions import deletions
from metareg_sm.core.mixed.identify import flat_directions
from metareg_sm.core.mixed.refits import Refits, refits
from metareg_sm.core.mixed.siblings import products_of_others
from metareg_sm.core.mixed.solution import MixedSolution
from metareg_sm.core.mixed.terms import Term, first_codes, is_nested
from metareg_sm.design.groups import group_codes
from metareg_sm.design.random import RandomTerm
from metareg_sm.exceptions import DesignError, FewStudiesWarning
from metareg_sm.options import check_alpha, whole_number
from metareg_sm.postestimation.components import known_of, refitted
from metareg_sm.postestimation.fitted import MixedFitted
from metareg_sm.printing import Overview, Printed
from metareg_sm.stats import resampling

# Least eigenvalue, of what is left of an orthonormal basis, from which on the rank is beyond doubt.
_CLOSE = 1e-6
# Labels that are written out.
_SHOWN = 5


@dataclass(frozen=True, repr=False)
class ClusterInfluence(Printed):
    """Fits without each cluster in turn.

    Attributes
    ----------
    params : DataFrame, (clusters, p)
        Coefficients without the cluster.
    components : DataFrame, (clusters, m)
        Variances and correlations without the cluster.
    cooks_distance : Series, (clusters,)
        Change of the coefficients in the metric of their covariance: d' V^-1 d.
    cov_ratio : Series, (clusters,)
        Determinant of the model-based covariance of the coefficients without the cluster over that
        of all data.
    """

    params: pd.DataFrame
    components: pd.DataFrame
    cooks_distance: pd.Series
    cov_ratio: pd.Series

    def summary_frame(self) -> pd.DataFrame:
        """Everything, one row a cluster."""
        own = pd.DataFrame({"cooks_distance": self.cooks_distance, "cov_ratio": self.cov_ratio})
        return pd.concat([own, self.params, self.components], axis=1)


def clusters_of(fit: MixedFitted, groups: Any) -> tuple[Codes, pd.Index]:
    """Independent clusters and their labels: the outermost grouping by default.

    Raises
    ------
    DesignError
        If clusters are not independent of each other, or there is one alone.
    """
    if groups is None:
        codes = fit.blocks
        outermost = min(fit.random_terms, key=lambda t: t.term.n_groups)
        if is_nested(codes, outermost.term.groups):
            codes, found = outermost.term.groups, outermost.groups
        else:
            found = _held_labels(codes, outermost)
    else:
        codes, found = group_codes(groups, fit.table.rows)
        if not is_nested(fit.blocks, codes):
            raise DesignError(
                "Clusters must hold whole groups of random and V; some of these share one. Take "
                "the outermost grouping, which is the default, or a coarser one."
            )
    if len(found) < 2:
        raise DesignError("There are no two independent clusters.")
    return codes, found


def _held_labels(codes: Codes, t: RandomTerm) -> pd.Index:
    """Labels of clusters that hold several groups of a term: those groups."""
    cluster = np.empty(t.term.n_groups, dtype=np.intp)
    cluster[t.term.groups] = codes
    names = pd.Series(["/".join(map(str, np.atleast_1d(group))) for group in t.groups])
    held = names.groupby(cluster).agg(list)
    return pd.Index([_shown(groups) for groups in held], name=t.grouping)


def _shown(labels: list[Any]) -> str:
    return ", ".join(map(str, labels[:_SHOWN])) + (" ..." if len(labels) > _SHOWN else "")


def subset(fit: MixedFitted, rows: Rows) -> tuple[Array, Basis, Any, list[Term]]:
    """Outcomes, design, V and terms of some rows."""
    table = fit.table
    terms = [
        replace(t.term, groups=first_codes(t.term.groups[rows]), levels=t.term.levels[rows])
        for t in fit.random_terms
    ]
    V = fit.sampling
    known = table.vi[rows] if V is None else V.take(rows).blocks()
    return table.endog[rows], design_basis(table.exog[rows]), known, terms


def _start(fit: MixedFitted) -> Array:
    return fit.solution.phi * fit.solution.problem.units


def leave_one_cluster_out(fit: MixedFitted, groups: Any) -> ClusterInfluence:
    """Fits without each cluster; see `MixedMetaRegResults.leave_one_cluster_out`."""
    codes, labels = clusters_of(fit, groups)
    defined = _identified(fit, codes)
    found = _without_each(fit, codes, np.flatnonzero(defined))
    J, p, m = len(labels), len(fit.params), len(fit.components.names)
    params, variances = np.full((J, p), np.nan), np.full((J, m), np.nan)
    ratio = np.full(J, np.nan)
    params[defined], variances[defined] = found.params, found.components
    lost = np.isnan(params).all(1)
    if lost.any():
        _tell_undefined(list(labels[lost]))
    full = np.linalg.slogdet(fit.regression.unscaled)[1]
    ratio[~lost] = np.exp(np.linalg.slogdet(found.cov_unscaled[~lost[defined]])[1] - full)
    change = params - np.asarray(fit.params)
    # with a singular covariance, of redundant moderators or few clusters, what it does span
    root = fit.covariance.root
    square = root.shape[0] == root.shape[1]
    inner = np.linalg.solve(root, change.T) if square else np.linalg.pinv(root) @ change.T
    cook = np.einsum("rg,rg->g", inner, inner)
    return ClusterInfluence(
        pd.DataFrame(params, index=labels, columns=fit.terms.names),
        pd.DataFrame(variances, index=labels, columns=list(fit.components.names)),
        pd.Series(cook, index=labels, name="cooks_distance"),
        pd.Series(ratio, index=labels, name="cov_ratio"),
    )


def _identified(fit: MixedFitted, codes: Codes) -> Mask:
    """Whether what is left without each cluster has every level, and tells coefficients apart."""
    table, J = fit.table, int(codes.max()) + 1
    found: Mask = len(codes) - np.bincount(codes) > len(fit.params)
    for t in fit.random_terms:
        q = t.term.q
        own = np.bincount(codes * q + t.term.levels, minlength=J * q).reshape(J, q)
        found &= (own.sum(0) > own).all(1)
    least = np.linalg.eigvalsh(products_of_others(table.basis.Z.T, codes))[:, 0]
    for g in np.flatnonzero(found & (least < _CLOSE)):
        found[g] = design_basis(table.exog[codes != g]).rank == table.basis.rank
    return found


def _without_each(fit: MixedFitted, codes: Codes, deleted: Codes) -> Refits:
    """Fits without some clusters: together, and one by one what is left.

    Rows of those without which variances are no longer identified are NaN.
    """
    table, start = fit.table, _start(fit)
    found = deletions(fit.solution, table.endog, table.basis.Z, codes, deleted)
    if found is None:
        found = _nothing(fit, len(deleted))
    left = np.flatnonzero(~found.converged).tolist()
    flat = bool(left) and bool(flat_directions(fit.solution.problem, fit.reml))
    for i in left:
        one = refitted(*subset(fit, np.flatnonzero(codes != deleted[i])), fit.reml, start)
        if flat or not flat_directions(one.problem, fit.reml):
            _put(found, i, one)
        else:
            for part in (found.params, found.cov_unscaled, found.components):
                part[i] = np.nan
    return found


def _tell_undefined(labels: list[Any]) -> None:
    warnings.warn(
        f"Without {_shown(labels)} a coefficient, a level or a variance is not identified; those "
        "rows are NaN.",
        FewStudiesWarning,
        stacklevel=4,
    )


# --- resampling ------------------------------------------------------------------------------


def simulate(fit: MixedFitted, n_resamples: int, rng: Seed) -> Array:
    """Outcomes drawn from a fit; see `MixedMetaRegResults.simulate`."""
    n = whole_number(n_resamples, "n_resamples")
    random = np.random.default_rng(rng)
    table = fit.table
    drawn = np.tile(np.asarray(fit.fittedvalues), (n, 1))
    for t, G in zip(fit.random_terms, fit.solution.matrices, strict=True):
        values, vectors = np.linalg.eigh(G)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        u = random.standard_normal((n, t.term.n_groups, t.term.q)) @ root.T
        drawn += u[:, t.term.groups, t.term.levels]
    if fit.sampling is None:
        drawn += np.sqrt(table.vi) * random.standard_normal(drawn.shape)
        return drawn
    for stack in fit.sampling.stacks:
        L = np.linalg.cholesky(stack.matrices)
        z = random.standard_normal((n, *stack.rows.shape))
        drawn[:, stack.rows] += np.einsum("gij,ngj->ngi", L, z)
    return drawn


@dataclass(frozen=True, repr=False)
class MixedBootstrap(Printed):
    """Parametric bootstrap distribution of a fit with dependent effects.

    Attributes
    ----------
    distribution : DataFrame
        One row a resample; the coefficients and the components.
    estimate : Series
        The same of the data.
    """

    distribution: pd.DataFrame
    estimate: pd.Series

    def overview(self) -> Overview:
        """What is printed."""
        frame = self.conf_int()
        frame.insert(1, "se", self.standard_error)
        title = f"Parametric bootstrap: {len(self.distribution)} resamples, 95 % percentiles"
        return Overview(title, (), frame)

    @property
    def standard_error(self) -> pd.Series:
        """Standard deviation of the resamples."""
        return self.distribution.std(ddof=1)

    def conf_int(self, alpha: float = 0.05) -> pd.DataFrame:
        """Percentile intervals.

        Parameters
        ----------
        alpha : float, default 0.05
            1 minus the coverage.

        Returns
        -------
        DataFrame
            Columns estimate, ci_lower, ci_upper.
        """
        ends = resampling.percentile_interval(self.distribution.to_numpy(), check_alpha(alpha))
        return pd.DataFrame(
            {"estimate": self.estimate, "ci_lower": ends[:, 0], "ci_upper": ends[:, 1]}
        )


def bootstrap(fit: MixedFitted, n_resamples: int, rng: Seed) -> MixedBootstrap:
    """Parametric bootstrap; see `MixedMetaRegResults.bootstrap`."""
    outcomes = simulate(fit, n_resamples, rng)
    found = _refits(fit, outcomes)
    rows = np.hstack([found.params, found.components])
    names = [*fit.terms.names, *fit.components.names]
    estimate = pd.Series([*np.asarray(fit.params), *fit.components.values], index=names)
    return MixedBootstrap(pd.DataFrame(rows, columns=names), estimate)


@dataclass(frozen=True, repr=False)
class ClusterPermutation(Printed):
    """Permutation test of the coefficients by clusters.

    Attributes
    ----------
    statistic, pvalues : Series, (p,)
        t statistics with model-based standard errors, and two-sided p-values.
    null_distribution : ndarray, (n, p)
        t statistics of the resamples, each under its own null hypothesis.
    n_resamples : int
        Resamples n.
    exact : bool
        They are all the distinct ones that there are.
    n_clusters : int
        Clusters whose residuals change sign.
    """

    statistic: pd.Series
    pvalues: pd.Series
    null_distribution: Array
    n_resamples: int
    exact: bool
    n_clusters: int

    def summary_frame(self) -> pd.DataFrame:
        """Columns statistic and pvalue, one row a coefficient."""
        return pd.DataFrame({"statistic": self.statistic, "pvalue": self.pvalues})


def permutation_test(
    fit: MixedFitted, n_resamples: int, rng: Seed, groups: Any
) -> ClusterPermutation:
    """Sign changes by cluster; see `MixedMetaRegResults.permutation_test`."""
    n = whole_number(n_resamples, "n_resamples")
    codes, labels = clusters_of(fit, groups)
    J, table = len(labels), fit.table
    exact = n >= 2.0**J
    signs = (
        resampling.all_signs(J)
        if exact
        else resampling.random_signs(n, J, np.random.default_rng(rng))
    )
    terms, known, start = [t.term for t in fit.random_terms], known_of(fit), _start(fit)
    names = fit.terms.names
    null = np.empty((len(signs), len(names)))
    for j in range(len(names)):
        basis = design_basis(np.delete(table.exog, j, axis=1))
        without = refitted(table.endog, basis, known, terms, fit.reml, start)
        expected = basis.Z @ _coefficients(without)
        resid = table.endog - expected
        found = _refits(fit, expected + signs[:, codes] * resid)
        null[:, j] = found.params[:, j] / np.sqrt(found.cov_unscaled[:, j, j])
    statistic = np.asarray(fit.params) / np.sqrt(np.diagonal(fit.regression.unscaled))
    pvalues = resampling.permutation_pvalue(np.abs(null), np.abs(statistic), exact)
    return ClusterPermutation(
        pd.Series(statistic, index=names),
        pd.Series(pvalues, index=names),
        null,
        len(signs),
        exact,
        J,
    )


def _refits(fit: MixedFitted, outcomes: Array) -> Refits:
    """The model of a fit for other outcomes (B, k): together, and one by one what is left."""
    table, start = fit.table, _start(fit)
    terms, known = [t.term for t in fit.random_terms], known_of(fit)
    solution = fit.solution
    found = refits(solution.problem, table.basis.Z, outcomes, fit.reml, solution.phi)
    if found is None:
        found = _nothing(fit, len(outcomes))
    for i in np.flatnonzero(~found.converged).tolist():
        _put(found, i, refitted(outcomes[i], table.basis, known, terms, fit.reml, start))
    return found


def _nothing(fit: MixedFitted, B: int) -> Refits:
    """Room for fits none of which has been made."""
    p, m = len(fit.params), len(fit.components.names)
    return Refits(np.empty((B, p)), np.empty((B, p, p)), np.empty((B, m)), np.zeros(B, dtype=bool))


def _put(found: Refits, i: int, one: MixedSolution) -> None:
    found.params[i], found.cov_unscaled[i] = one.params, one.cov_unscaled
    found.components[i] = one.components().values


def _coefficients(solution: MixedSolution) -> Array:
    """Coefficients of the orthonormal basis of the design."""
    problem = solution.problem
    coefs: Array = problem.ols + problem.scale * solution.evaluation.fit.params
    return coefs
