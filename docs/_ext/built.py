"""What the pages take from the package itself while they are built: tables, numbers, a command.

- ``.. built-table:: NAME`` is a table of a registry or of a file in ``benchmarks``;
- ``:calibration:`max type1 | method == 'nonrobust'``` is one number of that file, as is
  ``:smallstudy:`estimate | k == 30 and ...``` of the simulation of small-study methods;
- ``.. command::`` runs a command line and shows what it prints;
- ``.. remaining-api::`` documents public names that the page does not list otherwise.
"""

from __future__ import annotations

import functools
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import validation
from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

import metareg_sm
from metareg_sm.core.tau2 import ESTIMATORS
from metareg_sm.effectsizes import MEASURES
from metareg_sm.many import REASONS
from metareg_sm.stats.covariance import COVARIANCES

CALIBRATION = Path(__file__).parents[2] / "benchmarks" / "calibration.csv"
ECOLOGY = CALIBRATION.with_name("ecology.csv")
SMALL_STUDY = CALIBRATION.with_name("small_study.csv")
METHODS = ("nonrobust", "knapp-hartung", "knapp-hartung-adhoc", "cr2")

Table = tuple[list[str], list[list[str]], list[int]]


def _once(registry: Any) -> list[Any]:
    """Entries of a registry without its aliases."""
    return list({id(e): e for e in registry.values()}.values())


def _estimators() -> Table:
    rows = [
        [
            f"``{e.name}``",
            e.label,
            e.title,
            ", ".join(f"``{a}``" for a in e.aliases),
            "yes" if e.zero_variance else "no",
            e.citation,
        ]
        for e in _once(ESTIMATORS)
    ]
    header = ["tau2=", "label", "estimator", "aliases", "vi = 0", "reference"]
    return header, rows, [8, 8, 22, 18, 7, 37]


def _covariances() -> Table:
    rows = [
        [
            f"``{c.name}``",
            c.label,
            "t, F" if c.use_t else "normal, chi-squared",
            "yes" if c.factor is not None else "no",
        ]
        for c in _once(COVARIANCES)
    ]
    return ["cov_type=", "label", "reference", "in fit_many"], rows, [30, 30, 25, 15]


def _measures(*titles: str) -> Table:
    rows = []
    for m in MEASURES.values():
        if not any(m.layout.title.startswith(title) for title in titles):
            continue
        vtypes = ", ".join(f"``{v}``" for v in m.variances) if len(m.variances) > 1 else ""
        rows.append(
            [f"``{m.name}``", m.title, m.layout.needs, vtypes, m.natural_label or "same", m.source]
        )
    header = ["measure", "yi", "needs", "vtype", "natural scale", "reference"]
    return header, rows, [9, 26, 22, 9, 14, 20]


def _reasons() -> Table:
    rows = [[str(int(code)), code.name, text] for code, text in REASONS.items()]
    return ["code", "name", "meaning"], rows, [8, 32, 60]


def _datasets() -> Table:
    rows = []
    for name in metareg_sm.datasets.__all__:
        module = getattr(metareg_sm.datasets, name)
        k, columns = module.load_pandas().data.shape
        rows.append([f"``{name}``", str(k), str(columns), module.DESCRSHORT.strip()])
    return ["name", "studies", "columns", "what"], rows, [25, 10, 10, 55]


def _grid(column: str, variances: str) -> Table:
    data = pd.read_csv(CALIBRATION).query(f"variances == {variances!r}")
    wide = data.pivot_table(index=["tau2", "k"], columns="method", values=column)
    rows = [
        [f"{tau2:g}", str(k), *(f"{wide.loc[(tau2, k), m]:.3f}" for m in METHODS)]
        for tau2, k in wide.index
    ]
    return ["tau2", "k", *METHODS], rows, [10, 10, 20, 20, 20, 20]


def _lr() -> Table:
    data = pd.read_csv(CALIBRATION).query("method == 'lr-tau2'")
    wide = data.pivot_table(index=["variances", "k"], columns="tau2", values="reject")
    rows = [[v, str(k), *(f"{x:.3f}" for x in wide.loc[(v, k)])] for v, k in wide.index]
    return ["variances", "k", *(f"tau2 = {t:g}" for t in wide.columns)], rows, [20] * 6


def _ecology(simulation: str) -> Table:
    data = pd.read_csv(ECOLOGY).query(f"simulation == {simulation!r}")
    rows = [
        [
            r.setting,
            r.method,
            f"{r.truth:g}",
            f"{r.estimate:.4f} ± {r.estimate_mcse:.4f}",
            f"{r.reject:.3f} ± {r.reject_mcse:.3f}",
            f"{r.coverage:.3f} ± {r.coverage_mcse:.3f}",
        ]
        for r in data.itertuples()
    ]
    header = ["setting", "method", "truth", "mean estimate", "reject", "coverage"]
    return header, rows, [22, 22, 8, 18, 15, 15]


CELL = ["k", "tau2", "mean", "publish"]
CELL_WIDTHS = [6, 8, 8, 10]


def _small_study(columns: dict[str, tuple[str, str]], rows: str = "k > 0") -> Table:
    """Cells of the simulation of small-study methods; a column is a method and what of it."""
    data = pd.read_csv(SMALL_STUDY).query(rows)
    lines = []
    for cell, part in data.groupby(CELL, sort=False):
        by_method = part.set_index("method")
        line = [f"{x:g}" for x in cell]
        for method, what in columns.values():
            value = by_method.loc[method, what]
            error = by_method.loc[method].get(f"{what}_mcse", float("nan"))
            text = "" if pd.isna(value) else f"{value:.3f}"
            line.append(text if pd.isna(error) else f"{text} ± {error:.3f}")
        lines.append(line)
    width = 70 // len(columns)
    return [*CELL, *columns], lines, [*CELL_WIDTHS, *[width] * len(columns)]


SMALL_STUDY_TABLES = {
    "small-study-tests": (
        {
            "Egger": ("egger", "reject"),
            "LR, selection": ("selection-lr", "reject"),
            "failed": ("selection-lr", "failed"),
        },
        "tau2 > 0",
    ),
    "small-study-estimates": (
        {
            "random effects": ("random-effects", "estimate"),
            "PET": ("pet", "estimate"),
            "PEESE": ("peese", "estimate"),
            "PET-PEESE": ("pet-peese", "estimate"),
            "selection (median)": ("selection", "median"),
        },
        "k > 0",
    ),
    "small-study-decisions": (
        {
            "random effects": ("random-effects", "reject"),
            "PET": ("pet", "reject"),
            "PEESE": ("peese", "reject"),
            "PET-PEESE": ("pet-peese", "reject"),
            "selection": ("selection", "reject"),
        },
        "mean == 0",
    ),
    "small-study-power": (
        {
            "random effects": ("random-effects", "reject"),
            "PET": ("pet", "reject"),
            "PEESE": ("peese", "reject"),
            "PET-PEESE": ("pet-peese", "reject"),
            "selection": ("selection", "reject"),
        },
        "mean > 0 and publish == 1",
    ),
}

TABLES: dict[str, Callable[[], Table]] = {
    "estimators": _estimators,
    "covariances": _covariances,
    "measures-tables": lambda: _measures("2x2", "paired 2x2", "genotypes"),
    "measures-rates": lambda: _measures("events"),
    "measures-means": lambda: _measures("means of two", "standard deviations of two"),
    "measures-one-group": lambda: _measures("mean of", "standard deviation of"),
    "measures-change": lambda: _measures("means of one", "standard deviations of one"),
    "measures-correlations": lambda: _measures("correlation", "t statistic", "Cronbach"),
    "reasons": _reasons,
    "datasets": _datasets,
    "type1-equal": lambda: _grid("type1", "equal"),
    "type1-unequal": lambda: _grid("type1", "unequal"),
    "width-equal": lambda: _grid("width", "equal"),
    "width-unequal": lambda: _grid("width", "unequal"),
    "lr-tau2": _lr,
    "ecology-collapsibility": lambda: _ecology("collapsibility"),
    "ecology-ecological": lambda: _ecology("ecological"),
    "ecology-baseline": lambda: _ecology("baseline"),
    "ecology-screening": lambda: _ecology("screening"),
    **{
        name: functools.partial(_small_study, columns, rows)
        for name, (columns, rows) in SMALL_STUDY_TABLES.items()
    },
    **validation.TABLES,
}


class BuiltTable(SphinxDirective):
    """A table made while the docs are built."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        self.env.note_dependency(str(CALIBRATION))
        self.env.note_dependency(str(ECOLOGY))
        self.env.note_dependency(str(SMALL_STUDY))
        self.env.note_reread()
        header, rows, widths = TABLES[self.arguments[0]]()
        lines = [
            ".. list-table::",
            "   :header-rows: 1",
            f"   :widths: {' '.join(map(str, widths))}",
            "",
        ]
        for row in [header, *rows]:
            for position, cell in enumerate(row):
                lines.append(f"   {'* -' if position == 0 else '  -'} {cell}")
        node = nodes.Element()
        source = f"<{self.arguments[0]}>"
        self.state.nested_parse(StringList(lines, source), self.content_offset, node)
        return node.children


class CalibrationNumber(SphinxRole):
    """``:calibration:`FUNCTION COLUMN | QUERY```: one number of the simulation."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Look the number up."""
        what, _, query = self.text.partition("|")
        function, column = what.split()
        data = pd.read_csv(CALIBRATION).query(query.strip())
        if data.empty:
            raise ValueError(f"no row of the calibration has {query.strip()}")
        value = getattr(data[column], function)()
        text = f"{value:,.0f}" if value >= 1000 else f"{value:.3f}"
        return [nodes.Text(text)], []


class SmallStudyNumber(SphinxRole):
    """One number of the simulation, with its error: ``:smallstudy:`COLUMN | QUERY```."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Look the number up."""
        column, _, query = self.text.partition("|")
        data = pd.read_csv(SMALL_STUDY).query(query.strip())
        if len(data) != 1:
            raise ValueError(f"{len(data)} rows of the simulation have {query.strip()}")
        row = data.iloc[0]
        name = column.strip()
        return [nodes.Text(f"{row[name]:.3f} ± {row[f'{name}_mcse']:.3f}")], []


class Command(SphinxDirective):
    """A command line of this package, and what it prints."""

    has_content = True
    option_spec = {"exit": directives.nonnegative_int}  # noqa: RUF012 (docutils' attribute)

    def run(self) -> list[nodes.Node]:
        """Run the commands."""
        blocks = []
        for line in self.content:
            words = shlex.split(line)
            if words[:3] != ["python", "-m", "metareg_sm"]:
                raise self.error(f"not a command of this package: {line}")
            done = subprocess.run(
                [sys.executable, *words[1:]],
                capture_output=True,
                text=True,
                check=False,
                cwd=CALIBRATION.parents[1],
            )
            if done.returncode != self.options.get("exit", 0):
                raise self.error(f"{line} exited with {done.returncode}: {done.stderr}")
            blocks.append(f"$ {line}\n{done.stdout}{done.stderr}".rstrip())
        text = "\n".join(blocks)
        return [nodes.literal_block(text, text, language="console")]


class RemainingApi(SphinxDirective):
    """Names in the package's `__all__` that the page does not name, so that none is missing."""

    def run(self) -> list[nodes.Node]:
        """Document what is missing."""
        page = Path(self.env.doc2path(self.env.docname)).read_text(encoding="utf-8")
        listed = set(re.findall(r"metareg_sm\.(\w+)", page))
        lines: list[str] = []
        for name in metareg_sm.__all__:
            value = getattr(metareg_sm, name)
            if name in listed or name.startswith("_"):
                continue
            kind = "function" if callable(value) else "module"
            kind = "class" if isinstance(value, type) else kind
            members = [] if kind == "function" else ["   :members:"]
            lines += [f".. auto{kind}:: metareg_sm.{name}", *members, ""]
        if lines:
            lines = [".. rubric:: More", "", *lines]
        node = nodes.Element()
        self.state.nested_parse(StringList(lines, "<remaining>"), self.content_offset, node)
        return node.children


def escape_bars(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Keep the bars of |t| in a docstring, which reStructuredText takes for a substitution."""
    for number, line in enumerate(lines):
        if not line.lstrip().startswith(">>>"):
            lines[number] = re.sub(r"\|(\S[^|`]*?)\|", r"\|\1\|", line)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives and the role."""
    app.add_directive("built-table", BuiltTable)
    app.add_directive("command", Command)
    app.add_directive("remaining-api", RemainingApi)
    app.add_role("calibration", CalibrationNumber())
    app.add_role("smallstudy", SmallStudyNumber())
    app.connect("autodoc-process-docstring", escape_bars, priority=900)
    # the examples share one interpreter
    return {"parallel_read_safe": False, "parallel_write_safe": True}
