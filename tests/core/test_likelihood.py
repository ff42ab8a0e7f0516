"""The profile likelihood, its derivatives, and the two ways to evaluate it."""

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from scipy.stats import multivariate_normal, norm
from statsmodels.tools.numdiff import approx_fprime

from metareg_sm.core.basis import design_basis
from metareg_sm.core.likelihood import DirectProfile, SpectralProfile

from .._likelihood import hessian, information, loglike, score

TAU2 = (0.0, 1e-6, 0.03, 0.4, 7.0, 1e4)


def problem(seed, k=11, p=3, shape=()):
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(k), rng.normal(size=(k, p - 1))])[:, :p]
    v = 10.0 ** rng.uniform(-2, 1, size=(*shape, k))
    return rng.normal(0.0, np.sqrt(v + 0.5)), v, X


def dense(t, y, v, X, reml):
    """The formulas of the textbook with k x k matrices and determinants."""
    k, p = X.shape
    W = np.diag(1.0 / (v + t))
    P = W - W @ X @ np.linalg.inv(X.T @ W @ X) @ X.T @ W
    rss = y @ P @ y
    value = -0.5 * (k * np.log(2 * np.pi) + np.log(v + t).sum() + rss)
    if reml:
        value += 0.5 * p * np.log(2 * np.pi)
        value += 0.5 * np.log(np.linalg.det(X.T @ X) / np.linalg.det(X.T @ W @ X))
    M = P if reml else W
    return {
        "loglike": value,
        "score": 0.5 * (y @ P @ P @ y - np.trace(M)),
        "hessian": 0.5 * np.trace(M @ M) - y @ P @ P @ P @ y,
        "information": 0.5 * np.trace(M @ M),
    }


FUNCTIONS = {"loglike": loglike, "score": score, "hessian": hessian, "information": information}


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("t", TAU2)
@pytest.mark.parametrize("p", [1, 3])
def test_textbook_formulas(t, p, reml):
    y, v, X = problem(1, p=p)
    known = dense(t, y, v, X, reml)
    for name, function in FUNCTIONS.items():
        assert_allclose(function(t, y, v, X, reml), known[name], rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("t", [0.02, 0.4, 3.0])
def test_derivatives_are_numerical_derivatives(t, reml):
    y, v, X = problem(2)
    at = np.array([t])
    first = approx_fprime(at, lambda s: float(loglike(s[0], y, v, X, reml)), centered=True)
    second = approx_fprime(at, lambda s: float(score(s[0], y, v, X, reml)), centered=True)
    assert_allclose(score(t, y, v, X, reml), first, rtol=1e-6)
    assert_allclose(hessian(t, y, v, X, reml), second, rtol=1e-6)


def test_ml_is_the_normal_density():
    y, v, X = problem(3)
    t = 0.3
    fit = sm.WLS(y, X, weights=1.0 / (v + t)).fit()
    known = norm.logpdf(y, fit.fittedvalues, np.sqrt(v + t)).sum()
    assert_allclose(loglike(t, y, v, X, reml=False), known, rtol=1e-12)


def test_reml_is_the_density_of_error_contrasts():
    y, v, X = problem(4)
    t = 0.3
    L = np.linalg.svd(X)[0][:, 3:]
    known = multivariate_normal(np.zeros(8), L.T @ np.diag(v + t) @ L).logpdf(L.T @ y)
    assert_allclose(loglike(t, y, v, X), known, rtol=1e-11)


def test_expected_information_is_the_mean_of_the_observed():
    y, v, X = problem(5, k=8, p=2)
    rng = np.random.default_rng(5)
    t = 0.7
    draws = rng.normal(0.0, np.sqrt(v + t), size=(40_000, 8))
    for reml in (True, False):
        observed = -hessian(t, draws, v, X, reml)
        # E y'PPPy is tr(PP) for REML; for ML too, so its bias is the difference of the traces
        expected = information(t, y, v, X, True)
        bias = 0.0 if reml else expected - information(t, y, v, X, False)
        error = 5.0 * observed.std() / np.sqrt(len(draws))
        assert abs(observed.mean() - expected - bias) < error


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("shape", [(), (4,)])
def test_spectral_profile_equals_direct(reml, shape):
    y, v, X = problem(6, shape=shape)
    basis = design_basis(X)
    direct = DirectProfile(y, v, basis.Z, reml)
    spectral = SpectralProfile.build(y, v, basis.complement, reml)
    for value in TAU2:
        t = np.full(shape, value)
        assert_allclose(spectral.loglike(t), direct.loglike(t), rtol=1e-11)
        assert_allclose(spectral.rss(t), direct.rss(t), rtol=1e-10)
        one, other = spectral.derivatives(t), direct.derivatives(t)
        for name in ("ypp", "yppp", "trace", "trace2"):
            assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-8, err_msg=name)


@pytest.mark.parametrize("reml", [True, False])
def test_outcomes_share_one_decomposition(reml):
    y, v, X = problem(7, shape=(5,))
    basis = design_basis(X)
    spectral = SpectralProfile.build(y, v[0], basis.complement, reml)
    assert spectral.d.ndim == 1
    t = np.linspace(0.0, 2.0, 5)
    known = [loglike(t[i], y[i], v[0], X, reml) for i in range(5)]
    assert_allclose(spectral.loglike(t), known, rtol=1e-11)


@pytest.mark.parametrize("kind", ["direct", "spectral"])
def test_rows_pick_data_sets(kind):
    y, v, X = problem(8, shape=(6,))
    basis = design_basis(X)
    if kind == "direct":
        profile = DirectProfile(y, v, basis.Z, True)
    else:
        profile = SpectralProfile.build(y, v, basis.complement, True)
    rows = np.array([5, 0, 0, 3])
    t = np.array([0.1, 0.2, 0.9, 0.0])
    known = [float(loglike(s, y[i], v[i], X)) for s, i in zip(t, rows, strict=True)]
    assert_allclose(profile.loglike(t, rows), known, rtol=1e-10)
    slopes = profile.derivatives(t, rows)
    assert_allclose(
        slopes.score, [float(score(s, y[i], v[i], X)) for s, i in zip(t, rows, strict=True)]
    )


def test_batches_and_grids():
    y, v, X = problem(9, shape=(3,))
    t = np.array([0.1, 0.2, 0.3])
    for function in FUNCTIONS.values():
        known = [function(t[i], y[i], v[i], X) for i in range(3)]
        assert_allclose(function(t, y, v, X), known, rtol=1e-11)
        assert_allclose(function(t, y[0], v[0], X)[1], function(0.2, y[0], v[0], X), rtol=1e-11)


def test_rank_deficient_design_is_its_column_space():
    y, v, X = problem(10)
    twice = np.column_stack([X, X[:, 1] - X[:, 2]])
    for reml in (True, False):
        assert_allclose(loglike(0.2, y, v, twice, reml), loglike(0.2, y, v, X, reml), rtol=1e-11)


def test_four_slopes_fall():
    y, v, X = problem(11)
    t = np.geomspace(1e-4, 1e4, 200)
    for reml in (True, False):
        slopes = DirectProfile(y, v, design_basis(X).Z, reml).derivatives(t)
        for name in ("ypp", "yppp", "trace", "trace2"):
            assert (np.diff(getattr(slopes, name)) < 0.0).all()
