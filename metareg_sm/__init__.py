"""Meta-regression for statsmodels users.

Importing the package adds `metareg` to `statsmodels.formula.api`, and nothing else.
"""

import statsmodels.formula.api as _smf

from metareg_sm import datasets, exceptions
from metareg_sm._version import __version__
from metareg_sm.formula.api import metareg
from metareg_sm.many import ManyResults, fit_many
from metareg_sm.model import MetaReg
from metareg_sm.ranking import compare_models
from metareg_sm.resample import gosh
from metareg_sm.screening import screen

__all__ = [
    "ManyResults",
    "MetaReg",
    "__version__",
    "compare_models",
    "datasets",
    "exceptions",
    "fit_many",
    "gosh",
    "metareg",
    "screen",
]


if not hasattr(_smf, "metareg"):
    _smf.metareg = metareg
