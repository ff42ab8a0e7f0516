"""What a report says of a permutation test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pandas as pd

from metareg_sm.postestimation.permutation import PermutationTest
from metareg_sm.postestimation.scale import ScaleFitted
from metareg_sm.postestimation.scale_permutation import ScalePermutationTest
from metareg_sm.report.content import Content
from metareg_sm.report.methods import counted, joined, with_symbols
from metareg_sm.report.typeset import Part, Sentence, pvalue


def p_each(content: Content, values: pd.Series) -> list[Part]:
    """p-values of the moderators, by name."""
    known = dict(zip(content.fit.terms.names, content.names, strict=True))
    return joined([[f"{known[n]}, ", pvalue(float(p))] for n, p in values.items()], "; ")


def permuted(content: Content) -> Iterator[Sentence]:
    """p-values by permutation."""
    test = content.permutation
    if test is None:
        return
    constant, names = content.fit.terms.constant, content.fit.terms.names
    kept = [n for j, n in enumerate(names) if j != constant]
    if not kept:
        yield ("Permutation test: ", pvalue(float(test.pvalues.iloc[0])), ".")
    else:
        yield ("Permutation test: ", *p_each(content, test.pvalues[kept]), ".")
    if isinstance(test, PermutationTest) and len(kept) > 1:
        fwer = p_each(content, test.pvalues_fwer[kept])
        yield _allowing_for_number(fwer, test.omnibus_pvalue)
    if isinstance(test, ScalePermutationTest):
        fit = cast(ScaleFitted, content.fit)
        yield from _permuted_scale(test, fit.scale_terms.constant)


def _allowing_for_number(each: list[Part], together: float) -> Sentence:
    return (
        "Allowing for their number, by the largest of the statistics: ",
        *each,
        "; all together, ",
        pvalue(together),
        ".",
    )


def _permuted_scale(test: ScalePermutationTest, constant: int | None) -> Iterator[Sentence]:
    """Permutation tests of the heterogeneity, and resamples that have no fit."""

    def each(values: pd.Series) -> list[Part]:
        named = [[*with_symbols(f"ln tau2: {n}, "), pvalue(p)] for n, p in values.items()]
        return joined(named, "; ")

    names = test.scale_pvalues.index
    moderators = [n for j, n in enumerate(names) if j != constant]
    known = test.scale_pvalues[moderators].dropna()
    if len(known):
        yield ("Permutation test of the heterogeneity: ", *each(known), ".")
    if len(known) > 1:
        fwer = each(test.scale_pvalues_fwer[moderators])
        yield _allowing_for_number(fwer, test.scale_omnibus_pvalue)
    unbounded = test.n_unbounded + test.scale_n_unbounded
    if unbounded:
        resamples = counted(unbounded, "resample")
        yield (f"The likelihood of {resamples} grew towards a heterogeneity of 0.",)
    failed = test.n_failed + test.scale_n_failed
    if failed:
        yield (f"{counted(failed, 'resample')} could not be fitted and counted as extreme.",)
