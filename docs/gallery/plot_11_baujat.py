"""
Baujat plot
===========

Which trials are heterogeneous, and which of them matter.
"""

import statsmodels.formula.api as smf

import metareg_sm

bcg = metareg_sm.datasets.bcg.load_pandas().data
fig = smf.metareg("yi ~ 1", bcg, vi="vi").fit().plot_baujat(labels="author")
