"""Results of a location-scale meta-regression."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import statsmodels.base.wrapper as wrap

from metareg_sm._typing import Array, PermutationScheme, Seed
from metareg_sm.design.terms import refuse_missing
from metareg_sm.exceptions import DesignError, MetaRegError
from metareg_sm.postestimation.prediction import MetaRegPrediction, predict_effects
from metareg_sm.postestimation.scale import ScaleHeterogeneity, heterogeneity
from metareg_sm.report.tables import Block, Grid
from metareg_sm.results.inherited import Unavailable
from metareg_sm.results.scale import ScaleEstimate, ScaleResults
from metareg_sm.results.wrapper import ModelResultsWrapper

if TYPE_CHECKING:
    from metareg_sm.postestimation.scale_permutation import ScalePermutationTest

__all__ = ["LocationScaleResults", "LocationScaleResultsWrapper", "ScaleEstimate"]


class LocationScaleResults(ScaleResults):
    """Results of a location-scale meta-regression.

    `params` holds the coefficients of the mean; those of ln tau2 are `scale_params`.
    """

    bootstrap = Unavailable("statsmodels' refits without the sampling variances.")

    _heading = "Location-Scale Meta-Regression"

    def _compute_heterogeneity(self) -> ScaleHeterogeneity:
        return heterogeneity(self)

    @property
    def heterogeneity(self) -> ScaleHeterogeneity:
        """Q, I2, H2 and R2 of the mean heterogeneity; see `ScaleHeterogeneity`.

        Raises
        ------
        VarianceError, DesignError
            If they are undefined.
        """
        return super().heterogeneity

    @property
    def tau2(self) -> pd.Series:
        """Fitted heterogeneity of each study, (k,), in squared units of the outcome."""
        return pd.Series(self._scale_estimate.tau2, index=self.table.rows.labels, name="tau2")

    @property
    def between_variance(self) -> float:
        """Mean of the fitted heterogeneity; predictions have their own."""
        return float(self._scale_estimate.tau2.mean())

    def predict_tau2(self, exog: Any = None, transform: bool = True) -> Array:
        """Heterogeneity at given moderators of the scale.

        Parameters
        ----------
        exog : DataFrame, dict or array_like, optional
            Moderators of the scale; those of the studies by default.
        transform : bool, default True
            Pass `exog` through the scale formula.

        Returns
        -------
        ndarray, (n,)
        """
        if exog is None:
            return self._scale_estimate.tau2
        rows, labels = self.scale_terms.new_rows(exog, transform)
        refuse_missing(rows, labels)
        return np.exp(rows @ self._scale_estimate.alpha)

    def get_prediction(
        self,
        exog: Any = None,
        transform: bool | str | Callable[[Array], Array] = True,
        row_labels: Sequence[Hashable] | None = None,
        df: float | str | None = None,
        scale_exog: Any = None,
    ) -> MetaRegPrediction:
        """Predict mean effects, and true effects of new studies with their own heterogeneity.

        Parameters
        ----------
        exog : DataFrame, dict or array_like, optional
            Moderators of the new studies; by formulas those of the mean and of the scale. The
            studies of the model by default.
        transform, row_labels, df
            As for `MetaReg`.
        scale_exog : DataFrame, dict or array_like, optional
            Moderators of the scale where `exog` does not hold them, as in a model of arrays.

        Returns
        -------
        MetaRegPrediction

        Raises
        ------
        DesignError
            If moderators of the scale are not there, or not of as many rows.
        """
        through = True if callable(transform) else bool(transform)
        terms = self.scale_terms
        given = scale_exog
        if given is None and exog is not None and terms.spec is not None and through:
            given = exog
        if given is None and exog is not None:
            if len(terms.names) > 1 or terms.constant is None:
                raise DesignError("Give the moderators of the scale as scale_exog=.")
            between: Array = np.exp(self._scale_estimate.alpha)
        else:
            between = self.predict_tau2(given, through)
        found = predict_effects(self, exog, transform, row_labels, df, between)
        if len(between) not in (1, len(found.predicted_mean)):
            raise DesignError(
                f"scale_exog has {len(between)} rows, and exog {len(found.predicted_mean)}."
            )
        return found

    def permutation_test(
        self, n_resamples: int = 9999, rng: Seed = None, method: PermutationScheme = "rows"
    ) -> ScalePermutationTest:
        """Permutation tests of the moderators of the mean and of those of the heterogeneity.

        Both parts are estimated anew in each resample, all resamples together.

        Parameters
        ----------
        n_resamples : int, default 9999
            Random permutations for each part; where a part has at most so many distinct ones, all
            are listed and its test is exact.
        rng : int or Generator, optional
            Seed of the random permutations.
        method : {"rows", "residuals"}
            Permute whole rows of the moderators of one part, those of the other part staying where
            they are; or for each coefficient the residuals of the model without it, standardised
            by sqrt(v + tau2) (Freedman & Lane, 1983). A mean without moderators is tested by
            changing the signs of the outcomes.

        Returns
        -------
        ScalePermutationTest
            `pvalues`, `pvalues_fwer`, `omnibus_pvalue`, `null_distribution` and `exact` of the
            mean; `scale_pvalues` and so on of ln tau2.

        Raises
        ------
        OptionError
            If `cov_type` has no factor that carries over, or an option is not known.
        DesignError
            If moderators are redundant.

        Warns
        -----
        ConvergenceWarning
            If resamples could not be fitted; they count as extreme.

        Notes
        -----
        Rows permute a part as if its moderators had nothing to do with all else. Where one
        moderator stands in both parts, or goes along with the sampling variances, "residuals" is
        the better choice. That of the constant of ln tau2 tests tau2 = 1 where moderators are 0,
        and depends on the unit of the outcome.

        References
        ----------
        Higgins, J. P. T., & Thompson, S. G. (2004). Controlling the risk of spurious findings from
        meta-regression. Statistics in Medicine, 23(11), 1663-1682. Follmann, D. A., & Proschan,
        M. A. (1999). Valid inference in random effects meta-analysis. Biometrics, 55(3), 732-737.

        Examples
        --------
        >>> import metareg_sm
        >>> writing = metareg_sm.datasets.bangertdrowns2004.load_pandas().data
        >>> model = metareg_sm.LocationScaleMetaReg.from_formula(
        ...     "yi ~ 1", writing, vi="vi", scale_formula="~ grade"
        ... )
        >>> bool(model.fit().permutation_test(99, rng=1).scale_pvalues["grade"] > 0.5)
        True
        """
        from metareg_sm.postestimation.scale_permutation import permutation_test

        return permutation_test(self, n_resamples, method, rng)

    # --- tables --------------------------------------------------------------------------------

    def scale_frame(self, alpha: float = 0.05) -> pd.DataFrame:
        """Coefficients of the scale.

        Parameters
        ----------
        alpha : float, default 0.05
            1 minus the coverage of the intervals.

        Returns
        -------
        DataFrame
            Columns coef, se, statistic, pvalue, ci_lower, ci_upper.
        """
        ends = self.scale_conf_int(alpha)
        return pd.DataFrame(
            {
                "coef": self.scale_params,
                "se": self.scale_bse,
                "statistic": self.scale_tvalues,
                "pvalue": self.scale_pvalues,
                "ci_lower": ends[0],
                "ci_upper": ends[1],
            }
        )

    def _blocks(self, alpha: float) -> list[Block | Grid]:
        frame = self.scale_frame(alpha)
        letter = "t" if self.use_t else "z"
        tail = f"{alpha / 2.0:.3g}"
        header = ["coef", "std err", letter, f"P>|{letter}|", f"[{tail}", f"{1 - alpha / 2:.3g}]"]
        cells = [
            [f"{row.coef:.4f}", *(f"{x:.3f}" for x in list(row)[1:])]
            for row in frame.itertuples(index=False)
        ]
        tau2 = self._scale_estimate.tau2
        block = Block(
            "Fitted tau2",
            [("Smallest:", [f"{tau2.min():#.5g}"]), ("Mean:", [f"{tau2.mean():#.5g}"])],
            [("Largest:", [f"{tau2.max():#.5g}"]), *self._q_items()],
        )
        return [Grid("ln tau2", header, list(self._scale_index), cells), block]

    def _q_items(self) -> list[tuple[str, list[str]]]:
        found = self._heterogeneity
        if isinstance(found, MetaRegError):
            return [("Q_E:", ["undefined"])]
        return [(f"Q_E (df={found.q_df}):", [f"{found.q:#.5g}"])]

    @property
    def default_model_infos(self) -> dict[str, Callable[[Any], str]]:
        """Rows that `summary_col` adds below the coefficients."""

        def coefficient(i: int) -> Callable[[Any], str]:
            return lambda x: f"{x.components.values[i]:.4f}"

        return {
            **{name: coefficient(i) for i, name in enumerate(self.components.names)},
            "k": lambda x: f"{int(x.nobs)}",
        }


class LocationScaleResultsWrapper(ModelResultsWrapper):
    """Results with pandas labels."""


wrap.populate_wrapper(LocationScaleResultsWrapper, LocationScaleResults)
