"""The test that a slope within studies is the slope between them."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from metareg_sm import MetaReg, simulate
from metareg_sm.exceptions import OptionError
from metareg_sm.formula.transforms import between, within  # noqa: F401  (formulas use them)


@pytest.fixture
def data():
    rng = np.random.default_rng(5)
    study = np.repeat(np.arange(10), 5)
    x = rng.normal(size=50) + rng.normal(size=10)[study]
    z = rng.normal(size=50)
    own = pd.Series(x).groupby(study).transform("mean").to_numpy()
    y = 0.8 * (x - own) - 0.4 * own + rng.normal(0.0, 0.3, 50)
    return pd.DataFrame({"study": study, "x": x, "z": z, "y": y, "v": rng.uniform(0.02, 0.2, 50)})


@pytest.mark.parametrize(
    "right",
    [
        "within(x, study) + between(x, study)",
        "x + between(x, study)",
        "x + within(x, study)",
        "between(x, study) + z + within(x, study)",
    ],
)
@pytest.mark.parametrize("cov_type", ["knapp-hartung", "nonrobust", "HC1", "cluster"])
def test_every_way_to_write_it(engine, data, right, cov_type):
    options = {"cov_type": cov_type}
    if cov_type == "cluster":
        options["cov_kwds"] = {"groups": "study", "correction": "CR2"}
    z = " + z" if "z" in right else ""
    res = MetaReg.from_formula("y ~ " + right, data, vi="v").fit(**options)
    test = res.aggregation_bias_test("x")
    plain = f"y ~ within(x, study) + between(x, study){z}"
    two = MetaReg.from_formula(plain, data, vi="v").fit(**options)
    names = ["within(x, study)", "between(x, study)"]
    b, V = two.params[names], two.cov_params().loc[names, names].to_numpy()
    assert test.within == pytest.approx(b.iloc[0], rel=1e-7)
    assert test.between == pytest.approx(b.iloc[1], rel=1e-7)
    assert test.difference == pytest.approx(b.iloc[1] - b.iloc[0], rel=1e-7)
    assert test.se == pytest.approx(np.sqrt(V[0, 0] + V[1, 1] - 2 * V[0, 1]), rel=1e-7)
    expected = two.t_test(_contrast(two, names))
    assert test.pvalue == pytest.approx(float(np.squeeze(expected.pvalue)), rel=1e-6)
    assert test.statistic == pytest.approx(test.difference / test.se, rel=1e-9)
    assert (test.df is None) == (not res.use_t)


def _contrast(res, names):
    row = np.zeros(len(res.params))
    row[[res.params.index.get_loc(n) for n in names]] = -1.0, 1.0
    return row[None]


@pytest.mark.parametrize("right", ["within(x, study) + between(x, study)", "x + between(x, study)"])
@pytest.mark.parametrize(
    ("name", "model", "fit"),
    [
        ("mixedmetareg", {"random": "1 | study"}, {}),
        ("mixedmetareg", {"random": "1 | study"}, {"use_t": False}),
        ("mixedmetareg", {"random": "1 | study"}, {"cov_type": "cluster"}),
        ("mixedmetareg", {"random": "1 | study/effect"}, {"reml": False}),
        ("lsmetareg", {"scale_formula": "~ z"}, {}),
        ("lsmetareg", {}, {"use_t": True}),
    ],
)
def test_other_models(engine, data, name, model, fit, right):
    data["effect"] = np.arange(len(data))
    fitted = getattr(smf, name)
    res = fitted(f"y ~ {right}", data, vi="v", **model).fit(**fit)
    test = res.aggregation_bias_test("x")
    plain = fitted("y ~ within(x, study) + between(x, study)", data, vi="v", **model).fit(**fit)
    names = ["within(x, study)", "between(x, study)"]
    b, V = plain.params[names].to_numpy(), plain.cov_params().loc[names, names].to_numpy()
    assert (test.within, test.between) == (
        pytest.approx(b[0], rel=1e-6),
        pytest.approx(b[1], rel=1e-6),
    )
    assert test.difference == pytest.approx(b[1] - b[0], rel=1e-6)
    assert test.se == pytest.approx(np.sqrt(V[0, 0] + V[1, 1] - 2 * V[0, 1]), rel=1e-6)
    expected = plain.t_test(_contrast(plain, names))
    assert test.pvalue == pytest.approx(float(np.squeeze(expected.pvalue)), rel=1e-6)
    # slopes .8 within and -.4 between
    assert test.pvalue < 0.01
    assert (test.df is None) == (not res.use_t)


def test_products(engine):
    people = simulate.participants(n_studies=8, rng=2)
    people["v"] = 1.0
    formula = "y ~ treat * (within(age, study) + between(age, study))"
    res = MetaReg.from_formula(formula, people, vi="v").fit(tau2=0)
    test = res.aggregation_bias_test("treat:age")
    assert test == res.aggregation_bias_test("age:treat")
    assert test.within == pytest.approx(res.params["treat:within(age, study)"])
    assert test.between == pytest.approx(res.params["treat:between(age, study)"])
    # the truth: 0.03 within, -0.04 between
    assert test.pvalue < 1e-6


def test_what_the_formula_lacks(data):
    res = MetaReg.from_formula("y ~ x + within(z, study)", data, vi="v").fit()
    with pytest.raises(OptionError, match=r"the model has 'x'\. Write for instance 'within\(x"):
        res.aggregation_bias_test("x")
    with pytest.raises(OptionError, match="has neither"):
        res.aggregation_bias_test("w")
