"""LaTeX of summaries: balanced, escaped, with its headings."""

import re

import pytest

from metareg_sm import MetaReg
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
    assert rest.count("$") % 2 == 0


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
        r"a\_b \& 5 \% \$x\$ \#1 \{y\} \textasciitilde{} \textasciicircum{} \textbackslash{} $<$"
    )
