"""The bivariate model of many data sets at once: against its parts, and against awkward data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metareg_sm import simulate
from metareg_sm.core.basis import design_basis
from metareg_sm.core.mixed.likelihood import MixedLikelihood
from metareg_sm.core.mixed.search import maximize
from metareg_sm.core.mixed.structures import structure
from metareg_sm.core.mixed.terms import Term
from metareg_sm.stats.bivariate import (
    _point,
    _value,
    describe,
    fit_bivariate,
    profile_loglike,
)


def drawn(seed, n=6, k=9, spread=2.0):
    rng = np.random.default_rng(seed)
    vx, vy = np.exp(rng.uniform(-4.0, spread, (2, n, k)))
    x = rng.normal(0.0, np.sqrt(1.0 + vx))
    y = rng.normal(0.5 + rng.normal(size=(n, 1)) * x, np.sqrt(0.1 + vy))
    return x, y, vx, vy


def test_a_batch_is_its_single_fits():
    data = drawn(1)
    many = fit_bivariate(*data)
    held = profile_loglike(*data, 0.4)
    for i, one in enumerate(zip(*data, strict=True)):
        single = fit_bivariate(*one)
        for name in ("llf", "slope", "intercept", "slope_se", "slope_se_observed", "cov", "mean"):
            np.testing.assert_allclose(
                getattr(many, name)[i], getattr(single, name), rtol=1e-9, atol=1e-12, err_msg=name
            )
        assert profile_loglike(*one, 0.4) == pytest.approx(held[i], rel=1e-12)
    cube = fit_bivariate(*(d.reshape(2, 3, 9) for d in data))
    assert cube.cov.shape == (2, 3, 2, 2)
    np.testing.assert_allclose(cube.llf.ravel(), many.llf, rtol=1e-12)


def engine(x, y, vx, vy):
    """The same likelihood by the engine of dependent effects."""
    k = len(x)
    problem = MixedLikelihood.build(
        np.concatenate([x, y]),
        design_basis(np.repeat(np.eye(2), k, axis=0)),
        np.concatenate([vx, vy]),
        [Term(np.tile(np.arange(k), 2), np.repeat([0, 1], k), structure("un", 2))],
    )
    return problem, maximize(problem, False).best.point


def test_the_engine_of_dependent_effects_agrees():
    sets = simulate.baseline(20, n_studies=12, n_per_arm=60, sd=0.6, slope=0.8, rng=5)
    y, x, vy, vx = sets.log_odds()
    many = fit_bivariate(x, y, vx, vy)
    for i, one in enumerate(zip(x, y, vx, vy, strict=True)):
        problem, point = engine(*one)
        assert many.llf[i] == pytest.approx(point.value, rel=1e-12)
        G = problem.matrices(point.phi)[0] * problem.scale**2
        np.testing.assert_allclose(many.cov[i], G, rtol=1e-6, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 12), st.floats(-2.0, 4.0))
def test_never_below_the_engine(seed, k, spread):
    data = drawn(seed, 1, k, spread)
    found = fit_bivariate(*data)
    assert found.llf[0] >= engine(*(d[0] for d in data))[1].value - 1e-9
    # the model at the estimates is the model; a held slope cannot do better
    again = describe(*data, found.cov)
    assert again.llf[0] == pytest.approx(found.llf[0], rel=1e-10)
    for slope in (-1.0, 0.5, 3.0):
        assert profile_loglike(*data, slope)[0] <= found.llf[0] + 1e-9
    if np.isfinite(found.slope[0]) and found.cov[0, 0, 0] > 1e-3:
        at = profile_loglike(*data, found.slope)
        assert at[0] == pytest.approx(found.llf[0], abs=1e-7)


def test_derivatives():
    data = drawn(3, n=1)
    root = np.array([[0.8, 0.5, 0.4]])
    at = _point(data, root)
    step = 1e-4
    E = np.eye(3) * step
    slopes = [(_value(data, root + e) - _value(data, root - e))[0] / (2 * step) for e in E]
    np.testing.assert_allclose(at.gradient[0], slopes, rtol=1e-6)
    bends = [
        (_point(data, root + e).gradient - _point(data, root - e).gradient)[0] / (2 * step)
        for e in E
    ]
    np.testing.assert_allclose(-at.observed[0], bends, rtol=1e-6, atol=1e-8)
    assert at.value[0] == pytest.approx(_value(data, root)[0], rel=1e-14)


def test_expected_information_is_the_mean_of_the_observed():
    rng = np.random.default_rng(8)
    n, k = 20_000, 8
    vx, vy = np.exp(rng.uniform(-2.0, 0.5, (2, k)))
    root = np.array([0.8, 0.5, 0.4])
    L = np.array([[root[0], 0.0], [root[1], root[2]]])
    true = rng.normal(size=(n, k, 2)) @ L.T
    x = true[..., 0] + rng.normal(0.0, np.sqrt(vx), (n, k))
    y = true[..., 1] + rng.normal(0.0, np.sqrt(vy), (n, k))
    at = _point((x, y, vx + 0.0 * x, vy + 0.0 * y), np.tile(root, (n, 1)))
    # the score at the truth; profiling the two means takes some of the information away
    score = np.cov(at.gradient.T)
    assert np.all(np.diagonal(score) < np.diagonal(at.expected[0]))
    free = at.gradient - at.gradient.mean(0)
    assert np.linalg.norm(free.T @ free / n - score) < 1e-2
