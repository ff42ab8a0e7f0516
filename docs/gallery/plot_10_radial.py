"""
Radial (Galbraith) plot
=======================
"""

import statsmodels.formula.api as smf

import metareg_sm

bcg = metareg_sm.datasets.bcg.load_pandas().data
res = smf.metareg("yi ~ 1", bcg, vi="vi").fit()
fig = res.plot_radial()
