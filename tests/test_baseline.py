"""Baseline risk: van Houwelingen's figures, metafor, the textbook likelihood, simulations."""

import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

import metareg_sm
from metareg_sm import simulate
from metareg_sm.exceptions import DesignError, IntervalWarning, OptionError

pytest.importorskip("metareg_sm.core.mixed", reason="the engine of dependent effects is needed")
from metareg_sm import baseline_risk
from metareg_sm.baseline.arms import SCALES
from metareg_sm.stats.bivariate import fit_bivariate, profile_loglike

mpl.use("Agg")
HERE = Path(__file__).parent / "reference"
REFERENCE = json.loads((HERE / "ipd.json").read_text(encoding="utf-8"))["baseline"]
EXACT = json.loads((HERE / "ipd_mpmath.json").read_text(encoding="utf-8"))["cases"]
CELLS = {"ai": "tpos", "n1i": "treated", "ci": "cpos", "n2i": "controls"}


@pytest.fixture
def trials(bcg):
    return bcg.assign(treated=bcg["tpos"] + bcg["tneg"], controls=bcg["cpos"] + bcg["cneg"])


def test_van_houwelingen(trials):
    found = baseline_risk(trials, **CELLS, measure="OR")
    # the published figures
    assert round(found.slope, 4) == 0.7300
    assert round(found.intercept, 4) == -1.8437


@pytest.mark.parametrize("measure", EXACT)
def test_against_50_digits(trials, measure):
    found, exact = baseline_risk(trials, **CELLS, measure=measure), EXACT[measure]
    for name in ("slope", "slope_se", "slope_se_profile", "intercept", "intercept_se"):
        # the intercept of risks is the small difference of two means
        rtol = 1e-7 if (measure, name) == ("RD", "intercept") else 1e-9
        assert getattr(found, name) == pytest.approx(exact[name], rel=rtol), name
    assert found.model.llf == pytest.approx(exact["llf"], rel=1e-12)
    np.testing.assert_allclose(found.model.params, exact["mean"], rtol=1e-9)
    assert found.model.cov_re.loc["control", "control"] == pytest.approx(exact["u"], rel=1e-9)
    np.testing.assert_allclose(found.conf_int(), exact["conf_int"], rtol=1e-9)


@pytest.mark.parametrize("measure", ["OR", "RR"])
def test_against_metafor(trials, measure):
    found, known = baseline_risk(trials, **CELLS, measure=measure), REFERENCE[measure]
    assert found.slope == pytest.approx(known["slope"], rel=1e-6)
    assert found.intercept == pytest.approx(known["intercept"], rel=1e-6)
    np.testing.assert_allclose(found.model.params[::-1], known["mean"], rtol=1e-6)
    np.testing.assert_allclose(found.model.cov_re.iloc[::-1, ::-1], known["G"], rtol=1e-6)
    assert found.model.llf == pytest.approx(known["llf"], rel=1e-9)
    assert found.model.mle_retvals["converged"]


def test_model_is_the_fit_of_mixedmetareg(trials):
    found = baseline_risk(trials, **CELLS)
    long = pd.concat(
        [
            pd.DataFrame(
                {
                    "trial": trials.index,
                    "arm": arm,
                    "y": found.frame[arm],
                    "v": found.frame[f"{arm}_vi"],
                }
            )
            for arm in ("treated", "control")
        ],
        ignore_index=True,
    )
    res = metareg_sm.mixedmetareg("y ~ 0 + arm", long, vi="v", random="0 + arm | trial")
    res = res.fit(reml=False)
    G = res.cov_re
    assert found.slope == pytest.approx(
        G.loc["control", "treated"] / G.loc["control", "control"], rel=1e-8
    )
    assert found.slope == pytest.approx(
        found.model.cov_re.loc["control", "treated"] / found.model.cov_re.loc["control", "control"],
        rel=1e-14,
    )
    b = found.model.params
    assert b.index.tolist() == ["arm[control]", "arm[treated]"]
    assert found.intercept == pytest.approx(b.iloc[1] - found.slope * b.iloc[0], rel=1e-12)
    assert "study: rho[control, treated]" in str(found.model.summary())
    assert found.model.llf == pytest.approx(res.llf, rel=1e-12)
    assert set(found.model.random_effects["study"].index.get_level_values(0)) == set(trials.index)


@pytest.mark.parametrize(
    "counts",
    [
        {
            "ai": [20, 36, 28, 110, 195, 23],
            "n1i": [72, 93, 65, 184, 543, 40],
            "ci": [14, 70, 3, 8, 575, 82],
            "n2i": [108, 245, 56, 34, 2563, 323],
        },
        {
            "ai": [11, 14, 14, 140, 232, 67],
            "n1i": [163, 229, 74, 1497, 1086, 392],
            "ci": [0, 5, 274, 153, 75, 34],
            "n2i": [11, 17, 2236, 2333, 400, 291],
        },
    ],
)
@pytest.mark.filterwarnings("ignore::metareg_sm.exceptions.ConvergenceWarning")
def test_the_highest_of_several_maxima(counts):
    found = baseline_risk(**counts)
    data = columns(found)
    # slopes on a grid: no other one has a higher likelihood
    grid = np.linspace(-4.0, 4.0, 81)
    many = [np.broadcast_to(d, (81, 6)) for d in data]
    assert profile_loglike(*many, grid).max() <= found.model.llf + 1e-8
    assert profile_loglike(*data, found.slope) == pytest.approx(found.model.llf, abs=1e-8)


def dense_loglike(theta, x, y, vx, vy):
    """The textbook: sum of bivariate normal densities at means, slope, u and w."""
    mx, my, slope, u, w = theta
    value = 0.0
    for i in range(len(x)):
        S = np.array([[u + vx[i], slope * u], [slope * u, slope**2 * u + w + vy[i]]])
        value += stats.multivariate_normal.logpdf([x[i], y[i]], [mx, my], S)
    return value


def columns(found):
    frame = found.frame
    return tuple(frame[c].to_numpy() for c in ("control", "treated", "control_vi", "treated_vi"))


def test_risks_reach_a_higher_likelihood_than_metafor(trials):
    # none of rma.mv's optimizers reaches the maximum: its slope is .4016
    found = baseline_risk(trials, **CELLS, measure="RD")
    assert found.model.llf > REFERENCE["RD"]["llf"] + 1e-4
    data = columns(found)
    m, G = found.model.params.to_numpy(), found.model.cov_re.to_numpy()
    start = np.array([*m, found.slope, G[0, 0], G[1, 1] - found.slope**2 * G[0, 0]])
    assert dense_loglike(start, *data) == pytest.approx(found.model.llf, rel=1e-10)
    best = optimize.minimize(
        lambda t: -dense_loglike(start * np.exp(t), *data),
        np.full(5, 0.01),
        method="Nelder-Mead",
        options={"xatol": 1e-8, "fatol": 1e-10, "maxiter": 4000, "maxfev": 4000},
    )
    assert -best.fun == pytest.approx(found.model.llf, abs=1e-7)
    # the simplex ends where the likelihood is flat to 1e-10
    np.testing.assert_allclose(best.x, 0.0, atol=1e-4)


def test_standard_errors_and_profile(trials):
    found = baseline_risk(trials, **CELLS)
    data = columns(found)
    G = found.model.cov_re.to_numpy()
    u = G[0, 0]
    theta = np.array([*found.model.params.to_numpy(), found.slope, u, 0.0])
    theta[4] = G[1, 1] - found.slope**2 * u
    assert dense_loglike(theta, *data) == pytest.approx(found.model.llf, rel=1e-10)
    step = np.array([1e-3, 1e-3, 1e-3, 1e-3 * u, 1e-3 * theta[4]])
    H = np.empty((5, 5))
    for i in range(5):
        for j in range(5):
            signs = [(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)]
            H[i, j] = sum(
                s
                * dense_loglike(
                    theta + a * step * (np.arange(5) == i) + b * step * (np.arange(5) == j), *data
                )
                for a, b, s in signs
            ) / (4 * step[i] * step[j])
    cov = np.linalg.inv(-H)
    # second differences of values
    assert found.slope_se_profile == pytest.approx(np.sqrt(cov[2, 2]), rel=1e-3)
    # the expected information, of all five parameters
    info = np.zeros((3, 3))
    for vx, vy in zip(data[2], data[3], strict=True):
        s = found.slope
        S = np.linalg.inv(np.array([[u + vx, s * u], [s * u, s * s * u + theta[4] + vy]]))
        D = [
            np.array([[0, u], [u, 2 * s * u]]),
            np.array([[1, s], [s, s * s]]),
            np.array([[0, 0], [0, 1.0]]),
        ]
        info += [[0.5 * np.trace(S @ a @ S @ b) for b in D] for a in D]
    assert found.slope_se == pytest.approx(np.sqrt(np.linalg.inv(info)[0, 0]), rel=1e-6)
    delta = found.conf_int(method="delta")
    assert delta == pytest.approx(
        (found.slope - 1.959964 * found.slope_se, found.slope + 1.959964 * found.slope_se), rel=1e-6
    )
    for end in found.conf_int(alpha=0.1):
        fall = 2 * (found.model.llf - profile_loglike(*data, end))
        assert fall == pytest.approx(stats.chi2.ppf(0.9, 1), rel=1e-6)
    best = optimize.minimize(
        lambda t: -dense_loglike([t[0], t[1], 0.6, np.exp(t[2]), np.exp(t[3])], *data),
        [-4.0, -4.8, 0.9, -2.0],
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-11, "maxiter": 8000, "maxfev": 8000},
    )
    assert profile_loglike(*data, 0.6) == pytest.approx(-best.fun, rel=1e-8)


def test_bias_is_explained(trials):
    found = baseline_risk(trials, **CELLS)
    w = 1.0 / (found.frame["treated_vi"] + found.frame["control_vi"] + found.naive_fit.tau2)
    c, d = found.frame["control"], found.frame["treated"] - found.frame["control"]
    m = np.average(c, weights=w)
    assert found.naive == pytest.approx(1 + (w * (c - m) * d).sum() / (w * (c - m) ** 2).sum())
    expected = found.slope + found.dilution + found.shared_arm
    assert expected == pytest.approx(found.slope * found.reliability)
    text = str(found)
    assert repr(found) == "<BaselineRisk OR: slope 0.7300 (se 0.0857), 13 studies>"
    assert text in found._repr_html_()
    assert "treated = -1.8437 + 0.7300 control" in text
    assert f"the model expects {expected:.4f}" in text


def test_naive_slope_is_biased_and_the_model_is_not():
    n = 2000
    sets = simulate.baseline(n, n_studies=20, n_per_arm=60, slope=1.0, sd=0.6, rng=12)
    y, x, vy, vx = sets.log_odds()
    fit = fit_bivariate(x, y, vx, vy)
    fall = 2 * (fit.llf - profile_loglike(x, y, vx, vy, 1.0))
    covered = fall < stats.chi2.ppf(0.95, 1)
    w = 1 / (vx + vy)
    gaps = x - np.average(x, axis=1, weights=w, keepdims=True)
    naive = (w * gaps * y).sum(1) / (w * gaps**2).sum(1)
    error = naive.std(ddof=1) / np.sqrt(n)
    assert naive.mean() < 1.0 - 30 * error
    median_error = 1.2533 * stats.median_abs_deviation(fit.slope, scale="normal") / np.sqrt(n)
    assert abs(np.median(fit.slope) - 1.0) < 4 * median_error
    assert covered.mean() > 0.95 - 4 * np.sqrt(0.95 * 0.05 / n)


def test_order_and_containers(trials):
    one = baseline_risk(trials, **CELLS)
    two = baseline_risk(trials.iloc[::-1], **CELLS)
    assert two.slope == pytest.approx(one.slope, rel=1e-9)
    assert two.slope_se == pytest.approx(one.slope_se, rel=1e-7)
    values = {name: trials[column].tolist() for name, column in CELLS.items()}
    assert baseline_risk(**values).slope == pytest.approx(one.slope, rel=1e-12)
    series = {name: trials[column] for name, column in CELLS.items()}
    assert baseline_risk(**series).frame.index.equals(trials.index)


def test_arms_change_places(trials):
    # the bivariate model is symmetric: the two slopes' product is the squared correlation
    one = baseline_risk(trials, **CELLS)
    two = baseline_risk(trials, ai="cpos", n1i="controls", ci="tpos", n2i="treated")
    G = one.model.cov_re.to_numpy()
    assert one.slope * two.slope == pytest.approx(G[0, 1] ** 2 / (G[0, 0] * G[1, 1]), rel=1e-6)
    assert two.model.llf == pytest.approx(one.model.llf, rel=1e-10)


def test_zero_cells(trials):
    trials.loc[3, "tpos"] = 0
    found = baseline_risk(trials, **CELLS)
    n = trials.loc[3, "treated"]
    assert found.frame.loc[3, "treated"] == pytest.approx(np.log(0.5 / (n + 0.5)))
    assert found.frame.loc[3, "treated_vi"] == pytest.approx(2.0 + 1.0 / (n + 0.5))


def test_scales():
    events, others = np.array([3.0, 10.0]), np.array([7.0, 90.0])
    p, n = events / (events + others), events + others
    for name, value, variance in (
        ("or", np.log(p / (1 - p)), 1 / events + 1 / others),
        ("rr", np.log(p), (1 - p) / events),
        ("rd", p, p * (1 - p) / n),
    ):
        y, v = SCALES[name].value(events, others)
        np.testing.assert_allclose(y, value, rtol=1e-12)
        np.testing.assert_allclose(v, variance, rtol=1e-12)


@pytest.mark.parametrize("measure", ["OR", "RR", "RD"])
def test_plot(trials, measure):
    found = baseline_risk(trials, **CELLS, measure=measure)
    figure = found.plot()
    (axes,) = figure.axes
    frame = figure.metareg_data
    pd.testing.assert_frame_equal(frame, found.frame)
    centres = np.array([p.get_center() for p in axes.patches])
    np.testing.assert_allclose(centres, frame[["control", "treated"]], rtol=1e-12)
    half = np.array([[p.get_width() / 2, p.get_height() / 2] for p in axes.patches])
    np.testing.assert_allclose(half**2, frame[["control_vi", "treated_vi"]], rtol=1e-12)
    points, none, model, naive = axes.lines
    np.testing.assert_allclose(points.get_xydata(), centres, rtol=1e-12)
    for line, intercept, slope in (
        (none, 0.0, 1.0),
        (model, found.intercept, found.slope),
        (naive, found.naive_fit.params["Intercept"], found.naive),
    ):
        x, y = line.get_xydata().T
        np.testing.assert_allclose(y, intercept + slope * x, rtol=1e-10)
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["no effect", f"model: {found.slope:.3g}", f"naive: {found.naive:.3g}"]
    assert axes.get_xlabel() == f"{SCALES[measure.lower()].label} of the controls"
    ax = mpl.figure.Figure().add_subplot()
    assert found.plot(ax) is ax.figure


def test_interval_without_end():
    # controls that hardly differ say next to nothing about a slope
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"n": 40, "c": rng.binomial(40, 0.3, 8), "a": rng.binomial(40, 0.3, 8)})
    frame.loc[0, ["c", "a"]] = [20, 22]
    found = baseline_risk(frame, ai="a", n1i="n", ci="c", n2i="n")
    with pytest.warns(IntervalWarning, match="no end on one side"):
        low, high = found.conf_int(alpha=1e-4)
    assert np.isinf(high - low)


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        ({"tpos": 1000}, {}, DesignError, "ai of row 0 is 1000, above the total n1i of 123"),
        ({"cpos": -1}, {}, DesignError, "ci of row 0 is -1; counts must be"),
        ({"cpos": np.nan}, {}, DesignError, "ci of row 0 is nan"),
        ({"cpos": 0, "controls": 0}, {}, DesignError, "n2i of row 0 is 0: the arm has no part"),
        ({}, {"ai": "tpo"}, DesignError, "ai='tpo': the data have no such column.*'tpos'"),
        ({}, {"measure": "HR"}, OptionError, "measure='HR' is not known"),
        ({}, {"ai": [1, 2]}, DesignError, "ai has 2 values for the 13 rows"),
        ({"cpos": 10, "controls": 100}, {}, DesignError, "controls does not differ between"),
    ],
)
def test_bad_input(trials, change, options, error, message):
    with pytest.raises(error, match=message):
        baseline_risk(trials.assign(**change), **(CELLS | options))


def test_more_bad_input(trials):
    with pytest.raises(DesignError, match="There are 3 studies"):
        baseline_risk(trials.iloc[:3], **CELLS)
    found = baseline_risk(trials, **CELLS)
    with pytest.raises(OptionError, match="method='wald' is not known"):
        found.conf_int(method="wald")
    with pytest.raises(OptionError, match="alpha must be"):
        found.conf_int(alpha=2)
    assert metareg_sm.baseline_risk is baseline_risk
