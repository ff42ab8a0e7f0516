"""Fits without each cluster, all in step, equal fits of what is left."""

import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import metareg_sm
from metareg_sm.core.mixed import refits
from metareg_sm.core.mixed.deletions import deletions
from metareg_sm.core.mixed.lanes import Lanes
from metareg_sm.core.mixed.siblings import products_of_others
from metareg_sm.core.mixed.terms import KnownBlock, Term, components, first_codes, known_partition
from metareg_sm.exceptions import FewStudiesWarning, MetaRegError
from metareg_sm.postestimation.clusters import subset
from metareg_sm.postestimation.components import refitted

from ._dense import KINDS, likelihood, problem, spread, working

BATCHED = [kind for kind in KINDS if not kind.startswith("crossed")]
SEEDS = st.integers(0, 2**32 - 1)


def part(y, X, known, terms, rows):
    """The problem of some rows."""
    place = np.full(len(y), -1)
    place[rows] = np.arange(len(rows))
    if isinstance(known, np.ndarray):
        known = known[rows]
    else:
        known = [KnownBlock(place[b.rows], b.matrix) for b in known if place[b.rows[0]] >= 0]
    terms = [Term(first_codes(t.groups[rows]), t.levels[rows], t.structure) for t in terms]
    return likelihood(y[rows], X[rows], known, terms)


@pytest.mark.parametrize("kind", BATCHED)
@pytest.mark.parametrize("reml", [True, False])
def test_lanes_are_likelihoods_of_what_is_left(kind, reml):
    """Up to constants: differences between parameters, derivatives, coefficients."""
    rng = np.random.default_rng([32, KINDS.index(kind)])
    y, X, known, terms = problem(rng, kind)
    built = likelihood(y, X, known, terms)
    if built.many is None:
        pytest.skip("crossed effects are evaluated one at a time")
    partitions = [t.groups for t in terms]
    if not isinstance(known, np.ndarray):
        partitions.append(known_partition(known, len(y)))
    clusters = components(partitions, len(y))
    deleted = np.unique(clusters)[:3]
    columns = np.vstack([X.T, y / built.scale])
    lanes = Lanes(built, built.many.without(columns, clusters, deleted), reml)
    phi = np.array([working(rng, built.terms) / built.units for _ in deleted])
    other = np.array([working(rng, built.terms) / built.units for _ in deleted])
    found, away, fit = lanes.heights(phi), lanes.heights(other), lanes.values(phi)
    assert_allclose(fit.value, found.value, rtol=1e-12)
    # lanes in another order than they were made in
    turned = lanes.heights(phi[::-1], np.arange(len(deleted))[::-1])
    assert_allclose(turned.gradient[::-1], found.gradient, rtol=1e-9, atol=1e-12)
    for lane, g in enumerate(deleted):
        left = part(y, X, known, terms, np.flatnonzero(clusters != g))
        to_own = built.units / left.units
        at, there = (left.point(p[lane] * to_own, reml) for p in (phi, other))
        assert_allclose(found.value[lane] - away.value[lane], at.value - there.value, rtol=1e-9)
        gradient = at.gradient * to_own
        size = np.abs(gradient).max() + 1e-3
        assert_allclose(found.gradient[lane], gradient, rtol=1e-8, atol=1e-9 * size)
        observed = at.observed * np.outer(to_own, to_own)
        assert_allclose(
            found.observed[lane], observed, rtol=1e-7, atol=1e-8 * np.abs(observed).max()
        )
        coefs = left.to_params @ (left.ols + left.scale * at.evaluation.fit.params)
        assert_allclose(built.scale * fit.coefs[lane], coefs, rtol=1e-8, atol=1e-9)


def test_sums_of_others_keep_their_digits():
    rows = np.array([[1e9, 1.0, 2.0, 1e-3], [1e9, 3.0, 1.0, 2e-3]])
    found = products_of_others(rows, np.array([1, 0, 0, 2]))
    others = rows[:, [1, 2, 3]]
    assert_allclose(found[1], others @ others.T, rtol=1e-15)
    assert_allclose(found[0], rows[:, [0, 3]] @ rows[:, [0, 3]].T, rtol=1e-15)


def fitted(rng, random, decades, structure):
    """A fit of awkward data, or None where a model refuses them."""
    J = int(rng.integers(3, 10))
    k = int(rng.integers(2 * J, 5 * J))
    study = rng.integers(0, J, k)
    v = 10.0 ** rng.uniform(*decades, k)
    size = 10.0 ** rng.uniform(-3.0, 1.0) * rng.integers(0, 2)
    y = size * (rng.normal(size=J)[study] + rng.integers(0, 2) * rng.normal(size=k))
    table = pd.DataFrame(
        {
            "y": y + np.sqrt(v) * rng.normal(size=k),
            "v": v,
            "x": rng.normal(size=k),
            "study": study,
            "lab": 3 * study + rng.integers(0, 3, k),
            "outcome": np.array(["a", "b"])[rng.integers(0, 2, k)],
        }
    )
    formula = "y ~ x" if rng.integers(0, 2) else "y ~ 1"
    model = smf.mixedmetareg(formula, table, vi="v", random=random, structure=structure)
    return model.fit(reml=bool(rng.integers(0, 2)), warn_convergence=False)._results


@settings(max_examples=25, deadline=None)
@given(
    SEEDS,
    st.sampled_from(
        [
            ("1 | study", (-3, 2.5), "un"),
            ("1 | study/lab", (-3, 2.5), "un"),
            ("1 | study/lab", (-8, 6), "un"),
            ("0 + outcome | study", (-2, 1), "diag"),
            ("0 + outcome | study", (-2, 1), "hcs"),
            ("0 + outcome | study", (-2, 1), "un"),
        ]
    ),
)
def test_fits_without_each_cluster(seed, kind):
    random, decades, structure = kind
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            res = fitted(np.random.default_rng(seed), random, decades, structure)
        except MetaRegError:
            return
        left = res.leave_one_cluster_out().params.notna().all(axis=1).to_numpy()
    codes = res.blocks
    if not left.any():
        return
    deleted = np.flatnonzero(left)
    found = deletions(res.solution, res.table.endog, res.table.basis.Z, codes, deleted)
    start = res.solution.phi * res.solution.problem.units
    for i, g in enumerate(deleted):
        if found is None or not found.converged[i]:
            continue
        y, basis, known, terms = subset(res, np.flatnonzero(codes != g))
        one = refitted(y, basis, known, terms, res.reml, start)
        ours, theirs = covariances(terms, found.components[i]), one.matrices
        scaled = [G / one.problem.scale**2 for G in ours]
        at = one.problem.loglike_of(one.problem.route.evaluate(scaled), res.reml)
        close = 1e-8 + 1e-12 * abs(at)
        # at least as high, but that correlations have maxima of which either search may miss one
        assert terms[0].q > 1 or at > one.loglike - close
        if abs(at - one.loglike) > close:
            continue
        # and where it is the same maximum, the same in everything
        sigma, other = (
            np.diag(known) + sum(map(spread, terms, G), np.zeros((len(y), len(y))))
            for G in (ours, theirs)
        )
        # single climbs of G = LL' near 0 end with scores of 1e-8, at curvatures of 1e-3
        tol = 1e-9 if terms[0].q == 1 else 1e-6
        size = np.sqrt(np.diagonal(other))
        assert_allclose(sigma / np.outer(size, size), other / np.outer(size, size), atol=tol)
        se = np.sqrt(np.diagonal(one.cov_unscaled))
        assert_allclose(found.params[i] / se, one.params / se, rtol=tol, atol=tol)
        ratio = found.cov_unscaled[i] / np.outer(se, se)
        assert_allclose(ratio, one.cov_unscaled / np.outer(se, se), atol=10.0 * tol)


def covariances(terms, components):
    """G of intercept terms, or of one term of two levels."""
    if terms[0].q == 1:
        return [np.array([[variance]]) for variance in components]
    sd, rho = np.sqrt(components[:2]), components[2] if len(components) > 2 else 0.0
    return [np.outer(sd, sd) * np.array([[1.0, rho], [rho, 1.0]])]


def test_what_is_left_identifies_nothing():
    """Without the one cluster that has a level, or tells coefficients apart: nothing."""
    rng = np.random.default_rng(5)
    table = pd.DataFrame({"study": np.repeat(list("abcde"), 4), "y": rng.normal(size=20)})
    table["v"], table["x"] = 0.1, np.where(table["study"] == "c", rng.normal(size=20), 1.0)
    table["outcome"] = np.where(table.index == 7, "late", ["early", "middle"] * 10)
    for formula, random, gone in (
        ("y ~ 1", "0 + outcome | study", "b"),
        ("y ~ x", "1 | study", "c"),
    ):
        model = smf.mixedmetareg(formula, table, vi="v", random=random, structure="diag")
        with pytest.warns(FewStudiesWarning, match=f"Without {gone} "):
            found = model.fit(warn_convergence=False).leave_one_cluster_out().summary_frame()
        assert found.loc[gone].isna().all()
        assert found.drop(index=gone).notna().all(axis=None)


@pytest.mark.parametrize("random", ["1 | study/lab", "0 + outcome | study"])
def test_what_is_left_does_not_tell_variances_apart(random):
    """One study alone has several effects a lab, or both outcomes."""
    table = pd.DataFrame({"study": list("aabcdefgh"), "v": 0.1, "outcome": list("xyxyxyxyx")})
    table["lab"], table["y"] = table.index, np.random.default_rng(1).normal(size=9)
    model = smf.mixedmetareg("y ~ 1", table, vi="v", random=random, structure="cs")
    res = model.fit(warn_convergence=False)
    with pytest.warns(FewStudiesWarning, match="Without a a coefficient, a level or a variance"):
        found = res.leave_one_cluster_out().summary_frame()
    assert found.loc["a"].isna().all()
    assert found.drop(index="a")["Intercept"].notna().all()


def test_deletions_where_no_variance_is_left():
    """All clusters but one agree: without that one every variance is 0."""
    table = pd.DataFrame({"study": np.repeat(np.arange(6), 3), "v": 0.1})
    table["y"] = np.where(table["study"] == 2, 3.0, 0.1 * np.tile([-1.0, 0.0, 1.0], 6))
    res = smf.mixedmetareg("y ~ 1", table, vi="v", random="1 | study").fit()
    found = res.leave_one_cluster_out()
    assert res.vcomp["study"] > 1.0
    assert found.components.loc[2, "study"] == 0.0
    assert_allclose(found.params.loc[2, "Intercept"], 0.0, atol=1e-12)
    full = res.cov_params().iloc[0, 0]
    assert_allclose(found.cov_ratio[2], 0.1 / 15 / full, rtol=1e-9)


def test_chunks_and_coarser_clusters(monkeypatch):
    """However many lanes go together, and whatever whole groups a cluster holds."""
    schools = metareg_sm.datasets.konstantopoulos2011.load_pandas().data
    res = smf.mixedmetareg("yi ~ year", schools, vi="vi", random="1 | district/school").fit()
    halves = schools["district"] % 3
    expected = [res.leave_one_cluster_out(g).summary_frame() for g in (None, halves)]
    monkeypatch.setattr(refits, "_ROOM", 1)
    found = [res.leave_one_cluster_out(g).summary_frame() for g in (None, halves)]
    for one, other in zip(found, expected, strict=True):
        assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    left = schools[halves != 1]
    refit = smf.mixedmetareg("yi ~ year", left, vi="vi", random="1 | district/school").fit()
    assert_allclose(found[1].loc[1, res.params.index], refit.params, rtol=1e-9)
    ratio = np.linalg.det(refit.cov_params()) / np.linalg.det(res.cov_params())
    assert_allclose(found[1].loc[1, "cov_ratio"], ratio, rtol=1e-9)


def test_clusters_of_crossed_terms_are_labelled_by_what_they_hold():
    rng = np.random.default_rng(0)
    farm = np.repeat([0, 1], 30)
    table = pd.DataFrame({"y": rng.normal(size=60), "v": 0.1})
    table["field"] = np.where(farm, np.resize(["c", "d"], 60), np.resize(["a", "b"], 60))
    table["year"] = farm * 10 + np.resize(np.arange(7), 60)
    model = smf.mixedmetareg("y ~ 1", table, vi="v", random=["1 | field", "1 | year"])
    found = model.fit().leave_one_cluster_out()
    assert list(found.params.index) == ["a, b", "c, d"]
    assert found.params.index.name == "field"
    left = smf.mixedmetareg("y ~ 1", table[30:], vi="v", random=["1 | field", "1 | year"]).fit()
    assert_allclose(found.components.loc["a, b"], left.vcomp, rtol=1e-6, atol=1e-9)
