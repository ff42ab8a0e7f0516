"""What a fit estimated of the variances of the true effects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from metareg_sm._typing import Array

Likelihood = Literal["reml", "ml"]
Outcome = tuple[Mapping[str, Any], Mapping[str, Any]]


class Optimization:
    """What a statsmodels optimizer returned and was given.

    Parameters
    ----------
    converged : bool
        Whether the maximum was reached.
    outcome : tuple of mapping, or callable
        `mle_retvals` and `mle_settings` of statsmodels. A callable returns them: an optimizer that
        begins where it ends costs more than the rest of a fit, and runs when somebody reads it.
    """

    __slots__ = ("_outcome", "converged")

    def __init__(self, converged: bool, outcome: Outcome | Callable[[], Outcome]) -> None:
        self.converged = converged
        self._outcome = outcome

    @property
    def outcome(self) -> Outcome:
        """`mle_retvals` and `mle_settings`."""
        found = self._outcome
        if callable(found):
            # afterwards nothing holds the data that it needed
            self._outcome = found = found()
        return found


@dataclass(frozen=True, slots=True, eq=False)
class VarianceComponents:
    """Variance components of a fit: tau2 alone, or one for each random effect.

    Attributes
    ----------
    names : tuple of str, (m,)
        "tau2", or the names of the random effects.
    values, se : ndarray, (m,)
        Estimates in squared units of the outcome, and their standard errors.
    untruncated : ndarray, (m,)
        Solutions of the estimating equations before they are truncated at 0.
    label : str
        How they were estimated, as it is printed.
    maximised : {"reml", "ml"} or None
        The likelihood that they maximise, if any.
    n_estimated : int
        Parameters that were estimated; 0 where all are held fixed.
    optimization : Optimization or None
        What a statsmodels optimizer did; None where none was needed.
    boundary : tuple of str
        Names of those at an end of their range: variances of 0, correlations of -1 or 1.
    interval : str
        The method of the results that has their confidence intervals.
    """

    names: tuple[str, ...]
    values: Array
    se: Array
    untruncated: Array
    label: str
    maximised: Likelihood | None
    n_estimated: int
    optimization: Optimization | None = field(default=None, repr=False)
    boundary: tuple[str, ...] = ()
    interval: str = "conf_int_tau2"

    @classmethod
    def of_tau2(
        cls,
        tau2: float,
        se: float,
        untruncated: float,
        label: str,
        maximised: Likelihood | None,
        n_estimated: int,
        optimization: Optimization | None = None,
    ) -> VarianceComponents:
        """The one component of a meta-regression with independent effects."""
        values, errors, raw = (np.array([x]) for x in (tau2, se, untruncated))
        name = "tau2"
        return cls(
            (name,),
            values,
            errors,
            raw,
            label,
            maximised,
            n_estimated,
            optimization,
            (name,) if tau2 == 0.0 else (),
        )

    @property
    def tau2(self) -> float:
        """Heterogeneity of effects, where it is one variance.

        Raises
        ------
        ValueError
            If there are several.
        """
        return float(self.values.item())

    @property
    def converged(self) -> bool | None:
        """Whether the optimizer reached the maximum; None where none was needed."""
        return None if self.optimization is None else self.optimization.converged
