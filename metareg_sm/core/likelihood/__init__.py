"""Profile likelihood of tau2, by maximum likelihood (ML) or restricted maximum likelihood (REML).

With w = 1/(v + tau2) and P = W - WX(X'WX)^-1X'W the coefficients are profiled out. Everything the
likelihood, its derivatives and the search for its maximum need are four falling functions of tau2,
y'PPy, y'PPPy and two traces (of P and PP for REML, of W and WW for ML), beside the value itself.
Three profiles give them: `DirectProfile` for any number of studies; `SpectralProfile` after one
eigendecomposition, which pays for few studies, wherever X and v are shared, and where the
variances are so unequal that differences of weighted sums lose their digits; and
`CompressedProfile` for one data set of very many studies.
"""

from __future__ import annotations

import numpy as np

from metareg_sm._typing import Array
from metareg_sm.core.basis import design_basis
from metareg_sm.core.likelihood.compressed import CompressedProfile
from metareg_sm.core.likelihood.direct import DirectProfile
from metareg_sm.core.likelihood.profile import Limit, Profile, Slopes
from metareg_sm.core.likelihood.spectral import SpectralProfile

__all__ = [
    "CompressedProfile",
    "DirectProfile",
    "Limit",
    "Profile",
    "Slopes",
    "SpectralProfile",
    "hessian",
    "information",
    "loglike",
    "score",
]


def loglike(tau2: Array, y: Array, v: Array, X: Array, reml: bool = True) -> Array:
    """Profile log-likelihood of tau2.

    ML: -(k/2)ln2pi - sum ln(v+tau2)/2 - RSS/2; REML: -((k-p)/2)ln2pi + ln|X'X|/2
    - sum ln(v+tau2)/2 - ln|X'WX|/2 - RSS/2.

    Parameters
    ----------
    tau2 : array_like, (...)
        Heterogeneity, in squared units of the outcome.
    y, v : ndarray, (..., k)
        Outcomes and their sampling variances.
    X : ndarray, (k, p)
        Design.
    reml : bool, default True
        Restricted likelihood, else maximum likelihood.

    Returns
    -------
    ndarray, (...)

    References
    ----------
    Viechtbauer, W. (2005). Bias and efficiency of meta-analytic variance estimators in the
    random-effects model. Journal of Educational and Behavioral Statistics, 30(3), 261-293.

    Examples
    --------
    >>> import numpy as np
    >>> y, v, X = np.array([0.1, 0.5, 0.9]), np.array([0.1, 0.2, 0.1]), np.ones((3, 1))
    >>> float(loglike(0.2, y, v, X).round(6))
    -1.267573
    """
    return _profile(y, v, X, reml).loglike(np.asarray(tau2, dtype=float))


def score(tau2: Array, y: Array, v: Array, X: Array, reml: bool = True) -> Array:
    """First derivative of the profile log-likelihood: (y'PPy - tr P)/2, with tr W for ML.

    Parameters and shapes are those of `loglike`.
    """
    return _slopes(tau2, y, v, X, reml).score


def hessian(tau2: Array, y: Array, v: Array, X: Array, reml: bool = True) -> Array:
    """Second derivative of the profile log-likelihood: tr(PP)/2 - y'PPPy, with tr(WW) for ML.

    Parameters and shapes are those of `loglike`.
    """
    return -_slopes(tau2, y, v, X, reml).observed_information


def information(tau2: Array, y: Array, v: Array, X: Array, reml: bool = True) -> Array:
    """Expected (Fisher) information of tau2: tr(PP)/2, with tr(WW)/2 for ML.

    Parameters and shapes are those of `loglike`.
    """
    return _slopes(tau2, y, v, X, reml).expected_information


def _slopes(tau2: Array, y: Array, v: Array, X: Array, reml: bool) -> Slopes:
    return _profile(y, v, X, reml).slopes(np.asarray(tau2, dtype=float))


def _profile(y: Array, v: Array, X: Array, reml: bool) -> Profile:
    basis = design_basis(X)
    if basis.complement is not None:
        return SpectralProfile.build(y, v, basis.complement, reml)
    return DirectProfile(y, v, basis.Z, reml)
