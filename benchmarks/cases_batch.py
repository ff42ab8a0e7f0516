"""Many small models: beside PyMARE and metafor, and against a grid where data are hostile."""

from __future__ import annotations

import tempfile
import tracemalloc
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import peers
import statsmodels.formula.api as smf
from timing import (
    Finding,
    Turns,
    duration,
    faster,
    in_turns,
    largest,
    seconds,
    skipped,
)

from metareg_sm import MetaReg, datasets, fit_many

Array = np.ndarray

# a log-likelihood that is lower than another by more is a maximum that was missed
MISSED = 1e-6


def outcomes(n: int, k: int, p: int, seed: int = 1) -> tuple[Array, Array, Array]:
    """Outcomes and variances (n, k) of studies with the same moderators (k, p)."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(k), rng.normal(size=(k, p - 1))])
    v = np.exp(rng.uniform(np.log(0.02), np.log(0.5), size=(n, k)))
    tau2 = rng.choice([0.0, 0.05, 0.2, 1.0], size=(n, 1))
    y = 0.2 * X.sum(1) + rng.normal(size=(n, k)) * np.sqrt(v + tau2)
    return y, v, X


def fits(y: Array, X: Array, v: Array) -> tuple[Array, ...]:
    """What is taken from each fit."""
    res = fit_many(y, X, v)
    return res.params, res.bse, res.tau2, res.q


def tests(y: Array, X: Array, v: Array) -> tuple[Array, ...]:
    """The same with the tests."""
    res = fit_many(y, X, v)
    return res.params, res.bse, res.tau2, res.q, res.pvalues


def many(repeat: int | None) -> list[Finding]:
    """A hundred thousand REML fits with Knapp-Hartung tests."""
    n, few, k, p = 100_000, 5_000, 20, 3
    y, v, X = outcomes(n, k, p)
    what = f"{n:,} REML and Knapp-Hartung fits, k={k}, p={p}, each with its own variances"
    pairs = repeat or 5
    rows = [_traffic(y, X, v, what, pairs)]
    if why := peers.missing("pymare"):
        return [*rows, skipped("many", what, "PyMARE", why)]
    dataset = peers.pymare_dataset(y[:few], v[:few], X)
    rates = []
    for ours, p in ((fits, False), (tests, True)):

        def peer(p: bool = p) -> Any:
            return peers.pymare_fit(dataset, tests=p)

        turns = in_turns(lambda f=ours: f(y, X, v), peer, pairs)
        rates.append(Turns(turns.ours / n, turns.peer / few))
    params, bse, tau2, q = (a[:few] for a in fits(y, X, v))
    theirs = peers.pymare_fit(dataset)
    ours_at = peers.loglike(y[:few], v[:few], X, tau2, reml=True)
    theirs_at = peers.loglike(y[:few], v[:few], X, theirs.tau2, reml=True)
    done = ours_at - theirs_at <= MISSED
    answers = largest(
        coefficients=(params[done], theirs.params[done]),
        bse=(bse[done], theirs.bse[done]),
        tau2=(tau2[done], theirs.tau2[done]),
        q=(q[done], theirs.q[done]),
    )
    answers += (
        f"; of {few:,} log-likelihoods PyMARE's is lower by > 1e-6 in {np.count_nonzero(~done)}, "
        f"this one's in {np.count_nonzero(theirs_at - ours_at > MISSED)}"
    )
    beside = f"PyMARE (time of a fit, of {few:,})"
    return [
        faster("many", what, beside, rates[0], 20.0, answers),
        faster("many", f"{what}, and p-values of t", beside, rates[1], None, ""),
        *rows,
    ]


def _traffic(y: Array, X: Array, v: Array, what: str, pairs: int) -> Finding:
    """Share of the time that reading the input and writing the output alone takes."""
    results = fits(y, X, v)
    copies = np.empty_like(y), np.empty_like(v), *(np.empty_like(r) for r in results)

    def move() -> None:
        for target, source in zip(copies, (y, v, *results), strict=True):
            np.copyto(target, source)

    turns = in_turns(move, lambda: fits(y, X, v), pairs)
    low, median, high = 100.0 * turns.ratio()
    a, b = turns.seconds()
    return Finding(
        "many",
        what,
        "copying input and output",
        f"copying takes {median:.1f} % of the time ({low:.1f} to {high:.1f})",
        here=f"{duration(a)} beside {duration(b)}",
    )


def permutation(repeat: int | None) -> list[Finding]:
    """Permutation test that re-estimates tau2, and what metafor does with one data set."""
    n, bcg = 10_000, datasets.bcg.load_pandas().data
    res = smf.metareg("yi ~ ablat + year", bcg, vi="vi").fit()
    test = res.permutation_test(n, rng=1)
    what = f"{n:,} permutations of 13 studies, 2 moderators, REML in each"

    def ours() -> Any:
        return res.permutation_test(n, rng=1)

    def agreement(pvalues: Array, draws: int) -> str:
        p = np.asarray(test.pvalues)
        error = np.sqrt(p * (1.0 - p) * (1.0 / n + 1.0 / draws)).max()
        return f"{largest(pvalues=(p, pvalues))} (of which chance: standard error {error:.1e})"

    rows = []
    if why := peers.missing("pymare"):
        rows.append(skipped("permutation", what, "PyMARE", why))
    else:
        X = np.column_stack([np.ones(len(bcg)), bcg["ablat"], bcg["year"]])
        y, v = bcg["yi"].to_numpy()[None], bcg["vi"].to_numpy()[None]
        theirs = peers.pymare_results(peers.pymare_dataset(y, v, X))
        np.random.seed(1)  # noqa: NPY002 (its permutations come from numpy's global state)
        turns = in_turns(ours, lambda: theirs.permutation_test(n), repeat or 5)
        pvalues = np.ravel(theirs.permutation_test(n).perm_p["fe_p"])
        peer = "PyMARE permutation_test, REML in each too"
        answers = agreement(pvalues, n)
        rows.append(faster("permutation", what, peer, turns, 10.0, answers))
    if why := peers.missing_metafor():
        return [*rows, skipped("permutation", what, "metafor permutest", why)]
    iterations = 500
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "bcg.csv"
        bcg.to_csv(table, index=False)
        smoke = datasets.hackshaw1998.load_pandas().data
        smoke.to_csv(table.with_name("hackshaw1998.csv"), index=False)
        runs, mine = [], []
        ours()
        for _ in range(min(5, repeat or 3)):
            mine.append(_own_times(res, bcg, ours))
            runs.append(peers.metafor_speed(table, iterations))
    theirs_at = {m: np.array([float(r[m][0]) for r in runs]) for m in mine[0]}
    ours_at = {m: np.array([t[m] for t in mine]) for m in mine[0]}
    one = Turns(ours_at["permutation"] / n, theirs_at["permutation"])
    answers = agreement(np.array(runs[0]["pvalues"], dtype=float), iterations)
    peer = f"metafor permutest (time of one, of {iterations})"
    rows.append(faster("permutation", what, peer, one, 500.0, answers))
    answers = largest(
        coefficients=(np.asarray(res.params), np.array(runs[0]["beta"], dtype=float)),
        tau2=(res.tau2, float(runs[0]["tau2"][0])),
    )
    fits = Turns(ours_at["fit"], theirs_at["fit"])
    rows.append(faster("permutation", "one fit from a formula", "metafor rma", fits, None, answers))
    what = "deletion diagnostics of 13 studies, tau2 anew for each"
    turns = Turns(ours_at["influence"], theirs_at["influence"])
    found = res.get_influence()
    answers = largest(
        cook=(found.cooks_distance[0], np.array(runs[0]["cook"], dtype=float)),
        rstudent=(found.resid_studentized_external, np.array(runs[0]["rstudent"], dtype=float)),
    )
    rows.append(faster("permutation", what, "metafor influence", turns, 30.0, answers))
    for name, run in _selections(bcg).items():
        selected = run()[0]
        answers = largest(
            answers=(
                [*selected.params, selected.tau2, selected.llf],
                np.array(runs[0][f"{name}-answers"], dtype=float),
            )
        )
        turns = Turns(ours_at[name], theirs_at[name])
        peer = "metafor selmodel, its own stopping rule"
        rows.append(faster("permutation", SELECTIONS[name], peer, turns, 20.0, answers))
    return [*rows, *_many_deletions()]


SELECTIONS = {
    "selection": "selection model of 13 studies, 1 moderator, 1 step",
    "selection37": "selection model of 37 studies, 1 step",
    "selection37-2": "selection model of 37 studies, 2 steps",
}


def _selections(bcg: Any) -> dict[str, Callable[[], Any]]:
    """What fits the selection models of metafor.R."""
    moderated = smf.metareg("yi ~ ablat", bcg, vi="vi").fit(tau2="ML")
    smoke = datasets.hackshaw1998.load_pandas().data
    plain = smf.metareg("yi ~ 1", smoke, vi="vi").fit(tau2="ML")

    def results(fit: Any, steps: Any, alternative: str) -> Callable[[], Any]:
        def run() -> Any:
            found = fit.selection_model(steps, alternative)
            return found, found.params, found.bse, found.lr_test

        return run

    return {
        "selection": results(moderated, 0.025, "less"),
        "selection37": results(plain, 0.025, "greater"),
        "selection37-2": results(plain, (0.025, 0.5), "greater"),
    }


def _many_deletions() -> list[Finding]:
    """Time and memory of the diagnostics of very many studies, as their number grows."""
    rows = []
    for estimator, decades in (("reml", 1.0), ("pm", 1.0), ("dl", 1.0), ("reml", 6.0), ("he", 6.0)):
        spent, peak = [], []
        for k in (2_500, 10_000):
            rng = np.random.default_rng(k)
            X = np.column_stack([np.ones(k), rng.normal(size=k)])
            v = 0.02 * 10.0 ** rng.uniform(0.0, decades, k)
            y = X @ [0.3, 0.2] + rng.normal(size=k) * np.sqrt(v + 0.1)
            res = MetaReg(y, X, vi=v).fit(tau2=estimator)
            spent.append(min(seconds(res.get_influence) for _ in range(5)))
            tracemalloc.start()
            res.get_influence()
            peak.append(tracemalloc.get_traced_memory()[1] / 2**20)
            tracemalloc.stop()
        growth = spent[1] / spent[0]
        ratio = "" if decades == 1.0 else ", some a million times as precise as others"
        what = f"deletion diagnostics of 10,000 studies{ratio}, {estimator.upper()} anew for each"
        rows.append(
            Finding(
                "permutation",
                what,
                "2,500 studies",
                f"{growth:.1f} times the time, {peak[1]:.0f} MiB beside {peak[0]:.0f} MiB",
                "linear: at most 6 times the time",
                bool(growth <= 6.0),
                here=f"{duration(spent[1])} beside {duration(spent[0])}",
            )
        )
    return rows


def _own_times(res: Any, bcg: Any, test: Any) -> dict[str, float]:
    """Seconds of what metafor.R measures: medians of several calls."""

    def fit() -> Any:
        return smf.metareg("yi ~ ablat + year", bcg, vi="vi").fit()

    def influence() -> Any:
        return res.get_influence().summary_frame()

    times = {"permutation": seconds(test), "fit": np.median([seconds(fit) for _ in range(100)])}
    times["influence"] = np.median([seconds(influence) for _ in range(100)])
    for name, selection in _selections(bcg).items():
        times[name] = np.median([seconds(selection) for _ in range(50)])
    return times


def hostile(repeat: int | None) -> list[Finding]:
    """Global maxima where the likelihood has several: few studies, variances of any size."""
    total = (repeat or 1) * 20_000
    groups = _hostile_groups(total)
    bad = {"below": 0, "nan": 0, "negative": 0}
    singles = 0
    best: list[tuple[Array, Array]] = []
    for y, v, X in groups:
        heights = []
        for reml in (True, False):
            res = fit_many(y, X, v, tau2="reml" if reml else "ml")
            top = _grid_maximum(y, v, X, reml)
            alone = slice(None, None, 20)
            one_by_one = [_single(y[i], v[i], X, reml) for i in range(len(y))[alone]]
            _count(bad, res, peers.loglike(y, v, X, res.tau2, reml), top)
            tau2 = np.array([r.tau2 for r in one_by_one])
            at = peers.loglike(y[alone], v[alone], X, tau2, reml)
            bad["below"] += int(np.count_nonzero(~(at >= top[alone] - MISSED)))
            bad["nan"] += int(np.isnan([r.bse for r in one_by_one]).any(axis=1).sum())
            bad["negative"] += int(np.count_nonzero(tau2 < 0.0))
            singles += len(tau2)
            heights.append(peers.loglike(y, v, X, res.tau2, reml))
        best.append((heights[0], heights[1]))
    fits = 2 * total + singles
    rows = [
        Finding(
            "hostile",
            f"{total:,} hostile data sets by REML and by ML, k 5 to 12, variances over 3 or 4 "
            f"decades; {singles:,} also by single fits",
            "best of a 300-point grid",
            f"{bad['below']} of {fits:,} below it by > 1e-6; {bad['nan']} NaN, "
            f"{bad['negative']} negative",
            "0, 0, 0",
            not any(bad.values()),
        )
    ]
    return [*rows, _metafor_misses(groups, best)]


def _single(y: Array, v: Array, X: Array, reml: bool) -> Any:
    return MetaReg(y, X, vi=v).fit(tau2="reml" if reml else "ml")


def _hostile_groups(total: int) -> list[tuple[Array, Array, Array]]:
    """Data sets (y, v, X) that share X, in groups."""
    rng = np.random.default_rng(7)
    shapes = [(k, p) for k in range(5, 13) for p in (1, 2, 3)]
    sizes = [total // len(shapes) + (i < total % len(shapes)) for i in range(len(shapes))]
    groups = []
    for (k, p), n in zip(shapes, sizes, strict=True):
        X = np.column_stack([np.ones(k), rng.normal(size=(k, p - 1))])
        decades = rng.choice([3.0, 4.0], size=(n, 1))
        v = 10.0 ** (decades * (rng.uniform(size=(n, k)) - 0.5))
        tau2 = 10.0 ** rng.uniform(-3.0, 2.0, size=(n, 1))
        groups.append((rng.standard_t(2.0, size=(n, k)) * np.sqrt(v + tau2), v, X))
    return groups


def _grid_maximum(y: Array, v: Array, X: Array, reml: bool, points: int = 300) -> Array:
    top = 10.0 * (np.ptp(y, axis=1) ** 2 + v.max(1))
    steps = np.linspace(0.0, 1.0, points - 1)
    bottom = 1e-4 * v.min(1)
    grid = bottom[:, None] * (top / bottom)[:, None] ** steps
    grid = np.column_stack([np.zeros(len(y)), grid])
    parts = [slice(i, i + 200) for i in range(0, len(y), 200)]
    values = [peers.loglike(y[s], v[s], X, grid[s], reml).max(1) for s in parts]
    return np.concatenate(values)


def _count(bad: dict[str, int], res: Any, at: Array, top: Array) -> None:
    bad["below"] += int(np.count_nonzero(~(at >= top - MISSED)))
    table = np.column_stack([res.params, res.bse, res.tau2])
    bad["nan"] += int(np.isnan(table).any(axis=1).sum())
    bad["negative"] += int(np.count_nonzero(res.tau2 < 0.0))


def _metafor_misses(
    groups: list[tuple[Array, Array, Array]], best: list[tuple[Array, Array]], sample: int = 40
) -> Finding:
    """How often metafor's tau2 is below the best known maximum, in some of the same data sets."""
    what = f"{len(groups) * sample} of these data sets by REML and by ML"
    if why := peers.missing_metafor():
        return skipped("hostile", what, "metafor rma", why)
    few = [(y[:sample], v[:sample], X) for y, v, X in groups]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = peers.metafor_search(few, Path(folder))
    missed = failed = ahead = count = 0
    for (y, v, X), values, heights in zip(few, found, best, strict=True):
        for reml, tau2, height in zip((True, False), values, heights, strict=True):
            gave_up = np.isnan(tau2)
            at = peers.loglike(y, v, X, np.where(gave_up, 0.0, tau2), reml)
            gap = height[: len(y)] - at
            missed += int(np.count_nonzero((gap > MISSED) & ~gave_up))
            ahead += int(np.count_nonzero((gap < -MISSED) & ~gave_up))
            failed += int(gave_up.sum())
            count += len(tau2)
    figure = f"metafor's is a lesser maximum in {missed} of {count:,}, none at all in {failed}"
    row = Finding("hostile", what, "metafor rma, threshold 1e-12, 20,000 steps", figure)
    return replace(row, answers=f"this one's is lower by > 1e-6 in {ahead}")
