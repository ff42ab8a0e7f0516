"""Location-scale models against metafor and against the textbook's matrices."""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from metareg_sm.core.basis import design_basis
from metareg_sm.core.location_scale import LocationScale, maximize_scale
from metareg_sm.core.studies import Studies

PATH = Path(__file__).parents[1] / "reference" / "location_scale.json"
CASES = json.loads(PATH.read_text(encoding="utf-8"))["cases"]
# the tau2 of one group is 0, so its alpha grows without bound; metafor stops somewhere
UNBOUNDED = {("raudenbush1985", "ML")}


def build(y, v, X, Z):
    return LocationScale.build(y, v, design_basis(X), design_basis(Z))


@lru_cache
def fitted(name, method):
    case = CASES[name]
    built = build(*(np.array(case[key]) for key in ("y", "v", "X", "Z")))
    return maximize_scale(built, method == "REML")


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("name", CASES)
def test_metafor(name, method):
    expected = CASES[name]["fits"][method]
    fit = fitted(name, method)
    assert fit.converged
    assert fit.loglike >= expected["llf"] - 1e-9
    assert_allclose(fit.loglike, expected["llf"], atol=1e-8)
    # nlminb ends where the likelihood is flat to 1e-10, and parameters at the root of that
    assert_allclose(fit.params, expected["beta"], rtol=1e-5)
    assert_allclose(np.sqrt(np.diag(fit.cov_unscaled)), expected["se"], rtol=1e-5)
    assert fit.boundary == ((name, method) in UNBOUNDED)
    if not fit.boundary:
        se = np.sqrt(np.diag(fit.cov_alpha))
        assert_allclose(fit.alpha / se, np.array(expected["alpha"]) / se, atol=1e-5)
        # metafor differentiates numerically
        assert_allclose(se, expected["se_alpha"], rtol=2e-6)
        assert_allclose(fit.tau2, expected["tau2"], rtol=1e-5)
    else:
        assert np.isnan(fit.cov_alpha).all()


def test_published():
    fit = fitted("bangertdrowns2004", "REML")
    se = np.sqrt(np.diag(fit.cov_alpha))
    assert_allclose(fit.params, [0.2220791], atol=1e-7)
    assert_allclose(np.sqrt(fit.cov_unscaled[0]), [0.0460484], atol=1e-7)
    assert_allclose(fit.alpha, [-3.1051301, 0.0413619], atol=1e-7)
    assert_allclose(se, [0.9735778, 0.3264548], atol=1e-6)
    assert_allclose(fit.loglike, -18.4863118, atol=1e-7)


def draw(seed, k=20):
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(k), rng.normal(size=k)])
    Z = np.column_stack([np.ones(k), rng.normal(size=k), np.arange(k) % 2])
    v = rng.uniform(0.05, 0.5, k)
    y = 5.0 + rng.normal(0.0, np.sqrt(v + np.exp(-1.0 + 0.7 * Z[:, 1])))
    return y, v, X, Z


@pytest.mark.parametrize("reml", [True, False])
def test_textbook(reml):
    y, v, X, Z = draw(1)
    k, p = X.shape
    built = build(y, v, X, Z)
    alpha = np.array([-0.7, 0.4, 0.3])
    tau2 = built.tau2(alpha)
    W = np.diag(1.0 / (v + tau2))
    XWX = X.T @ W @ X
    P = W - W @ X @ np.linalg.solve(XWX, X.T @ W)
    value = -0.5 * (k * np.log(2 * np.pi) - np.linalg.slogdet(W)[1] + y @ P @ y)
    if reml:
        value += 0.5 * p * np.log(2 * np.pi)
        value += 0.5 * (np.linalg.slogdet(X.T @ X)[1] - np.linalg.slogdet(XWX)[1])
    point = built.point(alpha, reml)
    assert_allclose(point.heights.value, value, rtol=1e-12)
    assert_allclose(built.loglike(alpha, reml), value, rtol=1e-12)
    M = P if reml else W
    S = [np.diag(tau2 * z) for z in built.Z]
    expected = [[0.5 * np.trace(M @ a @ M @ b) for a in S] for b in S]
    assert_allclose(point.heights.expected, expected, rtol=1e-10)
    h = 1e-5 * np.eye(3)
    up = [built.point(alpha + step, reml) for step in h]
    down = [built.point(alpha - step, reml) for step in h]
    slope = [(a.heights.value - b.heights.value) / 2e-5 for a, b in zip(up, down, strict=True)]
    bend = [(a.heights.gradient - b.heights.gradient) / 2e-5 for a, b in zip(up, down, strict=True)]
    assert_allclose(point.heights.gradient, slope, rtol=1e-6, atol=1e-8)
    assert_allclose(point.heights.observed, -np.array(bend), rtol=1e-6, atol=1e-7)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_a_constant_scale_is_the_univariate_model(seed, reml):
    y, v, X, _ = draw(seed)
    fit = maximize_scale(build(y, v, X, np.ones((len(y), 1))), reml)
    best = Studies.build(y, v, design_basis(X)).maximize(reml)
    tau2 = float(best.tau2[0])
    if tau2 > 1e-6:
        assert_allclose(np.exp(fit.alpha[0]), tau2, rtol=1e-8)
        assert_allclose(fit.tau2, tau2, rtol=1e-8)
    else:
        assert fit.boundary
        assert fit.tau2.max() < 1e-6


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from([1e-6, 40.0, 1e7]))
def test_order_shift_and_scale(seed, reml, factor):
    y, v, X, Z = draw(seed)
    order = np.random.default_rng(seed).permutation(len(y))
    one = maximize_scale(build(y, v, X, Z), reml)
    two = maximize_scale(
        build(factor * (y[order] + 3.0), factor**2 * v[order], X[order], Z[order]), reml
    )
    assert_allclose(one.params + np.array([3.0, 0.0]), two.params / factor, rtol=1e-6)
    if not one.boundary:
        shift = np.array([2.0 * np.log(factor), 0.0, 0.0])
        assert_allclose(one.alpha + shift, two.alpha, rtol=1e-6, atol=1e-7)
        assert_allclose(one.cov_alpha, two.cov_alpha, rtol=1e-5, atol=1e-8)
