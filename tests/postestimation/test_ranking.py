"""Ranking of models: criteria, weights, nested tests, and what is refused."""

import numpy as np
import pandas as pd
import pytest

from metareg_sm import MetaReg
from metareg_sm.exceptions import ComparisonError, OptionError
from metareg_sm.postestimation.comparison import compare_models

FORMULAS = ["yi ~ 1", "yi ~ ablat", "yi ~ year", "yi ~ ablat + year"]


def fit(data, formula, tau2="ml", **options):
    return MetaReg.from_formula(formula, data, vi="vi").fit(tau2=tau2, **options)


@pytest.fixture
def fits(bcg, engine):
    return [fit(bcg, formula) for formula in FORMULAS]


def test_criteria_are_those_of_the_fits(fits):
    table = compare_models(*fits)
    assert list(table.index) == FORMULAS
    assert list(table.columns) == [
        *("nobs", "df_modelwc", "llf", "aic", "aicc", "bic", "delta", "weight", "tau2", "r2"),
        *("lr_against", "lr_statistic", "lr_df", "lr_pvalue"),
    ]
    for name, res in zip(FORMULAS, fits, strict=True):
        for column in ("nobs", "df_modelwc", "llf", "aic", "aicc", "bic", "tau2"):
            assert table.loc[name, column] == getattr(res, column)
        assert table.loc[name, "r2"] == res.heterogeneity.r2


def test_akaike_weights(fits):
    table = compare_models(*fits)
    aicc = np.array([r.aicc for r in fits])
    np.testing.assert_allclose(table["delta"], aicc - aicc.min(), rtol=0, atol=1e-12)
    expected = np.exp(-aicc / 2) / np.exp(-aicc / 2).sum()
    np.testing.assert_allclose(table["weight"], expected, rtol=1e-12)
    assert table["weight"].sum() == pytest.approx(1.0, abs=1e-14)
    assert table["delta"].min() == 0.0


def test_nested_tests_against_the_first_nested_above(fits):
    table = compare_models(*fits)
    assert table["lr_against"].isna().tolist() == [True, False, False, False]
    assert table["lr_against"].tolist()[1:] == ["yi ~ 1"] * 3
    for i in (1, 2, 3):
        expected = fits[i].compare_lr_test(fits[0])
        assert table["lr_statistic"].iloc[i] == expected.statistic
        assert table["lr_pvalue"].iloc[i] == expected.pvalue
        assert table["lr_df"].iloc[i] == expected.df == (1, 1, 2)[i - 1]
    assert table.iloc[0][["lr_statistic", "lr_df", "lr_pvalue"]].isna().all()


def test_models_beside_each_other_have_no_test(fits):
    _, by_latitude, by_year, both = fits
    table = compare_models(by_latitude, by_year, both, names=["latitude", "year", "both"])
    assert np.isnan(table.loc["year", "lr_pvalue"])
    assert table.loc["both", "lr_against"] == "latitude"
    # the larger model first: the test is that of the larger against the smaller all the same
    table = compare_models(both, by_year)
    expected = both.compare_lr_test(by_year)
    assert table["lr_statistic"].iloc[1] == expected.statistic > 0
    assert table["lr_df"].iloc[1] == 1


def test_tau2_held_at_zero_is_on_the_boundary(bcg):
    common, free = fit(bcg, "yi ~ ablat", 0.0), fit(bcg, "yi ~ ablat")
    table = compare_models(common, free)
    assert list(table.index) == ["model 1", "model 2"]
    assert table["df_modelwc"].tolist() == [2, 3]
    expected = free.lr_test_tau2()
    assert table["lr_statistic"].iloc[1] == pytest.approx(expected.statistic, rel=1e-12)
    assert table["lr_pvalue"].iloc[1] == pytest.approx(expected.pvalue, rel=1e-12)
    both_fixed = compare_models(common, fit(bcg, "yi ~ ablat", 0.3))
    assert np.isnan(both_fixed["lr_pvalue"].iloc[1])


def test_reml_with_the_same_moderators(bcg):
    one = fit(bcg, "yi ~ ablat + year", "reml")
    centred = fit(bcg, "yi ~ I(ablat - 30) + year", "reml", cov_type="nonrobust")
    table = compare_models(one, centred)
    np.testing.assert_allclose(table["weight"], 0.5, rtol=1e-9)
    assert table["lr_pvalue"].isna().all()


def test_zero_variance_leaves_r2_empty(bcg):
    bcg.loc[0, "vi"] = 0.0
    table = compare_models(fit(bcg, "yi ~ 1", 0.2), fit(bcg, "yi ~ ablat", 0.2))
    assert table["lr_df"].iloc[1] == 1
    assert table["r2"].isna().all()
    assert np.isfinite(table["aicc"]).all()


def test_array_models_and_names(bcg):
    exog = np.column_stack([np.ones(13), bcg["ablat"], bcg["year"]])
    fits = [MetaReg(bcg["yi"], exog[:, :p], vi=bcg["vi"]).fit("ml") for p in (1, 2, 3)]
    table = compare_models(*fits)
    assert list(table.index) == ["model 1", "model 2", "model 3"]
    named = compare_models(*fits, names=("a", "b", "c"))
    assert list(named.index) == ["a", "b", "c"]
    pd.testing.assert_frame_equal(
        named.drop(columns="lr_against").reset_index(drop=True),
        table.drop(columns="lr_against").reset_index(drop=True),
    )


def test_refusals(bcg):
    null, full = fit(bcg, "yi ~ 1"), fit(bcg, "yi ~ ablat")
    reml = fit(bcg, "yi ~ 1", "reml")
    with pytest.raises(ComparisonError, match="at least two fits; got 1"):
        compare_models(null)
    with pytest.raises(ComparisonError, match="at least two fits; got 1"):
        compare_models([null])
    with pytest.raises(ComparisonError, match=r"one has the restricted likelihood"):
        compare_models(null, reml)
    with pytest.raises(ComparisonError, match=r"one has the restricted likelihood"):
        compare_models(reml, fit(bcg, "yi ~ 1", 0.0))
    with pytest.raises(ComparisonError, match="'yi ~ 1' and 'yi ~ ablat': REML likelihoods"):
        compare_models(reml, fit(bcg, "yi ~ ablat", "reml"))
    with pytest.raises(ComparisonError, match="'yi ~ ablat' has tau2 by 'dl'"):
        compare_models(null, fit(bcg, "yi ~ ablat", "dl"))
    fewer = bcg.assign(year=bcg["year"].where(bcg["trial"] > 2)).astype({"year": float})
    with pytest.raises(ComparisonError, match=r"'yi ~ 1' and 'yi ~ year': .*13 and 11"):
        compare_models(null, fit(fewer, "yi ~ year"))
    with pytest.raises(ComparisonError, match="different outcomes"):
        compare_models(null, fit(bcg.assign(vi=2 * bcg["vi"]), "yi ~ ablat"))
    with pytest.raises(OptionError, match="names has 1 entries for 2 models"):
        compare_models(null, full, names=["a"])
    with pytest.raises(OptionError, match="names must differ"):
        compare_models(null, full, names=["a", "a"])


def test_a_fit_that_did_not_converge_is_refused(bcg):
    stopped = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit(
        "ml", method="nm", maxiter=0, start_params=[5.0], warn_convergence=False
    )
    if stopped.mle_converged is not False:
        pytest.skip("the optimizer reports convergence")
    with pytest.raises(ComparisonError, match="did not converge"):
        compare_models(fit(bcg, "yi ~ 1"), stopped)
