"""Search, free parameters for any optimizer, identification, and what grows with the data."""

import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize

from metareg_sm.core.basis import design_basis
from metareg_sm.core.mixed.climb import climb
from metareg_sm.core.mixed.identify import flat_directions
from metareg_sm.core.mixed.likelihood import MixedLikelihood
from metareg_sm.core.mixed.objective import Objective
from metareg_sm.core.mixed.search import (
    held_problem,
    maximize,
    maximize_held,
)
from metareg_sm.core.mixed.solution import solve
from metareg_sm.core.mixed.starts import starts
from metareg_sm.core.mixed.structures import STRUCTURES, structure
from metareg_sm.core.mixed.terms import Term

from ._dense import KINDS, codes, likelihood, problem, working


@pytest.mark.parametrize("kind", KINDS)
def test_free_parameters(kind):
    rng = np.random.default_rng([13, KINDS.index(kind)])
    built = likelihood(*problem(rng, kind))
    phi = working(rng, built.terms) / built.units
    objective = Objective(built, True, phi)
    theta = objective.theta(phi) * 1.1
    assert_allclose(objective.phi(objective.theta(phi)), phi, rtol=1e-12, atol=1e-14)
    h = 1e-5
    steps = h * np.eye(len(theta))
    slope = [(objective.value(theta + s) - objective.value(theta - s)) / (2 * h) for s in steps]
    # differences of values have half of the digits
    assert_allclose(objective.gradient(theta), slope, rtol=1e-5, atol=1e-7)
    if not kind.startswith("crossed"):
        bend = [
            (objective.gradient(theta + s) - objective.gradient(theta - s)) / (2 * h) for s in steps
        ]
        H = objective.hessian(theta)
        assert_allclose(H, np.array(bend), rtol=1e-5, atol=1e-6 * np.abs(H).max())


@pytest.mark.parametrize("kind", ["two", "un", "crossed", "cs"])
def test_an_optimizer_of_free_parameters_agrees(kind):
    rng = np.random.default_rng([17, KINDS.index(kind)])
    built = likelihood(*problem(rng, kind))
    found = maximize(built, True)
    objective = Objective(built, True, found.best.point.phi)
    begin = objective.theta(found.best.point.phi) + 0.2
    run = minimize(objective.value, begin, jac=objective.gradient, method="BFGS")
    polished = climb(built, objective.phi(run.x), True)
    assert polished.converged
    assert_allclose(polished.point.value, found.best.point.value, rtol=1e-10)


def test_variance_of_zero_is_reached_exactly():
    rng = np.random.default_rng(2)
    study = np.repeat(np.arange(12), 3)
    v = np.full(36, 1.0)
    y = np.tile([-1.0, 0.0, 1.0], 12) * 1.2 + 0.01 * rng.normal(size=36)
    built = likelihood(y, np.ones((36, 1)), v, [Term.intercept(study)])
    found = maximize(built, True)
    assert found.best.point.phi[0] == 0.0
    assert found.best.point.gradient[0] < 0.0
    components = solve(built, found.best.point.phi, True).components()
    assert components.boundary.tolist() == [True]
    assert np.isfinite(components.standard_errors).all()


@pytest.mark.parametrize("name", ["un", "cs", "hcs", "ar"])
def test_correlation_of_one_is_reached(name):
    rng = np.random.default_rng(4)
    study = np.repeat(np.arange(15), 2)
    level = np.tile([0, 1], 15)
    u = rng.normal(size=15)[study]
    y = u + 0.02 * np.tile([-1.0, 1.0], 15) + np.array([0.0, 0.3])[level]
    X = np.column_stack([level == 0, level == 1]).astype(float)
    v = np.full(30, 0.2)
    built = likelihood(y, X, v, [Term(study, level, structure(name, 2))])
    found = maximize(built, True)
    assert found.best.converged
    components = solve(built, found.best.point.phi, True).components()
    assert_allclose(components.values[-1], 1.0, atol=1e-12)
    assert components.boundary[-1]


def test_fixed_parameters_stay():
    rng = np.random.default_rng(6)
    built = likelihood(*problem(rng, "three"))
    best = maximize(built, True).best.point
    start = best.phi.copy()
    start[1] = 0.37
    found = maximize(built, True, start=start, fixed=np.array([False, True, False]))
    assert found.best.point.phi[1] == 0.37
    assert found.best.point.value < best.value
    grid = [
        built.loglike(np.array([a, 0.37, b]), True)
        for a in np.linspace(0, 3, 31)
        for b in np.linspace(0, 3, 31)
    ]
    assert found.best.point.value >= max(grid)


def flat(y, X, v, terms, reml=True):
    return flat_directions(likelihood(y, X, v, terms), reml)


def test_flat_likelihoods_are_named():
    rng = np.random.default_rng(8)
    k = 20
    y, v = rng.normal(size=k), rng.uniform(0.5, 1.0, k)
    X = np.ones((k, 1))
    study = np.repeat(np.arange(10), 2)
    rows = Term.intercept(np.arange(k))
    assert flat(y, X, v, [Term.intercept(study), rows]) == []
    # one effect per group, and a variance of groups and of effects
    found = flat(y, X, v, [Term.intercept(rng.permutation(k)), rows])
    assert [(f.terms, f.names) for f in found] == [((0, 1), ("variance", "variance"))]
    # no group has both levels
    level = np.repeat(np.arange(10) % 2, 2)
    for name in STRUCTURES:
        found = flat(y, X, v, [Term(study, level, structure(name, 2))])
        expected = {
            "un": ["rho[0,1]"],
            "cs": ["rho"],
            "hcs": ["rho"],
            "ar": ["rho"],
            "har": ["rho"],
        }
        assert [f.names[0] for f in found] == expected.get(name, [])
    # groups that the design tells apart
    D = np.eye(10)[study]
    found = flat(y, D, v, [Term.intercept(study), rows])
    assert [(f.terms, f.names) for f in found] == [((0,), ("variance",))]
    assert flat(y, D, v, [Term.intercept(study), rows], reml=False) == []


def large(k):
    rng = np.random.default_rng(1)
    study = codes(rng.integers(0, k // 4, k))
    v = rng.uniform(0.01, 0.2, k)
    y = 0.3 * rng.normal(size=k)[study] + rng.normal(0.0, np.sqrt(v + 0.04))
    X = np.column_stack([np.ones(k), rng.normal(size=k)])
    return y, X, v, [Term.intercept(study), Term.intercept(np.arange(k))]


@pytest.mark.parametrize("kind", ["nested", "structured", "crossed"])
def test_memory_is_linear_in_the_effects(kind):
    peaks = []
    for k in (4000, 16000):
        y, X, v, terms = large(k)
        if kind == "structured":
            level = np.arange(k) % 2
            terms = [Term(terms[0].groups, level, structure("un", 2))]
        elif kind == "crossed":
            terms = [*terms, Term.intercept(np.random.default_rng(2).integers(0, 8, k))]
        built = MixedLikelihood.build(y, design_basis(X), v, terms)
        phi = starts(built)[0]
        tracemalloc.start()
        assert np.isfinite(built.point(phi, True).value)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 6.0 * peaks[0]


def test_structures_know_their_bounds():
    for name in STRUCTURES:
        made = structure(name, 3, np.array([0.0, 1.0, 3.0]))
        low, high = made.bounds
        phi = made.start(np.array([1.0, 2.0, 3.0]), 0.5)
        assert np.all((low <= phi) & (phi <= high))
        for end in (low, high):
            at = np.where(np.isfinite(end), end, phi)
            assert np.linalg.eigvalsh(made.matrix(at))[0] > -1e-12
        assert structure(name, 1).matrix(np.array([2.0])).tolist() == [[2.0]]


@pytest.mark.parametrize("name", STRUCTURES)
def test_structures_start_many_climbs_at_once(name):
    made = structure(name, 3, np.array([0.0, 1.0, 3.0]))
    variances = np.array([[1.0, 2.0, 3.0], [0.5, 0.1, 4.0], [0.0, 2.0, 1.0]])
    rho = np.array([0.3, -1.0, 0.99])
    every = made.start(variances, rho)
    one = [made.start(v, float(r)) for v, r in zip(variances, rho, strict=True)]
    assert_allclose(every, one, rtol=1e-12)
    assert_allclose(made.canonical(every), [made.canonical(phi) for phi in one], rtol=1e-12)
    G = made.matrix(made.canonical(every))
    assert_allclose(G, made.matrix(every), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", [*STRUCTURES, "two"])
def test_held_components(name):
    rng = np.random.default_rng(12)
    k = 60
    level = np.arange(k) % 3
    study = np.repeat(np.arange(20), 3)
    u = rng.normal(size=(20, 1)) + 0.5 * rng.normal(size=(20, 3))
    v = rng.uniform(0.1, 0.6, k)
    y = u[study, level] + rng.normal(0.0, np.sqrt(v))
    if name == "two":
        terms = [Term.intercept(study), Term.intercept(np.arange(k))]
    else:
        terms = [Term(study, level, structure(name, 3, np.array([0.0, 0.5, 1.75])))]
    built = likelihood(y, np.eye(3)[level], v, terms)
    best = maximize(built, True).best.point
    components = solve(built, best.phi, True).components()
    for at, (term, value) in enumerate(zip(components.terms, components.values, strict=True)):
        component = at if len(terms) == 1 else 0
        # where it is anyway: the same maximum
        same = maximize_held(built, best.phi, True, term, component, value)
        assert_allclose(same.best.point.value, best.value, atol=1e-9)
        other = 0.5 * value if value > 0.01 else 0.3
        lower = maximize_held(built, best.phi, True, term, component, other)
        assert lower.best.converged
        assert lower.best.point.value < best.value
        changed, _, _ = held_problem(built, best.phi, term, component, other)
        told = solve(changed, lower.best.point.phi, True).components()
        assert_allclose(told.values[at], other, rtol=1e-10)


def test_a_held_correlation_keeps_its_sign():
    rng = np.random.default_rng(3)
    study, level = np.repeat(np.arange(12), 2), np.tile(np.arange(2), 12)
    shared = rng.normal(size=(12, 1))
    u = 0.7 * shared + 0.4 * rng.normal(size=(12, 2))
    v = rng.uniform(0.05, 0.3, 24)
    y = u[study, level] + rng.normal(0.0, np.sqrt(v))
    built = likelihood(y, np.eye(2)[level], v, [Term(study, level, structure("un", 2))])
    best = maximize(built, True).best.point
    values = np.linspace(-0.99, 0.99, 45)
    profile = []
    for value in values:
        changed, _, _ = held_problem(built, best.phi, 0, 2, value)
        found = maximize_held(built, best.phi, True, 0, 2, value).best.point
        told = solve(changed, found.phi, True).components().values[2]
        # undefined where a variance is best at 0
        assert np.isnan(told) or told == pytest.approx(value, rel=1e-10)
        profile.append(found.value)
    # of outcomes that go together: the profile rises to the estimate and falls beyond it
    assert best.value - profile[0] > 3.0
    rises = np.diff(profile)
    estimate = solve(built, best.phi, True).components().values[2]
    assert (rises[values[1:] < estimate] >= -1e-9).all()
    assert (rises[values[:-1] > estimate] <= 1e-9).all()
