"""Funnel and radial plots."""

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.colors import to_hex
from numpy.testing import assert_allclose

from metareg_sm import MetaReg, effect_size
from metareg_sm.exceptions import MetaRegError, OptionError, VarianceError
from metareg_sm.stats.small_study.analysis import Analysis
from metareg_sm.stats.small_study.trim_fill import trim_and_fill

from ._figures import (
    SIZES,
    WIDTHS,
    assert_points_inside,
    assert_tidy,
    by_gid,
    fitted,
    studies,
    width_of,
    written,
)

Z = 1.959963984540054


def filled(res, **options):
    table = res._results.table
    fit = res._results
    analysis = Analysis(fit.estimator, fit.covariance_type.factor, fit.use_t)
    return trim_and_fill(table.endog, table.vi, table.exog, analysis, **options)


def places(fig, gid):
    (points,) = by_gid(fig, gid)
    return np.asarray(points.get_offsets())


def same_points(found, x, y):
    wanted = np.column_stack([x, y])
    assert_allclose(
        found[np.lexsort(found.T)], wanted[np.lexsort(wanted.T)], rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("k", SIZES)
@pytest.mark.parametrize("yaxis", ["se", "variance", "precision", "size"])
def test_points_stand_at_effects_and_precisions(k, width, yaxis):
    fig = fitted(k).plot_funnel(yaxis=yaxis, size="n", width=width, label=3)
    assert_allclose(width_of(fig), width)
    assert_tidy(fig)
    assert_points_inside(fig)
    frame = studies(k)
    se = np.sqrt(frame["v"])
    vertical = {"se": se, "variance": frame["v"], "precision": 1.0 / se, "size": frame["n"]}
    same_points(places(fig, "studies"), frame["y"], vertical[yaxis])
    bottom, top = fig.axes[0].get_ylim()
    assert (top < bottom) == (yaxis in ("se", "variance"))
    assert_allclose(fig.metareg_data["y"], vertical[yaxis])


@pytest.mark.parametrize("yaxis", ["se", "variance", "precision"])
def test_the_triangle_holds_95_percent_about_the_pooled_effect(yaxis):
    res = fitted(40)
    fig = res.plot_funnel(yaxis=yaxis)
    to_se = {"se": lambda y: y, "variance": np.sqrt, "precision": lambda y: 1.0 / y}[yaxis]
    sides = by_gid(fig, "triangle")
    assert len(sides) == 2
    for sign, line in zip((-1.0, 1.0), sides, strict=True):
        x, y = line.get_data()
        assert_allclose(x, res.params.iloc[0] + sign * Z * to_se(y), rtol=1e-9)


def test_residuals_under_moderators():
    res = fitted(40, "y ~ x")
    fig = res.plot_funnel()
    same_points(places(fig, "studies"), res.resid, np.sqrt(studies(40)["v"]))
    assert fig.axes[0].get_xlabel() == "Residual"
    with pytest.raises(OptionError, match="residuals"):
        res.plot_funnel(contours=True)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("contours", [True, [0.1], (0.01, 0.05)])
def test_contours_have_a_legend_that_is_true(width, contours):
    fig = fitted(40).plot_funnel(contours=contours, width=width)
    assert_tidy(fig)
    ax = fig.axes[0]
    levels = [0.1, 0.05, 0.01] if contours is True else sorted(contours, reverse=True)
    legend = dict(
        zip(
            (t.get_text() for t in ax.get_legend().get_texts()),
            ax.get_legend().get_patches(),
            strict=False,
        )
    )
    assert f"p > {levels[0]:g}" in legend
    outside = legend[f"p < {levels[-1]:g}"]
    assert to_hex(outside.get_facecolor()) == to_hex(ax.get_facecolor())
    # the innermost region is drawn last, and ends where p is the first level
    regions = [c for c in ax.collections if c.get_gid() is None and len(c.get_paths())]
    regions = [c for c in regions if len(c.get_paths()[0].vertices) > 100]
    assert len(regions) == len(levels)
    inner = regions[-1].get_paths()[0].vertices
    assert to_hex(regions[-1].get_facecolor()[0]) == to_hex(
        legend[f"p > {levels[0]:g}"].get_facecolor()
    )
    bottom = max(ax.get_ylim())
    widest = inner[np.isclose(inner[:, 1], bottom)][:, 0].max()
    from scipy.special import ndtri

    assert_allclose(widest, min(-ndtri(levels[0] / 2) * bottom, ax.get_xlim()[1]), rtol=1e-6)


@pytest.mark.parametrize("width", WIDTHS)
def test_filled_studies_are_open_circles(width):
    from metareg_sm import datasets

    data = datasets.egger2001.load_pandas().data
    res = MetaReg.from_formula("yi ~ 1", data, vi="vi").fit()
    record = filled(res)
    assert record.k0 == 7
    fig = res.plot_funnel(filled=record, width=width, contours=True, transform="exp")
    assert_tidy(fig)
    assert_points_inside(fig)
    new = record.filled
    same_points(places(fig, "filled"), np.exp(record.y[new]), np.sqrt(record.v[new]))
    assert fig.metareg_data["filled"].sum() == 7
    assert "filled in" in written(fig)
    (points,) = by_gid(fig, "filled")
    assert to_hex(points.get_facecolor()[0]) == "#ffffff"


def test_filled_studies_under_moderators_are_residuals():
    res = fitted(40, "y ~ x")
    record = filled(res, side="left")
    record = SimpleNamespace(
        y=np.append(record.y, 0.3),
        v=np.append(record.v, 0.2),
        X=np.vstack([record.X, [1.0, 2.0]]),
        filled=np.append(record.filled, True),
    )
    fig = res.plot_funnel(filled=record)
    x = fig.metareg_data.query("filled")["x"].iloc[-1]
    assert_allclose(x, 0.3 - np.array([1.0, 2.0]) @ res.params)


def test_ratios_have_a_logarithmic_axis(bcg):
    counts = bcg.drop(columns=["yi", "vi"])
    trials = effect_size("OR", counts, ai="tpos", bi="tneg", ci="cpos", di="cneg")
    fig = MetaReg.from_formula("yi ~ 1", trials, vi="vi").fit().plot_funnel(contours=True)
    ax = fig.axes[0]
    assert (ax.get_xscale(), ax.get_xlabel()) == ("log", "Odds Ratio")
    same_points(places(fig, "studies"), np.exp(trials["yi"]), np.sqrt(trials["vi"]))
    assert_tidy(fig)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("k", SIZES)
def test_radial(k, width):
    res = fitted(k)
    fig = res.plot_radial(width=width, label=3)
    assert_tidy(fig)
    assert_points_inside(fig)
    frame = studies(k)
    x = 1.0 / np.sqrt(frame["v"] + res.tau2)
    data = fig.metareg_data
    assert_allclose(data["x"], x)
    assert_allclose(data["y"], frame["y"] * x)
    same_points(np.asarray(fig.axes[0].collections[0].get_offsets()), x, frame["y"] * x)
    line = fig.axes[0].lines[-1]
    assert_allclose(line.get_ydata(), res.params.iloc[0] * line.get_xdata(), atol=1e-12)


def test_labels_of_the_arc_lie_on_the_lines_of_their_effects():
    fig = fitted(40).plot_radial()
    fig.canvas.draw()
    ax = fig.axes[0]
    (arc,) = by_gid(fig, "arc")
    at = ax.transData.transform(np.column_stack(arc.get_data()))
    radius = np.hypot(*(at - ax.transData.transform((0.0, 0.0))).T)
    # matplotlib's layout comes closer to its end with each drawing, here to parts of a pixel
    assert_allclose(radius, radius[0], rtol=1e-6)
    labels = by_gid(fig, "arc label")
    assert len(labels) >= 2
    for label in labels:
        effect = float(label.get_text().replace("\u2212", "-"))
        x, y = label.get_position()
        # the label stands a little to the right of its tick
        assert_allclose(y / x, effect, rtol=0.015, atol=1e-12)


def test_radial_of_residuals():
    res = fitted(40, "y ~ x")
    data = res.plot_radial().metareg_data
    assert_allclose(data["y"], res.resid.to_numpy() * data["x"], rtol=1e-10)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"yaxis": "sei"}, ["yaxis='sei'", "'se'", "'precision'", "'size'"]),
        ({"yaxis": "size"}, ["size=", "column"]),
        ({"yaxis": "size", "size": "study"}, ["size='study'", "number above 0"]),
        ({"yaxis": "size", "size": "m"}, ["size='m'", "no column"]),
        ({"yaxis": "size", "size": "n", "contours": True}, ["contours", "standard errors"]),
        ({"contours": (0.1, 0.05, 0.01, 0.001)}, ["contours", "three"]),
        ({"filled": 3}, ["trim_and_fill", "int"]),
        ({"label": -1}, ["label"]),
    ],
)
def test_errors_name_what_is_wrong(options, words):
    with pytest.raises(MetaRegError) as error:
        fitted(40).plot_funnel(**options)
    for word in words:
        assert word in str(error.value)


def test_a_variance_of_zero_has_no_place():
    frame = studies(8)
    frame.loc[2, "v"] = 0.0
    res = MetaReg.from_formula("y ~ 1", frame, vi="v").fit()
    with pytest.raises(VarianceError, match="row 2"):
        res.plot_funnel()
