"""Tests of small-study effects and corrections for them under publication by p-value: a simulation.

Data: k published studies, y_i = mean + u_i + e_i, u_i ~ N(0, tau2), e_i ~ N(0, v_i), v_i known and
log-uniform between 0.01 and 0.5. A study that is significant in the positive direction (one-sided
p < 0.025, two-sided p < 0.05) is always published, any other with probability `publish`; 1 is no
selection, 0 is publication by p < .05 alone. Studies are drawn until k are published.

One row of the output is one method in one cell:

- egger: mixed model on the standard errors, REML, Knapp-Hartung t; reject is the test of asymmetry;
- random-effects, pet, peese: REML, Knapp-Hartung t; reject is the two-sided test of a mean of 0;
- pet-peese: PEESE where PET is significant one-sided at 0.05 in the direction of the random-effects
  mean, else PET;
- selection: step-function model with one step at 0.025; reject is the Wald test of the mean;
- selection-lr: its likelihood ratio test against no selection.

reject is a size where the hypothesis is true (asymmetry and selection: publish = 1; mean: mean = 0
and publish = 1), else a power or, for the mean, the rate of wrong findings. estimate is the average
estimate of the mean, median its median: the average of a selection model has heavy tails. failed is
the share of data sets whose selection model has no estimate: no study below the step, or a flat
likelihood; they count as not rejected, and have no part in its estimates. Columns *_mcse are Monte
Carlo standard errors.

    python benchmarks/small_study.py --replicates 10000 --seed 2024

Cells that the output already has, with the same seed and number of replicates, are skipped.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from pathlib import Path
from typing import Any

import numpy as np

from metareg_sm._typing import Array
from metareg_sm.core.tau2 import ESTIMATORS
from metareg_sm.stats.covariance import COVARIANCES
from metareg_sm.stats.selection import SelectionModel
from metareg_sm.stats.small_study import Analysis, egger_test, pet_peese

STUDIES = (10, 30)
TAU2 = (0.0, 0.04, 0.16)
MEANS = (0.0, 0.3)
PUBLISH = (1.0, 0.2, 0.0)
VARIANCES = (0.01, 0.5)
ALPHA = 0.05
STEP = 0.025
CRITICAL = 1.959963984540054
BLOCK = 1000

CELL = ("k", "tau2", "mean", "publish")
COLUMNS = (
    *CELL,
    "method",
    "seed",
    "replicates",
    "reject",
    "reject_mcse",
    "estimate",
    "estimate_mcse",
    "median",
    "failed",
)
ANALYSIS = Analysis(ESTIMATORS["reml"], COVARIANCES["knapp-hartung"].factor or np.ones_like, True)


def simulate(
    k: int, tau2: float, mean: float, publish: float, n: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Outcomes and sampling variances of the published studies, (n, k) each."""
    found: list[tuple[Array, Array]] = []
    missing = n * k
    while missing > 0:
        size = 200_000
        v = np.exp(rng.uniform(*np.log(VARIANCES), size))
        y = mean + rng.normal(size=size) * np.sqrt(v + tau2)
        seen = (y > CRITICAL * np.sqrt(v)) | (rng.uniform(size=size) < publish)
        found.append((y[seen], v[seen]))
        missing -= int(seen.sum())
    y, v = (np.concatenate(part)[: n * k].reshape(n, k) for part in zip(*found, strict=True))
    return y, v


def evaluate(y: Array, v: Array) -> dict[str, tuple[Array, Array]]:
    """Rejections and estimates of every method, (n,) each; NaN where there is no estimate."""
    n, k = y.shape
    X = np.ones((k, 1))
    nothing = np.full(n, np.nan)
    found = {"egger": (egger_test(y, v, X, ANALYSIS).pvalue < ALPHA, nothing)}
    plain = ANALYSIS.fit(y, v, X)
    found["random-effects"] = (plain.pvalues[:, 0] < ALPHA, plain.params[:, 0])
    both = pet_peese(y, v, X, ANALYSIS)
    found["pet"] = (both.pet.pvalue < ALPHA, both.pet.estimate)
    found["peese"] = (both.peese.pvalue < ALPHA, both.peese.estimate)
    found["pet-peese"] = (both.pvalue < ALPHA, both.estimate)

    reject, lr, estimate = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool), nothing.copy()
    rows = np.flatnonzero((y > CRITICAL * np.sqrt(v)).any(-1))
    if rows.size:
        fit = SelectionModel.build(y[rows], v[rows], X, (STEP,)).fit()
        good = fit.converged & ~fit.flat
        estimate[rows[good]] = fit.params[good, 0]
        reject[rows[good]] = fit.pvalues[good, 0] < ALPHA
        lr[rows[good]] = fit.lr_pvalue[good] < ALPHA
    found["selection"] = (reject, estimate)
    found["selection-lr"] = (lr, estimate)
    return found


def self_check() -> None:
    """Batched calls against single ones."""
    y, v = simulate(12, 0.04, 0.3, 0.2, 3, np.random.default_rng(1))
    together = evaluate(y, v)
    for i in range(len(y)):
        for name, (reject, estimate) in evaluate(y[i : i + 1], v[i : i + 1]).items():
            assert reject[0] == together[name][0][i]
            assert np.isclose(estimate[0], together[name][1][i], rtol=1e-6, equal_nan=True)


def run_cell(
    k: int, tau2: float, mean: float, publish: float, replicates: int, seed: int
) -> list[dict[str, Any]]:
    """Rows of the output for one cell, one a method."""
    key = (seed, k, round(1000 * tau2), round(1000 * mean), round(1000 * publish))
    rng = np.random.default_rng(np.random.SeedSequence(key))
    blocks = []
    for start in range(0, replicates, BLOCK):
        n = min(BLOCK, replicates - start)
        blocks.append(evaluate(*simulate(k, tau2, mean, publish, n, rng)))
    cell = {"k": k, "tau2": tau2, "mean": mean, "publish": publish}
    rows = []
    for method in blocks[0]:
        reject, estimate = (np.concatenate([b[method][i] for b in blocks]) for i in (0, 1))
        rate, known = float(reject.mean()), estimate[~np.isnan(estimate)]
        row: dict[str, Any] = {"method": method, "seed": seed, "replicates": replicates}
        row["reject"] = f"{rate:.6g}"
        row["reject_mcse"] = f"{np.sqrt(rate * (1.0 - rate) / replicates):.2g}"
        if known.size > 1 and method != "selection-lr":
            row["estimate"] = f"{known.mean():.6g}"
            row["estimate_mcse"] = f"{known.std(ddof=1) / np.sqrt(known.size):.2g}"
            row["median"] = f"{np.median(known):.6g}"
        if method.startswith("selection"):
            row["failed"] = f"{np.isnan(estimate).mean():.6g}"
        rows.append(cell | row)
    return rows


def finished(out: Path, replicates: int, seed: int) -> set[tuple[str, ...]]:
    """Cells that the output has for this seed and number of replicates."""
    if not out.exists():
        return set()
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    wanted = (str(seed), str(replicates), "selection-lr")
    # the last method tells that the cell was written to its end
    return {
        tuple(row[c] for c in CELL)
        for row in rows
        if (row["seed"], row["replicates"], row["method"]) == wanted
    }


def main() -> None:
    """Run what is missing from the output."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=10_000, help="data sets in a cell")
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    args = parser.parse_args()
    if args.replicates < 1:
        parser.error("--replicates must be at least 1")
    self_check()
    done = finished(args.out, args.replicates, args.seed)
    for cell in itertools.product(STUDIES, TAU2, MEANS, PUBLISH):
        if tuple(map(str, cell)) in done:
            continue
        rows = run_cell(*cell, args.replicates, args.seed)
        new = not args.out.exists()
        with args.out.open("a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
