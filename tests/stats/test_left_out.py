"""Data sets that lack one study each, from sums that all of them share."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from metareg_sm import MetaReg
from metareg_sm.core.likelihood import DirectProfile
from metareg_sm.core.tau2 import ESTIMATORS
from metareg_sm.postestimation.resampling import refit_of
from metareg_sm.stats import refits
from metareg_sm.stats.left_out import LeftOut
from metareg_sm.stats.left_out_many import MANY, LeftOutMany
from metareg_sm.stats.refits import refit_deletions, refit_selections, without_groups

ALL = sorted({entry.name for entry in ESTIMATORS.values()})
# so many studies that nodes stand for them in each band of variances
K = 450
KINDS = ("plain", "constant", "outlier", "precise", "year", "heavy")


def awkward(kind, ratio, tau2, seed=5, k=K):
    rng = np.random.default_rng(seed)
    v = 0.02 * np.exp(rng.uniform(0.0, np.log(ratio), k))
    x, e = rng.normal(size=k), rng.normal(size=k)
    X = np.column_stack([np.ones(k), x])
    if kind == "constant":
        X = np.ones((k, 1))
    elif kind == "year":
        X = np.column_stack([np.ones(k), 1950.0 + 10.0 * x, x**2])
    elif kind == "precise":
        v[3], v[4] = v.min() / 1e4, 2.0 * v.min()
    elif kind == "heavy":
        X[:, 1], e = rng.standard_t(1.5, k), rng.standard_t(2.0, k)
    y = 0.2 * X[:, -1] + e * np.sqrt(v + tau2)
    if kind == "outlier":
        y[7] += 300.0 * np.sqrt(tau2 + np.median(v))
    return y, v, X


def both(y, v, X, tau2, **options):
    """Fits from shared sums, which kept their digits, those with the others, fits one by one."""
    res = MetaReg(y, X, vi=v).fit(tau2=tau2, **options)._results
    refit, k = refit_of(res, same_studies=True), len(y)
    resid, Z = np.asarray(res.resid), res.table.basis.Z
    # the most precise, those that matter most, and some that are neither
    leverage = (Z * Z).sum(1)
    some = np.unique([*range(9), *np.argsort(v)[:9], *np.argsort(-leverage)[:9]])
    found, accurate = refits._by_nodes(y, v, resid, refit, res.tau2, np.arange(k))
    at = np.cumsum(accurate) - 1
    lack = without_groups(np.arange(k))
    known = refit_selections(y, v, resid, refit, len(some), lambda rows: lack(some[rows]))
    whole = refit_deletions(y, v, resid, refit, res.tau2, some)
    kept = accurate[some]
    return (
        refits.some(found, at[some[kept]]),
        refits.some(known, kept),
        accurate,
        whole,
        known,
        refit.basis.to_params,
    )


def agree(found, known, to_params, least):
    for name, a, b in (
        ("change", found.change, known.change),
        ("se", found.standard_errors(to_params), known.standard_errors(to_params)),
        ("scale", found.scale[:, None], known.scale[:, None]),
        ("q", found.q[:, None], known.q[:, None]),
        ("i2", found.i2[:, None], known.i2[:, None]),
    ):
        size = np.abs(b).max(0)
        assert_allclose(a, b, rtol=1e-9, atol=1e-9 * size.max(), err_msg=name)
    # an estimate next to 0 is the small difference of what is large beside it
    assert_allclose(found.tau2, known.tau2, rtol=1e-9, atol=1e-12 * least)


@pytest.mark.parametrize("ratio", [1.0, 30.0, 1e4, 1e6, 1e8])
@pytest.mark.parametrize("tau2", [*ALL, 0.0, 0.3])
def test_every_estimator_at_every_ratio_of_variances(tau2, ratio):
    for kind in KINDS:
        for heterogeneity in (0.0, 0.1):
            y, v, X = awkward(kind, ratio, heterogeneity)
            found, known, accurate, whole, every, to_params = both(y, v, X, tau2)
            agree(found, known, to_params, v.min())
            agree(whole, every, to_params, v.min())
            # what is fitted by itself costs a pass through all studies: pivots, and the dominant
            assert (~accurate).sum() <= 8


def test_weights_of_genq():
    y, v, X = awkward("plain", 1e4, 0.1)
    a = np.random.default_rng(1).uniform(0.5, 2.0, K)
    found, known, _, _, _, to_params = both(y, v, X, "genq", weights=a)
    agree(found, known, to_params, v.min())


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(MANY, 350),
    st.sampled_from([1.0, 100.0, 1e5, 1e8]),
    st.sampled_from([0.0, 0.01, 10.0]),
    st.sampled_from(KINDS),
    st.sampled_from(["reml", "ml", "pm", "dl", "he", "sj", "dlit"]),
)
def test_any_data(seed, k, ratio, heterogeneity, kind, tau2):
    y, v, X = awkward(kind, ratio, heterogeneity, seed, k)
    _, _, _, whole, every, to_params = both(y, v, X, tau2)
    agree(whole, every, to_params, v.min())


def test_single_deletions_of_a_fit_are_fits_of_its_own():
    y, v, X = awkward("year", 1e6, 0.1)
    for tau2 in ALL:
        left = MetaReg(y, X, vi=v).fit(tau2=tau2).get_influence()
        for i in (0, 7, int(np.argmin(v)), K - 1):
            rows = np.arange(K) != i
            own = MetaReg(y[rows], X[rows], vi=v[rows]).fit(tau2=tau2)
            assert_allclose(left.tau2_deleted[i], own.tau2, rtol=1e-9)
            assert_allclose(left.params_not_obsi[i], own.params, rtol=1e-9)
            assert_allclose(left.bse_not_obsi[i], own.bse, rtol=1e-8)
            assert_allclose(left.q_deleted[i], own.heterogeneity.q, rtol=1e-9)
            assert_allclose(left.i2_deleted[i], own.heterogeneity.i2, rtol=1e-9)


def test_variance_of_zero_among_many_studies():
    y, v, X = awkward("plain", 30.0, 0.1, k=MANY)
    v[5] = 0.0
    left = MetaReg(y, X, vi=v).fit().get_influence()
    rows = np.arange(MANY) != 9
    own = MetaReg(y[rows], X[rows], vi=v[rows]).fit()
    assert_allclose(left.tau2_deleted[9], own.tau2, rtol=1e-9)
    assert_allclose(left.params_not_obsi[9], own.params, rtol=1e-8)


def test_only_study_that_tells_a_coefficient_among_many():
    y, v, X = awkward("plain", 1e5, 0.1, k=MANY)
    X = np.column_stack([X, np.arange(MANY) == 11])
    for tau2 in ("reml", "pm", "he"):
        left = MetaReg(y, X, vi=v).fit(tau2=tau2).get_influence()
        assert "redundant" in left.reason[11]
        assert np.isnan(left.params_not_obsi[11]).all()
        assert (np.delete(left.reason, 11) == "").all()
        assert np.isfinite(np.delete(left.cooks_distance[0], 11)).all()


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("k", [20, 300])
def test_likelihoods(k, reml):
    rng = np.random.default_rng(6)
    Z = np.linalg.qr(np.column_stack([np.ones(k), rng.normal(size=k)]))[0]
    v, y, lacks = rng.uniform(0.1, 0.9, k), rng.normal(size=k), np.array([3, 0, 11])
    t = np.array([0.0, 0.2, 3.0])
    if k < MANY:
        found = LeftOut.build(y, v, Z, lacks, reml)
    else:
        found = LeftOutMany.build(y, y, v, Z, lacks, 0.2, reml)
    known = DirectProfile(y, v, Z, reml, (1.0 - np.eye(k))[lacks])
    assert_allclose(found.loglike(t), known.loglike(t), rtol=1e-11)
    assert_allclose(found.rss(t), known.rss(t), rtol=1e-11)
    assert_allclose(found.derivatives(t), known.derivatives(t), rtol=1e-10)
    assert_allclose(found.limit().rss, known.limit().rss, rtol=1e-11)
    assert_allclose(found.limit().variance, known.limit().variance, rtol=1e-11)
    assert_allclose(found.limit().mean, known.limit().mean, rtol=1e-11)
    rows = np.array([2, 2, 0])
    assert_allclose(found.loglike(t, rows), known.loglike(t, rows), rtol=1e-11)


def test_pivots_change_with_tau2_where_they_must():
    # two precise studies that hardly differ in their moderator tell its slope while tau2 is small
    y, v, X = awkward("plain", 1e4, 0.1)
    v[3], v[4], X[4, 1] = 1e-10, 1e-10, X[3, 1] + 1e-3
    Z = MetaReg(y, X, vi=v).fit()._results.table.basis.Z
    lacks = np.array([1, 2, 5, 8])
    left = LeftOutMany.build(y, y, v, Z, lacks, 0.1, True)
    t = np.array([0.0, 1e-2, 1e2, 1e6])
    far = DirectProfile(y, v, Z, True, (1.0 - np.eye(K))[lacks])
    assert_allclose(left.loglike(t)[2:], far.loglike(t)[2:], rtol=1e-10)
    assert_allclose(left.rss(t)[2:], far.rss(t)[2:], rtol=1e-10)
    assert len(left.kept) > 2
    assert not left.lost.any()
    for tau2 in ALL:
        found, known, accurate, whole, every, to_params = both(y, v, X, tau2)
        agree(found, known, to_params, v.min())
        agree(whole, every, to_params, v.min())
        assert (~accurate).sum() <= 12
