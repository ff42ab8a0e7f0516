"""Words of other programs, metafor's above all, with what they are called here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from metareg_sm.core.tau2 import ESTIMATORS

_COMMON = "tau2=0 is the common-effect (fixed-effect) model."
_KNAPP_HARTUNG = "The adjustment of Knapp and Hartung is cov_type='knapp-hartung', the default."
_WALD = "Wald tests with the normal distribution are cov_type='nonrobust'."
_CLUSTER = "It is cov_type='cluster' with cov_kwds={'groups': ..., 'correction': 'CR2'}."
_FORMULA = "Moderators stand on the right of the formula: 'yi ~ dose + C(design)'."
_COUNTS = "metareg_sm.effect_size(measure, data, ...) computes yi and vi from it."
_IN_FIT = "It belongs to fit(): "


def _estimators() -> dict[str, str]:
    """An estimator of tau2 where the option is another one."""
    return {
        name: f"The estimator of tau2 is chosen by fit(tau2={name!r})."
        for name in dict.fromkeys(("reml", *ESTIMATORS))
    }


_TAU2 = dict.fromkeys(("fe", "ee", "ce", "fixed", "common", "equal"), _COMMON)
_COV_TYPE = {
    **dict.fromkeys(("knha", "hksj", "hk", "hartung-knapp", "kh", "kn-ha"), _KNAPP_HARTUNG),
    "adhoc": "It is cov_type='knapp-hartung-adhoc'.",
    **dict.fromkeys(("z", "wald", "classic", "normal"), _WALD),
    "t": "t tests of Wald's statistics are cov_type='nonrobust' with use_t=True.",
    **dict.fromkeys(("robust", "sandwich", "rve", "cr0", "cr1", "cr1s", "cr2", "cr3"), _CLUSTER),
}

WORDS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "tau2": _TAU2,
        "method": {**_estimators(), **dict.fromkeys(("fe", "ee", "ce"), _COMMON)},
        "cov_type": _COV_TYPE,
        "keyword": {
            "test": f"{_KNAPP_HARTUNG} {_WALD}",
            "knha": _KNAPP_HARTUNG,
            "mods": _FORMULA,
            "moderators": _FORMULA,
            "yi": "The outcome stands on the left of the formula, or is endog.",
            "level": "alpha=0.05 is 1 minus the coverage; summary() and conf_int() take it.",
            "slab": "Studies are named by the index of the data frame.",
            "intercept": "A formula without it starts with '0 +'.",
            "btt": "Tests of some coefficients are wald_test() of the results.",
            "measure": _COUNTS,
            **dict.fromkeys(("ai", "bi", "ci", "di", "n1i", "n2i", "m1i", "m2i", "ri"), _COUNTS),
            "data": "Column names of a data frame go with the formula interface, smf.metareg.",
            "tau2": f"{_IN_FIT}.fit(tau2='reml').",
            "method": f"{_IN_FIT}.fit(tau2='reml') chooses the estimator of tau2.",
            "cov_type": f"{_IN_FIT}.fit(cov_type='knapp-hartung').",
            "groups": f"{_IN_FIT}.fit(cov_type='cluster', cov_kwds={{'groups': ...}}).",
            "cluster": _CLUSTER,
            "control": "maxiter= and the keywords of the optimizer are given to fit().",
            "verbose": "disp=True prints what the optimizer does.",
        },
        "function": {
            "escalc": "It is metareg_sm.effect_size(measure, data, ai=..., bi=..., ...).",
            **dict.fromkeys(
                ("rma", "rma_uni"),
                "It is smf.metareg('yi ~ x', data, vi='vi').fit(), or MetaReg of arrays.",
            ),
            "robust": _CLUSTER,
            "permutest": "It is permutation_test() of the results.",
            "confint": "They are conf_int() and conf_int_tau2() of the results.",
            "blup": "It is random_effects of the results.",
        },
    }
)
"""What a word is called here, by the argument it is given to: `tau2`, `cov_type`, `method`; a
keyword that nothing takes, or a function that there is not. Words are in lower case."""


def answer(argument: str, word: object) -> str:
    """' The adjustment is called ...' where a word of another program is known, else ''.

    Parameters
    ----------
    argument : str
        A key of `WORDS`.
    word : object
        What the user wrote, in whatever case.

    Returns
    -------
    str

    Examples
    --------
    >>> answer("tau2", "FE")
    ' tau2=0 is the common-effect (fixed-effect) model.'
    """
    if not isinstance(word, str):
        return ""
    said = WORDS.get(argument, {}).get(word.lower().replace("_", "-"))
    said = WORDS.get(argument, {}).get(word.lower()) if said is None else said
    return f" {said}" if said else ""
