"""README shows what its first command prints."""

import re
from pathlib import Path

import pytest

from metareg_sm.__main__ import main

README = Path(__file__).parents[1] / "README.md"

pytestmark = pytest.mark.plumbing


def blocks(language):
    text = README.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def without_clock(text):
    lines = [line.rstrip() for line in text.rstrip().splitlines()]
    return [re.sub(r"^(Date|Time):\s+.{16}", r"\1:", line) for line in lines]


def test_the_shown_summary_is_that_of_the_first_command(capsys):
    assert main([]) == 0
    assert without_clock(blocks("text")[0]) == without_clock(capsys.readouterr().out)


def test_the_example_is_the_same_model(capsys):
    code = blocks("python")[0]
    exec(compile(code, str(README), "exec"), {})
    assert without_clock(blocks("text")[0]) == without_clock(capsys.readouterr().out)


def test_the_commands_are_one_line_each():
    install, test = blocks("sh")[:2]
    assert install.count("\n") == test.count("\n") == 1
    assert "echo" in install
    assert install.rstrip().endswith("-m metareg_sm")
    assert "pytest" in test


def test_what_a_reader_must_know_first():
    above = README.read_text(encoding="utf-8").split("```sh")[0]
    assert "Python 3.11" in above
    assert "minute" in above
