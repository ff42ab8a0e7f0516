"""Q, I2, H2, R2, their decomposition, and the boundary test."""

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from scipy.stats import chi2

from metareg_sm import MetaReg
from metareg_sm.exceptions import VarianceError
from metareg_sm.stats.heterogeneity import boundary_lr_test, i2_h2, q_test, r2

FORMULAS = ("yi ~ 1", "yi ~ ablat", "yi ~ ablat + year + C(alloc)", "yi ~ ablat - 1")


def fit(data, formula="yi ~ ablat", **kwds):
    return MetaReg.from_formula(formula, data, vi="vi").fit(**kwds)


def q_statistic(y, v, X):
    r = y - sm.WLS(y, X, weights=1.0 / v).fit().fittedvalues if X is not None else y
    return (r**2 / v).sum()


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("tau2", ["reml", "dl", 0.3])
def test_statistics(bcg, formula, tau2):
    res = fit(bcg, formula, tau2=tau2)
    h = res.heterogeneity
    y, v, X = res.model.endog, res.model.vi, res.model.exog
    k, p = X.shape
    q = q_statistic(y, v, X)
    assert_allclose(h.q, q, rtol=1e-11)
    assert h.q_df == k - p
    assert_allclose(h.q_pvalue, chi2.sf(q, k - p), rtol=1e-9)
    assert_allclose(h.i2_q, max(0.0, (q - (k - p)) / q), rtol=1e-11)
    W = np.diag(1.0 / v)
    P = W - W @ X @ np.linalg.inv(X.T @ W @ X) @ X.T @ W
    s2 = (k - p) / np.trace(P)
    assert_allclose(h.i2, res.tau2 / (s2 + res.tau2), rtol=1e-11)
    assert_allclose(h.h2, res.tau2 / s2 + 1.0, rtol=1e-11)
    assert_allclose(h.tau2, res.tau2, rtol=1e-12)


def test_i2_of_dersimonian_laird_is_that_of_q(bcg):
    for formula in FORMULAS:
        h = fit(bcg, formula, tau2="dl").heterogeneity
        assert_allclose(h.i2, h.i2_q, rtol=1e-10)


@pytest.mark.parametrize("tau2", ["reml", "ml", "dl", "pm", "he", "genq"])
def test_r2_compares_the_same_estimator(bcg, tau2):
    h = fit(bcg, tau2=tau2).heterogeneity
    null = fit(bcg, "yi ~ 1", tau2=tau2)
    assert_allclose(h.tau2_null, null.tau2, rtol=1e-10)
    assert_allclose(h.r2, (null.tau2 - h.tau2) / null.tau2, rtol=1e-10)
    assert null.heterogeneity.r2 == 0.0
    assert_allclose(null.heterogeneity.tau2_null, null.tau2, rtol=1e-12)


def test_r2_of_genq_uses_its_weights(bcg):
    w = np.linspace(1.0, 2.0, 13)
    h = fit(bcg, tau2="genq", weights=w).heterogeneity
    assert_allclose(h.tau2_null, fit(bcg, "yi ~ 1", tau2="genq", weights=w).tau2, rtol=1e-10)


def test_r2_without_a_constant_is_about_a_mean_of_zero(bcg):
    h = fit(bcg, "yi ~ ablat - 1", tau2="he").heterogeneity
    assert_allclose(h.tau2_null, (bcg["yi"] ** 2).mean() - bcg["vi"].mean(), rtol=1e-10)


def test_r2_is_within_0_and_1():
    assert r2(np.array(2.0), np.array(1.0)) == 0.0
    assert r2(np.array(0.0), np.array(0.0)) == 0.0
    assert r2(np.array(0.0), np.array(3.0)) == 1.0
    assert_allclose(r2(np.array([1.0, 0.5]), np.array([4.0, 0.0])), [0.75, 0.0])


@pytest.mark.parametrize("formula", FORMULAS)
def test_decomposition_adds_up_exactly(bcg, formula):
    table = fit(bcg, formula).heterogeneity.decomposition
    assert list(table.index) == ["total", "model", "residual"]
    assert list(table.columns) == ["q", "df", "pvalue", "i2"]
    for column in ("q", "df", "i2"):
        total, model, residual = table[column]
        assert_allclose(total, model + residual, rtol=1e-12)


@pytest.mark.parametrize("seed", range(30))
def test_decomposition_adds_up_exactly_for_other_data(seed):
    rng = np.random.default_rng(seed)
    k = int(rng.integers(4, 30))
    v = rng.uniform(0.05, 3.0, k)
    X = np.column_stack([np.ones(k), rng.normal(size=(k, 2))])
    y = rng.normal(0.0, np.sqrt(v + rng.choice([0.0, 1.0])))
    table = MetaReg(y, X, vi=v).fit().heterogeneity.decomposition
    for column in ("q", "df", "i2"):
        total, model, residual = table[column]
        assert_allclose(total, model + residual, rtol=1e-12)
    null, full = q_statistic(y, v, X[:, :1]), q_statistic(y, v, X)
    assert_allclose(table["q"], [null, null - full, full], rtol=1e-9, atol=1e-12)
    i2_total = max(0.0, (null - (k - 1)) / null)
    i2_residual = max(0.0, (full - (k - 3)) / null)
    assert_allclose(table["i2"], [i2_total, i2_total - i2_residual, i2_residual], atol=1e-9)
    assert_allclose(table["pvalue"], chi2.sf(table["q"], table["df"]), rtol=1e-9)
    assert list(table["df"]) == [k - 1, 2, k - 3]


def test_decomposition_without_moderators(bcg):
    table = fit(bcg, "yi ~ 1").heterogeneity.decomposition
    assert table.loc["model", "q"] == 0.0
    assert table.loc["model", "pvalue"] == 1.0
    assert table.loc["model", "i2"] == 0.0


def test_studies_that_agree_exactly():
    model = MetaReg(np.full(5, 2.0), np.ones((5, 1)), vi=np.full(5, 0.1))
    # Knapp-Hartung's standard errors are made of residuals, of which there are none
    h = model.fit(cov_type="nonrobust").heterogeneity
    assert_allclose(h.q, 0.0, atol=1e-25)
    assert (h.i2, h.h2, h.i2_q, h.r2) == (0.0, 1.0, 0.0, 0.0)
    assert_allclose(h.q_pvalue, 1.0)


def test_undefined_with_a_zero_variance(bcg):
    bcg.loc[2, "vi"] = 0.0
    res = fit(bcg)
    with pytest.raises(VarianceError, match=r"Q, I2 and H2 are undefined.*study 2"):
        _ = res.heterogeneity
    assert "undefined: vi=0" in str(res.summary())


def test_small_functions():
    assert q_test(3.0, 0).pvalue == 1.0
    assert_allclose(q_test(3.0, 2).pvalue, np.exp(-1.5), rtol=1e-13)
    i2, h2 = i2_h2(np.array([0.0, 1.0, 3.0]), np.array(1.0))
    assert_allclose(i2, [0.0, 0.5, 0.75])
    assert_allclose(h2, [1.0, 2.0, 4.0])


def test_boundary_test():
    statistic, pvalue = boundary_lr_test(-3.0, -5.0)
    assert statistic == 4.0
    assert_allclose(pvalue, 0.5 * chi2.sf(4.0, 1), rtol=1e-12)
    assert boundary_lr_test(-3.0, -3.0) == (0.0, 1.0)
    # rounding does not make the statistic negative
    assert boundary_lr_test(-3.0, -3.0 + 1e-13) == (0.0, 1.0)
