"""Two-stage analysis: against R, against single fits, and what it leaves out."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from scipy.linalg import block_diag

import metareg_sm
from metareg_sm import simulate, two_stage
from metareg_sm.exceptions import DesignError, MetaRegError, OptionError
from metareg_sm.formula.transforms import between, within  # noqa: F401  (formulas use them)

REFERENCE = Path(__file__).parents[1] / "reference" / "ipd.json"
MODELS = {
    "ols": (smf.ols, "y", {}),
    "logit": (smf.logit, "event", {}),
    "poisson": (smf.poisson, "count", {}),
    "phreg": (smf.phreg, "time", {"status": "status"}),
}
BOTH = ["treat", "treat:centred"]


@cache
def reference():
    return json.loads(REFERENCE.read_text(encoding="utf-8"))


def r_people():
    return pd.DataFrame(reference()["people"])


@pytest.fixture
def people():
    """Trials with sexes and arms in words."""
    frame = simulate.participants(n_studies=6, n_per_study=80, outcome="binary", rng=4)
    frame["arm"] = np.where(frame["treat"] == 1, "drug", "placebo")
    frame["arm"] = pd.Categorical(frame["arm"], ["placebo", "drug"])
    frame["sex"] = np.where(np.arange(len(frame)) // 2 % 2, "w", "m")
    frame["c"] = frame["age"] - 50.0
    return frame


@pytest.mark.parametrize("name", MODELS)
def test_against_r(engine, name):
    model, outcome, keywords = MODELS[name]
    stage = two_stage(f"{outcome} ~ treat * centred", r_people(), "study", model, BOTH, **keywords)
    expected = reference()["stages"][name]
    estimates = np.array(expected["estimates"])
    np.testing.assert_allclose(stage.frame["yi"], estimates.ravel(), rtol=1e-6)
    np.testing.assert_allclose(np.array(stage.V), expected["cov"], rtol=1e-6)
    np.testing.assert_allclose(stage.frame["vi"], np.diag(block_diag(*stage.V)), rtol=0)
    assert not len(stage.failed)
    treat = stage.frame[stage.frame["effect"] == "treat"]
    res = metareg_sm.metareg("yi ~ 1", treat, vi="vi").fit()
    check_pooled(expected["treat"], res.params, res.bse, res.tau2)
    found = stage.interaction("treat:centred")
    fit = found.within_fit
    check_pooled(expected["within"], fit.params, fit.bse, fit.tau2)
    fit = found.across_fit
    check_pooled(expected["across"], fit.params, fit.bse, fit.tau2)


def check_pooled(expected, params, bse, tau2):
    np.testing.assert_allclose(params, expected["beta"], rtol=1e-6)
    np.testing.assert_allclose(bse, expected["se"], rtol=1e-6)
    assert tau2 == pytest.approx(expected["tau2"], rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("model", "keywords"),
    [
        (smf.logit, {}),
        (smf.probit, {}),
        (smf.glm, {"family": sm.families.Binomial()}),
        (smf.ols, {}),
    ],
)
def test_is_the_same_as_one_by_one(people, model, keywords):
    stage = two_stage("y ~ arm * c + sex", people, "study", model, ["arm", "c:arm"], **keywords)
    assert stage.effects == ("arm[T.drug]", "arm[T.drug]:c")
    for i, (label, rows) in enumerate(people.groupby("study", sort=False)):
        single = model("y ~ arm * c + sex", rows, **keywords).fit()
        mine = stage.frame[stage.frame["study"] == label]
        assert mine["effect"].tolist() == list(stage.effects)
        np.testing.assert_allclose(mine["yi"], single.params[list(stage.effects)], rtol=1e-8)
        cov = single.cov_params().loc[list(stage.effects), list(stage.effects)]
        np.testing.assert_allclose(stage.V[i], cov, rtol=1e-8)
        assert mine["n"].eq(len(rows)).all()


def test_one_effect_is_a_frame_for_metareg(people):
    before = people.copy()
    stage = two_stage("y ~ arm", people, "study", smf.logit, "arm")
    pd.testing.assert_frame_equal(people, before)
    assert stage.frame.columns.tolist() == ["study", "yi", "vi", "n"]
    # a 2x2 table
    rows = people[people["study"] == "trial 2"]
    t = pd.crosstab(rows["arm"], rows["y"]).loc[["drug", "placebo"], [1.0, 0.0]].to_numpy()
    mine = stage.frame[stage.frame["study"] == "trial 2"].iloc[0]
    assert mine["yi"] == pytest.approx(np.log(t[0, 0] * t[1, 1] / (t[0, 1] * t[1, 0])), rel=1e-7)
    assert mine["vi"] == pytest.approx((1.0 / t).sum(), rel=1e-6)
    text = str(stage)
    assert "6 studies, arm[T.drug]" in text


def failures(stage):
    return dict(zip(stage.failed["study"], stage.failed["reason"], strict=True))


@pytest.mark.parametrize(
    ("model", "keywords"), [(smf.logit, {}), (smf.glm, {"family": sm.families.Binomial()})]
)
def test_what_is_left_out_and_nothing_else(people, model, keywords):
    rows = people["study"]
    good = two_stage("y ~ arm + c", people, "study", model, "arm", **keywords)
    people.loc[rows == "trial 1", "y"] = 0.0
    people.loc[rows == "trial 3", "y"] = (people["arm"] == "drug").astype(float)
    people.loc[rows == "trial 5", "arm"] = "placebo"
    people = pd.concat([people, people[rows == "trial 6"].iloc[:3].assign(study="tiny")])
    people = pd.concat(
        [people, people[people["study"] == "trial 6"].iloc[:9].assign(study="gone", c=np.nan)]
    )
    stage = two_stage("y ~ arm + c", people, "study", model, "arm", **keywords)
    found = failures(stage)
    assert found == {
        "trial 1": "no events",
        "trial 3": "separation: some estimates are infinite",
        "trial 5": "'arm[T.drug]' is 0 for all 80 participants".replace("80", str(n_of(rows, 5))),
        "tiny": "3 participants are too few for 3 coefficients",
        "gone": "no participant has complete data",
    }
    kept = good.frame[good.frame["study"].isin(["trial 2", "trial 4", "trial 6"])]
    np.testing.assert_allclose(stage.frame["yi"], kept["yi"], rtol=1e-9)
    assert "Without estimates" in str(stage)
    assert repr(stage) == "<TwoStage: 3 studies, 5 without estimates; arm[T.drug]>"
    assert "<table" in stage._repr_html_()


def n_of(rows, number):
    return int((rows == f"trial {number}").sum())


def test_separation_elsewhere_and_for_other_models():
    people = r_people()
    third = people["study"] == 3
    people.loc[third & (people["treat"] == 1), ["count", "status"]] = 0
    # a covariate that predicts every event: none of that study's estimates is trusted
    people["marker"] = np.where(people["study"] == 5, people["event"], people["age"] > 50)
    by_model = {
        smf.poisson: ("count ~ treat", {}, 3),
        smf.phreg: ("time ~ treat", {"status": "status"}, 3),
        smf.logit: ("event ~ treat + marker", {}, 5),
    }
    for model, (formula, keywords, study) in by_model.items():
        stage = two_stage(formula, people, "study", model, "treat", **keywords)
        assert failures(stage) == {study: "separation: some estimates are infinite"}


def test_large_effects_are_no_separation():
    rng = np.random.default_rng(1)
    n = 400
    study, x = np.repeat(range(4), n), rng.normal(0.0, 6.0, 4 * n)
    y = (rng.uniform(size=4 * n) < 1 / (1 + np.exp(-2.0 * x))).astype(int)
    stage = two_stage("y ~ x", pd.DataFrame({"s": study, "x": x, "y": y}), "s", smf.logit, "x")
    assert not len(stage.failed)


def test_few_events(people):
    few = people["study"] == "trial 4"
    people.loc[few, "y"] = 0.0
    people.loc[people[few].groupby("arm", observed=True).head(2).index, "y"] = 1.0
    stage = two_stage("y ~ arm", people, "study", smf.logit, "arm")
    assert not len(stage.failed)
    stage = two_stage("y ~ arm", people, "study", smf.logit, "arm", min_events=5)
    assert failures(stage) == {"trial 4": "too few events: 4"}
    people["y"] = 1.0 - people["y"]
    stage = two_stage("y ~ arm", people, "study", smf.logit, "arm", min_events=5)
    assert failures(stage) == {"trial 4": "too few participants without an event: 4"}


def test_not_converged_is_reported(people):
    with pytest.raises(DesignError, match=r"0 of 6 studies.*trial 1: the fit did not converge"):
        two_stage("y ~ arm", people, "study", smf.logit, "arm", fit_kwds={"maxiter": 1})


def test_levels_mean_the_same_in_every_study(people):
    # in a trial of women alone the effect of treatment is that in women, not that in men
    women = people["study"] == "trial 2"
    people.loc[women, "sex"] = "w"
    stage = two_stage("y ~ arm * sex", people, "study", smf.logit, "arm")
    assert failures(stage) == {
        "trial 2": "'arm[T.drug]' cannot be told from the other terms: it depends linearly on them"
    }
    # without an interaction the level that is lacking does no harm
    stage = two_stage("y ~ arm + sex", people, "study", smf.logit, "arm")
    single = smf.logit("y ~ arm", people[women]).fit(disp=0)
    mine = stage.frame.loc[stage.frame["study"] == "trial 2", "yi"].iloc[0]
    assert mine == pytest.approx(single.params["arm[T.drug]"], rel=1e-8)
    # three arms in numbers: the first is not there in one trial
    people["dose"] = people["treat"] * (1 + (np.arange(len(people)) // 2) % 2)
    lacks = (people["study"] == "trial 3") & (people["dose"] == 0)
    stage = two_stage("y ~ C(dose)", people[~lacks], "study", smf.logit, "C(dose)")
    assert stage.effects == ("C(dose)[T.1]", "C(dose)[T.2]")
    assert list(failures(stage)) == ["trial 3"]


def test_keywords_are_cut_to_the_study(people):
    rng = np.random.default_rng(6)
    people["w"] = rng.uniform(0.5, 2.0, len(people))
    people.loc[people.index[5], "c"] = np.nan
    by_name = two_stage("y ~ arm + c", people, "study", smf.wls, "arm", weights="w")
    by_value = two_stage("y ~ arm + c", people, "study", smf.wls, "arm", weights=people["w"])
    by_array = two_stage(
        "y ~ arm + c", people, "study", smf.wls, "arm", weights=people["w"].to_numpy()
    )
    rows = people[people["study"] == "trial 1"].dropna()
    single = smf.wls("y ~ arm + c", rows, weights=rows["w"]).fit()
    for stage in (by_name, by_value, by_array):
        assert stage.frame["yi"].iloc[0] == pytest.approx(single.params["arm[T.drug]"], rel=1e-9)


def test_grouped_counts_and_names_of_the_caller(people):
    def log2(x):
        return np.log(x) / np.log(2.0)

    people["n"] = 4
    people["x"] = np.random.default_rng(2).binomial(4, 0.4, len(people))
    stage = two_stage(
        "x + I(n - x) ~ arm + log2(age)",
        people,
        "study",
        smf.glm,
        "arm",
        family=sm.families.Binomial(),
    )
    rows = people[people["study"] == "trial 1"]
    single = smf.glm("x + I(n - x) ~ arm + log2(age)", rows, family=sm.families.Binomial()).fit()
    assert stage.frame["yi"].iloc[0] == pytest.approx(single.params["arm[T.drug]"], rel=1e-8)
    people.loc[people.index[3], "x"] = 5
    with pytest.raises(DesignError, match=r"row 3 has 5 events and -1 others.*more than the total"):
        two_stage(
            "x + I(n - x) ~ arm", people, "study", smf.glm, "arm", family=sm.families.Binomial()
        )


@pytest.mark.parametrize("name", ["binomial", "share", "poisson", "glm"])
def test_two_rows_of_counts_a_study(people, name):
    # a 2x2 table as two rows: as many rows as coefficients, and standard errors all the same
    cells = people.groupby(["study", "treat"])["y"].agg(s="sum", n="count").reset_index()
    cells["share"] = cells["s"] / cells["n"]
    cells["log_n"] = np.log(cells["n"])
    arguments = {
        "binomial": ("s + I(n - s) ~ treat", smf.glm, {"family": sm.families.Binomial()}),
        "share": ("share ~ treat", smf.glm, {"family": sm.families.Binomial(), "var_weights": "n"}),
        "poisson": ("s ~ treat", smf.poisson, {"exposure": "n"}),
        "glm": ("s ~ treat", smf.glm, {"family": sm.families.Poisson(), "offset": "log_n"}),
    }
    formula, model, keywords = arguments[name]
    # iteratively reweighted least squares report the covariance of one iteration before the last
    tight = {"tol": 1e-13} if model is smf.glm else {}
    stage = two_stage(formula, cells, "study", model, fit_kwds=tight, **keywords)
    assert not len(stage.failed)
    c, t = (cells[cells["treat"] == arm] for arm in (0, 1))
    odds = name in ("binomial", "share")
    parts = [(np.log(a["s"] / (a["n"] - a["s"] if odds else a["n"])).to_numpy(), a) for a in (t, c)]
    np.testing.assert_allclose(stage.frame["yi"], parts[0][0] - parts[1][0], rtol=1e-7, atol=1e-9)
    vi = sum(1 / a["s"].to_numpy() + odds / (a["n"] - a["s"]).to_numpy() for _, a in parts)
    np.testing.assert_allclose(stage.frame["vi"], vi, rtol=1e-6)


def test_models_that_take_their_groups_first(people):
    people["ward"] = np.arange(len(people)) // 4
    stage = two_stage("c ~ arm", people, "study", smf.gee, "arm", groups="ward")
    own = people[people["study"] == "trial 1"]
    single = smf.gee("c ~ arm", "ward", own).fit()
    assert stage.frame["yi"].iloc[0] == pytest.approx(single.params["arm[T.drug]"], rel=1e-9)
    assert stage.frame["vi"].iloc[0] == pytest.approx(single.bse["arm[T.drug]"] ** 2, rel=1e-9)


def test_processes_give_the_same():
    people = simulate.participants(n_studies=70, n_per_study=20, rng=1)
    one = two_stage("y ~ treat", people, "study")
    two = two_stage("y ~ treat", people, "study", n_jobs=2, progress=False)
    pd.testing.assert_frame_equal(one.frame, two.frame)


def test_order_of_rows_does_not_matter(people):
    one = two_stage("y ~ arm + c", people, "study", smf.logit, "arm").frame.set_index("study")
    mixed = people.sample(frac=1.0, random_state=1)
    two = two_stage("y ~ arm + c", mixed, "study", smf.logit, "arm").frame.set_index("study")
    pd.testing.assert_frame_equal(one, two.loc[one.index], rtol=1e-9)


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        ({}, {"study": "centre"}, DesignError, "study='centre': the data have no such column"),
        ({}, {"study": "stuy"}, DesignError, "Did you mean 'study'"),
        ({}, {"study": [1, 2, 3]}, DesignError, "one label for each of the"),
        ({"study": None}, {}, DesignError, "study is missing for row 0 and"),
        ({"study": "one"}, {}, DesignError, "There are 1 studies"),
        (
            {"treat": 1},
            {"formula": "y ~ treat", "effect": "treat"},
            DesignError,
            "is 1 for all part",
        ),
        (
            {"arm": "drug"},
            {},
            DesignError,
            "'arm' is 'drug' for all participants of all studies: there is one arm",
        ),
        ({}, {"effect": "treatment"}, OptionError, "effect='treatment' is not in the model"),
        ({}, {"effect": []}, OptionError, "effect is empty"),
        ({}, {"min_events": 0}, OptionError, "min_events must be a whole number"),
        ({}, {"n_jobs": 0}, OptionError, "n_jobs must be a number of processes"),
        ({}, {"n_jobs": "all"}, OptionError, "n_jobs must be a whole number"),
        ({}, {"formula": "y ~ arms"}, DesignError, "uses 'arms'.*mean 'arm'"),
        ({}, {"formula": None}, DesignError, "formula must be text.*got NoneType"),
        ({}, {"effect": 3}, OptionError, "effect must name coefficients.*got 3"),
        ({}, {"model": "logit"}, OptionError, "such as smf.logit; got 'logit'"),
        ({}, {"model": sm.Logit}, OptionError, "such as smf.logit; got Logit"),
        ({}, {"model": smf.mnlogit}, OptionError, "MNLogit has a coefficient for each category"),
        ({"y": 2.0}, {}, DesignError, "Logit refuses 'y ~ arm': endog must be in the unit"),
        ({"age": np.inf}, {"formula": "y ~ arm + age"}, DesignError, "'age' is infinite for row 0"),
        (
            {},
            {"model": smf.phreg, "status": "died"},
            DesignError,
            "status='died': the data have no such column",
        ),
        ({"y": -1.0}, {"model": smf.poisson}, DesignError, "row 0 is -1; a count cannot be neg"),
        (
            {"y": 1.5},
            {"model": smf.glm, "family": sm.families.Binomial()},
            DesignError,
            "row 0 is 1.5; events are 0 and 1, or a share of the total",
        ),
    ],
)
def test_bad_input(people, change, options, error, message):
    arguments = {"formula": "y ~ arm", "study": "study", "model": smf.logit, "effect": "arm"}
    with pytest.raises(error, match=message):
        two_stage(data=people.assign(**change), **(arguments | options))


def test_all_studies_of_one_arm(people):
    people["arm"] = np.where(people["study"] < "trial 3", "drug", "placebo")
    with pytest.raises(
        MetaRegError, match=r"0 of 6 studies could be fitted, fewer than 3.*trial 1"
    ):
        two_stage("y ~ arm", people, "study", smf.logit, "arm")
