"""Variances of any ratio: nine digits of everything, against 50-digit arithmetic."""

import mpmath as mp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from metareg_sm import MetaReg, fit_many
from metareg_sm.core.basis import design_basis
from metareg_sm.core.likelihood import DirectProfile, evaluator, pivoted
from metareg_sm.core.likelihood.choose import pivoted as build
from metareg_sm.core.likelihood.pivoted import PivotedProfile
from metareg_sm.core.studies import Studies
from metareg_sm.core.tau2 import ESTIMATORS

from . import _exact

NAMES = ("ypp", "yppp", "trace", "trace2")
TAU2 = (0.0, 1e-8, 1e-3, 1.0, 1e5)


def problem(seed, n=None):
    """Variances over 14 decades; designs with indicators, calendar years and without order."""
    rng = np.random.default_rng(seed)
    k = int(rng.integers(4, 14))
    p = int(rng.integers(1, min(k - 1, 4)))
    X = np.column_stack([np.ones(k), rng.normal(size=(k, p - 1))])
    if p > 1 and seed % 3 == 1:
        X[:, 1] = np.arange(k) % 2
    if p > 1 and seed % 3 == 2:
        X[:, 1] = 1950 + rng.permutation(k)
    if seed % 4 == 3:
        X = X[:, ::-1].copy()
    shape = (k,) if n is None else (n, k)
    v = 10.0 ** rng.uniform(-10, 4, shape)
    v[..., 0], v[..., 1] = 1e-10, 1e4
    y = X @ rng.normal(size=p) + rng.normal(size=shape) * np.sqrt(v + rng.choice([0.0, 1e-3, 1.0]))
    return y, v, X


def check(profile, i, t, y, v, X, reml, n, tolerance=1e-9):
    t = np.full(n, t) if n else np.asarray(t)
    s, rss = profile.derivatives_and_rss(t)
    exact = _exact.likelihood(y, v, X, np.ravel(t)[0], reml)
    at = (lambda a: a[i]) if n else float
    for name in NAMES:
        assert _exact.error(at(getattr(s, name)), exact[name]) < tolerance, name
    assert _exact.error(at(rss), exact["rss"]) < tolerance
    assert _exact.error(at(profile.rss(t)), exact["rss"]) < tolerance
    size = max(1.0, abs(float(exact["loglike"])))
    assert abs(float(at(profile.loglike(t)) - exact["loglike"])) < tolerance * size


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_one_data_set(seed, reml):
    y, v, X = problem(seed)
    studies = Studies.build(y, v, design_basis(X))
    profile = evaluator(studies, reml)
    assert isinstance(profile, PivotedProfile)
    for t in TAU2:
        check(profile, 0, t, y, v, X, reml, None)
    # points together are points by themselves
    together = profile.derivatives(np.array(TAU2))
    for j, t in enumerate(TAU2):
        for name in NAMES:
            one = float(getattr(profile.derivatives(np.asarray(t)), name))
            assert_allclose(getattr(together, name)[j], one, rtol=1e-10)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_many_data_sets(seed, reml):
    y, v, X = problem(seed, n=3)
    profile = evaluator(Studies.build(y, v, design_basis(X)), reml)
    for t in TAU2:
        for i in range(3):
            check(profile, i, t, y[i], v[i], X, reml, 3)
    rows = np.array([2, 0, 0])
    t = np.array([1e-3, 1.0, 0.0])
    some = profile.derivatives(t, rows)
    for j, (i, s) in enumerate(zip(rows, t, strict=True)):
        whole = profile.derivatives(np.full(3, s))
        for name in NAMES:
            assert_allclose(getattr(some, name)[j], getattr(whole, name)[i], rtol=1e-11)
        assert_allclose(profile.loglike(t, rows)[j], profile.loglike(np.full(3, s))[i], rtol=1e-11)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_studies_that_count_more_or_less_than_once(seed, reml):
    y, v, X = problem(seed + 20, n=3)
    k = X.shape[0]
    counts = np.random.default_rng(seed).integers(0, 3, (3, k)).astype(float)
    counts[:, : X.shape[1] + 1] += 1.0
    profile = evaluator(Studies.build(y, v, design_basis(X), counts), reml)
    for i in range(3):
        again = np.repeat(np.arange(k), counts[i].astype(int))
        if np.linalg.matrix_rank(X[again]) < X.shape[1]:
            continue
        for t in (0.0, 1e-3, 1e5):
            check(profile, i, t, y[i, again], v[i, again], X[again], reml, 3)


@pytest.mark.parametrize("gap", [1e-2, 1e-3, 1e-4])
@pytest.mark.parametrize("n", [None, 2])
def test_precise_studies_with_nearly_the_same_moderators(gap, n):
    """Pivots that suit small tau2 do not suit large ones: they are chosen anew."""
    rng = np.random.default_rng(3)
    k = 9
    x = rng.normal(size=k)
    x[1] = x[0] + gap
    X = np.column_stack([np.ones(k), x])
    v = 10.0 ** rng.uniform(-2, 3, (2, k))
    v[:, 0], v[:, 1] = 1e-4 * gap**2, 2e-4 * gap**2
    y = X @ [0.3, 0.2] + rng.normal(size=(2, k)) * np.sqrt(v + 0.1)
    if n is None:
        y, v = y[0], v[0]
    profile = evaluator(Studies.build(y, v, design_basis(X)), True)
    assert profile.again is not None
    for t in (0.0, 1e-6, 0.1, 1e4):
        for i in range(n or 1):
            one = (y[i], v[i]) if n else (y, v)
            check(profile, i, t, *one, X, True, n)


def test_an_outlying_pivot_leaves_too_little_of_a_difference():
    """Sums would lose what residuals keep."""
    rng = np.random.default_rng(1)
    k = 12
    v = 10.0 ** rng.uniform(0, 3, k)
    v[0] = 1e-3
    y = rng.normal(size=k) * np.sqrt(v)
    y[0] = 1e9
    X = np.ones((k, 1))
    profile = evaluator(Studies.build(y, v, design_basis(X)), True)
    for t in (0.0, 1.0, 1e3):
        check(profile, 0, t, y, v, X, True, None)


def test_data_sets_in_parts(monkeypatch):
    y, v, X = problem(4, n=7)
    studies = Studies.build(y, v, design_basis(X))
    whole = build(studies).derivatives(np.full(7, 0.01))
    monkeypatch.setattr(pivoted, "_TOGETHER", 3)
    parts = build(studies).derivatives(np.full(7, 0.01))
    some = build(studies).derivatives(np.full(5, 0.01), np.arange(5))
    for name in NAMES:
        assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-12)
        assert_allclose(getattr(some, name), getattr(whole, name)[:5], rtol=1e-12)


@pytest.mark.parametrize("k", [30, 400, 3000])
def test_equal_to_direct_sums_where_these_are_good(k):
    rng = np.random.default_rng(k)
    X = np.column_stack([np.ones(k), rng.normal(size=(k, 2))])
    v = 10.0 ** rng.uniform(-1, 0, k)
    y = rng.normal(size=k) * np.sqrt(v + 0.1)
    studies = Studies.build(y, v, design_basis(X))
    direct = DirectProfile(studies.resid, v, studies.Z, True)
    profile = build(studies)
    for t in (np.asarray(0.0), np.asarray(0.3), np.linspace(0.0, 3.0, 5)):
        for name in NAMES:
            one, other = getattr(profile.derivatives(t), name), getattr(direct.derivatives(t), name)
            assert_allclose(one, other, rtol=1e-11)
        assert_allclose(profile.loglike(t), direct.loglike(t), rtol=1e-12)
    for one, other in zip(profile.limit(), direct.limit(), strict=True):
        assert_allclose(one, other, rtol=1e-10)


@pytest.mark.parametrize("k", [8, 60, 150])
@pytest.mark.parametrize("decades", [(-8, 4), (-10, 2), (-3, 3)])
def test_fits_at_every_size(k, decades):
    """Q, coefficients and standard errors of single and of many fits; tau2 of both."""
    rng = np.random.default_rng(k)
    X = np.column_stack([np.ones(k), np.arange(k) % 2, rng.normal(size=k)])
    v = 10.0 ** rng.uniform(*decades, k)
    v[0], v[1] = 10.0 ** decades[0], 10.0 ** decades[1]
    y = X @ [0.3, -0.2, 0.1] + rng.normal(size=k) * np.sqrt(v)
    exact = _exact.likelihood(y, v, X, 0.0, True) if k < 100 else None
    single = MetaReg(y, X, vi=v).fit(tau2=0.0, cov_type="nonrobust")
    many = fit_many(np.stack([y, 2.0 * y]), X, v, tau2=0.0, cov_type="nonrobust")
    own = fit_many(np.stack([y, y]), X, np.stack([v, v]), tau2=0.0, cov_type="nonrobust")
    for params, bse, q in (
        (single.params, single.bse, single.heterogeneity.q),
        (many.params[0], many.bse[0], many.q[0]),
        (own.params[1], own.bse[1], own.q[1]),
    ):
        assert_allclose(params, single.params, rtol=1e-9)
        assert_allclose(bse, single.bse, rtol=1e-9)
        assert_allclose(q, single.heterogeneity.q, rtol=1e-9)
        if exact is not None:
            assert _exact.error(q, exact["rss"]) < 1e-9
            for j in range(3):
                assert _exact.error(params[j], exact["params"][j]) < 1e-9
                assert _exact.error(bse[j], exact["bse"][j]) < 1e-9
    for name in ("reml", "ml", "pm", "dl", "he", "sj"):
        one = MetaReg(y, X, vi=v).fit(tau2=name)
        other = fit_many(np.stack([y, y]), X, np.stack([v, v]), tau2=name)
        assert_allclose(other.tau2, one.tau2, rtol=1e-9)
        assert_allclose(other.bse[0], one.bse, rtol=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_tau2_to_nine_digits(seed):
    y, v, X = problem(seed)
    tau2 = MetaReg(y, X, vi=v).fit().tau2
    if tau2 == 0.0:
        exact = _exact.likelihood(y, v, X, 0.0, True)
        assert exact["ypp"] <= exact["trace"]
        return
    signs = []
    for t in (tau2 * (1.0 - 1e-9), tau2 * (1.0 + 1e-9)):
        exact = _exact.likelihood(y, v, X, t, True)
        signs.append(exact["ypp"] > exact["trace"])
    assert signs == [True, False]


@pytest.mark.parametrize("small", [1e-6, 1e-8, 1e-9, 1e-12])
@pytest.mark.parametrize(
    "name", ["sj", "he", "dl", "hs", "hsk", "genq", "pm", "dlit", "reml", "ml"]
)
def test_standard_error_where_variances_are_small_beside_the_outcomes(name, small):
    """y = 3x + sqrt(2v)e: the spread of the outcomes is the moderator's."""
    rng = np.random.default_rng(5)
    k = 12
    x = rng.normal(size=k)
    X, v = np.column_stack([np.ones(k), x]), small * rng.uniform(0.5, 2.0, k)
    y = 3.0 * x + np.sqrt(2.0 * v) * rng.normal(size=k)
    weights = rng.uniform(0.5, 2.0, k) if name == "genq" else None
    found = ESTIMATORS[name].solve(Studies.build(y, v, design_basis(X)), weights)
    with mp.workdps(_exact.DIGITS):
        tau2, vs, df = mp.mpf(float(found.tau2)), [mp.mpf(float(a)) for a in v], k - 2

        def total(power):
            return sum((a + tau2) ** -power for a in vs)

        if name in ("reml", "ml"):
            P = _exact.projection([1 / (a + tau2) for a in vs], X)[0]
            se = mp.sqrt(2 / (sum(a * a for a in P) if name == "reml" else total(2)))
        elif name == "pm":
            se = k * mp.sqrt(mp.mpf(2) / df) / total(1)
        else:
            ys = [mp.mpf(float(a)) for a in y]
            first = sum((a - sum(ys) / k) ** 2 for a in ys) / k
            weights_of = {"sj": lambda a: 1 / (a + first), "he": lambda a: mp.mpf(1)}
            if name == "genq":
                A = [mp.mpf(float(a)) for a in weights]
            elif name == "dlit":
                A = [1 / (a + tau2) for a in vs]
            else:
                A = [weights_of.get(name, lambda a: 1 / a)(a) for a in vs]
            P = _exact.projection(A, X)[0]
            trace = sum(P[i, i] for i in range(k))
            if name == "dlit":
                variance = 2 * (df + 2 * tau2 * trace + tau2**2 * sum(a * a for a in P))
            else:
                PS = P * mp.diag([a + tau2 for a in vs])
                variance = 2 * sum((PS * PS)[i, i] for i in range(k))
            scale = {
                "sj": first / df,
                "hs": 1 / sum(1 / a for a in vs),
                "hsk": mp.mpf(k) / df / sum(1 / a for a in vs),
            }.get(name, 1 / trace)
            se = scale * mp.sqrt(variance)
    assert _exact.error(found.se, se) < 1e-9
