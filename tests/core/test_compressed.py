"""One data set of very many studies: its compression, and the basis of a tall design."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from metareg_sm import MetaReg
from metareg_sm.core import basis
from metareg_sm.core.basis import design_basis, tall_inverse
from metareg_sm.core.likelihood import choose
from metareg_sm.core.likelihood.choose import compressible
from metareg_sm.core.likelihood.compressed import CompressedProfile
from metareg_sm.core.likelihood.direct import DirectProfile
from metareg_sm.core.studies import Studies


def problem(k, p, ratio, seed=0, level=0.0):
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(k), rng.normal(3.0, 1.0, size=(k, max(p - 1, 0)))])[:, :p]
    v = np.exp(rng.uniform(0.0, np.log(ratio), k)) * 0.02
    y = level + X.sum(1) + rng.normal(size=k) * np.sqrt(v + 0.1)
    return y, v, X


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize(
    ("k", "p", "ratio"),
    [(7_001, 3, 25.0), (2_000, 1, 1e4), (2_048, 5, 1.0), (5, 2, 3.0), (3_000, 0, 40.0)],
)
def test_sums_over_nodes_are_those_over_studies(k, p, ratio, reml):
    y, v, X = problem(k, p, ratio)
    studies = Studies.build(y, v, design_basis(X))
    direct = DirectProfile(studies.resid, v, studies.Z, reml)
    compressed = CompressedProfile.build(studies.resid, v, studies.Z, reml)
    for t in np.concatenate([[0.0], np.geomspace(1e-4, 1e4, 30)]):
        for name, one in compressed.derivatives(t)._asdict().items():
            other = getattr(direct.derivatives(t), name)
            assert_allclose(one, other, rtol=2e-12, err_msg=f"{name} at {t}")
        assert_allclose(compressed.rss(t), direct.rss(t), rtol=1e-12)
        assert_allclose(compressed.loglike(t), direct.loglike(t), rtol=1e-12)
        cross, coefs = compressed.solve(t)
        solution = direct.solve(t)
        inverse = np.linalg.inv(cross)
        atol = 1e-11 * np.abs(inverse).max(initial=0.0)
        assert_allclose(inverse, solution.inverse, rtol=1e-11, atol=atol)
        size = np.abs(studies.resid).max()
        assert_allclose(coefs, solution.coefs, rtol=1e-10, atol=1e-12 * size * np.sqrt(k))
    for one, other in zip(compressed.limit(), direct.limit(), strict=True):
        assert_allclose(one, other, rtol=1e-12)


def test_arrays_of_tau2():
    y, v, X = problem(1_000, 2, 9.0)
    studies = Studies.build(y, v, design_basis(X))
    profile = CompressedProfile.build(studies.resid, v, studies.Z, True)
    t = np.linspace(0.0, 1.0, 6).reshape(2, 3)
    slopes = profile.derivatives(t)
    assert slopes.score.shape == profile.loglike(t).shape == (2, 3)
    assert_allclose(slopes.score[1, 2], profile.derivatives(t[1, 2]).score, rtol=1e-12)


@pytest.mark.parametrize("tau2", ["reml", "ml", "dl", "pm", "he", "sj"])
def test_fits_are_those_of_the_studies_themselves(tau2, monkeypatch):
    y, v, X = problem(6_000, 3, 25.0, level=50.0)
    fits = []
    for limit in (choose.COMPRESSED_FROM, 10**9):
        monkeypatch.setattr(choose, "COMPRESSED_FROM", limit)
        model = MetaReg(y, X, vi=v)
        assert compressible(model.studies) == (limit < 10**9)
        fits.append(model.fit(tau2=tau2))
        # what is computed later comes from the same profile
        fits[-1].summary()
    one, other = fits
    assert_allclose(one.tau2, other.tau2, rtol=1e-9)
    for name in ("params", "bse", "pvalues", "resid"):
        assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-9, atol=1e-12)
    for name in ("llf", "tau2_se"):
        assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-9)
    for name in ("i2", "h2", "r2"):
        first, second = one.heterogeneity, other.heterogeneity
        assert_allclose(getattr(first, name), getattr(second, name), rtol=1e-9)
    for cov_type in ("nonrobust", "HC1", "HC3"):
        robust = [m.model.fit(tau2=tau2, cov_type=cov_type).bse for m in fits]
        assert_allclose(*robust, rtol=1e-9)


@pytest.mark.parametrize("change", ["zero", "wide", "few"])
def test_what_is_not_compressed(change):
    y, v, X = problem(4_999 if change == "few" else 5_000, 2, 25.0)
    if change == "zero":
        v[3] = 0.0
    if change == "wide":
        v[3] = 1e5
    assert not compressible(Studies.build(y, v, design_basis(X)))


@pytest.mark.parametrize("spread", [1.0, 1e-2])
def test_basis_of_a_tall_design(spread, monkeypatch):
    rng = np.random.default_rng(3)
    X = np.column_stack([np.ones(500), rng.normal(7.0, spread, size=(500, 2))])
    known = design_basis(X)
    monkeypatch.setattr(basis, "TALL", 500)
    found = design_basis(X)
    assert found.complement is None
    assert found.redundant == ()
    assert_allclose(found.Z.T @ found.Z, np.eye(3), atol=1e-13)
    assert_allclose(found.Z, X @ found.to_params, rtol=1e-9, atol=1e-12)
    assert_allclose(found.Z @ found.Z.T, known.Z @ known.Z.T, atol=1e-11)


@pytest.mark.parametrize("kind", ["redundant", "nearly", "zero", "units"])
def test_hard_tall_designs(kind, monkeypatch):
    rng = np.random.default_rng(4)
    X = np.column_stack([np.ones(300), rng.normal(size=(300, 2))])
    if kind == "redundant":
        X[:, 2] = X[:, 0] - 2.0 * X[:, 1]
    elif kind == "nearly":
        X[:, 2] = X[:, 1] + 1e-7 * X[:, 2]
    elif kind == "zero":
        X[:, 2] = 0.0
    else:
        X[:, 2] *= 1e9
    monkeypatch.setattr(basis, "TALL", 300)
    assert (tall_inverse(X) is None) == (kind != "units")
    found = design_basis(X)
    assert found.redundant == ((2,) if kind in ("redundant", "zero") else ())
    assert_allclose(found.Z.T @ found.Z, np.eye(found.rank), atol=1e-12)


def test_the_caller_keeps_the_order_of_the_array(monkeypatch):
    y, v, X = problem(6_000, 2, 4.0)
    monkeypatch.setattr("metareg_sm.models.base.TALL", 5_000)
    before = X.copy()
    model = MetaReg(y, X, vi=v)
    assert model.exog.flags.f_contiguous
    assert X.flags.c_contiguous
    assert_array_equal(X, before)
    assert_array_equal(model.exog, X)
