"""Every estimator of tau2 and every test of the coefficients against R's metafor 3.8-1."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from ._fits import COV_TYPES, check_coefficients, close, fit, model, order, stored

# metafor's rma.uni is wrong where the columns do not span the constant (reference/README.md);
# test_reference_mpmath has that case.
CASES = [name for name in stored("fits") if name != "viechtbauer_origin"]
ITERATED = ("REML", "ML", "PM", "EB", "DLIT", "SJIT", "PMM")
METHODS = {name: name.lower() for name in (*ITERATED, "DL", "HE", "SJ", "HS", "HSk", "GENQ")}
METHODS["EE"] = 0.0
# metafor's iterations stop at a step of 1e-12 (absolute), a relative error of 1e-9 at most.
RTOL = 1e-7
# SJIT creeps: a step of 1e-12 leaves tau2 1e-8 off, and 4e-11 above a boundary of 0.
CREEPING = {"SJIT": (1e-6, 1e-9)}
NOT_CONVERGED = [
    name
    for name in CASES
    if "did not converge" in stored("fits")[name].expected["DLIT"].get("error", "")
]


def expected_of(case, method):
    return stored("fits")[case].expected[method]


def tolerance(method):
    return CREEPING.get(method, (RTOL, 1e-11))


RUNS = [(c, m) for c in CASES for m in METHODS if "error" not in expected_of(c, m)]
# With GENQ metafor takes the weights 1/v for the coefficients too; only tau2 compares.
WEIGHTED = [(c, m) for c, m in RUNS if m != "GENQ"]


def test_what_is_left_out_is_known():
    left_out = {(c, m) for c in CASES for m in METHODS} - set(RUNS)
    assert left_out == {(c, "DLIT") for c in NOT_CONVERGED}


@pytest.mark.parametrize(("case", "method"), RUNS)
def test_tau2(case, method):
    r, res = expected_of(case, method), fit(case, METHODS[method])
    rtol, atol = tolerance(method)
    close(res.tau2, r["tau2"], rtol, "tau2", atol=atol)
    if method == "EE":
        assert res.tau2_se == 0.0
        assert r["se.tau2"] is None
    else:
        close(res.tau2_se, r["se.tau2"], rtol, "tau2_se")


@pytest.mark.parametrize(("case", "method"), WEIGHTED)
def test_coefficients(case, method):
    res = fit(case, METHODS[method])
    se = np.asarray(res.bse)[order(case)]
    r = np.array(expected_of(case, method)["beta"])
    close(np.asarray(res.params)[order(case)] / se, r / se, tolerance(method)[0], "beta", atol=1e-8)


@pytest.mark.parametrize("test", COV_TYPES)
@pytest.mark.parametrize(("case", "method"), WEIGHTED)
def test_inference(case, method, test):
    tests = expected_of(case, method)["tests"]
    r = tests[tests[test].get("same_as", test)]
    res = fit(case, METHODS[method], COV_TYPES[test])
    rtol = tolerance(method)[0]
    close(res.scale, r["s2w"], rtol, "KH factor")
    check_coefficients(res, r, rtol, case, atol_se=1e-8)
    stored_case = stored("fits")[case]
    if stored_case.intercept and len(stored_case.coef) > 1:
        close(res.fvalue, r["QM"], rtol, "omnibus")
        close(res.f_pvalue, r["QMp"], rtol, "omnibus p")
        assert res.f_df == tuple(r["QMdf"])


@pytest.mark.parametrize("test", COV_TYPES)
@pytest.mark.parametrize("method", [m for m in METHODS if m not in ("GENQ", "DLIT")])
def test_omnibus_without_intercept(method, test):
    # One mean a level spans the constant: metafor tests that all means are 0, we test that they are
    # equal, which is metafor's test of the same model with an intercept.
    tests = expected_of("bcg_alloc", method)["tests"]
    r = tests[tests[test].get("same_as", test)]
    res = fit("bcg_alloc_means", METHODS[method], COV_TYPES[test])
    rtol = tolerance(method)[0]
    close(res.fvalue, r["QM"], rtol, "omnibus")
    close(res.f_pvalue, r["QMp"], rtol, "omnibus p")
    assert res.f_df == tuple(r["QMdf"])
    tests = expected_of("bcg_alloc_means", method)["tests"]
    r = tests[tests[test].get("same_as", test)]
    all_zero = res.wald_test(np.eye(3), scalar=True)
    close(all_zero.statistic, r["QM"], rtol, "omnibus")
    close(all_zero.pvalue, r["QMp"], rtol, "omnibus p")


@pytest.mark.parametrize(("case", "method"), WEIGHTED)
def test_heterogeneity(case, method):
    r, res = expected_of(case, method), fit(case, METHODS[method])
    rtol, atol = tolerance(method)
    h = res.heterogeneity
    close(h.q, r["QE"], rtol, "QE")
    close(h.q_pvalue, r["QEp"], rtol, "QEp")
    assert (res.nobs, h.q_df) == (r["k"], r["k"] - r["p"])
    if method != "EE":
        close(h.i2, r["I2"] / 100.0, rtol, "I2", atol=atol / r["vt"])
        close(h.h2, r["H2"], rtol, "H2")
    else:
        # metafor has I2 and H2 of Q there, and as R2 the adjusted R2 of the weighted regression;
        # ours follow from tau2 = 0
        close(h.i2_q, r["I2"] / 100.0, rtol, "I2 of Q", atol=1e-12)
        close(h.q / h.q_df, r["H2"], rtol, "H2 of Q")
        assert (h.i2, h.h2, h.r2) == (0.0, 1.0, 0.0)
    # metafor gives no R2 without moderators or without an explicit intercept
    if r["R2"] is not None and method != "EE":
        close(h.r2, r["R2"] / 100.0, rtol, "R2", atol=rtol)
    elif r["R2"] is not None:
        q, df = h.decomposition["q"], h.decomposition["df"]
        adjusted = 1.0 - (q["residual"] / df["residual"]) / (q["total"] / df["total"])
        close(max(adjusted, 0.0), r["R2"] / 100.0, rtol, "adjusted R2", atol=1e-10)


@pytest.mark.parametrize(("case", "method"), WEIGHTED)
def test_likelihood(case, method):
    res = fit(case, METHODS[method])
    r = expected_of(case, method)["fit.stats"]["REML" if method == "REML" else "ML"]
    rtol = tolerance(method)[0]
    for name, key in (("llf", "logLik"), ("aic", "AIC"), ("bic", "BIC"), ("aicc", "AICc")):
        close(getattr(res, name), r[key], rtol, name)


@pytest.mark.parametrize("case", NOT_CONVERGED)
def test_iterated_dl_where_metafor_cycles(case):
    # the fixed point itself: tau2 = (y'Py - (k-p)) / tr P
    stored_case = stored("fits")[case]
    y, v, X = stored_case.y, stored_case.v, stored_case.exog
    tau2 = fit(case, "dlit").tau2_untruncated
    W = np.diag(1.0 / (v + tau2))
    P = W - W @ X @ np.linalg.solve(X.T @ W @ X, X.T @ W)
    # y'Py + k-p - tau2 tr P = 2(k-p) is the same with tr(PV) = k - p - tau2 tr P
    df = len(y) - X.shape[1]
    close((y @ P @ y - df) / np.trace(P), tau2, 1e-9, "DLIT fixed point")
    assert_allclose(model(case).fit(tau2="dlit").tau2, max(tau2, 0.0), rtol=1e-12)
