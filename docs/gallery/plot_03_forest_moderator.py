"""
Forest plot of a meta-regression
================================

A diamond for each trial's fitted value, and summary diamonds at latitudes of one's choice.
"""

import statsmodels.formula.api as smf

import metareg_sm

counts = metareg_sm.datasets.bcg.load_pandas().data.drop(columns=["yi", "vi"])
bcg = metareg_sm.effect_size("RR", counts, ai="tpos", bi="tneg", ci="cpos", di="cneg")
res = smf.metareg("yi ~ ablat", bcg, vi="vi").fit()
fig = res.plot_forest(
    labels=["author", "year"],
    right={"ablat": "Latitude"},
    order="-ablat",
    at={"ablat": [13, 33, 55]},
)
