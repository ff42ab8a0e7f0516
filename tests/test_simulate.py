"""What the simulations claim, each with its Monte Carlo error."""

import numpy as np
import pytest

from metareg_sm import fit_many, simulate
from metareg_sm.exceptions import OptionError

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
    assert slope.mean() == pytest.approx(sets.truth["slope"], abs=0.05)
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
    single = np.mean(pvalues < 0.05)
    assert abs(single - 0.05) < 0.02
    family = np.mean(pvalues.min(axis=1) < 0.05)
    expected = 1.0 - 0.95**12
    assert abs(family - expected) < 0.08
    bonferroni = np.mean(pvalues.min(axis=1) < 0.05 / 12)
    assert bonferroni < 0.05 + 0.03


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
        (lambda: simulate.screening(n_moderators=1.5), "n_moderators must be a whole"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(OptionError, match=message):
        call()
