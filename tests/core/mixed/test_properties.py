"""What always holds for dependent effects."""

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from metareg_sm.core.basis import design_basis
from metareg_sm.core.mixed.likelihood import MixedLikelihood
from metareg_sm.core.mixed.search import maximize
from metareg_sm.core.mixed.solution import solve
from metareg_sm.core.mixed.structures import structure
from metareg_sm.core.mixed.terms import KnownBlock, Term
from metareg_sm.core.studies import Studies

from ._dense import KINDS, codes, likelihood, problem

SEEDS = st.integers(0, 2**32 - 1)


def awkward(rng, k, p):
    """Outcomes, variances over 14 orders of magnitude and a design."""
    X = np.column_stack([np.ones(k), rng.normal(size=(k, p - 1))])[:, :p]
    v = 10.0 ** rng.uniform(-8, 6, k)
    y = rng.normal(size=k) + rng.normal(size=k) * np.sqrt(np.minimum(v, 10.0))
    return y, X, v


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(3, 25), st.booleans(), st.booleans())
def test_one_effect_per_study_is_the_univariate_model(seed, k, reml, easy):
    rng = np.random.default_rng(seed)
    y, X, _ = awkward(rng, k, min(2, k - 2))
    # variances of ten orders of magnitude are compared with exact arithmetic below
    v = rng.uniform(0.05, 1.0, k) if easy else 10.0 ** rng.uniform(-2, 2, k)
    basis = design_basis(X)
    built = MixedLikelihood.build(y, basis, v, [Term.intercept(rng.permutation(k))])
    studies = Studies.build(y, v, basis)
    best = studies.maximize(reml)
    tau2 = float(best.tau2[0])
    profile = studies.profile(reml)
    for t in (0.0, 1e-3, tau2, 7.0):
        assert_allclose(
            built.loglike(np.array([t]) / built.units, reml),
            profile.loglike(np.array(t)),
            rtol=1e-9,
            atol=1e-9,
        )
    found = maximize(built, reml)
    solution = solve(built, found.best.point.phi, reml)
    top = float(profile.loglike(np.array(tau2)))
    assert_allclose(solution.loglike, top, rtol=1e-9, atol=1e-9)
    # two maxima of one height may be told apart by rounding only
    assume(not found.others or found.others[0] < found.best.point.value - 1e-6)
    assert_allclose(solution.components().values[0], tau2, rtol=1e-9, atol=1e-10)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.sampled_from(KINDS))
def test_order_of_rows(seed, kind):
    rng = np.random.default_rng(seed)
    y, X, known, terms = problem(rng, kind)
    k = len(y)
    phi = likelihood(y, X, known, terms)
    working = np.concatenate([t.structure.start(np.full(t.q, 0.7), 0.3) for t in terms])
    order = rng.permutation(k)
    back = np.argsort(order)
    moved = [Term(t.groups[order], t.levels[order], t.structure) for t in terms]
    if isinstance(known, np.ndarray):
        other = likelihood(y[order], X[order], known[order], moved)
    else:
        other = likelihood(
            y[order], X[order], [KnownBlock(back[b.rows], b.matrix) for b in known], moved
        )
    a = solve(phi, working / phi.units, True)
    b = solve(other, working / other.units, True)
    assert_allclose(a.loglike, b.loglike, rtol=1e-12)
    assert_allclose(a.params, b.params, rtol=1e-9, atol=1e-12)
    assert_allclose(a.components().cov, b.components().cov, rtol=1e-9)
    for one, two in zip(a.effects(), b.effects(), strict=True):
        assert_allclose(one.u, two.u, rtol=1e-9, atol=1e-11)
        assert_allclose(one.cov, two.cov, rtol=1e-9, atol=1e-11)


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.sampled_from(KINDS), st.sampled_from([1e-6, 3.0, 1e7]))
def test_scale_and_shift(seed, kind, factor):
    rng = np.random.default_rng(seed)
    y, X, known, terms = problem(rng, kind)
    shifted = factor * (y + 100.0)
    if isinstance(known, np.ndarray):
        scaled = known * factor**2
    else:
        scaled = [KnownBlock(b.rows, b.matrix * factor**2) for b in known]
    a, b = likelihood(y, X, known, terms), likelihood(shifted, X, scaled, terms)
    working = np.concatenate([t.structure.start(np.full(t.q, 0.7), 0.3) for t in terms])
    one = solve(a, working / a.units, True)
    power = {"variance": 2, "sd": 1, "free": 1, "correlation": 0}
    units = np.array([factor ** power[kind] for kind in a.kinds])
    two = solve(b, working * units / b.units, True)
    n = len(y) - X.shape[1]
    assert_allclose(one.loglike, two.loglike + n * np.log(factor), rtol=1e-9)
    assert_allclose(one.params[1:], two.params[1:] / factor, rtol=1e-8, atol=1e-10)
    assert_allclose(np.diag(one.cov_unscaled), np.diag(two.cov_unscaled) / factor**2, rtol=1e-9)


def exact(y, X, v, terms, matrices, reml):
    """Log-likelihood and scores by the variances on the diagonals, in 60 digits."""
    mp = mpmath.MPContext()
    mp.dps = 60
    k, p = X.shape
    sigma = mp.diag([mp.mpf(x) for x in v])
    parts = []
    for term, G in zip(terms, matrices, strict=True):
        for level in range(term.q):
            parts.append(mp.matrix(k, k))
            for i in range(k):
                for j in range(k):
                    same = term.groups[i] == term.groups[j]
                    if same and term.levels[i] == term.levels[j] == level:
                        parts[-1][i, j] = 1
        for i in range(k):
            for j in range(k):
                if term.groups[i] == term.groups[j]:
                    sigma[i, j] += mp.mpf(G[term.levels[i], term.levels[j]])
    X = mp.matrix(X.tolist())
    y = mp.matrix(y.tolist())
    W = sigma**-1
    cov = (X.T * W * X) ** -1
    P = W - W * X * cov * X.T * W
    Py = P * y
    n = k - p if reml else k
    value = -(n * mp.log(2 * mp.pi) + mp.log(mp.det(sigma)) + (y.T * Py)[0]) / 2
    if reml:
        value += (mp.log(mp.det(X.T * X)) + mp.log(mp.det(cov))) / 2
    M = P if reml else W
    score = []
    for S in parts:
        trace = mp.fsum(M[i, j] * S[j, i] for i in range(k) for j in range(k))
        score.append(float(((Py.T * S * Py)[0] - trace) / 2))
    return float(value), np.array(score), np.array([float(x) for x in cov * X.T * W * y])


@settings(max_examples=12, deadline=None)
@given(SEEDS, st.booleans(), st.sampled_from(["nested", "structured"]))
def test_nine_digits_with_unequal_variances(seed, reml, kind):
    rng = np.random.default_rng(seed)
    k = 9
    y, X, v = awkward(rng, k, 2)
    study = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2])
    order = rng.permutation(k)
    if kind == "nested":
        effect = np.array([0, 0, 1, 2, 3, 3, 4, 5, 5])
        terms = [Term.intercept(study[order]), Term.intercept(effect[order])]
        phi = 10.0 ** rng.uniform(-6, 2, 2)
    else:
        level = np.array([0, 1, 1, 0, 0, 1, 1, 0, 0])
        terms = [Term(study[order], level[order], structure("un", 2))]
        phi = terms[0].structure.start(10.0 ** rng.uniform(-3, 2, 2), 0.6)
    y, X, v = y[order], X[order], v[order]
    built = MixedLikelihood.build(y, design_basis(X), v, terms)
    scaled = phi / built.units
    matrices = [G * built.scale**2 for G in built.matrices(scaled)]
    value, score, params = exact(y, X, v, terms, matrices, reml)
    evaluation = built.evaluate(scaled)
    assert_allclose(built.loglike_of(evaluation, reml), value, rtol=1e-10, atol=1e-9)
    slopes = evaluation.slopes(reml)
    found = np.concatenate([np.diag(M) for M in slopes]) / built.scale**2
    assert_allclose(found, score, rtol=1e-8, atol=1e-9 * np.abs(score).max())
    assert_allclose(solve(built, scaled, reml).params, params, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_score_is_zero_where_the_search_ends(kind, reml):
    rng = np.random.default_rng([5, KINDS.index(kind)])
    built = likelihood(*problem(rng, kind))
    found = maximize(built, reml)
    assert found.best.converged
    point = found.best.point
    lower, upper = built.bounds
    free = (point.phi > lower) & (point.phi < upper)
    size = np.sqrt(np.maximum(np.diag(point.scoring), np.abs(np.diag(point.observed))))
    told = free & (size > 0.0)
    assert np.all(np.abs(point.gradient[told] / size[told]) < 1e-8)
    assert np.all(point.gradient[point.phi <= lower] <= 1e-9)
    assert np.all(point.gradient[point.phi >= upper] >= -1e-9)
    # nothing nearby is higher
    for step in rng.normal(size=(20, len(point.phi))) * 0.1 * np.maximum(np.abs(point.phi), 0.05):
        other = built.loglike(np.clip(point.phi + step, lower, upper), reml)
        assert other <= point.value + 1e-10


def test_identical_rows_of_a_group_are_one_mean():
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(6), 4)
    v = rng.uniform(0.1, 2.0, 24)
    y = rng.normal(size=24)
    w = 1.0 / v
    mean = np.bincount(groups, w * y) / np.bincount(groups, w)
    one = likelihood(y, np.ones((24, 1)), v, [Term.intercept(groups)])
    two = likelihood(
        mean, np.ones((6, 1)), 1.0 / np.bincount(groups, w), [Term.intercept(codes(np.arange(6)))]
    )
    a, b = (
        maximize(one, False).best.point.phi * one.units,
        maximize(two, False).best.point.phi * two.units,
    )
    assert_allclose(a, b, rtol=1e-9, atol=1e-12)
