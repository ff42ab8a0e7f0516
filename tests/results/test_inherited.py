"""Everything that statsmodels' results offer works, or says why it cannot."""

import inspect

import pytest

from metareg_sm import MetaReg
from metareg_sm.exceptions import MetaRegError
from metareg_sm.results.inherited import Unavailable


@pytest.fixture(params=["formula", "arrays", "clusters", "fixed"])
def res(request, bcg):
    if request.param == "arrays":
        return MetaReg(bcg["yi"], bcg[["ablat"]], vi=bcg["vi"]).fit()
    model = MetaReg.from_formula("yi ~ ablat + C(alloc)", bcg, vi="vi")
    if request.param == "clusters":
        kwds = {"groups": bcg["year"] // 5, "correction": "CR2"}
        return model.fit(cov_type="cluster", cov_kwds=kwds)
    return model.fit(tau2=0.1 if request.param == "fixed" else "reml")


def public(obj):
    return [name for name in dir(obj) if not name.startswith("_")]


def test_every_attribute_that_shows_can_be_read(res):
    for name in public(res):
        getattr(res, name)


def test_every_method_without_arguments_works_or_is_refused(res):
    unwanted = {"remove_data", "bootstrap", "permutation_test", "bootstrap_lr_test_tau2"}
    for name in public(res):
        method = getattr(res, name)
        if name in unwanted or not inspect.ismethod(method):
            continue
        parameters = inspect.signature(method).parameters.values()
        if any(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters):
            continue
        try:
            method()
        except MetaRegError as error:
            assert len(str(error)) > 20  # noqa: PT017 (an error is one of two right answers)


def test_what_cannot_work_says_why(res):
    names = ("bsejac", "bsejhj", "covjac", "covjhj", "score_obsv", "hessv", "get_nlfun")
    for name in names:
        for obj in (res, res._results):
            assert name not in dir(obj)
            assert not hasattr(obj, name)
            with pytest.raises(AttributeError, match=f"MetaRegResults has no {name!r}: .{{15}}"):
                getattr(obj, name)
    assert isinstance(type(res._results).covjac, Unavailable)


def test_the_advice_is_right(res):
    assert res.model.hessian(0.1).shape == (1, 1)
    assert res.cov_params().shape == (len(res.params),) * 2
