"""get_prediction: means, confidence and prediction intervals."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal
from scipy.stats import norm, t

from metareg_sm import MetaReg, effect_size
from metareg_sm.exceptions import DesignError, OptionError
from metareg_sm.plots.scale import scale_of as figure_scale
from metareg_sm.report.scale import scale_of as report_scale

COLUMNS = [
    "mean",
    "mean_se",
    "mean_ci_lower",
    "mean_ci_upper",
    "obs_ci_lower",
    "obs_ci_upper",
]


def fit(data, formula="yi ~ ablat + year", **kwds):
    return MetaReg.from_formula(formula, data, vi="vi").fit(**kwds)


@pytest.mark.parametrize("cov_type", ["knapp-hartung", "nonrobust", "HC2"])
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_formulas(bcg, cov_type, alpha):
    res = fit(bcg, cov_type=cov_type)
    new = pd.DataFrame({"ablat": [10.0, 33.0, 60.0], "year": [1950, 1960, 1990]}, index=list("abc"))
    frame = res.get_prediction(new).summary_frame(alpha)
    X = np.column_stack([np.ones(3), new])
    se = np.sqrt(np.diag(X @ res.cov_params() @ X.T))
    crit = t.isf(alpha / 2, 10) if cov_type != "nonrobust" else norm.isf(alpha / 2)
    mean = X @ res.params
    obs = crit * np.sqrt(se**2 + res.tau2)
    known = [mean, se, mean - crit * se, mean + crit * se, mean - obs, mean + obs]
    assert list(frame.columns) == COLUMNS
    assert list(frame.index) == ["a", "b", "c"]
    assert_allclose(frame, np.column_stack(known), rtol=1e-9)


def test_at_the_studies(bcg):
    bcg.index = list("abcdefghijklm")
    res = fit(bcg)
    frame = res.get_prediction().summary_frame()
    assert list(frame.index) == list(bcg.index)
    assert_allclose(frame["mean"], res.fittedvalues, rtol=1e-12)
    assert_frame_equal(frame, res.get_prediction(bcg).summary_frame())


def test_forms_of_exog(bcg):
    res = fit(bcg)
    known = res.get_prediction(bcg[4:6]).summary_frame().to_numpy()
    two = bcg[4:6]
    columns = {"ablat": two["ablat"].tolist(), "year": two["year"].tolist()}
    matrix = np.column_stack([np.ones(2), two[["ablat", "year"]]])
    for prediction in (
        res.get_prediction(columns),
        res.get_prediction({name: np.array(values) for name, values in columns.items()}),
        res.get_prediction(matrix, transform=False),
        res.get_prediction(pd.DataFrame(matrix), transform=False),
        res.get_prediction(two[["year", "ablat"]]),
    ):
        assert_allclose(prediction.summary_frame(), known, rtol=1e-11)
    one = res.get_prediction({"ablat": columns["ablat"][0], "year": columns["year"][0]})
    assert_allclose(one.summary_frame(), known[:1], rtol=1e-11)
    series = res.get_prediction(two[["ablat", "year"]].iloc[0])
    assert_allclose(series.summary_frame(), known[:1], rtol=1e-11)


def test_array_model(bcg):
    X = sm.add_constant(bcg[["ablat"]]).to_numpy()
    res = MetaReg(bcg["yi"].to_numpy(), X, vi=bcg["vi"].to_numpy()).fit()
    assert_allclose(res.get_prediction([[1.0, 20.0]]).predicted_mean, res.params @ [1.0, 20.0])
    assert_allclose(res.get_prediction(X).predicted_mean, res.fittedvalues)
    with pytest.raises(DesignError, match="exog has 3 columns; the model has 2 coefficients"):
        res.get_prediction(np.ones((4, 3)))
    with pytest.raises(DesignError, match="missing or infinite"):
        res.get_prediction([[1.0, np.nan]])


def test_levels_and_interactions(bcg):
    res = fit(bcg, "yi ~ ablat * C(alloc)")
    frame = res.get_prediction({"ablat": [30.0, 30.0], "alloc": ["alternate", "random"]})
    b = res.params
    known = [
        b["Intercept"] + 30.0 * b["ablat"],
        b["Intercept"]
        + b["C(alloc)[T.random]"]
        + 30.0 * (b["ablat"] + b["ablat:C(alloc)[T.random]"]),
    ]
    assert_allclose(frame.predicted_mean, known, rtol=1e-10)


def test_intercept_only(bcg):
    res = fit(bcg, "yi ~ 1")
    frame = res.get_prediction(pd.DataFrame({"anything": [1.0]})).summary_frame()
    assert len(frame) == 1
    assert_allclose(frame["mean"], res.params["Intercept"], rtol=1e-12)
    assert_allclose(frame["mean_se"], res.bse["Intercept"], rtol=1e-12)


def test_missing_moderator_is_refused(bcg):
    res = fit(bcg)
    with pytest.raises(DesignError, match="exog of row 1 has a missing or infinite value"):
        res.get_prediction({"ablat": [10.0, np.nan], "year": [1950.0, 1960.0]})


def test_without_heterogeneity_both_intervals_are_one(bcg):
    frame = fit(bcg, tau2=0.0).get_prediction().summary_frame()
    assert_allclose(frame["obs_ci_lower"], frame["mean_ci_lower"], rtol=1e-12)
    assert_allclose(frame["obs_ci_upper"], frame["mean_ci_upper"], rtol=1e-12)


def test_degrees_of_freedom(bcg):
    res = fit(bcg)
    plain, riley = res.get_prediction(), res.get_prediction(df="riley")
    assert_allclose(riley.conf_int(), plain.conf_int(), rtol=1e-13)
    half = (riley.conf_int(obs=True)[:, 1] - riley.predicted_mean) / riley.se_obs
    assert_allclose(half, t.isf(0.025, 9), rtol=1e-9)
    own = res.get_prediction(df=5)
    for obs, se in ((False, own.se_mean), (True, own.se_obs)):
        half = (own.conf_int(obs=obs)[:, 1] - own.predicted_mean) / se
        assert_allclose(half, t.isf(0.025, 5), rtol=1e-9)
    for bad in ("kenward", 0, -1.0, np.nan):
        with pytest.raises(OptionError, match="df must be 'riley' or a number > 0"):
            res.get_prediction(df=bad)
    with pytest.raises(OptionError, match="needs at least p \\+ 2 studies"):
        fit(bcg[:4]).get_prediction(df="riley")


def test_clusters_have_degrees_of_freedom_of_their_own(clustered):
    res = MetaReg.from_formula("y ~ x + z", clustered, vi="v").fit(
        cov_type="cluster", cov_kwds={"groups": "g", "correction": "CR2"}
    )
    prediction = res.get_prediction(clustered[:5])
    X = res.model.exog[:5]
    test = res.t_test(X)
    assert_allclose(prediction.predicted_mean, test.effect, rtol=1e-11)
    assert_allclose(prediction.conf_int(), test.conf_int(), rtol=1e-9)
    assert len(np.unique(np.round(prediction.df, 6))) > 1


def test_transform_of_the_summary(bcg):
    prediction = fit(bcg).get_prediction()
    plain, ratio = prediction.summary_frame(), prediction.summary_frame(transform=np.exp)
    assert list(ratio.columns) == [c for c in COLUMNS if c != "mean_se"]
    assert_allclose(ratio, np.exp(plain[ratio.columns]), rtol=1e-13)
    falling = prediction.summary_frame(transform=np.negative)
    assert_allclose(falling["mean_ci_lower"], -plain["mean_ci_upper"])
    assert_allclose(falling["obs_ci_upper"], -plain["obs_ci_lower"])


@pytest.mark.parametrize("cov_type", ["knapp-hartung", "nonrobust"])
def test_probability_beyond(bcg, cov_type):
    prediction = fit(bcg, cov_type=cov_type).get_prediction(bcg[:4])
    dist = norm if cov_type == "nonrobust" else t(10)
    z = (prediction.predicted_mean + 0.2) / prediction.se_obs
    above, below = prediction.prob_beyond(-0.2), prediction.prob_beyond(-0.2, side="below")
    assert_allclose(above, dist.cdf(z), rtol=1e-9)
    assert_allclose(above + below, 1.0, rtol=1e-12)
    assert list(above.index) == [0, 1, 2, 3]
    # the ends of the prediction interval leave 2.5 percent on each side
    low = prediction.conf_int(obs=True)[0, 0]
    assert_allclose(prediction.prob_beyond(low, side="below").iloc[0], 0.025, rtol=1e-9)
    with pytest.raises(OptionError, match="side='left' is not known"):
        prediction.prob_beyond(0.0, side="left")


def test_row_labels(bcg):
    frame = fit(bcg).get_prediction(bcg[:2], row_labels=["p", "q"]).summary_frame()
    assert list(frame.index) == ["p", "q"]


def test_coverage_of_both_intervals():
    rng = np.random.default_rng(12)
    n, k, tau2 = 400, 12, 0.3
    v = rng.uniform(0.05, 0.4, k)
    X = np.column_stack([np.ones(k), np.linspace(-1.0, 1.0, k)])
    inside = np.zeros(2)
    for _ in range(n):
        y = X @ [0.5, 1.0] + rng.normal(0.0, np.sqrt(v + tau2))
        prediction = MetaReg(y, X, vi=v).fit().get_prediction([[1.0, 0.3]])
        truth = np.array([0.8, 0.8 + rng.normal(0.0, np.sqrt(tau2))])
        for j in range(2):
            low, high = prediction.conf_int(obs=bool(j))[0]
            inside[j] += low <= truth[j] <= high
    # 5 standard deviations of a proportion of 0.95, and 0.03 for a prediction interval that
    # takes the estimate of tau2 for the truth
    assert 0.895 <= inside[0] / n <= 1.0
    assert 0.865 <= inside[1] / n <= 1.0


def test_unseen_level_is_an_error(engine, bcg):
    res = MetaReg.from_formula("yi ~ C(alloc) + ablat", bcg, vi="vi").fit()
    with pytest.raises(DesignError, match="does not fit the formula"):
        res.get_prediction({"alloc": ["random", "tossed"], "ablat": [30, 40]})
    with pytest.raises(DesignError, match="does not fit the formula"):
        res.get_prediction({"alloc": ["random"]})


def test_transform_of_get_prediction(bcg):
    res = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
    plain = res.get_prediction({"ablat": [30]}).summary_frame()
    found = res.get_prediction({"ablat": [30]}, transform=np.exp).summary_frame()
    assert list(found) == [c for c in plain if c != "mean_se"]
    assert_allclose(found.to_numpy(), np.exp(plain[list(found)].to_numpy()), rtol=1e-14)


def test_predictions_on_the_natural_scale_of_the_measure(bcg):
    counts = bcg.drop(columns=["yi", "vi"])
    table = effect_size("RR", counts, ai="tpos", bi="tneg", ci="cpos", di="cneg")
    res = MetaReg.from_formula("yi ~ ablat", table, vi="vi").fit()
    new = {"ablat": [30]}
    found = res.get_prediction(new, transform="natural").summary_frame()
    expected = res.get_prediction(new, transform=np.exp).summary_frame()
    assert_allclose(found, expected, rtol=1e-12)
    assert "yi is the log risk ratio" in " ".join(str(res.summary()).split())

    plain = MetaReg(bcg["yi"], np.ones((len(bcg), 1)), vi=bcg["vi"]).fit()
    with pytest.raises(OptionError, match=r"transform='natural' needs outcomes that effect_size"):
        plain.get_prediction(transform="natural")
    with pytest.raises(OptionError, match=r"transform='exp' is not known"):
        res.get_prediction(new, transform="exp")
    table["other"] = 2.0 * table["yi"]
    other = MetaReg.from_formula("other ~ ablat", table, vi="vi").fit()
    assert other.measure is None
    assert figure_scale(other).label == "other"
    assert report_scale(other, None).outcome == "other"
