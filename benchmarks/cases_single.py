"""One model: beside weighted least squares of statsmodels."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import statsmodels.api as sm
import statsmodels.formula.api as smf
from timing import Finding, Turns, in_turns, largest, slower

from metareg_sm import MetaReg, datasets

FORMULA = "yi ~ ablat + year"


def single(repeat: int | None) -> list[Finding]:
    """A whole fit from a formula."""
    bcg = datasets.bcg.load_pandas().data

    def ours() -> Any:
        res = smf.metareg(FORMULA, bcg, vi="vi").fit()
        return res, res.bse, res.pvalues, res.tau2

    def peer() -> Any:
        res = smf.wls(FORMULA, bcg, weights=1.0 / bcg["vi"]).fit()
        return res, res.bse, res.pvalues

    turns = in_turns(ours, peer, repeat or 300)
    res = ours()[0]
    # at the weights of the fit, WLS with its scale is the Knapp-Hartung adjustment
    wls = smf.wls(FORMULA, bcg, weights=1.0 / (bcg["vi"] + res.tau2)).fit()
    what = "one fit from a formula, 13 studies: bse, p-values, tau2"
    row = slower("single", what, "statsmodels wls", turns, 1.3, same(res, wls))
    return [row, _summary(ours, repeat or 100)]


def _summary(fit: Callable[[], Any], pairs: int) -> Finding:
    """The summary of a fit beside the fit."""
    # results remember their answers: each summary is of a fit that was asked nothing
    ready = iter([fit()[0] for _ in range(pairs + 1)])
    turns = in_turns(lambda: next(ready).summary(), fit, pairs)
    return slower("single", "its summary", "the fit", turns, 2.0, "")


def array(repeat: int | None) -> list[Finding]:
    """A whole fit from arrays."""
    bcg = datasets.bcg.load_pandas().data
    y, v = bcg["yi"].to_numpy(), bcg["vi"].to_numpy()
    X = np.column_stack([np.ones(len(y)), bcg["ablat"], bcg["year"]])
    what = "one fit from arrays, 13 studies: bse, p-values, tau2"
    turns, answers = beside_wls(y, X, v, repeat or 500)
    return [slower("array", what, "statsmodels WLS", turns, 1.7, answers)]


def large(repeat: int | None) -> list[Finding]:
    """One model with a million studies."""
    rng = np.random.default_rng(1)
    k = 1_000_000
    X = np.column_stack([np.ones(k), rng.normal(size=(k, 2))])
    v = np.exp(rng.uniform(np.log(0.02), np.log(0.5), size=k))
    y = X @ [0.3, 0.2, -0.1] + rng.normal(size=k) * np.sqrt(v + 0.1)
    turns, answers = beside_wls(y, X, v, repeat or 7)
    what = "one fit, a million studies, 3 coefficients"
    return [slower("large", what, "statsmodels WLS", turns, 0.9, answers)]


def beside_wls(y: np.ndarray, X: np.ndarray, v: np.ndarray, pairs: int) -> tuple[Turns, str]:
    """Times of fits of the same arrays, and the largest differences of the answers."""

    def ours() -> Any:
        res = MetaReg(y, X, vi=v).fit()
        return res, res.bse, res.pvalues, res.tau2

    def peer() -> Any:
        res = sm.WLS(y, X, weights=1.0 / v).fit()
        return res, res.bse, res.pvalues

    turns = in_turns(ours, peer, pairs)
    res = ours()[0]
    return turns, same(res, sm.WLS(y, X, weights=1.0 / (v + res.tau2)).fit())


def same(res: Any, wls: Any) -> str:
    """Differences from WLS at the weights 1/(v + tau2)."""
    found = largest(
        coefficients=(res.params, wls.params),
        bse=(res.bse, wls.bse),
        pvalues=(res.pvalues, wls.pvalues),
    )
    return f"at weights 1/(vi + tau2): {found}"


def import_(repeat: int | None) -> list[Finding]:
    """Importing the package in a fresh interpreter."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    # installed packages are compiled; a checkout must be, too, before it is measured
    folder = tempfile.TemporaryDirectory()
    environment["PYTHONPYCACHEPREFIX"] = folder.name

    def interpreter(module: str) -> Callable[[], Any]:
        command = [sys.executable, "-c", f"import {module}"]
        return lambda: subprocess.run(command, check=True, env=environment)

    walls: list[float] = []

    def processor_seconds(run: Callable[[], Any]) -> float:
        # time that other processes take from this one does not count
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        run()
        walls.append(time.perf_counter() - start)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    ours, peer = interpreter("metareg_sm"), interpreter("statsmodels.formula.api")
    turns = in_turns(ours, peer, max(10, repeat or 15), processor_seconds)
    low, median, high = 100.0 * (turns.ratio() - 1.0)
    wall = np.reshape(walls, (-1, 2))[1:]
    added = 100.0 * (np.median(wall[:, 0] / wall[:, 1]) - 1.0)
    a, b = turns.seconds()
    folder.cleanup()
    return [
        Finding(
            "import",
            "import in a fresh interpreter, user and system time",
            "statsmodels.formula.api",
            f"{median:+.1f} % ({low:+.1f} to {high:+.1f})",
            "<= 5 %",
            bool(median <= 5.0),
            here=f"{a:.2f} s beside {b:.2f} s of processor; {added:+.1f} % by the clock",
        )
    ]
