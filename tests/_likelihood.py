"""The profile likelihood of tau2 as functions of arrays, through the evaluators."""

import numpy as np

from metareg_sm.core.basis import design_basis
from metareg_sm.core.likelihood import DirectProfile, SpectralProfile


def profile(y, v, X, reml):
    """An evaluator that does not look at the ratio of the variances."""
    basis = design_basis(X)
    if basis.complement is not None:
        return SpectralProfile.build(y, v, basis.complement, reml)
    return DirectProfile(y, v, basis.Z, reml)


def loglike(tau2, y, v, X, reml=True):
    return profile(y, v, X, reml).loglike(np.asarray(tau2, dtype=float))


def score(tau2, y, v, X, reml=True):
    return _derivatives(tau2, y, v, X, reml).score


def hessian(tau2, y, v, X, reml=True):
    return -_derivatives(tau2, y, v, X, reml).observed_information


def information(tau2, y, v, X, reml=True):
    return _derivatives(tau2, y, v, X, reml).expected_information


def _derivatives(tau2, y, v, X, reml):
    return profile(y, v, X, reml).derivatives(np.asarray(tau2, dtype=float))
