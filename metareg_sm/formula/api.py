"""Everything of `statsmodels.formula.api` and the models of this package; `within` and `between`.

For those who want no side effect on the statsmodels module.
"""

import statsmodels.formula.api as _smf
from statsmodels.formula.api import *  # noqa: F403

from metareg_sm.formula.transforms import between, within  # noqa: F401
from metareg_sm.models.location_scale import LocationScaleMetaReg as _LocationScaleMetaReg
from metareg_sm.models.metareg import MetaReg as _MetaReg
from metareg_sm.models.mixed import MixedMetaReg as _MixedMetaReg

# the bound classmethod itself: a wrapper would shift the frame in which formulas find names
metareg = _MetaReg.from_formula
mixedmetareg = _MixedMetaReg.from_formula
lsmetareg = _LocationScaleMetaReg.from_formula

_OURS = ("between", "lsmetareg", "metareg", "mixedmetareg", "within")
__all__ = [*(name for name in _smf.__all__ if name not in _OURS), *_OURS]  # noqa: PLE0604
