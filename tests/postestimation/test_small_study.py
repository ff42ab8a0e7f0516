"""Small-study effects asked of a fit, against metafor and the published figures."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from statsmodels.tools.sm_exceptions import ModelWarning

import metareg_sm
from metareg_sm import MetaReg
from metareg_sm.exceptions import DesignError, FewStudiesWarning, OptionError, VarianceError

from ..reference import load

CASES = load("small_study")["cases"]
TESTS = {"z": "nonrobust", "knha": "knapp-hartung"}


def fit(name, tau2="reml", cov_type="nonrobust"):
    case = CASES[name]
    X = np.asarray(case["X"], dtype=float).reshape(len(case["y"]), -1)
    return MetaReg(np.array(case["y"]), X, vi=np.array(case["v"])).fit(tau2=tau2, cov_type=cov_type)


@pytest.fixture
def pooled(bcg):
    return MetaReg.from_formula("yi ~ 1", bcg, vi="vi").fit(cov_type="nonrobust")


def test_figures_of_bcg(pooled):
    # to the digits that metafor prints
    egger = pooled.egger_test()
    assert_allclose(
        [egger.statistic, egger.pvalue, egger.limit], [-0.8033, 0.4218, -0.5104], atol=5e-5
    )
    assert_allclose(egger.limit_ci, [-1.1182, 0.0974], atol=5e-5)
    classical = pooled.egger_test(model="multiplicative")
    assert_allclose(classical.statistic, -1.4013, atol=5e-5)
    assert classical.df == 11
    rank = pooled.rank_correlation_test()
    assert_allclose([rank.statistic, rank.pvalue], [0.0256, 0.9524], atol=5e-5)
    filled = pooled.trim_and_fill()
    assert (filled.k0, filled.side, len(filled.filled)) == (1, "right", 1)
    assert_allclose(filled.k0_se, 2.4528, atol=5e-5)
    assert_allclose(
        [filled.results.params.iloc[0], filled.results.bse.iloc[0]], [-0.6571, 0.1785], atol=5e-5
    )
    assert pooled.fail_safe_n() == 598


def test_figure_of_egger2001():
    data = metareg_sm.datasets.egger2001.load_pandas().data
    res = MetaReg.from_formula("yi ~ 1", data, vi="vi").fit(cov_type="nonrobust")
    assert_allclose(res.egger_test().statistic, -4.6686, atol=5e-5)


@pytest.mark.parametrize("name", sorted(CASES))
def test_egger_of_metafor(name):
    for known in CASES[name]["egger"]:
        if known["predictor"] not in ("sei", "vi") or known["test"] not in TESTS:
            continue
        if known["model"] == "lm":
            res, model = fit(name), "multiplicative"
        else:
            res, model = (
                fit(
                    name,
                    0.0 if known["method"] in ("EE", "FE") else known["method"].lower(),
                    TESTS[known["test"]],
                ),
                "mixed",
            )
        found = res.egger_test(known["predictor"], model)
        assert_allclose(found.statistic, known["statistic"], rtol=1e-6)
        assert_allclose(found.pvalue, known["pvalue"], rtol=1e-6)


@pytest.mark.parametrize("name", ["bcg", "hackshaw1998", "egger2001", "bangertdrowns2004"])
def test_selection_of_metafor(name):
    for known in CASES[name]["selection"]:
        hits_bound = (
            max(known.get("delta", [100.0])) > 99.0
        )  # no study in the first interval: refused here
        if known["alternative"] != "greater" or known["method"] != "ML" or hits_bound:
            continue
        with warnings.catch_warnings():
            # few studies in an interval, which metafor says, too
            warnings.simplefilter("ignore", ModelWarning)
            found = fit(name).selection_model(known["steps"])
        assert found.llf >= known["llf"] - 1e-8 * abs(known["llf"])
        assert list(found.params.index) == ["const"]
        assert found.weights["weight"].iloc[0] == 1.0
        assert found.weights["studies"].sum() == len(CASES[name]["y"])


def test_selection_results_are_labelled(bcg):
    res = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
    found = res.selection_model((0.025, 0.5), alternative="less")
    assert list(found.params.index) == ["Intercept", "ablat"]
    assert_allclose(found.tvalues, found.params / found.bse, rtol=1e-12)
    half = 1.959963984540054 * found.bse
    assert_allclose(found.conf_int()[1], found.params + half, rtol=1e-9)
    assert list(found.weights.columns) == ["weight", "se", "ci_lower", "ci_upper", "studies"]
    statistic = 2.0 * (
        found.llf - MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit(tau2="ml").llf
    )
    assert_allclose(found.lr_test.statistic, statistic, rtol=1e-6)
    assert found.lr_test.df == 2


def test_few_studies_in_an_interval(bcg):
    res = MetaReg.from_formula("yi ~ 1", bcg, vi="vi").fit()
    with pytest.raises(DesignError, match=r"No study falls in the interval 0 < p <= 0\.025"):
        res.selection_model((0.025,), alternative="greater")
    with pytest.warns(FewStudiesWarning, match="interval"):
        res.selection_model((0.025, 0.1, 0.2), alternative="less")


def test_trim_and_fill_keeps_moderators_and_options(bcg):
    bcg.index = bcg["author"] + bcg["trial"].astype(str)
    res = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit(tau2="dl")
    found = res.trim_and_fill(side="left")
    assert list(found.results.params.index) == ["Intercept", "ablat"]
    assert (found.results.method, found.results.cov_type) == ("DL", "knapp-hartung")
    assert found.results.nobs == 13 + found.k0
    assert set(found.filled["mirrors"]) <= set(bcg.index)


def test_predictor_by_column(bcg):
    bcg["inverse"] = 1.0 / (bcg["tpos"] + bcg["tneg"] + bcg["cpos"] + bcg["cneg"])
    res = MetaReg.from_formula("yi ~ 1", bcg, vi="vi").fit(cov_type="nonrobust")
    known = MetaReg.from_formula("yi ~ inverse", bcg, vi="vi").fit(cov_type="nonrobust")
    for given in ("inverse", bcg["inverse"], bcg["inverse"].to_numpy()):
        found = res.egger_test(given)
        assert_allclose(found.statistic, known.tvalues["inverse"], rtol=1e-9)


def test_pet_peese_is_meta_regression(bcg):
    res = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
    found = res.pet_peese()
    pet = MetaReg.from_formula("yi ~ ablat + np.sqrt(vi)", bcg, vi="vi").fit()
    peese = MetaReg.from_formula("yi ~ ablat + vi", bcg, vi="vi").fit()
    assert_allclose(found.pet.estimate, pet.params["Intercept"], rtol=1e-9)
    assert_allclose(found.peese.estimate, peese.params["Intercept"], rtol=1e-9)


def test_excess_significance(pooled):
    found = pooled.excess_significance_test()
    assert found.observed == 8
    assert_allclose(found.expected, 7.8088303023430905, rtol=1e-6)


def test_refusals(pooled, bcg):
    with pytest.raises(OptionError, match=r"predictor='ablta'.*Did you mean 'ablat'"):
        pooled.egger_test("ablta")
    with pytest.raises(OptionError, match="model='mixd'"):
        pooled.egger_test(model="mixd")
    with pytest.raises(OptionError, match="method='fisher'"):
        pooled.fail_safe_n("fisher")
    with pytest.raises(OptionError, match="target= goes with method='orwin'"):
        pooled.fail_safe_n(target=0.1)
    for call in (pooled.egger_test, pooled.pet_peese, pooled.excess_significance_test):
        with pytest.raises(OptionError, match="alpha must be between 0 and 1"):
            call(alpha=1.5)
    with pytest.raises(DesignError, match="the model has none"):
        MetaReg.from_formula("yi ~ ablat - 1", bcg, vi="vi").fit().pet_peese()
    bcg.loc[3, "vi"] = 0.0
    with pytest.raises(VarianceError, match="vi of row 3 is 0"):
        MetaReg.from_formula("yi ~ 1", bcg, vi="vi").fit().egger_test()


def test_measure_travels_from_effect_size_to_results(bcg):
    table = bcg.drop(columns=["yi", "vi"])
    data = metareg_sm.effect_size("RR", table, ai="tpos", bi="tneg", ci="cpos", di="cneg")
    res = MetaReg.from_formula("yi ~ ablat", data, vi="vi").fit()
    assert res.measure.name == "RR"
    assert MetaReg.from_formula("ablat ~ 1", data, vi="vi").fit().measure is None


def test_figures_of_what_the_methods_return(bcg):
    pytest.importorskip("matplotlib").use("Agg")
    from metareg_sm import plots

    res = MetaReg.from_formula("yi ~ 1", bcg, vi="vi").fit()
    found = res.trim_and_fill()
    fig = res.plot_funnel(filled=found)
    assert fig.metareg_data["filled"].sum() == found.k0
    chosen = res.selection_model((0.5,), "less")
    shown = plots.selection(chosen).metareg_data
    assert_allclose(shown["weight"], chosen.weights["weight"], rtol=1e-12)
