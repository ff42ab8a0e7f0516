"""Joint tests of constraints on coefficients of very different scale."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import f

from metareg_sm import MetaReg
from metareg_sm.exceptions import DesignError
from metareg_sm.stats.hotelling import independent_constraints

from ..reference import load

CASES = load("sandwich_mpmath")["cases"]
SCALE = np.array([1.0, 1.0, 3e6, 1e-5])


def fit(scale=SCALE, **kwds):
    case = CASES["scales"]
    X = np.array(case["exog"]) * (scale / SCALE)
    return MetaReg(np.array(case["y"]), X, vi=np.array(case["v"])).fit(tau2=case["tau2"], **kwds)


@pytest.mark.parametrize("cov_type", ["knapp-hartung", "nonrobust", "HC3"])
def test_mixed_scales_with_every_covariance(cov_type):
    # the test of three equivalent sets of constraints is that of three moderators
    known = fit(np.ones(4), cov_type=cov_type).wald_test(np.eye(4)[1:], scalar=True)
    res = fit(cov_type=cov_type)
    mixed = np.array(CASES["scales"]["mixed"])
    for R in (np.eye(4)[1:], mixed, np.vstack([mixed, mixed.sum(0)])):
        found = res.wald_test(R, scalar=True)
        assert_allclose(found.statistic, known.statistic, rtol=1e-10)
        assert_allclose(found.pvalue, known.pvalue, rtol=1e-9)
        assert_allclose(found.df_denom, known.df_denom)
    assert_allclose(res.fvalue, known.statistic, rtol=1e-10)


@pytest.mark.parametrize("correction", ["CR2", "CR3"])
@pytest.mark.parametrize("name", ["scales", "ordinary", "ratio_1e8", "ratio_1e12", "large"])
def test_omnibus_test_of_all_moderators(name, correction):
    case = CASES[name]
    kwds = {"groups": case["groups"], "correction": correction}
    model = MetaReg(np.array(case["y"]), np.array(case["exog"]), vi=np.array(case["v"]))
    res = model.fit(tau2=case["tau2"], cov_type="cluster", cov_kwds=kwds)
    known = case["CR"][correction]["HTZ"]
    assert_allclose(res.fvalue, known["F"], rtol=2e-9)
    assert_allclose(res.f_df, [known["df_num"], known["df_denom"]], rtol=1e-10)
    assert_allclose(res.f_pvalue, f.sf(known["F"], *res.f_df), rtol=1e-8)


def test_rows_are_chosen_among_dependent_ones():
    R = np.array([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0], [0.0, 1.0, 1.0], [1.0, 3.0, 1.0]])
    values = R @ [1.0, 2.0, 3.0]
    found, q = independent_constraints(R, values, np.array([1.0, 1e-3, 1e4]))
    assert found.shape == (2, 3)
    assert_allclose(found @ [1.0, 2.0, 3.0], q, rtol=1e-14)
    # the same rows are spanned
    combination = np.linalg.lstsq(found.T, R.T, rcond=None)[0]
    assert_allclose(combination.T @ found, R, atol=1e-12)
    with pytest.raises(DesignError, match="contradicts the others"):
        independent_constraints(R, values + np.eye(4)[1], np.ones(3))
    with pytest.raises(DesignError, match="contradicts the others"):
        independent_constraints(np.zeros((1, 3)), np.ones(1), np.ones(3))
    none, _ = independent_constraints(np.zeros((1, 3)), np.zeros(1), np.ones(3))
    assert none.shape == (0, 3)


def test_constraints_on_coefficients_of_their_own():
    rng = np.random.default_rng(6)
    scale, q = np.exp(rng.normal(size=5)), rng.normal(size=3)
    R = np.zeros((3, 5))
    R[[0, 1, 2], [4, 0, 2]] = [-2.0, 1e-6, 3e6]
    found, value = independent_constraints(R, q, scale)
    # a row that repeats another sends the same constraints through the elimination
    known, other = independent_constraints(np.vstack([R, R[:1]]), np.r_[q, q[:1]], scale)
    assert_allclose(found, known, rtol=1e-12)
    assert_allclose(value, other, rtol=1e-12)
