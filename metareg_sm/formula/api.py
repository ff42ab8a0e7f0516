"""Everything of `statsmodels.formula.api`, and `metareg`; `within` and `between` for formulas.

For those who want no side effect on the statsmodels module.
"""

import statsmodels.formula.api as _smf
from statsmodels.formula.api import *  # noqa: F403

from metareg_sm.formula.transforms import between, within
from metareg_sm.models.metareg import MetaReg as _MetaReg

# the bound classmethod itself: a wrapper would shift the frame in which formulas find names
metareg = _MetaReg.from_formula

__all__ = [  # noqa: PLE0604
    *(name for name in _smf.__all__ if name != "metareg"),
    "between",
    "metareg",
    "within",
]
