"""
Forest plot of effects in clusters
==================================

Two outcomes of each trial: a mixed model with known sampling covariances, in blocks by outcome.
"""

import statsmodels.formula.api as smf

import metareg_sm

trials = metareg_sm.datasets.berkey1998.load_pandas().data
V = metareg_sm.sampling_covariance(trials["vi"], trials["trial"], rho=0.5)
model = smf.mixedmetareg("yi ~ 0 + outcome", trials, V=V, random="0 + outcome | trial")
res = model.fit()
fig = res.plot_forest(by="outcome", labels=["author", "year"], left={"ni": "Patients"})
