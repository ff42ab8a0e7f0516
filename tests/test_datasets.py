"""The bundled data, against their definitions and against published results."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from statsmodels.datasets.utils import Dataset

from metareg_sm import MetaReg, datasets

SHAPES = {
    "bcg": (13, 11),
    "raudenbush1985": (19, 10),
    "konstantopoulos2011": (56, 6),
    "bangertdrowns2004": (48, 16),
}


@pytest.mark.parametrize("name", SHAPES)
def test_convention_of_statsmodels(name):
    module = getattr(datasets, name)
    for text in ("COPYRIGHT", "TITLE", "SOURCE", "DESCRSHORT", "DESCRLONG", "NOTE"):
        assert getattr(module, text).strip()
    for load in (module.load, module.load_pandas):
        found = load()
        assert isinstance(found, Dataset)
        assert isinstance(found.data, pd.DataFrame)
        assert found.data.shape == SHAPES[name]
        assert list(found.names) == list(found.data.columns)
        assert found.endog_name == "yi"
        assert found.endog.tolist() == found.data["yi"].tolist()
        assert list(found.exog.columns) == list(found.exog_name)
    assert f"Number of observations: {SHAPES[name][0]}" in module.NOTE
    assert f"Number of variables: {SHAPES[name][1]}" in module.NOTE
    for column in found.data.columns:
        assert column in module.NOTE
    assert (found.data["vi"] > 0.0).all()
    assert not found.data[["yi", "vi"]].isna().any().any()


@pytest.mark.parametrize("name", SHAPES)
def test_each_load_is_a_fresh_copy(name):
    module = getattr(datasets, name)
    first = module.load_pandas().data
    first["yi"] = 0.0
    assert (module.load_pandas().data["yi"] != 0.0).any()


def test_namespace():
    assert set(datasets.__all__) == set(SHAPES)
    assert set(SHAPES) <= set(dir(datasets))
    with pytest.raises(AttributeError, match="nothing"):
        _ = datasets.nothing


def test_bcg_effects_come_from_the_counts(bcg):
    n1, n2 = bcg["tpos"] + bcg["tneg"], bcg["cpos"] + bcg["cneg"]
    assert_allclose(bcg["yi"], np.log((bcg["tpos"] / n1) / (bcg["cpos"] / n2)), rtol=1e-13)
    vi = 1.0 / bcg["tpos"] - 1.0 / n1 + 1.0 / bcg["cpos"] - 1.0 / n2
    assert_allclose(bcg["vi"], vi, rtol=1e-13)


def test_bcg_as_published(bcg):
    # Viechtbauer (2010), Journal of Statistical Software 36(3), sections 3.1 and 3.2
    null = MetaReg.from_formula("yi ~ 1", bcg, vi="vi").fit(cov_type="nonrobust")
    assert_allclose(null.tau2, 0.3132, atol=5e-5)
    assert_allclose(null.tau2_se, 0.1664, atol=5e-5)
    assert_allclose(null.params["Intercept"], -0.7145, atol=5e-5)
    assert_allclose(null.conf_int().loc["Intercept"], [-1.0669, -0.3622], atol=5e-5)
    assert_allclose(null.heterogeneity.q, 152.2330, atol=5e-5)
    assert_allclose(null.heterogeneity.i2, 0.9222, atol=5e-5)
    assert_allclose(null.heterogeneity.h2, 12.86, atol=5e-3)
    both = MetaReg.from_formula("yi ~ ablat + year", bcg, vi="vi").fit(cov_type="nonrobust")
    assert_allclose(both.tau2, 0.1108, atol=5e-5)
    assert_allclose(both.params["ablat"], -0.0280, atol=5e-5)
    assert_allclose(both.bse["ablat"], 0.0102, atol=5e-5)
    # published as 12.2043: the iteration for tau2 stopped at 1e-5 there
    assert_allclose(both.fvalue, 12.2043, atol=5e-4)
    assert_allclose(both.heterogeneity.q, 28.3251, atol=5e-5)


def test_raudenbush_as_published():
    # Raudenbush (2009), The Handbook of Research Synthesis and Meta-Analysis, chapter 16
    data = datasets.raudenbush1985.load_pandas().data
    null = MetaReg.from_formula("yi ~ 1", data, vi="vi").fit(cov_type="nonrobust")
    assert_allclose(null.tau2, 0.019, atol=5e-4)
    assert_allclose(null.params["Intercept"], 0.084, atol=5e-4)
    data["prior"] = data["weeks"].clip(upper=3)
    res = MetaReg.from_formula("yi ~ prior", data, vi="vi").fit(cov_type="nonrobust")
    assert res.tau2 == 0.0
    assert_allclose(res.params, [0.407, -0.157], atol=5e-4)
    assert_allclose(res.bse, [0.087, 0.036], atol=5e-4)
