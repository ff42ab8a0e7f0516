"""The meta-regression model with dependent effects."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from metareg_sm._typing import Missing
from metareg_sm.core.mixed.solution import solve
from metareg_sm.design.variances import Variances
from metareg_sm.exceptions import DesignError
from metareg_sm.models import checks, mixed_checks
from metareg_sm.models.dependent_effects import DependentEffects
from metareg_sm.models.mixed_optimizer import mixed_start, optimize_mixed
from metareg_sm.models.mixed_records import (
    MixedRegression,
    reported_covariance,
    variance_components,
)
from metareg_sm.models.optimizers import check_optimizer
from metareg_sm.options import choose, flag, flag_or_none, whole_number
from metareg_sm.results.mixed import MixedMetaRegResults, MixedMetaRegResultsWrapper
from metareg_sm.stats.covariance import MIXED_COVARIANCES

__all__ = ["MixedMetaReg"]

_DFS = {"contain": True, "residual": False}


class MixedMetaReg(DependentEffects):
    r"""Meta-regression with dependent effects: multilevel, crossed and multivariate.

    y = X beta + sum over terms of Z u + e, with sampling errors e ~ N(0, V) of known covariance
    and random effects u_g ~ N(0, G) of the groups of each term.

    Parameters
    ----------
    endog : array_like, (k,)
        Effects that the studies report.
    exog : array_like, (k, p)
        Moderators; an intercept is not included by default. The formula interface adds one.
    vi, sei : array_like or Series, (k,)
        Sampling variances or standard errors of independent sampling errors.
    V : SamplingCovariance, array_like (k, k) or list of blocks
        Sampling covariance instead: from `sampling_covariance`, dense, or blocks in the order of
        the rows. Exactly one of `vi`, `sei` and `V`.
    random : str or list of str
        Random terms, in columns of `data`: "1 | study" (an intercept each study),
        "1 | district/school" (nested: districts, and schools within districts),
        ["1 | article", "1 | species"] (crossed), "0 + outcome | trial" (an effect each outcome of a
        trial, correlated as `structure` says).
    structure : str or list of str, default "un"
        Covariance of the effects of a term with levels: "un" (any), "cs" (equal variances and
        correlations), "hcs" (unequal variances, equal correlations), "diag" (unequal variances,
        independent), "id" (equal variances, independent), "ar" (equal variances, correlation
        rho^|t_i - t_j| of times) or "har" (the same, unequal variances). One for all such terms, or
        a list with one each.
    groups, re_formula : str, optional
        A single term as `mixedlm` has it: the column of the groups, and "1" (default) or
        "0 + outcome". For arrays `groups` may be the labels themselves.
    data : DataFrame, optional
        Columns that `random` names, one row for each of `endog`; a formula brings its own.
    missing : {"none", "drop", "raise"}, default "none"
        As for `MetaReg`. A missing group label is always an error.
    hasconst : bool, optional
        Whether the moderators include a constant; found out if not given.
    **kwargs
        `participant_level` and `participant_sd` as for `MetaReg`; others are used by the formula
        interface.

    Attributes
    ----------
    endog, exog, vi : ndarray
        Outcomes, moderators and sampling variances of the effects in the model.
    V : SamplingCovariance or None
        Their sampling covariance; None where errors are independent.
    random_terms : tuple of RandomTerm
        The random terms, with their groups.
    nobs : int
        Number of effects k.

    Raises
    ------
    VarianceError
        If a sampling variance is 0 or impossible, or V is not positive definite.
    DesignError
        If rows do not match, a label or column is missing, a time is not a number, or V correlates
        effects of different groups.
    OptionError
        If `random` or `structure` cannot be read.

    References
    ----------
    Konstantopoulos, S. (2011). Fixed effects and variance components estimation in three-level
    meta-analysis. Research Synthesis Methods, 2(1), 61-76.

    Berkey, C. S., Hoaglin, D. C., Antczak-Bouckoms, A., Mosteller, F., & Colditz, G. A. (1998).
    Meta-analysis of multiple outcomes by regression with random effects. Statistics in Medicine,
    17(22), 2537-2550.

    Examples
    --------
    >>> import metareg_sm
    >>> schools = metareg_sm.datasets.konstantopoulos2011.load_pandas().data
    >>> model = metareg_sm.MixedMetaReg.from_formula(
    ...     "yi ~ 1", schools, vi="vi", random="1 | district/school"
    ... )
    >>> model.fit().vcomp.round(4).to_dict()
    {'district': 0.0651, 'district/school': 0.0327}
    """

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
        V: Any = None,
        random: str | Sequence[str] | None = None,
        structure: str | Sequence[str] = "un",
        groups: str | None = None,
        re_formula: str | None = None,
        missing: Missing = "drop",
        **kwargs: Any,
    ) -> MixedMetaReg:
        """Create a model from a formula and a data frame.

        Parameters
        ----------
        formula : str
            For instance "yi ~ age * dose".
        data : DataFrame
            One row an effect; it is not changed.
        subset : array_like, optional
            Rows to use: booleans or labels, as `DataFrame.loc` takes them.
        drop_cols : list of str, optional
            Columns to drop from the design.
        *args
            A positional `vi`.
        vi, sei : str, Series or array_like
            Sampling variances or standard errors: a column, or values.
        V : SamplingCovariance, array_like or list of blocks
            Sampling covariance instead, of all rows of `data`, or of those of `subset`; exactly one
            of the three.
        random, structure, groups, re_formula
            As for `MixedMetaReg`; they name columns of `data`.
        missing : {"drop", "raise", "none"}, default "drop"
            Rows with a missing outcome, moderator or variance are dropped before the design is
            built; a missing group label in what is left is an error.
        **kwargs
            `participant_level`, `participant_sd` and `baseline` as for `MetaReg.from_formula`;
            `eval_env` and `hasconst`, as everywhere in statsmodels.

        Returns
        -------
        MixedMetaReg

        Examples
        --------
        >>> import metareg_sm
        >>> trials = metareg_sm.datasets.berkey1998.load_pandas().data
        >>> V = [g[["v1i", "v2i"]].to_numpy() for _, g in trials.groupby("trial", sort=False)]
        >>> model = metareg_sm.MixedMetaReg.from_formula(
        ...     "yi ~ 0 + outcome", trials, V=V, random="0 + outcome | trial"
        ... )
        >>> model.fit().cov_re.round(4).to_numpy().tolist()
        [[0.0327, 0.0119], [0.0119, 0.0117]]
        """
        vi = checks.positional_vi(args, vi)
        caller = sys._getframe(1)
        if V is not None:
            V, vi = mixed_checks.covariance_of_rows(V, vi, sei, data, subset)
        return cls._of_formula(
            formula,
            data,
            caller,
            vi,
            sei,
            subset,
            drop_cols,
            missing,
            kwargs,
            random=random,
            structure=structure,
            groups=groups,
            re_formula=re_formula,
            V=V,
        )

    def fit(
        self,
        reml: bool = True,
        cov_type: str = "nonrobust",
        use_t: bool = True,
        method: str = "lbfgs",
        start_params: npt.ArrayLike | None = None,
        maxiter: int = 1000,
        disp: bool = False,
        cov_kwds: Mapping[str, Any] | None = None,
        df: str = "contain",
        **kwargs: Any,
    ) -> MixedMetaRegResultsWrapper:
        """Estimate the variances, correlations and coefficients.

        Parameters
        ----------
        reml : bool, default True
            Restricted maximum likelihood, else maximum likelihood.
        cov_type : {"nonrobust", "cluster"}
            Model-based standard errors, or robust ones by clusters.
        use_t : bool, default True
            t and F tests instead of normal and chi-squared.
        method : str, default "lbfgs"
            statsmodels optimizer: newton, nm, bfgs, lbfgs, powell, cg, ncg, basinhopping or
            minimize. All reach the same maximum.
        start_params : array_like, optional
            Variances to begin with, in the order of the terms and their levels; or working
            parameters as `loglike` has them.
        maxiter : int, default 1000
            Iterations that the optimizer may take.
        disp : bool, default False
            Print what the optimizer prints.
        cov_kwds : mapping, optional
            For "cluster": "groups", a column or labels of the clusters, by default the outermost
            grouping; and "correction", "CR0", "CR1", "CR1S", "CR2" (default) or "CR3".
        df : {"contain", "residual"}
            Degrees of freedom of t tests: of the outermost grouping within whose groups a moderator
            is constant, or k - p. Clusters with CR2 and CR3 have Satterthwaite's.
        **kwargs
            Further keywords of the optimizer, and `warn_convergence`.

        Returns
        -------
        MixedMetaRegResultsWrapper

        Raises
        ------
        DesignError
            If variances cannot be told apart, or there are too few effects, groups or clusters.
        OptionError
            If an option is unknown or does not go with the others.

        Warns
        -----
        ConvergenceWarning
            If the optimizer stopped before the maximum, or the likelihood has several maxima.
        IdentificationWarning
            If the data say nothing about a correlation.

        Examples
        --------
        >>> import metareg_sm
        >>> schools = metareg_sm.datasets.konstantopoulos2011.load_pandas().data
        >>> model = metareg_sm.MixedMetaReg.from_formula(
        ...     "yi ~ 1", schools, vi="vi", random="1 | district/school"
        ... )
        >>> model.fit(cov_type="cluster").pvalues.round(4).to_dict()
        {'Intercept': 0.054}
        """
        optimizer = check_optimizer(method, kwargs)
        reml = flag(reml, "reml")
        use_t = flag_or_none(use_t, "use_t") is not False
        covariance_type = choose(MIXED_COVARIANCES, cov_type, "cov_type")
        groups, correction = mixed_checks.mixed_clusters(self, covariance_type, cov_kwds)
        contained = choose(_DFS, df, "df")
        maxiter = whole_number(maxiter, "maxiter", 0)
        mixed_checks.refuse_few_effects(self.exog.shape, self.df_resid)
        mixed_checks.check_identified(self._flat_parts(reml), self.random_terms)
        start = mixed_start(start_params, self.likelihood, self.exog.shape[1])
        run = optimize_mixed(self.likelihood, reml, optimizer, start, maxiter, disp, kwargs)
        solution = solve(self.likelihood, run.phi, reml, run.evaluation)
        if solution is None:
            raise DesignError("The marginal covariance is singular at the estimates.")
        regression = MixedRegression(self, solution)
        return MixedMetaRegResultsWrapper(
            MixedMetaRegResults(
                self,
                solution.params,
                regression,
                reported_covariance(
                    self, solution, regression, covariance_type, groups, correction, contained
                ),
                variance_components(self, solution, run),
                cov_type=covariance_type,
                correction=correction,
                groups=groups,
                use_t=use_t,
                solution=solution,
            )
        )
