"""Tools of statsmodels and of table makers that the docs call valid, and those that they do not."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from scipy import stats
from statsmodels.iolib.summary2 import summary_col
from statsmodels.stats.outliers_influence import variance_inflation_factor

from metareg_sm import LocationScaleMetaReg, MetaReg, MixedMetaReg


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


@pytest.fixture
def fits(bcg, res):
    """A fit of each kind of model, with whole numbers and text as marginaleffects wants them."""
    frame = bcg.assign(
        ablat=bcg["ablat"].astype(float),
        alloc=bcg["alloc"].astype("category"),
        group=np.arange(len(bcg)) // 3,
    )
    return {
        "metareg": MetaReg.from_formula("yi ~ ablat + C(alloc)", frame, vi="vi").fit(),
        "mixed": MixedMetaReg.from_formula(
            "yi ~ ablat", frame, vi="vi", random="1 | group/trial"
        ).fit(),
        "scale": LocationScaleMetaReg.from_formula(
            "yi ~ ablat", frame, vi="vi", scale_formula="~ 1"
        ).fit(),
    }


@pytest.mark.parametrize("name", ["metareg", "mixed", "scale"])
def test_plot_fit(fits, name):
    pytest.importorskip("matplotlib").use("Agg")
    res = fits[name]
    figure = sm.graphics.plot_fit(res, "ablat", vlines=False)
    lines = [line.get_ydata() for line in figure.axes[0].lines]
    assert_allclose(np.sort(lines[0]), np.sort(res.model.endog))
    assert_allclose(np.sort(lines[1]), np.sort(np.asarray(res.fittedvalues)), rtol=1e-12)
    # by default with the intervals in which the model expects the outcomes
    bars = sm.graphics.plot_fit(res, "ablat").axes[0].collections[0].get_segments()
    order = np.argsort(res.model.exog[:, res.model.exog_names.index("ablat")])
    tau2 = np.broadcast_to(res.tau2, res.model.vi.shape)
    se = res.get_prediction().summary_frame()["mean_se"].to_numpy()
    half = stats.t.isf(0.025, res.df_resid) * np.sqrt(res.model.vi + tau2 + se**2)
    for (low, high), fitted, h in zip(
        bars, np.asarray(res.fittedvalues)[order], half[order], strict=True
    ):
        assert_allclose([low[1], high[1]], [fitted - h, fitted + h], rtol=1e-9)


def test_weights_of_a_variance_of_zero(bcg):
    vi = bcg["vi"].to_numpy().copy()
    vi[3] = 0.0
    res = MetaReg.from_formula("yi ~ ablat", bcg, vi=vi).fit()
    with pytest.raises(AttributeError, match="a study with a sampling variance of 0 has none"):
        sm.graphics.plot_fit(res, "ablat")


@pytest.mark.parametrize("name", ["metareg", "scale"])
def test_influence_plot(fits, name):
    pytest.importorskip("matplotlib").use("Agg")
    res = fits[name]
    figure = sm.graphics.influence_plot(res)
    points = figure.axes[0].collections[0].get_offsets()
    influence = res.get_influence()
    assert_allclose(points[:, 0], influence.hat_matrix_diag, rtol=1e-12)
    assert_allclose(points[:, 1], influence.resid_studentized_external, rtol=1e-12)


@pytest.mark.parametrize("name", ["metareg", "mixed", "scale"])
def test_table_makers_where_they_are_installed(fits, name):
    res = fits[name]
    known = f"{res.params['ablat']:.3f}"
    stargazer = pytest.importorskip("stargazer.stargazer")
    assert known in stargazer.Stargazer([res]).render_html()
    assert known in stargazer.Stargazer([res]).render_latex()
    maketables = pytest.importorskip("maketables")
    assert known in str(maketables.ETable([res]).make("tex"))
    tables = pytest.importorskip("great_tables")
    html = tables.GT(res.summary_frame().reset_index().round(3)).as_raw_html()
    assert known in html


@pytest.mark.parametrize("name", ["metareg", "mixed", "scale"])
def test_marginaleffects_where_it_is_installed(fits, name):
    marginaleffects = pytest.importorskip("marginaleffects")
    polars = pytest.importorskip("polars")
    if int(polars.__version__.partition(".")[0]) > 1:
        pytest.skip("marginaleffects 0.6 does not run with polars 2, for OLS either")
    res = fits[name]
    wrapped = pytest.importorskip("marginaleffects.statsmodels").ModelStatsmodels(res)
    slopes = marginaleffects.avg_slopes(wrapped, variables="ablat")
    assert slopes["estimate"][0] == pytest.approx(res.params["ablat"], rel=1e-6)
    # it differentiates numerically
    assert slopes["std_error"][0] == pytest.approx(res.bse["ablat"], rel=2e-3)
    found = marginaleffects.predictions(wrapped)["estimate"].to_numpy()
    assert_allclose(found, np.asarray(res.fittedvalues), rtol=1e-9, atol=1e-12)
