"""Summaries whose LaTeX compiles: notes are escaped, and each part keeps its heading."""

from __future__ import annotations

import copy

from statsmodels.iolib.summary import Summary
from statsmodels.iolib.summary2 import Summary as Summary2

_ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        **{c: rf"\{c}" for c in "&%$#_{}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": "$<$",
        ">": "$>$",
        "|": "$|$",
    }
)
_TABULAR = r"\begin{tabular}"


def escaped(text: str) -> str:
    r"""Plain text as LaTeX has it.

    Examples
    --------
    >>> print(escaped("adjust_pvalues() at 5 %"))
    adjust\_pvalues() at 5 \%
    """
    return text.translate(_ESCAPES)


class NotedSummary(Summary):
    """statsmodels' summary with notes and headings that LaTeX can read."""

    def as_latex(self) -> str:
        """LaTeX, as statsmodels writes it."""
        noted = copy.copy(self)
        noted.extra_txt = escaped(self.extra_txt or "")
        begin, *tables = Summary.as_latex(noted).split(_TABULAR)
        for position, table in enumerate(self.tables):
            # the first is titled by the caption
            if position and table.title:
                columns, rest = tables[position].split("\n", 1)
                width = sum(c in "lcr" for c in columns)
                heading = rf"\multicolumn{{{width}}}{{c}}{{\textbf{{{escaped(table.title)}}}}} \\"
                tables[position] = "\n".join([columns, heading, r"\midrule", rest])
        return _TABULAR.join([begin, *tables])


class NotedSummary2(Summary2):
    """The same in statsmodels' second layout."""

    def as_latex(self, label: str = "") -> str:
        """LaTeX; parameters as in statsmodels."""
        noted = copy.copy(self)
        noted.extra_txt = [escaped(text) for text in self.extra_txt]
        return Summary2.as_latex(noted, label)
