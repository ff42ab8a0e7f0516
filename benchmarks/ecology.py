"""What meta-regression cannot see, simulated: the table behind the pages on ecological bias.

    python benchmarks/ecology.py --replicates 10000 --seed 2025

writes ``ecology.csv`` beside this script: one row a simulation, setting and method with the mean
estimate, its bias against the truth of participants, how often a 0.05 test rejects "no slope" (or
"no baseline dependence"), the coverage of the 95% interval, and Monte Carlo standard errors.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from metareg_sm import fit_many, simulate
from metareg_sm._typing import Array
from metareg_sm.core.studies import Studies
from metareg_sm.core.tau2 import ESTIMATORS
from metareg_sm.stats.bivariate import fit_bivariate, profile_loglike

OUT = Path(__file__).with_suffix(".csv")
Row = dict[str, object]


def design(x: Array) -> Array:
    return np.column_stack([np.ones(len(x)), x - x.mean()])


def row(
    simulation: str,
    setting: str,
    method: str,
    estimates: Array,
    truth: float,
    rejected: Array,
    covered: Array,
) -> Row:
    """One row of the table; the median where estimates have heavy tails is told by `method`."""
    n = len(estimates)
    rates = {"reject": rejected, "coverage": covered}
    found: Row = {
        "simulation": simulation,
        "setting": setting,
        "method": method,
        "truth": truth,
        "estimate": estimates.mean(),
        "estimate_mcse": estimates.std(ddof=1) / np.sqrt(n),
        "median": np.median(estimates),
        "replicates": n,
    }
    for name, values in rates.items():
        p = values.mean()
        found |= {name: p, f"{name}_mcse": np.sqrt(p * (1.0 - p) / n)}
    return found


def many_row(
    simulation: str, setting: str, method: str, many: object, column: int, truth: float
) -> Row:
    """One row from a batch of fits."""
    ends = many.conf_int()[:, column]
    covered = (ends[:, 0] < truth) & (truth < ends[:, 1])
    rejected = many.pvalues[:, column] < 0.05
    return row(simulation, setting, method, many.params[:, column], truth, rejected, covered)


def collapsibility(n: int, rng: np.random.Generator) -> Iterator[Row]:
    for risk_sd in (0.001, 1.0, 2.0):
        sets = simulate.collapsibility(n, risk_sd=risk_sd, rng=rng)
        yi, vi = sets.log_odds_ratios()
        many = fit_many(yi, design(sets.baseline), vi)
        setting = f"SD of log odds within trials {risk_sd:.0f}"
        yield many_row("collapsibility", setting, "slope on true baseline log odds", many, 1, 0.0)


def ecological(n: int, rng: np.random.Generator) -> Iterator[Row]:
    for across in (0.03, -0.04):
        sets = simulate.ecological(n, across=across, rng=rng)
        truth = sets.truth["within"]
        k = len(sets.mean_age)
        outer = fit_many(sets.effects, design(sets.mean_age), sets.effects_vi)
        inner = fit_many(sets.interactions, np.ones((k, 1)), sets.interactions_vi)
        setting = f"within 0.03, across {across:g}"
        yield many_row("ecological", setting, "slope across trials", outer, 1, truth)
        yield many_row("ecological", setting, "interaction within trials", inner, 0, truth)
        gap = outer.params[:, 1] - inner.params[:, 0]
        a, b = outer.bse[:, 1] ** 2, inner.bse[:, 0] ** 2
        df = (a + b) ** 2 / (a**2 / (k - 2) + b**2 / (k - 1))
        half = stats.t.ppf(0.975, df) * np.sqrt(a + b)
        expected = across - truth
        covered = np.abs(gap - expected) < half
        test = "test of their difference"
        yield row("ecological", setting, test, gap, expected, np.abs(gap) > half, covered)


def naive_slopes(x: Array, y: Array, vx: Array, vy: Array) -> tuple[Array, Array]:
    """Slopes of treated on observed controls by meta-regressions of the effects, and errors.

    REML and Knapp-Hartung, every data set (n, k) with a design of its own.
    """
    k = x.shape[1]
    gaps = x - x.mean(1, keepdims=True)
    Z = np.stack([np.full_like(x, 1.0 / np.sqrt(k)), gaps], axis=-1)
    Z[..., 1] /= np.linalg.norm(gaps, axis=1, keepdims=True)
    effect, v = y - x, vx + vy
    resid = effect - np.einsum("nkr,njr,nj->nk", Z, Z, effect)
    tau2 = ESTIMATORS["reml"].solve(Studies(resid, v, Z, None, effect), None).tau2
    w = 1.0 / (v + tau2[:, None])
    share = w / w.sum(1, keepdims=True)
    dx, dy = (a - (share * a).sum(1, keepdims=True) for a in (x, effect))
    spread = (w * dx**2).sum(1)
    slope = (w * dx * dy).sum(1) / spread
    factor = (w * (dy - slope[:, None] * dx) ** 2).sum(1) / (k - 2)
    return 1.0 + slope, np.sqrt(factor / spread)


def baseline(n: int, rng: np.random.Generator) -> Iterator[Row]:
    limit = stats.chi2.ppf(0.95, 1)
    for slope in (1.0, 0.7):
        sets = simulate.baseline(n, n_studies=20, sd=0.6, slope=slope, rng=rng)
        y, x, vy, vx = sets.log_odds()
        setting = f"slope {slope:g}"
        naive, se = naive_slopes(x, y, vx, vy)
        half = stats.t.ppf(0.975, x.shape[1] - 2) * se
        rejected, covered = (np.abs(naive - truth) for truth in (1.0, slope))
        yield row("baseline", setting, "naive", naive, slope, rejected > half, covered < half)
        both = fit_bivariate(x, y, vx, vy)
        falls = [2.0 * (both.llf - profile_loglike(x, y, vx, vy, s)) for s in (1.0, slope)]
        method = "bivariate model"
        yield row(
            "baseline", setting, method, both.slope, slope, falls[0] > limit, falls[1] < limit
        )


def screening(n: int, rng: np.random.Generator) -> Iterator[Row]:
    for k in (10, 20, 40):
        sets = simulate.screening(n, n_studies=k, rng=rng)
        fits = [
            fit_many(sets.yi, design(x.to_numpy()), sets.vi) for _, x in sets.moderators.items()
        ]
        pvalues = np.column_stack([many.pvalues[:, 1] for many in fits])
        slopes = np.column_stack([many.params[:, 1] for many in fits])
        worst = np.take_along_axis(slopes, pvalues.argmin(1)[:, None], 1)[:, 0]
        setting, least = f"12 moderators, {k} studies", pvalues.min(axis=1)
        for method, level in (("any of 12 at 0.05", 0.05), ("any of 12, Bonferroni", 0.05 / 12)):
            rejected = least < level
            yield row("screening", setting, method, np.abs(worst), 0.0, rejected, ~rejected)


SIMULATIONS = (collapsibility, ecological, baseline, screening)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=2025)
    options = parser.parse_args()
    rows = [
        found
        for number, simulation in enumerate(SIMULATIONS)
        for found in simulation(options.replicates, np.random.default_rng([options.seed, number]))
    ]
    pd.DataFrame(rows).to_csv(OUT, index=False, float_format="%.5g")


if __name__ == "__main__":
    main()
