"""Profile likelihoods of dependent effects and of the scale: their maxima, ends and panels."""

import copy
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import metareg_sm
from metareg_sm import LocationScaleMetaReg, MixedMetaReg, datasets, simulate, two_stage
from metareg_sm.exceptions import (
    ConvergenceWarning,
    IdentificationWarning,
    IntervalWarning,
    OptionError,
)

from ._figures import assert_tidy, written

DROP = 1.9207294103470623


def schools():
    data = datasets.konstantopoulos2011.load_pandas().data
    return MixedMetaReg.from_formula("yi ~ 1", data, vi="vi", random="1 | district/school").fit()


def outcomes():
    data = datasets.berkey1998.load_pandas().data
    V = metareg_sm.sampling_covariance(data["vi"], data["trial"], rho=0.5)
    return MixedMetaReg.from_formula(
        "yi ~ 0 + outcome", data, V=V, random="0 + outcome | trial"
    ).fit()


def writing():
    data = datasets.bangertdrowns2004.load_pandas().data
    return LocationScaleMetaReg.from_formula(
        "yi ~ 1", data, vi="vi", scale_formula="~ length"
    ).fit()


def legend(fig):
    """What a figure says, lines joined."""
    return {" ".join(text.split()) for text in written(fig)}


@pytest.mark.parametrize("fit", [schools, outcomes, writing])
def test_a_panel_for_every_component(fit):
    res = fit()
    for width in (89, 183):
        fig = res.plot_profile(width=width)
        assert_tidy(fig)
        assert not any("estimate" in text for text in written(fig))
        assert "maximum: no profile is higher" in legend(fig)
    found = fig.metareg_data.attrs["maxima"]
    assert list(found.index) == list(res.components.names)
    assert_allclose(found["estimate"], res.components.values)
    assert_allclose(found["loglike"], res.llf, atol=1e-8)
    for name, curve in fig.metareg_data.groupby("component"):
        assert curve["loglike"].max() <= 1e-8
        for end in found.loc[name, ["ci_lower", "ci_upper"]]:
            at = curve["loglike"][curve["value"] == end]
            # an end at a boundary is no crossing, nor drawn where a correlation is 1
            if len(at) and 0.0 != abs(end) < 1.0:
                assert_allclose(at, -DROP, atol=1e-6)


def test_a_correlation_is_profiled_with_its_sign():
    maxima = outcomes().plot_profile().metareg_data.attrs["maxima"]
    # by Nelder-Mead on the likelihood written out once more, the correlation being held
    assert outcomes().profile_variance("trial: rho[AL, PD]", [-0.5])[0] == pytest.approx(
        2.150103979, abs=1e-7
    )
    assert -0.64 < maxima.loc["trial: rho[AL, PD]", "ci_lower"] < -0.62


def test_a_correlation_at_its_end():
    people = simulate.participants(n_studies=12, rng=1)
    stage = two_stage("y ~ treat * age", people, study="study", effect=["treat", "age"])
    res = MixedMetaReg.from_formula(
        "yi ~ 0 + effect", stage.frame, V=stage.V, random="0 + effect | study"
    ).fit()
    rho = float(res.components.values[-1])
    assert abs(rho) == pytest.approx(1.0)
    for width in (89, 183):
        fig = res.plot_profile(width=width)
        assert_tidy(fig)
    maxima = fig.metareg_data.attrs["maxima"]
    assert maxima["estimate"].iloc[-1] == rho
    assert maxima["loglike"].iloc[-1] == pytest.approx(res.llf, abs=1e-6)
    curve = fig.metareg_data[fig.metareg_data["component"] == maxima.index[-1]]
    assert np.abs(curve["value"]).max() <= 1.0


def test_profile_intervals_of_the_scale():
    res = writing()
    ends = res.scale_conf_int(0.1, "profile-likelihood")
    for name in res.scale_params.index:
        profile = res.profile_scale(name, [*ends.loc[name], res.scale_params[name]])
        assert_allclose(profile[:2], res.llf - 0.5 * 2.705543454095404, atol=1e-7)
        assert profile[2] == pytest.approx(res.llf, abs=1e-9)
    # the profile does what single fits do: no moderator of the scale is a coefficient of 0
    data = datasets.bangertdrowns2004.load_pandas().data.dropna(subset="length")
    small = LocationScaleMetaReg.from_formula("yi ~ 1", data, vi="vi", scale_formula="~ 1").fit()
    assert res.profile_scale("length", [0.0])[0] == pytest.approx(small.llf, abs=1e-8)
    with pytest.raises(OptionError, match=r"'lenght' is not known\. Did you mean 'length'"):
        res.profile_scale("lenght", [0.0])
    with pytest.raises(OptionError, match="method='profile' is not known"):
        res.scale_conf_int(method="profile")


def two_kinds(spread):
    """Studies of little heterogeneity where x is 0, and of much where it is 1."""
    x = np.tile([0.0, 1.0], 6)
    quiet, loud = spread * np.linspace(-1.0, 1.0, 6), 2.0 * np.linspace(-1.0, 1.0, 6)
    y = np.ravel(np.column_stack([quiet, loud]))
    data = pd.DataFrame({"y": y, "x": x, "v": 0.1})
    return LocationScaleMetaReg.from_formula("y ~ 1", data, vi="v", scale_formula="~ x").fit()


def test_an_unbounded_interval_of_the_scale_says_so():
    res = two_kinds(0.6)
    with pytest.warns(IntervalWarning, match="of Intercept, x is unbounded"):
        ends = res.scale_conf_int(method="profile-likelihood")
    assert ends.loc["Intercept", 0] == -np.inf
    assert ends.loc["x", 1] == np.inf
    with pytest.warns(IntervalWarning, match="unbounded"):
        assert_tidy(res.plot_profile())


def test_a_scale_without_a_maximum_has_no_profile():
    with pytest.warns(IdentificationWarning):
        res = two_kinds(0.2)
    with pytest.raises(OptionError, match="no maximum"):
        res.plot_profile()


def two_levels():
    """Few effects of very unequal variances: a likelihood with two maxima."""
    rng = np.random.default_rng(256)
    group = np.repeat(np.arange(5), 2)
    v = np.exp(rng.normal(-1.0, 2.0, 10))
    y = rng.normal(0.0, 1.0, 5)[group] + rng.normal(0.0, 1.0, 10) * np.sqrt(v + 0.1)
    data = pd.DataFrame({"y": y, "v": v, "g": group, "e": np.arange(10)})
    return MixedMetaReg.from_formula("y ~ 1", data, vi="v", random="1 | g/e")


def test_a_profile_of_variances_tells_of_a_higher_maximum():
    model = two_levels()
    with pytest.warns(ConvergenceWarning, match="several maxima"):
        best = model.fit()
    # near the lesser maximum, where the optimizer did not move
    lesser = model.fit(start_params=[0.01, 3.0], maxiter=0, warn_convergence=False)
    assert lesser.llf < best.llf - 0.5
    rise = f"log-likelihood is {lesser.llf:.9g} at the estimate, and higher on the profile: "
    with pytest.warns(ConvergenceWarning) as told:
        lesser.conf_int_variance()
    text = next(str(w.message) for w in told if "not at the highest" in str(w.message))
    assert rise in text
    assert "; fit again with start_params=" in text
    with pytest.warns(ConvergenceWarning) as told:
        profile = lesser.profile_variance("g", [0.0, 5.8220972])
    assert profile[1] == pytest.approx(best.llf, abs=1e-6)
    assert f"{rise}{profile[1]:.9g} with g = 5.8221." in str(told[0].message)
    with pytest.warns(ConvergenceWarning, match="not at the highest"):
        fig = lesser.plot_profile()
    assert "estimate, not the maximum" in legend(fig)
    assert "maximum: no profile is higher" not in legend(fig)
    # drawn where it is, with the higher points in the axes
    top = fig.metareg_data["loglike"].max()
    # the highest of the values that are drawn, which are a grid
    assert top == pytest.approx(best.llf - lesser.llf, abs=0.05)
    assert fig.axes[0].get_ylim()[1] > top


def test_a_profile_of_the_scale_tells_of_a_higher_maximum():
    res = writing()
    low = copy.copy(getattr(res, "_results", res))
    # as if the search had ended beside the maximum
    values = res.components.values + np.array([0.5, 0.0])
    low.components = replace(res.components, values=values)
    low._cache = {"llf": res.llf - 0.25}
    message = (
        rf"log-likelihood is {low.llf:.9g} at the estimate, and higher on the profile: "
        r"-?[0-9.]+ with length = "
    )
    with pytest.warns(ConvergenceWarning, match=message):
        low.profile_scale("length", [res.scale_params["length"]])
    with pytest.warns(ConvergenceWarning, match="with Intercept = "):
        low.scale_conf_int(method="profile-likelihood")
    with pytest.warns(ConvergenceWarning, match="not at the highest"):
        fig = low.plot_profile()
    assert "estimate, not the maximum" in legend(fig)


def test_a_fit_at_the_maximum_has_no_higher_point():
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        for fit in (schools, outcomes, writing):
            fit().plot_profile()
