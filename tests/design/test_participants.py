"""Averages over participants, and moderators from the control arm."""

import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

import metareg_sm
from metareg_sm import MetaReg
from metareg_sm.exceptions import BaselineWarning, DesignError, OptionError


def notes(res):
    return " ".join(str(res.summary()).split())


def test_notes_name_them(bcg):
    model = MetaReg.from_formula(
        "yi ~ ablat + year",
        bcg,
        vi="vi",
        participant_level=["ablat", "year"],
        participant_sd={"ablat": 30},
    )
    found = model.participants
    assert found.names == ("ablat", "year")
    assert found.between_sd == pytest.approx((bcg["ablat"].std(), bcg["year"].std()))
    assert found.within_sd == (30.0, None)
    text = notes(model.fit())
    assert "ablat and year are averages over the participants" in text
    assert "deviation of 14.4 across studies, participants with one of 30 within" in text
    assert text.count("ecological bias") == 1
    one = MetaReg.from_formula("yi ~ ablat + year", bcg, vi="vi", participant_level="ablat").fit()
    assert notes(one).count("ecological bias") == 2


def test_standard_deviations_by_column_and_alone(bcg):
    bcg["sd"] = np.linspace(5.0, 10.0, 13)
    options = {"vi": "vi", "participant_level": "ablat"}
    by_column = MetaReg.from_formula("yi ~ ablat", bcg, participant_sd="sd", **options)
    assert by_column.participants.within_sd[0] == pytest.approx(np.sqrt((bcg["sd"] ** 2).mean()))
    alone = MetaReg.from_formula("yi ~ ablat", bcg, participant_sd=7, **options)
    assert alone.participants.within_sd == (7.0,)
    assert "participants with one of 7 within studies" in notes(alone.fit())


def test_arrays(bcg):
    exog = bcg[["ablat"]].assign(const=1.0)
    res = MetaReg(bcg["yi"], exog, vi=bcg["vi"], participant_level=["ablat"]).fit()
    assert "ablat is an average over the participants" in notes(res)


MODELS = {
    "mixedmetareg": {"random": "1 | trial"},
    "lsmetareg": {"scale_formula": "~ year"},
}


@pytest.mark.parametrize("name", MODELS)
def test_notes_and_report_of_the_other_models(engine, bcg, name):
    fitted = getattr(smf, name)
    options = MODELS[name] | {"participant_level": "ablat", "participant_sd": {"ablat": 30}}
    res = fitted("yi ~ ablat + year", bcg, vi="vi", **options).fit()
    rows = "effects" if name == "mixedmetareg" else "studies"
    told = f"standard deviation of 14.4 across {rows}, participants with one of 30 within studies"
    for text in (notes(res), " ".join(res.report().split())):
        assert "ablat is an average over the participants of a study" in text
        assert told in text
    with pytest.raises(OptionError, match="participant_level names 'yi', which is no moderator"):
        fitted("yi ~ ablat", bcg, vi="vi", **(options | {"participant_level": "yi"}))


def test_moderators_of_the_scale_may_be_averages(bcg):
    model = smf.lsmetareg(
        "yi ~ ablat", bcg, vi="vi", scale_formula="~ year", participant_level=["year"]
    )
    assert model.participants.names == ("year",)


@pytest.mark.parametrize("name", MODELS)
def test_arrays_of_the_other_models(bcg, name):
    cls = {"mixedmetareg": metareg_sm.MixedMetaReg, "lsmetareg": metareg_sm.LocationScaleMetaReg}
    own = {"random": "1 | trial", "data": bcg} if name == "mixedmetareg" else {}
    exog = bcg[["ablat"]].assign(const=1.0)
    model = cls[name](bcg["yi"], exog, vi=bcg["vi"], participant_level=["ablat"], **own)
    assert "ablat is an average over the participants" in notes(model.fit())


@pytest.mark.parametrize("name", MODELS)
def test_control_arm_of_the_other_models(engine, bcg, name):
    trials = as_effect_size(bcg)
    fitted, options = getattr(smf, name), MODELS[name] | {"vi": "vi"}
    with pytest.warns(BaselineWarning, match="'risk' is computed from the control"):
        fitted("yi ~ risk", trials, **options)
    trials.attrs.clear()
    with pytest.warns(BaselineWarning, match="'ablat'"):
        fitted("yi ~ ablat", trials, baseline="ablat", **options)
    with pytest.raises(OptionError, match="baseline names 'burden'"):
        fitted("yi ~ ablat", trials, baseline="burden", **options)


def test_the_warning_points_at_who_wrote_the_formula(bcg):
    with pytest.warns(BaselineWarning) as told:
        MetaReg.from_formula("yi ~ risk", as_effect_size(bcg), vi="vi")
    assert told[0].filename == __file__


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"participant_level": ["ablatt"]}, OptionError, "no moderator.*Did you mean 'ablat'"),
        ({"participant_level": ["year"]}, OptionError, "names 'year', which is no moderator"),
        ({"participant_sd": 3}, OptionError, "goes with participant_level"),
        (
            {"participant_level": ["ablat"], "participant_sd": {"x": 3}},
            OptionError,
            "participant_sd has 'x'",
        ),
        (
            {"participant_level": ["ablat"], "participant_sd": {"ablat": 0}},
            OptionError,
            "finite number > 0",
        ),
        (
            {"participant_level": ["ablat"], "participant_sd": {"ablat": "sd"}},
            OptionError,
            "no column of the data",
        ),
        (
            {"participant_level": ["ablat"], "participant_sd": {"ablat": [-1.0] * 13}},
            DesignError,
            "not negative",
        ),
        ({"baseline": "risk"}, OptionError, "baseline names 'risk', which is no column"),
    ],
)
def test_bad_input(bcg, options, error, message):
    with pytest.raises(error, match=message):
        MetaReg.from_formula("yi ~ ablat", bcg, vi="vi", **options)


def as_effect_size(bcg):
    bcg.attrs["effect_size"] = {
        "measure": "RR",
        "columns": {"ai": "tpos", "bi": "tneg", "ci": "cpos", "di": "cneg"},
        "control": ["cpos", "cneg"],
    }
    bcg["risk"] = bcg["cpos"] / (bcg["cpos"] + bcg["cneg"])
    bcg["logit"] = np.log(bcg["cpos"] / bcg["cneg"])
    return bcg


@pytest.mark.parametrize(
    ("right", "named"),
    [("risk", "'risk'"), ("ablat + logit", "'logit'"), ("np.log(cpos / cneg)", "'cpos', 'cneg'")],
)
def test_control_arm_is_recognised(engine, bcg, right, named):
    with pytest.warns(BaselineWarning, match=f"The moderator {named} is computed from the control"):
        MetaReg.from_formula(f"yi ~ {right}", as_effect_size(bcg), vi="vi")


@pytest.mark.skipif(not hasattr(metareg_sm, "effect_size"), reason="needs effect_size")
def test_columns_that_effect_size_used(bcg):
    cells = {"ai": "tpos", "bi": "tneg", "ci": "cpos", "di": "cneg"}
    trials = metareg_sm.effect_size("OR", bcg.drop(columns=["yi", "vi"]), **cells)
    trials["risk"] = trials["cpos"] / (trials["cpos"] + trials["cneg"])
    for right, named in (("risk", "'risk'"), ("np.log(cpos / cneg) + year", "'cpos', 'cneg'")):
        with pytest.warns(BaselineWarning, match=named):
            MetaReg.from_formula(f"yi ~ {right}", trials, vi="vi")
    with warnings.catch_warnings():
        warnings.simplefilter("error", BaselineWarning)
        MetaReg.from_formula("yi ~ ablat + C(alloc)", trials, vi="vi")


MEANS = {c: c for c in ("m1i", "sd1i", "n1i", "m2i", "sd2i", "n2i")}
RATES = {c: c for c in ("x1i", "t1i", "x2i", "t2i")}
TABLES = {c: c for c in ("ai", "bi", "ci", "di")}


@pytest.mark.parametrize(
    ("measure", "cells", "made", "warned"),
    [
        ("OR", TABLES, lambda d: 100 * d["ci"] / (d["ci"] + d["di"]), True),
        ("RR", TABLES, lambda d: np.log(d["ci"] / d["di"]).round(4), True),
        ("RD", TABLES, lambda d: d["ci"] + 0.0, True),
        ("OR", TABLES, lambda d: d["ai"] / (d["ai"] + d["bi"]), False),
        ("MD", MEANS, lambda d: d["m2i"] / 10, True),
        ("ROM", MEANS, lambda d: np.log(d["m2i"]), True),
        ("SMD", MEANS, lambda d: d["m1i"], False),
        ("IRR", RATES, lambda d: 1000 * d["x2i"] / d["t2i"], True),
        ("IRR", RATES, lambda d: np.log(d["x2i"] / d["t2i"]), True),
        ("IRR", RATES, lambda d: d["x1i"] / d["t1i"], False),
        ("OR", TABLES, lambda d: 0.0 * d["ci"], False),
        ("OR", TABLES, lambda d: -1e4 - d["x1i"], False),
        ("OR", TABLES, lambda d: (d["ci"] > 5).astype(float), False),
    ],
)
def test_figures_of_the_control_arm_in_any_unit(measure, cells, made, warned):
    rng = np.random.default_rng(3)
    k = 12
    data = pd.DataFrame(
        {
            **{c: rng.integers(2, 30, k) for c in (*TABLES, "x1i", "x2i")},
            **{c: rng.uniform(4.0, 9.0, k) for c in ("m1i", "m2i")},
            **{c: rng.integers(20, 60, k) for c in ("n1i", "n2i", "t1i", "t2i")},
            **{c: rng.uniform(1.0, 2.0, k) for c in ("sd1i", "sd2i")},
        }
    )
    trials = metareg_sm.effect_size(measure, data, **cells)
    trials["moderator"] = made(data)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        MetaReg.from_formula("yi ~ moderator", trials, vi="vi")
    assert any(issubclass(w.category, BaselineWarning) for w in told) == warned


def test_control_arm_by_name(bcg):
    bcg["burden"] = np.arange(13.0)
    with pytest.warns(BaselineWarning, match="'burden'"):
        MetaReg.from_formula("yi ~ burden + ablat", bcg, vi="vi", baseline=["burden"])


def test_others_give_no_warning(bcg):
    with warnings.catch_warnings():
        warnings.simplefilter("error", BaselineWarning)
        MetaReg.from_formula("yi ~ ablat + year", as_effect_size(bcg), vi="vi")
        bcg.attrs.clear()
        MetaReg.from_formula("yi ~ risk", bcg, vi="vi")
