"""Figures of a fit as SVG that stands within a page."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from metareg_sm.exceptions import MetaRegError
from metareg_sm.report.content import Content
from metareg_sm.report.scale import continuous_moderators

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: widths that a figure is drawn for: a phone's, and a page's
WIDTHS = ("column", "page")
#: more studies than this make a forest plot of several screens
_LARGEST_FOREST = 200
_MOST_BUBBLES = 6

_DROPPED = re.compile(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>", re.DOTALL)
_NAMESPACES = re.compile(r'\s(?:xmlns(?::\w+)?|version)="[^"]*"')
_IDS = re.compile(r'(\bid="|(?:xlink:)?href="#|url\(#)')


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure at the widths that it is shown in.

    Attributes
    ----------
    caption : str
        What it shows.
    svgs : tuple of str
        For each of `WIDTHS`; empty where it could not be drawn.
    problem : str
        Why not.
    """

    caption: str
    svgs: tuple[str, ...]
    problem: str = ""


def svg_of(figure: Figure, prefix: str) -> str:
    """A figure as an SVG element within HTML.

    Text is drawn as outlines, so that it looks the same everywhere. Identifiers have a prefix, so
    that several can stand on one page; comments, metadata and namespaces, which HTML does not
    need, are gone.
    """
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": prefix}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=nothing)
    text = _DROPPED.sub("", buffer.getvalue()).strip()
    opening, rest = text.split(">", 1)
    opening = _NAMESPACES.sub("", opening)
    rest = rest.replace("xlink:href=", "href=")
    return _IDS.sub(rf"\g<1>{prefix}-", f"{opening}>{rest}")


def has_matplotlib() -> bool:
    """Whether figures can be drawn."""
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


def drawings(content: Content) -> Iterator[Drawing]:
    """The figures of a page: forest, bubbles of the continuous moderators, funnel."""
    fit = content.fit
    wanted: list[tuple[str, str, Sequence[Any]]] = []
    if fit.nobs <= _LARGEST_FOREST:
        wanted.append(("Forest plot", "plot_forest", ()))
    for name in continuous_moderators(fit)[:_MOST_BUBBLES]:
        wanted.append((f"Effects by {name}", "plot_bubble", (name,)))
    wanted.append(("Funnel plot", "plot_funnel", ()))
    for number, (caption, method, arguments) in enumerate(wanted):
        draw = getattr(fit, method, None)
        if draw is not None:
            yield _drawing(caption, draw, arguments, content, f"f{number}")


def _drawing(
    caption: str, draw: Any, arguments: Sequence[Any], content: Content, prefix: str
) -> Drawing:
    from matplotlib import pyplot as plt

    svgs = []
    for width in WIDTHS:
        try:
            figure = draw(
                *arguments, transform=content.scale.transform, alpha=content.alpha, width=width
            )
        except MetaRegError as error:
            return Drawing(caption, (), str(error))
        svgs.append(svg_of(figure, f"{prefix}{width[0]}"))
        plt.close(figure)
    return Drawing(caption, tuple(svgs))
