"""Which studies drive a location-scale fit."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from metareg_sm._typing import Array, Codes
from metareg_sm.core.basis import design_basis
from metareg_sm.core.location_scale import LocationScale
from metareg_sm.postestimation.influence import WHAT, Influence, deletions, diagnostics
from metareg_sm.postestimation.resampling import factor_of
from metareg_sm.postestimation.scale import ScaleDeletable, ScaleFitted
from metareg_sm.stats.refits import Selections, without_groups
from metareg_sm.stats.scale_refits import ScaleModel, ScaleRefits, refit_scale

__all__ = ["ScaleInfluence", "get_influence"]


@dataclass(frozen=True, slots=True, repr=False)
class ScaleInfluence(Influence):
    """Deletion diagnostics of a location-scale fit; alpha is estimated anew for every deletion.

    Those of `Influence`, at weights 1/(vi + tau2_i), and what deletions do to the q coefficients
    alpha of ln tau2. `influential` counts an absolute DFBETAS of alpha above 1, too. Where the
    studies that are left have no maximum of alpha, because the likelihood grows towards a
    heterogeneity of 0, alpha is NaN, `reason` says so, and the rest is what it tends to.

    Time and memory of one deletion grow linearly with the number of studies.

    Attributes
    ----------
    tau2_deleted, i2_deleted : ndarray, (n,)
        Mean of the heterogeneity of the studies that are left, and I2 from it.
    tau2_expected : ndarray, (k,)
        Heterogeneity that the others expect of the study, exp(z'alpha).
    scale_params_not_obsi, scale_bse_not_obsi : ndarray, (n, q)
        alpha and its standard errors without the studies.
    dfbeta_scale, dfbetas_scale : ndarray, (n, q)
        Change of alpha, and over the standard errors of the fit to all studies.
    scale_names : list of str
        Coefficients of the scale, as in `components`.
    """

    tau2_expected: Array
    scale_params_not_obsi: Array
    scale_bse_not_obsi: Array
    dfbeta_scale: Array
    dfbetas_scale: Array
    scale_names: list[str]

    def summary_frame(self) -> pd.DataFrame:
        """One row a deletion: the columns of `Influence`, with dfb_* of alpha after those of beta.

        Returns
        -------
        DataFrame
        """
        frame = Influence.summary_frame(self)
        at = frame.columns.get_loc("cooks_d")
        for name, values in zip(self.scale_names[::-1], self.dfbetas_scale.T[::-1], strict=True):
            frame.insert(at, f"dfb_{name}", values)
        return frame


def get_influence(fit: ScaleDeletable, groups: Any = None) -> ScaleInfluence:
    """Deletion diagnostics; see `LocationScaleResults.get_influence`."""
    codes, labels = deletions(fit, groups)
    fits = fit.fits_without(codes, len(labels))
    found = diagnostics(fit, fits, groups is None, codes, labels)
    change = fit.components.values - fits.alpha
    standardised = change / fit.components.se
    inherited = {f.name: getattr(found, f.name) for f in fields(found)}
    inherited["influential"] = found.influential | (np.abs(standardised) > 1.0).any(1)
    return ScaleInfluence(
        **inherited,
        tau2_expected=fits.of_own(codes),
        scale_params_not_obsi=fits.alpha,
        scale_bse_not_obsi=fits.alpha_se,
        dfbeta_scale=change,
        dfbetas_scale=standardised,
        scale_names=list(fit.components.names),
    )


def fits_without(fit: ScaleFitted, codes: Codes, n: int) -> ScaleRefits:
    """Fits that lack the studies of one code each."""
    return fits_to(fit, without_groups(codes), n)


def fits_to(fit: ScaleFitted, counts: Selections, n: int) -> ScaleRefits:
    """Fits to n selections of the studies."""
    return refit_scale(scale_model(fit, WHAT), n, counts)


def scale_model(fit: ScaleFitted, what: str) -> ScaleModel:
    """How a fit is repeated; `what` needs it, for errors."""
    table, scale = fit.table, design_basis(fit.scale_exog)
    factor = factor_of(fit, what)
    problem = LocationScale.build(table.endog, table.vi, table.basis, scale)
    alpha = np.asarray(np.linalg.solve(problem.to_alpha, fit.components.values), dtype=float)
    return ScaleModel(problem, table.basis, scale, fit.reml, alpha, factor)
