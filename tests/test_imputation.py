"""Multiple imputation of missing moderators."""

import numpy as np
import pandas as pd
import pytest

from metareg_sm import MetaReg, impute, pool
from metareg_sm.exceptions import DesignError, OptionError
from metareg_sm.models.together import fit_together


@pytest.fixture
def gaps(bcg):
    bcg["ablat"] = bcg["ablat"].astype(float)
    bcg.loc[[2, 7], "ablat"] = np.nan
    return bcg


def test_frames_and_fits(engine, gaps):
    before = gaps.copy()
    made = impute(gaps, "yi ~ ablat + year", vi="vi", n_imputations=4, rng=1)
    pd.testing.assert_frame_equal(gaps, before)
    assert (len(made), len(made.frames), made.imputed) == (4, 4, ["ablat"])
    known = gaps["ablat"].dropna()
    for frame, res in zip(made.frames, made, strict=True):
        pd.testing.assert_series_equal(frame["ablat"].drop([2, 7]), known)
        # predictive mean matching gives values that some study has
        assert frame.loc[[2, 7], "ablat"].isin(known).all()
        again = MetaReg.from_formula("yi ~ ablat + year", frame, vi="vi").fit()
        np.testing.assert_allclose(res.params, again.params, rtol=1e-10)
    assert pool(made).nobs == 13
    assert len({tuple(f.loc[[2, 7], "ablat"]) for f in made.frames}) > 1


ESTIMATORS = ("reml", "ml", "dl", "pm", "eb", "he", "sj", "hs", 0.1)


@pytest.mark.parametrize("spread", [1.0, 1e6])
@pytest.mark.parametrize("tau2", ESTIMATORS)
@pytest.mark.parametrize("cov_type", ["knapp-hartung", "nonrobust", "HC1"])
def test_a_batch_is_its_single_fits(gaps, tau2, cov_type, spread):
    gaps.loc[5, "vi"] *= spread
    made = impute(
        gaps, "yi ~ ablat + year", vi="vi", n_imputations=6, rng=1, tau2=tau2, cov_type=cov_type
    )
    for frame, res in zip(made.frames, made, strict=True):
        single = MetaReg.from_formula("yi ~ ablat + year", frame, vi="vi")
        single = single.fit(tau2=tau2, cov_type=cov_type)
        assert res.tau2 == pytest.approx(single.tau2, rel=1e-9, abs=1e-12)
        assert res.tau2_se == pytest.approx(single.tau2_se, rel=1e-9)
        np.testing.assert_allclose(res.params, single.params, rtol=1e-9)
        np.testing.assert_allclose(res.cov_params(), single.cov_params(), rtol=1e-9)
        assert res.llf == pytest.approx(single.llf, rel=1e-9)
        assert res.contrast_df() == single.contrast_df()
        assert str(res.summary2().tables[0]) == str(single.summary2().tables[0])
    if tau2 in ("reml", "ml"):
        assert made[2].mle_retvals["converged"]


def count_calls(monkeypatch):
    calls = []
    for name in ("results_at", "fit"):
        whole = getattr(MetaReg, name)

        def counted(self, *args, _whole=whole, _name=name, **kwargs):
            calls.append(_name)
            return _whole(self, *args, **kwargs)

        monkeypatch.setattr(MetaReg, name, counted)
    return calls


def test_all_imputations_are_one_call(gaps, monkeypatch):
    calls = count_calls(monkeypatch)
    impute(gaps, "yi ~ ablat", vi="vi", n_imputations=5, rng=1)
    assert calls == ["results_at"] * 5
    # an optimizer of choice runs for each
    impute(gaps, "yi ~ ablat", vi="vi", n_imputations=5, rng=1, method="bfgs")
    assert calls.count("fit") == 5


@pytest.mark.parametrize(
    "formulas",
    [
        ["yi ~ year", "yi ~ year + C(alloc)"],
        ["yi ~ year + I(2 * year)", "yi ~ year + ablat"],
    ],
)
@pytest.mark.filterwarnings("ignore::metareg_sm.exceptions.RankDeficiencyWarning")
def test_models_of_other_shapes_are_fitted_one_by_one(bcg, formulas, monkeypatch):
    models = [MetaReg.from_formula(formula, bcg, vi="vi") for formula in formulas]
    singles = [model.fit() for model in models]
    calls = count_calls(monkeypatch)
    for res, single in zip(fit_together(models), singles, strict=True):
        np.testing.assert_allclose(res.params, single.params, rtol=1e-12)
    assert calls.count("fit") == 2


def test_the_seed_decides(gaps):
    state = np.random.get_state()[1].copy()  # noqa: NPY002 (the global state is what is tested)
    one, two = (impute(gaps, "yi ~ ablat", vi="vi", n_imputations=3, rng=5) for _ in range(2))
    for a, b in zip(one.frames, two.frames, strict=True):
        pd.testing.assert_frame_equal(a, b)
    generator = np.random.default_rng(5)
    three = impute(gaps, "yi ~ ablat", vi="vi", n_imputations=3, rng=generator)
    pd.testing.assert_frame_equal(three.frames[2], one.frames[2])
    assert np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002 (the global state is what is tested)


def test_options_products_factors_and_auxiliary(gaps):
    gaps.loc[4, "vi"] = np.nan
    gaps.loc[5, "yi"] = np.nan
    gaps["se"] = np.sqrt(gaps["vi"])
    gaps["x y"] = np.arange(13.0)
    made = impute(
        gaps,
        "yi ~ ablat * C(alloc)",
        sei="se",
        n_imputations=2,
        rng=1,
        auxiliary=["x y"],
        cov_type="nonrobust",
        tau2="dl",
    )
    assert made[0].cov_type == "nonrobust"
    assert made[0].nobs == 11
    assert "ablat:C(alloc)[T.systematic]" in made[1].params.index
    a = made.frames[0]
    assert made[0].model.exog[:, made[0].model.exog_names.index("ablat")].tolist() == (
        a["ablat"].tolist()
    )


def test_slopes_are_not_weakened():
    # with the outcome among the predictors the pooled slope is the true one on average
    rng = np.random.default_rng(8)
    slopes, intervals = [], []
    for _ in range(40):
        k = 40
        x = rng.normal(size=k)
        v = rng.uniform(0.02, 0.1, k)
        y = 0.5 * x + rng.normal(0.0, np.sqrt(v + 0.05))
        frame = pd.DataFrame({"y": y, "v": v, "x": np.where(rng.uniform(size=k) < 0.4, np.nan, x)})
        pooled = pool(impute(frame, "y ~ x", vi="v", n_imputations=5, n_burnin=2, rng=rng))
        slopes.append(pooled.params["x"])
        low, high = pooled.conf_int().loc["x"]
        intervals.append(low < 0.5 < high)
    error = np.std(slopes, ddof=1) / np.sqrt(len(slopes))
    assert abs(np.mean(slopes) - 0.5) < 4 * error
    assert np.mean(intervals) > 0.8


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        ({"ablat": 1.0}, {}, OptionError, "Nothing is missing in 'ablat', 'yi'"),
        ({"ablat": ["a", None] * 6 + ["b"]}, {}, DesignError, "'ablat' has missing values and is"),
        ({"ablat": [1.0] + [np.nan] * 12}, {}, DesignError, "known for fewer than two studies"),
        (
            {"ablat": [1.0, 2.0, 4.0] + [np.nan] * 10},
            {},
            DesignError,
            "known for 3 studies, too few to be predicted from 2 other",
        ),
        ({}, {"n_imputations": 1}, OptionError, "n_imputations must be a whole number"),
        ({}, {"auxiliary": ["abc"]}, OptionError, "auxiliary names 'abc'"),
        ({}, {"auxiliary": "abc"}, OptionError, "auxiliary names 'abc'"),
        ({}, {"rng": "a"}, OptionError, "rng must be None, a whole number.*got 'a'"),
        ({}, {"formula": 3}, DesignError, "formula must be text.*got int"),
        ({}, {"formula": "yi ~ ablatt"}, DesignError, "uses 'ablatt'.*Did you mean 'ablat'"),
    ],
)
def test_bad_input(gaps, change, options, error, message):
    with pytest.raises(error, match=message):
        impute(gaps.assign(**change), vi="vi", **({"formula": "yi ~ ablat", "rng": 1} | options))
