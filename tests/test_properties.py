"""What must hold for every data set, whatever its numbers."""

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from metareg_sm import MetaReg
from metareg_sm.core.basis import design_basis
from metareg_sm.core.studies import Studies
from metareg_sm.core.tau2 import ESTIMATORS

from ._likelihood import loglike, score

NAMES = ("reml", "ml", "dl", "pm", "he", "sj", "hs", "hsk", "dlit", "pmm")
names = st.sampled_from(NAMES)
many = settings(max_examples=40, deadline=None, derandomize=True)


@st.composite
def datasets(draw, p_min=1):
    """Outcomes, variances and a design with a constant."""
    seed = draw(st.integers(0, 2**32 - 1))
    p = draw(st.integers(p_min, 4))
    k = draw(st.integers(p + 2, 25))
    decades = draw(st.sampled_from([0.0, 1.0, 3.0]))
    spread = draw(st.sampled_from([0.0, 0.1, 1.0, 10.0]))
    rng = np.random.default_rng(seed)
    v = 0.1 * 10.0 ** rng.uniform(-decades / 2, decades / 2, k)
    X = np.column_stack([np.ones(k), rng.normal(size=(k, p - 1))])
    y = X @ rng.normal(size=p) + rng.normal(0.0, np.sqrt(v + spread))
    return y, v, X


def fit(y, v, X, **kwds):
    return MetaReg(y, X, vi=v).fit(**kwds)


def close(found, known, scale=1.0):
    """Equal to rounding; `scale` is the size below which a tau2 is nothing."""
    assert_allclose(found, known, rtol=1e-7, atol=1e-9 * scale)


# --- invariance ------------------------------------------------------------------------------


@many
@given(datasets(), names, st.integers(0, 1000))
def test_order_of_studies(data, name, seed):
    y, v, X = data
    order = np.random.default_rng(seed).permutation(len(y))
    known, found = fit(y, v, X, tau2=name), fit(y[order], v[order], X[order], tau2=name)
    close(found.tau2, known.tau2, v.min())
    close(found.params, known.params)
    close(found.bse, known.bse)
    close(found.llf, known.llf)
    close(found.heterogeneity.i2, known.heterogeneity.i2)


@many
@given(datasets(), names, st.floats(-1e4, 1e4))
def test_shift_of_the_outcomes(data, name, shift):
    y, v, X = data
    known, found = fit(y, v, X, tau2=name), fit(y + shift, v, X, tau2=name)
    assert_allclose(found.tau2, known.tau2, rtol=1e-7, atol=1e-7 * v.min())
    assert_allclose(found.params[0] - shift, known.params[0], rtol=1e-6, atol=1e-7)
    assert_allclose(found.params[1:], known.params[1:], rtol=1e-6, atol=1e-7)
    assert_allclose(found.bse, known.bse, rtol=1e-6)
    assert_allclose(found.llf, known.llf, rtol=1e-7, atol=1e-6)


@many
@given(datasets(), names, st.sampled_from([-1e6, -1.0, 1e-6, 1e-3, 0.7, 1e5]))
def test_units_of_the_outcomes(data, name, c):
    y, v, X = data
    known, found = fit(y, v, X, tau2=name), fit(c * y, c**2 * v, X, tau2=name)
    close(found.tau2 / c**2, known.tau2, v.min())
    close(found.tau2_se / c**2, known.tau2_se)
    close(found.params / c, known.params)
    close(found.bse / abs(c), known.bse)
    close(found.pvalues, known.pvalues)
    h, g = found.heterogeneity, known.heterogeneity
    close([h.q, h.i2, h.h2, h.i2_q, h.r2], [g.q, g.i2, g.h2, g.i2_q, g.r2])
    n = len(y) - X.shape[1] if name == "reml" else len(y)
    close(found.llf + n * np.log(abs(c)), known.llf)


@many
@given(datasets(p_min=2), names, st.integers(0, 1000))
def test_affine_recoding_of_the_moderators(data, name, seed):
    y, v, X = data
    p = X.shape[1]
    rng = np.random.default_rng(seed)
    A = np.eye(p)
    A[1:, 1:] = np.linalg.qr(rng.normal(size=(p - 1, p - 1)))[0] * rng.uniform(0.2, 50.0, p - 1)
    A[0, 1:] = rng.normal(0.0, 5.0, p - 1)
    known, found = fit(y, v, X, tau2=name), fit(y, v, X @ A, tau2=name)
    close(found.tau2, known.tau2, v.min())
    close(found.fittedvalues, known.fittedvalues)
    close(A @ found.params, known.params)
    close(A @ found.cov_params() @ A.T, known.cov_params())
    close([found.fvalue, found.f_pvalue], [known.fvalue, known.f_pvalue])
    # |X'X| makes the restricted likelihood free of the coding
    close(found.llf, known.llf)


@many
@given(datasets(), st.sampled_from(["HC1", "HC3", "cluster"]), st.integers(0, 1000))
def test_robust_covariances_of_recoded_moderators(data, cov_type, seed):
    y, v, X = data
    p = X.shape[1]
    rng = np.random.default_rng(seed)
    kwds = {"cov_type": cov_type}
    if cov_type == "cluster":
        groups = rng.permutation(np.arange(len(y)) // 2)
        kwds["cov_kwds"] = {"groups": groups, "correction": "CR2"}
    A = np.linalg.qr(rng.normal(size=(p, p)))[0] * rng.uniform(0.2, 50.0, p)
    known, found = fit(y, v, X, **kwds), fit(y, v, X @ A, **kwds)
    close(A @ found.cov_params() @ A.T, known.cov_params())
    contrast = rng.normal(size=p)
    one, other = found.t_test(contrast @ A), known.t_test(contrast)
    assert_allclose(one.tvalue, other.tvalue, rtol=1e-6)
    assert_allclose(one.pvalue, other.pvalue, rtol=1e-6)


# --- special cases that statsmodels knows ------------------------------------------------------


@many
@given(datasets())
def test_common_effect_is_wls(data):
    y, v, X = data
    known = sm.WLS(y, X, weights=1.0 / v).fit(cov_type="fixed scale")
    res = fit(y, v, X, tau2=0.0, cov_type="nonrobust")
    assert_allclose(res.params, known.params, rtol=1e-8, atol=1e-10)
    assert_allclose(res.bse, known.bse, rtol=1e-8)
    assert_allclose(res.pvalues, known.pvalues, rtol=1e-6, atol=1e-300)
    assert_allclose(res.conf_int(), known.conf_int(), rtol=1e-8, atol=1e-10)
    assert_allclose(res.fittedvalues, known.fittedvalues, rtol=1e-8, atol=1e-10)


@many
@given(datasets(), names)
def test_knapp_hartung_is_the_estimated_scale_of_wls(data, name):
    y, v, X = data
    res = fit(y, v, X, tau2=name)
    known = sm.WLS(y, X, weights=1.0 / (v + res.tau2)).fit()
    assert_allclose(res.params, known.params, rtol=1e-8, atol=1e-10)
    assert_allclose(res.scale, known.scale, rtol=1e-8)
    assert_allclose(res.bse, known.bse, rtol=1e-8)
    assert_allclose(res.pvalues, known.pvalues, rtol=1e-6, atol=1e-300)
    assert_allclose(res.conf_int(), known.conf_int(), rtol=1e-7, atol=1e-10)
    if X.shape[1] > 1:
        assert_allclose(res.fvalue, known.fvalue, rtol=1e-7)
        assert_allclose(res.f_pvalue, known.f_pvalue, rtol=1e-6, atol=1e-300)


@many
@given(datasets(), names, st.floats(1e-3, 1e3))
def test_equal_variances_are_ols(data, name, variance):
    y, _, X = data
    res = fit(y, np.full(len(y), variance), X, tau2=name)
    known = sm.OLS(y, X).fit()
    assert_allclose(res.params, known.params, rtol=1e-8, atol=1e-10)
    assert_allclose(res.bse, known.bse, rtol=1e-8)
    assert_allclose(res.pvalues, known.pvalues, rtol=1e-6, atol=1e-300)
    for kind in ("HC0", "HC1", "HC2", "HC3"):
        robust = sm.OLS(y, X).fit(cov_type=kind).bse
        assert_allclose(fit(y, np.full(len(y), variance), X, cov_type=kind).bse, robust, rtol=1e-7)


# --- the optimum -------------------------------------------------------------------------------


@many
@given(datasets(), st.booleans())
def test_score_at_the_optimum(data, reml):
    y, v, X = data
    tau2 = fit(y, v, X, tau2="reml" if reml else "ml").tau2
    if tau2 == 0.0:
        assert score(0.0, y, v, X, reml) <= 0.0
    else:
        # the score is a difference; -score(0 * y) is the term that it is subtracted from
        size = -float(score(tau2, 0.0 * y, v, X, reml))
        assert abs(float(score(tau2, y, v, X, reml))) <= 1e-9 * size


@many
@given(datasets(), st.booleans())
def test_optimum_is_not_below_a_grid(data, reml):
    y, v, X = data
    res = fit(y, v, X, tau2="reml" if reml else "ml")
    top = 10.0 * (y.var() + v.max())
    grid = np.concatenate([[0.0], np.geomspace(1e-6 * v.min(), top, 400)])
    assert res.llf >= loglike(grid, y, v, X, reml).max() - 1e-10


# --- batches -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted({e.name for e in ESTIMATORS.values()}))
@settings(max_examples=15, deadline=None, derandomize=True)
@given(datasets(), st.integers(0, 1000))
def test_batches_are_single_fits(name, data, seed):
    y, v, X = data
    rng = np.random.default_rng(seed)
    ys = y + rng.normal(size=(6, len(y))) * rng.choice([0.0, 0.1, 2.0], size=(6, 1))
    vs = v * rng.uniform(0.5, 2.0, size=(6, len(y)))
    basis = design_basis(X)
    found = ESTIMATORS[name].solve(Studies.build(ys, vs, basis), None)
    for i in range(6):
        single = ESTIMATORS[name].solve(Studies.build(ys[i], vs[i], basis), None)
        assert_allclose(found.tau2[i], single.tau2, rtol=1e-9, atol=1e-12)
        assert_allclose(found.se[i], single.se, rtol=1e-9)
    if name in ("reml", "ml"):
        known = [fit(ys[i], vs[i], X, tau2=name).tau2 for i in range(6)]
        assert_allclose(found.tau2, known, rtol=1e-9, atol=1e-12)
