"""A fit in the words of a paper: what was done, what came out, and what to be careful about."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any, Self

from metareg_sm._typing import Seed
from metareg_sm.options import choose
from metareg_sm.report.content import Content, Deletions, Permutation, Reported, gather
from metareg_sm.report.findings import findings
from metareg_sm.report.methods import methods, with_symbols
from metareg_sm.report.notes import cautions
from metareg_sm.report.references import Reference, bibtex
from metareg_sm.report.typeset import FORMATS, HTML, Citation, Format, Sentence

Paragraphs = tuple[tuple[str, tuple[Sentence, ...]], ...]


class Report(str):
    r"""Paragraphs on a fit, as text in the format that was asked for.

    Attributes
    ----------
    text, markdown, latex, html : str
        The same in every format. Markdown cites as pandoc does, LaTeX by ``\cite``.
    references : tuple of Reference
        What is cited.
    bibtex : str
        The same in BibTeX.
    """

    __slots__ = ("_format", "_paragraphs")

    _paragraphs: Paragraphs
    _format: str

    def __new__(cls, paragraphs: Paragraphs, format: str = "text") -> Self:
        """Write paragraphs in a format."""
        chosen = choose(FORMATS, format, "format")
        report = super().__new__(cls, _written(paragraphs, chosen, "\n\n"))
        report._paragraphs, report._format = paragraphs, chosen.name
        return report

    def __getnewargs__(self) -> tuple[Any, ...]:
        return self._paragraphs, self._format

    @property
    def text(self) -> str:
        """As plain text."""
        return _written(self._paragraphs, FORMATS["text"], "\n\n")

    @property
    def markdown(self) -> str:
        """As Markdown."""
        return _written(self._paragraphs, FORMATS["markdown"], "\n\n")

    @property
    def latex(self) -> str:
        """As LaTeX, for the body of a document."""
        return _written(self._paragraphs, FORMATS["latex"], "\n\n")

    @property
    def html(self) -> str:
        """As paragraphs of HTML."""
        return "\n".join(
            f"<p>{HTML.heading(title)} {HTML.sentences(sentences)}</p>"
            for title, sentences in self._paragraphs
        )

    @property
    def references(self) -> tuple[Reference, ...]:
        """What is cited, in the order of the keys."""
        found = {
            reference.key: reference
            for _, sentences in self._paragraphs
            for sentence in sentences
            for part in sentence
            if isinstance(part, Citation)
            for reference in part.references
        }
        return tuple(found[key] for key in sorted(found))

    @property
    def bibtex(self) -> str:
        """What is cited, in BibTeX."""
        return bibtex(self.references)

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{html.escape(r.citation)}</li>" for r in self.references)
        return f"{self.html}\n<ul>{items}</ul>"


def _written(paragraphs: Paragraphs, chosen: Format, between: str) -> str:
    return between.join(
        f"{chosen.heading(title)} {chosen.sentences(sentences)}" for title, sentences in paragraphs
    )


def _cautions(content: Content) -> Iterator[Sentence]:
    for note in cautions(content.fit, content.alpha):
        yield with_symbols(note)


def paragraphs(content: Content) -> Paragraphs:
    """The paragraphs of a report: methods, results and, where there are any, cautions."""
    found = (
        ("Methods", tuple(methods(content))),
        ("Results", tuple(findings(content))),
        ("Cautions", tuple(_cautions(content))),
    )
    return tuple((title, sentences) for title, sentences in found if sentences)


def report(
    fit: Reported,
    format: str = "text",
    *,
    alpha: float = 0.05,
    exponentiate: bool | None = None,
    at: Any = None,
    influence: bool | Deletions = False,
    permutation: Permutation | int | None = None,
    adjust: str | None = None,
    rng: Seed = None,
) -> Report:
    """Paragraphs on a fit; see `ModelResults.report`."""
    choose(FORMATS, format, "format")
    content = gather(fit, alpha, exponentiate, at, influence, permutation, adjust, rng)
    return Report(paragraphs(content), format)
