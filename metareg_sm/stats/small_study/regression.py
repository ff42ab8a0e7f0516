"""Egger's test: regressions of the outcomes on their standard errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np

from metareg_sm._typing import Array, EggerModel
from metareg_sm.exceptions import DesignError, OptionError
from metareg_sm.printing import Printed
from metareg_sm.stats.small_study.analysis import (
    Analysis,
    Regression,
    RegressionFit,
    multiplicative_fit,
)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class EggerTest(Printed):
    """Test of funnel plot asymmetry by regression on a measure of precision.

    All but the options have the leading axes of the data: () for one data set.

    Attributes
    ----------
    slope, slope_se : ndarray, (...)
        Coefficient of the predictor and its standard error.
    statistic : ndarray, (...)
        Their ratio: z, or t where there are degrees of freedom.
    pvalue : ndarray, (...)
        Two-sided.
    df : float or None
        Degrees of freedom of t; None for z.
    limit : ndarray, (...)
        Expected effect as the predictor goes to 0: the intercept. NaN where the model has
        moderators, or where the predictor does not go to 0 with growing precision.
    limit_se : ndarray, (...)
        Its standard error.
    limit_ci : ndarray, (..., 2)
        Its confidence interval.
    model : str
        "mixed" or "multiplicative".
    predictor : str
        Name of the predictor.
    fit : RegressionFit or results
        The regression; the predictor is its last coefficient. What a fit was asked for are results
        of its own class, with a summary and all that it has.
    """

    slope: Array
    slope_se: Array
    statistic: Array
    pvalue: Array
    df: float | None
    limit: Array
    limit_se: Array
    limit_ci: Array
    model: EggerModel
    predictor: str
    fit: Any = field(repr=False)


def precision_predictor(v: Array, predictor: str) -> Array:
    """Standard errors for "sei", sampling variances for "vi".

    Raises
    ------
    OptionError
        For any other name.
    """
    if predictor == "sei":
        return np.sqrt(v)
    if predictor == "vi":
        return v
    raise OptionError(f"predictor={predictor!r} is not known. Choose one of 'sei', 'vi'.")


def _unit(x: Array) -> Array:
    """Largest value of a predictor, (..., 1)."""
    largest = np.abs(x).max(-1, keepdims=True)
    return np.where(largest > 0.0, largest, 1.0)


def check_predictor(x: Array, basis: Array, name: str) -> None:
    """Refuse a predictor on which there is no regression beside the moderators.

    Parameters
    ----------
    x : ndarray, (..., k)
        The predictor.
    basis : ndarray, (..., k, p)
        Orthonormal basis of the moderators.
    name : str
        For errors.

    Raises
    ------
    DesignError
        If it is not finite, depends linearly on the moderators, or there are too few studies.
    """
    if not np.all(np.isfinite(x)):
        raise DesignError(f"The predictor {name} must be finite for every study.")
    k, p = basis.shape[-2], basis.shape[-1] + 1
    if k <= p:
        raise DesignError(
            f"{k} studies are too few for a regression on {name}: with the moderators of the model "
            f"it has {p} coefficients, and there must be more studies than that."
        )
    scaled = x / _unit(x)
    rest = scaled
    for _ in range(2):
        rest = rest - (basis @ (np.swapaxes(basis, -1, -2) @ rest[..., None]))[..., 0]
    alone = np.sqrt((rest * rest).sum(-1)) <= 1e-10 * np.sqrt((scaled * scaled).sum(-1))
    if alone.any():
        which = f" of data set {tuple(map(int, np.argwhere(alone)[0]))}" if alone.ndim else ""
        raise DesignError(
            f"The predictor {name}{which} depends linearly on the moderators of the model (it is "
            "the same for all studies, for example): there is no regression on it."
        )


def regress_on(
    y: Array, v: Array, X: Array, x: Array, name: str, analysis: Analysis, model: EggerModel
) -> RegressionFit:
    """Fit with the predictor x (..., k) as the last column."""
    if model not in get_args(EggerModel):
        names = ", ".join(repr(m) for m in get_args(EggerModel))
        raise OptionError(f"model={model!r} is not known. Choose one of {names}.")
    # in units of its largest value, for variances may be tiny beside a constant
    unit = _unit(x)
    shape = np.broadcast_shapes(x.shape, X.shape[:-1])
    columns = np.broadcast_to(X, (*shape, X.shape[-1]))
    design = np.concatenate([columns, np.broadcast_to(x / unit, shape)[..., None]], axis=-1)
    check_predictor(x, np.linalg.qr(columns)[0], name)
    fit = analysis.fit(y, v, design) if model == "mixed" else multiplicative_fit(y, v, design)
    # back in the predictor's own units
    scale = np.ones((*unit.shape[:-1], design.shape[-1]))
    scale[..., -1] = 1.0 / unit[..., 0]
    cov = fit.cov * scale[..., :, None] * scale[..., None, :]
    return RegressionFit(fit.params * scale, cov, fit.tau2, fit.scale, fit.df)


def egger_test(
    y: Array,
    v: Array,
    X: Array,
    analysis: Analysis,
    predictor: str | Array = "sei",
    model: EggerModel = "mixed",
    alpha: float = 0.05,
    name: str | None = None,
    vanishes: bool = False,
) -> EggerTest:
    """Egger's regression test, with the moderators of the model.

    Parameters
    ----------
    y, v : ndarray, (..., k)
        Outcomes and sampling variances.
    X : ndarray, (k, p) or (..., k, p)
        Design of the model, the constant included; the predictor is added to it.
    analysis : Analysis
        Estimator of tau2 and test distribution of the mixed model.
    predictor : {"sei", "vi"} or ndarray, (..., k)
        Standard errors, sampling variances, or anything else such as 1/n.
    model : {"mixed", "multiplicative"}
        Meta-regression whose tau2 is estimated anew; or weights 1/v with a dispersion that
        multiplies the sampling variances, and t with k - p - 1 degrees of freedom: the classical
        test.
    alpha : float, default 0.05
        1 minus the coverage of `limit_ci`.
    name : str, optional
        What messages and the record call a predictor that is given as an array.
    vanishes : bool, default False
        Whether such a predictor goes to 0 with growing precision, so that there is a limit.

    Returns
    -------
    EggerTest

    Raises
    ------
    DesignError
        If the predictor depends linearly on the moderators, or there are too few studies.
    OptionError
        If a name is not known.

    References
    ----------
    Egger, M., Davey Smith, G., Schneider, M., & Minder, C. (1997). Bias in meta-analysis detected
    by a simple, graphical test. BMJ, 315(7109), 629-634.
    Sterne, J. A. C., & Egger, M. (2005). Regression methods to detect publication and other bias
    in meta-analysis. In H. R. Rothstein, A. J. Sutton, & M. Borenstein (Eds.), Publication bias in
    meta-analysis: Prevention, assessment and adjustments (pp. 99-110). Wiley.

    Examples
    --------
    >>> from metareg_sm.core.tau2 import ESTIMATORS
    >>> y = np.array([0.1, 0.2, 0.4, 0.9])
    >>> v = np.array([0.01, 0.02, 0.05, 0.2])
    >>> analysis = Analysis(ESTIMATORS["reml"], np.ones_like, use_t=False)
    >>> test = egger_test(y, v, np.ones((4, 1)), analysis)
    >>> print(f"z = {test.statistic:.3f}, p = {test.pvalue:.3f}")
    z = 2.052, p = 0.040
    """
    if isinstance(predictor, str):
        x, label, has_limit = precision_predictor(v, predictor), predictor, True
    else:
        x, label, has_limit = np.asarray(predictor, dtype=float), name or "predictor", vanishes
    fit = regress_on(y, v, X, x, label, analysis, model)
    return egger_of(fit, fit.df, has_limit and is_mean(X), alpha, model, label)


def is_mean(X: Array) -> bool:
    """Whether a design is a constant alone, so that Egger's regression has a limit."""
    return X.shape[-1] == 1 and bool(np.all(X == 1.0))


def egger_of(
    fit: Regression, df: float | None, has_limit: bool, alpha: float, model: EggerModel, label: str
) -> EggerTest:
    """Egger's test from a regression whose last coefficient is that of the predictor.

    Parameters
    ----------
    fit : Regression
        The regression.
    df : float or None
        Degrees of freedom of that coefficient.
    has_limit : bool
        Whether the first coefficient is the limit.
    alpha : float
        1 minus the coverage of its interval.
    model, label : str
        The model, and the name of the predictor.
    """
    shape = fit.params.shape[:-1]
    nothing = np.full(shape, np.nan)
    return EggerTest(
        # numbers where there is one data set
        slope=fit.params[..., -1][()],
        slope_se=fit.bse[..., -1][()],
        statistic=fit.tvalues[..., -1][()],
        pvalue=fit.pvalues[..., -1][()],
        df=df,
        limit=(fit.params[..., 0] if has_limit else nothing)[()],
        limit_se=(fit.bse[..., 0] if has_limit else nothing)[()],
        limit_ci=fit.conf_int(alpha)[..., 0, :] if has_limit else np.full((*shape, 2), np.nan),
        model=model,
        predictor=label,
        fit=fit,
    )
