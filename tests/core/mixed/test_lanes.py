"""Many parameter vectors and outcomes at once equal one at a time."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from metareg_sm.core.basis import design_basis
from metareg_sm.core.mixed.climb import climb
from metareg_sm.core.mixed.lanes import Lanes
from metareg_sm.core.mixed.likelihood import MixedLikelihood
from metareg_sm.core.mixed.starts import starts
from metareg_sm.core.studies import residuals

from ._dense import KINDS, likelihood, problem, working

BATCHED = [kind for kind in KINDS if not kind.startswith("crossed")]


def made(kind):
    rng = np.random.default_rng([31, KINDS.index(kind)])
    parts = problem(rng, kind)
    built = likelihood(*parts)
    if built.many is None:
        pytest.skip("crossed effects are evaluated one at a time")
    return rng, parts, built


def assert_same_heights(found, lane, point):
    assert_allclose(found.value[lane], point.value, rtol=1e-11)
    size = np.abs(point.gradient).max() + 1e-3
    assert_allclose(found.gradient[lane], point.gradient, rtol=1e-8, atol=1e-9 * size)
    for name, at in (("observed", point.observed), ("expected", point.scoring)):
        assert_allclose(getattr(found, name)[lane], at, rtol=1e-7, atol=1e-8 * np.abs(at).max())


@pytest.mark.parametrize("kind", BATCHED)
@pytest.mark.parametrize("reml", [True, False])
def test_parameters(kind, reml):
    rng, _, built = made(kind)
    phi = np.array([working(rng, built.terms) / built.units for _ in range(4)])
    phi[1] *= 1e-3
    lanes = Lanes(built, built.many, reml)
    found = lanes.heights(phi)
    values = lanes.values(phi)
    for lane, one in enumerate(phi):
        point = built.point(one, reml)
        assert_same_heights(found, lane, point)
        assert_allclose(values.value[lane], point.value, rtol=1e-11)
        fit = built.evaluate(one).fit
        assert_allclose(values.coefs[lane], fit.params, rtol=1e-8, atol=1e-10)
        assert_allclose(values.inverse[lane], fit.cov_unscaled, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("kind", BATCHED)
def test_outcomes(kind):
    rng, (y, X, known, terms), built = made(kind)
    outcomes = y + rng.normal(size=(3, len(y))) * y.std()
    Z = design_basis(X).Z
    many = built.many.with_outcomes(Z.T, residuals(outcomes, Z) / built.scale)
    lanes = Lanes(built, many, True)
    phi = np.array([working(rng, terms) / built.units for _ in outcomes])
    found = lanes.heights(phi)
    part = lanes.heights(phi[[2, 0]], np.array([2, 0]))
    for lane, outcome in enumerate(outcomes):
        other = MixedLikelihood.build(outcome, design_basis(X), known, terms)
        point = other.point(phi[lane] * built.units / other.units, True)
        assert_allclose(found.value[lane], point.value, rtol=1e-10)
        gradient = point.gradient * built.units / other.units
        assert_allclose(found.gradient[lane], gradient, rtol=1e-7, atol=1e-8)
    for i, lane in enumerate([2, 0]):
        assert_allclose(part.value[i], found.value[lane], rtol=1e-12)
        assert_allclose(part.observed[i], found.observed[lane], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", BATCHED)
def test_climbs_end_where_single_ones_do(kind):
    _, _, built = made(kind)
    begin = starts(built)[:6]
    lanes = Lanes(built, built.many, True)
    every = lanes.ascend(begin, outcome=np.zeros(len(begin), dtype=int))
    assert every.converged.mean() > 0.7
    # climbs that lead to a known end are given up
    found = lanes.ascend(begin)
    assert found.converged.sum() <= every.converged.sum()
    top = np.argmax(np.where(found.converged, found.value, -np.inf))
    assert_allclose(found.value[top], every.value.max(), rtol=1e-9)
    again = climb(built, found.phi[top], True)
    assert again.point.value - built.loglike(found.phi[top], True) < 1e-9


@pytest.mark.parametrize("kind", BATCHED)
@pytest.mark.parametrize("reml", [True, False])
def test_climbs_that_go_on_as_one_lose_no_maximum(kind, reml):
    _, _, built = made(kind)
    begin = starts(built)
    lanes = Lanes(built, built.many, reml)
    every = lanes.ascend(begin, outcome=np.zeros(len(begin), dtype=int))
    found = lanes.ascend(begin, alone=True)
    ends = [climb(built, phi, reml).point.value for phi in found.phi]
    highest = every.value[every.converged].max()
    assert_allclose(max(ends), highest, rtol=1e-9)
    # where the highest ends, or is left to climb on
    assert_allclose(ends[int(np.argmax(found.value + 1e-6 * found.converged))], highest, rtol=1e-9)


def test_the_last_climb_is_left_near_its_end():
    _, _, built = made("hcs")
    lanes = Lanes(built, built.many, True)
    begin = starts(built)[:6]
    whole, left = lanes.ascend(begin), lanes.ascend(begin, alone=True)
    assert whole.converged.sum() == 1
    assert not left.converged.any()
    assert left.evaluations < whole.evaluations
    top = int(np.argmax(left.value))
    assert climb(built, left.phi[top], True).point.value == pytest.approx(whole.value.max())
