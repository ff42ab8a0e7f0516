"""Which evaluator is chosen, what is kept, and that evaluations share nothing."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import lapack

from metareg_sm import MetaReg, datasets, fit_many
from metareg_sm.core.basis import design_basis
from metareg_sm.core.likelihood import DirectProfile, SpectralProfile, evaluator
from metareg_sm.core.likelihood.compressed import CompressedProfile
from metareg_sm.core.likelihood.pivoted import PivotedProfile
from metareg_sm.core.likelihood.spectral import SpectralProfile as Spectral
from metareg_sm.core.studies import Studies, constant_outcomes, out_of_range

from . import _exact


def studies_of(k, ratio, n=None, seed=0):
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(k), rng.normal(size=k)])
    shape = (k,) if n is None else (n, k)
    v = np.exp(rng.uniform(0.0, np.log(ratio), shape))
    v[..., 0], v[..., 1] = 1.0, ratio
    return Studies.build(rng.normal(size=shape) * np.sqrt(v + 1.0), v, design_basis(X))


@pytest.mark.parametrize(
    ("k", "ratio", "n", "kind"),
    [
        (13, 100.0, None, SpectralProfile),
        (13, 1e5, None, PivotedProfile),
        (500, 100.0, None, DirectProfile),
        (500, 1e5, None, PivotedProfile),
        (6_000, 100.0, None, CompressedProfile),
        (6_000, 1e6, None, PivotedProfile),
        (13, 100.0, 4, DirectProfile),
        (13, 1e5, 4, PivotedProfile),
    ],
)
def test_choice(k, ratio, n, kind):
    assert type(evaluator(studies_of(k, ratio, n), True)) is kind


@pytest.mark.parametrize("ratio", [1e4, 1e6, 1e13])
def test_no_eigendecomposition_where_variances_are_very_unequal(ratio):
    # it lost 2.6 of a log-likelihood of 473,132 at tau2 = 0 where variances differed by 1e13
    rng = np.random.default_rng(8)
    v = np.geomspace(1.0, ratio, 8)
    X = np.column_stack([np.ones(8), rng.normal(size=8)])
    y = rng.normal(size=8) * np.sqrt(v)
    studies = Studies.build(y, v, design_basis(X))
    assert studies.complement is not None
    for reml in (True, False):
        assert isinstance(studies.profile(reml), PivotedProfile)
    found = studies.profile(False).loglike(np.asarray(0.0))
    assert _exact.error(found, _exact.likelihood(y, v, X, 0.0, False)["loglike"]) < 1e-12


def test_one_decomposition_for_each_design(monkeypatch):
    """A fit and all that is asked of it: one for the model, one for that without moderators."""
    count = []
    build, dsyevd = Spectral.build.__func__, lapack.dsyevd
    monkeypatch.setattr(
        Spectral, "build", classmethod(lambda cls, *a: (count.append("build"), build(cls, *a))[1])
    )
    monkeypatch.setattr(lapack, "dsyevd", lambda *a: (count.append("eigen"), dsyevd(*a))[1])
    bcg = datasets.bcg.load_pandas().data
    X = np.column_stack([np.ones(13), bcg["ablat"]])
    res = MetaReg(bcg["yi"], X, vi=bcg["vi"]).fit()
    assert count == ["build", "eigen"]
    _ = res.heterogeneity, res.llf
    for method in ("q-profile", "profile-likelihood", "wald"):
        res.conf_int_tau2(method=method)
    res.lr_test_tau2()
    res.summary()
    res.model.loglike(0.1, reml=False)
    res.model.score(0.1)
    assert count == ["build", "eigen"] * 2


@pytest.mark.parametrize("ratio", [100.0, 1e6])
@pytest.mark.parametrize(("k", "n"), [(13, None), (300, None), (13, 50)])
def test_records_do_not_change_when_others_are_made(k, n, ratio):
    profile = evaluator(studies_of(k, ratio, n), True)
    t = np.asarray(0.3) if n is None else np.full(n, 0.3)

    def arrays(answer):
        return [np.asarray(a) for a in (answer if isinstance(answer, tuple) else (answer,))]

    calls = [profile.derivatives, profile.loglike, profile.rss, lambda t: profile.limit()]
    if isinstance(profile, DirectProfile):
        calls.append(lambda t: (profile.solve(t).resid, profile.solve(t).w))
    if isinstance(profile, PivotedProfile):
        calls.append(lambda t: (profile.regress(t).resid, profile.regress(t).T))
    first = [arrays(call(t)) for call in calls]
    kept = [[a.copy() for a in answer] for answer in first]
    for call in calls:
        call(7.0 * t)
    for answer, copies in zip(first, kept, strict=True):
        for now, before in zip(answer, copies, strict=True):
            assert_array_equal(now, before)


def test_what_is_kept_is_not_saved():
    studies = studies_of(13, 100.0)
    known = float(evaluator(studies, True).loglike(np.asarray(0.2)))
    copy = pickle.loads(pickle.dumps(studies))
    assert studies.evaluators
    assert not copy.evaluators
    assert_allclose(float(evaluator(copy, True).loglike(np.asarray(0.2))), known, rtol=1e-12)


def test_constant_outcomes():
    y = np.array([[1.0, 1.0, 1.0], [0.3, 0.1 + 0.2, 0.3], [0.0, 0.0, 0.0], [1.0, 1.0, 1.1]])
    assert constant_outcomes(y).tolist() == [True, True, True, False]
    counts = np.array([1.0, 1.0, 0.0])
    assert constant_outcomes(y, counts).tolist() == [True] * 4
    assert bool(constant_outcomes(np.array([2.0, 2.0])))


@pytest.mark.parametrize("estimator", ["reml", "ml", "dl", "pm", "he", "sj", "hs", "dlit", "pmm"])
def test_other_units(estimator):
    """y c and v c^2 give tau2 c^2, or are refused."""
    rng = np.random.default_rng(2)
    k = 11
    X = np.column_stack([np.ones(k), rng.normal(size=k)])
    v = rng.uniform(0.1, 2.0, k)
    y = rng.normal(size=k) * np.sqrt(v + 0.5)
    y = np.stack([y, 0.3 * y])
    base = fit_many(y, X, v, tau2=estimator)
    for exponent in (-100, -60, -34, -20, 20, 44):
        c = 10.0**exponent
        many = fit_many(y * c, X, v * c**2, tau2=estimator)
        inside = -35 <= exponent <= 44
        assert (many.converged == inside).all()
        for i in range(2):
            if not inside:
                assert out_of_range(y[i] * c, v * c**2)
                with pytest.raises(ValueError, match="floating point"):
                    MetaReg(y[i] * c, X, vi=v * c**2).fit(tau2=estimator)
                continue
            one = MetaReg(y[i] * c, X, vi=v * c**2).fit(tau2=estimator)
            assert_allclose(one.tau2 / c / c, base.tau2[i], rtol=1e-9)
            assert_allclose(many.tau2[i] / c / c, base.tau2[i], rtol=1e-9)
            assert_allclose(one.params / c, base.params[i], rtol=1e-9)
            if estimator in ("reml", "ml") and i == 0:
                for method in ("q-profile", "profile-likelihood"):
                    found = one.conf_int_tau2(method=method).loc["tau2"].to_numpy()
                    known = MetaReg(y[i], X, vi=v).fit(tau2=estimator)
                    known = known.conf_int_tau2(method=method).loc["tau2"].to_numpy()
                    assert_allclose(found / c / c, known, rtol=1e-8)


def test_a_search_that_gives_up_says_so(monkeypatch):
    from metareg_sm.core.search import maximize as search

    studies = studies_of(13, 1e6, n=6)
    assert studies.maximize(True).certified.all()
    monkeypatch.setattr(search, "_MAX_CUTS", 1)
    found = studies.maximize(True)
    assert not found.certified.all()
    many = fit_many(studies.outcome, np.ones((13, 1)), studies.v)
    assert (many.reason[~many.converged] == 6).all()
    assert not many.converged.all()
    assert np.isfinite(many.tau2).all()
