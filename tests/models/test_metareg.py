"""MetaReg itself: arrays in, attributes, the likelihood of tau2, and what fit leaves alone."""

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from statsmodels.base.model import LikelihoodModel
from statsmodels.tools.numdiff import approx_fprime

from metareg_sm import MetaReg
from metareg_sm.core.tau2 import ESTIMATORS


@pytest.fixture
def model(bcg):
    return MetaReg.from_formula("yi ~ ablat + year", bcg, vi="vi")


def test_attributes(bcg, model):
    assert isinstance(model, LikelihoodModel)
    assert model.nobs == 13
    assert (model.df_model, model.df_resid) == (2.0, 10.0)
    assert model.k_constant == 1
    assert model.exog_names == ["Intercept", "ablat", "year"]
    assert model.endog_names == "yi"
    assert model.formula == "yi ~ ablat + year"
    assert_allclose(model.vi, bcg["vi"])


def test_array_and_formula_agree(bcg, model):
    exog = np.column_stack([np.ones(13), bcg["ablat"], bcg["year"]])
    known = model.fit()
    for y, X, v in (
        (bcg["yi"].to_numpy(), exog, bcg["vi"].to_numpy()),
        (bcg["yi"].tolist(), exog.tolist(), bcg["vi"].tolist()),
        (bcg["yi"], pd.DataFrame(exog), bcg["vi"][::-1]),
        (bcg[["yi"]], exog, bcg["vi"]),
    ):
        res = MetaReg(y, X, vi=v).fit()
        assert_allclose(res.params, known.params, rtol=1e-12)
        assert_allclose(res.bse, known.bse, rtol=1e-12)
        assert_allclose(res.tau2, known.tau2, rtol=1e-12)
    res = MetaReg(bcg["yi"], exog, sei=np.sqrt(bcg["vi"])).fit()
    assert_allclose(res.params, known.params, rtol=1e-10)


def test_names_from_arrays_and_frames(bcg):
    exog = sm.add_constant(bcg[["ablat"]])
    res = MetaReg(bcg["yi"], exog, vi=bcg["vi"]).fit()
    assert list(res.params.index) == ["const", "ablat"]
    plain = MetaReg(bcg["yi"].to_numpy(), exog.to_numpy(), vi=bcg["vi"].to_numpy())
    assert plain.exog_names == ["const", "x1"]
    assert isinstance(plain.fit().params, np.ndarray)


def test_one_column_may_be_a_vector(bcg):
    known = MetaReg(bcg["yi"], bcg[["ablat"]], vi=bcg["vi"]).fit()
    res = MetaReg(bcg["yi"].to_numpy(), bcg["ablat"].to_numpy(), vi=bcg["vi"].to_numpy()).fit()
    assert_allclose(res.params, known.params)


def test_missing_drop_of_arrays(bcg):
    X = sm.add_constant(bcg[["ablat"]].astype(float)).to_numpy()
    y, v = bcg["yi"].to_numpy().copy(), bcg["vi"].to_numpy().copy()
    y[1], X[4, 1], v[7] = np.nan, np.nan, np.nan
    keep = np.ones(13, dtype=bool)
    keep[[1, 4, 7]] = False
    res = MetaReg(y, X, vi=v, missing="drop").fit()
    known = MetaReg(y[keep], X[keep], vi=v[keep]).fit()
    assert_allclose(res.params, known.params)
    assert_allclose(res.tau2, known.tau2)
    assert res.nobs == 10
    assert_allclose(res.model.vi, v[keep])


def test_hasconst(bcg):
    X = np.column_stack([bcg["alloc"] == a for a in ("random", "alternate", "systematic")])
    assert MetaReg(bcg["yi"], X.astype(float), vi=bcg["vi"]).df_model == 2.0
    assert MetaReg(bcg["yi"], X.astype(float), vi=bcg["vi"], hasconst=False).df_model == 3.0


@pytest.mark.parametrize("reml", [True, False])
def test_likelihood_of_tau2(model, reml):
    at = np.array([0.13])
    value = model.loglike(at, reml)
    assert isinstance(value, float)
    assert_allclose(value, model.loglike(0.13, reml), rtol=1e-12)
    assert model.score(at, reml).shape == (1,)
    assert model.hessian(at, reml).shape == (1, 1)
    assert model.information(at, reml).shape == (1, 1)
    first = approx_fprime(at, lambda t: model.loglike(t, reml), centered=True)
    second = approx_fprime(at, lambda t: model.score(t, reml)[0], centered=True)
    assert_allclose(model.score(at, reml), np.ravel(first), rtol=1e-6)
    assert_allclose(model.hessian(at, reml).ravel(), np.ravel(second), rtol=1e-6)


def test_likelihood_at_the_fit(model):
    for tau2, reml in (("reml", True), ("ml", False)):
        res = model.fit(tau2=tau2)
        assert_allclose(res.llf, model.loglike(res.tau2, reml), rtol=1e-12)
        assert_allclose(model.score(res.tau2, reml), 0.0, atol=1e-10)
        known = 1.0 / np.sqrt(model.information(res.tau2, reml)[0, 0])
        assert_allclose(res.tau2_se, known, rtol=1e-10)


@pytest.mark.parametrize("name", sorted({e.name for e in ESTIMATORS.values()}))
def test_every_estimator_fits(model, name):
    res = model.fit(tau2=name)
    w = 1.0 / (model.vi + res.tau2)
    known = sm.WLS(model.endog, model.exog, weights=w).fit()
    assert_allclose(res.params, known.params, rtol=1e-8)
    assert_allclose(res.bse, known.bse, rtol=1e-8)
    assert res.tau2 >= 0.0
    assert res.tau2_se > 0.0
    assert_allclose(res.tau**2, res.tau2)
    assert res.method == ESTIMATORS[name].label
    assert hasattr(res, "mle_retvals") == (name in ("reml", "ml"))


@pytest.mark.parametrize("alias", ["REML", "Paule-Mandel", "dersimonian-laird", "HO"])
def test_names_in_any_case_and_aliases(model, alias):
    assert_allclose(
        model.fit(tau2=alias).tau2, model.fit(tau2=ESTIMATORS[alias.lower()].name).tau2, rtol=1e-12
    )


@pytest.mark.parametrize("tau2", [0, 0.0, 0.25, np.float64(0.25), np.int64(1)])
def test_fixed_tau2(model, tau2):
    res = model.fit(tau2=tau2)
    assert res.tau2 == tau2
    assert res.tau2_se == 0.0
    assert res.method == ("common effect" if tau2 == 0 else "fixed tau2")
    w = 1.0 / (model.vi + tau2)
    known = sm.WLS(model.endog, model.exog, weights=w).fit()
    assert_allclose(res.params, known.params, rtol=1e-8)
    assert_allclose(res.llf, model.loglike(tau2, reml=False), rtol=1e-12)
    assert res.df_modelwc == 3.0


def test_genq_weights(model):
    w = np.linspace(1.0, 3.0, 13)
    assert model.fit(tau2="genq", weights=w).tau2 != model.fit(tau2="genq").tau2
    assert_allclose(model.fit(tau2="genq").tau2, model.fit(tau2="dl").tau2, rtol=1e-12)
    assert_allclose(model.fit(tau2="genq", weights=5.0 * w).tau2, model.fit("genq", weights=w).tau2)
    assert_allclose(model.fit("genq", weights=np.ones(13)).tau2, model.fit("he").tau2, rtol=1e-12)


def test_untruncated(bcg):
    bcg["yi"] = 0.05 * bcg["yi"]
    model = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi")
    for name in ("dl", "pm", "he", "hs"):
        res = model.fit(tau2=name)
        assert res.tau2 == 0.0
        assert res.tau2_untruncated < 0.0
    assert model.fit(tau2="reml").tau2_untruncated == 0.0


def test_use_t(model):
    for cov_type in ("knapp-hartung", "nonrobust", "HC1"):
        t, z = (model.fit(cov_type=cov_type, use_t=use) for use in (True, False))
        assert_allclose(t.bse, z.bse)
        assert (t.pvalues > z.pvalues).all()
    assert model.fit(cov_type="nonrobust", use_t=np.True_).use_t is True


def test_fit_does_not_change_the_model(bcg):
    model = MetaReg.from_formula("yi ~ ablat + year", bcg, vi="vi")
    before = {name: copy.deepcopy(value) for name, value in vars(model).items() if name != "data"}
    first = model.fit()
    params, tau2 = first.params.copy(), first.tau2
    second = model.fit(tau2="dl", cov_type="HC3")
    third = model.fit(tau2=0.0, cov_type="nonrobust", method="nm")
    assert (first.cov_type, second.cov_type, third.cov_type) == (
        "knapp-hartung",
        "HC3",
        "nonrobust",
    )
    # read after all three are fitted: each has its own
    assert first.tau2 == tau2
    assert_allclose(first.params, params)
    assert_allclose(first.bse, MetaReg.from_formula("yi ~ ablat + year", bcg, vi="vi").fit().bse)
    assert len({round(r.bse["ablat"], 12) for r in (first, second, third)}) == 3
    assert len({round(r.heterogeneity.i2, 12) for r in (first, second, third)}) == 3
    after = {name: value for name, value in vars(model).items() if name != "data"}
    assert after.keys() == before.keys()
    for name, value in before.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(after[name], value)


def test_input_arrays_are_not_changed(bcg):
    y, X, v = bcg["yi"].to_numpy(), bcg[["ablat", "year"]].to_numpy(float), bcg["vi"].to_numpy()
    y, X, v = y.copy(), X.copy(), v.copy()
    copies = y.copy(), X.copy(), v.copy()
    for array in (y, X, v):
        array.setflags(write=False)
    MetaReg(y, X, vi=v).fit(cov_type="HC3").summary()
    for array, known in zip((y, X, v), copies, strict=True):
        np.testing.assert_array_equal(array, known)


def test_model_can_be_pickled_and_copied(model):
    known = model.fit()
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert_allclose(other.fit().params, known.params)
        assert_allclose(other.fit().tau2, known.tau2, rtol=1e-12)


def test_predict(model):
    b = np.array([1.0, 2.0, 3.0])
    assert_allclose(model.predict(b), model.exog @ b)
    assert_allclose(model.predict(b, np.eye(3)), b)


def test_no_warning_and_no_randomness(bcg):
    before = np.random.get_state()[1].copy()  # noqa: NPY002 (the global state is what is tested)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = MetaReg(bcg["yi"], sm.add_constant(bcg[["ablat"]]), vi=bcg["vi"])
        first = model.fit(method="basinhopping")
        assert_allclose(first.tau2, model.fit(method="basinhopping").tau2, rtol=1e-12)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002 (the global state is what is tested)


def test_more_than_a_thousand_studies():
    rng = np.random.default_rng(0)
    k = 1500
    v = rng.uniform(0.05, 1.0, k)
    X = np.column_stack([np.ones(k), rng.normal(size=k)])
    y = X @ [0.5, -0.2] + rng.normal(0.0, np.sqrt(v + 0.4))
    res = MetaReg(y, X, vi=v).fit()
    assert abs(res.tau2 - 0.4) < 4.0 * res.tau2_se
    assert (abs(res.params - [0.5, -0.2]) < 4.0 * res.bse).all()
