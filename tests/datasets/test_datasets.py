"""The bundled data, against their definitions and against published results."""

import importlib
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import norm
from statsmodels.datasets.utils import Dataset

from metareg_sm import MetaReg, datasets
from metareg_sm.datasets import _loader

SHAPES = {
    "assink2016": (100, 8),
    "bangertdrowns2004": (48, 16),
    "bcg": (13, 11),
    "berkey1998": (10, 9),
    "egger2001": (16, 9),
    "hackshaw1998": (37, 11),
    "konstantopoulos2011": (56, 6),
    "molloy2014": (16, 12),
    "normand1999": (9, 10),
    "raudenbush1985": (19, 10),
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


@pytest.mark.parametrize("name", SHAPES)
def test_it_is_a_module(name):
    module = importlib.import_module(f"metareg_sm.datasets.{name}")
    assert module is getattr(datasets, name)
    assert module.__name__ == f"metareg_sm.datasets.{name}"
    assert {"load", "load_pandas", "NOTE", "SOURCE"} <= set(dir(module))
    with pytest.raises(AttributeError, match=f"'metareg_sm.datasets.{name}' has no attribute 'x'"):
        _ = module.x


def test_import_statements():
    import metareg_sm.datasets.egger2001 as found

    from metareg_sm.datasets import berkey1998

    assert found is datasets.egger2001
    assert berkey1998 is datasets.berkey1998


def test_nothing_is_read_before_it_is_asked_for():
    # in another process: importing the package opens no table and no text
    code = (
        "import builtins, io, pathlib, metareg_sm\n"
        "from unittest import mock\n"
        "with mock.patch.object(pathlib.Path, 'read_text', side_effect=AssertionError):\n"
        "    import metareg_sm.datasets.bcg as bcg\n"
        "assert not {'TITLE', 'NOTE'} & set(vars(bcg))\n"
        "assert bcg.TITLE.startswith('BCG') and 'TITLE' in vars(bcg)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_two_files_make_a_data_set(tmp_path, monkeypatch):
    (tmp_path / "mine.csv").write_text("study,x,yi,vi\n1,2.5,0.1,0.04\n2,3.5,,0.09\n")
    (tmp_path / "mine.toml").write_text(
        'title = "Mine: 2 studies."\nendog = "yi"\nexog = ["x"]\nsource = "here"\n'
        'descrshort = "s"\ndescrlong = "l"\n[columns]\nstudy = "its number"\n'
        'x = "a moderator"\nyi = "outcome"\nvi = "variance"\n'
    )
    monkeypatch.setattr(_loader, "_FOLDER", tmp_path)
    assert _loader.available() == ["mine"]
    mine = _loader.DatasetModule("there", "mine")
    assert mine.load().exog_name == ["x"]
    assert mine.TITLE == "Mine: 2 studies."
    assert "facts" in mine.COPYRIGHT
    assert "Number of observations: 2" in mine.NOTE
    assert "    study - its number" in mine.NOTE


@pytest.mark.parametrize("name", SHAPES)
def test_every_column_is_described(name):
    about = getattr(datasets, name)._about()
    assert list(about["columns"]) == list(getattr(datasets, name).load_pandas().data.columns)


def test_effects_come_from_their_columns():
    d = datasets.egger2001.load_pandas().data
    a, b, c, e = d["ai"], d["n1i"] - d["ai"], d["ci"], d["n2i"] - d["ci"]
    half = 0.5 * (a == 0)
    a, b, c, e = a + half, b + half, c + half, e + half
    assert_allclose(d["yi"], np.log(a * e / (b * c)), rtol=1e-12)
    assert_allclose(d["vi"], 1 / a + 1 / b + 1 / c + 1 / e, rtol=1e-12)
    d = datasets.normand1999.load_pandas().data
    assert_allclose(d["yi"], d["m1i"] - d["m2i"])
    assert_allclose(d["vi"], d["sd1i"] ** 2 / d["n1i"] + d["sd2i"] ** 2 / d["n2i"], rtol=1e-12)
    d = datasets.molloy2014.load_pandas().data
    assert_allclose(d["yi"], np.arctanh(d["ri"]), rtol=1e-12)
    assert_allclose(d["vi"], 1.0 / (d["ni"] - 3), rtol=1e-12)
    d = datasets.hackshaw1998.load_pandas().data
    assert_allclose(d["yi"], np.log(d["odds_ratio"]), atol=1e-12)
    width = np.log(d["or_ub"]) - np.log(d["or_lb"])
    assert_allclose(d["vi"], (width / (2.0 * norm.ppf(0.975))) ** 2, rtol=1e-10)


def test_berkey_has_a_covariance_matrix_for_each_trial():
    d = datasets.berkey1998.load_pandas().data
    for _, trial in d.groupby("trial"):
        V = trial[["v1i", "v2i"]].to_numpy()
        assert_allclose(V, V.T)
        assert_allclose(np.diagonal(V), trial["vi"])
        assert (np.linalg.eigvalsh(V) > 0.0).all()
        assert trial["outcome"].tolist() == ["PD", "AL"]


# metafor 3.8-1 on metadat's data: rma(yi, vi, method="DL") after escalc where there are counts
@pytest.mark.parametrize(
    ("name", "estimate", "tau2"),
    [
        ("assink2016", 0.52510121195880943, 0.16041696383529791),
        ("berkey1998", 0.015530704142220068, 0.17647629261668521),
        ("egger2001", -0.72758291370952277, 0.22388305624879992),
        ("hackshaw1998", 0.21388893568392225, 0.017036444317852836),
        ("molloy2014", 0.14959835307564395, 0.0077625440549592062),
        ("normand1999", -13.981721817043933, 205.40937546791079),
    ],
)
def test_pooled_as_in_metafor(name, estimate, tau2):
    data = getattr(datasets, name).load_pandas().data
    res = MetaReg.from_formula("yi ~ 1", data, vi="vi").fit(tau2="dl")
    assert_allclose(res.params["Intercept"], estimate, rtol=1e-10)
    assert_allclose(res.tau2, tau2, rtol=1e-10)


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
