"""The page and the notebook that a new user begins with run from a CSV file, in under ten lines."""

import json
import re
import shutil
from pathlib import Path

import matplotlib
import pytest

DOCS = Path(__file__).parents[2] / "docs"


def lines_of_page():
    page = (DOCS / "start-here.rst").read_text(encoding="utf-8")
    block = re.search(r"code-block:: python\n\n((?: {3}.*\n)+)", page)
    return [line[3:] for line in block.group(1).splitlines()]


def lines_of_notebook():
    notebook = json.loads((DOCS / "start-here.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in cells)
    code = "\n".join("".join(cell["source"]) for cell in cells)
    return [line for line in code.splitlines() if line]


def test_page_and_notebook_are_the_same_lines_and_fewer_than_ten():
    lines = lines_of_page()
    assert lines == lines_of_notebook()
    assert len(lines) < 10


@pytest.mark.parametrize("lines", [lines_of_page, lines_of_notebook])
def test_a_csv_of_counts_becomes_a_report(lines, tmp_path, monkeypatch, capsys):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    matplotlib.use("Agg")
    shutil.copy(DOCS / "trials.csv", tmp_path)
    monkeypatch.chdir(tmp_path)
    names = {}
    before = len(pyplot.get_fignums())
    exec("\n".join(lines()), names)  # what a user types
    assert len(pyplot.get_fignums()) == before + 2
    pyplot.close("all")
    text = capsys.readouterr().out
    res = names["res"]
    assert "Meta-Regression Results" in text
    assert "Cautions." in text
    # a published value: latitude alone, log risk ratios
    assert res.params["ablat"] == pytest.approx(-0.0291, abs=5e-5)
    assert (
        f"exp(b) = {float(res.summary_frame(exponentiate=True).loc['ablat', 'coef']):.4f}" in text
    )
