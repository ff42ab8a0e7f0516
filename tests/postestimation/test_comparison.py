"""Likelihood ratio tests, and what may be compared with what."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import chi2

from metareg_sm import MetaReg
from metareg_sm.exceptions import ComparisonError, VarianceError


def fit(data, formula="yi ~ ablat", tau2="ml", **kwds):
    return MetaReg.from_formula(formula, data, vi="vi").fit(tau2=tau2, **kwds)


# --- tau2 = 0 ---------------------------------------------------------------------------------


@pytest.mark.parametrize("tau2", ["reml", "ml"])
def test_boundary_test(bcg, tau2):
    res = fit(bcg, tau2=tau2)
    test = res.lr_test_tau2()
    known = 2.0 * (res.llf - res.model.loglike(0.0, tau2 == "reml"))
    assert_allclose(test.statistic, known, rtol=1e-11)
    assert_allclose(test.pvalue, 0.5 * chi2.sf(known, 1), rtol=1e-9)
    assert test.df == 1.0
    statistic, pvalue, df = test
    assert (statistic, pvalue, df) == (test.statistic, test.pvalue, test.df)


def test_boundary_test_of_other_estimators_is_by_ml(bcg):
    known = fit(bcg, tau2="ml").lr_test_tau2()
    for tau2 in ("dl", "pm", "he"):
        assert_allclose(fit(bcg, tau2=tau2).lr_test_tau2(), known, rtol=1e-10)


def test_boundary_test_on_the_boundary(bcg):
    bcg["yi"] = 0.05 * bcg["yi"]
    test = fit(bcg).lr_test_tau2()
    assert test == (0.0, 1.0, 1.0)


def test_boundary_test_refuses(bcg):
    with pytest.raises(ComparisonError, match="tau2 is held fixed"):
        fit(bcg, tau2=0.1).lr_test_tau2()
    bcg.loc[3, "vi"] = 0.0
    with pytest.raises(VarianceError, match="vi of row 3 is 0"):
        fit(bcg, tau2="reml").lr_test_tau2()


# --- nested models ----------------------------------------------------------------------------


def test_moderators(bcg):
    full, small = fit(bcg, "yi ~ ablat + C(alloc)"), fit(bcg, "yi ~ ablat")
    statistic, pvalue, df = full.compare_lr_test(small)
    assert_allclose(statistic, 2.0 * (full.llf - small.llf), rtol=1e-12)
    assert_allclose(pvalue, chi2.sf(statistic, 2), rtol=1e-10)
    assert df == 2.0


def test_moderators_in_another_coding(bcg):
    full = fit(bcg, "yi ~ ablat + year")
    known = full.compare_lr_test(fit(bcg, "yi ~ ablat"))
    recoded = fit(bcg, "yi ~ I(3 - 2 * ablat)")
    assert_allclose(full.compare_lr_test(recoded), known, rtol=1e-9)
    implicit = fit(bcg, "yi ~ C(alloc) - 1")
    assert_allclose(
        implicit.compare_lr_test(fit(bcg, "yi ~ 1")),
        fit(bcg, "yi ~ C(alloc)").compare_lr_test(fit(bcg, "yi ~ 1")),
        rtol=1e-9,
    )


def test_wrapped_or_not(bcg):
    full, small = fit(bcg, "yi ~ ablat + year"), fit(bcg)
    known = full.compare_lr_test(small)
    assert full._results.compare_lr_test(small._results) == known
    assert full.compare_lr_test(small._results) == known


def test_both_with_the_same_fixed_tau2(bcg):
    full, small = fit(bcg, "yi ~ ablat", tau2=0.0), fit(bcg, "yi ~ 1", tau2=0.0)
    statistic, pvalue, df = full.compare_lr_test(small)
    # the drop in Q
    h = full.heterogeneity.decomposition.loc["model"]
    assert_allclose(statistic, h["q"], rtol=1e-9)
    assert_allclose(pvalue, h["pvalue"], rtol=1e-8)
    assert df == 1.0


@pytest.mark.parametrize("tau2", ["ml", "reml"])
def test_against_the_common_effect(bcg, tau2):
    full, common = fit(bcg, tau2=tau2), fit(bcg, tau2=0.0)
    assert_allclose(full.compare_lr_test(common), full.lr_test_tau2(), rtol=1e-9)


def test_against_a_smaller_common_effect_model(bcg):
    full, common = fit(bcg, "yi ~ ablat"), fit(bcg, "yi ~ 1", tau2=0.0)
    statistic, pvalue, df = full.compare_lr_test(common)
    assert df == 2.0
    known = 0.5 * (chi2.sf(statistic, 1) + chi2.sf(statistic, 2))
    assert_allclose(pvalue, known, rtol=1e-9)


def test_against_another_fixed_tau2(bcg):
    full, held = fit(bcg), fit(bcg, tau2=0.3)
    statistic, pvalue, df = full.compare_lr_test(held)
    assert_allclose(statistic, 2.0 * (full.llf - held.llf), rtol=1e-10)
    assert_allclose(pvalue, chi2.sf(statistic, 1), rtol=1e-9)
    assert df == 1.0


def test_reml_with_different_moderators(bcg):
    full, small = (fit(bcg, f, tau2="reml") for f in ("yi ~ ablat + year", "yi ~ ablat"))
    with pytest.raises(ComparisonError, match=r"REML likelihoods.*refit=True"):
        full.compare_lr_test(small)
    with pytest.raises(ComparisonError, match="REML likelihoods"):
        full.compare_lr_test(fit(bcg))
    known = fit(bcg, "yi ~ ablat + year").compare_lr_test(fit(bcg))
    assert_allclose(full.compare_lr_test(small, refit=True), known, rtol=1e-9)


def test_other_estimators(bcg):
    full, small = (fit(bcg, f, tau2="dl") for f in ("yi ~ ablat + year", "yi ~ ablat"))
    with pytest.raises(ComparisonError, match="fits that maximise the likelihood"):
        full.compare_lr_test(small)
    known = fit(bcg, "yi ~ ablat + year").compare_lr_test(fit(bcg))
    assert_allclose(full.compare_lr_test(small, refit=True), known, rtol=1e-9)


def test_other_refusals(bcg):
    full, small = fit(bcg, "yi ~ ablat + year"), fit(bcg)
    with pytest.raises(ComparisonError, match="not nested"):
        small.compare_lr_test(full)
    with pytest.raises(ComparisonError, match="not nested"):
        full.compare_lr_test(fit(bcg, "yi ~ C(alloc)"))
    with pytest.raises(ComparisonError, match="same number of parameters"):
        full.compare_lr_test(fit(bcg, "yi ~ year + ablat"))
    with pytest.raises(ComparisonError, match="different studies: 13 and 12"):
        full.compare_lr_test(fit(bcg[1:]))
    with pytest.raises(ComparisonError, match="different outcomes or sampling variances"):
        full.compare_lr_test(fit(bcg.assign(vi=2.0 * bcg["vi"])))
    with pytest.raises(ComparisonError, match="different outcomes or sampling variances"):
        full.compare_lr_test(fit(bcg.assign(yi=bcg["yi"] + 1.0)))
    with pytest.raises(ComparisonError, match="restricted model estimates tau2"):
        fit(bcg, "yi ~ ablat + year", tau2=0.1).compare_lr_test(small)
    with pytest.raises(ComparisonError, match="fixed at different values"):
        fit(bcg, "yi ~ ablat + year", tau2=0.1).compare_lr_test(fit(bcg, tau2=0.2))


def test_errors_are_value_errors(bcg):
    with pytest.raises(ValueError, match="not nested"):
        fit(bcg).compare_lr_test(fit(bcg, "yi ~ year"))


def test_statistic_has_its_nominal_distribution():
    rng = np.random.default_rng(7)
    k, v = 60, 0.2
    x = rng.normal(size=k)
    X = np.column_stack([np.ones(k), x])
    rejected = 0
    for _ in range(200):
        y = rng.normal(0.0, np.sqrt(v + 0.3), k)
        full = MetaReg(y, X, vi=np.full(k, v)).fit(tau2="ml")
        small = MetaReg(y, X[:, :1], vi=np.full(k, v)).fit(tau2="ml")
        rejected += full.compare_lr_test(small).pvalue < 0.1
    # 20 expected; 4 standard deviations are 17
    assert 3 < rejected < 37
