"""Simulation and the bootstrap against loops of single fits."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from metareg_sm import MetaReg
from metareg_sm.exceptions import DesignError, FewStudiesWarning, VarianceError

from ._resampling import (
    SETTINGS,
    TIE,
    exact_study,
    fit,
    quantities,
    studies,
)


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
