"""A profile likelihood as a check of the maximum that a fit is at."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

from metareg_sm.exceptions import ConvergenceWarning

# log-likelihoods that differ by less are one
SAME = 1e-6


@dataclass(slots=True)
class HigherPoints:
    """Points of profiles at which the likelihood is higher than at the estimate.

    Attributes
    ----------
    loglike : float
        Log-likelihood at the estimate.
    found : dict
        For each component with such a point the value and the log-likelihood of the highest.
    """

    loglike: float
    found: dict[str, tuple[float, float]] = field(default_factory=dict)

    def see(self, name: str, value: float, loglike: float) -> float:
        """Remember a point of the profile of a component, if it is higher; its log-likelihood."""
        highest = self.found[name][1] if name in self.found else self.loglike + SAME
        if loglike > highest:
            self.found[name] = value, loglike
        return loglike

    def tell(self, stacklevel: int) -> None:
        """Warn of the highest point of each component.

        Warns
        -----
        ConvergenceWarning
            If there is one.
        """
        if not self.found:
            return
        points = "; ".join(
            f"{loglike:.9g} with {name} = {value:.6g}"
            for name, (value, loglike) in self.found.items()
        )
        warnings.warn(
            "The fit is not at the highest maximum of the likelihood. The log-likelihood is "
            f"{self.loglike:.9g} at the estimate, and higher on the profile: {points}. Estimates "
            "and intervals are not valid; fit again with start_params= near that point.",
            ConvergenceWarning,
            stacklevel=stacklevel + 1,
        )
