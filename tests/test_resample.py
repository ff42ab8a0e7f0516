"""Permutation tests, bootstrap, simulation and subsets against loops of single fits."""

import itertools
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from metareg_sm import MetaReg, gosh
from metareg_sm.exceptions import DesignError, FewStudiesWarning, OptionError, VarianceError
from metareg_sm.stats import batch, resampling

SETTINGS = (
    {},
    {"tau2": "ml", "cov_type": "nonrobust"},
    {"tau2": "dl", "cov_type": "knapp-hartung-adhoc"},
    {"tau2": "pm"},
    {"tau2": 0.05},
)
# statistics of equal resamples differ by rounding
TIE = 1e-8


def studies(seed, k=9, p=3, spread=0.3, constant=True):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(k, p))
    if constant:
        X[:, 0] = 1.0
    v = 10.0 ** rng.uniform(-2, -0.5, k)
    y = X @ (0.4 * np.arange(p)) + rng.normal(0.0, np.sqrt(v + spread))
    return y, v, X


def fit(y, v, X, **kwds):
    return MetaReg(y, X, vi=v).fit(**kwds)


def shares(null, observed, exact):
    """p-values from statistics and a loop over them."""
    observed, found = np.atleast_1d(observed), []
    for j, value in enumerate(observed):
        column = null[:, j] if null.ndim == 2 else null
        extreme = sum(not row < value * (1.0 - TIE) for row in column)
        found.append(extreme / len(column) if exact else (extreme + 1) / (len(column) + 1))
    return np.array(found)


# --- permuting rows --------------------------------------------------------------------------


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


# --- permuting residuals, changing signs -----------------------------------------------------


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


# --- seeds and blocks ------------------------------------------------------------------------


def everything(res, rng=7):
    return {
        "rows": lambda: res.permutation_test(300, rng=rng).null_distribution,
        "residuals": lambda: res.permutation_test(300, rng=rng, method="residuals").omnibus_null,
        "pvalues": lambda: res.permutation_test(300, rng=rng).summary_frame(),
        "parametric": lambda: res.bootstrap(300, rng=rng).distribution,
        "studies": lambda: res.bootstrap(300, rng=rng, method="studies").distribution,
        "bca": lambda: res.bootstrap(300, rng=rng).conf_int(kind="bca"),
        "lr": lambda: np.atleast_1d(res.bootstrap_lr_test_tau2(300, rng=rng).pvalue),
        "simulate": lambda: res.simulate(300, rng=rng),
        "gosh": lambda: gosh(res, n_subsets=300, rng=rng).frame,
    }


WHAT = tuple(everything(None))
FAILS = "ignore:.*bootstrap samples have too few:metareg_sm.exceptions.FewStudiesWarning"


@pytest.mark.filterwarnings(FAILS)
@pytest.mark.parametrize("what", WHAT)
def test_reproducible(what):
    y, v, X = studies(12, k=14, spread=0.03)
    res = fit(y, v, X)
    # the global state is neither changed nor read
    state = np.random.get_state()  # noqa: NPY002
    first = everything(res)[what]()
    assert_allclose(everything(res)[what](), first, rtol=1e-12, atol=1e-13)
    assert_allclose(
        everything(res, np.random.default_rng(7))[what](), first, rtol=1e-12, atol=1e-13
    )
    assert (np.asarray(everything(res, 8)[what]()) != np.asarray(first)).any()
    assert_array_equal(np.random.get_state()[1], state[1])  # noqa: NPY002
    np.random.seed(99)  # noqa: NPY002
    try:
        assert_allclose(everything(res)[what](), first, rtol=1e-12, atol=1e-13)
    finally:
        np.random.set_state(state)  # noqa: NPY002


@pytest.mark.filterwarnings(FAILS)
@pytest.mark.parametrize("what", WHAT)
def test_blocks_do_not_matter(what, monkeypatch):
    y, v, X = studies(13, k=14, spread=0.03)
    res = fit(y, v, X)
    monkeypatch.setattr(batch, "BLOCK_CELLS", 10**9)
    whole = np.asarray(everything(res)[what]())
    for cells in (1, 14 * 101):
        monkeypatch.setattr(batch, "BLOCK_CELLS", cells)
        assert len(list(resampling.blocks(300, 14))) == {1: 5, 14 * 101: 3}[cells]
        cut = np.asarray(everything(res)[what]())
        if what in ("pvalues", "lr", "simulate"):
            assert_allclose(cut[..., -1], whole[..., -1], rtol=1e-12, atol=1e-13)
        assert_allclose(cut, whole, rtol=1e-9, atol=1e-9)


def test_a_generator_goes_on():
    y, v, X = studies(14)
    res, rng = fit(y, v, X), np.random.default_rng(1)
    first, second = res.simulate(5, rng=rng), res.simulate(5, rng=rng)
    assert_allclose(np.vstack([first, second]), res.simulate(10, rng=1), rtol=1e-12, atol=1e-13)


def test_without_a_seed_results_differ():
    y, v, X = studies(15)
    res = fit(y, v, X)
    assert (res.simulate(2) != res.simulate(2)).all()


# --- simulation ------------------------------------------------------------------------------


@pytest.mark.parametrize("tau2", [None, 0.0, 2.0])
def test_simulate_moments(tau2):
    y, v, X = studies(16)
    res = fit(y, v, X)
    n = 40_000
    drawn = res.simulate(n, rng=1, tau2=tau2)
    assert drawn.shape == (n, 9)
    variance = v + (res.tau2 if tau2 is None else tau2)
    z = (drawn - np.asarray(res.fittedvalues)) / np.sqrt(variance)
    # five standard errors of each
    assert_allclose(z.mean(axis=0), 0.0, atol=5 / np.sqrt(n))
    assert_allclose((z**2).mean(axis=0), 1.0, atol=5 * np.sqrt(2 / n))
    assert_allclose(np.corrcoef(z.T), np.eye(9), atol=5 / np.sqrt(n))
    assert stats.kstest(z.ravel(), "norm").pvalue > 1e-3


def test_simulate_uses_one_stream():
    y, v, X = studies(17)
    res = fit(y, v, X)
    noise = np.random.default_rng(3).standard_normal((4, 9))
    expected = np.asarray(res.fittedvalues) + np.sqrt(v + res.tau2) * noise
    assert_allclose(res.simulate(4, rng=3), expected, rtol=1e-14)
    assert res.simulate(rng=3).shape == (1, 9)
    # any covariance will do
    assert_allclose(
        fit(y, v, X, cov_type="HC2").simulate(4, rng=3),
        res.simulate(4, rng=3),
        rtol=1e-12,
        atol=1e-13,
    )


# --- the bootstrap ---------------------------------------------------------------------------


def quantities(res):
    h = res.heterogeneity
    return [*np.asarray(res.params), res.tau2, h.i2, h.r2]


@pytest.mark.parametrize("kwds", SETTINGS)
def test_parametric_bootstrap_is_fits_of_simulated_outcomes(kwds):
    y, v, X = studies(18)
    res = fit(y, v, X, **kwds)
    boot = res.bootstrap(20, rng=2)
    assert boot.method == "parametric"
    assert boot.n_failed == 0
    assert list(boot.distribution.columns) == ["const", "x1", "x2", "tau2", "i2", "r2"]
    for row, drawn in enumerate(res.simulate(20, rng=2)):
        known = quantities(fit(drawn, v, X, **kwds))
        assert_allclose(boot.distribution.iloc[row], known, rtol=1e-9, atol=1e-9)
    assert_allclose(boot.estimate, quantities(res), rtol=1e-14)
    assert_allclose(boot.standard_error, boot.distribution.to_numpy().std(axis=0, ddof=1))


@pytest.mark.parametrize("kwds", SETTINGS)
def test_bootstrap_of_studies_is_fits_of_repeated_rows(kwds):
    y, v, X = studies(19, k=12)
    res = fit(y, v, X, **kwds)
    counts = np.random.default_rng(2).multinomial(12, np.full(12, 1 / 12), size=20)
    boot = res.bootstrap(20, rng=2, method="studies")
    assert boot.method == "studies"
    assert boot.n_failed == 0
    assert counts.max() >= 3
    for row, count in enumerate(counts):
        at = np.repeat(np.arange(12), count)
        known = quantities(fit(y[at], v[at], X[at], **kwds))
        assert_allclose(boot.distribution.iloc[row], known, rtol=1e-9, atol=1e-9)


def test_samples_that_cannot_be_fitted():
    y, v, X = studies(20, k=6, p=3)
    X[:, 2] = [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    counts = np.random.default_rng(2).multinomial(6, np.full(6, 1 / 6), size=100)
    ranks = [np.linalg.matrix_rank(X[c > 0]) for c in counts]
    fitted = np.array([(c > 0).sum() > 3 and r == 3 for c, r in zip(counts, ranks, strict=True)])
    assert 10 < fitted.sum() < 90
    res = fit(y, v, X)
    with pytest.warns(FewStudiesWarning, match=f"{100 - fitted.sum()} of 100") as caught:
        boot = res.bootstrap(100, rng=2, method="studies")
    assert boot.n_failed == 100 - fitted.sum()
    assert len(boot.distribution) == fitted.sum()
    assert caught[0].filename == __file__
    first = np.repeat(np.arange(6), counts[fitted][0])
    assert_allclose(
        boot.distribution.iloc[0], quantities(fit(y[first], v[first], X[first])), rtol=1e-9
    )
    failing = next(
        s
        for s in range(100)
        if (np.random.default_rng(s).multinomial(6, np.full(6, 1 / 6), size=1) > 0).sum() <= 3
    )
    with (
        pytest.warns(FewStudiesWarning, match="1 of 1"),
        pytest.raises(DesignError, match="No bootstrap sample"),
    ):
        res.bootstrap(1, rng=failing, method="studies")


def test_percentile_intervals():
    y, v, X = studies(21)
    boot = fit(y, v, X).bootstrap(200, rng=1)
    for alpha in (0.05, 0.3):
        frame = boot.conf_int(alpha)
        assert list(frame.columns) == ["estimate", "ci_lower", "ci_upper"]
        ends = np.quantile(boot.distribution, [alpha / 2, 1 - alpha / 2], axis=0)
        assert_allclose(frame[["ci_lower", "ci_upper"]].T, ends, rtol=1e-12, atol=1e-13)
        assert_array_equal(frame["estimate"], boot.estimate)
        assert list(frame.index) == list(boot.distribution.columns)


# the quantity of a sample of studies, and its place in the table; tau2 is often 0, which ties
QUANTITIES = {
    "const": (lambda res: res.params[0], 0.3),
    "tau2": (lambda res: res.tau2, 0.02),
    "i2": (lambda res: res.heterogeneity.i2, 0.1),
}


@pytest.mark.parametrize("name", QUANTITIES)
@pytest.mark.parametrize("method", ["studies", "parametric"])
def test_bca_is_scipys(name, method):
    pick, spread = QUANTITIES[name]
    y, v, X = studies(22, k=10, p=1, spread=spread)
    boot = fit(y, v, X, tau2="dl").bootstrap(400, rng=1, method=method)
    if name == "tau2":
        assert (boot.distribution["tau2"] == 0.0).mean() > 0.02

    def statistic(outcome, variance):
        return float(pick(fit(outcome, variance, np.ones((len(outcome), 1)), tau2="dl")))

    for alpha in (0.05, 0.2):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            known = stats.bootstrap(
                (y, v),
                statistic,
                paired=True,
                vectorized=False,
                method="BCa",
                confidence_level=1 - alpha,
                n_resamples=0,
                bootstrap_result=SimpleNamespace(
                    bootstrap_distribution=boot.distribution[name].to_numpy()
                ),
            ).confidence_interval
        found = boot.conf_int(alpha, kind="bca").loc[name]
        assert_allclose([found.ci_lower, found.ci_upper], known, rtol=1e-9)
        plain = boot.conf_int(alpha).loc[name]
        assert found.ci_upper != plain.ci_upper


@pytest.mark.parametrize("kind", ["percentile", "bca"])
def test_intervals_of_means(kind, bcg):
    res = MetaReg.from_formula("yi ~ ablat + year", bcg, vi="vi").fit()
    boot = res.bootstrap(150, rng=1)
    frame = boot.conf_int_mean({"ablat": [0, 33], "year": [1950, 1970]}, kind=kind)
    assert list(frame.columns) == ["estimate", "ci_lower", "ci_upper"]
    rows = np.array([[1.0, 0.0, 1950.0], [1.0, 33.0, 1970.0]])
    assert_allclose(
        boot.conf_int_mean(rows, kind=kind, transform=False), frame, rtol=1e-12, atol=1e-13
    )
    prediction = res.get_prediction({"ablat": [0, 33], "year": [1950, 1970]})
    assert_allclose(frame["estimate"], prediction.predicted, rtol=1e-9)
    # the mean at a moderator is the constant of the model that is centred there
    for i, (ablat, year) in enumerate([(0, 1950), (33, 1970)]):
        moved = bcg.assign(ablat=bcg.ablat - ablat, year=bcg.year - year)
        known = MetaReg.from_formula("yi ~ ablat + year", moved, vi="vi").fit()
        ends = known.bootstrap(150, rng=1).conf_int(kind=kind).loc["Intercept"]
        assert_allclose(frame.iloc[i], ends, rtol=1e-7)


def test_bca_of_as_few_studies_as_can_be():
    # without any one study there is nothing to fit: no acceleration
    y, v, X = studies(23, k=3, p=2)
    boot = fit(y, v, X).bootstrap(99, rng=1)
    frame = boot.conf_int(kind="bca")
    assert frame.notna().all(axis=None)
    assert (frame.ci_lower <= frame.ci_upper).all()


def test_bootstrap_covers():
    # 90% intervals of a moderator's coefficient from 120 data sets; four standard errors
    rng = np.random.default_rng(24)
    X = np.column_stack([np.ones(15), np.linspace(-1, 1, 15)])
    hits = 0
    for _ in range(120):
        v = rng.uniform(0.02, 0.2, 15)
        y = 0.5 * X[:, 1] + rng.normal(0.0, np.sqrt(v + 0.1))
        ends = fit(y, v, X).bootstrap(199, rng=rng).conf_int(0.1).loc["x1"]
        hits += ends.ci_lower <= 0.5 <= ends.ci_upper
    assert abs(hits / 120 - 0.9) < 4 * np.sqrt(0.09 / 120)


@pytest.mark.parametrize("kwds", [{}, {"tau2": "ml"}, {"tau2": "dl"}, {"cov_type": "HC1"}])
def test_bootstrap_lr_test(kwds):
    y, v, X = studies(30, spread=0.02)
    res = fit(y, v, X, **kwds)
    known = res.lr_test_tau2()
    test = res.bootstrap_lr_test_tau2(60, rng=5)
    assert_allclose(test.statistic, known.statistic, rtol=1e-12)
    assert_allclose(test.df, known.df, rtol=1e-12)
    mean = np.asarray(fit(y, v, X, tau2=0.0, cov_type="nonrobust").fittedvalues)
    noise = np.random.default_rng(5).standard_normal((60, 9))
    drawn = mean + np.sqrt(v) * noise
    null = np.array([fit(row, v, X, **kwds).lr_test_tau2().statistic for row in drawn])
    assert (null > 0.0).any()
    extreme = (null >= known.statistic * (1.0 - TIE)).sum()
    assert 0 < extreme < 60
    assert test.pvalue == (extreme + 1) / 61


def test_bootstrap_lr_test_at_the_boundary():
    y, v, X = studies(26, spread=0.0)
    y = X @ [0.0, 0.4, 0.8] + 0.2 * (y - X @ [0.0, 0.4, 0.8])
    res = fit(y, v, X)
    assert res.tau2 == 0.0
    assert res.bootstrap_lr_test_tau2(19, rng=1).pvalue == 1.0


# --- subsets ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kwds", SETTINGS)
def test_gosh_is_fits_of_subsets(kwds):
    y, v, X = studies(27, k=6, p=2)
    found = gosh(fit(y, v, X, **kwds))
    assert found.exhaustive
    assert found.n_failed == 0
    sets = [s for size in range(3, 7) for s in itertools.combinations(range(6), size)]
    assert len(found.frame) == len(sets) == 42
    assert {tuple(np.flatnonzero(row)) for row in found.subsets} == set(sets)
    assert list(found.frame.columns) == ["size", "const", "x1", "tau2", "i2", "q"]
    for row, subset in zip(found.frame.to_numpy(), found.subsets, strict=True):
        res = fit(y[subset], v[subset], X[subset], **kwds)
        h = res.heterogeneity
        known = [subset.sum(), *np.asarray(res.params), res.tau2, h.i2, h.q]
        assert_allclose(row, known, rtol=1e-9, atol=1e-9)


def test_gosh_smallest_subsets():
    y, v, X = studies(28, k=7, p=2)
    res = fit(y, v, X)
    assert gosh(res, min_size=6).frame["size"].tolist().count(6) == 7
    assert len(gosh(res, min_size=6).frame) == 8
    only = gosh(res, min_size=7)
    assert_allclose(only.frame["tau2"], [res.tau2], rtol=1e-9)
    # as many as there are, then one fewer
    assert gosh(res, n_subsets=99).exhaustive
    assert not gosh(res, n_subsets=98, rng=1).exhaustive


def test_gosh_at_random():
    y, v, X = studies(29, k=20, p=2)
    res = fit(y, v, X)
    found = gosh(res, n_subsets=400, min_size=9, rng=1)
    assert not found.exhaustive
    assert len(found.frame) == 400
    assert (found.frame["size"] == found.subsets.sum(axis=1)).all()
    assert found.frame["size"].min() == 9
    for i in (0, 399):
        subset = found.subsets[i]
        known = fit(y[subset], v[subset], X[subset])
        assert_allclose(found.frame["tau2"][i], known.tau2, rtol=1e-9, atol=1e-9)
    # all subsets are equally likely: 400 draws of which a study is in half, and in a few more of
    # those of at least 9
    assert (abs(found.subsets.mean(axis=0) - 0.56) < 4 * 0.025).all()


class Patient(np.random.Generator):
    """A generator that notices that it is asked in vain."""

    asked = 0

    def integers(self, *args, **kwds):
        self.asked += 1
        assert self.asked < 500, "drawn again and again"
        return super().integers(*args, **kwds)


def test_gosh_of_large_subsets_at_random():
    y, v, X = studies(30, k=40, p=2)
    found = gosh(fit(y, v, X), n_subsets=50, min_size=38, rng=Patient(np.random.PCG64(1)))
    assert found.frame["size"].min() >= 38


def test_gosh_subsets_that_cannot_be_fitted():
    y, v, X = studies(31, k=6, p=2)
    X[:, 1] = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    found = gosh(fit(y, v, X))
    # all with the first study, and as many without it
    assert found.n_failed == 10 + 5 + 1
    assert len(found.frame) == 10 + 10 + 5 + 1
    assert found.subsets[:, 0].all()


def test_plot_data():
    y, v, X = studies(32, k=6, p=2)
    res = fit(y, v, X)
    found = gosh(res)
    data = found.plot_data()
    assert list(data.columns) == ["i2", "const"]
    data = found.plot_data("tau2", "x1", study=4)
    assert list(data.columns) == ["tau2", "x1", "included"]
    assert_array_equal(data["x1"], found.frame["x1"])
    assert_array_equal(data["included"], found.subsets[:, 4])
    assert "included" not in found.frame
    for bad in ({"x": "h2"}, {"y": "beta"}):
        with pytest.raises(OptionError, match="is no column"):
            found.plot_data(**bad)
    # the results themselves rather than their pandas face
    pd.testing.assert_frame_equal(gosh(res._results).frame, found.frame, rtol=1e-12)


# --- variances of zero -----------------------------------------------------------------------


def exact_study():
    rng = np.random.default_rng(33)
    k = 8
    X = np.column_stack([np.ones(k), rng.normal(size=k)])
    v = rng.uniform(0.05, 0.5, k)
    v[0] = 0.0
    return rng.normal(0.0, 1.0, k), v, X


def test_permutations_with_a_variance_of_zero():
    y, v, X = exact_study()
    test = fit(y, v, X).permutation_test(10, rng=1)
    orders = resampling.random_orders(10, 8, np.random.default_rng(1))
    for row, order in zip(test.null_distribution, orders, strict=True):
        assert_allclose(row, fit(y[order], v[order], X).tvalues, rtol=1e-7)


@pytest.mark.parametrize("method", ["parametric", "studies"])
@pytest.mark.parametrize("tau2", ["reml", "pm"])
def test_bootstrap_with_a_variance_of_zero(method, tau2):
    # I2 is undefined, as it is for the fit itself; the number of studies is not to blame
    y, v, X = exact_study()
    res = fit(y, v, X, tau2=tau2)
    with pytest.raises(VarianceError, match="undefined"):
        quantities(res)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(VarianceError, match="undefined"):
            res.bootstrap(40, rng=1, method=method)


def test_gosh_with_a_variance_of_zero():
    y, v, X = exact_study()
    res = fit(y, v, X, tau2="reml")
    found = gosh(res)
    without = ~found.subsets[:, 0]
    # whatever becomes of the others, those that lack the study are ordinary
    assert without.sum() == 2**7 - 1 - 7 - 21
    for i in np.flatnonzero(without)[::9]:
        subset = found.subsets[i]
        known = fit(y[subset], v[subset], X[subset])
        assert_allclose(found.frame["tau2"].iloc[i], known.tau2, rtol=1e-9, atol=1e-10)


# --- what is refused -------------------------------------------------------------------------


def calls(res):
    return {
        "permutation_test": lambda **k: res.permutation_test(**{"n_resamples": 9, **k}),
        "bootstrap": lambda **k: res.bootstrap(**{"n_resamples": 9, **k}),
        "simulate": lambda **k: res.simulate(**{"tau2": None, **k}),
        "bootstrap_lr_test_tau2": lambda **k: res.bootstrap_lr_test_tau2(**{"rng": 1, **k}),
    }


@pytest.mark.parametrize("n", [0, -1, 1.5, True, "many", None, np.nan])
@pytest.mark.parametrize("what", calls(None))
def test_refused_numbers_of_resamples(what, n):
    y, v, X = studies(34)
    with pytest.raises(OptionError, match="n_resamples"):
        calls(fit(y, v, X))[what](n_resamples=n)


@pytest.mark.parametrize("what", ["permutation_test", "bootstrap"])
def test_refused_methods(what):
    y, v, X = studies(35)
    with pytest.raises(OptionError, match="method='columns'"):
        calls(fit(y, v, X))[what](method="columns")
    for kwds in ({"cov_type": "HC3"}, {"tau2": "genq", "weights": np.ones(9)}):
        with pytest.raises(OptionError, match="Resampling"):
            calls(fit(y, v, X, **kwds))[what]()
    with pytest.warns(match="redundant"):
        model = MetaReg(y, np.column_stack([X, X[:, 1]]), vi=v)
    with pytest.raises(DesignError, match="redundant"):
        calls(model.fit())[what]()


def test_refused_options():
    y, v, X = studies(36)
    res = fit(y, v, X)
    with pytest.raises(OptionError, match="kind='normal'"):
        res.bootstrap(9, rng=1).conf_int(kind="normal")
    for tau2 in (-0.1, np.nan, np.inf):
        with pytest.raises(OptionError, match="tau2"):
            res.simulate(2, tau2=tau2)
    for kwds in ({"n_subsets": 0}, {"min_size": 3}, {"min_size": 10}, {"min_size": 4.5}):
        with pytest.raises(OptionError, match=next(iter(kwds))):
            gosh(res, **kwds)
    with pytest.raises(OptionError, match="Resampling"):
        gosh(fit(y, v, X, cov_type="HC0"))


@pytest.mark.parametrize("alpha", [2.0, -0.5, np.nan])
def test_refused_levels(alpha):
    y, v, X = studies(37)
    boot = fit(y, v, X).bootstrap(19, rng=1)
    with pytest.raises(ValueError, match=r"alpha|range \[0, 1\]"):
        boot.conf_int(alpha)


# --- what must hold for every data set -------------------------------------------------------


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["rows", "residuals"]),
    st.sampled_from(["reml", "ml", "dl", "pm"]),
    st.sampled_from([1e-3, -1.0, 20.0]),
)
def test_units_do_not_matter(seed, method, tau2, c):
    y, v, X = studies(seed)
    known = fit(y, v, X, tau2=tau2).permutation_test(49, rng=1, method=method)
    moved = X * [1.0, -3.0, 100.0]
    if method == "residuals":
        # each moderator is tested given the others, whatever their origin
        moved = moved + np.array([0.0, 5.0, -20.0])
    scaled = fit(c * y, c * c * v, moved, tau2=tau2).permutation_test(49, rng=1, method=method)
    moderators = ["x1", "x2"]
    assert_allclose(scaled.pvalues[moderators], known.pvalues[moderators], rtol=1e-12, atol=1e-13)
    assert_allclose(
        scaled.pvalues_fwer[moderators], known.pvalues_fwer[moderators], rtol=1e-12, atol=1e-13
    )
    assert_allclose(scaled.omnibus_pvalue, known.omnibus_pvalue, rtol=1e-12)
    assert (known.pvalues_fwer >= known.pvalues).all()
    assert (known.pvalues >= 1 / 50).all()
    assert (known.pvalues <= 1.0).all()
    boot = fit(y, v, X, tau2=tau2).bootstrap(25, rng=1)
    again = fit(c * y, c * c * v, X, tau2=tau2).bootstrap(25, rng=1)
    # a negative unit turns the noise round
    if c > 0:
        unit = [c, c, c, c * c, 1.0, 1.0]
        assert_allclose(again.distribution / unit, boot.distribution, rtol=1e-7, atol=1e-7)
    i2, r2 = boot.distribution["i2"], boot.distribution["r2"]
    assert ((i2 >= 0) & (i2 < 1) & (r2 >= 0) & (r2 <= 1)).all()
