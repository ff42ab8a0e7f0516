"""What all resampling has in common: seeds, blocks, refusals, invariance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from metareg_sm import MetaReg, gosh
from metareg_sm.exceptions import DesignError, OptionError
from metareg_sm.stats import blocks, resampling

from ._resampling import (
    fit,
    studies,
)


def everything(res, rng=7):
    return {
        "rows": lambda: res.permutation_test(300, rng=rng).null_distribution,
        "residuals": lambda: res.permutation_test(300, rng=rng, method="residuals").omnibus_null,
        "pvalues": lambda: res.permutation_test(300, rng=rng).summary_frame(),
        "parametric": lambda: res.bootstrap(300, rng=rng).distribution,
        "studies": lambda: res.bootstrap(300, rng=rng, method="studies").distribution,
        "bca": lambda: res.bootstrap(300, rng=rng).conf_int(kind="bca"),
        "lr": lambda: np.atleast_1d(res.bootstrap_lr_test_tau2(300, rng=rng).pvalue),
        "simulate": lambda: res.simulate(300, rng=rng),
        "gosh": lambda: gosh(res, n_subsets=300, rng=rng).frame,
    }


WHAT = tuple(everything(None))
FAILS = "ignore:.*bootstrap samples have too few:metareg_sm.exceptions.FewStudiesWarning"


@pytest.mark.filterwarnings(FAILS)
@pytest.mark.parametrize("what", WHAT)
def test_reproducible(what):
    y, v, X = studies(12, k=14, spread=0.03)
    res = fit(y, v, X)
    # the global state is neither changed nor read
    state = np.random.get_state()  # noqa: NPY002 (the global state is what is tested)
    first = everything(res)[what]()
    assert_allclose(everything(res)[what](), first, rtol=1e-12, atol=1e-13)
    assert_allclose(
        everything(res, np.random.default_rng(7))[what](), first, rtol=1e-12, atol=1e-13
    )
    assert (np.asarray(everything(res, 8)[what]()) != np.asarray(first)).any()
    assert_array_equal(np.random.get_state()[1], state[1])  # noqa: NPY002 (the global state is what is tested)
    np.random.seed(99)  # noqa: NPY002 (the global state is what is tested)
    try:
        assert_allclose(everything(res)[what](), first, rtol=1e-12, atol=1e-13)
    finally:
        np.random.set_state(state)  # noqa: NPY002 (the global state is what is tested)


@pytest.mark.filterwarnings(FAILS)
@pytest.mark.parametrize("what", WHAT)
def test_blocks_do_not_matter(what, monkeypatch):
    y, v, X = studies(13, k=14, spread=0.03)
    res = fit(y, v, X)
    monkeypatch.setattr(blocks, "BLOCK_CELLS", 10**9)
    whole = np.asarray(everything(res)[what]())
    for cells in (1, 14 * 101):
        monkeypatch.setattr(blocks, "BLOCK_CELLS", cells)
        assert len(list(resampling.blocks(X.shape[1], 300, 14))) == {1: 5, 14 * 101: 3}[cells]
        cut = np.asarray(everything(res)[what]())
        if what in ("pvalues", "lr", "simulate"):
            assert_allclose(cut[..., -1], whole[..., -1], rtol=1e-12, atol=1e-13)
        assert_allclose(cut, whole, rtol=1e-9, atol=1e-9)


def test_a_generator_goes_on():
    y, v, X = studies(14)
    res, rng = fit(y, v, X), np.random.default_rng(1)
    first, second = res.simulate(5, rng=rng), res.simulate(5, rng=rng)
    assert_allclose(np.vstack([first, second]), res.simulate(10, rng=1), rtol=1e-12, atol=1e-13)


def test_without_a_seed_results_differ():
    y, v, X = studies(15)
    res = fit(y, v, X)
    assert (res.simulate(2) != res.simulate(2)).all()


def calls(res):
    return {
        "permutation_test": lambda **k: res.permutation_test(**{"n_resamples": 9, **k}),
        "bootstrap": lambda **k: res.bootstrap(**{"n_resamples": 9, **k}),
        "simulate": lambda **k: res.simulate(**{"tau2": None, **k}),
        "bootstrap_lr_test_tau2": lambda **k: res.bootstrap_lr_test_tau2(**{"rng": 1, **k}),
    }


@pytest.mark.parametrize("n", [0, -1, 1.5, True, "many", None, np.nan])
@pytest.mark.parametrize("what", calls(None))
def test_refused_numbers_of_resamples(what, n):
    y, v, X = studies(34)
    with pytest.raises(OptionError, match="n_resamples"):
        calls(fit(y, v, X))[what](n_resamples=n)


@pytest.mark.parametrize("what", ["permutation_test", "bootstrap"])
def test_refused_methods(what):
    y, v, X = studies(35)
    with pytest.raises(OptionError, match="method='columns'"):
        calls(fit(y, v, X))[what](method="columns")
    for kwds in ({"cov_type": "HC3"}, {"tau2": "genq", "weights": np.ones(9)}):
        with pytest.raises(OptionError, match="Resampling"):
            calls(fit(y, v, X, **kwds))[what]()
    with pytest.warns(match="redundant"):
        model = MetaReg(y, np.column_stack([X, X[:, 1]]), vi=v)
    with pytest.raises(DesignError, match="redundant"):
        calls(model.fit())[what]()


def test_refused_options():
    y, v, X = studies(36)
    res = fit(y, v, X)
    with pytest.raises(OptionError, match="kind='normal'"):
        res.bootstrap(9, rng=1).conf_int(kind="normal")
    for tau2 in (-0.1, np.nan, np.inf):
        with pytest.raises(OptionError, match="tau2"):
            res.simulate(2, tau2=tau2)
    for kwds in ({"n_subsets": 0}, {"min_size": 3}, {"min_size": 10}, {"min_size": 4.5}):
        with pytest.raises(OptionError, match=next(iter(kwds))):
            gosh(res, **kwds)
    with pytest.raises(OptionError, match="Resampling"):
        gosh(fit(y, v, X, cov_type="HC0"))


@pytest.mark.parametrize("alpha", [2.0, -0.5, np.nan])
def test_refused_levels(alpha):
    y, v, X = studies(37)
    boot = fit(y, v, X).bootstrap(19, rng=1)
    with pytest.raises(ValueError, match=r"alpha|range \[0, 1\]"):
        boot.conf_int(alpha)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["rows", "residuals"]),
    st.sampled_from(["reml", "ml", "dl", "pm"]),
    st.sampled_from([1e-3, -1.0, 20.0]),
)
def test_units_do_not_matter(seed, method, tau2, c):
    y, v, X = studies(seed)
    known = fit(y, v, X, tau2=tau2).permutation_test(49, rng=1, method=method)
    moved = X * [1.0, -3.0, 100.0]
    if method == "residuals":
        # each moderator is tested given the others, whatever their origin
        moved = moved + np.array([0.0, 5.0, -20.0])
    scaled = fit(c * y, c * c * v, moved, tau2=tau2).permutation_test(49, rng=1, method=method)
    moderators = ["x1", "x2"]
    assert_allclose(scaled.pvalues[moderators], known.pvalues[moderators], rtol=1e-12, atol=1e-13)
    assert_allclose(
        scaled.pvalues_fwer[moderators], known.pvalues_fwer[moderators], rtol=1e-12, atol=1e-13
    )
    assert_allclose(scaled.omnibus_pvalue, known.omnibus_pvalue, rtol=1e-12)
    assert (known.pvalues_fwer >= known.pvalues).all()
    assert (known.pvalues >= 1 / 50).all()
    assert (known.pvalues <= 1.0).all()
    boot = fit(y, v, X, tau2=tau2).bootstrap(25, rng=1)
    again = fit(c * y, c * c * v, X, tau2=tau2).bootstrap(25, rng=1)
    # a negative unit turns the noise round
    if c > 0:
        unit = [c, c, c, c * c, 1.0, 1.0]
        assert_allclose(again.distribution / unit, boot.distribution, rtol=1e-7, atol=1e-7)
    i2, r2 = boot.distribution["i2"], boot.distribution["r2"]
    assert ((i2 >= 0) & (i2 < 1) & (r2 >= 0) & (r2 <= 1)).all()
