"""Intervals, tail probabilities and shrunken effects on plain arrays."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import norm, t

from metareg_sm import MetaReg
from metareg_sm.stats.multiplicity import family_wise_error
from metareg_sm.stats.reference import (
    critical_value,
    interval,
    tail_probability,
    two_sided_pvalue,
)


@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.9])
def test_critical_values(alpha):
    assert_allclose(critical_value(alpha, None), norm.isf(alpha / 2), rtol=1e-12)
    df = np.array([0.7, 3.0, 41.5])
    assert_allclose(critical_value(alpha, df), t.isf(alpha / 2, df), rtol=1e-9)


def test_two_sided_pvalues():
    x = np.array([-40.0, -2.0, 0.0, 1.5])
    assert_allclose(two_sided_pvalue(x, None), 2.0 * norm.sf(abs(x)), rtol=1e-12)
    assert_allclose(two_sided_pvalue(x, 3.5), 2.0 * t.sf(abs(x), 3.5), rtol=1e-10)


def test_interval():
    found = interval(np.array([1.0, -2.0]), np.array([0.5, 0.0]), 0.1, 4.0)
    half = t.isf(0.05, 4.0) * 0.5
    assert_allclose(found, [[1.0 - half, 1.0 + half], [-2.0, -2.0]], rtol=1e-10)


@pytest.mark.parametrize("df", [None, 5.0])
def test_tail_probability(df):
    mean, sd = np.array([0.2, -1.0, 0.5, 0.5, 0.5]), np.array([1.0, 0.3, 0.0, 0.0, 0.0])
    dist = norm if df is None else t(df)
    found = tail_probability(mean[:2], sd[:2], 0.1, df, above=True)
    assert_allclose(found, dist.sf((0.1 - mean[:2]) / sd[:2]), rtol=1e-10)
    below = tail_probability(mean[:2], sd[:2], 0.1, df, above=False)
    assert_allclose(found + below, 1.0, rtol=1e-12)
    # no spread: all of the mass is on the mean
    assert tail_probability(mean[2:3], sd[2:3], 0.4, df, above=True) == 1.0
    assert tail_probability(mean[2:3], sd[2:3], 0.6, df, above=True) == 0.0


def test_random_effects_are_the_posterior_of_a_normal_model(bcg):
    res = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit(cov_type="nonrobust")
    X, v, tau2 = res.model.exog, res.model.vi, res.tau2
    # Henderson's mixed model equations, with beta and u side by side
    R = np.diag(1.0 / v)
    top = np.column_stack([X.T @ R @ X, X.T @ R])
    bottom = np.column_stack([R @ X, R + np.eye(13) / tau2])
    C = np.linalg.inv(np.vstack([top, bottom]))
    solution = C @ np.concatenate([X.T @ R @ res.model.endog, R @ res.model.endog])
    found = res.random_effects
    assert list(found.columns) == ["u", "u_se", "theta", "theta_se"]
    assert_allclose(found["u"], solution[2:], rtol=1e-9)
    assert_allclose(found["theta"], X @ solution[:2] + solution[2:], rtol=1e-9)
    # the error of prediction of x'b + u
    K = np.column_stack([X, np.eye(13)])
    assert_allclose(found["theta_se"], np.sqrt(np.diag(K @ C @ K.T)), rtol=1e-9)


def test_random_effects_without_heterogeneity(bcg):
    res = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit(tau2=0.0, cov_type="nonrobust")
    found = res.random_effects
    assert (found["u"] == 0.0).all()
    assert (found["u_se"] == 0.0).all()
    assert_allclose(found["theta"], res.fittedvalues, rtol=1e-14)
    assert_allclose(found["theta_se"], res.get_prediction().se_mean, rtol=1e-10)


def test_random_effects_where_the_sampling_error_is_nothing(bcg):
    bcg.loc[5, "vi"] = 0.0
    found = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit().random_effects
    assert_allclose(found.loc[5, "theta"], bcg.loc[5, "yi"], rtol=1e-12)
    assert_allclose(found.loc[5, "theta_se"], 0.0, atol=1e-12)


def test_family_wise_error():
    assert_allclose(family_wise_error(1), 0.05)
    assert_allclose(family_wise_error(12), 1.0 - 0.95**12)
    assert_allclose(family_wise_error(3, 0.1), 0.271)
