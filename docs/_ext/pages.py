"""How pages show code and formulas, with nothing that is fetched from elsewhere.

Formulas become MathML while the docs are built. Transcripts of sessions are coloured as Python
where somebody typed, and nowhere else. A page that would fetch a script, style or font ends the
build.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from pygments.lexer import Lexer, do_insertions
from pygments.lexers.python import PythonLexer
from pygments.token import Generic, _TokenType
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

# what a browser fetches by itself; links that a reader follows are no matter
_FETCHED = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"(?:https?:)?//[^\"]*"
    r"|<link\b(?=[^>]*\brel=\"(?:stylesheet|preload|icon)\")[^>]*\bhref=\"(?:https?:)?//[^\"]*"
    r"|(?:@import\s+|url\()[\"']?(?:https?:)?//[^\"')]*"
)
_PROMPT = re.compile(r"(?P<in>In \[\d*\]: ?)|(?P<more>  +\.{3,}: ?)|(?P<out>Out\[\d*\]: ?)")


def mathml(source: str, block: bool = False) -> str:
    """A formula in LaTeX as MathML; what cannot be translated is an error."""
    return str(convert(source, display="block" if block else "inline"))


def fetched(page: str) -> list[str]:
    """What a browser would fetch from elsewhere to show a page or style sheet."""
    return _FETCHED.findall(page)


class SessionLexer(Lexer):
    """Transcripts of IPython: what was typed is Python, and what was printed is not."""

    name = "IPython session"
    aliases = ("ipython",)

    def get_tokens_unprocessed(self, text: str) -> Iterator[tuple[int, _TokenType, str]]:
        """Tokens; prompts are taken out of what was typed and put back in."""
        python = PythonLexer(ensurenl=False, stripnl=False)
        code, begin, position = "", 0, 0
        prompts: list[tuple[int, list[tuple[int, _TokenType, str]]]] = []

        def typed() -> Iterator[tuple[int, _TokenType, str]]:
            found = do_insertions(prompts, python.get_tokens_unprocessed(code))
            yield from ((begin + at, kind, value) for at, kind, value in found)

        for line in [*text.splitlines(keepends=True), ""]:
            found = _PROMPT.match(line)
            continues = found is not None and (found["more"] is not None)
            if code and not continues:
                yield from typed()
                code, prompts = "", []
            if found is None:
                yield position, Generic.Output, line
            elif found["out"] is not None:
                yield position, Generic.Heading, found["out"]
                yield found.end("out") + position, Generic.Output, line[found.end("out") :]
            else:
                prompt = found["more"] or found["in"]
                begin = begin if code else position
                prompts.append((len(code), [(0, Generic.Prompt, prompt)]))
                code += line[len(prompt) :]
            position += len(line)


def _inline(self: Any, node: nodes.math) -> None:
    self.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def _block(self: Any, node: nodes.math_block) -> None:
    self.body.append(self.starttag(node, "div", CLASS="formula"))
    self.body.append(mathml(node.astext(), block=True))
    self.body.append("</div>\n")
    raise nodes.SkipNode


def _check(app: Sphinx, failed: Exception | None) -> None:
    if failed is not None or app.builder.format != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        found = fetched(path.read_text(encoding="utf-8"))
        if found:
            raise ExtensionError(f"{path.name} would fetch {found[0]!r} from elsewhere.")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer of formulas, the lexer and the check."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.add_lexer("ipython", SessionLexer)
    app.connect("build-finished", _check)
    return {"parallel_read_safe": True}
