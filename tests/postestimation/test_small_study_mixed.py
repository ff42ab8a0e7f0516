"""Egger's regression, PET and PEESE of dependent effects and under moderators of heterogeneity."""

import pickle

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import metareg_sm
from metareg_sm import LocationScaleMetaReg, MetaReg, MixedMetaReg
from metareg_sm.exceptions import (
    ConvergenceWarning,
    DataRemovedError,
    DesignError,
    OptionError,
)

DATA = metareg_sm.datasets.assink2016.load_pandas().data
SCHOOLS = metareg_sm.datasets.konstantopoulos2011.load_pandas().data
TRIALS = metareg_sm.datasets.berkey1998.load_pandas().data
V_TRIALS = [g[["v1i", "v2i"]].to_numpy() for _, g in TRIALS.groupby("trial", sort=False)]


def levels(formula="yi ~ 1", data=DATA, **kwds):
    V = kwds.pop("V", None)
    known = {"vi": "vi"} if V is None else {"V": V}
    return smf.mixedmetareg(formula, data, random="1 | study/esid", **known).fit(**kwds)


def same(found, known, rtol=1e-9):
    """Two tests of one regression."""
    assert_allclose(found.slope, known.slope, rtol=rtol, atol=rtol * known.slope_se)
    for name in ("slope_se", "pvalue", "limit_se"):
        assert_allclose(getattr(found, name), getattr(known, name), rtol=10 * rtol)
    assert_allclose(found.statistic, known.statistic, rtol=rtol, atol=rtol)
    for name in ("limit", "limit_ci"):
        assert_allclose(
            getattr(found, name),
            getattr(known, name),
            rtol=10 * rtol,
            atol=10 * rtol * known.limit_se,
        )


# a few random studies: some of these likelihoods have several maxima, and the fits say so
@pytest.mark.filterwarnings(
    "ignore:The likelihood of the variances has several maxima:"
    "metareg_sm.exceptions.ConvergenceWarning"
)
@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10_000),
    st.integers(6, 25),
    st.booleans(),
    st.integers(1, 2),
    st.sampled_from([-4.0, 0.0, 3.0]),
    st.sampled_from(["sei", "vi"]),
)
def test_one_effect_a_study_is_metareg(seed, k, reml, p, size, predictor):
    rng = np.random.default_rng(seed)
    v = np.exp(rng.normal(size, 1.5, k))
    X = np.column_stack([np.ones(k), rng.normal(size=(k, p - 1))])
    y = rng.normal(0.0, np.sqrt(v + rng.choice([0.0, 1.0]) * v.mean()))
    data = pd.DataFrame({"study": rng.permutation(k)})
    fit = MixedMetaReg(y, X, vi=v, random="1 | study", data=data).fit(reml=reml)
    one = MetaReg(y, X, vi=v).fit(tau2="reml" if reml else "ml", cov_type="nonrobust", use_t=True)
    same(fit.egger_test(predictor), one.egger_test(predictor))
    found, known = fit.pet_peese(), one.pet_peese()
    for a, b in ((found.pet, known.pet), (found.peese, known.peese)):
        assert_allclose(a.estimate, b.estimate, rtol=1e-8, atol=1e-8 * b.se)
        assert_allclose([a.se, a.pvalue], [b.se, b.pvalue], rtol=1e-8)
    assert_allclose(found.pet_pvalue, known.pet_pvalue, rtol=1e-8)
    assert (found.chosen, found.direction) == (known.chosen, known.direction)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from([1e-6, 1e-3, 1e4]), st.booleans())
def test_order_sign_and_units(seed, unit, robust):
    rng = np.random.default_rng(seed)
    study = np.repeat(np.arange(8), rng.integers(1, 5, 8))
    k = len(study)
    data = pd.DataFrame({"study": study, "esid": np.arange(k), "vi": np.exp(rng.normal(0, 1, k))})
    data["yi"] = rng.normal(size=8)[study] + rng.normal(0.0, np.sqrt(data["vi"] + 0.5))
    kwds = {"cov_type": "cluster"} if robust else {}
    base = levels(data=data, **kwds).egger_test()
    assert np.isfinite(base.pvalue)
    moved = levels(data=data.sample(frac=1, random_state=seed), **kwds).egger_test()
    scaled = data.assign(yi=-unit * data["yi"], vi=unit**2 * data["vi"])
    turned = levels(data=scaled, **kwds).egger_test()
    # variances are found where the likelihood is flat, and the digits of tests are theirs
    assert_allclose(moved.statistic, base.statistic, rtol=1e-6, atol=1e-6)
    assert_allclose(turned.statistic, -base.statistic, rtol=1e-6, atol=1e-6)
    assert_allclose(turned.limit, -unit * base.limit, rtol=1e-6, atol=1e-6 * unit * base.limit_se)
    assert_allclose([moved.pvalue, turned.pvalue], base.pvalue, rtol=1e-5)


def test_is_the_model_with_the_column():
    V = metareg_sm.sampling_covariance(DATA["vi"], DATA["study"], rho=0.6)
    columns = DATA.assign(sei=np.sqrt(DATA["vi"]))
    kwds = {"cov_type": "cluster", "reml": False, "cov_kwds": {"correction": "CR3"}}
    for formula in ("yi ~ 1", "yi ~ year + pubstatus"):
        found = levels(formula, V=V, **kwds).egger_test()
        known = levels(f"{formula} + sei", columns, V=V, **kwds)
        assert_allclose(found.slope, known.params["sei"], rtol=1e-9)
        assert_allclose(found.df, known.contrast_df()[-1], rtol=1e-9)
        assert_allclose(found.pvalue, known.pvalues["sei"], rtol=1e-9)
        assert_allclose(found.fit.vcomp, known.vcomp, rtol=1e-9)
        assert found.fit.method == "ML"
        assert found.fit.cov_label == "cluster (CR3)"
        assert "cluster (CR3)" in str(found.fit.summary())


def test_options_of_the_fit_are_kept():
    kwds = {"groups": (DATA["study"] + 1) // 2, "correction": "CR2"}
    coarse = levels(cov_type="cluster", cov_kwds=kwds).egger_test()
    assert not np.isclose(coarse.df, levels(cov_type="cluster").egger_test().df)
    known = levels("yi ~ np.sqrt(vi)", cov_type="cluster", cov_kwds=kwds)
    assert_allclose(coarse.df, known.contrast_df()[-1], rtol=1e-9)
    assert levels(use_t=False).egger_test().df is None
    assert levels(df="residual").egger_test().df == 98
    # the predictor varies within studies and is tested on effects, the constant on studies
    contained = levels().egger_test()
    assert_allclose(contained.fit.contrast_df(), levels("yi ~ np.sqrt(vi)").contrast_df())
    assert contained.df == contained.fit.contrast_df()[-1]


# Egger's regression on the year is the fit that is asserted to have several maxima
@pytest.mark.filterwarnings(
    "ignore:The likelihood of the variances has several maxima:"
    "metareg_sm.exceptions.ConvergenceWarning"
)
def test_structured_terms_and_predictors_by_name_and_values():
    model = smf.mixedmetareg(
        "yi ~ 0 + outcome", TRIALS, V=V_TRIALS, random="0 + outcome | trial", structure="hcs"
    )
    res = model.fit()
    with pytest.warns(ConvergenceWarning, match="several maxima"):
        known = smf.mixedmetareg(
            "yi ~ 0 + outcome + year",
            TRIALS,
            V=V_TRIALS,
            random="0 + outcome | trial",
            structure="hcs",
        ).fit()
    for by in ("year", TRIALS["year"], TRIALS["year"].to_list()):
        found = res.egger_test(by)
        assert_allclose(found.statistic, known.tvalues["year"], rtol=1e-7)
        assert np.isnan(found.limit)
    shuffled = TRIALS["year"].sample(frac=1, random_state=1)
    assert_allclose(res.egger_test(shuffled).statistic, known.tvalues["year"], rtol=1e-7)
    assert list(res.egger_test("year").fit.cov_re.columns) == ["AL", "PD"]
    with pytest.raises(DesignError, match="the model has none"):
        res.pet_peese()


def test_groups_given_as_labels_and_dropped_rows():
    missing = DATA.assign(yi=DATA["yi"].where(DATA.index > 4))
    kwds = {"cov_type": "cluster", "cov_kwds": {"groups": missing["study"].to_numpy()}}
    found = levels(data=missing, **kwds).egger_test()
    known = levels("yi ~ np.sqrt(vi)", missing, **kwds)
    assert_allclose(found.pvalue, known.pvalues.iloc[-1], rtol=1e-9)
    fit, root = levels(data=missing, **kwds), np.sqrt(DATA["vi"])
    # of the studies in the model or of all rows of the data
    for values in (root, root.to_numpy(), root.to_list(), root.to_numpy()[5:]):
        assert_allclose(fit.egger_test(values).pvalue, known.pvalues.iloc[-1], rtol=1e-9)
    arrays = MixedMetaReg(
        SCHOOLS["yi"], np.ones(56), vi=SCHOOLS["vi"], groups=SCHOOLS["district"].to_numpy()
    ).fit()
    named = smf.mixedmetareg("yi ~ np.sqrt(vi)", SCHOOLS, vi="vi", groups="district").fit()
    assert_allclose(arrays.egger_test().pvalue, named.pvalues.iloc[-1], rtol=1e-9)


def test_limit_is_pet_and_pet_peese_chooses():
    res = levels(cov_type="cluster")
    found, egger = res.pet_peese(), res.egger_test()
    assert_allclose(found.pet.estimate, egger.limit, rtol=1e-12)
    assert_allclose(found.pet.ci, egger.limit_ci, rtol=1e-12)
    # degrees of freedom of the constant, not those of the predictor
    assert_allclose(found.pet.df, found.pet.fit.contrast_df()[0], rtol=1e-12)
    assert found.pet.df != egger.df
    assert_allclose(found.pet_pvalue, 0.5 * found.pet.pvalue, rtol=1e-9)
    assert (found.chosen, found.estimate) == ("pet", found.pet.estimate)
    assert res.pet_peese(alpha=0.6).estimate == found.peese.estimate


def test_cluster_robust_metareg():
    kwds = {"cov_type": "cluster", "cov_kwds": {"groups": "study", "correction": "CR2"}}
    found = smf.metareg("yi ~ 1", DATA, vi="vi").fit(**kwds)
    known = smf.metareg("yi ~ np.sqrt(vi)", DATA, vi="vi").fit(**kwds)
    assert_allclose(found.egger_test().pvalue, known.pvalues.iloc[-1], rtol=1e-9)
    assert_allclose(found.egger_test().df, known.contrast_df()[-1], rtol=1e-9)


def test_weights_of_an_estimator_go_along():
    w = np.linspace(1.0, 2.0, len(DATA))
    found = smf.metareg("yi ~ 1", DATA, vi="vi").fit(tau2="genq", weights=w).egger_test()
    known = smf.metareg("yi ~ np.sqrt(vi)", DATA, vi="vi").fit(tau2="genq", weights=w)
    assert_allclose([found.fit.tau2, found.slope], [known.tau2, known.params.iloc[-1]], rtol=1e-9)


def test_location_scale():
    model = LocationScaleMetaReg.from_formula(
        "yi ~ 1", DATA, vi="vi", scale_formula="~ pubstatus + year"
    )
    found = model.fit(cov_type="HC3").egger_test("vi")
    known = LocationScaleMetaReg.from_formula(
        "yi ~ vi", DATA, vi="vi", scale_formula="~ pubstatus + year"
    ).fit(cov_type="HC3")
    assert_allclose(found.statistic, known.tvalues["vi"], rtol=1e-7)
    assert list(found.fit.scale_params.index) == list(known.scale_params.index)
    assert_allclose(found.fit.scale_params, known.scale_params, rtol=1e-7)


def test_refusals():
    res = levels()
    with pytest.raises(OptionError, match=r"knows of no dependence.*Use model='mixed'"):
        res.egger_test(model="multiplicative")
    with pytest.raises(OptionError, match=r"predictor='yeer'.*Did you mean 'year'"):
        res.egger_test("yeer")
    with pytest.raises(DesignError, match="predictor constant depends linearly"):
        smf.mixedmetareg(
            "yi ~ 1", DATA.assign(constant=2.0), vi="vi", random="1 | study"
        ).fit().egger_test("constant")
    scaled = LocationScaleMetaReg.from_formula("yi ~ 1", DATA, vi="vi").fit()
    names = ("trim_and_fill", "rank_correlation_test", "fail_safe_n", "selection_model")
    for fit in (res, scaled):
        for name in (*names, "excess_significance_test"):
            assert name not in dir(fit)
            with pytest.raises(AttributeError, match=rf"has no '{name}': .*egger_test\(\)"):
                getattr(fit, name)


def test_after_storage_and_removal():
    res = levels(cov_type="cluster")
    again = pickle.loads(pickle.dumps(res))
    assert_allclose(again.egger_test().pvalue, res.egger_test().pvalue, rtol=1e-9)
    res.remove_data()
    assert "groups" not in res.cov_kwds
    with pytest.raises(DataRemovedError):
        res.egger_test()


def test_a_moderator_of_the_same_name():
    data = DATA.assign(sei=DATA["year"])
    found = levels("yi ~ sei", data).egger_test()
    known = levels("yi ~ year + np.sqrt(vi)")
    assert list(found.fit.params.index) == ["Intercept", "sei", "sei'"]
    assert_allclose(found.pvalue, known.pvalues.iloc[-1], rtol=1e-7)
