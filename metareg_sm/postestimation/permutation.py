"""Permutation tests and subsets of studies, from fitted results."""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from metareg_sm._typing import Array
from metareg_sm.core.basis import design_basis
from metareg_sm.exceptions import DesignError, OptionError
from metareg_sm.stats import resampling
from metareg_sm.stats.batch import BlockFit
from metareg_sm.stats.covariance import COVARIANCES

Seed = int | np.random.Generator | None


def refit_of(results: Any) -> resampling.Refit:
    """How a fit is repeated on resamples.

    Raises
    ------
    OptionError
        If the fit has an option that cannot be carried over.
    """
    covariance = COVARIANCES[results.cov_type.lower()]
    if covariance.factor is None:
        raise OptionError(
            f"Resampling needs cov_type 'knapp-hartung', 'knapp-hartung-adhoc' or 'nonrobust'; "
            f"this fit has {results.cov_type!r}."
        )
    if results._genq_weights is not None:
        raise OptionError("Resampling does not carry over weights=; fit without them.")
    basis = results.model._basis
    if basis.redundant:
        raise DesignError(
            f"Resampling needs moderators that are not redundant; see {results.redundant}."
        )
    estimator = results._tau2_fit.estimator
    return resampling.Refit(basis, estimator, results.tau2, covariance.factor)


def whole_number(n: Any, name: str) -> int:
    """Check a number of resamples.

    Raises
    ------
    OptionError
        If it is not a whole number of at least 1.
    """
    if isinstance(n, bool) or not isinstance(n, Integral) or n < 1:
        raise OptionError(f"{name} must be a whole number >= 1; got {n!r}.")
    return int(n)


@dataclass(frozen=True)
class PermutationTest:
    """Permutation test of the coefficients.

    Attributes
    ----------
    statistic, pvalues, pvalues_fwer : Series, (p,)
        t statistics, two-sided p-values, and p-values by the maximum of |t| over all moderators,
        which control the chance of any false positive (Higgins & Thompson, 2004). The constant is
        no moderator: its adjusted p-value is its own.
    omnibus_statistic, omnibus_pvalue : float
        Wald statistic of all moderators over their number; NaN without moderators.
    null_distribution : ndarray, (n, p)
        t statistics of the resamples.
    omnibus_null : ndarray, (n,)
        Omnibus statistics of the resamples.
    n_resamples : int
        Resamples n.
    exact : bool
        They are all the distinct ones that there are.
    method : {"rows", "residuals", "signs"}
        What was permuted.
    """

    statistic: pd.Series
    pvalues: pd.Series
    pvalues_fwer: pd.Series
    omnibus_statistic: float
    omnibus_pvalue: float
    null_distribution: Array
    omnibus_null: Array
    n_resamples: int
    exact: bool
    method: str

    def summary_frame(self) -> pd.DataFrame:
        """Columns statistic, pvalue and pvalue_fwer, one row a coefficient."""
        return pd.DataFrame(
            {
                "statistic": self.statistic,
                "pvalue": self.pvalues,
                "pvalue_fwer": self.pvalues_fwer,
            }
        )


def permutation_test(results: Any, n_resamples: int, method: str, rng: Seed) -> PermutationTest:
    """Permutation test; see `MetaRegResults.permutation_test`."""
    n = whole_number(n_resamples, "n_resamples")
    if method not in ("rows", "residuals"):
        raise OptionError(f"method={method!r} is not known. Choose 'rows' or 'residuals'.")
    refit = refit_of(results)
    generator = np.random.default_rng(rng)
    model = results.model
    y, v, X = model.endog, model.vi, model.exog
    k, p = X.shape
    contrasts = results._omnibus_contrasts()
    constant = model.data.const_idx
    moderators = [j for j in range(p) if j != constant]
    exact = False
    observed = np.abs(np.asarray(results.tvalues))
    omnibus = float(refit.wald(_as_block(results), contrasts)[0]) if len(contrasts) else np.nan
    if not len(contrasts):
        method, exact = "signs", k < 63 and 2**k <= n
        if exact:
            bits = (np.arange(2**k)[:, None] >> np.arange(k)) & 1
        else:
            bits = generator.integers(0, 2, size=(n, k))
        signs = np.where(bits == 1, -1.0, 1.0)
        null = resampling.flip_signs(y, v, refit, signs)
    elif method == "rows":
        labels = np.unique(X, axis=0, return_inverse=True)[1].reshape(-1)
        exact = resampling.count_arrangements(labels) <= n
        if exact:
            orders = resampling.orders_of(resampling.all_arrangements(labels), labels)
        else:
            orders = resampling.random_orders(n, k, generator)
        null = resampling.permute_rows(y, v, refit, contrasts, orders)
    else:
        exact = factorial(k) <= n
        orders = (
            resampling.all_arrangements(np.arange(k))
            if exact
            else resampling.random_orders(n, k, generator)
        )
        null = _freedman_lane(results, refit, contrasts, orders)
    absolute = np.abs(null.t)
    pvalues = resampling.permutation_pvalue(absolute, observed, exact)
    adjusted = pvalues.copy()
    if moderators:
        largest = absolute[:, moderators].max(axis=1)[:, None]
        adjusted[moderators] = resampling.permutation_pvalue(largest, observed[moderators], exact)
    names = model.data.param_names
    omnibus_p = np.nan
    if len(contrasts):
        omnibus_p = float(resampling.permutation_pvalue(null.omnibus, np.asarray(omnibus), exact))
    return PermutationTest(
        pd.Series(np.asarray(results.tvalues), index=names),
        pd.Series(pvalues, index=names),
        pd.Series(adjusted, index=names),
        omnibus,
        omnibus_p,
        null.t,
        null.omnibus,
        len(null.t),
        exact,
        method,
    )


def _as_block(results: Any) -> BlockFit:
    """The fit itself as a block of one."""
    refit = refit_of(results)
    return refit(
        results.model.endog[None], np.broadcast_to(results.model.vi, (1, len(results.model.vi)))
    )


def _freedman_lane(
    results: Any, refit: resampling.Refit, contrasts: Array, orders: npt.NDArray[np.intp]
) -> resampling.NullDistribution:
    model = results.model
    y, v, X = model.endog, model.vi, model.exog
    p = X.shape[1]
    without = [design_basis(np.delete(X, j, axis=1)) for j in range(p)]
    null = results._null_basis()
    fits = resampling.permute_residuals(y, v, refit, [*without, null], orders)
    t = np.column_stack([refit.t_statistics(fits[j])[:, j] for j in range(p)])
    return resampling.NullDistribution(t, refit.wald(fits[-1], contrasts))


@dataclass(frozen=True)
class Gosh:
    """Fits of subsets of the studies: graphical display of study heterogeneity.

    Attributes
    ----------
    frame : DataFrame
        One row a subset: size, the coefficients, tau2, i2 and q.
    subsets : ndarray of bool, (n, k)
        Which studies each subset has.
    exhaustive : bool
        All subsets of at least the smallest size are there.
    n_failed : int
        Subsets that are left out: their moderators are redundant, or a variance of 0 leaves I2
        and Q undefined.
    """

    frame: pd.DataFrame
    subsets: npt.NDArray[np.bool_]
    exhaustive: bool
    n_failed: int

    def plot_data(
        self, x: str = "i2", y: str | None = None, study: int | None = None
    ) -> pd.DataFrame:
        """What a GOSH plot shows.

        Parameters
        ----------
        x, y : str
            Columns of `frame`; `y` is the first coefficient by default.
        study : int, optional
            Position of a study whose presence is to be coloured.

        Returns
        -------
        DataFrame
            Columns x and y, and `included` where a study is given.
        """
        y = self.frame.columns[1] if y is None else y
        unknown = [c for c in (x, y) if c not in self.frame.columns]
        if unknown:
            raise OptionError(f"{unknown[0]!r} is no column. There are {list(self.frame.columns)}.")
        data = self.frame[[x, y]].copy()
        if study is not None:
            data["included"] = self.subsets[:, study]
        return data


def _random_subsets(
    n: int, k: int, smallest: int, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Subsets of at least `smallest` of k studies, each as likely as any other."""
    sizes = np.arange(smallest, k + 1)
    log_number = (
        special.gammaln(k + 1) - special.gammaln(sizes + 1) - special.gammaln(k - sizes + 1)
    )
    size = rng.choice(sizes, size=n, p=special.softmax(log_number))
    rank = rng.permuted(np.broadcast_to(np.arange(k), (n, k)), axis=1)
    return rank < size[:, None]


def gosh(
    results: Any, n_subsets: int = 1_000_000, min_size: int | None = None, rng: Seed = None
) -> Gosh:
    """Refit a model to all subsets of its studies, or to a random sample of them.

    Parameters
    ----------
    results : MetaRegResults
        A fit.
    n_subsets : int, default 1,000,000
        Fit all subsets if there are at most so many, else a random sample of this size.
    min_size : int, optional
        Studies of the smallest subset; p + 1 by default.
    rng : int or Generator, optional
        Seed of the random sample.

    Returns
    -------
    Gosh

    Raises
    ------
    OptionError
        If a size is impossible or the fit has options that cannot be carried over.

    References
    ----------
    Olkin, I., Dahabreh, I. J., & Trikalinos, T. A. (2012). GOSH - a graphical display of study
    heterogeneity. Research Synthesis Methods, 3(3), 214-223.

    Examples
    --------
    >>> import metareg_sm
    >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
    >>> res = metareg_sm.MetaReg.from_formula("yi ~ 1", bcg, vi="vi").fit()
    >>> len(metareg_sm.gosh(res).frame)
    8178
    """
    results = getattr(results, "_results", results)
    refit, model = refit_of(results), results.model
    y, v = model.endog, model.vi
    k, p = model.exog.shape
    n = whole_number(n_subsets, "n_subsets")
    smallest = p + 1 if min_size is None else whole_number(min_size, "min_size")
    if not p < smallest <= k:
        raise OptionError(f"min_size must be from {p + 1} to {k}; got {smallest}.")
    exhaustive = k < 63 and 2**k <= 4 * n
    if exhaustive:
        bits = ((np.arange(2**k)[:, None] >> np.arange(k)) & 1).astype(bool)
        bits = bits[bits.sum(axis=1) >= smallest]
        exhaustive = len(bits) <= n
    if not exhaustive:
        bits = _random_subsets(n, k, smallest, np.random.default_rng(rng))
    parts = []
    for rows in resampling.blocks(*bits.shape):
        counts = bits[rows].astype(float)
        fit = resampling.refit_counts(y, v, refit, counts)
        # I2 and Q are NaN for a subset that has a study with a variance of 0
        parts.append(np.column_stack([fit.params, fit.tau2, fit.i2, fit.q]))
    table = np.concatenate(parts)
    keep = ~np.isnan(table).any(axis=1)
    frame = pd.DataFrame(table[keep], columns=[*model.data.param_names, "tau2", "i2", "q"])
    frame.insert(0, "size", bits[keep].sum(axis=1))
    return Gosh(frame, bits[keep], exhaustive, int((~keep).sum()))
