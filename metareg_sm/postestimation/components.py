"""Variance components of dependent effects: tables, shares, intervals and predicted effects."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize, special

from metareg_sm._typing import Array
from metareg_sm.core.basis import Basis
from metareg_sm.core.mixed.likelihood import MixedLikelihood
from metareg_sm.core.mixed.search import maximize, maximize_held
from metareg_sm.core.mixed.solution import MixedSolution, solve
from metareg_sm.core.mixed.terms import KnownBlock, Term
from metareg_sm.exceptions import DesignError, IntervalWarning
from metareg_sm.options import check_alpha, position
from metareg_sm.postestimation.fitted import MixedFitted
from metareg_sm.postestimation.higher import HigherPoints
from metareg_sm.postestimation.resampling import null_basis
from metareg_sm.printing import Printed
from metareg_sm.stats.heterogeneity import q_test
from metareg_sm.stats.heterogeneity import r2 as explained_share

# a variance interval is unbounded if it holds values this many times the estimate and the errors
_FAR = 1e8


def known_of(fit: MixedFitted) -> Array | list[KnownBlock]:
    """V as the engine takes it."""
    return fit.table.vi if fit.sampling is None else fit.sampling.blocks()


def refitted(
    y: Array,
    basis: Basis,
    known: Array | Sequence[KnownBlock],
    terms: Sequence[Term],
    reml: bool,
    start: Array | None = None,
) -> MixedSolution:
    """The same kind of model at the maximum for other data.

    Raises
    ------
    DesignError
        If the likelihood is undefined.
    """
    problem = MixedLikelihood.build(y, basis, known, terms)
    if start is not None:
        start = start / problem.units
    found = maximize(problem, reml, start=start if len(problem.kinds) > 1 else None)
    solution = None if found is None else solve(problem, found.best.point.phi, reml)
    if solution is None:
        raise DesignError("The likelihood of the variances is undefined for these data.")
    return solution


def vcomp(fit: MixedFitted) -> pd.Series:
    """Variances of the intercept terms; see `MixedMetaRegResults.vcomp`."""
    pairs = zip(fit.random_terms, fit.solution.matrices, strict=True)
    found = {t.name: float(G[0, 0]) for t, G in pairs if t.is_intercept}
    return pd.Series(found, name="vcomp", dtype=float)


def cov_re(fit: MixedFitted) -> pd.DataFrame | dict[str, pd.DataFrame]:
    """Covariances of the terms with levels; see `MixedMetaRegResults.cov_re`."""
    pairs = zip(fit.random_terms, fit.solution.matrices, strict=True)
    found = {
        t.name: pd.DataFrame(G, index=t.levels, columns=t.levels)
        for t, G in pairs
        if not t.is_intercept
    }
    if len(found) == 1:
        return next(iter(found.values()))
    return found if found else pd.DataFrame()


def random_effects(fit: MixedFitted) -> dict[str, pd.DataFrame]:
    """Predicted effects of each term; see `MixedMetaRegResults.random_effects`."""
    found = {}
    for t, effects in zip(fit.random_terms, fit.solution.effects(), strict=True):
        columns = {
            "u": effects.u.ravel(),
            "u_se": np.sqrt(np.einsum("gqq->gq", effects.cov)).ravel(),
        }
        index = t.groups
        if not t.is_intercept:
            names = [*t.groups.names, t.inner]
            labels = [(*np.atleast_1d(g), level) for g in t.groups for level in t.levels]
            index = pd.MultiIndex.from_tuples(labels, names=names)
        found[t.name] = pd.DataFrame(columns, index=index)
    return found


def mean_variances(terms: Sequence[Term], matrices: Sequence[Array]) -> Array:
    """Variance that each term adds to an effect, averaged over the effects, (terms,)."""
    pairs = zip(terms, matrices, strict=True)
    return np.array([np.diagonal(G)[t.levels].mean() for t, G in pairs])


def term_variances(fit: MixedFitted) -> Array:
    """Variance that each term adds to an effect of the fit, averaged over the effects, (terms,)."""
    return mean_variances([t.term for t in fit.random_terms], fit.solution.matrices)


def total_variance_se(fit: MixedFitted) -> float:
    """Standard error of the sum of `term_variances`, by the delta method."""
    found = fit.solution.components()
    weights = np.zeros(len(found.values))
    for i, t in enumerate(fit.random_terms):
        counts = np.bincount(t.term.levels, minlength=t.term.q) / len(t.term.levels)
        for j in np.flatnonzero(np.array(found.terms) == i):
            name = found.names[j]
            if name == "variance":
                weights[j] = 1.0
            elif name.startswith("variance["):
                weights[j] = counts[int(name[9:-1])]
    used = np.flatnonzero(weights)
    return float(np.sqrt(weights[used] @ found.cov[np.ix_(used, used)] @ weights[used]))


def typical_sampling_variance(fit: MixedFitted) -> float:
    """(k - p) / tr P at variances of 0, with V^-1 as weights (Higgins & Thompson, 2002)."""
    problem = fit.solution.problem
    zero = solve(problem, np.zeros(len(problem.kinds)), True)
    if zero is None:
        raise DesignError("I2 is undefined: V is singular.")
    half = zero.solve(fit.table.basis.Z) @ (zero.evaluation.fit.inverse * problem.scale)
    V = fit.sampling
    total = float((1.0 / fit.table.vi).sum()) if V is None else V.trace_of_inverse()
    return float(fit.df_resid / (total - np.vdot(half, half)))


@dataclass(frozen=True, repr=False)
class MixedHeterogeneity(Printed):
    """How much the true effects vary, at which level, and what the moderators explain.

    Attributes
    ----------
    q, q_df, q_pvalue : float, int, float
        Residual Q_E with weights V^-1, its degrees of freedom and p-value.
    i2 : float
        Share of the total variance of a typical effect that is heterogeneity, a fraction.
    h2 : float
        Total variance over the typical sampling variance.
    r2 : float
        Share of `tau2_null` that the moderators explain.
    tau2, tau2_null : float
        Variance of the true effects, all levels together, averaged over the effects, with and
        without the moderators; in squared units of the outcome.
    levels : DataFrame
        One row a random term: variance (averaged over the effects where levels differ), n_groups,
        icc (share of tau2), i2 (share of the total variance), variance_null, r2.

    Notes
    -----
    The typical sampling variance is (k - p) / tr P with weights V^-1 (Higgins & Thompson, 2002).
    """

    q: float
    q_df: int
    q_pvalue: float
    i2: float
    h2: float
    r2: float
    tau2: float
    tau2_null: float
    levels: pd.DataFrame


def heterogeneity(fit: MixedFitted) -> MixedHeterogeneity:
    """Heterogeneity of a fit, in all and by level."""
    problem = fit.solution.problem
    nothing = problem.evaluate(np.zeros(len(problem.kinds)))
    if nothing is None:
        raise DesignError("Q and I2 are undefined: V is singular.")
    test = q_test(nothing.fit.rss, int(fit.df_resid))
    variances = null = term_variances(fit)
    if fit.df_model > 0:
        terms = [t.term for t in fit.random_terms]
        found = refitted(fit.table.endog, null_basis(fit), known_of(fit), terms, fit.reml)
        null = mean_variances(terms, found.matrices)
    s2 = typical_sampling_variance(fit)
    total, total_null = float(variances.sum()), float(null.sum())
    frame = pd.DataFrame(
        {
            "variance": variances,
            "n_groups": [t.term.n_groups for t in fit.random_terms],
            "icc": variances / total if total > 0.0 else np.zeros(len(variances)),
            "i2": variances / (total + s2),
            "variance_null": null,
            "r2": explained_share(variances, null),
        },
        index=pd.Index([t.name for t in fit.random_terms]),
    )
    return MixedHeterogeneity(
        test.q,
        test.df,
        test.pvalue,
        total / (total + s2),
        total / s2 + 1.0,
        float(explained_share(np.asarray(total), np.asarray(total_null))),
        total,
        total_null,
        frame,
    )


# --- profile likelihood ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Profile:
    """The likelihood with one component held, less the level of the interval."""

    solution: MixedSolution
    name: str
    term: int
    component: int
    level: float
    higher: HigherPoints

    def __call__(self, value: float) -> float:
        s = self.solution
        found = maximize_held(s.problem, s.phi, s.reml, self.term, self.component, value)
        if found is None:
            return -np.inf
        return self.higher.see(self.name, value, found.best.point.value) - self.level


def conf_int_variance(fit: MixedFitted, alpha: float) -> pd.DataFrame:
    """Profile-likelihood intervals; see `MixedMetaRegResults.conf_int_variance`."""
    alpha = check_alpha(alpha)
    solution = fit.solution
    found = solution.components()
    within: dict[int, int] = {}
    bar = solution.loglike - 0.5 * float(special.chdtri(1, alpha))
    rows, kinds, higher = [], {}, HigherPoints(solution.loglike)
    for name, i, raw, value in zip(
        fit.components.names, found.terms, found.names, found.values, strict=True
    ):
        j = within.get(i, 0)
        within[i] = j + 1
        profile = _Profile(solution, name, i, j, bar, higher)
        if raw.startswith("variance"):
            low, high, kind = _variance_ends(profile, float(value), solution)
        else:
            low, high, kind = _correlation_ends(profile, float(value), solution, i)
        rows.append([value, low, high])
        kinds[name] = kind
    for kind, why in _WHY.items():
        names = [name for name, k in kinds.items() if k == kind]
        if names:
            warnings.warn(
                f"The confidence set of {', '.join(names)} is {kind}: {why}",
                IntervalWarning,
                stacklevel=3,
            )
    higher.tell(stacklevel=3)
    frame = pd.DataFrame(
        rows, index=list(fit.components.names), columns=["estimate", "ci_lower", "ci_upper"]
    )
    frame.attrs["kind"] = kinds
    return frame


def profile_variance(fit: MixedFitted, name: str, values: Array) -> Array:
    """Profile log-likelihood; see `MixedMetaRegResults.profile_variance`."""
    i = position(name, fit.components.names, "name")
    solution = fit.solution
    terms, higher = solution.problem.components.terms, HigherPoints(solution.loglike)
    profile = _Profile(solution, str(name), terms[i], list(terms[:i]).count(terms[i]), 0.0, higher)
    loglike = np.array([profile(float(value)) for value in values])
    higher.tell(stacklevel=3)
    return loglike


_WHY = {
    "unbounded": "the likelihood stays above the level however large it is.",
    "undefined": "a variance is 0, with which nothing is correlated. The ends are NaN.",
}


def _variance_ends(
    profile: _Profile, estimate: float, solution: MixedSolution
) -> tuple[float, float, str]:
    unit = solution.problem.typical * solution.problem.scale**2

    def scaled(x: float) -> float:
        return profile(unit * x * x)

    middle = np.sqrt(estimate / unit)
    low = 0.0
    if estimate > 0.0 and profile(0.0) < 0.0:
        low = _crossing(scaled, 0.0, middle)
    beyond = 2.0 * max(middle, 0.5)
    while scaled(beyond) > 0.0:
        beyond *= 2.0
        if beyond**2 > _FAR * max(middle**2, 1.0):
            return unit * low**2, np.inf, "unbounded"
    return unit * low**2, unit * _crossing(scaled, middle, beyond) ** 2, "interval"


def _correlation_ends(
    profile: _Profile, estimate: float, solution: MixedSolution, term: int
) -> tuple[float, float, str]:
    if not np.isfinite(estimate):
        return np.nan, np.nan, "undefined"
    low, high = (float(x[-1]) for x in solution.problem.terms[term].structure.bounds)
    if not np.isfinite(low):
        low, high = -1.0, 1.0
    ends = []
    for end in (low, high):
        outside = estimate != end and profile(end) < 0.0
        ends.append(_crossing(profile, estimate, end) if outside else end)
    return ends[0], ends[1], "interval"


def _crossing(function: object, a: float, b: float) -> float:
    return float(optimize.brentq(function, a, b, xtol=1e-9, rtol=1e-10))
