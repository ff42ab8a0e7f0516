"""
Random effects
==============

Deviations of the trials' true effects from the line, in order (a caterpillar plot).
"""

import statsmodels.formula.api as smf

import metareg_sm

bcg = metareg_sm.datasets.bcg.load_pandas().data
fig = smf.metareg("yi ~ ablat", bcg, vi="vi").fit().plot_random_effects(labels="author")
