"""What `effect_size` promises about tables, options and bad input."""

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from statsmodels.stats.meta_analysis import effectsize_2proportions

from metareg_sm import datasets, effect_size
from metareg_sm.effectsizes import MEASURES, measure_of
from metareg_sm.exceptions import (
    DesignError,
    EffectSizeWarning,
    MetaRegError,
    OptionError,
    VarianceError,
)

BCG = {"ai": "tpos", "bi": "tneg", "ci": "cpos", "di": "cneg"}


@pytest.fixture
def counts():
    """Six 2x2 tables with odd labels."""
    return pd.DataFrame(
        {"a": [5, 2, 3, 7, 4, 9], "b": [15, 10, 7, 20, 6, 31],
         "c": [8, 4, 1, 9, 5, 12], "d": [12, 6, 10, 22, 7, 30]},
        index=["u", "v", "w", "x", "y", "z"],
    )  # fmt: skip


TABLE = {"ai": "a", "bi": "b", "ci": "c", "di": "d"}


# ---------------------------------------------------------------- the frame


def test_bcg_is_the_bundled_data():
    bcg = datasets.bcg.load_pandas().data
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trials = effect_size("RR", bcg, **BCG)
    assert_allclose(trials["yi"], bcg["yi"], rtol=1e-12)
    assert_allclose(trials["vi"], bcg["vi"], rtol=1e-12)
    assert list(trials.columns) == list(bcg.columns)


def test_attrs_say_what_was_done(counts):
    trials = effect_size("rr", counts, **TABLE)
    assert trials.attrs["measure"] == "RR"
    how = trials.attrs["effect_size"]
    assert how["columns"] == TABLE
    assert how["control"] == ["c", "d"]
    assert (how["add"], how["to"], how["drop00"], how["vtype"]) == (0.5, "only0", False, "LS")
    assert measure_of(trials) is MEASURES["rr"]
    assert measure_of(counts) is None
    n = counts.sum(axis=1)
    assert_allclose(how["size"], len(n) / (1 / n).sum())


def test_columns_passed_as_series_are_known_by_name(counts):
    trials = effect_size("RR", counts, ai=counts["a"], bi=counts["b"], ci=counts["c"], di=counts.d)
    assert trials.attrs["effect_size"]["control"] == ["c", "d"]


def test_data_stay_as_they_were(counts):
    counts.attrs["origin"] = ["somewhere"]
    before, attrs = counts.copy(), copy.deepcopy(counts.attrs)
    trials = effect_size("OR", counts, **TABLE)
    pd.testing.assert_frame_equal(counts, before)
    assert counts.attrs == attrs
    assert trials.attrs["origin"] == ["somewhere"]
    assert trials.index.equals(counts.index)


def test_append_false_has_the_two_columns_alone(counts):
    trials = effect_size("OR", counts, **TABLE, append=False)
    assert list(trials.columns) == ["yi", "vi"]
    assert trials.index.equals(counts.index)
    assert trials.attrs["measure"] == "OR"


def test_arrays_without_data(counts):
    expected = effect_size("RD", counts, **TABLE)
    ours = effect_size("RD", **{k: counts[v].tolist() for k, v in TABLE.items()})
    assert isinstance(ours.index, pd.RangeIndex)
    assert_allclose(ours["yi"], expected["yi"])
    assert effect_size("RD", **{k: counts[v] for k, v in TABLE.items()}).index.equals(counts.index)


def test_existing_columns(counts):
    counts["yi"] = [9.0, np.nan, 9.0, 9.0, 9.0, 9.0]
    with pytest.warns(EffectSizeWarning, match=r"other values in yi"):
        replaced = effect_size("OR", counts, **TABLE)
    assert (replaced["yi"] != 9.0).all()
    filled = effect_size("OR", counts, **TABLE, replace=False)
    assert_allclose(filled["yi"], [9.0, replaced["yi"].iloc[1], 9.0, 9.0, 9.0, 9.0])
    named = effect_size("OR", counts, **TABLE, var_names=("lor", "var"))
    assert_allclose(named["lor"], replaced["yi"])
    with pytest.raises(OptionError, match="var_names"):
        effect_size("OR", counts, **TABLE, var_names=("y", "y"))


def test_warnings_point_at_the_caller(counts):
    counts["yi"] = 9.0
    counts["a"] = counts["a"] + 0.5
    with pytest.warns(EffectSizeWarning) as caught:
        effect_size("OR", counts, **TABLE)
    assert {str(w.filename) for w in caught} == {__file__}


def test_nullable_and_missing_values(counts):
    nullable = counts.astype("Int64")
    nullable.loc["w", "a"] = pd.NA
    trials = effect_size("RR", nullable, **TABLE)
    assert trials["yi"].isna().tolist() == [False, False, True, False, False, False]
    assert trials["vi"].isna().equals(trials["yi"].isna())


def test_one_number_for_all_studies():
    data = pd.DataFrame({"m1": [2.0, 3.0], "m2": [1.0, 1.0], "s1": [1.0, 2.0], "s2": [1.0, 2.0]})
    cells = {"m1i": "m1", "m2i": "m2", "sd1i": "s1", "sd2i": "s2", "ni": [10, 20]}
    assert_allclose(
        effect_size("MC", data, **cells, ri=0.5)["vi"],
        effect_size("MC", data, **cells, ri=[0.5, 0.5])["vi"],
    )


def test_changes_with_their_own_standard_deviation():
    """sd2i = 0 and ri = 0: sd1i is the standard deviation of the changes."""
    ours = effect_size("MC", m1i=[3.0], m2i=[0.0], sd1i=[2.0], sd2i=[0.0], ri=0.0, ni=[16])
    assert_allclose(ours.to_numpy(), [[3.0, 0.25]])


def test_pickle_copy_and_slices_keep_the_measure(counts, tmp_path):
    trials = effect_size("RR", counts, **TABLE)
    trials.to_pickle(tmp_path / "t.pkl")
    assert pd.read_pickle(tmp_path / "t.pkl").attrs == trials.attrs
    assert trials[trials["a"] > 3].attrs["measure"] == "RR"
    assert pd.concat([trials, trials]).attrs["measure"] == "RR"


# ---------------------------------------------------------------- options


def test_add_of_measures_that_need_none(counts):
    counts.loc["v", "a"] = 0
    plain = effect_size("AS", counts, **TABLE)
    assert plain.attrs["effect_size"]["add"] == 0.0
    forced = effect_size("AS", counts, **TABLE, add=0.5)
    assert plain.loc["v", "yi"] != forced.loc["v", "yi"]


def test_vtype_by_study(counts):
    kinds = ["ST", "CS", "ST", "CS", "CS", "ST"]
    mixed = effect_size("PHI", counts, **TABLE, vtype=kinds)
    each = {kind: effect_size("PHI", counts, **TABLE, vtype=kind)["vi"] for kind in ("ST", "CS")}
    assert_allclose(mixed["vi"], [each[kind].iloc[i] for i, kind in enumerate(kinds)])


def test_correct_leaves_the_factor_out():
    cells = {"m1i": [2.0, 3], "m2i": [1.0, 1], "sd1i": [1.0, 2], "sd2i": [1.0, 2]}
    cells |= {"n1i": [10, 20], "n2i": [12, 9]}
    assert_allclose(effect_size("SMD", **cells, correct=False)["yi"], [1.0, 1.0])
    pooled = effect_size("SMD", **cells, correct=False, vtype="LS2")
    assert_allclose(pooled["vi"], effect_size("SMD", **cells, correct=False)["vi"])
    with pytest.raises(OptionError, match="UB"):
        effect_size("SMD", **cells, correct=False, vtype="UB")
    with pytest.raises(OptionError, match="no correction"):
        effect_size("MD", **cells, correct=False)


def test_t_and_p_give_d_and_r():
    n1, n2, d = np.array([20.0, 8.0]), np.array([25.0, 30.0]), np.array([0.4, -0.7])
    t = d / np.sqrt(1 / n1 + 1 / n2)
    from scipy import stats

    p = np.sign(t) * 2 * stats.t.sf(np.abs(t), n1 + n2 - 2)
    expected = effect_size("SMD", di=d, n1i=n1, n2i=n2)
    for one in ({"ti": t}, {"pi": p}):
        assert_allclose(effect_size("SMD", **one, n1i=n1, n2i=n2), expected, rtol=1e-9)
    r, n = np.array([0.3, -0.6]), np.array([30, 12])
    t = r * np.sqrt((n - 2) / (1 - r**2))
    assert_allclose(effect_size("ZCOR", ti=t, ni=n), effect_size("ZCOR", ri=r, ni=n), rtol=1e-12)


def test_given_estimates_are_checked_and_labelled():
    data = pd.DataFrame({"e": [0.1, 0.2], "s": [0.3, 0.4]})
    trials = effect_size("OR", data, yi="e", sei="s")
    assert_allclose(trials[["yi", "vi"]], [[0.1, 0.09], [0.2, 0.16]])
    assert trials.attrs["measure"] == "OR"
    assert effect_size("GEN", data, yi="e", vi="s").attrs["measure"] == "GEN"
    for bad in ({"yi": "e"}, {"yi": "e", "vi": "s", "sei": "s"}, {"vi": "s"}):
        with pytest.raises(VarianceError, match="yi="):
            effect_size("OR", data, **bad)
    with pytest.raises(VarianceError, match="negative in row 1"):
        effect_size("OR", data, yi="e", vi=[0.1, -0.1])
    with pytest.raises(OptionError, match="ai is not used"):
        effect_size("OR", data, yi="e", vi="s", ai="e")


# ---------------------------------------------------------------- zero cells


def test_double_zero_studies(counts):
    counts.loc["v", ["a", "c"]] = 0
    counts.loc["y", ["b", "d"]] = 0
    with pytest.warns(EffectSizeWarning, match="rows 'v' and 'y'.*drop00=True gives NaN"):
        dropped = effect_size("RR", counts, **TABLE, drop00=True)
    assert dropped["yi"].isna().tolist() == [False, True, False, False, True, False]
    assert len(dropped) == len(counts)
    with pytest.warns(EffectSizeWarning, match="rows 'v' and 'y'.*constant alone"):
        assert effect_size("RR", counts, **TABLE)["yi"].notna().all()
    with pytest.warns(EffectSizeWarning, match="NaN in rows 'v' and 'y'"):
        bare = effect_size("OR", counts, **TABLE, to="none")
    assert bare["yi"].isna().equals(dropped["yi"].isna())
    # the difference of two risks of 0 is known, however small the table
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        effect_size("RD", counts, **TABLE)


@pytest.mark.parametrize("measure", ["RR", "OR", "PETO", "PHI", "RTET", "YUQ"])
def test_all_studies_double_zero(measure):
    with pytest.raises(DesignError, match=rf"anything about {measure}.*rows 0 and 1"):
        effect_size(measure, ai=[0, 0], bi=[5, 6], ci=[0, 0], di=[7, 8])


def test_all_rates_zero():
    with pytest.raises(DesignError, match="anything about IRR"):
        effect_size("IRR", x1i=[0], x2i=[0], t1i=[10], t2i=[20])


def test_one_cell_of_a_tetrachoric_table():
    with pytest.warns(EffectSizeWarning, match="RTET is NaN in row 1"):
        ours = effect_size("RTET", ai=[5, 0], bi=[15, 10], ci=[8, 4], di=[12, 6])
    assert ours["yi"].isna().tolist() == [False, True]


def test_an_empty_group_is_reported():
    with pytest.warns(EffectSizeWarning, match="row 1: an empty group"):
        effect_size("OR", ai=[5, 0], bi=[15, 0], ci=[8, 4], di=[12, 6])


# ---------------------------------------------------------------- bad input


def bad(measure, match, error=DesignError, **cells):
    with pytest.raises(error, match=match) as caught:
        effect_size(measure, **cells)
    assert isinstance(caught.value, MetaRegError)


def test_impossible_numbers():
    table = {"ai": [5, 2], "bi": [15, 10], "ci": [8, 4], "di": [12, 6]}
    bad("RR", r"ai .*must be a count, 0 or more; row 1 has -2", **{**table, "ai": [5, -2]})
    sized = {"ai": [5, 20], "n1i": [20, 12], "ci": [8, 4], "n2i": [20, 10]}
    bad("RR", "ai is above its total n1i in row 1: 20 of 12", **sized)
    bad("RR", r"n1i is not ai \+ bi in row 0", **table, n1i=[21, 12])
    bad("COR", r"between -1 and 1; row 0 has 1.2", ri=[1.2, 0.1], ni=[10, 20])
    means = {"m1i": [1, 2], "m2i": [0, 0], "sd1i": [1, 1], "sd2i": [1, 1], "n1i": [9, 9]}
    bad("SMD", r"above 0; row 1 has 0", **{**means, "sd1i": [1, 0]}, n2i=[9, 9])
    bad("MD", r"above 0; rows 0 and 1 have -1, -2", **{**means, "sd2i": [-1, -2]}, n2i=[9, 9])
    bad("SMD", r"n2i .*at least 2; row 0 has 1", **means, n2i=[1, 9])
    bad("IRR", r"time at risk above 0; row 0", x1i=[1], x2i=[2], t1i=[0], t2i=[4])
    bad("MNLN", r"0 or more.*row 1 has -2", mi=[1, -2], sdi=[1, 1], ni=[5, 5])
    bad("SMD", r"p-value.*row 0 has 2", pi=[2.0], n1i=[5], n2i=[5])
    bad("RR", r"finite; row 1 has inf", **{**table, "ai": [5, np.inf]})
    bad("RR", r"must be numbers; row 1: 'two'", **{**table, "ai": [5, "two"]})
    bad("RR", r"must be numbers; rows 0 and 1: '5'", **{**table, "ai": ["5", "2"]})
    bad("RR", r"must be numbers; it has dtype bool", **{**table, "ai": [True, False]})
    bad("RR", "defined in no row: inputs are missing", **{**table, "ai": [np.nan, np.nan]})


def test_undefined_studies_are_named():
    with pytest.warns(EffectSizeWarning, match="ROM is NaN in row 1: the two means have opposite"):
        ours = effect_size(
            "ROM", m1i=[2, 3], m2i=[1, -1], sd1i=[1, 1], sd2i=[1, 1], n1i=[5, 5], n2i=[5, 5]
        )
    assert ours.isna().all(axis=1).tolist() == [False, True]
    with pytest.warns(EffectSizeWarning, match="ZCOR is NaN in rows 0 and 2"):
        effect_size("ZCOR", ri=[1.0, 0.2, 0.3], ni=[20, 20, 3])


def test_wrong_cells_say_what_is_needed():
    bad("RR", "computed without bi, di.*ai and ci, with bi or n1i", OptionError, ai=[1], ci=[2])
    bad("RR", "RR does not use m1i.*ai and ci", OptionError, m1i=[1], ai=[1], ci=[2])
    bad("SMD", "n1i and n2i, and m1i", OptionError, m1i=[1], m2i=[2])
    bad("ZCOR", "needs|ni, and ri", OptionError, ri=[0.5])
    bad("RR", "without", OptionError)
    bad("SMDD", "Did you mean 'smd'", OptionError, m1i=[1])
    bad(3, "measure=3", OptionError, m1i=[1])


def test_wrong_options(counts):
    for options, match in (
        ({"to": "some"}, "to='some'"),
        ({"add": -1}, "add"),
        ({"drop00": 1}, "drop00"),
        ({"vtype": "UB"}, "vtype of OR"),
        ({"vtype": ["LS"]}, "one for each of the 6"),
        ({"correct": None}, "correct"),
    ):
        with pytest.raises(OptionError, match=match):
            effect_size("OR", counts, **TABLE, **options)
    with pytest.raises(OptionError, match="leave out add"):
        effect_size("ZCOR", ri=[0.1], ni=[9], add=0.5)
    with pytest.raises(OptionError, match="no second group"):
        effect_size("PLO", xi=[1], ni=[9], drop00=True)


def test_wrong_columns(counts):
    named = {**TABLE, "ai": "A"}
    with pytest.raises(
        DesignError, match=r"no such column.*Did you mean 'a'.*They have a, b, c, d"
    ):
        effect_size("RR", counts, **named)
    with pytest.raises(DesignError, match="Did you mean 'Events'"):
        effect_size("RR", counts.rename(columns={"a": "Events"}), **{**TABLE, "ai": "event"})
    with pytest.raises(DesignError, match="there is no data"):
        effect_size("RR", **TABLE)
    with pytest.raises(DesignError, match="3 values for 6 rows"):
        effect_size("RR", counts, **{**TABLE, "ai": [1, 2, 3]})
    with pytest.raises(DesignError, match="other labels"):
        effect_size("RR", counts, **{**TABLE, "ai": counts["a"].iloc[::-1]})
    with pytest.raises(DesignError, match="one-dimensional"):
        effect_size("RR", counts, **{**TABLE, "ai": counts[["a", "b"]].to_numpy()})
    with pytest.raises(DesignError, match="must be a DataFrame"):
        effect_size("RR", {"a": [1]}, **TABLE)
    doubled = pd.concat([counts, counts[["a"]]], axis=1)
    with pytest.raises(DesignError, match="several columns"):
        effect_size("RR", doubled, **TABLE)


def test_fractions_of_people_are_doubtful(counts):
    counts["a"] = counts["a"] + 0.5
    with pytest.warns(EffectSizeWarning, match="ai .*should be counts.*and 1 more"):
        effect_size("RR", counts, **TABLE)


# ---------------------------------------------------------------- the registry


@pytest.mark.parametrize("name", sorted(MEASURES))
def test_entries_are_complete(name):
    measure = MEASURES[name]
    assert measure.name.lower() == name
    assert measure.title
    assert measure.label
    assert "(" in measure.source
    assert (measure.back is None) == (measure.natural_label == "")
    assert set(measure.layout.takes) <= {cell.name for cell in measure.layout.cells}
    for way in measure.layout.ways:
        assert set(way) <= {cell.name for cell in measure.layout.cells}


@pytest.mark.parametrize("name", ["rr", "or", "irr", "rom", "cvr", "vr", "d2orl", "mpor"])
def test_no_effect_of_a_ratio_is_one(name):
    assert MEASURES[name].null == 0.0
    assert MEASURES[name].natural_null == 1.0


def test_natural_values_of_estimates():
    proportions = {"xi": [1, 5, 12, 399], "ni": [3, 9, 20, 400]}
    expected = np.divide(proportions["xi"], proportions["ni"])
    for name in ("PR", "PLN", "PLO", "PAS", "PFT"):
        y = effect_size(name, **proportions)["yi"]
        back = [
            float(MEASURES[name.lower()].natural(v, n))
            for v, n in zip(y, proportions["ni"], strict=True)
        ]
        assert_allclose(back, expected, rtol=1e-9)
    rates = {"xi": [1, 5, 12], "ti": [3.5, 9, 20]}
    for name in ("IR", "IRLN", "IRS", "IRFT"):
        y = effect_size(name, **rates)["yi"]
        back = [
            float(MEASURES[name.lower()].natural(v, t)) for v, t in zip(y, rates["ti"], strict=True)
        ]
        assert_allclose(back, np.divide(rates["xi"], rates["ti"]), rtol=1e-9)


# ---------------------------------------------------------------- statsmodels


@pytest.mark.parametrize(
    ("measure", "statistic"),
    [("RR", "risk-ratio"), ("OR", "odds-ratio"), ("RD", "diff"), ("AS", "arcsin")],
)
def test_statsmodels_has_the_same(counts, measure, statistic):
    eff, var = effectsize_2proportions(
        counts["a"], counts["a"] + counts["b"], counts["c"], counts["c"] + counts["d"], statistic
    )
    ours = effect_size(measure, counts, **TABLE)
    assert_allclose(ours["yi"], eff, rtol=1e-12)
    assert_allclose(ours["vi"], var, rtol=1e-12)


def test_the_room_is_an_attribute_of_the_package():
    import metareg_sm

    assert metareg_sm.effectsizes.effect_size is metareg_sm.effect_size


def test_an_empty_table():
    with pytest.raises(DesignError, match="in no row"):
        effect_size("RR", pd.DataFrame({name: [] for name in "abcd"}, dtype=float), **TABLE)


def test_a_variance_of_zero_is_reported():
    with pytest.warns(EffectSizeWarning, match="vi is 0 in row 1"):
        ours = effect_size("RD", ai=[5, 9], bi=[4, 0], ci=[3, 0], di=[7, 8], to="none")
    assert_allclose(ours.iloc[1], [1.0, 0.0])
