"""Everything of `statsmodels.formula.api` and the models of this package; `within` and `between`.

For those who want no side effect on the statsmodels module.
"""

from typing import TYPE_CHECKING, Any

import statsmodels.formula.api as _smf
from statsmodels.formula.api import *  # noqa: F403 (all of its names)

from metareg_sm.design.formula import next_frame as _next_frame
from metareg_sm.formula.transforms import between, within  # noqa: F401 (names of this module)
from metareg_sm.models.metareg import MetaReg as _MetaReg

if TYPE_CHECKING:
    from metareg_sm.models.location_scale import LocationScaleMetaReg
    from metareg_sm.models.mixed import MixedMetaReg

# the bound classmethod itself: a wrapper would shift the frame in which formulas find names
metareg = _MetaReg.from_formula


def mixedmetareg(
    formula: Any, data: Any, *args: Any, eval_env: Any = None, **kwargs: Any
) -> "MixedMetaReg":
    """`MixedMetaReg.from_formula`, which is imported when it is called."""
    from metareg_sm.models.mixed import MixedMetaReg

    return MixedMetaReg.from_formula(formula, data, *args, eval_env=_next_frame(eval_env), **kwargs)


def lsmetareg(
    formula: Any, data: Any, *args: Any, eval_env: Any = None, **kwargs: Any
) -> "LocationScaleMetaReg":
    """`LocationScaleMetaReg.from_formula`, which is imported when it is called."""
    from metareg_sm.models.location_scale import LocationScaleMetaReg

    return LocationScaleMetaReg.from_formula(
        formula, data, *args, eval_env=_next_frame(eval_env), **kwargs
    )


_OURS = ("between", "lsmetareg", "metareg", "mixedmetareg", "within")
__all__ = [*(name for name in _smf.__all__ if name not in _OURS), *_OURS]  # noqa: PLE0604 (texts, all of them)
