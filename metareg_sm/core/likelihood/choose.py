"""The one place that chooses how a likelihood is evaluated, and keeps what was computed for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from metareg_sm._typing import Array
from metareg_sm.core.likelihood.compressed import WIDEST, CompressedProfile
from metareg_sm.core.likelihood.direct import DirectProfile
from metareg_sm.core.likelihood.pivoted import UNEQUAL, PivotedProfile
from metareg_sm.core.likelihood.profile import Profile
from metareg_sm.core.likelihood.spectral import SpectralProfile

if TYPE_CHECKING:
    from metareg_sm.core.studies import Studies

# Studies of one data set from which on a compression costs less than the evaluations it saves.
COMPRESSED_FROM = 5000


def evaluator(studies: Studies, reml: bool) -> Profile:
    """Profile likelihood of tau2 of data sets.

    What is computed once, such as an eigendecomposition, is kept with the data and serves the
    restricted and the full likelihood and all later questions.

    Parameters
    ----------
    studies : Studies
        The data sets, along one leading axis at most.
    reml : bool
        Restricted likelihood, else maximum likelihood.
    """
    kept = studies.evaluators
    if not kept:
        kept[True] = _choose(studies)
    if reml not in kept:
        kept[reml] = kept[True].of(reml)
    return kept[reml]


def _choose(studies: Studies) -> Profile:
    y, v = studies.resid, studies.v
    if compressible(studies):
        return CompressedProfile.build(y, v, studies.Z, True)
    if unequal(v).any():
        return pivoted(studies)
    if studies.complement is not None and v.ndim == 1 and studies.counts is None:
        return SpectralProfile.build(y, v, studies.complement, True)
    return DirectProfile(y, v, studies.Z, True, studies.counts)


def unequal(v: Array) -> npt.NDArray[np.bool_]:
    """Whether variances (..., k) are too unequal for differences of weighted sums; (...)."""
    return np.asarray(np.maximum.reduce(v, -1) > UNEQUAL * np.minimum.reduce(v, -1))


def pivoted(studies: Studies) -> PivotedProfile:
    """The evaluator for variances of any ratio."""
    Z = studies.Z
    one = Z.sum(-2)
    constant = bool(np.abs((Z @ one[..., None])[..., 0] - 1.0).max(initial=0.0) < 1e-9)
    X = Z if studies.X is None else studies.X
    far = DirectProfile(studies.resid, studies.v, Z, True, studies.counts)
    return PivotedProfile.build(studies.outcome, studies.v, X, far, constant)


def compressible(studies: Studies) -> bool:
    """Whether one compression of the data set serves all that is asked of its likelihood."""
    if studies.v.shape[-1] < COMPRESSED_FROM or studies.shape or studies.counts is not None:
        return False
    low, high = float(studies.v.min()), float(studies.v.max())
    return low > 0.0 and high <= WIDEST * low


def residuals_at(studies: Studies, tau2: float) -> Array:
    """Residuals (k,) of one data set's weighted regression at `tau2`."""
    if unequal(studies.v):
        fit = pivoted(studies).regress(np.asarray(tau2))
        resid = fit.resid[:, 0]
        resid[fit.pivots.rows[:, 0]] = -fit.shift[:, 0]
        return resid
    return DirectProfile(studies.resid, studies.v, studies.Z, True).solve(np.asarray(tau2)).resid
