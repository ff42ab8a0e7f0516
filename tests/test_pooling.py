"""Pooled fits against R's formulas, and against those formulas by hand."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from metareg_sm import MetaReg, pool
from metareg_sm.exceptions import ComparisonError, DesignError, OptionError

REFERENCE = Path(__file__).parent / "reference" / "ipd.json"


@pytest.fixture
def expected():
    return json.loads(REFERENCE.read_text(encoding="utf-8"))["rubin"]


@pytest.fixture
def fits(bcg, expected):
    """The imputations that the reference file has."""
    found = []
    for values in expected["filled"]:
        completed = bcg.copy()
        completed.loc[expected["where"], "ablat"] = values
        found.append(MetaReg.from_formula("yi ~ ablat + year", completed, vi="vi").fit())
    return found


def test_against_r(fits, expected):
    pooled = pool(fits)
    for name in ("params", "bse", "df", "pvalues", "riv", "fmi"):
        np.testing.assert_allclose(getattr(pooled, name), expected[name], rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(pooled.cov_params(), expected["cov"], rtol=1e-6)
    assert pooled.tau2 == pytest.approx(expected["tau2"], rel=1e-6)
    test, known = pooled.omnibus, expected["d1"]
    assert test.statistic == pytest.approx(known["statistic"], rel=1e-6)
    assert test.riv == pytest.approx(known["riv"], rel=1e-6)
    assert test.df_denom == pytest.approx(known["df_reiter"], rel=1e-6)
    assert test.pvalue == pytest.approx(
        stats.f.sf(known["statistic"], 2, known["df_reiter"]), rel=1e-5
    )


def test_by_hand(fits):
    pooled = pool(fits)
    m = len(fits)
    b = np.array([f.params for f in fits])
    U = np.mean([f.cov_params() for f in fits], axis=0)
    T = U + (1 + 1 / m) * np.cov(b.T)
    np.testing.assert_allclose(pooled.params, b.mean(0), rtol=1e-10)
    np.testing.assert_allclose(pooled.bse, np.sqrt(np.diag(T)), rtol=1e-10)
    lam = (1 + 1 / m) * b.var(0, ddof=1) / np.diag(T)
    df = 1 / (lam**2 / (m - 1) + 1 / (11 / 13 * 10 * (1 - lam)))
    np.testing.assert_allclose(pooled.df, df, rtol=1e-10)
    ends = b.mean(0) + np.outer([-1, 1], stats.t.ppf(0.975, df) * np.sqrt(np.diag(T)))
    np.testing.assert_allclose(pooled.conf_int().to_numpy().T, ends, rtol=1e-9)
    tau2 = np.array([f.tau2 for f in fits])
    spread = np.mean([f.tau2_se**2 for f in fits]) + (1 + 1 / m) * tau2.var(ddof=1)
    assert pooled.tau2_se == pytest.approx(np.sqrt(spread), rel=1e-10)
    # a single hypothesis is the square of its t test
    one = pooled.wald_test("ablat = 0")
    assert one.statistic == pytest.approx(pooled.tvalues["ablat"] ** 2, rel=1e-10)
    assert one.pvalue == pytest.approx(pooled.pvalues["ablat"], rel=1e-9)
    again = pooled.f_test("ablat = -0.03, year = 0.01")
    gap = b.mean(0)[1:] - [-0.03, 0.01]
    W, B = U[1:, 1:], np.cov(b.T)[1:, 1:]
    r = (1 + 1 / m) * np.trace(B @ np.linalg.inv(W)) / 2
    statistic = gap @ np.linalg.inv(W) @ gap / (2 * (1 + r))
    assert again.statistic == pytest.approx(statistic, rel=1e-10)


def test_predictions(fits):
    new = {"ablat": [10.0, 50.0], "year": [1950.0, 1970.0]}
    frame = pool(fits).get_prediction(new).summary_frame()
    singles = [f.get_prediction(new) for f in fits]
    m = len(fits)
    means = np.array([s.predicted_mean for s in singles])
    T = np.mean([s.se_mean**2 for s in singles], axis=0) + (1 + 1 / m) * means.var(0, ddof=1)
    np.testing.assert_allclose(frame["mean"], means.mean(0), rtol=1e-10)
    np.testing.assert_allclose(frame["mean_se"], np.sqrt(T), rtol=1e-10)
    lam = (1 + 1 / m) * means.var(0, ddof=1) / T
    df = 1 / (lam**2 / (m - 1) + 1 / (11 / 13 * 10 * (1 - lam)))
    half = stats.t.ppf(0.975, df) * np.sqrt(T + np.mean([f.tau2 for f in fits]))
    np.testing.assert_allclose(frame["obs_ci_upper"] - frame["mean"], half, rtol=1e-9)
    ratios = pool(fits).get_prediction(new, transform=np.exp).summary_frame()
    np.testing.assert_allclose(ratios["mean"], np.exp(means.mean(0)), rtol=1e-10)


def test_normal_tests_and_other_covariances(bcg, expected):
    completed = [bcg.assign(ablat=bcg["ablat"] + shift) for shift in (0.0, 1.0, 3.0)]
    made = [MetaReg.from_formula("yi ~ ablat", d, vi="vi") for d in completed]
    pooled = pool([model.fit(cov_type="nonrobust") for model in made])
    b = np.array([model.fit().params for model in made])
    lam = (4 / 3) * b.var(0, ddof=1) / pooled.bse**2
    # moving the zero of a moderator does not move its slope
    assert pooled.df["Intercept"] == pytest.approx(2 / lam.iloc[0] ** 2, rel=1e-9)
    assert pooled.df["ablat"] > 1e6
    options = {"cov_type": "cluster", "cov_kwds": {"groups": "alloc", "correction": "CR2"}}
    robust = pool([model.fit(**options) for model in made])
    single = made[0].fit(**options)
    df = float(np.asarray(single.contrast_df())[1])
    assert robust.df["ablat"] == pytest.approx((df + 1) / (df + 3) * df, rel=1e-5)


def test_what_it_shows(fits):
    pooled = pool(fits)
    assert repr(pooled) == "<PooledResults: 6 imputations, 13 studies, 3 coefficients>"
    frame = pooled.summary_frame(alpha=0.1)
    assert frame.columns.tolist()[:5] == ["coef", "se", "statistic", "df", "pvalue"]
    assert "<table" in pooled._repr_html_()


def test_order_does_not_matter(fits):
    one, two = pool(fits), pool(fits[::-1])
    pd.testing.assert_frame_equal(one.summary_frame(), two.summary_frame(), rtol=1e-10)


def test_bad_input(bcg, fits):
    with pytest.raises(ComparisonError, match="at least two fits; got 1"):
        pool(fits[:1])
    other = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi")
    with pytest.raises(ComparisonError, match="Fits 1 and 2 have different coefficients"):
        pool([fits[0], other.fit()])
    with pytest.raises(ComparisonError, match="different types of covariance"):
        pool([other.fit(), other.fit(cov_type="HC1")])
    short = MetaReg.from_formula("yi ~ ablat", bcg.iloc[1:], vi="vi").fit()
    with pytest.raises(ComparisonError, match="different numbers of studies"):
        pool([other.fit(), short])
    with pytest.raises(OptionError, match="list of fits; got int"):
        pool(3)
    with pytest.raises(OptionError, match="takes fits of MetaReg; got str"):
        pool(["a", "b"])
    alone = MetaReg.from_formula("yi ~ 1", bcg, vi="vi").fit()
    with pytest.raises(DesignError, match="no moderator"):
        pool([alone, alone]).omnibus  # noqa: B018 (the look-up raises)
