"""The estimators of tau2 against their defining equations, written with dense matrices."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import chi2

from metareg_sm.core.basis import design_basis
from metareg_sm.core.studies import Studies
from metareg_sm.core.tau2 import ESTIMATORS

NAMES = sorted({e.name for e in ESTIMATORS.values()})


def problem(seed, k=10, p=3, shape=(), spread=0.5):
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(k), rng.normal(size=(k, p - 1))])[:, :p]
    v = rng.uniform(0.05, 1.0, size=(*shape, k))
    return rng.normal(0.0, np.sqrt(v + spread), size=(*shape, k)), v, X


def solve(name, y, v, X, weights=None):
    return ESTIMATORS[name].solve(Studies.build(y, v, design_basis(X)), weights)


def projection(a, X):
    A = np.diag(a)
    return A - A @ X @ np.linalg.inv(X.T @ A @ X) @ X.T @ A


def moment(y, v, X, a):
    """Solution of E y'P_a y = observed, and the standard deviation of that estimate."""
    P, V = projection(a, X), np.diag(v)
    raw = (y @ P @ y - np.trace(P @ V)) / np.trace(P)
    S = V + max(raw, 0.0) * np.eye(len(y))
    return raw, np.sqrt(2.0 * np.trace(P @ S @ P @ S)) / np.trace(P)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("p", [1, 3])
def test_moment_estimators(seed, p):
    y, v, X = problem(seed, p=p)
    rng = np.random.default_rng(99)
    own = rng.uniform(0.5, 2.0, len(y))
    for name, weights, a in (
        ("dl", None, 1.0 / v),
        ("he", None, np.ones_like(v)),
        ("genq", None, 1.0 / v),
        ("genq", own, own),
    ):
        found = solve(name, y, v, X, weights)
        raw, se = moment(y, v, X, a)
        assert_allclose(found.untruncated, raw, rtol=1e-10, atol=1e-13, err_msg=name)
        assert_allclose(found.se, se, rtol=1e-10, err_msg=name)
        assert_allclose(found.tau2, max(found.untruncated, 0.0), rtol=1e-12)


def test_dersimonian_laird_closed_form():
    y, v, _ = problem(5, p=1)
    w = 1.0 / v
    mean = (w * y).sum() / w.sum()
    q = (w * (y - mean) ** 2).sum()
    known = (q - (len(y) - 1)) / (w.sum() - (w**2).sum() / w.sum())
    assert_allclose(solve("dl", y, v, np.ones((len(y), 1))).tau2, known, rtol=1e-12)


def test_hedges_closed_form():
    y, v, _ = problem(6, p=1)
    known = y.var(ddof=1) - v.mean()
    assert_allclose(solve("he", y, v, np.ones((len(y), 1))).tau2, known, rtol=1e-12)
    y, v, X = problem(7)
    rss = np.linalg.lstsq(X, y, rcond=None)[1][0]
    H = X @ np.linalg.inv(X.T @ X) @ X.T
    known = (rss - ((1.0 - np.diag(H)) * v).sum()) / (len(y) - 3)
    assert_allclose(solve("he", y, v, X).untruncated, known, rtol=1e-12)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spread", [0.5, -0.04])
def test_paule_mandel_solves_its_equation(seed, spread):
    y, v, X = problem(seed, spread=spread)
    k, p = X.shape
    for name, target in (("pm", k - p), ("pmm", chi2.ppf(0.5, k - p))):
        found = solve(name, y, v, X)
        t = float(found.untruncated)
        if t == -v.min():
            # even there the studies vary less than that
            near = -v.min() * (1.0 - 1e-4)
            assert y @ projection(1.0 / (v + near), X) @ y < target
        else:
            assert_allclose(y @ projection(1.0 / (v + t), X) @ y, target, rtol=1e-11)
        assert found.tau2 == max(t, 0.0)
        total = (1.0 / (v + found.tau2)).sum()
        assert_allclose(found.se, k * np.sqrt(2.0 / (k - p)) / total, rtol=1e-12)


def test_other_names_of_paule_mandel():
    y, v, X = problem(8)
    known = solve("pm", y, v, X)
    for name in ("eb", "sjit"):
        assert solve(name, y, v, X).tau2 == known.tau2
        assert solve(name, y, v, X).se == known.se


@pytest.mark.parametrize("seed", range(4))
def test_iterated_dersimonian_laird_is_a_fixed_point(seed):
    y, v, X = problem(seed)
    found = solve("dlit", y, v, X)
    df, t = len(y) - 3, float(found.untruncated)
    P = projection(1.0 / (v + t), X)
    assert_allclose((y @ P @ y - df) / np.trace(P), t, rtol=1e-9)
    t = float(found.tau2)
    P = projection(1.0 / (v + t), X)
    variance = 2.0 * df + 4.0 * t * np.trace(P) + 2.0 * t**2 * np.trace(P @ P)
    assert_allclose(found.se, np.sqrt(variance) / np.trace(P), rtol=1e-10)


@pytest.mark.parametrize("seed", range(4))
def test_hunter_schmidt(seed):
    y, v, X = problem(seed)
    k, p = X.shape
    w = 1.0 / v
    P = projection(w, X)
    for name, factor in (("hs", 1.0), ("hsk", k / (k - p))):
        found = solve(name, y, v, X)
        raw = (factor * (y @ P @ y) - k) / w.sum()
        S = np.diag(v + max(raw, 0.0))
        assert_allclose(found.untruncated, raw, rtol=1e-11, atol=1e-14)
        se = factor * np.sqrt(2.0 * np.trace(P @ S @ P @ S)) / w.sum()
        assert_allclose(found.se, se, rtol=1e-10)


@pytest.mark.parametrize("seed", range(4))
def test_sidik_jonkman(seed):
    y, v, X = problem(seed)
    k, p = X.shape
    crude = y.var()
    P = projection(1.0 / (v + crude), X)
    found = solve("sj", y, v, X)
    known = crude * (y @ P @ y) / (k - p)
    assert_allclose(found.tau2, known, rtol=1e-11)
    S = np.diag(v + known)
    se = crude * np.sqrt(2.0 * np.trace(P @ S @ P @ S)) / (k - p)
    assert_allclose(found.se, se, rtol=1e-10)


def test_sidik_jonkman_of_equal_outcomes_is_zero():
    found = solve("sj", np.full(4, 1.5), np.full(4, 0.2), np.ones((4, 1)))
    assert found.tau2 == 0.0
    assert found.se == 0.0


@pytest.mark.parametrize(("name", "reml"), [("reml", True), ("ml", False)])
def test_likelihood_standard_errors(name, reml):
    y, v, X = problem(9, spread=3.0)
    found = solve(name, y, v, X)
    assert found.tau2 > 0.0
    W = np.diag(1.0 / (v + found.tau2))
    M = projection(np.diag(W), X) if reml else W
    assert_allclose(found.se, np.sqrt(2.0 / np.trace(M @ M)), rtol=1e-10)
    P = projection(np.diag(W), X)
    assert_allclose(y @ P @ P @ y, np.trace(M), rtol=1e-10)


def test_equal_variances_unite_the_estimators():
    y, _, X = problem(10)
    v = np.full(len(y), 0.2)
    k, p = X.shape
    rss = np.linalg.lstsq(X, y, rcond=None)[1][0]
    for name in ("reml", "dl", "pm", "eb", "he", "genq", "sjit"):
        assert_allclose(solve(name, y, v, X).tau2, rss / (k - p) - 0.2, rtol=1e-10, err_msg=name)
    for name in ("ml", "hs"):
        assert_allclose(solve(name, y, v, X).tau2, rss / k - 0.2, rtol=1e-10, err_msg=name)
    assert_allclose(solve("hsk", y, v, X).tau2, rss / (k - p) - 0.2, rtol=1e-10)
    # the iteration leaves tau2 out of the expectation of its own Q
    assert_allclose(solve("dlit", y, v, X).tau2, 0.5 * (rss / (k - p) - 0.2), rtol=1e-10)
    median = chi2.ppf(0.5, k - p)
    assert_allclose(solve("pmm", y, v, X).tau2, rss / median - 0.2, rtol=1e-10)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spread", [0.5, -0.045])
def test_batches_are_single_estimates(name, spread):
    y, v, X = problem(11, shape=(3, 4), spread=spread)
    found = solve(name, y, v, X)
    assert found.tau2.shape == (3, 4)
    for index in np.ndindex(3, 4):
        single = solve(name, y[index], v[index], X)
        for part in ("tau2", "se", "untruncated"):
            assert_allclose(
                getattr(found, part)[index], getattr(single, part), rtol=1e-9, atol=1e-14
            )
    shared = solve(name, y, v[0, 0], X)
    for index in np.ndindex(3, 4):
        known = solve(name, y[index], v[0, 0], X).tau2
        assert_allclose(shared.tau2[index], known, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_truncated_at_zero(name):
    y, v, X = problem(12)
    found = solve(name, 0.05 * y, v, X)
    if name != "sj":
        assert found.tau2 == 0.0
    if name not in ("sj", "reml", "ml"):
        assert found.untruncated < 0.0
    assert found.se > 0.0


@pytest.mark.parametrize("name", NAMES)
def test_studies_that_agree_exactly(name):
    # even the outcomes' total variation is 0
    v = np.array([0.1, 0.2, 0.4, 0.3])
    found = solve(name, np.full(4, 1.5), v, np.ones((4, 1)))
    assert found.tau2 == 0.0
    assert np.isfinite(found.untruncated)


def test_zero_variances_are_allowed_where_they_can_be():
    allowed = {e.name for e in ESTIMATORS.values() if e.zero_variance}
    assert allowed == {"reml", "ml", "pm", "eb", "he", "sj", "sjit", "pmm"}


@pytest.mark.parametrize("name", ["reml", "pm", "eb", "he", "sj", "sjit", "pmm"])
def test_zero_variances_are_the_limit_of_small_ones(name):
    y, v, X = problem(13, spread=2.0)
    v[[1, 4]] = 0.0
    small = v.copy()
    small[[1, 4]] = 1e-9
    assert_allclose(solve(name, y, v, X).tau2, solve(name, y, small, X).tau2, rtol=1e-6)


def test_registry():
    assert set(NAMES) == {
        *("reml", "ml", "dl", "pm", "eb", "he", "sj", "hs"),
        *("hsk", "dlit", "sjit", "pmm", "genq"),
    }
    for name, entry in ESTIMATORS.items():
        assert name == name.lower()
        assert name == entry.name or name in entry.aliases
        assert ESTIMATORS[entry.name] is entry
        assert all(ESTIMATORS[alias] is entry for alias in entry.aliases)
        assert entry.label
        assert entry.citation.endswith(".")
    assert {e.name for e in ESTIMATORS.values() if e.kind.likelihood} == {"reml", "ml"}
    assert {e.name for e in ESTIMATORS.values() if e.weighted} == {"genq"}
    with pytest.raises(TypeError):
        ESTIMATORS["mine"] = ESTIMATORS["dl"]


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("dersimonian-laird", "dl"),
        ("paule-mandel", "pm"),
        ("mp", "pm"),
        ("empirical-bayes", "eb"),
        ("vc", "he"),
        ("hedges", "he"),
        ("sidik-jonkman", "sj"),
        ("hunter-schmidt", "hs"),
        ("mpm", "pmm"),
    ],
)
def test_aliases(alias, name):
    assert ESTIMATORS[alias].name == name
