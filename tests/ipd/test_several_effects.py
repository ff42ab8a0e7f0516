"""Several effects of each study: from participants to a model of dependent effects, beside R."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy.linalg import block_diag

from metareg_sm import MetaReg, MixedMetaReg, simulate, two_stage
from metareg_sm.exceptions import VarianceError

REFERENCE = Path(__file__).parents[1] / "reference" / "ipd.json"
MODELS = {
    "ols": (smf.ols, "y", {}),
    "logit": (smf.logit, "event", {}),
    "poisson": (smf.poisson, "count", {}),
    "phreg": (smf.phreg, "time", {"status": "status"}),
}
BOTH = ["treat", "treat:centred"]
RANDOM = {"random": "0 + effect | study"}


@cache
def reference():
    return json.loads(REFERENCE.read_text(encoding="utf-8"))


def r_people():
    people = pd.DataFrame(reference()["people"])
    return people.assign(control=1 - people["treat"])


def check(res, expected, rtol):
    # rma.mv ends where the likelihood is flat in the variances, whose digits are fewer
    np.testing.assert_allclose(res.params, expected["beta"], rtol=rtol)
    np.testing.assert_allclose(res.bse, expected["se"], rtol=rtol)
    np.testing.assert_allclose(
        np.diagonal(res.cov_re),
        expected["tau2"],
        rtol=10 * rtol,
        atol=1e-5 * expected["se"][1] ** 2,
    )
    assert res.llf == pytest.approx(expected["llf"], rel=1e-7)


@pytest.mark.parametrize("name", ["ols", "logit", "poisson"])
def test_both_arms_against_metafor(engine, name):
    model, outcome, _ = MODELS[name]
    formula = f"{outcome} ~ 0 + control + treat + centred"
    stage = two_stage(formula, r_people(), "study", model, ["control", "treat"])
    res = smf.mixedmetareg("yi ~ 0 + effect", stage.frame, V=stage.V, **RANDOM).fit()
    expected = reference()["arms"][name]
    check(res, expected, 1e-6)
    assert res.params.index.tolist() == ["effect[control]", "effect[treat]"]
    assert res.cov_re.index.tolist() == ["control", "treat"]
    G = res.cov_re.to_numpy()
    rho = G[0, 1] / np.sqrt(G[0, 0] * G[1, 1])
    assert rho == pytest.approx(expected["rho"][0], rel=1e-6)


@pytest.mark.parametrize("structure", ["diag", "un"])
@pytest.mark.parametrize("name", MODELS)
def test_treatment_and_interaction_against_metafor(name, structure):
    model, outcome, keywords = MODELS[name]
    stage = two_stage(f"{outcome} ~ treat * centred", r_people(), "study", model, BOTH, **keywords)
    res = smf.mixedmetareg(
        "yi ~ 0 + effect", stage.frame, V=stage.V, structure=structure, **RANDOM
    ).fit()
    check(res, reference()["stages"][name][structure], 1e-6)


@pytest.fixture
def stage():
    people = simulate.participants(n_studies=9, rng=5)
    people["age"] -= 50.0
    people.loc[people["study"] == "trial 3", "treat"] = 1
    people["arm"] = np.where(people["treat"] == 1, "drug", "placebo")
    people["arm"] = pd.Categorical(people["arm"], ["placebo", "drug"])
    return two_stage("y ~ arm * age", people, "study", effect=["arm", "arm:age"])


def fit(frame, V, formula="yi ~ 0 + effect", **options):
    return MixedMetaReg.from_formula(formula, frame, V=V, **(RANDOM | options)).fit()


def test_labels_and_studies_that_are_left_out(stage):
    assert stage.failed["study"].tolist() == ["trial 3"]
    assert len(stage.frame) == 2 * len(stage.V) == 16
    assert "trial 3" not in set(stage.frame["study"])
    res = fit(stage.frame, stage.V)
    assert res.params.index.tolist() == ["effect[arm[T.drug]]", "effect[arm[T.drug]:age]"]
    assert res.cov_re.columns.tolist() == ["arm[T.drug]", "arm[T.drug]:age"]
    effects = res.random_effects["study"]
    assert set(effects.index.get_level_values(0)) == set(stage.frame["study"])
    for i, block in enumerate(stage.V):
        rows = stage.frame.iloc[2 * i : 2 * i + 2]
        assert block.index.equals(rows.index)
        assert block.columns.tolist() == rows["effect"].tolist()
        np.testing.assert_allclose(np.diagonal(block), rows["vi"], rtol=1e-15)


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame.sort_values("effect"),
        lambda frame: frame.iloc[::-1],
        lambda frame: frame.sample(frac=1.0, random_state=3),
    ],
)
def test_rows_in_another_order_find_their_block(stage, change):
    one, two = fit(stage.frame, stage.V), fit(change(stage.frame), stage.V)
    np.testing.assert_allclose(two.params, one.params, rtol=1e-7)
    np.testing.assert_allclose(two.bse, one.bse, rtol=1e-6)
    assert two.llf == pytest.approx(one.llf, rel=1e-10)


def test_a_part_of_the_studies(stage):
    frame = stage.frame[stage.frame["study"] != "trial 1"]
    one, two = fit(frame, stage.V), fit(frame, stage.V[1:])
    np.testing.assert_allclose(one.params, two.params, rtol=1e-10)
    dense = fit(frame, block_diag(*stage.V[1:]))
    np.testing.assert_allclose(one.params, dense.params, rtol=1e-8)
    # one effect alone is what metareg fits
    alone = stage.frame[stage.frame["effect"] == "arm[T.drug]"]
    res = fit(alone, stage.V, "yi ~ 1", random="1 | study")
    single = MetaReg.from_formula("yi ~ 1", alone, vi="vi").fit(cov_type="nonrobust")
    assert res.params.iloc[0] == pytest.approx(single.params.iloc[0], rel=1e-7)
    assert res.vcomp.iloc[0] == pytest.approx(single.tau2, rel=1e-6, abs=1e-9)


def test_moderators_of_the_studies(stage):
    trials = pd.DataFrame({"study": stage.frame["study"].unique(), "dose": np.arange(8.0)})
    frame = stage.frame.merge(trials, on="study")
    res = fit(frame, stage.V, "yi ~ 0 + effect + effect:dose")
    assert len(res.params) == 4


def test_rows_that_v_does_not_know(stage):
    with pytest.raises(VarianceError, match="rows of V and of the data have different labels"):
        fit(stage.frame.set_index(stage.frame.index + 100), stage.V)
    twice = pd.concat([stage.frame, stage.frame.iloc[:2]])
    with pytest.raises(VarianceError, match="different labels"):
        fit(twice, stage.V)


def test_spaces_in_a_name_do_not_matter():
    people = simulate.participants(n_studies=4, rng=1)
    stage = two_stage("y ~ treat * I(age - 50)", people, "study", effect="I(age-50):treat")
    assert stage.effects == ("treat:I(age - 50)",)
