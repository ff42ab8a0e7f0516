"""What the tests of many fits share: single fits, and what it means to equal them."""

import warnings

import numpy as np
from numpy.testing import assert_allclose

from metareg_sm import MetaReg

COEFFICIENTS = ("params", "bse", "tvalues", "pvalues")
FIELDS = (*COEFFICIENTS, "tau2", "scale", "nobs", "df_resid", "converged", "reason", "q", "i2")
FIELDS = (*FIELDS, "llf")


def single(y, v, X, **kwds):
    """The ordinary fit of one outcome, of the studies that it has."""
    keep = ~(np.isnan(y) | np.isnan(v))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        return MetaReg(y[keep], X[keep], vi=v[keep]).fit(**kwds)


def check_single(many, i, res, tol=1e-9, has_q=True):
    """Compare every number of outcome `i` with a single fit.

    Coefficients are compared on the scale of their standard errors and tau2 on that of the
    sampling variances, on which they matter; a number near 0 has no digits of its own.
    """
    se, v = np.asarray(res.bse), res.model.vi
    unit = v[v > 0.0].min()
    assert many.reason[i] == 0
    assert many.converged[i]
    assert_allclose(many.tau2[i], res.tau2, rtol=tol, atol=tol * unit, err_msg="tau2")
    assert (many.tau2[i] == 0.0) == (res.tau2 == 0.0)
    assert_allclose(many.params[i] / se, np.asarray(res.params) / se, rtol=tol, atol=tol)
    assert_allclose(many.bse[i], se, rtol=tol, err_msg="bse")
    assert_allclose(many.tvalues[i], res.tvalues, rtol=tol, atol=tol, err_msg="tvalues")
    assert_allclose(many.pvalues[i], res.pvalues, rtol=tol, atol=tol, err_msg="pvalues")
    ends = np.asarray(res.conf_int(0.1)) / se[:, None]
    assert_allclose(many.conf_int(0.1)[i] / se[:, None], ends, rtol=tol, atol=tol)
    assert_allclose(many.llf[i], res.llf, rtol=tol, atol=tol, err_msg="llf")
    assert many.nobs[i] == res.nobs
    assert many.df_resid[i] == res.df_resid
    if has_q:
        assert_allclose(many.q[i], res.heterogeneity.q, rtol=tol, atol=tol, err_msg="q")
        assert_allclose(many.i2[i], res.heterogeneity.i2, rtol=tol, atol=tol, err_msg="i2")


def check_all(many, y, v, X, rows=None, tol=1e-9, **kwds):
    """Compare all outcomes with single fits."""
    v = np.broadcast_to(v, y.shape)
    for i in range(len(y)) if rows is None else rows:
        check_single(many, i, single(y[i], v[i], X, **kwds), tol)


def same(many, other):
    """Two results are equal bit for bit."""
    for name in FIELDS:
        found, known = np.asarray(getattr(many, name)), np.asarray(getattr(other, name))
        assert_allclose(found, known, rtol=1e-12, atol=1e-13, err_msg=name)


def alike(many, other):
    """Two results are equal but for the order of sums, which is that of the memory."""
    for name in FIELDS:
        found, known = np.asarray(getattr(many, name)), np.asarray(getattr(other, name))
        assert_allclose(found, known, rtol=1e-12, atol=1e-13, err_msg=name)


def outcomes(seed, n=12, k=9, p=2, missing=0.2):
    """Outcomes with own variances, some homogeneous, some cells missing."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(k), rng.normal(size=(k, p - 1))])
    v = 0.1 * 10.0 ** rng.uniform(-0.5, 0.5, (n, k))
    spread = np.where(np.arange(n) % 3 == 0, 0.0, 10.0 ** rng.uniform(-2, 1, n))
    y = X @ rng.normal(size=p) + rng.normal(0.0, np.sqrt(v + spread[:, None]))
    # every third outcome lies closer to the regression than its variances let one expect
    expected = X @ np.linalg.lstsq(X, y[::3].T, rcond=None)[0]
    y[::3] = expected.T + 0.3 * (y[::3] - expected.T)
    gone = rng.uniform(size=(n, k)) < missing
    # at least p + 2 studies are left
    gone[:, : p + 2] = False
    y[gone] = np.nan
    return y, v, X
