"""Small-study effects and publication bias."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from metareg_sm.results.tau2 import Tau2Results

if TYPE_CHECKING:
    from metareg_sm.postestimation.small_study import (
        ExcessSignificanceTest,
        RankCorrelationTest,
        SelectionResults,
        TrimAndFill,
    )


class SmallStudyResults(Tau2Results):
    """Small studies and publication bias where studies are independent."""

    def rank_correlation_test(self) -> RankCorrelationTest:
        """Rank correlation of standardised effects with their variances (Begg & Mazumdar, 1994).

        With moderators the effects are residuals.

        Returns
        -------
        RankCorrelationTest
            statistic (Kendall's tau-b), pvalue, exact.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ 1", bcg, vi="vi").fit()
        >>> round(float(res.rank_correlation_test().pvalue), 4)
        0.9524
        """
        from metareg_sm.postestimation.small_study import rank_correlation_test

        return rank_correlation_test(self)

    def trim_and_fill(self, side: str | None = None, estimator: str = "L0") -> TrimAndFill:
        """Fill in the mirror images of studies that seem to be missing (Duval & Tweedie, 2000).

        Parameters
        ----------
        side : {"left", "right"}, optional
            Where studies are missing; by default where the regression on precision says.
        estimator : {"L0", "R0", "Q0"}
            How they are counted.

        Returns
        -------
        TrimAndFill
            k0, k0_se, side, results (the fit with them), filled.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ 1", bcg, vi="vi").fit(cov_type="nonrobust")
        >>> found = res.trim_and_fill()
        >>> found.k0, found.side, round(float(found.results.params.iloc[0]), 4)
        (1, 'right', -0.6571)
        """
        from metareg_sm.postestimation.small_study import trim_and_fill

        return trim_and_fill(self, side, estimator)

    def fail_safe_n(
        self, method: str = "rosenthal", target: float | None = None, alpha: float = 0.05
    ) -> int:
        """Null results that would undo the finding; editors still ask for it.

        Parameters
        ----------
        method : {"rosenthal", "rosenberg", "orwin"}
            Until Stouffer's test, or the weighted test, is not significant; or until the mean
            outcome is `target`.
        target : float, optional
            For "orwin"; half the unweighted mean by default.
        alpha : float, default 0.05
            Level of the tests.

        Returns
        -------
        int

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> metareg_sm.MetaReg.from_formula("yi ~ 1", bcg, vi="vi").fit().fail_safe_n()
        598
        """
        from metareg_sm.postestimation.small_study import fail_safe_n

        return fail_safe_n(self, method, target, alpha)

    def excess_significance_test(
        self, alpha: float = 0.05, test: str = "chi2"
    ) -> ExcessSignificanceTest:
        """Test for more significant studies than their power allows.

        Parameters
        ----------
        alpha : float, default 0.05
            Level of the studies' own tests.
        test : {"chi2", "binomial", "exact"}
            How the numbers are compared.

        Returns
        -------
        ExcessSignificanceTest
            observed, expected, statistic, pvalue, power.

        References
        ----------
        Ioannidis, J. P. A., & Trikalinos, T. A. (2007). An exploratory test for an excess of
        significant findings. Clinical Trials, 4(3), 245-253.
        """
        from metareg_sm.postestimation.small_study import excess_significance_test

        return excess_significance_test(self, alpha, test)

    def selection_model(
        self,
        steps: Sequence[float] | float = (0.025,),
        alternative: str = "greater",
        alpha: float = 0.05,
    ) -> SelectionResults:
        """Step-function selection model with the moderators of the fit (Vevea & Hedges, 1995).

        Parameters
        ----------
        steps : sequence of float, default (0.025,)
            p-values at which the probability of publication changes.
        alternative : {"greater", "less", "two-sided"}
            Direction of the effects that have small p-values.
        alpha : float, default 0.05
            1 minus the coverage of the intervals of the weights.

        Returns
        -------
        SelectionResults
            params, bse, tau2, weights, llf and lr_test, by maximum likelihood.

        Warns
        -----
        FewStudiesWarning, ConvergenceWarning
            If an interval of p-values holds few studies, or the likelihood is flat.
        """
        from metareg_sm.postestimation.small_study import selection_model

        return selection_model(self, steps, alternative, alpha)
