"""Command line: `python -m metareg_sm [DATA.csv FORMULA --vi COLUMN]`."""

from __future__ import annotations

import argparse
import io
import json
import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from metareg_sm import MetaReg, datasets
from metareg_sm.core.tau2 import ESTIMATORS
from metareg_sm.effectsizes import MEASURES, effect_size
from metareg_sm.exceptions import DesignError
from metareg_sm.report.numbers import describe
from metareg_sm.stats.covariance import COVARIANCES

EXAMPLE = "yi ~ ablat + year"

_CELLS = tuple(dict.fromkeys(c.name for m in MEASURES.values() for c in m.layout.cells))
_EPILOG = (
    "A formula is code: Python evaluates it, and np is numpy there. Run no formula that you do not "
    "trust."
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # one line, without the usage that argparse prints before it
        self.exit(2, f"{self.prog}: error: {message}\n")


def _tau2(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m metareg_sm",
        description="Fit a meta-regression to a CSV file, or to the bundled BCG trials.",
        epilog=_EPILOG,
    )
    parser.add_argument("data", nargs="?", help="CSV file, one study a row ('-' reads from stdin)")
    parser.add_argument("formula", nargs="?", help='for instance "yi ~ age * dose"')
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--vi", metavar="COLUMN", help="column of the sampling variances")
    source.add_argument("--sei", metavar="COLUMN", help="column of the standard errors")
    names = sorted({e.name for e in ESTIMATORS.values()})
    parser.add_argument(
        "--tau2",
        default="reml",
        type=_tau2,
        help=f"estimator of tau2 ({', '.join(names)}) or a fixed value (default: reml)",
    )
    kinds = [t.name for t in COVARIANCES.values()]
    parser.add_argument(
        "--cov-type",
        default="knapp-hartung",
        help=f"{', '.join(kinds)} (default: knapp-hartung)",
    )
    parser.add_argument("--groups", metavar="COLUMN", help="clusters, for --cov-type cluster")
    parser.add_argument(
        "--correction", help="of --cov-type cluster: CR0, CR1, CR1S, CR2 or CR3 (default: CR1)"
    )
    parser.add_argument(
        "--exp", action="store_true", help="show exp(coef), for ratio measures on the log scale"
    )
    parser.add_argument("--report", metavar="FILE.html", help="write a page on the fit")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    raw = parser.add_argument_group(
        "effect sizes from counts, means or correlations",
        "instead of --vi: a measure, and the columns that it is computed from, for instance "
        "--measure RR --ai tpos --bi tneg --ci cpos --di cneg. The formula is then '~ moderators'. "
        "There are " + " ".join(f"--{name}" for name in _CELLS),
    )
    raw.add_argument("--measure", metavar="NAME", help="RR, OR, SMD, ZCOR, ...")
    for name in _CELLS:
        raw.add_argument(f"--{name}", metavar="COLUMN", help=argparse.SUPPRESS)
    return parser


def _read(source: str) -> pd.DataFrame:
    """The table of a CSV file, once its columns are known to have names of their own."""
    text = sys.stdin.read() if source == "-" else None

    def opened() -> Any:
        return source if text is None else io.StringIO(text)

    # with a second line, so that a row longer than the header is met before its names shift
    header = pd.read_csv(opened(), header=None, nrows=2, dtype=str).iloc[0]
    twice = header[header.duplicated() & header.notna()]
    if len(twice):
        raise DesignError(
            f"The file has two columns named {twice.iloc[0]!r}; rename one in its first line."
        )
    return pd.read_csv(opened())


def _model(arguments: argparse.Namespace, cells: dict[str, str]) -> MetaReg:
    if arguments.data is None:
        frame = datasets.bcg.load_pandas().data
        return MetaReg.from_formula(EXAMPLE, frame, vi="vi")
    frame, formula, vi = _read(arguments.data), arguments.formula, arguments.vi
    if arguments.measure is not None:
        given: dict[str, Any] = dict(cells)
        frame, vi = effect_size(arguments.measure, frame, **given), "vi"
        if formula.lstrip().startswith("~"):
            formula = f"yi {formula}"
    return MetaReg.from_formula(formula, frame, vi=vi, sei=arguments.sei, eval_env={"np": np})


def _covariance_keywords(
    parser: argparse.ArgumentParser, arguments: argparse.Namespace
) -> dict[str, Any] | None:
    if arguments.cov_type.lower() != "cluster":
        if arguments.groups is not None or arguments.correction is not None:
            parser.error("--groups and --correction go with --cov-type cluster")
        return None
    if arguments.groups is None:
        parser.error("--cov-type cluster needs --groups COLUMN")
    keywords: dict[str, Any] = {"groups": arguments.groups}
    if arguments.correction is not None:
        keywords["correction"] = arguments.correction
    return keywords


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the process by default.

    Returns
    -------
    int
        0; 1 where the reader of the output has gone, 2 where it has no room, 130 where the user
        interrupted. Errors leave by `SystemExit` with status 2, after one line on stderr.
    """
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except OSError as error:
        # whoever read the output has seen enough, or its disk is full; nothing may be flushed to
        # it at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 1
        print(f"python -m metareg_sm: error: the output: {error.strerror}", file=sys.stderr)
        return 2


def _run(argv: Sequence[str] | None) -> int:
    parser = _parser()
    given = sys.argv[1:] if argv is None else list(argv)
    arguments = parser.parse_args(given)
    cells = {n: getattr(arguments, n) for n in _CELLS if getattr(arguments, n) is not None}
    if arguments.data is not None and arguments.formula is None:
        parser.error("a formula must follow the data file, for instance 'yi ~ age'")
    if arguments.data is None and (arguments.vi or arguments.sei or arguments.measure or cells):
        parser.error("--vi, --sei and --measure go with a data file and a formula")
    if arguments.measure is not None and (arguments.vi or arguments.sei):
        parser.error("--measure computes the variances; leave out --vi and --sei")
    if cells and arguments.measure is None:
        parser.error(f"--{next(iter(cells))} goes with --measure NAME")
    cov_kwds = _covariance_keywords(parser, arguments)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            results = _model(arguments, cells).fit(
                tau2=arguments.tau2, cov_type=arguments.cov_type, cov_kwds=cov_kwds
            )
            if arguments.report is not None:
                results.to_html(
                    arguments.report,
                    exponentiate=arguments.exp or None,
                    call=shlex.join(["python", "-m", "metareg_sm", *given]),
                )
            if arguments.json:
                shown = json.dumps(describe(results), indent=2)
            else:
                shown = str(results.summary(exponentiate=arguments.exp))
        except (OSError, ValueError) as error:
            parser.error(" ".join(str(error).split()) or type(error).__name__)
    print(shown)
    for warning in caught:
        print(f"{parser.prog}: warning: {' '.join(str(warning.message).split())}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
