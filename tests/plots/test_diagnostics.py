"""Q-Q, Baujat and influence plots."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal
from scipy.stats import norm

from metareg_sm import LocationScaleMetaReg, MetaReg, MixedMetaReg, datasets
from metareg_sm.exceptions import DesignError, OptionError
from metareg_sm.plots import baujat, influence

from ._figures import (
    SIZES,
    WIDTHS,
    assert_points_inside,
    assert_tidy,
    by_gid,
    every_axes,
    fitted,
    studies,
    width_of,
    written,
)


class Diagnosed:
    """A fit with deletion diagnostics that are any numbers."""

    def __init__(self, res, seed=0):
        self._fit = res._results
        k = len(self._fit.table.endog)
        rng = np.random.default_rng(seed)
        x, y = rng.exponential(size=(2, k))
        x[0] = y[0] = np.nan
        self.record = SimpleNamespace(
            hat_matrix_diag=rng.uniform(0.0, 3.2 / k, k),
            resid_studentized_external=rng.normal(size=k),
            dffits=(rng.normal(size=k), 1.5),
            cooks_distance=(rng.exponential(size=k), np.ones(k)),
            cov_ratio=rng.uniform(0.7, 1.3, k),
            tau2_deleted=rng.uniform(0.0, 0.1, k),
            baujat=lambda: pd.DataFrame({"x": x, "y": y}),
        )

    def __getattr__(self, name):
        if name == "_results":
            raise AttributeError(name)
        return getattr(self._fit, name)

    def get_influence(self):
        return self.record


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("k", SIZES)
def test_influence_panel(k, width):
    res = Diagnosed(fitted(k, "y ~ x"))
    fig = influence(res, width=width)
    assert_allclose(width_of(fig), width)
    assert_tidy(fig)
    assert_points_inside(fig)
    record, data = res.record, fig.metareg_data
    expected = {
        "rstudent": record.resid_studentized_external,
        "dffits": record.dffits[0],
        "cooks_distance": record.cooks_distance[0],
        "cov_ratio": record.cov_ratio,
        "tau2_deleted": record.tau2_deleted,
        "hat": record.hat_matrix_diag,
    }
    for name, values in expected.items():
        (points,) = by_gid(fig, name)
        at = np.asarray(points.get_offsets())
        assert_allclose(at[:, 0], np.arange(1, k + 1))
        assert_allclose(at[:, 1], values)
        assert_allclose(data[name], values)
    assert list(data.index) == list(studies(k)["study"])
    (hats,) = by_gid(fig, "hat")
    beyond = record.hat_matrix_diag > 3.0 * 2 / k
    colours = hats.get_facecolor()[:, :3]
    assert len({tuple(c) for c in colours[beyond]} & {tuple(c) for c in colours[~beyond]}) == 0


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("k", SIZES)
def test_baujat(k, width):
    res = Diagnosed(fitted(k))
    fig = baujat(res, width=width, label=4)
    assert_tidy(fig)
    assert_points_inside(fig)
    found = res.record.baujat().iloc[1:]
    points = np.asarray(fig.axes[0].collections[0].get_offsets())
    assert_allclose(points, found)
    score = found["x"] / found["x"].max() + found["y"] / found["y"].max()
    named = score.sort_values(ascending=False).index[:4]
    assert set(studies(k)["study"].loc[named]) <= set(written(fig))


def test_models_without_deletions_say_so():
    bare = SimpleNamespace(_results=SimpleNamespace())
    with pytest.raises(OptionError, match="get_influence"):
        influence(bare)
    with pytest.raises(OptionError, match="get_influence"):
        baujat(bare)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("k", SIZES)
def test_qq_shows_the_standardised_residuals_at_normal_quantiles(k, width):
    res = fitted(k, "y ~ x")
    fig = res.plot_qq(rng=1, width=width, label=2)
    assert_tidy(fig)
    assert_points_inside(fig)
    frame = studies(k)
    X = np.column_stack([np.ones(k), frame["x"]])
    w = 1.0 / (frame["v"].to_numpy() + res.tau2)
    hat = w * np.einsum("ij,jk,ik->i", X, np.linalg.inv(X.T @ (w[:, None] * X)), X)
    expected = res.resid.to_numpy() * np.sqrt(w / (1.0 - hat))
    data = fig.metareg_data
    assert_allclose(data["residual"], np.sort(expected), rtol=1e-8)
    assert_allclose(data["theoretical"], norm.ppf((np.arange(1, k + 1) - 0.375) / (k + 0.25)))
    points = np.asarray(fig.axes[0].collections[-1].get_offsets())
    assert_allclose(points, data[["theoretical", "residual"]])


def test_the_envelope_is_seeded_and_covers():
    res = fitted(40, "y ~ x")
    first, again = (res.plot_qq(rng=3).metareg_data for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    other = res.plot_qq(rng=4).metareg_data
    assert not np.allclose(first["lower"], other["lower"])
    wide = res.plot_qq(rng=3, envelope=0.999).metareg_data
    assert (wide["lower"] <= first["lower"]).all()
    assert (wide["upper"] >= first["upper"]).all()
    # data from the model lie within, but for some
    inside = (first["residual"] >= first["lower"]) & (first["residual"] <= first["upper"])
    assert inside.mean() > 0.8


def test_a_study_with_leverage_one_has_no_residual():
    frame = studies(9)
    frame["dummy"] = (np.arange(9) == 2).astype(float)
    res = MetaReg.from_formula("y ~ dummy", frame, vi="v").fit()
    with pytest.raises(DesignError, match="leverage 1"):
        res.plot_qq()


def test_given_axes_hold_the_panel():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 7.0))
    ax = figure.add_subplot()
    assert influence(Diagnosed(fitted(40)), ax=ax) is figure
    assert_tidy(figure)
    frame = ax.get_window_extent()
    for panel in every_axes(figure)[1:]:
        box = panel.get_tightbbox()
        assert frame.x0 - 1 <= box.x0
        assert box.x1 <= frame.x1 + 1
        assert frame.y0 - 1 <= box.y0
        assert box.y1 <= frame.y1 + 1


@pytest.mark.parametrize("width", WIDTHS)
def test_influence_of_clusters(width):
    schools = datasets.konstantopoulos2011.load_pandas().data
    res = MixedMetaReg.from_formula("yi ~ 1", schools, vi="vi", random="1 | district/school").fit()
    fig = res.plot_influence(width=width)
    assert_tidy(fig)
    assert_points_inside(fig)
    expected = res.leave_one_cluster_out().summary_frame()
    assert_frame_equal(fig.metareg_data.drop(columns="number"), expected)
    for name in expected.columns:
        (drawn,) = by_gid(fig, name)
        assert_allclose(drawn.get_offsets()[:, 1], expected[name])
    # one district stands out, as it does in the variance between districts
    (drawn,) = by_gid(fig, "cooks_distance")
    colours = np.unique(drawn.get_facecolors(), axis=0, return_counts=True)[1]
    assert sorted(colours) == [1, 10]


def location_scale():
    writing = datasets.bangertdrowns2004.load_pandas().data
    model = LocationScaleMetaReg.from_formula(
        "yi ~ grade", writing, vi="vi", scale_formula="~ grade"
    )
    return model.fit()


@pytest.mark.parametrize("width", WIDTHS)
def test_influence_on_the_scale(width):
    res = location_scale()
    found = res.get_influence()
    fig = res.plot_influence(width=width)
    assert_allclose(width_of(fig), width)
    assert_tidy(fig)
    assert_points_inside(fig)
    data = fig.metareg_data
    scale = ["dfb_ln tau2: Intercept", "dfb_ln tau2: grade"]
    assert list(data.columns[-2:]) == scale
    expected = {
        "rstudent": found.resid_studentized_external,
        "dffits": found.dffits[0],
        "cooks_distance": found.cooks_distance[0],
        "cov_ratio": found.cov_ratio,
        "tau2_deleted": found.tau2_deleted,
        "hat": found.hat_matrix_diag,
        **dict(zip(scale, found.dfbetas_scale.T, strict=True)),
    }
    for name, values in expected.items():
        assert_allclose(data[name], values)
        (drawn,) = by_gid(fig, name)
        assert_allclose(drawn.get_offsets()[:, 1], values)
    labels = [" ".join(ax.get_ylabel().split()) for ax in every_axes(fig) if ax.get_ylabel()]
    assert labels[-2:] == ["DFBETAS, ln \u03c4\u00b2: Intercept", "DFBETAS, ln \u03c4\u00b2: grade"]
    # the line that tau2 is compared with is the mean of all studies
    (drawn,) = by_gid(fig, "tau2_deleted")
    lines = [line.get_ydata()[0] for line in drawn.axes.lines if len(line.get_ydata()) == 2]
    assert_allclose(lines, [res.tau2.mean()])


def test_baujat_of_a_location_scale_fit():
    res = location_scale()
    expected = res.get_influence().baujat()
    data = res.plot_baujat(labels="author").metareg_data
    assert_allclose(data, expected)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("shift", [-3.0, 0.0, 3.0])
def test_arc_of_a_radial_plot_is_beyond_the_studies(width, shift):
    data = studies(12).assign(y=lambda d: d["y"] + shift)
    fig = MetaReg.from_formula("y ~ 1", data, vi="v").fit().plot_radial(width=width)
    fig.canvas.draw()
    (arc,) = by_gid(fig, "arc")
    ax = arc.axes
    origin = ax.transData.transform((0.0, 0.0))
    found = ax.transData.transform(fig.metareg_data[["x", "y"]].to_numpy())
    radius = np.hypot(*(ax.transData.transform(np.column_stack(arc.get_data())) - origin).T)
    assert np.hypot(*(found - origin).T).max() < radius.min()
