"""
Bubble plot with an interaction
===============================

A line for each level of a factor of the model.
"""

import statsmodels.formula.api as smf

import metareg_sm

iq = metareg_sm.datasets.raudenbush1985.load_pandas().data
iq["contact"] = iq["weeks"].clip(upper=3)
res = smf.metareg("yi ~ contact * C(setting)", iq, vi="vi").fit()
fig = res.plot_bubble("contact", by="setting")
