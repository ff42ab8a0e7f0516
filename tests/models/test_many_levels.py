"""A factor of very many levels: memory of the order of the design and of one matrix."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from metareg_sm import MetaReg
from metareg_sm.core.basis import design_basis
from metareg_sm.core.gram import (
    Gram,
    congruence,
    inverse,
    logdet,
    packed,
    trace_of_four,
    unpacked,
)
from metareg_sm.core.likelihood import choose
from metareg_sm.exceptions import MemoryLimitError

K, LEVELS = 600, 200


def studies(k=K, levels=LEVELS, spread=5.0, seed=1):
    """Studies of a factor, and of nothing else."""
    rng = np.random.default_rng(seed)
    f = np.arange(k) % levels
    v = 0.01 * np.exp(rng.uniform(0.0, np.log(spread), k))
    y = rng.normal(0.0, 0.3, levels)[f] + rng.normal(0.0, np.sqrt(v + 0.05))
    return pd.DataFrame({"y": y, "vi": v, "f": [f"level {i:04d}" for i in f]})


@pytest.fixture(scope="module")
def wide():
    return MetaReg.from_formula("y ~ C(f)", studies(), vi="vi").fit()


def peak(question):
    tracemalloc.start()
    try:
        question()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_is_that_of_a_few_designs(wide):
    design, matrix = 8 * K * LEVELS, 8 * LEVELS**2
    model = wide.model
    # a grid of 25 values of tau2 is looked at together; products of all pairs of columns would be
    # 200 designs
    assert peak(model.fit) < 4 * design + 150 * matrix
    for question in (
        wide.summary,
        wide.conf_int,
        wide.conf_int_tau2,
        lambda: wide.conf_int_tau2(method="profile-likelihood"),
        lambda: wide.heterogeneity,
        lambda: wide.get_prediction().summary_frame(),
        lambda: wide.random_effects,
        lambda: model.fit(tau2="dl"),
        lambda: model.fit(tau2="pm"),
    ):
        assert peak(question) < 4 * design + 200 * matrix


def test_numbers_are_those_of_the_levels_apart(wide):
    # with tau2 known, each level is a weighted mean of its own
    frame = studies()
    w = 1.0 / (frame["vi"] + wide.tau2)
    means = (w * frame["y"]).groupby(frame["f"]).sum() / w.groupby(frame["f"]).sum()
    fitted = wide.get_prediction({"f": list(means.index)}).predicted_mean
    assert_allclose(fitted, means, rtol=1e-10, atol=1e-12)


def test_very_unequal_variances_too(monkeypatch):
    frame = studies(240, 80, spread=1e6)
    model = MetaReg.from_formula("y ~ C(f)", frame, vi="vi")
    known = model.fit()
    monkeypatch.setattr(choose, "PIVOTED_TO", 1000)
    assert MetaReg.from_formula("y ~ C(f)", frame, vi="vi").fit().tau2 == pytest.approx(
        known.tau2, rel=1e-10
    )
    monkeypatch.setattr(choose, "DECOMPOSED_TO", 100)
    with pytest.raises(MemoryLimitError, match=r"80 coefficients for 240 studies"):
        MetaReg.from_formula("y ~ C(f)", frame, vi="vi").fit()


def test_deletions_and_resamples_are_refused_before_memory_is_full():
    res = MetaReg.from_formula("y ~ C(f)", studies(2500, 500), vi="vi").fit(tau2=0.05)
    with pytest.raises(MemoryLimitError, match=r"2500 fits .* 500 coefficients need 5 GB"):
        res.get_influence()
    with pytest.raises(MemoryLimitError, match="9999 resamples of a model with 500"):
        res.bootstrap(9999, rng=1)


@pytest.mark.parametrize("per_set", [False, True])
def test_products_that_are_not_kept(monkeypatch, per_set):
    rng = np.random.default_rng(3)
    Z = rng.normal(size=(7, 30, 4) if per_set else (30, 4))
    kept = Gram(Z)
    monkeypatch.setattr("metareg_sm.core.gram._KEPT", 10)
    monkeypatch.setattr("metareg_sm.core.gram._BLOCK", 500)
    fresh = Gram(Z)
    assert fresh.products is None
    for shape in [(7, 30), (2, 7, 30)] if per_set else [(30,), (11, 30), (2, 5, 30)]:
        a = rng.uniform(0.5, 2.0, size=shape)
        for one, other in zip(fresh.quadratic(a), kept.quadratic(a), strict=True):
            assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_matrices_of_many_coefficients():
    rng = np.random.default_rng(4)
    A = rng.normal(size=(40, 45, 3))
    M = np.einsum("ijn,kjn->ikn", A, A)
    known = np.moveaxis(np.linalg.inv(np.moveaxis(M, -1, 0)), 0, -1)
    assert_allclose(inverse(M), known, rtol=1e-9, atol=1e-11)
    assert_allclose(logdet(M), np.linalg.slogdet(np.moveaxis(M, -1, 0))[1], rtol=1e-12)
    four = np.einsum("ijn,jkn,kln,lin->n", M, known, M, M, optimize=True)
    assert_allclose(trace_of_four(M, known, M), four, rtol=1e-9)
    T = rng.normal(size=(3, 40))
    whole = np.einsum("pi,ijn,qj->pqn", T, M, T)
    assert_allclose(unpacked(congruence(T, M)), whole, rtol=1e-10, atol=1e-9)
    assert_allclose(unpacked(packed(M)), M, rtol=0.0, atol=0.0)
    bad = M.copy()
    bad[..., 1] = np.diag(np.r_[-1.0, np.ones(39)])
    assert np.isnan(inverse(bad)[..., 1]).all()
    assert np.isnan(logdet(bad)[1])
    assert_allclose(inverse(bad)[..., 0], known[..., 0], rtol=1e-9, atol=1e-11)


def test_a_wide_basis_is_orthonormal():
    X = np.random.default_rng(5).normal(size=(100, 60))
    basis = design_basis(X)
    assert_allclose(basis.Z.T @ basis.Z, np.eye(60), atol=1e-13)
    assert_allclose(X @ basis.to_params, basis.Z, atol=1e-11)
