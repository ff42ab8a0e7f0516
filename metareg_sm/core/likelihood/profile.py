"""What a profile likelihood of tau2 offers to the search, whoever computes it."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from metareg_sm._typing import Array, Rows

# half the cost of the method for arrays of study size
total_of = np.add.reduce

LOG_2PI = float(np.log(2.0 * np.pi))
# Ratio of variances above which sums over studies lose too many digits for nine to be right.
UNEQUAL = 1e3


class Derivatives(NamedTuple):
    """What the derivatives of the profile log-likelihood consist of; each falls in tau2.

    Attributes
    ----------
    ypp, yppp : ndarray, (...)
        y'PPy and y'PPPy.
    trace, trace2 : ndarray, (...)
        tr P and tr PP for REML; tr W and tr WW for ML.
    """

    ypp: Array
    yppp: Array
    trace: Array
    trace2: Array

    @property
    def score(self) -> Array:
        """First derivative of the log-likelihood."""
        return 0.5 * (self.ypp - self.trace)

    @property
    def observed_information(self) -> Array:
        """Negative second derivative of the log-likelihood."""
        return self.yppp - 0.5 * self.trace2

    @property
    def expected_information(self) -> Array:
        """Fisher information of tau2."""
        return 0.5 * self.trace2


class Limit(NamedTuple):
    """Behaviour of the likelihood as tau2 grows, from the unweighted regression.

    There y'PPy / trace tends to (rss / n) / (tau2 + 2 variance - mean).

    Attributes
    ----------
    rss : ndarray, (...)
        Residual sum of squares e'e.
    variance : ndarray, (...)
        e'Ve / e'e: the limit of y'PPy / y'PPPy - tau2, which never falls.
    n : int or ndarray
        k - r for REML, k for ML.
    mean : ndarray, (...)
        Mean of the eigenvalues of L'VL for REML, of v for ML.
    """

    rss: Array
    variance: Array
    n: Any
    mean: Array


class Likelihood(Protocol):
    """What a search for a maximum asks for; `rows` picks data sets for given tau2."""

    def derivatives(self, tau2: Array, rows: Rows | None = None) -> Derivatives:
        """Ingredients of the derivatives at `tau2`."""
        ...

    def derivatives_and_rss(self, tau2: Array) -> tuple[Derivatives, Array]:
        """Ingredients of the derivatives, and y'Py, of all data sets at `tau2`."""
        ...

    def limit(self) -> Limit:
        """Behaviour of all data sets as tau2 grows."""
        ...

    def loglike(self, tau2: Array, rows: Rows | None = None) -> Array:
        """Log-likelihood at `tau2`."""
        ...


class Profile(Likelihood, Protocol):
    """A profile likelihood of one or many data sets."""

    @property
    def grid_pays(self) -> bool:
        """Whether many points of one data set cost little more than one."""
        ...

    @property
    def smallest(self) -> float:
        """Smallest sampling variance."""
        ...

    def of(self, reml: bool) -> Profile:
        """The restricted or the full likelihood of the same data."""
        ...

    def rss_and_ypp(self, tau2: Array) -> tuple[Array, Array]:
        """Form y'Py and minus its derivative, y'PPy, of all data sets at `tau2`."""
        ...

    def rss(self, tau2: Array, rows: Rows | None = None) -> Array:
        """Weighted residual sum of squares y'Py at `tau2`."""
        ...


def of_rows(values: Array, rows: Rows | None, core: int) -> Array:
    """Values of some data sets; all of them where they share one, of `core` axes."""
    return values if rows is None or values.ndim == core else values[rows]
