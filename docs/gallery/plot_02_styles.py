"""
Forest plots as journals print them
===================================

One word changes columns, headings, numbers and colours: ``style="jama"``, ``"bmj"`` or ``"revman"``.
"""

import statsmodels.formula.api as smf

import metareg_sm

counts = metareg_sm.datasets.bcg.load_pandas().data.drop(columns=["yi", "vi"])
bcg = metareg_sm.effect_size("RR", counts, ai="tpos", bi="tneg", ci="cpos", di="cneg")
res = smf.metareg("yi ~ 1", bcg, vi="vi").fit()
options = {"labels": ["author", "year"], "favours": ("favours vaccine", "favours control")}
fig = res.plot_forest(style="jama", **options)

# %%
# The BMJ's.

fig = res.plot_forest(style="bmj", **options)

# %%
# Review Manager's.

fig = res.plot_forest(style="revman", **options)
