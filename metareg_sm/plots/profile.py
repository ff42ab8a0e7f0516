"""Profile likelihood of the variance components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
from scipy import special

from metareg_sm._typing import Array
from metareg_sm.core.tau2 import ESTIMATORS
from metareg_sm.exceptions import OptionError
from metareg_sm.options import check_alpha, suggestion
from metareg_sm.plots.canvas import COLOURS, GREY, INK, attach, dress, legend_above, thin_ticks
from metareg_sm.plots.grid import grid
from metareg_sm.postestimation.fitted import Fitted, Labelled, Tau2Fitted, plain
from metareg_sm.stats import intervals

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# of tau2, and of a component each of whose values is a search for the others
_POINTS, _FEW_POINTS = 201, 41


class Profiled(Fitted, Protocol):
    """A fit that profiles the likelihood of each of its variance components."""

    def profile_variance(self, name: str, values: Array) -> Array:
        """Log-likelihood with a component held at each value, the others at their best."""
        ...

    def conf_int_variance(self, alpha: float = 0.05) -> pd.DataFrame:
        """Profile intervals: rows the components, columns estimate, ci_lower, ci_upper."""
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
        A fit.
    components : str or list of str, optional
        Which variance components; all by default.
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

    Notes
    -----
    The maximum is the certified global one: all stationary points of the likelihood are bracketed
    before one is chosen. Where tau2 was estimated by another method than likelihood, the
    restricted likelihood is shown and the estimate is marked beside its maximum.

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
    level = check_alpha(alpha)
    names = _names(fit, components)
    drop = 0.5 * float(special.chdtri(1, level))
    curves = [_curve(fit, name, level) for name in names]
    cells = grid(len(names), ax, width, 0.75)
    frames, maxima = [], {}
    for axes, name, (values, loglike, best) in zip(cells.axes, names, curves, strict=True):
        symbol = "\u03c4\u00b2" if name == "tau2" else name
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
            label=f"{100 * (1 - level):g}% interval",
        )
        axes.plot(
            [best["estimate"]],
            [0.0],
            marker="o",
            markersize=0.6 * cells.size,
            color=INK,
            linestyle="none",
            label="maximum",
            clip_on=False,
            zorder=4.0,
        )
        for end in (best["ci_lower"], best["ci_upper"]):
            # an end at the boundary is no crossing
            if end != 0.0 and values[0] < end < values[-1]:
                axes.plot([end] * 2, [-drop, -1.6 * drop], color=GREY, linewidth=0.6)
        own = best["reported"]
        if abs(own - best["estimate"]) > 1e-6 * max(own, best["estimate"]):
            axes.axvline(
                own,
                color=COLOURS[1],
                linewidth=0.9,
                linestyle=(0, (1, 1)),
                label=f"estimate ({fit.components.label})",
            )
        axes.set_ylim(-1.6 * drop, 0.12 * drop)
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


def _names(fit: Fitted, components: list[str] | str | None) -> list[str]:
    known = list(fit.components.names)
    if fit.components.n_estimated == 0:
        raise OptionError("All variances are held fixed in this fit; there is nothing to profile.")
    if components is None:
        return known
    wanted = [components] if isinstance(components, str) else list(components)
    for name in wanted:
        if name not in known:
            raise OptionError(
                f"components={name!r} is not known.{suggestion(name, known)} There are "
                f"{', '.join(known)}."
            )
    return wanted


Curve = tuple[Array, Array, dict[str, float]]


def _curve(fit: Any, name: str, alpha: float) -> Curve:
    if hasattr(fit, "profile_variance"):
        return _of_component(fit, name, alpha)
    if hasattr(fit, "studies") and hasattr(fit, "estimator"):
        return _of_tau2(fit, alpha)
    raise OptionError("This model cannot profile the likelihood of its variance components.")


def _grid(low: float, best: float, high: float, points: int) -> Array:
    """Values from 0 to beyond the interval, the maximum and the ends among them.

    A component that can be negative is a correlation: its values go from -1 to 1.
    """
    far = high + 0.25 * (high - low) if np.isfinite(high) else max(4.0 * best, 1.0)
    if low < 0.0:
        values = np.linspace(-1.0, 1.0, points)[1:-1]
        far = 1.0
    else:
        # closer together towards 0, where the likelihood may be steep
        values = far * np.linspace(0.0, 1.0, points) ** 2
    known = [x for x in (low, best, high) if np.isfinite(x) and -1.0 < x <= far]
    return np.unique(np.concatenate([values, known]))


def _of_tau2(fit: Tau2Fitted, alpha: float) -> Curve:
    estimator = fit.estimator
    own = estimator is not None and estimator.kind.likelihood
    reml = estimator is None or not own or estimator.kind.reml
    best = fit.tau2
    if not own:
        best = float(ESTIMATORS["reml"].solve(fit.studies, None).tau2)
    found = intervals.profile_likelihood(fit.studies, reml, alpha)
    values = _grid(found.lower, best, found.upper, _POINTS)
    likelihood = fit.studies.profile(reml)
    summary = {
        "estimate": best,
        "loglike": float(likelihood.loglike(np.asarray(best))),
        "ci_lower": found.lower,
        "ci_upper": found.upper,
        "reported": fit.tau2,
    }
    return values, np.asarray(likelihood.loglike(values)), summary


def _of_component(fit: Profiled, name: str, alpha: float) -> Curve:
    row = fit.conf_int_variance(alpha).loc[name]
    best, low, high = (float(row[c]) for c in ("estimate", "ci_lower", "ci_upper"))
    if not np.isfinite(best):
        raise OptionError(
            f"The component {name!r} is undefined in this fit, a variance being 0. Name the others "
            "in components=."
        )
    values = _grid(low, best, high, _FEW_POINTS)
    loglike = np.asarray(fit.profile_variance(name, values))
    top = float(np.asarray(fit.profile_variance(name, np.array([best])))[0])
    summary = {
        "estimate": best,
        "loglike": top,
        "ci_lower": low,
        "ci_upper": high,
        "reported": best,
    }
    return values, loglike, summary
