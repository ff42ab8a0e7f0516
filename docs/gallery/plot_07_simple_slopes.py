"""
Simple slopes and the Johnson-Neyman region
===========================================

The slope of one moderator along another, and where it is significant.
"""

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf

rng = np.random.default_rng(12)
trials = pd.DataFrame({"age": rng.uniform(40, 75, 80), "dose": rng.uniform(0, 2, 80)})
trials["vi"] = rng.uniform(0.005, 0.03, 80)
expected = 0.2 + 0.01 * (trials["age"] - 60) - 0.02 * (trials["age"] - 60) * trials["dose"]
trials["yi"] = expected + rng.normal(size=80) * np.sqrt(trials["vi"] + 0.005)
res = smf.metareg("yi ~ age * dose", trials, vi="vi").fit()
fig = res.plot_simple_slopes("age", "dose")
