"""Permutation tests against loops of single fits."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from metareg_sm.stats import resampling

from ._resampling import (
    SETTINGS,
    exact_study,
    fit,
    shares,
    studies,
)


@pytest.mark.parametrize("kwds", SETTINGS)
def test_null_distribution_is_that_of_fits_with_permuted_moderators(kwds):
    y, v, X = studies(1)
    res = fit(y, v, X, **kwds)
    test = res.permutation_test(25, rng=3, method="rows")
    orders = resampling.random_orders(25, 9, np.random.default_rng(3))
    assert not test.exact
    assert test.method == "rows"
    assert test.n_resamples == 25
    for row, order in enumerate(orders):
        # study order[i] is given row i of the moderators
        moved = np.empty_like(X)
        moved[order] = X
        one = fit(y, v, moved, **kwds)
        assert_allclose(test.null_distribution[row], one.tvalues, rtol=1e-9, atol=1e-9)
        omnibus = one.fvalue if one.use_t else one.fvalue / 2
        assert_allclose(test.omnibus_null[row], omnibus, rtol=1e-9)
    assert_allclose(test.statistic, res.tvalues, rtol=1e-12)
    absolute, observed = np.abs(test.null_distribution), np.abs(res.tvalues)
    assert_allclose(test.pvalues, shares(absolute, observed, False), rtol=1e-15)
    largest = absolute[:, 1:].max(axis=1)
    assert_allclose(test.pvalues_fwer[1:], shares(largest, observed[1:], False), rtol=1e-15)
    assert_allclose(test.pvalues_fwer.iloc[0], test.pvalues.iloc[0], rtol=1e-12)
    known = shares(test.omnibus_null, test.omnibus_statistic, False)[0]
    assert_allclose(test.omnibus_pvalue, known, rtol=1e-12)


def test_omnibus_statistic_is_the_f_statistic():
    y, v, X = studies(2)
    assert_allclose(
        fit(y, v, X).permutation_test(9, rng=1).omnibus_statistic, fit(y, v, X).fvalue, rtol=1e-9
    )


DESIGNS = {
    "all different": [[0.3], [1.0], [-0.7], [2.2], [0.9]],
    "two groups": [[0.0], [1.0], [1.0], [0.0], [1.0], [0.0]],
    "groups and repeats": [[0, 1.5], [1, 1.5], [0, 1.5], [1, 0.2], [0, 0.2], [1, 1.5]],
    "one apart": [[0.0], [0.0], [0.0], [0.0], [5.0], [0.0]],
}


@pytest.mark.parametrize("design", DESIGNS)
def test_exact_against_itertools(design):
    moderators = np.array(DESIGNS[design], dtype=float)
    k = len(moderators)
    X = np.column_stack([np.ones(k), moderators])
    y, v, _ = studies(3, k=k)
    distinct = sorted(set(itertools.permutations(map(tuple, X.tolist()))))
    res = fit(y, v, X)
    test = res.permutation_test(len(distinct))
    assert test.exact
    assert test.n_resamples == len(distinct)
    loop = [fit(y, v, np.array(rows)) for rows in distinct]
    t, f = np.array([np.asarray(r.tvalues) for r in loop]), np.array([r.fvalue for r in loop])
    # the same resamples, in whatever order
    by_size = np.lexsort(np.round(t, 6).T)
    found = test.null_distribution[np.lexsort(np.round(test.null_distribution, 6).T)]
    assert_allclose(found, t[by_size], rtol=1e-8, atol=1e-8)
    observed = np.abs(res.tvalues)
    assert_allclose(test.pvalues, shares(np.abs(t), observed, True), rtol=1e-14)
    largest = np.abs(t[:, 1:]).max(axis=1)
    assert_allclose(test.pvalues_fwer[1:], shares(largest, observed[1:], True), rtol=1e-14)
    assert_allclose(test.omnibus_pvalue, shares(f, res.fvalue, True)[0], rtol=1e-14)
    # the data are one of the resamples, so that no p-value is 0
    assert test.pvalues.min() >= 1.0 / len(distinct)
    # one resample fewer, and the test is no longer exact: p-values count the data as well
    fewer = res.permutation_test(len(distinct) - 1, rng=1)
    assert not fewer.exact
    assert fewer.n_resamples == len(distinct) - 1
    assert fewer.pvalues.min() >= 1.0 / len(distinct)


def test_exact_needs_no_seed():
    y, v, X = studies(4, k=5, p=2)
    res = fit(y, v, X)
    one, two = res.permutation_test(200, rng=1), res.permutation_test(200, rng=2)
    assert one.exact
    assert one.n_resamples == 120
    assert_allclose(one.null_distribution, two.null_distribution, rtol=1e-12, atol=1e-13)


def test_plus_one_rule():
    # an effect that no permutation comes near
    x = np.arange(20.0)
    rng = np.random.default_rng(5)
    y = 3.0 * x + rng.normal(0.0, 0.1, 20)
    res = fit(y, np.full(20, 0.01), np.column_stack([np.ones(20), x]))
    test = res.permutation_test(99, rng=1)
    assert test.pvalues.iloc[1] == test.pvalues_fwer.iloc[1] == test.omnibus_pvalue == 0.01
    assert res.permutation_test(1, rng=1).pvalues.iloc[1] == 0.5


def test_no_effect_has_the_largest_pvalue():
    x = np.array([-1.0, 0.0, 1.0, -1.0, 0.0, 1.0, -1.0, 1.0])
    y = np.array([1.0, 0.0, 1.0, 1.0, 0.5, 1.0, -1.0, -1.0])
    res = fit(y, np.full(8, 0.1), np.column_stack([np.ones(8), x]))
    assert abs(res.tvalues[1]) < 1e-12
    assert res.permutation_test(99, rng=1).pvalues.iloc[1] == 1.0


def test_family_wise_error_of_independent_moderators():
    # nothing is there: the chance of any adjusted p-value below 0.2 is 0.2 at most, of any plain
    # one far greater
    rng = np.random.default_rng(6)
    any_plain = any_adjusted = 0
    for _ in range(200):
        X = np.column_stack([np.ones(10), rng.normal(size=(10, 3))])
        v = rng.uniform(0.05, 0.5, 10)
        res = fit(rng.normal(0.0, np.sqrt(v + 0.2)), v, X, tau2="dl")
        test = res.permutation_test(99, rng=rng)
        any_plain += bool((test.pvalues.iloc[1:] <= 0.2).any())
        any_adjusted += bool((test.pvalues_fwer.iloc[1:] <= 0.2).any())
    # three standard errors
    assert any_adjusted <= 40 + 3 * np.sqrt(200 * 0.2 * 0.8)
    assert any_plain > any_adjusted + 20


def test_labels(bcg_res):
    test = bcg_res.permutation_test(99, rng=1)
    names = ["Intercept", "ablat", "year"]
    assert list(test.pvalues.index) == list(test.pvalues_fwer.index) == names
    frame = test.summary_frame()
    assert list(frame.columns) == ["statistic", "pvalue", "pvalue_fwer"]
    assert_array_equal(frame["pvalue_fwer"], test.pvalues_fwer)
    assert_allclose(frame["statistic"], bcg_res.tvalues)


def test_groups_without_a_constant():
    y, v, _ = studies(7, k=8)
    group = np.arange(8) % 2
    X = np.column_stack([group == 0, group == 1]).astype(float)
    res = fit(y, v, X)
    test = res.permutation_test(99)
    assert test.exact
    assert test.n_resamples == 70
    # the group means span a constant: their difference alone is tested together
    assert_allclose(test.omnibus_statistic, res.fvalue, rtol=1e-9)
    coded = fit(y, v, np.column_stack([np.ones(8), group])).permutation_test(99)
    assert_allclose([coded.omnibus_pvalue, coded.pvalues.iloc[1]], test.omnibus_pvalue, rtol=1e-12)


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("kwds", SETTINGS)
def test_freedman_lane(kwds, constant):
    y, v, X = studies(8, constant=constant)
    res = fit(y, v, X, **kwds)
    test = res.permutation_test(12, rng=4, method="residuals")
    orders = resampling.random_orders(12, 9, np.random.default_rng(4))
    assert test.method == "residuals"
    assert not test.exact

    def refits(reduced):
        # `reduced` has None where no coefficient is left
        expected, tau2 = np.zeros(9), 0.0
        if reduced is not None:
            known = fit(y, v, reduced, **kwds)
            expected, tau2 = np.asarray(known.fittedvalues), known.tau2
        sd = np.sqrt(v + tau2)
        scaled = (y - expected) / sd
        return [fit(expected + sd * scaled[order], v, X, **kwds) for order in orders]

    for j in range(3):
        t = [np.asarray(r.tvalues)[j] for r in refits(np.delete(X, j, axis=1))]
        assert_allclose(test.null_distribution[:, j], t, rtol=1e-9, atol=1e-9)
    if constant:
        found = [r.fvalue / (1 if r.use_t else 2) for r in refits(X[:, :1])]
        assert_allclose(test.omnibus_null, found, rtol=1e-9)
    absolute = np.abs(test.null_distribution)
    observed = np.abs(res.tvalues)
    assert_allclose(test.pvalues, shares(absolute, observed, False), rtol=1e-15)
    moderators = slice(1, None) if constant else slice(None)
    largest = absolute[:, moderators].max(axis=1)
    adjusted = shares(largest, observed[moderators], False)
    assert_allclose(test.pvalues_fwer.iloc[moderators], adjusted, rtol=1e-15)


def test_residuals_of_a_single_moderator_through_the_origin():
    y, v, X = studies(9, p=1, constant=False)
    kwds = {"tau2": 0.1}
    test = fit(y, v, X, **kwds).permutation_test(8, rng=1, method="residuals")
    sd = np.sqrt(v + 0.1)
    orders = resampling.random_orders(8, 9, np.random.default_rng(1))
    t = [fit(sd * (y / sd)[order], v, X, **kwds).tvalues[0] for order in orders]
    assert_allclose(test.null_distribution[:, 0], t, rtol=1e-9)


def test_permuting_residuals_tests_given_the_other_moderators():
    # x is closely related to z, which does all the work
    rng = np.random.default_rng(10)
    k = 40
    z = rng.normal(size=k)
    x = z + 0.3 * rng.normal(size=k)
    v = rng.uniform(0.01, 0.05, k)
    res = fit(2.0 * z + rng.normal(0.0, np.sqrt(v)), v, np.column_stack([np.ones(k), x, z]))
    test = res.permutation_test(199, rng=1, method="residuals")
    assert test.pvalues.iloc[2] == 1 / 200
    assert test.pvalues.iloc[1] > 0.05


@pytest.mark.parametrize("method", ["rows", "residuals"])
def test_no_moderators_sign_flips(method):
    y, v, _ = studies(11, k=6)
    y = np.abs(y) * [1, 1, -1, 1, 1, 1]
    X = np.ones((6, 1))
    res = fit(y, v, X)
    test = res.permutation_test(64, method=method)
    assert test.exact
    assert test.method == "signs"
    assert test.n_resamples == 64
    flips = itertools.product([1.0, -1.0], repeat=6)
    t = np.array([fit(np.array(s) * y, v, X).tvalues[0] for s in flips])
    assert_allclose(np.sort(test.null_distribution[:, 0]), np.sort(t), rtol=1e-9, atol=1e-12)
    known = shares(np.abs(t), abs(res.tvalues[0]), True)[0]
    assert_allclose([test.pvalues_fwer.iloc[0], known], test.pvalues.iloc[0], rtol=1e-12)
    assert np.isnan(test.omnibus_pvalue)
    assert np.isnan(test.omnibus_statistic)
    assert np.isnan(test.omnibus_null).all()
    some = res.permutation_test(63, rng=1)
    assert not some.exact
    # t statistics of opposite signs are as likely
    assert 0.2 < (some.null_distribution > 0).mean() < 0.8
    assert some.n_resamples == 63


def test_permutations_with_a_variance_of_zero():
    y, v, X = exact_study()
    test = fit(y, v, X).permutation_test(10, rng=1)
    orders = resampling.random_orders(10, 8, np.random.default_rng(1))
    for row, order in zip(test.null_distribution, orders, strict=True):
        assert_allclose(row, fit(y[order], v[order], X).tvalues, rtol=1e-7)
