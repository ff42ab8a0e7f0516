"""Predictions of dependent effects: of new groups at every level."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from metareg_sm._compat import to_pandas
from metareg_sm._typing import Array, Codes
from metareg_sm.core.mixed.terms import is_nested
from metareg_sm.design.random import RandomTerm
from metareg_sm.exceptions import DesignError
from metareg_sm.options import choose
from metareg_sm.postestimation.fitted import MixedFitted
from metareg_sm.postestimation.prediction import MetaRegPrediction, new_rows, predict_effects


def predict_mixed(
    fit: MixedFitted, exog: Any, transform: Any, row_labels: Any, df: Any, level: str | None
) -> MetaRegPrediction:
    """Predictions of a fit; see `MixedMetaRegResults.get_prediction`."""
    terms = fit.random_terms
    kept = list(range(len(terms)))
    if level is not None:
        chosen = terms[choose({t.name.lower(): i for i, t in enumerate(terms)}, level, "level")]
        kept = [i for i in kept if is_nested(chosen.term.groups, terms[i].term.groups)]
    rows = new_rows(fit, exog, True if callable(transform) else bool(transform))[0]
    variance = np.zeros(len(rows))
    for i in kept:
        G = fit.solution.matrices[i]
        levels = _levels(fit, terms[i], exog, len(rows))
        variance += np.diagonal(G)[levels]
    return predict_effects(fit, exog, transform, row_labels, df, variance)


def _levels(fit: MixedFitted, term: RandomTerm, exog: Any, n: int) -> Codes:
    """Level of each new row."""
    if term.is_intercept:
        return np.zeros(n, dtype=np.intp)
    if exog is None:
        return term.term.levels
    table = to_pandas(exog)
    values: Any = None
    if isinstance(table, (pd.DataFrame, dict)) and term.inner in table:
        values = np.atleast_1d(np.asarray(table[term.inner]))
    if values is None:
        diagonal: Array = np.diagonal(term.term.structure.matrix(_working(fit, term)))
        if np.ptp(diagonal) == 0.0:
            return np.zeros(n, dtype=np.intp)
        raise DesignError(
            f"exog lacks the column {term.inner!r}: the variances of random='{term.label}' differ "
            "between its levels."
        )
    found = term.levels.get_indexer(pd.Index(values))
    if (found < 0).any():
        raise DesignError(
            f"exog has the {term.inner} {values[found < 0][0]!r}, which random='{term.label}' does "
            f"not know. It has {', '.join(map(str, term.levels))}."
        )
    if len(found) == 1:
        found = np.repeat(found, n)
    return np.asarray(found, dtype=np.intp)


def _working(fit: MixedFitted, term: RandomTerm) -> Array:
    i = next(i for i, t in enumerate(fit.random_terms) if t is term)
    return fit.solution.phi[fit.solution.problem.slices[i]]
