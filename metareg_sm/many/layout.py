"""What is kept of each outcome, and the model that gives it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from metareg_sm._typing import Array, Rows
from metareg_sm.core.basis import design_basis
from metareg_sm.exceptions import OptionError
from metareg_sm.models.checks import chosen_tau2
from metareg_sm.options import choose
from metareg_sm.stats.batch import BatchModel, block_loglike
from metareg_sm.stats.blocks import Block, Reason
from metareg_sm.stats.covariance import COVARIANCES, CovarianceType


@dataclass(frozen=True)
class Layout:
    """Which columns of a table with one row an outcome hold what.

    Attributes
    ----------
    coefficients : int
        Their number p.
    """

    coefficients: int

    @cached_property
    def places(self) -> dict[str, slice]:
        """Columns of each quantity, by its name."""
        p = self.coefficients
        # the covariance without the factor `scale`: its p (p + 1) / 2 distinct elements
        many = {"params": p, "covariance": p * (p + 1) // 2}
        widths = many | dict.fromkeys(("tau2", "scale", "nobs", "reason", "q", "i2"), 1)
        ends = np.cumsum(list(widths.values())).tolist()
        return {
            name: slice(end - width, end)
            for (name, width), end in zip(widths.items(), ends, strict=True)
        }

    @property
    def width(self) -> int:
        """Number of columns."""
        return max(place.stop for place in self.places.values())

    def table(self, rows: int, **quantities: npt.NDArray[Any]) -> Array:
        """A table with each quantity where it belongs; all of them must be given."""
        table = np.empty((rows, self.width), order="F")
        for name, place in self.places.items():
            values = quantities[name]
            table[:, place] = values[:, None] if values.ndim == 1 else values
        return table

    def read(self, table: Any, name: str) -> Any:
        """A quantity from a table: (n,), or (n, number) for coefficients and covariance."""
        place = self.places[name]
        if name in ("params", "covariance"):
            return table[:, place]
        return table[:, place.start]


@dataclass(frozen=True)
class SharedModel:
    """The meta-regression that every outcome gets.

    Attributes
    ----------
    exog : ndarray, (k, p)
        Moderators.
    batch : BatchModel
        Their column space and the estimator of tau2.
    covariance : CovarianceType
        Of the coefficients.
    """

    exog: Array
    batch: BatchModel
    covariance: CovarianceType

    def __reduce__(self) -> tuple[Any, ...]:
        # entries of registries are known by name in other processes, too
        return shared_model, (self.exog, self.tau2, self.covariance.name)

    @property
    def tau2(self) -> str | float:
        """Name of the estimator, or the value that is held fixed."""
        estimator = self.batch.estimator
        return self.batch.fixed if estimator is None else estimator.name

    @cached_property
    def layout(self) -> Layout:
        """Columns of what `fit` gives."""
        return Layout(self.exog.shape[1])

    def fit(self, y: Array, v: Array) -> Array:
        """Fit a block of outcomes (n, k); one row each, with the columns of `layout`."""
        block = self.batch.prepare(y, v)
        fit = self.batch.fit(block)
        table = self.layout.table(
            len(y),
            params=fit.params,
            covariance=fit.unscaled,
            tau2=fit.tau2,
            scale=fit.scale,
            nobs=block.nobs,
            reason=block.reason,
            q=fit.q,
            i2=fit.i2,
        )
        for rows, keep, model in self._with_own_basis(y, v, block):
            table[rows] = model.fit(y[np.ix_(rows, keep)], _columns(v, rows, keep))
        return table

    def loglike(self, y: Array, v: Array, tau2: Array) -> Array:
        """Log-likelihood, restricted for REML, of a block of outcomes at their tau2: (n, 1)."""
        block = self.batch.prepare(y, v)
        value = block_loglike(block, tau2, self.batch.reml)[:, None]
        for rows, keep, model in self._with_own_basis(y, v, block):
            found = model.loglike(y[np.ix_(rows, keep)], _columns(v, rows, keep), tau2[rows])
            value[rows] = found
        return value

    def _with_own_basis(
        self, y: Array, v: Array, block: Block
    ) -> Iterator[tuple[Rows, Rows, SharedModel]]:
        """Outcomes whose studies need a basis of their own, by the studies that they have.

        A moderator that is nearly all in the studies that are missing hardly shows in the basis of
        all studies, though among those left it may be as good as any.
        """
        hard = np.flatnonzero(block.reason == Reason.REDUNDANT_MODERATORS)
        if not hard.size:
            return
        absent = np.isnan(y[hard]) | np.isnan(v if v.ndim == 1 else v[hard])
        patterns, which = np.unique(absent, axis=0, return_inverse=True)
        for number, pattern in enumerate(patterns):
            keep = np.flatnonzero(~pattern)
            exog = self.exog[keep]
            basis = design_basis(exog)
            if len(keep) < len(self.exog) and not basis.redundant:
                rows = hard[np.ravel(which) == number]
                batch = replace(self.batch, basis=basis)
                yield rows, keep, SharedModel(exog, batch, self.covariance)


def _columns(v: Array, rows: Rows, keep: Rows) -> Array:
    return v[keep] if v.ndim == 1 else v[np.ix_(rows, keep)]


def shared_model(exog: Array, tau2: Any, cov_type: Any) -> SharedModel:
    """The model that every outcome gets, from the options of `fit_many`.

    Raises
    ------
    OptionError
        If an option is unknown, or the covariance is not for many fits.
    """
    covariance = choose(COVARIANCES, cov_type, "cov_type")
    if covariance.factor is None:
        known = ", ".join(repr(t.name) for t in COVARIANCES.values() if t.factor is not None)
        raise OptionError(f"cov_type={cov_type!r} is not for many fits. Choose one of {known}.")
    estimator, fixed = chosen_tau2(tau2)
    batch = BatchModel(design_basis(exog), estimator, fixed, covariance.factor)
    return SharedModel(exog, batch, covariance)
