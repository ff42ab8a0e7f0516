"""Within and between: both engines, every model with a formula, predictions."""

import pickle

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given, settings
from hypothesis import strategies as st

import metareg_sm
from metareg_sm.exceptions import DesignError
from metareg_sm.formula import api
from metareg_sm.formula.transforms import between, within

FORMULA = "y ~ within(x, study) + between(x, study)"


@pytest.fixture
def data():
    rng = np.random.default_rng(3)
    study = np.repeat(list("abcdef"), [3, 5, 2, 4, 6, 4])
    x = rng.normal(size=len(study)) + 2.0 * (study > "c")
    y = 0.5 * x + rng.normal(size=len(study))
    return pd.DataFrame({"study": study, "x": x, "y": y, "v": 0.2})


@pytest.mark.parametrize(
    "fitted",
    [
        lambda f, d: smf.ols(f, d).fit(),
        lambda f, d: smf.wls(f, d, weights=1 / d["v"]).fit(),
        lambda f, d: smf.mixedlm(f, d, groups="study").fit(),
        lambda f, d: smf.glm(f, d).fit(),
        lambda f, d: smf.gee(f, "study", d).fit(),
        lambda f, d: smf.quantreg(f, d).fit(),
        lambda f, d: metareg_sm.mixedmetareg(f, d, vi="v", random="1 | study").fit(),
        lambda f, d: api.mixedmetareg(f, d, vi="v", random="1 | study").fit(),
        lambda f, d: metareg_sm.lsmetareg(f, d, vi="v").fit(),
        lambda f, d: metareg_sm.metareg(f, d, vi="v").fit(),
        lambda f, d: api.metareg(f, d, vi="v").fit(),
    ],
)
def test_columns_and_predictions(engine, data, fitted):
    # the names are found where the formula is written: here, through the module of this function
    res = fitted(FORMULA, data)
    means = data.groupby("study")["x"].mean()
    expected = np.column_stack(
        [np.ones(len(data)), data["x"] - data["study"].map(means), data["study"].map(means)]
    )
    np.testing.assert_allclose(res.model.exog, expected, atol=1e-12)
    # a study of the model keeps its mean, whatever rows are predicted; a new one has its own
    new = pd.DataFrame(
        {"x": [1.0, 2.0, 4.0, 9.0], "study": ["a", "new", "new", "b"]}, index=[7] * 4
    )
    m = np.array([means["a"], 3.0, 3.0, means["b"]])
    b = np.asarray(res.params)[:3]
    mean = b[0] + b[1] * (new["x"].to_numpy() - m) + b[2] * m
    np.testing.assert_allclose(res.predict(new.reset_index(drop=True)), mean, rtol=1e-10)


def test_get_prediction_of_unseen_studies(engine, data):
    res = metareg_sm.metareg(FORMULA, data, vi="v").fit()
    new = {"x": [5.0], "study": ["new"]}
    b = res.params.to_numpy()
    assert res.get_prediction(new).predicted_mean[0] == pytest.approx(b[0] + 5.0 * b[2])
    mixed = metareg_sm.mixedmetareg(FORMULA, data, vi="v", random="1 | study").fit()
    b = mixed.params.to_numpy()
    assert mixed.get_prediction(new).predicted_mean[0] == pytest.approx(b[0] + 5.0 * b[2])


def test_missing_values(engine, data):
    data.loc[[1, 8], "x"] = np.nan
    data.loc[4, "study"] = None
    res = smf.ols(FORMULA, data).fit()
    complete = data.dropna()
    assert res.nobs == len(complete)
    np.testing.assert_allclose(res.params, smf.ols(FORMULA, complete).fit().params, rtol=1e-9)


def test_arrays_and_integer_labels():
    x, study = np.array([1, 2, 6]), np.array([10, 10, 3])
    np.testing.assert_allclose(between(x, study), [1.5, 1.5, 6.0])
    np.testing.assert_allclose(within(x, study), [-0.5, 0.5, 0.0])
    labelled = between(pd.Series(x, index=list("pqr")), study)
    assert labelled.index.tolist() == list("pqr")


def test_names_are_those_of_the_module():
    assert pickle.loads(pickle.dumps(within)) is within
    assert api.within is within
    assert api.between is between


@pytest.mark.parametrize("x", [["a", "b"], np.zeros((2, 2)), [object(), 1.0]])
def test_bad_columns(x):
    with pytest.raises(DesignError, match=r"within\(\) and between\(\) take"):
        within(np.asarray(x), ["a", "b"])


def test_labels_of_another_length():
    with pytest.raises(DesignError, match="3 labels of studies for 2 values"):
        between([1.0, 2.0], ["a", "b", "c"])


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.floats(-1e6, 1e6)), min_size=1, max_size=30),
    st.randoms(use_true_random=False),
)
def test_parts_add_up_and_do_not_depend_on_order(rows, random):
    study, x = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    inside, outside = within(x, study), between(x, study)
    np.testing.assert_allclose(inside + outside, x, rtol=1e-12, atol=1e-9)
    for label in set(study):
        assert abs(inside[study == label].sum()) < 1e-6
    order = np.array(random.sample(range(len(x)), len(x)))
    np.testing.assert_allclose(
        between(x[order], study[order]), outside[order], rtol=1e-9, atol=1e-6
    )
