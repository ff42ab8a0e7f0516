"""Every kind of figure, of every model, for few and many awkward studies, at both widths."""

from functools import cache

import numpy as np
import pytest

from metareg_sm import (
    LocationScaleMetaReg,
    MetaReg,
    MixedMetaReg,
    baseline_risk,
    datasets,
    gosh,
    plots,
    two_stage,
)
from metareg_sm.exceptions import OptionError

from ._figures import (
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

# where texts stand, the same under every linear algebra kernel
pytestmark = pytest.mark.plumbing

LONG = "van den Abcdefgh-Smith-Jones, Krishnamurthy & the Collaborative Group of"


@cache
def awkward(k):
    """Ratios from 0.001 to 1000, variances from 1e-6 to 100, long names of studies and levels."""
    data = studies(k)
    rng = np.random.default_rng(k)
    data["v"] = 10.0 ** rng.uniform(-6.0, 2.0, k)
    data["y"] = np.log(10.0 ** rng.uniform(-3.0, 3.0, k))
    data["study"] = [
        f"{LONG if i % 3 == 0 else 'Ab'} {i} et al., {1960 + i % 60}" for i in range(k)
    ]
    levels = np.array(["low risk of bias in all domains of the tool", "high", "not reported"])
    data["bias"] = levels[np.arange(k) % 3]
    data["lab"] = [
        f"laboratory of the university of somewhere {i % max(k // 5, 3)}" for i in range(k)
    ]
    data.attrs.update(measure="RR", effect_size={"outcome": "y"})
    return data


MODELS = {
    "metareg": lambda formula, data: MetaReg.from_formula(formula, data, vi="v").fit(),
    "mixed": lambda formula, data: MixedMetaReg.from_formula(
        formula, data, vi="v", random="1 | lab"
    ).fit(),
    "scale": lambda formula, data: LocationScaleMetaReg.from_formula(
        formula, data, vi="v", scale_formula="~ z"
    ).fit(),
}


@cache
def fit_of(model, formula, k):
    return MODELS[model](formula, awkward(k))


def named(name, **options):
    return lambda res, width: getattr(res, name)(width=width, **options)


FIGURES = {
    "forest": ("y ~ x", named("plot_forest", labels="study", left=["n"])),
    "funnel": ("y ~ 1", named("plot_funnel", label=3, labels="study")),
    "radial": ("y ~ 1", named("plot_radial", label=3, labels="study")),
    "qq": ("y ~ x", named("plot_qq", rng=1, label=3, labels="study")),
    "bubble": ("y ~ x", named("plot_bubble", x="x", label=3, labels="study", transform="auto")),
    "orchard": ("y ~ bias", named("plot_orchard", factor="bias")),
    "profile": ("y ~ 1", named("plot_profile")),
    "influence": ("y ~ x", named("plot_influence", labels="study")),
    "random effects": ("y ~ 1", named("plot_random_effects")),
    "slopes": ("y ~ x * z", named("plot_simple_slopes", moderator="x", partner="z")),
}
# what a model does not have, or not of 5 studies
ABSENT_OF_FEW = {
    ("mixed", "orchard"),
    ("mixed", "slopes"),
    ("scale", "orchard"),
    ("scale", "slopes"),
    ("scale", "profile"),
}


# the heterogeneity of 5 studies has a likelihood of several maxima; here it is only drawn
@pytest.mark.filterwarnings(
    "ignore:The likelihood of the scale has several maxima:metareg_sm.exceptions.ConvergenceWarning"
)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("k", [5, 200])
@pytest.mark.parametrize("kind", FIGURES)
@pytest.mark.parametrize("model", MODELS)
def test_every_kind(model, kind, k, width):
    if k == 5 and (model, kind) in ABSENT_OF_FEW:
        pytest.skip("this model has no such figure")
    formula, draw = FIGURES[kind]
    fig = draw(fit_of(model, formula, k), width)
    assert width_of(fig) == pytest.approx(width)
    assert_tidy(fig)
    assert_points_inside(fig)
    assert len(fig.metareg_data)


MORE = {
    "leave one out": named("plot_leave_one_out", labels="study"),
    "cumulative": named("plot_cumulative", labels="study"),
    "baujat": named("plot_baujat", labels="study"),
    "contours": lambda res, width: res.plot_funnel(
        width=width, contours=True, filled=res.trim_and_fill()
    ),
    "precision": named("plot_funnel", yaxis="precision"),
    "size": named("plot_funnel", yaxis="size", size="n"),
    "gosh": lambda res, width: plots.gosh(
        gosh(res, n_subsets=500, rng=1), study=0, name=LONG, width=width
    ),
    "selection": lambda res, width: plots.selection(res.selection_model((0.025, 0.5)), width=width),
    "bmj": named(
        "plot_forest",
        labels="study",
        by="bias",
        style="bmj",
        favours=("favours the experimental vaccine", "favours the usual control"),
    ),
    "permutation": lambda res, width: plots.permutation(
        res.permutation_test(99, rng=1), width=width
    ),
    "bootstrap": lambda res, width: plots.bootstrap(res.bootstrap(99, rng=1), width=width),
}


# few studies say little of the steps of a selection model
@pytest.mark.filterwarnings("ignore::metareg_sm.exceptions.FewStudiesWarning")
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("k", [5, 200])
@pytest.mark.parametrize("kind", MORE)
def test_kinds_of_one_variance(kind, k, width):
    fig = MORE[kind](fit_of("metareg", "y ~ 1", k), width)
    assert_tidy(fig)
    assert_points_inside(fig)


@pytest.mark.parametrize("width", WIDTHS)
def test_figures_above_the_models(width):
    bcg = datasets.bcg.load_pandas().data
    bcg["n1i"], bcg["n2i"] = bcg["tpos"] + bcg["tneg"], bcg["cpos"] + bcg["cneg"]
    assert_tidy(baseline_risk(bcg, ai="tpos", n1i="n1i", ci="cpos", n2i="n2i").plot(width=width))
    rng = np.random.default_rng(3)
    people = studies(400).assign(trial=np.repeat(np.arange(10), 40), treat=np.tile([0, 1], 200))
    people["age"] = rng.normal(50.0 + people["trial"], 8.0)
    people["outcome"] = people["treat"] * (0.2 + 0.01 * people["age"]) + rng.normal(size=400)
    found = two_stage("outcome ~ treat * age", people, study="trial", effect="treat")
    fig = found.interaction("treat:age").plot(width=width)
    assert_tidy(fig)
    pooled = MetaReg.from_formula("yi ~ 1", found.frame, vi="vi").fit()
    assert_tidy(pooled.plot_forest(width=width))


@pytest.mark.parametrize("width", WIDTHS)
def test_resamples_of_dependent_effects(width):
    res = MixedMetaReg.from_formula(
        "y ~ x", studies(24).assign(lab=np.arange(24) % 6), vi="v", random="1 | lab"
    ).fit()
    record = res.permutation_test(64, rng=1)
    fig = plots.permutation(record, width=width)
    assert_tidy(fig)
    np.testing.assert_allclose(fig.metareg_data, record.null_distribution)
    record = res.bootstrap(49, rng=1)
    fig = plots.bootstrap(record, width=width)
    assert_tidy(fig)
    assert list(fig.metareg_data.columns) == ["Intercept", "x", "lab"]
    intervals = fig.metareg_data.attrs["intervals"]
    np.testing.assert_allclose(intervals, record.conf_int())
    with pytest.raises(OptionError, match="kind='bca'"):
        plots.bootstrap(record, kind="bca")


def test_long_names_are_whole_and_long_headings_stand_in_lines():
    data = awkward(5).copy()
    data.attrs["measure"] = "SMD1"
    res = MetaReg.from_formula("y ~ 1", data, vi="v").fit()
    fig = res.plot_forest(labels="study", width=89)
    assert_tidy(fig)
    texts = written(fig)
    assert any(t.startswith("Standardized") for t in texts)
    shown = {" ".join(t.split()) for t in texts}
    assert set(data["study"]) <= shown
    fig = res.plot_baujat(labels="study", width=89)
    assert set(data["study"]) <= {" ".join(t.split()) for t in written(fig)}
    fig = MetaReg.from_formula("y ~ x", data, vi="v").fit().plot_bubble("x", width=89)
    (label,) = [t for t in shown_texts(fig) if "Group" in t.get_text()]
    assert "\n" in label.get_text()


def test_ticks_have_no_offset():
    data = studies(20)
    data["x"] = 1000.0 + 0.01 * data["x"]
    texts = written(MetaReg.from_formula("y ~ x", data, vi="v").fit().plot_bubble("x"))
    assert not [t for t in texts if t.startswith("+")]
    ticks = [float(t) for t in texts if t.startswith(("1000", "999.9"))]
    assert len(ticks) == len(set(ticks)) >= 2


def test_ticks_differ_however_small_their_range_is():
    data = studies(20)
    data["v"] *= 1e-11
    texts = written(
        plots.bootstrap(
            MetaReg.from_formula("y ~ x", data, vi="v").fit().bootstrap(50, rng=1), "i2"
        )
    )
    ticks = [t for t in texts if t.startswith(("0.99999", "1"))]
    assert len(ticks) == len(set(ticks)) > 0


def test_many_bubbles_leave_room_between_them():
    data = studies(200).assign(v=0.1)
    fig = MetaReg.from_formula("y ~ x", data, vi="v").fit().plot_bubble("x", width=89)
    width, height = fig.axes[0].get_window_extent().size * 72.0 / fig.dpi
    areas = fig.metareg_data.query("kind == 'study'")["area"]
    assert areas.sum() <= 0.17 * width * height


def test_squares_are_whole_on_any_scale():
    data = studies(6).assign(v=0.01)
    data["y"] = [-2.0, -1.0, 0.0, 0.5, 1.0, 2.0]
    res = MetaReg.from_formula("y ~ 1", data, vi="v").fit()
    for transform in (None, "exp", "tanh", "expit"):
        assert_points_inside(res.plot_forest(transform=transform, width=89))


def test_intervals_of_an_orchard_end_in_arrows_where_they_go_on():
    fig = fitted(40, "y ~ bias").plot_orchard("bias", xlim=(0.0, 0.4))
    data = fig.metareg_data.query("kind == 'level'")
    beyond = (data["obs_ci_lower"] < 0.0).sum() + (data["obs_ci_upper"] > 0.4).sum()
    assert len(by_gid(fig, "arrow")) == beyond > 0


def test_intervals_of_random_effects_say_their_coverage():
    assert "[90% CI]" in written(fitted(5).plot_random_effects(alpha=0.1))


def test_a_panel_without_a_finite_value_says_so():
    res = MetaReg.from_formula("y ~ x * z", studies(5), vi="v").fit()
    fig = res.plot_influence(width=89)
    assert_tidy(fig)
    undefined = np.isnan(fig.metareg_data.drop(columns="number")).all().sum()
    assert written(fig).count("undefined") == undefined > 0
