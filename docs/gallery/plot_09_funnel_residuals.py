"""
Funnel plot of residuals
========================

With moderators in the model, what they leave.
"""

import statsmodels.formula.api as smf

import metareg_sm

smoke = metareg_sm.datasets.hackshaw1998.load_pandas().data
res = smf.metareg("yi ~ year + design", smoke, vi="vi").fit()
fig = res.plot_funnel(label=2, labels="author")
