"""
Baseline risk
=============

Both arms with their sampling errors as ellipses, the line of no effect, and the slope of the bivariate model beside the naive
one.
"""

import metareg_sm

bcg = metareg_sm.datasets.bcg.load_pandas().data
bcg["treated"], bcg["controls"] = bcg["tpos"] + bcg["tneg"], bcg["cpos"] + bcg["cneg"]
found = metareg_sm.baseline_risk(
    bcg, ai="tpos", n1i="treated", ci="cpos", n2i="controls", measure="OR"
)
fig = found.plot()
