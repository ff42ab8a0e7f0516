"""The results object: inference on the coefficients, criteria, storage."""

import io
import pickle

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal, assert_series_equal
from scipy.stats import chi2, f, norm, t
from statsmodels.base.model import LikelihoodModelResults
from statsmodels.iolib.summary2 import summary_col

from metareg_sm import MetaReg
from metareg_sm.exceptions import DataRemovedError

COV_TYPES = ("knapp-hartung", "knapp-hartung-adhoc", "nonrobust", "HC0", "HC3")


def fit(data, formula="yi ~ ablat + year", **kwds):
    return MetaReg.from_formula(formula, data, vi="vi").fit(**kwds)


def test_kind_and_labels(bcg_res):
    res = bcg_res
    assert isinstance(res._results, LikelihoodModelResults)
    for name in ("params", "bse", "tvalues", "pvalues"):
        values = getattr(res, name)
        assert isinstance(values, pd.Series)
        assert list(values.index) == ["Intercept", "ablat", "year"]
    assert list(res.cov_params().columns) == ["Intercept", "ablat", "year"]
    for name in ("fittedvalues", "resid", "weights"):
        assert isinstance(getattr(res, name), pd.Series)
        assert len(getattr(res, name)) == 13


@pytest.mark.parametrize("name", ["params", "bse", "tvalues", "pvalues"])
def test_labels_are_of_each_answer_alone(bcg, name):
    res = fit(bcg)
    inner = np.array(getattr(res._results, name))
    one = getattr(res, name)
    one.index.name = "term"
    assert getattr(res, name).index.name is None
    assert fit(bcg).params.index.name is None
    assert_series_equal(getattr(res, name), pd.Series(inner, ["Intercept", "ablat", "year"]))
    plain = MetaReg(bcg["yi"].to_numpy(), res.model.exog, vi=bcg["vi"].to_numpy()).fit()
    assert type(getattr(plain, name)) is np.ndarray
    assert_allclose(getattr(plain, name), inner, rtol=1e-9)


def test_labels_follow_the_names_of_the_data(bcg):
    res = fit(bcg)
    assert list(res.params.index) == ["Intercept", "ablat", "year"]
    res.model.data.xnames[1] = "latitude"
    assert (
        list(res.params.index) == list(res.cov_params().index) == ["Intercept", "latitude", "year"]
    )
    again = pickle.loads(pickle.dumps(res))
    assert list(again.bse.index) == ["Intercept", "latitude", "year"]
    pairs = res.model.exog[:, 1:]
    two = MetaReg(bcg["yi"], pd.DataFrame(pairs, columns=[("a", 1), 2]), vi=bcg["vi"]).fit()
    assert list(two.params.index) == [("a", 1), 2]


def test_fitted_values(bcg, bcg_res):
    res = bcg_res
    assert_allclose(res.fittedvalues, res.model.exog @ res.params, rtol=1e-13)
    assert_allclose(res.resid, bcg["yi"] - res.fittedvalues, rtol=1e-10)
    assert_allclose(res.weights, 1.0 / (bcg["vi"] + res.tau2), rtol=1e-13)
    assert_allclose(res.predict(), res.fittedvalues, rtol=1e-13)
    assert_allclose(res.predict(bcg[:3]), res.fittedvalues[:3], rtol=1e-12)


@pytest.mark.parametrize("cov_type", COV_TYPES)
def test_inference_is_consistent(bcg, cov_type):
    res = fit(bcg, cov_type=cov_type)
    dist = t(res.df_resid) if res.use_t else norm()
    assert_allclose(res.bse, np.sqrt(np.diag(res.cov_params())), rtol=1e-12)
    assert_allclose(res.tvalues, res.params / res.bse, rtol=1e-12)
    assert_allclose(res.pvalues, 2.0 * dist.sf(abs(res.tvalues)), rtol=1e-9)
    for alpha in (0.01, 0.05, 0.3):
        ci = res.conf_int(alpha)
        half = dist.isf(alpha / 2) * res.bse
        assert_allclose(ci[0], res.params - half, rtol=1e-9)
        assert_allclose(ci[1], res.params + half, rtol=1e-9)
    test = res.t_test(np.eye(3))
    assert_allclose(test.effect, res.params)
    assert_allclose(np.ravel(test.sd), res.bse)
    assert_allclose(test.pvalue, res.pvalues, rtol=1e-10)
    assert_allclose(test.conf_int(), res.conf_int(), rtol=1e-10)


@pytest.mark.parametrize("cov_type", COV_TYPES)
def test_omnibus(bcg, cov_type):
    res = fit(bcg, "yi ~ ablat + C(alloc)", cov_type=cov_type)
    b, V = np.asarray(res.params)[1:], np.asarray(res.cov_params())[1:, 1:]
    statistic = b @ np.linalg.solve(V, b)
    if res.use_t:
        assert_allclose(res.fvalue, statistic / 3, rtol=1e-9)
        assert_allclose(res.f_pvalue, f.sf(statistic / 3, 3, 9), rtol=1e-9)
        assert res.f_df == (3, 9)
    else:
        assert_allclose(res.fvalue, statistic, rtol=1e-9)
        assert_allclose(res.f_pvalue, chi2.sf(statistic, 3), rtol=1e-9)
        assert res.f_df == (3, None)


def test_t_test_of_strings(bcg_res):
    res = bcg_res
    one = res.t_test("ablat = 0")
    assert_allclose(one.pvalue, res.pvalues["ablat"], rtol=1e-10)
    both = res.t_test("ablat - year = 0.01, year = 0")
    c = np.array([0.0, 1.0, -1.0])
    value = (c @ res.params - 0.01) / np.sqrt(c @ res.cov_params() @ c)
    assert_allclose(both.tvalue[0], value, rtol=1e-10)
    assert_allclose(both.pvalue[0], 2.0 * t.sf(abs(value), 10), rtol=1e-9)
    assert_allclose(res.f_test("ablat = 0").pvalue, res.pvalues["ablat"], rtol=1e-9)


def test_wald_test(bcg_res):
    res = bcg_res
    test = res.wald_test("ablat = year = 0", scalar=True)
    assert_allclose(test.statistic, res.fvalue, rtol=1e-10)
    assert (test.df_num, test.df_denom) == (2, 10)
    chi = res.wald_test("ablat = year = 0", use_f=False, scalar=True)
    assert_allclose(chi.statistic, 2.0 * res.fvalue, rtol=1e-10)


def test_terms(bcg):
    res = fit(bcg, "yi ~ ablat + C(alloc)")
    table = res.wald_test_terms(scalar=True).table
    assert list(table.index) == ["Intercept", "C(alloc)", "ablat"]
    alloc = [name for name in res.params.index if name.startswith("C(alloc)")]
    known = res.wald_test(f"{alloc[0]} = 0, {alloc[1]} = 0", scalar=True)
    assert_allclose(table.loc["C(alloc)"], [known.statistic, known.pvalue, 2.0, 9.0], rtol=1e-9)
    assert_allclose(table.loc["ablat", "pvalue"], res.pvalues["ablat"], rtol=1e-9)


@pytest.mark.parametrize("correction", ["CR2", "CR3"])
def test_terms_under_clusters_are_hotelling_tests(clustered, correction):
    kwds = {"cov_type": "cluster", "cov_kwds": {"groups": "g", "correction": correction}}
    res = MetaReg.from_formula("y ~ x + C(v > 0.2) * z", clustered, vi="v").fit(**kwds)
    table = res.wald_test_terms(scalar=True).table
    known = res.wald_test("x = 0", scalar=True)
    assert_allclose(table.loc["x"].iloc[0], known.statistic, rtol=1e-9)
    assert_allclose(table.loc["x"].iloc[1], res.pvalues["x"], rtol=1e-8)


def test_pairwise(bcg):
    res = fit(bcg, "yi ~ C(alloc)")
    frame = res.t_test_pairwise("C(alloc)").result_frame
    names = ["random-alternate", "systematic-alternate", "systematic-random"]
    assert list(frame.index) == names
    b = res.params
    assert_allclose(frame["coef"], [b.iloc[1], b.iloc[2], b.iloc[2] - b.iloc[1]], rtol=1e-10)
    assert_allclose(frame["P>|t|"].iloc[:2], res.pvalues.iloc[1:], rtol=1e-9)


@pytest.mark.parametrize(("tau2", "extra"), [("reml", 1), ("ml", 1), ("dl", 1), (0.1, 0)])
def test_criteria(bcg, tau2, extra):
    res = fit(bcg, tau2=tau2)
    d, n = 3 + extra, 10 if tau2 == "reml" else 13
    assert res.df_modelwc == d
    assert_allclose(res.aic, -2.0 * res.llf + 2.0 * d, rtol=1e-13)
    penalty = 2.0 * d * max(n, d + 2) / (max(n, d + 2) - d - 1)
    assert_allclose(res.aicc, -2.0 * res.llf + penalty, rtol=1e-13)
    assert_allclose(res.bic, -2.0 * res.llf + np.log(n) * d, rtol=1e-13)
    assert_allclose(res.llf, res.model.loglike(res.tau2, tau2 == "reml"), rtol=1e-12)
    assert res.reml == (tau2 == "reml")


def test_corrected_criterion_with_few_studies(bcg):
    res = fit(bcg[:5], tau2="reml")
    d = 4
    # k - p is 2, so that n is d + 2
    assert_allclose(res.aicc, -2.0 * res.llf + 2.0 * d * (d + 2), rtol=1e-12)


def test_criteria_of_wls(bcg):
    res = fit(bcg, tau2=0.0)
    known = sm.WLS(bcg["yi"], res.model.exog, weights=1.0 / bcg["vi"]).fit()
    r = known.resid / np.sqrt(bcg["vi"])
    assert_allclose(res.llf, (norm.logpdf(r) - 0.5 * np.log(bcg["vi"])).sum(), rtol=1e-12)


def test_summary_frame(bcg_res):
    frame = bcg_res.summary_frame(0.1)
    columns = ["coef", "se", "statistic", "pvalue", "ci_lower", "ci_upper"]
    assert list(frame.columns) == columns
    known = [bcg_res.params, bcg_res.bse, bcg_res.tvalues, bcg_res.pvalues]
    for column, values in zip(columns, known, strict=False):
        assert_series_equal(frame[column], values, check_names=False)
    assert_allclose(frame[["ci_lower", "ci_upper"]], bcg_res.conf_int(0.1))


def test_summary_frame_exponentiated(bcg_res):
    frame, plain = bcg_res.summary_frame(exponentiate=True), bcg_res.summary_frame()
    for column in ("coef", "ci_lower", "ci_upper"):
        assert_allclose(frame[column], np.exp(plain[column]), rtol=1e-13)
    assert_allclose(frame["se"], plain["se"] * np.exp(plain["coef"]), rtol=1e-13)
    for column in ("statistic", "pvalue"):
        assert_allclose(frame[column], plain[column], rtol=1e-13)


def test_summary_col(bcg, bcg_res):
    one, two = fit(bcg, "yi ~ 1"), bcg_res
    table = summary_col([one, two], model_names=["null", "full"]).tables[0]
    assert table.loc["tau2", "null"] == f"{one.tau2:.4f}"
    assert table.loc["tau2", "full"] == f"{two.tau2:.4f}"
    assert table.loc["I2", "full"] == f"{two.heterogeneity.i2:.4f}"
    assert table.loc["k", "full"] == "13"
    assert table.loc["ablat", "full"] == f"{two.params['ablat']:.4f}"
    assert table.loc["ablat", "null"] == ""


def test_summary_col_with_a_zero_variance(bcg):
    bcg.loc[2, "vi"] = 0.0
    table = summary_col([fit(bcg)]).tables[0]
    assert "tau2" in table.index


@pytest.mark.parametrize("cov_type", ["knapp-hartung", "HC3"])
def test_pickle(bcg, cov_type):
    res = fit(bcg, cov_type=cov_type)
    summary = str(res.summary())
    other = pickle.loads(pickle.dumps(res))
    assert_series_equal(other.params, res.params)
    assert_frame_equal(other.conf_int(), res.conf_int())
    assert_allclose(
        (other.tau2, other.llf, other.f_pvalue), (res.tau2, res.llf, res.f_pvalue), rtol=1e-12
    )
    assert_frame_equal(other.conf_int_tau2(), res.conf_int_tau2())
    new = {"ablat": [10.0, 50.0], "year": [1950.0, 1980.0]}
    assert_allclose(
        other.get_prediction(new).summary_frame(), res.get_prediction(new).summary_frame()
    )
    assert summary.splitlines()[8:] == str(other.summary()).splitlines()[8:]


def test_save_and_load(bcg_res, tmp_path):
    path = tmp_path / "fit.pickle"
    bcg_res.save(path)
    for other in (type(bcg_res).load(path), sm.load(path)):
        assert_series_equal(other.params, bcg_res.params)
        assert_allclose(other.tau2, bcg_res.tau2, rtol=1e-12)
    buffer = io.BytesIO()
    bcg_res.save(buffer, remove_data=True)
    buffer.seek(0)
    small = sm.load(buffer)
    assert_series_equal(small.bse, bcg_res.bse)
    assert len(buffer.getvalue()) < path.stat().st_size


@pytest.mark.parametrize("cov_type", ["knapp-hartung", "nonrobust", "cluster"])
def test_remove_data(bcg, cov_type):
    kwds = {"cov_kwds": {"groups": "trial", "correction": "CR2"}} if cov_type == "cluster" else {}
    res, known = fit(bcg, cov_type=cov_type, **kwds), fit(bcg, cov_type=cov_type, **kwds)
    res.remove_data()
    assert res.model.endog is None
    assert res.model.vi is None
    for name in ("params", "bse", "tvalues", "pvalues"):
        assert_series_equal(getattr(res, name), getattr(known, name))
    for name in ("tau2", "tau2_se", "tau", "scale", "nobs", "df_resid"):
        assert_allclose(getattr(res, name), getattr(known, name), rtol=1e-12)
    assert_frame_equal(res.conf_int(), known.conf_int())
    assert_allclose(res.t_test("ablat = 0").pvalue, known.t_test("ablat = 0").pvalue)
    new = {"ablat": [10.0, 50.0], "year": [1950.0, 1980.0]}
    assert_frame_equal(
        res.get_prediction(new).summary_frame(), known.get_prediction(new).summary_frame()
    )
    assert_frame_equal(res.summary_frame(), known.summary_frame())


def test_remove_data_forgets_every_cached_array(bcg):
    res = fit(bcg)
    names = ("fittedvalues", "resid", "weights", "random_effects", "null_studies")
    assert all(getattr(res, name) is not None for name in names)
    res.remove_data()
    for name in names:
        with pytest.raises(DataRemovedError, match="Fit the model"):
            getattr(res, name)


def test_summary_survives_remove_data(bcg):
    # statsmodels promises this where the summary was asked for before
    res = fit(bcg)
    known = str(res.summary()).splitlines()
    res.remove_data()
    found = str(res.summary()).splitlines()
    # without the date and the time
    keep = [i for i, line in enumerate(known) if not {"Date:", "Time:"} & {*line.split()}]
    assert [found[i] for i in keep] == [known[i] for i in keep]
    assert len(found) == len(known)


def test_remove_data_with_a_zero_variance(bcg):
    bcg.loc[2, "vi"] = 0.0
    res = fit(bcg)
    known = fit(bcg)
    res.remove_data()
    assert_series_equal(res.bse, known.bse)


def test_initial_results_are_those_after_other_calls(bcg):
    res, known = fit(bcg), fit(bcg)
    res.summary()
    res.get_prediction()
    _ = res.heterogeneity, res.random_effects
    res.conf_int_tau2()
    res.lr_test_tau2()
    assert_series_equal(res.params, known.params)
    assert_series_equal(res.bse, known.bse)
    assert_frame_equal(res.summary_frame(), known.summary_frame())
