"""
Funnel plot with contours and filled studies
============================================

Regions of p-values, and the mirror images that trim and fill adds.
"""

import statsmodels.formula.api as smf

import metareg_sm

counts = metareg_sm.datasets.egger2001.load_pandas().data.drop(columns=["yi", "vi"])
trials = metareg_sm.effect_size("OR", counts, ai="ai", n1i="n1i", ci="ci", n2i="n2i")
res = smf.metareg("yi ~ 1", trials, vi="vi").fit()
fig = res.plot_funnel(contours=True, filled=res.trim_and_fill())
