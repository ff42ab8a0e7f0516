"""Levels, counts and other numbers among the options of every public call."""

import importlib
import inspect
import pkgutil

import numpy as np
import pytest

import metareg_sm
from metareg_sm import (
    LocationScaleMetaReg,
    MetaReg,
    MixedMetaReg,
    baseline_risk,
    fit_many,
    gosh,
    pool,
    screen,
    simulate,
    two_stage,
)
from metareg_sm.exceptions import MetaRegError, OptionError
from metareg_sm.stats.reference import critical_value, interval

pytestmark = pytest.mark.plumbing

NO_LEVELS = (0, 1, 0.0, 1.0, -0.1, 5, 95, np.nan, np.inf, "0.05", True, [0.05], None, 0.05j)

# what a method needs beside a level
ARGUMENTS = {
    "simple_slopes": ("ablat", {"year": [1950]}),
    "t_test_pairwise": ("C(alloc)",),
    "conf_int_mean": ({"ablat": [33], "year": [1950], "alloc": ["random"]},),
    "johnson_neyman": ("year",),
    "selection_model": ((0.5,), "less"),
    "interaction": (),
}


@pytest.fixture
def objects(bcg):
    """One of each class that has methods with a level."""
    res = MetaReg.from_formula("yi ~ ablat * year + C(alloc)", bcg, vi="vi").fit()
    rng = np.random.default_rng(2)
    many = fit_many(rng.normal(size=(3, 13)), res.model.exog, bcg["vi"].to_numpy())
    slopes = res.simple_slopes("ablat", {"year": [1950]})
    formula = "yi ~ ablat * year + C(alloc)"
    mixed = MixedMetaReg.from_formula(formula, bcg, vi="vi", random="1 | trial").fit()
    scaled = LocationScaleMetaReg.from_formula(formula, bcg, vi="vi", scale_formula="~ 1").fit()
    trials = bcg.assign(n1=bcg["tpos"] + bcg["tneg"], n2=bcg["cpos"] + bcg["cneg"])
    people = simulate.participants(6, 40, rng=1)
    return [
        res,
        res._results,
        res.get_prediction(),
        res.bootstrap(49, rng=1),
        res.t_test(np.eye(6)),
        MetaReg.from_formula("yi ~ ablat", bcg, vi="vi")
        .fit(cov_type="cluster", cov_kwds={"groups": "alloc", "correction": "CR2"})
        .t_test("ablat = 0"),
        slopes,
        screen(bcg, "yi", ["ablat", "year"], vi="vi"),
        many,
        mixed,
        mixed._results,
        mixed.get_prediction(),
        mixed.bootstrap(19, rng=1),
        scaled,
        scaled._results,
        res.selection_model((0.5,), "less"),
        baseline_risk(trials, ai="tpos", n1i="n1", ci="cpos", n2i="n2", measure="OR"),
        pool([res, res]),
        two_stage("y ~ treat * age", people, "study", effect="treat:age").interaction(),
    ]


def with_levels(obj):
    """Names of the public methods that take a level."""
    for name in dir(obj):
        if name.startswith("_"):
            continue
        method = inspect.getattr_static(type(obj), name, None)
        if inspect.isfunction(method) and "alpha" in inspect.signature(method).parameters:
            yield name


def test_every_method_with_a_level(objects):
    tried = 0
    for obj in objects:
        for name in with_levels(obj):
            method = getattr(obj, name)
            for level in NO_LEVELS:
                if level is None and name == "johnson_neyman":
                    continue  # stands for the level of the slopes
                with pytest.raises(OptionError, match="alpha must be between 0 and 1"):
                    method(*ARGUMENTS.get(name, ()), alpha=level)
                tried += 1
            if name not in ("johnson_neyman", "notes"):
                assert method(*ARGUMENTS.get(name, ()), alpha=0.1) is not None
    assert tried > 300


def test_no_class_with_a_level_is_left_out(objects):
    tried = {owner.__qualname__ for obj in objects for owner in type(obj).__mro__}
    # wrappers and protocols; kernels below the checks, whose methods the results call
    tried |= {"ModelResultsWrapper", "Fitted", "Tau2Fitted", "MixedFitted"}
    for info in pkgutil.walk_packages(metareg_sm.__path__, "metareg_sm."):
        if (
            any(part in info.name for part in (".stats", ".core", ".plots"))
            or "__main__" in info.name
        ):
            continue
        for value in vars(importlib.import_module(info.name)).values():
            if inspect.isclass(value) and value.__module__ == info.name and with_levels_of(value):
                assert value.__qualname__ in tried, f"{info.name}.{value.__qualname__}"


def with_levels_of(cls):
    return [
        name
        for name, method in vars(cls).items()
        if not name.startswith("_")
        and inspect.isfunction(method)
        and "alpha" in inspect.signature(method).parameters
    ]


@pytest.mark.parametrize("level", [x for x in NO_LEVELS if x is not None])
def test_kernels_refuse_them_too(level):
    with pytest.raises(OptionError):
        critical_value(level, None)
    with pytest.raises(OptionError):
        interval(np.zeros(2), np.ones(2), level, 5.0)


NO_COUNTS = (0, -1, 2.5, np.nan, np.inf, "10", True, None, [10])


@pytest.mark.parametrize("n", NO_COUNTS)
def test_counts(bcg, bcg_res, n):
    calls = {
        "permutation_test": lambda: bcg_res.permutation_test(n),
        "bootstrap": lambda: bcg_res.bootstrap(n),
        "bootstrap_lr_test_tau2": lambda: bcg_res.bootstrap_lr_test_tau2(n),
        "simulate": lambda: bcg_res.simulate(n),
        "gosh": lambda: gosh(bcg_res, n_subsets=n),
        "screen": lambda: screen(
            bcg, "yi", ["ablat"], vi="vi", method="max-t", n_resamples=n, rng=1
        ),
    }
    for call in calls.values():
        with pytest.raises(OptionError, match=r"n_(resamples|subsets) must be a whole number"):
            call()
    if n is not None:
        with pytest.raises(OptionError, match=r"min_size must be"):
            gosh(bcg_res, n_subsets=10, min_size=n)
    if n != 0:
        with pytest.raises(OptionError, match="maxiter must be a whole number"):
            bcg_res.model.fit(maxiter=n)


@pytest.mark.parametrize("value", [np.nan, np.inf, "1", None, True, [1.0], 1j])
def test_numbers(bcg_res, value):
    with pytest.raises(OptionError, match="threshold must be a finite number"):
        bcg_res.get_prediction().prob_beyond(value)
    if value is not None:
        with pytest.raises(OptionError, match="tau2"):
            bcg_res.simulate(1, tau2=value)
        with pytest.raises(OptionError, match="df must be"):
            bcg_res.get_prediction(df=value)
    with pytest.raises(OptionError, match="tau2"):
        bcg_res.model.fit(tau2=value)


@pytest.mark.parametrize("start", ["a", np.nan, -1, [1, 2, 3, 4, 5], {}, 1j, [None], object()])
def test_starts(bcg_res, start):
    with pytest.raises(OptionError, match="start_params must be"):
        bcg_res.model.fit(start_params=start)


@pytest.mark.parametrize("rng", ["a", -1, 1.5, np.nan, [1.5], object()])
def test_seeds(bcg, bcg_res, rng):
    for call in (
        lambda: bcg_res.permutation_test(9, rng=rng),
        lambda: bcg_res.bootstrap(9, rng=rng),
        lambda: bcg_res.simulate(1, rng=rng),
        lambda: gosh(bcg_res, n_subsets=9, rng=rng),
        lambda: screen(bcg, "yi", ["ablat"], vi="vi", method="max-t", n_resamples=9, rng=rng),
    ):
        with pytest.raises(OptionError, match="rng must be"):
            call()


@pytest.mark.parametrize("study", [-1, 13, 1.5, "a", True])
def test_study_of_a_gosh_plot(bcg_res, study):
    found = gosh(bcg_res, n_subsets=9, rng=1)
    with pytest.raises(OptionError, match="study must be"):
        found.plot_data(study=study)


@pytest.mark.parametrize("maxiter", [0, 1, 7])
def test_good_counts_work(bcg_res, maxiter):
    assert bcg_res.model.fit(maxiter=maxiter, warn_convergence=False).tau2 >= 0.0


def test_words_from_the_options_are_refused(bcg_res):
    for options in ({"use_t": 1}, {"cov_kwds": "groups"}, {"cov_kwds": 3}):
        with pytest.raises(MetaRegError):
            bcg_res.model.fit(cov_type="cluster" if "cov_kwds" in options else "HC0", **options)
