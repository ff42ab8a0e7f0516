"""Figures and axes: sizes in millimetres, sizes of text in points, the numbers behind a figure."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from metareg_sm.exceptions import OptionError
from metareg_sm.options import choose, finite_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: points in a millimetre
MM = 72.0 / 25.4
#: smallest and largest text of a figure, in points
SMALLEST, LARGEST = 5.0, 8.0
#: widths of figures that journals have names for, in mm
WIDTHS = MappingProxyType({"column": 89.0, "page": 183.0})
#: colours that colour-blind readers can tell apart (Okabe & Ito, 2008)
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
INK, GREY, PALE = "#000000", "#767676", "#d9d9d9"


def check_axes(ax: Any) -> Any:
    """Refuse what are no axes of matplotlib.

    Raises
    ------
    OptionError
        Which says what was given.
    """
    if ax is not None and not (hasattr(ax, "inset_axes") and hasattr(ax, "figure")):
        raise OptionError(f"ax must be axes of matplotlib; got {type(ax).__name__}.")
    return ax


def width_in_mm(width: Any) -> float:
    """A width in mm: a number, or "column" or "page".

    Raises
    ------
    OptionError
        If it is neither, or less than 40 mm.
    """
    if isinstance(width, str):
        return choose(WIDTHS, width, "width")
    return finite_number(width, "width", least=40.0)


def new_figure(width: float, height: float, layout: str | None = None) -> Figure:
    """An empty figure, in mm.

    It is one of pyplot's, as statsmodels' figures are: a script shows it with ``plt.show()``, a
    notebook and a gallery show it without more. A caller who wants no trace in pyplot gives axes.
    """
    from matplotlib import pyplot as plt

    size = (width * MM / 72.0, height * MM / 72.0)
    return plt.figure(figsize=size, layout=layout)


def single(ax: Axes | None, width: Any, ratio: float = 0.72) -> tuple[Figure, Axes, float]:
    """A figure of one set of axes, or the given ones, and the size of its text in points."""
    if check_axes(ax) is None:
        across = width_in_mm(width)
        figure = new_figure(across, across * ratio, "constrained")
        return figure, figure.add_subplot(), text_size(across)
    assert ax is not None
    return figure_of(ax), ax, text_size(box_in_points(ax)[0] / MM * 1.2)


def figure_of(ax: Axes) -> Figure:
    """The figure that axes stand in, be it through a subfigure."""
    return ax.figure.figure


def text_size(width: float) -> float:
    """Size of the text of a figure of a width in mm, in points."""
    return float(np.clip(6.0 + (width - 60.0) / 60.0, SMALLEST + 0.5, LARGEST))


def box_in_points(ax: Axes) -> tuple[float, float]:
    """Width and height of axes."""
    box = ax.get_window_extent()
    dpi = figure_of(ax).dpi
    return box.width * 72.0 / dpi, box.height * 72.0 / dpi


def text_widths(ax: Axes, texts: Sequence[str], bold: bool = False) -> np.ndarray:
    """Widths of texts of 1 point; the widest line of each."""
    from matplotlib.text import Text

    figure = figure_of(ax)
    probe = Text(0, 0, "", fontweight="bold" if bold else "normal")
    probe.set_figure(figure)
    known: dict[str, float] = {"": 0.0}
    for text in texts:
        if text not in known:
            probe.set_text(text)
            widest = 0.0
            # small letters are moved to whole pixels, which can make a line longer
            for size in (5.0, 7.0, 20.0):
                probe.set_fontsize(size)
                widest = max(widest, probe.get_window_extent().width / size)
            # and by how much depends on the resolution in which the figure is saved
            known[text] = 1.03 * widest * 72.0 / figure.dpi
    return np.array([known[t] for t in texts])


def broken(ax: Axes, texts: Sequence[str], rooms: Sequence[float], bold: bool = False) -> list[str]:
    """Texts in as few lines as their rooms allow, for text of 1 point; a long word stays whole."""
    words = sorted({word for text in texts for word in text.split()})
    widths = dict(zip(words, text_widths(ax, words, bold), strict=True))
    joined, alone = text_widths(ax, ["n n", "n"], bold)
    space = joined - 2.0 * alone
    found = []
    for text, room in zip(texts, rooms, strict=True):
        lines: list[str] = []
        at = np.inf
        for word in text.split():
            at += space + widths[word]
            if at <= room:
                lines[-1] += f" {word}"
            else:
                lines.append(word)
                at = widths[word]
        found.append("\n".join(lines))
    return found


def attach(figure: Figure, ax: Axes, data: pd.DataFrame) -> Figure:
    """Leave the plotted numbers on the figure and on its axes, as `metareg_data`."""
    figure.metareg_data = data
    ax.metareg_data = data
    return figure


def dress(ax: Axes, size: float, xlabel: str = "", ylabel: str = "") -> None:
    """Axes as all figures have them: two spines, texts of one size."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=size, width=0.6, length=3.0, pad=2.0)
    for spine in ax.spines.values():
        spine.set_linewidth(0.6)
    ax.set_xlabel(xlabel, fontsize=size, labelpad=3.0)
    ax.set_ylabel(ylabel, fontsize=size, labelpad=3.0)
    break_labels(ax)


def break_labels(ax: Axes) -> None:
    """Names of the axes in lines that are no longer than these."""
    for axis, length in zip((ax.xaxis, ax.yaxis), box_in_points(ax), strict=True):
        label = axis.label
        text = label.get_text()
        label.set_text(broken(ax, [text], [1.05 * length / label.get_fontsize()])[0])


def thin_ticks(ax: Axes, size: float, which: str = "both") -> None:
    """Fewer ticks, until their labels stand apart; their numbers are whole, without an offset."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    width, height = box_in_points(ax)
    for name, axis, length in (("x", ax.xaxis, width), ("y", ax.yaxis, height)):
        if which not in ("both", name):
            continue
        axis.set_major_formatter(FuncFormatter(tick_text))
        for bins in (8, 6, 5, 4, 3, 2):
            axis.set_major_locator(MaxNLocator(bins, steps=[1, 2, 2.5, 5, 10]))
            ticks = [t for t in axis.get_majorticklocs() if _inside(t, axis.get_view_interval())]
            labels = axis.get_major_formatter().format_ticks(ticks)
            extent = text_widths(ax, labels).max(initial=0.0) if name == "x" else 1.2
            if len(ticks) * (extent + 0.8) * size <= length * 1.1:
                break
        else:
            # not even two labels have room
            axis.set_ticks(ticks[:1])


def tick_text(value: float, _: int | None = None) -> str:
    """A number at an axis: all of its digits, in powers of ten where it is very large or small."""
    text, short = f"{value:.14g}", f"{value:g}"
    if len(text) > 8 and float(short) == float(text):
        text = short
    return text.replace("-", "\u2212")


def _inside(value: float, view: Any) -> bool:
    return bool(min(view) <= value <= max(view))


def legend_above(ax: Axes, size: float, handles: Sequence[Any] = ()) -> None:
    """A legend above the axes, where it hides nothing, in as many columns as there is room for."""
    handles = list(handles) or ax.get_legend_handles_labels()[0]
    labels = [h.get_label() for h in handles]
    if not labels:
        return
    room, beside = box_in_points(ax)[0], 3.6
    labels = broken(ax, labels, [room / size - beside] * len(labels))
    widest = (text_widths(ax, labels).max() + beside) * size
    columns = int(np.clip(room // widest, 1, len(labels)))
    ax.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(0.0, 1.01),
        ncols=columns,
        fontsize=size,
        frameon=False,
        borderaxespad=0.0,
        handlelength=1.6,
        handletextpad=0.5,
        columnspacing=1.2,
    )
