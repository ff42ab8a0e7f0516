"""metareg_sm beside statsmodels, PyMARE and metafor, measured in turns in one run.

    python benchmarks/compare.py all
    python benchmarks/compare.py single many --repeat 20
    python benchmarks/compare.py all --write-table

Each figure is the median over pairs of runs, A B A B ..., with its quartiles; `--repeat` sets the
number of pairs. Run it while nothing else runs. Peers that are not installed are reported as
skipped. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import cases_batch
import cases_mixed
import cases_peers
import cases_scale
import cases_single
import cases_unequal
import peers
from timing import Finding

CASES: dict[str, Callable[[int | None], list[Finding]]] = {
    "single": cases_single.single,
    "array": cases_single.array,
    "large": cases_single.large,
    "many": cases_batch.many,
    "permutation": cases_batch.permutation,
    "import": cases_single.import_,
    "hostile": cases_batch.hostile,
    "unequal": cases_unequal.unequal,
    "mixed": cases_mixed.mixed,
    "peers": cases_peers.other_packages,
    "memory": cases_scale.memory,
    "dask": cases_scale.dask,
}

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "docs" / "benchmarks.rst",)
BEGIN, END = "benchmark table", "end of benchmark table"
HEADER = ("what", "beside", "figure", "target", "largest differences of the answers")


def verdict(row: Finding) -> str:
    """Target of a row, and whether it is met."""
    if not row.target:
        return ""
    return f"{row.target}: {'met' if row.met else 'MISSED'}"


def report(rows: Sequence[Finding]) -> None:
    """Print the rows of a case."""
    for row in rows:
        print(f"{row.case}: {row.what}")
        lines = {
            "beside": row.peer,
            "figure": row.figure,
            "target": verdict(row),
            "here": row.here,
            "answers": row.answers,
        }
        for name, text in lines.items():
            if text:
                print(
                    textwrap.fill(
                        text, 100, initial_indent=f"  {name:8}", subsequent_indent=" " * 10
                    )
                )
        print(flush=True)


def cells(row: Finding) -> tuple[str, ...]:
    """What the written table shows of a row: nothing that depends on the machine alone."""
    return row.what, row.peer, row.figure, verdict(row), row.answers


def markdown(rows: Sequence[Finding]) -> str:
    """Table in Markdown."""

    def line(values: Sequence[str]) -> str:
        return "| " + " | ".join(v.replace("|", "\\|") for v in values) + " |"

    table = [line(HEADER), line(["---"] * len(HEADER)), *(line(cells(r)) for r in rows)]
    return "\n".join([*table, "", versions()])


def restructured(rows: Sequence[Finding]) -> str:
    """Table in reStructuredText."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for values in (HEADER, *(cells(r) for r in rows)):
        lines += [f"   {'* -' if i == 0 else '  -'} {v}".rstrip() for i, v in enumerate(values)]
    return "\n".join([*lines, "", versions()])


def versions() -> str:
    """The line below a written table."""
    return f"Medians of pairs of runs in turns, with quartiles. {peers.versions()}."


def write_table(rows: Sequence[Finding], page: Path) -> str:
    """Put the table between the marks of a page; what was done.

    Where the mark at the end is missing, the lines of a table after the first mark are replaced.
    """
    if not page.exists():
        return f"{page.name}: there is no such page"
    if page.suffix == ".rst":
        begin, end, table = f".. {BEGIN}", f".. {END}", restructured(rows)
    else:
        begin, end, table = f"<!-- {BEGIN} -->", f"<!-- {END} -->", markdown(rows)
    lines = page.read_text().splitlines()
    if begin not in lines:
        return f"{page.name}: no line {begin!r}, nothing written"
    start = lines.index(begin) + 1
    if end in lines[start:]:
        stop = lines.index(end, start) + 1
    else:
        stop = start
        while stop < len(lines) and (not lines[stop].strip() or lines[stop].startswith("|")):
            stop += 1
    rest = lines[stop:]
    gap = [""] if rest and rest[0].strip() else []
    page.write_text("\n".join([*lines[:start], "", table, "", end, *gap, *rest]) + "\n")
    return f"{page.name}: table written"


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="+", choices=[*CASES, "all"], metavar="CASE")
    parser.add_argument("--repeat", type=int, help="pairs of runs; a suitable number by default")
    parser.add_argument(
        "--write-table",
        nargs="*",
        type=Path,
        metavar="PAGE",
        help="write the rows between the marks of these pages; docs/benchmarks.rst by default",
    )
    parser.epilog = "cases: " + " ".join([*CASES, "all"])
    args = parser.parse_args()
    if args.repeat is not None and args.repeat < 1:
        parser.error("--repeat must be at least 1")
    names = list(CASES) if "all" in args.cases else list(dict.fromkeys(args.cases))
    print(peers.versions() + "\n", flush=True)
    rows: list[Finding] = []
    for name in names:
        found = CASES[name](args.repeat)
        report(found)
        rows += found
    missed = [r for r in rows if r.met is False]
    skipped = [r for r in rows if r.figure.startswith("skipped")]
    print(f"{len(rows)} figures, {len(missed)} targets missed, {len(skipped)} skipped")
    if args.write_table is not None:
        for page in args.write_table or PAGES:
            print(write_table(rows, page))


if __name__ == "__main__":
    main()
