"""Words of metafor get the answer in ours."""

import pytest

import metareg_sm
from metareg_sm import MetaReg
from metareg_sm.core.tau2 import ESTIMATORS
from metareg_sm.exceptions import OptionError
from metareg_sm.options import choose
from metareg_sm.stats.covariance import COVARIANCES
from metareg_sm.words import WORDS, answer

pytestmark = pytest.mark.plumbing


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "REML"}, r"fit\(tau2='reml'\)"),
        ({"method": "dl"}, r"fit\(tau2='dl'\)"),
        ({"tau2": "FE"}, "tau2=0 is the common-effect"),
        ({"tau2": "EE"}, "tau2=0 is the common-effect"),
        ({"tau2": "CE"}, "tau2=0 is the common-effect"),
        ({"cov_type": "knha"}, "cov_type='knapp-hartung', the default"),
        ({"cov_type": "HKSJ"}, "cov_type='knapp-hartung', the default"),
        ({"cov_type": "hartung-knapp"}, "cov_type='knapp-hartung', the default"),
        ({"cov_type": "hartung_knapp"}, "cov_type='knapp-hartung', the default"),
        ({"cov_type": "CR2"}, "cov_type='cluster' with cov_kwds"),
        ({"test": "knha"}, "cov_type='knapp-hartung', the default"),
        ({"level": 95}, "alpha=0.05 is 1 minus the coverage"),
    ],
)
def test_options_of_fit(bcg, options, message):
    model = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi")
    with pytest.raises(OptionError, match=message):
        model.fit(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mods": "~ ablat"}, "on the right of the formula"),
        ({"method": "REML"}, r"belongs to fit\(\)"),
        ({"tau2": "reml"}, r"belongs to fit\(\)"),
        ({"measure": "RR"}, "effect_size"),
        ({"slab": "author"}, "index of the data frame"),
    ],
)
def test_keywords_of_the_model(bcg, options, message):
    with pytest.raises(OptionError, match=message):
        MetaReg.from_formula("yi ~ ablat", bcg, vi="vi", **options)


def test_functions():
    with pytest.raises(AttributeError, match=r"metareg_sm\.effect_size"):
        metareg_sm.escalc  # noqa: B018 (the look-up raises)
    with pytest.raises(AttributeError, match=r"smf\.metareg"):
        metareg_sm.rma  # noqa: B018 (the look-up raises)
    with pytest.raises(AttributeError, match=r"no attribute 'nosuch'$"):
        metareg_sm.nosuch  # noqa: B018 (the look-up raises)


def test_no_word_hides_one_of_ours():
    for argument, table in (("tau2", ESTIMATORS), ("cov_type", COVARIANCES)):
        for word in WORDS[argument]:
            assert word not in table
    for name in WORDS["function"]:
        assert name not in metareg_sm.__all__
    assert all(word == word.lower() for words in WORDS.values() for word in words)


def test_what_is_not_known_has_no_answer():
    assert answer("tau2", "nosuch") == answer("nosuch", "fe") == answer("tau2", 3) == ""
    with pytest.raises(OptionError, match=r"Did you mean 'one'\?"):
        choose({"one": 1}, "onne", "tau2")
