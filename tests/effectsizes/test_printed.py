"""Estimates from intervals, p-values, statistics, quantiles, and from other measures."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from metareg_sm import effect_size
from metareg_sm.effectsizes import (
    d_to_log_odds_ratio,
    d_to_r,
    from_interval,
    from_pvalue,
    from_standard_error,
    from_statistic,
    log_odds_ratio_to_d,
    log_odds_ratio_to_r,
    mean_sd_from_quantiles,
    r_to_d,
    r_to_log_odds_ratio,
)
from metareg_sm.exceptions import DesignError, EffectSizeWarning, OptionError, VarianceError

Y = np.array([-0.4, 0.3, 1.2])
SE = np.array([0.2, 0.15, 0.7])
DF = np.array([12.0, 30.0, 5.0])


@pytest.mark.parametrize("df", [None, DF])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("log", [False, True])
def test_intervals_give_back_the_standard_error(df, level, log):
    half = SE * (stats.norm if df is None else stats.t(df)).ppf(0.5 + level / 2)
    printed = [np.exp(x) if log else x for x in (Y, Y - half, Y + half)]
    ours = from_interval(*printed, level=level, log=log, df=df)
    assert_allclose(ours, np.column_stack([Y, SE**2]), rtol=1e-10)
    assert_allclose(from_interval(None, *printed[1:], level=level, log=log, df=df), ours)


@pytest.mark.parametrize("df", [None, DF])
def test_p_values_and_statistics(df):
    p = 2 * (stats.norm if df is None else stats.t(df)).sf(np.abs(Y / SE))
    assert_allclose(from_pvalue(Y, p, df=df)["vi"], SE**2, rtol=1e-9)
    assert_allclose(from_pvalue(np.exp(Y), p, log=True, df=df)["yi"], Y)
    assert_allclose(from_statistic(Y, Y / SE)["vi"], SE**2)
    assert_allclose(from_standard_error(np.exp(Y), SE, log=True), np.column_stack([Y, SE**2]))
    assert_allclose(
        from_standard_error(np.exp(Y), np.exp(Y) * SE, log=True, delta=True)["vi"], SE**2
    )


def test_tiny_p_values_keep_their_digits():
    z = np.array([9.0, 30.0])
    assert_allclose(from_pvalue(z, 2 * stats.norm.sf(z))["vi"], [1.0, 1.0], rtol=1e-9)
    t = np.array([40.0])
    assert_allclose(from_pvalue(t, 2 * stats.t.sf(t, 20), df=20)["vi"], [1.0], rtol=1e-9)


def test_index_and_missing_values():
    y = pd.Series([0.1, np.nan], index=["a", "b"])
    ours = from_statistic(y, [2.0, 3.0])
    assert ours.index.tolist() == ["a", "b"]
    assert ours.isna().all(axis=1).tolist() == [False, True]


def test_what_cannot_be_is_refused():
    with pytest.raises(DesignError, match=r"lower must be below upper; row 1: estimate 0\.2"):
        from_interval([0.1, 0.2], [0.0, 0.3], [0.2, 0.1])
    with pytest.raises(DesignError, match="above 0 for log=True; row 0"):
        from_interval([0.1], [-0.1], [0.3], log=True)
    with pytest.raises(DesignError, match=r"pvalue .*row 0"):
        from_pvalue([0.1], [0.0])
    with pytest.raises(DesignError, match=r"same sign; row 0: estimate 0.1, statistic -2"):
        from_statistic([0.1], [-2.0])
    with pytest.raises(DesignError, match="standard_error"):
        from_standard_error([0.1], [0.0])
    with pytest.raises(DesignError, match="df must be above 0"):
        from_interval([0.1], [0.0], [0.2], df=[0])
    with pytest.raises(DesignError, match="pass the values"):
        from_interval("a", "b", "c")
    with pytest.raises(OptionError, match="level"):
        from_interval([0.1], [0.0], [0.2], level=95)
    with pytest.raises(OptionError, match="delta"):
        from_standard_error([0.1], [0.1], delta=True)


def test_a_ratio_that_was_taken_for_a_difference():
    with pytest.warns(
        EffectSizeWarning, match="row 0: the estimate is not in the middle.*log"
    ) as w:
        from_interval([2.0], [1.0], [4.0])
    assert w[0].filename == __file__
    with pytest.warns(EffectSizeWarning, match="vi is NaN") as w:
        assert np.isnan(from_pvalue([0.0, 1.0], [1.0, 0.5])["vi"].iloc[0])
    assert w[0].filename == __file__


# ---------------------------------------------------------------- quantiles


@pytest.mark.parametrize("method", ["luo", "wan"])
def test_quantiles_of_normal_samples(method):
    """The means of many normal samples are recovered, and their standard deviations nearly."""
    n = 41
    samples = np.random.default_rng(3).normal(10.0, 2.0, (4000, n))
    low, first, middle, third, high = np.quantile(samples, [0, 0.25, 0.5, 0.75, 1], axis=1)
    for quantiles in (
        {"q1": first, "q3": third},
        {"minimum": low, "maximum": high},
        {"q1": first, "q3": third, "minimum": low, "maximum": high},
    ):
        ours = mean_sd_from_quantiles(np.full(4000, n), middle, **quantiles, method=method)
        # Monte Carlo: four standard errors
        assert abs(ours["mean"].mean() - 10.0) < 4 * ours["mean"].std() / np.sqrt(4000)
        # they divide by approximate expectations of normal order statistics
        assert ours["sd"].mean() == pytest.approx(2.0, rel=0.02)


def test_formulas_of_the_papers():
    # Wan et al. (2014), scenarios C1, C2 and C3; Luo et al. (2018), equations 7, 11 and 15
    data = {"n": [36], "median": [5.0]}
    wide, quartiles = {"minimum": [1.0], "maximum": [12.0]}, {"q1": [4.0], "q3": [7.0]}
    z = stats.norm.ppf
    by_range = 11 / (2 * z(35.625 / 36.25))
    by_quartiles = 3 / (2 * z(26.875 / 36.25))
    for given, wan, luo, sd in (
        (
            wide,
            (1 + 10 + 12) / 4,
            6.5 * 4 / (4 + 36**0.75) + 5 * (1 - 4 / (4 + 36**0.75)),
            by_range,
        ),
        (quartiles, 16 / 3, 5.5 * (0.7 + 0.39 / 36) + 5 * (0.3 - 0.39 / 36), by_quartiles),
        (
            wide | quartiles,
            (1 + 8 + 10 + 14 + 12) / 8,
            6.5 * (w := 2.2 / (2.2 + 36**0.75))
            + 5.5 * (u := 0.7 - 0.72 / 36**0.55)
            + 5 * (1 - w - u),
            (by_range + by_quartiles) / 2,
        ),
    ):
        ours = mean_sd_from_quantiles(**data, **given)
        assert_allclose(ours, [[luo, sd]], rtol=1e-12)
        ours = mean_sd_from_quantiles(**data, **given, method="wan")
        assert_allclose(ours, [[wan, sd]], rtol=1e-12)


def test_each_study_by_what_it_prints():
    nan = np.nan
    table = {"q1": [4, nan, 4, nan], "q3": [7, nan, 7, nan]}
    table |= {"minimum": [nan, 1, 1, nan], "maximum": [nan, 12, 12, nan]}
    ours = mean_sd_from_quantiles([36] * 4, [5] * 4, **table)
    for row, names in ((0, ("q1", "q3")), (1, ("minimum", "maximum")), (2, tuple(table))):
        alone = mean_sd_from_quantiles([36], [5], **{name: [table[name][row]] for name in names})
        assert_allclose(ours.iloc[row], alone.iloc[0])
    assert ours.iloc[3].isna().all()


def test_bad_quantiles():
    with pytest.raises(DesignError, match="q1 must not be above q3; row 0: 7 and 4"):
        mean_sd_from_quantiles([36], [np.nan], q1=[7], q3=[4])
    with pytest.raises(DesignError, match="n must be at least 2; row 0"):
        mean_sd_from_quantiles([1], [5], q1=[4], q3=[7])
    with pytest.raises(OptionError, match="q3 goes with it"):
        mean_sd_from_quantiles([36], [5], q1=[4])
    with pytest.raises(OptionError, match="quartiles"):
        mean_sd_from_quantiles([36], [5])
    with pytest.raises(OptionError, match="method='mean'"):
        mean_sd_from_quantiles([36], [5], q1=[4], q3=[7], method="mean")


# ---------------------------------------------------------------- conversions


@pytest.mark.parametrize("distribution", ["logistic", "normal"])
def test_there_and_back(distribution):
    d, v = Y, SE**2
    lor = d_to_log_odds_ratio(d, v, distribution)
    back = log_odds_ratio_to_d(lor["yi"], lor["vi"], distribution)
    assert_allclose(back, np.column_stack([d, v]), rtol=1e-12)
    r = d_to_r(d, v)
    assert_allclose(r_to_d(r["yi"], r["vi"]), np.column_stack([d, v]), rtol=1e-12)
    r = log_odds_ratio_to_r(lor["yi"], lor["vi"], distribution)
    assert_allclose(r_to_log_odds_ratio(r["yi"], r["vi"], distribution), lor, rtol=1e-12)
    sized = d_to_r(d, v, n1i=[10, 20, 30], n2i=[15, 5, 30])
    back = r_to_d(sized["yi"], sized["vi"], n1i=[10, 20, 30], n2i=[15, 5, 30])
    assert_allclose(back, np.column_stack([d, v]), rtol=1e-12)


def test_conversions_agree_with_the_measures():
    table = {"ai": [5, 9], "bi": [15, 4], "ci": [8, 3], "di": [12, 17]}
    lor = effect_size("OR", **table)
    for name, distribution in (("OR2DL", "logistic"), ("OR2DN", "normal")):
        ours = log_odds_ratio_to_d(lor["yi"], lor["vi"], distribution)
        assert_allclose(ours, effect_size(name, **table), rtol=1e-12)
        assert ours.attrs["measure"] == name


def test_bad_conversions():
    with pytest.raises(VarianceError, match="negative in row 0"):
        d_to_r([0.5], [-1.0])
    with pytest.raises(DesignError, match="inside"):
        r_to_d([1.0], [0.1])
    with pytest.raises(DesignError, match="at least 1; row 0"):
        d_to_r([0.5], [0.1], n1i=[0], n2i=[4])
    with pytest.raises(OptionError, match="both n1i and n2i"):
        d_to_r([0.5], [0.1], n1i=[3])
    with pytest.raises(OptionError, match="distribution='cauchy'"):
        d_to_log_odds_ratio([0.5], [0.1], "cauchy")
