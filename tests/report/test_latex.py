"""LaTeX of summaries: balanced, escaped, with its headings."""

import re
import shutil
import subprocess

import numpy as np
import pytest

from metareg_sm import LocationScaleMetaReg, MetaReg, MixedMetaReg
from metareg_sm.report.latex import escaped

SPECIAL = re.compile(r"(?<!\\)[_#%&^~]")


@pytest.fixture
def res(bcg):
    bcg = bcg.rename(columns={"ablat": "ab_lat"})
    with pytest.warns(UserWarning, match="redundant"):
        return MetaReg.from_formula("yi ~ ab_lat + year + I(2 * ab_lat)", bcg, vi="vi").fit()


@pytest.mark.parametrize("name", ["summary", "summary2"])
def test_latex_compiles(res, name):
    text = getattr(res, name)().as_latex()
    for environment in re.findall(r"\\begin\{(\w+)\}", text):
        assert text.count(rf"\begin{{{environment}}}") == text.count(rf"\end{{{environment}}}")
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    # each & stands between cells of a table; outside of tables there is none
    inside = re.compile(r"\\begin\{tabular\}.*?\\end\{tabular\}", re.DOTALL)
    for table in inside.findall(text):
        rows = [r for r in table.splitlines() if r.endswith(r"\\") and "multicolumn" not in r]
        assert len({len(re.findall(r"(?<!\\)&", r)) for r in rows}) == 1
        assert not SPECIAL.search(table.replace("&", ""))
    rest = inside.sub("", text)
    rest = "\n".join(line for line in rest.splitlines() if not line.startswith("%"))
    assert not SPECIAL.search(rest)
    assert "ab\\_lat" in rest
    assert "adjust\\_pvalues()" in rest
    assert "$" not in text


def test_headings(res):
    text = res.summary().as_latex()
    assert r"\multicolumn{4}{c}{\textbf{Heterogeneity}} \\" in text
    assert text.index("Heterogeneity") < text.index("tau2:")


def test_text_is_what_it_was(res):
    summary = res.summary()
    before = summary.as_text()
    summary.as_latex()
    assert summary.as_text() == before
    assert "adjust_pvalues()" in before
    assert "adjust_pvalues()" in summary.as_html()


def test_every_special_character():
    assert escaped("a_b & 5 % $x$ #1 {y} ~ ^ \\ <") == (
        r"a\_b \& 5 \% \$x\$ \#1 \{y\} \textasciitilde{} \textasciicircum{} \textbackslash{} "
        r"\textless{}"
    )


PAGE = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage{booktabs}
\begin{document}
%s
\end{document}
"""


@pytest.fixture
def texts(bcg):
    """LaTeX of every kind of model, with levels and columns that LaTeX would read as its own."""
    levels = {
        "random": "50% & more_#",
        "alternate": "a~b^c{d}",
        "systematic": "back\\slash $5 <2> |x|",
    }
    frame = bcg.assign(x_1=bcg["ablat"], part=bcg["alloc"].map(levels), group=np.arange(13) // 3)
    fits = {
        "metareg": MetaReg.from_formula("yi ~ x_1 + C(part)", frame, vi="vi").fit(),
        "mixed": MixedMetaReg.from_formula(
            "yi ~ x_1", frame, vi="vi", random="1 | group/trial"
        ).fit(),
        "scale": LocationScaleMetaReg.from_formula(
            "yi ~ x_1 + C(part)", frame, vi="vi", scale_formula="~ x_1"
        ).fit(),
    }
    found = {}
    for name, res in fits.items():
        found[f"{name} summary"] = res.summary().as_latex()
        found[f"{name} summary2"] = res.summary2().as_latex()
        found[f"{name} report"] = res.report("latex")
    return found


def test_levels_and_columns_are_escaped(texts):
    for name in ("metareg", "scale"):
        for layout in ("summary", "summary2"):
            text = texts[f"{name} {layout}"]
            assert r"C(part)[T.a\textasciitilde{}b\textasciicircum{}c\{d\}]" in text
            assert r"back\textbackslash{}slash \$5 \textless{}2\textgreater{}" in text
            assert r"x\_1" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_pdflatex_compiles(texts, tmp_path):
    for name, text in texts.items():
        path = tmp_path / f"{name.replace(' ', '-')}.tex"
        path.write_text(text if r"\documentclass" in text else PAGE % text, encoding="utf-8")
        run = subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", path.name],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        assert run.returncode == 0, (name, run.stdout[-600:])
