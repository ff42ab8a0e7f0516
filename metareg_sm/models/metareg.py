"""The meta-regression model."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from metareg_sm._typing import Array, Missing
from metareg_sm.core.likelihood import Derivatives
from metareg_sm.core.studies import Studies
from metareg_sm.design.variances import Variances
from metareg_sm.exceptions import OptionError
from metareg_sm.models import checks
from metareg_sm.models.base import KnownVarianceModel
from metareg_sm.models.fit_options import FitOptions, fit_options
from metareg_sm.models.optimizers import check_optimizer, starting_tau2
from metareg_sm.models.tau2 import estimated_tau2, fixed_tau2
from metareg_sm.options import whole_number
from metareg_sm.results.metareg import MetaRegResults, MetaRegResultsWrapper, Tau2Options
from metareg_sm.stats.components import VarianceComponents
from metareg_sm.stats.gls import whiten

__all__ = ["MetaReg"]


class MetaReg(KnownVarianceModel):
    r"""Random-effects meta-regression.

    Study i reports y_i = x_i'beta + u_i + e_i, with sampling errors e_i ~ N(0, v_i) of known
    variance and heterogeneity u_i ~ N(0, tau2) that the moderators leave unexplained.

    Parameters
    ----------
    endog : array_like, (k,)
        Effects that the studies report.
    exog : array_like, (k, p)
        Moderators. An intercept is not included by default and should be added by the user; the
        formula interface adds one.
    vi : array_like or Series, (k,)
        Sampling variances, in squared units of `endog`. A Series is aligned on the index of
        `endog`.
    sei : array_like or Series, (k,)
        Standard errors, instead of `vi`; exactly one of the two.
    missing : {"none", "drop", "raise"}, default "none"
        "drop" leaves out studies with a missing outcome, moderator or variance, "raise" and "none"
        refuse them. The formula interface has the default "drop".
    hasconst : bool, optional
        Whether the moderators include a constant; found out if not given.
    participant_level : list of str, optional
        Moderators that are averages over the participants of a study; notes of the summary and the
        report name them.
    participant_sd : mapping, optional
        Standard deviation of such a moderator among participants, by its name: a number, or one a
        study; notes say how little the averages vary beside it.
    **kwargs
        Used by the formula interface.

    Attributes
    ----------
    endog, exog, vi : ndarray
        Outcomes, moderators and sampling variances of the studies in the model.
    nobs : int
        Number of studies k.
    df_model, df_resid : float
        Rank of the moderators less the constant; k less the rank.

    Raises
    ------
    VarianceError
        If `vi` and `sei` are both given or both absent, or hold an impossible value.
    DesignError
        If outcomes or moderators are not finite, rows do not match, or there are fewer studies
        than coefficients.
    MissingStudiesError
        If values are missing where none may be, or no study is left without them.
    OptionError
        If a keyword is unknown.

    Warns
    -----
    RankDeficiencyWarning
        If columns of `exog` are redundant; the fit uses the pseudo-inverse, as statsmodels does.

    Notes
    -----
    `fit` estimates tau2 with the coefficients profiled out. `params` holds the coefficients alone;
    tau2 is an attribute of the results.

    References
    ----------
    Viechtbauer, W. (2010). Conducting meta-analyses in R with the metafor package. Journal of
    Statistical Software, 36(3), 1-48.

    Examples
    --------
    >>> import numpy as np
    >>> from metareg_sm import MetaReg, datasets
    >>> bcg = datasets.bcg.load_pandas().data
    >>> exog = np.column_stack([np.ones(13), bcg["ablat"]])
    >>> res = MetaReg(bcg["yi"], exog, vi=bcg["vi"]).fit()
    >>> round(res.tau2, 6)
    0.076348
    """

    def initialize(self) -> None:
        """Check the studies and prepare the column space of the moderators."""
        super().initialize()
        self._data_attr.append("studies")
        self.studies = Studies.build(self.endog, self.vi, self.basis)

    @classmethod
    def from_formula(
        cls,
        formula: Any,
        data: Any,
        subset: Any = None,
        drop_cols: Any = None,
        *args: Any,
        vi: Variances | None = None,
        sei: Variances | None = None,
        missing: Missing = "drop",
        participant_level: str | Sequence[str] | None = None,
        participant_sd: Any = None,
        baseline: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> MetaReg:
        """Create a model from a formula and a data frame.

        Parameters
        ----------
        formula : str
            For instance "yi ~ age * dose".
        data : DataFrame
            One row a study; it is not changed.
        subset : array_like, optional
            Rows to use: booleans or labels, as `DataFrame.loc` takes them.
        drop_cols : list of str, optional
            Columns to drop from the design.
        *args
            A positional `vi`, as `MetaReg` has it.
        vi, sei : str, Series or array_like
            Sampling variances or standard errors, exactly one of the two: the name of a column, a
            Series that is aligned on the index of `data`, or values in the order of the rows.
        missing : {"drop", "raise", "none"}, default "drop"
            Rows with a missing outcome, moderator or variance are dropped before the design is
            built, so that a level which only they have leaves no empty column; "raise" and "none"
            refuse them.
        participant_level : str or list of str, optional
            Moderators that are averages over the participants of a study, such as their mean age:
            notes of the summary and the report name them.
        participant_sd : mapping, optional
            Standard deviation of such a moderator among participants, by its name: a number, or a
            column with one a study. Notes say how little the averages vary beside it.
        baseline : str or list of str, optional
            Columns that are computed from the control arm, such as its risk. Where the data come
            from `effect_size` they are found without it.
        **kwargs
            `eval_env` and `hasconst`, as everywhere in statsmodels.

        Returns
        -------
        MetaReg

        Raises
        ------
        VarianceError, DesignError, MissingStudiesError, OptionError
            As `MetaReg` does, and if a named column does not exist.

        Warns
        -----
        BaselineWarning
            If a moderator is computed from the control arm that the outcome is computed from.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> model = metareg_sm.MetaReg.from_formula("yi ~ ablat + C(alloc)", bcg, vi="vi")
        >>> model.exog_names
        ['Intercept', 'C(alloc)[T.random]', 'C(alloc)[T.systematic]', 'ablat']
        """
        vi = checks.positional_vi(args, vi)
        caller = sys._getframe(1)
        return cls._of_formula(
            formula,
            data,
            caller,
            vi,
            sei,
            subset,
            drop_cols,
            missing,
            {
                **kwargs,
                "participant_level": participant_level,
                "participant_sd": participant_sd,
                "baseline": baseline,
            },
        )

    def loglike(self, params: npt.ArrayLike, reml: bool = True) -> float:
        """Profile log-likelihood of tau2; the coefficients are profiled out.

        Parameters
        ----------
        params : float or array_like, (1,)
            tau2, in squared units of the outcome.
        reml : bool, default True
            Restricted likelihood, else maximum likelihood.

        Returns
        -------
        float

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> round(metareg_sm.MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").loglike(0.1), 6)
        -8.123731
        """
        tau2 = self._tau2_argument(params, "loglike")
        return float(self.studies.profile(reml).loglike(tau2))

    def score(self, params: npt.ArrayLike, reml: bool = True) -> Array:
        """First derivative of `loglike`; parameters as there, shape (1,)."""
        return np.atleast_1d(self._slopes(params, reml, "score").score)

    def hessian(self, params: npt.ArrayLike, reml: bool = True) -> Array:
        """Second derivative of `loglike`; parameters as there, shape (1, 1)."""
        return np.atleast_2d(-self._slopes(params, reml, "hessian").observed_information)

    def information(self, params: npt.ArrayLike, reml: bool = True) -> Array:
        """Expected (Fisher) information of tau2; parameters as in `loglike`, shape (1, 1)."""
        return np.atleast_2d(self._slopes(params, reml, "information").expected_information)

    def _slopes(self, params: npt.ArrayLike, reml: bool, where: str) -> Derivatives:
        tau2 = self._tau2_argument(params, where)
        return self.studies.profile(reml).derivatives(tau2)

    def _tau2_argument(self, params: npt.ArrayLike, where: str) -> Array:
        values = np.asarray(params, dtype=float)
        if values.size != 1:
            raise OptionError(
                f"{where} is a function of tau2 alone, one value; got {values.size} values. The "
                "coefficients are profiled out."
            )
        return values.reshape(())

    def fit(
        self,
        tau2: str | float = "reml",
        cov_type: str = "knapp-hartung",
        cov_kwds: Mapping[str, Any] | None = None,
        use_t: bool | None = None,
        method: str = "lbfgs",
        start_params: npt.ArrayLike | None = None,
        maxiter: int = 200,
        disp: bool = False,
        weights: npt.ArrayLike | None = None,
        **kwargs: Any,
    ) -> MetaRegResultsWrapper:
        """Estimate tau2 and the coefficients.

        Parameters
        ----------
        tau2 : str or float, default "reml"
            Estimator of the heterogeneity: "reml", "ml", "dl", "pm", "eb", "he", "sj", "hs", "hsk",
            "dlit", "sjit", "pmm" or "genq"; or a value >= 0 that is held fixed, 0 being the
            common-effect model.
        cov_type : str, default "knapp-hartung"
            "knapp-hartung" (t with k - p degrees of freedom), "knapp-hartung-adhoc" (the factor is
            at least 1), "nonrobust" (Wald, normal), "HC0" to "HC3", or "cluster".
        cov_kwds : mapping, optional
            For "cluster": "groups", a column or labels of the clusters, and "correction", one of
            "CR0", "CR1" (default), "CR1S", "CR2" and "CR3".
        use_t : bool, optional
            t and F instead of normal and chi-squared; by default as `cov_type` says.
        method : str, default "lbfgs"
            statsmodels optimizer that finds tau2 for "reml" and "ml": newton, nm, bfgs, lbfgs,
            powell, cg, ncg, basinhopping or minimize. All reach the same global maximum.
        start_params : float, optional
            Where the optimizer starts; by default close to the maximum.
        maxiter : int, default 200
            Iterations that the optimizer may take.
        disp : bool, default False
            Print what the optimizer prints.
        weights : array_like, (k,), optional
            Weights of the estimator "genq"; 1/vi by default.
        **kwargs
            Further keywords of the optimizer, and `warn_convergence`.

        Returns
        -------
        MetaRegResultsWrapper
            The results, with pandas labels; the model itself is not changed.

        Raises
        ------
        OptionError
            If an option is unknown or does not go with the others.
        VarianceError
            If a sampling variance of 0 leaves the model undefined.
        DesignError
            If there are too few studies for what is asked.
        MemoryLimitError
            If there are too many coefficients for variances that differ very much.

        Warns
        -----
        ConvergenceWarning
            If the optimizer stopped before the maximum.

        References
        ----------
        Knapp, G., & Hartung, J. (2003). Improved tests for a random effects meta-regression with a
        single covariate. Statistics in Medicine, 22(17), 2693-2710.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> model = metareg_sm.MetaReg.from_formula("yi ~ ablat", bcg, vi="vi")
        >>> model.fit(cov_type="nonrobust").bse.round(6).tolist()
        [0.249095, 0.007195]
        """
        optimizer = check_optimizer(method, kwargs)
        options = fit_options(self, tau2, cov_type, cov_kwds, use_t, weights)
        start = starting_tau2(start_params, self.exog.shape[1])
        maxiter = whole_number(maxiter, "maxiter", 0)
        if options.estimator is None:
            components = fixed_tau2(self, options.fixed)
        else:
            components = estimated_tau2(
                self,
                options.estimator,
                options.genq_weights,
                optimizer,
                start,
                maxiter,
                disp,
                kwargs,
            )
        return self.results_at(components, options)

    def results_at(
        self, components: VarianceComponents, options: FitOptions
    ) -> MetaRegResultsWrapper:
        """Results at a heterogeneity that was estimated or is held fixed."""
        regression, params = whiten(self.studies, components.tau2, self.basis.to_params)
        return MetaRegResultsWrapper(
            MetaRegResults(
                self,
                params,
                regression,
                options.covariance_type.compute(regression, options.groups, options.correction),
                components,
                cov_type=options.covariance_type,
                correction=options.correction,
                groups=options.groups,
                use_t=options.use_t,
                options=Tau2Options(options.estimator, options.genq_weights),
            )
        )
