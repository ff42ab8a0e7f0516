"""Times of two things that are measured in turns, and what a comparison found."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Turns:
    """Times of A and B, measured A B A B ...

    Attributes
    ----------
    ours, peer : ndarray, (n,)
        Seconds of A and of B, the i-th of each one after the other.
    """

    ours: np.ndarray
    peer: np.ndarray

    def ratio(self, inverse: bool = False) -> np.ndarray:
        """First quartile, median and third quartile of A / B, pair by pair; B / A if `inverse`."""
        pairs = self.peer / self.ours if inverse else self.ours / self.peer
        return np.quantile(pairs, [0.25, 0.5, 0.75])

    def seconds(self) -> tuple[float, float]:
        """Median of A and of B."""
        return float(np.median(self.ours)), float(np.median(self.peer))


def seconds(function: Callable[[], Any]) -> float:
    """Seconds that one call takes, without the garbage collector's."""
    gc.disable()
    try:
        start = time.perf_counter()
        function()
        return time.perf_counter() - start
    finally:
        gc.enable()


def in_turns(
    ours: Callable[[], Any],
    peer: Callable[[], Any],
    pairs: int,
    measure: Callable[[Callable[[], Any]], float] = seconds,
) -> Turns:
    """Measure two functions in turns, after one call of each that does not count.

    What slows the machine down for a while slows both: the ratio of a pair is steadier than either
    time.
    """
    measure(ours)
    measure(peer)
    times = np.empty((pairs, 2))
    for i in range(pairs):
        for side, function in enumerate((ours, peer)):
            # what a collection does to caches must not fall on one side alone
            if i % 100 == 0 or times[i - 1].sum() > 0.01:
                gc.collect()
            times[i, side] = measure(function)
    return Turns(times[:, 0], times[:, 1])


@dataclass(frozen=True)
class Finding:
    """One row of the table.

    Attributes
    ----------
    case : str
        Name of the case.
    what : str
        What was done.
    peer : str
        Beside what.
    figure : str
        The ratio or count, the same on every machine but for noise; or why there is none.
    target : str
        What it should be; empty where the figure is information.
    met : bool or None
        Whether it is; None where there is no target or no figure.
    answers : str
        Largest differences between the answers.
    here : str
        Times on this machine. Printed, never written to the documentation.
    """

    case: str
    what: str
    peer: str
    figure: str
    target: str = ""
    met: bool | None = None
    answers: str = ""
    here: str = ""


def skipped(case: str, what: str, peer: str, why: str) -> Finding:
    """Row of what could not be measured."""
    return Finding(case, what, peer, f"skipped: {why}")


def slower(case: str, what: str, peer: str, turns: Turns, most: float, answers: str) -> Finding:
    """Row whose figure is the time of A over that of B, which should be at most `most`."""
    low, median, high = turns.ratio()
    figure = f"{median:.2f} times its time ({low:.2f} to {high:.2f})"
    met = bool(median <= most)
    return Finding(case, what, peer, figure, f"<= {most:g}", met, answers, both(turns))


def faster(
    case: str, what: str, peer: str, turns: Turns, least: float | None, answers: str
) -> Finding:
    """Row whose figure is the time of B over that of A, which should be at least `least`."""
    low, median, high = turns.ratio(inverse=True)
    digits = 0 if median >= 100 else 1
    figure = f"{median:.{digits}f} times as fast ({low:.{digits}f} to {high:.{digits}f})"
    if least is None:
        return Finding(case, what, peer, figure, "", None, answers, both(turns))
    met = bool(median >= least)
    return Finding(case, what, peer, figure, f">= {least:g}", met, answers, both(turns))


def both(turns: Turns) -> str:
    """Median times of A and B, for the reader of the terminal."""
    a, b = turns.seconds()
    return f"{duration(a)} beside {duration(b)}"


def duration(value: float) -> str:
    """Seconds in a unit that suits them."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def largest(**pairs: tuple[Any, Any]) -> str:
    """Largest differences name by name; absolute, but relative where a value exceeds 1."""
    parts = []
    for name, pair in pairs.items():
        a, b = (np.asarray(values, dtype=float) for values in pair)
        with np.errstate(invalid="ignore"):
            gap = np.abs(a - b) / np.maximum(1.0, np.abs(b))
        gap = gap[~(np.isnan(a) & np.isnan(b))]
        parts.append(f"{name} {gap.max() if gap.size else 0.0:.1e}")
    return ", ".join(parts)
