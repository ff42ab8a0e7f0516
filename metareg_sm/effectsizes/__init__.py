"""Effect sizes: from raw tables, and from what papers print, to yi and vi."""

from metareg_sm.effectsizes.compute import effect_size, measure_of
from metareg_sm.effectsizes.records import Layout, Measure
from metareg_sm.effectsizes.registry import MEASURES

__all__ = ["MEASURES", "Layout", "Measure", "effect_size", "measure_of"]
