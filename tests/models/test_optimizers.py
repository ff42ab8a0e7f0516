"""statsmodels' optimizers: one answer, whatever the data, and honesty about convergence."""

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose

from metareg_sm import MetaReg
from metareg_sm.exceptions import ConvergenceWarning
from metareg_sm.models.optimizers import OPTIMIZERS

METHODS = ("newton", "nm", "bfgs", "lbfgs", "powell", "cg", "ncg", "basinhopping", "minimize")

# outcomes, variances, estimator; the certified search itself is tested in core/test_search.py
SHAPES = {
    "interior": ([0.2, 1.5, -0.9, 0.4, 2.2], [0.1, 0.2, 0.3, 0.1, 0.25], "reml"),
    "boundary": ([0.1, 0.2, 0.0, 0.1], [0.5, 1.0, 2.0, 0.7], "reml"),
    "boundary ml": ([0.1, 0.2, 0.0, 0.1], [0.5, 1.0, 2.0, 0.7], "ml"),
    "bimodal ml, far": ([0.4, 19.9, -1.8], [0.011, 39.743, 0.003], "ml"),
    "bimodal ml, near": ([1.2, -1.6, 0.3, 1.6], [0.004, 1.002, 1.38, 0.003], "ml"),
    "bimodal ml, 0": ([9.9, -4.4, 1.3], [9.735, 23.639, 0.206], "ml"),
    "bimodal ml, above 0": ([0.2, -1.5, -0.9], [0.003, 1.811, 0.126], "ml"),
    "bimodal reml": ([-1.1, 0.0, 24.1], [0.651, 0.036, 71.714], "reml"),
}
AT_ZERO = ("boundary", "boundary ml", "bimodal ml, 0")


def build(shape):
    y, v, tau2 = SHAPES[shape]
    return MetaReg(np.array(y), np.ones((len(y), 1)), vi=np.array(v)), tau2


def test_all_are_known():
    assert set(OPTIMIZERS) == set(METHODS)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", SHAPES)
def test_same_answer(shape, method):
    model, tau2 = build(shape)
    known = float(model.studies.maximize(tau2 == "reml").tau2[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        res = model.fit(tau2=tau2, method=method)
    assert_allclose(res.tau2, known, rtol=1e-10)
    assert (res.tau2 == 0.0) == (shape in AT_ZERO)
    assert res.mle_converged is True
    assert res.mle_settings["optimizer"] == method


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("start", [1e-3, 0.1, 1.0, 100.0])
def test_any_start(bcg, method, start):
    model = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi")
    known = model.fit()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        res = model.fit(method=method, start_params=start, maxiter=2000)
    assert_allclose(res.mle_settings["start_params"], [start])
    if method == "newton" and start > 0.5:
        # plain Newton steps diverge where the likelihood is convex, and must say so
        assert res.mle_converged is False
        assert any(issubclass(w.category, ConvergenceWarning) for w in caught)
    else:
        assert_allclose(res.tau2, known.tau2, rtol=1e-10)
        assert res.mle_converged is True
        assert not caught


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_any_unit(bcg, method, unit):
    known = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit().tau2
    bcg["yi"], bcg["vi"] = unit * bcg["yi"], unit**2 * bcg["vi"]
    res = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit(method=method)
    assert_allclose(res.tau2 / unit**2, known, rtol=1e-9)
    assert res.mle_converged


@pytest.mark.parametrize("method", METHODS)
def test_many_studies_take_the_direct_profile(method):
    rng = np.random.default_rng(2)
    k = 200
    v = rng.uniform(0.05, 1.0, k)
    X = np.column_stack([np.ones(k), rng.normal(size=k)])
    model = MetaReg(rng.normal(0.0, np.sqrt(v + 0.3)), X, vi=v)
    assert_allclose(model.fit(method=method).tau2, model.fit().tau2, rtol=1e-10)


@pytest.mark.parametrize("method", ["nm", "lbfgs", "bfgs", "newton", "powell", "cg", "ncg"])
@pytest.mark.parametrize("maxiter", [0, 1])
def test_too_few_iterations(bcg, method, maxiter):
    model = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi")
    known = model.fit()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        res = model.fit(method=method, maxiter=maxiter, start_params=50.0)
    said = [w for w in caught if issubclass(w.category, ConvergenceWarning)]
    ours = [w for w in said if "stopped before the maximum" in str(w.message)]
    reached = abs(res.tau2 / known.tau2 - 1.0) < 1e-10
    # whichever it is, the flag, the warning and the estimate tell one story
    assert res.mle_converged is reached
    assert res.mle_retvals["converged"] is reached
    assert len(ours) == (0 if reached else 1)
    assert ("did not converge" in str(res.summary())) == (not reached)
    if maxiter == 0:
        assert not reached
        assert ours[0].filename == __file__


def test_maxiter_0_is_the_start(bcg):
    model = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi")
    with pytest.warns(ConvergenceWarning, match="'nm' stopped before the maximum"):
        res = model.fit(method="nm", maxiter=0, start_params=0.5)
    assert_allclose(res.tau2, 0.5, rtol=1e-12)
    assert res.llf < model.fit().llf


def test_warning_can_be_turned_off(bcg):
    model = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        res = model.fit(
            maxiter=0, method="nm", skip_hessian=True, warn_convergence=False, start_params=0.5
        )
    assert res.mle_converged is False


def test_start_params_of_the_coefficients_say_nothing_about_tau2(bcg):
    model = MetaReg.from_formula("yi ~ ablat + year", bcg, vi="vi")
    known = model.fit()
    res = model.fit(start_params=[3.0, -1.0, 2.0])
    assert_allclose(res.tau2, known.tau2, rtol=1e-12)
    assert_allclose(res.mle_settings["start_params"], known.mle_settings["start_params"])


@pytest.mark.parametrize("start", [0.2, [0.2], np.array([0.2]), np.array([[0.2]])])
def test_forms_of_start_params(bcg, start):
    model = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi")
    res = model.fit(start_params=start)
    assert_allclose(res.mle_settings["start_params"], [0.2])
    assert_allclose(res.tau2, model.fit().tau2, rtol=1e-10)


def test_start_on_the_boundary(bcg):
    model = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi")
    known = model.fit().tau2
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        res = model.fit(start_params=0.0)
    if res.mle_converged:
        assert_allclose(res.tau2, known, rtol=1e-10)
    else:
        assert any(issubclass(w.category, ConvergenceWarning) for w in caught)


@pytest.mark.parametrize(
    ("method", "keywords"),
    [
        ("lbfgs", {"pgtol": 1e-6, "factr": 1e4, "m": 5}),
        ("nm", {"xtol": 1e-9, "ftol": 1e-9}),
        ("bfgs", {"gtol": 1e-8}),
        ("powell", {"xtol": 1e-8}),
        ("cg", {"gtol": 1e-8}),
        ("ncg", {"avextol": 1e-10}),
        ("newton", {"tol": 1e-10}),
        ("basinhopping", {"niter": 3, "stepsize": 0.1, "seed": 4}),
        ("minimize", {"min_method": "Nelder-Mead"}),
    ],
)
def test_keywords_reach_the_optimizer(bcg, method, keywords):
    model = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi")
    res = model.fit(method=method, **keywords)
    assert_allclose(res.tau2, model.fit().tau2, rtol=1e-10)
    for name, value in keywords.items():
        assert res.mle_settings[name] == value


def test_retvals(bcg, capsys):
    model = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi")
    seen = []
    res = model.fit(method="bfgs", callback=seen.append, retall=True, start_params=2.0)
    assert seen
    assert len(res.mle_retvals["allvecs"]) >= len(seen)
    assert capsys.readouterr().out == ""
    model.fit(method="bfgs", disp=True)
    assert "Optimization terminated" in capsys.readouterr().out


def test_what_the_default_optimizer_did_can_be_read_at_any_time(bcg):
    model = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi")
    res, loaded = model.fit(), pickle.loads(pickle.dumps(model.fit()))
    # the same start, given by the user, is climbed from at once
    eager = model.fit(start_params=res.tau2)
    removed = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
    removed.remove_data()
    for fit in (res, loaded, removed):
        assert fit.mle_converged
        assert fit.mle_settings["optimizer"] == "lbfgs"
        assert_allclose(fit.mle_settings["start_params"], [res.tau2], rtol=1e-12)
        assert fit.mle_retvals.keys() == eager.mle_retvals.keys()
        assert fit.mle_retvals["warnflag"] == 0
        assert_allclose(fit.mle_retvals["tau2"], res.tau2, rtol=1e-9)
        assert_allclose(fit.mle_retvals["fopt"], eager.mle_retvals["fopt"], rtol=1e-12)
        assert fit.mle_retvals["iterations"] == 0
    assert pickle.loads(pickle.dumps(res)).mle_settings.keys() == res.mle_settings.keys()


def test_without_an_optimizer_there_is_nothing_of_it_to_read(bcg):
    res = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit(tau2="dl")
    assert res.mle_converged is None
    assert "mle_retvals" not in dir(res._results)
    with pytest.raises(AttributeError, match="has no mle_settings: DL needs no optimizer"):
        _ = res.mle_settings


def test_two_fits_side_by_side(bcg):
    model = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi")
    one, other = model.fit(method="nm"), model.fit(method="bfgs", tau2="ml")
    assert one.mle_settings["optimizer"] == "nm"
    assert other.mle_settings["optimizer"] == "bfgs"
    assert one.tau2 > other.tau2
