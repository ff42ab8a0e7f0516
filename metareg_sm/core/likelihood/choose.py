"""The one place that chooses how a likelihood is evaluated, and keeps what was computed for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from metareg_sm._typing import Array
from metareg_sm.core.basis import orthonormalize
from metareg_sm.core.likelihood.direct import DirectProfile
from metareg_sm.core.likelihood.profile import UNEQUAL, Profile
from metareg_sm.core.likelihood.spectral import SpectralProfile

if TYPE_CHECKING:
    from metareg_sm.core.likelihood.pivoted import PivotedProfile
    from metareg_sm.core.studies import Studies

# Studies of one data set from which on a compression costs less than the evaluations it saves, and
# the ratio of the largest to the smallest variance beyond which its cross products lose digits.
COMPRESSED_FROM, WIDEST = 5000, 1e4
# Coefficients up to which the products of two columns, of a block of studies, fit in memory.
COMPRESSED_TO = 100
# Products of two columns that are kept for pivots; beyond, an eigendecomposition of up to so many
# studies takes less memory.
PIVOTED_TO, DECOMPOSED_TO = 1 << 27, 5000


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
        # this evaluator and the next are imported where data ask for them
        from metareg_sm.core.likelihood.compressed import CompressedProfile

        return CompressedProfile.build(y, v, studies.Z, True)
    if unequal(v).any():
        one = not studies.shape and studies.counts is None
        if one and too_wide(studies) and studies.k <= DECOMPOSED_TO:
            complement = orthonormalize(studies.Z, complete=True)[0][:, studies.rank :]
            return SpectralProfile.build(y, v, complement, True)
        return pivoted(studies)
    if studies.complement is not None and v.ndim == 1 and studies.counts is None:
        return SpectralProfile.build(y, v, studies.complement, True)
    return DirectProfile(y, v, studies.Z, True, studies.counts)


def unequal(v: Array) -> npt.NDArray[np.bool_]:
    """Whether variances (..., k) are too unequal for differences of weighted sums; (...)."""
    return np.asarray(np.maximum.reduce(v, -1) > UNEQUAL * np.minimum.reduce(v, -1))


def too_wide(studies: Studies) -> bool:
    """Whether the products of the columns of one data set are too many to be kept for pivots."""
    return bool(studies.rank**2 * studies.v.shape[-1] > PIVOTED_TO)


def pivoted(studies: Studies) -> PivotedProfile:
    """The evaluator for variances of any ratio.

    Raises
    ------
    MemoryError
        If there are too many coefficients for so many studies.
    """
    Z = studies.Z
    if too_wide(studies):
        raise MemoryError(
            f"Sampling variances that differ by a factor of more than {UNEQUAL:g} need products of "
            f"all pairs of {studies.rank} coefficients for {studies.v.shape[-1]} studies, which "
            "do not fit in memory. Use a factor with fewer levels, or a random effect of its "
            "levels (MixedMetaReg)."
        )
    from metareg_sm.core.likelihood.pivoted import PivotedProfile

    one = Z.sum(-2)
    constant = bool(np.abs((Z @ one[..., None])[..., 0] - 1.0).max(initial=0.0) < 1e-9)
    X = Z if studies.X is None else studies.X
    far = DirectProfile(studies.resid, studies.v, Z, True, studies.counts)
    return PivotedProfile.build(studies.outcome, studies.v, X, far, constant)


def compressible(studies: Studies) -> bool:
    """Whether one compression of the data set serves all that is asked of its likelihood."""
    if studies.v.shape[-1] < COMPRESSED_FROM or studies.rank > COMPRESSED_TO:
        return False
    if studies.shape or studies.counts is not None:
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
