"""
Bubble plot
===========

Areas by weight, the line with its confidence and prediction band.
"""

import statsmodels.formula.api as smf

import metareg_sm

counts = metareg_sm.datasets.bcg.load_pandas().data.drop(columns=["yi", "vi"])
bcg = metareg_sm.effect_size("RR", counts, ai="tpos", bi="tneg", ci="cpos", di="cneg")
res = smf.metareg("yi ~ ablat", bcg, vi="vi").fit()
fig = res.plot_bubble("ablat", transform="exp", label=3, labels="author")
