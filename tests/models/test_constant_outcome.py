"""One rule for outcomes that do not vary, in single fits and in many."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose

from metareg_sm import MetaReg, fit_many
from metareg_sm.exceptions import DesignError
from metareg_sm.stats.blocks import Reason
from metareg_sm.stats.covariance import COVARIANCES

FACTORS = [t.name for t in COVARIANCES.values() if t.factor is not None]


@pytest.fixture
def studies():
    """Moderators with a constant, and sampling variances."""
    rng = np.random.default_rng(4)
    return np.column_stack([np.ones(9), rng.normal(size=9)]), rng.uniform(0.1, 2.0, 9)


@pytest.mark.parametrize("cov_type", FACTORS)
@pytest.mark.parametrize("value", [0.0, 0.3, -1e5 / 3.0])
def test_single_and_many_agree(studies, cov_type, value):
    X, v = studies
    y = np.full(9, value)
    many = fit_many(np.stack([y, np.arange(9.0)]), X, v, cov_type=cov_type)
    assert many.reason[1] == Reason.FITTED
    if COVARIANCES[cov_type].of_residuals:
        with pytest.raises(DesignError, match="does not vary"):
            MetaReg(y, X, vi=v).fit(cov_type=cov_type)
        assert many.reason[0] == Reason.NO_VARIATION
        assert np.isnan(many.params[0]).all()
        with pytest.raises(DesignError, match="does not vary"):
            many.model(0).fit(cov_type=cov_type)
        return
    assert many.reason[0] == Reason.FITTED
    res = MetaReg(y, X, vi=v).fit(cov_type=cov_type)
    for found in (many.params[0], np.asarray(res.params)):
        assert_allclose(found, [value, 0.0], rtol=1e-12, atol=1e-12 * abs(value))
    w = 1.0 / v
    known = np.sqrt(np.diag(np.linalg.inv(X.T @ (X * w[:, None]))))
    assert_allclose(many.bse[0], known, rtol=1e-10)
    assert_allclose(res.bse, known, rtol=1e-10)
    assert res.pvalues[1] == pytest.approx(1.0)
    assert res.tau2 == many.tau2[0] == 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "boundary" in str(res.summary())


def test_knapp_hartung_needs_residuals(studies):
    assert COVARIANCES["knapp-hartung"].of_residuals
    assert not COVARIANCES["knapp-hartung-adhoc"].of_residuals
    assert not COVARIANCES["nonrobust"].of_residuals
    X, v = studies
    for cov_type in ("knapp-hartung", "HC0", "HC1", "HC2", "HC3"):
        with pytest.raises(DesignError, match=r"all 9 studies report 0\.3.*'nonrobust'"):
            MetaReg(np.full(9, 0.3), X, vi=v).fit(cov_type=cov_type)


def test_a_constant_outcome_has_residuals_where_there_is_no_constant(studies):
    X, v = studies
    res = MetaReg(np.ones(9), X[:, 1:], vi=v).fit()
    many = fit_many(np.ones((1, 9)), X[:, 1:], v)
    assert many.reason[0] == Reason.FITTED
    assert_allclose(many.params[0], res.params, rtol=1e-9)
    assert_allclose(many.bse[0], res.bse, rtol=1e-9)
    assert fit_many(np.zeros((1, 9)), X[:, 1:], v).reason[0] == Reason.NO_VARIATION
    with pytest.raises(DesignError, match="does not vary"):
        MetaReg(np.zeros(9), X[:, 1:], vi=v).fit()


def test_gaps_are_no_variation(studies):
    X, v = studies
    y = np.full((1, 9), 0.7)
    y[0, 3] = np.nan
    assert fit_many(y, X, v).reason[0] == Reason.NO_VARIATION
    many = fit_many(y, X, v, cov_type="nonrobust")
    assert_allclose(many.params[0], [0.7, 0.0], atol=1e-14)
