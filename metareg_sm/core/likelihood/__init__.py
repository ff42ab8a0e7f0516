"""Profile likelihood of tau2, by maximum likelihood (ML) or restricted maximum likelihood (REML).

With w = 1/(v + tau2) and P = W - WX(X'WX)^-1X'W the coefficients are profiled out:

    ML: -(k/2)ln2pi - sum ln(v+tau2)/2 - RSS/2,
    REML: -((k-p)/2)ln2pi + ln|X'X|/2 - sum ln(v+tau2)/2 - ln|X'WX|/2 - RSS/2, with RSS = y'Py

(Viechtbauer, 2005). Everything the likelihood, its derivatives and the search for its maximum need
are four falling functions of tau2, y'PPy, y'PPPy and two traces (of P and PP for REML, of W and WW
for ML), beside the value itself. Four evaluators give them, and `evaluator` chooses one:
`SpectralProfile` after one eigendecomposition, which pays for few studies and wherever X and v are
shared; `DirectProfile` from sums over any number of studies; `CompressedProfile` for one data set
of very many studies; and `PivotedProfile` where the variances are so unequal that differences of
weighted sums lose their digits.
"""

from metareg_sm.core.likelihood.choose import evaluator, residuals_at, unequal
from metareg_sm.core.likelihood.direct import DirectProfile
from metareg_sm.core.likelihood.profile import Derivatives, Limit, Profile
from metareg_sm.core.likelihood.spectral import SpectralProfile

__all__ = [
    "Derivatives",
    "DirectProfile",
    "Limit",
    "Profile",
    "SpectralProfile",
    "evaluator",
    "residuals_at",
    "unequal",
]
