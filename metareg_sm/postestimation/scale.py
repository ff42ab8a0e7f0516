"""Heterogeneity and comparison of location-scale models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from scipy import special

from metareg_sm._typing import Array, Codes
from metareg_sm.core.basis import design_basis
from metareg_sm.core.location_scale import LocationScale, maximize_scale
from metareg_sm.core.studies import Studies
from metareg_sm.design.terms import Terms
from metareg_sm.exceptions import ComparisonError, DesignError, OptionError, VarianceError
from metareg_sm.postestimation.comparison import LRTest, likelihood_ratio, refuse_not_nested
from metareg_sm.postestimation.fitted import Fitted, Labelled, plain
from metareg_sm.postestimation.resampling import null_basis
from metareg_sm.printing import Printed
from metareg_sm.stats.heterogeneity import q_residual, q_test, r2, typical_variance
from metareg_sm.stats.refits import Selections
from metareg_sm.stats.scale_refits import ScaleRefits


class ScaleFitted(Fitted, Protocol):
    """A fit of a location-scale model."""

    @property
    def tau2(self) -> pd.Series:
        """Heterogeneity of each study, (k,)."""
        ...

    @property
    def scale_exog(self) -> Array:
        """Design of the scale, (k, q)."""

    @property
    def scale_terms(self) -> Terms:
        """Names of the design of the scale."""

    @property
    def scale_cov_params(self) -> pd.DataFrame:
        """Covariance of the coefficients of the scale, (q, q)."""

    def refit_by_ml(self) -> Labelled[ScaleFitted]:
        """The same model by maximum likelihood."""


class ScaleDeletable(ScaleFitted, Protocol):
    """A fit of a location-scale model that is repeated on selections of its studies."""

    def fits_without(self, codes: Codes, n: int) -> ScaleRefits:
        """Fits that lack the studies of one code each."""

    def fits_to(self, counts: Selections, n: int) -> ScaleRefits:
        """Fits to n selections of the studies."""


@dataclass(frozen=True, slots=True, repr=False)
class ScaleHeterogeneity(Printed):
    """How much the true effects vary, averaged over the studies.

    Attributes
    ----------
    q, q_df, q_pvalue : float, int, float
        Residual Q_E with weights 1/v, its degrees of freedom and p-value.
    i2, h2 : float
        Of the mean tau2: tau2 / (s2 + tau2), a fraction, and tau2 / s2 + 1.
    r2 : float
        Share of `tau2_null` that the moderators of the mean explain.
    tau2, tau2_null : float
        Mean of the fitted tau2 with and without moderators of the mean, those of the scale being
        the same; in squared units of the outcome.
    """

    q: float
    q_df: int
    q_pvalue: float
    i2: float
    h2: float
    r2: float
    tau2: float
    tau2_null: float


def heterogeneity(fit: ScaleFitted) -> ScaleHeterogeneity:
    """Heterogeneity of a fit.

    Raises
    ------
    VarianceError
        If a sampling variance is 0.
    DesignError
        If the model without moderators of the mean cannot be fitted.
    """
    table = fit.table
    if (table.vi <= 0.0).any():
        raise VarianceError(
            "Q, I2 and H2 are undefined: they weight studies by 1/vi, and one is 0."
        )
    studies = Studies.build(table.endog, table.vi, table.basis)
    test = q_test(float(q_residual(studies)), studies.df)
    tau2 = null = fit.between_variance
    if fit.df_model > 0:
        problem = LocationScale.build(
            table.endog, table.vi, null_basis(fit), design_basis(fit.scale_exog)
        )
        found = maximize_scale(problem, fit.reml)
        if not np.isfinite(found.loglike):
            raise DesignError("The model without moderators of the mean cannot be fitted.")
        null = float(found.tau2.mean())
    s2 = float(typical_variance(studies))
    explained = float(r2(np.asarray(tau2), np.asarray(null)))
    return ScaleHeterogeneity(
        test.q, test.df, test.pvalue, tau2 / (s2 + tau2), tau2 / s2 + 1.0, explained, tau2, null
    )


def compare_scale(
    full: ScaleFitted, restricted: ScaleFitted | Labelled[ScaleFitted], refit: bool
) -> LRTest:
    """Test of nested fits; see `LocationScaleResults.compare_lr_test`."""
    small = plain(restricted)
    refuse_not_nested(full, small)
    outside = design_basis(full.scale_exog).Z
    inside = design_basis(small.scale_exog).Z
    scale_nested = np.abs(inside - outside @ (outside.T @ inside)).max(initial=0.0) < 1e-8
    if not scale_nested:
        raise ComparisonError(
            "The restricted model is not nested: it has moderators of the scale of its own."
        )
    if refit:
        full, small = plain(full.refit_by_ml()), plain(small.refit_by_ml())
    elif full.reml != small.reml or (full.reml and full.df_resid != small.df_resid):
        raise ComparisonError(
            "REML likelihoods of models with different moderators of the mean are not comparable, "
            "nor are REML and ML. Fit both with reml=False, or use refit=True."
        )
    return likelihood_ratio(full.llf, small.llf, full.df_modelwc - small.df_modelwc, 0, False)


def _moderators(fit: ScaleFitted) -> list[int]:
    """Positions of the coefficients of the scale beside its intercept."""
    terms = fit.scale_terms
    rows = [j for j in range(len(terms.names)) if j != terms.constant]
    if not rows:
        raise OptionError("The scale has no moderator to test.")
    return rows


def scale_wald_test(fit: ScaleFitted) -> LRTest:
    """Wald test of the moderators of the scale; see `LocationScaleResults.scale_wald_test`."""
    rows = _moderators(fit)
    alpha = fit.components.values[rows]
    cov = fit.scale_cov_params.to_numpy()[np.ix_(rows, rows)]
    statistic = float(alpha @ np.linalg.solve(cov, alpha))
    return LRTest(statistic, float(special.chdtrc(len(rows), statistic)), float(len(rows)))


def lr_test_scale(fit: ScaleFitted) -> LRTest:
    """Test of equal heterogeneity; see `LocationScaleResults.lr_test_scale`."""
    rows = _moderators(fit)
    if fit.scale_terms.constant is None:
        raise OptionError("The scale has no intercept; equal heterogeneity is not nested.")
    table = fit.table
    constant = design_basis(np.ones((len(table.endog), 1)))
    problem = LocationScale.build(table.endog, table.vi, table.basis, constant)
    equal = maximize_scale(problem, fit.reml)
    if not np.isfinite(equal.loglike):
        raise ComparisonError("The model of equal heterogeneity cannot be fitted.")
    return likelihood_ratio(fit.llf, float(equal.loglike), 0, len(rows), False)
