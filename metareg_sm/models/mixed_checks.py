"""What a fit of dependent effects must know of its groups before it begins."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from metareg_sm._typing import Codes
from metareg_sm.core.mixed.identify import Flat
from metareg_sm.core.mixed.terms import is_nested
from metareg_sm.design.groups import group_codes
from metareg_sm.design.random import RandomTerm, component_names
from metareg_sm.design.rows import StudyRows, as_frame, selected_rows
from metareg_sm.design.sampling import SamplingCovariance, as_sampling_covariance
from metareg_sm.design.values import row_label
from metareg_sm.exceptions import DesignError, IdentificationWarning, VarianceError
from metareg_sm.models.checks import cluster_keywords
from metareg_sm.stats.covariance import CovarianceType

if TYPE_CHECKING:
    from metareg_sm.models.mixed import MixedMetaReg


def variances_and_covariance(
    V: Any, vi: Any, sei: Any, index: pd.Index | None
) -> tuple[SamplingCovariance | None, Any]:
    """V as a record, and its diagonal in place of vi.

    Raises
    ------
    VarianceError
        If V is given beside vi or sei, or cannot be read.
    """
    if V is None:
        return None, vi
    if vi is not None or sei is not None:
        raise VarianceError("Give exactly one of vi=, sei= and V=; V holds the variances.")
    found = as_sampling_covariance(V, index)
    return found, found.vi


def covariance_of_rows(
    V: Any, vi: Any, sei: Any, data: Any, subset: Any
) -> tuple[SamplingCovariance, Any]:
    """V of all rows of a table, and its diagonal; V may be of those of `subset` alone.

    Raises
    ------
    VarianceError
        If V is of neither number of rows.
    """
    table = as_frame(data)
    chosen, index = selected_rows(table, subset), table.index
    if isinstance(V, SamplingCovariance) and V.k == len(chosen) != len(table):
        index = index[chosen]
    found, vi = variances_and_covariance(V, vi, sei, index)
    assert found is not None
    if found.k == len(chosen) != len(table):
        found = found.spread(chosen, len(table))
        vi = np.full(len(table), np.nan)
        for stack in found.stacks:
            vi[stack.rows] = np.einsum("gnn->gn", stack.matrices)
    elif found.k != len(table):
        raise VarianceError(f"V is of {found.k} effects, and data has {len(table)} rows.")
    return found, vi


def correlated_errors(
    V: SamplingCovariance | None, random_terms: Sequence[RandomTerm], rows: StudyRows
) -> SamplingCovariance | None:
    """V of the rows in the model; None where no two sampling errors are correlated.

    Raises
    ------
    VarianceError
        If it is not positive definite.
    DesignError
        If it correlates effects which no random term groups together.
    """
    if V is None:
        return None
    found = V.take(rows.positions)
    found.check_definite(rows.labels)
    if found.is_diagonal:
        return None
    _refuse_foreign_blocks(found, random_terms, rows.labels)
    return found


def _refuse_foreign_blocks(
    V: SamplingCovariance, random_terms: Sequence[RandomTerm], labels: pd.Index | None
) -> None:
    """Refuse a V that correlates effects which no random term groups together."""
    for stack in V.stacks:
        apart = np.ones(len(stack.rows), dtype=bool)
        for t in random_terms:
            codes = t.term.groups[stack.rows]
            apart &= (codes != codes[:, :1]).any(1)
        if apart.any():
            rows = stack.rows[np.flatnonzero(apart)[0]]
            codes = random_terms[0].term.groups[rows]
            other = int(rows[(codes != codes[0]).argmax()])
            names = ", ".join(t.name for t in random_terms)
            raise DesignError(
                f"V correlates {row_label(labels, int(rows[0]))} with "
                f"{row_label(labels, other)}, which share no group of random ({names}). Add "
                "the grouping that V was made by, for instance as the outermost level."
            )


def refuse_few_effects(shape: tuple[int, ...], df_resid: float) -> None:
    """Refuse a fit of no more effects than coefficients.

    Raises
    ------
    DesignError
    """
    if df_resid <= 0:
        raise DesignError(
            f"The variances need more effects than coefficients; there are {shape[0]} effects for "
            f"{shape[1]} coefficients. Use fewer moderators."
        )


def check_identified(flat_parts: Iterable[Flat], random_terms: Sequence[RandomTerm]) -> None:
    """Refuse components about which the data say nothing.

    Raises
    ------
    DesignError
        If a variance cannot be told from another, or from the moderators.

    Warns
    -----
    IdentificationWarning
        If it is a correlation, of levels that no group has both of.
    """
    for flat in flat_parts:
        names = component_names(random_terms, flat.terms, flat.names)
        labels = dict.fromkeys(repr(random_terms[i].label) for i in flat.terms)
        if all(name.startswith("rho") for name in flat.names):
            warnings.warn(
                f"The data say nothing about {' and '.join(names)}: no group of "
                f"random={', '.join(labels)} has both levels. Its value means nothing; "
                "structure='diag' does without it.",
                IdentificationWarning,
                stacklevel=3,
            )
            continue
        one = len(flat.terms) == 1
        raise DesignError(
            f"The likelihood is flat: the data say nothing about "
            f"{'the variance' if one else 'how the variance is shared between'} "
            f"{'of ' if one else ''}{' and '.join(names)} (random={', '.join(labels)}). "
            + (
                "The moderators tell its groups apart. Leave the term or the moderator out."
                if one
                else "Are there groups with more than one effect? Leave one of the terms out."
            )
        )


def mixed_clusters(
    model: MixedMetaReg, cov_type: CovarianceType, cov_kwds: Mapping[str, Any] | None
) -> tuple[Codes | None, str | None]:
    """Clusters of the effects and the correction, or None twice where there are no clusters.

    Parameters
    ----------
    model : MixedMetaReg
        The effects; clusters are its independent blocks by default.
    cov_type : CovarianceType
        Covariance of the coefficients.
    cov_kwds : mapping or None
        As `MixedMetaReg.fit` takes them.

    Raises
    ------
    OptionError
        If `cov_kwds` does not go with the covariance type.
    DesignError
        If there are no independent clusters, or those that are given cut through correlated
        effects.
    """
    given, correction = cluster_keywords(cov_type, cov_kwds, "CR2")
    if correction is None:
        return None, None
    blocks = model.independent_blocks()
    if given is None:
        if blocks.max() == 0:
            names = ", ".join(t.name for t in model.random_terms)
            raise DesignError(
                f"The random terms ({names}) connect all effects, so that there are no "
                "independent clusters for cov_type='cluster'. Use 'nonrobust'."
            )
        return blocks, correction
    groups, levels = group_codes(given, model.rows)
    if not is_nested(blocks, groups):
        first = np.unique(blocks, return_index=True)[1][blocks]
        row = int(np.flatnonzero(groups != groups[first])[0])
        labels = model.rows.labels
        raise DesignError(
            f"{row_label(labels, row)} and {row_label(labels, int(first[row]))} are in "
            f"different clusters ({levels[groups[row]]!r} and {levels[groups[first[row]]]!r}), "
            "but correlated by random or V. Clusters must hold whole groups: take the "
            "outermost grouping, which is the default, or a coarser one."
        )
    return groups, correction
