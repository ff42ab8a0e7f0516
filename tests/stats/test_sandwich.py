"""Robust covariances of hard cases against 100-digit arithmetic and clubSandwich."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from metareg_sm import MetaReg
from metareg_sm.exceptions import DesignError
from metareg_sm.stats.covariance import CORRECTIONS, cluster_sandwich
from metareg_sm.stats.gls import whiten

from ..reference import load

CASES = load("sandwich_mpmath")["cases"]
CLUB = load("sandwich_clubsandwich")["cases"]
# standard errors and F inherit the rounding of the residuals, y - Xb over the standard errors
RTOL = 2e-9
# degrees of freedom do not depend on the outcomes
RTOL_DF = 1e-11
RUNS = [(n, c) for n in CASES for c in CORRECTIONS if CASES[n]["CR"][c] is not None]
# where clubSandwich itself has the digits, by comparison with 100-digit arithmetic
AGREE = (
    "issue",
    "ordinary",
    "ratio_1e4",
    "absorbed",
    "absorbed_singleton",
    "absorbed_twice",
    "singletons",
)


@cache
def model(name):
    case = CASES[name]
    return MetaReg(np.array(case["y"]), np.array(case["exog"]), vi=np.array(case["v"]))


@cache
def robust(name, correction):
    case = CASES[name]
    kwds = {"groups": case["groups"], "correction": correction}
    return model(name).fit(tau2=case["tau2"], cov_type="cluster", cov_kwds=kwds)


def sandwich_of(name, correction):
    built, case = model(name), CASES[name]
    codes = np.unique(case["groups"], return_inverse=True)[1]
    whitened, _ = whiten(built.studies, case["tau2"], built.basis.to_params)
    return cluster_sandwich(whitened, codes, correction)


def test_what_is_left_out_is_known():
    missing = {(n, c) for n in CASES for c in CORRECTIONS} - set(RUNS)
    absorbed = {(n, "CR3") for n in CASES if n.startswith("absorbed")}
    assert missing == absorbed


@pytest.mark.parametrize(("name", "correction"), RUNS)
def test_covariance_with_100_digits(name, correction):
    res, known = robust(name, correction), CASES[name]["CR"][correction]
    assert_allclose(res.bse, known["se"], rtol=RTOL)
    scale = np.outer(known["se"], known["se"])
    assert_allclose(res.cov_params() / scale, known["vcov"] / scale, rtol=0, atol=2 * RTOL)


@pytest.mark.parametrize(("name", "correction"), RUNS)
def test_degrees_of_freedom_with_100_digits(name, correction):
    sandwich, known = sandwich_of(name, correction), CASES[name]["CR"][correction]
    assert_allclose(sandwich.satterthwaite(np.eye(len(known["df"]))), known["df"], rtol=RTOL_DF)
    joint = np.array(CASES[name]["joint"])
    assert_allclose(sandwich.htz_df(joint), known["HTZ"]["eta"], rtol=RTOL_DF)


@pytest.mark.parametrize(("name", "correction"), [(n, c) for n, c in RUNS if c in ("CR2", "CR3")])
def test_joint_test_with_100_digits(name, correction):
    res, known = robust(name, correction), CASES[name]["CR"][correction]["HTZ"]
    joint = np.array(CASES[name]["joint"])
    if known["df_denom"] <= 0:
        with pytest.raises(DesignError, match="no degrees of freedom left"):
            res.wald_test(joint, scalar=True)
        return
    found = res.wald_test(joint, scalar=True)
    assert found.df_num == known["df_num"]
    assert_allclose(found.df_denom, known["df_denom"], rtol=1e-10)
    assert_allclose(found.statistic, known["F"], rtol=RTOL)


@pytest.mark.parametrize("correction", ["CR2", "CR3"])
@pytest.mark.parametrize("name", [n for n in CASES if "mixed" in CASES[n]])
def test_constraints_that_mix_scales(name, correction):
    res, known = robust(name, correction), CASES[name]["mixed_CR"][correction]["HTZ"]
    mixed = np.array(CASES[name]["mixed"])
    redundant = np.vstack([mixed, 3.0 * mixed[0] - mixed[1]])
    for R in (
        mixed,
        redundant,
        mixed[::-1],
        mixed * np.array([1e6, *[1e-6] * (len(mixed) - 1)])[:, None],
    ):
        found = res.wald_test(R, scalar=True)
        assert found.df_num == known["df_num"]
        assert_allclose(found.df_denom, known["df_denom"], rtol=1e-11)
        assert_allclose(found.statistic, known["F"], rtol=1e-11)


@pytest.mark.parametrize("cov_type", ["HC0", "HC2", "HC3"])
@pytest.mark.parametrize("name", CASES)
def test_single_studies_with_100_digits(name, cov_type):
    known = CASES[name]["HC"][cov_type]
    # a study with leverage 1 has no HC3, and adds nothing to a pseudo-inverse HC2: both are refused
    if cov_type != "HC0" and CASES[name]["HC"]["HC3"] is None:
        with pytest.raises(DesignError, match="leverage 1, the moderators fit it exactly"):
            model(name).fit(tau2=CASES[name]["tau2"], cov_type=cov_type)
        return
    res = model(name).fit(tau2=CASES[name]["tau2"], cov_type=cov_type)
    assert_allclose(res.bse, known["se"], rtol=RTOL)


@pytest.mark.parametrize("correction", ["CR0", "CR1S", "CR2", "CR3"])
@pytest.mark.parametrize("name", AGREE)
def test_clubsandwich(name, correction):
    if CASES[name]["CR"][correction] is None:
        with pytest.raises(DesignError, match="CR3' is undefined"):
            robust(name, correction)
        return
    res, known = robust(name, correction), CLUB[name][correction]
    assert_allclose(res.bse, known["se"], rtol=1e-9)
    sandwich = sandwich_of(name, correction)
    df = sandwich.satterthwaite(np.eye(len(res.params)))
    assert_allclose(df, np.atleast_1d(known["df"]), rtol=1e-9)
    assert_allclose(
        sandwich.htz_df(np.array(CASES[name]["joint"])) - known["HTZ"]["df_num"] + 1.0,
        known["HTZ"]["df_denom"],
        rtol=1e-9,
    )
    if correction in ("CR2", "CR3"):
        assert_allclose(res.pvalues, known["p"], rtol=1e-8)


def test_absorbed_studies_have_no_joint_covariance():
    # the dummies of two studies vary with the intercept alone
    y, v = np.arange(8.0) ** 1.5, np.linspace(0.1, 0.9, 8)
    X = np.column_stack([np.ones(8), np.eye(8)[0], np.eye(8)[5]])
    kwds = {"groups": [0, 1, 1, 2, 2, 3, 4, 4], "correction": "CR2"}
    res = MetaReg(y, X, vi=v).fit(cov_type="cluster", cov_kwds=kwds)
    assert np.isfinite(res.pvalues).all()
    with pytest.raises(DesignError, match="do not tell the constraints apart"):
        res.wald_test(np.eye(3)[1:], scalar=True)


def test_precise_studies_are_heard():
    res = robust("issue", "CR2")
    assert_allclose(res.bse, 0.0974668, rtol=1e-6)
    assert_allclose(res.pvalues, 0.0623, atol=5e-5)


@st.composite
def clustered(draw):
    """Clusters of unequal sizes, labels out of order, variances over up to 1e14 within each."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=4, max_size=8))
    grade = draw(st.floats(0.0, 7.0))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(rng.permutation(len(sizes)), sizes))
    k = len(groups)
    v = 10.0 ** rng.uniform(-grade, grade, k)
    X = np.column_stack([np.ones(k), rng.normal(size=k)])
    return X, X @ [0.3, 0.1] + rng.normal(size=k) * np.sqrt(v), v, groups


def moments(X, y, v, groups):
    """Satterthwaite degrees of freedom, standard errors, and what CR2 is expected to be."""
    model = MetaReg(y, X, vi=v)
    whitened, _ = whiten(model.studies, 0.0, model.basis.to_params)
    sandwich = cluster_sandwich(whitened, np.unique(groups, return_inverse=True)[1], "CR2")
    expected = sandwich.G @ sandwich.own.sum(0) @ sandwich.G.T
    df = sandwich.satterthwaite(np.eye(X.shape[1]))
    return df, np.sqrt(np.diagonal(sandwich.cov)), expected, whitened.unscaled


@given(clustered())
@settings(max_examples=60, deadline=None)
def test_cr2_is_unbiased_whatever_the_variances(data):
    _, _, expected, working = moments(*data)
    scale = np.sqrt(np.outer(np.diagonal(working), np.diagonal(working)))
    assert_allclose(expected / scale, working / scale, rtol=0, atol=1e-9)


@given(clustered(), st.integers(0, 1000), st.sampled_from([1e-3, 1.0, 1e4]))
@settings(max_examples=60, deadline=None)
def test_order_and_scale_do_not_matter(data, seed, factor):
    X, y, v, groups = data
    df, se, _, _ = moments(X, y, v, groups)
    order = np.random.default_rng(seed).permutation(len(y))
    scaled = X * [1.0, factor]
    df2, se2, _, _ = moments(scaled[order], y[order], v[order], 7 - groups[order])
    # the bound of df is rounding of the weighted basis, 1e7 in its rows at the most unequal
    assert_allclose(df2, df, rtol=1e-7)
    assert_allclose(se2 * [1.0, factor], se, rtol=1e-6)
