"""
Normal Q-Q plot with a simulated envelope
=========================================
"""

import statsmodels.formula.api as smf

import metareg_sm

writing = metareg_sm.datasets.bangertdrowns2004.load_pandas().data
res = smf.metareg("yi ~ length", writing, vi="vi").fit()
fig = res.plot_qq(rng=1, label=2, labels="author")
