"""The likelihood of dependent effects against the textbook's k x k matrices."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from metareg_sm.core.mixed import routes
from metareg_sm.core.mixed.blocks import inverse_factor
from metareg_sm.core.mixed.crossed import Crossed
from metareg_sm.core.mixed.structures import structure
from metareg_sm.core.mixed.terms import Term

from ._dense import KINDS, codes, dense, likelihood, problem, working


def directions(built, phi):
    found = []
    for i, (term, at) in enumerate(zip(built.terms, built.slices, strict=True)):
        found += [(i, D) for D in term.structure.derivatives(phi[at])]
    return found


@pytest.mark.parametrize("largest", [60, 9])
@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_textbook(kind, reml, largest, monkeypatch):
    monkeypatch.setattr(routes, "LARGEST_BLOCK", largest)
    rng = np.random.default_rng([7, KINDS.index(kind), reml])
    y, X, known, terms = problem(rng, kind)
    built = likelihood(y, X, known, terms)
    phi = working(rng, terms)
    matrices = built.matrices(phi)
    at = directions(built, phi)
    expected = dense(y, X, known, terms, matrices, at, reml)
    scaled = phi / built.units
    evaluation = built.evaluate(scaled)
    s = built.scale
    assert_allclose(built.loglike_of(evaluation, reml), expected["value"], rtol=1e-11)
    slopes = evaluation.slopes(reml)
    gradient = [np.vdot(slopes[i], D) / s**2 for i, D in at]
    assert_allclose(gradient, expected["gradient"], rtol=1e-9, atol=1e-11)
    stacks = [
        term.structure.derivatives(phi[part])
        for term, part in zip(built.terms, built.slices, strict=True)
    ]
    information = evaluation.information(stacks, reml)
    assert_allclose(information.average / s**4, expected["average"], rtol=1e-9, atol=1e-11)
    if information.expected is not None:
        assert_allclose(information.expected / s**4, expected["expected"], rtol=1e-9, atol=1e-11)
    effects = evaluation.effects()
    for found, (u, cov) in zip(effects, expected["effects"], strict=True):
        assert_allclose(found.u * s, u, rtol=1e-8, atol=1e-10)
        assert_allclose(found.cov * s**2, cov, rtol=1e-8, atol=1e-11)
    eye = np.eye(len(y))
    W = expected["W"] * s**2
    assert_allclose(evaluation.solve(eye), W, rtol=1e-8, atol=1e-9)
    white = evaluation.whiten(eye)
    assert_allclose(white @ white.T, W, rtol=1e-8, atol=1e-9)
    for term, found in zip(terms, evaluation.blocks(), strict=True):
        Z = np.zeros((len(y), term.n_groups * term.q))
        Z[np.arange(len(y)), term.cells] = 1.0
        full = Z.T @ W @ Z
        at = np.arange(term.n_groups * term.q).reshape(-1, term.q)
        assert_allclose(found, full[at[:, :, None], at[:, None, :]], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_in_working_parameters(kind, reml):
    rng = np.random.default_rng([11, KINDS.index(kind), reml])
    built = likelihood(*problem(rng, kind))
    phi = working(rng, built.terms) / built.units
    point = built.point(phi, reml)
    h = 1e-5 * np.maximum(np.abs(phi), 1e-2)
    values, slopes = [], []
    for j, step in enumerate(np.diag(h)):
        up, down = built.point(phi + step, reml), built.point(phi - step, reml)
        values.append((up.value - down.value) / (2 * h[j]))
        slopes.append((up.gradient - down.gradient) / (2 * h[j]))
    # differences of values have half of the digits
    assert_allclose(point.gradient, values, rtol=1e-5, atol=1e-5)
    if not kind.startswith("crossed"):
        size = np.abs(point.observed).max()
        assert_allclose(point.observed, -np.array(slopes), rtol=1e-5, atol=1e-6 * size)


def test_large_groups_of_a_structured_term_need_no_large_blocks():
    rng = np.random.default_rng(31)
    k = 400
    groups, level = np.arange(k) % 2, rng.integers(0, 3, k)
    v = rng.uniform(0.1, 1.0, k)
    terms = [Term(groups, level, structure("un", 3)), Term.intercept(np.arange(k))]
    y, X = rng.normal(size=k), np.column_stack([np.ones(k), rng.normal(size=k)])
    built = likelihood(y, X, v, terms)
    assert isinstance(built.route, Crossed)
    phi = working(rng, terms)
    at = directions(built, phi)
    expected = dense(y, X, v, terms, built.matrices(phi), at, True)
    point = built.point(phi / built.units, True)
    assert_allclose(point.value, expected["value"], rtol=1e-11)
    assert_allclose(point.gradient / built.units, expected["gradient"], rtol=1e-8)


@pytest.mark.parametrize("kind", ["nested", "structured", "crossed"])
def test_deep_and_wide(kind):
    """Ten levels, or hundreds of blocks of many sizes, give the same as one big block."""
    rng = np.random.default_rng(37)
    k = 150
    v = rng.uniform(0.1, 1.0, k)
    y, X = rng.normal(size=k), np.column_stack([np.ones(k), rng.normal(size=k)])
    if kind == "nested":
        code, terms = np.arange(k), []
        for _ in range(7):
            terms.append(Term.intercept(codes(code)))
            code = code // 2
    elif kind == "structured":
        groups = codes(np.minimum(rng.geometric(0.05, k), 40))
        level = rng.integers(0, 6, k)
        level[:6] = np.arange(6)
        terms = [Term(groups, level, structure("har", 6, np.arange(6) * 0.7))]
    else:
        terms = [Term.intercept(codes(rng.integers(0, n, k))) for n in (12, 9, 30)]
    built = likelihood(y, X, v, terms)
    phi = working(rng, terms)
    at = directions(built, phi)
    expected = dense(y, X, v, terms, built.matrices(phi), at, True)
    point = built.point(phi / built.units, True)
    assert_allclose(point.value, expected["value"], rtol=1e-11)
    assert_allclose(point.gradient / built.units, expected["gradient"], rtol=1e-8, atol=1e-10)
    if point.exact:
        expected_information = point.scoring / np.outer(built.units, built.units)
        assert_allclose(expected_information, expected["expected"], rtol=1e-8)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_inverse_factors_of_small_blocks(n):
    rng = np.random.default_rng(41)
    A = rng.normal(size=(5, n, n + 1))
    sigma = A @ A.swapaxes(1, 2)
    T = inverse_factor(sigma)
    assert_allclose(T, np.tril(T), atol=1e-15)
    assert_allclose(T.swapaxes(1, 2) @ T, np.linalg.inv(sigma), rtol=1e-9)
    sigma[3, -1] = sigma[3, :, -1] = 0.0
    assert inverse_factor(sigma) is None
    assert inverse_factor(-np.ones((1, n, n))) is None


@pytest.mark.parametrize("kind", KINDS)
def test_without_moderators_at_all(kind):
    rng = np.random.default_rng(43)
    y, X, known, terms = problem(rng, kind)
    X = X[:, :0]
    built = likelihood(y, X, known, terms)
    phi = working(rng, terms)
    expected = dense(y, X, known, terms, built.matrices(phi), directions(built, phi), True)
    point = built.point(phi / built.units, True)
    assert_allclose(point.value, expected["value"], rtol=1e-11)
    assert_allclose(point.gradient / built.units, expected["gradient"], rtol=1e-8, atol=1e-10)
