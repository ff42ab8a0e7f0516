"""Profile likelihood, GOSH, permutation, bootstrap and selection figures."""

import dataclasses
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from metareg_sm import LocationScaleMetaReg, MetaReg, gosh, plots
from metareg_sm.exceptions import OptionError
from metareg_sm.stats.selection import fit_selection

from ._figures import WIDTHS, assert_tidy, by_gid, every_axes, fitted, studies, width_of, written


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("estimator", ["reml", "ml", "dl"])
def test_profile_marks_the_maximum_and_the_interval(estimator, width):
    res = fitted(40, "y ~ x", tau2=estimator)
    fig = res.plot_profile(width=width)
    assert_allclose(width_of(fig), width)
    assert_tidy(fig)
    data = fig.metareg_data
    likelihood = "ml" if estimator == "ml" else "reml"
    best = fitted(40, "y ~ x", tau2=likelihood)
    row = data.attrs["maxima"].loc["tau2"]
    assert_allclose(row["estimate"], best.tau2, rtol=1e-9)
    assert_allclose(row["loglike"], best.llf, rtol=1e-12)
    expected = best.conf_int_tau2(method="profile-likelihood").loc["tau2"]
    assert_allclose(row[["ci_lower", "ci_upper"]], expected[["ci_lower", "ci_upper"]], rtol=1e-9)
    model = res.model
    some = data.iloc[::20]
    curve = [model.loglike(t, reml=likelihood == "reml") for t in some["value"]]
    assert_allclose(some["loglike"], np.array(curve) - best.llf, atol=1e-9)
    assert data["loglike"].max() <= 1e-9
    ends = data.set_index("value")["loglike"]
    for end in (row["ci_lower"], row["ci_upper"]):
        if end > 0.0:
            assert_allclose(ends.loc[end], -1.920729410347062, atol=1e-6)
    texts = written(fig)
    assert ("estimate (DL)" in texts) == (estimator == "dl")


def test_profile_at_the_boundary_and_of_what_is_fixed():
    frame = studies(20)
    frame["y"] = 0.3 + 0.01 * np.arange(20) % 0.05
    res = MetaReg.from_formula("y ~ 1", frame, vi="v").fit()
    assert res.tau2 == 0.0
    fig = res.plot_profile()
    assert_tidy(fig)
    assert fig.metareg_data["loglike"].iloc[0] == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(OptionError, match="held fixed"):
        fitted(20, tau2=0.1).plot_profile()
    with pytest.raises(OptionError, match="components='tau'"):
        res.plot_profile(components="tau")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("study", [None, 2])
def test_gosh(study, width):
    record = gosh(fitted(9))
    fig = plots.gosh(record, study=study, name="the third", width=width)
    assert_allclose(width_of(fig), width)
    assert_tidy(fig)
    data = fig.metareg_data
    assert_allclose(data["i2"], record.frame["i2"])
    assert_allclose(data["Intercept"], record.frame["Intercept"])
    (mesh,) = by_gid(fig, "subsets")
    shown = np.ma.filled(mesh.get_array(), np.nan).ravel()
    main = mesh.axes
    counts = np.histogram2d(data["Intercept"], data["i2"], 60)[0]
    if study is None:
        assert_allclose(np.nansum(shown), len(data))
        assert_allclose(np.nan_to_num(shown).reshape(60, 60), counts)
    else:
        total = np.nansum(shown * counts.ravel())
        assert_allclose(total, record.subsets[:, 2].sum())
        assert {"with the third", "without the third"} <= set(written(fig))
    assert main.get_xlabel() == "I\u00b2"
    margins = [a for a in every_axes(fig) if len(a.patches) >= 60]
    heights = sum(p.get_height() for p in margins[0].patches)
    assert_allclose(heights, len(data))


def test_gosh_refuses_other_things():
    record = gosh(fitted(7))
    with pytest.raises(OptionError, match="position from 0 to 6"):
        plots.gosh(record, study=7)
    with pytest.raises(OptionError, match="is no column"):
        plots.gosh(record, "h2")
    with pytest.raises(OptionError, match="DataFrame"):
        plots.gosh(record.frame)


@pytest.mark.parametrize("width", WIDTHS)
def test_permutation_distributions(width):
    record = fitted(40, "y ~ x + z").permutation_test(199, rng=1)
    fig = plots.permutation(record, width=width)
    assert_tidy(fig)
    assert_allclose(fig.metareg_data, record.null_distribution)
    axes = every_axes(fig)[1:]
    assert len(axes) == 3
    for ax, name in zip(axes, record.statistic.index, strict=True):
        assert ax.get_xlabel() == f"t statistic of {name}"
        assert_allclose(ax.lines[0].get_xdata()[0], record.statistic[name])
        assert_allclose(sum(p.get_height() for p in ax.patches), 199)
        assert f"p = {record.pvalues[name]:.3g}" in ax.get_legend().get_texts()[0].get_text()
    one = plots.permutation(record, "x")
    assert list(one.metareg_data.columns) == ["x"]
    with pytest.raises(OptionError, match="terms='xx'"):
        plots.permutation(record, "xx")
    with pytest.raises(OptionError, match="permutation_test"):
        plots.permutation(3)


@pytest.mark.parametrize("width", WIDTHS)
def test_permutation_distributions_of_mean_and_heterogeneity(width):
    data = studies(12).assign(g=np.arange(12) % 2)
    res = LocationScaleMetaReg.from_formula("y ~ 1", data, vi="v", scale_formula="~ g").fit()
    record = res.permutation_test(999, rng=1)
    # signs are drawn, and all groups listed
    assert (record.n_resamples, record.scale_n_resamples) == (999, 924)
    fig = plots.permutation(record, width=width)
    assert_tidy(fig)
    shown = fig.metareg_data
    assert list(shown.columns) == ["Intercept", "ln tau2: Intercept", "ln tau2: g"]
    assert_allclose(shown["Intercept"], record.null_distribution[:, 0])
    assert_allclose(shown.iloc[:924, 1:], record.scale_null_distribution)
    assert shown.iloc[924:, 1:].isna().all(axis=None)
    ax = every_axes(fig)[-1]
    assert ax.get_xlabel() == "t statistic of ln tau2: g"
    assert_allclose(ax.lines[0].get_xdata()[0], record.scale_statistic["g"])
    assert_allclose(sum(p.get_height() for p in ax.patches), 924)
    label = " ".join(ax.get_legend().get_texts()[0].get_text().split())
    assert f"p = {record.scale_pvalues['g']:.3g}" in label
    assert_allclose(fig.metareg_data.attrs["observed"]["ln tau2: g"], record.scale_statistic["g"])
    unknown = dataclasses.replace(record, scale_statistic=record.scale_statistic * np.nan)
    ax = every_axes(plots.permutation(unknown, "ln tau2: g"))[-1]
    assert ax.get_legend().get_texts()[0].get_text() == "no statistic observed"


@pytest.mark.parametrize("width", WIDTHS)
def test_bootstrap_distributions(width):
    record = fitted(40, "y ~ x").bootstrap(199, rng=1)
    fig = plots.bootstrap(record, width=width)
    assert_tidy(fig)
    ends = record.conf_int()
    axes = every_axes(fig)[1:]
    assert len(axes) == len(ends)
    for ax, name in zip(axes, ends.index, strict=True):
        lines = [line.get_xdata()[0] for line in ax.lines]
        assert_allclose(lines, ends.loc[name, ["estimate", "ci_lower", "ci_upper"]])
    pd.testing.assert_frame_equal(fig.metareg_data, record.distribution)
    assert {"estimate", "95% interval"} <= set(written(fig))
    some = plots.bootstrap(record, ["tau2"], kind="bca", alpha=0.1)
    expected = record.conf_int(0.1, "bca").loc[["tau2"]]
    pd.testing.assert_frame_equal(some.metareg_data.attrs["intervals"], expected)
    with pytest.raises(OptionError, match="quantities='tau'"):
        plots.bootstrap(record, "tau")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("steps", [(0.025,), (0.025, 0.05, 0.5)])
def test_steps_of_the_selection_model(steps, width):
    frame = studies(60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = fit_selection(
            frame["y"].to_numpy(), frame["v"].to_numpy(), np.ones((60, 1)), steps=steps
        )
    fig = plots.selection(model, width=width)
    assert_tidy(fig)
    data = fig.metareg_data
    assert_allclose(data["weight"], model.weights)
    assert_allclose(data[["ci_lower", "ci_upper"]], model.conf_int_weights())
    ax = fig.axes[0]
    (stairs,) = [p for p in ax.patches if hasattr(p, "get_data")]
    assert_allclose(stairs.get_data().values, model.weights)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0", *(f"{s:g}" for s in steps), "1"]
    for count in model.counts:
        assert f"k = {count:.0f}" in written(fig)
    with pytest.raises(OptionError, match="shape"):
        plots.selection(model, intervals=np.ones((9, 2)))
    with pytest.raises(OptionError, match="selection model"):
        plots.selection(fitted(9))
