"""Data sets and single fits that the tests of resampling compare with."""

import numpy as np

from metareg_sm import MetaReg

SETTINGS = (
    {},
    {"tau2": "ml", "cov_type": "nonrobust"},
    {"tau2": "dl", "cov_type": "knapp-hartung-adhoc"},
    {"tau2": "pm"},
    {"tau2": 0.05},
)
# statistics of equal resamples differ by rounding
TIE = 1e-8


def studies(seed, k=9, p=3, spread=0.3, constant=True):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(k, p))
    if constant:
        X[:, 0] = 1.0
    v = 10.0 ** rng.uniform(-2, -0.5, k)
    y = X @ (0.4 * np.arange(p)) + rng.normal(0.0, np.sqrt(v + spread))
    return y, v, X


def fit(y, v, X, **kwds):
    return MetaReg(y, X, vi=v).fit(**kwds)


def shares(null, observed, exact):
    """p-values from statistics and a loop over them."""
    observed, found = np.atleast_1d(observed), []
    for j, value in enumerate(observed):
        column = null[:, j] if null.ndim == 2 else null
        extreme = sum(not row < value * (1.0 - TIE) for row in column)
        found.append(extreme / len(column) if exact else (extreme + 1) / (len(column) + 1))
    return np.array(found)


def exact_study():
    rng = np.random.default_rng(33)
    k = 8
    X = np.column_stack([np.ones(k), rng.normal(size=k)])
    v = rng.uniform(0.05, 0.5, k)
    v[0] = 0.0
    return rng.normal(0.0, 1.0, k), v, X


def quantities(res):
    h = res.heterogeneity
    return [*np.asarray(res.params), res.tau2, h.i2, h.r2]
