"""Options and keywords that do not exist, or do not go with the others."""

import numpy as np
import pytest

from metareg_sm import LocationScaleMetaReg, MetaReg, MixedMetaReg, effect_size
from metareg_sm.exceptions import OptionError

pytestmark = pytest.mark.plumbing


@pytest.fixture
def arrays(bcg):
    """Outcome, design and sampling variances as arrays."""
    exog = np.column_stack([np.ones(13), bcg["ablat"]])
    return bcg["yi"].to_numpy(), exog, bcg["vi"].to_numpy()


def fit(data, formula="yi ~ ablat", **kwds):
    return MetaReg.from_formula(formula, data, vi="vi").fit(**kwds)


def test_unknown_estimator(bcg):
    with pytest.raises(OptionError, match=r"tau2='remel' is not known. Did you mean 'reml'\?"):
        fit(bcg, tau2="remel")
    with pytest.raises(OptionError, match="tau2=None is not known"):
        fit(bcg, tau2=None)
    with pytest.raises(OptionError, match="tau2=True is not known"):
        fit(bcg, tau2=True)


@pytest.mark.parametrize("tau2", [-0.1, np.nan, np.inf])
def test_impossible_fixed_tau2(bcg, tau2):
    with pytest.raises(OptionError, match=r"fixed tau2 must be finite and >= 0"):
        fit(bcg, tau2=tau2)


def test_unknown_cov_type(bcg):
    with pytest.raises(OptionError, match=r"cov_type='knapp-hartng'.*'knapp-hartung'"):
        fit(bcg, cov_type="knapp-hartng")
    with pytest.raises(OptionError, match="cov_type='HC4' is not known"):
        fit(bcg, cov_type="HC4")


def test_unknown_optimizer(bcg):
    with pytest.raises(OptionError, match=r"method='lbfg'.*Did you mean 'lbfgs'\?"):
        fit(bcg, method="lbfg")
    with pytest.raises(OptionError, match="method='reml' is not known"):
        fit(bcg, method="reml")


def test_unknown_keyword(bcg, arrays):
    with pytest.raises(OptionError, match="MetaReg got an unknown keyword 'weight'"):
        MetaReg(*arrays, weight=1)
    with pytest.raises(OptionError, match="from_formula got an unknown keyword 'group'"):
        MetaReg.from_formula("yi ~ 1", bcg, vi="vi", group="alloc")
    with pytest.raises(OptionError, match=r"unknown keyword 'maxitr'"):
        fit(bcg, maxitr=3)
    with pytest.raises(OptionError, match=r"fit\(method='nm'\) got an unknown keyword 'pgtol'"):
        fit(bcg, method="nm", pgtol=1e-3)


def test_unknown_missing(bcg, arrays):
    with pytest.raises(OptionError, match="missing='omit' is not known"):
        MetaReg.from_formula("yi ~ 1", bcg, vi="vi", missing="omit")
    with pytest.raises(OptionError, match="missing='omit' is not known"):
        MetaReg(*arrays, missing="omit")


def test_use_t_must_be_a_truth_value(bcg):
    with pytest.raises(OptionError, match="use_t must be True, False or None; got 'yes'"):
        fit(bcg, use_t="yes")


@pytest.mark.parametrize("value", [None, "yes", 1])
def test_flags_are_true_or_false(bcg, value):
    mixed = MixedMetaReg.from_formula("yi ~ ablat", bcg, vi="vi", random="1 | trial")
    scale = LocationScaleMetaReg.from_formula("yi ~ 1", bcg, vi="vi", scale_formula="~ ablat")
    for model in (mixed, scale):
        with pytest.raises(OptionError, match="reml must be True or False; got "):
            model.fit(reml=value)
    for name in ("append", "replace", "drop00"):
        with pytest.raises(OptionError, match=f"{name} must be True or False; got "):
            effect_size("RR", bcg, ai="tpos", bi="tneg", ci="cpos", di="cneg", **{name: value})


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (-1.0, r"finite tau2 >= 0; got -1"),
        (np.nan, r"finite tau2 >= 0; got nan"),
        ([np.inf], r"finite tau2 >= 0; got inf"),
        ([0.1, 0.2, 0.3], "one value, the start of tau2; got 3 values"),
        ([], "one value, the start of tau2; got 0 values"),
    ],
)
def test_bad_start_params(bcg, start, message):
    with pytest.raises(OptionError, match=message):
        fit(bcg, start_params=start)


def test_weights_go_with_genq(bcg):
    with pytest.raises(OptionError, match="weights= goes with tau2='genq'; got tau2='reml'"):
        fit(bcg, weights=np.ones(13))
    with pytest.raises(OptionError, match="weights= goes with tau2='genq'"):
        fit(bcg, tau2=0.1, weights=np.ones(13))
    for weights in (np.ones(12), np.zeros(13), np.full(13, np.nan)):
        with pytest.raises(OptionError, match="13 finite values > 0"):
            fit(bcg, tau2="genq", weights=weights)
