"""Tools of statsmodels and of table makers that the docs call valid, and those that they do not."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from statsmodels.iolib.summary2 import summary_col
from statsmodels.stats.outliers_influence import variance_inflation_factor

from metareg_sm import MetaReg


@pytest.fixture
def res(bcg):
    return MetaReg.from_formula("yi ~ ablat + C(alloc)", bcg, vi="vi").fit()


def test_maketables(res):
    for obj in (res, res._results):
        table = obj.__maketables_coef_table__
        assert table.index.name == "Coefficient"
        assert list(table.columns) == ["b", "se", "t", "p", "ci95l", "ci95u"]
        assert_allclose(table["b"], res.params)
        assert_allclose(table["p"], res.pvalues)
        assert_allclose(table[["ci95l", "ci95u"]], res.conf_int())
        assert obj.__maketables_stat__("N") == 13
        assert obj.__maketables_stat__("tau2") == pytest.approx(res.tau2)
        assert obj.__maketables_stat__("se_type") == "Knapp-Hartung"
        assert obj.__maketables_stat__("nosuch") is None
        assert obj.__maketables_depvar__ == "yi"


def test_summary_col_and_pairwise(res):
    text = str(summary_col([res]))
    assert f"{res.tau2:.4f}" in text
    frame = res.t_test_pairwise("C(alloc)").result_frame
    assert_allclose(frame["coef"].iloc[0], res.t_test("C(alloc)[T.random] = 0").effect[0])
    terms = res.wald_test_terms(scalar=True).table
    assert_allclose(terms.loc["ablat", "statistic"], res.tvalues["ablat"] ** 2)


def test_component_plus_residual(res):
    pytest.importorskip("matplotlib").use("Agg")
    figure = sm.graphics.plot_ccpr(res, "ablat")
    points = figure.axes[0].lines[0].get_xydata()
    slope = res.params["ablat"] * res.model.exog[:, 3]
    assert_allclose(np.sort(points[:, 1]), np.sort(slope + np.asarray(res.resid)), rtol=1e-10)


def test_vif_of_statsmodels_is_another_number(res):
    other = variance_inflation_factor(res.model.exog, 3)
    own = res.vif()
    assert isinstance(own, pd.DataFrame)
    assert abs(own.loc["ablat", "vif"] - other) > 1e-3


def test_anova_lm_is_refused(res):
    with pytest.raises(AttributeError):
        sm.stats.anova_lm(res)
