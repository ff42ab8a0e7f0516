"""Confidence sets for tau2."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import chi2, norm

from metareg_sm import MetaReg
from metareg_sm.exceptions import IntervalWarning, OptionError

from .._likelihood import loglike


def fit(data, formula="yi ~ ablat", **kwds):
    return MetaReg.from_formula(formula, data, vi="vi").fit(**kwds)


def generalized_q(res, tau2):
    X, y, w = res.model.exog, res.model.endog, 1.0 / (res.model.vi + tau2)
    b = np.linalg.solve(X.T @ (X * w[:, None]), X.T @ (w * y))
    return (w * (y - X @ b) ** 2).sum()


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.5])
@pytest.mark.parametrize("formula", ["yi ~ 1", "yi ~ ablat"])
def test_q_profile_ends_are_chi_squared_quantiles(bcg, formula, alpha):
    # Paule-Mandel's estimate lies inside, as k - p lies between the quantiles
    res = fit(bcg, formula, tau2="pm")
    low, high = res.conf_int_tau2(alpha).loc["tau2", ["ci_lower", "ci_upper"]]
    df = int(res.df_resid)
    assert_allclose(generalized_q(res, high), chi2.ppf(alpha / 2, df), rtol=1e-10)
    if low > 0.0:
        assert_allclose(generalized_q(res, low), chi2.isf(alpha / 2, df), rtol=1e-10)
    else:
        assert generalized_q(res, 0.0) <= chi2.isf(alpha / 2, df)
    assert low < res.tau2 < high


@pytest.mark.parametrize("tau2", ["reml", "ml"])
@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.5])
def test_profile_likelihood_ends_are_at_the_level(bcg, tau2, alpha):
    res = fit(bcg, tau2=tau2)
    table = res.conf_int_tau2(alpha, method="profile-likelihood")
    low, high = table.loc["tau2", ["ci_lower", "ci_upper"]]
    level = res.llf - 0.5 * chi2.isf(alpha, 1)
    y, v, X = res.model.endog, res.model.vi, res.model.exog
    assert_allclose(loglike(high, y, v, X, tau2 == "reml"), level, rtol=1e-11)
    if low > 0.0:
        assert_allclose(loglike(low, y, v, X, tau2 == "reml"), level, rtol=1e-11)
    else:
        assert loglike(0.0, y, v, X, tau2 == "reml") >= level
    assert low < res.tau2 < high
    assert table.attrs["kind"] == "interval"


def test_profile_likelihood_on_the_boundary():
    v = np.array([0.5, 1.0, 2.0, 0.7])
    res = MetaReg(np.array([0.1, 0.2, 0.0, 0.1]), np.ones((4, 1)), vi=v).fit()
    assert res.tau2 == 0.0
    low, high = res.conf_int_tau2(method="profile-likelihood").loc["tau2"].iloc[1:]
    assert low == 0.0
    level = res.llf - 0.5 * chi2.isf(0.05, 1)
    found = loglike(high, res.model.endog, v, np.ones((4, 1)), True)
    assert_allclose(found, level, rtol=1e-11)


def test_wald(bcg):
    res = fit(bcg)
    low, high = res.conf_int_tau2(0.1, method="wald").loc["tau2", ["ci_lower", "ci_upper"]]
    assert_allclose(high, res.tau2 + norm.isf(0.05) * res.tau2_se, rtol=1e-12)
    assert_allclose(low, max(0.0, res.tau2 - norm.isf(0.05) * res.tau2_se), rtol=1e-12)


@pytest.mark.parametrize("method", ["q-profile", "profile-likelihood", "wald"])
def test_other_rows_follow_from_tau2(bcg, method):
    res = fit(bcg)
    table = res.conf_int_tau2(method=method)
    assert list(table.index) == ["tau2", "tau", "i2", "h2"]
    assert list(table.columns) == ["estimate", "ci_lower", "ci_upper"]
    s2 = res.tau2 / (res.heterogeneity.h2 - 1.0)
    t = table.loc["tau2"]
    assert_allclose(table.loc["tau"], np.sqrt(t), rtol=1e-12)
    assert_allclose(table.loc["i2"], t / (s2 + t), rtol=1e-10)
    assert_allclose(table.loc["h2"], t / s2 + 1.0, rtol=1e-10)
    assert_allclose(table.loc["i2", "estimate"], res.heterogeneity.i2, rtol=1e-12)
    assert_allclose(t["estimate"], res.tau2, rtol=1e-12)


def test_empty_set_is_announced():
    y = np.array([1.0, 1.001, 0.999, 1.0, 1.0005])
    res = MetaReg(y, np.ones((5, 1)), vi=np.full(5, 1.0)).fit()
    with pytest.warns(IntervalWarning, match="q-profile confidence set for tau2 is empty"):
        table = res.conf_int_tau2()
    assert table.attrs["kind"] == "empty"
    assert table.loc["tau2", ["ci_lower", "ci_upper"]].isna().all()
    assert table.loc["tau2", "estimate"] == 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert res.conf_int_tau2(method="profile-likelihood").attrs["kind"] == "interval"


def grid_set(res, alpha):
    """Points of a grid that belong to the profile likelihood set."""
    grid = np.concatenate([[0.0], np.geomspace(1e-4, 1e7, 20_000)])
    level = res.llf - 0.5 * chi2.isf(alpha, 1)
    heights = loglike(grid, res.model.endog, res.model.vi, res.model.exog)
    return grid[heights >= level]


@pytest.fixture
def two_peaks():
    """A restricted likelihood with maxima near 0.2 and 121; the far one is 0.13 higher."""
    y, v = np.array([-1.1, 0.0, 24.1]), np.array([0.651, 0.036, 71.714])
    return MetaReg(y, np.ones((3, 1)), vi=v).fit()


def test_disjoint_set_is_announced(two_peaks):
    with pytest.warns(IntervalWarning, match="disjoint"):
        table = two_peaks.conf_int_tau2(0.45, method="profile-likelihood")
    assert table.attrs["kind"] == "disjoint"
    inside = grid_set(two_peaks, 0.45)
    # the two parts, and the ends around both
    assert (np.diff(np.log(inside)) > 0.1).any()
    assert inside.min() < 0.2 < 121.0 < inside.max()
    found = table.loc["tau2", ["ci_lower", "ci_upper"]]
    # the ends of the set are read off a grid, to the width of its steps
    assert_allclose(found, [inside.min(), inside.max()], rtol=2e-3)


@pytest.mark.parametrize(("alpha", "both"), [(0.05, True), (0.25, True), (0.65, False)])
def test_two_peaks_and_one_interval(two_peaks, alpha, both):
    table = two_peaks.conf_int_tau2(alpha, method="profile-likelihood")
    assert table.attrs["kind"] == "interval"
    inside = grid_set(two_peaks, alpha)
    assert (inside.min() < 0.2) == both
    found = table.loc["tau2", ["ci_lower", "ci_upper"]]
    # the ends of the set are read off a grid, to the width of its steps
    assert_allclose(found, [inside.min(), inside.max()], rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("seed", range(10))
def test_units(seed):
    rng = np.random.default_rng(seed)
    v = 10.0 ** rng.uniform(-2, 1, 8)
    y = rng.normal(0.0, np.sqrt(v + 1.0))
    for method in ("q-profile", "profile-likelihood"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IntervalWarning)
            a = MetaReg(y, np.ones((8, 1)), vi=v).fit().conf_int_tau2(method=method)
            b = MetaReg(1e4 * y, np.ones((8, 1)), vi=1e8 * v).fit().conf_int_tau2(method=method)
        assert_allclose(b.loc["tau2"] / 1e8, a.loc["tau2"], rtol=1e-8)
        assert_allclose(b.loc["i2"], a.loc["i2"], rtol=1e-8)


def test_options(bcg):
    res = fit(bcg, tau2="dl")
    with pytest.raises(OptionError, match=r"method='qprofile'.*Did you mean 'q-profile'"):
        res.conf_int_tau2(method="qprofile")
    with pytest.raises(OptionError, match="needs a fit by 'reml' or 'ml'; this one is by 'dl'"):
        res.conf_int_tau2(method="profile-likelihood")
    with pytest.raises(OptionError, match="tau2 is held fixed"):
        fit(bcg, tau2=0.1).conf_int_tau2()
