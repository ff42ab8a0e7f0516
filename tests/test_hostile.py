"""Wrong kinds of everything, in calls that have little else in common: one clear sentence each."""

import pickle

import numpy as np
import pandas as pd
import pytest

from metareg_sm import (
    LocationScaleMetaReg,
    MetaReg,
    MixedMetaReg,
    compare_models,
    impute,
    pool,
    sampling_covariance,
    screen,
)
from metareg_sm.exceptions import DataRemovedError, MetaRegError

pytestmark = pytest.mark.plumbing


@pytest.fixture
def mean(bcg):
    return MetaReg.from_formula("yi ~ 1", bcg, vi="vi").fit()


@pytest.mark.parametrize(
    ("method", "keywords", "message"),
    [
        ("adjust_pvalues", {"method": ["holm"]}, r"method=\['holm'\] is not known"),
        ("excess_significance_test", {"test": ["chi2"]}, r"test=\['chi2'\] is not known"),
        ("trim_and_fill", {"estimator": ["L0"]}, r"estimator=\['L0'\] is not known"),
        ("selection_model", {"steps": "x"}, "steps"),
        ("selection_model", {"steps": (0.025, "x")}, "steps"),
        ("egger_test", {"predictor": np.ones(5)}, "5 values for the 13 rows"),
    ],
)
def test_options_of_results(mean, method, keywords, message):
    with pytest.raises(MetaRegError, match=message):
        getattr(mean, method)(**keywords)


def test_arguments_of_functions(bcg, mean):
    moderators = bcg.assign(ablat=bcg["ablat"].where(bcg.index != 2))
    calls = [
        (lambda: sampling_covariance(bcg["vi"], bcg["alloc"], rho="x"), "rho must be a corr"),
        (lambda: sampling_covariance(bcg["vi"], bcg["alloc"], rho=1j), "rho must be a corr"),
        (lambda: sampling_covariance(bcg["vi"], 3, rho=0.5), "one value an effect size; got 3"),
        (lambda: sampling_covariance(bcg["vi"], [[1]] * 13, rho=0.5), "one value an effect size"),
        (lambda: impute(moderators, "yi ~ ablat", vi="vi", auxiliary=3), "list of columns; got 3"),
        (lambda: screen(bcg, "yi", 3, vi="vi"), "list of columns; got 3"),
        (lambda: screen(bcg, "yi", None, vi="vi"), "list of columns; got None"),
        (lambda: compare_models([mean, 3]), "compares fits; got 3"),
    ]
    for call, message in calls:
        with pytest.raises(MetaRegError, match=message):
            call()


@pytest.mark.parametrize("formula", ["nosuch", "~ nosuch", "~", "", "~ ablat("])
def test_formulas_of_the_scale(bcg, engine, formula):
    with pytest.raises(MetaRegError, match="scale_formula=") as caught:
        LocationScaleMetaReg.from_formula("yi ~ 1", bcg, vi="vi", scale_formula=formula)
    said = str(caught.value)
    assert "\n" not in said
    # quoted as it was written, not as the engine gets it
    assert said.startswith(f"scale_formula={formula!r} ")
    assert "yi" not in said.partition("The columns are")[0]


def test_removed_data_of_dependent_effects(bcg):
    res = MixedMetaReg.from_formula("yi ~ ablat", bcg, vi="vi", random="1 | alloc/trial").fit()
    res.remove_data()
    with pytest.raises(DataRemovedError):
        res.permutation_test(9, rng=1)


def test_pooled_results_are_pickled(bcg, engine):
    frame = bcg.assign(ablat=bcg["ablat"].where(bcg.index != 2))
    pooled = pool(impute(frame, "yi ~ ablat", vi="vi", n_imputations=2, rng=1))
    again = pickle.loads(pickle.dumps(pooled))
    pd.testing.assert_series_equal(again.params, pooled.params)
    new = {"ablat": [33.0]}
    assert again.get_prediction(new).predicted_mean == pytest.approx(
        pooled.get_prediction(new).predicted_mean, rel=1e-12
    )


def test_what_a_location_scale_model_cannot_do_says_so(bcg):
    res = LocationScaleMetaReg.from_formula("yi ~ 1", bcg, vi="vi", scale_formula="~ 1").fit()
    with pytest.raises(AttributeError, match="has no 'bootstrap': statsmodels'"):
        res._results.bootstrap()
    assert "bootstrap" not in dir(res._results)
