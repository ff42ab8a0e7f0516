"""Every figure of the gallery at both widths of a journal: no text overlaps or leaves it."""

from pathlib import Path

import matplotlib as mpl
import pytest

from metareg_sm.plots import canvas, grid, layout
from tests.plots._figures import WIDTHS, assert_points_inside, assert_tidy, width_of

GALLERY = Path(__file__).parents[2] / "docs" / "gallery"
KINDS = [
    "forest",
    "orchard",
    "bubble",
    "simple_slopes",
    "funnel",
    "radial",
    "baujat",
    "qq",
    "influence",
    "profile",
    "gosh",
    "permutation",
    "bootstrap",
    "selection",
    "random_effects",
    "leave_one_out",
    "cumulative",
]


def scripts():
    return sorted(GALLERY.glob("plot_*.py"))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("script", scripts(), ids=lambda path: path.stem)
def test_figures_are_tidy(script, width, monkeypatch):
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    plt.close("all")
    for module in (canvas, grid, layout):
        monkeypatch.setattr(module, "width_in_mm", lambda _: width)
    lay_out = layout.lay_out
    for name in ("forest", "orchard", "series"):
        module = __import__(f"metareg_sm.plots.{name}", fromlist=["lay_out"])
        monkeypatch.setattr(module, "lay_out", lambda table, ax, _: lay_out(table, ax, width))
    exec(compile(script.read_text(encoding="utf-8"), str(script), "exec"), {})
    figures = [plt.figure(number) for number in plt.get_fignums()]
    assert figures
    for figure in figures:
        assert width_of(figure) == pytest.approx(width)
        assert len(figure.metareg_data)
        assert_tidy(figure)
        assert_points_inside(figure)
    plt.close("all")


def test_every_kind_of_figure_has_an_example():
    text = "".join(path.read_text(encoding="utf-8") for path in scripts())
    missing = [k for k in KINDS if f"plot_{k}(" not in text and f"plots.{k}(" not in text]
    assert missing == []
