"""Figures ask a fit for what `Fitted` offers, and statsmodels' own figures work on it."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from statsmodels.graphics.regressionplots import abline_plot, plot_ccpr, plot_fit

from metareg_sm import plots
from metareg_sm.exceptions import OptionError
from metareg_sm.postestimation.fitted import Fitted
from metareg_sm.stats.components import VarianceComponents

from ._figures import assert_tidy, fitted, studies, written

OFFERED = {n for n in vars(Fitted) if not n.startswith("_")} | set(Fitted.__annotations__)


class OnlyFitted:
    """A fit of another model: all that `Fitted` offers, and nothing else."""

    def __init__(self, res, **more):
        self._fit = res._results
        self._more = more

    def __getattr__(self, name):
        if name in self._more:
            return self._more[name]
        if name not in OFFERED:
            raise AttributeError(name)
        return getattr(self._fit, name)


def components(*names):
    values = np.arange(1, len(names) + 1) / 10.0
    return VarianceComponents(names, values, values, values, "REML", "reml", len(names))


@pytest.mark.parametrize("formula", ["y ~ 1", "y ~ x"])
def test_every_figure_of_a_fit_needs_the_protocol_alone(formula):
    res = fitted(40, formula)
    bare = OnlyFitted(res, components=components("district", "district/school"))
    for figure in (plots.forest, plots.funnel, plots.radial, plots.qq):
        fig = figure(bare)
        assert_tidy(fig)
        pd.testing.assert_index_equal(fig.metareg_data.columns, figure(res).metareg_data.columns)
    texts = " ".join(written(plots.forest(bare)))
    assert "district = 0.100; district/school = 0.200" in texts
    if formula == "y ~ x":
        assert_tidy(plots.bubble(bare, "x"))


def test_what_only_some_models_can_is_refused_with_a_reason():
    bare = OnlyFitted(fitted(40))
    with pytest.raises(OptionError, match="profile"):
        plots.profile(bare)
    with pytest.raises(OptionError, match="random effects"):
        plots.random_effects(bare)
    with pytest.raises(OptionError, match="deletion"):
        plots.influence(bare)


def test_blocks_of_a_model_that_cannot_be_refitted_have_no_diamond():
    data = plots.forest(OnlyFitted(fitted(40)), by="bias").metareg_data
    assert (data["kind"] == "diamond").sum() == 1
    assert set(data["block"]) == {"low", "high", "unclear", ""}


def test_random_effects_of_several_groupings():
    index = pd.Index([f"district {i}" for i in range(7)], name="district")
    u = np.linspace(1.0, -1.0, 7)
    tables = {
        "district": pd.DataFrame({"u": u, "u_se": 0.2}, index=index),
        "school": pd.DataFrame({"u": -u, "u_se": 0.1}, index=index),
    }
    bare = OnlyFitted(fitted(40), random_effects=tables)
    assert_allclose(plots.random_effects(bare).metareg_data["estimate"], np.sort(u))
    fig = plots.random_effects(bare, grouping="school", order=False)
    assert_allclose(fig.metareg_data["estimate"], -u)
    assert {"school", "district 6"} <= set(written(fig))
    with pytest.raises(OptionError, match="grouping='schol'"):
        plots.random_effects(bare, grouping="schol")


def test_profile_of_every_component():
    best = {"a": 0.1, "b": 0.4, "rho": -0.2}

    def profile_variance(name, values):
        return -3.0 - 20.0 * (np.asarray(values) - best[name]) ** 2

    def conf_int_variance(alpha):
        half = np.sqrt(1.920729410347062 / 20.0)
        rows = {n: [b, max(b - half, 0.0), b + half] for n, b in best.items()}
        rows["rho"] = [best["rho"], best["rho"] - half, best["rho"] + half]
        rows["odd"] = [np.nan] * 3
        return pd.DataFrame(rows, index=["estimate", "ci_lower", "ci_upper"]).T

    bare = OnlyFitted(
        fitted(40),
        components=components("a", "b", "rho", "odd"),
        llf=-3.0,
        profile_variance=profile_variance,
        conf_int_variance=conf_int_variance,
    )
    for width in (89, 183):
        fig = plots.profile(bare, components=["a", "b", "rho"], width=width)
        assert_tidy(fig)
    maxima = fig.metareg_data.attrs["maxima"]
    assert_allclose(maxima["estimate"], [0.1, 0.4, -0.2])
    assert_allclose(maxima["loglike"], -3.0)
    ranges = fig.metareg_data.groupby("component")["value"].agg(["min", "max"])
    assert ranges.loc["a", "min"] == 0.0
    assert -1.0 < ranges.loc["rho", "min"] < maxima.loc["rho", "ci_lower"]
    assert maxima.loc["rho", "ci_upper"] < ranges.loc["rho", "max"] < 1.0
    with pytest.raises(OptionError, match="'odd' is undefined"):
        plots.profile(bare, components=["a", "odd"])
    assert list(plots.profile(bare).metareg_data.attrs["maxima"].index) == ["a", "b", "rho"]
    one = plots.profile(bare, components="b").metareg_data
    assert set(one["component"]) == {"b"}


def test_abline_plot():
    res = fitted(40, "y ~ x")
    line = abline_plot(model_results=res).axes[0].lines[0]
    x, y = np.array(line.get_data())
    assert_allclose(y, res.params["Intercept"] + res.params["x"] * x)


def test_plot_ccpr():
    res = fitted(40, "y ~ x + z")
    ax = plot_ccpr(res, "x").axes[0]
    x, y = ax.lines[0].get_data()
    assert_allclose(x, studies(40)["x"])
    assert_allclose(y, res.params["x"] * studies(40)["x"] + res.resid)
    assert sm.graphics.plot_ccpr(res, 1).axes


def test_plot_fit_without_the_bars_of_ordinary_least_squares():
    res = fitted(40, "y ~ x + z")
    ax = plot_fit(res, "x", vlines=False).axes[0]
    lines = {line.get_label(): line.get_data() for line in ax.lines}
    order = np.argsort(studies(40)["x"])
    assert_allclose(lines["y"][1], studies(40)["y"].iloc[order])
    assert_allclose(lines["fitted"][1], res.fittedvalues.iloc[order])


def test_a_fit_and_a_summary_need_no_matplotlib():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "import metareg_sm, metareg_sm.plots\n"
        "bcg = metareg_sm.datasets.bcg.load_pandas().data\n"
        "res = metareg_sm.MetaReg.from_formula('yi ~ ablat', bcg, vi='vi').fit()\n"
        "res.summary()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_subfigures_and_pickles():
    import pickle

    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.0))
    left, right = figure.subfigures(1, 2)
    res = fitted(12, "y ~ x")
    assert plots.forest(res, ax=left.add_subplot(), heterogeneity=False) is figure
    assert plots.profile(res, ax=right.add_subplot()) is figure
    again = pickle.loads(pickle.dumps(figure))
    assert len(again.findobj()) > 100
    pd.testing.assert_frame_equal(again.metareg_data, figure.metareg_data)
