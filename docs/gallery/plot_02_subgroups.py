"""
Forest plot with subgroups, in the style of a journal
=====================================================

Each block has its diamond, its heterogeneity and the test between blocks.
"""

import statsmodels.formula.api as smf

import metareg_sm

counts = metareg_sm.datasets.bcg.load_pandas().data.drop(columns=["yi", "vi"])
bcg = metareg_sm.effect_size("RR", counts, ai="tpos", bi="tneg", ci="cpos", di="cneg")
res = smf.metareg("yi ~ 1", bcg, vi="vi").fit()
fig = res.plot_forest(by="alloc", labels=["author", "year"], style="bmj")
