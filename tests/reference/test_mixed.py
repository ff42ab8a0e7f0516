"""MixedMetaReg and LocationScaleMetaReg against metafor, clubSandwich and published figures."""

import warnings

import numpy as np
import pytest
import statsmodels.formula.api as smf
from numpy.testing import assert_allclose

import metareg_sm
from metareg_sm.exceptions import ConvergenceWarning, DesignError

from .mixed_cases import model, stored

METAFOR = stored("mixed")
ROBUST = stored("mixed_robust")
NAMES = {"CR0": "CR0", "CR1p": "CR1", "CR1S": "CR1S", "CR2": "CR2", "CR3": "CR3"}


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("name", [n for n in METAFOR if len(METAFOR[n]["y"]) < 1000])
def test_rma_mv(name, method):
    expected = METAFOR[name]["fits"][method]
    with warnings.catch_warnings():
        # some of these likelihoods have several maxima, and the fit says so
        warnings.simplefilter("ignore", ConvergenceWarning)
        res = model(name).fit(reml=method == "REML", df="residual")
    assert res.mle_retvals["converged"]
    assert_allclose(res.llf, expected["llf"], atol=1e-8)
    # nlminb ends where the likelihood is flat to 1e-10, and parameters at the root of that
    assert_allclose(res.params, expected["beta"], atol=1e-5 * min(expected["se"]))
    assert_allclose(res.bse, expected["se"], rtol=1e-5)
    if method == "REML":
        assert_allclose(res.heterogeneity.q, expected["QE"], rtol=1e-9)
    if expected["sigma2"]:
        # flatter still than the coefficients
        assert_allclose(res.vcomp, expected["sigma2"], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ROBUST)
@pytest.mark.parametrize("correction", NAMES)
def test_club_sandwich(name, correction):
    expected = ROBUST[name]["CR"][correction]
    groups = ROBUST[name]["cluster"]
    kwds = {"groups": groups, "correction": NAMES[correction]}
    if (name, correction) == ("assink2016_deltype", "CR3"):
        # one study alone has the level "overt"; clubSandwich drops what is singular
        with pytest.raises(DesignError, match="CR3"):
            model(name).fit(cov_type="cluster", cov_kwds=kwds)
        return
    fit = model(name).fit(cov_type="cluster", cov_kwds=kwds, warn_convergence=False)
    V = np.array(expected["vcov"])
    scale = np.sqrt(np.diag(V))
    # the estimates of the variances agree to 1e-6, where nlminb ends
    assert_allclose(
        fit.cov_params() / np.outer(scale, scale), V / np.outer(scale, scale), atol=5e-6
    )
    if "df" in expected:
        # Satterthwaite's df divide variances of variances: that error, several times over
        assert_allclose(fit.contrast_df(), expected["df"], rtol=1e-5)
        p = len(fit.params)
        R = np.eye(p)[1:] if p > 1 else np.eye(1)
        test = fit.wald_test(R, scalar=True)
        F, m, denominator, pvalue = expected["htz"]
        assert_allclose(
            [test.statistic, test.df_num, test.df_denom, test.pvalue],
            [F, m, denominator, pvalue],
            rtol=5e-5,
        )


@pytest.mark.parametrize("name", ROBUST)
def test_containment_df(name):
    res = model(name).fit(warn_convergence=False)
    assert_allclose(res.contrast_df(), ROBUST[name]["ddf"])


def test_default_clusters_are_the_outermost_groups():
    schools = metareg_sm.datasets.konstantopoulos2011.load_pandas().data
    res = smf.mixedmetareg("yi ~ 1", schools, vi="vi", random="1 | district/school").fit(
        cov_type="cluster"
    )
    # as they were printed
    assert_allclose(res.bse, 0.0845, atol=5e-5)
    assert_allclose(res.contrast_df(), 9.86, atol=5e-3)
    assert_allclose(res.pvalues, 0.0540, atol=5e-5)


def test_profile_interval():
    # in exact arithmetic .02223969 to .20724162; metafor's root search stops at 1e-4
    schools = metareg_sm.datasets.konstantopoulos2011.load_pandas().data
    res = smf.mixedmetareg("yi ~ 1", schools, vi="vi", random="1 | district/school").fit()
    found = res.conf_int_variance().loc["district", ["ci_lower", "ci_upper"]]
    assert_allclose(found, [0.022239690666529, 0.207241619212379], rtol=1e-6)
    assert_allclose(found, [0.022233, 0.207242], rtol=5e-4)


def test_published_figures():
    schools = metareg_sm.datasets.konstantopoulos2011.load_pandas().data
    nested = {"vi": "vi", "random": "1 | district/school"}
    res = smf.mixedmetareg("yi ~ 1", schools, **nested).fit()
    assert_allclose([*res.params, *res.bse], [0.1847131637, 0.0845559187], atol=1e-9)
    assert_allclose(res.vcomp, [0.0650619, 0.0327365], atol=5e-8)
    assert_allclose([res.llf, res.heterogeneity.q], [-7.9587240, 578.86402], rtol=1e-8)
    res = smf.mixedmetareg("yi ~ year", schools, **nested).fit()
    assert_allclose([res.params["year"], res.bse["year"]], [0.0053118, 0.0094358], atol=5e-8)
    assert_allclose(res.vcomp, [0.0722656, 0.0326502], atol=5e-8)
    assert_allclose(res.llf, -7.2404668, atol=5e-8)

    trials = metareg_sm.datasets.berkey1998.load_pandas().data
    V = [g[["v1i", "v2i"]].to_numpy() for _, g in trials.groupby("trial", sort=False)]
    several = {"V": V, "random": "0 + outcome | trial"}
    res = smf.mixedmetareg("yi ~ 0 + outcome", trials, **several).fit()
    assert_allclose(res.params, [-0.3392152, 0.3534282], atol=5e-8)
    # printed by R from where its optimizer ends
    assert_allclose(res.bse, [0.0879052, 0.0588486], atol=1e-7)
    assert_allclose(np.diag(res.cov_re), [0.0326513, 0.0117330], atol=5e-8)
    # rma.mv's optimizer ends 3e-7 from the maximum that 50 digits confirm
    assert_allclose(res.components.values[-1], 0.6087990, atol=1e-6)
    assert_allclose(res.llf, 3.6917677, atol=5e-8)
    res = smf.mixedmetareg("yi ~ 0 + outcome + outcome:I(year - 1983)", trials, **several)
    res = res.fit(reml=False)
    assert_allclose(res.llf, 6.0042963, atol=5e-8)
    assert_allclose(res.components.values[-1], 0.6586859, atol=1e-6)


def test_published_location_scale():
    writing = metareg_sm.datasets.bangertdrowns2004.load_pandas().data
    res = smf.lsmetareg("yi ~ 1", writing, vi="vi", scale_formula="~ grade").fit()
    assert_allclose([*res.params, *res.bse], [0.2220791, 0.0460484], atol=5e-8)
    assert_allclose(res.scale_params, [-3.1051301, 0.0413619], atol=5e-8)
    assert_allclose(res.scale_bse, [0.9735778, 0.3264548], rtol=1e-6)
    assert_allclose(res.llf, -18.4863118, atol=5e-8)
