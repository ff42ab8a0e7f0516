"""Command line: `python -m metareg_sm [DATA.csv FORMULA --vi COLUMN]`."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

import pandas as pd
from statsmodels.tools.sm_exceptions import MissingDataError

from metareg_sm import MetaReg, datasets
from metareg_sm.core.tau2 import ESTIMATORS
from metareg_sm.design.formula import formula_error
from metareg_sm.report.numbers import describe
from metareg_sm.stats.covariance import COVARIANCES

EXAMPLE = "yi ~ ablat + year"


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
    return parser


def _model(arguments: argparse.Namespace) -> MetaReg:
    if arguments.data is None:
        frame = datasets.bcg.load_pandas().data
        return MetaReg.from_formula(EXAMPLE, frame, vi="vi")
    source = sys.stdin if arguments.data == "-" else arguments.data
    return MetaReg.from_formula(
        arguments.formula, pd.read_csv(source), vi=arguments.vi, sei=arguments.sei
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the process by default.

    Returns
    -------
    int
        0. Errors leave by `SystemExit` with status 2, after one line on stderr.
    """
    parser = _parser()
    given = sys.argv[1:] if argv is None else list(argv)
    arguments = parser.parse_args(given)
    if arguments.data is not None and arguments.formula is None:
        parser.error("a formula must follow the data file, for instance 'yi ~ age'")
    if arguments.data is None and (arguments.vi or arguments.sei):
        parser.error("--vi and --sei go with a data file and a formula")
    cov_kwds: dict[str, Any] | None = None
    if arguments.cov_type.lower() == "cluster":
        if arguments.groups is None:
            parser.error("--cov-type cluster needs --groups COLUMN")
        cov_kwds = {"groups": arguments.groups}
        if arguments.correction is not None:
            cov_kwds["correction"] = arguments.correction
    elif arguments.groups is not None or arguments.correction is not None:
        parser.error("--groups and --correction go with --cov-type cluster")
    expected = (
        OSError,
        ValueError,
        KeyError,
        NameError,
        SyntaxError,
        MissingDataError,
        formula_error(),
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            results = _model(arguments).fit(
                tau2=arguments.tau2, cov_type=arguments.cov_type, cov_kwds=cov_kwds
            )
            if arguments.report is not None:
                results.to_html(
                    arguments.report,
                    exponentiate=arguments.exp or None,
                    call=shlex.join(["python", "-m", "metareg_sm", *given]),
                )
        except expected as error:
            text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
            # formula engines underline the place with carets on a line of their own
            parser.error(" ".join(text.replace("^", " ").split()) or type(error).__name__)
        if arguments.json:
            print(json.dumps(describe(results), indent=2))
        else:
            print(results.summary(exponentiate=arguments.exp))
    for warning in caught:
        print(f"{parser.prog}: warning: {' '.join(str(warning.message).split())}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
