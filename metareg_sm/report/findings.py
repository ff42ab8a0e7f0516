"""What came out, in sentences: PRISMA 2020, item 20."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

import numpy as np

from metareg_sm.exceptions import IntervalWarning, VarianceError
from metareg_sm.postestimation.fitted import Tau2Fitted, has_tau2
from metareg_sm.postestimation.heterogeneity import Heterogeneity, conf_int_tau2
from metareg_sm.postestimation.inference import OmnibusTest
from metareg_sm.report.content import Content
from metareg_sm.report.methods import counted, joined, listed, random_part, with_symbols
from metareg_sm.report.scale import term_name
from metareg_sm.report.sensitivity import sensitivity
from metareg_sm.report.typeset import (
    I2,
    R2,
    TAU2,
    Equation,
    Part,
    Sentence,
    Symbol,
    decimals_for,
    interval,
    percent,
    pvalue,
    rounded,
    significant,
    statistic,
)

_B = Symbol.of("b")
_EXP_B = Symbol("exp(b)", "exp(*b*)", r"\exp(b)", "exp(<i>b</i>)")
_NORMAL_WIDTH = 3.92


def findings(content: Content) -> Iterator[Sentence]:
    """Sentences on the results."""
    if content.pooled:
        yield _pooled(content)
    else:
        yield _coefficients(content)
        yield from _together(content)
        yield from _factors(content)
    yield from _heterogeneity(content)
    if not content.pooled:
        yield from _predicted(content)
    yield from sensitivity(content)


def _test(content: Content, j: int) -> list[Part]:
    """Statistic and p-value of a coefficient."""
    df = content.fit.contrast_df()
    value = rounded(float(content.table["statistic"].iloc[j]), 2)
    own = None if df is None else float(np.broadcast_to(df, len(content.names))[j])
    symbol = statistic("z") if own is None else statistic("t", own)
    return [Equation(symbol, "=", value), ", ", pvalue(float(content.table["pvalue"].iloc[j]))]


def _coefficient(content: Content, j: int) -> list[Part]:
    row = content.table.iloc[j]
    exponentiate = content.scale.exponentiate
    symbol, digits = (_EXP_B, 2) if exponentiate else (_B, 1)
    decimals = decimals_for(row["se"])
    return [
        Equation(symbol, "=", rounded(row["coef"], decimals, digits)),
        f" ({content.coverage} CI ",
        *interval(row["ci_lower"], row["ci_upper"], decimals, digits),
        ", ",
        *_test(content, j),
        ")",
    ]


def _coefficients(content: Content) -> Sentence:
    constant = content.fit.terms.constant
    order = [j for j in range(len(content.names)) if j != constant]
    parts: list[Part] = ["The coefficients were: "]
    for j in order:
        parts += [f"{content.names[j]}, ", *_coefficient(content, j), "; "]
    if constant is None:
        return (*parts[:-1], ".")
    return (*parts, "intercept, ", *_coefficient(content, constant), ".")


def _joint(test: OmnibusTest) -> list[Part]:
    if test.df_denom is None:
        symbol = statistic("chi2", test.df_num)
    else:
        symbol = statistic("F", test.df_num, test.df_denom)
    return [Equation(symbol, "=", significant(test.statistic)), ", ", pvalue(test.pvalue)]


def _together(content: Content) -> Iterator[Sentence]:
    """The omnibus test, where it is not that of the one coefficient."""
    if content.omnibus.df_num > 1:
        yield ("All moderators together: ", *_joint(content.omnibus), ".")


def _factors(content: Content) -> Iterator[Sentence]:
    """Joint tests of terms of several columns, where there are other terms, too."""
    fit = content.fit
    terms, constant = fit.terms.of_columns(), fit.terms.constant
    columns = [j for j in range(len(terms)) if j != constant]
    tested = [(t, list(js)) for t, js in groupby(columns, key=lambda j: terms[j])]
    if len(tested) < 2:
        return
    for term, js in tested:
        if len(js) < 2 or set(fit.redundant) & {fit.terms.names[j] for j in js}:
            continue
        found = fit.wald_test(np.eye(len(terms))[js], scalar=True)
        is_f = found.distribution == "F"
        df = (found.df_num, float(found.df_denom)) if is_f else (found.df_denom, None)
        test = OmnibusTest(float(found.statistic), float(found.pvalue), *df)
        yield (
            f"{term_name(term)}, {counted(len(js), 'coefficient')} together: ",
            *_joint(test),
            ".",
        )


# --- effects -----------------------------------------------------------------------------------


def _effect(content: Content, row: Mapping[str, float]) -> tuple[list[Part], list[Part]]:
    """An effect with its interval, and its prediction interval."""
    digits = 1 if content.scale.back is None else 2
    low, high = row["mean_ci_lower"], row["mean_ci_upper"]
    decimals = decimals_for((high - low) / _NORMAL_WIDTH)
    effect: list[Part] = [
        rounded(row["mean"], decimals, digits),
        f" ({content.coverage} CI ",
        *interval(low, high, decimals, digits),
    ]
    return effect, interval(row["obs_ci_lower"], row["obs_ci_upper"], decimals, digits)


def _pooled(content: Content) -> Sentence:
    predictions = content.predictions
    assert predictions is not None
    effect, new = _effect(content, predictions.iloc[0])
    parts = [f"The pooled {content.scale.shown} was ", *effect, ", ", *_test(content, 0), ")"]
    if not content.common:
        parts += [
            f", and the {content.coverage} prediction interval for the true effect in a new study "
            "was ",
            *new,
        ]
    return (*parts, ".")


def _value(value: Any) -> str:
    number = isinstance(value, (float, int, np.number)) and not isinstance(value, bool)
    return f"{value:.10g}" if number else str(value)


def _predicted(content: Content) -> Iterator[Sentence]:
    if content.place is None or content.predictions is None:
        return
    for stated, row in zip(
        content.place.stated, content.predictions.to_dict("records"), strict=True
    ):
        where = listed([f"{name} = {_value(value)}" for name, value in stated.items()])
        effect, new = _effect(content, row)
        parts: list[Part] = [
            f"At {where}, the expected {content.scale.shown} was ",
            *effect,
            ")",
        ]
        if not content.common:
            parts += [
                f", and the {content.coverage} prediction interval for the true effect in a new "
                "study was ",
                *new,
            ]
        yield (*parts, ".")


# --- heterogeneity -----------------------------------------------------------------------------


def _variance(value: float, se: float) -> list[Part]:
    decimals = decimals_for(se)
    # a small variance is never shown as 0; what may be negative is no variance
    shown: list[Part] = [rounded(value, decimals, 2 if value > 0.0 else 1)]
    return [*shown, " (SE ", rounded(se, decimals, 2), ")"] if se > 0.0 else shown


def _tau2_interval(fit: Tau2Fitted, alpha: float, coverage: str, decimals: int) -> list[Part]:
    """The Q-profile set of tau2, whatever its kind."""
    with warnings.catch_warnings():
        # what it would say stands in the sentence
        warnings.simplefilter("ignore", IntervalWarning)
        frame = conf_int_tau2(fit, alpha, "q-profile")
    kind = frame.attrs["kind"]
    low, high = (float(frame.loc["tau2", f"ci_{end}"]) for end in ("lower", "upper"))
    if kind == "empty":
        return [f", the {coverage} CI being empty: the studies vary less than sampling error does"]
    gaps = [" with gaps"] if kind == "disjoint" else []
    return [f", {coverage} CI ", *interval(low, high, decimals, 2), *gaps]


def _tau2(content: Content, fit: Tau2Fitted) -> list[Part]:
    if fit.estimator is None:
        return [Equation(TAU2, "=", rounded(fit.tau2, 0, 4)), " (held fixed)"]
    decimals = decimals_for(fit.tau2_se)
    return [
        Equation(TAU2, "=", rounded(fit.tau2, decimals, 2)),
        " (SE ",
        rounded(fit.tau2_se, decimals, 2),
        *(
            []
            if isinstance(content.heterogeneity, VarianceError) or fit.df_resid <= 0
            else _tau2_interval(fit, content.alpha, content.coverage, decimals)
        ),
        ")",
    ]


def _heterogeneity(content: Content) -> Iterator[Sentence]:
    fit, found = content.fit, content.heterogeneity
    if not has_tau2(fit):
        components = fit.components
        rows = zip(components.names, components.values, components.se, strict=True)
        parts = [
            [*with_symbols(f"{name} "), *_variance(float(v), float(se))] for name, v, se in rows
        ]
        yield (f"The {random_part(content)} were: ", *joined(parts, "; "), ".")
        yield from _levels(content)
        return
    residual = "The" if content.pooled else "The residual"
    if not isinstance(found, Heterogeneity):
        why = (
            "a sampling variance is 0"
            if isinstance(found, VarianceError)
            else "there are no more studies than coefficients"
        )
        yield (
            f"{residual} heterogeneity was ",
            *_tau2(content, fit),
            "; ",
            I2,
            f" and Q are undefined, because {why}.",
        )
        return
    q: list[Part] = [
        Equation(statistic("Q", found.q_df), "=", significant(found.q)),
        ", ",
        pvalue(found.q_pvalue),
    ]
    if content.common:
        yield (f"{residual} heterogeneity: ", *q, ".")
        return
    yield (
        f"{residual} heterogeneity was ",
        *_tau2(content, fit),
        ", with ",
        Equation(I2, "=", percent(found.i2), "%"),
        " (from ",
        TAU2,
        ") and ",
        *q,
        ".",
    )
    if content.pooled or fit.estimator is None:
        return
    without = Equation(TAU2, "=", rounded(found.tau2_null, decimals_for(fit.tau2_se), 2))
    about = "" if fit.k_constant else ", about a mean of 0"
    if found.tau2_null == 0.0:
        yield (
            "Without the moderators there was no heterogeneity to explain (",
            without,
            f"{about}).",
        )
        return
    explained = Equation(R2, "=", percent(found.r2), "%")
    yield (
        "The moderators explained ",
        explained,
        " of the heterogeneity (",
        without,
        f" without them{about}).",
    )


def _levels(content: Content) -> Iterator[Sentence]:
    """Q, I2 and R2 of a random part of several terms."""
    found = content.levels
    if found is None:
        return
    shares = found.levels["i2"]
    each: list[Part] = []
    if len(shares) > 1:
        items: list[list[Part]] = [
            [f"{name} ", percent(float(share)), "%"] for name, share in shares.items()
        ]
        each = [" (", *joined(items, ", "), ")"]
    q = Equation(statistic("Q", found.q_df), "=", significant(found.q))
    i2 = Equation(I2, "=", percent(found.i2), "%")
    residual = "The" if content.pooled else "The residual"
    yield (f"{residual} heterogeneity: ", i2, *each, "; ", q, ", ", pvalue(found.q_pvalue), ".")
    if not content.pooled:
        r2 = Equation(R2, "=", percent(found.r2), "%")
        yield ("The moderators explained ", r2, " of the heterogeneity.")
