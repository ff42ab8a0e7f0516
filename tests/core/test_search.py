"""The search for the global maximum, against grids and against hostile data."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from metareg_sm.core.basis import design_basis
from metareg_sm.core.search.maximize import find_brackets
from metareg_sm.core.studies import Studies

from .._likelihood import hessian, loglike, score


def solve(y, v, X, reml):
    y, v = np.asarray(y, dtype=float), np.asarray(v, dtype=float)
    return Studies.build(y, v, design_basis(X)).maximize(reml)


def hostile(seed):
    """Few studies, variances over up to 12 decades, outliers, moderators."""
    rng = np.random.default_rng(seed)
    k = int(rng.integers(3, 12))
    p = int(rng.integers(1, min(k - 1, 4)))
    decades = [2.0, 6.0, 12.0][seed % 3]
    v = 10.0 ** rng.uniform(-decades / 2, decades / 2, k)
    y = rng.standard_t(1.5, k) * np.sqrt(v + 10.0 ** rng.uniform(-6, 2))
    if seed % 4 == 1:
        y = np.round(y, 1)
    if seed % 5 == 2:
        y = y + 1e5
    X = np.column_stack([np.ones(k), rng.normal(size=(k, p - 1)) * 10.0 ** rng.uniform(-3, 3)])
    return y, v, X


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_not_below_a_grid(seed, reml):
    y, v, X = hostile(seed)
    found = solve(y, v, X, reml)
    tau2 = found.tau2[0]
    top = 100.0 * (np.ptp(y) ** 2 + v.max())
    grid = np.concatenate([[0.0], np.geomspace(1e-4 * v.min(), top, 2999)])
    best = float(loglike(tau2, y, v, X, reml))
    heights = loglike(grid, y, v, X, reml)
    assert best >= heights.max() - 1e-9 * max(1.0, abs(best))
    if tau2 > 0.0:
        # a stationary point, to the precision that the score's two terms allow
        size = np.abs(score(0.0, 0 * y, v + tau2, X, reml))
        assert abs(score(tau2, y, v, X, reml)) <= 1e-8 * size
        assert hessian(tau2, y, v, X, reml) < 0.0
        assert found.lower[0] <= tau2 <= found.upper[0]
    else:
        assert score(0.0, y, v, X, reml) <= 0.0


# outcomes, variances, restricted likelihood, number of maxima, a bracket of the global one
PEAKS = {
    "ml, interior above 0": ([0.2, -1.5, -0.9], [0.003, 1.811, 0.126], False, 2, (0.2, 0.3)),
    "ml, 0 above interior": ([9.9, -4.4, 1.3], [9.735, 23.639, 0.206], False, 2, (0.0, 0.0)),
    "ml, the far one": ([0.4, 19.9, -1.8], [0.011, 39.743, 0.003], False, 2, (40.0, 50.0)),
    "ml, the near one": (
        [1.2, -1.6, 0.3, 1.6],
        [0.004, 1.002, 1.38, 0.003],
        False,
        2,
        (0.06, 0.07),
    ),
    "reml, 0 above interior": ([0.2, -6.2, 0.5], [0.518, 7.544, 0.713], True, 2, (0.0, 0.0)),
    "reml, interior above 0": ([0.0, -0.8, 20.8], [1.408, 0.021, 57.234], True, 2, (80.0, 90.0)),
    "reml, the near one": ([0.6, -20.0, 0.1], [0.107, 60.637, 0.018], True, 2, (0.05, 0.06)),
    "reml, the far one": ([-1.1, 0.0, 24.1], [0.651, 0.036, 71.714], True, 2, (115.0, 125.0)),
    "ml, three maxima": (
        [-2.0, 6.4, 2.1, 2.9, -4.4, -0.1, 0.6],
        [1.412, 10.525, 1.603, 2.386, 3.254, 0.004, 0.064],
        False,
        3,
        (2.0, 3.0),
    ),
}


@pytest.mark.parametrize("case", PEAKS)
def test_several_maxima(case):
    y, v, reml, maxima, (low, high) = PEAKS[case]
    X = np.ones((len(y), 1))
    found = solve(y, v, X, reml)
    assert found.maxima[0] == maxima
    assert low <= found.tau2[0] <= high
    grid = np.concatenate([[0.0], np.geomspace(1e-6, 1e3, 3000)])
    heights = loglike(grid, np.array(y), np.array(v), X, reml)
    inner = (heights[1:-1] > heights[:-2]) & (heights[1:-1] > heights[2:])
    assert inner.sum() + (heights[0] > heights[1]) == maxima
    assert float(loglike(found.tau2[0], np.array(y), np.array(v), X, reml)) >= heights.max() - 1e-12


@pytest.mark.parametrize("reml", [True, False])
def test_boundary_is_exactly_zero(reml):
    v = np.array([0.5, 1.0, 2.0, 0.7])
    for y in ([0.1, 0.2, 0.0, 0.1], [3.0, 3.0, 3.0, 3.0]):
        found = solve(y, v, np.ones((4, 1)), reml)
        assert found.tau2[0] == 0.0
        assert found.lower[0] == found.upper[0] == 0.0
        assert found.maxima[0] == 1


def test_equal_variances_have_a_closed_form():
    rng = np.random.default_rng(1)
    k, v = 9, 0.3
    X = np.column_stack([np.ones(k), rng.normal(size=k)])
    y = rng.normal(0.0, 2.0, k)
    rss = np.linalg.lstsq(X, y, rcond=None)[1][0]
    assert_allclose(solve(y, np.full(k, v), X, True).tau2[0], rss / (k - 2) - v, rtol=1e-13)
    assert_allclose(solve(y, np.full(k, v), X, False).tau2[0], rss / k - v, rtol=1e-13)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("gap", [1e-4, 1e-7, 1e-8, 1e-9, 1e-11, 1e-13])
def test_maximum_close_to_the_boundary(gap, reml):
    # the closed form again: the maximum is a tiny part of the variance, on either side of 0
    k, v = 5, 1.0
    n = k - 1 if reml else k
    z = np.array([1.0, -1.0, 0.5, -0.5, 0.0])
    y = z * np.sqrt(n * (v + gap) / (z @ z))
    found = solve(y, np.full(k, v), np.ones((k, 1)), reml)
    assert_allclose(found.tau2[0], gap, rtol=1e-9, atol=4e-15)
    y = z * np.sqrt(n * (v - gap) / (z @ z))
    assert solve(y, np.full(k, v), np.ones((k, 1)), reml).tau2[0] == 0.0


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("k", [7, 150])
def test_batches_are_single_searches(k, reml):
    rng = np.random.default_rng(k)
    X = np.column_stack([np.ones(k), rng.normal(size=k)])
    v = 10.0 ** rng.uniform(-3, 1, size=(40, k))
    spread = 10.0 ** rng.uniform(-3, 1, size=(40, 1))
    y = rng.normal(0.0, np.sqrt(v + spread))
    y[::5] *= 0.1 * np.sqrt(v[::5] / (v[::5] + spread[::5]))
    found = solve(y, v, X, reml)
    assert (found.tau2 == 0.0).any()
    assert (found.tau2 > 0.0).any()
    for i in range(40):
        single = solve(y[i], v[i], X, reml)
        assert_allclose(found.tau2[i], single.tau2[0], rtol=1e-9)
        assert found.maxima[i] == single.maxima[0]
        assert (found.tau2[i] == 0.0) == (single.tau2[0] == 0.0)


def test_outcomes_that_share_variances_and_leading_axes():
    rng = np.random.default_rng(5)
    X, v = np.ones((6, 1)), rng.uniform(0.1, 2.0, 6)
    y = rng.normal(0.0, 1.5, size=(2, 3, 6))
    found = solve(y, v, X, True)
    assert found.tau2.shape == (6,)
    for i, index in enumerate(np.ndindex(2, 3)):
        assert_allclose(found.tau2[i], solve(y[index], v, X, True).tau2[0], rtol=1e-9)


def test_zero_variances():
    rng = np.random.default_rng(6)
    v = np.array([0.0, 0.2, 0.0, 0.5, 0.1, 0.9])
    y = rng.normal(0.0, 1.0, 6)
    found = solve(y, v, np.ones((6, 1)), True)
    grid = np.geomspace(1e-8, 100.0, 3000)
    heights = loglike(grid, y, v, np.ones((6, 1)), True)
    assert found.tau2[0] > 0.0
    assert float(loglike(found.tau2[0], y, v, np.ones((6, 1)), True)) >= heights.max() - 1e-12


def test_units_do_not_matter():
    for case in PEAKS.values():
        y, v, reml = np.array(case[0]), np.array(case[1]), case[2]
        X = np.ones((len(y), 1))
        known = solve(y, v, X, reml).tau2[0]
        for c in (1e-8, 1e-3, 1e6):
            assert_allclose(solve(c * y, c**2 * v, X, reml).tau2[0], c**2 * known, rtol=1e-9)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("decades", [1.0, 3.0, 5.0])
def test_each_maximum_of_a_grid_has_a_bracket(decades, reml):
    # what settles a cell is wrong if a grid sees the score change its sign more often
    rng = np.random.default_rng(int(decades))
    n, k = 1500, 6
    v = 10.0 ** (decades * rng.uniform(-0.5, 0.5, size=(n, k)))
    y = rng.standard_t(2.0, size=(n, k)) * np.sqrt(v + 10.0 ** rng.uniform(-3.0, 2.0, size=(n, 1)))
    studies = Studies.build(y, v, design_basis(np.ones((k, 1))))
    profile, (lower, upper) = studies.profile(reml), studies.search_range(reml)
    found = find_brackets(profile, lower, upper)
    maxima = np.bincount(found.row, minlength=n)
    grid = np.concatenate([[0.0], np.geomspace(1e-5 * v.min(), 1e3 * np.ptp(y) ** 2, 1200)])
    positive = np.stack([profile.derivatives(np.full(n, t)).score > 0.0 for t in grid], axis=1)
    falls = positive[:, :-1] & ~positive[:, 1:]
    assert_array_equal(falls.sum(1) + ~positive[:, 0], maxima)
    assert (maxima > 1).sum() >= (0 if reml or decades == 1.0 else 10)
    for row, low, high in zip(found.row, found.lower, found.upper, strict=True):
        edges = np.flatnonzero(falls[row])
        assert low == high == 0.0 or ((grid[edges] < high) & (grid[edges + 1] > low)).any()
