"""Known covariances are of the rows that they were made of, in whatever order the data stand."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from numpy.testing import assert_allclose

import metareg_sm
from metareg_sm import sampling_covariance
from metareg_sm.exceptions import DesignError, VarianceError

STUDIES = metareg_sm.datasets.assink2016.load_pandas().data.head(40)
SHUFFLED = STUDIES.sample(frac=1.0, random_state=3)


def covariance(table, **kwds):
    return sampling_covariance(table["vi"], table["study"], rho=0.6, **kwds)


def fit(V, data=STUDIES, **kwds):
    return smf.mixedmetareg("yi ~ 1", data, V=V, random="1 | study/esid", **kwds).fit()


def same(found, expected):
    assert_allclose(found.llf, expected.llf, rtol=1e-9)
    assert_allclose(found.params, expected.params, rtol=1e-7)


def test_data_in_another_order():
    expected = fit(covariance(STUDIES))
    same(fit(covariance(STUDIES), SHUFFLED), expected)
    same(fit(covariance(SHUFFLED), STUDIES), expected)
    V = covariance(SHUFFLED)
    same(fit(V.take(np.arange(40)), STUDIES), expected)
    # arrays have no labels: they stand as the data do
    arrays = sampling_covariance(SHUFFLED["vi"].to_numpy(), list(SHUFFLED["study"]), rho=0.6)
    assert arrays.labels is None
    same(fit(arrays, SHUFFLED), expected)
    listed = list(SHUFFLED["vi"])
    same(fit(sampling_covariance(listed, SHUFFLED["study"], rho=0.6), STUDIES), expected)


def test_by_arrays_of_a_model():
    frame = SHUFFLED.reset_index(drop=True).set_index(SHUFFLED.index)
    model = metareg_sm.MixedMetaReg(
        frame["yi"], np.ones(40), V=covariance(STUDIES), random="1 | study/esid", data=frame
    )
    same(model.fit(), fit(covariance(STUDIES)))


def test_subset_and_missing_values():
    part = STUDIES["study"] > 3
    expected = fit(covariance(STUDIES[part]), STUDIES[part])
    same(fit(covariance(STUDIES), subset=part), expected)
    same(fit(covariance(STUDIES), SHUFFLED, subset=part), expected)
    same(fit(covariance(SHUFFLED), STUDIES[part]), expected)
    # of the rows of the subset alone
    same(fit(covariance(SHUFFLED[part.loc[SHUFFLED.index]]), STUDIES, subset=part), expected)
    gaps = SHUFFLED.copy()
    gaps.loc[~part.loc[gaps.index], "yi"] = np.nan
    same(fit(covariance(STUDIES), gaps), expected)
    gaps = STUDIES.copy()
    gaps.loc[~part, "vi"] = np.nan
    same(fit(covariance(gaps), SHUFFLED), expected)


def test_series_with_indices_of_their_own():
    V = sampling_covariance(
        SHUFFLED["vi"], STUDIES["study"], phi=0.8, time=STUDIES["esid"], obs=STUDIES["id"]
    )
    expected = sampling_covariance(
        STUDIES["vi"], STUDIES["study"], phi=0.8, time=STUDIES["esid"], obs=STUDIES["id"]
    )
    at = V.labels.get_indexer(expected.labels)
    assert_allclose(V.to_dense()[np.ix_(at, at)], expected.to_dense())
    with pytest.raises(DesignError, match=r"groups cannot be aligned .* no entry for 0"):
        sampling_covariance(STUDIES["vi"], pd.Series([1] * 40, index=range(1, 41)), rho=0.6)


def test_labels_that_do_not_match():
    other = STUDIES.set_index(np.arange(100, 140))
    with pytest.raises(VarianceError, match=r"V has no one row for 0 of the data.* of arrays"):
        fit(covariance(other))
    doubled = STUDIES.set_index(np.repeat(np.arange(20), 2))
    same(fit(covariance(doubled), doubled), fit(covariance(STUDIES)))
    with pytest.raises(VarianceError, match="V has no one row for 0 of the data"):
        fit(covariance(doubled), STUDIES)
    with pytest.raises(VarianceError, match="V has no one row for 0 of the data"):
        fit(covariance(STUDIES), doubled)
