"""The figures of the README: a forest and a bubble plot of the trials of the BCG vaccine.

    python docs/figures/readme_figures.py

writes forest.svg and bubble.svg beside this file. A test compares them with what it would write.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

import metareg_sm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HERE = Path(__file__).parent
#: decimals of the coordinates, in points
_DECIMALS = 2


def figures() -> Mapping[str, Figure]:
    """The figures by the names of their files."""
    counts = metareg_sm.datasets.bcg.load_pandas().data.drop(columns=["yi", "vi"])
    trials = metareg_sm.effect_size("RR", counts, ai="tpos", bi="tneg", ci="cpos", di="cneg")
    res = metareg_sm.MetaReg.from_formula("yi ~ ablat", trials, vi="vi").fit()
    return {
        "forest": res.plot_forest(
            labels=["author", "year"],
            right={"ablat": "Latitude"},
            order="-ablat",
            at={"ablat": [13, 33, 55]},
        ),
        "bubble": res.plot_bubble("ablat", transform="exp", label=3, labels="author"),
    }


def svg_of(figure: Figure) -> str:
    """A figure as a small SVG file: letters as text, no date, coordinates rounded."""
    buffer = StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    # the reader's own sans serif, which is seldom as wide as the one that the room is made for
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "readme"}):
        figure.savefig(buffer, format="svg", metadata=nothing, facecolor="white")
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", buffer.getvalue(), flags=re.DOTALL)
    # within elements alone: what is between them is written by the figure
    text = re.sub(r"<[^>]+>", lambda m: re.sub(r"-?\d+\.\d{3,}", _rounded, m[0]), text)
    return re.sub(r"\s*\n\s*", "\n", text)


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.{_DECIMALS}f}".rstrip("0").rstrip(".")


if __name__ == "__main__":
    mpl.use("svg")
    for name, figure in figures().items():
        (HERE / f"{name}.svg").write_text(svg_of(figure), encoding="utf-8")
