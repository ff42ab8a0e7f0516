"""Cluster-robust and heteroscedasticity-robust inference against R's clubSandwich and metafor."""

from functools import cache

import numpy as np
import pytest

from metareg_sm.stats.covariance import CORRECTIONS, cluster_sandwich
from metareg_sm.stats.gls import whiten

from ._fits import check_coefficients, close, model, order, stored

CASES = stored("robust")
# the working model is metafor's REML fit, good to 1e-9; CR2 inverts I - H
RTOL = 1e-6
CLUSTERED = [(n, c) for n in CASES for c, e in CASES[n].expected.items() if "error" not in e]
ROWS = [n for n, c in CLUSTERED if c == "row"]
# clubSandwich's CR1 is m/(m-1), ours m/(m-p), which is metafor's robust(); see test_cr1
SAME = ("CR0", "CR1S", "CR2", "CR3")
# metafor's name of the adjustment, by our correction
ADJUSTED = {"CR1": "adjust", "CR0": "no_adjust"}


def defined(name, clusters, correction):
    return "error" not in CASES[name].expected[clusters]["clubSandwich"][correction]


RUNS = [(n, c, t) for n, c in CLUSTERED for t in SAME if defined(n, c, t)]
clustered = pytest.mark.parametrize(("name", "clusters"), CLUSTERED)
runs = pytest.mark.parametrize(("name", "clusters", "correction"), RUNS)


@cache
def working_tau2(name):
    # rma.mv's tau2 is good to 1e-6 only: take its value, as the stored sandwiches do
    source = stored("fits")[name].expected["REML"]
    return source["tau2"] if source.get("source") == "rma.mv" else "reml"


def groups_of(name, clusters):
    return np.arange(len(CASES[name].y)) if clusters == "row" else clusters


@cache
def robust(name, clusters, correction):
    kwds = {"groups": groups_of(name, clusters), "correction": correction}
    return model(name).fit(tau2=working_tau2(name), cov_type="cluster", cov_kwds=kwds)


@cache
def hc(name, cov_type):
    return model(name).fit(tau2=working_tau2(name), cov_type=cov_type)


def expected_of(name, clusters, correction):
    return CASES[name].expected[clusters]["clubSandwich"][correction]


def check_cov(res, r, name, what):
    at = order(name)
    scale = np.outer(r["se"], r["se"])
    close(np.asarray(res.bse)[at], r["se"], RTOL, f"{what} se")
    cov = np.asarray(res.cov_params())[np.ix_(at, at)]
    close(cov / scale, np.array(r["vcov"]) / scale, RTOL, f"{what} vcov", atol=1e-7)
    close(np.asarray(res.params)[at] / r["se"], r["tstat"], RTOL, f"{what} t", atol=1e-7)
    close(np.asarray(res.tvalues)[at], r["tstat"], RTOL, f"{what} t", atol=1e-7)


def joint_rows(name):
    """Coefficients that metafor and clubSandwich test jointly, as rows of the identity."""
    return np.eye(len(CASES[name].coef))[order(name)][int(CASES[name].intercept) :]


def sandwich_of(name, clusters, correction):
    """The kernel's record: it has Satterthwaite degrees of freedom for each correction."""
    built, labels = model(name), groups_of(name, clusters)
    if isinstance(labels, str):
        labels = CASES[name].data[labels].to_numpy()
    codes = np.unique(labels, return_inverse=True)[1]
    tau2 = robust(name, clusters, "CR0").tau2
    whitened, _ = whiten(built.studies, tau2, built.basis.to_params)
    return cluster_sandwich(whitened, codes, correction)


def test_what_is_left_out_is_known():
    left_out = {(n, c, t) for n, c in CLUSTERED for t in SAME} - set(RUNS)
    assert left_out == {("assink_multi", "study", "CR3"), ("curtis_multi", "paper", "CR3")}
    assert {(n, c) for n in CASES for c in CASES[n].expected} - set(CLUSTERED) == {
        ("bcg_ablat_alloc", "row")
    }


@runs
def test_covariance(name, clusters, correction):
    res = robust(name, clusters, correction)
    check_cov(res, expected_of(name, clusters, correction), name, correction)


@pytest.mark.parametrize(
    ("name", "clusters", "correction"), [run for run in RUNS if run[2] in ("CR2", "CR3")]
)
def test_satterthwaite(name, clusters, correction):
    res, at = robust(name, clusters, correction), order(name)
    r = expected_of(name, clusters, correction)
    found = res.t_test(np.eye(len(at))[at])
    close(np.ravel(found.df_denom), r["df"], RTOL, f"{correction} df")
    close(np.ravel(found.pvalue), r["p"], RTOL, f"{correction} p")
    close(np.asarray(res.pvalues)[at], r["p"], RTOL, f"{correction} p")
    if "HTZ" in r:
        check_htz(res, joint_rows(name), r["HTZ"], correction)
        if CASES[name].intercept:
            found = [res.fvalue, *res.f_df, res.f_pvalue]
            htz = [r["HTZ"][key] for key in ("F", "df_num", "df_denom", "p")]
            close(found, htz, RTOL, "omnibus HTZ")


def check_htz(res, R, r, correction):
    found = res.wald_test(R, scalar=True)
    assert found.df_num == r["df_num"]
    close(found.df_denom, r["df_denom"], RTOL, f"{correction} HTZ df")
    close(found.statistic, r["F"], RTOL, f"{correction} HTZ F")
    close(found.pvalue, r["p"], RTOL, f"{correction} HTZ p")


@runs
def test_satterthwaite_of_the_kernel(name, clusters, correction):
    # The results refer CR0 and CR1S to t with J - p degrees of freedom; the kernel has these too.
    r, sandwich = expected_of(name, clusters, correction), sandwich_of(name, clusters, correction)
    assert sandwich.n_groups == CASES[name].expected[clusters]["n_clusters"]
    identity = np.eye(len(CASES[name].coef))[order(name)]
    close(sandwich.satterthwaite(identity), r["df"], RTOL, f"{correction} df")
    if "HTZ" in r:
        R = joint_rows(name)
        df = sandwich.htz_df(R) - len(R) + 1.0
        close(df, r["HTZ"]["df_denom"], RTOL, f"{correction} HTZ df")


@clustered
def test_cr1(name, clusters):
    # clubSandwich's CR1 and ours are CR0 times a factor each
    r, p = CASES[name].expected[clusters], len(CASES[name].coef)
    m, se = r["n_clusters"], np.array(r["clubSandwich"]["CR1"]["se"])
    found = np.asarray(robust(name, clusters, "CR1").bse)[order(name)]
    close(found, se * np.sqrt((m - 1) / (m - p)), RTOL, "CR1 se")


@pytest.mark.parametrize("correction", ADJUSTED)
@clustered
def test_metafor_robust(name, clusters, correction):
    r = CASES[name].expected[clusters]["metafor_robust"][ADJUSTED[correction]]
    res = robust(name, clusters, correction)
    check_coefficients(res, r, RTOL, name, atol_se=1e-7)
    (df,) = r["dfs"]
    assert df == r["QMdf"][1]
    joint = res.wald_test(joint_rows(name), scalar=True) if len(joint_rows(name)) else None
    if joint is None:
        # metafor tests the intercept of a model that has nothing else, ours has no omnibus test
        joint = res.wald_test(np.eye(1), scalar=True)
        assert np.isnan(res.fvalue)
    elif CASES[name].intercept:
        close(res.fvalue, r["QM"], RTOL, "robust QM")
        close(res.f_pvalue, r["QMp"], RTOL, "robust QMp")
    close(joint.statistic, r["QM"], RTOL, "robust QM")
    close(joint.pvalue, r["QMp"], RTOL, "robust QMp")
    assert [joint.df_num, joint.df_denom] == r["QMdf"]


@pytest.mark.parametrize("number", [0, 2, 3])
@pytest.mark.parametrize("name", ROWS)
def test_hc(name, number):
    cov_type, correction = f"HC{number}", f"CR{number}"
    r, res = expected_of(name, "row", correction), hc(name, cov_type)
    check_cov(res, r, name, cov_type)
    scale = np.outer(res.bse, res.bse)
    same = np.asarray(robust(name, "row", correction).cov_params())
    close(np.asarray(res.cov_params()) / scale, same / scale, 1e-9, cov_type, atol=1e-10)


@pytest.mark.parametrize("name", ROWS)
def test_hc1(name):
    # with one study a cluster m/(m-p) is k/(k-p), and both refer to t with k - p
    r = CASES[name].expected["row"]["metafor_robust"]["adjust"]
    check_coefficients(hc(name, "HC1"), r, RTOL, name, atol_se=1e-7)


@pytest.mark.parametrize(
    ("name", "clusters", "correction"),
    [("assink_multi", "study", "CR3"), ("curtis_multi", "paper", "CR3")],
)
def test_cr3_is_refused_where_a_cluster_has_leverage_1(name, clusters, correction):
    with pytest.raises(ValueError, match="leverage 1"):
        robust(name, clusters, correction)


@pytest.mark.parametrize("cov_type", ["HC2", "HC3"])
def test_hc_is_refused_where_a_study_has_leverage_1(cov_type):
    with pytest.raises(ValueError, match="leverage 1"):
        hc("bcg_ablat_alloc", cov_type)


def test_every_correction_is_compared():
    assert set(CORRECTIONS) == {*SAME, *ADJUSTED}
