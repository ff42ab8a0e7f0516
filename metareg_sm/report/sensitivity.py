"""Analyses beside the model, in sentences: deletions, permutations, adjusted p-values."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from metareg_sm._typing import Array
from metareg_sm.postestimation.fitted import has_tau2
from metareg_sm.postestimation.scale_influence import ScaleInfluence
from metareg_sm.report.content import ClusterDeletions, Content, Deletions
from metareg_sm.report.methods import counted, joined, listed, with_symbols
from metareg_sm.report.permuted import p_each, permuted
from metareg_sm.report.typeset import TAU2, Part, Sentence, decimals_for, interval


def sensitivity(content: Content) -> Iterator[Sentence]:
    """Sentences on the analyses that a report was asked for."""
    yield from permuted(content)
    yield from _adjusted(content)
    if content.influence is not None:
        yield from _influence(content, content.influence)


def _adjusted(content: Content) -> Iterator[Sentence]:
    if content.adjusted is not None:
        yield ("Adjusted: ", *p_each(content, content.adjusted.frame["pvalue_adjusted"]), ".")


def _range(values: Array, decimals: int, digits: int = 1) -> list[Part]:
    return interval(float(values.min()), float(values.max()), decimals, digits)


def _influence(content: Content, found: Deletions) -> Iterator[Sentence]:
    one, several = content.deleted
    good = np.isfinite(found.params_not_obsi.sum(axis=1))
    marked = np.flatnonzero(found.influential & good)
    if len(marked):
        who = listed([str(found.labels[int(i)]) for i in marked])
        those = counted(len(marked), f"{one} was", f"{several} were")
        yield (f"{those} influential ({who}).",)
    else:
        yield (f"No {one} was influential.",)
    if not good.any():
        return
    params = found.params_not_obsi[good]
    scale, constant = content.scale, content.fit.terms.constant
    shown = np.exp(params) if scale.exponentiate else params
    digits = 2 if scale.exponentiate else 1
    ranges: list[list[Part]] = []
    for j, name in enumerate(content.names):
        if content.pooled:
            what, values = f"the {scale.shown}", scale.values(params[:, j])
        elif j == constant:
            continue
        else:
            what, values = name, shown[:, j]
        se = content.table["se"].iloc[j]
        ranges.append([f"{what} from ", *_range(values, decimals_for(se), digits)])
    fit = content.fit
    if has_tau2(fit) and fit.estimator is not None and not isinstance(found, ClusterDeletions):
        decimals = decimals_for(fit.tau2_se)
        ranges.append([TAU2, " from ", *_range(found.tau2_deleted[good], decimals, 2)])
    unbounded = 0
    if isinstance(found, ScaleInfluence):
        alpha, se = found.scale_params_not_obsi[good], content.fit.components.se
        bounded = np.isfinite(alpha.sum(axis=1))
        unbounded = int((~bounded).sum())
        for j, name in enumerate(found.scale_names if bounded.any() else ()):
            ends = _range(alpha[bounded, j], decimals_for(float(se[j])))
            ranges.append([*with_symbols(f"{name} from "), *ends])
    yield (f"Without one {one} at a time, ", *joined(ranges, "; "), ".")
    if unbounded:
        yield (
            f"Without {counted(unbounded, one, several)} the likelihood grew towards a "
            "heterogeneity of 0, where ln ",
            TAU2,
            " has no estimate.",
        )
    if not good.all():
        n = int((~good).sum())
        yield (f"Without {counted(n, one, several)} the model could not be fitted.",)
