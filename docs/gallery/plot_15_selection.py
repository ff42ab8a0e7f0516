"""
Steps of a selection model
==========================

How likely a study is to be published, relative to the smallest p-values.
"""

import statsmodels.formula.api as smf

import metareg_sm
from metareg_sm import plots

trials = metareg_sm.datasets.egger2001.load_pandas().data
res = smf.metareg("yi ~ 1", trials, vi="vi").fit()
fig = plots.selection(res.selection_model(steps=(0.025,), alternative="less"))
