"""What results print when they are shown: a few aligned lines, and tables in notebooks."""

import dataclasses
import importlib
import inspect
import pickle
import pkgutil
import re
import warnings

import numpy as np
import pandas as pd
import pytest

import metareg_sm
from metareg_sm import (
    LocationScaleMetaReg,
    MetaReg,
    MixedMetaReg,
    compare_models,
    gosh,
    screen,
)
from metareg_sm.postestimation.heterogeneity import Heterogeneity
from metareg_sm.printing import Overview, Printed, said

pytestmark = pytest.mark.plumbing


@pytest.fixture
def shown(bcg):
    """One of each kind of result."""
    res = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
    interaction = MetaReg.from_formula("yi ~ ablat * year", bcg, vi="vi").fit()
    slopes = interaction.simple_slopes("ablat", at={"year": [1950]})
    return {
        "results": res,
        "plain results": res._results,
        "prediction": res.get_prediction(),
        "heterogeneity": res.heterogeneity,
        "permutation": res.permutation_test(99, rng=1),
        "bootstrap": res.bootstrap(99, rng=1),
        "gosh": gosh(res, n_subsets=500, rng=1),
        "slopes": slopes,
        "bounds": slopes.johnson_neyman("year"),
        "screen": screen(bcg, "yi", ["ablat", "year"], vi="vi"),
    }


def test_a_few_aligned_lines(shown):
    for name, result in shown.items():
        text = repr(result)
        assert text == str(result), name
        lines = text.splitlines()
        assert 3 <= len(lines) <= 20, name
        assert max(map(len, lines)) <= 100, name
        assert "array(" not in text, name
        assert "dtype" not in text, name
        assert not lines[0].startswith(type(result).__name__ + "("), name


def test_in_notebooks(shown):
    for name, result in shown.items():
        html = result._repr_html_()
        assert html.startswith("<p>"), name
        assert html.count("<table") == html.count("</table>") >= 1, name


def test_tables_are_cut_in_the_middle(bcg):
    res = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
    many = res.get_prediction({"ablat": np.linspace(10.0, 50.0, 500)})
    assert len(repr(many).splitlines()) < 25
    assert "Predictions for 500 studies" in repr(many)
    assert many._repr_html_().count("<tr") < 30


def test_numbers_are_those_of_the_fit(bcg_res):
    lines = {line.split()[0]: line.split() for line in repr(bcg_res).splitlines()}
    # to the digits that are printed
    assert float(lines["tau2"][1]) == pytest.approx(bcg_res.tau2, rel=5e-4)
    assert float(lines["R2"][1]) == pytest.approx(bcg_res.heterogeneity.r2, abs=1e-4)
    for name in ("Intercept", "ablat", "year"):
        found = [float(x) for x in lines[name][1:]]
        # to the digits that are printed
        assert found == pytest.approx(bcg_res.summary_frame().loc[name].tolist(), rel=2e-3)
    assert "p-value" in " ".join(lines["Moderators"])


def test_each_i2_says_what_it_is_made_of(bcg):
    res = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
    text = repr(res.heterogeneity)
    assert "I2 from tau2  0.6839" in text
    assert "I2 from Q_E   0.6421" in text
    assert "I2 of Q_total" in text
    assert "0.1296" in text
    assert "I2 from tau2:                  0.6839" in str(res.summary())
    assert "I2 from tau2" in str(res.summary2())
    bare = [w for w in str(res.summary()).split("\n") if "I2:" in w.replace("I2 from tau2:", "")]
    assert not bare


@pytest.mark.parametrize("fixed", [0.0, 0.2])
def test_what_is_held_fixed_has_no_standard_error(bcg, fixed):
    text = repr(MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit(tau2=fixed))
    assert "held fixed" in text
    assert "SE" not in text


def test_after_remove_data_and_where_heterogeneity_is_undefined(bcg, bcg_res):
    before = repr(bcg_res)
    bcg_res.remove_data()
    assert repr(bcg_res) == before
    bcg.loc[3, "vi"] = 0.0
    res = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
    assert "undefined" in repr(res)
    with pytest.warns(UserWarning, match="redundant"):
        res = MetaReg.from_formula("yi ~ ablat + I(2 * ablat)", bcg[4:], vi="vi").fit()
    assert "I(2 * ablat)" in repr(res)
    assert "F(" not in repr(MetaReg.from_formula("yi ~ 1", bcg[4:], vi="vi").fit())


def test_arrays_too(bcg):
    res = MetaReg(bcg["yi"], bcg[["ablat"]], vi=bcg["vi"]).fit(cov_type="nonrobust")
    assert "of yi" in repr(res)
    assert "chi2(1)" in repr(res)


def test_likelihood_ratio_tests_stay_tuples(bcg_res):
    test = bcg_res.lr_test_tau2()
    assert repr(test).startswith("Likelihood ratio test: chi2(1) = ")
    statistic, pvalue, df = test
    assert (statistic, pvalue, df) == test
    assert pickle.loads(pickle.dumps(test)) == test


def test_comparisons_print(bcg):
    fits = [MetaReg.from_formula(f, bcg, vi="vi").fit() for f in ("yi ~ 1", "yi ~ ablat")]
    frame = compare_models(fits, refit=True)
    assert isinstance(frame, pd.DataFrame)
    assert "yi ~ ablat" in repr(frame)


def test_records_that_print_stay_records(shown):
    found = shown["heterogeneity"]
    assert dataclasses.is_dataclass(Heterogeneity)
    assert pickle.loads(pickle.dumps(found)).q == found.q
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.q = 1.0
    assert issubclass(Heterogeneity, Printed)


def test_overview_escapes_and_aligns():
    frame = pd.DataFrame({"a": [1.0, np.nan]}, index=["<b>", "x"])
    found = Overview("a & b", [("short", "1"), ("a longer one", "2")], frame, "<note>")
    lines = found.text().splitlines()
    assert lines[1].index("1") == lines[2].index("2")
    assert "nan" not in found.text().lower()
    assert "<p>a &amp; b</p>" in found.html()
    assert "&lt;b&gt;" in found.html()
    assert "&lt;note&gt;" in found.html()
    assert Overview("t", (), pd.DataFrame()).text() == "t"
    assert "<table" not in Overview("t").html()


def test_nothing_warns(shown):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for result in shown.values():
            repr(result)
            result._repr_html_()


# parts of a model that answer no question of their own
PARTS = [
    "CovarianceType",
    "Measure",
    "Overview",
    "Participants",
    "RandomTerm",
    "Refits",
    "ScaleRefits",
    "Studies",
    "StudyTable",
    "Terms",
    "WeightedRegression",
]


def public_records():
    """Records that public functions, and public methods of results, say they return."""
    called = [getattr(metareg_sm, name) for name in metareg_sm.__all__]
    for module in _modules():
        for owner in vars(module).values():
            if inspect.isclass(owner) and "Results" in owner.__name__:
                called += [m for name, m in vars(owner).items() if not name.startswith("_")]
    functions = [getattr(m, "fget", getattr(m, "__func__", m)) for m in called]
    records = {
        c.__name__: c
        # of two of one name the one above is handed out
        for module in sorted(_modules(), key=lambda m: "postestimation" in m.__name__)
        for c in vars(module).values()
        # what the kernel hands on is for the layers above, which hand on records of their own
        if dataclasses.is_dataclass(c) and inspect.isclass(c) and ".core." not in c.__module__
    }
    said = [str(getattr(f, "__annotations__", {}).get("return", "")) for f in functions]
    named = {word for text in said for word in re.findall(r"\w+", text)}
    return {name: records[name] for name in named & set(records)}


def _modules():
    for module in pkgutil.walk_packages(metareg_sm.__path__, "metareg_sm."):
        if not module.name.endswith("__main__"):
            yield importlib.import_module(module.name)


def test_every_record_that_the_public_gets_prints():
    records = public_records()
    for part in PARTS:
        records.pop(part)
    assert {"EggerTest", "Influence", "PetPeese", "SelectionResults", "TrimAndFill"} <= set(records)
    for name, record in records.items():
        assert issubclass(record, Printed) or hasattr(record, "_repr_html_"), name


@pytest.fixture
def records(bcg):
    """One of each record that says what it is by its fields."""
    res = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
    mean = MetaReg.from_formula("yi ~ 1", bcg, vi="vi").fit()
    district = bcg.assign(district=np.arange(13) // 3)
    mixed = MixedMetaReg.from_formula(
        "yi ~ ablat", district, vi="vi", random="1 | district/trial"
    ).fit()
    scaled = LocationScaleMetaReg.from_formula(
        "yi ~ 1", bcg, vi="vi", scale_formula="~ ablat"
    ).fit()
    return {
        "influence": res.get_influence(),
        "groups": res.get_influence(groups="alloc"),
        "scale influence": scaled.get_influence(),
        "egger": mean.egger_test(),
        "rank": mean.rank_correlation_test(),
        "pet": mean.pet_peese(),
        "filled": mean.trim_and_fill(),
        "excess": mean.excess_significance_test(),
        "selection": mean.selection_model(alternative="less"),
        "mixed": mixed.heterogeneity,
        "scale": scaled.heterogeneity,
        "mixed bootstrap": mixed.bootstrap(5, rng=1),
        "mixed permutation": mixed.permutation_test(5, rng=1),
    }


def test_records_print_their_fields(records):
    test_a_few_aligned_lines(records)
    test_in_notebooks(records)
    egger = records["egger"]
    lines = dict(line.split(None, 1) for line in repr(egger).splitlines()[1:])
    # to the digits that are printed
    assert float(lines["statistic"]) == pytest.approx(egger.statistic, rel=5e-4)
    assert lines["predictor"] == "sei"
    assert "fit" not in lines
    assert (
        "estimate"
        in dict(line.split(None, 1) for line in repr(records["pet"]).splitlines())["peese"]
    )
    assert "lr_test    Likelihood ratio test" in repr(records["selection"])
    for name, record in records.items():
        assert pickle.loads(pickle.dumps(record)) is not None, name


def test_values_on_one_line():
    assert said({"a": 1.0, "b": None}) == "a 1, b none"
    assert said(np.array(True)) == "yes"
    assert said(np.zeros((3, 2))) == "3 x 2 values"
    assert said([]) == "none"
    assert said(np.array(2.5)) == "2.5"
    assert said(pd.Series([1.0, 2.0], ["x", "y"])) == "x 1, y 2"
    assert said(pd.Series(np.zeros(30))) == "30 values"
    assert said("two\nlines") == "two"
