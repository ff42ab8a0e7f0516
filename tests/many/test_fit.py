"""Many fits equal single fits, row by row, whatever is missing and however they are cut."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from statsmodels.stats.multitest import multipletests

import metareg_sm
from metareg_sm import MetaReg, fit_many
from metareg_sm.core.tau2 import ESTIMATORS
from metareg_sm.exceptions import VarianceError
from metareg_sm.many import REASONS

from ..core.test_search import PEAKS
from ._many import COEFFICIENTS, FIELDS, alike, check_all, check_single, outcomes, same, single

NAMES = tuple({e.name: None for e in ESTIMATORS.values()})
COV_TYPES = ("knapp-hartung", "knapp-hartung-adhoc", "nonrobust")


@pytest.fixture(autouse=True)
def no_warnings():
    """A number that cannot be computed is NaN with a reason, never a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# --- equal to single fits --------------------------------------------------------------------


@pytest.mark.parametrize("cov_type", COV_TYPES)
@pytest.mark.parametrize("tau2", [*NAMES, 0.0, 0.3])
def test_equals_single_fits(tau2, cov_type):
    y, v, X = outcomes(1, n=9)
    many = fit_many(y, X, v, tau2=tau2, cov_type=cov_type)
    assert np.isnan(y).any()
    if isinstance(tau2, str) and tau2 != "sj":
        assert (many.tau2 == 0.0).any()
        assert (many.tau2 > 0.0).any()
    check_all(many, y, v, X, tau2=tau2, cov_type=cov_type)


@pytest.mark.parametrize("tau2", ["reml", "ml", "pm", "dl"])
@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("k", [4, 30, 200])
def test_variances_shared_by_all_outcomes(k, missing, tau2):
    n = 8 if k < 100 else 3
    y, v, X = outcomes(k, n=n, k=k, missing=missing)
    many = fit_many(y, X, v[0], tau2=tau2)
    check_all(many, y, v[0], X, tau2=tau2)
    same_rows = fit_many(y, X, np.tile(v[0], (n, 1)), tau2=tau2)
    for name in FIELDS:
        assert_allclose(getattr(same_rows, name), getattr(many, name), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("p", [1, 3, 5])
def test_more_coefficients(p):
    y, v, X = outcomes(p, n=6, k=14, p=p)
    check_all(fit_many(y, X, v), y, v, X)


def test_nan_in_the_variance_is_a_missing_study_too():
    y, v, X = outcomes(3, n=6, missing=0.0)
    v[0, 5] = y[0, 5] = np.nan
    v[1, 6] = np.nan
    y[2, 7] = np.nan
    many = fit_many(y, X, v)
    assert many.nobs.tolist() == [8, 8, 8, 9, 9, 9]
    check_all(many, y, v, X)
    shared = v[3].copy()
    shared[4] = np.nan
    check_all(fit_many(y, X, shared), y, shared, X)


def test_what_stands_in_a_missing_cell_does_not_matter():
    y, v, X = outcomes(4, n=6)
    gone = np.isnan(y)
    many = fit_many(y, X, v)
    for value in (1e-30, 1e30, np.nan):
        other = np.where(gone, value, v)
        for name in FIELDS:
            assert_allclose(
                getattr(fit_many(y, X, other), name), getattr(many, name), rtol=1e-12, atol=1e-13
            )
    left = ~gone.any(axis=0)
    alone = fit_many(y[:, left], X[left], v[:, left])
    masked = fit_many(np.where(left, y, np.nan), X, v)
    for name in FIELDS:
        assert_allclose(getattr(masked, name), getattr(alone, name), rtol=1e-9, atol=1e-9)


def test_missing_cells_concern_their_outcome_alone():
    y, v, X = outcomes(5, n=40, missing=0.0)
    whole = fit_many(y, X, v)
    y[7, :3] = np.nan
    y[20] = np.nan
    part = fit_many(y, X, v)
    others = np.setdiff1d(np.arange(40), [7, 20])
    for name in FIELDS:
        found, known = getattr(part, name)[others], getattr(whole, name)[others]
        assert_allclose(found, known, rtol=1e-9, atol=1e-9, err_msg=name)
    assert part.tau2[7] != whole.tau2[7]


@pytest.mark.parametrize("reml", [True, False])
def test_several_maxima(reml):
    cases = [c for c in PEAKS.values() if c[2] == reml]
    rng = np.random.default_rng(6)
    n, k = 6 * len(cases), 10
    y, v = np.full((n, k), np.nan), np.full((n, k), np.nan)
    for i in range(n):
        outcome, variance = cases[i % len(cases)][:2]
        at = rng.permutation(k)[: len(outcome)]
        y[i, at], v[i, at] = outcome, variance
    X, name = np.ones((k, 1)), "reml" if reml else "ml"
    for chunk in (1, 2, 5, None):
        many = fit_many(y, X, v, tau2=name, chunk=chunk)
        for i in range(n):
            low, high = cases[i % len(cases)][4]
            assert low <= many.tau2[i] <= high
    check_all(many, y, v, X, tau2=name)


@pytest.mark.parametrize("tau2", ["reml", "ml"])
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_few_outcomes_keep_their_rows(n, tau2):
    # blocks in which no outcome is at 0 and none is settled at once come out of the search in
    # the order in which cells were halved
    rng = np.random.default_rng(7)
    v = 10.0 ** rng.uniform(-2, 2, (300, 6))
    y = rng.normal(0.0, np.sqrt(v + 10.0 ** rng.uniform(-1, 2, (300, 1))))
    X = np.ones((6, 1))
    whole = fit_many(y, X, v, tau2=tau2)
    alone = np.array([single(y[i], v[i], X, tau2=tau2).tau2 for i in range(300)])
    assert_allclose(whole.tau2, alone, rtol=1e-9, atol=1e-9 * v.min())
    parts = fit_many(y, X, v, tau2=tau2, chunk=n)
    assert_allclose(parts.tau2, alone, rtol=1e-9, atol=1e-9 * v.min())


@pytest.mark.parametrize("tau2", ["reml", "ml", "dl", "pm", "sj"])
def test_chunks_do_not_matter(tau2):
    y, v, X = outcomes(8, n=75)
    whole = fit_many(y, X, v, tau2=tau2)
    for chunk in (1, 2, 7, 74, 75, 1000):
        cut = fit_many(y, X, v, tau2=tau2, chunk=chunk)
        for name in FIELDS:
            found, known = getattr(cut, name), getattr(whole, name)
            assert_allclose(found, known, rtol=1e-9, atol=1e-9, err_msg=f"{name} {chunk}")
        assert_array_equal(cut.tau2 == 0.0, whole.tau2 == 0.0)


def test_the_same_call_gives_the_same_bits():
    y, v, X = outcomes(9, n=30)
    same(fit_many(y, X, v), fit_many(y, X, v))


def test_data_are_not_changed():
    y, v, X = outcomes(10, n=20)
    y[3] = np.nan
    y[4] = 1.0
    before = [a.copy() for a in (y, v, X)]
    many = fit_many(y, X, v)
    assert many.llf.shape == (20,)
    many.model(0)
    for now, then in zip((y, v, X), before, strict=True):
        assert_array_equal(now, then)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([n for n in NAMES if n not in ("sjit", "eb", "genq")]),
    st.sampled_from(COV_TYPES),
    st.integers(1, 3),
    st.sampled_from([0.0, 1.0, 3.0]),
    st.sampled_from([0.0, 0.2, 0.5]),
)
def test_any_data(seed, tau2, cov_type, p, decades, missing):
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(1, 6)), int(rng.integers(p + 1, 12))
    X = np.column_stack([np.ones(k), rng.normal(size=(k, p - 1))])
    v = 0.1 * 10.0 ** rng.uniform(-decades / 2, decades / 2, (n, k))
    y = rng.normal(0.0, np.sqrt(v + rng.choice([0.0, 0.1, 5.0], size=(n, 1))))
    y[rng.uniform(size=(n, k)) < missing] = np.nan
    many = fit_many(y, X, v, tau2=tau2, cov_type=cov_type)
    left = (~np.isnan(y)).sum(axis=1)
    assert_array_equal(many.nobs, left)
    # random moderators are never redundant among more than p studies
    assert_array_equal(many.reason, np.where(left > p, 0, 1))
    check_all(many, y, v, X, rows=np.flatnonzero(left > p), tau2=tau2, cov_type=cov_type)


# --- what cannot be fitted -------------------------------------------------------------------


def test_reasons():
    rng = np.random.default_rng(11)
    k = 10
    X = np.column_stack([np.ones(k), np.arange(k) % 3 == 0])
    y, v = rng.normal(size=(9, k)), rng.uniform(0.1, 0.5, (9, k))
    y[1, 2:] = np.nan
    y[2] = np.nan
    y[3, X[:, 1] == 1.0] = np.nan
    y[4] = 0.7
    y[5, 4:] = np.nan
    y[5, :4] = -2.0
    v[6, 3] = 0.0
    y[7, 3] = np.nan
    v[7, 3] = 0.0
    dl = fit_many(y, X, v, tau2="dl")
    assert dl.reason.tolist() == [0, 1, 1, 2, 3, 3, 4, 0, 0]
    assert dl.converged.tolist() == [r == 0 for r in dl.reason]
    # beside those that extreme scales and a search that gives up have
    assert set(dl.reason) == {int(r) for r in REASONS} - {5, 6}
    assert dl.nobs.tolist() == [10, 2, 0, 6, 10, 4, 10, 9, 10]
    bad = np.flatnonzero(dl.reason)
    for name in (*COEFFICIENTS, "tau2", "scale", "q", "i2", "llf"):
        values = getattr(dl, name)
        assert np.isnan(values[bad]).all(), name
        assert np.isfinite(np.delete(values, bad, axis=0)).all(), name
    assert np.isnan(dl.conf_int()[bad]).all()
    assert np.isnan(dl.t_test([0, 1]).pvalue[bad]).all()
    check_all(dl, y, v, X, rows=[0, 7, 8], tau2="dl")
    # REML does with a variance of 0 while tau2 is positive
    assert fit_many(y, X, v).reason.tolist() == [0, 1, 1, 2, 3, 3, 0, 0, 0]


@pytest.mark.parametrize("missing", ["all", "too few", "no variation"])
def test_nothing_can_be_fitted(missing):
    y, v, X = outcomes(12, n=5, missing=0.0)
    if missing == "all":
        y[:] = np.nan
    elif missing == "too few":
        y[:, 2:] = np.nan
    else:
        y[:] = 3.0
    many = fit_many(y, X, v)
    assert many.reason.tolist() == [3 if missing == "no variation" else 1] * 5
    assert many.to_frame().drop(columns=["nobs", "df_resid", "reason"]).isna().all(axis=None)
    assert np.isnan(many.adjust_pvalues()).all()


def test_as_many_coefficients_as_studies():
    y, v, X = outcomes(13, n=5, missing=0.0)
    many = fit_many(y[:, :2], X[:2], v[:, :2])
    assert many.reason.tolist() == [1] * 5
    assert np.isnan(many.params).all()


def test_no_outcomes():
    y, v, X = outcomes(14)
    many = fit_many(y[:0], X, v[0])
    assert len(many) == 0
    assert many.params.shape == (0, 2)
    assert many.llf.shape == (0,)
    assert list(many.to_frame().columns) == list(fit_many(y, X, v[0]).to_frame().columns)


def test_equal_outcomes_with_one_missing_are_no_variation():
    y, v, X = outcomes(15, n=3, missing=0.0)
    y[1] = 4.0
    y[1, 3] = np.nan
    assert fit_many(y, X, v).reason.tolist() == [0, 3, 0]


def test_variance_of_zero():
    rng = np.random.default_rng(16)
    k = 9
    X = np.column_stack([np.ones(k), rng.normal(size=k)])
    y, v = rng.normal(size=(4, k)), rng.uniform(0.05, 0.4, (4, k))
    v[:, 2] = 0.0
    y[1, 5] = np.nan
    y[2, 2] = np.nan
    # nothing but sampling error: tau2 = 0, where a variance of 0 leaves the model undefined
    y[3] = X @ [0.3, 0.2]
    y[3, 0] += 1e-3
    for tau2 in ("pm", "he", "sj"):
        many = fit_many(y, X, v, tau2=tau2)
        for i in range(3):
            check_single(many, i, single(y[i], v[i], X, tau2=tau2), has_q=i == 2)
        assert np.isnan(many.q[[0, 1, 3]]).all()
        assert np.isnan(many.i2[[0, 1, 3]]).all()
        if tau2 == "sj":
            continue
        assert many.reason.tolist() == [0, 0, 0, 4]
        with pytest.raises(VarianceError):
            single(y[3], v[3], X, tau2=tau2)


@pytest.mark.parametrize("zeros", [1, 2, 3])
@pytest.mark.parametrize("p", [1, 2, 3])
def test_variances_of_zero_by_likelihood(p, zeros):
    rng = np.random.default_rng(p * 10 + zeros)
    n, k = 300, 9
    X = np.column_stack([np.ones(k), rng.normal(size=(k, p - 1))])
    v = 10.0 ** rng.uniform(-2, 0, (n, k))
    v[:, :zeros] = 0.0
    y = rng.normal(0.0, np.sqrt(v + rng.choice([1e-3, 0.1, 1.0], size=(n, 1))))
    for tau2 in ("reml", "ml"):
        many = fit_many(y, X, v, tau2=tau2)
        alone = np.full(n, np.nan)
        for i in range(n):
            try:
                alone[i] = single(y[i], v[i], X, tau2=tau2).tau2
            except VarianceError:
                continue
        assert_array_equal(many.reason, np.where(np.isnan(alone), 4, 0))
        assert_allclose(many.tau2, alone, rtol=1e-9, atol=1e-9 * v[v > 0.0].min())


def test_a_study_that_is_missing_may_have_stood_apart():
    # among the studies that are left the moderator is as good as any
    rng = np.random.default_rng(17)
    k = 10
    y, v = rng.normal(size=(2, k)), rng.uniform(0.05, 0.5, k)
    y[1, 3] = np.nan
    for far in (1e1, 1e2, 1e4, 1e6, 1e8):
        x = rng.normal(size=k)
        x[3] = far
        X = np.column_stack([np.ones(k), x])
        found = fit_many(y, X, v)
        assert found.converged.all()
        check_all(found, y, v, X, rows=[1])


def test_a_common_level_costs_no_digits_where_studies_are_missing():
    rng = np.random.default_rng(18)
    k = 10
    X = np.column_stack([np.ones(k), rng.normal(size=k)])
    v = rng.uniform(0.05, 0.5, k)
    # multiples of 2^-20 stay exact at this level
    y = np.round(rng.normal(size=(20, k)) * 2**20) / 2**20
    y[:, 7] = np.nan
    known, found = fit_many(y, X, v), fit_many(y + 2.0**24, X, v)
    assert_allclose(found.tau2, known.tau2, rtol=1e-9, atol=1e-9 * v.min())
    assert_allclose(found.bse, known.bse, rtol=1e-9)
    assert_allclose(found.params[:, 1], known.params[:, 1], rtol=0, atol=1e-9 * known.bse.max())


def test_a_common_level_and_a_variance_of_zero_where_studies_are_missing():
    rng = np.random.default_rng(19)
    k = 10
    X = np.column_stack([np.ones(k), rng.normal(size=k)])
    v = rng.uniform(0.05, 0.5, k)
    v[0] = 0.0
    y = np.round(rng.normal(size=(5, k)) * 2**20) / 2**20
    y[:, 7] = np.nan
    known, found = fit_many(y, X, v), fit_many(y + 2.0**20, X, v)
    assert found.reason.tolist() == known.reason.tolist() == [0] * 5
    assert_allclose(found.tau2, known.tau2, rtol=1e-9)


# --- the results -----------------------------------------------------------------------------


def test_to_frame():
    y, v, X = outcomes(20, n=7)
    y[2] = np.nan
    labels = pd.Index([f"gene{i}" for i in range(7)], name="gene")
    many = fit_many(pd.DataFrame(y, index=labels), pd.DataFrame(X, columns=["one", "dose"]), v)
    frame = many.to_frame(alpha=0.2)
    assert frame.index.equals(labels)
    parts = ("coef", "se", "statistic", "pvalue", "ci_lower", "ci_upper")
    expected = [f"{part}[{name}]" for name in ("one", "dose") for part in parts]
    rest = ["tau2", "q", "i2", "llf", "scale", "nobs", "df_resid", "reason"]
    assert list(frame.columns) == expected + rest
    ends = many.conf_int(0.2)
    for j, name in enumerate(("one", "dose")):
        values = (*(getattr(many, c)[:, j] for c in COEFFICIENTS), ends[:, j, 0], ends[:, j, 1])
        for part, value in zip(parts, values, strict=True):
            assert_array_equal(frame[f"{part}[{name}]"], value)
    for name in rest:
        assert_array_equal(frame[name], getattr(many, name))
    assert frame["reason"].dtype.kind == "i"


def test_model_is_the_single_fit():
    y, v, X = outcomes(21, n=5)
    table = pd.DataFrame(X, columns=["one", "dose"])
    many = fit_many(y, table, v, tau2="ml", cov_type="nonrobust")
    for i in range(5):
        res = many.model(i)
        check_single(many, i, res)
        assert res.cov_type == "nonrobust"
        assert list(res.params.index) == ["one", "dose"]
        known = single(y[i], v[i], X, tau2="ml", cov_type="nonrobust")
        assert_allclose(res.tau2, known.tau2, rtol=1e-12)
        assert res.nobs == (~np.isnan(y[i])).sum()
    assert_allclose(many.model(-1).tau2, many.model(4).tau2, rtol=1e-12)
    assert "Meta" in str(many.model(1).summary())
    assert fit_many(y, X, v, tau2=0.25).model(2).tau2 == 0.25


def test_names_are_those_of_a_single_fit():
    y, v, X = outcomes(22, n=2, missing=0.0)
    for exog in (X, X[:, ::-1], X[:, 1:], X[:, 1], np.column_stack([X[:, 1], X[:, 1] ** 2])):
        many = fit_many(y, exog, v)
        assert many.exog_names == MetaReg(y[0], exog, vi=v[0]).exog_names
        assert many.exog_names == list(many.model(0).params.index)


def test_t_test():
    y, v, X = outcomes(23, n=6, p=3, k=12)
    y[4] = np.nan
    R = np.array([[0.0, 1.0, -1.0], [2.0, 0.5, 0.0], [0.0, 0.0, 1.0]])
    for cov_type in COV_TYPES:
        many = fit_many(y, X, v, cov_type=cov_type)
        test = many.t_test(R)
        for i in (0, 1, 2, 3, 5):
            known = single(y[i], v[i], X, cov_type=cov_type).t_test(R)
            scale = known.sd
            assert_allclose(test.effect[i] / scale, known.effect / scale, rtol=1e-9, atol=1e-9)
            assert_allclose(test.sd[i], known.sd, rtol=1e-9)
            assert_allclose(test.statistic[i], np.ravel(known.tvalue), rtol=1e-9, atol=1e-9)
            assert_allclose(test.pvalue[i], known.pvalue, rtol=1e-9, atol=1e-9)
        assert np.isnan(test.pvalue[4]).all()
        one = many.t_test([0, 0, 1])
        assert one.effect.shape == (6, 1)
        assert_allclose(one.pvalue[:, 0], test.pvalue[:, 2], rtol=1e-12, atol=1e-13)
        assert_allclose(test.effect[:, 2], many.params[:, 2], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("method", ["fdr_bh", "holm", "bonferroni", "fdr_by"])
def test_adjusted_pvalues(method):
    y, v, X = outcomes(24, n=30)
    y[5] = np.nan
    y[9] = 2.0
    many = fit_many(y, X, v)
    adjusted = many.adjust_pvalues(method)
    fitted = many.converged
    assert fitted.sum() == 28
    assert np.isnan(adjusted[~fitted]).all()
    for j in range(2):
        known = multipletests(many.pvalues[fitted, j], method=method)[1]
        assert_allclose(adjusted[fitted, j], known, rtol=1e-12, atol=1e-13)
    if method == "fdr_bh":
        assert_allclose(many.adjust_pvalues(), adjusted, rtol=1e-12, atol=1e-13)


def test_the_order_of_intervals_and_use_t():
    y, v, X = outcomes(25, n=6)
    many = fit_many(y, X, v)
    wide, narrow = many.conf_int(0.01), many.conf_int(0.5)
    assert wide.shape == (6, 2, 2)
    assert (wide[..., 0] < narrow[..., 0]).all()
    assert (narrow[..., 1] < wide[..., 1]).all()
    assert many.use_t
    assert not fit_many(y, X, v, cov_type="nonrobust").use_t
    assert_allclose(many.conf_int(), many.conf_int(0.05), rtol=1e-12, atol=1e-13)


def test_describes_itself():
    y, v, X = outcomes(26, n=6)
    shown = repr(fit_many(y, X, v)).splitlines()
    assert shown[0] == "Meta-regressions of 6 outcomes"
    assert "Coefficients     const, x1" in shown
    assert "tau2             REML" in shown
    assert "Fitted           6 of 6 (100.0%)" in shown
    assert "fixed tau2" in repr(fit_many(y, X, v, tau2=0.1))
    assert len(fit_many(y, X, v)) == 6
    assert fit_many(y, X, v).compute().params.shape == (6, 2)
    assert isinstance(fit_many(y, X, v), metareg_sm.ManyResults)


# --- moderators ------------------------------------------------------------------------------


def test_formula(engine):
    y, v, _ = outcomes(27, n=4, missing=0.0)
    data = pd.DataFrame({"x": np.linspace(-1, 2, 9), "g": list("aabbbccca"), "y": y[0], "v": v[0]})
    many = fit_many(y, "~ x + g", v, data=data)
    res = MetaReg.from_formula("y ~ x + g", data, vi="v").fit()
    assert many.exog_names == res.model.exog_names
    check_single(many, 0, res)
    assert list(many.model(1).params.index) == many.exog_names
    without = fit_many(y, "x + g", v, data=data)
    assert_allclose(without.params, many.params, rtol=1e-12, atol=1e-13)


def test_formula_sees_the_names_around_it(engine):
    y, v, _ = outcomes(28, n=3, missing=0.0)
    data = pd.DataFrame({"x": np.linspace(-1, 2, 9)})

    def double(values):
        return 2.0 * values

    many = fit_many(y, "~ double(x)", v, data=data)
    known = fit_many(y, "~ x", v, data=data)
    assert_allclose(2.0 * many.params[:, 1], known.params[:, 1], rtol=1e-12)


def test_forms_of_the_arguments():
    y, v, X = outcomes(29, n=5, missing=0.0)
    known = fit_many(y, X, v)
    for other in (
        fit_many(y.tolist(), X.tolist(), v.tolist()),
        fit_many(np.asfortranarray(y), np.asfortranarray(X), np.asfortranarray(v)),
        fit_many(y, X, v, tau2="REML", cov_type="Knapp-Hartung", chunk=np.int64(100)),
    ):
        alike(other, known)
    same(fit_many(y, X, pd.Series(v[0])), fit_many(y, X, v[0]))
    same(fit_many(y, X[:, 1], v), fit_many(y, X[:, 1:], v))
    half = fit_many(y.astype(np.float32), X, v)
    same(half, fit_many(y.astype(np.float32).astype(float), X, v))
