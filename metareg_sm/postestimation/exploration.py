"""Resampling, several tests at once, and what interactions and collinearity do to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from metareg_sm._typing import Array
from metareg_sm.exceptions import OptionError
from metareg_sm.postestimation.collinearity import condition_number, vif
from metareg_sm.postestimation.comparison import LRTest

if TYPE_CHECKING:
    from metareg_sm.postestimation import bootstrap
    from metareg_sm.postestimation import permutation as resample
    from metareg_sm.postestimation.slopes import SimpleSlopes


class Exploration:
    """Methods of results that look beyond the coefficient table."""

    # provided by MetaRegResults
    model: Any
    params: Any
    pvalues: Any

    def permutation_test(
        self, n_resamples: int = 9999, rng: resample.Seed = None, method: str = "rows"
    ) -> resample.PermutationTest:
        """Permutation test of the moderators, tau2 being estimated anew in each resample.

        Parameters
        ----------
        n_resamples : int, default 9999
            Random permutations; where there are at most so many distinct ones, all are listed and
            the test is exact.
        rng : int or Generator, optional
            Seed of the random permutations.
        method : {"rows", "residuals"}
            Permute whole rows of the moderators, or for each moderator the residuals of the model
            without it (Freedman & Lane, 1983), which tests it given the others. A model without
            moderators is tested by changing the signs of the outcomes.

        Returns
        -------
        PermutationTest
            `pvalues`, `pvalues_fwer`, `omnibus_pvalue`, `null_distribution`, `exact`.

        References
        ----------
        Higgins, J. P. T., & Thompson, S. G. (2004). Controlling the risk of spurious findings from
        meta-regression. Statistics in Medicine, 23(11), 1663-1682.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
        >>> bool(res.permutation_test(999, rng=1).pvalues["ablat"] < 0.05)
        True
        """
        from metareg_sm.postestimation import permutation as resample

        return resample.permutation_test(self, n_resamples, method, rng)

    def bootstrap(
        self, n_resamples: int = 1999, rng: resample.Seed = None, method: str = "parametric"
    ) -> bootstrap.Bootstrap:
        """Bootstrap of the coefficients, tau2, I2 and R2.

        Parameters
        ----------
        n_resamples : int, default 1999
            Number of resamples.
        rng : int or Generator, optional
            Seed.
        method : {"parametric", "studies"}
            Draw outcomes from the fitted model, or studies with replacement.

        Returns
        -------
        Bootstrap
            `distribution`, `conf_int(kind="percentile" or "bca")`, `conf_int_mean(exog)`.

        Warns
        -----
        FewStudiesWarning
            If samples of studies could not be fitted.
        """
        from metareg_sm.postestimation import bootstrap

        return bootstrap.bootstrap(self, n_resamples, method, rng)

    def bootstrap_lr_test_tau2(self, n_resamples: int = 1999, rng: resample.Seed = None) -> LRTest:
        """Likelihood ratio test of tau2 = 0 by the parametric bootstrap.

        Parameters
        ----------
        n_resamples : int, default 1999
            Data sets drawn with tau2 = 0.
        rng : int or Generator, optional
            Seed.

        Returns
        -------
        LRTest
            As `lr_test_tau2`, with the p-value from the resamples instead of the mixture, which is
            conservative for few studies.
        """
        from metareg_sm.postestimation import bootstrap

        return bootstrap.bootstrap_lr_test_tau2(self, n_resamples, rng)

    def simulate(
        self, n_resamples: int = 1, rng: resample.Seed = None, tau2: float | None = None
    ) -> Array:
        """Draw outcomes from the fitted model.

        Parameters
        ----------
        n_resamples : int, default 1
            Data sets.
        rng : int or Generator, optional
            Seed.
        tau2 : float, optional
            Heterogeneity; the estimate by default.

        Returns
        -------
        ndarray, (n_resamples, k)
        """
        from metareg_sm.postestimation import bootstrap

        return bootstrap.simulate(self, n_resamples, tau2, rng)

    def adjust_pvalues(self, method: str = "holm", alpha: float = 0.05) -> pd.DataFrame:
        """p-values of the coefficients, adjusted for there being several of them.

        Parameters
        ----------
        method : str, default "holm"
            As in `statsmodels.stats.multitest.multipletests`.
        alpha : float, default 0.05
            Level of the tests together.

        Returns
        -------
        DataFrame
            Columns pvalue, pvalue_adjusted and reject, one row a coefficient without the constant.

        Raises
        ------
        OptionError
            If there is no moderator.
        """
        from statsmodels.stats.multitest import multipletests

        constant = self.model.data.const_idx
        rows = [j for j in range(len(self.params)) if j != constant]
        if not rows:
            raise OptionError("There is no moderator whose p-value could be adjusted.")
        pvalues = np.asarray(self.pvalues)[rows]
        reject, adjusted, *_ = multipletests(pvalues, alpha=alpha, method=method)
        names = [self.model.data.param_names[j] for j in rows]
        return pd.DataFrame(
            {"pvalue": pvalues, "pvalue_adjusted": adjusted, "reject": reject}, index=names
        )

    def simple_slopes(
        self, moderator: str, at: Mapping[str, Any], alpha: float = 0.05
    ) -> SimpleSlopes:
        """Slopes of one moderator at chosen values of those that it interacts with.

        Parameters
        ----------
        moderator : str
            A column of the data that enters linearly.
        at : mapping
            Values of the partners, for instance ``{"dose": [0, 1]}``; all combinations are taken.
        alpha : float, default 0.05
            1 minus the coverage of the intervals.

        Returns
        -------
        SimpleSlopes
            `frame`, and `johnson_neyman(partner)` for the values of a continuous partner at which
            the slope turns significant.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ ablat * year", bcg, vi="vi").fit()
        >>> res.simple_slopes("ablat", at={"year": [1940, 1970]}).frame["slope"].round(4).tolist()
        [-0.0176, -0.0261]
        """
        from metareg_sm.postestimation.slopes import simple_slopes

        return simple_slopes(self, moderator, at, alpha)

    def vif(self) -> pd.DataFrame:
        """Variance inflation factors, generalised for terms of several columns.

        Returns
        -------
        DataFrame
            One row a coefficient: term, vif, df, gvif and gvif_adjusted = gvif^(1/(2 df))
            (Fox & Monette, 1992).
        """
        return vif(self)

    @property
    def condition_number(self) -> float:
        """Condition number of the weighted design, as statsmodels' WLS reports it."""
        return condition_number(self)
