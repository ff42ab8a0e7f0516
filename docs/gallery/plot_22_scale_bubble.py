"""
Heterogeneity that depends on a moderator
=========================================

The prediction band of a location-scale model is as wide as the true effects vary there.
"""

import statsmodels.formula.api as smf

import metareg_sm

writing = metareg_sm.datasets.bangertdrowns2004.load_pandas().data.dropna(subset="length")
res = smf.lsmetareg("yi ~ length", writing, vi="vi", scale_formula="~ length").fit()
fig = res.plot_bubble("length")

# %%
# How much the data say about the two coefficients of the heterogeneity.

fig = res.plot_profile(width="page")
