"""Pooled fits against R's formulas, and against those formulas by hand."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats

from metareg_sm import MetaReg, datasets, pool
from metareg_sm.exceptions import ComparisonError, DesignError, OptionError
from metareg_sm.stats.rubin import d1_df, rubin

REFERENCE = Path(__file__).parent / "reference" / "ipd.json"


@pytest.fixture
def expected():
    return json.loads(REFERENCE.read_text(encoding="utf-8"))["rubin"]


@pytest.fixture
def fits(bcg, expected):
    """The imputations that the reference file has."""
    found = []
    for values in expected["filled"]:
        completed = bcg.copy()
        completed.loc[expected["where"], "ablat"] = values
        found.append(MetaReg.from_formula("yi ~ ablat + year", completed, vi="vi").fit())
    return found


def test_against_r(fits, expected):
    pooled = pool(fits)
    for name in ("params", "bse", "df", "pvalues", "riv", "fmi"):
        np.testing.assert_allclose(getattr(pooled, name), expected[name], rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(pooled.cov_params(), expected["cov"], rtol=1e-6)
    assert pooled.tau2 == pytest.approx(expected["tau2"], rel=1e-6)
    test, known = pooled.omnibus, expected["d1"]
    assert test.statistic == pytest.approx(known["statistic"], rel=1e-6)
    assert test.riv == pytest.approx(known["riv"], rel=1e-6)
    assert test.df_denom == pytest.approx(known["df_reiter"], rel=1e-6)
    assert test.pvalue == pytest.approx(
        stats.f.sf(known["statistic"], 2, known["df_reiter"]), rel=1e-6
    )


def test_rules_on_r_s_own_estimates(expected):
    # mice::pool's formulas, computed in R from R's fits: what the rules do to the same numbers
    b, covs = np.array(expected["estimates"]), np.array(expected["covariances"])
    found = rubin(b, np.diagonal(covs, axis1=1, axis2=2), expected["df_complete"])
    for name, values in (
        ("params", found.estimate),
        ("bse", np.sqrt(found.variance)),
        ("df", found.df),
        ("riv", found.riv),
        ("fmi", found.fmi),
        ("pvalues", 2 * stats.t.sf(np.abs(found.estimate / np.sqrt(found.variance)), found.df)),
    ):
        np.testing.assert_allclose(values, expected[name], rtol=1e-10, err_msg=name)
    d1, m = expected["d1"], len(b)
    within, between = covs.mean(0)[1:, 1:], np.cov(b[:, 1:].T)
    r = (1 + 1 / m) * np.trace(between @ np.linalg.inv(within)) / 2
    assert r == pytest.approx(d1["riv"], rel=1e-10)
    assert d1_df(2, m, d1["riv"], expected["df_complete"]) == pytest.approx(
        d1["df_reiter"], rel=1e-10
    )
    assert d1_df(2, m, d1["riv"], np.inf) == pytest.approx(d1["df_li"], rel=1e-10)


def test_by_hand(fits):
    pooled = pool(fits)
    m = len(fits)
    b = np.array([f.params for f in fits])
    U = np.mean([f.cov_params() for f in fits], axis=0)
    T = U + (1 + 1 / m) * np.cov(b.T)
    np.testing.assert_allclose(pooled.params, b.mean(0), rtol=1e-10)
    np.testing.assert_allclose(pooled.bse, np.sqrt(np.diag(T)), rtol=1e-10)
    lam = (1 + 1 / m) * b.var(0, ddof=1) / np.diag(T)
    df = 1 / (lam**2 / (m - 1) + 1 / (11 / 13 * 10 * (1 - lam)))
    np.testing.assert_allclose(pooled.df, df, rtol=1e-10)
    ends = b.mean(0) + np.outer([-1, 1], stats.t.ppf(0.975, df) * np.sqrt(np.diag(T)))
    np.testing.assert_allclose(pooled.conf_int().to_numpy().T, ends, rtol=1e-9)
    tau2 = np.array([f.tau2 for f in fits])
    spread = np.mean([f.tau2_se**2 for f in fits]) + (1 + 1 / m) * tau2.var(ddof=1)
    assert pooled.tau2_se == pytest.approx(np.sqrt(spread), rel=1e-10)
    # a single hypothesis is the square of its t test
    one = pooled.wald_test("ablat = 0")
    assert one.statistic == pytest.approx(pooled.tvalues["ablat"] ** 2, rel=1e-10)
    assert one.pvalue == pytest.approx(pooled.pvalues["ablat"], rel=1e-9)
    again = pooled.f_test("ablat = -0.03, year = 0.01")
    gap = b.mean(0)[1:] - [-0.03, 0.01]
    W, B = U[1:, 1:], np.cov(b.T)[1:, 1:]
    r = (1 + 1 / m) * np.trace(B @ np.linalg.inv(W)) / 2
    statistic = gap @ np.linalg.inv(W) @ gap / (2 * (1 + r))
    assert again.statistic == pytest.approx(statistic, rel=1e-10)


def test_predictions(fits):
    new = {"ablat": [10.0, 50.0], "year": [1950.0, 1970.0]}
    frame = pool(fits).get_prediction(new).summary_frame()
    singles = [f.get_prediction(new) for f in fits]
    m = len(fits)
    means = np.array([s.predicted_mean for s in singles])
    T = np.mean([s.se_mean**2 for s in singles], axis=0) + (1 + 1 / m) * means.var(0, ddof=1)
    np.testing.assert_allclose(frame["mean"], means.mean(0), rtol=1e-10)
    np.testing.assert_allclose(frame["mean_se"], np.sqrt(T), rtol=1e-10)
    lam = (1 + 1 / m) * means.var(0, ddof=1) / T
    df = 1 / (lam**2 / (m - 1) + 1 / (11 / 13 * 10 * (1 - lam)))
    half = stats.t.ppf(0.975, df) * np.sqrt(T + np.mean([f.tau2 for f in fits]))
    np.testing.assert_allclose(frame["obs_ci_upper"] - frame["mean"], half, rtol=1e-9)
    ratios = pool(fits).get_prediction(new, transform=np.exp).summary_frame()
    np.testing.assert_allclose(ratios["mean"], np.exp(means.mean(0)), rtol=1e-10)


def test_normal_tests_and_other_covariances(bcg, expected):
    completed = [bcg.assign(ablat=bcg["ablat"] + shift) for shift in (0.0, 1.0, 3.0)]
    made = [MetaReg.from_formula("yi ~ ablat", d, vi="vi") for d in completed]
    pooled = pool([model.fit(cov_type="nonrobust") for model in made])
    b = np.array([model.fit().params for model in made])
    lam = (4 / 3) * b.var(0, ddof=1) / pooled.bse**2
    # moving the zero of a moderator does not move its slope
    assert pooled.df["Intercept"] == pytest.approx(2 / lam.iloc[0] ** 2, rel=1e-9)
    assert pooled.df["ablat"] > 1e6
    options = {"cov_type": "cluster", "cov_kwds": {"groups": "alloc", "correction": "CR2"}}
    robust = pool([model.fit(**options) for model in made])
    single = made[0].fit(**options)
    df = float(np.asarray(single.contrast_df())[1])
    assert robust.df["ablat"] == pytest.approx((df + 1) / (df + 3) * df, rel=1e-5)


# --- dependent effects and models of the scale -------------------------------------------------


def rubins_rules(b, U, complete):
    """Barnard & Rubin (1999), written out."""
    m = len(b)
    b, U = np.asarray(b, dtype=float), np.asarray(U, dtype=float)
    B = (1 + 1 / m) * b.var(0, ddof=1)
    T = U.mean(0) + B
    lam = B / T
    if np.isinf(complete).all():
        return b.mean(0), np.sqrt(T), (m - 1) / lam**2
    observed = (complete + 1) / (complete + 3) * complete * (1 - lam)
    return b.mean(0), np.sqrt(T), 1 / (lam**2 / (m - 1) + 1 / observed)


@pytest.fixture
def schools():
    """Completed tables of effects in districts, a moderator of some having been imputed."""
    data = datasets.konstantopoulos2011.load_pandas().data
    rng = np.random.default_rng(4)
    x = rng.normal(size=len(data))
    gone = rng.uniform(size=len(data)) < 0.3
    found = []
    for _ in range(5):
        filled = np.where(gone, x + rng.normal(0.0, 0.8, len(x)), x)
        found.append(data.assign(x=filled, late=(data["year"] > 1988).astype(float)))
    return found


@pytest.mark.parametrize("cov_type", ["nonrobust", "cluster"])
@pytest.mark.parametrize("use_t", [True, False])
def test_dependent_effects_by_hand(schools, cov_type, use_t):
    fits = [
        smf.mixedmetareg("yi ~ x + late", d, vi="vi", random="1 | district/school").fit(
            cov_type=cov_type, use_t=use_t
        )
        for d in schools
    ]
    pooled, m = pool(fits), len(fits)
    complete = np.inf
    if use_t:
        complete = np.mean([f.contrast_df() for f in fits], axis=0)
    b, se, df = rubins_rules([f.params for f in fits], [f.bse**2 for f in fits], complete)
    np.testing.assert_allclose(pooled.params, b, rtol=1e-10)
    np.testing.assert_allclose(pooled.bse, se, rtol=1e-10)
    np.testing.assert_allclose(pooled.df, df, rtol=1e-10)
    # variances on their own scale, normal tests
    parts = [f.components for f in fits]
    v, v_se, _ = rubins_rules([c.values for c in parts], [c.se**2 for c in parts], np.inf)
    np.testing.assert_allclose(pooled.components["estimate"], v, rtol=1e-10)
    np.testing.assert_allclose(pooled.components["se"], v_se, rtol=1e-10)
    assert pooled.components.index.tolist() == ["district", "district/school"]
    assert pooled.tau2 == pytest.approx(v.sum(), rel=1e-10)
    # D1
    U = np.mean([f.cov_params().to_numpy()[1:, 1:] for f in fits], axis=0)
    B = np.cov(np.array([f.params.to_numpy()[1:] for f in fits]).T)
    r = (1 + 1 / m) * np.trace(B @ np.linalg.inv(U)) / 2
    test = pooled.omnibus
    assert test.statistic == pytest.approx(b[1:] @ np.linalg.inv(U) @ b[1:] / (2 * (1 + r)))
    assert test.riv == pytest.approx(r, rel=1e-10)
    rows = np.eye(3)[1:]
    least = np.inf
    if use_t:
        least = np.min(np.mean([np.broadcast_to(f.contrast_df(rows), 2) for f in fits], axis=0))
    assert test.df_denom == pytest.approx(d1_df(2, m, r, least), rel=1e-9)
    assert repr(pooled) == "<PooledResults: 5 imputations, 56 effects, 3 coefficients>"


def test_predictions_of_dependent_effects(schools):
    fits = [
        smf.mixedmetareg("yi ~ x", d, vi="vi", random="1 | district/school").fit() for d in schools
    ]
    new = {"x": [0.0, 1.0]}
    for options, between in (
        ({}, np.mean([f.vcomp.sum() for f in fits])),
        ({"level": "district"}, np.mean([f.vcomp["district"] for f in fits])),
    ):
        frame = pool(fits).get_prediction(new, **options).summary_frame()
        single = [f.get_prediction(new, **options) for f in fits]
        complete = np.mean([p.df for p in single], axis=0)
        mean, se, df = rubins_rules(
            [p.predicted_mean for p in single], [p.se_mean**2 for p in single], complete
        )
        np.testing.assert_allclose(frame["mean"], mean, rtol=1e-10)
        np.testing.assert_allclose(frame["mean_se"], se, rtol=1e-10)
        half = stats.t.ppf(0.975, df) * np.sqrt(se**2 + between)
        np.testing.assert_allclose(frame["obs_ci_upper"] - frame["mean"], half, rtol=1e-9)
    assert len(pool(fits).get_prediction().summary_frame()) == 56


def test_structured_terms():
    trials = datasets.berkey1998.load_pandas().data
    V = [g[["v1i", "v2i"]].to_numpy() for _, g in trials.groupby("trial", sort=False)]
    fits = []
    for shift in (0.0, 1.0, 3.0):
        moved = trials.assign(x=trials["year"] + shift * (trials["trial"] == 2))
        model = smf.mixedmetareg(
            "yi ~ 0 + outcome + x", moved, V=V, random="0 + outcome | trial", structure="un"
        )
        fits.append(model.fit())
    pooled = pool(fits)
    assert pooled.components.index.tolist() == list(fits[0].components.names)
    rho = [f.components.values[2] for f in fits]
    assert pooled.components["estimate"].iloc[2] == pytest.approx(np.mean(rho), rel=1e-10)
    new = {"outcome": ["AL", "PD"], "x": [1985.0, 1985.0]}
    frame = pooled.get_prediction(new).summary_frame()
    assert (frame["obs_ci_upper"] > frame["mean_ci_upper"]).all()


@pytest.mark.parametrize("use_t", [True, False])
def test_models_of_the_scale_by_hand(use_t):
    writing = datasets.bangertdrowns2004.load_pandas().data
    rng = np.random.default_rng(2)
    gone = rng.uniform(size=len(writing)) < 0.3
    fits = []
    for _ in range(4):
        length = writing["length"] + np.where(gone, rng.normal(0.0, 4.0, len(writing)), 0.0)
        model = smf.lsmetareg(
            "yi ~ size", writing.assign(size=length), vi="vi", scale_formula="~ size"
        )
        fits.append(model.fit(use_t=use_t))
    pooled = pool(fits)
    complete = float(fits[0].df_resid) if use_t else np.inf
    b, se, df = rubins_rules([f.params for f in fits], [f.bse**2 for f in fits], complete)
    np.testing.assert_allclose(pooled.params, b, rtol=1e-10)
    np.testing.assert_allclose(pooled.bse, se, rtol=1e-10)
    np.testing.assert_allclose(pooled.df, df, rtol=1e-10)
    a, a_se, _ = rubins_rules(
        [f.scale_params for f in fits], [f.scale_bse**2 for f in fits], np.inf
    )
    np.testing.assert_allclose(pooled.components["estimate"], a, rtol=1e-10)
    np.testing.assert_allclose(pooled.components["se"], a_se, rtol=1e-10)
    assert pooled.components.index.tolist() == ["ln tau2: Intercept", "ln tau2: size"]
    assert pooled.tau2 == pytest.approx(np.mean([f.tau2 for f in fits]), rel=1e-10)
    assert np.isnan(pooled.tau2_se)
    new = {"size": [5.0, 20.0]}
    frame = pooled.get_prediction(new).summary_frame()
    between = np.mean([f.predict_tau2(new) for f in fits], axis=0)
    single = [f.get_prediction(new) for f in fits]
    mean, se, df = rubins_rules(
        [p.predicted_mean for p in single], [p.se_mean**2 for p in single], complete
    )
    t = stats.t.ppf(0.975, df)
    np.testing.assert_allclose(
        frame["obs_ci_upper"] - mean, t * np.sqrt(se**2 + between), rtol=1e-9
    )


def test_what_does_not_go_together(bcg, schools):
    one = MetaReg.from_formula("yi ~ 1", bcg, vi="vi")
    other = smf.lsmetareg("yi ~ 1", bcg, vi="vi").fit()
    with pytest.raises(ComparisonError, match="different models: MetaReg and LocationScale"):
        pool([one.fit(cov_type="nonrobust"), other])
    with pytest.raises(ComparisonError, match="different estimators: REML and ML"):
        pool([one.fit(), one.fit(tau2="ml")])
    two = [
        smf.mixedmetareg("yi ~ 1", schools[0], vi="vi", random=random).fit()
        for random in ("1 | district", "1 | district/school")
    ]
    with pytest.raises(ComparisonError, match="different variance components"):
        pool(two)


def test_a_fixed_heterogeneity_has_no_error(bcg):
    fits = [
        MetaReg.from_formula("yi ~ x", bcg.assign(x=bcg["ablat"] + s), vi="vi").fit(tau2=0.2)
        for s in (0.0, 1.0)
    ]
    pooled = pool(fits)
    assert (pooled.tau2, pooled.tau2_se) == (pytest.approx(0.2), 0.0)


def test_order_does_not_matter_where_degrees_of_freedom_differ(schools):
    fits = [
        smf.mixedmetareg("yi ~ x", d, vi="vi", random="1 | district").fit(cov_type="cluster")
        for d in schools
    ]
    one, two = pool(fits), pool(fits[::-1])
    pd.testing.assert_frame_equal(one.summary_frame(), two.summary_frame(), rtol=1e-9)


def test_what_it_shows(fits):
    pooled = pool(fits)
    assert repr(pooled) == "<PooledResults: 6 imputations, 13 studies, 3 coefficients>"
    frame = pooled.summary_frame(alpha=0.1)
    assert frame.columns.tolist()[:5] == ["coef", "se", "statistic", "df", "pvalue"]
    assert "<table" in pooled._repr_html_()


def test_order_does_not_matter(fits):
    one, two = pool(fits), pool(fits[::-1])
    pd.testing.assert_frame_equal(one.summary_frame(), two.summary_frame(), rtol=1e-10)


def test_bad_input(bcg, fits):
    with pytest.raises(ComparisonError, match="at least two fits; got 1"):
        pool(fits[:1])
    other = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi")
    with pytest.raises(ComparisonError, match="Fits 1 and 2 have different coefficients"):
        pool([fits[0], other.fit()])
    with pytest.raises(ComparisonError, match="different types of covariance"):
        pool([other.fit(), other.fit(cov_type="HC1")])
    short = MetaReg.from_formula("yi ~ ablat", bcg.iloc[1:], vi="vi").fit()
    with pytest.raises(ComparisonError, match="different numbers of studies"):
        pool([other.fit(), short])
    with pytest.raises(OptionError, match="list of fits; got int"):
        pool(3)
    with pytest.raises(OptionError, match="metareg, mixedmetareg or lsmetareg; got str"):
        pool(["a", "b"])
    alone = MetaReg.from_formula("yi ~ 1", bcg, vi="vi").fit()
    with pytest.raises(DesignError, match="no moderator"):
        pool([alone, alone]).omnibus  # noqa: B018 (the look-up raises)
