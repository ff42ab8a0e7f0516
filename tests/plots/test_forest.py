"""The forest plot: positions equal the numbers, areas the weights, labels complete and inside."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from numpy.testing import assert_allclose

from metareg_sm import MetaReg, effect_size, plots
from metareg_sm.exceptions import DesignError, MetaRegError, OptionError
from metareg_sm.plots.styles import STYLES

from ._figures import (
    SIZES,
    WIDTHS,
    assert_points_inside,
    assert_tidy,
    by_gid,
    fitted,
    shown_texts,
    studies,
    width_of,
    written,
)


@pytest.fixture
def trials(bcg):
    """The counts of the BCG trials with log risk ratios whose measure is known."""
    counts = bcg.drop(columns=["yi", "vi"])
    return effect_size("RR", counts, ai="tpos", bi="tneg", ci="cpos", di="cneg")


@pytest.fixture
def pooled(trials):
    return MetaReg.from_formula("yi ~ 1", trials, vi="vi").fit()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("k", SIZES)
@pytest.mark.parametrize("formula", ["y ~ 1", "y ~ x"])
def test_nothing_overlaps_or_leaves(k, width, formula):
    res = fitted(k, formula)
    fig = res.plot_forest(width=width, left=["n"], right={"bias": "Risk of\nbias"}, prediction=True)
    assert_allclose(width_of(fig), width)
    assert_tidy(fig)
    assert_points_inside(fig)
    texts = [t.replace("\n", " ") for t in written(fig)]
    for name in studies(k)["study"]:
        assert texts.count(name) >= 1


@pytest.mark.parametrize("width", [*WIDTHS, "column", "page", None])
@pytest.mark.parametrize("style", sorted(STYLES))
def test_blocks_in_every_style(style, width):
    fig = fitted(40).plot_forest(
        by="bias",
        style=style,
        width=width,
        favours=("Favours the new drug", "Favours the old one"),
    )
    assert_tidy(fig)
    texts = " ".join(written(fig)).replace("\n", " ")
    for word in ("low", "high", "unclear", "Test for subgroup differences", "Favours the old one"):
        assert word in texts


def test_squares_stand_at_the_effects_with_areas_of_the_weights(pooled, trials):
    fig = pooled.plot_forest()
    (squares,) = by_gid(fig, "squares")
    data = fig.metareg_data.query("kind == 'study'")
    x, y = np.asarray(squares.get_offsets()).T
    assert_allclose(x, np.exp(trials["yi"]), rtol=1e-12)
    assert_allclose(y, data["y"], rtol=1e-12)
    weights = 1.0 / (trials["vi"] + pooled.tau2)
    assert_allclose(squares.get_sizes() / squares.get_sizes().max(), weights / weights.max())
    assert_allclose(data["weight"], weights / weights.sum())


def test_intervals_end_where_the_numbers_do(pooled, trials):
    fig = pooled.plot_forest(alpha=0.1, prediction=False)
    data = fig.metareg_data.query("kind == 'study'")
    half = 1.6448536269514722 * np.sqrt(trials["vi"].to_numpy())
    assert_allclose(data["ci_lower"], trials["yi"] - half, rtol=1e-12)
    lines = by_gid(fig, "interval")
    whole = ~data["clipped"].to_numpy()
    ends = np.array([line.get_xdata() for line in lines])
    assert len(lines) == len(data)
    assert_allclose(ends[whole, 0], np.exp(trials["yi"] - half)[whole], rtol=1e-12)
    assert_allclose(ends[whole, 1], np.exp(trials["yi"] + half)[whole], rtol=1e-12)


def test_diamond_and_bar_are_the_prediction(pooled):
    fig = pooled.plot_forest()
    expected = pooled.get_prediction(transform=np.exp).summary_frame().iloc[0]
    (diamond,) = by_gid(fig, "diamond")
    corners = diamond.get_xy()[:4, 0]
    names = ["mean_ci_lower", "mean", "mean_ci_upper", "mean"]
    assert_allclose(corners, expected[names], rtol=1e-12)
    bar = by_gid(fig, "prediction")[0].get_xy()[:, 0]
    assert_allclose([bar.min(), bar.max()], expected[["obs_ci_lower", "obs_ci_upper"]], rtol=1e-12)
    data = fig.metareg_data
    assert_allclose(data.loc["Pooled effect (REML)", "shown"], expected["mean"], rtol=1e-12)


def test_ratios_have_a_logarithmic_axis_and_their_name(pooled):
    fig = pooled.plot_forest()
    panel = fig.axes[0].child_axes[0]
    assert panel.get_xscale() == "log"
    texts = written(fig)
    assert "Risk Ratio (log scale)" in texts
    assert "1" in [t.get_text() for t in panel.get_xticklabels()]
    ticks = panel.get_xticks()
    assert_allclose([float(t.get_text()) for t in panel.get_xticklabels()], ticks)
    plain = pooled.plot_forest(transform=None)
    assert plain.axes[0].child_axes[0].get_xscale() == "linear"
    assert "Log Risk Ratio" in written(plain)


def test_transform_by_name_is_that_of_the_measure(pooled, bcg):
    res = MetaReg.from_formula("yi ~ 1", bcg, vi="vi").fit()
    by_name = res.plot_forest(transform="exp").metareg_data["shown"]
    assert_allclose(by_name, pooled.plot_forest().metareg_data["shown"], rtol=1e-6)
    assert "exp(yi) (log scale)" in written(res.plot_forest(transform=np.exp))


def test_cut_intervals_have_arrows(pooled):
    fig = pooled.plot_forest(xlim=(0.3, 1.5), prediction=False)
    data = fig.metareg_data.query("kind == 'study'")
    beyond = (data["shown_lower"] < 0.3 * (1 - 1e-9)).sum() + (data["shown_upper"] > 1.5).sum()
    assert beyond > 3
    assert len(by_gid(fig, "arrow")) == beyond
    assert data["clipped"].sum() > 3
    panel = fig.axes[0].child_axes[0]
    assert_allclose(panel.get_xlim(), (0.3, 1.5), rtol=1e-9)
    (squares,) = by_gid(fig, "squares")
    assert len(squares.get_offsets()) == ((data["shown"] >= 0.3) & (data["shown"] <= 1.5)).sum()


def test_order_moves_the_rows_and_nothing_else(pooled, trials):
    plain = pooled.plot_forest(labels=["author", "year"]).metareg_data.query("kind == 'study'")
    fig = pooled.plot_forest(order="-year", labels=["author", "year"])
    data = fig.metareg_data.query("kind == 'study'")
    names = trials.sort_values("year", ascending=False, kind="stable")
    assert list(data.index) == [f"{a} {y}" for a, y in zip(names.author, names.year, strict=True)]
    assert (np.diff(data["y"]) > 0).all()
    assert_allclose(data.loc[plain.index, "estimate"], plain["estimate"])
    rising = pooled.plot_forest(order="effect").metareg_data.query("kind == 'study'")
    assert rising["estimate"].is_monotonic_increasing


def test_columns_of_the_data_are_printed(pooled, trials):
    fig = pooled.plot_forest(left={"tpos": "Cases"}, right="alloc")
    texts = written(fig)
    assert "Cases" in texts
    assert "alloc" in texts
    for count in trials["tpos"]:
        assert str(count) in texts
    assert texts.count("random") == (trials["alloc"] == "random").sum()


def test_estimates_are_printed_as_they_are(pooled):
    expected = pooled.get_prediction(transform=np.exp).summary_frame().iloc[0]
    mean, low, high = (f"{expected[n]:.2f}" for n in ("mean", "mean_ci_lower", "mean_ci_upper"))
    found = {style: written(pooled.plot_forest(style=style)) for style in STYLES}
    assert f"{mean} [{low}, {high}]" in found["plain"]
    assert f"{mean} [{low}, {high}]" in found["revman"]
    assert f"{mean} ({low}\u2013{high})" in found["jama"]
    assert f"{mean} ({low} to {high})" in found["bmj"]


def test_subgroups_of_a_model_without_moderators_are_fits_of_their_own(pooled, trials):
    fig = pooled.plot_forest(by="alloc")
    data = fig.metareg_data.query("kind == 'diamond'")
    q, weights, means = 0.0, [], []
    for level, members in trials.groupby("alloc", sort=False):
        own = MetaReg.from_formula("yi ~ 1", members, vi="vi").fit()
        row = data[data["block"] == level].iloc[0]
        assert_allclose(row["estimate"], own.params.iloc[0], rtol=1e-8)
        assert_allclose([row["ci_lower"], row["ci_upper"]], own.conf_int().iloc[0], rtol=1e-7)
        weights.append(1.0 / own.bse.iloc[0] ** 2)
        means.append(own.params.iloc[0])
        h = own.heterogeneity
        text = f"\u03c4\u00b2 = {own.tau2:#.3g}; I\u00b2 = {100 * h.i2:.0f}%; Q = {h.q:.2f}"
        assert any(text in t.replace("\n", " ") for t in written(fig))
    centre = np.average(means, weights=weights)
    q = np.sum(np.array(weights) * (np.array(means) - centre) ** 2)
    assert any(f"\u03c7\u00b2(2) = {q:.2f}" in t for t in written(fig))


def test_subgroups_that_are_the_moderator_are_the_model(trials):
    res = MetaReg.from_formula("yi ~ alloc", trials, vi="vi").fit()
    fig = res.plot_forest(by="alloc")
    data = fig.metareg_data.query("kind == 'diamond'").set_index("block")
    for level in ("random", "alternate", "systematic"):
        expected = res.get_prediction({"alloc": [level]}).summary_frame().iloc[0]
        got = data.loc[level, ["estimate", "ci_lower", "ci_upper"]].astype(float)
        assert_allclose(got, expected[["mean", "mean_ci_lower", "mean_ci_upper"]], rtol=1e-10)
    assert any(f"F(2, 10) = {res.fvalue:.2f}" in t for t in written(fig))


def test_blocks_where_moderators_vary_have_no_diamond():
    fig = fitted(40, "y ~ x").plot_forest(by="bias")
    assert not by_gid(fig, "diamond")
    assert "Test for subgroup" not in " ".join(written(fig))


def test_a_block_of_one_study_is_that_study():
    frame = studies(9)
    frame["one"] = ["a"] * 8 + ["b"]
    res = MetaReg.from_formula("y ~ 1", frame, vi="v").fit()
    row = res.plot_forest(by="one").metareg_data.query("kind == 'diamond' and block == 'b'")
    assert_allclose(row["estimate"], frame["y"].iloc[-1])
    assert_allclose(
        row["ci_upper"] - row["estimate"], 1.959963984540054 * frame["v"].iloc[-1] ** 0.5
    )


def test_stated_moderators_and_fitted_values(trials):
    res = MetaReg.from_formula("yi ~ ablat + year", trials, vi="vi").fit()
    fig = res.plot_forest(at={"ablat": [10, 50]}, prediction=True)
    year = trials["year"].mean()
    new = {"ablat": [10, 50], "year": [year, year]}
    expected = res.get_prediction(new).summary_frame()
    data = fig.metareg_data.query("kind == 'diamond'")
    assert list(data.index) == ["ablat = 10", "ablat = 50"]
    assert_allclose(data["estimate"], expected["mean"], rtol=1e-10)
    assert_allclose(data["obs_lower"], expected["obs_ci_lower"], rtol=1e-10)
    rows = fig.metareg_data.query("kind == 'study'")
    frame = res.get_prediction().summary_frame()
    assert_allclose(rows["fitted"], frame["mean"], rtol=1e-12)
    assert_allclose(rows["obs_upper"], frame["obs_ci_upper"], rtol=1e-12)
    marks = [line.get_xdata()[0] for line in by_gid(fig, "fitted")]
    assert_allclose(marks, np.exp(frame["mean"]), rtol=1e-12)
    assert_tidy(fig)


def test_a_factor_is_held_at_its_most_frequent_level(trials):
    res = MetaReg.from_formula("yi ~ ablat + alloc", trials, vi="vi").fit()
    data = res.plot_forest(at={"ablat": 30}).metareg_data.query("kind == 'diamond'")
    expected = res.get_prediction({"ablat": [30], "alloc": ["random"]}).predicted_mean
    assert_allclose(data["estimate"], expected, rtol=1e-10)


def test_arrays_and_every_covariance():
    frame = studies(12)
    model = MetaReg(frame["y"], np.ones((12, 1)), vi=frame["v"])
    for options in ({}, {"cov_type": "nonrobust"}, {"cov_type": "HC3"}, {"tau2": 0.0}):
        fig = model.fit(**options).plot_forest()
        assert_tidy(fig)
        assert (fig.metareg_data["kind"] == "study").sum() == 12


def test_zero_variance_leaves_heterogeneity_out():
    frame = studies(8)
    frame.loc[0, "v"] = 0.0
    res = MetaReg.from_formula("y ~ 1", frame, vi="v").fit()
    fig = res.plot_forest()
    assert_tidy(fig)
    assert not any("Q =" in t for t in written(fig))


def test_given_axes_are_filled_and_pyplot_is_left_alone(pooled):
    from matplotlib import pyplot as plt

    figure = Figure(figsize=(7.0, 5.0))
    left, right = figure.subplots(1, 2)
    before = plt.get_fignums()
    assert pooled.plot_forest(ax=left) is figure
    assert plt.get_fignums() == before
    assert left.metareg_data is figure.metareg_data
    frame = left.get_window_extent()
    for text in shown_texts(figure):
        box = text.get_window_extent()
        if text.axes is left or text.axes in left.child_axes:
            assert frame.x0 - 1 <= box.x0
            assert box.x1 <= frame.x1 + 1
            assert frame.y0 - 1 <= box.y0
    assert right.get_visible()


def test_the_figure_grows_with_the_studies_not_with_the_screen():
    heights = [fitted(k).plot_forest(width=183).get_size_inches()[1] for k in SIZES]
    assert heights[0] < heights[1] < heights[2]
    with mpl.rc_context({"figure.figsize": (2.0, 2.0), "font.size": 30.0}):
        again = fitted(40).plot_forest(width=183).get_size_inches()[1]
    assert_allclose(again, heights[1], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"style": "lancet"}, ["style='lancet'", "'plain'", "'revman'"]),
        ({"by": "alocc"}, ["alocc", "Did you mean 'alloc'"]),
        ({"left": ["tpso"]}, ["left='tpso'", "'tpos'"]),
        ({"order": "yaer"}, ["order='yaer'", "'year'"]),
        ({"labels": "autor"}, ["labels='autor'", "'author'"]),
        ({"xlim": (2.0, 1.0)}, ["xlim", "ascending"]),
        ({"xlim": (-1.0, 1.0)}, ["xlim", "above 0"]),
        ({"favours": "vaccine"}, ["favours", "two texts"]),
        ({"width": "poster"}, ["width='poster'", "'column'"]),
        ({"width": 10}, ["width", "40"]),
        ({"transform": "log"}, ["transform='log'", "'exp'"]),
        ({"at": {"dose": 1}}, ["at='dose'", "no column"]),
        ({"at": 3}, ["at must map"]),
        ({"ax": 3}, ["ax must be axes"]),
        ({"alpha": 5}, ["alpha"]),
        ({"width": 60, "left": ["tpos", "tneg", "cpos", "cneg", "alloc"]}, ["mm", "60"]),
    ],
)
def test_errors_name_what_is_wrong(pooled, options, words):
    with pytest.raises(MetaRegError) as error:
        pooled.plot_forest(**options)
    assert isinstance(error.value, OptionError)
    for word in words:
        assert word in str(error.value)


def test_missing_levels_and_robust_subgroups_are_refused(trials):
    trials.loc[3, "alloc"] = None
    res = MetaReg.from_formula("yi ~ 1", trials, vi="vi").fit(cov_type="HC3")
    with pytest.raises(DesignError, match="by is missing"):
        res.plot_forest(by="alloc")
    trials.loc[3, "alloc"] = "random"
    res = MetaReg.from_formula("yi ~ 1", trials, vi="vi").fit(cov_type="HC3")
    with pytest.raises(OptionError, match="HC3"):
        res.plot_forest(by="alloc")
    array = MetaReg(trials["yi"], np.ones((13, 1)), vi=trials["vi"]).fit()
    with pytest.raises(OptionError, match="by formula"):
        array.plot_forest(by="alloc")


def test_the_data_are_not_changed(trials, pooled):
    before = trials.copy()
    pooled.plot_forest(by="alloc", order="year", left="tpos")
    pd.testing.assert_frame_equal(trials, before)


def test_plots_are_free_functions(pooled):
    assert_allclose(plots.forest(pooled).metareg_data["y"], pooled.plot_forest().metareg_data["y"])


def test_blocks_stand_in_the_order_of_their_categories():
    frame = studies(12)
    frame["bias"] = pd.Categorical(frame["bias"], ["unclear", "low", "high", "none"])
    frame["phase"] = 3 - np.arange(12) % 3
    res = MetaReg.from_formula("y ~ 1", frame, vi="v").fit()
    blocks = res.plot_forest(by="bias").metareg_data["block"]
    assert list(dict.fromkeys(blocks)) == ["unclear", "low", "high", ""]
    blocks = res.plot_forest(by="phase").metareg_data["block"]
    assert list(dict.fromkeys(blocks)) == ["1", "2", "3", ""]


@pytest.mark.parametrize("transform", ["tanh", "expit", lambda y: np.maximum(y, 0.0) ** 2])
def test_limits_are_given_as_they_are_shown(transform):
    fig = fitted(12).plot_forest(transform=transform, xlim=(0.1, 0.6))
    panel = fig.axes[0].child_axes[0]
    assert_allclose(panel.get_xlim(), (0.1, 0.6), rtol=1e-8)
    with pytest.raises(OptionError, match="no effect is shown"):
        fitted(12).plot_forest(transform="tanh", xlim=(0.1, 1.5))
