"""MixedMetaReg: data, random terms, optimizers, and MetaReg as its special case."""

import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import metareg_sm
from metareg_sm import MetaReg, MixedMetaReg, sampling_covariance
from metareg_sm.exceptions import (
    ConvergenceWarning,
    DesignError,
    IdentificationWarning,
    MetaRegError,
    MissingStudiesError,
    OptionError,
    VarianceError,
)

SCHOOLS = metareg_sm.datasets.konstantopoulos2011.load_pandas().data
TRIALS = metareg_sm.datasets.berkey1998.load_pandas().data
V_TRIALS = [g[["v1i", "v2i"]].to_numpy() for _, g in TRIALS.groupby("trial", sort=False)]
NESTED = {"vi": "vi", "random": "1 | district/school"}


def schools(formula="yi ~ year", data=SCHOOLS, **kwds):
    return smf.mixedmetareg(formula, data, **{**NESTED, **kwds})


def same(a, b, rtol=1e-9):
    assert_allclose(a.params, b.params, rtol=rtol)
    assert_allclose(a.bse, b.bse, rtol=rtol)
    assert_allclose(a.components.values, b.components.values, rtol=rtol, atol=1e-12)
    assert_allclose(a.llf, b.llf, rtol=rtol)


# --- MetaReg is a special case ---------------------------------------------------------------


@given(seed=st.integers(0, 10**6), k=st.integers(6, 30), reml=st.booleans(), p=st.integers(1, 3))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_one_effect_a_study_is_metareg(seed, k, reml, p):
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(k), rng.normal(size=(k, p - 1))])
    v = 10.0 ** rng.uniform(-3, 0, k)
    tau = rng.choice([0.0, 0.3, 1.0])
    y = 5.0 * rng.normal() + rng.normal(size=k) * np.sqrt(v + tau**2)
    frame = pd.DataFrame(X[:, 1:], columns=[f"x{j}" for j in range(1, p)]).assign(
        y=y, v=v, study=[f"s{i}" for i in range(k)], g=rng.permutation(k) % max(p + 2, k // 3)
    )
    formula = "y ~ " + " + ".join(["1", *(f"x{j}" for j in range(1, p))])
    single = smf.metareg(formula, frame, vi="v")
    mixed = smf.mixedmetareg(formula, frame, vi="v", random="1 | study")
    a = single.fit(tau2="reml" if reml else "ml", cov_type="nonrobust", use_t=True)
    b = mixed.fit(reml=reml)
    equal = {"rtol": 1e-9, "atol": 1e-9}
    for name in ("params", "bse", "tvalues", "pvalues", "fittedvalues", "resid"):
        assert_allclose(getattr(b, name), getattr(a, name), **equal)
    for name in ("llf", "aic", "aicc", "bic", "df_modelwc", "df_resid", "df_model", "nobs"):
        assert_allclose(getattr(b, name), getattr(a, name), **equal)
    assert_allclose([b.tau2, b.tau2_se], [a.tau2, a.tau2_se], **equal)
    assert_allclose(b.conf_int(), a.conf_int(), **equal)
    assert_allclose([b.fvalue, b.f_pvalue], [a.fvalue, a.f_pvalue], **equal)
    assert_allclose(b.condition_number, a.condition_number, rtol=1e-9)
    h, g = b.heterogeneity, a.heterogeneity
    for name in ("q", "q_df", "q_pvalue", "i2", "h2", "r2", "tau2_null"):
        assert_allclose(getattr(h, name), getattr(g, name), **equal)
    for rows in (None, frame.iloc[:3]):
        found, expected = (res.get_prediction(rows).summary_frame() for res in (b, a))
        assert_allclose(found, expected, **equal)
    assert_allclose(b.summary_frame(), a.summary_frame(), **equal)
    found, expected = b.lr_test_tau2(), a.lr_test_tau2()
    assert_allclose([found.statistic, found.pvalue], [expected.statistic, expected.pvalue], **equal)
    for column in ("u", "u_se"):
        assert_allclose(b.random_effects["study"][column], a.random_effects[column], **equal)
    assert_allclose(
        b.conf_int_variance().loc["study", ["ci_lower", "ci_upper"]],
        a.conf_int_tau2(method="profile-likelihood").loc["tau2", ["ci_lower", "ci_upper"]],
        **equal,
    )
    if p > 1:
        numbers = ["vif", "gvif", "gvif_adjusted"]
        assert_allclose(b.vif()[numbers], a.vif()[numbers], **equal)
        none = (
            smf.metareg("y ~ 1", frame, vi="v"),
            smf.mixedmetareg("y ~ 1", frame, vi="v", random="1 | study"),
        )
        expected = a.compare_lr_test(none[0].fit("ml", cov_type="nonrobust"), refit=True)
        assert_allclose(b.compare_lr_test(none[1].fit(reml=False), refit=True), expected, **equal)
    for correction in ("CR0", "CR1", "CR1S", "CR2"):
        kwds = {"groups": "g", "correction": correction}
        a = single.fit("reml" if reml else "ml", cov_type="cluster", cov_kwds=kwds)
        b = mixed.fit(reml=reml, cov_type="cluster", cov_kwds=kwds)
        for name in ("bse", "pvalues"):
            assert_allclose(getattr(b, name), getattr(a, name), **equal)
        assert_allclose(b.conf_int(), a.conf_int(), **equal)
        if correction == "CR2":
            assert_allclose(b.contrast_df(), a.contrast_df(), **equal)


# --- optimizers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method", ["newton", "nm", "bfgs", "lbfgs", "powell", "cg", "ncg", "basinhopping", "minimize"]
)
@pytest.mark.parametrize("reml", [True, False])
def test_every_optimizer_ends_at_the_same_maximum(method, reml):
    expected = schools().fit(reml=reml)
    res = schools().fit(reml=reml, method=method)
    same(res, expected)
    assert res.mle_retvals["converged"]
    assert res.mle_settings["optimizer"] == method
    model = smf.mixedmetareg("yi ~ outcome", TRIALS, V=V_TRIALS, random="0 + outcome | trial")
    same(model.fit(reml=reml, method=method), model.fit(reml=reml), rtol=1e-6)


def test_an_optimizer_that_stops_early_is_told():
    with pytest.warns(ConvergenceWarning, match="'nm' stopped before"):
        res = schools().fit(method="nm", maxiter=1, start_params=[1.0, 0.001])
    assert res.mle_retvals["converged"] is False
    assert "did not converge" in str(res.summary())


def test_start_by_working_parameters():
    options = {"V": V_TRIALS, "random": "0 + outcome | trial"}
    model = MixedMetaReg.from_formula("yi ~ 0 + outcome", TRIALS, **options)
    one = model.fit()
    root = np.linalg.cholesky(one.cov_re.to_numpy())
    # as `loglike` has them: three of them where two variances have a correlation
    start = root[np.tril_indices(2)]
    assert model.loglike(start) == pytest.approx(one.llf, rel=1e-10)
    same(model.fit(start_params=start), one)


def test_start_params():
    same(schools().fit(start_params=[1.0, 0.001]), schools().fit())
    with pytest.raises(OptionError, match="2 values"):
        schools().fit(start_params=[1.0, 1.0, 1.0])


def test_score_and_hessian_are_derivatives():
    model = schools()
    at = np.array([0.05, 0.04])
    for reml in (True, False):
        step = 1e-6
        slopes = [
            (model.loglike(at + step * e, reml) - model.loglike(at - step * e, reml)) / (2 * step)
            for e in np.eye(2)
        ]
        assert_allclose(model.score(at, reml), slopes, rtol=1e-6)
        bends = [
            (model.score(at + step * e, reml) - model.score(at - step * e, reml)) / (2 * step)
            for e in np.eye(2)
        ]
        # differences of slopes have half of the digits
        assert_allclose(model.hessian(at, reml), bends, rtol=1e-5)


def test_a_fit_leaves_the_model_alone():
    model = schools()
    first = model.fit()
    params, components = first.params.copy(), first.components.values.copy()
    model.fit(reml=False, cov_type="cluster")
    assert_allclose(first.params, params, rtol=0)
    assert_allclose(first.components.values, components, rtol=0)


def test_several_maxima_are_told():
    from tests.reference.mixed_cases import model

    with pytest.warns(ConvergenceWarning, match="several maxima"):
        res = model("fine1993_hcs").fit()
    assert max(res.mle_retvals["other_maxima"]) < res.llf


# --- the random part as it is written --------------------------------------------------------


def test_variances_of_zero_are_left_where_another_correlation_leads_higher():
    # with both variances 0 the score is 0 whatever the correlation; two levels have "hcs" = "un"
    y = [0.3301, -0.323, 0.3343, -0.3414, 0.2796, -0.3928, 0.1813, -0.3975, 0.4014, -0.3805]
    fits = [
        smf.mixedmetareg(
            "yi ~ 0 + outcome",
            TRIALS.assign(yi=y),
            V=V_TRIALS,
            random="0 + outcome | trial",
            structure=structure,
        ).fit(reml=False, warn_convergence=False)
        for structure in ("hcs", "un")
    ]
    assert_allclose(fits[0].llf, fits[1].llf, rtol=1e-9)
    assert_allclose(fits[0].components.values, fits[1].components.values, rtol=1e-6)


def test_ways_to_write_the_same():
    expected = schools().fit()
    labels = SCHOOLS.assign(
        unique=[f"{d}/{s}" for d, s in zip(SCHOOLS.district, SCHOOLS.school, strict=True)]
    )
    for random in (
        "~ 1 | district/school",
        ["1 | district", "1 | district:school"],
        ["1 | district", "1 | unique"],
        "(1 | district/unique)",
    ):
        same(schools(data=labels, random=random).fit(), expected)
    res = schools(random=["1 | district:school", "1 | district"]).fit()
    assert list(res.vcomp.index) == ["district:school", "district"]
    assert_allclose(res.vcomp[::-1], expected.vcomp, rtol=1e-8)


def test_groups_and_re_formula_as_mixedlm():
    a = smf.mixedmetareg("yi ~ year", SCHOOLS, vi="vi", groups="district").fit()
    b = smf.mixedmetareg("yi ~ year", SCHOOLS, vi="vi", random="1 | district").fit()
    same(a, b)
    kwds = {"V": V_TRIALS, "structure": "diag"}
    a = smf.mixedmetareg(
        "yi ~ outcome", TRIALS, groups="trial", re_formula="0 + outcome", **kwds
    ).fit()
    b = smf.mixedmetareg("yi ~ outcome", TRIALS, random="0 + outcome | trial", **kwds).fit()
    same(a, b)


def test_arrays():
    y, v = SCHOOLS["yi"].to_numpy(), SCHOOLS["vi"].to_numpy()
    X = np.column_stack([np.ones(len(y)), SCHOOLS["year"]])
    res = MixedMetaReg(y, X, vi=v, random="1 | district/school", data=SCHOOLS).fit()
    same(res, schools().fit())
    one = MixedMetaReg(y, X, vi=v, groups=SCHOOLS["district"].to_numpy()).fit()
    same(one, schools(random="1 | district").fit())


def test_engines_subset_and_missing_rows(engine):
    holes = SCHOOLS.copy()
    holes.loc[[3, 17], "yi"] = np.nan
    holes.loc[8, "vi"] = np.nan
    whole = holes.dropna(subset=["yi", "vi"])
    res = schools(data=holes).fit()
    same(res, schools(data=whole).fit())
    assert res.n_dropped == 3
    chosen = holes["year"] < 1995
    same(schools(data=holes, subset=chosen).fit(), schools(data=whole[chosen[whole.index]]).fit())
    assert holes["yi"].isna().sum() == 2
    with pytest.raises(MissingStudiesError):
        schools(data=holes, missing="raise")


def test_v_in_every_form():
    blocks = smf.mixedmetareg("yi ~ outcome", TRIALS, V=V_TRIALS, random="0 + outcome | trial")
    V = np.zeros((10, 10))
    for i, block in enumerate(V_TRIALS):
        V[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = block
    kwds = {"random": "0 + outcome | trial"}
    expected = blocks.fit()
    same(smf.mixedmetareg("yi ~ outcome", TRIALS, V=V, **kwds).fit(), expected)
    order = np.random.default_rng(0).permutation(10)
    mixed = TRIALS.iloc[order]
    res = smf.mixedmetareg("yi ~ outcome", mixed, V=V[np.ix_(order, order)], **kwds).fit()
    same(res, expected)
    # of the subset alone, and with missing rows
    chosen = TRIALS["trial"] > 1
    part = smf.mixedmetareg("yi ~ outcome", TRIALS[chosen], V=V_TRIALS[1:], **kwds).fit()
    for one in (V, V_TRIALS[1:], V[2:, 2:]):
        res = smf.mixedmetareg("yi ~ outcome", TRIALS, V=one, subset=chosen, **kwds).fit()
        same(res, part)
    holes = TRIALS.assign(yi=TRIALS["yi"].where(TRIALS.index != 5))
    res = smf.mixedmetareg("yi ~ outcome", holes, V=V, **kwds).fit()
    keep = np.arange(10) != 5
    fewer = smf.mixedmetareg("yi ~ outcome", TRIALS[keep], V=V[np.ix_(keep, keep)], **kwds).fit()
    same(res, fewer)


def test_diagonal_v_is_vi():
    res = smf.mixedmetareg("yi ~ year", SCHOOLS, V=np.diag(SCHOOLS["vi"]), random=NESTED["random"])
    assert res.V is None
    same(res.fit(), schools().fit())


@given(seed=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_order_shift_and_scale(seed):
    rng = np.random.default_rng(seed)
    frame = SCHOOLS.sample(frac=1.0, random_state=rng).reset_index(drop=True)
    a = schools().fit()
    b = schools(data=frame).fit()
    same(a, b, rtol=1e-8)
    c = 10.0 ** rng.uniform(-4, 4)
    scaled = frame.assign(yi=c * frame["yi"] + 3.0 * c, vi=c**2 * frame["vi"])
    res = schools(data=scaled).fit()
    assert_allclose(res.vcomp, c**2 * a.vcomp, rtol=1e-7)
    assert_allclose(res.params["year"], c * a.params["year"], rtol=1e-6)
    assert_allclose(res.pvalues["year"], a.pvalues["year"], rtol=1e-6)


@pytest.mark.parametrize("structure", ["un", "cs", "hcs", "diag", "id", "ar", "har"])
def test_structures_are_ordered(structure):
    data = TRIALS.assign(t=(TRIALS["outcome"] == "PD").astype(float))
    kwds = {"V": V_TRIALS, "random": "0 + t | trial"}
    un = smf.mixedmetareg("yi ~ outcome", data, **kwds).fit()
    res = smf.mixedmetareg("yi ~ outcome", data, structure=structure, **kwds).fit()
    assert res.llf <= un.llf + 1e-9
    assert res.cov_re.shape == (2, 2)
    assert list(res.cov_re.columns) == [0.0, 1.0]
    assert np.linalg.eigvalsh(res.cov_re).min() >= -1e-12


# --- what is refused -------------------------------------------------------------------------


def wrong(match, error=MetaRegError, data=SCHOOLS, **kwds):
    with pytest.raises(error, match=match):
        schools(data=data, **kwds)


def test_bad_random():
    wrong("Give random=", OptionError, random=None)
    wrong("no grouping", OptionError, random="district")
    wrong("random slopes", OptionError, random="1 + year | district")
    wrong("have no such column. Did you mean 'school'", DesignError, random="1 | shool")
    wrong("twice", OptionError, random=["1 | district", "1 | district"])
    wrong("structure='uns' is not known", OptionError, random="0 + year | school", structure="uns")
    wrong("has 2 entries for 1", random="0 + year | district", structure=["un", "cs"])


def test_missing_label_is_named():
    holes = SCHOOLS.astype({"district": object})
    holes.loc[7, "district"] = None
    wrong("column 'district' is missing for row 7", DesignError, data=holes)


def test_a_level_in_two_parents_is_named():
    data = SCHOOLS.assign(school=[f"s{i}" for i in range(len(SCHOOLS))])
    data.loc[20, "school"] = "s3"
    wrong("school 's3' lies in two groups of district, '11' and '58'", DesignError, data=data)
    # numbers that begin anew in each group are no slip
    schools().fit()
    # and what is meant can be written
    schools(data=data, random=["1 | district", "1 | district:school"]).fit()


def test_bad_v():
    kwds = {"random": "0 + outcome | trial"}

    def refused(match, V, error=VarianceError, **more):
        with pytest.raises(error, match=match):
            smf.mixedmetareg("yi ~ outcome", TRIALS, V=V, **{**kwds, **more})

    V = np.zeros((10, 10))
    for i, block in enumerate(V_TRIALS):
        V[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = block
    bad = V.copy()
    bad[2, 3] = bad[3, 2] = 1.0
    refused("not positive definite: the correlation matrix of row 2, row 3", bad)
    bad = V.copy()
    bad[2, 3] = 0.0
    refused(r"symmetric; entry \(2, 3\)", bad)
    refused("V is of 9 effects, and data has 10 rows", V[:9, :9])
    refused("square", V[:9])
    refused("square", np.diag(V))
    refused("exactly one of vi=, sei= and V=", V, vi="vi")
    bad = V.copy()
    bad[1, 2] = bad[2, 1] = 1e-4
    refused("V correlates row 0 with row 2, which share no group", bad, DesignError)
    bad = V.copy()
    bad[1, 1] = 0.0
    bad[0, 1] = bad[1, 0] = 0.0
    refused("row 1 is 0", bad)


def test_zero_variance():
    data = SCHOOLS.assign(vi=SCHOOLS["vi"].where(SCHOOLS.index != 4, 0.0))
    wrong("vi of row 4 is 0", VarianceError, data=data)


def test_times_must_be_numbers():
    for structure in ("ar", "har"):
        with pytest.raises(DesignError, match=r"times of structure='ar'|structure='har'.*'PD'"):
            smf.mixedmetareg(
                "yi ~ outcome",
                TRIALS,
                V=V_TRIALS,
                random="0 + outcome | trial",
                structure=structure,
            )
    endless = TRIALS.assign(week=np.where(np.arange(10) == 9, np.inf, np.arange(10) % 2))
    with pytest.raises(DesignError, match="'week' is infinite for row 9"):
        smf.mixedmetareg("yi ~ 1", endless, V=V_TRIALS, random="0 + week | trial", structure="ar")


def test_flat_likelihoods():
    data = SCHOOLS.assign(effect=np.arange(len(SCHOOLS)), unique=np.arange(len(SCHOOLS)) % 56)
    with pytest.raises(DesignError, match="shared between district/school and district/school/eff"):
        schools(data=data, random="1 | district/school/effect").fit()
    with pytest.raises(DesignError, match=r"variance of district .*tell its groups apart"):
        schools("yi ~ C(district)", random=["1 | district", "1 | district:school"]).fit()
    one_each = TRIALS.assign(trial=np.arange(10))
    model = smf.mixedmetareg("yi ~ outcome", one_each, vi="vi", random="0 + outcome | trial")
    with pytest.warns(IdentificationWarning, match=r"nothing about trial: rho\[AL, PD\]"):
        model.fit()


def test_bad_options():
    model = schools()
    for kwds, match in (
        ({"cov_type": "knapp-hartung"}, "'nonrobust', 'cluster'"),
        ({"df": "satterthwaite"}, "'contain', 'residual'"),
        ({"method": "gauss"}, "not known"),
        ({"reml": "yes"}, "True or False"),
        ({"cov_kwds": {"groups": "district"}}, "unknown keyword"),
        ({"cov_type": "cluster", "cov_kwds": {"correction": "CR9"}}, "not known"),
    ):
        with pytest.raises(OptionError, match=match):
            model.fit(**kwds)
    with pytest.raises(DesignError, match="different clusters"):
        model.fit(cov_type="cluster", cov_kwds={"groups": "study"})
    crossed = schools(random=["1 | school", "1 | district"])
    with pytest.raises(DesignError, match="no independent clusters"):
        crossed.fit(cov_type="cluster")


def test_few_groups_leave_no_degrees_of_freedom():
    data = SCHOOLS[SCHOOLS["district"].isin([11, 12])].assign(z=lambda d: d["district"])
    model = schools("yi ~ z", data=data, random="1 | district:school")
    model.fit()
    two = schools("yi ~ 1", data=data, random="1 | district/school")
    assert_allclose(two.fit().contrast_df(), 1.0)


# --- sampling_covariance ---------------------------------------------------------------------


def test_constant_correlation():
    v, g = np.array([0.04, 0.09, 0.01, 0.16]), ["b", "a", "b", "a"]
    V = sampling_covariance(v, g, rho=0.6).to_dense()
    assert_allclose(np.diag(V), v)
    assert_allclose([V[0, 2], V[1, 3], V[0, 1]], [0.6 * 0.2 * 0.1, 0.6 * 0.3 * 0.4, 0.0])
    by_group = sampling_covariance(v, g, rho={"a": 0.2, "b": 0.6}).to_dense()
    assert_allclose([by_group[0, 2], by_group[1, 3]], [V[0, 2], V[1, 3] / 3.0])


def test_autoregressive_and_pairs():
    v, g = np.ones(4), [1, 1, 1, 2]
    V = sampling_covariance(v, g, phi=0.5, time=[0.0, 1.0, 3.0, 0.0]).to_dense()
    assert_allclose(V[0], [1.0, 0.5, 0.125, 0.0])
    table = {("x", "y"): 0.4, ("x", "z"): 0.2, ("y", "z"): 0.1}
    V = sampling_covariance(v, g, rho=table, obs=["z", "x", "y", "x"]).to_dense()
    assert_allclose(V[0], [1.0, 0.2, 0.1, 0.0])
    both = sampling_covariance(
        v, g, rho=0.5, phi=0.5, time=[0.0, 1.0, 1.0, 0.0], obs=["x", "x", "y", "x"]
    ).to_dense()
    assert_allclose(both[0], [1.0, 0.5, 0.25, 0.0])


def test_bad_sampling_covariances():
    v, g = np.ones(3), [1, 1, 1]
    for match, error, kwds in (
        ("Give rho=", OptionError, {}),
        ("between -1 and 1", OptionError, {"rho": 2.0}),
        ("not positive definite", VarianceError, {"rho": -0.9}),
        ("go together", OptionError, {"phi": 0.5}),
        ("no entry for group 1", OptionError, {"rho": {2: 0.5}}),
        ("no entry for the pair", OptionError, {"rho": {("a", "c"): 0.1}, "obs": list("abc")}),
        ("not positive definite", VarianceError, {"rho": {("a", "b"): 0.1}, "obs": list("aab")}),
        ("not numeric", DesignError, {"phi": 0.5, "time": np.array(["early", 1, 2], dtype=object)}),
    ):
        with pytest.raises(error, match=match):
            sampling_covariance(v, g, **kwds)
    with pytest.raises(DesignError, match="groups is missing for row 1"):
        sampling_covariance(v, [1, None, 1], rho=0.5)
    with pytest.raises(DesignError, match="2 values for 3"):
        sampling_covariance(v, [1, 1], rho=0.5)


def test_che_follows_labels_and_missing_rows():
    data = metareg_sm.datasets.assink2016.load_pandas().data
    V = sampling_covariance(data["vi"], data["study"], rho=0.6)
    kwds = {"random": "1 | study/esid"}
    expected = smf.mixedmetareg("yi ~ 1", data, V=V, **kwds).fit()
    assert expected.model.V is not None
    order = np.random.default_rng(1).permutation(len(data))
    mixed = data.iloc[order]
    V2 = sampling_covariance(mixed["vi"], mixed["study"], rho=0.6)
    same(smf.mixedmetareg("yi ~ 1", mixed, V=V2, **kwds).fit(), expected, rtol=1e-8)
    holes = data.assign(yi=data["yi"].where(data.index % 7 > 0))
    whole = holes.dropna(subset="yi")
    V3 = sampling_covariance(whole["vi"], whole["study"], rho=0.6)
    same(
        smf.mixedmetareg("yi ~ 1", holes, V=V, **kwds).fit(),
        smf.mixedmetareg("yi ~ 1", whole, V=V3, **kwds).fit(),
        rtol=1e-8,
    )


def test_metareg_is_not_changed():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MetaReg.from_formula("yi ~ year", SCHOOLS, vi="vi").fit()
