"""Dependent effects: beside metafor's rma.mv, lme4's bare optimisation and statsmodels' WLS."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from timing import Finding, duration, in_turns, largest, skipped

from metareg_sm import datasets

HERE = Path(__file__).parent
RANDOM = "1 | study/es"
SIZES = ((1_200, 300), (5_000, 1_000))
PEERS = {
    "lme4": ("lme4", "lme4, optimisation alone, to the same digits"),
    "lme4-default": ("lme4", "lme4, optimisation alone, at its own tolerances"),
    "metafor": ("metafor", "metafor rma.mv(sparse=TRUE)"),
    "berkey": ("metafor", "metafor rma.mv"),
}
LARGEST = (100_000, 25_000)
# pairs of runs by which rma.mv takes minutes are few
SLOW = 2_000


@cache
def missing(package: str) -> str | None:
    """Why an R package cannot be asked; None where it can."""
    if shutil.which("Rscript") is None:
        return "Rscript is not installed"
    code = subprocess.run(
        ["Rscript", "-e", f"library({package})"], capture_output=True, check=False
    ).returncode
    return f"R has no {package}" if code else None


def effects(k: int, J: int) -> pd.DataFrame:
    """Effects in studies of unequal size."""
    rng = np.random.default_rng(k)
    study = np.sort(rng.integers(0, J, k))
    x, v = rng.normal(size=k), rng.uniform(0.01, 0.2, k)
    true = 0.3 + 0.2 * x + 0.3 * rng.normal(size=J)[study] + 0.2 * rng.normal(size=k)
    y = true + np.sqrt(v) * rng.normal(size=k)
    return pd.DataFrame({"y": y, "x": x, "v": v, "study": study, "es": np.arange(k)})


def seconds(function: Callable[[], Any]) -> float:
    """Seconds of processor, as R's are: what other processes take does not count."""
    start = time.process_time()
    function()
    return time.process_time() - start


def fitted(model: Any) -> Any:
    """What is asked of a fit: coefficients, components, their standard errors, likelihood."""
    res = model.fit()
    return res, res.params, res.bse, res.components.values, res.components.se, res.llf


def in_r(what: str, table: pd.DataFrame, repeats: int) -> dict[str, np.ndarray]:
    """Seconds and answers of a run in R."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        table.to_csv(path, index=False, float_format="%.17g")
        out = subprocess.run(
            ["Rscript", str(HERE / "mixed.R"), what, str(path), str(repeats)],
            capture_output=True,
            check=True,
            text=True,
        ).stdout
    rows = (line.split() for line in out.splitlines() if line.strip())
    return {name: np.array(values, dtype=float) for name, *values in rows}


def mixed(repeat: int | None) -> list[Finding]:
    """Three levels and two outcomes, beside R and beside WLS."""
    found = []
    for k, J in SIZES:
        table = effects(k, J)
        model = smf.mixedmetareg("y ~ x", table, vi="v", random=RANDOM)
        what = f"three levels, {k:,} effects in {J:,} studies: fit of a built model"
        found.append(_beside("lme4", what, model, table, repeat or 9, 5.0))
        found.append(_beside("lme4-default", what, model, table, repeat or 9, None))
        found.append(_beside("metafor", what, model, table, 3 if k < SLOW else 1, 300.0))
        found.append(_from_formula(k, table, repeat or 15))
    return [*found, _berkey(repeat or 9), _resampled(repeat or 5), _linear()]


def _beside(
    peer: str, what: str, model: Any, table: pd.DataFrame, repeats: int, least: float | None
) -> Finding:
    package, name = PEERS[peer]
    why = missing(package)
    if why:
        return skipped("mixed", what, name, why)
    fitted(model)
    # before and after, since what slows the machine down for a while slows both
    before = [seconds(lambda: fitted(model)) for _ in range(repeats)]
    theirs = in_r(peer, table, repeats)
    after = [seconds(lambda: fitted(model)) for _ in range(repeats)]
    ours, peers = float(np.median([*before, *after])), float(np.median(theirs["seconds"]))
    res = fitted(model)[0]
    pairs = {"variances": (_variances(res), theirs["components"])}
    if "params" in theirs:
        pairs |= {"coefficients": (res.params, theirs["params"]), "bse": (res.bse, theirs["bse"])}
    return Finding(
        "mixed",
        what,
        name,
        f"{peers / ours:.1f} times as fast",
        "" if least is None else f">= {least:g}",
        None if least is None else peers / ours >= least,
        largest(**pairs),
        f"{duration(ours)} beside {duration(peers)}",
    )


def _variances(res: Any) -> np.ndarray:
    return np.asarray(res.vcomp if len(res.vcomp) else np.diag(res.cov_re))


def _from_formula(k: int, table: pd.DataFrame, pairs: int) -> Finding:
    """What a formula adds to a fit, in units of a WLS of the same data from a formula."""

    def ours() -> Any:
        return smf.mixedmetareg("y ~ x", table, vi="v", random=RANDOM)

    def peer() -> Any:
        res = smf.wls("y ~ x", table, weights=1.0 / table["v"]).fit()
        return res.bse, res.pvalues

    low, median, high = in_turns(ours, peer, pairs, seconds).ratio()
    return Finding(
        "mixed",
        f"three levels, {k:,} effects: what a formula adds to the fit",
        "statsmodels wls from a formula",
        f"{median:.2f} times its time ({low:.2f} to {high:.2f})",
        "<= 2",
        bool(median <= 2.0),
    )


def _berkey(repeats: int) -> Finding:
    what = "two outcomes in five trials, un (Berkey 1998): fit of a built model"
    trials = datasets.berkey1998.load_pandas().data
    V = [g[["v1i", "v2i"]].to_numpy() for _, g in trials.groupby("trial", sort=False)]
    model = smf.mixedmetareg("yi ~ 0 + outcome", trials, V=V, random="0 + outcome | trial")
    table = trials.rename(columns={"yi": "y", "v1i": "v1", "v2i": "v2"})
    columns = ["y", "outcome", "trial", "v1", "v2"]
    return _beside("berkey", what, model, table[columns], repeats, 20.0)


def _resampled(pairs: int) -> Finding:
    """A parametric bootstrap, beside fits of the same outcomes one by one."""
    schools = datasets.konstantopoulos2011.load_pandas().data
    res = smf.mixedmetareg("yi ~ year", schools, vi="vi", random="1 | district/school").fit()
    n, few = 999, 20
    outcomes = res.simulate(few, rng=1)

    def one_by_one() -> list[Any]:
        tables = (schools.assign(yi=y) for y in outcomes)
        models = (
            smf.mixedmetareg("yi ~ year", t, vi="vi", random="1 | district/school") for t in tables
        )
        return [model.fit() for model in models]

    low, median, high = in_turns(
        lambda: res.bootstrap(n, rng=1), one_by_one, pairs, seconds
    ).ratio()
    times = n / few / median
    return Finding(
        "mixed",
        f"three levels, {len(schools)} effects: parametric bootstrap of {n} resamples",
        "fits one by one, from formulas",
        f"{times:.0f} times as fast ({n / few / high:.0f} to {n / few / low:.0f})",
        ">= 10",
        bool(times >= 10.0),
    )


def _linear() -> Finding:
    """Time and memory of ten times as many effects."""
    times, peaks = [], []
    for k, J in ((LARGEST[0] // 10, LARGEST[1] // 10), LARGEST):
        model = smf.mixedmetareg("y ~ x", effects(k, J), vi="v", random=RANDOM)
        fitted(model)
        times.append(min(seconds(lambda m=model: fitted(m)) for _ in range(3)))
        tracemalloc.start()
        fitted(model)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    ratio, memory = times[1] / times[0], peaks[1] / peaks[0]
    return Finding(
        "mixed",
        f"three levels, {LARGEST[0]:,} effects in {LARGEST[1]:,} studies",
        "a tenth of them",
        f"{ratio:.1f} times the time, {memory:.1f} times the memory",
        "<= 12 each",
        max(ratio, memory) <= 12.0,
        here=f"{duration(times[1])}, {peaks[1] / 1e6:.0f} MB at most",
    )
