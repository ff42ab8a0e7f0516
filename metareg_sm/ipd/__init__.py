"""Individual participant data: the same model in each study, and what is pooled from them."""

from metareg_sm.ipd.interaction import Interaction
from metareg_sm.ipd.stages import TwoStage, two_stage

__all__ = ["Interaction", "TwoStage", "two_stage"]
