"""
All subsets of the studies (GOSH)
=================================

The mean against I2 in every subset of the trials; those with the mega-trial stand apart.
"""

import statsmodels.formula.api as smf

import metareg_sm
from metareg_sm import plots

trials = metareg_sm.datasets.egger2001.load_pandas().data
res = smf.metareg("yi ~ 1", trials, vi="vi").fit(tau2="dl")
fig = plots.gosh(metareg_sm.gosh(res, n_subsets=5000, rng=1), study=15, name="ISIS-4")
