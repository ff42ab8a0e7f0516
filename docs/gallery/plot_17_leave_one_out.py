"""
Leave-one-out and cumulative forests
====================================

The slope of latitude without each trial, and the mean as the trials came in.
"""

import statsmodels.formula.api as smf

import metareg_sm

bcg = metareg_sm.datasets.bcg.load_pandas().data
bcg.index = bcg["author"] + " " + bcg["year"].astype(str)
res = smf.metareg("yi ~ ablat", bcg, vi="vi").fit()
fig = res.plot_leave_one_out("ablat")

# %%
# The mean risk ratio, trial by trial.

pooled = smf.metareg("yi ~ 1", bcg, vi="vi").fit()
fig = pooled.plot_cumulative("year", transform="exp")
