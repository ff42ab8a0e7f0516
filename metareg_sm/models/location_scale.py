"""The location-scale model: moderators of the mean and of the heterogeneity."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from metareg_sm._typing import Array, Missing
from metareg_sm.core.basis import design_basis, orthonormalize
from metareg_sm.core.location_scale import LocationScale
from metareg_sm.core.mixed.moments import Heights
from metareg_sm.core.studies import residuals
from metareg_sm.design import values
from metareg_sm.design.terms import Terms
from metareg_sm.design.variances import Variances
from metareg_sm.exceptions import (
    DesignError,
    OptionError,
)
from metareg_sm.models import checks
from metareg_sm.models.base import KnownVarianceModel
from metareg_sm.models.optimizers import check_optimizer
from metareg_sm.models.scale_design import ScaleNames, array_columns, formula_columns, right_side
from metareg_sm.models.scale_optimizer import optimize_scale, scale_start
from metareg_sm.options import choose, flag, flag_or_none, whole_number
from metareg_sm.results.location_scale import (
    LocationScaleResults,
    LocationScaleResultsWrapper,
    ScaleEstimate,
)
from metareg_sm.stats.components import VarianceComponents
from metareg_sm.stats.covariance import COVARIANCES
from metareg_sm.stats.gls import WeightedRegression

__all__ = ["LocationScaleMetaReg"]


class LocationScaleMetaReg(KnownVarianceModel):
    r"""Meta-regression of the mean and of the heterogeneity.

    y_i = x_i'beta + u_i + e_i with e_i ~ N(0, v_i), u_i ~ N(0, tau2_i) and
    ln tau2_i = z_i'alpha.

    Parameters
    ----------
    endog : array_like, (k,)
        Effects that the studies report.
    exog : array_like, (k, p)
        Moderators of the mean; the formula interface adds an intercept.
    vi, sei : array_like or Series, (k,)
        Sampling variances or standard errors; exactly one of the two.
    scale_exog : array_like, (k, q), optional
        Moderators of ln tau2, with an intercept where one is wanted; by default an intercept alone.
    missing : {"none", "drop", "raise"}, default "none"
        As for `MetaReg`.
    hasconst : bool, optional
        Whether the moderators of the mean include a constant.
    **kwargs
        `participant_level` and `participant_sd` as for `MetaReg`; others are used by the formula
        interface.

    Raises
    ------
    VarianceError, DesignError, MissingStudiesError, OptionError
        As `MetaReg` does; also where moderators of the scale are redundant.

    References
    ----------
    Viechtbauer, W., & López-López, J. A. (2022). Location-scale models for meta-analysis. Research
    Synthesis Methods, 13(6), 697-715.

    Examples
    --------
    >>> import metareg_sm
    >>> writing = metareg_sm.datasets.bangertdrowns2004.load_pandas().data
    >>> model = metareg_sm.LocationScaleMetaReg.from_formula(
    ...     "yi ~ 1", writing, vi="vi", scale_formula="~ grade"
    ... )
    >>> model.fit().scale_params.round(4).to_dict()
    {'Intercept': -3.1051, 'grade': 0.0414}
    """

    _scale_spec: Any = None

    def __init__(
        self,
        endog: npt.ArrayLike,
        exog: npt.ArrayLike | None = None,
        vi: Variances | None = None,
        sei: Variances | None = None,
        scale_exog: Any = None,
        missing: Missing = "none",
        hasconst: bool | None = None,
        **kwargs: Any,
    ) -> None:
        self.scale_formula = kwargs.pop("scale_formula", None)
        self._scale_given = None if scale_exog is None else values.clean_exog(scale_exog)
        super().__init__(endog, exog, vi, sei, missing, hasconst, **kwargs)

    @property
    def scale_terms(self) -> Terms:
        """Names of the design of the scale, and how new rows of it are made."""
        own = self._scale_names
        if self._scale_spec is None and own.formula is not None and self.rows is not None:
            self._scale_spec = self._scale_design(own.formula)[1]
        return Terms(
            own.names,
            "ln tau2",
            own.constant,
            own.formula,
            self._scale_spec,
            self.context,
            own.labelled,
            self._kinds,
        )

    def _scale_design(self, formula: str) -> tuple[Any, Any]:
        return formula_columns(self.scale_formula, formula, self.rows.frame, self.context)

    def _beside_the_mean(self) -> dict[str, Any]:
        design = pd.DataFrame(self.scale_exog, columns=self._scale_names.names)
        return {"vi": self.vi, "scale_exog": design}

    def __getstate__(self) -> dict[str, Any]:
        # formula engines cannot pickle it; it is made again from the formula
        return {**super().__getstate__(), "_scale_spec": None}

    def _prepare(self) -> None:
        spec, formula, names = None, None, ["Intercept"]
        named = True
        if self.scale_formula is not None:
            left = str(self.formula).split("~", maxsplit=1)[0]
            right = right_side(self.scale_formula)
            if not right.strip():
                raise DesignError(
                    f"scale_formula={self.scale_formula!r} has no right side; write '~ 1' for one "
                    "tau2."
                )
            formula = f"{left}~{right}"
            design, spec = self._scale_design(formula)
            names, Z = list(design.columns), np.asarray(design, dtype=float)
        elif self._scale_given is None:
            Z = np.ones((len(self.endog), 1))
        else:
            Z, names, named = array_columns(self._scale_given, self.rows)
            self._scale_given = None
        self.scale_exog = Z
        basis = design_basis(Z)
        if basis.redundant:
            raise DesignError(
                f"The moderators of the scale are redundant: {names[basis.redundant[0]]!r} depends "
                "linearly on the columns before."
            )
        if len(Z) <= self.basis.rank + Z.shape[1]:
            raise DesignError(
                f"There are {len(Z)} studies for {self.basis.rank} coefficients of the mean and "
                f"{Z.shape[1]} of the scale. Use fewer moderators."
            )
        constant = next((j for j in range(Z.shape[1]) if np.ptp(Z[:, j]) == 0.0 != Z[0, j]), None)
        self._scale_names = ScaleNames(names, constant, formula, named)
        self._scale_spec = spec
        self._data_attr.extend(["scale_exog", "likelihood"])
        self.likelihood = LocationScale.build(self.endog, self.vi, self.basis, basis)

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
        scale_formula: str = "~ 1",
        missing: Missing = "drop",
        **kwargs: Any,
    ) -> LocationScaleMetaReg:
        """Create a model from two formulas and a data frame.

        Parameters
        ----------
        formula : str
            Of the mean, for instance "yi ~ age * dose".
        data : DataFrame
            One row a study; it is not changed.
        subset, drop_cols, vi, sei, missing
            As for `MetaReg.from_formula`; `missing` counts moderators of the scale in.
        *args
            A positional `vi`.
        scale_formula : str, default "~ 1"
            Of ln tau2, for instance "~ grade".
        **kwargs
            `participant_level`, `participant_sd` and `baseline` as for `MetaReg.from_formula`;
            `eval_env` and `hasconst`, as everywhere in statsmodels.

        Returns
        -------
        LocationScaleMetaReg
        """
        vi = checks.positional_vi(args, vi)
        caller = sys._getframe(1)
        right = right_side(scale_formula)
        mentions = [f"{str(formula).split('~', maxsplit=1)[0]}~{right}"]
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
            mentions,
            scale_formula=scale_formula,
        )

    def loglike(self, params: npt.ArrayLike, reml: bool = True) -> float:
        """Profile log-likelihood of alpha; the coefficients of the mean are profiled out.

        Parameters
        ----------
        params : array_like, (q,)
            Coefficients of ln tau2.
        reml : bool, default True
            Restricted likelihood, else maximum likelihood.

        Returns
        -------
        float
        """
        return float(self.likelihood.loglike(self._working(params), reml))

    def score(self, params: npt.ArrayLike, reml: bool = True) -> Array:
        """First derivative of `loglike`, (q,)."""
        score: Array = np.linalg.inv(self.likelihood.to_alpha).T @ self._at(params, reml).gradient
        return score

    def hessian(self, params: npt.ArrayLike, reml: bool = True) -> Array:
        """Second derivative of `loglike`, (q, q)."""
        inverse = np.linalg.inv(self.likelihood.to_alpha)
        return -(inverse.T @ self._at(params, reml).observed @ inverse)

    def _at(self, params: npt.ArrayLike, reml: bool) -> Heights:
        heights = self.likelihood.point(self._working(params), reml).heights
        if not np.isfinite(heights.value):
            raise OptionError("The likelihood is undefined at these parameters.")
        return heights

    def _working(self, params: npt.ArrayLike) -> Array:
        given = np.atleast_1d(np.asarray(params, dtype=float)).ravel()
        if given.size != self.scale_exog.shape[1]:
            raise OptionError(
                f"There are {self.scale_exog.shape[1]} coefficients of the scale; got {given.size}."
            )
        return np.linalg.solve(self.likelihood.to_alpha, given)

    def fit(
        self,
        reml: bool = True,
        cov_type: str = "nonrobust",
        cov_kwds: Mapping[str, Any] | None = None,
        use_t: bool | None = None,
        method: str = "lbfgs",
        start_params: npt.ArrayLike | None = None,
        maxiter: int = 500,
        disp: bool = False,
        **kwargs: Any,
    ) -> LocationScaleResultsWrapper:
        """Estimate the coefficients of the mean and of the scale.

        Parameters
        ----------
        reml : bool, default True
            Restricted maximum likelihood, else maximum likelihood.
        cov_type : str, default "nonrobust"
            As for `MetaReg`.
        cov_kwds : mapping, optional
            As for `MetaReg`.
        use_t : bool, optional
            t and F instead of normal and chi-squared; by default as `cov_type` says.
        method : str, default "lbfgs"
            statsmodels optimizer that finds alpha.
        start_params : array_like, (q,), optional
            Coefficients of the scale to begin with.
        maxiter : int, default 500
            Iterations that the optimizer may take.
        disp : bool, default False
            Print what the optimizer prints.
        **kwargs
            Further keywords of the optimizer, and `warn_convergence`.

        Returns
        -------
        LocationScaleResultsWrapper

        Raises
        ------
        OptionError, DesignError
            As `MetaReg.fit` does.

        Warns
        -----
        ConvergenceWarning
            If the optimizer stopped before the maximum, or the likelihood has several maxima.
        IdentificationWarning
            If the likelihood grows towards a heterogeneity of 0, where alpha is infinite.
        """
        optimizer = check_optimizer(method, kwargs)
        reml = flag(reml, "reml")
        covariance_type = choose(COVARIANCES, cov_type, "cov_type")
        groups, correction = checks.cluster_options(covariance_type, cov_kwds, self.rows)
        use_t = flag_or_none(use_t, "use_t")
        use_t = covariance_type.use_t if use_t is None else use_t
        maxiter = whole_number(maxiter, "maxiter", 0)
        start = scale_start(start_params, self.likelihood, self.exog.shape[1])
        run = optimize_scale(self.likelihood, reml, optimizer, start, maxiter, disp, kwargs)
        found = run.maximum
        regression = self._regression(found.tau2)
        names = tuple(f"ln tau2: {name}" for name in self.scale_terms.names)
        cov_alpha = found.cov_alpha
        se = np.sqrt(np.diagonal(cov_alpha))
        components = VarianceComponents(
            names,
            found.alpha,
            se,
            found.alpha,
            "REML" if reml else "ML",
            "reml" if reml else "ml",
            len(names),
            run.optimization,
            (),
            "scale_conf_int",
        )
        return LocationScaleResultsWrapper(
            LocationScaleResults(
                self,
                found.params,
                regression,
                covariance_type.compute(regression, groups, correction),
                components,
                cov_type=covariance_type,
                correction=correction,
                groups=groups,
                use_t=use_t,
                scale=ScaleEstimate(found.alpha, cov_alpha, found.tau2, float(found.loglike)),
            )
        )

    def _regression(self, tau2: Array) -> WeightedRegression:
        variances = self.vi + tau2
        root = 1.0 / np.sqrt(variances)
        Q, inverse = orthonormalize(root[:, None] * self.basis.Z)
        if inverse is None:
            raise DesignError("The weights 1/(vi + tau2) differ by more than floating point holds.")
        e = root * residuals(self.endog, self.basis.Z)
        e = e - Q @ (e @ Q)
        half = self.basis.to_params @ inverse
        return WeightedRegression(half, e, variances, half @ half.T, self.basis.Z, inverse, Q)
