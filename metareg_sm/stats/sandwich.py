"""Sandwich estimators of the covariance of the coefficients.

All sandwiches are one formula. In coordinates whitened by the square root of the weights the
coefficients are G Q'y with Q orthonormal; the covariance is the sum over clusters of
G Q_g' A_g e_g e_g' A_g' Q_g G', and the types differ in the adjustment A_g alone. A study by itself
is a cluster of one: HC0, HC2 and HC3 are CR0, CR2 and CR3 of single studies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from metareg_sm._typing import Array
from metareg_sm.exceptions import DesignError
from metareg_sm.stats.adjustment import Codes, adjusted_parts, leverage_slack, slack
from metareg_sm.stats.gls import WeightedRegression, clusters_by_size


@dataclass(frozen=True, slots=True, eq=False)
class Sandwich:
    """A cluster-robust covariance with the small-sample degrees of freedom of its contrasts.

    With a_g = A_g' Q_g the adjusted scores of cluster g, one row a study.

    Attributes
    ----------
    G : ndarray, (p, r)
        Maps the scores to the coefficients.
    totals : ndarray, (J, r)
        a_g' e_g: what each cluster adds to the estimate.
    own : ndarray, (J, r, r)
        a_g' (I - Q_g Q_g') a_g: variance of the totals under the working model.
    cross : ndarray, (J, r, r)
        a_g' Q_g; -cross_g cross_h' is the covariance of the totals of two clusters.
    heavy : ndarray of int
        Clusters that determine a coefficient nearly alone, at most 10 r / 9 of them.
    """

    G: Array
    totals: Array
    own: Array
    cross: Array
    heavy: Codes

    @property
    def n_groups(self) -> int:
        """Number of clusters J."""
        return len(self.totals)

    @property
    def cov(self) -> Array:
        """Covariance of the coefficients, (p, p)."""
        return self.root @ self.root.T

    @property
    def root(self) -> Array:
        """Root of the covariance, (p, r); (p, J) with fewer clusters than coefficients."""
        return self.G @ np.transpose(np.linalg.qr(self.totals, mode="r"))

    def contrast_parts(self, contrasts: Array) -> Array:
        """What each cluster adds to contrasts (q, p), (J, q); their covariance is the product."""
        return self.totals @ (contrasts @ self.G).T

    def unidentified(self, contrasts: Array) -> bool:
        """Whether some combination of contrasts (q, p) varies in no cluster."""
        L = contrasts @ self.G
        L = L / np.linalg.norm(L, axis=1, keepdims=True)
        expected = L @ self.own.sum(0) @ L.T
        return bool(np.linalg.eigvalsh(expected)[0] <= 1e-12 * np.trace(expected))

    def satterthwaite(self, contrasts: Array) -> Array:
        """Degrees of freedom of single contrasts under the working model.

        Parameters
        ----------
        contrasts : ndarray, (q, p)
            One contrast a row.

        Returns
        -------
        ndarray, (q,)

        References
        ----------
        Bell, R. M., & McCaffrey, D. F. (2002). Bias reduction in standard errors for linear
        regression with multi-stage samples. Survey Methodology, 28(2), 169-181.
        """
        # what Hotelling's degrees of freedom are for one contrast
        return self._eta(contrasts[:, None, :])

    def htz_df(self, contrasts: Array) -> float:
        """Degrees of freedom eta of the approximate Hotelling T^2 test of joint contrasts.

        Parameters
        ----------
        contrasts : ndarray, (q, p)
            Linearly independent contrasts.

        Returns
        -------
        float

        References
        ----------
        Pustejovsky, J. E., & Tipton, E. (2018). Small-sample methods for cluster-robust variance
        estimation and hypothesis testing in fixed effects models. Journal of Business & Economic
        Statistics, 36(4), 672-683.
        """
        return float(self._eta(contrasts))

    def _eta(self, contrasts: Array) -> Array:
        """Degrees of freedom of sets of contrasts, (..., q, p) -> (...)."""
        q, r = contrasts.shape[-2], self.G.shape[1]
        L = contrasts @ self.G
        # standardised by its expectation; any square root serves, the sum is free of rotations
        expected = L @ self.own.sum(0) @ np.swapaxes(L, -1, -2)
        standard = np.linalg.solve(np.linalg.cholesky(expected), L)
        standard = standard[..., None, :, :]
        own = standard @ self.own @ np.swapaxes(standard, -1, -2)
        B = standard @ self.cross
        # sum over pairs of clusters of X_ss X_tt + X_st X_ts, X the covariance of their parts
        total = _pair_terms(own).sum(-1)
        light = np.delete(B, self.heavy, axis=-3)
        flat = light.reshape(*light.shape[:-2], -1)
        gram = (np.swapaxes(flat, -1, -2) @ flat).reshape(*L.shape[:-2], q, r, q, r)
        gram = np.swapaxes(gram, -3, -2)
        total += (gram * (gram + np.swapaxes(gram, -1, -2))).sum((-1, -2, -3, -4))
        total -= _pair_terms(light @ np.swapaxes(light, -1, -2)).sum(-1)
        # the difference of the two lines above would leave nothing of a heavy cluster
        for g in self.heavy:
            terms = _pair_terms(B[..., g : g + 1, :, :] @ np.swapaxes(B, -1, -2))
            terms[..., g] = 0.0
            total += 2.0 * terms.sum(-1) - terms[..., self.heavy].sum(-1)
        return q * (q + 1) / total


def _pair_terms(X: Array) -> Array:
    """Sum over s, t of X_ss X_tt + X_st X_ts, (..., q, q) -> (...)."""
    return np.einsum("...ss->...", X) ** 2 + np.einsum("...st,...ts->...", X, X)


def cluster_sandwich(fit: WeightedRegression, groups: Codes, correction: str) -> Sandwich:
    """Cluster-robust covariance.

    Parameters
    ----------
    fit : WeightedRegression
        The weighted regression.
    groups : ndarray of int, (k,)
        Cluster of each study, 0 ... J-1.
    correction : {"CR0", "CR1", "CR1S", "CR2", "CR3"}
        CR0: none. CR1: J/(J-p). CR1S: J(k-1)/((J-1)(k-p)), Stata's. CR2: unbiased under the
        working model v + tau2. CR3: close to the jackknife over clusters.

    Returns
    -------
    Sandwich

    Raises
    ------
    DesignError
        If CR3 is undefined because the design fits a cluster exactly, or one cluster alone
        determines a coefficient.

    References
    ----------
    Hedges, L. V., Tipton, E., & Johnson, M. C. (2010). Robust variance estimation in
    meta-regression with dependent effect size estimates. Research Synthesis Methods, 1(1), 39-65.
    """
    k, r = fit.Q.shape
    J = int(groups.max()) + 1
    totals: Array = np.empty((J, r))
    own: Array = np.empty((J, r, r))
    cross: Array = np.empty((J, r, r))
    heavy = np.zeros(J, dtype=bool)
    for members in clusters_by_size(groups):
        now = groups[members[:, 0]]
        Qg = fit.Q[members]
        clusters = slack(fit.Q, fit.resid, members)
        heavy[now] = clusters.heavy
        if correction == "CR3":
            _check_slack(clusters.s, members)
        totals[now], own[now], cross[now] = adjusted_parts(
            Qg, clusters, fit.working(members), correction
        )
    factor = _FACTORS[correction](J, k, r)
    root = factor**0.5
    _check_identified(fit, ((fit.G @ own.sum(0)) * fit.G).sum(-1), "cluster")
    return Sandwich(fit.G, root * totals, factor * own, root * cross, np.flatnonzero(heavy))


def _check_identified(fit: WeightedRegression, expected: Array, level: str) -> None:
    """Refuse a coefficient that one cluster or study determines alone: its residuals are all 0."""
    alone = np.flatnonzero(expected <= 1e-14 * np.diagonal(fit.unscaled))
    if alone.size:
        raise DesignError(
            f"There is no robust standard error of coefficient {alone[0]} (counted from 0): one "
            f"{level} determines it alone. Use a model without it, or cov_type='knapp-hartung'."
        )


def _check_slack(s: Array, members: Codes) -> None:
    exact = np.flatnonzero((s == 0.0).any(-1))
    if exact.size:
        studies = ", ".join(str(i) for i in members[exact[0], :5])
        more = " ..." if members.shape[1] > 5 else ""
        raise DesignError(
            "correction='CR3' is undefined: the moderators fit at least one cluster exactly "
            f"(leverage 1), that of the studies {studies}{more} (counted from 0). Use 'CR2', or a "
            "model with fewer coefficients."
        )


_FACTORS: Mapping[str, Callable[[int, int, int], float]] = MappingProxyType(
    {
        "CR0": lambda J, k, r: 1.0,
        "CR1": lambda J, k, r: J / (J - r),
        "CR1S": lambda J, k, r: J * (k - 1) / ((J - 1) * (k - r)),
        "CR2": lambda J, k, r: 1.0,
        "CR3": lambda J, k, r: 1.0,
    }
)
CORRECTIONS = tuple(_FACTORS)


def hc_root(fit: WeightedRegression, power: float, factor: float = 1.0) -> Array:
    """Root of the heteroscedasticity-robust covariance, residuals over (1 - leverage)^power.

    Parameters
    ----------
    fit : WeightedRegression
        The weighted regression.
    power : float
        0 for HC0 and HC1, 1/2 for HC2, 1 for HC3.
    factor : float
        k/(k-p) for HC1.

    Returns
    -------
    ndarray, (p, r)
        The covariance is its product with its transpose.

    Raises
    ------
    DesignError
        If a study has leverage 1 and the residuals are to be divided by 1 - leverage, or one study
        alone determines a coefficient.

    References
    ----------
    MacKinnon, J. G., & White, H. (1985). Some heteroskedasticity-consistent covariance matrix
    estimators with improved finite sample properties. Journal of Econometrics, 29(3), 305-325.
    """
    remainder, resid = leverage_slack(fit.Q, fit.resid)
    if power:
        exact = np.flatnonzero(remainder == 0.0)
        if exact.size:
            raise DesignError(
                f"cov_type HC2 and HC3 are undefined: study {exact[0]} (counted from 0) has "
                "leverage 1, the moderators fit it exactly. Use 'HC0' or 'HC1', or a model with "
                "fewer coefficients."
            )
        resid = np.asarray(resid / remainder**power)
    weights = fit.Q @ fit.G.T
    _check_identified(fit, remainder @ weights**2, "study")
    scores = np.transpose(np.linalg.qr(fit.Q * resid[:, None], mode="r"))
    return factor**0.5 * (fit.G @ scores)
