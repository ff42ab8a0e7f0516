"""
Influence on the heterogeneity and its moderators
=================================================

Of a location-scale model, what each study does to the coefficients of ln tau2, too.
"""

import statsmodels.formula.api as smf

import metareg_sm

writing = metareg_sm.datasets.bangertdrowns2004.load_pandas().data
res = smf.lsmetareg("yi ~ grade", writing, vi="vi", scale_formula="~ grade").fit()
fig = res.plot_influence()
