"""Screening: each row is a fit of its own, adjusted as statsmodels and brute force do."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from statsmodels.stats.multitest import multipletests

from metareg_sm import MetaReg, datasets
from metareg_sm.exceptions import DesignError, MissingStudiesError, OptionError, VarianceError
from metareg_sm.screening import screen

MODERATORS = ["ablat", "year", "alloc"]


@pytest.fixture
def writing():
    """Studies of writing to learn, with missing moderators."""
    return datasets.bangertdrowns2004.load_pandas().data


@pytest.mark.parametrize("cov_type", ["knapp-hartung", "knapp-hartung-adhoc", "nonrobust", "HC2"])
@pytest.mark.parametrize("tau2", ["reml", "dl", 0.1])
def test_rows_are_single_fits(bcg, engine, cov_type, tau2):
    found = screen(bcg, "yi", MODERATORS, vi="vi", cov_type=cov_type, tau2=tau2).frame
    assert list(found.index) == MODERATORS
    for name in MODERATORS:
        res = MetaReg.from_formula(f"yi ~ {name}", bcg, vi="vi").fit(tau2, cov_type)
        row = found.loc[name]
        assert row["nobs"] == 13
        assert_allclose(row["tau2"], res.tau2, rtol=1e-12)
        assert_allclose(row["r2"], res.heterogeneity.r2, rtol=1e-12)
        if name == "alloc":
            assert np.isnan(row[["coef", "se"]].astype(float)).all()
            assert_allclose(row["statistic"], res.fvalue, rtol=1e-12)
            assert_allclose(row["pvalue"], res.f_pvalue, rtol=1e-12)
            assert row["df"] == 2
        else:
            assert_allclose(row["coef"], res.params[name], rtol=1e-12)
            assert_allclose(row["se"], res.bse[name], rtol=1e-12)
            assert_allclose(row["statistic"], res.tvalues[name], rtol=1e-12)
            assert_allclose(row["pvalue"], res.pvalues[name], rtol=1e-12)
            assert row["df"] == 1
        rest = 13 - len(res.params) if res.use_t else np.inf
        assert row["df_resid"] == rest


@pytest.mark.parametrize("method", ["holm", "bonferroni", "fdr_bh", "hommel", "h"])
def test_adjustment_is_statsmodels(bcg, method):
    found = screen(bcg, "yi", MODERATORS, vi="vi", method=method)
    expected = multipletests(found.frame["pvalue"], method=method)[1]
    assert_allclose(found.frame["pvalue_adjusted"], expected, rtol=1e-12, atol=1e-13)
    assert found.n_resamples is None


def test_sei_arrays_and_other_containers(bcg):
    expected = screen(bcg, "yi", MODERATORS, vi="vi").frame
    by_sei = screen(bcg.assign(s=np.sqrt(bcg["vi"])), "yi", MODERATORS, sei="s").frame
    by_array = screen(bcg.to_dict("list"), "yi", MODERATORS, vi=bcg["vi"].to_numpy()).frame
    pd.testing.assert_frame_equal(by_sei, expected)
    pd.testing.assert_frame_equal(by_array, expected)


def test_terms_odd_names_and_local_functions(bcg, engine):
    def halved(x):
        return x / 2.0

    data = bcg.rename(columns={"year": "publication year", "yi": "log RR", "ablat": "class"})
    terms = ["class", "publication year", "halved(tpos)", "np.log(tpos)", "tpos:alloc"]
    found = screen(data, "log RR", terms, vi="vi").frame
    plain = screen(bcg, "yi", ["ablat", "year", "tpos"], vi="vi").frame
    assert_allclose(found["pvalue"].iloc[:2], plain["pvalue"].iloc[:2], rtol=1e-12, atol=1e-13)
    assert_allclose(found["coef"].iloc[2], 2.0 * plain["coef"].iloc[2], rtol=1e-12)
    assert found.loc["tpos:alloc", "df"] == 3


def test_missing_rows_belong_to_each_moderator(writing):
    names = ["length", "minutes", "wic", "grade"]
    found = screen(writing, "yi", names, vi="vi")
    assert found.frame["nobs"].tolist() == [writing[n].notna().sum() for n in names]
    assert found.n_complete == int(writing[names].notna().all(axis=1).sum())
    text = str(found.summary())
    assert "missing for different studies" in text
    res = MetaReg.from_formula("yi ~ minutes", writing, vi="vi").fit()
    assert found.frame.loc["minutes", "coef"] == res.params["minutes"]
    with pytest.raises(MissingStudiesError, match="moderator 'length': No study is left"):
        screen(writing.assign(vi=np.nan), "yi", names, vi="vi")


def brute_force(y, v, designs, orders, fit):
    """Adjusted p-values by refitting each permuted data set alone."""
    scores = []
    for order in orders:
        scores.append([])
        for X in designs:
            res = MetaReg(y[order], X, vi=v[order]).fit(**fit)
            scores[-1].append(res.f_pvalue)
    scores = np.array(scores)
    reached = scores[1:].min(axis=1)[:, None] <= scores[0] * (1 + 1e-9)
    return (1 + reached.sum(axis=0)) / len(orders)


@pytest.mark.parametrize(
    "fit",
    [
        {},
        {"tau2": "dl", "cov_type": "nonrobust"},
        {"tau2": "ml", "cov_type": "knapp-hartung-adhoc"},
        {"tau2": 0.3},
        {"tau2": "pm"},
    ],
)
@pytest.mark.parametrize("names", [["ablat", "year"], MODERATORS])
def test_max_t_is_brute_force(bcg, fit, names):
    n = 60
    found = screen(bcg, "yi", names, vi="vi", method="max-t", n_resamples=n, rng=3, **fit)
    orders = np.tile(np.arange(13), (n + 1, 1))
    orders[1:] = np.random.default_rng(3).permuted(orders[1:], axis=1)
    designs = [MetaReg.from_formula(f"yi ~ {m}", bcg, vi="vi").exog for m in names]
    expected = brute_force(bcg["yi"].to_numpy(), bcg["vi"].to_numpy(), designs, orders, fit)
    assert_allclose(found.frame["pvalue_adjusted"], expected, rtol=1e-12)


def test_max_t_uses_the_common_rows(writing):
    names = ["length", "wic", "meta"]
    complete = writing.dropna(subset=names)
    options = {"vi": "vi", "method": "max-t", "n_resamples": 99}
    found = screen(writing, "yi", names, rng=1, **options)
    alone = screen(complete, "yi", names, rng=np.random.default_rng(1), **options)
    assert found.n_complete == len(complete) < len(writing)
    assert_allclose(
        found.frame["pvalue_adjusted"], alone.frame["pvalue_adjusted"], rtol=1e-12, atol=1e-13
    )
    assert f"{len(complete)} studies that are complete" in " ".join(found.notes())


def test_max_t_in_blocks_is_the_same(bcg, monkeypatch):
    options = {"vi": "vi", "method": "max-t", "n_resamples": 50, "rng": 5}
    whole = screen(bcg, "yi", MODERATORS, **options).frame
    monkeypatch.setattr("metareg_sm.stats.blocks.BLOCK_CELLS", 3000)
    pd.testing.assert_frame_equal(screen(bcg, "yi", MODERATORS, **options).frame, whole)


def test_max_t_does_not_charge_for_copies(bcg):
    bcg["copy"] = 3.0 * bcg["ablat"] - 7.0
    options = {"vi": "vi", "method": "max-t", "n_resamples": 199, "rng": 8}
    once = screen(bcg, "yi", ["ablat"], **options).frame
    twice = screen(bcg, "yi", ["ablat", "copy"], **options).frame
    assert (twice["pvalue_adjusted"] == once["pvalue_adjusted"].iloc[0]).all()


def test_family_wise_error_is_stated(bcg):
    rng = np.random.default_rng(2)
    names = [f"x{i}" for i in range(12)]
    bcg[names] = rng.normal(size=(13, 12))
    found = screen(bcg, "yi", names, vi="vi")
    assert found.family_wise_error() == pytest.approx(1 - 0.95**12, rel=1e-14)
    assert found.family_wise_error(0.01) == pytest.approx(1 - 0.99**12, rel=1e-14)
    text = " ".join(str(found.summary()).split())
    assert "12 moderators were tested one at a time at 0.05" in text
    assert "at least one false positive is up to 0.46" in text
    assert "exploratory" in text
    assert "missing for different studies" not in text


def test_summary_has_every_format(bcg):
    smry = screen(bcg, "yi", MODERATORS, vi="vi").summary(alpha=0.1)
    table = smry.tables[0].as_text()
    assert len({len(line) for line in table.splitlines()[1:]}) == 1
    for text in (smry.as_text(), smry.as_html(), smry.as_latex(), smry.as_csv()):
        for name in MODERATORS:
            assert name in text
        assert "nan" not in text
    assert "at 0.1. If" in " ".join(smry.as_text().split())


def test_zero_variance_leaves_r2_empty(bcg):
    bcg.loc[0, "vi"] = 0.0
    found = screen(bcg, "yi", ["ablat"], vi="vi")
    assert np.isnan(found.frame.loc["ablat", "r2"])
    assert "nan" not in str(found.summary())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"moderators": "ablat"}, OptionError, r"moderators=\['ablat'\]"),
        ({"moderators": []}, OptionError, "moderators is empty"),
        ({"moderators": [1]}, OptionError, "got 1"),
        ({"moderators": ["year", "year"]}, OptionError, "'year' twice"),
        ({"moderators": ["ablatt"]}, OptionError, "no column 'ablatt'. Did you mean 'ablat'"),
        ({"moderators": ["0 + ablat"]}, OptionError, "'0 \\+ ablat': it removes the intercept"),
        ({"moderators": ["I(0 * ablat)"]}, DesignError, "does not vary in the 13 studies"),
        ({"moderators": ["C(trial)"]}, DesignError, r"moderator 'C\(trial\)'.*needs more studies"),
        ({"outcome": 3}, OptionError, "outcome must be a column"),
        ({"method": "hol"}, OptionError, "method='hol' is not known. Did you mean 'holm'"),
        ({"cov_type": "cluster"}, OptionError, "needs groups"),
        ({"cov_type": "HC9"}, OptionError, "cov_type='HC9'"),
        ({"tau2": "remll"}, OptionError, "Did you mean 'reml'"),
        ({"vi": None}, VarianceError, "got neither"),
        ({"method": "max-t", "cov_type": "HC3"}, OptionError, "'max-t' goes with cov_type"),
        ({"method": "max-t", "n_resamples": 0}, OptionError, "at least 1; got 0"),
        ({"method": "max-t", "n_resamples": 9.5}, OptionError, "at least 1; got 9.5"),
    ],
)
@pytest.mark.filterwarnings("ignore::metareg_sm.exceptions.RankDeficiencyWarning")
def test_bad_input(bcg, change, error, message):
    options = {"outcome": "yi", "moderators": ["ablat"], "vi": "vi"} | change
    with pytest.raises(error, match=message):
        screen(bcg, **options)


def test_outcome_that_does_not_vary(bcg):
    bcg["yi"] = 0.0
    with pytest.raises(DesignError, match="the outcome does not vary"):
        screen(bcg, "yi", ["ablat"], vi="vi")


def test_max_t_needs_common_rows(writing):
    with pytest.raises(DesignError, match="'yi ~ wic' has a moderator that does not vary"):
        screen(writing, "yi", ["minutes", "wic"], vi="vi", method="max-t")
    writing["early"] = writing["length"].where(writing.index < 20)
    writing["late"] = writing["length"].where(writing.index > 20)
    with pytest.raises(DesignError, match="in the 0 that"):
        screen(writing, "yi", ["early", "late"], vi="vi", method="max-t")
