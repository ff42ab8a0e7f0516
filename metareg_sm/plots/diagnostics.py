"""Figures of residuals and influence: Q-Q, Baujat, the influence panel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd
from scipy import special

from metareg_sm._typing import Array, Seed
from metareg_sm.exceptions import DesignError, OptionError
from metareg_sm.options import check_alpha, whole_number
from metareg_sm.plots.canvas import (
    COLOURS,
    GREY,
    INK,
    PALE,
    attach,
    box_in_points,
    dress,
    single,
    thin_ticks,
)
from metareg_sm.plots.grid import grid
from metareg_sm.plots.scatter import chosen, make_room, name_points, points
from metareg_sm.plots.studies import names_of, weights_of
from metareg_sm.postestimation.fitted import Fitted, Labelled, plain
from metareg_sm.postestimation.scale_influence import ScaleInfluence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Deletions(Protocol):
    """Deletion diagnostics, with statsmodels' names and shapes."""

    hat_matrix_diag: Array
    resid_studentized_external: Array
    dffits: tuple[Array, float]
    cooks_distance: tuple[Array, Array]
    cov_ratio: Array
    tau2_deleted: Array

    def baujat(self) -> pd.DataFrame:
        """Coordinates x and y of each study."""
        ...


def _deletions(results: Fitted | Labelled[Fitted]) -> Deletions:
    """The deletion diagnostics of a fit.

    Raises
    ------
    OptionError
        If the model has none.
    """
    found = getattr(plain(results), "get_influence", None)
    if found is None:
        raise OptionError("This model has no deletion diagnostics (get_influence).")
    return found()


def _small(size: float, k: int, width: float = np.inf) -> float:
    """Area of points that all count the same; side by side over a width in points, if one is given.

    A point then has up to five times the room of a study along the axis, and no less than 1.5
    points.
    """
    diameter = 0.62 * size * np.clip(1.0 - 0.2 * np.log10(max(k / 20.0, 1.0)), 0.55, 1.0)
    return float(min(diameter, max(5.0 * width / max(k, 1), 1.5)) ** 2)


def standardised_residuals(fit: Fitted) -> Array:
    """Internally studentised residuals, from the whitened ones and their leverages."""
    regression = fit.regression
    slack = 1.0 - (regression.Q**2).sum(axis=1)
    if (slack <= 1e-10).any():
        raise DesignError(
            "A study is fitted exactly whatever its outcome (leverage 1); its residual has no "
            "distribution."
        )
    return regression.resid / np.sqrt(slack)


def qq(
    results: Fitted | Labelled[Fitted],
    *,
    n_resamples: int = 1000,
    rng: Seed = None,
    envelope: float = 0.95,
    label: int | str | None = None,
    labels: str | Sequence[str] | None = None,
    width: float | str = "column",
    ax: Axes | None = None,
) -> Figure:
    """Normal Q-Q plot of the standardised residuals, with a simulated envelope.

    Parameters
    ----------
    results : results of any model
        A fit.
    n_resamples : int, default 1000
        Samples for the envelope.
    rng : int or Generator, optional
        Their seed.
    envelope : float, default 0.95
        Pointwise coverage of the envelope.
    label : int or "all", optional
        Name so many studies, those farthest from the line.
    labels : str or sequence of str, optional
        Columns that name the studies, as in `forest`.
    width : float or {"column", "page"}, default "column"
        Of a figure of its own, in mm.
    ax : Axes, optional
        Axes to draw in.

    Returns
    -------
    Figure
        `metareg_data`: one row a study, ascending: theoretical, residual, lower, upper.

    Notes
    -----
    Residuals are internally studentised, at the estimated variances. Samples are drawn from the
    fitted model with the same design, so that the envelope allows for the correlation of residuals
    but not for the estimation of the variances. A correlated model is whitened first: there a
    point is a combination of the studies of its cluster.

    References
    ----------
    Atkinson, A. C. (1985). Plots, Transformations and Regression. Oxford University Press.

    Examples
    --------
    >>> import metareg_sm
    >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
    >>> res = metareg_sm.MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
    >>> fig = res.plot_qq(rng=1)
    >>> list(fig.metareg_data.columns)
    ['theoretical', 'residual', 'lower', 'upper']
    """
    fit = plain(results)
    n = whole_number(n_resamples, "n_resamples", 20)
    tail = 0.5 * (1.0 - check_alpha(envelope, "envelope"))
    resid = standardised_residuals(fit)
    k = len(resid)
    order = np.argsort(resid, kind="stable")
    # Blom's positions
    theoretical = special.ndtri((np.arange(1, k + 1) - 0.375) / (k + 0.25))
    Q = fit.regression.Q
    drawn = np.random.default_rng(rng).standard_normal((n, k))
    drawn = (drawn - (drawn @ Q) @ Q.T) / np.sqrt(1.0 - (Q**2).sum(axis=1))
    lower, upper = np.quantile(np.sort(drawn, axis=1), [tail, 1.0 - tail], axis=0)
    names = names_of(fit, labels)
    figure, ax, size = single(ax, width, 0.85)
    dress(ax, size, "Normal quantile", "Standardised residual")
    area = _small(size, k)
    ax.fill_between(theoretical, lower, upper, color=PALE, linewidth=0.0, zorder=0.5)
    ends = np.array([theoretical[0], theoretical[-1]])
    ax.plot(ends, ends, color=INK, linewidth=0.8, zorder=1.0)
    y = resid[order]
    points(ax, theoretical, y, area, COLOURS[0])
    make_room(ax, theoretical, y, area)
    thin_ticks(ax, size)
    ordered = [names[i] for i in order]
    far = chosen(label, np.abs(y - theoretical))
    name_points(ax, theoretical, y, ordered, far, area, size)
    data = pd.DataFrame(
        {"theoretical": theoretical, "residual": y, "lower": lower, "upper": upper}, index=ordered
    )
    return attach(figure, ax, data)


def baujat(
    results: Fitted | Labelled[Fitted],
    *,
    label: int | str | None = 5,
    labels: str | Sequence[str] | None = None,
    width: float | str = "column",
    ax: Axes | None = None,
) -> Figure:
    """Baujat plot: which studies are heterogeneous, and which of them matter.

    Parameters
    ----------
    results : MetaRegResults or LocationScaleResults
        A fit with `get_influence`.
    label : int or "all", default 5
        Name so many studies, those with the largest sum of both coordinates over their maxima.
    labels : str or sequence of str, optional
        Columns that name the studies, as in `forest`.
    width : float or {"column", "page"}, default "column"
        Of a figure of its own, in mm.
    ax : Axes, optional
        Axes to draw in.

    Returns
    -------
    Figure
        `metareg_data`: one row a study: x, the contribution to the heterogeneity, and y, the
        influence on the fitted value.

    Raises
    ------
    OptionError
        If the model has no deletion diagnostics.

    References
    ----------
    Baujat, B., Mahé, C., Pignon, J.-P., & Hill, C. (2002). A graphical method for exploring
    heterogeneity in meta-analyses: Application to a meta-analysis of 65 trials. Statistics in
    Medicine, 21(18), 2641-2652.
    """
    fit = plain(results)
    found = _deletions(results).baujat()
    x, y = found["x"].to_numpy(dtype=float), found["y"].to_numpy(dtype=float)
    defined = np.isfinite(x) & np.isfinite(y)
    names = [n for n, good in zip(names_of(fit, labels), defined, strict=True) if good]
    x, y = x[defined], y[defined]
    figure, ax, size = single(ax, width, 0.85)
    dress(ax, size, "Squared Pearson residual", "Influence on the fitted value")
    area = _small(size, len(x))
    points(ax, x, y, area, COLOURS[0])
    ax.set_xlim(0.0, None)
    ax.set_ylim(0.0, None)
    make_room(ax, x, y, area)
    thin_ticks(ax, size)
    score = x / (x.max() or 1.0) + y / (y.max() or 1.0)
    name_points(ax, x, y, names, chosen(label, score), area, size)
    return attach(figure, ax, pd.DataFrame({"x": x, "y": y}, index=names))


def influence(
    results: Fitted | Labelled[Fitted],
    *,
    labels: str | Sequence[str] | None = None,
    width: float | str = "page",
    ax: Axes | None = None,
) -> Figure:
    """Panel of the deletion diagnostics, one point a study; of dependent effects a cluster.

    Parameters
    ----------
    results : MetaRegResults, LocationScaleResults or MixedMetaRegResults
        A fit with `get_influence` or `leave_one_cluster_out`.
    labels : str or sequence of str, optional
        Columns that name the studies in `metareg_data`, as in `forest`.
    width : float or {"column", "page"}, default "page"
        Of a figure of its own, in mm.
    ax : Axes, optional
        Axes that the panel fills.

    Returns
    -------
    Figure
        `metareg_data`: one row a study: number, rstudent, dffits, cooks_distance, cov_ratio,
        tau2_deleted, hat, weight, and dfb_* of the scale of a location-scale fit; or one row a
        cluster: number, cooks_distance, cov_ratio, and the variances, correlations and
        coefficients without it.

    Raises
    ------
    OptionError
        If the model has no deletion diagnostics.

    Notes
    -----
    Dashed lines: 0 and plus or minus 1.96 for deleted residuals; plus or minus 3 sqrt(p/(k - p))
    for DFFITS; the median of chi-squared with p degrees of freedom for Cook's distance; 1 for the
    ratio of covariances; the estimate from all studies for tau2, the mean of all studies where it
    differs; p/k and 3 p/k for leverages; plus or minus 1 for DFBETAS of the scale.
    Studies beyond a threshold are marked. Clusters are the outermost grouping's; the lines are the
    estimates from all of them.

    References
    ----------
    Viechtbauer, W., & Cheung, M. W.-L. (2010). Outlier and influence diagnostics for meta-analysis.
    Research Synthesis Methods, 1(2), 112-125.
    """
    fit = plain(results)
    clusters = getattr(fit, "leave_one_cluster_out", None)
    if clusters is not None:
        return _panel(*_of_clusters(fit, clusters().summary_frame()), "Cluster", width, ax)
    return _panel(*_of_studies(fit, _deletions(results), labels), "Study", width, ax)


# a column, its label, lines, and the thresholds beyond which points are marked
Panel = tuple[str, str, list[float], list[float]]


def _of_studies(
    fit: Fitted, found: Deletions, labels: str | Sequence[str] | None
) -> tuple[pd.DataFrame, list[Panel]]:
    k, p = fit.table.exog.shape
    weights = weights_of(fit)
    data = pd.DataFrame(
        {
            "number": np.arange(1, k + 1),
            "rstudent": found.resid_studentized_external,
            "dffits": found.dffits[0],
            "cooks_distance": found.cooks_distance[0],
            "cov_ratio": found.cov_ratio,
            "tau2_deleted": found.tau2_deleted,
            "hat": found.hat_matrix_diag,
            "weight": weights / weights.sum(),
        },
        index=names_of(fit, labels),
    )
    large = float(found.dffits[1])
    median = float(2.0 * special.gammaincinv(0.5 * p, 0.5))
    panels: list[Panel] = [
        ("rstudent", "Deleted residual", [0.0], [-1.96, 1.96]),
        ("dffits", "DFFITS", [0.0], [-large, large]),
        ("cooks_distance", "Cook's distance", [], [-np.inf, median]),
        ("cov_ratio", "Covariance ratio", [1.0], []),
        ("tau2_deleted", "\u03c4\u00b2 without the study", [fit.between_variance], []),
        ("hat", "Leverage", [p / k], [-np.inf, 3.0 * p / k]),
        ("weight", "Weight (fraction)", [1.0 / k], []),
    ]
    if isinstance(found, ScaleInfluence):
        # tau2 is the mean of the studies; what each does to its moderators
        for name, values in zip(found.scale_names, found.dfbetas_scale.T, strict=True):
            column, shown = f"dfb_{name}", name.replace("tau2", "\u03c4\u00b2")
            data[column] = values
            panels.append((column, f"DFBETAS, {shown}", [0.0], [-1.0, 1.0]))
    return data, panels


def _of_clusters(fit: Fitted, found: pd.DataFrame) -> tuple[pd.DataFrame, list[Panel]]:
    data = found.copy()
    data.insert(0, "number", np.arange(1, len(data) + 1))
    p = len(fit.terms.names)
    median = float(2.0 * special.gammaincinv(0.5 * p, 0.5))
    panels: list[Panel] = [
        ("cooks_distance", "Cook's distance", [], [-np.inf, median]),
        ("cov_ratio", "Covariance ratio", [1.0], []),
    ]
    estimates = {
        **dict(zip(fit.components.names, fit.components.values, strict=True)),
        **dict(zip(fit.terms.names, np.asarray(fit.params), strict=True)),
    }
    panels += [
        (name, name, [float(value)] if np.isfinite(value) else [], [])
        for name, value in estimates.items()
    ]
    return data, panels


def _panel(
    data: pd.DataFrame,
    panels: Sequence[Panel],
    unit: str,
    width: float | str,
    ax: Axes | None,
) -> Figure:
    k = len(data)
    cells = grid(len(panels), ax, width, 0.8, 2, 3)
    area = _small(cells.size, k, 0.75 * box_in_points(cells.axes[0])[0])
    for axes, (name, label, centre, limits) in zip(cells.axes, panels, strict=True):
        y = data[name].to_numpy(dtype=float)
        defined = np.isfinite(y)
        dress(axes, cells.size, f"{unit} (number)", label)
        for value in centre:
            axes.axhline(value, color=GREY, linewidth=0.6, zorder=0.5)
        shown = [v for v in limits if np.isfinite(v)]
        for value in shown:
            axes.axhline(value, color=GREY, linewidth=0.6, linestyle=(0, (3, 2)), zorder=0.5)
        beyond = defined & (y < limits[0]) | (y > limits[1]) if limits else np.zeros(k, bool)
        colours = np.where(beyond, COLOURS[1], COLOURS[0])
        axes.plot(data["number"][defined], y[defined], color=PALE, linewidth=0.7, zorder=1.0)
        points(
            axes, data["number"].to_numpy()[defined], y[defined], area, colours[defined], gid=name
        )
        axes.set_xlim(0.0, k + 1.0)
        if not defined.any():
            style = {"ha": "center", "va": "center", "fontsize": cells.size, "color": GREY}
            axes.text(0.5, 0.5, "undefined", transform=axes.transAxes, **style)
            axes.set_yticks([])
    cells.settle()
    for axes, (name, *_) in zip(cells.axes, panels, strict=True):
        seen = data[np.isfinite(data[name])]
        make_room(axes, seen["number"].to_numpy(), seen[name].to_numpy(), area)
        thin_ticks(axes, cells.size, "both" if len(seen) else "x")
    cells.settle()
    return attach(cells.figure, cells.host, data)
