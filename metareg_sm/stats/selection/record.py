"""What a fitted selection model tells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from metareg_sm._typing import Array, Mask
from metareg_sm.exceptions import ConvergenceWarning, FewStudiesWarning
from metareg_sm.stats.reference import critical_value, two_sided_pvalue
from metareg_sm.stats.selection.steps import StepFunction

# studies in an interval below which its weight says little
FEW = 3


@dataclass(frozen=True, slots=True, eq=False)
class SelectionFit:
    """A fitted step-function selection model, or one for each of many data sets.

    Attributes
    ----------
    params : ndarray, (..., p)
        Coefficients of the effects before selection.
    tau2 : ndarray, (...)
        Heterogeneity before selection, in squared units of the outcome.
    weights : ndarray, (..., J)
        Relative probability of publication in each interval of the p-value; the first is 1.
    cov : ndarray, (..., p + J, p + J)
        Inverse of the observed information of coefficients, tau2 and the weights but the first.
        What is held fixed or lies on its boundary (tau2 = 0, a weight of 0) has rows of NaN: no
        standard error is defined there, and the others are given it.
    llf, llf_null : ndarray, (...)
        Log-likelihood, and its maximum where all weights are 1: the ML fit without selection.
    counts : ndarray, (..., J)
        Studies in each interval.
    converged : ndarray of bool, (...)
        A maximum was reached that is not flat.
    flat : ndarray of bool, (...)
        The likelihood is flat at its maximum, or as high where parameters leave all bounds.
    step_function : StepFunction
    """

    params: Array
    tau2: Array
    weights: Array
    cov: Array
    llf: Array
    llf_null: Array
    counts: Array
    converged: Mask
    flat: Mask
    step_function: StepFunction

    @property
    def cov_params(self) -> Array:
        """Covariance of the coefficients, (..., p, p)."""
        p = self.params.shape[-1]
        return self.cov[..., :p, :p]

    @property
    def bse(self) -> Array:
        """Standard errors of the coefficients, (..., p)."""
        return self._se[..., : self.params.shape[-1]]

    @property
    def tau2_se(self) -> Array:
        """Standard error of tau2; NaN where it is 0 or held fixed."""
        return self._se[..., self.params.shape[-1]]

    @property
    def weights_se(self) -> Array:
        """Standard errors of the weights, (..., J): 0 of the first, NaN of a weight of 0."""
        own = self._se[..., self.params.shape[-1] + 1 :]
        return np.concatenate([np.zeros((*own.shape[:-1], 1)), own], axis=-1)

    @property
    def _se(self) -> Array:
        return np.sqrt(np.diagonal(self.cov, axis1=-2, axis2=-1))

    @property
    def tvalues(self) -> Array:
        """Coefficients over their standard errors: z statistics."""
        return self.params / self.bse

    @property
    def pvalues(self) -> Array:
        """Two-sided p-values of the coefficients, normal."""
        return two_sided_pvalue(self.tvalues, None)

    @property
    def lr_statistic(self) -> Array:
        """Likelihood ratio statistic against no selection."""
        return np.maximum(0.0, 2.0 * (self.llf - self.llf_null))

    @property
    def lr_df(self) -> int:
        """Its degrees of freedom: weights but the first."""
        return self.weights.shape[-1] - 1

    @property
    def lr_pvalue(self) -> Array:
        """Its p-value, by chi-squared."""
        return special.chdtrc(self.lr_df, self.lr_statistic)

    def conf_int(self, alpha: float = 0.05) -> Array:
        """Confidence intervals of the coefficients, normal; (..., p, 2)."""
        half = critical_value(alpha, None) * self.bse
        return np.stack([self.params - half, self.params + half], axis=-1)

    def conf_int_weights(self, alpha: float = 0.05, log: bool = True) -> Array:
        """Wald intervals of the weights, on the log scale by default; (..., J, 2).

        Parameters
        ----------
        alpha : float, default 0.05
            1 minus the coverage.
        log : bool, default True
            Weight times or divided by exp(crit * se / weight); else weight plus or minus
            crit * se, with a lower end of at least 0.

        Returns
        -------
        ndarray, (..., J, 2)
            (1, 1) for the first; NaN for a weight of 0. `profile_weights` serves there, too.
        """
        half = critical_value(alpha, None) * self.weights_se
        if not log:
            return np.stack([np.maximum(0.0, self.weights - half), self.weights + half], axis=-1)
        positive = np.where(self.weights > 0.0, self.weights, 1.0)
        ratio = np.exp(half / positive)
        return np.stack([self.weights / ratio, self.weights * ratio], axis=-1)

    def doubts(self) -> list[Warning]:
        """What a careful reader of a single fit must know, as warnings."""
        found: list[Warning] = []
        labels = self.step_function.labels
        for label, count in zip(labels, self.counts, strict=True):
            if count < FEW:
                number = {0: "no study", 1: "1 study"}.get(int(count), f"{count:.0f} studies")
                text = f"The interval {label} of p-values holds {number}: "
                text += (
                    "the estimate of its weight is 0, the boundary. Choose other steps."
                    if count == 0
                    else "its weight is hardly determined. Consider other steps."
                )
                found.append(FewStudiesWarning(text))
        if self.flat:
            found.append(
                ConvergenceWarning(
                    "The likelihood of the selection model is flat: very different coefficients, "
                    "tau2 and weights fit almost equally well. Use fewer steps, or hold tau2 fixed."
                )
            )
        elif not self.converged:
            found.append(
                ConvergenceWarning("The search for the maximum of the likelihood did not converge.")
            )
        return found
