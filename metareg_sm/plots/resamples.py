"""Figures of many fits: subsets (GOSH), permutations, the bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from metareg_sm._typing import Array, BootstrapInterval
from metareg_sm.exceptions import OptionError
from metareg_sm.options import check_alpha, choose, suggestion, whole_number
from metareg_sm.plots.canvas import (
    COLOURS,
    INK,
    attach,
    dress,
    legend_above,
    thin_ticks,
)
from metareg_sm.plots.grid import Grid, Locator, grid, host_axes
from metareg_sm.postestimation.bootstrap import Bootstrap
from metareg_sm.postestimation.clusters import ClusterPermutation, MixedBootstrap
from metareg_sm.postestimation.gosh import Gosh
from metareg_sm.postestimation.permutation import PermutationTest
from metareg_sm.postestimation.scale_permutation import ScalePermutationTest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LABELS = {"i2": "I\u00b2", "tau2": "\u03c4\u00b2", "q": "Q", "r2": "R\u00b2", "size": "Studies"}
_BINS = 60


def gosh(
    record: Gosh,
    x: str = "i2",
    y: str | None = None,
    *,
    study: int | None = None,
    name: str | None = None,
    width: float | str = "column",
    ax: Axes | None = None,
) -> Figure:
    """GOSH plot: the fits of all subsets of the studies.

    Parameters
    ----------
    record : Gosh
        What `metareg_sm.gosh` returns.
    x, y : str
        Columns of its table; `y` is the first coefficient by default.
    study : int, optional
        Position of a study: cells are coloured by the share of subsets that have it, and the
        histograms show subsets with and without it.
    name : str, optional
        Name of that study.
    width : float or {"column", "page"}, default "column"
        Of a figure of its own, in mm.
    ax : Axes, optional
        Axes that the figure fills.

    Returns
    -------
    Figure
        `metareg_data`: one row a subset: x and y (under their names), and `included`.

    Raises
    ------
    OptionError
        If it is no such record, or has no such column or study.

    References
    ----------
    Olkin, I., Dahabreh, I. J., & Trikalinos, T. A. (2012). GOSH - a graphical display of study
    heterogeneity. Research Synthesis Methods, 3(3), 214-223.
    """
    from matplotlib.colors import LogNorm

    _check(record, Gosh, "metareg_sm.gosh")
    k = record.subsets.shape[1]
    if study is not None and whole_number(study, "study", 0) >= k:
        raise OptionError(f"study must be a position from 0 to {k - 1}; got {study}.")
    data = record.plot_data(x, y, study)
    y = str(data.columns[1])
    figure, host, size = host_axes(ax, width, 0.95)
    cells = [(0.0, 0.0, 0.78, 0.76), (0.0, 0.76, 0.78, 0.24), (0.78, 0.0, 0.22, 0.76)]
    main, above, beside = (host.inset_axes(c) for c in cells)
    across, up = data[x].to_numpy(dtype=float), data[y].to_numpy(dtype=float)
    edges = [_edges(across), _edges(up)]
    counts = np.histogram2d(across, up, edges)[0]
    shown = np.where(counts > 0, counts, np.nan)
    options: dict[str, Any] = {"cmap": "viridis_r", "norm": LogNorm(1.0, max(counts.max(), 2.0))}
    groups = {"": np.ones(len(data), dtype=bool)}
    if study is not None:
        included = data["included"].to_numpy()
        share = np.histogram2d(across[included], up[included], edges)[0]
        shown = share / np.where(counts > 0, counts, np.nan)
        options = {"cmap": "coolwarm", "vmin": 0.0, "vmax": 1.0}
        label = f"study {study}" if name is None else name
        groups = {f"without {label}": ~included, f"with {label}": included}
    mesh = main.pcolormesh(*edges, shown.T, rasterized=True, gid="subsets", **options)
    key = host.inset_axes([0.80, 0.90, 0.16, 0.03])
    bar = figure.colorbar(mesh, cax=key, orientation="horizontal")
    ends = [0.0, 1.0] if study is not None else [1.0, max(counts.max(), 2.0)]
    bar.set_ticks(ends, labels=[f"{e:.0f}" for e in ends])
    bar.ax.minorticks_off()
    bar.outline.set_linewidth(0.4)
    key.tick_params(labelsize=size - 1.0, width=0.4, length=2.0, pad=1.5)
    key.set_title("subsets" if study is None else "share with", fontsize=size - 1.0, pad=3.0)
    dress(main, size, _LABELS.get(x, x), _LABELS.get(y, y))
    colours = (COLOURS[0],) if study is None else ("#3b4cc0", "#b40426")
    for (label, members), colour in zip(groups.items(), colours, strict=True):
        style = {"color": colour, "alpha": 0.6, "linewidth": 0.0}
        above.hist(across[members], edges[0], label=label, **style)
        beside.hist(up[members], edges[1], orientation="horizontal", **style)
    main.set_xlim(edges[0][[0, -1]])
    main.set_ylim(edges[1][[0, -1]])
    for margin, own in ((above, "x"), (beside, "y")):
        margin.set_axis_off()
        (margin.set_xlim if own == "x" else margin.set_ylim)(edges[own == "y"][[0, -1]])
    _settle_gosh(Grid(figure, host, [main, above, beside], cells, size))
    if study is not None:
        figure.draw_without_rendering()
        legend_above(above, size)
        _settle_gosh(Grid(figure, host, [main, above, beside], cells, size))
    return attach(figure, host, data)


def _settle_gosh(cells: Grid) -> None:
    """Place the main axes; the margins line up with it."""
    main, above, beside = cells.axes
    legend = above.get_legend()
    extra = 0.0
    if legend is not None:
        cells.figure.draw_without_rendering()
        extra = (legend.get_window_extent().height + 3.0) / cells.host.get_window_extent().height
    # a legend of many lines takes its room from the main axes
    x, y, width, height = cells.cells[0]
    cell = (x, y, width, height - max(extra - 0.08, 0.0))
    Grid(cells.figure, cells.host, [main], [cell], cells.size).settle()
    thin_ticks(main, cells.size)
    Grid(cells.figure, cells.host, [main], [cell], cells.size).settle()
    cells.figure.draw_without_rendering()
    box = main.get_window_extent().transformed(cells.host.transAxes.inverted())
    above.set_axes_locator(
        Locator(cells.host, (box.x0, box.y1 + 0.02, box.width, 0.97 - box.y1 - extra))
    )
    beside.set_axes_locator(Locator(cells.host, (box.x1 + 0.02, box.y0, 0.97 - box.x1, box.height)))


def _edges(values: Array) -> Array:
    low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, _BINS + 1)


def _check(record: Any, kind: type | tuple[type, ...], source: str) -> None:
    if not isinstance(record, kind):
        raise OptionError(f"This figure needs what {source} returns; got {type(record).__name__}.")


def _chosen(given: Sequence[str] | str | None, known: Sequence[str], argument: str) -> list[str]:
    if given is None:
        return list(known)
    wanted = [given] if isinstance(given, str) else list(given)
    for name in wanted:
        if name not in known:
            raise OptionError(
                f"{argument}={name!r} is not known.{suggestion(name, known)} There are "
                f"{', '.join(known)}."
            )
    return wanted


def _histogram(ax: Axes, values: Array, size: float, label: str) -> None:
    bins = min(_BINS, max(10, int(np.sqrt(len(values)))))
    ax.hist(values, bins, color=COLOURS[5], edgecolor="white", linewidth=0.3)
    dress(ax, size, label, "Resamples")


def _finish(cells: Grid, one_legend: bool = False) -> None:
    cells.settle()
    for i, axes in enumerate(cells.axes):
        thin_ticks(axes, cells.size)
        if i == 0 or not one_legend:
            legend_above(axes, cells.size)
    cells.settle()


def permutation(
    record: PermutationTest | ClusterPermutation,
    terms: Sequence[str] | str | None = None,
    *,
    width: float | str = "column",
    ax: Axes | None = None,
) -> Figure:
    """Permutation distribution of each coefficient's t statistic, and the one observed.

    Parameters
    ----------
    record : PermutationTest or ClusterPermutation
        What `results.permutation_test()` returns.
    terms : str or sequence of str, optional
        Coefficients, of a location-scale model those of the scale as "ln tau2: name"; all by
        default.
    width : float or {"column", "page"}, default "column"
        Of a figure of its own, in mm.
    ax : Axes, optional
        Axes that the figure fills.

    Returns
    -------
    Figure
        `metareg_data`: the statistics of the resamples, one column a coefficient, ending with NaN
        where others have more of them; its `attrs["observed"]` has those of the data.

    Raises
    ------
    OptionError
        If it is no such record, or has no such coefficient.
    """
    _check(record, (PermutationTest, ClusterPermutation), "results.permutation_test()")
    if isinstance(record, ScalePermutationTest):
        data = record.distributions
    else:
        data = pd.DataFrame(record.null_distribution, columns=record.statistic.index)
    found = record.summary_frame().loc[data.columns]
    data.columns = found.index = pd.Index([str(n) for n in data.columns])
    wanted = _chosen(terms, list(data.columns), "terms")
    data = data[wanted]
    cells = grid(len(wanted), ax, width, 0.75)
    for axes, name in zip(cells.axes, wanted, strict=True):
        values = data[name].to_numpy()
        values = values[np.isfinite(values)]
        _histogram(axes, values, cells.size, f"t statistic of {name}")
        observed, p = found.loc[name, ["statistic", "pvalue"]]
        text = "no statistic observed"
        if np.isfinite(observed):
            text = f"observed {observed:.2f}, p = {p:.3g}".replace("-", "\u2212")
        axes.axvline(observed, color=COLOURS[1], linewidth=1.2, label=text)
        axes.axvline(-observed, color=COLOURS[1], linewidth=0.8, linestyle=(0, (3, 2)))
    _finish(cells)
    data.attrs["observed"] = found.loc[wanted, "statistic"]
    return attach(cells.figure, cells.host, data)


def bootstrap(
    record: Bootstrap | MixedBootstrap,
    quantities: Sequence[str] | str | None = None,
    *,
    kind: BootstrapInterval = "percentile",
    alpha: float = 0.05,
    width: float | str = "column",
    ax: Axes | None = None,
) -> Figure:
    """Bootstrap distribution of each quantity, its estimate and its interval.

    Parameters
    ----------
    record : Bootstrap or MixedBootstrap
        What `results.bootstrap()` returns.
    quantities : str or sequence of str, optional
        Coefficients, "tau2", "i2", "r2", or components of dependent effects; all by default.
    kind : {"percentile", "bca"}
        Of the interval; of dependent effects there are percentiles.
    alpha : float, default 0.05
        1 minus its coverage.
    width : float or {"column", "page"}, default "column"
        Of a figure of its own, in mm.
    ax : Axes, optional
        Axes that the figure fills.

    Returns
    -------
    Figure
        `metareg_data`: one row a resample; its `attrs["intervals"]` has estimate, ci_lower,
        ci_upper.

    Raises
    ------
    OptionError
        If it is no such record, or has no such quantity.
    """
    _check(record, (Bootstrap, MixedBootstrap), "results.bootstrap()")
    alpha = check_alpha(alpha)
    wanted = _chosen(quantities, [str(c) for c in record.distribution.columns], "quantities")
    if isinstance(record, Bootstrap):
        ends = record.conf_int(alpha, kind).loc[wanted]
    else:
        choose({"percentile": "percentile"}, kind, "kind")
        ends = record.conf_int(alpha).loc[wanted]
    data = record.distribution[wanted].copy()
    cells = grid(len(wanted), ax, width, 0.85, 2)
    for axes, name in zip(cells.axes, wanted, strict=True):
        values = data[name].to_numpy()
        _histogram(axes, values[np.isfinite(values)], cells.size, _LABELS.get(name, name))
        axes.axvline(ends.loc[name, "estimate"], color=INK, linewidth=1.0, label="estimate")
        label = f"{100 * (1 - alpha):g}% interval"
        for column in ("ci_lower", "ci_upper"):
            axes.axvline(
                ends.loc[name, column],
                color=COLOURS[1],
                linewidth=1.0,
                linestyle=(0, (3, 2)),
                label=label,
            )
            label = ""
    _finish(cells, one_legend=True)
    data.attrs["intervals"] = ends
    return attach(cells.figure, cells.host, data)
