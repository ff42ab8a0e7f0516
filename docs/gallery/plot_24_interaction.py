"""
An interaction within and across trials
=======================================

How a treatment's effect depends on age between the patients of a trial, and between the trials.
"""

import statsmodels.formula.api as smf

from metareg_sm import simulate, two_stage

people = simulate.participants(n_studies=12, rng=1)
stage = two_stage("y ~ treat * age", people, study="study", model=smf.ols, effect="treat:age")
fig = stage.interaction().plot()
