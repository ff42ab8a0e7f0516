"""Rubin's rules for fits of the same model to completed data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from scipy import special

from metareg_sm._typing import Array
from metareg_sm.design.terms import Terms
from metareg_sm.exceptions import ComparisonError, DesignError, OptionError
from metareg_sm.options import check_alpha
from metareg_sm.postestimation.fitted import Fitted, Labelled, plain
from metareg_sm.postestimation.inference import constraints
from metareg_sm.postestimation.prediction import MetaRegPrediction
from metareg_sm.printing import Printed
from metareg_sm.stats.reference import interval, two_sided_pvalue
from metareg_sm.stats.rubin import d1_df, pooled_df, rubin

__all__ = ["PooledResults", "PooledTest", "pool"]


class Poolable(Fitted, Protocol):
    """A fit that predicts."""

    def get_prediction(self, exog: Any = None, transform: Any = True, **options: Any) -> Any:
        """Predicted effects, as `MetaRegPrediction`."""


@dataclass(frozen=True, slots=True, repr=False)
class PooledTest(Printed):
    """Joint test of linear hypotheses by Rubin's rules (D1).

    Attributes
    ----------
    statistic, pvalue : float
        F, and its upper tail probability.
    df_num, df_denom : float
        Degrees of freedom.
    riv : float
        Average relative increase of the variance for what is missing.
    """

    statistic: float
    pvalue: float
    df_num: int
    df_denom: float
    riv: float


class PooledResults:
    """Fits of the same model to completed data sets, pooled by Rubin's rules.

    Attributes
    ----------
    params, bse, tvalues, pvalues, df : Series, (p,)
        Pooled coefficients, their standard errors, ratios, two-sided p-values and Barnard-Rubin
        degrees of freedom.
    fmi, riv : Series, (p,)
        Fraction of missing information; relative increase of the variance.
    components : DataFrame
        Columns estimate, se and fmi: one row a variance, a correlation or a coefficient of ln tau2,
        each pooled on the scale on which the fits report it. Variances are not pooled by their
        logarithms, which are infinite for an estimate of 0.
    tau2, tau2_se : float
        Pooled heterogeneity, in squared units of the outcome: of all terms together where effects
        are dependent, the mean over the studies in a location-scale model, which has no standard
        error of it (NaN; those of ln tau2 are in `components`).
    n_imputations : int
        Completed data sets m.
    nobs : float
        Studies, or effects where these are dependent.

    Notes
    -----
    The degrees of freedom of complete data, which Barnard & Rubin's start from, are those of the
    tests of the single fits: k - p, those that a random structure leaves ("contain"), or
    Satterthwaite's, then the mean over the fits.
    """

    def __init__(self, fits: Sequence[Poolable]) -> None:
        self._fits = tuple(fits)
        first = fits[0]
        self.n_imputations, self.nobs = len(fits), first.nobs
        self._rows = "effects" if hasattr(first, "random_terms") else "studies"
        names = pd.Index(first.terms.names)
        self._params = np.stack([np.asarray(f.params) for f in fits])
        self._covs = np.stack([np.asarray(f.cov_params()) for f in fits])
        variances = np.diagonal(self._covs, axis1=1, axis2=2)
        found = rubin(self._params, variances, self._complete_df(None))
        self.params = pd.Series(found.estimate, names)
        self.bse = pd.Series(np.sqrt(found.variance), names)
        self.df = pd.Series(found.df, names)
        self.tvalues = self.params / self.bse
        self.pvalues = pd.Series(two_sided_pvalue(self.tvalues.to_numpy(), found.df), names)
        self.riv, self.fmi = pd.Series(found.riv, names), pd.Series(found.fmi, names)
        parts = [f.components for f in fits]
        spread = rubin(
            np.stack([c.values for c in parts]), np.stack([c.se**2 for c in parts]), np.inf
        )
        self.components = pd.DataFrame(
            {"estimate": spread.estimate, "se": np.sqrt(spread.variance), "fmi": spread.fmi},
            pd.Index(parts[0].names),
        )
        tau2 = np.array([[f.between_variance] for f in fits])
        errors = [[getattr(f, "tau2_se", np.nan) ** 2] for f in fits]
        total = rubin(tau2, np.array(errors), np.inf)
        self.tau2, self.tau2_se = float(total.estimate[0]), float(np.sqrt(total.variance[0]))

    def _complete_df(self, contrasts: Array | None) -> float | Array:
        """Degrees of freedom of complete data, of each contrast; infinite for normal tests."""
        found = [f.contrast_df(contrasts) for f in self._fits]
        if found[0] is None:
            return np.inf
        mean: Array = np.mean(np.stack([np.asarray(df, dtype=float) for df in found]), axis=0)
        return mean

    @property
    def _terms(self) -> Terms:
        # made anew by the fit, for formula engines cannot pickle what is in it
        return self._fits[0].terms

    def __repr__(self) -> str:
        return (
            f"<PooledResults: {self.n_imputations} imputations, {self.nobs:g} {self._rows}, "
            f"{len(self.params)} coefficients>"
        )

    def _repr_html_(self) -> str:
        return self.summary_frame().to_html()

    def cov_params(self) -> pd.DataFrame:
        """Total covariance of the coefficients, (p, p)."""
        m = self.n_imputations
        between = np.atleast_2d(np.cov(self._params, rowvar=False))
        total = self._covs.mean(0) + (1.0 + 1.0 / m) * between
        return pd.DataFrame(total, self.params.index, self.params.index)

    def conf_int(self, alpha: float = 0.05) -> pd.DataFrame:
        """Confidence intervals of the coefficients.

        Parameters
        ----------
        alpha : float, default 0.05
            1 minus the coverage.

        Returns
        -------
        DataFrame, (p, 2)
        """
        ends = interval(
            self.params.to_numpy(), self.bse.to_numpy(), check_alpha(alpha), self.df.to_numpy()
        )
        return pd.DataFrame(ends, self.params.index)

    def summary_frame(self, alpha: float = 0.05) -> pd.DataFrame:
        """Coefficient table.

        Parameters
        ----------
        alpha : float, default 0.05
            1 minus the coverage of the intervals.

        Returns
        -------
        DataFrame
            Columns coef, se, statistic, df, pvalue, ci_lower, ci_upper, fmi.
        """
        ends = self.conf_int(alpha)
        return pd.DataFrame(
            {
                "coef": self.params,
                "se": self.bse,
                "statistic": self.tvalues,
                "df": self.df,
                "pvalue": self.pvalues,
                "ci_lower": ends[0],
                "ci_upper": ends[1],
                "fmi": self.fmi,
            }
        )

    def wald_test(self, r_matrix: Any) -> PooledTest:
        """Joint test of linear hypotheses Rb = q: D1 of Li, Raghunathan & Rubin (1991).

        Parameters
        ----------
        r_matrix : array_like, str or tuple
            Hypotheses, as statsmodels' `f_test` takes them.

        Returns
        -------
        PooledTest
            A single hypothesis has Barnard-Rubin degrees of freedom, several have Reiter's (2007).
        """
        R, q = constraints(r_matrix, list(self.params.index))
        m, k = self.n_imputations, len(R)
        gaps = self._params @ R.T - q
        within = R @ self._covs.mean(0) @ R.T
        between = np.atleast_2d(np.cov(gaps, rowvar=False))
        r = (1.0 + 1.0 / m) * float(np.trace(np.linalg.solve(within, between))) / k
        gap = gaps.mean(0)
        statistic = float(gap @ np.linalg.solve(within, gap)) / (k * (1.0 + r))
        complete = float(np.min(self._complete_df(R)))
        if k == 1:
            df = float(pooled_df(np.array(r / (1.0 + r)), m, complete))
        else:
            df = d1_df(k, m, r, complete)
        tail = special.fdtrc(k, df, statistic) if df < np.inf else special.chdtrc(k, k * statistic)
        return PooledTest(statistic, float(tail), k, df, r)

    f_test = wald_test

    @property
    def omnibus(self) -> PooledTest:
        """Joint test of all coefficients but the constant.

        Raises
        ------
        DesignError
            If there is no moderator.
        """
        rows = np.delete(
            np.eye(len(self.params)),
            [] if self._terms.constant is None else self._terms.constant,
            axis=0,
        )
        if not len(rows):
            raise DesignError("The model has no moderator to test.")
        return self.wald_test(rows)

    def get_prediction(
        self,
        exog: Any = None,
        transform: bool | str | Callable[[Array], Array] = True,
        **options: Any,
    ) -> MetaRegPrediction:
        """Predict mean effects, and the true effects of new studies.

        Parameters
        ----------
        exog : DataFrame, dict or array_like, optional
            Moderators of the new studies, in the terms of the formula where there was one; by
            default each fit's own.
        transform : bool, "natural" or callable, default True
            As in the prediction of a single fit.
        **options
            What else `get_prediction` of a single fit takes, such as `level` or `scale_exog`.

        Returns
        -------
        MetaRegPrediction
            Each row is pooled by Rubin's rules; the prediction interval adds the mean of the fits'
            variances of true effects.
        """
        # stateful transforms depend on the completed data
        single = [f.get_prediction(exog, transform, **options) for f in self._fits]
        means, variances, between = (
            np.stack([np.broadcast_to(getattr(p, name), p.predicted_mean.shape) for p in single])
            for name in ("predicted_mean", "var_pred_mean", "var_resid")
        )
        pooled = []
        for name in ("df", "df_obs"):
            dfs = [getattr(p, name) for p in single]
            complete = np.inf if dfs[0] is None else np.mean(np.stack(dfs), axis=0)
            pooled.append(rubin(means, variances, complete))
        mean, obs = pooled
        return MetaRegPrediction(
            mean.estimate,
            mean.variance,
            between.mean(0),
            mean.df,
            obs.df,
            single[0].row_labels,
            single[0].transform,
        )


def pool(results: Iterable[Poolable | Labelled[Poolable]]) -> PooledResults:
    """Pool fits of the same model to completed data sets by Rubin's rules.

    Parameters
    ----------
    results : list of results, or Imputations
        At least two fits of `metareg`, `mixedmetareg` or `lsmetareg` with the same coefficients and
        variance components.

    Returns
    -------
    PooledResults
        params, bse, tvalues, pvalues, df, components, tau2; `wald_test`, `get_prediction`,
        `summary_frame`.

    Raises
    ------
    ComparisonError
        If there are fewer than two fits, or they differ in their model, their coefficients or
        variance components, how these were estimated, their number of studies, or their type of
        covariance.

    References
    ----------
    Rubin, D. B. (1987). Multiple Imputation for Nonresponse in Surveys. Wiley.

    Barnard, J., & Rubin, D. B. (1999). Small-sample degrees of freedom with multiple imputation.
    Biometrika, 86(4), 948-955.

    Li, K. H., Raghunathan, T. E., & Rubin, D. B. (1991). Large-sample significance levels from
    multiply imputed data using moment-based statistics and an F reference distribution. Journal
    of the American Statistical Association, 86(416), 1065-1073.

    Reiter, J. P. (2007). Small-sample degrees of freedom for multi-component significance tests
    with multiple imputation for missing data. Biometrika, 94(2), 502-508.

    Examples
    --------
    >>> import metareg_sm
    >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
    >>> bcg.loc[[2, 7], "ablat"] = float("nan")
    >>> made = metareg_sm.impute(bcg, "yi ~ ablat + year", vi="vi", n_imputations=5, rng=1)
    >>> pooled = metareg_sm.pool(made)
    >>> pooled
    <PooledResults: 5 imputations, 13 studies, 3 coefficients>
    """
    try:
        fits = [plain(r) for r in results]
    except TypeError as error:
        raise OptionError(f"pool takes a list of fits; got {type(results).__name__}.") from error
    for r in fits:
        if not (hasattr(r, "components") and hasattr(r, "terms")):
            raise OptionError(
                f"pool takes fits of metareg, mixedmetareg or lsmetareg; got {type(r).__name__}."
            )
    if len(fits) < 2:
        raise ComparisonError(f"Rubin's rules need at least two fits; got {len(fits)}.")
    first = fits[0]
    for number, r in enumerate(fits[1:], start=2):
        for what, a, b in (
            ("models", first.model_name, r.model_name),
            ("coefficients", first.terms.names, r.terms.names),
            ("numbers of studies", first.nobs, r.nobs),
            ("types of covariance", first.cov_type, r.cov_type),
            ("estimators", first.method, r.method),
            ("variance components", first.components.names, r.components.names),
        ):
            if a != b:
                raise ComparisonError(f"Fits 1 and {number} have different {what}: {a} and {b}.")
    return PooledResults(fits)
