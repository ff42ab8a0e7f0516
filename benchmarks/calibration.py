"""How often tests of a slope are wrong, and the boundary test of tau2 = 0: a simulation.

Data: k studies, y_i = 0.5 x_i + u_i + e_i, u_i ~ N(0, tau2), e_i ~ N(0, v_i) with v_i known and
x_i ~ N(0, 1). v_i is 0.1 for all studies, or unequal: log-uniform between 0.02 and 0.5, whose
geometric mean is 0.1. x and unequal v are drawn anew for each replicate. tau2 of 0, 0.05, 0.2 and 1
is thus 0, 0.5, 2 and 10 times the typical sampling variance. tau2 is estimated by REML.

One row of the output is one method in one cell:

- nonrobust, knapp-hartung, knapp-hartung-adhoc: as in `MetaReg.fit`;
- cr2: `cov_type="cluster"` with CR2 and each study a cluster, Satterthwaite degrees of freedom;
- lr-tau2: the boundary likelihood ratio test of tau2 = 0.

type1 is the share of replicates whose test rejects the true slope at 0.05; coverage is the share of
95% intervals that hold it. An interval holds the slopes that its test does not reject, so the two
add up to 1; they are computed apart, as a check. width is the median width of the interval. lr-tau2
has `reject` instead: the size where tau2 is 0, else the power. Columns *_mcse are Monte Carlo
standard errors.

    python benchmarks/calibration.py --replicates 200000 --seed 2024

Cells that the output already has, with the same seed and number of replicates, are skipped; each
cell has random numbers of its own, so the order and interruptions do not matter.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

from metareg_sm import MetaReg
from metareg_sm._typing import Array
from metareg_sm.core.likelihood import DirectProfile
from metareg_sm.core.studies import Studies
from metareg_sm.core.tau2 import ESTIMATORS
from metareg_sm.core.wls import wls
from metareg_sm.stats.covariance import COVARIANCES

STUDIES = (5, 10, 20, 40)
TAU2 = (0.0, 0.05, 0.2, 1.0)
VARIANCES = ("equal", "unequal")
TYPICAL_V = 0.1
UNEQUAL_V = (0.02, 0.5)
METHODS = ("nonrobust", "knapp-hartung", "knapp-hartung-adhoc", "cr2")
SLOPE = 0.5
ALPHA = 0.05
BLOCK = 2000

CELL = ("k", "tau2", "variances")
RATES = ("type1", "coverage", "reject")
COLUMNS = (
    *CELL,
    "method",
    "seed",
    "replicates",
    *itertools.chain.from_iterable((r, f"{r}_mcse") for r in RATES),
    "width",
)


def simulate(
    k: int, tau2: float, variances: str, n: int, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """Outcomes (n, k), sampling variances (n, k) and designs (n, k, 2) of n replicates."""
    if variances == "equal":
        v = np.full((n, k), TYPICAL_V)
    else:
        v = np.exp(rng.uniform(np.log(UNEQUAL_V[0]), np.log(UNEQUAL_V[1]), size=(n, k)))
    x = rng.normal(size=(n, k))
    y = SLOPE * x + rng.normal(size=(n, k)) * np.sqrt(v + tau2)
    return y, v, np.stack([np.ones((n, k)), x], axis=-1)


def studies_of(y: Array, v: Array, X: Array) -> Studies:
    """Data sets with a design each, as the kernel wants them."""
    Z = np.linalg.qr(X)[0]
    resid = y
    for _ in range(2):
        resid = resid - (Z @ (np.swapaxes(Z, -1, -2) @ resid[..., None]))[..., 0]
    return Studies(resid, v, Z, None, y)


def cr2(X: Array, weights: Array, wresid: Array) -> tuple[Array, Array]:
    """Variance of the slope by CR2 with singleton clusters, and its Satterthwaite df; (n,) each.

    With one study a cluster the adjustment is A = 1/sqrt(1 - h), h being the leverage.
    """
    Q, R = np.linalg.qr(np.sqrt(weights)[..., None] * X)
    row = np.linalg.inv(R)[..., 1, :]
    scores = np.einsum("nkr,nr->nk", Q, row)
    scores = scores / np.sqrt(1.0 - np.einsum("nkr,nkr->nk", Q, Q))
    variance = np.einsum("nk,nk->n", scores**2, wresid**2)
    # Omega = diag(a^2) - BB' with B = aQ: its trace squared over its squared Frobenius norm
    B = scores[..., None] * Q
    own, norms = np.einsum("nkr,nkr->nk", B, B), scores**2
    gram = np.einsum("nkr,nks->nrs", B, B)
    frobenius = (norms**2 - 2.0 * norms * own).sum(-1) + np.einsum("nrs,nrs->n", gram, gram)
    return variance, (norms - own).sum(-1) ** 2 / frobenius


def evaluate(y: Array, v: Array, X: Array) -> dict[str, Array]:
    """Per replicate: `<method>/type1`, `/coverage` and `/width`, and `lr-tau2/reject`."""
    k, p = X.shape[-2:]
    studies = studies_of(y, v, X)
    tau2 = ESTIMATORS["reml"].solve(studies, None).tau2
    weights = 1.0 / (v + tau2[:, None])
    fit = wls(y, weights, X)
    slope = fit.params[:, 1]
    found = {}
    candidates: list[tuple[str, Array, Any]] = []
    for name in METHODS[:3]:
        entry = COVARIANCES[name]
        factor: Any = entry.factor
        scale = factor(fit.rss / (k - p))
        candidates.append((name, scale * fit.cov_unscaled[:, 1, 1], k - p if entry.use_t else None))
    candidates.append(("cr2", *cr2(X, weights, fit.wresid)))
    for name, variance, df in candidates:
        se = np.sqrt(variance)
        z = -np.abs(slope - SLOPE) / se
        tail = special.ndtr(z) if df is None else special.stdtr(df, z)
        critical = (
            special.ndtri(1.0 - ALPHA / 2) if df is None else special.stdtrit(df, 1 - ALPHA / 2)
        )
        half = critical * se
        found[f"{name}/type1"] = 2.0 * tail < ALPHA
        found[f"{name}/coverage"] = (slope - half <= SLOPE) & (slope + half >= SLOPE)
        found[f"{name}/width"] = 2.0 * half
    profile = DirectProfile(studies.resid, v, studies.Z, reml=True)
    lr = np.maximum(0.0, 2.0 * (profile.loglike(tau2) - profile.loglike(np.zeros_like(tau2))))
    found["lr-tau2/reject"] = np.where(lr > 0.0, 0.5 * special.chdtrc(1, lr), 1.0) < ALPHA
    return found


def self_check() -> None:
    """The batched formulas of this script against `MetaReg`, study by study clusters included."""
    y, v, X = simulate(9, 0.2, "unequal", 3, np.random.default_rng(1))
    found = evaluate(y, v, X)
    for i in range(len(y)):
        model = MetaReg(y[i], X[i], vi=v[i])
        for name in METHODS:
            singletons = {"groups": np.arange(9), "correction": "CR2"} if name == "cr2" else None
            res = model.fit(cov_type="cluster" if singletons else name, cov_kwds=singletons)
            pvalue = float(np.ravel(res.t_test(([[0.0, 1.0]], [SLOPE])).pvalue)[0])
            lower, upper = np.asarray(res.conf_int())[1]
            assert found[f"{name}/type1"][i] == (pvalue < ALPHA)
            assert np.isclose(found[f"{name}/width"][i], upper - lower, rtol=1e-8)
        assert found["lr-tau2/reject"][i] == (res.lr_test_tau2().pvalue < ALPHA)


def run_cell(
    k: int, tau2: float, variances: str, replicates: int, seed: int
) -> list[dict[str, Any]]:
    """Rows of the output for one cell, one a method."""
    key = (seed, k, round(1000 * tau2), VARIANCES.index(variances))
    rng = np.random.default_rng(np.random.SeedSequence(key))
    blocks = []
    for start in range(0, replicates, BLOCK):
        n = min(BLOCK, replicates - start)
        blocks.append(evaluate(*simulate(k, tau2, variances, n, rng)))
    values = {name: np.concatenate([b[name] for b in blocks]) for name in blocks[0]}
    rows: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        method, _, what = name.partition("/")
        row = rows.setdefault(method, {"method": method})
        if what in RATES:
            rate = float(value.mean())
            row[what] = f"{rate:.6g}"
            row[f"{what}_mcse"] = f"{np.sqrt(rate * (1.0 - rate) / replicates):.2g}"
        else:
            row[what] = f"{np.median(value):.6g}"
    cell = {"k": k, "tau2": tau2, "variances": variances, "seed": seed, "replicates": replicates}
    return [cell | row for row in rows.values()]


def finished(out: Path, replicates: int, seed: int) -> set[tuple[str, ...]]:
    """Cells that the output has for this seed and number of replicates."""
    if not out.exists():
        return set()
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    wanted = (str(seed), str(replicates))
    # the last method tells that the cell was written to its end
    return {
        tuple(row[c] for c in CELL)
        for row in rows
        if (row["seed"], row["replicates"]) == wanted and row["method"] == "lr-tau2"
    }


def progress(cells: list[Any]) -> Iterable[Any]:
    """The cells, behind a progress bar where tqdm is installed."""
    try:
        from tqdm import tqdm
    except ImportError:
        return iter(cells)
    bar: Iterator[Any] = tqdm(cells, unit="cell")
    return bar


def main() -> None:
    """Run what is missing from the output."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=200_000, help="data sets in a cell")
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    args = parser.parse_args()
    if args.replicates < 1:
        parser.error("--replicates must be at least 1")
    self_check()
    done = finished(args.out, args.replicates, args.seed)
    cells = [
        c for c in itertools.product(STUDIES, TAU2, VARIANCES) if tuple(map(str, c)) not in done
    ]
    for cell in progress(cells):
        k, tau2, variances = cell
        rows = run_cell(k, tau2, variances, args.replicates, args.seed)
        new = not args.out.exists()
        with args.out.open("a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
