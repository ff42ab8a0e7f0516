"""Small matrices for many data sets, and evaluations that share no memory."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from metareg_sm import fit_many
from metareg_sm.core.basis import design_basis
from metareg_sm.core.gram import (
    Gram,
    apply,
    diagonal_of,
    inverse,
    logdet,
    packed,
    pairs_of,
    studies_first,
    trace,
    trace_of_four,
    trace_product,
)
from metareg_sm.core.likelihood.direct import DirectProfile


def definite(r, shape, seed=0):
    """Positive definite matrices (r, r, ...), and the same as (..., r, r)."""
    A = np.random.default_rng(seed).normal(size=(*shape, r, r + 3))
    M = A @ np.swapaxes(A, -1, -2)
    return np.moveaxis(M, (-2, -1), (0, 1)).copy(), M


@pytest.mark.parametrize("shape", [(), (3,), (100,), (4, 20)])
@pytest.mark.parametrize("r", [1, 2, 3, 6])
def test_inverse_and_determinant(r, shape):
    M, known = definite(r, shape)
    before = M.copy()
    found = np.moveaxis(inverse(M), (0, 1), (-2, -1))
    assert_array_equal(M, before)
    size = np.abs(np.linalg.inv(known)).max()
    assert_allclose(found, np.linalg.inv(known), rtol=1e-9, atol=1e-11 * size)
    assert_allclose(logdet(M), np.linalg.slogdet(known)[1], rtol=1e-10, atol=1e-12)
    assert_array_equal(M, before)
    assert_allclose(inverse(M.copy(), overwrite=True), inverse(M), rtol=1e-12, atol=1e-13)


def test_no_coefficients():
    assert inverse(np.empty((0, 0, 5))).shape == (0, 0, 5)
    assert_array_equal(logdet(np.empty((0, 0, 5))), np.zeros(5))


@pytest.mark.parametrize("r", [2, 6])
@pytest.mark.parametrize("n", [5, 50])
def test_what_is_not_positive_definite_is_nan(n, r):
    M, _ = definite(r, (n,))
    known = inverse(M)
    bad = M.copy()
    bad[:, :, 3] *= -1.0
    bad[:, :, 1] = 0.0
    rest = np.delete(np.arange(n), [1, 3])
    assert np.isnan(inverse(bad)[..., [1, 3]]).all()
    assert np.isnan(logdet(bad)[[1, 3]]).all()
    assert_allclose(inverse(bad)[..., rest], known[..., rest], rtol=1e-9)
    assert_allclose(logdet(bad)[rest], logdet(M)[rest], rtol=1e-12, atol=1e-13)


def test_products():
    A, a = definite(3, (10,), 1)
    B, b = definite(3, (10,), 2)
    C, c = definite(3, (10,), 3)
    x = np.random.default_rng(4).normal(size=(3, 10))
    assert_allclose(apply(A, x), np.einsum("nij,jn->in", a, x))
    assert_allclose(trace(A), np.trace(a, axis1=1, axis2=2))
    assert_allclose(trace_product(A, B), np.trace(a @ b, axis1=1, axis2=2))
    assert_allclose(trace_of_four(A, B, C), np.trace(a @ b @ a @ c, axis1=1, axis2=2))
    T = np.random.default_rng(5).normal(size=(2, 3))
    elements = packed(A)
    assert [tuple(p) for p in pairs_of(2)] == [(0, 0), (1, 0), (1, 1)]
    assert_allclose(elements[1], A[1, 0])
    expected = np.einsum("pi,nij,pj->pn", T, a, T)
    assert_allclose(diagonal_of(T, elements), expected)


@pytest.mark.parametrize("own", [False, True])
def test_cross_products(own):
    rng = np.random.default_rng(6)
    n, k, r = 9, 5, 2
    Z = rng.normal(size=(n, k, r) if own else (k, r))
    a, coefs = rng.normal(size=(n, k)), rng.normal(size=(r, n))
    gram, full = Gram(Z), np.broadcast_to(Z, (n, k, r))
    M, total = gram.quadratic(a)
    assert_allclose(M, np.einsum("nki,nk,nkj->ijn", full, a, full))
    assert_allclose(total, a.sum(1))
    assert_allclose(gram.linear(a), np.einsum("nki,nk->in", full, a))
    assert_allclose(gram.combine(coefs), np.einsum("nki,in->nk", full, coefs))


def test_evaluations_do_not_share_what_they_return():
    rng = np.random.default_rng(7)
    X = np.column_stack([np.ones(8), rng.normal(size=8)])
    y, v = rng.normal(size=(30, 8)), rng.uniform(0.1, 1.0, (30, 8))
    profile = DirectProfile(y, v, design_basis(X).Z, True)
    t = np.full(30, 0.2)
    first = [profile.derivatives(t), profile.solve(t), profile.loglike(t), profile.limit()]
    kept = [[np.copy(x) for x in _arrays(a)] for a in first]
    profile.derivatives(np.full(30, 5.0))
    profile.loglike(np.full(30, 5.0))
    profile.limit()
    for answer, copies in zip(first, kept, strict=True):
        for now, before in zip(_arrays(answer), copies, strict=True):
            assert_array_equal(now, before)


def _arrays(answer):
    if isinstance(answer, np.ndarray):
        return [answer]
    names = getattr(answer, "_fields", None) or answer.__slots__
    return [getattr(answer, name) for name in names]


def test_studies_are_outermost_in_memory():
    assert studies_first((7, 3)).T.flags.c_contiguous
    assert studies_first((2, 3, 4)).shape == (2, 3, 4)


def test_threads_do_not_share_memory():
    rng = np.random.default_rng(8)
    X = np.column_stack([np.ones(12), rng.normal(size=12)])
    sets = [(rng.normal(size=(3000, 12)), rng.uniform(0.1, 1.0, (3000, 12))) for _ in range(8)]
    alone = [fit_many(y, X, v).params.copy() for y, v in sets]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda s: fit_many(s[0], X, s[1]).params, sets))
    for one, other in zip(alone, together, strict=True):
        assert_allclose(one, other, rtol=1e-12, atol=1e-13)
