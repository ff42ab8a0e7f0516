"""Permutation tests of location-scale models against loops of single fits, and metafor."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import linear_sum_assignment

from metareg_sm import LocationScaleMetaReg
from metareg_sm.exceptions import ConvergenceWarning, OptionError
from metareg_sm.stats import resampling

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "scale_permutation.json").read_text("utf-8")
)["cases"]


def studies(seed, k=24, slope=0.0):
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(k), rng.normal(size=(k, 2))])
    Z = np.column_stack([np.ones(k), rng.normal(size=k)])
    v = rng.uniform(0.02, 0.06, k)
    y = 0.4 + 0.3 * X[:, 1] + rng.normal(size=k) * np.sqrt(v + np.exp(-0.5 + slope * Z[:, 1]))
    return y, X, v, Z


def fitted(y, X, v, Z, reml=True, **kwds):
    return LocationScaleMetaReg(y, X, vi=v, scale_exog=Z).fit(reml=reml, **kwds)


def omnibus(res):
    return res.fvalue if res.use_t else res.fvalue / max(res.df_model, 1)


def scale_omnibus(res):
    test = res.scale_wald_test()
    return test.statistic / test.df


def orders_of(n, k, seed):
    rng = np.random.default_rng(seed)
    return [resampling.random_orders(n, k, rng) for _ in range(2)]


@pytest.mark.filterwarnings("ignore::metareg_sm.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "kwds", [{}, {"reml": False}, {"cov_type": "knapp-hartung"}, {"use_t": True}]
)
def test_null_distributions_are_those_of_single_fits_to_permuted_moderators(kwds):
    y, X, v, Z = studies(1)
    res = fitted(y, X, v, Z, **kwds)
    test = res.permutation_test(12, rng=3)
    assert not test.exact
    assert not test.scale_exact
    assert test.method == test.scale_method == "rows"
    for_mean, for_scale = orders_of(12, len(y), 3)
    for i in range(12):
        moved = np.empty_like(X)
        moved[for_mean[i]] = X
        one = fitted(y, moved, v, Z, **kwds)
        assert_allclose(test.null_distribution[i], one.tvalues, rtol=1e-9, atol=1e-9)
        assert_allclose(test.omnibus_null[i], omnibus(one), rtol=1e-9)
        moved = np.empty_like(Z)
        moved[for_scale[i]] = Z
        one = fitted(y, X, v, moved, **kwds)
        assert_allclose(test.scale_null_distribution[i], one.scale_tvalues, rtol=1e-8, atol=1e-8)
        assert_allclose(test.scale_omnibus_null[i], scale_omnibus(one), rtol=1e-8)
    assert_allclose(test.statistic, res.tvalues, rtol=1e-12)
    assert_allclose(test.scale_statistic, res.scale_tvalues, rtol=1e-12)
    assert_allclose(test.omnibus_statistic, omnibus(res), rtol=1e-9)
    assert_allclose(test.scale_omnibus_statistic, scale_omnibus(res), rtol=1e-8)
    assert list(test.scale_pvalues.index) == list(res.scale_params.index)
    for prefix in ("", "scale_"):
        null = np.abs(getattr(test, f"{prefix}null_distribution"))
        observed = np.abs(getattr(test, f"{prefix}statistic").to_numpy())
        shares = (1 + (null >= observed).sum(0)) / 13
        assert_allclose(getattr(test, f"{prefix}pvalues"), shares, rtol=1e-15)
        largest = null[:, 1:].max(1)[:, None]
        shares = (1 + (largest >= observed[1:]).sum(0)) / 13
        assert_allclose(getattr(test, f"{prefix}pvalues_fwer")[1:], shares, rtol=1e-15)
        joint = getattr(test, f"{prefix}omnibus_null")
        share = (1 + (joint >= getattr(test, f"{prefix}omnibus_statistic")).sum()) / 13
        assert_allclose(getattr(test, f"{prefix}omnibus_pvalue"), share, rtol=1e-15)


def smaller_residuals(y, X, v, Z, order):
    """What the smaller model expects, and its standardised residuals in another order."""
    one = fitted(y, X, v, Z)
    expected, sd = np.asarray(one.fittedvalues), np.sqrt(v + np.asarray(one.tau2))
    return expected + sd * ((y - expected) / sd)[order]


@pytest.mark.filterwarnings("ignore::metareg_sm.exceptions.ConvergenceWarning")
def test_residuals_are_those_of_the_model_without_the_coefficient():
    y, X, v, Z = studies(2)
    Z = np.column_stack([Z, X[:, 2]])
    test = fitted(y, X, v, Z).permutation_test(4, rng=5, method="residuals")
    for_mean, for_scale = orders_of(4, len(y), 5)
    ones = np.ones((len(y), 1))
    for i in range(4):
        # the fit is Newton's, and residuals are those of another one: both to some 1e-9
        for j in (1, 2):
            moved = smaller_residuals(y, np.delete(X, j, axis=1), v, Z, for_mean[i])
            one = fitted(moved, X, v, Z)
            assert_allclose(test.null_distribution[i, j], one.tvalues[j], rtol=1e-7, atol=1e-7)
            moved = smaller_residuals(y, X, v, np.delete(Z, j, axis=1), for_scale[i])
            t = fitted(moved, X, v, Z).scale_tvalues.iloc[j]
            assert_allclose(test.scale_null_distribution[i, j], t, rtol=1e-7, atol=1e-7)
        moved = smaller_residuals(y, ones, v, Z, for_mean[i])
        assert_allclose(test.omnibus_null[i], omnibus(fitted(moved, X, v, Z)), rtol=1e-7)
        moved = smaller_residuals(y, X, v, ones, for_scale[i])
        known = scale_omnibus(fitted(moved, X, v, Z))
        assert_allclose(test.scale_omnibus_null[i], known, rtol=1e-7)


def matched(found, known):
    """Largest differences of rows that are matched one to one."""
    gaps = np.abs(found[:, None] - known[None]).max(-1)
    return gaps[linear_sum_assignment(np.minimum(gaps, 1.0))]


# The optimizer of permutest ends at lower maxima, or where it is flat: rows that may be off by
# more than 2e-5, the root of its last steps.
LOWER = {"signs": (0, 0), "both": (0, 8)}


# the likelihood of the second has two maxima
@pytest.mark.filterwarnings("ignore::metareg_sm.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", REFERENCE)
def test_exact_null_distributions_are_those_of_permutest(name):
    case = REFERENCE[name]
    known = case["REML"]
    y, X, v, Z = (np.array(case[key], dtype=float) for key in ("y", "X", "v", "Z"))
    test = fitted(y, X, v, Z).permutation_test(999)
    assert test.exact
    assert test.scale_exact
    assert test.method == {"signs": "signs", "both": "rows"}[name]
    assert_allclose(test.statistic, known["z"], rtol=1e-6)
    assert_allclose(test.scale_statistic, known["z_scale"], rtol=1e-6)
    assert_allclose(test.scale_omnibus_statistic, known["scale_omnibus"], rtol=1e-6)
    assert_allclose(test.pvalues, known["pvalues"], rtol=1e-12)
    lower, scale_lower = LOWER[name]
    gaps = matched(test.null_distribution, np.array(known["null"]))
    assert (gaps > 2e-5).sum() <= lower
    assert np.median(gaps) < 1e-6
    gaps = matched(test.scale_null_distribution, np.array(known["scale_null"]))
    assert (gaps > 2e-5).sum() <= scale_lower
    assert np.median(gaps) < 1e-6
    slack = 1.5 * scale_lower / len(gaps)
    for found, other in (
        (test.scale_pvalues, known["scale_pvalues"]),
        (test.scale_omnibus_pvalue, known["scale_omnibus_pvalue"]),
    ):
        assert_allclose(found, other, rtol=1e-12, atol=slack)
    if known["omnibus"] is not None:
        assert_allclose(test.omnibus_statistic, known["omnibus"], rtol=1e-6)
        assert_allclose(np.sort(test.omnibus_null), np.sort(known["omnibus_null"]), rtol=1e-5)
        assert_allclose(test.omnibus_pvalue, known["omnibus_pvalue"], rtol=1e-12)


def test_a_mean_and_a_scale_without_moderators():
    y, X, v, Z = studies(3, k=9)
    test = fitted(y, X[:, :1], v, Z[:, :1]).permutation_test(512)
    assert test.exact
    assert test.method == "signs"
    assert test.scale_method == "none"
    assert test.scale_n_resamples == len(test.scale_null_distribution) == 0
    assert np.isnan([*test.scale_pvalues, test.scale_omnibus_pvalue, test.omnibus_pvalue]).all()
    # all signs are there, and their opposites
    t = np.sort(test.null_distribution[:, 0])
    assert_allclose(t, -t[::-1], rtol=1e-7, atol=1e-9)
    assert list(test.distributions.columns) == ["const"]


def test_resamples_without_a_maximum_are_counted_and_told():
    # half of the studies agree: the heterogeneity of many halves is 0
    k = 8
    rng = np.random.default_rng(4)
    g = np.repeat([0.0, 1.0], 4)
    v = np.full(k, 0.05)
    y = np.where(g > 0, rng.normal(0, 1.5, k), rng.normal(0, 0.15, k))
    y[3] = 0.9
    res = fitted(y, np.ones((k, 1)), v, np.column_stack([np.ones(k), g]))
    test = res.permutation_test(999)
    assert test.scale_n_resamples == 70
    assert test.scale_n_unbounded > 0
    assert test.scale_n_failed == 0
    zero = (test.scale_null_distribution == 0.0).all(1)
    assert zero.sum() == test.scale_n_unbounded
    assert (test.scale_omnibus_null[zero] == 0.0).all()
    assert f"of the scale {test.scale_n_unbounded}" in str(test)
    assert np.isfinite(test.null_distribution).all()


@pytest.mark.filterwarnings("ignore::metareg_sm.exceptions.IdentificationWarning")
def test_without_standard_errors_there_is_no_pvalue():
    k = 12
    g = np.repeat([0.0, 1.0], 6)
    y = np.where(g > 0, 3.0 * (-1.0) ** np.arange(k), 0.01 * np.arange(k))
    res = fitted(y, np.ones((k, 1)), np.full(k, 0.1), np.column_stack([np.ones(k), g]))
    assert res.scale_bse.isna().all()
    test = res.permutation_test(99, rng=1)
    assert test.scale_pvalues.isna().all()
    assert test.scale_pvalues_fwer.isna().all()
    assert np.isnan(test.scale_omnibus_pvalue)
    assert test.pvalues.notna().all()


def test_resamples_that_cannot_be_fitted_count_as_extreme(monkeypatch):
    from metareg_sm.core import location_scale

    y, X, v, Z = studies(5)
    res = fitted(y, X, v, Z)
    climb = location_scale.climb_scale

    def hurried(problem, start, reml, maxiter=200):
        return climb(problem, start, reml, 2)

    monkeypatch.setattr(location_scale, "climb_scale", hurried)
    with pytest.warns(ConvergenceWarning, match=r"38 of 38 resamples .* count as extreme"):
        test = res.permutation_test(19, rng=1)
    assert (test.n_failed, test.scale_n_failed) == (19, 19)
    assert (test.pvalues == 1.0).all()
    assert (test.scale_pvalues_fwer == 1.0).all()
    assert "19; of the scale 19" in str(test)


@pytest.mark.parametrize("method", ["rows", "residuals"])
def test_size_of_the_tests(method):
    """Under the null hypothesis p-values are uniform: one of them is below 0.1 in a tenth."""
    rng = np.random.default_rng(11)
    below = np.zeros(2)
    for _ in range(30):
        x = rng.normal(size=16)
        v = rng.uniform(0.02, 0.1, 16)
        y = rng.normal(0.0, np.sqrt(v + 0.3))
        D = np.column_stack([np.ones(16), x])
        test = fitted(y, D, v, D, warn_convergence=False).permutation_test(19, rng, method)
        below += [test.pvalues.iloc[1] <= 0.1, test.scale_pvalues.iloc[1] <= 0.1]
    # 30 of probability 0.1: above 7 in 1 % of such simulations
    assert (below <= 7).all()
    assert (below >= 1).all()


def test_a_power_that_is_there():
    y, X, v, Z = studies(6, k=40, slope=2.0)
    test = fitted(y, X, v, Z).permutation_test(99, rng=1, method="residuals")
    assert test.scale_pvalues.iloc[1] == test.scale_omnibus_pvalue == 0.01


def test_options():
    y, X, v, Z = studies(7)
    res = fitted(y, X, v, Z)
    with pytest.raises(OptionError, match="n_resamples"):
        res.permutation_test(0)
    with pytest.raises(OptionError, match="method"):
        res.permutation_test(9, method="row")
    with pytest.raises(OptionError, match="needs cov_type"):
        fitted(y, X, v, Z, cov_type="HC3").permutation_test(9)
    one, two = (res.permutation_test(9, rng=2) for _ in range(2))
    assert_allclose(one.scale_null_distribution, two.scale_null_distribution, rtol=1e-12)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-3, 1.0, 1e3]), st.floats(-5.0, 5.0))
@settings(max_examples=25, deadline=None, derandomize=True)
@pytest.mark.filterwarnings("ignore::metareg_sm.exceptions.ModelWarning")
def test_units_level_and_order_of_the_studies_do_not_matter(seed, unit, level):
    rng = np.random.default_rng(seed)
    k = 8
    x, g = rng.permutation(np.arange(k) % 2), rng.permutation(np.arange(k) % 2)
    v = np.exp(rng.uniform(-6.0, 0.0, k))
    y = rng.normal(0.0, np.sqrt(v + np.exp(rng.normal() + rng.normal() * g)))
    X, Z = np.column_stack([np.ones(k), x]), np.column_stack([np.ones(k), g])
    order = rng.permutation(k)
    one = fitted(y, X, v, Z).permutation_test(70)
    two = fitted(unit * (level + y[order]), X[order], unit**2 * v[order], Z[order])
    two = two.permutation_test(70)
    assert one.exact == two.exact == one.scale_exact == two.scale_exact is True
    assert one.n_failed == two.n_failed == one.scale_n_failed == two.scale_n_failed == 0
    assert one.n_unbounded == two.n_unbounded
    assert one.scale_n_unbounded == two.scale_n_unbounded
    for name in ("null_distribution", "scale_null_distribution"):
        a, b = (np.sort(getattr(test, name)[:, 1]) for test in (one, two))
        assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    for name in ("pvalues", "scale_pvalues"):
        p = getattr(one, name).iloc[1]
        assert np.isnan(p) or 1.0 / 70.0 - 1e-12 <= p <= 1.0
