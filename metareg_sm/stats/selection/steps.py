"""Step functions of the p-value: which interval a study falls in, and where its outcome's lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from metareg_sm._typing import Array, Codes
from metareg_sm.exceptions import OptionError

ALTERNATIVES = ("greater", "less", "two-sided")


@dataclass(frozen=True, slots=True, eq=False)
class StepFunction:
    """Relative weights of publication that are constant within intervals of the p-value.

    Attributes
    ----------
    steps : tuple of float
        Upper ends of the intervals, ascending; the last is 1.
    alternative : str
        "greater": p = 1 - Phi(y/sqrt(v)), so that large positive outcomes have small p-values;
        "less": p = Phi(y/sqrt(v)); "two-sided": p = 2(1 - Phi(|y|/sqrt(v))).
    cuts : ndarray, (C,)
        Ascending bounds between the intervals of z; for "less" those of -z.
    weight_of : ndarray of int, (C + 1,)
        Which weight each interval of z has.
    """

    steps: tuple[float, ...]
    alternative: str
    cuts: Array
    weight_of: Codes

    @classmethod
    def build(cls, steps: Sequence[float] | float, alternative: str = "greater") -> StepFunction:
        """Check the steps and turn them into bounds of z.

        Parameters
        ----------
        steps : sequence of float
            Ascending numbers between 0 and 1; a last 1 may be left out.
        alternative : {"greater", "less", "two-sided"}

        Raises
        ------
        OptionError
            If the steps do not ascend between 0 and 1, or there is no such alternative.

        Examples
        --------
        >>> StepFunction.build([0.025]).labels
        ('0 < p <= 0.025', '0.025 < p <= 1')
        """
        if alternative not in ALTERNATIVES:
            names = ", ".join(repr(a) for a in ALTERNATIVES)
            raise OptionError(f"alternative={alternative!r} is not known. Choose one of {names}.")
        try:
            inner = np.atleast_1d(np.asarray(steps, dtype=float))
        except (TypeError, ValueError):
            inner = np.empty(0)
        if inner.ndim == 1 and inner.size and inner[-1] == 1.0:
            inner = inner[:-1]
        valid = inner.ndim == 1 and inner.size > 0
        if not valid or not np.all((inner > 0.0) & (inner < 1.0)) or np.any(np.diff(inner) <= 0.0):
            raise OptionError(
                "steps must be ascending p-values between 0 and 1, at least one of them below 1, "
                f"such as (0.025,) or (0.025, 0.5); got {steps!r}."
            )
        n = len(inner)
        if alternative == "two-sided":
            upper = -special.ndtri(inner[::-1] / 2.0)
            cuts = np.concatenate([-upper[::-1], upper])
            weight_of = np.concatenate([np.arange(n), [n], np.arange(n)[::-1]])
        else:
            cuts = -special.ndtri(inner[::-1])
            weight_of = np.arange(n + 1)[::-1]
        ends = (*(float(a) for a in inner), 1.0)
        return cls(ends, alternative, cuts, weight_of)

    @property
    def labels(self) -> tuple[str, ...]:
        """The intervals as they are printed."""
        starts = (0.0, *self.steps[:-1])
        return tuple(f"{a:g} < p <= {b:g}" for a, b in zip(starts, self.steps, strict=True))

    @property
    def sign(self) -> float:
        """What outcomes are multiplied with so that small p-values stand for large ones."""
        return -1.0 if self.alternative == "less" else 1.0

    def pvalues(self, y: Array, v: Array) -> Array:
        """p-value of each study, of the shape of the outcomes."""
        z = self.sign * y / np.sqrt(v)
        if self.alternative == "two-sided":
            return 2.0 * special.ndtr(-np.abs(z))
        return special.ndtr(-z)

    def interval_of(self, y: Array, v: Array) -> Codes:
        """Index of the interval (lower < p <= upper) that each study falls in."""
        return np.searchsorted(self.steps[:-1], self.pvalues(y, v), side="left")

    def counts(self, y: Array, v: Array) -> Array:
        """Studies in each interval; (..., J)."""
        codes = self.interval_of(y, v)
        return (codes[..., None] == np.arange(len(self.steps))).sum(-2).astype(float)
