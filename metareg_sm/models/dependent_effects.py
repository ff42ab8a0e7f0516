"""Effects that depend on each other: their groups, sampling covariance and likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from metareg_sm._typing import Array, Codes, Missing
from metareg_sm.core.mixed.identify import Flat, flat_directions
from metareg_sm.core.mixed.likelihood import MixedLikelihood, Point
from metareg_sm.core.mixed.terms import components, first_codes
from metareg_sm.design.random import component_names, parse_random, random_terms
from metareg_sm.design.rows import as_frame
from metareg_sm.design.values import index_of
from metareg_sm.design.variances import Variances
from metareg_sm.exceptions import DesignError, OptionError
from metareg_sm.models import checks, mixed_checks
from metareg_sm.models.base import KnownVarianceModel
from metareg_sm.stats.containment import containment_df


class DependentEffects(KnownVarianceModel):
    """What `MixedMetaReg` knows before it is fitted; parameters are described there."""

    _row = "effects"

    def __init__(
        self,
        endog: npt.ArrayLike,
        exog: npt.ArrayLike | None = None,
        vi: Variances | None = None,
        sei: Variances | None = None,
        V: Any = None,
        random: str | Sequence[str] | None = None,
        structure: str | Sequence[str] = "un",
        groups: Any = None,
        re_formula: str | None = None,
        data: Any = None,
        missing: Missing = "none",
        hasconst: bool | None = None,
        **kwargs: Any,
    ) -> None:
        self._table: pd.DataFrame | None = None
        if "formula" not in kwargs:
            if groups is not None and not isinstance(groups, str):
                name = getattr(groups, "name", None) or "groups"
                data, groups = pd.DataFrame({str(name): groups}), str(name)
            self._table = None if data is None else as_frame(data)
            V, vi = mixed_checks.variances_and_covariance(V, vi, sei, index_of(endog))
        self._specs = parse_random(random, groups, re_formula)
        self.structure = structure
        self._given_V = V
        super().__init__(endog, exog, vi, sei, missing, hasconst, **kwargs)

    def _prepare(self) -> None:
        rows = self.rows
        if self._table is not None:
            if len(self._table) != rows.total:
                raise DesignError(f"data has {len(self._table)} rows, and endog {rows.total}.")
            frame = self._table.iloc[rows.positions]
            self.rows = rows = replace(rows, frame=frame)
            self._table = None
        labels = rows.labels
        checks.refuse_zero_variance(
            self.vi, labels, "dependent effects are weighted by the inverse of V", "Leave it out."
        )
        self.random_terms = random_terms(self._specs, self.structure, rows)
        self.V = mixed_checks.correlated_errors(self._given_V, self.random_terms, rows)
        self._given_V = None
        self._data_attr.extend(["random_terms", "likelihood", "V"])
        self._flat: dict[bool, list[Flat]] = {}
        self.likelihood = MixedLikelihood.build(
            self.endog,
            self.basis,
            self.vi if self.V is None else self.V.blocks(),
            [t.term for t in self.random_terms],
        )

    def _beside_the_mean(self) -> dict[str, Any]:
        known = {"vi": self.vi} if self.V is None else {"V": self.V}
        random = list(dict.fromkeys(spec.text for spec in self._specs))
        return {
            **known,
            "random": random,
            "structure": self.structure,
            "data": self.rows.frame,
        }

    # --- what every fit asks for ---------------------------------------------------------------

    def _flat_parts(self, reml: bool) -> list[Flat]:
        """Variances that cannot be told apart: by the design alone, so for every fit the same."""
        if reml not in self._flat:
            self._flat[reml] = flat_directions(self.likelihood, reml)
        return self._flat[reml]

    @cached_property
    def containment(self) -> Array:
        """Degrees of freedom of the coefficients by the groupings that contain them, (p,)."""
        groupings = []
        for t in self.random_terms:
            groupings.append(t.term.groups)
            if not t.is_intercept:
                groupings.append(first_codes(t.term.cells))
        return containment_df(self.exog, groupings, self.basis.rank)

    @cached_property
    def component_names(self) -> tuple[str, ...]:
        """Printed names of the variances and correlations, in the order of the terms."""
        labels = self.likelihood.components
        return tuple(component_names(self.random_terms, labels.terms, labels.names))

    def independent_blocks(self) -> Codes:
        """Finest groups of effects that are independent of each other, (k,)."""
        parts = [t.term.groups for t in self.random_terms]
        if self.V is not None:
            parts.append(self.V.partition())
        return components(parts, len(self.endog))

    # --- the likelihood, for statsmodels' generic code -----------------------------------------

    def loglike(self, params: npt.ArrayLike, reml: bool = True) -> float:
        """Profile log-likelihood of the variances; the coefficients are profiled out.

        Parameters
        ----------
        params : array_like, (m,)
            Working parameters: variances of intercepts; for terms with levels those of the
            structure, in units of the outcome.
        reml : bool, default True
            Restricted likelihood, else maximum likelihood.

        Returns
        -------
        float
        """
        return self.likelihood.loglike(self._working(params, "loglike"), reml)

    def score(self, params: npt.ArrayLike, reml: bool = True) -> Array:
        """First derivative of `loglike`, (m,)."""
        return self._point(params, "score", reml).gradient / self.likelihood.units

    def hessian(self, params: npt.ArrayLike, reml: bool = True) -> Array:
        """Second derivative of `loglike`, (m, m)."""
        units = self.likelihood.units
        return -self._point(params, "hessian", reml).observed / np.outer(units, units)

    def _point(self, params: npt.ArrayLike, where: str, reml: bool) -> Point:
        point = self.likelihood.point(self._working(params, where), reml)
        if point is None:
            raise OptionError("The likelihood is undefined at these parameters.")
        return point

    def _working(self, params: npt.ArrayLike, where: str) -> Array:
        units = self.likelihood.units
        given = np.atleast_1d(np.asarray(params, dtype=float)).ravel()
        if given.size != units.size:
            raise OptionError(
                f"{where} is a function of {units.size} variance parameters; got {given.size}. The "
                "coefficients are profiled out."
            )
        return given / units
