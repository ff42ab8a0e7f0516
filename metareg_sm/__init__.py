"""Meta-regression for statsmodels users.

Importing the package adds `metareg`, `mixedmetareg` and `lsmetareg` to `statsmodels.formula.api`,
and nothing else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import statsmodels.formula.api as _smf

from metareg_sm import _moved, datasets, exceptions
from metareg_sm._version import __version__
from metareg_sm.formula.api import lsmetareg, metareg, mixedmetareg
from metareg_sm.models.metareg import MetaReg

if TYPE_CHECKING:
    from metareg_sm import simulate
    from metareg_sm.baseline import baseline_risk
    from metareg_sm.design.imputed_covariance import sampling_covariance
    from metareg_sm.effectsizes import effect_size
    from metareg_sm.imputation import impute
    from metareg_sm.ipd import two_stage
    from metareg_sm.many import ManyResults, fit_many
    from metareg_sm.models.location_scale import LocationScaleMetaReg
    from metareg_sm.models.mixed import MixedMetaReg
    from metareg_sm.pooling import pool
    from metareg_sm.postestimation.comparison import compare_models
    from metareg_sm.postestimation.gosh import gosh
    from metareg_sm.screening import screen

__all__ = [
    "LocationScaleMetaReg",
    "ManyResults",
    "MetaReg",
    "MixedMetaReg",
    "__version__",
    "baseline_risk",
    "compare_models",
    "datasets",
    "effect_size",
    "exceptions",
    "fit_many",
    "gosh",
    "impute",
    "lsmetareg",
    "metareg",
    "mixedmetareg",
    "pool",
    "sampling_covariance",
    "screen",
    "simulate",
    "two_stage",
]

# what many sessions never use is imported when it is asked for
_LAZY = {
    "LocationScaleMetaReg": "models.location_scale",
    "MixedMetaReg": "models.mixed",
    "ManyResults": "many",
    "baseline_risk": "baseline",
    "fit_many": "many",
    "compare_models": "postestimation.comparison",
    "gosh": "postestimation.gosh",
    "effect_size": "effectsizes",
    "effectsizes": "effectsizes",
    "impute": "imputation",
    "pool": "pooling",
    "sampling_covariance": "design.imputed_covariance",
    "screen": "screening",
    "simulate": "simulate",
    "two_stage": "ipd",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        from metareg_sm.words import answer

        advice = answer("function", name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}.{advice}".rstrip("."))
    module = import_module(f"{__name__}.{_LAZY[name]}")
    value = module if _LAZY[name] == name else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


_moved.install()
for _name, _function in (
    ("metareg", metareg),
    ("mixedmetareg", mixedmetareg),
    ("lsmetareg", lsmetareg),
):
    if not hasattr(_smf, _name):
        setattr(_smf, _name, _function)
