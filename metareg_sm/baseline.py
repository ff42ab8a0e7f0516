"""Baseline (underlying) risk: how the risk of the treated goes with that of the controls."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from metareg_sm._typing import Array
from metareg_sm.design.rows import as_frame
from metareg_sm.design.values import container, numeric, row_label
from metareg_sm.design.variances import align
from metareg_sm.exceptions import DesignError, IntervalWarning, OptionError
from metareg_sm.models.metareg import MetaReg
from metareg_sm.options import check_alpha, choose, suggestion
from metareg_sm.results.metareg import MetaRegResultsWrapper
from metareg_sm.stats.bivariate import Bivariate, fit_bivariate, profile_interval
from metareg_sm.stats.reference import interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["BaselineModel", "BaselineRisk", "baseline_risk"]

_LEAST_STUDIES = 4
_ARMS = ("treated", "control")


@dataclass(frozen=True, slots=True)
class _Scale:
    """Scale of the two arms' outcomes.

    Attributes
    ----------
    name, label : str
        Measure of the effect; what an arm's outcome is.
    value : callable
        Outcome and sampling variance from events and others.
    """

    name: str
    label: str
    value: Callable[[Array, Array], tuple[Array, Array]]


def _log_odds(events: Array, others: Array) -> tuple[Array, Array]:
    return np.log(events / others), 1.0 / events + 1.0 / others


def _log_risk(events: Array, others: Array) -> tuple[Array, Array]:
    n = events + others
    return np.log(events / n), 1.0 / events - 1.0 / n


def _risk(events: Array, others: Array) -> tuple[Array, Array]:
    n = events + others
    return events / n, events * others / n**3


SCALES: Mapping[str, _Scale] = MappingProxyType(
    {
        "or": _Scale("OR", "log odds", _log_odds),
        "rr": _Scale("RR", "log risk", _log_risk),
        "rd": _Scale("RD", "risk", _risk),
    }
)
"""Scales by the measure of the effect, the difference of the two arms' outcomes."""


@dataclass(frozen=True, slots=True)
class BaselineModel:
    """The bivariate normal model of both arms' true outcomes, by maximum likelihood.

    Attributes
    ----------
    params, bse : Series, (2,)
        Means of the treated and of the controls, and their standard errors.
    cov_re : DataFrame, (2, 2)
        Covariance of the true outcomes of a study.
    llf : float
        Log-likelihood.
    converged : bool
        Whether the search ended at a maximum.
    """

    params: pd.Series
    bse: pd.Series
    cov_re: pd.DataFrame
    llf: float
    converged: bool


@dataclass(frozen=True, slots=True, repr=False)
class BaselineRisk:
    """Regression of the treated on the controls, in true outcomes.

    Attributes
    ----------
    measure : str
        "OR", "RR" or "RD".
    slope, intercept : float
        Of the true outcome of the treated on that of the controls. With slope 1 the effect does
        not depend on the baseline risk.
    slope_se, intercept_se : float
        By the delta method, from the expected information.
    slope_se_profile : float
        From the curvature of the profile log-likelihood.
    naive, naive_se : float
        The same slope by a meta-regression of the effect on the observed outcome of the controls:
        its slope plus 1.
    reliability : float
        Share of the (weighted) variance of the observed controls that is no sampling error.
    dilution, shared_arm : float
        Bias of the naive slope that the model expects: of regression dilution,
        (1 - slope)(1 - reliability), and of the control arm that effect and moderator share,
        -(1 - reliability).
    frame : DataFrame
        One row a study: treated, control and their variances treated_vi, control_vi.
    model : BaselineModel
        The bivariate model.
    naive_fit : MetaRegResultsWrapper
        The naive meta-regression.
    """

    measure: str
    slope: float
    slope_se: float
    slope_se_profile: float
    intercept: float
    intercept_se: float
    naive: float
    naive_se: float
    reliability: float
    dilution: float
    shared_arm: float
    frame: pd.DataFrame
    model: BaselineModel
    naive_fit: MetaRegResultsWrapper
    _fit: Bivariate

    def conf_int(
        self, alpha: float = 0.05, method: Literal["profile", "delta"] = "profile"
    ) -> tuple[float, float]:
        """Confidence interval of the slope.

        Parameters
        ----------
        alpha : float, default 0.05
            1 minus the coverage.
        method : {"profile", "delta"}
            Profile likelihood, or estimate and standard error with the normal distribution.

        Returns
        -------
        tuple of float

        Raises
        ------
        OptionError
            If the method is unknown.

        Warns
        -----
        IntervalWarning
            If the profile likelihood has no end on one side.
        """
        level = check_alpha(alpha)
        if method not in ("profile", "delta"):
            raise OptionError(f"method={method!r} is not known. Choose 'profile' or 'delta'.")
        if method == "delta":
            low, high = interval(np.array(self.slope), np.array(self.slope_se), level, None)
            return float(low), float(high)
        ends = profile_interval(*_columns(self.frame), self._fit, level)
        if not np.isfinite(ends).all():
            warnings.warn(
                "The profile likelihood of the slope has no end on one side: the risks of the "
                "controls hardly differ beyond sampling error.",
                IntervalWarning,
                stacklevel=2,
            )
        return ends

    def __repr__(self) -> str:
        return (
            f"<BaselineRisk {self.measure}: slope {self.slope:.4f} (se {self.slope_se:.4f}), "
            f"{len(self.frame)} studies>"
        )

    def _repr_html_(self) -> str:
        return f"<pre>{self}</pre>"

    def __str__(self) -> str:
        low, high = self.conf_int()
        label = SCALES[self.measure.lower()].label
        return (
            f"Baseline risk ({label}, {len(self.frame)} studies)\n"
            f"treated = {self.intercept:.4f} + {self.slope:.4f} control\n"
            f"slope {self.slope:.4f} (se {self.slope_se:.4f}; 95% interval {low:.4f} to "
            f"{high:.4f}); 1 means that the effect does not depend on the baseline risk\n"
            f"naive slope {self.naive:.4f} (se {self.naive_se:.4f}); the model expects "
            f"{self.slope * self.reliability:.4f}: regression dilution {self.dilution:+.4f}, "
            f"shared control arm {self.shared_arm:+.4f}"
        )

    def plot(self, ax: Axes | None = None) -> Figure:
        """Both arms of each study as an ellipse of one standard error, and the lines.

        Parameters
        ----------
        ax : Axes, optional
            Where to draw.

        Returns
        -------
        Figure
        """
        import matplotlib.pyplot as plt
        from matplotlib.patches import Ellipse

        if ax is None:
            ax = plt.figure().add_subplot()
        x, y, vx, vy = _columns(self.frame)
        for center, width, height in zip(
            zip(x, y, strict=True), 2 * np.sqrt(vx), 2 * np.sqrt(vy), strict=True
        ):
            ax.add_patch(Ellipse(center, width, height, facecolor="0.85", edgecolor="0.4"))
        ax.plot(x, y, "o", color="0.2", ms=3)
        ends = np.array([(x - np.sqrt(vx)).min(), (x + np.sqrt(vx)).max()])
        naive = self.naive_fit.params.iloc[0] + self.naive * ends
        ax.plot(ends, ends, color="0.5", ls=":", label="no effect")
        ax.plot(ends, self.intercept + self.slope * ends, label=f"model: {self.slope:.3g}")
        ax.plot(ends, naive, ls="--", label=f"naive: {self.naive:.3g}")
        label = SCALES[self.measure.lower()].label
        ax.set_xlabel(f"{label} of the controls")
        ax.set_ylabel(f"{label} of the treated")
        ax.legend()
        figure = ax.get_figure(root=True)
        assert figure is not None
        return figure


def _columns(frame: pd.DataFrame) -> tuple[Array, Array, Array, Array]:
    names = ("control", "treated", "control_vi", "treated_vi")
    x, y, vx, vy = (frame[name].to_numpy(dtype=float) for name in names)
    return x, y, vx, vy


def baseline_risk(
    data: pd.DataFrame | None = None,
    *,
    ai: Any,
    n1i: Any,
    ci: Any,
    n2i: Any,
    measure: str = "OR",
) -> BaselineRisk:
    """Regress the treated on the controls where both are known with sampling error.

    A meta-regression of the effect on the observed risk of the controls is biased: the risk is
    measured with error, and its error is part of the effect. Here both arms' true outcomes are
    bivariate normal, and the slope is that of one true outcome on the other.

    Parameters
    ----------
    data : DataFrame, optional
        One row a study; it is not changed.
    ai, n1i : str or array_like
        Events and participants among the treated: columns of `data`, or values.
    ci, n2i : str or array_like
        The same among the controls.
    measure : {"OR", "RR", "RD"}
        Scale: log odds, log risks or risks.

    Returns
    -------
    BaselineRisk
        slope, slope_se, intercept, naive, model; `conf_int()`, `plot()`.

    Raises
    ------
    DesignError
        If a count is missing, negative or above its total, there are fewer than 4 studies, or the
        true outcomes of the controls do not differ.
    OptionError
        If the measure is unknown.

    Notes
    -----
    1/2 is added to the four counts of a study in which one of them is 0. Estimates are by maximum
    likelihood, as in the paper.

    References
    ----------
    van Houwelingen, H. C., Arends, L. R., & Stijnen, T. (2002). Advanced methods in meta-analysis:
    multivariate approach and meta-regression. Statistics in Medicine, 21(4), 589-624.

    Sharp, S. J., & Thompson, S. G. (2000). Analysing the relationship between treatment effect and
    underlying risk in meta-analysis: comparison and development of approaches. Statistics in
    Medicine, 19(23), 3251-3274.

    Examples
    --------
    >>> import metareg_sm
    >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
    >>> bcg["treated"], bcg["controls"] = bcg["tpos"] + bcg["tneg"], bcg["cpos"] + bcg["cneg"]
    >>> found = metareg_sm.baseline_risk(bcg, ai="tpos", n1i="treated", ci="cpos", n2i="controls")
    >>> round(found.slope, 4), round(found.intercept, 4)
    (0.73, -1.8437)
    """
    scale = choose(SCALES, measure, "measure")
    counts, index = _counts(data, {"ai": ai, "n1i": n1i, "ci": ci, "n2i": n2i})
    cells = np.stack(
        [
            counts["ai"],
            counts["n1i"] - counts["ai"],
            counts["ci"],
            counts["n2i"] - counts["ci"],
        ]
    )
    cells = cells + 0.5 * (cells == 0.0).any(axis=0)
    treated, treated_vi = scale.value(cells[0], cells[1])
    control, control_vi = scale.value(cells[2], cells[3])
    frame = pd.DataFrame(
        {
            "treated": treated,
            "control": control,
            "treated_vi": treated_vi,
            "control_vi": control_vi,
        },
        index=index,
    )
    try:
        fit = fit_bivariate(*_columns(frame))
    except ArithmeticError as error:
        raise DesignError(f"The bivariate model has no fit: {error}.") from error
    if np.isnan(fit.slope) or fit.cov[0, 0] <= 1e-9 * control_vi.min():
        raise DesignError(
            f"The {scale.label} of the controls does not differ between studies beyond sampling "
            "error: there is no baseline risk to regress on."
        )
    effect = frame.assign(effect=treated - control, effect_vi=treated_vi + control_vi)
    naive_fit = MetaReg.from_formula("effect ~ control", effect, vi="effect_vi").fit()
    w = np.asarray(naive_fit.weights)
    true = float(w.sum() * fit.cov[0, 0])
    reliability = true / (true + float((w * control_vi).sum()))
    model = BaselineModel(
        pd.Series(fit.mean[::-1], _ARMS),
        pd.Series(np.sqrt(np.diagonal(fit.mean_cov))[::-1], _ARMS),
        pd.DataFrame(fit.cov[::-1, ::-1], _ARMS, _ARMS),
        fit.llf,
        fit.converged,
    )
    return BaselineRisk(
        scale.name,
        fit.slope,
        fit.slope_se,
        fit.slope_se_observed,
        fit.intercept,
        fit.intercept_se,
        1.0 + float(naive_fit.params["control"]),
        float(naive_fit.bse["control"]),
        reliability,
        (1.0 - fit.slope) * (1.0 - reliability),
        -(1.0 - reliability),
        frame,
        model,
        naive_fit,
        fit,
    )


def _counts(
    data: pd.DataFrame | None, given: Mapping[str, Any]
) -> tuple[dict[str, Array], pd.Index | None]:
    """Counts of both arms, checked."""
    table = None if data is None else as_frame(data)
    index = None if table is None else table.index
    counts: dict[str, Array] = {}
    for name, values in given.items():
        chosen = values
        if isinstance(values, str):
            if table is None or values not in table.columns:
                columns = [] if table is None else [str(c) for c in table.columns]
                raise DesignError(
                    f"{name}={values!r}: the data have no such column.{suggestion(values, columns)}"
                )
            chosen = table[values]
        elif isinstance(values, pd.Series) and index is None:
            index = values.index
        chosen = container(chosen, name)
        n = len(index) if index is not None else len(next(iter(counts.values()), chosen))
        counts[name] = numeric(align(chosen, name, index, n, "data"), name, index)
        bad = np.flatnonzero(~np.isfinite(counts[name]) | (counts[name] < 0.0))
        if bad.size:
            raise DesignError(
                f"{name} of {row_label(index, int(bad[0]))} is {counts[name][bad[0]]:g}; counts "
                "must be there, finite and not negative."
            )
    k = len(counts["ai"])
    if k < _LEAST_STUDIES:
        raise DesignError(f"There are {k} studies; the model needs at least {_LEAST_STUDIES}.")
    for events, total in (("ai", "n1i"), ("ci", "n2i")):
        empty = np.flatnonzero(counts[total] == 0.0)
        if empty.size:
            raise DesignError(
                f"{total} of {row_label(index, int(empty[0]))} is 0: the arm has no participants."
            )
        above = np.flatnonzero(counts[events] > counts[total])
        if above.size:
            row = int(above[0])
            raise DesignError(
                f"{events} of {row_label(index, row)} is {counts[events][row]:g}, above the total "
                f"{total} of {counts[total][row]:g}."
            )
    return counts, index
