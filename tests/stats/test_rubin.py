"""Rubin's rules as functions of arrays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from metareg_sm.stats.rubin import d1_df, pooled_df, rubin


def test_nothing_is_missing():
    same = np.full((5, 2), 3.0)
    found = rubin(same, np.full((5, 2), 0.25), 10.0)
    np.testing.assert_allclose(found.variance, 0.25)
    np.testing.assert_allclose(found.riv, 0.0)
    # the degrees of freedom of observed data that are all complete
    np.testing.assert_allclose(found.df, 11.0 / 13.0 * 10.0)
    assert np.isinf(rubin(same, np.full((5, 2), 0.25), np.inf).df).all()


def test_infinite_degrees_of_freedom_are_rubins_own():
    missing = np.array([0.1, 0.5])
    np.testing.assert_allclose(pooled_df(missing, 6, np.inf), 5.0 / missing**2)


@pytest.mark.parametrize("r", [0.05, 0.3])
def test_reiter_nears_li_with_many_degrees_of_freedom(r):
    li = d1_df(3, 10, r, np.inf)
    # they near each other, and are not the same formula
    assert d1_df(3, 10, r, 1e9) == pytest.approx(li, rel=0.25)
    few = [d1_df(3, 10, r, df) for df in (8.0, 20.0, 100.0, 1e4)]
    assert np.all(np.diff(few) > 0.0)
    assert few[0] < 8.0


def test_few_degrees_of_freedom_have_a_fallback():
    # Reiter's expansion has no value here
    assert 0.0 < d1_df(2, 3, 2.0, 5.0) < 5.0
    assert 0.0 < d1_df(2, 2, 0.5, 9.0) < 9.0
    assert d1_df(2, 2, 0.5, np.inf) == pytest.approx(0.5 * 2 * 1.5 * 9.0)
    assert d1_df(2, 5, 0.0, 10.0) == pytest.approx(110.0 / 13.0)


def test_estimates_that_hardly_differ():
    # the share that is missing is so small that its square is 0: as many df as if nothing were
    estimates = np.full((5, 1), 4e-75)
    estimates[0] = 0.0
    found = rubin(estimates, np.full((5, 1), 28179.0), 12.0)
    known = rubin(np.zeros((5, 1)), np.full((5, 1), 28179.0), 12.0)
    np.testing.assert_allclose(found.df, known.df, rtol=1e-12)


@settings(max_examples=50, deadline=None)
@given(
    hnp.arrays(float, (5, 3), elements=st.floats(-1e3, 1e3)),
    hnp.arrays(float, (5, 3), elements=st.floats(1e-6, 1e6)),
    st.floats(0.1, 100.0),
)
def test_scale_and_order(estimates, variances, factor):
    one = rubin(estimates, variances, 12.0)
    two = rubin(estimates[::-1] * factor + 7.0, variances[::-1] * factor**2, 12.0)
    np.testing.assert_allclose(two.variance, one.variance * factor**2, rtol=1e-6)
    assert (one.df <= 12.0).all()
    assert (one.fmi >= 0.0).all()
