"""Figures of a fit: free functions that return a matplotlib Figure and take `ax=`.

Each leaves the numbers that it shows on the figure, as `metareg_data`.
"""

from metareg_sm.plots.bubble import bubble, simple_slopes
from metareg_sm.plots.diagnostics import baujat, influence, qq
from metareg_sm.plots.forest import forest
from metareg_sm.plots.funnel import funnel
from metareg_sm.plots.orchard import orchard
from metareg_sm.plots.profile import profile
from metareg_sm.plots.radial import radial
from metareg_sm.plots.resamples import bootstrap, gosh, permutation
from metareg_sm.plots.series import cumulative, leave_one_out, random_effects
from metareg_sm.plots.weights import selection

__all__ = [
    "baujat",
    "bootstrap",
    "bubble",
    "cumulative",
    "forest",
    "funnel",
    "gosh",
    "influence",
    "leave_one_out",
    "orchard",
    "permutation",
    "profile",
    "qq",
    "radial",
    "random_effects",
    "selection",
    "simple_slopes",
]
