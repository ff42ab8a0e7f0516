"""Profile likelihood of the variance components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import pandas as pd
from scipy import special

from metareg_sm._typing import Array
from metareg_sm.core.tau2 import ESTIMATORS
from metareg_sm.design.terms import Terms
from metareg_sm.exceptions import OptionError
from metareg_sm.options import check_alpha, position
from metareg_sm.plots.canvas import COLOURS, GREY, INK, attach, dress, legend_above, thin_ticks
from metareg_sm.plots.grid import grid
from metareg_sm.postestimation.fitted import Fitted, Labelled, Tau2Fitted, plain
from metareg_sm.postestimation.higher import SAME
from metareg_sm.stats import intervals

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# of tau2, and of a component each of whose values is a search for the others
_POINTS, _FEW_POINTS = 201, 41


class Profiled(Fitted, Protocol):
    """A fit that profiles the likelihood of its variances and correlations."""

    def profile_variance(self, name: str, values: Array) -> Array:
        """Log-likelihood with a component held at each value, the others at their best."""
        ...

    def conf_int_variance(self, alpha: float = 0.05) -> pd.DataFrame:
        """Profile intervals: rows the components, columns estimate, ci_lower, ci_upper."""
        ...


class ScaleProfiled(Fitted, Protocol):
    """A fit that profiles the likelihood of the coefficients of ln tau2."""

    @property
    def scale_terms(self) -> Terms:
        """Names of the design of the scale."""

    def profile_scale(self, name: str, values: Array) -> Array:
        """Log-likelihood with a coefficient held at each value, the others at their best."""
        ...

    def scale_conf_int(self, alpha: float = 0.05, method: Any = "wald") -> pd.DataFrame:
        """Intervals: rows the coefficients, columns the two ends."""
        ...


def profile(
    results: Fitted | Labelled[Fitted],
    *,
    components: list[str] | str | None = None,
    alpha: float = 0.05,
    width: float | str = "column",
    ax: Axes | None = None,
) -> Figure:
    """Profile log-likelihood of each variance component, its maximum and its interval.

    Parameters
    ----------
    results : results of any model
        A fit: tau2, the variances and correlations of dependent effects, or the coefficients of
        ln tau2 of a location-scale model.
    components : str or list of str, optional
        Which variance components; by default all that are defined (where a variance is 0, its
        correlations are not).
    alpha : float, default 0.05
        1 minus the coverage of the profile likelihood interval.
    width : float or {"column", "page"}, default "column"
        Of a figure of its own, in mm.
    ax : Axes, optional
        Axes that the figure fills.

    Returns
    -------
    Figure
        `metareg_data`: component, value, loglike (relative to the maximum); its `attrs["maxima"]`
        has estimate, loglike, ci_lower and ci_upper of each component.

    Raises
    ------
    OptionError
        If a component is not known, undefined or held fixed, or the model cannot profile its
        likelihood.

    Warns
    -----
    ConvergenceWarning
        If the likelihood is higher at some point of a profile than at the estimates.

    Notes
    -----
    The maximum of tau2 is the certified global one: all stationary points of the likelihood are
    bracketed before one is chosen. Those of several components are the highest of several climbs,
    and the profiles check them: each of their points is a search of its own. The legend says so
    where no point on the profile of any component that is shown is higher; where one is, a warning
    tells the component, the value and both log-likelihoods. Where tau2 was estimated by another
    method than likelihood, the restricted likelihood is shown and the estimate is marked beside
    its maximum.

    References
    ----------
    Hardy, R. J., & Thompson, S. G. (1996). A likelihood approach to meta-analysis with random
    effects. Statistics in Medicine, 15(6), 619-629.

    Examples
    --------
    >>> import metareg_sm
    >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
    >>> res = metareg_sm.MetaReg.from_formula("yi ~ 1", bcg, vi="vi").fit()
    >>> fig = res.plot_profile()
    >>> fig.metareg_data.attrs["maxima"].loc["tau2", "estimate"].round(4)
    np.float64(0.3132)
    """
    fit = plain(results)
    alpha = check_alpha(alpha)
    drop = 0.5 * float(special.chdtri(1, alpha))
    curves = _curves(fit, _names(fit, components), alpha)
    cells = grid(len(curves), ax, width, 0.75)
    mark = _mark(fit, list(curves.values()))
    frames, maxima = [], {}
    for axes, (name, (values, loglike, best)) in zip(cells.axes, curves.items(), strict=True):
        symbol = name.replace("tau2", "\u03c4\u00b2")
        dress(axes, cells.size, symbol, "Log-likelihood \u2212 maximum")
        relative = loglike - best["loglike"]
        axes.plot(values, relative, color=COLOURS[0], linewidth=1.2)
        axes.axhline(-drop, color=GREY, linewidth=0.6, linestyle=(0, (3, 2)))
        inside = (values >= best["ci_lower"]) & (values <= best["ci_upper"])
        axes.fill_between(
            values[inside],
            relative[inside],
            -drop,
            color=COLOURS[0],
            alpha=0.15,
            linewidth=0.0,
            label=f"{100 * (1 - alpha):g}% interval",
        )
        axes.plot(
            [best["estimate"]],
            [0.0],
            marker="o",
            markersize=0.6 * cells.size,
            color=INK,
            linestyle="none",
            label=mark,
            clip_on=False,
            zorder=4.0,
        )
        for end in (best["ci_lower"], best["ci_upper"]):
            # an end at the boundary is no crossing
            if end != 0.0 and values[0] < end < values[-1]:
                axes.plot([end] * 2, [-drop, -1.6 * drop], color=GREY, linewidth=0.6)
        own = best["reported"]
        if abs(own - best["estimate"]) > 1e-6 * max(abs(own), abs(best["estimate"])):
            axes.axvline(
                own,
                color=COLOURS[1],
                linewidth=0.9,
                linestyle=(0, (1, 1)),
                label=f"estimate ({fit.components.label})",
            )
        axes.set_ylim(-1.6 * drop, max(0.12 * drop, 1.1 * float(np.max(relative))))
        axes.set_xlim(min(0.0, values[0]), values[-1])
        frames.append(pd.DataFrame({"component": name, "value": values, "loglike": relative}))
        maxima[name] = best
    cells.settle()
    for axes in cells.axes:
        thin_ticks(axes, cells.size)
        legend_above(axes, cells.size)
    cells.settle()
    data = pd.concat(frames, ignore_index=True)
    data.attrs["maxima"] = pd.DataFrame(maxima).T
    return attach(cells.figure, cells.host, data)


def _names(fit: Fitted, components: list[str] | str | None) -> list[str] | None:
    """The components that were asked for, where some were."""
    known = list(fit.components.names)
    if fit.components.n_estimated == 0:
        raise OptionError("All variances are held fixed in this fit; there is nothing to profile.")
    if components is None:
        return None
    wanted = [components] if isinstance(components, str) else list(components)
    for name in wanted:
        position(name, known, "components")
    return wanted


Curve = tuple[Array, Array, dict[str, float]]


def _mark(fit: Fitted, curves: list[Curve]) -> str:
    """What the marked point is, as far as the curves tell."""
    if any((loglike > best["loglike"] + SAME).any() for _, loglike, best in curves):
        return "estimate, not the maximum"
    # one variance has a maximum that is certified without its curve
    checked = hasattr(fit, "profile_variance") or hasattr(fit, "profile_scale")
    return "maximum: no profile is higher" if checked else "maximum"


def _curves(fit: Fitted, wanted: list[str] | None, alpha: float) -> dict[str, Curve]:
    """Values, log-likelihoods, and the maximum with its interval, of each component."""
    # a protocol with properties cannot be asked by isinstance without computing them
    if hasattr(fit, "profile_variance"):
        return _of_variances(cast(Profiled, fit), wanted, alpha)
    if hasattr(fit, "profile_scale"):
        return _of_scale(cast(ScaleProfiled, fit), wanted, alpha)
    if hasattr(fit, "studies") and hasattr(fit, "estimator"):
        return {"tau2": _of_tau2(cast(Tau2Fitted, fit), alpha)}
    raise OptionError("This model cannot profile the likelihood of its variance components.")


def _grid(low: float, best: float, high: float) -> Array:
    """Values of a variance from 0 to beyond its interval, the maximum and the ends among them."""
    far = high + 0.25 * (high - low) if np.isfinite(high) else max(4.0 * best, 1.0)
    # closer together towards 0, where the likelihood may be steep
    values = far * np.linspace(0.0, 1.0, _POINTS) ** 2
    return _with(values, low, best, high)


def _with(values: Array, *known: float) -> Array:
    """Values in order, with others among them that lie between their ends."""
    inside = [x for x in known if values[0] <= x <= values[-1]]
    return np.unique(np.concatenate([values, inside]))


def _of_tau2(fit: Tau2Fitted, alpha: float) -> Curve:
    estimator = fit.estimator
    own = estimator is not None and estimator.kind.likelihood
    reml = estimator is None or not own or estimator.kind.reml
    best = fit.tau2
    if not own:
        best = float(ESTIMATORS["reml"].solve(fit.studies, None).tau2)
    found = intervals.profile_likelihood(fit.studies, reml, alpha)
    values = _grid(found.lower, best, found.upper)
    likelihood = fit.studies.profile(reml)
    summary = {
        "estimate": best,
        "loglike": float(likelihood.loglike(np.asarray(best))),
        "ci_lower": found.lower,
        "ci_upper": found.upper,
        "reported": fit.tau2,
    }
    return values, np.asarray(likelihood.loglike(values)), summary


def _of_variances(fit: Profiled, wanted: list[str] | None, alpha: float) -> dict[str, Curve]:
    frame = fit.conf_int_variance(alpha)
    curves = {}
    for name in frame.index if wanted is None else wanted:
        best, low, high = (float(frame.loc[name, c]) for c in ("estimate", "ci_lower", "ci_upper"))
        if np.isfinite(best):
            # of the components only correlations can be negative
            values = _between(low, best, high, *((-1.0, 1.0) if low < 0.0 else (0.0, np.inf)))
            loglike = fit.profile_variance(name, values)
            curves[name] = _curve(fit, values, loglike, best, (low, high))
        elif wanted is not None:
            raise OptionError(
                f"The component {name!r} is undefined in this fit, a variance being 0. Name the "
                "others in components=."
            )
    return curves


def _of_scale(fit: ScaleProfiled, wanted: list[str] | None, alpha: float) -> dict[str, Curve]:
    ends = fit.scale_conf_int(alpha, "profile-likelihood").to_numpy()
    curves = {}
    components = zip(
        fit.components.names,
        fit.scale_terms.names,
        fit.components.values,
        fit.components.se,
        ends,
        strict=True,
    )
    for name, coefficient, value, se, (low, high) in components:
        if wanted is None or name in wanted:
            best = float(value)
            shown = (max(low, best - 6.0 * se), min(high, best + 6.0 * se))
            values = _between(shown[0], best, shown[1], -np.inf, np.inf)
            loglike = fit.profile_scale(coefficient, values)
            curves[name] = _curve(fit, values, loglike, best, (low, high))
    return curves


def _between(low: float, best: float, high: float, least: float, most: float) -> Array:
    """Values from beyond one end of an interval to beyond the other, within bounds."""
    if not np.isfinite(high):
        high = max(4.0 * best, 1.0)
    beyond = 0.25 * (high - low)
    edge = 1e-3 if np.isfinite(most) else 0.0
    ends = max(low - beyond, least + edge), min(high + beyond, most - edge)
    values = _with(np.linspace(*ends, _FEW_POINTS), low, high)
    # a correlation may be estimated as 1, where other values need not be defined
    return np.unique(np.append(values, best))


def _curve(
    fit: Fitted, values: Array, loglike: Array, best: float, ends: tuple[float, float]
) -> Curve:
    summary = {
        "estimate": best,
        # not the profile's there, which may be another maximum by the other components
        "loglike": float(fit.llf),
        "ci_lower": float(ends[0]),
        "ci_upper": float(ends[1]),
        "reported": best,
    }
    return values, loglike, summary
