"""Sentences with numbers, symbols and citations, and how each format writes them."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from metareg_sm.report.references import Reference


@dataclass(frozen=True, slots=True)
class Symbol:
    """A statistic's name.

    Attributes
    ----------
    text, markdown, latex, html : str
        As each format writes it; LaTeX within mathematics.
    """

    text: str
    markdown: str
    latex: str
    html: str

    @classmethod
    def of(cls, letter: str, rest: str = "") -> Symbol:
        """A Latin letter, perhaps with something upright after it."""
        return cls(letter + rest, f"*{letter}*{rest}", letter + rest, f"<i>{letter}</i>{rest}")


def _squared(letter: str, latex: str) -> Symbol:
    return Symbol(
        f"{letter}\u00b2", f"{letter}\u00b2", f"{latex}^2", f"<i>{letter}</i><sup>2</sup>"
    )


TAU2 = _squared("\u03c4", r"\tau")
I2 = _squared("I", "I")
R2 = _squared("R", "R")
P = Symbol.of("p")


def statistic(letter: str, *df: float | None) -> Symbol:
    """A statistic with its degrees of freedom, where it has any."""
    inside = ", ".join(f"{d:.4g}" for d in df if d is not None)
    rest = f"({inside})" if inside else ""
    if letter == "chi2":
        plain = f"\u03c7\u00b2{rest}"
        return Symbol(plain, plain, rf"\chi^2{rest}", f"<i>\u03c7</i><sup>2</sup>{rest}")
    return Symbol.of(letter, rest)


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it is printed, with a minus of ASCII and perhaps e-notation."""

    text: str


@dataclass(frozen=True, slots=True)
class Equation:
    """A symbol and its value, which belong on one line.

    Attributes
    ----------
    symbol : Symbol
        Left side.
    relation : {"=", "<", ">"}
        Between the two.
    number : Number
        Right side.
    unit : str
        "%" or nothing.
    """

    symbol: Symbol
    relation: str
    number: Number
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Citation:
    """References, cited in brackets."""

    references: tuple[Reference, ...]


Part = str | Symbol | Number | Equation | Citation
Sentence = tuple[Part, ...]


def _latex_number(text: str) -> str:
    mantissa, e, power = text.partition("e")
    return rf"{mantissa} \times 10^{{{int(power)}}}" if e else text


_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "\u00b2": r"\textsuperscript{2}",
}


def latex_text(text: str) -> str:
    """Text in which nothing is a command of LaTeX."""
    return "".join(_LATEX.get(c, c) for c in text)


def markdown_text(text: str) -> str:
    """Text in which nothing is a mark of Markdown, in CommonMark's and pandoc's sense."""
    return re.sub(r"([\\`*_{}\[\]<>#|~^$@&!])", r"\\\1", text)


@dataclass(frozen=True, slots=True)
class Format:
    """How a format writes the parts of a sentence.

    Attributes
    ----------
    name : str
        What `report(format=...)` calls it.
    text, cite, heading : callable
        Plain text; the references of a citation; the heading of a paragraph.
    symbol, number : callable
        A symbol by itself; a number by itself.
    equation : callable
        A symbol with its value.
    """

    name: str
    text: Callable[[str], str]
    cite: Callable[[Sequence[Reference]], str]
    heading: Callable[[str], str]
    symbol: Callable[[Symbol], str]
    number: Callable[[str], str]
    equation: Callable[[Equation], str]

    def part(self, part: Part) -> str:
        """A part of a sentence."""
        if isinstance(part, str):
            return self.text(part)
        if isinstance(part, Symbol):
            return self.symbol(part)
        if isinstance(part, Number):
            return self.number(part.text)
        if isinstance(part, Equation):
            return self.equation(part)
        return self.cite(part.references)

    def sentences(self, sentences: Iterable[Sentence]) -> str:
        """Sentences, one after the other."""
        return " ".join("".join(map(self.part, sentence)) for sentence in sentences)


def _cited(references: Sequence[Reference]) -> str:
    return "; ".join(r.cited for r in references)


def _keys(references: Sequence[Reference]) -> str:
    return "; ".join(f"@{r.key}" for r in references)


_FORMATS = (
    Format(
        "text",
        text=str,
        cite=lambda references: f"({_cited(references)})",
        heading=lambda title: f"{title}.",
        symbol=lambda s: s.text,
        number=str,
        equation=lambda e: f"{e.symbol.text} {e.relation} {e.number.text}{e.unit}",
    ),
    Format(
        "markdown",
        text=markdown_text,
        cite=lambda references: f"[{_keys(references)}]",
        heading=lambda title: f"**{markdown_text(title)}.**",
        symbol=lambda s: s.markdown,
        number=str,
        equation=lambda e: (
            f"{e.symbol.markdown} {markdown_text(e.relation)} {e.number.text}{e.unit}"
        ),
    ),
    Format(
        "latex",
        text=latex_text,
        cite=lambda references: rf"\cite{{{','.join(r.key for r in references)}}}",
        heading=lambda title: rf"\paragraph{{{latex_text(title)}.}}",
        symbol=lambda s: f"${s.latex}$",
        number=lambda text: f"${_latex_number(text)}$",
        equation=lambda e: (
            f"${e.symbol.latex} {e.relation} {_latex_number(e.number.text)}{latex_text(e.unit)}$"
        ),
    ),
)

FORMATS: Mapping[str, Format] = MappingProxyType({f.name: f for f in _FORMATS})
"""What `report(format=...)` knows."""

HTML = Format(
    "html",
    text=html.escape,
    cite=lambda references: f"({html.escape(_cited(references))})",
    heading=lambda title: f"<strong>{html.escape(title)}.</strong>",
    symbol=lambda s: s.html,
    number=lambda text: f'<span class="n">{html.escape(text)}</span>',
    equation=lambda e: (
        f'<span class="n">{e.symbol.html} {html.escape(e.relation)} '
        f"{html.escape(e.number.text)}{html.escape(e.unit)}</span>"
    ),
)
"""For pages; the text is escaped."""


# --- numbers -----------------------------------------------------------------------------------

_MOST_DECIMALS = 8


def decimals_for(error: float) -> int:
    """Decimals that show a standard error to two significant digits, and the estimate with it.

    Examples
    --------
    >>> decimals_for(0.0082), decimals_for(0.28), decimals_for(31.0)
    (4, 2, 0)
    """
    if not math.isfinite(error) or error <= 0.0:
        return 3
    return max(0, 1 - math.floor(math.log10(error)))


def rounded(value: float, decimals: int, digits: int = 1) -> Number:
    """A number to some decimals, and to more where it would have fewer than `digits` digits.

    Numbers of more than eight decimals, or of eight digits before them, are in e-notation.
    """
    if not math.isfinite(value):
        return Number(
            "undefined" if math.isnan(value) else "infinity" if value > 0 else "-infinity"
        )
    if value == 0.0:
        return Number("0")
    order = math.floor(math.log10(abs(value)))
    decimals = max(decimals, digits - 1 - order if digits > 1 else 0)
    if decimals > _MOST_DECIMALS or order >= 7:
        return Number(f"{value:.{max(digits - 1, min(order + decimals, 3), 0)}e}")
    return Number(f"{value:z.{decimals}f}")


def interval(low: float, high: float, decimals: int, digits: int = 1) -> list[Part]:
    """From one number to another, each as `rounded` has it."""
    return [rounded(low, decimals, digits), " to ", rounded(high, decimals, digits)]


def significant(value: float, digits: int = 3) -> Number:
    """A number to some significant digits.

    Examples
    --------
    >>> significant(30.733).text, significant(0.0012345).text, significant(1234.5).text
    ('30.7', '0.00123', '1234')
    """
    if math.isfinite(value) and abs(value) >= 1e7:
        return Number(f"{value:.{digits - 1}e}")
    return rounded(value, 0, digits)


def percent(fraction: float) -> Number:
    """A fraction in percent, to one decimal."""
    return Number("0" if fraction == 0.0 else f"{100.0 * fraction:.1f}")


def pvalue(p: float, symbol: Symbol = P) -> Equation:
    """A p-value as journals print it.

    Three decimals below 0.1 and two above; as many as it takes not to turn what is on one side of
    0.05 into 0.05; "< 0.001" and "> 0.99" at the ends.

    Examples
    --------
    >>> [(e.relation, e.number.text) for e in map(pvalue, (0.00004, 0.0331, 0.04996, 0.31, 0.999))]
    [('<', '0.001'), ('=', '0.033'), ('=', '0.04996'), ('=', '0.31'), ('>', '0.99')]
    """
    if math.isnan(p):
        return Equation(symbol, "=", Number("undefined"))
    if p < 0.001:
        return Equation(symbol, "<", Number("0.001"))
    if p > 0.99:
        return Equation(symbol, ">", Number("0.99"))
    decimals = 3 if p < 0.0995 else 2
    while decimals < 6 and p != 0.05 and float(f"{p:.{decimals}f}") == 0.05:
        decimals += 1
    return Equation(symbol, "=", Number(f"{p:.{decimals}f}"))
