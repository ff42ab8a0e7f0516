"""What the comparisons with reference values share: fits of the stored cases, and `close`."""

from functools import cache, lru_cache

import numpy as np
import statsmodels.formula.api as smf
from numpy.testing import assert_allclose

import metareg_sm  # noqa: F401  (registers smf.metareg)

from . import cases

# test of metafor, covariance type of metareg_sm
COV_TYPES = {"z": "nonrobust", "knha": "knapp-hartung", "adhoc": "knapp-hartung-adhoc"}


@lru_cache
def stored(file):
    """The cases of one file, read once."""
    return cases(file)


@lru_cache
def model(case):
    """The model of a case, by its stored data and formula; real and synthetic names differ."""
    stored_case = stored("synthetic" if case in stored("synthetic") else "mpmath")[case]
    built = smf.metareg(stored_case.formula, stored_case.data, vi="vi")
    assert set(built.exog_names) == set(stored_case.coef)
    return built


@cache
def fit(case, tau2="reml", cov_type="nonrobust"):
    """One fit; none is changed by what reads it."""
    return model(case).fit(tau2=tau2, cov_type=cov_type)


def order(case):
    """Positions of the stored coefficients, which have R's order, among those of the model."""
    stored_case = stored("synthetic" if case in stored("synthetic") else "mpmath")[case]
    return [model(case).exog_names.index(name) for name in stored_case.coef]


def close(actual, expected, rtol, what, atol=0.0):
    """`assert_allclose` that says which quantity differs."""
    assert_allclose(
        np.asarray(actual, dtype=float),
        np.asarray(expected, dtype=float),
        rtol=rtol,
        atol=atol,
        err_msg=what,
    )


def check_coefficients(res, expected, rtol, case, atol_se=0.0):
    """Compare se, statistic, p-value and interval with a block of metafor's.

    `atol_se` is the tolerance of statistics and of intervals' ends, in standard errors: a
    coefficient near 0 is a difference of outcomes, and an end near 0 one of larger numbers, which
    metafor knows to so many digits of these.
    """
    at = order(case)
    se = np.asarray(res.bse)[at]
    ends = np.asarray(res.conf_int())[at]
    close(se, expected["se"], rtol, "se")
    close(np.asarray(res.tvalues)[at], expected["zval"], rtol, "statistic", atol=atol_se)
    close(np.asarray(res.pvalues)[at], expected["pval"], rtol, "p")
    close(ends[:, 0] / se, np.array(expected["ci.lb"]) / se, rtol, "ci", atol=atol_se)
    close(ends[:, 1] / se, np.array(expected["ci.ub"]) / se, rtol, "ci", atol=atol_se)
