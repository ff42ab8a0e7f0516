"""The command line."""

import json

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
