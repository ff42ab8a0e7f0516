"""What every figure must be: texts inside it, and none upon another."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.collections import PathCollection
from matplotlib.text import Text

from metareg_sm import MetaReg

mpl.use("Agg")

WIDTHS = (89.0, 183.0)
SIZES = (5, 40, 200)


def studies(k, seed=0):
    """A table of k studies with names of unequal length, two moderators and a factor."""
    rng = np.random.default_rng(seed)
    v = rng.uniform(0.01, 0.3, k)
    x = rng.normal(size=k)
    size = rng.integers(20, 900, k)
    names = [f"{'Ab' * (1 + i % 5)} {i} et al., {1960 + i % 60}" for i in range(k)]
    level = np.array(["low", "high", "unclear"])[np.arange(k) % 3]
    y = 0.2 + 0.3 * x + rng.normal(0.0, np.sqrt(v + 0.05))
    z = rng.normal(size=k)
    return pd.DataFrame({"study": names, "y": y, "v": v, "x": x, "z": z, "bias": level, "n": size})


def fitted(k, formula="y ~ 1", seed=0, **options):
    return MetaReg.from_formula(formula, studies(k, seed), vi="v").fit(**options)


def width_of(fig):
    return fig.get_size_inches()[0] * 25.4


def every_axes(fig):
    """All axes, those within others too."""
    found = list(fig.axes)
    for ax in found:
        found.extend(a for a in ax.child_axes if a not in found)
    return found


def shown_texts(fig):
    """Every text that is drawn."""
    fig.canvas.draw()
    hidden = set()
    for ax in every_axes(fig):
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            slack = 1e-9 * (high - low)
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                out = not low - slack <= tick.get_loc() <= high + slack
                if out or not ax.axison or not ax.get_visible():
                    hidden |= {id(tick.label1), id(tick.label2)}
            if not ax.axison:
                hidden |= {id(axis.label), id(axis.offsetText)}
    found = fig.findobj(Text)
    return [t for t in found if t.get_visible() and t.get_text().strip() and id(t) not in hidden]


def assert_tidy(fig):
    """No text leaves the figure, no two texts overlap, no legend covers axes."""
    texts = shown_texts(fig)
    assert texts
    assert_legends_beside(fig)
    # of an annotation the text alone, without the line to its point
    boxes = [Text.get_window_extent(t) for t in texts]
    frame = fig.bbox
    for text, box in zip(texts, boxes, strict=True):
        inside = (
            box.x0 >= frame.x0 - 0.5
            and box.x1 <= frame.x1 + 0.5
            and box.y0 >= frame.y0 - 0.5
            and box.y1 <= frame.y1 + 0.5
        )
        assert inside, f"{text.get_text()!r} leaves the figure: {box} in {frame}"
        assert text.get_fontsize() >= 3.9, text.get_text()
    edges = np.array([(b.x0, b.x1, b.y0, b.y1) for b in boxes])
    for i in range(len(edges)):
        x = np.minimum(edges[i, 1], edges[i + 1 :, 1]) - np.maximum(edges[i, 0], edges[i + 1 :, 0])
        y = np.minimum(edges[i, 3], edges[i + 1 :, 3]) - np.maximum(edges[i, 2], edges[i + 1 :, 2])
        for j in np.flatnonzero((x > 1.0) & (y > 1.0)):
            first, second = texts[i].get_text(), texts[i + 1 + j].get_text()
            raise AssertionError(f"{first!r} and {second!r} overlap by {x[j]:.1f} x {y[j]:.1f}")


def assert_legends_beside(fig):
    """No legend stands upon axes that show something."""
    for ax in every_axes(fig):
        if ax.get_legend() is None:
            continue
        legend = ax.get_legend().get_window_extent()
        for other in (a for a in every_axes(fig) if a.axison):
            box = other.get_window_extent()
            across = min(legend.x1, box.x1) - max(legend.x0, box.x0)
            up = min(legend.y1, box.y1) - max(legend.y0, box.y0)
            assert min(across, up) <= 1.0, f"a legend covers {across:.0f} x {up:.0f} of axes"


def assert_points_inside(fig):
    """Every point of a scatter lies within its axes, whole."""
    fig.canvas.draw()
    for ax in every_axes(fig):
        frame = ax.get_window_extent()
        for points in ax.collections:
            if not isinstance(points, PathCollection) or not len(points.get_offsets()):
                continue
            at = ax.transData.transform(points.get_offsets())
            radius = 0.5 * np.sqrt(points.get_sizes()) * fig.dpi / 72.0
            assert (at[:, 0] - radius >= frame.x0 - 0.6).all(), ax.get_xlabel()
            assert (at[:, 0] + radius <= frame.x1 + 0.6).all(), ax.get_xlabel()
            assert (at[:, 1] - radius >= frame.y0 - 0.6).all(), ax.get_ylabel()
            assert (at[:, 1] + radius <= frame.y1 + 0.6).all(), ax.get_ylabel()


def by_gid(fig, gid):
    """Artists with a name, in the order in which they were drawn."""
    return [a for ax in every_axes(fig) for a in ax.get_children() if a.get_gid() == gid]


def written(fig):
    return [t.get_text() for t in shown_texts(fig)]
