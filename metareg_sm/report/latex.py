"""Summaries whose LaTeX compiles: all text is escaped, and each part keeps its heading."""

from __future__ import annotations

import copy
from typing import Any

from statsmodels.iolib.summary import Summary
from statsmodels.iolib.summary2 import Summary as Summary2
from statsmodels.iolib.table import SimpleTable

_ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        **{c: rf"\{c}" for c in "&%$#_{}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
    }
)
# statsmodels escapes some of these in cells: they pass it in disguise
_DISGUISE = {special: 0xE000 + i for i, special in enumerate(_ESCAPES)}
_REVEAL = {hidden: _ESCAPES[special] for special, hidden in _DISGUISE.items()}


def escaped(text: str) -> str:
    r"""Plain text as LaTeX has it.

    Examples
    --------
    >>> print(escaped("adjust_pvalues() at 5 %"))
    adjust\_pvalues() at 5 \%
    """
    return text.translate(_ESCAPES)


def _disguised(value: Any) -> Any:
    return value.translate(_DISGUISE) if isinstance(value, str) else value


def _tabular(table: SimpleTable, heading: str) -> str:
    """One table, under its heading."""
    disguised = copy.deepcopy(table)
    disguised.title = None
    for row in disguised:
        for cell in row:
            cell.data = _disguised(cell.data)
    text = str(disguised.as_latex_tabular(center=False))
    begin, rest = text.split("\n", 1)
    if heading:
        width = sum(c in "lcr" for c in begin.rpartition("{")[2])
        title = rf"\multicolumn{{{width}}}{{c}}{{\textbf{{{_disguised(heading)}}}}} \\"
        begin = "\n".join([begin, title, r"\midrule"])
    return f"{begin}\n{rest}"


class NotedSummary(Summary):
    """statsmodels' summary with notes and headings that LaTeX can read."""

    def as_latex(self) -> str:
        """LaTeX, as statsmodels writes it."""
        # the first is titled by the caption
        headings = ["", *(table.title or "" for table in self.tables[1:])]
        parts = [_tabular(t, heading) for t, heading in zip(self.tables, headings, strict=True)]
        caption = f"%\\caption{{{_disguised(self.tables[0].title or '')}}}"
        text = "\n".join([r"\begin{center}", *parts, caption, r"\end{center}"])
        notes = escaped(self.extra_txt or "").replace("\n", " \\newline\n ")
        return f"{text.translate(_REVEAL)}\n\n{notes}"


class NotedSummary2(Summary2):
    """The same in statsmodels' second layout."""

    def as_latex(self, label: str = "") -> str:
        """LaTeX; parameters as in statsmodels."""
        noted = copy.copy(self)
        noted.title = _disguised(self.title)
        noted.extra_txt = [_disguised(text) for text in self.extra_txt]
        noted.tables = [
            table.map(_disguised).rename(index=_disguised, columns=_disguised)
            for table in self.tables
        ]
        return str(Summary2.as_latex(noted, label)).translate(_REVEAL)
