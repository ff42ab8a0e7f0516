"""Results of dependent effects and of location-scale models: tables, tests, storage."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal
from scipy import optimize, stats
from statsmodels.iolib.summary2 import summary_col

import metareg_sm
from metareg_sm import compare_models
from metareg_sm.exceptions import (
    ComparisonError,
    DataRemovedError,
    DesignError,
    IdentificationWarning,
    IntervalWarning,
    OptionError,
)
from metareg_sm.postestimation.mixed_tests import chi_bar_weights, mixture_pvalue
from tests.reference.mixed_cases import stored

SCHOOLS = metareg_sm.datasets.konstantopoulos2011.load_pandas().data
TRIALS = metareg_sm.datasets.berkey1998.load_pandas().data
WRITING = metareg_sm.datasets.bangertdrowns2004.load_pandas().data
V_TRIALS = [g[["v1i", "v2i"]].to_numpy() for _, g in TRIALS.groupby("trial", sort=False)]


def schools(formula="yi ~ year", random="1 | district/school", **kwds):
    return smf.mixedmetareg(formula, SCHOOLS, vi="vi", random=random).fit(**kwds)


def trials(formula="yi ~ 0 + outcome", **kwds):
    model = smf.mixedmetareg(
        formula, TRIALS, V=V_TRIALS, random="0 + outcome | trial", structure=kwds.pop("s", "un")
    )
    return model.fit(**kwds)


# --- variances -------------------------------------------------------------------------------


def test_rows_are_effects_where_it_prints():
    assert repr(schools()).startswith("MixedMetaReg: 56 effects\n")


def test_vcomp_and_shares():
    res = schools("yi ~ 1")
    assert list(res.vcomp.index) == ["district", "district/school"]
    assert res.cov_re.empty
    assert_allclose(res.icc, res.vcomp / res.vcomp.sum())
    w = 1.0 / SCHOOLS["vi"]
    s2 = 55.0 / (w.sum() - (w**2).sum() / w.sum())
    assert_allclose(res.i2, res.vcomp / (res.vcomp.sum() + s2))
    assert_allclose(res.heterogeneity.i2, res.i2.sum())
    assert list(res.heterogeneity.levels["n_groups"]) == [11, 56]
    assert_allclose(res.tau2, res.vcomp.sum())


@pytest.mark.parametrize("structure", ["un", "cs", "hcs", "ar", "har"])
def test_a_level_of_variance_0_correlates_with_nothing(structure):
    # less scatter than sampling errors alone make
    calm = TRIALS.assign(
        yi=0.3 + 0.01 * np.cos(np.arange(10)), week=1.0 * (TRIALS["outcome"] == "PD")
    )
    inner = "week" if structure in ("ar", "har") else "outcome"
    model = smf.mixedmetareg(
        "yi ~ 1", calm, V=V_TRIALS, random=f"0 + {inner} | trial", structure=structure
    )
    res = model.fit()
    assert (res.components.values[:-1] == 0.0).all()
    assert np.isnan(res.components.values[-1])
    assert set(res.components.boundary) == set(res.components.names[:-1])
    assert (res.cov_re == 0.0).all(axis=None)
    with pytest.warns(IntervalWarning, match="undefined"):
        assert res.conf_int_variance().iloc[-1].isna().all()


def test_terms_of_one_grouping_have_names_of_their_own():
    rng = np.random.default_rng(3)
    table = pd.DataFrame(
        {"study": np.arange(240) // 6, "outcome": np.tile(["a", "b"], 120), "v": 0.05}
    ).assign(time=np.tile([0.0, 0.0, 1.0, 1.0, 2.0, 2.0], 40), y=0.5 * rng.normal(size=240))
    random = ["0 + outcome | study", "0 + time | study"]
    model = smf.mixedmetareg("y ~ 1", table, vi="v", random=random, structure=["diag", "ar"])
    res = model.fit(warn_convergence=False)
    assert list(res.cov_re) == list(res.random_effects) == random
    assert res.cov_re[random[0]].shape == (2, 2)
    assert res.components.names == (
        "0 + outcome | study: variance[a]",
        "0 + outcome | study: variance[b]",
        "0 + time | study: variance",
        "0 + time | study: rho",
    )
    assert list(res.heterogeneity.levels.index) == random
    without = smf.mixedmetareg("y ~ 1", table, vi="v", random=random[1], structure="ar")
    one = without.fit(warn_convergence=False)
    assert one.components.names == ("study: variance", "study: rho")
    assert_allclose(
        res.lr_test_component(random[0]).statistic, 2.0 * (res.llf - one.llf), atol=1e-8
    )


def test_r2_by_level():
    null, res = schools("yi ~ 1"), schools()
    h = res.heterogeneity
    assert_allclose(h.levels["variance_null"], null.vcomp, rtol=1e-8)
    assert_allclose(h.levels["r2"], np.maximum(1.0 - res.vcomp / null.vcomp, 0.0), atol=1e-8)


def test_typical_variance_with_v():
    res = trials()
    W = np.linalg.inv(res.model.V.to_dense())
    X = res.model.exog
    P = W - W @ X @ np.linalg.solve(X.T @ W @ X, X.T @ W)
    s2 = 8.0 / np.trace(P)
    tau2 = np.diag(res.cov_re).mean()
    assert_allclose(res.heterogeneity.i2, tau2 / (tau2 + s2))


@pytest.mark.parametrize("name", ["konstantopoulos2011"])
def test_random_effects_of_metafor(name):
    expected = stored("mixed")[name]["fits"]["ranef"]
    res = schools("yi ~ 1")
    for grouping, table in zip(res.random_effects, expected.values(), strict=True):
        frame = res.random_effects[grouping]
        labels = [
            "/".join(map(str, label)) if isinstance(label, tuple) else str(label)
            for label in frame.index
        ]
        at = [labels.index(label) for label in table["label"]]
        # they move with the variances, at which nlminb ends
        assert_allclose(frame["u"].iloc[at], table["u"], rtol=1e-5, atol=1e-6)
        assert_allclose(frame["u_se"].iloc[at], table["se"], rtol=1e-5)


def test_random_effects_of_levels():
    frame = trials().random_effects["trial"]
    assert frame.index.names == ["trial", "outcome"]
    assert frame.loc[(2, "AL"), "u"] < 0.0
    assert len(frame) == 10


def test_profile_intervals_enclose_and_end_at_the_level():
    res = schools()
    frame = res.conf_int_variance(0.1)
    drop = 0.5 * stats.chi2.ppf(0.9, 1)
    assert list(frame.index) == list(res.vcomp.index)
    for end in ("ci_lower", "ci_upper"):
        at = frame.loc["district", end]
        best = optimize.minimize_scalar(
            lambda b, at=at: -res.model.loglike([at, b]),
            bounds=res.vcomp.iloc[1] * np.array([0.6, 1.6]),
            method="bounded",
            options={"xatol": 1e-8},
        )
        assert_allclose(res.llf + best.fun, drop, rtol=1e-7)


def test_interval_at_zero_and_of_correlations():
    frame = trials().conf_int_variance()
    assert (frame["ci_lower"] <= frame["estimate"]).all()
    assert frame.loc["trial: rho[AL, PD]", "ci_upper"] == 1.0
    few = SCHOOLS.assign(yi=np.round(SCHOOLS["yi"] * 0.02, 3))
    res = smf.mixedmetareg("yi ~ 1", few, vi="vi", random="1 | district/school").fit()
    assert (res.vcomp == 0.0).any()
    assert "estimated as 0, on the boundary" in str(res.summary())
    assert (res.conf_int_variance()["ci_lower"] == 0.0).all()


def test_unbounded_interval_is_told():
    # the restricted likelihood of the variance of two groups falls like its inverse root
    data = SCHOOLS[SCHOOLS["district"].isin([11, 12])]
    res = smf.mixedmetareg("yi ~ 1", data, vi="vi", random="1 | district/school").fit()
    with pytest.warns(IntervalWarning, match="unbounded"):
        frame = res.conf_int_variance(1e-12)
    assert np.isinf(frame.loc["district", "ci_upper"])
    assert frame.attrs["kind"]["district"] == "unbounded"


# --- tests -----------------------------------------------------------------------------------


def test_lr_tests_on_the_boundary():
    res, one = schools(), schools(random="1 | district")
    test = res.lr_test_component("district/school")
    statistic = 2.0 * (res.llf - one.llf)
    assert_allclose(test.statistic, statistic, rtol=1e-8)
    assert_allclose(test.pvalue, 0.5 * stats.chi2.sf(statistic, 1))
    assert_allclose(res.compare_lr_test(one), (statistic, test.pvalue, 1.0), rtol=1e-8)
    whole = res.lr_test_tau2()
    assert "mixture" in whole.reference
    assert whole.df == 2.0
    several = trials().lr_test_tau2()
    assert "upper bound" in several.reference
    assert_allclose(several.pvalue, stats.chi2.sf(several.statistic, 3))
    with pytest.raises(OptionError, match="term='county'"):
        res.lr_test_component("county")


def test_chi_bar_weights_by_simulation():
    rng = np.random.default_rng(5)
    for r in (-0.6, 0.0, 0.5):
        V = np.array([[1.0, r], [r, 1.0]])
        weights = chi_bar_weights(V)
        assert_allclose(weights.sum(), 1.0)
        z = rng.multivariate_normal([0.0, 0.0], V, 40000)
        # both inside the cone; the polar cone has the rest of the ends. Monte Carlo: four
        # standard errors
        assert_allclose((z > 0.0).all(1).mean(), weights[2], atol=0.01)
        polar = (np.linalg.solve(V, z.T) < 0.0).all(0).mean()
        assert_allclose(polar, weights[0], atol=0.01)
    assert mixture_pvalue(0.0, np.array([0.5, 0.5])) == 1.0


def test_compare_lr_test_refuses():
    res = schools()
    with pytest.raises(ComparisonError, match="REML"):
        res.compare_lr_test(schools("yi ~ 1"))
    a, b = schools(reml=False), schools("yi ~ 1", reml=False)
    expected = 2.0 * (a.llf - b.llf)
    assert_allclose(a.compare_lr_test(b), (expected, stats.chi2.sf(expected, 1), 1.0))
    assert_allclose(res.compare_lr_test(schools("yi ~ 1"), refit=True), a.compare_lr_test(b))
    with pytest.raises(ComparisonError, match=r"1 \| district:school' of its"):
        schools(random="1 | district").compare_lr_test(schools(random="1 | district:school"))
    with pytest.raises(ComparisonError, match="different kinds"):
        res.compare_lr_test(smf.metareg("yi ~ year", SCHOOLS, vi="vi").fit())
    un, diag = trials(), trials(s="diag")
    assert un.compare_lr_test(diag).df == 1.0
    with pytest.raises(ComparisonError, match="no special case"):
        diag.compare_lr_test(un)


def test_compare_models():
    fits = [schools(f, reml=False) for f in ("yi ~ 1", "yi ~ year")]
    frame = compare_models(fits)
    assert list(frame.index) == ["yi ~ 1", "yi ~ year"]
    assert_allclose(frame["llf"], [f.llf for f in fits])
    assert_allclose(frame["lr_pvalue"].iloc[1], fits[1].compare_lr_test(fits[0]).pvalue)
    with pytest.raises(ComparisonError, match="Fit all with reml=False"):
        compare_models([schools(f) for f in ("yi ~ 1", "yi ~ year")])
    reml = compare_models([schools(random="1 | district"), schools()], names=["one", "two"])
    assert reml.loc["two", "lr_against"] == "one"


def test_contrasts_have_the_smallest_df():
    res = schools()
    assert_allclose(res.contrast_df(), [9.0, 54.0])
    test = res.t_test("Intercept + 1990 * year = 0")
    assert_allclose(test.df_denom, 9.0)
    assert_allclose(res.t_test("year = 0").pvalue, res.pvalues["year"])
    assert res.f_df == (1.0, 54.0)
    assert_allclose(res.f_pvalue, res.pvalues["year"])
    assert_allclose(schools(df="residual").contrast_df(), 54.0)
    normal = schools(use_t=False)
    assert_allclose(normal.pvalues, 2.0 * stats.norm.sf(np.abs(normal.tvalues)))


# --- predictions -----------------------------------------------------------------------------


def test_predictions_at_every_level():
    res = schools()
    new = {"year": [1990.0]}
    frame = res.get_prediction(new).summary_frame()
    upper = res.get_prediction(new, level="district").summary_frame()
    assert_allclose(frame["mean"], upper["mean"])
    critical = stats.t.ppf(0.975, 9)
    se = frame["mean_se"].iloc[0]
    for found, variance in ((frame, res.vcomp.sum()), (upper, res.vcomp["district"])):
        half = critical * np.sqrt(se**2 + variance)
        assert_allclose(found["obs_ci_upper"] - found["mean"], half)
    with pytest.raises(OptionError, match="level='county'"):
        res.get_prediction(new, level="county")


def test_predictions_of_levels():
    res = trials()
    frame = res.get_prediction({"outcome": ["PD", "AL"]})
    assert_allclose(frame.se_obs**2 - frame.se_mean**2, np.diag(res.cov_re)[[1, 0]])
    with pytest.raises(DesignError):
        res.get_prediction({"outcome": ["XX"]})
    assert_allclose(res.get_prediction().se_obs[:2] ** 2 > 0.0, True)


# --- influence and resampling ----------------------------------------------------------------


def test_leave_one_cluster_out():
    res = schools()
    found = res.leave_one_cluster_out()
    assert list(found.params.index) == list(SCHOOLS["district"].unique())
    without = SCHOOLS[SCHOOLS["district"] != 27]
    expected = smf.mixedmetareg("yi ~ year", without, vi="vi", random="1 | district/school").fit()
    assert_allclose(found.params.loc[27], expected.params, rtol=1e-7)
    assert_allclose(found.components.loc[27], expected.vcomp, rtol=1e-7)
    d = expected.params - res.params
    assert_allclose(found.cooks_distance[27], d @ np.linalg.solve(res.cov_params(), d), rtol=1e-6)
    assert found.summary_frame().shape == (11, 6)
    V = trials().leave_one_cluster_out()
    part = TRIALS["trial"] != 3
    blocks = [b for i, b in enumerate(V_TRIALS) if i != 2]
    expected = smf.mixedmetareg(
        "yi ~ 0 + outcome", TRIALS[part], V=blocks, random="0 + outcome | trial"
    ).fit(warn_convergence=False)
    assert_allclose(V.params.loc[3], expected.params, rtol=1e-6)


def test_simulate_has_the_marginal_covariance():
    res = trials()
    drawn = res.simulate(40000, rng=3)
    G = np.kron(np.eye(5), np.array(res.cov_re.loc[["PD", "AL"], ["PD", "AL"]]))
    expected = res.model.V.to_dense() + G
    assert list(TRIALS["outcome"][:2]) == ["PD", "AL"]
    size = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    # Monte Carlo
    assert_allclose(np.cov(drawn.T) / size, expected / size, atol=0.03)
    assert_allclose(drawn.mean(0), res.fittedvalues, atol=0.01)
    assert schools().simulate(3, rng=1).shape == (3, 56)


def test_bootstrap():
    res = schools("yi ~ 1")
    found = res.bootstrap(60, rng=1)
    assert found.distribution.shape == (60, 3)
    # Monte Carlo, of few resamples
    assert_allclose(found.standard_error["Intercept"], res.bse.iloc[0], rtol=0.4)
    assert list(found.conf_int().columns) == ["estimate", "ci_lower", "ci_upper"]
    assert_frame_equal(found.distribution, res.bootstrap(60, rng=1).distribution)


@pytest.mark.parametrize("which", ["nested", "un", "cs", "hcs", "three", "studies", "crossed"])
@pytest.mark.parametrize("reml", [True, False])
def test_resamples_are_fits_of_their_own(which, reml):
    random, formula = "1 | district/school", "yi ~ year"
    if which == "nested":
        res = schools(reml=reml)
    elif which in {"un", "cs", "hcs"}:
        res, random, formula = trials(s=which, reml=reml), "0 + outcome | trial", "yi ~ 0 + outcome"
    else:
        formula = "yi ~ 1"
        random = {
            "three": "1 | half/district/school",
            "studies": "1 | district",
            "crossed": ["1 | district", "1 | year"],
        }[which]
        table = SCHOOLS.assign(half=SCHOOLS["district"] // 100)
        res = smf.mixedmetareg(formula, table, vi="vi", random=random).fit(reml=reml)
    found = res.bootstrap(5, rng=4)
    for i, y in enumerate(res.simulate(5, rng=4)):
        if which in {"un", "cs", "hcs"}:
            model = smf.mixedmetareg(
                formula, TRIALS.assign(yi=y), V=V_TRIALS, random=random, structure=which
            )
        else:
            table = SCHOOLS.assign(yi=y, half=SCHOOLS["district"] // 100)
            model = smf.mixedmetareg(formula, table, vi="vi", random=random)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one = model.fit(reml=reml)
        expected = [*one.params, *one.components.values]
        assert_allclose(found.distribution.iloc[i], expected, rtol=1e-9, atol=1e-12)


def test_blocks_of_resamples_are_one_batch(monkeypatch):
    res = schools()
    whole = res.bootstrap(7, rng=2).distribution
    monkeypatch.setattr("metareg_sm.core.mixed.refits._ROOM", 1)
    assert_allclose(res.bootstrap(7, rng=2).distribution, whole, rtol=1e-9, atol=1e-12)


def test_permutation_by_cluster():
    found = schools().permutation_test(39, rng=2)
    assert not found.exact
    assert ((found.pvalues > 0.0) & (found.pvalues <= 1.0)).all()
    small = trials().permutation_test(40)
    assert small.exact
    assert small.n_resamples == 32
    # the data themselves and their mirror are among all signs
    assert (small.pvalues >= 2.0 / 32.0 - 1e-12).all()


# --- tables and storage ----------------------------------------------------------------------


def test_summaries():
    text = str(schools().summary())
    for part in ("Variance components", "district/school", "ICC", "Q_E (df=54)", "std err"):
        assert part in text
    text = str(trials().summary2())
    assert "trial: rho[AL, PD]" in text
    table = str(summary_col([schools("yi ~ 1"), schools()], info_dict=None))
    assert "year" in table
    frame = schools().components_frame
    assert list(frame.columns) == ["estimate", "se", "n_groups", "icc", "i2"]


def test_save_load_and_remove_data(tmp_path):
    for res in (schools(cov_type="cluster"), trials()):
        path = tmp_path / "fit.pickle"
        res.save(path)
        again = type(res).load(path)
        assert_allclose(again.params, res.params)
        assert_allclose(again.conf_int_variance(), res.conf_int_variance())
        text = str(res.summary2())
        res.remove_data()
        assert str(res.summary2()) == text
        assert len(pickle.dumps(res)) > 0
        with pytest.raises(DataRemovedError):
            res.conf_int_variance()


# --- location and scale ----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["newton", "nm", "bfgs", "powell", "ncg", "minimize"])
def test_scale_by_every_optimizer(method):
    model = smf.lsmetareg("yi ~ length", WRITING, vi="vi", scale_formula="~ grade")
    expected = model.fit()
    res = model.fit(method=method)
    assert_allclose(res.scale_params, expected.scale_params, rtol=1e-8)
    assert_allclose(res.params, expected.params, rtol=1e-8)


def test_equal_scale_is_metareg():
    a = smf.lsmetareg("yi ~ length", WRITING, vi="vi").fit()
    b = smf.metareg("yi ~ length", WRITING, vi="vi").fit(cov_type="nonrobust")
    assert_allclose(a.params, b.params, rtol=1e-9)
    assert_allclose(a.bse, b.bse, rtol=1e-9)
    assert_allclose(a.tau2, b.tau2, rtol=1e-8)
    assert_allclose(a.llf, b.llf, rtol=1e-10)
    assert_allclose(
        a.get_prediction({"length": [5]}).summary_frame(),
        b.get_prediction({"length": [5]}).summary_frame(),
        rtol=1e-8,
    )


def test_scale_tests_and_predictions():
    res = smf.lsmetareg("yi ~ 1", WRITING, vi="vi", scale_formula="~ C(grade)").fit()
    test = res.lr_test_scale()
    equal = smf.lsmetareg("yi ~ 1", WRITING, vi="vi").fit()
    assert_allclose(test.statistic, 2.0 * (res.llf - equal.llf), rtol=1e-6)
    assert test.df == res.scale_wald_test().df == len(res.scale_params) - 1
    new = res.get_prediction({"grade": [1, 4]})
    alpha = res.scale_params.to_numpy()
    assert_allclose(new.se_obs**2 - new.se_mean**2, np.exp([alpha[0], alpha[0] + alpha[-1]]))
    assert (res.tau2.groupby(WRITING["grade"]).std() < 1e-12).all()
    z = res.scale_tvalues
    assert_allclose(res.scale_pvalues, 2.0 * stats.norm.sf(np.abs(z)))
    assert_allclose(
        res.scale_conf_int()[1], res.scale_params + stats.norm.ppf(0.975) * res.scale_bse
    )
    with pytest.raises(OptionError, match="no moderator"):
        equal.scale_wald_test()


def test_scale_of_arrays_and_missing_rows():
    holes = WRITING.assign(grade=WRITING["grade"].where(WRITING.index != 3).astype(float))
    a = smf.lsmetareg("yi ~ 1", holes, vi="vi", scale_formula="~ grade").fit()
    assert a.nobs == 47
    assert a.n_dropped == 1
    part = holes.dropna(subset="grade")
    Z = np.column_stack([np.ones(47), part["grade"]])
    b = metareg_sm.LocationScaleMetaReg(part["yi"], np.ones(47), vi=part["vi"], scale_exog=Z).fit()
    assert_allclose(a.scale_params, b.scale_params, rtol=1e-8)
    with pytest.raises(DesignError, match="scale_exog="):
        b.get_prediction(np.ones((2, 1)))
    assert len(b.get_prediction(np.ones((2, 1)), scale_exog=Z[:2]).se_obs) == 2
    redundant = np.column_stack([Z, Z[:, 1]])
    with pytest.raises(DesignError, match="redundant"):
        metareg_sm.LocationScaleMetaReg(
            part["yi"], np.ones(47), vi=part["vi"], scale_exog=redundant
        )
    with pytest.raises(OptionError, match="left side"):
        smf.lsmetareg("yi ~ 1", holes, vi="vi", scale_formula="yi ~ grade")


def test_scale_heterogeneity_and_comparison():
    fits = [
        smf.lsmetareg("yi ~ 1", WRITING, vi="vi", scale_formula=f).fit(reml=False)
        for f in ("~ 1", "~ grade")
    ]
    mean = smf.metareg("yi ~ 1", WRITING, vi="vi").fit(tau2="ml")
    h, g = fits[0].heterogeneity, mean.heterogeneity
    assert_allclose([h.q, h.i2, h.h2], [g.q, g.i2, g.h2], rtol=1e-8)
    frame = compare_models(fits, names=["equal", "by grade"])
    assert_allclose(frame["lr_statistic"].iloc[1], 2.0 * (fits[1].llf - fits[0].llf))
    with pytest.raises(ComparisonError, match="different kinds"):
        fits[1].compare_lr_test(mean)
    with pytest.raises(ComparisonError, match="not nested"):
        fits[0].compare_lr_test(fits[1])
    slope = smf.lsmetareg("yi ~ grade", WRITING, vi="vi").fit()
    assert 0.0 <= slope.heterogeneity.r2 <= 1.0
    with pytest.raises(ComparisonError, match="REML"):
        slope.compare_lr_test(smf.lsmetareg("yi ~ 1", WRITING, vi="vi").fit())


def test_no_heterogeneity_is_told():
    data = WRITING.assign(yi=0.2 + 0.01 * np.arange(48) / 48)
    with pytest.warns(IdentificationWarning, match="grows towards"):
        smf.lsmetareg("yi ~ 1", data, vi="vi", scale_formula="~ grade").fit()


def test_scale_summaries_and_storage(tmp_path):
    res = smf.lsmetareg("yi ~ length", WRITING, vi="vi", scale_formula="~ grade").fit()
    assert "ln tau2" in str(res.summary())
    assert "grade" in str(res.summary2())
    res.save(tmp_path / "fit.pickle")
    again = type(res).load(tmp_path / "fit.pickle")
    assert_allclose(again.scale_params, res.scale_params)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(res.scale_frame(), pd.DataFrame)
    text = str(res.summary2())
    res.remove_data()
    assert str(res.summary2()) == text
