"""What results say of the heterogeneity."""

from __future__ import annotations

import warnings
from typing import Any

import pandas as pd

from metareg_sm.exceptions import IntervalWarning, OptionError
from metareg_sm.options import choose
from metareg_sm.postestimation.comparison import LRTest, compare_lr_test, lr_test_tau2
from metareg_sm.report import frames
from metareg_sm.stats import intervals
from metareg_sm.stats.heterogeneity import typical_variance

_KINDS = {
    "empty": "the studies vary less than their sampling variances allow for. The ends are NaN.",
    "unbounded": "no upper end exists. It is infinite.",
    "disjoint": "it has gaps, the likelihood having several maxima. The ends enclose all of it.",
}


class HeterogeneityInference:
    """Heterogeneity statistics, intervals for tau2 and likelihood ratio tests."""

    # provided by MetaRegResults
    tau2: float
    tau2_se: float
    df_model: float
    _tau2_fit: Any
    _studies: Any
    _null_studies: Any
    _genq_weights: Any
    _summary_cache: Any

    @property
    def heterogeneity(self) -> frames.Heterogeneity:
        """Q, I2, H2, R2 and the decomposition of Q; see `Heterogeneity`."""
        return self._summary_cache("heterogeneity", self._heterogeneity)

    def _heterogeneity(self) -> frames.Heterogeneity:
        estimator = self._tau2_fit.estimator
        tau2_null = self.tau2
        if estimator is not None and self.df_model > 0:
            tau2_null = float(estimator.solve(self._null_studies, self._genq_weights).tau2)
        return frames.heterogeneity(self._studies, self._null_studies, self.tau2, tau2_null)

    def conf_int_tau2(self, alpha: float = 0.05, method: str = "q-profile") -> pd.DataFrame:
        """Confidence interval for tau2, and what follows for tau, I2 and H2.

        Parameters
        ----------
        alpha : float, default 0.05
            1 minus the coverage.
        method : {"q-profile", "profile-likelihood", "wald"}
            Viechtbauer (2007); Hardy & Thompson (1996), by the likelihood of the fit; or the
            estimate and its standard error.

        Returns
        -------
        DataFrame
            Rows tau2, tau, i2, h2; columns estimate, ci_lower, ci_upper. `attrs["kind"]` is
            "interval", "empty", "unbounded" or "disjoint".

        Raises
        ------
        OptionError
            If the method is unknown or tau2 is held fixed.

        Warns
        -----
        IntervalWarning
            If the set is empty, unbounded or has gaps.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
        >>> res.conf_int_tau2().loc["tau2"].round(4).tolist()
        [0.0763, 0.0167, 0.7848]
        """
        estimator = self._tau2_fit.estimator
        if estimator is None:
            raise OptionError("tau2 is held fixed in this fit; there is no interval for it.")

        def likelihood() -> intervals.Tau2Set:
            if not estimator.kind.likelihood:
                raise OptionError(
                    "method='profile-likelihood' needs a fit by 'reml' or 'ml'; this one is by "
                    f"{estimator.name!r}."
                )
            return intervals.profile_likelihood(self._studies, estimator.kind.reml, alpha)

        methods = {
            "q-profile": lambda: intervals.q_profile(self._studies, alpha),
            "profile-likelihood": likelihood,
            "wald": lambda: intervals.wald(self.tau2, self.tau2_se, alpha),
        }
        found = choose(methods, method, "method")()
        if found.kind != "interval":
            warnings.warn(
                f"The {method} confidence set for tau2 is {found.kind}: {_KINDS[found.kind]}",
                IntervalWarning,
                stacklevel=2,
            )
        return frames.tau2_intervals(self.tau2, float(typical_variance(self._studies)), found)

    def lr_test_tau2(self) -> LRTest:
        """Likelihood ratio test of tau2 = 0, which lies on the boundary.

        Returns
        -------
        LRTest
            statistic, pvalue, df: the p-value is from the 50:50 mixture of a point mass at 0 and
            chi-squared with 1 degree of freedom (Self & Liang, 1987). A fit that is neither by
            REML nor by ML is tested by ML.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
        >>> round(res.lr_test_tau2().pvalue, 4)
        0.0041
        """
        return lr_test_tau2(self)

    def compare_lr_test(self, restricted: Any, refit: bool = False) -> LRTest:
        """Likelihood ratio test of this model against a restricted one.

        Parameters
        ----------
        restricted : MetaRegResults
            A fit of the same studies whose moderators are nested in these.
        refit : bool, default False
            Compare by maximum likelihood, whatever the two fits used.

        Returns
        -------
        LRTest
            statistic, pvalue, df, as statsmodels' tuple. Where the restricted model has tau2 = 0
            the reference is the boundary mixture.

        Raises
        ------
        ComparisonError
            If the fits cannot be compared; in particular two REML fits with different moderators.
        """
        return compare_lr_test(self, restricted, refit)
