"""Small-study effects against metafor's values, exact formulas, and what must always hold."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import integrate, stats

from metareg_sm.core.tau2 import ESTIMATORS
from metareg_sm.exceptions import DesignError, OptionError
from metareg_sm.stats.covariance import COVARIANCES
from metareg_sm.stats.small_study import (
    Analysis,
    egger_test,
    excess_significance_test,
    orwin,
    pet_peese,
    poisson_binomial,
    rank_correlation_test,
    rosenberg,
    rosenthal,
    trim_and_fill,
)

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "small_study.json").read_text(encoding="utf-8")
)
CASES = REFERENCE["cases"]
ONE = [name for name, case in CASES.items() if len(case["X"][0]) == 1]


def arrays(name):
    return (np.array(CASES[name][key], dtype=float) for key in ("y", "v", "X"))


def analysis(method="REML", test="z"):
    covariance = COVARIANCES["nonrobust" if test == "z" else "knapp-hartung"]
    estimator = None if method == "EE" else ESTIMATORS[method.lower()]
    return Analysis(estimator, covariance.factor, covariance.use_t)


def predictor_of(case, name):
    if name in ("sei", "vi"):
        return name
    n = np.array(case["ni"], dtype=float)
    return {"ni": n, "ninv": 1.0 / n, "sqrtninv": 1.0 / np.sqrt(n)}[name]


@pytest.mark.parametrize("name", CASES)
def test_egger_as_metafor(name):
    y, v, X = arrays(name)
    for r in CASES[name]["egger"]:
        model = "mixed" if r["model"] == "rma" else "multiplicative"
        found = egger_test(
            y,
            v,
            X,
            analysis(r["method"], r["test"]),
            predictor_of(CASES[name], r["predictor"]),
            model,
            vanishes=r["predictor"] != "ni",
        )
        assert_allclose(found.statistic, r["statistic"], rtol=1e-6, atol=1e-8)
        assert_allclose(found.pvalue, r["pvalue"], rtol=1e-6)
        # one of them may be close to 0
        assert_allclose(found.fit.params, r["beta"], rtol=1e-5, atol=1e-7)
        assert_allclose(found.fit.bse, r["se"], rtol=1e-6)
        if r["limit"] is None:
            assert np.isnan(found.limit)
            assert np.isnan(found.limit_ci).all()
        else:
            ends = [r["lower"], r["upper"]]
            assert_allclose([found.limit, *found.limit_ci], [r["limit"], *ends], rtol=1e-6)
        if model == "multiplicative":
            assert found.df == len(y) - X.shape[1] - 1 == r["df"]


def test_figures_of_the_bcg_trials():
    y, v, X = arrays("bcg")
    # to the digits that metafor prints
    mixed = egger_test(y, v, X, analysis())
    assert_allclose([mixed.statistic, mixed.pvalue], [-0.8033, 0.4218], atol=5e-5)
    assert_allclose([mixed.limit, *mixed.limit_ci], [-0.5104, -1.1182, 0.0974], atol=5e-5)
    classical = egger_test(y, v, X, analysis(), model="multiplicative")
    assert_allclose(classical.statistic, -1.4013, atol=5e-5)
    assert classical.df == 11
    rank = rank_correlation_test(y, v, X)
    assert_allclose([rank.statistic, rank.pvalue], [0.0256, 0.9524], atol=5e-5)
    filled = trim_and_fill(y, v, X, analysis())
    assert (filled.side, filled.k0) == ("right", 1)
    figures = [filled.k0_se, filled.fit.params[0], filled.fit.bse[0]]
    assert_allclose(figures, [2.4528, -0.6571, 0.1785], atol=5e-5)
    assert rosenthal(y, v) == 598
    y, v, X = arrays("egger2001")
    assert_allclose(egger_test(y, v, X, analysis()).statistic, -4.6686, atol=5e-5)


@pytest.mark.parametrize("model", ["mixed", "multiplicative"])
@pytest.mark.parametrize("name", ONE)
def test_pet_and_peese_are_limits_of_eggers_regression(name, model):
    y, v, X = arrays(name)
    found = pet_peese(y, v, X, analysis("REML", "t"), model)
    for effect, predictor in ((found.pet, "sei"), (found.peese, "vi")):
        egger = egger_test(y, v, X, analysis("REML", "t"), predictor, model)
        assert_allclose(effect.estimate, egger.limit, rtol=1e-12)
        assert_allclose(effect.ci, egger.limit_ci, rtol=1e-12)
    half = 0.5 * found.pet.pvalue
    along = found.pet.estimate * found.direction > 0.0
    assert_allclose(found.pet_pvalue, half if along else 1.0 - half, rtol=1e-9)
    assert found.uses_peese == (found.pet_pvalue < 0.05)
    chosen = found.peese if found.uses_peese else found.pet
    assert found.estimate == chosen.estimate
    assert_allclose(found.ci, chosen.ci)


def test_pet_at_a_row_of_moderators():
    y, v, X = arrays("bcg_ablat")
    row = X.mean(0)
    shifted = X - np.array([0.0, row[1]])
    at = pet_peese(y, v, X, analysis(), at=row)
    centred = pet_peese(y, v, shifted, analysis())
    assert_allclose([at.estimate, at.se], [centred.estimate, centred.se], rtol=1e-8)


@pytest.mark.parametrize("name", ONE)
def test_rank_correlation_as_metafor(name):
    found = rank_correlation_test(*arrays(name))
    assert_allclose(found.statistic, CASES[name]["rank"]["tau"], rtol=1e-12)
    assert_allclose(found.pvalue, CASES[name]["rank"]["pvalue"], rtol=1e-10)


@pytest.mark.parametrize("name", ONE)
def test_trim_and_fill_as_metafor(name):
    y, v, X = arrays(name)
    for r in CASES[name]["trimfill"]:
        side = None if r["side"] == "auto" else r["side"]
        given_ = (y, v, X, analysis(r["method"]), side, r["estimator"])
        if "refused" in r:
            # metafor stops with an R error where Q0 has no real value
            with pytest.raises(DesignError, match="too few are left"):
                trim_and_fill(*given_)
            continue
        found = trim_and_fill(*given_)
        assert (found.k0, found.side) == (r["k0"], r["chosen"])
        assert found.converged
        k0_se = np.nan if r["k0_se"] is None else r["k0_se"]
        assert_allclose(found.k0_se, k0_se, rtol=1e-10)
        if r["estimator"] == "R0":
            assert found.k0_pvalue == r["k0_pvalue"]
        assert_allclose(found.fit.params[0], r["estimate"], atol=1e-9 * r["se"])
        assert_allclose(found.fit.bse[0], r["se"], rtol=1e-9)
        assert_allclose(np.sort(found.y[found.filled]), np.sort(r["filled"]), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_fail_safe_n_as_metafor(name):
    y, v, _ = arrays(name)
    for r in CASES[name]["fsn"]:
        if r["type"] == "Rosenthal":
            n = rosenthal(y, v, r["alpha"])
        elif r["type"] == "Rosenberg":
            n = rosenberg(y, v, r["alpha"])
        else:
            n = orwin(y, v if r["weighted"] else None, r["target"])
        assert n == r["n"], r


def test_power_under_heterogeneity_is_the_average_power():
    v, theta, tau2 = np.array([0.02, 0.3]), 0.25, 0.04
    found = excess_significance_test(np.zeros(2), v, theta, tau2)
    for variance, power in zip(v, found.power, strict=True):
        se = np.sqrt(variance)

        def integrand(t, se=se):
            tails = stats.norm.sf(1.959963984540054 - t / se)
            tails += stats.norm.cdf(-1.959963984540054 - t / se)
            return stats.norm.pdf(t, theta, np.sqrt(tau2)) * tails

        expected = integrate.quad(integrand, -2.0, 2.5, epsabs=1e-13, epsrel=1e-12)[0]
        assert_allclose(power, expected, rtol=1e-9)


@pytest.mark.parametrize("name", ONE)
def test_excess_significance_as_metafor(name):
    y, v, _ = arrays(name)
    for r in CASES[name]["tes"]:
        found = excess_significance_test(
            y,
            v,
            r["theta"],
            r["tau2"],
            r["alpha"],
            r["alternative"].replace(".", "-"),
            {"binom": "binomial"}.get(r["test"], r["test"]),
            r["tes_alternative"].replace(".", "-"),
        )
        assert found.observed == r["observed"]
        assert_allclose(found.power, r["power_closed"], rtol=1e-10)
        assert_allclose(found.expected, np.sum(r["power_closed"]), rtol=1e-10)
        # metafor's integral of the power over tau2 lacks what is beyond five standard deviations
        lost = 0.0 if r["tau2"] == 0.0 else 2.0 * stats.norm.sf(5.0)
        assert_allclose(found.power, r["power"], rtol=1e-10, atol=lost)
        assert_allclose(found.expected, r["expected"], rtol=1e-10, atol=lost * len(y))
        # which moves the p-value of 160 studies by 4e-5
        assert_allclose(found.pvalue, r["pvalue"], rtol=1e-9 if lost == 0.0 else 5e-5)


@pytest.mark.parametrize("k", [1, 2, 5, 12])
def test_poisson_binomial_by_enumeration(k):
    p = np.random.default_rng(k).uniform(size=k)
    expected = np.zeros(k + 1)
    for outcome in itertools.product([0, 1], repeat=k):
        hits = np.array(outcome)
        expected[hits.sum()] += np.prod(np.where(hits, p, 1.0 - p))
    assert_allclose(poisson_binomial(p), expected, rtol=1e-12)


def test_poisson_binomial_keeps_small_tails():
    # subnormal: floats have three digits there
    assert_allclose(poisson_binomial(np.full(40, 1e-8))[-1], 1e-320, rtol=1e-3)
    k = 300
    assert_allclose(
        poisson_binomial(np.full(k, 0.3)), stats.binom.pmf(np.arange(k + 1), k, 0.3), rtol=1e-9
    )


@st.composite
def data_sets(draw, moderator=True):
    k = draw(st.integers(6, 14))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    v = 10.0 ** rng.uniform(*draw(st.sampled_from([(-2, 0), (-8, 6), (-1, -0.5)])), k)
    y = rng.normal(0.2, 1.0, k) * np.sqrt(v + draw(st.sampled_from([0.0, 0.1, 10.0])))
    columns = [np.ones(k)] + ([rng.normal(size=k)] if moderator and draw(st.booleans()) else [])
    return y, v, np.stack(columns, -1), rng


@settings(max_examples=60, deadline=None)
@given(data_sets(), st.sampled_from(["mixed", "multiplicative"]))
def test_egger_does_not_depend_on_order_sign_or_units(data, model):
    y, v, X, rng = data
    base = egger_test(y, v, X, analysis("REML", "t"), model=model)
    order = rng.permutation(len(y))
    moved = egger_test(y[order], v[order], X[order], analysis("REML", "t"), model=model)
    scaled = egger_test(1e3 * y, 1e6 * v, X, analysis("REML", "t"), model=model)
    turned = egger_test(-y, v, X, analysis("REML", "t"), model=model)
    for other, factor in ((moved, 1.0), (scaled, 1.0), (turned, -1.0)):
        assert_allclose(factor * other.statistic, base.statistic, rtol=1e-5, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(data_sets(), st.sampled_from(["L0", "R0", "Q0"]))
def test_trim_and_fill_mirrors(data, estimator):
    y, v, X, rng = data
    if v.max() > 1e3 * v.min():
        return
    order = rng.permutation(len(y))
    for side, other in (("left", "right"), ("right", "left")):
        try:
            base = trim_and_fill(y, v, X, analysis("DL"), side, estimator)
        except DesignError:
            with pytest.raises(DesignError):
                trim_and_fill(-y, v, X, analysis("DL"), other, estimator)
            continue
        turned = trim_and_fill(-y, v, X, analysis("DL"), other, estimator)
        moved = trim_and_fill(y[order], v[order], X[order], analysis("DL"), side, estimator)
        assert turned.k0 == base.k0 == moved.k0
        assert_allclose(-turned.fit.params, base.fit.params, rtol=1e-9, atol=1e-9)
        assert_allclose(moved.fit.params, base.fit.params, rtol=1e-9, atol=1e-9)
        # those filled in are as far below the last fit as those they mirror are above
        assert base.filled.sum() == base.k0 == len(base.mirrored)
        assert_allclose(base.X[base.filled], X[base.mirrored])


@settings(max_examples=60, deadline=None)
@given(data_sets())
def test_rank_correlation_does_not_depend_on_order_or_sign(data):
    y, v, X, rng = data
    base = rank_correlation_test(y, v, X)
    order = rng.permutation(len(y))
    moved = rank_correlation_test(y[order], v[order], X[order])
    turned = rank_correlation_test(-y, v, X)
    assert_allclose([moved.statistic, moved.pvalue], [base.statistic, base.pvalue], rtol=1e-12)
    assert_allclose([-turned.statistic, turned.pvalue], [base.statistic, base.pvalue], rtol=1e-12)


def test_rank_correlation_sees_ties_among_residuals():
    y = np.array([0.1, 0.1, 0.4, 0.9, 0.3])
    v = np.array([0.01, 0.01, 0.05, 0.2, 0.3])
    X = np.stack([np.ones(5), [1.0, 1.0, 2.0, 3.0, 7.0]], -1)
    assert not rank_correlation_test(y, v, X).exact


@pytest.mark.parametrize("model", ["mixed", "multiplicative"])
def test_batched_equals_single(model):
    rng = np.random.default_rng(3)
    n, k = 7, 11
    v = rng.uniform(0.01, 0.5, (n, k))
    y = rng.normal(size=(n, k)) * np.sqrt(v + 0.1)
    X = np.stack([np.ones(k), rng.normal(size=k)], -1)
    together = egger_test(y, v, X, analysis("REML", "t"), model=model)
    both = pet_peese(y, v, X, analysis("REML", "t"), model)
    for i in range(n):
        single = egger_test(y[i], v[i], X, analysis("REML", "t"), model=model)
        assert_allclose(together.statistic[i], single.statistic, rtol=1e-7)
        one = pet_peese(y[i], v[i], X, analysis("REML", "t"), model)
        assert_allclose(both.estimate[i], one.estimate, rtol=1e-7)
        assert_allclose(both.ci[i], one.ci, rtol=1e-7)
        assert both.chosen[i] == one.chosen


def test_refusals():
    y, v = np.array([0.1, 0.3, 0.2, 0.5]), np.full(4, 0.1)
    X = np.ones((4, 1))
    with pytest.raises(DesignError, match="sei depends linearly"):
        egger_test(y, v, X, analysis())
    with pytest.raises(DesignError, match="sampling variances are equal"):
        rank_correlation_test(y, v, X)
    v = np.array([0.1, 0.2, 0.3, 0.4])
    with pytest.raises(OptionError, match="predictor='se'"):
        egger_test(y, v, X, analysis(), "se")
    with pytest.raises(OptionError, match="model='lm'"):
        egger_test(y, v, X, analysis(), model="lm")
    with pytest.raises(OptionError, match="alternative='up'"):
        pet_peese(y, v, X, analysis(), alternative="up")
    with pytest.raises(DesignError, match="too few for a regression on sei"):
        egger_test(y[:2], v[:2], X[:2], analysis())
    with pytest.raises(DesignError, match="dose must be finite"):
        egger_test(y, v, X, analysis(), np.array([1.0, np.nan, 2.0, 3.0]), name="dose")
    with pytest.raises(OptionError, match="side='up'"):
        trim_and_fill(y, v, X, analysis(), "up")
    with pytest.raises(OptionError, match="estimator='L1'"):
        trim_and_fill(y, v, X, analysis(), estimator="L1")
    with pytest.raises(OptionError, match="target must be"):
        orwin(y, target=0.0)
    with pytest.raises(OptionError, match="test='chi'"):
        excess_significance_test(y, v, 0.2, test="chi")
    with pytest.raises(OptionError, match="test_alternative="):
        excess_significance_test(y, v, 0.2, test_alternative="two.sided")
