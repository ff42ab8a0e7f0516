"""Simple slopes against closed forms, and Johnson-Neyman bounds against their definition."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from metareg_sm import MetaReg
from metareg_sm.exceptions import DesignError, OptionError
from metareg_sm.postestimation.slopes import _roots_searched, simple_slopes


@pytest.fixture
def data():
    """Studies whose slope of x depends on z, and on a design of three kinds."""
    rng = np.random.default_rng(11)
    k = 40
    x, z = rng.normal(2.0, 1.0, k), rng.uniform(0.0, 10.0, k)
    kind = rng.permutation(np.repeat(["a", "b", "c"], [14, 13, 13]))
    v = rng.uniform(0.02, 0.2, k)
    y = 0.3 + x * (-0.4 + 0.1 * z) + rng.normal(0.0, np.sqrt(v + 0.05))
    lab = rng.integers(0, 12, k)
    return pd.DataFrame({"y": y, "v": v, "x": x, "z": z, "kind": kind, "lab": lab})


def fit(data, formula, **options):
    return MetaReg.from_formula(formula, data, vi="v").fit(**options)


def closed_form(res, first, second, values, alpha=0.05):
    """The slope first + second * value, its tests and interval."""
    b, V = res.params, res.cov_params()
    slope = b[first] + b[second] * values
    variance = (
        V.loc[first, first] + 2 * values * V.loc[first, second] + values**2 * V.loc[second, second]
    )
    se = np.sqrt(variance)
    dist = stats.t(res.df_resid) if res.use_t else stats.norm()
    half = dist.ppf(1 - alpha / 2) * se
    p = 2 * dist.sf(np.abs(slope / se))
    return np.column_stack([slope, se, slope / se, p, slope - half, slope + half])


COLUMNS = ["slope", "se", "statistic", "pvalue", "ci_lower", "ci_upper"]


@pytest.mark.parametrize("cov_type", ["knapp-hartung", "nonrobust", "HC3"])
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_closed_form(data, engine, cov_type, alpha):
    res = fit(data, "y ~ x * z", cov_type=cov_type)
    values = np.array([-3.0, 0.0, 2.5, 10.0])
    found = simple_slopes(res, "x", {"z": values}, alpha)
    assert list(found.frame.columns) == ["z", *COLUMNS]
    np.testing.assert_array_equal(found.frame["z"], values)
    expected = closed_form(res, "x", "x:z", values, alpha)
    np.testing.assert_allclose(found.frame[COLUMNS], expected, rtol=1e-9)
    # the slope is symmetric in the roles of the two
    expected = closed_form(res, "z", "x:z", values, alpha)
    swapped = simple_slopes(res, "z", {"x": values}, alpha).frame
    np.testing.assert_allclose(swapped[COLUMNS], expected, rtol=1e-9)


def test_categorical_partner_is_a_slope_per_level(data, engine):
    res = fit(data, "y ~ x * kind")
    found = simple_slopes(res, "x", {"kind": ["a", "b", "c"]}).frame
    nested = fit(data, "y ~ kind + x:kind")
    for level, slope, se in zip(found["kind"], found["slope"], found["se"], strict=True):
        assert slope == pytest.approx(nested.params[f"x:kind[{level}]"], rel=1e-9)
        assert se == pytest.approx(nested.bse[f"x:kind[{level}]"], rel=1e-9)
    categorical = data.assign(kind=data["kind"].astype("category"))
    again = simple_slopes(fit(categorical, "y ~ x * kind"), "x", {"kind": ["c"]}).frame
    np.testing.assert_allclose(again[COLUMNS], found[COLUMNS].iloc[[2]], rtol=1e-9)


def test_three_way_product(data, engine):
    res = fit(data, "y ~ x * z * kind")
    at = {"z": [1, 4], "kind": ["a", "c"]}
    found = simple_slopes(res, "x", at)
    cells = list(itertools.product(*at.values()))
    assert list(map(tuple, found.frame[["z", "kind"]].to_numpy())) == cells
    b = res.params
    for (z, kind), slope in zip(cells, found.frame["slope"], strict=True):
        expected = b["x"] + z * b["x:z"]
        if kind == "c":
            expected += b["x:kind[T.c]"] + z * b["x:z:kind[T.c]"]
        assert slope == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(found.contrasts @ res.params.to_numpy(), found.frame["slope"])


@pytest.mark.parametrize("term", ["center(x)", "I(x / 3)", "scale(x)"])
def test_stateful_and_rescaled_moderators_are_linear(data, engine, term):
    plain = simple_slopes(fit(data, "y ~ x * z"), "x", {"z": [1.0, 5.0]}).frame
    other = simple_slopes(fit(data, f"y ~ {term} * z"), "x", {"z": [1.0, 5.0]}).frame
    np.testing.assert_allclose(other, plain, rtol=1e-7)


def test_nonlinear_partner_is_fine(data, engine):
    res = fit(data, "y ~ x * np.log(z + 1)")
    found = simple_slopes(res, "x", {"z": [0.0, 7.0]})
    b = res.params
    expected = b["x"] + b["x:np.log(z + 1)"] * np.log([1.0, 8.0])
    np.testing.assert_allclose(found.frame["slope"], expected, rtol=1e-9)
    with pytest.raises(DesignError, match="'x' is not linear in 'z'"):
        found.johnson_neyman("z")


def test_scalars_no_partner_and_two_valued_moderators(data, engine):
    data["d"] = (data["x"] > 2).astype(int)
    res = fit(data, "y ~ d * z + kind")
    found = simple_slopes(res, "d", {"z": 3}).frame
    expected = closed_form(res, "d", "d:z", np.array([3.0]))
    np.testing.assert_allclose(found[COLUMNS], expected, rtol=1e-9)
    res = fit(data, "y ~ x + z")
    alone = simple_slopes(res, "x", {}).frame
    assert alone["slope"].tolist() == pytest.approx([res.params["x"]])
    assert alone["pvalue"].tolist() == pytest.approx([res.pvalues["x"]])


def test_cr2_has_degrees_of_freedom_for_each_slope(data):
    options = {"cov_type": "cluster", "cov_kwds": {"groups": "lab", "correction": "CR2"}}
    res = fit(data, "y ~ x * z", **options)
    found = simple_slopes(res, "x", {"z": [0.0, 5.0, 10.0]}).frame
    for z, slope, pvalue, upper in found[["z", "slope", "pvalue", "ci_upper"]].to_numpy():
        # the slope at z is the coefficient of x once z is counted from there
        moved = fit(data.assign(z=data["z"] - z), "y ~ x * z", **options)
        assert slope == pytest.approx(moved.params["x"], rel=1e-9)
        assert pvalue == pytest.approx(moved.pvalues["x"], rel=1e-7)
        assert upper == pytest.approx(moved.conf_int().loc["x", 1], rel=1e-7)


def check_bounds(found, jn):
    """Bounds have p = alpha; between and beyond them tests are as `regions` says."""
    frame = simple_slopes(found._fit, found.moderator, found._at | {jn.partner: jn.bounds})
    np.testing.assert_allclose(frame.frame["pvalue"], jn.alpha, rtol=1e-6)
    edges = np.array([-1e4, *jn.bounds, 1e4])
    values = np.concatenate([np.linspace(a, b, 9)[1:-1] for a, b in itertools.pairwise(edges)])
    frame = simple_slopes(found._fit, found.moderator, found._at | {jn.partner: values}).frame
    inside = [any(a < z < b for a, b in jn.regions) for z in values]
    assert (frame["pvalue"] < jn.alpha).tolist() == inside


@pytest.mark.parametrize("cov_type", ["knapp-hartung", "nonrobust"])
def test_johnson_neyman_closed_form(data, engine, cov_type):
    res = fit(data, "y ~ x * z", cov_type=cov_type)
    found = simple_slopes(res, "x", {"z": 0})
    jn = found.johnson_neyman("z")
    b, V = res.params, res.cov_params()
    dist = stats.t(res.df_resid) if res.use_t else stats.norm()
    c2 = dist.ppf(0.975) ** 2
    quadratic = [
        b["x:z"] ** 2 - c2 * V.loc["x:z", "x:z"],
        2 * (b["x"] * b["x:z"] - c2 * V.loc["x", "x:z"]),
        b["x"] ** 2 - c2 * V.loc["x", "x"],
    ]
    np.testing.assert_allclose(jn.bounds, np.sort(np.roots(quadratic)), rtol=1e-8)
    assert jn.significant == "outside"
    assert jn.regions == ((-np.inf, jn.bounds[0]), (jn.bounds[1], np.inf))
    assert jn.observed == (data["z"].min(), data["z"].max())
    assert (jn.moderator, jn.partner, jn.alpha) == ("x", "z", 0.05)
    check_bounds(found, jn)


def test_johnson_neyman_inside(data):
    # no interaction to speak of, and a clear slope: significant near the mean of z alone
    data["y"] += data["x"] * (0.9 - 0.1 * data["z"])
    found = simple_slopes(fit(data, "y ~ x * z"), "x", {"z": 0})
    jn = found.johnson_neyman("z")
    assert jn.significant == "inside"
    assert jn.bounds[0] < data["z"].mean() < jn.bounds[1]
    assert jn.regions == (jn.bounds,)
    check_bounds(found, jn)


def test_johnson_neyman_other_levels(data):
    found = simple_slopes(fit(data, "y ~ x * z"), "x", {"z": 0})
    nowhere = found.johnson_neyman("z", alpha=1e-12)
    assert (nowhere.significant, nowhere.bounds, nowhere.regions) == ("nowhere", (), ())
    # the slope crosses zero, so it is not significant everywhere, however large alpha is
    outside = found.johnson_neyman("z", alpha=0.999)
    assert outside.significant == "outside"
    root = -found._fit.params[1] / found._fit.params[3]
    assert outside.bounds[0] < root < outside.bounds[1]


def test_johnson_neyman_cr2(data):
    options = {"cov_type": "cluster", "cov_kwds": {"groups": "lab", "correction": "CR2"}}
    found = simple_slopes(fit(data, "y ~ x * z", **options), "x", {"z": 0})
    jn = found.johnson_neyman("z")
    assert len(jn.bounds) == 2
    check_bounds(found, jn)


def test_both_searches_agree(data):
    res = fit(data, "y ~ x * z")
    found = simple_slopes(res, "x", {"z": 0})
    jn = found.johnson_neyman("z")
    low, high = jn.observed
    rows = simple_slopes(res, "x", {"z": [(low + high) / 2, high]}).contrasts
    roots = _roots_searched(res._results, rows[0], rows[1] - rows[0], 0.05)
    bounds = (low + high) / 2 + np.array(roots) * (high - low) / 2
    np.testing.assert_allclose(bounds, jn.bounds, rtol=1e-8)


def test_johnson_neyman_holds_other_partners(data, engine):
    res = fit(data, "y ~ x * z * kind")
    found = simple_slopes(res, "x", {"z": [1, 2], "kind": "b"})
    jn = found.johnson_neyman("z")
    only = fit(data.assign(kind=pd.Categorical(data["kind"], ["b", "a", "c"])), "y ~ x * z * kind")
    expected = simple_slopes(only, "x", {"z": 0, "kind": "b"}).johnson_neyman("z")
    np.testing.assert_allclose(jn.bounds, expected.bounds, rtol=1e-6)
    with pytest.raises(OptionError, match=r"at\['z'\] must have one value"):
        found.johnson_neyman("kind")


@pytest.mark.parametrize(
    ("formula", "moderator", "at", "error", "message"),
    [
        ("y ~ np.log(x + 5) * z", "x", {"z": 1}, DesignError, "'x' does not enter linearly .*log"),
        ("y ~ x + I(x**2)", "x", {}, DesignError, r"does not enter linearly \('I\(x"),
        ("y ~ bs(x, df=4)", "x", {}, DesignError, "does not enter linearly"),
        ("y ~ C(lab > 4) + lab", "lab", {}, DesignError, "does not enter linearly"),
        ("y ~ x * z", "x", {}, DesignError, r"depends on more than at=\[\]: see 'x:z'"),
        ("y ~ x * z * kind", "x", {"z": 1}, DesignError, "see 'x:kind"),
        ("y ~ x * z", "lab", {"z": 1}, DesignError, "'lab' does not enter the model"),
        ("y ~ x * z", "xx", {"z": 1}, OptionError, "moderator='xx' is no column.*mean 'x'"),
        ("y ~ x * z", "x", {"zz": 1}, OptionError, "partner='zz' is no column.*mean 'z'"),
        ("y ~ x * z", "x", {"x": 1}, OptionError, "has the moderator 'x' itself"),
        ("y ~ x * z", "x", {"z": []}, OptionError, r"at\['z'\] is empty"),
        ("y ~ x * z", "x", {"z": [1, np.nan]}, OptionError, "finite numbers; got nan"),
        ("y ~ x * z", "x", {"z": ["low"]}, OptionError, "finite numbers; got 'low'"),
        ("y ~ x * z", "x", [1, 2], OptionError, "at must map partners"),
        ("y ~ x * kind", "x", {"kind": ["d"]}, OptionError, "'d' is no level. There are"),
        ("y ~ x * kind", "kind", {"x": 1}, OptionError, "'kind' is not numeric"),
        ("y ~ x * C(lab > 4)", "x", {"lab": 3}, None, ""),
        ("y ~ x * C(lab)", "x", {"lab": 99}, DesignError, "does not fit the formula"),
        ("y ~ x * np.log(z + 1)", "x", {"z": -5.0}, DesignError, "missing or infinite"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::metareg_sm.exceptions.RankDeficiencyWarning")
def test_bad_input(data, engine, formula, moderator, at, error, message):
    res = fit(data, formula)
    if error is None:
        simple_slopes(res, moderator, at)
        return
    with pytest.raises(error, match=message):
        simple_slopes(res, moderator, at)


def test_more_bad_input(data, engine):
    res = fit(data, "y ~ x * z + kind")
    for alpha in (0.0, 1.0, 2, "5%"):
        with pytest.raises(OptionError, match="alpha must be between 0 and 1"):
            simple_slopes(res, "x", {"z": 0}, alpha)
    found = simple_slopes(res, "x", {"z": 0, "kind": "a", "lab": 1})
    with pytest.raises(OptionError, match=r"partner='x' is not in at"):
        found.johnson_neyman("x")
    with pytest.raises(OptionError, match="partner='kind' is not numeric"):
        found.johnson_neyman("kind")
    with pytest.raises(DesignError, match="does not depend on 'lab'"):
        found.johnson_neyman("lab")
    arrays = MetaReg(data["y"], data[["x", "z"]], vi=data["v"]).fit()
    with pytest.raises(OptionError, match="needs a fit by formula"):
        simple_slopes(arrays, "x", {"z": 0})


@pytest.mark.filterwarnings("ignore::metareg_sm.exceptions.RankDeficiencyWarning")
def test_slope_that_is_not_identified(data, engine):
    data["other"] = np.where(data["kind"] == "a", "p", "q")
    res = fit(data, "y ~ x * kind + x * other")
    found = simple_slopes(res, "x", {"kind": "b", "other": "q"}).frame
    plain = simple_slopes(fit(data, "y ~ x * kind"), "x", {"kind": "b"}).frame
    assert found["slope"].iloc[0] == pytest.approx(plain["slope"].iloc[0], rel=1e-8)
    assert found["se"].iloc[0] == pytest.approx(plain["se"].iloc[0], rel=1e-8)
    with pytest.raises(DesignError, match="is not identified"):
        simple_slopes(res, "x", {"kind": "a", "other": "q"})


def test_rows_that_were_dropped_do_not_matter(data, engine):
    clean = simple_slopes(fit(data.iloc[3:], "y ~ x * z"), "x", {"z": [1.0]}).frame
    data.loc[[0, 2], "z"] = np.nan
    data.loc[1, "v"] = np.nan
    if engine == "patsy":  # formulaic itself does not take duplicate labels with missing values
        data.index = np.zeros(len(data), dtype=int)
    dropped = simple_slopes(fit(data, "y ~ x * z"), "x", {"z": [1.0]}).frame
    np.testing.assert_allclose(dropped, clean, rtol=1e-9)
