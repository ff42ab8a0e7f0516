"""Mistakes in the options of robust covariances, and fits without degrees of freedom."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from metareg_sm import MetaReg
from metareg_sm.exceptions import DesignError, OptionError, VarianceError


def fit(data, formula="yi ~ ablat", **kwds):
    return MetaReg.from_formula(formula, data, vi="vi").fit(**kwds)


def cluster(data, formula="yi ~ ablat", **kwds):
    return fit(data, formula, cov_type="cluster", cov_kwds=kwds)


def test_cluster_without_groups(bcg):
    for kwds in (None, {}, {"groups": None}, {"correction": "CR2"}):
        with pytest.raises(OptionError, match=r"cov_type='cluster' needs cov_kwds=\{'groups'"):
            fit(bcg, cov_type="cluster", cov_kwds=kwds)


def test_unknown_cov_kwds(bcg):
    with pytest.raises(OptionError, match=r"unknown keyword 'group'. Did you mean 'groups'\?"):
        cluster(bcg, group="alloc")
    with pytest.raises(OptionError, match="cov_type='HC1' got an unknown keyword 'groups'"):
        fit(bcg, cov_type="HC1", cov_kwds={"groups": "alloc"})


def test_unknown_correction(bcg):
    with pytest.raises(OptionError, match=r"cov_kwds\['correction'\]='CR9' is not known"):
        cluster(bcg, groups="trial", correction="CR9")


def test_groups_that_do_not_exist(bcg):
    with pytest.raises(VarianceError, match=r"groups='aloc'.*Did you mean 'alloc'\?"):
        cluster(bcg, groups="aloc")
    model = MetaReg(bcg["yi"], bcg[["ablat"]], vi=bcg["vi"])
    with pytest.raises(DesignError, match="only the formula interface has"):
        model.fit(cov_type="cluster", cov_kwds={"groups": "alloc"})


def test_groups_of_the_wrong_length(bcg):
    with pytest.raises(DesignError, match="groups has 5 values for the 13 rows of the studies"):
        cluster(bcg, groups=np.arange(5))


def test_missing_group(bcg):
    bcg.loc[3, "alloc"] = None
    with pytest.raises(DesignError, match="groups is missing for row 3"):
        cluster(bcg, groups="alloc")


def test_too_few_clusters(bcg):
    with pytest.raises(DesignError, match="at least 2 clusters; groups has 1"):
        cluster(bcg, groups=np.zeros(13))
    with pytest.raises(DesignError, match=r"needs more clusters than coefficients; groups has 3"):
        cluster(bcg, "yi ~ ablat + year", groups="alloc", correction="CR1")
    res = cluster(bcg, "yi ~ ablat + year", groups="alloc", correction="CR2")
    assert np.isfinite(res.bse).all()


def test_joint_test_without_degrees_of_freedom(bcg):
    res = cluster(bcg, "yi ~ ablat + year", groups="alloc", correction="CR2")
    with pytest.raises(DesignError, match="joint test of 3 constraints has no degrees of freedom"):
        res.wald_test(["Intercept", "ablat", "year"], scalar=True)


def test_cluster_fitted_exactly(bcg):
    bcg["one"] = (bcg["trial"] == 4).astype(float)
    with pytest.raises(DesignError, match="CR3' is undefined: the moderators fit at least one"):
        cluster(bcg, "yi ~ ablat + one", groups="trial", correction="CR3")
    assert np.isfinite(cluster(bcg, "yi ~ ablat + one", groups="trial").bse).all()


@pytest.mark.parametrize("cov_type", ["HC2", "HC3"])
def test_study_fitted_exactly(bcg, cov_type):
    bcg["one"] = (bcg["trial"] == 4).astype(float)
    with pytest.raises(DesignError, match="HC2 and HC3 are undefined: study 3"):
        fit(bcg, "yi ~ ablat + one", cov_type=cov_type)
    assert np.isfinite(fit(bcg, "yi ~ ablat + one", cov_type="HC1").bse).all()


@pytest.mark.parametrize("correction", ["CR0", "CR1S", "CR2"])
def test_a_cluster_that_determines_a_coefficient_alone(bcg, correction):
    # its residual is 0, and a standard error of 0 would be no estimate
    bcg["alloc"] = ["only", *["rest"] * 12]
    with pytest.raises(DesignError, match=r"coefficient 0 .*one cluster determines it alone"):
        cluster(bcg, "yi ~ 0 + alloc", groups="trial", correction=correction)
    with pytest.raises(DesignError, match=r"coefficient 0 .*one study determines it alone"):
        fit(bcg, "yi ~ 0 + alloc", cov_type="HC1")


def test_constraints_that_contradict_each_other(bcg_res):
    for constraints in (["ablat = 0", "ablat = 1"], ["ablat = 0", "year = 0", "ablat + year = 1"]):
        with pytest.raises(DesignError, match="contradicts the others"):
            bcg_res.wald_test(constraints, scalar=True)
    known = bcg_res.wald_test(["ablat = 0", "year = 0"], scalar=True)
    again = bcg_res.wald_test(["ablat = 0", "year = 0", "ablat - 2 * year = 0"], scalar=True)
    assert (again.df_num, again.df_denom) == (known.df_num, known.df_denom)
    assert_allclose(again.statistic, known.statistic, rtol=1e-10)


def test_as_many_coefficients_as_studies(bcg):
    few = bcg[:2]
    with pytest.raises(DesignError, match="tau2='reml' needs more studies than coefficients"):
        fit(few)
    with pytest.raises(DesignError, match=r"cov_type='knapp-hartung'.* needs more studies"):
        fit(few, tau2=0.0)
    with pytest.raises(DesignError, match="with use_t=True needs more studies"):
        fit(few, tau2=0.0, cov_type="nonrobust", use_t=True)
    res = fit(few, tau2=0.0, cov_type="nonrobust")
    assert_allclose(res.fittedvalues, few["yi"], rtol=1e-12)
    X = res.model.exog
    inverse = np.linalg.inv(X)
    assert_allclose(res.cov_params(), inverse @ np.diag(few["vi"]) @ inverse.T, rtol=1e-9)
    assert "MetaReg" in str(res.summary())


def test_profile_functions_take_tau2_alone(bcg):
    model = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi")
    for name in ("loglike", "score", "hessian", "information"):
        with pytest.raises(OptionError, match=f"{name} is a function of tau2 alone"):
            getattr(model, name)([0.1, 0.2])
