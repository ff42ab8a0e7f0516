"""What a fit hands to the layers above, against the textbook's matrices."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import norm

from metareg_sm.core.mixed.search import maximize
from metareg_sm.core.mixed.solution import inverse_information, solve

from ._dense import KINDS, dense, likelihood, problem, working


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_regression(kind, reml):
    rng = np.random.default_rng([19, KINDS.index(kind)])
    y, X, known, terms = problem(rng, kind)
    built = likelihood(y, X, known, terms)
    phi = working(rng, terms)
    solution = solve(built, phi / built.units, reml)
    at = [
        (i, D)
        for i, t in enumerate(terms)
        for D in t.structure.reported(phi[built.slices[i]]).directions
    ]
    expected = dense(y, X, known, terms, solution.matrices, at, reml)
    assert_allclose(solution.loglike, expected["value"], rtol=1e-11)
    assert_allclose(solution.params, expected["params"], rtol=1e-9)
    assert_allclose(solution.cov_unscaled, expected["cov"], rtol=1e-9)
    residuals = y - X @ solution.params
    white = solution.whiten(residuals)
    assert_allclose(white @ white, residuals @ expected["W"] @ residuals, rtol=1e-9)
    assert_allclose(white @ white, solution.rss, rtol=1e-9)
    design = solution.whiten(X)
    assert_allclose(design.T @ design, X.T @ expected["W"] @ X, rtol=1e-9)
    assert_allclose(design.T @ white, 0.0, atol=1e-9 * np.abs(design).sum())
    assert_allclose(solution.solve(residuals), expected["W"] @ residuals, rtol=1e-8, atol=1e-10)
    components = solution.components()
    which = components.information
    assert which == ("average" if kind.startswith("crossed") else "expected")
    assert_allclose(components.cov, np.linalg.inv(expected[which]), rtol=1e-7)
    names = [t.structure.reported(phi[s]).names for t, s in zip(terms, built.slices, strict=True)]
    assert components.names == tuple(name for group in names for name in group)
    for effects, (u, cov) in zip(solution.effects(), expected["effects"], strict=True):
        assert_allclose(effects.u, u, rtol=1e-8, atol=1e-10)
        assert_allclose(effects.cov, cov, rtol=1e-8, atol=1e-10)


def test_reported_variances_make_the_matrix():
    rng = np.random.default_rng(23)
    for kind in ("un", "cs", "hcs", "ar", "har"):
        terms = problem(rng, kind)[3]
        phi = working(rng, terms)
        made = terms[0].structure
        told = made.reported(phi)
        G = made.matrix(phi)
        variances = [v for n, v in zip(told.names, told.values, strict=True) if "variance" in n]
        assert_allclose(np.diag(G), np.broadcast_to(variances, 3), rtol=1e-12)
        first = told.values[told.names.index("rho[0,1]" if kind == "un" else "rho")]
        assert_allclose(G[0, 1] / np.sqrt(G[0, 0] * G[1, 1]), first, rtol=1e-12)
        # directions are derivatives by what is reported
        h = 1e-6
        for c, D in enumerate(told.directions):
            up, down = (moved(made, phi, told.values, c, e) for e in (h, -h))
            assert_allclose((up - down) / (2 * h), D, rtol=1e-6, atol=1e-8)


def moved(made, phi, values, component, step):
    """G with one of the reported components moved."""
    held = made.hold(component, values[component] + step)
    if held.fixed.any():
        return made.matrix(np.where(held.fixed, held.phi, phi))
    values = values.copy()
    values[component] += step
    sd, R = np.sqrt(values[:3]), np.eye(3)
    R[1, 0], R[2, 0], R[2, 1] = values[3:]
    return np.outer(sd, sd) * (R + R.T - np.eye(3))


def test_information_that_is_singular_is_nan():
    found = inverse_information(np.array([[2.0, 2.0, 0.0], [2.0, 2.0, 0.0], [0.0, 0.0, 4.0]]))
    assert np.isnan(found[:2]).all()
    assert found[2, 2] == 0.25
    assert np.isnan(inverse_information(np.zeros((2, 2)))).all()
    found = inverse_information(np.array([[5.0, 0.0, 2.0], [0.0, 0.0, 0.0], [2.0, 0.0, 1.0]]))
    assert np.isnan(found[1]).all()
    assert np.isnan(found[:, 1]).all()
    assert_allclose(found[np.ix_([0, 2], [0, 2])], [[1.0, -2.0], [-2.0, 5.0]], rtol=1e-13)


@pytest.mark.parametrize("m", [2, 3])
def test_information_that_is_not_known_is_nan(m):
    information = np.eye(m)
    information[0, 1] = information[1, 0] = np.nan
    assert np.isnan(inverse_information(information)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_ends_of_the_components(kind):
    rng = np.random.default_rng([31, KINDS.index(kind)])
    y, X, known, terms = problem(rng, kind)
    built = likelihood(y, X, known, terms)
    assert not solve(built, working(rng, terms) / built.units, True).components().boundary.any()
    zero = solve(built, np.zeros(len(built.kinds)), True).components()
    variance = [name.startswith("variance") for name in zero.names]
    # the correlation with a variance of 0 is none
    assert zero.boundary.tolist() == variance
    high = built.bounds[1]
    if "correlation" in built.kinds:
        found = solve(built, np.where(np.isfinite(high), high, 0.5), True).components()
        rho = np.array([name == "rho" for name in found.names])
        assert found.boundary[rho].all()
        assert not found.boundary[~rho].any()


def test_estimates_cover_what_made_the_data():
    rng = np.random.default_rng(29)
    true, hits, n = np.array([0.5, 0.25]), np.zeros(2), 60
    study = np.repeat(np.arange(60), 4)
    for _ in range(n):
        _, _, _, terms = problem(rng, "two", 24)
        terms = [terms[0].intercept(study), terms[0].intercept(np.arange(240))]
        v = rng.uniform(0.05, 0.3, 240)
        y = np.sqrt(0.5) * rng.normal(size=60)[study] + rng.normal(0.0, np.sqrt(v + 0.25))
        built = likelihood(y, np.ones((240, 1)), v, terms)
        components = solve(built, maximize(built, True).best.point.phi, True).components()
        hits += np.abs(components.values - true) < norm.ppf(0.975) * components.standard_errors
    assert np.all(hits / n > 0.85)
