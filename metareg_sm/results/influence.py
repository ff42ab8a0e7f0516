"""The studies of a fit: their random effects, and which of them drive it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from metareg_sm._compat import cached_data
from metareg_sm._typing import Array
from metareg_sm.results.base import ModelResults

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from metareg_sm._typing import Codes
    from metareg_sm.postestimation.influence import Influence
    from metareg_sm.stats.refits import Refits, Selections


class InfluenceResults(ModelResults):
    """Random effects of the studies, fits without some of them, and diagnostics of these."""

    def fits_without(self, codes: Codes, n: int) -> Refits:
        """Fits that lack the studies of one code each, all at once."""
        raise NotImplementedError

    def fits_to(self, counts: Selections, n: int) -> Refits:
        """Fits to n selections of the studies, all at once."""
        raise NotImplementedError

    @property
    def resid_pearson(self) -> Array:
        """Residuals over sqrt(vi + tau2)."""
        return self.regression.resid

    @cached_data
    def random_effects(self) -> pd.DataFrame:
        """Predicted random effects u and shrunken true effects theta of the studies.

        Columns u, u_se, theta, theta_se (Raudenbush & Bryk, 1985).
        """
        from metareg_sm.postestimation.heterogeneity import random_effects

        return random_effects(self)

    def get_influence(self, groups: Any = None) -> Influence:
        """Deletion diagnostics: which studies drive the fit.

        Parameters
        ----------
        groups : str or array_like, optional
            A column of the data, or labels of the studies: studies that share one are deleted
            together. Each study by itself by default.

        Returns
        -------
        Influence
            `hat_matrix_diag`, `resid_studentized_external`, `dffits`, `dfbetas`, `cooks_distance`,
            `cov_ratio`, `tau2_deleted` and more, `summary_frame()` and `baujat()`. tau2 is
            estimated anew for every deletion, by the estimator of the fit.

        Raises
        ------
        OptionError
            If the covariance type is a sandwich.
        DesignError
            If moderators are redundant, or groups do not match the studies.

        References
        ----------
        Viechtbauer, W., & Cheung, M. W.-L. (2010). Outlier and influence diagnostics for
        meta-analysis. Research Synthesis Methods, 1(2), 112-125.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
        >>> frame = res.get_influence().summary_frame()
        >>> frame.loc[6, ["student_resid", "cooks_d", "cov_ratio"]].astype(float).round(3).tolist()
        [-2.604, 0.28, 0.294]
        """
        from metareg_sm.postestimation.influence import get_influence

        return get_influence(self, groups)

    def leave_one_out(self, groups: Any = None, alpha: float = 0.05) -> pd.DataFrame:
        """Fits without each study; tau2 is estimated anew in each.

        Parameters
        ----------
        groups : str or array_like, optional
            Studies that are left out together, as in `get_influence`.
        alpha : float, default 0.05
            1 minus the coverage of the intervals.

        Returns
        -------
        DataFrame
            Index study (what is left out) and term; columns coef, se, statistic, pvalue, ci_lower,
            ci_upper, tau2, i2 (a fraction) and q. NaN where what is left cannot be fitted:
            `attrs["reasons"]` tells why.

        Raises
        ------
        OptionError, DesignError
            As in `get_influence`, and if `alpha` is not between 0 and 1.

        Warns
        -----
        FewStudiesWarning
            If a fit is NaN.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
        >>> res.leave_one_out().loc[(0, "ablat"), ["coef", "tau2"]].round(4).tolist()
        [-0.0293, 0.0859]
        """
        from metareg_sm.postestimation.influence import leave_one_out

        return leave_one_out(self, groups, alpha)

    def cumulative(self, order: Any = None, alpha: float = 0.05) -> pd.DataFrame:
        """Fits to the first study, the first two, and so on: a cumulative meta-analysis.

        Parameters
        ----------
        order : str or array_like, optional
            A column of the data, or values of the studies, by which they come, the smallest first
            and ties as in the data; the order of the data by default.
        alpha : float, default 0.05
            1 minus the coverage of the intervals.

        Returns
        -------
        DataFrame
            Index study (the last that came) and term; columns as in `leave_one_out`. The first p
            steps, of no more studies than coefficients, are NaN: tau2 cannot be estimated from
            them. metafor shows a single study with tau2 = 0 there. `attrs["reasons"]` lists all
            steps that are NaN with the reason.

        Raises
        ------
        OptionError, DesignError
            As in `leave_one_out`, and if `order` does not match the studies or is missing for one.

        Warns
        -----
        FewStudiesWarning
            If a later step is NaN, too, because a moderator does not vary yet.

        References
        ----------
        Lau, J., Antman, E. M., Jimenez-Silva, J., Kupelnick, B., Mosteller, F., & Chalmers, T. C.
        (1992). Cumulative meta-analysis of therapeutic trials for myocardial infarction. New
        England Journal of Medicine, 327(4), 248-254.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ 1", bcg, vi="vi").fit()
        >>> frame = res.cumulative(order="year").droplevel("term")
        >>> frame["coef"].iloc[[1, 2, -1]].round(3).tolist()
        [-1.325, -0.972, -0.715]
        """
        from metareg_sm.postestimation.influence import cumulative

        return cumulative(self, order, alpha)

    def plot_leave_one_out(
        self, term: str | None = None, ax: Axes | None = None, **options: Any
    ) -> Figure:
        """Forest plot of one coefficient without each study in turn.

        Parameters
        ----------
        term : str, optional
            The coefficient; the first by default.
        ax : Axes, optional
            Axes to draw in; by default a figure of its own.
        **options
            As in `metareg_sm.plots.leave_one_out`: `groups`, for instance.

        Returns
        -------
        Figure
            `metareg_data` has the plotted numbers.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
        >>> fig = res.plot_leave_one_out("ablat")
        >>> fig.metareg_data["estimate"].iloc[0].round(4)
        np.float64(-0.0293)
        """
        from metareg_sm import plots

        return plots.leave_one_out(self, term, ax=ax, **options)

    def plot_cumulative(
        self, order: Any = None, term: str | None = None, ax: Axes | None = None, **options: Any
    ) -> Figure:
        """Forest plot of one coefficient as studies are added.

        Parameters
        ----------
        order : str or array_like, optional
            What the studies come by, as in `cumulative`.
        term : str, optional
            The coefficient; the first by default.
        ax : Axes, optional
            Axes to draw in; by default a figure of its own.
        **options
            As in `metareg_sm.plots.cumulative`.

        Returns
        -------
        Figure
            `metareg_data` has the plotted numbers.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ 1", bcg, vi="vi").fit()
        >>> fig = res.plot_cumulative("year", transform="exp", labels=["author", "year"])
        >>> fig.metareg_data["shown"].iloc[[0, 1, -1]].round(3).tolist()
        [0.266, 0.378, 0.489]
        """
        from metareg_sm import plots

        return plots.cumulative(self, term, order=order, ax=ax, **options)
