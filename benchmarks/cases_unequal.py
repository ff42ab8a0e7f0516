"""Variances of very different size: beside the same number of studies with ordinary ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from timing import Finding, in_turns, largest, slower

from metareg_sm import MetaReg, fit_many

Array = np.ndarray

SIZES = (50, 200, 800, 2_000, 10_000)
ORDINARY, WIDE = 10.0, 1e6
TARGET = 3.0
QUESTIONS: dict[str, Callable[[Any], Any]] = {
    "summary": lambda res: res.summary(),
    "Q-profile interval": lambda res: res.conf_int_tau2(),
    "profile-likelihood interval": lambda res: res.conf_int_tau2(method="profile-likelihood"),
}


def studies(k: int, ratio: float, n: int | None = None) -> tuple[Array, Array, Array]:
    """Outcomes and variances (k,) or (n, k) of a given ratio, and moderators (k, 3)."""
    rng = np.random.default_rng(k)
    X = np.column_stack([np.ones(k), rng.normal(size=(k, 2))])
    shape = (k,) if n is None else (n, k)
    v = np.exp(rng.uniform(0.0, np.log(ratio), shape))
    v[..., 0], v[..., 1] = 1.0, ratio
    v *= 0.1 / np.sqrt(ratio)
    return 0.3 * X.sum(1) + rng.normal(size=shape) * np.sqrt(v + 0.1), v, X


def unequal(repeat: int | None) -> list[Finding]:
    """What a ratio of the variances of 1e6 costs."""
    return [_fits(repeat or 15), *(_asked(name, repeat or 9) for name in QUESTIONS), *_many(repeat)]


def _fits(pairs: int) -> Finding:
    ratios = {}
    for k in SIZES:
        wide, ordinary = (studies(k, r) for r in (WIDE, ORDINARY))
        turns = in_turns(lambda d=wide: _fit(d), lambda d=ordinary: _fit(d), pairs)
        ratios[k] = float(turns.ratio()[1])
    return _finding("fit", ratios)


def _asked(name: str, pairs: int) -> Finding:
    """A question asked of a new fit; the fit is not measured."""
    ratios = {}
    for k in SIZES:
        wide, ordinary = (studies(k, r) for r in (WIDE, ORDINARY))
        # results remember their answers: each call takes the next of fits that are ready
        ready = [iter([_fit(d) for _ in range(pairs + 1)]) for d in (wide, ordinary)]
        ask = QUESTIONS[name]
        turns = in_turns(
            lambda r=ready[0], a=ask: a(next(r)), lambda r=ready[1], a=ask: a(next(r)), pairs
        )
        ratios[k] = float(turns.ratio()[1])
    return _finding(name, ratios)


def _fit(data: tuple[Array, Array, Array]) -> Any:
    y, v, X = data
    return MetaReg(y, X, vi=v).fit()


def _finding(what: str, ratios: dict[int, float]) -> Finding:
    figure = ", ".join(f"{ratio:.2f} (k={k:,})" for k, ratio in ratios.items())
    return Finding(
        "unequal",
        f"{what} where variances differ by 1e6",
        "the same where they differ by 10",
        f"times its time: {figure}",
        f"<= {TARGET:g} each",
        max(ratios.values()) <= TARGET,
    )


def _many(repeat: int | None) -> list[Finding]:
    n, k = 100_000, 20
    ordinary = studies(k, 25.0, n)
    rows = []
    for ratio in (1e4, 1e6):
        y, v, X = studies(k, ratio, n)
        turns = in_turns(
            lambda d=(y, X, v): fit_many(*d),
            lambda d=ordinary: fit_many(d[0], d[2], d[1]),
            repeat or 3,
        )
        few = fit_many(y[:20], X, v[:20])
        single = [MetaReg(y[i], X, vi=v[i]).fit() for i in range(20)]
        answers = largest(
            coefficients=(few.params, np.array([r.params for r in single])),
            bse=(few.bse, np.array([r.bse for r in single])),
            tau2=(few.tau2, np.array([r.tau2 for r in single])),
            q=(few.q, np.array([r.heterogeneity.q for r in single])),
        )
        what = f"{n:,} fits, k={k}, p=3, where variances differ by {ratio:.0e}"
        beside = "the same where they differ by 25"
        rows.append(
            slower("unequal", what, beside, turns, TARGET, f"beside single fits: {answers}")
        )
    return rows
