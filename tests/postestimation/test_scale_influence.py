"""Deletion diagnostics of location-scale fits: refits by metafor, and what must always hold."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from metareg_sm import LocationScaleMetaReg, MetaReg, datasets
from metareg_sm.exceptions import (
    DesignError,
    FewStudiesWarning,
    IdentificationWarning,
    MetaRegError,
    OptionError,
)

REFERENCE = Path(__file__).resolve().parent.parent / "reference"
pytestmark = [
    pytest.mark.filterwarnings("ignore::metareg_sm.exceptions.FewStudiesWarning"),
    pytest.mark.filterwarnings("ignore::metareg_sm.exceptions.IdentificationWarning"),
    pytest.mark.filterwarnings("ignore::metareg_sm.exceptions.ConvergenceWarning"),
]


@cache
def stored(name):
    return json.loads((REFERENCE / name).read_text(encoding="utf-8"))["cases"]


@cache
def fit(case, method):
    data = stored("location_scale.json")[case]
    y, v, X, Z = (np.array(data[key], dtype=float) for key in "yvXZ")
    return LocationScaleMetaReg(y, X, vi=v, scale_exog=Z).fit(reml=method == "REML")


# the likelihood of raudenbush1985 has no maximum
HAVE_A_MAXIMUM = [
    (case, method)
    for case in stored("location_scale.json")
    for method in ("REML", "ML")
    if (case, method) != ("raudenbush1985", "ML")
]


@pytest.mark.parametrize(("case", "method"), HAVE_A_MAXIMUM)
def test_random_effects_of_metafor(case, method):
    expected = stored("location_scale.json")[case]["fits"][method]
    found = fit(case, method).random_effects
    for columns, name in ((("u", "u_se"), "ranef"), (("theta", "theta_se"), "blup")):
        value, se = (found[column] for column in columns)
        # they move with the scale, at which metafor's optimizers end
        size = 1e-6 * np.max(expected[name]["se"])
        assert_allclose(value, expected[name]["pred"], rtol=1e-6, atol=size)
        assert_allclose(se, expected[name]["se"], rtol=2e-6)


KEYS = [
    (case, method)
    for case, fits in stored("scale_influence.json").items()
    for method in ("REML", "ML")
    if fits[method] is not None
]


@pytest.mark.parametrize(("case", "method"), KEYS)
def test_refits_by_metafor(case, method):
    expected = stored("scale_influence.json")[case][method]
    found = fit(case, method).get_influence()
    assert_allclose(found.hat_matrix_diag, expected["hat"], rtol=1e-7)
    compared = {
        "beta": found.params_not_obsi,
        "se": found.bse_not_obsi,
        "alpha": found.scale_params_not_obsi,
        "se_alpha": found.scale_bse_not_obsi,
        "tau2_expected": found.tau2_expected,
        "tau2_deleted": found.tau2_deleted,
        "rstudent": found.resid_studentized_external,
        "dffits": found.dffits[0],
        "cook": found.cooks_distance[0],
        "cov_ratio": found.cov_ratio,
        "dfbetas": found.dfbetas,
        "dfbetas_scale": found.dfbetas_scale,
    }
    for i, row in enumerate(expected["deleted"]):
        if row is None:
            # metafor does not converge: the likelihood is flat, or grows without end
            if found.reason[i]:
                assert "minus infinity" in found.reason[i]
                assert np.isnan(found.scale_params_not_obsi[i]).all()
                assert np.isnan(found.dfbetas_scale[i]).all()
            else:
                assert (found.scale_bse_not_obsi[i] > 100.0).all()
            # what belongs to the mean is what it tends to
            assert np.isfinite(found.params_not_obsi[i]).all()
            continue
        assert found.reason[i] == ""
        for name, values in compared.items():
            size = np.nanmax(np.abs(values))
            assert_allclose(values[i], row[name], rtol=1e-9, atol=1e-10 * size, err_msg=name)


@pytest.mark.parametrize(("case", "method"), KEYS)
def test_baujat_and_leave_one_out_tell_the_same(case, method):
    res = fit(case, method)
    found, frame = res.get_influence(), res.leave_one_out()
    p, q, k = len(res.params), len(res.scale_params), int(res.nobs)
    coef = frame["coef"].to_numpy().reshape(k, p + q)
    assert_allclose(coef, np.hstack([found.params_not_obsi, found.scale_params_not_obsi]))
    se = np.hstack([found.bse_not_obsi, found.scale_bse_not_obsi])
    assert_allclose(frame["se"].to_numpy().reshape(k, p + q), se)
    assert_allclose(frame["tau2"].to_numpy()[:: p + q], found.tau2_deleted)
    assert list(frame.index.get_level_values(1)[: p + q]) == [
        *res.terms.names,
        *res.components.names,
    ]
    xy = found.baujat()
    assert_allclose(xy["x"], res.resid_pearson**2)
    x, moved = res.model.exog, np.asarray(found.dfbeta)
    variance = [float(x[i] @ refitted(res, i).cov_params() @ x[i]) for i in (0, 1)]
    assert_allclose(xy["y"].iloc[:2], (x * moved).sum(1)[:2] ** 2 / variance, rtol=1e-6)


def without(res, rows):
    model = res.model
    keep = np.delete(np.arange(len(model.endog)), rows)
    arrays = {"vi": model.vi[keep], "scale_exog": model.scale_exog[keep]}
    return model.endog[keep], model.exog[keep], arrays


def refitted(res, rows, **options):
    y, X, arrays = without(res, rows)
    return LocationScaleMetaReg(y, X, **arrays).fit(
        reml=res.reml, cov_type=res.cov_type, warn_convergence=False, **options
    )


def drawn(seed):
    """Few studies, variances over many powers of ten, a slope or a factor in the scale."""
    rng = np.random.default_rng(seed)
    k = int(rng.integers(9, 22))
    X = np.column_stack([np.ones(k), rng.normal(2000.0, 10.0, k)])[:, : rng.integers(1, 3)]
    second = rng.normal(size=k) if rng.random() < 0.5 else np.arange(k) % 2
    Z = np.column_stack([np.ones(k), second])
    v = np.exp(rng.normal(-1.0, rng.choice([0.3, 2.0, 6.0]), k))
    tau2 = np.exp(rng.normal(-1.0, 1.0) + rng.normal() * Z[:, 1])
    y = rng.choice([0.0, 1e3]) + rng.normal(0.0, np.sqrt(v + tau2))
    return y, X, v, Z


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.booleans(),
    st.sampled_from(["nonrobust", "knapp-hartung"]),
)
def test_a_batch_is_its_single_fits(seed, reml, cov_type):
    y, X, v, Z = drawn(seed)
    res = LocationScaleMetaReg(y, X, vi=v, scale_exog=Z).fit(reml=reml, cov_type=cov_type)
    found, k = res.get_influence(), len(y)
    fits = res.fits_without(np.arange(k), k)
    for i in np.flatnonzero(~np.char.startswith(found.reason.astype(str), "moderators"))[:6]:
        one = refitted(res, i, start_params=res.scale_params)
        own = fits.problem.of((np.arange(k) != i).astype(float))
        other = np.linalg.solve(own.to_alpha, np.asarray(one.scale_params))
        higher = own.loglike(fits.working[i], reml) - own.loglike(other, reml)
        # neither search of several starts is certain of the highest maximum
        if higher > 1e-6 or one.mle_retvals["other_maxima"]:
            continue
        assert higher > -1e-6
        unbounded = np.isnan(one.scale_bse).all()
        assert unbounded == np.isnan(found.scale_bse_not_obsi[i]).all()
        se = np.asarray(one.bse)
        # where alpha grows without end the mean follows ever more slowly
        near = 1e-2 if unbounded else 1e-6
        assert_allclose(found.params_not_obsi[i] / se, np.asarray(one.params) / se, atol=near)
        assert_allclose(found.bse_not_obsi[i], se, rtol=near)
        assert_allclose(
            found.tau2_deleted[i], one.between_variance, rtol=near, atol=1e-8 if unbounded else 0.0
        )
        assert_allclose(found.q_deleted[i], one.heterogeneity.q, rtol=1e-7)
        if not unbounded:
            se = np.asarray(one.scale_bse)
            assert_allclose(found.scale_bse_not_obsi[i], se, rtol=1e-5)
            assert_allclose(found.scale_params_not_obsi[i] / se, one.scale_params / se, atol=1e-6)
            assert_allclose(found.i2_deleted[i], one.heterogeneity.i2, rtol=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_order_and_units_change_nothing(seed, reml):
    rng = np.random.default_rng(seed)
    k = int(rng.integers(12, 30))
    X, Z = (
        np.column_stack([np.ones(k), rng.normal(size=k)]),
        np.column_stack([np.ones(k), rng.normal(size=k)]),
    )
    v = rng.uniform(0.02, 0.1, k)
    y = rng.normal(0.0, np.sqrt(v + np.exp(0.5 * Z[:, 1])))
    order = rng.permutation(k)
    one = LocationScaleMetaReg(y, X, vi=v, scale_exog=Z).fit(reml=reml).get_influence()
    Z_other = Z[order] @ np.array([[1.0, 5.0], [0.0, 2.0]])
    y_other, v_other = 7.0 + 40.0 * y[order], 1600.0 * v[order]
    two = (
        LocationScaleMetaReg(y_other, X[order], vi=v_other, scale_exog=Z_other)
        .fit(reml=reml)
        .get_influence()
    )
    assert (one.reason[order] == two.reason).all()
    same = two.reason == ""
    for name in ("hat_matrix_diag", "resid_studentized_external", "cov_ratio", "dfbetas"):
        a, b = getattr(one, name)[order], getattr(two, name)
        assert_allclose(b[same], a[same], rtol=1e-5, atol=1e-7)
    assert_allclose(two.tau2_expected[same], 1600.0 * one.tau2_expected[order][same], rtol=1e-5)
    a, b = one.scale_params_not_obsi[order], two.scale_params_not_obsi
    assert_allclose(b[same, 1], a[same, 1] / 2.0, rtol=1e-5, atol=1e-7)


def test_a_constant_scale_is_the_model_with_one_tau2():
    frame = datasets.bangertdrowns2004.load_pandas().data
    one = smf.metareg("yi ~ grade", frame, vi="vi").fit(cov_type="knapp-hartung")
    two = smf.lsmetareg("yi ~ grade", frame, vi="vi").fit(cov_type="knapp-hartung")
    for groups in (None, np.arange(len(frame)) // 2):
        a, b = one.get_influence(groups), two.get_influence(groups)
        assert isinstance(b, type(a))
        for name in (
            "hat_matrix_diag",
            "resid",
            "resid_studentized_internal",
            "resid_studentized_external",
            "dfbeta",
            "dfbetas",
            "cov_ratio",
            "tau2_deleted",
            "q_deleted",
            "i2_deleted",
            "params_not_obsi",
            "bse_not_obsi",
        ):
            assert_allclose(getattr(b, name), getattr(a, name), rtol=1e-7, atol=1e-9, err_msg=name)
        for name in ("dffits", "cooks_distance"):
            assert_allclose(getattr(b, name)[0], getattr(a, name)[0], rtol=1e-7, atol=1e-9)
    first = one.leave_one_out().reset_index()
    second = two.leave_one_out().reset_index()
    second = second[second["term"] != "ln tau2: Intercept"].reset_index(drop=True)
    pd.testing.assert_frame_equal(first, second, rtol=1e-6)
    grown = [res.cumulative(order="grade") for res in (one, two)]
    kept = grown[1][grown[1].index.get_level_values(1) != "ln tau2: Intercept"]
    # one coefficient more wants one study more
    assert_allclose(kept["coef"].iloc[8:], grown[0]["coef"].iloc[8:], rtol=1e-6, atol=1e-9)


def test_groups_are_refits():
    res = fit("bangertdrowns2004_length", "REML")
    groups = np.arange(int(res.nobs)) // 4
    found = res.get_influence(groups=groups)
    X, full = res.model.exog, np.asarray(res.params)
    for g in (0, 5, 10):
        one = refitted(res, np.flatnonzero(groups == g))
        assert_allclose(found.params_not_obsi[g], one.params, rtol=1e-6)
        assert_allclose(found.scale_params_not_obsi[g], one.scale_params, rtol=1e-6)
        change = full - np.asarray(one.params)
        variances = res.model.vi + np.exp(res.model.scale_exog @ np.asarray(one.scale_params))
        se = np.sqrt(np.diag(np.linalg.inv(X.T @ (X / variances[:, None]))))
        assert_allclose(found.dfbetas[g], change / se, rtol=1e-5, atol=1e-7)
        cook = change @ np.linalg.solve(res.cov_params(), change)
        assert_allclose(found.cooks_distance[0][g], cook, rtol=1e-5)
    frame = found.summary_frame()
    assert frame["n_studies"].sum() == res.nobs
    assert [c for c in frame.columns if c.startswith("dfb_ln tau2")] == [
        f"dfb_{name}" for name in res.components.names
    ]


def lone(second):
    """A column that one study alone has."""
    rng = np.random.default_rng(3)
    k = 16
    Z = np.column_stack([np.ones(k), np.eye(k)[4]])
    X = np.column_stack([np.ones(k), second * np.eye(k)[7] + (1 - second) * rng.normal(size=k)])
    y = rng.normal(0.0, 1.0, k) + 3.0 * np.eye(k)[4]
    return y, X, np.full(k, 0.1), Z


@pytest.mark.parametrize(("second", "row"), [(0, 4), (1, 7)])
def test_what_cannot_be_fitted_is_nan_with_a_reason(second, row):
    y, X, v, Z = lone(second)
    if second:
        Z = np.column_stack([np.ones(16), np.arange(16) % 2])
    res = LocationScaleMetaReg(y, X, vi=v, scale_exog=Z).fit()
    with pytest.warns(FewStudiesWarning, match=f"Without row {row}"):
        found = res.get_influence()
    other = int(np.flatnonzero(found.reason == "")[0])
    wanted = "moderators are redundant" if second else "moderators of the scale are redundant"
    assert wanted in found.reason[row]
    for values in (
        found.resid_studentized_external,
        found.cov_ratio,
        found.tau2_deleted,
        found.cooks_distance[0],
        found.params_not_obsi,
        found.scale_params_not_obsi,
        found.dfbetas_scale,
    ):
        assert np.isnan(values[row]).all()
        assert np.isfinite(values[other]).all()
    with pytest.warns(FewStudiesWarning, match=f"Without row {row}"):
        frame = res.leave_one_out()
    assert list(frame.attrs["reasons"]) == [row]


def test_alpha_without_a_maximum_warns():
    res = fit("raudenbush1985", "REML")
    with pytest.warns(IdentificationWarning, match="minus infinity .2 such rows"):
        found = res.get_influence()
    assert np.isfinite(found.summary_frame()["cooks_d"]).all()


def test_errors():
    frame = datasets.bangertdrowns2004.load_pandas().data
    model = LocationScaleMetaReg.from_formula("yi ~ 1", frame, vi="vi", scale_formula="~ grade")
    with pytest.raises(OptionError, match="Fitting without some studies needs cov_type"):
        model.fit(cov_type="HC3").get_influence()
    with pytest.raises(DesignError, match="2 groups at least"):
        model.fit().get_influence(groups=np.ones(48))
    with pytest.raises(MetaRegError, match="alpha"):
        model.fit().leave_one_out(alpha=2.0)


def test_a_sampling_variance_of_0():
    rng = np.random.default_rng(8)
    k = 14
    v = np.append(rng.uniform(0.1, 0.3, k - 1), 0.0)
    y, Z = rng.normal(0.0, 1.0, k), np.column_stack([np.ones(k), np.arange(k) % 2])
    res = LocationScaleMetaReg(y, np.ones((k, 1)), vi=v, scale_exog=Z).fit()
    found = res.get_influence()
    assert np.isnan(found.q_deleted[:-1]).all()
    one = refitted(res, k - 1)
    assert_allclose(found.q_deleted[-1], one.heterogeneity.q, rtol=1e-9)
    assert_allclose(found.params_not_obsi[-1], one.params, rtol=1e-6)


def test_one_tau2_warns_too():
    y, X, v, _ = lone(1)
    with pytest.warns(FewStudiesWarning, match="Without row 7 moderators are redundant"):
        MetaReg(y, X, vi=v).fit().get_influence()
