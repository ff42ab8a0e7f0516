"""`effect_size`: from raw tables to yi and vi."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from metareg_sm._typing import Array
from metareg_sm.effectsizes.frame import harmonic_mean, labelled_frame
from metareg_sm.effectsizes.read import (
    Column,
    Inputs,
    check_arguments,
    fill_cells,
    read,
    rows_named,
)
from metareg_sm.effectsizes.records import Measure
from metareg_sm.effectsizes.registry import MEASURES
from metareg_sm.effectsizes.reporting import Rows, report, warn_fractions
from metareg_sm.effectsizes.zeros import RULES, added, double_zero, empty_group
from metareg_sm.exceptions import DesignError, OptionError, VarianceError
from metareg_sm.options import choose, finite_number, flag

Vtype = str | npt.ArrayLike | None


def effect_size(
    measure: str,
    data: pd.DataFrame | None = None,
    *,
    ai: Column | None = None,
    bi: Column | None = None,
    ci: Column | None = None,
    di: Column | None = None,
    n1i: Column | None = None,
    n2i: Column | None = None,
    x1i: Column | None = None,
    x2i: Column | None = None,
    t1i: Column | None = None,
    t2i: Column | None = None,
    m1i: Column | None = None,
    m2i: Column | None = None,
    sd1i: Column | None = None,
    sd2i: Column | None = None,
    xi: Column | None = None,
    mi: Column | None = None,
    ri: Column | None = None,
    ti: Column | None = None,
    pi: Column | None = None,
    sdi: Column | None = None,
    r2i: Column | None = None,
    ni: Column | None = None,
    yi: Column | None = None,
    vi: Column | None = None,
    sei: Column | None = None,
    add: float | None = None,
    to: str = "only0",
    drop00: bool = False,
    vtype: Vtype = None,
    correct: bool = True,
    var_names: tuple[str, str] = ("yi", "vi"),
    append: bool = True,
    replace: bool = True,
) -> pd.DataFrame:
    """Effect sizes and their sampling variances from counts, means or correlations.

    Measures, arguments, options and defaults are those of metafor's `escalc`.

    Parameters
    ----------
    measure : str
        Name of a measure, in any case: "RR", "OR", "RD", "SMD", "ROM", "ZCOR", ... The registry
        `metareg_sm.effectsizes.MEASURES` has all of them, with what each is computed from.
    data : DataFrame, optional
        Table of the studies, one a row. It is not changed.
    ai, bi, ci, di, n1i, n2i : str or array_like, optional
        2x2 table: first group with and without the event, second group with and without it, and
        the sizes of the groups. `bi` or `n1i` is enough, and `di` or `n2i`. `ai` is also
        Cronbach's alpha, and `di` Cohen's d.
    x1i, x2i, t1i, t2i : str or array_like, optional
        Events and time at risk of the two groups.
    m1i, m2i, sd1i, sd2i : str or array_like, optional
        Means and standard deviations of the two groups (sizes `n1i`, `n2i`), or of one group at
        two times (size `ni`, correlation `ri`).
    xi, mi, ti, ni : str or array_like, optional
        One group: events `xi`, people without `mi`, time at risk `ti`, size `ni`. `mi` is also
        the mean of the group, and `ti` a t statistic.
    ri, pi, sdi, r2i : str or array_like, optional
        Correlation; two-sided p-value with the sign of the effect; standard deviation of one
        group; R squared. A value that is the same in all studies may be one number.
    yi, vi, sei : str or array_like, optional
        Estimates of this measure with their variances or standard errors, if they are already
        there: they are checked, labelled and returned. `measure="GEN"` is for any other measure.
    add : float, optional
        What is added to every cell of a study (see `to`). By default .5, and 0 for AS, PHI, RTET,
        IRSD, PAS, PFT, IRS and IRFT.
    to : {"only0", "all", "if0all", "none"}
        Studies that are added to: those with a cell of 0; all; all if any has one; none.
    drop00 : bool
        Give NaN to studies without events in both groups, or with nothing but events.
    vtype : str or array_like of str, optional
        Kind of sampling variance, one for all or one a study: "LS" (the default), "LS2", "UB",
        "AV", "HO", "AVHO", "ST", "CS", as the measure has them.
    correct : bool
        Whether standardized and logarithmic measures are corrected for their bias.
    var_names : tuple of str
        Columns of the result.
    append : bool
        Whether the columns of `data` are returned, too.
    replace : bool
        Whether columns that `data` has under those names are replaced. If not, only their missing
        values are.

    Returns
    -------
    DataFrame
        With `yi` and `vi` (in squared units of `yi`), rows and index as in `data`. Missing inputs
        give NaN. `attrs["measure"]` is the name of the measure; `attrs["effect_size"]` says how
        the values were made: columns by argument, those that describe the second group
        (`control`), options, and the harmonic mean of the sizes.

    Raises
    ------
    OptionError
        If the measure or an option is not known, or the arguments are not those of the measure.
    DesignError
        If a column is absent or not numeric, a number is impossible (negative counts, more events
        than people, correlations beyond 1, standard deviations of 0, samples below 2), cells and
        totals disagree, or no study has an effect size.
    VarianceError
        If `yi` comes without `vi` or `sei`, or these are negative.

    Warns
    -----
    EffectSizeWarning
        If studies have no defined effect size (they get NaN), studies without events owe theirs
        to the added constant, counts are not whole, or other values are replaced.

    References
    ----------
    Each measure's `source` in the registry. The names of measures and arguments are those of
    Viechtbauer (2010), "Conducting meta-analyses in R with the metafor package", Journal of
    Statistical Software 36(3).

    Examples
    --------
    >>> import metareg_sm
    >>> bcg = metareg_sm.datasets.bcg.load_pandas().data.drop(columns=["yi", "vi"])
    >>> trials = metareg_sm.effect_size("RR", bcg, ai="tpos", bi="tneg", ci="cpos", di="cneg")
    >>> trials[["yi", "vi"]].head(2).round(4)
           yi      vi
    0 -0.8893  0.3256
    1 -1.5854  0.1946
    >>> trials.attrs["measure"]
    'RR'

    A 2x2 table by events and sizes, as arrays:

    >>> metareg_sm.effect_size("OR", ai=[4, 6], n1i=[123, 306], ci=[11, 29], n2i=[139, 303])
             yi        vi
    0 -0.938694  0.357125
    1 -1.666191  0.208132

    Standardized mean differences, some of them from t statistics:

    >>> nan = float("nan")
    >>> metareg_sm.effect_size(
    ...     "SMD", m1i=[5, nan], m2i=[4, nan], sd1i=[2, nan], sd2i=[2, nan], ti=[nan, 2.1],
    ...     n1i=[20, 30], n2i=[20, 30],
    ... ).round(4)
           yi      vi
    0  0.4901  0.1030
    1  0.5352  0.0691
    """
    given = {
        name: value
        for name, value in {
            "ai": ai, "bi": bi, "ci": ci, "di": di, "n1i": n1i, "n2i": n2i,
            "x1i": x1i, "x2i": x2i, "t1i": t1i, "t2i": t2i,
            "m1i": m1i, "m2i": m2i, "sd1i": sd1i, "sd2i": sd2i,
            "xi": xi, "mi": mi, "ri": ri, "ti": ti, "pi": pi, "sdi": sdi, "r2i": r2i, "ni": ni,
            "yi": yi, "vi": vi, "sei": sei,
        }.items()
        if value is not None
    }  # fmt: skip
    if data is not None and not isinstance(data, pd.DataFrame):
        raise DesignError(f"data must be a DataFrame; got {type(data).__name__}.")
    append, replace = flag(append, "append"), flag(replace, "replace")
    estimates = {"yi", "vi", "sei"} & given.keys()
    if estimates or str(measure).upper() == "GEN":
        inputs, y, v, how = _given_estimates(measure, data, given)
        return labelled_frame(data, inputs.index, y, v, how, var_names, append, replace)
    entry = choose(MEASURES, measure, "measure")
    check_arguments(entry, given)
    options = _zero_options(entry, add, to, drop00)
    _check_correct(entry, correct)
    inputs = read(given, data)
    vtypes = _vtypes(entry, vtype, len(inputs.index), correct)
    y, v, size = _estimates(entry, inputs, options, vtypes, correct)
    how = {
        "measure": entry.name,
        "columns": dict(inputs.columns),
        "control": _control_columns(entry, inputs),
        "vtype": vtypes if isinstance(vtypes, str) else list(vtypes),
        **({"correct": bool(correct)} if entry.corrected else {}),
        **(options if entry.layout.counts else {}),
        "size": size,
    }
    return labelled_frame(data, inputs.index, y, v, how, var_names, append, replace)


def _zero_options(entry: Measure, add: float | None, to: str, drop00: bool) -> dict[str, Any]:
    choose(RULES, to, "to")
    drop00 = flag(drop00, "drop00")
    if not entry.layout.counts and (add is not None or to != "only0" or drop00):
        raise OptionError(
            f"{entry.name} is computed from {entry.layout.title}, where no cells of 0 are added "
            "to: leave out add, to and drop00."
        )
    if drop00 and not entry.layout.double_zero:
        raise OptionError(f"{entry.name} has no second group: leave out drop00.")
    amount = entry.add if add is None else finite_number(add, "add", least=0.0)
    return {"add": amount, "to": to.lower(), "drop00": drop00}


def _check_correct(entry: Measure, correct: bool) -> None:
    if not flag(correct, "correct") and not entry.corrected:
        raise OptionError(f"{entry.name} has no correction for bias: leave out correct.")


def _vtypes(entry: Measure, vtype: Vtype, n: int, correct: bool) -> str | list[str]:
    table = {name.lower(): name for name in entry.variances}
    if vtype is None:
        return next(iter(entry.variances))
    if isinstance(vtype, str):
        chosen: str | list[str] = choose(table, vtype, f"vtype of {entry.name}")
        used = {chosen}
    else:
        names = np.asarray(vtype)
        if names.shape != (n,):
            raise OptionError(
                f"vtype must be one name, or one for each of the {n} studies; it has shape "
                f"{names.shape}."
            )
        chosen = [choose(table, str(name), f"vtype of {entry.name}") for name in names.tolist()]
        used = set(chosen)
    if "UB" in used and not correct:
        raise OptionError("vtype='UB' belongs to the corrected estimate: leave out correct=False.")
    return chosen


def _control_columns(entry: Measure, inputs: Inputs) -> list[str]:
    """Columns that describe the second group alone."""
    names = [cell.name for cell in entry.layout.cells if cell.control]
    return [inputs.columns[name] for name in names if name in inputs.columns]


def _estimates(
    entry: Measure,
    inputs: Inputs,
    options: Mapping[str, Any],
    vtypes: str | list[str],
    correct: bool,
) -> tuple[Array, Array, float]:
    """Estimates, variances, and the harmonic mean of the sizes."""
    layout, index = entry.layout, inputs.index
    cells = fill_cells(layout, inputs)
    warn_fractions(entry, inputs)
    size = np.sum([cells[name] for name in layout.sizes], axis=0)
    double = double_zero(layout, cells)
    used = cells
    marked = np.zeros(len(index), dtype=bool)
    if layout.counts:
        used, marked = added(layout, cells, options["add"], RULES[options["to"]])
    drop = double & bool(options["drop00"])
    arrays = used if layout.prepare is None else layout.prepare(used)
    arrays = {name: np.where(drop, np.nan, arrays[name]) for name in layout.takes}
    complete = np.all([np.isfinite(a) for a in arrays.values()], axis=0)
    keyword = {"correct": correct} if entry.corrected else {}
    with np.errstate(all="ignore"):
        y = entry.estimate(**arrays, **keyword)
        v = _variances(entry, vtypes, y, arrays, keyword)
    defined = np.isfinite(y) & np.isfinite(v)
    y, v = np.where(defined, y, np.nan), np.where(defined, v, np.nan)
    report(
        entry,
        index,
        Rows(
            double=double,
            nobody=empty_group(layout, cells),
            drop=drop,
            constant=marked,
            undefined=complete & ~defined,
            defined=defined,
            certain=defined & (v == 0),
        ),
    )
    return y, v, harmonic_mean(size[defined])


def _variances(
    entry: Measure,
    vtypes: str | list[str],
    y: Array,
    arrays: Mapping[str, Array],
    keyword: Mapping[str, bool],
) -> Array:
    if isinstance(vtypes, str):
        return entry.variances[vtypes](y, **arrays, **keyword)
    names = np.asarray(vtypes)
    v = np.full(y.shape, np.nan)
    for name in dict.fromkeys(vtypes):
        v = np.where(names == name, entry.variances[name](y, **arrays, **keyword), v)
    return v


def _given_estimates(
    measure: str, data: pd.DataFrame | None, given: dict[str, Any]
) -> tuple[Inputs, Array, Array, dict[str, Any]]:
    """Estimates that are already there, checked and labelled."""
    name = "GEN" if str(measure).upper() == "GEN" else choose(MEASURES, measure, "measure").name
    others = sorted(given.keys() - {"yi", "vi", "sei"})
    if others:
        raise OptionError(
            f"{name}: yi= are estimates that are already there, so {others[0]} is not used."
        )
    if "yi" not in given or ("vi" in given) == ("sei" in given):
        raise VarianceError(
            f"{name}: give the estimates as yi=, and either vi= (variances) or sei= (standard "
            f"errors); got {', '.join(sorted(given)) or 'none of them'}."
        )
    inputs = read(given, data)
    spread = "vi" if "vi" in given else "sei"
    values = inputs.arrays[spread]
    if (values < 0).any():
        raise VarianceError(f"{spread} is negative in {rows_named(inputs.index, values < 0)}.")
    v = values if spread == "vi" else values**2
    how = {"measure": name, "columns": dict(inputs.columns), "control": []}
    return inputs, inputs.arrays["yi"], v, how
