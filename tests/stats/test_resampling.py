"""Resampling schemes on arrays, against itertools, scipy and formulas written out."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from metareg_sm import MetaReg
from metareg_sm.core.basis import design_basis
from metareg_sm.core.tau2 import ESTIMATORS
from metareg_sm.stats import blocks, resampling
from metareg_sm.stats.covariance import COVARIANCES

labels_of_rows = st.lists(st.integers(0, 3), min_size=1, max_size=6).map(
    lambda rows: np.unique(rows, return_inverse=True)[1]
)


def data(seed, k=8, p=3):
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(k), rng.normal(size=(k, p - 1))])
    v = rng.uniform(0.02, 0.5, k)
    return rng.normal(0.0, np.sqrt(v + 0.2)), v, X


def refit_for(X, name="reml", cov_type="knapp-hartung"):
    factor = COVARIANCES[cov_type].factor
    return resampling.ResampledModel(design_basis(X), ESTIMATORS[name], 0.0, factor)


# --- arrangements ----------------------------------------------------------------------------


@settings(max_examples=60, deadline=None, derandomize=True)
@given(labels_of_rows)
def test_arrangements(labels):
    known = sorted(set(itertools.permutations(labels.tolist())))
    found = resampling.all_arrangements(labels)
    assert found.tolist() == [list(a) for a in known]
    assert resampling.count_arrangements(labels) == len(known)
    orders = resampling.orders_of(found, labels)
    for order, arrangement in zip(orders, found, strict=True):
        assert sorted(order) == list(range(len(labels)))
        # the study that stands against row i of the moderators was given that row's label
        assert_array_equal(arrangement[order], labels)


def test_arrangements_are_counted_exactly():
    assert resampling.count_arrangements(np.arange(25)) == 15511210043330985984000000
    assert resampling.count_arrangements(np.zeros(25, dtype=int)) == 1
    assert resampling.count_arrangements(np.arange(30) % 2) == 155117520


def test_all_arrangements_leave_the_labels():
    labels = np.array([2, 0, 1, 0])
    resampling.all_arrangements(labels)
    assert labels.tolist() == [2, 0, 1, 0]


def test_random_orders():
    orders = resampling.random_orders(24_000, 4, np.random.default_rng(1))
    assert (np.sort(orders, axis=1) == np.arange(4)).all()
    _, counts = np.unique(orders, axis=0, return_counts=True)
    # each of the 24 permutations 1,000 times
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 1e-3
    assert_array_equal(resampling.random_orders(24_000, 4, np.random.default_rng(1)), orders)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 400_000), st.integers(1, 5000), st.integers(0, 1000))
def test_blocks_are_a_partition(n, k, rank):
    parts = list(resampling.blocks(rank, n, k))
    assert parts[0].start == 0
    assert parts[-1].stop == n
    assert all(a.stop == b.start for a, b in itertools.pairwise(parts))
    assert all((b.stop - b.start) * k <= max(blocks.BLOCK_CELLS, 64 * k) for b in parts)


# --- p-values --------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.integers(0, 6), st.booleans())
def test_pvalues(null, observed, exact):
    null = np.array(null, dtype=float)
    extreme = sum(value >= observed for value in null)
    known = extreme / len(null) if exact else (extreme + 1) / (len(null) + 1)
    assert resampling.permutation_pvalue(null, np.asarray(float(observed)), exact) == known
    both = resampling.permutation_pvalue(
        np.column_stack([null, null + 1]), np.array([observed, observed + 1.0]), exact
    )
    assert both.tolist() == [known, known]


def test_pvalues_of_ties_and_failures():
    observed = np.asarray(2.0)
    assert resampling.permutation_pvalue(np.array([2.0 * (1 - 1e-12)]), observed, True) == 1.0
    assert resampling.permutation_pvalue(np.array([2.0 * (1 - 1e-6)]), observed, True) == 0.0
    # what could not be fitted speaks for no effect
    null = np.array([np.nan, 1.0, 1.0])
    assert resampling.permutation_pvalue(null, observed, False) == 0.5


# --- refits ----------------------------------------------------------------------------------


@pytest.mark.parametrize("cov_type", ["knapp-hartung", "knapp-hartung-adhoc", "nonrobust"])
def test_t_and_wald_statistics(cov_type):
    y, v, X = data(1, p=4)
    refit = refit_for(X, cov_type=cov_type)
    found = refit(np.stack([y, -2.0 * y]), v)
    R = np.array([[0.0, 1.0, 0.0, 0.0], [0.0, 1.0, -2.0, 0.5]])
    for row, outcome in enumerate((y, -2.0 * y)):
        res = MetaReg(outcome, X, vi=v).fit(cov_type=cov_type)
        assert_allclose(refit.t_statistics(found)[row], res.tvalues, rtol=1e-9)
        known = res.wald_test(R, scalar=True).statistic
        known = known if res.use_t else known / 2
        assert_allclose(refit.wald(found, R)[row], known, rtol=1e-9)
        # a single contrast is the square of its t statistic
        t = np.ravel(res.t_test(R[1:]).tvalue)[0]
        assert_allclose(refit.wald(found, R[1:])[row], t**2, rtol=1e-9)


@pytest.mark.parametrize("name", ["reml", "ml", "dl", "pm", "he", "sj", "hs", "hsk", "dlit", "pmm"])
def test_counts_are_repeated_rows(name):
    y, v, X = data(2, k=7, p=2)
    counts = np.array(
        [[1, 1, 1, 1, 1, 1, 1], [2, 0, 1, 3, 0, 1, 0], [0, 0, 1, 1, 1, 0, 0], [0, 4, 4, 1, 1, 0, 0]]
    )
    found = resampling.refit_counts(y, v, refit_for(X, name), counts)
    for row, count in enumerate(counts):
        at = np.repeat(np.arange(7), count)
        res = MetaReg(y[at], X[at], vi=v[at]).fit(tau2=name)
        assert_allclose(found.tau2[row], res.tau2, rtol=1e-9, atol=1e-11)
        assert_allclose(found.params[row], res.params, rtol=1e-9, atol=1e-9)
        assert_allclose(found.scale[row], res.scale, rtol=1e-9)


def test_counts_that_cannot_be_fitted():
    y, v, X = data(3, k=6, p=2)
    X[:, 1] = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    counts = np.array([[9, 9, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0], [1, 1, 0, 1, 0, 0]])
    found = resampling.refit_counts(y, v, refit_for(X), counts)
    assert np.isnan(found.tau2).tolist() == [True, True, False]
    assert np.isnan(found.params[:2]).all()


def test_deletions():
    y, v, X = data(4, k=6, p=2)
    assert resampling.deletions(6).tolist() == (1.0 - np.eye(6)).tolist()
    found = resampling.refit_counts(y, v, refit_for(X), resampling.deletions(6))
    for i in range(6):
        res = MetaReg(np.delete(y, i), np.delete(X, i, axis=0), vi=np.delete(v, i)).fit()
        assert_allclose(found.tau2[i], res.tau2, rtol=1e-9, atol=1e-11)
        assert_allclose(found.params[i], res.params, rtol=1e-9, atol=1e-9)


def test_few_data_sets_keep_their_rows():
    # small blocks of awkward data, one block by itself and all together
    rng = np.random.default_rng(5)
    X, v = np.ones((6, 1)), 10.0 ** rng.uniform(-2, 2, 6)
    y = rng.normal(0.0, np.sqrt(v + 10.0 ** rng.uniform(-1, 2, (300, 1))))
    refit = refit_for(X, "ml")
    known = np.array([MetaReg(row, X, vi=v).fit(tau2="ml").tau2 for row in y])
    assert_allclose(resampling.refit_outcomes(y, v, refit).tau2, known, rtol=1e-9, atol=1e-11)
    for n in (2, 3):
        found = np.concatenate([refit(y[i : i + n], v).tau2 for i in range(0, 300, n)])
        assert_allclose(found, known, rtol=1e-9, atol=1e-11)


# --- intervals -------------------------------------------------------------------------------


def test_percentile_interval():
    draws = np.random.default_rng(6).normal(size=(101, 3))
    found = resampling.percentile_interval(draws, 0.1)
    assert found.shape == (3, 2)
    assert_allclose(found, np.quantile(draws, [0.05, 0.95], axis=0).T, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("statistic", [np.mean, np.var, np.median, np.max])
def test_bca_interval_is_scipys(statistic):
    rng = np.random.default_rng(7)
    values = rng.exponential(size=15)
    draws = statistic(values[rng.integers(0, 15, size=(500, 15))], axis=1)
    jackknife = np.array([statistic(np.delete(values, i)) for i in range(15)])
    for alpha in (0.01, 0.05, 0.5):
        known = stats.bootstrap(
            (values,),
            statistic,
            method="BCa",
            confidence_level=1.0 - alpha,
            n_resamples=0,
            bootstrap_result=SimpleNamespace(bootstrap_distribution=draws),
        ).confidence_interval
        found = resampling.bca_interval(
            np.column_stack([draws, -draws]),
            np.array([statistic(values), -statistic(values)]),
            np.column_stack([jackknife, -jackknife]),
            alpha,
        )
        assert_allclose(found[0], known, rtol=1e-10)
        assert_allclose(found[1], [-known.high, -known.low], rtol=1e-10)


def test_bca_without_bias_or_skewness_is_percentile():
    draws = np.linspace(-1.0, 1.0, 1001)[:, None]
    jackknife = np.array([[-1.0], [0.0], [1.0]])
    found = resampling.bca_interval(draws, np.zeros(1), jackknife, 0.1)
    assert_allclose(found, resampling.percentile_interval(draws, 0.1), atol=1e-12)


def test_bca_of_a_constant():
    # tau2 = 0 in the data, in every resample and without every study
    draws, jackknife = np.zeros((50, 1)), np.zeros((8, 1))
    assert resampling.bca_interval(draws, np.zeros(1), jackknife, 0.05).tolist() == [[0.0, 0.0]]


def test_bca_of_an_estimate_beyond_all_draws():
    draws = np.random.default_rng(8).normal(size=(99, 1))
    jackknife = np.random.default_rng(9).normal(size=(8, 1))
    for estimate in (-50.0, 50.0):
        ends = resampling.bca_interval(draws, np.array([estimate]), jackknife, 0.05)[0]
        assert np.isfinite(ends).all()
        assert draws.min() <= ends[0] <= ends[1] <= draws.max()
