"""Figures of a fit as SVG that stands within a page."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
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
_ID = re.compile(r'\sid="([^"]*)"')
_TARGET = re.compile(r'(?:\bhref="#|url\(#)([^")]+)')
_NAMED = re.compile(r'(\sid="|\bhref="#|url\(#)')


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure at the widths that it is shown in.

    Attributes
    ----------
    caption : str
        What it shows.
    svgs : mapping of str to str
        By the widths at which it could be drawn.
    problem : str
        Why not at the last of the others.
    """

    caption: str
    svgs: Mapping[str, str]
    problem: str = ""


def svg_of(figure: Figure, prefix: str) -> str:
    """A figure as an SVG element within HTML.

    Text is drawn as outlines, so that it looks the same everywhere. Identifiers that something
    refers to have a prefix, so that several figures can stand on one page. The others are gone, as
    are comments, metadata and namespaces, which HTML does not need.
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
    svg = f"{opening}>{rest}"
    targets = set(_TARGET.findall(svg))
    svg = _ID.sub(lambda m: m[0] if m[1] in targets else "", svg)
    return _NAMED.sub(rf"\g<1>{prefix}-", svg)


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

    svgs: dict[str, str] = {}
    problem = ""
    for width in WIDTHS:
        try:
            figure = draw(
                *arguments, transform=content.scale.transform, alpha=content.alpha, width=width
            )
        except MetaRegError as error:
            problem = str(error)
            continue
        svgs[width] = svg_of(figure, f"{prefix}{width[0]}")
        plt.close(figure)
    return Drawing(caption, svgs, problem)
