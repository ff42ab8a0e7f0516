"""Deletion diagnostics against metafor, explicit refits and what must always hold."""

import json
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from metareg_sm import MetaReg, datasets
from metareg_sm.core.search import maximize
from metareg_sm.core.tau2 import ESTIMATORS
from metareg_sm.exceptions import DesignError, FewStudiesWarning, MetaRegError, OptionError
from metareg_sm.postestimation.resampling import refit_of
from metareg_sm.stats.refits import refit_selections, without_groups

REFERENCE = Path(__file__).resolve().parent.parent / "reference"
COV_TYPES = {"z": "nonrobust", "knha": "knapp-hartung", "adhoc": "knapp-hartung-adhoc"}
# metafor loses digits with a year that is not centred: hackshaw_year_design, lee_year
RTOL = 5e-7
pytestmark = pytest.mark.filterwarnings("ignore::metareg_sm.exceptions.FewStudiesWarning")


@cache
def stored(name):
    return json.loads((REFERENCE / name).read_text(encoding="utf-8"))["cases"]


def keys():
    return [
        (case, method, test)
        for case, content in stored("influence.json").items()
        for method, tests in content["fits"].items()
        for test in tests
    ]


@cache
def arrays(case):
    content = stored("influence.json")[case]
    return tuple(np.array(content[name], dtype=float) for name in "yvX")


@cache
def fit(case, method, test):
    y, v, X = arrays(case)
    tau2 = 0.0 if method == "EE" else method.lower()
    return MetaReg(y, X, vi=v).fit(tau2=tau2, cov_type=COV_TYPES[test])


def floats(values):
    return np.array([np.nan if x is None else x for x in np.atleast_1d(values)], dtype=float)


def same(found, expected, what, rtol=RTOL):
    """Equal, and NaN in the same places.

    A value near 0 among larger ones is a difference of numbers of their size: it is compared to
    5e-10 of the largest.
    """
    expected = floats(expected)
    size = np.nanmax(np.abs(expected), initial=0.0)
    assert_allclose(
        np.asarray(found, dtype=float), expected, rtol=rtol, atol=1e-3 * rtol * size, err_msg=what
    )


# --- metafor ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("case", "method", "test"), keys())
def test_diagnostics_are_metafors(case, method, test):
    expected = stored("influence.json")[case]["fits"][method][test]
    i = fit(case, method, test).get_influence()
    same(i.resid_studentized_external, expected["rstudent"], "rstudent")
    same(i.dffits[0], expected["dffits"], "dffits")
    same(i.cooks_distance[0], expected["cook.d"], "cook")
    same(i.cov_ratio, expected["cov.r"], "cov_ratio")
    same(i.q_deleted, expected["QE.del"], "q")
    same(i.hat_matrix_diag, expected["hat"], "hat")
    v = arrays(case)[1]
    # metafor's search stops near 0, not at it
    assert_allclose(i.tau2_deleted, floats(expected["tau2.del"]), rtol=RTOL, atol=1e-8 * v.min())
    for j, dfbetas in enumerate(expected["dfbetas"]):
        same(i.dfbetas[:, j], dfbetas, "dfbetas")
    known = np.array([x is not None for x in expected["influential"]])
    flags = np.array([bool(x) for x in expected["influential"]])
    assert (i.influential[known] == flags[known]).all()
    # a study that determines a coefficient alone has 0 over 0 for a residual
    alone = np.abs(i.hat_matrix_diag - 1.0) < 1e-8
    assert np.isnan(i.resid_studentized_internal[alone]).all()
    rstandard = floats(expected["rstandard"])
    same(i.resid_studentized_internal[~alone], rstandard[~alone], "rstandard")
    at = np.array(expected["baujat"]["ids"]) - 1
    same(i.baujat()["x"].to_numpy()[at], expected["baujat"]["x"], "baujat x")
    same(i.baujat()["y"].to_numpy()[at], expected["baujat"]["y"], "baujat y")


@pytest.mark.parametrize(("case", "method", "test"), keys())
def test_groups_are_refits_by_metafor(case, method, test):
    k = len(arrays(case)[0])
    i = fit(case, method, test).get_influence(groups=np.arange(k) // 3)
    frame = i.summary_frame()
    assert frame["n_studies"].sum() == k
    for n, expected in enumerate(stored("influence.json")[case]["fits"][method][test]["groups"]):
        if expected is None:
            assert frame["reason"].iloc[n]
            assert np.isnan(i.cov_ratio[n])
            continue
        assert frame["reason"].iloc[n] == ""
        same(i.params_not_obsi[n], expected["params"], "params")
        same(i.cooks_distance[0][n], expected["cook"], "cook")
        same(i.cov_ratio[n], expected["cov_ratio"], "cov_ratio")
        same(i.q_deleted[n], expected["q"], "q")
        assert_allclose(i.tau2_deleted[n], expected["tau2"], rtol=RTOL, atol=1e-9)


def check_frame(frame, expected, p):
    for n, values in enumerate(expected):
        rows = frame.iloc[n * p : (n + 1) * p]
        if values is None:
            assert rows.isna().all(axis=None)
            continue
        for name in ("coef", "se", "statistic", "pvalue", "ci_lower", "ci_upper", "q"):
            same(rows[name], np.broadcast_to(values[name], p), name)
        assert_allclose(rows["tau2"], values["tau2"], rtol=RTOL, atol=1e-9)
        assert_allclose(rows["i2"], values["i2"], rtol=RTOL, atol=1e-8)


@pytest.mark.parametrize(("case", "method", "test"), keys())
def test_leave_one_out_and_cumulative_are_refits_by_metafor(case, method, test):
    expected = stored("influence.json")[case]["fits"][method][test]
    res, v = fit(case, method, test), arrays(case)[1]
    if "leave_one_out" in expected:
        check_frame(res.leave_one_out(), expected["leave_one_out"], len(res.params))
    if "cumulative" in expected:
        check_frame(res.cumulative(order=-v), expected["cumulative"], len(res.params))


@pytest.mark.parametrize("method", ["REML", "PM"])
@pytest.mark.parametrize("case", ["bcg_intercept", "normand_intercept"])
def test_metafors_leave1out_and_cumul(case, method):
    expected = stored("influence.json")[case]["fits"][method]["knha"]["metafor"]
    res = fit(case, method, "knha")
    frame = res.leave_one_out()
    for name, values in expected["leave1out"].items():
        assert_allclose(frame[name], floats(values), rtol=1e-6, atol=1e-8, err_msg=name)
    frame = res.cumulative(order=-arrays(case)[1])
    for name, values in expected["cumul"].items():
        assert_allclose(frame[name][1:], floats(values)[1:], rtol=1e-6, atol=1e-8, err_msg=name)
    # of one study, metafor's row has tau2 = 0
    assert frame.iloc[0].isna().all()


@pytest.mark.parametrize("test", ["z", "knha"])
@pytest.mark.parametrize("name", list(stored("inference.json")))
def test_reference_file_of_inference(name, test):
    content = stored("inference.json")[name]["influence"][test]
    source = json.loads((REFERENCE / "data.json").read_text(encoding="utf-8"))
    info = source["cases"][name]
    frame = source["frames"][info["frame"]]
    res = MetaReg(
        np.array(frame["yi"], dtype=float),
        np.array(info["exog"], dtype=float),
        vi=np.array(frame["vi"], dtype=float),
    ).fit(cov_type=COV_TYPES[test])
    i = res.get_influence()
    if "error" in content:
        return
    for found, key in (
        (i.resid_studentized_external, "rstudent"),
        (i.dffits[0], "dffits"),
        (i.cooks_distance[0], "cook.d"),
        (i.cov_ratio, "cov.r"),
        (i.q_deleted, "QE.del"),
        (i.hat_matrix_diag, "hat"),
    ):
        expected = floats(content[key])
        known = ~np.isnan(expected)
        same(np.asarray(found)[known], expected[known], key, rtol=1e-6)


def test_numbers_of_viechtbauers_example(bcg):
    # influence() with metafor's own stopping rule, 1e-5, which the last digits show
    i = smf.metareg("yi ~ ablat", bcg, vi="vi").fit(cov_type="nonrobust").get_influence()
    assert_allclose(i.resid_studentized_external[[6, 12]], [-2.668685, 2.072975], atol=1e-5)
    assert_allclose(i.cooks_distance[0][[6, 5]], [0.364266, 0.288253], atol=1e-4)
    assert_allclose(i.hat_matrix_diag[7], 0.357028, atol=1e-5)
    # a ratio of determinants multiplies what tau2 is off
    assert_allclose(i.cov_ratio[7], 2.426786, atol=5e-4)
    assert_allclose(i.dffits[0][6], -0.640464, atol=1e-5)


# --- explicit refits -------------------------------------------------------------------------

ALL = sorted({entry.name for entry in ESTIMATORS.values()})


@pytest.mark.parametrize("cov_type", COV_TYPES.values())
@pytest.mark.parametrize("tau2", [*ALL, 0.0, 0.2])
def test_every_estimator_is_refitted(bcg, tau2, cov_type):
    def build(rows):
        return smf.metareg("yi ~ ablat + year", bcg[rows], vi="vi").fit(
            tau2=tau2, cov_type=cov_type
        )

    everything = np.ones(13, dtype=bool)
    res = build(everything)
    i, frame = res.get_influence(), res.leave_one_out()
    for at in range(13):
        rows = everything.copy()
        rows[at] = False
        known = build(rows)
        assert_allclose(i.params_not_obsi[at], known.params, rtol=1e-8)
        assert_allclose(i.bse_not_obsi[at], known.bse, rtol=1e-8)
        assert_allclose(i.tau2_deleted[at], known.tau2, rtol=1e-8, atol=1e-12)
        assert_allclose(i.q_deleted[at], known.heterogeneity.q, rtol=1e-9)
        assert_allclose(i.i2_deleted[at], known.heterogeneity.i2, rtol=1e-8, atol=1e-12)
        expected = known.summary_frame()
        assert_allclose(frame.loc[at][expected.columns], expected, rtol=1e-7)
        det = np.linalg.det(known.cov_params()) / np.linalg.det(res.cov_params())
        assert_allclose(i.cov_ratio[at], det, rtol=1e-6)
        delta = np.asarray(res.params - known.params)
        cook = delta @ np.linalg.solve(np.asarray(res.cov_params()), delta)
        assert_allclose(i.cooks_distance[0][at], cook, rtol=1e-6)
        prediction = known.get_prediction(bcg[["ablat", "year"]].iloc[[at]])
        change = res.fittedvalues[at] - prediction.predicted_mean[0]
        assert_allclose(i.baujat()["y"][at], (change / prediction.se_mean[0]) ** 2, rtol=1e-6)


def test_weights_of_genq_go_along(bcg):
    rng = np.random.default_rng(2)
    a = rng.uniform(0.5, 2.0, 13)
    X = np.column_stack([np.ones(13), bcg["ablat"]])
    y, v = bcg["yi"].to_numpy(), bcg["vi"].to_numpy()
    i = MetaReg(y, X, vi=v).fit(tau2="genq", weights=a).get_influence()
    for at in range(13):
        rows = np.arange(13) != at
        known = MetaReg(y[rows], X[rows], vi=v[rows]).fit(tau2="genq", weights=a[rows])
        assert_allclose(i.tau2_deleted[at], known.tau2, rtol=1e-9)


def test_cumulative_fits_are_fits_of_the_first_studies(bcg):
    res = smf.metareg("yi ~ ablat", bcg, vi="vi").fit()
    frame = res.cumulative(order="year")
    order = bcg["year"].argsort(kind="stable")
    assert frame.index.get_level_values("study")[::2].tolist() == order.tolist()
    assert list(frame.columns) == [
        "coef", "se", "statistic", "pvalue", "ci_lower", "ci_upper", "tau2", "i2", "q",
    ]  # fmt: skip
    for n in range(3, 14):
        known = smf.metareg("yi ~ ablat", bcg.iloc[order[:n]], vi="vi").fit()
        found = frame.iloc[2 * n - 2 : 2 * n]
        assert_allclose(found["coef"], known.params, rtol=1e-8)
        assert_allclose(found["pvalue"], known.pvalues, rtol=1e-7)
        assert_allclose(found["tau2"], known.tau2, rtol=1e-8, atol=1e-12)
    assert frame.iloc[:4].isna().all(axis=None)
    assert list(frame.attrs["reasons"]) == order[:2].tolist()
    assert "too few studies" in frame.attrs["reasons"][order[0]]


def test_order_may_be_values_of_all_rows_or_a_series(bcg):
    bcg.index = [f"trial {i}" for i in range(13)]
    bcg.loc["trial 3", "vi"] = np.nan
    res = smf.metareg("yi ~ 1", bcg, vi="vi").fit()
    known = res.cumulative(order="year")
    shuffled = bcg["year"].sample(frac=1.0, random_state=1)
    for order in (bcg["year"].to_numpy(), bcg["year"].drop("trial 3").to_numpy(), shuffled):
        pd.testing.assert_frame_equal(res.cumulative(order=order), known)
    pd.testing.assert_frame_equal(
        res.cumulative(), res.cumulative(order=np.arange(12)), check_exact=True
    )


# --- what must always hold -------------------------------------------------------------------

many = settings(max_examples=30, deadline=None, derandomize=True)


@st.composite
def studies(draw):
    seed = draw(st.integers(0, 2**32 - 1))
    p = draw(st.integers(1, 3))
    k = draw(st.integers(p + 2, 15))
    decades = draw(st.sampled_from([0.0, 1.0, 3.0, 8.0]))
    spread = draw(st.sampled_from([0.0, 0.1, 10.0]))
    rng = np.random.default_rng(seed)
    v = 0.1 * 10.0 ** rng.uniform(-decades / 2, decades / 2, k)
    X = np.column_stack([np.ones(k), rng.normal(size=(k, p - 1))])
    return X @ rng.normal(size=p) + rng.normal(0.0, np.sqrt(v + spread)), v, X


names = st.sampled_from(["reml", "ml", "dl", "pm", "he", "sj", "hs", "dlit"])
FREE = ("cook", "cov_ratio", "dfbetas", "dffits", "external", "internal", "hat")


def table(i):
    """What depends neither on the units nor on the level of the outcomes."""
    return {
        "cook": i.cooks_distance[0],
        "cov_ratio": i.cov_ratio,
        "dfbetas": i.dfbetas,
        "dffits": i.dffits[0],
        "external": i.resid_studentized_external,
        "internal": i.resid_studentized_internal,
        "hat": i.hat_matrix_diag,
    }


def alike(found, known):
    for name in FREE:
        size = np.nanmax(np.abs(known[name]), initial=0.0)
        assert_allclose(found[name], known[name], rtol=1e-6, atol=1e-7 * size, err_msg=name)


@many
@given(studies(), names, st.integers(0, 1000))
def test_order_of_the_studies(data, name, seed):
    y, v, X = data
    order = np.random.default_rng(seed).permutation(len(y))
    known = table(MetaReg(y, X, vi=v).fit(tau2=name).get_influence())
    found = table(MetaReg(y[order], X[order], vi=v[order]).fit(tau2=name).get_influence())
    alike(found, {key: value[order] for key, value in known.items()})


@many
@given(studies(), names, st.sampled_from([1e-3, 1e3]), st.sampled_from([0.0, -1e4]))
def test_units_and_level_of_the_outcomes(data, name, scale, shift):
    if name == "sj":
        # its estimate depends on the variance about the mean: on no shift either
        shift = 0.0
    y, v, X = data
    known = MetaReg(y, X, vi=v).fit(tau2=name).get_influence()
    found = MetaReg(scale * (y + shift), X, vi=scale**2 * v).fit(tau2=name).get_influence()
    # the shift itself costs y this many digits
    assert_allclose(
        found.tau2_deleted / scale**2, known.tau2_deleted, rtol=1e-5, atol=1e-8 * v.max()
    )
    if not shift:
        alike(table(found), table(known))


@many
@given(studies(), names)
def test_groups_of_one_are_single_deletions(data, name):
    y, v, X = data
    res = MetaReg(y, X, vi=v).fit(tau2=name)
    single = res.get_influence()
    grouped = res.get_influence(groups=[f"study {i}" for i in range(len(y))])
    for name in FREE:
        assert_allclose(table(grouped)[name], table(single)[name], rtol=1e-10, err_msg=name)
    frame = grouped.summary_frame()
    shared = [c for c in frame.columns if c not in ("n_studies", "influential")]
    assert_allclose(
        frame[shared[:-1]].to_numpy(dtype=float),
        single.summary_frame()[shared[:-1]].to_numpy(dtype=float),
        rtol=1e-10,
    )


@many
@given(studies(), names)
def test_deletions_are_fits_without_the_study(data, name):
    y, v, X = data
    k = len(y)
    res = MetaReg(y, X, vi=v).fit(tau2=name)
    i = res.get_influence()
    for at in range(k):
        rows = np.arange(k) != at
        if i.reason[at]:
            assert np.isnan(i.params_not_obsi[at]).all()
            continue
        known = MetaReg(y[rows], X[rows], vi=v[rows]).fit(tau2=name)
        assert_allclose(i.tau2_deleted[at], known.tau2, rtol=1e-6, atol=1e-8 * v.min())
        assert_allclose(i.params_not_obsi[at], known.params, rtol=1e-6, atol=1e-7)
        assert_allclose(i.bse_not_obsi[at], known.bse, rtol=1e-6)


@pytest.mark.parametrize("tau2", ["reml", "ml"])
@pytest.mark.parametrize(("k", "decades"), [(60, 2.5), (300, 0.0), (300, 2.5)])
def test_shared_sums_are_the_kernels_fits(k, decades, tau2):
    # few studies share their products, many the nodes that stand for them
    rng = np.random.default_rng(4)
    X = np.column_stack([np.ones(k), rng.normal(size=(k, 2))])
    v = 0.1 * 10.0 ** rng.uniform(-decades / 2, decades / 2, k)
    y = X @ [0.2, 0.1, 0.0] + rng.normal(0.0, np.sqrt(v + 0.1))
    y[7] += 5.0
    res = MetaReg(y, X, vi=v).fit(tau2=tau2)
    shared = res.get_influence()
    codes = np.arange(k)
    refit = refit_of(res._results)
    known = refit_selections(y, v, np.asarray(res.resid), refit, k, without_groups(codes))
    assert_allclose(shared.tau2_deleted, known.tau2, rtol=1e-9)
    assert_allclose(shared.dfbeta, -known.change, rtol=1e-8, atol=1e-12)
    assert_allclose(shared.q_deleted, known.q, rtol=1e-11)
    assert_allclose(shared.i2_deleted, known.i2, rtol=1e-9)
    assert_allclose(shared.bse_not_obsi, known.standard_errors(refit.basis.to_params), rtol=1e-9)


def test_outlier_that_hides_all_else_keeps_its_digits():
    # without it the residuals are a millionth of what they are with it
    rng = np.random.default_rng(5)
    k = 12
    X = np.column_stack([np.ones(k), np.append(rng.normal(size=k - 1), 30.0)])
    v = np.full(k, 1e-6)
    y = X @ [1.0, 1.0] + rng.normal(0.0, 1e-3, k)
    y[-1] += 1e3
    i = MetaReg(y, X, vi=v).fit().get_influence()
    known = MetaReg(y[:-1], X[:-1], vi=v[:-1]).fit()
    assert_allclose(i.q_deleted[-1], known.heterogeneity.q, rtol=1e-9)
    assert_allclose(i.tau2_deleted[-1], known.tau2, rtol=1e-8, atol=1e-14)


# --- awkward data ----------------------------------------------------------------------------


def test_deletion_that_leaves_tau2_at_zero():
    y = np.array([0.1, 0.12, 0.09, 0.11, 5.0])
    i = MetaReg(y, np.ones(5), vi=np.full(5, 0.04)).fit().get_influence()
    assert i.tau2_deleted[4] == 0.0
    assert (i.tau2_deleted[:4] > 1.0).all()
    assert i.influential[4]
    assert i.reason[4] == ""


def test_deletion_that_leaves_the_design_deficient():
    frame = datasets.bcg.load_pandas().data
    frame["one"] = (frame.index == 2).astype(float)
    res = smf.metareg("yi ~ ablat + one", frame, vi="vi").fit()
    influence = res.get_influence()
    table = influence.summary_frame()
    assert "redundant" in table.loc[2, "reason"]
    assert (table["reason"].drop(2) == "").all()
    numbers = table.drop(columns=["reason", "influential"])
    assert numbers.loc[2].drop("hat_diag").isna().all()
    assert numbers.drop(2).notna().all(axis=None)
    assert_allclose(table.loc[2, "hat_diag"], 1.0)
    # leverage 1 is above 3 p / k
    assert table.loc[2, "influential"]
    with pytest.warns(FewStudiesWarning, match=r"row 2.*redundant"):
        left = res.leave_one_out()
    assert left.loc[2].isna().all(axis=None)
    assert list(left.attrs["reasons"]) == [2]


def test_one_study_more_than_coefficients():
    i = MetaReg([0.1, 0.5, 0.3], np.column_stack([np.ones(3), [0.0, 1.0, 3.0]]), vi=[0.1] * 3)
    i = i.fit().get_influence()
    assert list(i.reason) == ["too few studies are left"] * 3
    assert np.isnan(i.tau2_deleted).all()


def test_variance_of_zero():
    y, v = np.array([0.1, 0.4, 0.9, 0.2, 0.6]), np.array([0.0, 0.1, 0.1, 0.2, 0.1])
    i = MetaReg(y, np.ones(5), vi=v).fit().get_influence()
    known = MetaReg(y[1:], np.ones(4), vi=v[1:]).fit()
    assert_allclose(i.tau2_deleted[0], known.tau2, rtol=1e-9)
    assert_allclose(i.q_deleted[0], known.heterogeneity.q, rtol=1e-9)
    # Q_E weights by 1/v
    assert np.isnan(i.q_deleted[1:]).all()


@pytest.mark.parametrize("precise", [1.0, 1e-5])
def test_large_level_costs_no_digits(bcg, precise):
    X = np.column_stack([np.ones(13), bcg["ablat"]])
    y = np.round(bcg["yi"].to_numpy() * 2.0**20) / 2.0**20
    v = bcg["vi"].to_numpy(copy=True)
    v[0] *= precise
    known = table(MetaReg(y, X, vi=v).fit().get_influence())
    found = table(MetaReg(y + 2.0**20, X, vi=v).fit().get_influence())
    alike(found, known)


def test_no_moderator_and_no_constant(bcg):
    res = smf.metareg("yi ~ 0 + ablat", bcg, vi="vi").fit()
    i = res.get_influence()
    assert_allclose(i.hat_matrix_diag.sum(), 1.0)
    frame = bcg.copy()
    frame.loc[3, "ablat"] = 0.0
    i = smf.metareg("yi ~ 0 + ablat", frame, vi="vi").fit().get_influence()
    # a study without leverage
    assert i.dffits[0][3] == 0.0
    assert np.isfinite(i.resid_studentized_external[3])


@pytest.mark.parametrize("precise", [1.0, 1e-5])
def test_search_that_gives_up_is_told(bcg, precise, monkeypatch):
    bcg.loc[0, "vi"] *= precise
    res = smf.metareg("yi ~ 1", bcg, vi="vi").fit()
    known = res.leave_one_out()
    monkeypatch.setattr(maximize, "_MAX_NEWTON", 0)
    with pytest.warns(FewStudiesWarning, match=r"the search for tau2 gave up.*attrs") as told:
        frame = res.leave_one_out()
    assert "NaN" not in str(told[0].message)
    assert list(frame.attrs["reasons"]) == list(range(13))
    # brackets of tau2, a tenth wide at most, without the steps that end at the maximum
    assert_allclose(frame["tau2"], known["tau2"], rtol=0.1)


# --- errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize("cov_type", ["HC1", "HC3"])
@pytest.mark.parametrize("method", ["get_influence", "leave_one_out", "cumulative"])
def test_sandwiches_are_refused(bcg, cov_type, method):
    res = smf.metareg("yi ~ ablat", bcg, vi="vi").fit(cov_type=cov_type)
    with pytest.raises(OptionError, match=rf"needs cov_type .*knapp-hartung.*{cov_type}"):
        getattr(res, method)()


def test_redundant_moderators_are_refused(bcg):
    bcg["twice"] = 2.0 * bcg["ablat"]
    with pytest.warns(Warning, match="redundant"):
        res = smf.metareg("yi ~ ablat + twice", bcg, vi="vi").fit()
    with pytest.raises(DesignError, match="twice"):
        res.get_influence()


def test_bad_groups_order_and_alpha(bcg):
    res = smf.metareg("yi ~ ablat", bcg, vi="vi").fit()
    with pytest.raises(MetaRegError, match=r"groups='allocation'.*no such column"):
        res.get_influence(groups="allocation")
    with pytest.raises(DesignError, match="groups has 3 values"):
        res.get_influence(groups=[1, 2, 3])
    with pytest.raises(DesignError, match="2 groups at least"):
        res.get_influence(groups=np.ones(13))
    with pytest.raises(MetaRegError, match=r"order='yeer'.*year"):
        res.cumulative(order="yeer")
    with pytest.raises(DesignError, match="order is missing for row 2"):
        res.cumulative(order=bcg["year"].where(bcg["year"] != 1960.0))
    with pytest.raises(DesignError, match="order has values that cannot be compared"):
        res.cumulative(order=[1, "a"] * 6 + [2])
    with pytest.raises(OptionError, match="alpha"):
        res.leave_one_out(alpha=95)
    y, v = bcg["yi"].to_numpy(), bcg["vi"].to_numpy()
    with pytest.raises(DesignError, match="formula interface"):
        MetaReg(y, np.ones(13), vi=v).fit().cumulative(order="year")


# --- statsmodels' names and figures ----------------------------------------------------------


def test_names_and_shapes_are_statsmodels(bcg):
    import statsmodels.api as sm

    res = smf.metareg("yi ~ ablat", bcg, vi="vi").fit()
    known = sm.OLS(bcg["yi"], sm.add_constant(bcg["ablat"])).fit().get_influence()
    found = res.get_influence()
    for name in (
        "hat_matrix_diag",
        "resid_studentized_internal",
        "resid_studentized_external",
        "resid_studentized",
        "dfbetas",
        "dfbeta",
        "cov_ratio",
        "params_not_obsi",
    ):
        assert getattr(found, name).shape == np.asarray(getattr(known, name)).shape, name
    for name in ("dffits", "dffits_internal", "cooks_distance"):
        a, b = getattr(found, name), getattr(known, name)
        assert [np.shape(x) for x in a] == [np.shape(x) for x in b], name
    columns = list(known.summary_frame().columns[2:])
    assert columns == list(found.summary_frame().columns[2 : 2 + len(columns)])
    assert_allclose(res.resid_pearson, res.resid / np.sqrt(bcg["vi"] + res.tau2))
    assert isinstance(res.resid_pearson, pd.Series)


def test_labels_of_the_studies_stay(bcg):
    bcg.index = [f"trial {i}" for i in range(13)]
    res = smf.metareg("yi ~ ablat", bcg, vi="vi").fit()
    i = res.get_influence()
    assert i.summary_frame().index.equals(bcg.index)
    assert i.baujat().index.equals(bcg.index)
    left = res.leave_one_out()
    assert left.index.names == ["study", "term"]
    assert left.loc[("trial 4", "ablat"), "coef"] == i.params_not_obsi[4, 1]
    groups = res.get_influence(groups="alloc").summary_frame()
    assert list(groups.index) == list(dict.fromkeys(bcg["alloc"]))
    assert groups["n_studies"].tolist() == [
        int((bcg["alloc"] == label).sum()) for label in groups.index
    ]


def test_dffits_of_a_group_are_by_its_studies(bcg):
    res = smf.metareg("yi ~ ablat", bcg, vi="vi").fit(cov_type="nonrobust")
    i = res.get_influence(groups="alloc")
    assert i.dffits[0].shape == i.hat_matrix_diag.shape == (13,)
    rows = bcg["alloc"] != bcg["alloc"][0]
    known = smf.metareg("yi ~ ablat", bcg[rows], vi="vi").fit(cov_type="nonrobust")
    mine = bcg[~rows]
    prediction = known.get_prediction(mine)
    se = np.sqrt(mine["vi"] + known.tau2 + prediction.se_mean**2)
    expected = (mine["yi"] - prediction.predicted_mean) / se
    assert_allclose(i.resid_studentized_external[~rows], expected, rtol=1e-8)


def test_figures_of_statsmodels(bcg):
    mpl = pytest.importorskip("matplotlib")
    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from statsmodels.graphics import regressionplots as plots

    res = smf.metareg("yi ~ ablat", bcg, vi="vi").fit()
    i = res.get_influence()
    for criterion in ("cooks", "dffits"):
        figure = plots.influence_plot(res, criterion=criterion)
        points = figure.axes[0].collections[0].get_offsets()
        assert_allclose(points[:, 0], i.hat_matrix_diag)
        assert_allclose(points[:, 1], i.resid_studentized_external)
    assert plots.influence_plot(res, external=False).axes
    assert plots.plot_leverage_resid2(res).axes
    assert plots.abline_plot(model_results=res).axes
    assert plots.plot_fit(res, "ablat", vlines=False).axes
    assert plots.plot_ccpr(res, "ablat").axes
    plt.close("all")


def test_nothing_is_said_where_all_is_well(bcg):
    res = smf.metareg("yi ~ ablat", bcg, vi="vi").fit()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        res.get_influence().summary_frame()
        res.leave_one_out()
        # steps of no more studies than coefficients are NaN as the docstring says
        res.cumulative(order="ablat")
