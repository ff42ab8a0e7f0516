"""What the simulations claim, each with its Monte Carlo error."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from metareg_sm import fit_many, simulate
from metareg_sm.exceptions import OptionError
from metareg_sm.stats.bivariate import fit_bivariate, profile_loglike

N = 2000


def design(x):
    return np.column_stack([np.ones(len(x)), np.asarray(x) - np.mean(x)])


def rate_error(rate):
    return np.sqrt(rate * (1.0 - rate) / N)


def test_collapsibility_gives_a_slope_that_nobody_has():
    sets = simulate.collapsibility(N, rng=1)
    yi, vi = sets.log_odds_ratios()
    many = fit_many(yi, design(sets.baseline), vi)
    slope = many.params[:, 1]
    error = slope.std(ddof=1) / np.sqrt(N)
    # every participant has the odds ratio e, whatever the risk
    assert slope.mean() < -20 * error
    # the truth is of least squares on a curve; the fit weighs its parts otherwise
    assert slope.mean() == pytest.approx(sets.truth["slope"], abs=0.01)
    assert np.mean(many.pvalues[:, 1] < 0.05) > 0.5
    assert np.all(yi.mean(0) < sets.truth["log_odds_ratio"])
    # participants of one risk: no slope
    alike = simulate.collapsibility(N, risk_sd=1e-6, rng=1)
    yi, vi = alike.log_odds_ratios()
    many = fit_many(yi, design(alike.baseline), vi)
    assert alike.truth["slope"] == pytest.approx(0.0, abs=1e-9)
    assert np.mean(many.pvalues[:, 1] < 0.05) < 0.05 + 4 * rate_error(0.05)


def test_ecological_slope_has_the_wrong_sign_and_the_test_notices():
    sets = simulate.ecological(N, rng=2)
    across = fit_many(sets.effects, design(sets.mean_age), sets.effects_vi)
    within = fit_many(sets.interactions, np.ones((12, 1)), sets.interactions_vi)
    for many, column, truth in ((across, 1, -0.04), (within, 0, 0.03)):
        estimate = many.params[:, column]
        error = estimate.std(ddof=1) / np.sqrt(N)
        assert abs(estimate.mean() - truth) < 4 * error
        ends = many.conf_int()[:, column]
        coverage = np.mean((ends[:, 0] < truth) & (truth < ends[:, 1]))
        assert abs(coverage - 0.95) < 0.02 + 4 * rate_error(0.95)
    # a reader of the slope across trials takes it for that of participants
    assert np.mean(across.params[:, 1] < 0.0) > 0.99
    statistic = (across.params[:, 1] - within.params[:, 0]) / np.hypot(
        across.bse[:, 1], within.bse[:, 0]
    )
    assert np.mean(np.abs(statistic) > 2.2) > 0.95
    same = simulate.ecological(N, across=0.03, rng=3)
    across = fit_many(same.effects, design(same.mean_age), same.effects_vi)
    within = fit_many(same.interactions, np.ones((12, 1)), same.interactions_vi)
    statistic = (across.params[:, 1] - within.params[:, 0]) / np.hypot(
        across.bse[:, 1], within.bse[:, 0]
    )
    assert np.mean(np.abs(statistic) > 2.2) < 0.05 + 4 * rate_error(0.05)


def test_screening_finds_what_is_not_there():
    sets = simulate.screening(N, rng=4)
    pvalues = np.column_stack(
        [
            fit_many(sets.yi, design(sets.moderators[name]), sets.vi).pvalues[:, 1]
            for name in sets.moderators
        ]
    )
    assert pvalues.shape == (N, 12)
    # each test alone keeps its level, about: t with k - p degrees of freedom is an approximation
    for single in np.mean(pvalues < 0.05, axis=0):
        assert abs(single - 0.05) < 0.01 + 4 * rate_error(0.05)
    # one of twelve is significant in nearly every second review of nothing
    family = np.mean(pvalues.min(axis=1) < 0.05)
    expected = 1.0 - 0.95**12
    assert family > 0.4 + 4 * rate_error(0.4)
    # outcomes are shared, and 12 moderators of 20 studies are correlated: near, not equal
    assert abs(family - expected) < 0.05 + 4 * rate_error(expected)
    # the adjusted test keeps the level of the family, as the single ones keep theirs
    bonferroni = np.mean(pvalues.min(axis=1) < 0.05 / 12)
    assert bonferroni < 0.25 * family


def test_naive_baseline_slope_is_biased_where_the_model_is_not():
    sets = simulate.baseline(N, n_studies=20, sd=0.6, slope=1.0, rng=7)
    y, x, vy, vx = sets.log_odds()
    model = fit_bivariate(x, y, vx, vy)
    w = 1.0 / (vx + vy)
    gaps = x - (w * x).sum(1, keepdims=True) / w.sum(1, keepdims=True)
    naive = (w * gaps * y).sum(1) / (w * gaps**2).sum(1)
    error = naive.std(ddof=1) / np.sqrt(N)
    assert naive.mean() < sets.truth["slope"] - 30 * error
    error = model.slope.std(ddof=1) / np.sqrt(N)
    assert abs(model.slope.mean() - sets.truth["slope"]) < 4 * error
    # the test of "no dependence" is true where the naive one cries wolf
    fall = 2.0 * (model.llf - profile_loglike(x, y, vx, vy, 1.0))
    assert np.mean(fall > stats.chi2.ppf(0.95, 1)) < 0.05 + 4 * rate_error(0.05)


TABLE = Path(__file__).parents[1] / "benchmarks" / "ecology.csv"


@pytest.fixture(scope="module")
def table():
    """The table that the pages show, as `benchmarks/ecology.py` wrote it."""
    return pd.read_csv(TABLE).set_index(["simulation", "setting", "method"])


def test_the_table_has_its_replicates(table):
    assert (table["replicates"] == 10_000).all()
    for name in ("reject", "coverage"):
        p = table[name]
        error = np.sqrt(p * (1.0 - p) / 10_000)
        # to the digits that the table was written with
        np.testing.assert_allclose(table[f"{name}_mcse"], error, rtol=1e-3, atol=1e-9)


def claim(table, simulation, method):
    rows = table.xs((simulation, method), level=("simulation", "method"))
    return rows, rows["estimate"] - rows["truth"], rows["estimate_mcse"]


def test_the_table_shows_what_the_pages_say(table):
    rows, bias, error = claim(table, "collapsibility", "slope on true baseline log odds")
    # the more participants differ, the steeper a slope that none of them has
    assert (bias.iloc[1:] < -20 * error.iloc[1:]).all()
    assert bias.iloc[2] < bias.iloc[1] - 20 * error.iloc[1]
    assert rows["reject"].iloc[0] < 0.05 + 4 * rows["reject_mcse"].iloc[0]
    assert (rows["reject"].iloc[1:] > 0.6).all()
    rows, bias, error = claim(table, "ecological", "interaction within trials")
    assert (bias.abs() < 4 * error).all()
    assert ((rows["coverage"] - 0.95).abs() < 4 * rows["coverage_mcse"]).all()
    rows, bias, error = claim(table, "ecological", "slope across trials")
    assert abs(bias.iloc[0]) < 4 * error.iloc[0]
    assert bias.iloc[1] < -100 * error.iloc[1]
    assert rows["estimate"].iloc[1] < 0.0 < rows["truth"].iloc[1]
    assert rows["coverage"].iloc[1] == 0.0
    rows, bias, error = claim(table, "ecological", "test of their difference")
    assert abs(rows["reject"].iloc[0] - 0.05) < 4 * rows["reject_mcse"].iloc[0]
    assert rows["reject"].iloc[1] > 0.99
    rows, bias, error = claim(table, "baseline", "naive")
    assert (bias < -50 * error).all()
    assert (rows["coverage"] < 0.9).all()
    rows, bias, error = claim(table, "baseline", "bivariate model")
    assert (rows["coverage"] > 0.95 - 4 * rows["coverage_mcse"]).all()
    # its likelihood is skewed: the median is nearer to the truth than the mean
    assert ((rows["median"] - rows["truth"]).abs() < 0.011).all()
    assert (bias.abs() < 0.01).all()
    rows, _, _ = claim(table, "screening", "any of 12 at 0.05")
    assert (rows["reject"] > 0.45).all()
    adjusted, _, _ = claim(table, "screening", "any of 12, Bonferroni")
    assert (adjusted["reject"] < 0.25 * rows["reject"]).all()


def test_baseline_tables():
    sets = simulate.baseline(N, rng=5)
    treated, control, v1, v2 = sets.log_odds()
    assert treated.shape == control.shape == v1.shape == v2.shape == (N, 15)
    frame = sets.frame(3)
    assert frame.columns.tolist() == ["ai", "n1i", "ci", "n2i"]
    assert frame.attrs["simulated"]
    assert (frame["ai"] <= frame["n1i"]).all()
    yi, vi = sets.log_odds_ratios()
    np.testing.assert_allclose(yi, treated - control)
    np.testing.assert_allclose(vi, v1 + v2)
    # the effect does not depend on the risk, and the naive slope says that it does
    centred = control - np.average(control, weights=1.0 / vi, axis=None)
    w = 1.0 / vi
    m = (w * control).sum(1, keepdims=True) / w.sum(1, keepdims=True)
    naive = (w * (control - m) * yi).sum(1) / (w * (control - m) ** 2).sum(1)
    assert centred.shape == control.shape
    assert naive.mean() < -10 * naive.std(ddof=1) / np.sqrt(N)


def test_zero_cells():
    sets = simulate.baseline(50, n_per_arm=5, mean=-3.0, rng=6)
    yi, vi = sets.log_odds_ratios()
    assert np.isfinite(yi).all()
    assert np.isfinite(vi).all()


def test_participants():
    one = simulate.participants(n_studies=4, rng=1)
    two = simulate.participants(n_studies=4, rng=np.random.default_rng(1))
    assert one.equals(two)
    assert one.attrs["simulated"] is True
    assert one.groupby("study")["treat"].mean().eq(0.5).all()
    binary = simulate.participants(n_studies=4, outcome="binary", rng=1)
    assert set(binary["y"]) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: simulate.participants(outcome="count"), "outcome='count' is not known"),
        (lambda: simulate.participants(n_studies=0), "n_studies must be a whole number"),
        (lambda: simulate.participants(tau2=-1.0), "tau2 must be a finite number"),
        (lambda: simulate.ecological(n_studies=2), "at least 3"),
        (lambda: simulate.ecological(tau2=-1), "tau2 must be a finite number >= 0"),
        (lambda: simulate.baseline(sd=-1), "sd must be a finite number >= 0"),
        (lambda: simulate.baseline(tau=np.nan), "tau must be a finite number"),
        (lambda: simulate.baseline(slope=np.inf), "slope must be a finite number"),
        (lambda: simulate.collapsibility(risk_sd=-1), "risk_sd must be a finite number >= 0"),
        (lambda: simulate.participants(within=np.inf), "within must be a finite number"),
        (lambda: simulate.screening(rng="x"), "rng must be None, a whole number"),
        (lambda: simulate.screening(n_moderators=1.5), "n_moderators must be a whole"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(OptionError, match=message):
        call()
