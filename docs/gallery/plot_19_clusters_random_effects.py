"""
Random effects of every level
=============================

Districts, and schools within districts (caterpillar plots).
"""

import statsmodels.formula.api as smf

import metareg_sm

schools = metareg_sm.datasets.konstantopoulos2011.load_pandas().data
res = smf.mixedmetareg("yi ~ 1", schools, vi="vi", random="1 | district/school").fit()
fig = res.plot_random_effects(grouping="district")

# %%
# The schools.

fig = res.plot_random_effects(grouping="district/school")
