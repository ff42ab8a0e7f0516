"""The one engine of figures with a point a study: areas, limits, names that do not collide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from metareg_sm._typing import Array, Rows
from metareg_sm.exceptions import OptionError
from metareg_sm.options import whole_number
from metareg_sm.plots.canvas import GREY, INK, box_in_points, broken, figure_of, text_widths

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox


# share of the axes that all points together may cover
_COVERED = 0.15


def areas_of(ax: Axes, weights: Array, size: float) -> Array:
    """Areas in square points, proportional to weights; the more studies the smaller."""
    k = max(len(weights), 1)
    largest = (size * np.clip(3.2 - 0.8 * np.log10(k), 1.0, 2.6)) ** 2
    shares = weights / weights.max()
    room = _COVERED * float(np.prod(box_in_points(ax)))
    return shares * min(largest, max(room / shares.sum(), 4.0))


def points(
    ax: Axes, x: Array, y: Array, areas: Any, colours: Any = GREY, label: str = "", **style: Any
) -> None:
    """Points with areas in square points, the largest first so that none is hidden."""
    areas = np.broadcast_to(np.asarray(areas, dtype=float), np.shape(x))
    order = np.argsort(-areas, kind="stable")
    many = not isinstance(colours, str)
    ax.scatter(
        np.asarray(x)[order],
        np.asarray(y)[order],
        s=areas[order],
        facecolors=np.asarray(colours)[order] if many else colours,
        edgecolors=style.pop("edgecolors", "white"),
        linewidths=style.pop("linewidths", 0.4),
        alpha=style.pop("alpha", 0.8),
        zorder=style.pop("zorder", 3.0),
        label=label,
        **style,
    )


def make_room(ax: Axes, x: Array, y: Array, areas: Any, where: str = "xy") -> None:
    """Widen the limits until every point of an area is inside the axes."""
    if not np.size(x):
        return
    figure = figure_of(ax)
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
    radius = 0.5 * np.sqrt(np.broadcast_to(areas, np.shape(x))) + 1.5
    box = ax.get_window_extent()
    for name, values, length, get, put in (
        ("x", x, box.width, ax.get_xlim, ax.set_xlim),
        ("y", y, box.height, ax.get_ylim, ax.set_ylim),
    ):
        if name not in where:
            continue
        low, high = get()
        turned = low > high
        low, high = min(low, high), max(low, high)
        share = np.minimum(radius / (length * 72.0 / figure.dpi), 0.3)
        for _ in range(3):
            span = high - low
            low = min(low, float(np.min(values - share * span)))
            high = max(high, float(np.max(values + share * span)))
        put((high, low) if turned else (low, high))


def chosen(label: Any, score: Array) -> Rows:
    """Positions of the studies that are named.

    Parameters
    ----------
    label : int, "all" or None
        How many, those with the largest scores.
    score : ndarray, (k,)

    Raises
    ------
    OptionError
        If it is neither.
    """
    k = len(score)
    if label is None or label is False:
        return np.arange(0)
    if isinstance(label, str):
        if label != "all":
            raise OptionError(f"label must be a number, 'all' or None; got {label!r}.")
        return np.arange(k)
    n = whole_number(label, "label", 0)
    return np.argsort(-np.asarray(score), kind="stable")[:n]


def name_points(
    ax: Axes,
    x: Array,
    y: Array,
    names: Sequence[str],
    which: Rows,
    areas: Any,
    size: float,
    avoid: Array | None = None,
) -> None:
    """Names beside some points: inside the axes, clear of other texts and of the named points.

    Each name takes the nearest of many places around its point that is free, in several lines where
    there is none for one; a name that is not close gets a line to its point. Places that hide other
    points, or points of lines to `avoid` (n, 2), are taken last.

    Raises
    ------
    OptionError
        If there is no room for so many.
    """
    from matplotlib.transforms import Bbox

    if not len(which):
        return
    figure = figure_of(ax)
    figure.draw_without_rendering()
    scale = figure.dpi / 72.0
    frame = ax.get_window_extent()
    at = ax.transData.transform(np.column_stack([x, y]))
    radii = 0.5 * np.sqrt(np.broadcast_to(areas, np.shape(x))) * scale
    taken = [
        Bbox.from_extents(px - r, py - r, px + r, py + r)
        for (px, py), r in zip(at[which], radii[which], strict=True)
    ]
    taken += [text.get_window_extent() for text in ax.texts]
    others = at[np.setdiff1d(np.arange(len(x)), which)]
    lines = np.empty((0, 2)) if avoid is None else ax.transData.transform(avoid)
    height = 1.25 * size * scale
    written = [names[i] for i in which]
    forms = [written]
    for share in _LINES:
        room = share * frame.width / (size * scale)
        forms.append(broken(ax, written, [room] * len(written)))
    extents = [text_widths(ax, form) * size * scale for form in forms]
    for j, i in enumerate(which):
        for form, widths in zip(forms, extents, strict=True):
            text = form[j]
            # letters are moved to whole pixels, which adds up over lines
            extent = (widths[j], height * (1.0 + 1.12 * text.count("\n")))
            box = _free(at[i], radii[i], extent, height, frame, taken, others, lines)
            if box is not None:
                break
        else:
            raise OptionError(
                f"There is no room for the names of {len(which)} studies: name fewer, or give a "
                "greater width."
            )
        taken.append(box)
        far = np.hypot(*(np.clip(at[i], box.min, box.max) - at[i])) > radii[i] + 0.9 * height
        place = ax.transData.inverted().transform(
            (box.x0 + 0.5 * box.width, box.y0 + 0.5 * box.height)
        )
        ax.annotate(
            text,
            (x[i], y[i]),
            xytext=place,
            textcoords="data",
            ha="center",
            va="center",
            fontsize=size,
            color=INK,
            annotation_clip=False,
            zorder=6.0,
            arrowprops={
                "arrowstyle": "-",
                "color": GREY,
                "linewidth": 0.5,
                "shrinkA": 0.0,
                "shrinkB": 0.0,
            }
            if far
            else None,
        )


# shares of the width of the axes in which a name is broken into lines, where it has no room in one
_LINES = (0.45, 0.3, 0.2)


def _within(places: Array, box: Bbox) -> Any:
    return ((places >= box.min) & (places <= box.max)).all(axis=1)


_DIRECTIONS = np.deg2rad([0, 180, 90, 270, 35, 145, 325, 215, 65, 115, 245, 295])


def _free(
    point: Array,
    radius: float,
    extent: tuple[float, float],
    step: float,
    frame: Bbox,
    taken: Sequence[Bbox],
    others: Array,
    lines: Array,
) -> Bbox | None:
    """The nearest free place for a text; of two as near the one that hides fewer points.

    Places stand in rings about the point, `step` from one to the next.
    """
    from matplotlib.transforms import Bbox

    width, height = extent
    best: tuple[float, Bbox] | None = None
    for ring in range(18):
        for angle in _DIRECTIONS:
            reach = radius + (0.25 + 0.8 * ring) * step
            dx, dy = np.cos(angle), np.sin(angle)
            cx = point[0] + dx * (reach + 0.5 * width * abs(dx))
            cy = point[1] + dy * (reach + 0.5 * height)
            box = Bbox.from_bounds(cx - 0.5 * width, cy - 0.5 * height, width, height)
            inside = (
                box.x0 >= frame.x0 and box.x1 <= frame.x1 and box.y0 >= frame.y0
            ) and box.y1 <= frame.y1
            if not inside or any(box.overlaps(t) for t in taken):
                continue
            leader = point + np.linspace(0.3, 0.95, 8)[:, None] * (
                np.clip(point, box.min, box.max) - point
            )
            crossed = sum(_within(leader, t).any() for t in taken if not t.contains(*point))
            # among many points a name that hides a few is better than one far away
            hidden = min(1.5 * int(_within(others, box).sum()), 4.5)
            cost = ring + 4.0 * crossed + hidden + 2.0 * _within(lines, box).any()
            if best is None or cost < best[0]:
                best = (cost, box)
        if best is not None and best[0] <= ring:
            break
    return None if best is None else best[1]
