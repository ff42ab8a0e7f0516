"""Predicted effects with confidence and prediction intervals."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from metareg_sm._compat import PredictionResults
from metareg_sm._typing import Array, Side
from metareg_sm.design.terms import refuse_missing
from metareg_sm.exceptions import OptionError
from metareg_sm.options import check_alpha, finite_number
from metareg_sm.postestimation.fitted import Fitted
from metareg_sm.printing import Overview, Printed
from metareg_sm.stats.reference import critical_value, tail_probability


class MetaRegPrediction(PredictionResults, Printed):
    """Mean effects at given moderators, and the true effects of new studies there.

    Attributes
    ----------
    predicted_mean, se_mean : ndarray, (n,)
        Expected effect and its standard error.
    se_obs : ndarray, (n,)
        Standard deviation of the true effect of a new study about `predicted_mean`:
        sqrt(se_mean^2 + tau2).
    df, df_obs : float, ndarray or None
        Degrees of freedom of the two intervals; None for the normal distribution.
    """

    def __init__(
        self,
        predicted_mean: Array,
        var_pred_mean: Array,
        tau2: float | Array,
        df: float | Array | None,
        df_obs: float | Array | None,
        row_labels: Sequence[Hashable] | pd.Index | None,
        transform: Callable[[Array], Array] | None = None,
    ) -> None:
        super().__init__(
            predicted_mean,
            var_pred_mean,
            tau2,
            df=df,
            dist="norm" if df is None else "t",
            row_labels=row_labels,
        )
        self.df_obs = df_obs
        self.transform = transform

    def overview(self) -> Overview:
        """What is printed."""
        note = "mean_ci is of the mean effect, obs_ci of the true effect of a new study."
        frame = self.summary_frame()
        return Overview(f"Predictions for {len(frame)} studies, 95 %", (), frame, note)

    def conf_int(self, obs: bool = False, alpha: float = 0.05) -> Array:
        """Interval for the mean effect, or with `obs` for the true effect of a new study.

        Parameters
        ----------
        obs : bool, default False
            Prediction interval instead of confidence interval.
        alpha : float, default 0.05
            1 minus the coverage.

        Returns
        -------
        ndarray, (n, 2)
        """
        check_alpha(alpha)
        se, df = (self.se_obs, self.df_obs) if obs else (self.se_mean, self.df)
        half = critical_value(alpha, df) * se
        return np.column_stack([self.predicted_mean - half, self.predicted_mean + half])

    def summary_frame(
        self, alpha: float = 0.05, transform: Callable[[Array], Array] | None = None
    ) -> pd.DataFrame:
        """Predictions as a table.

        Parameters
        ----------
        alpha : float, default 0.05
            1 minus the coverage.
        transform : callable, optional
            Monotone function of effects and interval ends, such as `numpy.exp` for log ratios;
            `mean_se` then drops out, being on another scale. By default what `get_prediction` was
            given.

        Returns
        -------
        DataFrame
            Columns mean, mean_se, mean_ci_lower, mean_ci_upper, obs_ci_lower, obs_ci_upper.
        """
        frame = super().summary_frame(check_alpha(alpha))
        transform = self.transform if transform is None else transform
        if transform is None:
            return frame
        changed = frame.drop(columns="mean_se").transform(transform)
        for kind in ("mean", "obs"):
            ends = changed[[f"{kind}_ci_lower", f"{kind}_ci_upper"]].to_numpy()
            # a falling transformation swaps the ends
            changed[f"{kind}_ci_lower"], changed[f"{kind}_ci_upper"] = np.sort(ends, axis=1).T
        return changed

    def prob_beyond(self, threshold: float, side: Side = "above") -> pd.Series:
        """Probability that the true effect of a new study is beyond a threshold.

        Parameters
        ----------
        threshold : float
            In units of the outcome.
        side : {"above", "below"}
            Which side counts.

        Returns
        -------
        Series, (n,)

        Raises
        ------
        OptionError
            If the side is unknown.
        """
        threshold = finite_number(threshold, "threshold")
        if side not in ("above", "below"):
            raise OptionError(f"side={side!r} is not known. Choose 'above' or 'below'.")
        values = tail_probability(
            self.predicted_mean, self.se_obs, threshold, self.df_obs, side == "above"
        )
        return pd.Series(values, index=self.row_labels, name=f"P({side} {threshold:g})")


def new_rows(fit: Fitted, exog: Any, transform: bool) -> tuple[Array, pd.Index | None]:
    """Rows of the design for new moderators, and their labels; those of the studies by default.

    Raises
    ------
    DesignError
        If columns do not match, a factor has a level that the model does not know, or a value is
        missing or infinite.
    """
    if exog is None:
        table = fit.table
        return table.exog, table.rows.labels
    rows, labels = fit.terms.new_rows(exog, transform)
    refuse_missing(rows, labels)
    return rows, labels


def predict(fit: Fitted, exog: Any, transform: bool) -> Any:
    """Expected effects as statsmodels' `predict` gives them: a Series where there are labels.

    A row with a missing moderator has NaN.
    """
    if exog is None:
        return fit.fittedvalues
    if isinstance(exog, Mapping) and fit.terms.spec is not None:
        # statsmodels' predict takes mappings with this warning, and its own tests look for it
        warnings.warn(
            f"Using {type(exog).__name__} data structures with predict is deprecated in "
            "statsmodels; use a DataFrame, or get_prediction.",
            DeprecationWarning,
            stacklevel=3,
        )
    rows, labels = fit.terms.new_rows(exog, transform)
    mean = rows @ np.asarray(fit.params)
    return mean if labels is None else pd.Series(mean, index=labels)


def _outward(
    fit: Fitted, transform: bool | str | Callable[[Array], Array]
) -> Callable[[Array], Array] | None:
    """The function that effects are shown through, if `transform` names or is one."""
    if not isinstance(transform, str):
        return transform if callable(transform) else None
    if transform.lower() != "natural":
        raise OptionError(
            f"transform={transform!r} is not known. Choose True, False, 'natural' or a function, "
            "such as numpy.exp."
        )
    measure = fit.measure
    if measure is None:
        raise OptionError(
            "transform='natural' needs outcomes that effect_size() computed: the table of this "
            f"model does not say what {fit.terms.outcome} measures. Give a function instead, such "
            "as numpy.exp for log ratios."
        )
    return measure.natural


def predict_effects(
    fit: Fitted,
    exog: Any,
    transform: bool | str | Callable[[Array], Array],
    row_labels: Sequence[Hashable] | pd.Index | None,
    df: float | str | None,
    between: float | Array | None = None,
) -> MetaRegPrediction:
    """Predictions of a fit; see `get_prediction` of its results.

    `between` is the variance of true effects about their expectation, where it differs by row.
    """
    outward = _outward(fit, transform)
    rows, labels = new_rows(fit, exog, True if outward else bool(transform))
    mean_df = fit.contrast_df(rows)
    obs_df = mean_df
    if df == "riley":
        obs_df = fit.df_resid - 1.0
        if obs_df <= 0:
            raise OptionError("df='riley' is k - p - 1 and needs at least p + 2 studies.")
    elif df is not None:
        number = isinstance(df, Real) and not isinstance(df, (bool, np.bool_))
        if isinstance(df, str) or not number or not np.isfinite(df) or df <= 0:
            raise OptionError(f"df must be 'riley' or a number > 0; got {df!r}.")
        mean_df = obs_df = float(df)
    return MetaRegPrediction(
        rows @ np.asarray(fit.params),
        fit.contrast_se(rows) ** 2,
        fit.between_variance if between is None else between,
        mean_df,
        obs_df,
        labels if row_labels is None else row_labels,
        outward,
    )
