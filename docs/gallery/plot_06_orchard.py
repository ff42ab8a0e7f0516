"""
Orchard plot of a factor
========================

Every study, and the mean of each level with its confidence and prediction interval.
"""

import statsmodels.formula.api as smf

import metareg_sm

writing = metareg_sm.datasets.bangertdrowns2004.load_pandas().data
res = smf.metareg("yi ~ C(grade)", writing, vi="vi").fit()
fig = res.plot_orchard("grade")
