"""Two thousand hostile data sets: few studies, variances over decades, several local maxima.

The likelihoods on the grid are written out here, free of the package's kernel.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from metareg_sm import MetaReg, fit_many
from metareg_sm.core.basis import design_basis
from metareg_sm.core.studies import Studies

N, WIDTH = 2000, 12
BOTH = pytest.mark.parametrize("reml", [True, False], ids=["reml", "ml"])
DESIGNS = pytest.mark.parametrize("p", [1, 2])


def data_sets(p):
    """Outcomes and variances (N, WIDTH), NaN where a study is missing, and moderators."""
    rng = np.random.default_rng(100 + p)
    X = np.column_stack([np.ones(WIDTH), rng.normal(size=(WIDTH, p - 1))])
    k = rng.integers(5, 13, N)
    decades = rng.choice([3.0, 4.0], N)[:, None]
    v = 10.0 ** (rng.uniform(-0.5, 0.5, (N, WIDTH)) * decades)
    # heterogeneity from nothing to far beyond the variances, and outliers
    spread = 10.0 ** rng.uniform(-4, 3, N)[:, None] * (rng.uniform(size=(N, 1)) < 0.8)
    y = rng.standard_t(2.0, (N, WIDTH)) * np.sqrt(v + spread)
    missing = np.argsort(rng.uniform(size=(N, WIDTH)), axis=1) >= k[:, None]
    y[missing] = v[missing] = np.nan
    return y, v, X


def loglikes(tau2, y, v, X, reml):
    """Log-likelihoods at tau2 (N, m), by the definition, for one or two coefficients."""
    here = ~np.isnan(y)
    w = np.where(here[:, None], 1.0 / (np.where(here, v, 1.0)[:, None] + tau2[..., None]), 0.0)
    y, x = np.where(here, y, 0.0)[:, None], X[:, -1]
    total = w.sum(-1)
    mean = (w * y).sum(-1) / total
    resid = y - mean[..., None]
    logdet, known = np.log(total), np.log(here.sum(-1))[:, None]
    if X.shape[1] == 2:
        at = x - ((w * x).sum(-1) / total)[..., None]
        sxx = (w * at * at).sum(-1)
        resid = resid - at * ((w * at * resid).sum(-1) / sxx)[..., None]
        plain = np.where(here, x - (here * x).sum(-1, keepdims=True) / here.sum(-1)[:, None], 0)
        logdet, known = logdet + np.log(sxx), known + np.log((plain**2).sum(-1))[:, None]
    n = here.sum(-1)[:, None] - (X.shape[1] if reml else 0)
    value = np.log(np.where(w > 0.0, w, 1.0)).sum(-1) - (w * resid**2).sum(-1)
    if reml:
        value = value + known - logdet
    return 0.5 * (value - n * np.log(2.0 * np.pi))


def heights_of_grid(y, v, X, reml):
    """Best of 300 points from 0 to beyond every estimate, one a data set."""
    top = 10.0 * np.nanmax(y * y + v, axis=1)
    steps = np.concatenate([[0.0], np.geomspace(1e-7, 1.0, 299)])
    best = np.full(len(y), -np.inf)
    for begin in range(0, 300, 50):
        grid = top[:, None] * steps[begin : begin + 50]
        best = np.maximum(best, loglikes(grid, y, v, X, reml).max(axis=1))
    return best


def check(tau2, y, v, X, reml):
    assert not np.isnan(tau2).any()
    assert (tau2 >= 0.0).all()
    reached = loglikes(tau2[:, None], y, v, X, reml)[:, 0]
    assert (reached >= heights_of_grid(y, v, X, reml) - 1e-6).all()
    return reached


@BOTH
@DESIGNS
def test_fit_many_is_global(p, reml):
    y, v, X = data_sets(p)
    many = fit_many(y, X, v, tau2="reml" if reml else "ml")
    assert many.converged.all()
    reached = check(many.tau2, y, v, X, reml)
    assert_allclose(many.llf, reached, rtol=1e-9, atol=1e-9)
    assert 100 < (many.tau2 == 0.0).sum() < N - 100
    for name in ("params", "bse", "pvalues", "q", "i2"):
        assert np.isfinite(getattr(many, name)).all(), name


@BOTH
@DESIGNS
@pytest.mark.parametrize("chunk", [1, 2])
def test_small_blocks_are_global(p, reml, chunk):
    y, v, X = (a[:400] if a.shape[0] == N else a for a in data_sets(p))
    many = fit_many(y, X, v, tau2="reml" if reml else "ml", chunk=chunk)
    check(many.tau2, y, v, X, reml)


@BOTH
@DESIGNS
def test_studies_are_global(p, reml):
    y, v, X = data_sets(p)
    left = ~np.isnan(y)
    several = 0
    for k in range(5, 13):
        rows = np.flatnonzero(left.sum(axis=1) == k)
        at = np.argsort(~left[rows], axis=1, kind="stable")[:, :k]
        short, variance = (np.take_along_axis(a[rows], at, axis=1) for a in (y, v))
        # each data set has its own design, so that all have the same number of studies
        Z = np.stack([design_basis(X[a]).Z for a in at])
        residual = short - np.einsum("nkr,nr->nk", Z, np.einsum("nkr,nk->nr", Z, short))
        found = Studies(residual, variance, Z, None, short).maximize(reml)
        check(found.tau2, y[rows], v[rows], X, reml)
        assert (found.lower <= found.tau2).all()
        assert (found.tau2 <= found.upper).all()
        several += int((found.maxima > 1).sum())
    # hostile indeed
    assert several > (40 if reml else 100)


@BOTH
def test_studies_that_share_a_design_are_global(reml):
    # the eigenbasis is shared where the variances are, too
    rng = np.random.default_rng(103)
    for k in (5, 8, 12):
        X = np.column_stack([np.ones(k), rng.normal(size=k)])
        v = 10.0 ** rng.uniform(-2, 2, k)
        y = rng.standard_t(2.0, (400, k)) * np.sqrt(v + 10.0 ** rng.uniform(-4, 3, (400, 1)))
        tau2 = Studies.build(y, v, design_basis(X)).maximize(reml).tau2
        check(tau2, y, np.tile(v, (400, 1)), X, reml)
        own = Studies.build(y, np.tile(v, (400, 1)), design_basis(X)).maximize(reml).tau2
        assert_allclose(own, tau2, rtol=1e-9, atol=1e-9 * v.min())


@BOTH
@DESIGNS
def test_single_fits_are_the_same(p, reml):
    # a quarter of them: a thousand single fits of each likelihood
    y, v, X = data_sets(p)
    name, rows = "reml" if reml else "ml", slice(p, None, 4)
    many = fit_many(y, X, v, tau2=name)
    found = [many.tau2[rows], many.params[rows], many.bse[rows], many.llf[rows]]
    known = []
    for outcome, variance in zip(y[rows], v[rows], strict=True):
        keep = ~np.isnan(outcome)
        res = MetaReg(outcome[keep], X[keep], vi=variance[keep]).fit(tau2=name)
        known.append((res.tau2, res.params, res.bse, res.llf))
    tau2, params, bse, llf = (np.array(column) for column in zip(*known, strict=True))
    assert_array_equal(found[0] == 0.0, tau2 == 0.0)
    # tau2 matters on the scale of the variances
    unit = tau2 + np.nanmin(v[rows], axis=1)
    assert_allclose(found[0] / unit, tau2 / unit, rtol=1e-9, atol=1e-9)
    assert_allclose(found[1] / bse, params / bse, rtol=1e-9, atol=1e-9)
    assert_allclose(found[2], bse, rtol=1e-9)
    assert_allclose(found[3], llf, rtol=1e-9, atol=1e-9)
