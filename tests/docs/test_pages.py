"""How pages show formulas and sessions, and that nothing of a page is fetched from elsewhere."""

import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("sphinx")
pytest.importorskip("latex2mathml")

ROOT = Path(__file__).parents[2]
INLINE = re.compile(r":math:`([^`]+)`")
BLOCK = re.compile(r"^( *)\.\. math::[ ]*(.*)\n((?:\1 +.*\n|[ ]*\n)*)", re.MULTILINE)

pytestmark = [
    pytest.mark.plumbing,
    pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="needs the docs' sources"),
]


@pytest.fixture
def pages(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_ext"))
    import pages

    yield pages
    sys.modules.pop("pages", None)


def formulas():
    found = []
    for folder, pattern in (("docs", "**/*.rst"), ("docs", "**/*.py"), ("metareg_sm", "**/*.py")):
        for path in sorted((ROOT / folder).glob(pattern)):
            if "generated" in path.parts or "_build" in path.parts:
                continue
            text = path.read_text(encoding="utf-8")
            found += [(path.name, m[1], False) for m in INLINE.finditer(text)]
            found += [(path.name, f"{m[2]}\n{m[3]}".strip(), True) for m in BLOCK.finditer(text)]
    return found


def test_every_formula_is_translated(pages):
    found = formulas()
    assert len(found) > 100
    for name, source, block in found:
        text = pages.mathml(source, block)
        assert text.startswith("<math"), name
        # what is not known would stand there as it was written
        assert "\\" not in text, (name, source)
        assert text.count("<mfrac") == len(re.findall(r"\\[dt]?frac", source)), (name, source)
        assert "<merror" not in text, (name, source)


def test_a_formula_that_mixes_commands_and_indices(pages):
    text = re.sub(r"\s", "", pages.mathml(r"\tfrac12 \hat w_i"))
    assert re.search(r"<mfrac[^>]*><mrow>?<mn>1</mn>|<mfrac[^>]*><mn>1</mn><mn>2</mn>", text)
    assert text.index("w") < text.index("<mi>i</mi>")
    assert "<msub>" in text


SESSION = '''In [1]: x = """a
   ...: b"""

In [2]: print(x)
from a import 3
Notes: None is not in 5

In [13]: 1 + (
   ....: 1)
Out[13]: 2
'''


def test_only_what_was_typed_is_python(pages):
    from pygments.token import Generic, Keyword, Number

    tokens = list(pages.SessionLexer(stripnl=False).get_tokens(SESSION))
    assert "".join(value for _, value in tokens) == SESSION
    positions = [at for at, _, _ in pages.SessionLexer().get_tokens_unprocessed(SESSION)]
    assert positions == sorted(positions)
    for at, kind, value in pages.SessionLexer().get_tokens_unprocessed(SESSION):
        assert SESSION[at : at + len(value)] == value
        assert kind not in Keyword, value
        if kind in Number:
            assert value == "1"
    printed = "".join(value for kind, value in tokens if kind in Generic.Output)
    assert "Notes: None is not in 5\n" in printed
    assert "from a import 3\n" in printed
    assert "2\n" in printed


@pytest.mark.parametrize(
    ("page", "count"),
    [
        ('<script src="https://cdn.example/x.js"></script>', 1),
        ("<script defer src='//cdn.example/x.js'></script>".replace("'", '"'), 1),
        ('<link href="https://fonts.example/a.css" rel="stylesheet" />', 1),
        ('<style>@import url("https://fonts.example/a.css");</style>', 1),
        ("<style>a { src: url(https://fonts.example/a.woff) }</style>", 1),
        ('<img alt="" src="http://example.org/a.png">', 1),
        ('<a href="https://example.org">there</a><script src="_static/x.js"></script>', 0),
        ('<link rel="stylesheet" href="_static/a.css"><img src="data:image/png;base64,A">', 0),
    ],
)
def test_what_is_fetched_from_elsewhere(pages, page, count):
    assert len(pages.fetched(page)) == count
