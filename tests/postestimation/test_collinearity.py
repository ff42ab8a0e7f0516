"""Variance inflation against statsmodels, metafor and the definition; condition numbers."""

import numpy as np
import pytest
import statsmodels.api as sm
from statsmodels.stats.outliers_influence import variance_inflation_factor

from metareg_sm import MetaReg
from metareg_sm.exceptions import DesignError
from metareg_sm.postestimation.collinearity import condition_note, condition_number, vif

# metafor 3.8.1 (R 4.2.2): rma(yi, vi, mods = ~ ablat + year + alloc), threshold 1e-12;
# vif(res) and vif(res, btt = list(2, 3, 4:5))
METAFOR = {
    "ablat": 1.76973159944811,
    "year": 1.91482065805299,
    "alloc[T.random]": 2.08576503794237,
    "alloc[T.systematic]": 2.01931667854697,
}
METAFOR_ALLOC = (1.23392298140479, 1.05395486586331)


@pytest.fixture
def res(bcg, engine):
    return MetaReg.from_formula("yi ~ ablat + year + alloc", bcg, vi="vi").fit()


def test_metafor(res):
    table = vif(res)
    assert set(table.index) == set(METAFOR)
    for name, value in METAFOR.items():
        assert table.loc[name, "vif"] == pytest.approx(value, rel=1e-8)
    alloc = table[table["term"] == "alloc"]
    assert (alloc["df"] == 2).all()
    np.testing.assert_allclose(alloc["gvif"], METAFOR_ALLOC[0], rtol=1e-8)
    np.testing.assert_allclose(alloc["gvif_adjusted"], METAFOR_ALLOC[1], rtol=1e-8)


def test_terms_of_one_column(res):
    table = vif(res).loc[["ablat", "year"]]
    assert table["term"].tolist() == ["ablat", "year"]
    assert table["df"].tolist() == [1, 1]
    np.testing.assert_allclose(table["gvif"], table["vif"], rtol=1e-12)
    np.testing.assert_allclose(table["gvif_adjusted"], np.sqrt(table["vif"]), rtol=1e-12)


def test_equal_weights_are_statsmodels(bcg, engine):
    model = MetaReg.from_formula("yi ~ ablat + year + alloc", bcg, vi=np.full(13, 0.1))
    table = vif(model.fit())
    for name, value in table["vif"].items():
        j = model.exog_names.index(name)
        expected = variance_inflation_factor(model.exog, j)
        assert value == pytest.approx(expected, rel=1e-9)


def test_without_a_constant_is_statsmodels_uncentred(bcg):
    exog = bcg[["ablat", "year"]].to_numpy(float)
    table = vif(MetaReg(bcg["yi"], exog, vi=np.full(13, 0.1)).fit())
    expected = [variance_inflation_factor(exog, j, standardize=False) for j in range(2)]
    np.testing.assert_allclose(table["vif"], expected, rtol=1e-9)


def test_unequal_weights_are_weighted_regressions(res):
    exog, names = res.model.exog, res.model.exog_names
    weights = 1.0 / (res.model.vi + res.tau2)
    for name, value in vif(res)["vif"].items():
        j = names.index(name)
        r2 = sm.WLS(exog[:, j], np.delete(exog, j, axis=1), weights=weights).fit().rsquared
        assert value == pytest.approx(1.0 / (1.0 - r2), rel=1e-9)


def test_gvif_is_a_ratio_of_generalised_variances(res):
    names = [n for n in res.model.exog_names if n != "Intercept"]
    cov = res.cov_params().loc[names, names]
    own = [n for n in names if n.startswith("alloc")]
    others = [n for n in names if n not in own]
    det = np.linalg.det
    expected = det(cov.loc[own, own]) * det(cov.loc[others, others]) / det(cov)
    assert vif(res).loc[own[0], "gvif"] == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("cov_type", ["nonrobust", "HC3"])
def test_covariance_type_does_not_matter(bcg, cov_type):
    model = MetaReg.from_formula("yi ~ ablat + year", bcg, vi="vi")
    expected = vif(model.fit())["vif"]
    np.testing.assert_allclose(vif(model.fit(cov_type=cov_type))["vif"], expected, rtol=1e-12)


def test_units_do_not_matter(bcg):
    plain = MetaReg.from_formula("yi ~ ablat + year", bcg, vi="vi").fit()
    other = MetaReg.from_formula("yi ~ I(1e6 * ablat) + I(year - 1960)", bcg, vi="vi").fit()
    np.testing.assert_allclose(vif(other)["vif"], vif(plain)["vif"], rtol=1e-8)


def test_interactions_and_categories_are_terms(bcg, engine):
    bcg["late"] = np.where(bcg["year"] > 1960, "late", "early")
    res = MetaReg.from_formula("yi ~ ablat * late + C(alloc)", bcg, vi="vi").fit()
    table = vif(res)
    assert set(table["term"]) == {"ablat", "late", "ablat:late", "C(alloc)"}
    assert table.groupby("term")["df"].first()["C(alloc)"] == 2


def test_one_moderator_is_not_inflated(bcg):
    table = vif(MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit())
    assert table["vif"].tolist() == pytest.approx([1.0])
    assert table["gvif"].tolist() == pytest.approx([1.0])


def test_a_term_that_is_all_there_is(bcg):
    table = vif(MetaReg.from_formula("yi ~ alloc", bcg, vi="vi").fit())
    np.testing.assert_allclose(table["gvif"], 1.0, rtol=1e-12)


@pytest.mark.filterwarnings("ignore::metareg_sm.exceptions.RankDeficiencyWarning")
def test_refusals(bcg):
    with pytest.raises(DesignError, match="no moderator"):
        vif(MetaReg.from_formula("yi ~ 1", bcg, vi="vi").fit())
    bcg["again"] = 2.0 * bcg["ablat"]
    with pytest.raises(DesignError, match=r"redundant .*infinite"):
        vif(MetaReg.from_formula("yi ~ ablat + again", bcg, vi="vi").fit())


def test_condition_number_is_that_of_wls(res):
    weights = 1.0 / (res.model.vi + res.tau2)
    wls = sm.WLS(res.model.endog, res.model.exog, weights=weights).fit()
    assert condition_number(res) == pytest.approx(wls.condition_number, rel=1e-8)
    wexog = wls.model.wexog / np.linalg.norm(wls.model.wexog, axis=0)
    assert condition_number(res, scaled=True) == pytest.approx(np.linalg.cond(wexog), rel=1e-9)


def test_condition_number_and_units(bcg):
    plain = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
    large = MetaReg.from_formula("yi ~ I(1e6 * ablat)", bcg, vi="vi").fit()
    assert condition_number(large) > 1e4 * condition_number(plain)
    assert condition_number(large, scaled=True) == pytest.approx(
        condition_number(plain, scaled=True), rel=1e-6
    )


def test_condition_note(bcg):
    assert condition_note(MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()) is None
    res = MetaReg.from_formula("yi ~ year", bcg, vi="vi").fit()
    note = condition_note(res)
    assert f"{condition_number(res):.3g}" in note
    assert "units" in note
    bcg["year"] -= 1960
    assert condition_note(MetaReg.from_formula("yi ~ year", bcg, vi="vi").fit()) is None
