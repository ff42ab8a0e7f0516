"""Interactions within studies, slopes across them, and the difference of the two."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats

from metareg_sm import simulate, two_stage
from metareg_sm.exceptions import DesignError, OptionError
from metareg_sm.formula.transforms import between, within  # noqa: F401  (formulas use them)
from tests.plots._figures import assert_tidy

mpl.use("Agg")


@pytest.fixture
def people():
    return simulate.participants(n_studies=10, rng=3)


def test_by_hand(people):
    stage = two_stage("y ~ treat * age", people, "study", effect="treat:age")
    found = stage.interaction(cov_type="nonrobust")
    rows = []
    for label, own in people.groupby("study", sort=False):
        fit = smf.ols("y ~ treat * age", own).fit()
        m = own["age"].mean()
        at = np.array([0.0, 1.0, 0.0, m])
        slope = np.array([0.0, 0.0, 0.0, 1.0])
        V = fit.cov_params().to_numpy()
        b = fit.params.to_numpy()
        rows.append((label, b[3], V[3, 3], at @ b, at @ V @ at, at @ V @ slope, m))
    for column, expected in zip(found.frame.columns, zip(*rows, strict=True), strict=False):
        if column == "study":
            assert found.frame[column].tolist() == list(expected)
        else:
            np.testing.assert_allclose(found.frame[column], expected, rtol=1e-7, atol=1e-12)
    frame = found.frame
    w1 = 1.0 / (frame["interaction_vi"] + found.within_fit.tau2)
    w2 = 1.0 / (frame["effect_vi"] + found.across_fit.tau2)
    a = w1 / w1.sum()
    centred = frame["mean"] - np.average(frame["mean"], weights=w2)
    c = w2 * centred / (w2 * centred**2).sum()
    assert found.within == pytest.approx((a * frame["interaction"]).sum(), rel=1e-9)
    assert found.across == pytest.approx((c * frame["effect"]).sum(), rel=1e-9)
    variance = 1 / w1.sum() + 1 / (w2 * centred**2).sum() - 2 * (a * c * frame["covariance"]).sum()
    assert found.se == pytest.approx(np.sqrt(variance), rel=1e-9)
    assert found.pvalue == pytest.approx(2 * stats.norm.sf(abs(found.statistic)), rel=1e-9)
    assert found.df is None
    adjusted = stage.interaction()
    assert 8.0 < adjusted.df < 17.0
    assert adjusted.pvalue == pytest.approx(
        2 * stats.t.sf(abs(adjusted.statistic), adjusted.df), rel=1e-9
    )


def test_finds_the_wrong_sign(people):
    found = two_stage("y ~ treat * age", people, "study", effect="treat:age").interaction()
    truth = people.attrs["truth"]
    assert abs(found.within - truth["within"]) < 3 * found.within_se
    assert abs(found.across - truth["across"]) < 3 * found.across_se
    assert found.within > 0 > found.across
    assert found.pvalue < 0.01


def test_zeros_and_order_of_the_product_do_not_matter(people):
    people["centred"] = people["age"] - 50.0
    people["arm"] = np.where(people["treat"] == 1, "b", "a")
    one = two_stage("y ~ treat * age", people, "study", effect="treat:age").interaction()
    two = two_stage("y ~ centred * arm", people, "study", effect="arm:centred").interaction()
    assert two.within == pytest.approx(one.within, rel=1e-7)
    assert two.across == pytest.approx(one.across, rel=1e-7)
    assert two.se == pytest.approx(one.se, rel=1e-7)
    # centred by study: the mean is that of the column which is centred
    formula = "y ~ treat * within(age, study)"
    three = two_stage(formula, people, "study", effect="treat:within(age, study)").interaction()
    assert three.within == pytest.approx(one.within, rel=1e-7)
    assert three.across == pytest.approx(one.across, rel=1e-7)


def test_one_stage_agrees_with_two_stage():
    # large trials with equal residual variances, which two stages estimate in each by itself
    people = simulate.participants(n_studies=8, n_per_study=1000, tau2=0.05, rng=11)
    people["age"] -= 50.0
    stage = two_stage("y ~ treat * age", people, "study", effect="treat:age")
    two = stage.interaction(cov_type="nonrobust")
    common = stage.interaction(tau2=0.0, cov_type="nonrobust")
    one = smf.mixedlm(
        "y ~ C(study) + C(study):within(age, study)"
        " + treat + treat:within(age, study) + treat:between(age, study)",
        people,
        groups="study",
        re_formula="0 + treat",
    ).fit(method="bfgs")
    b, se = one.params, one.bse
    inside, outside = "treat:within(age, study)", "treat:between(age, study)"
    # one residual variance for all studies and REML by BFGS, against a variance each and two stages
    assert abs(b[inside] - common.within) < 0.1 * common.within_se
    assert se[inside] == pytest.approx(common.within_se, rel=0.002)
    assert abs(b[outside] - two.across) < 0.05 * two.across_se
    assert se[outside] == pytest.approx(two.across_se, rel=0.002)
    assert float(one.cov_re.iloc[0, 0]) == pytest.approx(two.across_fit.tau2, rel=0.002)


def test_what_it_shows(people):
    found = two_stage("y ~ treat * age", people, "study", effect="treat:age").interaction()
    frame = found.summary_frame(alpha=0.1)
    assert frame.index.tolist() == ["within", "across", "difference"]
    assert frame.loc["difference", "pvalue"] == pytest.approx(found.pvalue)
    low, high = found.across_fit.conf_int(alpha=0.1).loc["mean"]
    assert frame.loc["across", ["ci_lower", "ci_upper"]].tolist() == pytest.approx([low, high])
    assert repr(found).startswith("<Interaction treat:age: within 0.0")
    assert "difference" in str(found)
    assert "<table" in found._repr_html_()


def test_plot(people):
    found = two_stage("y ~ treat * age", people, "study", effect="treat:age").interaction()
    figure = found.plot()
    (axes,) = figure.axes
    frame = figure.metareg_data
    pd.testing.assert_frame_equal(frame, found.frame)
    assert axes.get_xlabel() == "age (mean of the study)"
    assert axes.get_ylabel() == "Effect of treat"
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == [f"across studies: {found.across:.3g}", f"within studies: {found.within:.3g}"]
    (bars,) = axes.containers
    points, _, (intervals,) = bars.lines
    np.testing.assert_allclose(points.get_xydata(), frame[["mean", "effect"]], rtol=1e-12)
    ends = np.array([segment[:, 1] for segment in intervals.get_segments()])
    half = 1.959963984540054 * np.sqrt(frame["effect_vi"])
    np.testing.assert_allclose(ends[:, 1] - ends[:, 0], 2 * half, rtol=1e-9)
    own, across, within_line = axes.lines[1:11], axes.lines[-2], axes.lines[-1]
    for line, row in zip(own, frame.itertuples(), strict=True):
        x, y = line.get_xydata().T
        np.testing.assert_allclose(x, [row.mean - row.sd, row.mean + row.sd], rtol=1e-12)
        np.testing.assert_allclose(np.diff(y) / np.diff(x), row.interaction, rtol=1e-9)
        assert y.mean() == pytest.approx(row.effect, rel=1e-9)
    for line, slope in ((across, found.across), (within_line, found.within)):
        x, y = line.get_xydata().T
        np.testing.assert_allclose(np.diff(y) / np.diff(x), slope, rtol=1e-9)
    x, y = across.get_xydata().T
    np.testing.assert_allclose(y, found.across_fit.params.iloc[0] + found.across * x, rtol=1e-9)
    for width in (89, 183):
        assert_tidy(found.plot(width=width))
    again = mpl.figure.Figure().add_subplot()
    assert found.plot(again) is again.figure


def test_bad_effects(people):
    stage = two_stage("y ~ treat * age", people, "study", effect=["treat", "age"])
    with pytest.raises(OptionError, match="effect= must name the product"):
        stage.interaction()
    with pytest.raises(OptionError, match="'treat' is no product"):
        stage.interaction("treat")
    with pytest.raises(OptionError, match="needs one coefficient 'treat:sex'"):
        stage.interaction("treat:sex")
    with pytest.raises(DesignError, match="'treat' has the same mean in all studies"):
        stage.interaction("age:treat")
