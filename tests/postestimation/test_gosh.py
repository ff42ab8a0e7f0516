"""Fits of subsets against loops of single fits."""

import itertools

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from metareg_sm import gosh
from metareg_sm.exceptions import OptionError

from ._resampling import (
    SETTINGS,
    exact_study,
    fit,
    studies,
)


@pytest.mark.parametrize("kwds", SETTINGS)
def test_gosh_is_fits_of_subsets(kwds):
    y, v, X = studies(27, k=6, p=2)
    found = gosh(fit(y, v, X, **kwds))
    assert found.exhaustive
    assert found.n_failed == 0
    sets = [s for size in range(3, 7) for s in itertools.combinations(range(6), size)]
    assert len(found.frame) == len(sets) == 42
    assert {tuple(np.flatnonzero(row)) for row in found.subsets} == set(sets)
    assert list(found.frame.columns) == ["size", "const", "x1", "tau2", "i2", "q"]
    for row, subset in zip(found.frame.to_numpy(), found.subsets, strict=True):
        res = fit(y[subset], v[subset], X[subset], **kwds)
        h = res.heterogeneity
        known = [subset.sum(), *np.asarray(res.params), res.tau2, h.i2, h.q]
        assert_allclose(row, known, rtol=1e-9, atol=1e-9)


def test_gosh_smallest_subsets():
    y, v, X = studies(28, k=7, p=2)
    res = fit(y, v, X)
    assert gosh(res, min_size=6).frame["size"].tolist().count(6) == 7
    assert len(gosh(res, min_size=6).frame) == 8
    only = gosh(res, min_size=7)
    assert_allclose(only.frame["tau2"], [res.tau2], rtol=1e-9)
    # as many as there are, then one fewer
    assert gosh(res, n_subsets=99).exhaustive
    assert not gosh(res, n_subsets=98, rng=1).exhaustive


def test_gosh_at_random():
    y, v, X = studies(29, k=20, p=2)
    res = fit(y, v, X)
    found = gosh(res, n_subsets=400, min_size=9, rng=1)
    assert not found.exhaustive
    assert len(found.frame) == 400
    assert (found.frame["size"] == found.subsets.sum(axis=1)).all()
    assert found.frame["size"].min() == 9
    for i in (0, 399):
        subset = found.subsets[i]
        known = fit(y[subset], v[subset], X[subset])
        assert_allclose(found.frame["tau2"][i], known.tau2, rtol=1e-9, atol=1e-9)
    # all subsets are equally likely: 400 draws of which a study is in half, and in a few more of
    # those of at least 9
    assert (abs(found.subsets.mean(axis=0) - 0.56) < 4 * 0.025).all()


class Patient(np.random.Generator):
    """A generator that notices that it is asked in vain."""

    asked = 0

    def integers(self, *args, **kwds):
        self.asked += 1
        assert self.asked < 500, "drawn again and again"
        return super().integers(*args, **kwds)


def test_gosh_of_large_subsets_at_random():
    y, v, X = studies(30, k=40, p=2)
    found = gosh(fit(y, v, X), n_subsets=50, min_size=38, rng=Patient(np.random.PCG64(1)))
    assert found.frame["size"].min() >= 38


def test_gosh_subsets_that_cannot_be_fitted():
    y, v, X = studies(31, k=6, p=2)
    X[:, 1] = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    found = gosh(fit(y, v, X))
    # all with the first study, and as many without it
    assert found.n_failed == 10 + 5 + 1
    assert len(found.frame) == 10 + 10 + 5 + 1
    assert found.subsets[:, 0].all()


def test_plot_data():
    y, v, X = studies(32, k=6, p=2)
    res = fit(y, v, X)
    found = gosh(res)
    data = found.plot_data()
    assert list(data.columns) == ["i2", "const"]
    data = found.plot_data("tau2", "x1", study=4)
    assert list(data.columns) == ["tau2", "x1", "included"]
    assert_array_equal(data["x1"], found.frame["x1"])
    assert_array_equal(data["included"], found.subsets[:, 4])
    assert "included" not in found.frame
    for bad in ({"x": "h2"}, {"y": "beta"}):
        with pytest.raises(OptionError, match="is no column"):
            found.plot_data(**bad)
    # the results themselves rather than their pandas face
    pd.testing.assert_frame_equal(gosh(res._results).frame, found.frame, rtol=1e-12)


def test_gosh_with_a_variance_of_zero():
    y, v, X = exact_study()
    res = fit(y, v, X, tau2="reml")
    found = gosh(res)
    without = ~found.subsets[:, 0]
    # whatever becomes of the others, those that lack the study are ordinary
    assert without.sum() == 2**7 - 1 - 7 - 21
    for i in np.flatnonzero(without)[::9]:
        subset = found.subsets[i]
        known = fit(y[subset], v[subset], X[subset])
        assert_allclose(found.frame["tau2"].iloc[i], known.tau2, rtol=1e-9, atol=1e-10)
