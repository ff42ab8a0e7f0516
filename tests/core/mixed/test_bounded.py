"""Steps that end at bounds, and climbs that take them."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from metareg_sm.core.mixed.ascent import _solve, steps
from metareg_sm.core.mixed.bounded import bounded_step, misplaced
from metareg_sm.core.mixed.climb import Box, climb, newton_step
from metareg_sm.core.mixed.lanes import Lanes
from metareg_sm.core.mixed.likelihood import Point
from metareg_sm.core.mixed.moments import Heights
from metareg_sm.core.mixed.search import held_problem, maximize

from ._cases import built


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_no_step_in_the_box_is_better(seed, m):
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(8, m + 1, m))
    H = A.swapaxes(1, 2) @ A
    size = np.sqrt(H.diagonal(0, 1, 2))
    # as positive definite as the matrices that steps are made by
    H = H / (size[:, :, None] * size[:, None]) + 0.01 * np.eye(m)
    g = rng.normal(size=(8, m))
    low = -rng.exponential(size=(8, m)) * rng.integers(0, 2, (8, m))
    high = np.where(rng.random((8, m)) < 0.5, np.inf, rng.exponential(size=(8, m)))
    step = bounded_step(H, g, low, high)
    assert ((step >= low) & (step <= high)).all()

    def rise(s):
        return (g * s).sum(-1) - 0.5 * (s * (H @ s[..., None])[..., 0]).sum(-1)

    for spread in (1e-3, 0.1, 2.0):
        others = np.clip(step + spread * rng.normal(size=(200, 8, m)), low, high)
        assert (rise(others) <= rise(step) + 1e-9).all()


def test_matrices_that_rounding_made_singular():
    H = np.array([[[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 1e31]]])
    g, low, high = np.array([[1.0, 0.5, 1.0]]), np.full((1, 3), -0.5), np.full((1, 3), 2.0)
    step = bounded_step(H, g, low, high)
    assert_allclose(step, [[2.0, 2.0, 1e-31]])


# two standard deviations, of which each alone is best at 0: stopped both, the step leads down
PHI = np.array([2.56, 2.61])
GRADIENT, HESSIAN = np.array([0.54, -0.78]), np.array([[0.85, -0.82], [-0.82, 0.84]])


def test_what_stops_first_is_let_go_where_the_rest_wants_it_back():
    at = Heights(np.zeros(1), GRADIENT[None], HESSIAN[None], 2.0 * np.eye(2)[None])
    lower, upper = np.zeros(2), np.full(2, np.inf)
    promised = steps(PHI[None], at, lower, upper)[1]
    assert promised[0] > 0.0
    box = Box(lower, upper, np.zeros(2, dtype=bool))
    # without a Hessian that is exact no maximum counts as far
    point = Point(PHI, 0.0, GRADIENT, HESSIAN, 2.0 * np.eye(2), False, None)
    one, rise, definite = newton_step(point, box, HESSIAN)
    assert definite
    assert rise > 0.0
    assert not misplaced(HESSIAN, GRADIENT, one, -PHI, upper)
    best = bounded_step(HESSIAN[None], GRADIENT[None], -PHI[None], upper[None])[0]
    assert_allclose(one, best, atol=1e-12)


def test_far_from_a_maximum_one_climb_steps_as_many_do():
    rng = np.random.default_rng(3)
    lower, upper = np.zeros(2), np.full(2, np.inf)
    for _ in range(20):
        gradient, phi = rng.normal(size=2), rng.uniform(0.0, 2.0, 2)
        H, E = (root @ root.T + 0.1 * np.eye(2) for root in rng.normal(size=(2, 2, 2)))
        at = Heights(np.zeros(1), gradient[None], H[None], E[None])
        many, promised, newton = steps(phi[None], at, lower, upper)
        point = Point(phi, 0.0, gradient, H, E, True, None)
        box = Box(lower, upper, np.zeros(2, dtype=bool))
        one, _, definite = newton_step(point, box, H)
        assert definite == newton[0]
        assert promised[0] > 0.0
        assert_allclose(one, many[0], rtol=1e-9, atol=1e-12)


def test_climbs_with_a_held_correlation_end_where_the_score_is_0():
    problem = built("berkey1998")[2]
    best = maximize(problem, False).best.point.phi
    changed, start, fixed = held_problem(problem, best, 0, 2, -0.9)
    box, rng = Box(*changed.bounds, fixed), np.random.default_rng(0)
    begin = np.repeat(start[None], 60, axis=0)
    begin[:, ~fixed] = 10.0 ** rng.uniform(-4.0, 1.0, (60, int((~fixed).sum())))
    together = Lanes(changed, changed.many, False).ascend(begin, fixed)
    ends = [climb(changed, one, False, fixed) for one in begin]
    reached = [*together.phi[together.converged], *(end.point.phi for end in ends)]
    assert all(end.converged for end in ends)
    assert together.converged.any()
    for phi in reached:
        point = changed.point(phi, False)
        assert_allclose(np.where(box.free(point), point.gradient, 0.0), 0.0, atol=1e-6)


def test_a_lane_whose_numbers_underflow_follows_its_gradient():
    H = np.zeros((2, 2, 2))
    H[1] = np.eye(2)
    tiny = Heights(np.zeros(2), np.array([[1e-200, 0.5], [0.5, 0.5]]), H, H.copy())
    tiny.observed[0] = tiny.expected[0] = np.full((2, 2), 1.0)
    lower, upper = np.full(2, -np.inf), np.full(2, np.inf)
    found, _, _ = steps(np.zeros((2, 2)), tiny, lower, upper)
    assert np.isfinite(found).all()
    solved = _solve(np.array([np.zeros((2, 2)), np.eye(2)]), np.array([[0.5, 0.25], [1.0, 2.0]]))
    assert_allclose(solved, [[0.5, 0.25], [1.0, 2.0]])
