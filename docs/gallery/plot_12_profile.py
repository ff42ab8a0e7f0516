"""
Profile likelihood of tau2
==========================

The certified maximum and the interval.
"""

import statsmodels.formula.api as smf

import metareg_sm

bcg = metareg_sm.datasets.bcg.load_pandas().data
fig = smf.metareg("yi ~ ablat", bcg, vi="vi").fit().plot_profile()
