"""
Profile likelihood of several components
========================================

Each component held at its values in turn, the others at their best, with the maximum and the interval.
"""

import statsmodels.formula.api as smf

import metareg_sm

schools = metareg_sm.datasets.konstantopoulos2011.load_pandas().data
res = smf.mixedmetareg("yi ~ 1", schools, vi="vi", random="1 | district/school").fit()
fig = res.plot_profile(width="page")
