"""What each group of measures is computed from."""

from __future__ import annotations

import numpy as np
from scipy.special import stdtrit

from metareg_sm._typing import Array
from metareg_sm.effectsizes.means import pooled_variance
from metareg_sm.effectsizes.records import (
    ALPHA,
    CORRELATION,
    COUNT,
    ITEMS,
    NUMBER,
    P_VALUE,
    POSITIVE_MEAN,
    PREDICTORS,
    R_SQUARED,
    SAMPLE,
    SD,
    SD_OR_ZERO,
    TIME,
    Arrays,
    Cell,
    Layout,
)


def t_from_p(pi: Array, df: Array) -> Array:
    """The t statistic of a two-sided p-value whose sign is that of the effect."""
    # the sign of the effect is that of p, so the lower tail is turned round
    return -np.sign(pi) * stdtrit(df, np.abs(pi) / 2.0)


def first_there(*candidates: Array) -> Array:
    """Of several arrays the first that is not NaN, study by study."""
    found = candidates[0]
    for other in candidates[1:]:
        found = np.where(np.isnan(found), other, found)
    return found


def _d(cells: Arrays) -> dict[str, Array]:
    n1, n2 = cells["n1i"], cells["n2i"]
    spread = np.sqrt(pooled_variance(cells["sd1i"], cells["sd2i"], n1, n2))
    root = np.sqrt(1.0 / n1 + 1.0 / n2)
    d = first_there(
        (cells["m1i"] - cells["m2i"]) / spread,
        cells["di"],
        cells["ti"] * root,
        t_from_p(cells["pi"], n1 + n2 - 2.0) * root,
    )
    return {"di": d, "n1i": n1, "n2i": n2}


def _r(cells: Arrays) -> dict[str, Array]:
    df = cells["ni"] - 2.0
    t = first_there(cells["ti"], t_from_p(cells["pi"], df))
    return {"ri": first_there(cells["ri"], t / np.sqrt(t**2 + df)), "ni": cells["ni"]}


def _partial(cells: Arrays) -> dict[str, Array]:
    df = cells["ni"] - cells["mi"] - 1.0
    t = first_there(cells["ti"], t_from_p(cells["pi"], df))
    return {"ti": t, "ni": cells["ni"], "mi": cells["mi"]}


def _semipartial(cells: Arrays) -> dict[str, Array]:
    return {**_partial(cells), "r2i": cells["r2i"]}


_ROWS = (
    Cell("ai", "first group, with the event", COUNT),
    Cell("bi", "first group, without the event", COUNT),
    Cell("ci", "second group, with the event", COUNT, control=True),
    Cell("di", "second group, without the event", COUNT, control=True),
)

TABLE = Layout(
    title="2x2 table",
    cells=(
        *_ROWS,
        Cell("n1i", "size of the first group", COUNT),
        Cell("n2i", "size of the second group", COUNT, control=True),
    ),
    takes=("ai", "bi", "ci", "di"),
    needs="ai and ci, with bi or n1i and with di or n2i",
    ways=(("ai", "bi", "ci", "di"),),
    complements=(("ai", "bi", "n1i"), ("ci", "di", "n2i")),
    counts=("ai", "bi", "ci", "di"),
    double_zero=(("ai", "ci"), ("bi", "di")),
    sizes=("ai", "bi", "ci", "di"),
)

MATCHED = Layout(
    title="paired 2x2 table",
    cells=(
        Cell("ai", "event under both", COUNT),
        Cell("bi", "event under the first alone", COUNT),
        Cell("ci", "event under the second alone", COUNT),
        Cell("di", "event under neither", COUNT),
    ),
    takes=("ai", "bi", "ci", "di"),
    needs="ai, bi, ci and di",
    ways=(("ai", "bi", "ci", "di"),),
    counts=("ai", "bi", "ci", "di"),
    sizes=("ai", "bi", "ci", "di"),
)

MARGINS = Layout(
    title="paired 2x2 table, margins and correlation",
    cells=(*TABLE.cells, Cell("ri", "correlation of the two outcomes (phi)", CORRELATION)),
    takes=("ai", "bi", "ci", "di", "ri"),
    needs="ri, ai and ci, with bi or n1i and with di or n2i",
    ways=(("ai", "bi", "ci", "di", "ri"),),
    complements=TABLE.complements,
    counts=TABLE.counts,
    double_zero=TABLE.double_zero,
    sizes=("ai", "bi"),
)

RATES = Layout(
    title="events over time in two groups",
    cells=(
        Cell("x1i", "events of the first group", COUNT),
        Cell("x2i", "events of the second group", COUNT, control=True),
        Cell("t1i", "time at risk of the first group", TIME),
        Cell("t2i", "time at risk of the second group", TIME, control=True),
    ),
    takes=("x1i", "x2i", "t1i", "t2i"),
    needs="x1i, x2i, t1i and t2i",
    ways=(("x1i", "x2i", "t1i", "t2i"),),
    counts=("x1i", "x2i"),
    double_zero=(("x1i", "x2i"),),
    sizes=("t1i", "t2i"),
)

PROPORTION = Layout(
    title="events in one group",
    cells=(
        Cell("xi", "people with the event", COUNT),
        Cell("mi", "people without the event", COUNT),
        Cell("ni", "size of the group", COUNT),
    ),
    takes=("xi", "mi"),
    needs="xi, with mi or ni",
    ways=(("xi", "mi"),),
    complements=(("xi", "mi", "ni"),),
    counts=("xi", "mi"),
    sizes=("xi", "mi"),
)

RATE = Layout(
    title="events over time in one group",
    cells=(Cell("xi", "events", COUNT), Cell("ti", "time at risk", TIME)),
    takes=("xi", "ti"),
    needs="xi and ti",
    ways=(("xi", "ti"),),
    counts=("xi",),
    sizes=("ti",),
)

_MEANS = (
    Cell("m1i", "mean of the first group", NUMBER),
    Cell("m2i", "mean of the second group", NUMBER, control=True),
)
_SPREADS = (
    Cell("sd1i", "standard deviation of the first group", SD),
    Cell("sd2i", "standard deviation of the second group", SD, control=True),
)
_SIZES = (
    Cell("n1i", "size of the first group", SAMPLE),
    Cell("n2i", "size of the second group", SAMPLE, control=True),
)
_GROUPS = ("m1i", "m2i", "sd1i", "sd2i", "n1i", "n2i")

MEANS = Layout(
    title="means of two groups",
    cells=(*_MEANS, *_SPREADS, *_SIZES),
    takes=_GROUPS,
    needs="m1i, m2i, sd1i, sd2i, n1i and n2i",
    ways=(_GROUPS,),
    sizes=("n1i", "n2i"),
)

DIFFERENCE = Layout(
    title="means of two groups, d, or t",
    cells=(
        *_MEANS,
        *_SPREADS,
        *_SIZES,
        Cell("di", "Cohen's d", NUMBER),
        Cell("ti", "t statistic of the two groups", NUMBER),
        Cell("pi", "its two-sided p-value, with the sign of the difference", P_VALUE),
    ),
    takes=("di", "n1i", "n2i"),
    needs="n1i and n2i, and m1i, m2i, sd1i and sd2i, or di, or ti, or pi",
    ways=(_GROUPS, ("di", "n1i", "n2i"), ("ti", "n1i", "n2i"), ("pi", "n1i", "n2i")),
    prepare=_d,
    sizes=("n1i", "n2i"),
)

CONTROL_SPREAD = Layout(
    title="means of two groups, standard deviation of the second",
    cells=(*_MEANS, *_SPREADS, *_SIZES),
    takes=("m1i", "m2i", "sd2i", "n1i", "n2i"),
    needs="m1i, m2i, sd2i, n1i and n2i",
    ways=(("m1i", "m2i", "sd2i", "n1i", "n2i"),),
    sizes=("n1i", "n2i"),
)

SPREADS = Layout(
    title="standard deviations of two groups",
    cells=(*_SPREADS, *_SIZES),
    takes=("sd1i", "sd2i", "n1i", "n2i"),
    needs="sd1i, sd2i, n1i and n2i",
    ways=(("sd1i", "sd2i", "n1i", "n2i"),),
    sizes=("n1i", "n2i"),
)

_SPREAD = Cell("sdi", "standard deviation", SD)
_SIZE = Cell("ni", "size of the sample", SAMPLE)

MEAN = Layout(
    title="mean of one group",
    cells=(Cell("mi", "mean", NUMBER), _SPREAD, _SIZE),
    takes=("mi", "sdi", "ni"),
    needs="mi, sdi and ni",
    ways=(("mi", "sdi", "ni"),),
    sizes=("ni",),
)

RATIO_MEAN = Layout(
    title="mean of one group, on a ratio scale",
    cells=(Cell("mi", "mean", POSITIVE_MEAN), _SPREAD, _SIZE),
    takes=("mi", "sdi", "ni"),
    needs="mi, sdi and ni",
    ways=(("mi", "sdi", "ni"),),
    sizes=("ni",),
)

SPREAD = Layout(
    title="standard deviation of one group",
    cells=(_SPREAD, _SIZE),
    takes=("sdi", "ni"),
    needs="sdi and ni",
    ways=(("sdi", "ni"),),
    sizes=("ni",),
)

_FIRST_MEAN = Cell("m1i", "first mean", NUMBER)
_SECOND_MEAN = Cell("m2i", "second mean", NUMBER)
_FIRST_SPREAD = Cell("sd1i", "first standard deviation", SD)
_SECOND_SPREAD = Cell("sd2i", "second standard deviation", SD)
_BETWEEN = Cell("ri", "correlation of the two measurements", CORRELATION)
_PAIRED = ("m1i", "m2i", "sd1i", "sd2i", "ri", "ni")

CHANGE = Layout(
    title="means of one group at two times, or of matched groups",
    cells=(_FIRST_MEAN, _SECOND_MEAN, _FIRST_SPREAD, _SECOND_SPREAD, _BETWEEN, _SIZE),
    takes=_PAIRED,
    needs="m1i, m2i, sd1i, sd2i, ri and ni",
    ways=(_PAIRED,),
    sizes=("ni",),
)

# sd2i = 0 and ri = 0 say that sd1i is the standard deviation of the changes
CHANGE_SCORES = Layout(
    title="means of one group at two times, or of matched groups",
    cells=(
        _FIRST_MEAN,
        _SECOND_MEAN,
        _FIRST_SPREAD,
        Cell("sd2i", "second standard deviation", SD_OR_ZERO),
        _BETWEEN,
        _SIZE,
    ),
    takes=_PAIRED,
    needs="m1i, m2i, sd1i, sd2i, ri and ni",
    ways=(_PAIRED,),
    sizes=("ni",),
)

CHANGE_RAW = Layout(
    title="means of one group at two times, first standard deviation",
    cells=(_FIRST_MEAN, _SECOND_MEAN, _FIRST_SPREAD, _SECOND_SPREAD, _BETWEEN, _SIZE),
    takes=("m1i", "m2i", "sd1i", "ri", "ni"),
    needs="m1i, m2i, sd1i, ri and ni",
    ways=(("m1i", "m2i", "sd1i", "ri", "ni"),),
    sizes=("ni",),
)

CHANGE_SPREADS = Layout(
    title="standard deviations of one group at two times",
    cells=(_FIRST_SPREAD, _SECOND_SPREAD, _BETWEEN, _SIZE),
    takes=("sd1i", "sd2i", "ri", "ni"),
    needs="sd1i, sd2i, ri and ni",
    ways=(("sd1i", "sd2i", "ri", "ni"),),
    sizes=("ni",),
)

CORRELATIONS = Layout(
    title="correlation, or its t",
    cells=(
        Cell("ri", "correlation", CORRELATION),
        Cell("ti", "t statistic of the correlation", NUMBER),
        Cell("pi", "its two-sided p-value, with the sign of the correlation", P_VALUE),
        _SIZE,
    ),
    takes=("ri", "ni"),
    needs="ni, and ri, or ti, or pi",
    ways=(("ri", "ni"), ("ti", "ni"), ("pi", "ni")),
    prepare=_r,
    sizes=("ni",),
)

PARTIAL = Layout(
    title="t statistic of a predictor in a regression",
    cells=(
        Cell("ti", "t statistic of the predictor", NUMBER),
        Cell("pi", "its two-sided p-value, with the sign of the coefficient", P_VALUE),
        Cell("mi", "number of predictors", PREDICTORS),
        _SIZE,
    ),
    takes=("ti", "ni", "mi"),
    needs="ni and mi, and ti or pi",
    ways=(("ti", "ni", "mi"), ("pi", "ni", "mi")),
    prepare=_partial,
    sizes=("ni",),
)

SEMIPARTIAL = Layout(
    title="t statistic of a predictor in a regression, and its R squared",
    cells=(*PARTIAL.cells, Cell("r2i", "R squared of the regression", R_SQUARED)),
    takes=("ti", "ni", "mi", "r2i"),
    needs="ni, mi and r2i, and ti or pi",
    ways=(("ti", "ni", "mi", "r2i"), ("pi", "ni", "mi", "r2i")),
    prepare=_semipartial,
    sizes=("ni",),
)

RELIABILITY = Layout(
    title="Cronbach's alpha",
    cells=(
        Cell("ai", "Cronbach's alpha", ALPHA),
        Cell("mi", "number of items", ITEMS),
        _SIZE,
    ),
    takes=("ai", "mi", "ni"),
    needs="ai, mi and ni",
    ways=(("ai", "mi", "ni"),),
    sizes=("ni",),
)

GENOTYPES = Layout(
    title="genotypes",
    cells=(
        Cell("ai", "homozygous, dominant", COUNT),
        Cell("bi", "heterozygous", COUNT),
        Cell("ci", "homozygous, recessive", COUNT),
    ),
    takes=("ai", "bi", "ci"),
    needs="ai, bi and ci",
    ways=(("ai", "bi", "ci"),),
    sizes=("ai", "bi", "ci"),
)
