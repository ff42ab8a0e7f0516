"""Input that is wrong in ways that neither the formula engines nor pandas name well."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from metareg_sm import MetaReg
from metareg_sm.exceptions import DesignError, MetaRegError, OptionError, VarianceError

pytestmark = [pytest.mark.usefixtures("engine"), pytest.mark.plumbing]


def fit(data, formula="yi ~ ablat", **kwds):
    return MetaReg.from_formula(formula, data, **({"vi": "vi"} | kwds)).fit()


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("", "The formula is empty"),
        ("  ", "The formula is empty"),
        (None, "must be text such as"),
        (3, "got int"),
        (b"yi ~ 1", "got bytes"),
        (["yi", "ablat"], "got list"),
        ("yi", "has no outcome"),
        ("~ ablat", "has no outcome"),
        ("yi ~", "has no right side"),
        ("yi ~ ablatt", r"uses 'ablatt'.*Did you mean 'ablat'\?"),
        ("yj ~ ablat", "uses 'yj'"),
        ("yi ~ nosuch(ablat)", "uses 'nosuch'"),
        ("yi ~ ablat + (", "cannot be evaluated"),
        ("yi ~ ablat ~ year", "cannot be evaluated"),
        ("yi ~ np.log(ablat, 1, 2, 3, 4)", "cannot be evaluated.*log"),
        ("author ~ ablat", "outcome 'author' of the formula is not one column of numbers"),
        ("alloc ~ ablat", "not one column of numbers"),
        ("yi + year ~ ablat", "not one column of numbers"),
    ],
)
def test_formulas(bcg, formula, message):
    with pytest.raises(DesignError, match=message) as caught:
        fit(bcg, formula)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_logarithm_of_zero(bcg):
    # statsmodels looks at the largest value of a column
    bcg["x"] = bcg["ablat"].astype(float)
    bcg.loc[3, "x"] = 0.0
    with np.errstate(divide="ignore"), pytest.raises(DesignError, match=r"log.*row 3 is infinite"):
        fit(bcg, "yi ~ np.log(x)")


def test_a_value_lost_in_a_transformation_and_a_duplicate_index(bcg):
    bcg["x"] = bcg["ablat"].astype(float)
    bcg.loc[3, "x"] = -1.0
    bcg["g"] = list("aabbccddeeffg")
    kwds = {"cov_type": "cluster", "cov_kwds": {"groups": "g"}}
    with np.errstate(invalid="ignore"):
        known = MetaReg.from_formula("yi ~ np.sqrt(x)", bcg.drop(index=3), vi="vi").fit(**kwds)
        bcg.index = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6]
        model = MetaReg.from_formula("yi ~ np.sqrt(x)", bcg, vi="vi")
    assert model.nobs == 12
    assert_allclose(model.fit(**kwds).bse, known.bse, rtol=1e-12)
    kwds["cov_kwds"] = {"groups": bcg["g"].to_numpy()}
    assert_allclose(model.fit(**kwds).bse, known.bse, rtol=1e-12)


def test_a_column_named_by_a_number_with_an_unused_level(bcg):
    expected = fit(bcg).params
    bcg[1] = pd.Categorical(["a", "b"] * 6 + ["a"], categories=["a", "b", "c"])
    assert_allclose(fit(bcg, "yi ~ 1 + ablat").params, expected)


def test_objects_that_are_numbers_are_numbers(bcg):
    expected = fit(bcg).params
    for name in ("yi", "ablat"):
        table = bcg.assign(**{name: bcg[name].astype(object)})
        assert_allclose(fit(table).params, expected)
        table.loc[2, name] = None
        assert fit(table).nobs == 12
        assert table[name].dtype == object
    res = fit(bcg)
    new = pd.DataFrame({"ablat": np.array([30, None], dtype=object)})
    assert np.isnan(np.asarray(res.predict(new))).tolist() == [False, True]
    new = pd.DataFrame({"ablat": pd.array([30, None], dtype="Int64")})
    assert np.isnan(np.asarray(res.predict(new))).tolist() == [False, True]


def test_complex_columns_are_refused(bcg):
    for name in ("yi", "ablat"):
        with pytest.raises(DesignError, match=f"column '{name}' is complex"):
            fit(bcg.assign(**{name: bcg[name] + 0j}))


@pytest.mark.parametrize("name", ["list", "time", "date"])
def test_columns_that_are_no_moderators(bcg, name):
    bcg["ablat"] = {
        "list": [[x] for x in bcg["ablat"]],
        "time": pd.to_timedelta(range(13), unit="D"),
        "date": pd.date_range("2000", periods=13),
    }[name]
    with pytest.raises(MetaRegError):
        fit(bcg)


@pytest.mark.parametrize(
    ("exog", "message"),
    [
        ({"ablat": [30], "alloc": ["nosuch"]}, "nosuch"),
        ({"ablat": [30]}, "uses 'alloc'"),
        ({"ablat": ["a"], "alloc": ["random"]}, "'ablat' must be numbers; row 0 has 'a'"),
        ({"ablat": [1, 2], "alloc": ["random"]}, "exog is no table"),
        ({}, "uses 'a"),
        (3, "must be a data frame or a mapping"),
        ("x", "must be a data frame or a mapping"),
        ([1, 2], "must be a data frame or a mapping"),
    ],
)
def test_predictions(bcg, exog, message):
    res = fit(bcg, "yi ~ ablat + C(alloc)")
    with pytest.raises(DesignError, match=message):
        res.get_prediction(exog)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with pytest.raises(DesignError, match=message):
            res.predict(exog)


def test_a_missing_moderator_of_a_new_study(bcg):
    res = fit(bcg, "yi ~ ablat + C(alloc)")
    new = pd.DataFrame({"ablat": [30, np.nan], "alloc": ["random", "random"]})
    with pytest.raises(DesignError, match="row 1 has a missing"):
        res.get_prediction(new)
    with pytest.warns(DeprecationWarning, match="dict"):
        found = res.predict(new.to_dict("list"))
    assert np.isnan(np.asarray(found)).tolist() == [False, True]


@pytest.mark.parametrize(
    "hypothesis",
    ["nosuch = 0", "ablat = ", np.eye(3), [1, 2, 3], None, "", 3, {"a": 1}, [np.nan, 1], [[]]],
)
def test_hypotheses(bcg, hypothesis):
    res = fit(bcg)
    for test in (res.t_test, res.wald_test, res.f_test):
        with pytest.raises(OptionError, match="r_matrix"):
            test(hypothesis)


def test_options_of_from_formula(bcg):
    with pytest.raises(OptionError, match="drop_cols: the design has no column 'nosuch'"):
        fit(bcg, drop_cols=["nosuch"])
    with pytest.raises(OptionError, match="drop_cols must be a list"):
        fit(bcg, drop_cols="ablat")
    with pytest.raises(OptionError, match="hasconst must be True"):
        fit(bcg, hasconst="yes")
    with pytest.raises(OptionError, match="eval_env must be"):
        fit(bcg, eval_env="x")
    with pytest.raises(OptionError, match="subset must be booleans or labels"):
        fit(bcg, subset=3)
    with pytest.raises(VarianceError, match="effect_size computes them"):
        fit(bcg, vi=None)


@pytest.mark.parametrize("groups", [[{}] * 13, "nosuch", [["a"]] * 12, {"a": 1}, 3, b"ab"])
def test_groups(bcg, groups):
    model = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi")
    with pytest.raises(MetaRegError, match="groups"):
        model.fit(cov_type="cluster", cov_kwds={"groups": groups})


@pytest.mark.parametrize("fault", ["n/a", "12 to 15", "?", "none"])
@pytest.mark.parametrize("kind", ["object", "str", "mixed", "string"])
def test_a_word_in_a_column_of_numbers(bcg, fault, kind):
    # as text it would be a factor with a level for each number
    dose = [*bcg["ablat"].astype(float)]
    dose = dose if kind == "mixed" else [str(x) for x in dose]
    dose[7] = fault
    bcg["dose"] = pd.Series(dose, dtype="object" if kind == "mixed" else kind)
    bcg.loc[2, "dose"] = None
    with pytest.raises(DesignError, match=rf"column 'dose' is text.*row 7 has '{fault[:2]}") as e:
        fit(bcg, "yi ~ dose + year")
    assert "pd.to_numeric(data['dose'], errors='coerce')" in str(e.value)
    repaired = bcg.assign(dose=pd.to_numeric(bcg["dose"], errors="coerce"))
    assert fit(repaired, "yi ~ dose + year").nobs == 11


@pytest.mark.parametrize("text", ["{:.0f}", " {:.1f} ", "<{:.0f}", "{:.0f}%", "{:.0f},5", "{:.1e}"])
def test_numbers_that_are_all_text(bcg, text):
    bcg["dose"] = [text.format(x) for x in bcg["ablat"]]
    with pytest.raises(DesignError, match=r"'dose' is text.*look like numbers; row 0"):
        fit(bcg, "yi ~ dose")


def test_what_is_said_to_be_a_factor_or_a_conversion_is_taken(bcg):
    bcg["risk"] = [str(1 + i % 3) for i in range(len(bcg))]
    known = fit(bcg.assign(risk=bcg["risk"].map({"1": "a", "2": "b", "3": "c"})), "yi ~ risk")
    # three levels in digits that come again and again are levels
    assert_allclose(fit(bcg, "yi ~ risk").params, known.params, rtol=1e-10)
    assert_allclose(fit(bcg, "yi ~ C(risk)").params, known.params, rtol=1e-10)
    assert_allclose(fit(bcg, "yi ~ (C(risk))").params, known.params, rtol=1e-10)
    category = bcg.assign(risk=bcg["risk"].astype("category"))
    assert_allclose(fit(category, "yi ~ risk").params, known.params, rtol=1e-10)
    slope = fit(bcg.assign(risk=bcg["risk"].astype(float)), "yi ~ risk")
    assert_allclose(fit(bcg, "yi ~ pd.to_numeric(risk)").params, slope.params, rtol=1e-10)
    # words with a digit here and there are words
    words = bcg.assign(risk=["1", "low", "mid", "high"] * 3 + ["low"])
    assert len(fit(words, "yi ~ risk").params) == 4


@pytest.mark.parametrize("cell", [[1, 2], {"a": 1}, np.arange(2), {3}])
def test_cells_that_hold_tables(bcg, cell):
    bcg["dose"] = [cell] * len(bcg)
    with pytest.raises(DesignError, match="'dose' must hold one number or label a row; row 0 has"):
        fit(bcg, "yi ~ dose")


NEW = {"ablat": [44], "alloc": ["random"], "flag": [True], "part": [1]}


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("ablat", "q", "'ablat' must be numbers; row 0 has 'q'"),
        ("ablat", "12", "'ablat' must be numbers; row 0 has '12'"),
        ("ablat", 1j, "'ablat' must be numbers; it has dtype complex"),
        ("ablat", pd.Timestamp(2000, 1, 1), "'ablat' must be numbers; it has dtype datetime"),
        ("ablat", [1, 2], r"'ablat' must be numbers; row 0 has \[1, 2\]"),
        ("ablat", b"1", "'ablat' must be numbers; row 0 has b'1'"),
        ("alloc", [1, 2], r"'alloc' must hold one number or label a row; row 0 has \[1, 2\]"),
        ("alloc", "Random", "does not fit the formula"),
        ("alloc", 5.5, "does not fit the formula"),
        ("alloc", np.inf, "does not fit the formula"),
        ("flag", 5.5, "does not fit the formula"),
        ("part", 7, "does not fit the formula"),
        ("part", "1", "does not fit the formula"),
        ("alloc", None, "row 0 has a missing"),
        ("ablat", pd.NA, "row 0 has a missing"),
    ],
)
def test_new_rows_of_another_kind(bcg, column, value, message):
    bcg["flag"] = bcg["ablat"] > 30
    bcg["part"] = (bcg["year"] % 2).astype("category")
    formula = "yi ~ ablat + alloc + flag + part" if column != "ablat" else "yi ~ I(ablat**2)"
    res = fit(bcg, formula)
    plain = res.get_prediction(NEW).predicted_mean
    new = NEW | {column: [value]}
    with pytest.raises(DesignError, match=message) as caught:
        res.get_prediction(new)
    assert "has no attribute" not in str(caught.value)
    if "missing" not in message:
        with pytest.raises(DesignError, match=message):
            res.predict(pd.DataFrame(new))
    assert_allclose(res.get_prediction(pd.DataFrame(NEW)).predicted_mean, plain, rtol=1e-12)
