"""Bubble plots and simple slopes."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from metareg_sm import LocationScaleMetaReg, MetaReg, plots
from metareg_sm.exceptions import OptionError

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


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("k", SIZES)
def test_points_are_the_studies_and_areas_the_weights(k, width):
    res = fitted(k, "y ~ x + z")
    fig = res.plot_bubble("x", width=width, label=3)
    assert_allclose(width_of(fig), width)
    assert_tidy(fig)
    assert_points_inside(fig)
    ax = fig.axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x", "y")
    data = fig.metareg_data.query("kind == 'study'")
    frame = studies(k)
    assert_allclose(data["x"], frame["x"])
    assert_allclose(data["y"], frame["y"])
    weights = 1.0 / (frame["v"] + res.tau2)
    assert_allclose(data["area"] / data["area"].max(), weights / weights.max(), rtol=1e-10)
    points = ax.collections[-1]
    order = np.argsort(-data["area"].to_numpy(), kind="stable")
    assert_allclose(points.get_sizes(), data["area"].to_numpy()[order])
    assert_allclose(np.asarray(points.get_offsets())[:, 0], frame["x"].to_numpy()[order])
    named = np.argsort(-np.abs(res.resid / np.sqrt(frame["v"] + res.tau2)))[:3]
    assert set(frame["study"].iloc[named]) <= set(written(fig))


def test_line_and_bands_are_the_predictions():
    res = fitted(40, "y ~ x + z + bias")
    fig = res.plot_bubble("x", at={"z": 0.5}, alpha=0.1)
    data = fig.metareg_data.query("kind == 'line'")
    new = pd.DataFrame({"x": data["x"].to_numpy(), "z": 0.5, "bias": "low"})
    expected = res.get_prediction(new).summary_frame(alpha=0.1)
    names = {"y": "mean", "ci_lower": "mean_ci_lower", "obs_ci_upper": "obs_ci_upper"}
    for name, column in names.items():
        assert_allclose(data[name], expected[column], rtol=1e-10)
    (line,) = fig.axes[0].lines
    assert_allclose(line.get_ydata(), expected["mean"], rtol=1e-10)
    (band,) = by_gid(fig, "mean")
    heights = band.get_paths()[0].vertices[:, 1]
    assert_allclose(heights.max(), expected["mean_ci_upper"].max(), rtol=1e-10)
    assert_allclose(heights.min(), expected["mean_ci_lower"].min(), rtol=1e-10)
    assert len(by_gid(fig, "obs")) == 1


@pytest.mark.parametrize("width", WIDTHS)
def test_a_line_for_each_level_and_a_legend_that_is_true(width):
    res = fitted(40, "y ~ x * bias")
    fig = res.plot_bubble("x", by="bias", width=width)
    assert_tidy(fig)
    assert_points_inside(fig)
    ax = fig.axes[0]
    legend = ax.get_legend()
    names = [t.get_text() for t in legend.get_texts()]
    assert names == ["low", "high", "unclear"]
    data = fig.metareg_data
    for name, line, handle in zip(names, ax.lines, legend.get_lines(), strict=True):
        own = data.query("kind == 'line' and by == @name")
        new = pd.DataFrame({"x": own["x"].to_numpy(), "bias": name})
        assert_allclose(line.get_ydata(), res.get_prediction(new).predicted_mean, rtol=1e-9)
        assert line.get_color() == handle.get_color()
        outcomes = np.sort(studies(40).query("bias == @name")["y"])
        heights = [np.sort(np.asarray(c.get_offsets())[:, 1]) for c in ax.collections]
        assert any(len(h) == len(outcomes) and np.allclose(h, outcomes) for h in heights)
    assert not by_gid(fig, "obs")


def test_partial_residuals_are_the_line_and_the_residual():
    res = fitted(40, "y ~ x + z")
    fig = res.plot_bubble("x", partial_residuals=True)
    data = fig.metareg_data.query("kind == 'study'")
    frame = studies(40)
    b = res.params
    expected = b["Intercept"] + b["x"] * frame["x"] + b["z"] * frame["z"].mean() + res.resid
    assert_allclose(data["y"], expected, rtol=1e-10)
    by = fitted(40, "y ~ x * bias + z").plot_bubble("x", by="bias", partial_residuals=True)
    assert_tidy(by)


def test_ratios_on_a_logarithmic_axis(bcg):
    res = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
    fig = res.plot_bubble("ablat", transform="exp")
    assert_tidy(fig)
    ax = fig.axes[0]
    assert ax.get_yscale() == "log"
    assert ax.get_ylabel() == "exp(yi)"
    points = np.asarray(ax.collections[-1].get_offsets())
    assert_allclose(np.sort(points[:, 1]), np.sort(np.exp(bcg["yi"])))
    labels = [float(t.get_text()) for t in ax.get_yticklabels()]
    assert_allclose(labels, ax.get_yticks())


def test_splines_bend_and_arrays_have_lines():
    frame = studies(40)
    res = MetaReg.from_formula("y ~ x + I(x**2)", frame, vi="v").fit()
    data = res.plot_bubble("x").metareg_data.query("kind == 'line'")
    assert np.abs(np.diff(data["y"], 2)).max() > 1e-8
    exog = pd.DataFrame({"const": 1.0, "x": frame["x"], "z": frame["z"]})
    arrays = MetaReg(frame["y"], exog, vi=frame["v"]).fit()
    line = arrays.plot_bubble("x").metareg_data.query("kind == 'line'")
    new = np.column_stack([np.ones(101), line["x"], np.full(101, frame["z"].mean())])
    assert_allclose(line["y"], new @ arrays.params, rtol=1e-10)


def test_all_names_find_a_place_or_an_error_says_so():
    fig = fitted(12, "y ~ x").plot_bubble("x", label="all", width=183)
    assert_tidy(fig)
    assert set(studies(12)["study"]) <= set(written(fig))
    with pytest.raises(OptionError, match="no room"):
        fitted(200, "y ~ x").plot_bubble("x", label="all", width=60)


@pytest.mark.parametrize(
    ("x", "options", "words"),
    [
        ("xx", {}, ["x='xx'", "no column"]),
        ("n", {}, ["x='n'", "no moderator", "x, bias"]),
        ("bias", {}, ["not continuous", "plot_orchard"]),
        ("x", {"by": "z"}, ["by='z'", "no moderator"]),
        ("x", {"at": {"bias": ["low", "high"]}}, ["at['bias']", "one value"]),
        ("x", {"at": {"x": 1.0}}, ["at has 'x'"]),
        ("x", {"at": 1.0}, ["at must map"]),
        ("x", {"label": "some"}, ["label"]),
        ("x", {"width": 3}, ["width"]),
    ],
)
def test_errors_name_what_is_wrong(x, options, words):
    res = fitted(40, "y ~ x + bias")
    with pytest.raises(OptionError) as error:
        res.plot_bubble(x, **options)
    for word in words:
        assert word in str(error.value)


def test_a_name_within_another_is_no_moderator():
    frame = studies(40).assign(ias=1.0 + np.arange(40))
    res = MetaReg.from_formula("y ~ x + bias", frame, vi="v").fit()
    with pytest.raises(OptionError, match="'ias' is no moderator"):
        res.plot_bubble("ias")


def test_many_values_are_no_levels():
    with pytest.raises(OptionError, match="40 values"):
        fitted(40, "y ~ x + z").plot_bubble("x", by="z")


@pytest.mark.parametrize("width", WIDTHS)
def test_simple_slopes_and_their_region(width):
    res = fitted(200, "y ~ x * z", seed=3)
    fig = res.plot_simple_slopes("x", "z", width=width)
    assert_tidy(fig)
    data = fig.metareg_data
    found = res.simple_slopes("x", {"z": 0.0}).johnson_neyman("z")
    assert data.attrs["bounds"] == pytest.approx(found.bounds)
    b = res.params
    assert_allclose(data["slope"], b["x"] + b["x:z"] * data["z"], rtol=1e-8)
    assert ((data["pvalue"] < 0.05) | ~data["significant"] | np.isclose(data["pvalue"], 0.05)).all()
    lines = [line for line in fig.axes[0].lines if len(line.get_xdata()) == len(data)]
    assert_allclose(lines[0].get_ydata(), data["slope"])
    with pytest.raises(OptionError, match="no moderator"):
        fitted(40, "y ~ x + z").plot_simple_slopes("x", "n")


def test_given_axes_keep_their_place():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 3.0), layout="constrained")
    first, second = figure.subplots(1, 2)
    before = second.get_subplotspec()
    assert plots.bubble(fitted(40, "y ~ x"), "x", ax=second) is figure
    assert second.get_subplotspec() == before
    assert first.has_data() is False
    assert shown_texts(figure)


def test_band_of_a_location_scale_model_has_the_heterogeneity_there():
    data = studies(40).assign(w=np.linspace(0.0, 1.0, 40))
    data["y"] += np.exp(data["w"] - 1.0) * np.resize([1.0, -1.0, 0.5, -0.5], 40)
    res = LocationScaleMetaReg.from_formula("y ~ x", data, vi="v", scale_formula="~ w").fit()
    for name, other in (("x", {"w": data["w"].mean()}), ("w", {"x": data["x"].mean()})):
        line = res.plot_bubble(name).metareg_data
        line = line[line["kind"] == "line"]
        rows = pd.DataFrame({name: line["x"], **other})
        expected = res.get_prediction(rows).summary_frame()
        assert_allclose(line["obs_ci_lower"], expected["obs_ci_lower"])
        assert_allclose(line["ci_upper"], expected["mean_ci_upper"])
    # along the moderator of the scale alone the mean is flat, and the band is not
    assert np.ptp(line["y"]) < 1e-12
    assert np.ptp(line["obs_ci_upper"] - line["obs_ci_lower"]) > 0.1
