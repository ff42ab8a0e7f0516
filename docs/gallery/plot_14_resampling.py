"""
Permutation and bootstrap distributions
=======================================
"""

import statsmodels.formula.api as smf

import metareg_sm
from metareg_sm import plots

bcg = metareg_sm.datasets.bcg.load_pandas().data
res = smf.metareg("yi ~ ablat", bcg, vi="vi").fit()
fig = plots.permutation(res.permutation_test(4999, rng=1))

# %%
# The bootstrap of the heterogeneity shows how little 13 trials say about it.

fig = plots.bootstrap(res.bootstrap(1999, rng=1), ["ablat", "tau2"])
