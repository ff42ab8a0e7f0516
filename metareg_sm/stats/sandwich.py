"""Sandwich estimators of the covariance of the coefficients.

All sandwiches are one formula. In coordinates whitened by the square root of the weights the
coefficients are G Q'y with Q orthonormal; the covariance is the sum over clusters of
G Q_g' A_g e_g e_g' A_g' Q_g G', and the types differ in the adjustment A_g alone. A study by itself
is a cluster of one: HC0, HC2 and HC3 are CR0, CR2 and CR3 of single studies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np

from metareg_sm._typing import Array
from metareg_sm.core.basis import orthonormalize
from metareg_sm.core.likelihood import CompressedProfile, PivotedProfile, unequal
from metareg_sm.core.likelihood.choose import compressible
from metareg_sm.core.pivot_regression import PivotedFit
from metareg_sm.core.studies import Studies
from metareg_sm.exceptions import DesignError
from metareg_sm.stats.adjustment import Codes, adjusted_parts, leverage_slack, slack


@dataclass(frozen=True)
class Whitened:
    """A weighted regression in whitened coordinates.

    Attributes
    ----------
    G : ndarray, (p, r)
        Maps Q'y, with y whitened, to the coefficients; GG' is (X'WX)^-1.
    resid : ndarray, (k,)
        Whitened residuals: residuals times the square root of the weights.
    theta : ndarray, (k,)
        Marginal variances v + tau2, the inverse weights.
    unscaled : ndarray, (p, p)
        GG'.
    Z : ndarray, (k, r)
        Basis of the design.
    inverse : ndarray, (r, r)
        What makes the columns of the weighted basis orthonormal.
    factor : ndarray, (k, r), or None
        Q, where it was needed to come so far.
    """

    G: Array
    resid: Array
    theta: Array
    unscaled: Array
    Z: Array
    inverse: Array
    factor: Array | None = None

    @cached_property
    def Q(self) -> Array:
        """Orthonormal basis of the weighted design, (k, r)."""
        if self.factor is not None:
            return self.factor
        return (self.Z / np.sqrt(self.theta)[:, None]) @ self.inverse

    def weighted(self, exog: Array) -> Array:
        """Columns (k, p) of the design times the square root of the weights."""
        return exog / np.sqrt(self.theta)[:, None]

    def working(self, members: Codes) -> Array:
        """Marginal variances of clusters of one size, (m, n)."""
        return self.theta[members]

    @property
    def df_resid(self) -> int:
        """K - r."""
        return len(self.resid) - self.G.shape[1]

    @property
    def scale(self) -> float:
        """Knapp-Hartung factor: the weighted residual sum of squares over k - r."""
        return float(self.resid @ self.resid / self.df_resid)


def whiten(studies: Studies, tau2: float, to_params: Array) -> tuple[Whitened, Array]:
    """Weighted regression of one data set at a given tau2.

    Parameters
    ----------
    studies : Studies
        One data set.
    tau2 : float
        Heterogeneity.
    to_params : ndarray, (p, r)
        Maps coefficients of the basis Z to those wanted (`Basis.to_params`).

    Returns
    -------
    fit : Whitened
    params : ndarray, (p,)
        Coefficients.
    """
    theta = studies.v + tau2
    root = 1.0 / np.sqrt(theta)
    # for a fixed tau2 nothing but this needs an evaluator, and this only these two
    special = compressible(studies) or unequal(studies.v)
    profile = studies.profile(True) if special else None
    if isinstance(profile, PivotedProfile):
        return _whiten_pivoted(studies, profile.regress(np.asarray(tau2)), theta, to_params)
    if isinstance(profile, CompressedProfile):
        cross, coefs = profile.solve(np.asarray(tau2))
        G = np.linalg.inv(np.linalg.cholesky(cross)).T
        resid = studies.resid - studies.Z @ coefs
        resid *= root
        H = to_params @ G
        whitened = Whitened(H, resid, theta, H @ H.T, studies.Z, G)
        return whitened, to_params @ (studies.outcome @ studies.Z + coefs)
    Q, inverse = orthonormalize(root[:, None] * studies.Z)
    if inverse is None:  # an orthonormal basis times positive weights
        raise ArithmeticError("The weights 1/(vi + tau2) differ by more than floating point holds.")
    resid = root * studies.resid
    coefs = resid @ Q
    H = to_params @ inverse
    whitened = Whitened(H, resid - Q @ coefs, theta, H @ H.T, studies.Z, inverse, Q)
    return whitened, to_params @ (studies.outcome @ studies.Z + inverse @ coefs)


@dataclass(frozen=True)
class BlockWhitened(Whitened):
    """A regression whitened by a root of a marginal covariance that is not diagonal.

    Rows of a cluster are mixed among themselves only; `theta` is the diagonal of the covariance.

    Attributes
    ----------
    mixing : mapping or None
        For each size of clusters (KK')^-1 where K whitens a cluster, (m, n, n), clusters in the
        order of their codes.
    """

    mixing: Mapping[int, Array] | None = None

    def weighted(self, exog: Array) -> Array:
        """Columns (k, p) of the design times the root of the weights."""
        inside = np.linalg.solve(self.inverse, self.Z.T @ exog)
        weighted: Array = self.Q @ inside
        return weighted

    def working(self, members: Codes) -> Array:
        """What `mixing` holds of clusters of one size; the marginal variances where it is None."""
        if self.mixing is None:
            return self.theta[members]
        return self.mixing[members.shape[1]]


def cluster_whitened(
    fit: Whitened, resid: Array, covariances: Mapping[int, Array], groups: Codes
) -> BlockWhitened:
    """The same regression whitened cluster by cluster, by the Cholesky factor LL' of each.

    Parameters
    ----------
    fit : Whitened
        The regression in any whitening.
    resid : ndarray, (k,)
        Residuals y - Xb, not whitened.
    covariances : mapping
        Marginal covariances of the clusters of each size, (m, n, n), in the order of their codes.
    groups : ndarray of int, (k,)
        Clusters.

    Returns
    -------
    BlockWhitened
    """
    Q, e = np.empty(fit.Q.shape), np.empty(len(resid))
    mixing = {}
    for members in clusters_by_size(groups):
        L = np.linalg.cholesky(covariances[members.shape[1]])
        white = np.linalg.solve(L, np.concatenate([fit.Z, resid[:, None]], axis=1)[members])
        Q[members], e[members] = white[:, :, :-1] @ fit.inverse, white[:, :, -1]
        mixing[members.shape[1]] = np.swapaxes(L, -1, -2) @ L
    return BlockWhitened(fit.G, e, fit.theta, fit.unscaled, fit.Z, fit.inverse, Q, mixing)


def clusters_by_size(groups: Codes) -> list[Codes]:
    """Rows (m, n) of the clusters of each size, clusters in the order of their codes."""
    sizes = np.bincount(groups)
    order = np.argsort(groups, kind="stable")
    first = np.cumsum(sizes) - sizes
    return [
        order[first[np.flatnonzero(sizes == size)][:, None] + np.arange(size)]
        for size in np.unique(sizes[sizes > 0])
    ]


def _whiten_pivoted(
    studies: Studies, fit: PivotedFit, theta: Array, to_params: Array
) -> tuple[Whitened, Array]:
    """`whiten` from a regression in the coordinates of pivot studies."""
    root, rows = 1.0 / np.sqrt(theta), fit.pivots.rows[:, 0]
    half, inverse = fit.root()
    Q = (root[:, None] * fit.pivots.M[..., 0].T) @ half
    Q[rows] = inverse
    resid = root * fit.resid[:, 0]
    resid[rows] = -root[rows] * fit.shift[:, 0]
    from_columns = to_params if studies.from_columns is None else studies.from_columns
    from_pivots = from_columns @ fit.pivots.to_columns[..., 0]
    H = from_pivots @ half
    to_orthonormal = np.asarray(np.linalg.solve(studies.Z[rows], half), dtype=float)
    whitened = Whitened(H, resid, theta, H @ H.T, studies.Z, to_orthonormal, Q)
    return whitened, from_pivots @ (fit.pivots.y + fit.shift)[:, 0]


@dataclass(frozen=True, slots=True)
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
        parts = self.contrast_parts(np.eye(len(self.G)))
        return parts.T @ parts

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


def cluster_sandwich(fit: Whitened, groups: Codes, correction: str) -> Sandwich:
    """Cluster-robust covariance.

    Parameters
    ----------
    fit : Whitened
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


def _check_identified(fit: Whitened, expected: Array, level: str) -> None:
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


def hc_covariance(fit: Whitened, power: float, factor: float = 1.0) -> Array:
    """Heteroscedasticity-robust covariance with residuals divided by (1 - leverage)^power.

    Parameters
    ----------
    fit : Whitened
        The weighted regression.
    power : float
        0 for HC0 and HC1, 1/2 for HC2, 1 for HC3.
    factor : float
        k/(k-p) for HC1.

    Returns
    -------
    ndarray, (p, p)

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
    scores = weights * resid[:, None]
    return factor * scores.T @ scores
