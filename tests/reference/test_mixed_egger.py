"""Egger's regression, PET and PEESE of every model against metafor and clubSandwich."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from metareg_sm import LocationScaleMetaReg
from metareg_sm.exceptions import ConvergenceWarning

from .mixed_cases import model, stored

FILE = json.loads((Path(__file__).parent / "mixed_egger.json").read_text(encoding="utf-8"))
MIXED, SCALE = FILE["cases"], FILE["scale"]
METHODS = ("REML", "ML")
PREDICTORS = ("sei", "vi")


@pytest.fixture(autouse=True)
def _several_maxima():
    # some of these likelihoods have several maxima, and the fit says so
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def near(found, known, unit, rtol):
    """In units of a standard error, for estimates and ends of intervals may be close to 0."""
    assert_allclose(np.asarray(found) / unit, np.asarray(known) / unit, rtol=rtol, atol=rtol)


def check(test, known, rtol):
    """The record and its regression against `known`, which has arrays over the coefficients."""
    known = {name: np.array(values) for name, values in known.items() if name != "CR2"}
    beta, se = known["beta"], known["se"]
    ends = np.column_stack([known["ci_lower"], known["ci_upper"]])
    near(test.slope, beta[-1], se[-1], rtol)
    near(test.statistic, known["statistic"][-1], 1.0, rtol)
    assert_allclose(test.slope_se, se[-1], rtol=rtol)
    # small tails magnify the statistic's error
    assert_allclose(test.pvalue, known["pvalue"][-1], rtol=10 * rtol)
    fit = test.fit
    near(fit.params, beta, se, rtol)
    assert_allclose(fit.bse, se, rtol=rtol)
    assert_allclose(fit.llf, known["llf"], atol=1e-9)
    near(fit.conf_int(), ends, se[:, None], 5 * rtol)
    if len(se) == 2 and np.all(fit.model.exog[:, 0] == 1.0):
        near(test.limit, beta[0], se[0], rtol)
        near(test.limit_ci, ends[0], se[0], 5 * rtol)
    else:
        assert np.isnan(test.limit)


def check_pet(fit, known, rtol):
    """PET and PEESE are the constants of the two regressions."""
    at = fit.model.data.const_idx
    if at is None:
        return
    found = fit.pet_peese()
    for effect, predictor in ((found.pet, "sei"), (found.peese, "vi")):
        r = known[predictor]
        se = r["se"][at]
        near(effect.estimate, r["beta"][at], se, rtol)
        near(effect.ci, [r["ci_lower"][at], r["ci_upper"][at]], se, 5 * rtol)
        assert_allclose(effect.se, se, rtol=rtol)
        assert_allclose(effect.pvalue, r["pvalue"][at], rtol=10 * rtol)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", MIXED)
def test_rma_mv(name, method):
    known = MIXED[name][method]
    fit = model(name).fit(reml=method == "REML", warn_convergence=False)
    for predictor in PREDICTORS:
        check(fit.egger_test(predictor), known[predictor], 2e-7)
        assert_allclose(fit.egger_test(predictor).fit.contrast_df(), known[predictor]["ddf"])
    check_pet(fit, known, 2e-7)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", [n for n in MIXED if "CR2" in MIXED[n]["REML"]["sei"]])
def test_club_sandwich(name, method):
    kwds = {"groups": MIXED[name]["cluster"], "correction": "CR2"}
    fit = model(name).fit(
        reml=method == "REML", cov_type="cluster", cov_kwds=kwds, warn_convergence=False
    )
    for predictor in PREDICTORS:
        known, test = MIXED[name][method][predictor]["CR2"], fit.egger_test(predictor)
        assert test.fit.cov_type == "cluster"
        assert_allclose(test.fit.bse, known["se"], rtol=2e-7)
        assert_allclose(test.fit.contrast_df(), known["df"], rtol=2e-7)
        assert_allclose(test.fit.tvalues, known["statistic"], rtol=2e-7, atol=2e-7)
        assert_allclose(test.fit.pvalues, known["pvalue"], rtol=2e-6)
        assert (test.df, test.pvalue) == (test.fit.contrast_df()[-1], test.fit.pvalues.iloc[-1])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SCALE)
def test_location_scale(name, method):
    case = stored("location_scale")[name]
    y, v, X, Z = (np.array(case[key], dtype=float) for key in ("y", "v", "X", "Z"))
    fit = LocationScaleMetaReg(y, X, vi=v, scale_exog=Z).fit(reml=method == "REML")
    for predictor in PREDICTORS:
        # metafor's optimizers end where the likelihood of alpha is flat
        check(fit.egger_test(predictor), SCALE[name][method][predictor], 1e-5)
    check_pet(fit, SCALE[name][method], 1e-5)
