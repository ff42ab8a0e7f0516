"""Aggregation bias: whether a moderator has the same slope within and between studies."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from metareg_sm._typing import Array
from metareg_sm.exceptions import OptionError
from metareg_sm.options import suggestion
from metareg_sm.postestimation.fitted import Fitted
from metareg_sm.printing import Printed

_PART = re.compile(r"(?:[\w.]*\.)?(within|between)\(\s*(?:x\s*=\s*)?(.+?)\s*,[^,]*\)")


@dataclass(frozen=True, slots=True, repr=False)
class AggregationBiasTest(Printed):
    """Slopes of a moderator within and between studies, and the test that they are one.

    Attributes
    ----------
    within, between : float
        Slopes, in units of the outcome for one unit of the moderator.
    difference : float
        between - within: the aggregation (ecological) bias of a slope across studies.
    se, statistic, pvalue : float
        Its standard error, their ratio, and the two-sided p-value.
    df : float or None
        Degrees of freedom of t; None where tests are normal.
    """

    within: float
    between: float
    difference: float
    se: float
    statistic: float
    pvalue: float
    df: float | None


def factors(name: str) -> list[str]:
    """Factors of a term: split at colons that stand outside parentheses and brackets."""
    parts, depth = [""], 0
    for sign in name:
        depth += (sign in "([{") - (sign in ")]}")
        if sign == ":" and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts]


def part_of(factor: str) -> tuple[str, str]:
    """What a factor is of which moderator: ("within" or "between" or "whole", moderator)."""
    found = _PART.fullmatch(factor)
    return ("whole", factor) if found is None else (found[1], found[2])


def _slopes(names: list[str], moderator: str) -> dict[str, int]:
    """Columns of the parts of a moderator (or of its product with others), by what they are."""
    wanted = sorted(factors(moderator))
    found: dict[str, int] = {}
    for column, name in enumerate(names):
        parts = [part_of(factor) for factor in factors(name)]
        kinds = {kind for kind, _ in parts if kind != "whole"}
        if sorted(of for _, of in parts) == wanted and len(kinds) < 2:
            found[kinds.pop() if kinds else "whole"] = column
    return found


# Slopes within and between, as combinations of the parts that a formula has: each pair of parts
# spans the same columns.
_PARTS: dict[frozenset[str], tuple[dict[str, float], dict[str, float]]] = {
    frozenset({"within", "between"}): ({"within": 1.0}, {"between": 1.0}),
    frozenset({"whole", "between"}): ({"whole": 1.0}, {"whole": 1.0, "between": 1.0}),
    frozenset({"whole", "within"}): ({"whole": 1.0, "within": 1.0}, {"whole": 1.0}),
}


def aggregation_bias_test(fit: Fitted, moderator: str) -> AggregationBiasTest:
    """Test that the slope within studies is the slope between; see `ModelResults`.

    Raises
    ------
    OptionError
        If the formula does not have the moderator in two parts.
    """
    names = fit.terms.names
    found = _slopes(names, moderator)
    parts = _PARTS.get(frozenset(found))
    if parts is None:
        known = {of for name in names for _, of in map(part_of, factors(name))}
        has = ", ".join(repr(names[column]) for column in found.values()) or "neither"
        hint = "" if found else suggestion(moderator, known)
        raise OptionError(
            f"The test needs the slopes of {moderator!r} within and between studies; the model has "
            f"{has}.{hint} Write for instance 'within({moderator}, study) + between({moderator}, "
            "study)' in the formula."
        )
    rows = np.zeros((2, len(names)))
    for row, combination in zip(rows, parts, strict=True):
        for part, weight in combination.items():
            row[found[part]] = weight
    contrast = rows[1] - rows[0]
    test = fit.t_test(contrast[None])
    slopes: Array = rows @ np.asarray(fit.params)
    df = fit.contrast_df(contrast[None])
    return AggregationBiasTest(
        float(slopes[0]),
        float(slopes[1]),
        float(slopes[1] - slopes[0]),
        float(np.squeeze(test.sd)),
        float(np.squeeze(test.tvalue)),
        float(np.squeeze(test.pvalue)),
        None if df is None else float(np.squeeze(df)),
    )
