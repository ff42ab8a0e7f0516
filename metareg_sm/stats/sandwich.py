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
import numpy.typing as npt

from metareg_sm._typing import Array
from metareg_sm.core.basis import orthonormalize
from metareg_sm.core.likelihood import CompressedProfile, PivotedProfile, unequal
from metareg_sm.core.likelihood.choose import compressible
from metareg_sm.core.pivot_regression import PivotedFit
from metareg_sm.core.studies import Studies

Codes = npt.NDArray[np.intp]

# relative to 1: below this an eigenvalue of I - Q_g Q_g' is rounding of an exact 0
_SINGULAR = 1e-10


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

    Attributes
    ----------
    cov : ndarray, (p, p)
        Covariance of the coefficients.
    n_groups : int
        Number of clusters J.
    norms : ndarray, (p, p, J)
        Inner products of the adjusted scores of two coefficients within each cluster.
    scores : ndarray, (J, p, r)
        Projections of the adjusted scores on the design.
    """

    cov: Array
    n_groups: int
    norms: Array
    scores: Array

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
        norms = np.einsum("qa,abj,qb->qj", contrasts, self.norms, contrasts)
        B = np.einsum("qa,jar->qjr", contrasts, self.scores)
        # Omega_gh = delta_gh norm_g - B_g'B_h; its trace squared over its squared Frobenius norm.
        own = np.einsum("qjr,qjr->qj", B, B)
        gram = np.einsum("qjr,qjs->qrs", B, B)
        trace = (norms - own).sum(-1)
        frobenius = (norms**2 - 2.0 * norms * own).sum(-1) + np.einsum("qrs,qrs->q", gram, gram)
        return trace**2 / frobenius

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
        q = contrasts.shape[0]
        norms = np.einsum("sa,abj,tb->jst", contrasts, self.norms, contrasts)
        B = np.einsum("sa,jar->jsr", contrasts, self.scores)
        own = np.einsum("jsr,jtr->jst", B, B)
        # standardised by its expectation; any square root serves, the sum is free of rotations
        root = np.linalg.inv(np.linalg.cholesky((norms - own).sum(0)))
        norms, own = root @ norms @ root.T, root @ own @ root.T
        B = np.einsum("st,jtr->jsr", root, B)
        # P_gh,st = delta_gh norms_g,st - B_gs'B_ht; sum over g, h of P_ss P_tt + P_st P_ts
        ss, ss_own = np.einsum("jss->js", norms), np.einsum("jss->js", own)
        gram = np.einsum("jsr,jtu->stru", B, B)
        total = (
            (ss.sum(-1) ** 2 - 2.0 * ss.sum(-1) * ss_own.sum(-1)).sum()
            + (norms**2 - 2.0 * norms * own).sum()
            + (gram * (gram + np.swapaxes(gram, -1, -2))).sum()
        )
        return float(q * (q + 1) / total)


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
    ValueError
        If CR3 is undefined because the design fits a cluster exactly.

    References
    ----------
    Hedges, L. V., Tipton, E., & Johnson, M. C. (2010). Robust variance estimation in
    meta-regression with dependent effect size estimates. Research Synthesis Methods, 1(1), 39-65.
    """
    k, r = fit.Q.shape
    p = fit.G.shape[0]
    sizes = np.bincount(groups)
    J = len(sizes)
    order = np.argsort(groups, kind="stable")
    first = np.cumsum(sizes) - sizes
    # adjusted scores a_g = A_g' Q_g G', one row a study and one column a coefficient
    adjusted = np.empty((k, p))
    for size in np.unique(sizes):
        members = order[first[sizes == size][:, None] + np.arange(size)]
        Qg = fit.Q[members]
        adjusted[members] = np.matmul(
            _adjustment_transposed(Qg, fit.theta[members], correction), np.matmul(Qg, fit.G.T)
        )
    adjusted *= np.sqrt(_FACTORS[correction](J, k, r))
    indicator = np.zeros((J, p))
    np.add.at(indicator, groups, adjusted * fit.resid[:, None])
    norms = np.zeros((J, p, p))
    np.add.at(norms, groups, adjusted[:, :, None] * adjusted[:, None, :])
    scores = np.zeros((J, p, r))
    np.add.at(scores, groups, adjusted[:, :, None] * fit.Q[:, None, :])
    return Sandwich(indicator.T @ indicator, J, np.moveaxis(norms, 0, -1), scores)


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


def _adjustment_transposed(Qg: Array, theta: Array, correction: str) -> Array:
    """A_g' for a stack of clusters of one size: Qg (J, n, r), theta (J, n) -> (J, n, n)."""
    n = Qg.shape[1]
    identity = np.broadcast_to(np.eye(n), (len(Qg), n, n))
    if correction not in ("CR2", "CR3"):
        return identity
    core = identity - np.matmul(Qg, np.swapaxes(Qg, -1, -2))
    if correction == "CR3":
        values, vectors = np.linalg.eigh(core)
        if (values <= _SINGULAR).any():
            raise ValueError(
                "correction='CR3' is undefined: the moderators fit at least one cluster exactly "
                "(leverage 1). Use 'CR2', or a model with fewer coefficients."
            )
        return np.matmul(vectors / values[:, None, :], np.swapaxes(vectors, -1, -2))
    # A = S^-1/2 theta with S = theta (I - QQ') theta: the symmetric root of the unwhitened
    # residual covariance weighted as in Pustejovsky & Tipton (2018), generalised inverse included
    scale = theta / theta.mean(-1, keepdims=True)
    S = scale[:, :, None] * core * scale[:, None, :]
    values, vectors = np.linalg.eigh(S)
    positive = values > _SINGULAR * np.max(scale**2, axis=-1)[:, None]
    root = np.where(positive, 1.0 / np.sqrt(np.where(positive, values, 1.0)), 0.0)
    inverse_root = np.matmul(vectors * root[:, None, :], np.swapaxes(vectors, -1, -2))
    return scale[:, :, None] * inverse_root


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
    ValueError
        If a study has leverage 1 and the residuals are to be divided by 1 - leverage.

    References
    ----------
    MacKinnon, J. G., & White, H. (1985). Some heteroskedasticity-consistent covariance matrix
    estimators with improved finite sample properties. Journal of Econometrics, 29(3), 305-325.
    """
    resid = fit.resid
    if power:
        remainder = 1.0 - np.einsum("kr,kr->k", fit.Q, fit.Q)
        exact = np.flatnonzero(remainder <= _SINGULAR)
        if exact.size:
            raise ValueError(
                f"HC2 and HC3 are undefined: study {exact[0]} (counted from 0) has leverage 1, the "
                "moderators fit it exactly. Use 'HC0' or 'HC1', or a model with fewer coefficients."
            )
        resid = resid / remainder**power
    scores = fit.Q * resid[:, None]
    return fit.G @ (factor * scores.T @ scores) @ fit.G.T
