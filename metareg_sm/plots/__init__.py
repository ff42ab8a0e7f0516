"""Figures of a fit; each returns a matplotlib Figure and takes `ax=`."""

from metareg_sm.plots.bubble import bubble, simple_slopes
from metareg_sm.plots.forest import forest
from metareg_sm.plots.series import cumulative, leave_one_out, orchard, random_effects

__all__ = [
    "bubble",
    "cumulative",
    "forest",
    "leave_one_out",
    "orchard",
    "random_effects",
    "simple_slopes",
]
