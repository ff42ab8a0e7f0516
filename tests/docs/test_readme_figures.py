"""The figures of the README are those that the package draws."""

import importlib.util
import re
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from numpy.testing import assert_allclose

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "figures"
SVG = "{http://www.w3.org/2000/svg}"
# points, by which versions of matplotlib may place things differently
NEAR = 1.5


def script():
    spec = importlib.util.spec_from_file_location("readme_figures", FOLDER / "readme_figures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def drawn():
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    module = script()
    figures = dict(module.figures())
    yield {name: (figure, module.svg_of(figure)) for name, figure in figures.items()}
    plt.close("all")


def texts(root):
    """Every text with its places: (n, 2) each."""
    found = defaultdict(list)
    for element in root.iter(f"{SVG}text"):
        at = re.search(r"translate\(([-\d.]+) ([-\d.]+)\)", element.get("transform", ""))
        x, y = at.groups() if at else (element.get("x"), element.get("y"))
        found["".join(element.itertext())].append((float(x), float(y)))
    return {text: np.array(sorted(places)) for text, places in found.items()}


def points(root):
    """Numbers of every path that is drawn, in order; glyphs have none, being text."""
    return [
        np.array(re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", path.get("d", "")), dtype=float)
        for path in root.iter(f"{SVG}path")
    ]


@pytest.mark.parametrize("name", ["forest", "bubble"])
def test_checked_in_figures_are_what_the_package_draws(drawn, name):
    stored = (FOLDER / f"{name}.svg").read_text(encoding="utf-8")
    assert len(stored.encode()) < 60_000
    old, new = ElementTree.fromstring(stored), ElementTree.fromstring(drawn[name][1])
    was, now = texts(old), texts(new)
    assert was.keys() == now.keys()
    for text, places in now.items():
        assert_allclose(was[text], places, atol=NEAR, err_msg=text)
    paths = [(a, b) for a, b in zip(points(old), points(new), strict=True) if a.size]
    assert len(paths) > 20
    for a, b in paths:
        assert_allclose(a, b, atol=NEAR)


def test_the_numbers_in_them_are_those_of_the_fit(drawn):
    figure = drawn["forest"][0]
    shown = set(texts(ElementTree.fromstring((FOLDER / "forest.svg").read_text("utf-8"))))
    data = figure.metareg_data
    for row in data[["shown", "shown_lower", "shown_upper"]].to_numpy():
        assert "{:.2f} [{:.2f}, {:.2f}]".format(*row) in shown
    assert len(data) == 16
    assert any(text.startswith("Residual heterogeneity: \u03c4\u00b2 = 0.0763") for text in shown)


def test_the_readme_shows_them_by_relative_paths():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", readme)
    assert shown == ["docs/figures/forest.svg", "docs/figures/bubble.svg"]
    assert all((ROOT / path).is_file() for path in shown)
