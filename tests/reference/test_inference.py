"""Intervals for tau2, predictions, shrunken effects and tests against R's metafor 3.8-1."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import special

from ._fits import COV_TYPES, close, fit, model, order, stored

CASES = stored("inference")
RTOL = 1e-7
TESTS = {test: COV_TYPES[test] for test in ("z", "knha")}
INTERVALS = {
    "QP": ("reml", "q-profile"),
    "PL_REML": ("reml", "profile-likelihood"),
    "PL_ML": ("ml", "profile-likelihood"),
}
COLUMNS = {
    "pred": "mean",
    "ci.lb": "mean_ci_lower",
    "ci.ub": "mean_ci_upper",
    "pi.lb": "obs_ci_lower",
    "pi.ub": "obs_ci_upper",
}

every = pytest.mark.parametrize("name", CASES)


@pytest.mark.parametrize("kind", INTERVALS)
@every
def test_conf_int_tau2(name, kind):
    r = CASES[name].expected["confint"][kind]
    assert not r["ci.null"]
    assert not r["lb.sign"]
    assert not r["ub.sign"]
    tau2, method = INTERVALS[kind]
    frame = fit(name, tau2).conf_int_tau2(method=method)
    assert frame.attrs["kind"] == "interval"
    s2 = r["tau2"][2] / (r["H2"][2] - 1.0)
    for row, key, unit in (("tau2", "tau2", s2), ("tau", "tau", s2**0.5), ("h2", "H2", 1.0)):
        close(frame.loc[row] / unit, np.array(r[key]) / unit, RTOL, f"{kind} {row}", atol=1e-9)
    close(frame.loc["i2"], np.array(r["I2"]) / 100.0, RTOL, f"{kind} i2", atol=1e-9)


@pytest.mark.parametrize("method", ["REML", "ML", "PM", "HE"])
@every
def test_wald_interval(name, method):
    r = stored("fits")[name].expected[method]
    found = fit(name, method.lower()).conf_int_tau2(alpha=0.1, method="wald").loc["tau2"]
    half = special.ndtri(0.95) * r["se.tau2"]
    ends = [max(r["tau2"] - half, 0.0), r["tau2"] + half]
    close(found[["ci_lower", "ci_upper"]] / half, ends / half, RTOL, "wald", atol=1e-9)


@pytest.mark.parametrize("method", ["REML", "ML"])
@every
def test_lr_test_tau2(name, method):
    r = stored("fits")[name].expected[method]["fit.stats"][method]["logLik"]
    zero = CASES[name].expected["ll_tau2_zero"][method]
    found = fit(name, method.lower()).lr_test_tau2()
    statistic = max(2.0 * (r - zero), 0.0)
    close(found.statistic, statistic, RTOL, "lr_test_tau2", atol=1e-9)
    # mixture of a point mass at 0 and chi-squared with 1 degree of freedom
    pvalue = 0.5 * special.chdtrc(1, statistic) if r > zero else 1.0
    close(found.pvalue, pvalue, RTOL, "lr_test_tau2 p")


def predictions(name, res, df=None):
    """By design, by dict and by table: the same rows."""
    new = CASES[name].expected["predict"]
    rows = np.empty_like(np.array(new["exog"], dtype=float))
    rows[:, order(name)] = new["exog"]
    found = [res.get_prediction(rows, transform=False, df=df)]
    if new["newdata"] is not None:
        found.append(res.get_prediction(new["newdata"], df=df))
        found.append(res.get_prediction(pd.DataFrame(new["newdata"]), df=df))
    return [f.summary_frame() for f in found]


def check_prediction(frame, r):
    unit = np.array(r["se"])
    close(frame["mean_se"], unit, RTOL, "prediction se")
    for key, column in COLUMNS.items():
        expected = np.array(r[key]) / unit
        close(frame[column] / unit, expected, RTOL, f"prediction {key}", atol=1e-8)


@pytest.mark.parametrize("test", TESTS)
@every
def test_prediction(name, test):
    for frame in predictions(name, fit(name, "reml", TESTS[test])):
        check_prediction(frame, CASES[name].expected["predict"][test])


@every
def test_riley_prediction(name):
    # The stored ends of knha_riley are those of knha: metafor 3.8-1 knows "riley" and takes "Riley"
    # for its default without a word. Their definition is t with k - p - 1 degrees of freedom.
    r = dict(CASES[name].expected["predict"]["knha"])
    tau2 = stored("fits")[name].expected["REML"]["tau2"]
    k, p = CASES[name].exog.shape
    half = special.stdtrit(k - p - 1, 0.975) * np.sqrt(np.array(r["se"]) ** 2 + tau2)
    r["pi.lb"], r["pi.ub"] = np.array(r["pred"]) - half, np.array(r["pred"]) + half
    for frame in predictions(name, fit(name, "reml", "knapp-hartung"), "riley"):
        check_prediction(frame, r)


def test_riley_prediction_of_metafor():
    # predict(rma(yi, vi, mods = ~ ablat, data = dat.bcg, test = "knha"), newmods = 33,
    #         pi.type = "riley"), metafor 3.8-1 with threshold = 1e-12
    data = CASES["bcg_ablat_year"].data
    res = smf.metareg("yi ~ ablat", data, vi="vi").fit()
    row = res.get_prediction({"ablat": [33]}, df="riley").summary_frame().iloc[0]
    expected = [-0.7088887153772609, 0.1222150046001048, -1.3820834395859507, -0.0356939911685712]
    found = row[["mean", "mean_se", "obs_ci_lower", "obs_ci_upper"]]
    close(found, expected, RTOL, "prediction by metafor's riley")


@pytest.mark.parametrize("test", TESTS)
@every
def test_random_effects(name, test):
    res = fit(name, "reml", TESTS[test])
    found = res.random_effects
    unit = np.sqrt(CASES[name].v)
    for column, block in (("theta", "blup"), ("u", "ranef")):
        r = CASES[name].expected[block][test]
        for of, key in ((column, "pred"), (f"{column}_se", "se")):
            close(found[of] / unit, np.array(r[key]) / unit, RTOL, of, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "reduced"), [(n, a["reduced"]) for n in CASES for a in CASES[n].expected["anova_ml"]]
)
def test_compare_lr_test(name, reduced):
    case = CASES[name]
    r = next(a for a in case.expected["anova_ml"] if a["reduced"] == reduced)
    small = smf.metareg(reduced, case.data, vi="vi")
    full, restricted = fit(name, "ml"), small.fit(tau2="ml")
    scale = case.v.mean()
    close(full.tau2 / scale, r["tau2_full"] / scale, RTOL, "tau2_full", atol=1e-10)
    close(restricted.tau2 / scale, r["tau2_reduced"] / scale, RTOL, "tau2_reduced", atol=1e-10)
    close(full.llf, r["ll_full"], RTOL, "ll_full")
    close(restricted.llf, r["ll_reduced"], RTOL, "ll_reduced")
    refitted = fit(name).compare_lr_test(small.fit(), refit=True)
    for found in (full.compare_lr_test(restricted), refitted):
        close(found.statistic, r["LRT"], RTOL, "LRT", atol=1e-9)
        close(found.pvalue, r["pval"], RTOL, "LRT p")
        assert found.df == r["df"]


@every
def test_terms(name):
    case, names = CASES[name], model(name).exog_names
    z, knha = (fit(name, "reml", cov_type) for cov_type in TESTS.values())
    tables = [res.wald_test_terms(scalar=True).table for res in (z, knha)]
    for term, r in case.expected["terms"].items():
        rows = [names.index(case.coef[j]) for j in r["index"]]
        R = np.eye(len(names))[rows]
        chi2, f = (res.wald_test(R, scalar=True) for res in (z, knha))
        found = [(chi2.statistic, chi2.pvalue, f.statistic, f.pvalue)]
        found.append([t.loc[term, c] for t in tables for c in ("statistic", "pvalue")])
        for values in found:
            for value, key in zip(values, ("QM", "QMp", "F", "Fp"), strict=True):
                close(value, r[key], RTOL, f"term {key}")
        assert (chi2.df_denom, f.df_num) == (r["df"], r["df"])
        assert list(tables[1].loc[term, ["df_constraint", "df_denom"]]) == [r["df"], f.df_denom]
