"""
Forest plot
===========

Squares have areas proportional to the weights; the bar at the bottom is the prediction interval. On data of
``effect_size`` the axis is the ratio's by itself.
"""

import statsmodels.formula.api as smf

import metareg_sm

counts = metareg_sm.datasets.bcg.load_pandas().data.drop(columns=["yi", "vi"])
bcg = metareg_sm.effect_size("RR", counts, ai="tpos", bi="tneg", ci="cpos", di="cneg")
res = smf.metareg("yi ~ 1", bcg, vi="vi").fit()
fig = res.plot_forest(
    labels=["author", "year"],
    left={"tpos": "Vaccine", "cpos": "Control"},
    order="ablat",
    favours=("favours vaccine", "favours control"),
)
