"""The command line."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metareg_sm import MetaReg
from metareg_sm.__main__ import main

pytestmark = pytest.mark.plumbing


@pytest.fixture
def csv(bcg, tmp_path):
    """The BCG trials as a file."""
    path = tmp_path / "bcg.csv"
    bcg.to_csv(path, index=False)
    return str(path)


def run(capsys, *argv):
    assert main(argv) == 0
    return capsys.readouterr()


def refused(capsys, *argv):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_example(bcg_res, capsys):
    out = run(capsys).out
    assert "Meta-Regression Results" in out
    assert f"{bcg_res.tau2:#.5g}" in out


def test_numbers(bcg, csv, capsys):
    out = run(
        capsys, csv, "yi ~ ablat", "--vi", "vi", "--tau2", "dl", "--cov-type", "HC3", "--json"
    )
    numbers = json.loads(out.out)
    res = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit(tau2="dl", cov_type="HC3")
    assert numbers["tau2"] == pytest.approx(res.tau2, rel=1e-12)
    assert numbers["cov_type"] == "HC3"
    assert numbers["coefficients"]["ablat"]["se"] == pytest.approx(res.bse["ablat"], rel=1e-12)


def test_clusters_and_standard_errors(bcg, csv, capsys):
    bcg.assign(sei=bcg["vi"] ** 0.5).to_csv(csv, index=False)
    argv = [csv, "yi ~ ablat", "--sei", "sei", "--cov-type", "cluster", "--groups", "trial"]
    found = json.loads(run(capsys, *argv, "--json").out)["coefficients"]["ablat"]
    kwds = {"groups": "trial"}
    res = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit(cov_type="cluster", cov_kwds=kwds)
    assert found["se"] == pytest.approx(res.bse["ablat"], rel=1e-9)
    assert found["pvalue"] == pytest.approx(res.pvalues["ablat"], rel=1e-7)


def test_fixed_tau2_and_exp(csv, capsys):
    out = run(capsys, csv, "yi ~ ablat", "--vi", "vi", "--tau2", "0", "--exp").out
    assert "common effect" in out
    assert "exponentiated" in out


def test_warnings_go_to_stderr(bcg, csv, capsys):
    bcg.assign(twice=2 * bcg["ablat"]).to_csv(csv, index=False)
    found = run(capsys, csv, "yi ~ ablat + twice", "--vi", "vi", "--json")
    assert "warning: The moderators are redundant: 'twice'" in found.err
    assert json.loads(found.out)["nobs"] == 13


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ([], "a formula must follow the data file"),
        (["yi ~ ablat"], "got neither"),
        (["yi ~ ablat", "--vi", "v"], "Did you mean 'vi'?"),
        (["yi ~ ablat", "--vi", "vi", "--tau2", "remel"], "Did you mean 'reml'?"),
        (["yi ~ ablat", "--vi", "vi", "--tau2", "-1"], "finite and >= 0"),
        (["yi ~ nothing", "--vi", "vi"], "nothing"),
        (["yi ~ (", "--vi", "vi"], "error"),
        (["yi ~ ablat", "--vi", "vi", "--cov-type", "cluster"], "needs --groups COLUMN"),
        (["yi ~ ablat", "--vi", "vi", "--groups", "trial"], "go with --cov-type cluster"),
    ],
)
def test_mistakes_are_one_line(csv, capsys, rest, message):
    assert message in refused(capsys, csv, *rest)


def test_other_mistakes(capsys):
    assert "No such file" in refused(capsys, "nowhere.csv", "y ~ x", "--vi", "v")
    assert "go with a data file" in refused(capsys, "--vi", "vi")


# --- what is read ----------------------------------------------------------------------------


def test_two_columns_of_one_name(bcg, csv, capsys, monkeypatch):
    with open(csv) as file:
        text = file.read()
    twice = text.replace("year", "ablat", 1)
    with open(csv, "w") as file:
        file.write(twice)
    message = "two columns named 'ablat'"
    assert message in refused(capsys, csv, "yi ~ ablat", "--vi", "vi")
    monkeypatch.setattr(sys, "stdin", io.StringIO(twice))
    assert message in refused(capsys, "-", "yi ~ ablat", "--vi", "vi")
    # a column that is called as pandas would call the second one is no twin
    bcg.rename(columns={"year": "ablat.1"}).to_csv(csv, index=False)
    assert main([csv, "yi ~ ablat", "--vi", "vi"]) == 0


def test_rows_longer_than_the_header(csv, capsys):
    with open(csv) as file:
        text = file.read().replace(",vi\n", "\n", 1)
    with open(csv, "w") as file:
        file.write(text)
    assert "Expected 10 fields in line 2, saw 11" in refused(capsys, csv, "yi ~ 1", "--vi", "yi")


def test_standard_input(csv, capsys, monkeypatch):
    with open(csv) as file:
        monkeypatch.setattr(sys, "stdin", io.StringIO(file.read()))
    found = json.loads(run(capsys, "-", "yi ~ ablat", "--vi", "vi", "--json").out)
    assert found["nobs"] == 13


def test_an_empty_file(tmp_path, capsys):
    (tmp_path / "empty.csv").write_text("")
    assert "No columns" in refused(capsys, str(tmp_path / "empty.csv"), "y ~ x", "--vi", "v")


def test_numpy_in_formulas(bcg, csv, capsys):
    found = json.loads(run(capsys, csv, "yi ~ np.log(ablat)", "--vi", "vi", "--json").out)
    res = MetaReg.from_formula("yi ~ np.log(ablat)", bcg, vi="vi").fit()
    assert found["coefficients"]["np.log(ablat)"]["coef"] == pytest.approx(res.params.iloc[1])
    assert "uses 'pd'" in refused(capsys, csv, "yi ~ pd.cut(ablat, 2)", "--vi", "vi")


# --- effect sizes ----------------------------------------------------------------------------

CELLS = ("--ai", "tpos", "--bi", "tneg", "--ci", "cpos", "--di", "cneg")


def test_effect_sizes_from_counts(bcg, csv, capsys):
    bcg.drop(columns=["yi", "vi"]).to_csv(csv, index=False)
    expected = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
    for formula in ("~ ablat", "yi ~ ablat"):
        found = json.loads(run(capsys, csv, formula, "--measure", "rr", *CELLS, "--json").out)
        assert found["tau2"] == pytest.approx(expected.tau2, rel=1e-7)
        assert found["formula"] == "yi ~ ablat"


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        (["--measure", "RR", *CELLS[:4]], "cannot be computed without ci"),
        (["--measure", "RRR", *CELLS], "measure='RRR' is not known"),
        (["--measure", "RR", *CELLS, "--vi", "vi"], "leave out --vi and --sei"),
        ([*CELLS], "--ai goes with --measure"),
        (["--measure", "RR", "--ai", "nosuch", *CELLS[2:]], "nosuch"),
    ],
)
def test_mistakes_with_effect_sizes(csv, capsys, rest, message):
    assert message in refused(capsys, csv, "~ ablat", *rest)


def test_help_says_that_a_formula_is_code(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "A formula is code: Python evaluates it" in text
    assert "--sd1i" in text


def test_too_few_clusters(bcg, csv, capsys):
    bcg.assign(g=[0] * 6 + [1] * 7).to_csv(csv, index=False)
    argv = [csv, "yi ~ ablat + year", "--vi", "vi", "--cov-type", "cluster", "--groups", "g"]
    assert "needs more clusters than coefficients" in refused(capsys, *argv)


# --- processes -------------------------------------------------------------------------------


def process(*argv, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "metareg_sm", *argv], stderr=subprocess.PIPE, text=True, **options
    )


def test_a_closed_pipe_is_no_traceback():
    for argv in ([], ["--help"]):
        reader, writer = os.pipe()
        os.close(reader)
        found = process(*argv, stdout=writer)
        os.close(writer)
        assert found.communicate()[1] == ""
        # argparse passes over a pipe that breaks as it writes; buffered output breaks it later
        assert found.returncode in ((0, 1) if argv else (1,))


def test_interrupted_while_it_waits_for_input(monkeypatch, capsys):
    class Waiting(io.StringIO):
        def read(self, *_):
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", Waiting())
    assert main(["-", "yi ~ x", "--vi", "vi"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_million_rows(tmp_path, capsys):
    rng = np.random.default_rng(8)
    k = 1_000_000
    frame = pd.DataFrame({"x": rng.normal(size=k).round(3), "v": rng.uniform(0.1, 1.0, k).round(3)})
    frame["y"] = (0.2 * frame["x"] + rng.normal(0.0, np.sqrt(frame["v"] + 0.1))).round(4)
    path = tmp_path / "million.csv"
    frame.to_csv(path, index=False)
    found = json.loads(run(capsys, str(path), "y ~ x", "--vi", "v", "--json").out)
    assert found["nobs"] == k
    # the truth, within four standard errors
    assert found["coefficients"]["x"]["coef"] == pytest.approx(0.2, abs=0.005)
    assert found["tau2"] == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("word", ["unknown", "12-15"])
def test_a_word_in_a_column_of_numbers(bcg, csv, capsys, word):
    bcg.assign(dose=[*map(str, bcg["ablat"][:-1]), word]).to_csv(csv, index=False)
    line = refused(capsys, csv, "yi ~ dose", "--vi", "vi")
    assert "'dose' is text, though 9 of its 10 different values look like numbers" in line
    assert f"row 12 has '{word}'" in line


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_no_room_for_the_output():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "metareg_sm"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "error: the output: No space left" in done.stderr
