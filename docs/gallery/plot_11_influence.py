"""
Influence panel
===============

What each study does to the fit, tau2 included.
"""

import statsmodels.formula.api as smf

import metareg_sm

bcg = metareg_sm.datasets.bcg.load_pandas().data
fig = smf.metareg("yi ~ ablat", bcg, vi="vi").fit().plot_influence()
