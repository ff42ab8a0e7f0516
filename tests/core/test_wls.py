"""Weighted least squares and the column space of a design."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from metareg_sm.core.basis import design_basis
from metareg_sm.core.wls import wls


def problem(seed, k=12, p=3, shape=()):
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(k), rng.normal(size=(k, p - 1))])
    return rng.normal(size=(*shape, k)), rng.uniform(0.1, 20.0, size=(*shape, k)), X


@pytest.mark.parametrize("seed", range(5))
def test_wls_is_the_textbook_formula(seed):
    y, w, X = problem(seed)
    fit = wls(y, w, X)
    inverse = np.linalg.inv(X.T @ np.diag(w) @ X)
    params = inverse @ X.T @ (w * y)
    resid = y - X @ params
    assert_allclose(fit.params, params, rtol=1e-12)
    assert_allclose(fit.cov_unscaled, inverse, rtol=1e-12)
    assert_allclose(fit.leverage, np.diag(X @ inverse @ X.T @ np.diag(w)), rtol=1e-12)
    assert_allclose(fit.wresid, np.sqrt(w) * resid, rtol=1e-10, atol=1e-13)
    assert_allclose(fit.rss, resid @ (w * resid), rtol=1e-12)
    assert_allclose(fit.leverage.sum(), 3.0, rtol=1e-13)


def test_batches_are_single_fits():
    y, w, X = problem(7, shape=(4, 2))
    fit = wls(y, w, X)
    assert fit.params.shape == (4, 2, 3)
    assert fit.cov_unscaled.shape == (4, 2, 3, 3)
    for index in np.ndindex(4, 2):
        single = wls(y[index], w[index], X)
        for name in ("params", "cov_unscaled", "wresid", "leverage", "rss"):
            assert_allclose(getattr(fit, name)[index], getattr(single, name), rtol=1e-12)


def test_outcomes_that_share_weights():
    y, w, X = problem(8, shape=(5,))
    fit = wls(y, w[0], X)
    for i in range(5):
        assert_allclose(fit.params[i], wls(y[i], w[0], X).params, rtol=1e-12)


def test_designs_of_their_own():
    rng = np.random.default_rng(9)
    X = rng.normal(size=(3, 10, 2))
    y, w = rng.normal(size=(3, 10)), rng.uniform(1.0, 2.0, size=(3, 10))
    fit = wls(y, w, X)
    for i in range(3):
        assert_allclose(fit.params[i], wls(y[i], w[i], X[i]).params, rtol=1e-12)


def test_a_large_common_level_is_not_squared():
    # the normal equations, or y'y - y'Hy, would lose 12 digits here
    y, w, X = problem(10)
    y = np.round(y * 1024.0) / 1024.0
    level = 2.0**20
    assert_allclose(wls(y + level, w, X).rss, wls(y, w, X).rss, rtol=1e-8)


@pytest.mark.parametrize("k", [12, 300])
def test_basis_spans_the_design(k):
    _, _, X = problem(11, k=k)
    basis = design_basis(X)
    assert basis.rank == 3
    assert basis.redundant == ()
    assert_allclose(basis.Z.T @ basis.Z, np.eye(3), atol=1e-13)
    assert_allclose(basis.Z @ (basis.Z.T @ X), X, rtol=1e-12, atol=1e-12)
    assert_allclose(X @ basis.to_params, basis.Z, atol=1e-12)


def test_complement():
    _, _, X = problem(12)
    basis = design_basis(X)
    L = basis.complement
    assert L.shape == (12, 9)
    assert_allclose(L.T @ L, np.eye(9), atol=1e-13)
    assert_allclose(L.T @ X, 0.0, atol=1e-13)


@pytest.mark.parametrize("k", [12, 300])
def test_redundant_columns_are_the_later_ones(k):
    rng = np.random.default_rng(13)
    a, b = rng.normal(size=(2, k))
    X = np.column_stack([np.ones(k), a, 2.0 * a - 3.0, b, np.zeros(k), a + 1e6 * b])
    basis = design_basis(X)
    assert basis.redundant == (2, 4, 5)
    assert basis.rank == 3
    assert_allclose(basis.Z.T @ basis.Z, np.eye(3), atol=1e-12)
    assert_allclose(basis.Z @ (basis.Z.T @ X), X, rtol=1e-9, atol=1e-8)
    # coefficients are the minimum-norm solution, as from the pseudo-inverse
    y = rng.normal(size=k)
    assert_allclose(basis.to_params @ (basis.Z.T @ y), np.linalg.pinv(X) @ y, rtol=1e-7, atol=1e-14)
    if basis.complement is not None:
        assert basis.complement.shape == (k, k - 3)
        assert_allclose(basis.complement.T @ basis.Z, 0.0, atol=1e-12)


def test_units_are_no_reason_for_redundancy():
    rng = np.random.default_rng(14)
    X = np.column_stack([np.ones(10), rng.normal(size=10), rng.normal(size=10)])
    for scale in ([1.0, 1e-12, 1e12], [1e15, 1.0, 1e-15]):
        basis = design_basis(X * scale)
        assert basis.redundant == ()
        assert_allclose((X * scale) @ basis.to_params, basis.Z, atol=1e-11)


def test_calendar_years_are_not_redundant():
    year = np.arange(1990.0, 2020.0)
    assert design_basis(np.column_stack([np.ones(30), year, year**2])).redundant == ()


def test_as_many_columns_as_rows():
    rng = np.random.default_rng(15)
    basis = design_basis(rng.normal(size=(4, 4)))
    assert basis.rank == 4
    assert basis.complement.shape == (4, 0)
