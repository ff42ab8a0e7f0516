"""Cumulative and leave-one-out forests, caterpillars and orchards."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from metareg_sm import LocationScaleMetaReg, MetaReg, datasets, plots
from metareg_sm.exceptions import OptionError

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


def table(k, terms=("Intercept", "x")):
    """A table as leave_one_out() and cumulative() return."""
    rng = np.random.default_rng(k)
    index = pd.MultiIndex.from_product([studies(k)["study"], terms], names=["study", "term"])
    coef = rng.normal(0.3, 0.05, len(index))
    half = rng.uniform(0.1, 0.4, len(index))
    columns = {"coef": coef, "ci_lower": coef - half, "ci_upper": coef + half}
    return pd.DataFrame(columns, index=index).assign(tau2=rng.uniform(0.0, 0.3, len(index)))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("k", SIZES)
@pytest.mark.parametrize("figure", [plots.cumulative, plots.leave_one_out])
def test_tables_of_refits(figure, k, width):
    frame = table(k)
    fig = figure(frame, "x", width=width)
    assert_allclose(width_of(fig), width)
    assert_tidy(fig)
    expected = frame.xs("x", level=1)
    assert_allclose(fig.metareg_data["estimate"], expected["coef"])
    marks = by_gid(fig, "estimate")
    assert_allclose([m.get_xdata()[0] for m in marks], expected["coef"])
    assert_allclose([m.get_ydata()[0] for m in marks], fig.metareg_data["y"])
    lines = np.array([line.get_xdata() for line in by_gid(fig, "interval")])
    whole = ~fig.metareg_data["clipped"].to_numpy()
    assert_allclose(lines[whole], expected[["ci_lower", "ci_upper"]].to_numpy()[whole])


def test_the_first_term_is_shown_and_ratios_have_their_axis():
    frame = table(6)
    fig = plots.leave_one_out(frame, transform="exp", reference=0.3)
    assert_allclose(fig.metareg_data["shown"], np.exp(frame.xs("Intercept", level=1)["coef"]))
    assert "exp(Intercept) (log scale)" in written(fig)
    assert fig.axes[0].child_axes[0].get_xscale() == "log"


@pytest.mark.parametrize("width", WIDTHS)
def test_a_coefficient_of_the_scale_without_each_study(width):
    writing = datasets.bangertdrowns2004.load_pandas().data
    model = LocationScaleMetaReg.from_formula("yi ~ 1", writing, vi="vi", scale_formula="~ grade")
    res = model.fit()
    fig = res.plot_leave_one_out("ln tau2: grade", labels="author", width=width)
    assert_tidy(fig)
    expected = res.leave_one_out().xs("ln tau2: grade", level="term")
    assert_allclose(fig.metareg_data["estimate"], expected["coef"])
    assert "ln \u03c4\u00b2: grade" in written(fig)
    (line,) = by_gid(fig, "reference")
    assert_allclose(line.get_xdata(), res.scale_params["grade"])
    beta = res.plot_leave_one_out().metareg_data["estimate"]
    assert_allclose(beta, res.get_influence().params_not_obsi[:, 0])


def test_a_fit_that_failed_has_a_row_that_says_so():
    frame = table(6)
    frame.loc[(frame.index[2][0], "Intercept"), ["coef", "ci_lower", "ci_upper"]] = np.nan
    fig = plots.cumulative(frame)
    assert "not fitted" in written(fig)
    assert len(fig.metareg_data) == 5


def test_names_by_the_labels_of_the_data():
    frame = table(5)
    numbered = frame.set_axis(
        pd.MultiIndex.from_product([range(5), ["Intercept", "x"]], names=["study", "term"])
    )
    names = studies(5)["study"]
    data = plots.cumulative(numbered, labels=names).metareg_data
    assert list(data.index) == list(names)
    with pytest.raises(OptionError, match="study 4"):
        plots.leave_one_out(numbered, labels=names.iloc[:4])


def test_a_fit_is_refitted_and_named_as_in_a_forest():
    data = studies(8)
    res = MetaReg.from_formula("y ~ x", data, vi="v").fit()
    without = res.plot_leave_one_out("x", labels="study")
    expected = res.leave_one_out().xs("x", level="term")
    assert_allclose(without.metareg_data["estimate"], expected["coef"])
    assert list(without.metareg_data.index) == list(data["study"])
    assert_allclose(by_gid(without, "reference")[0].get_xdata(), res.params["x"])
    added = res.plot_cumulative("x", "x", labels="study").metareg_data
    expected = res.cumulative("x").xs("x", level="term")["coef"].dropna()
    assert_allclose(added["estimate"], expected)
    assert list(added.index) == list(data["study"][expected.index])


def test_groups_of_a_fit_are_named_by_themselves():
    data = studies(8).assign(lab=list("aabbccdd"))
    fig = MetaReg.from_formula("y ~ x", data, vi="v").fit().plot_leave_one_out(groups="lab")
    assert list(fig.metareg_data.index) == list("abcd")


@pytest.mark.parametrize(
    ("options", "words"), [({"labels": "study"}, "or the fit"), ({"order": "x"}, "goes with a fit")]
)
def test_a_table_is_made_already(options, words):
    with pytest.raises(OptionError, match=words):
        plots.cumulative(table(5), **options)


@pytest.mark.parametrize(
    ("given", "term", "words"),
    [
        (table(5), "y", ["term='y'", "Intercept, x"]),
        (pd.DataFrame({"coef": [1.0]}), None, ["leave_one_out", "(study, term)"]),
        (3, None, ["int"]),
    ],
)
def test_other_tables_are_refused(given, term, words):
    with pytest.raises(OptionError) as error:
        plots.cumulative(given, term)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("k", SIZES)
def test_caterpillar_is_the_table_of_random_effects(k, width):
    res = fitted(k)
    fig = res.plot_random_effects(width=width)
    assert_tidy(fig)
    expected = res.random_effects.sort_values("u", kind="stable")
    data = fig.metareg_data
    assert_allclose(data["estimate"], expected["u"], rtol=1e-12)
    assert_allclose(data["ci_upper"], expected["u"] + 1.959963984540054 * expected["u_se"])
    assert data["estimate"].is_monotonic_increasing
    assert list(data.index) == list(studies(k)["study"].iloc[expected.index])


def test_shrunken_effects_in_the_order_of_the_data():
    res = fitted(9, "y ~ x")
    data = res.plot_random_effects(effects="theta", order=False).metareg_data
    assert_allclose(data["estimate"], res.random_effects["theta"])
    with pytest.raises(OptionError, match="effects='b'"):
        res.plot_random_effects(effects="b")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("k", SIZES)
def test_orchard(k, width):
    res = fitted(k, "y ~ bias + x")
    fig = res.plot_orchard("bias", width=width)
    assert_tidy(fig)
    assert_points_inside(fig)
    data = fig.metareg_data.query("kind == 'level'").set_index("level")
    x = studies(k)["x"].mean()
    for level in data.index:
        row = res.get_prediction({"bias": [level], "x": [x]}).summary_frame().iloc[0]
        got = data.loc[level, ["estimate", "ci_lower", "ci_upper", "obs_ci_lower"]].astype(float)
        names = ["mean", "mean_ci_lower", "mean_ci_upper", "obs_ci_lower"]
        assert_allclose(got, row[names], rtol=1e-10)
    weights = 1.0 / (studies(k)["v"] + res.tau2)
    clouds = by_gid(fig, "cloud")
    areas = np.concatenate([c.get_sizes() for c in clouds])
    shown = np.concatenate([np.asarray(c.get_offsets())[:, 0] for c in clouds])
    y = studies(k)["y"]
    order, wanted = np.argsort(shown), np.argsort(y.to_numpy())
    assert_allclose(shown[order], y.iloc[wanted])
    assert_allclose((areas / areas.max())[order], (weights / weights.max()).iloc[wanted])
    means = [m.get_xdata()[0] for m in by_gid(fig, "estimate")]
    assert_allclose(means, data["estimate"])


def test_orchard_is_for_levels():
    res = fitted(40, "y ~ x")
    with pytest.raises(OptionError, match="plot_bubble"):
        res.plot_orchard("x")
    with pytest.raises(OptionError, match="no moderator"):
        res.plot_orchard("bias")


def test_levels_of_numbers_and_of_categories():
    frame = studies(40)
    frame["grade"] = np.arange(40) % 4
    frame["bias"] = pd.Categorical(frame["bias"], ["high", "unclear", "low", "unknown"])
    res = MetaReg.from_formula("y ~ C(grade) + bias", frame, vi="v").fit()
    data = res.plot_orchard("grade").metareg_data.query("kind == 'level'")
    assert list(data["level"]) == [0, 1, 2, 3]
    data = res.plot_orchard("bias").metareg_data.query("kind == 'level'")
    assert list(data["level"]) == ["high", "unclear", "low"]
