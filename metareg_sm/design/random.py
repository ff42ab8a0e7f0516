"""Random effects as users write them: "1 | district/school", "0 + outcome | trial"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from metareg_sm._typing import Array, Codes
from metareg_sm.core.mixed.structures import STRUCTURES, structure
from metareg_sm.core.mixed.terms import Term
from metareg_sm.design.groups import group_codes
from metareg_sm.design.rows import StudyRows
from metareg_sm.design.values import numeric, row_label
from metareg_sm.design.variances import column
from metareg_sm.exceptions import DesignError, OptionError
from metareg_sm.options import choose

_HOW = (
    "Write '1 | study' for a random intercept, '1 | district/school' for nested ones, "
    "'0 + outcome | trial' for one effect each outcome, and a list for several terms."
)
_TIMED = ("ar", "har")
_BACKTICKS = re.compile(r"^`(.*)`$")


@dataclass(frozen=True, eq=False)
class TermSpec:
    """A random term before its columns are looked up.

    Attributes
    ----------
    inner : str or None
        Column whose levels have an effect each; None for an intercept.
    columns : tuple of str
        Columns whose combinations are the groups, outer ones first.
    name : str
        As it is printed.
    nested : bool
        Whether it was written with "/": the last column lies in those before.
    text : str
        What the user wrote.
    """

    inner: str | None
    columns: tuple[str, ...]
    name: str
    nested: bool
    text: str


@dataclass(frozen=True, eq=False)
class RandomTerm:
    """A random term of a model.

    Attributes
    ----------
    grouping : str
        Its grouping: "district" or "district/school".
    inner : str or None
        Column whose levels have an effect each; None for an intercept.
    levels : Index, (q,)
        Those levels; one for an intercept.
    groups : Index, (groups,)
        Labels of the groups, in the order of their codes.
    kind : str
        Structure of the covariance, a key of `STRUCTURES`.
    term : Term
        The term as the engine takes it.
    shared : bool
        Whether another term has the same grouping.
    """

    grouping: str
    inner: str | None
    levels: pd.Index
    groups: pd.Index
    kind: str
    term: Term
    shared: bool = False

    @property
    def name(self) -> str:
        """What tables call it: its grouping, or all of it where that alone would be another's."""
        return self.label if self.shared and not self.is_intercept else self.grouping

    @property
    def is_intercept(self) -> bool:
        """Whether it has one variance and no levels."""
        return self.inner is None

    @cached_property
    def label(self) -> str:
        """What errors call it."""
        return f"{'1' if self.inner is None else f'0 + {self.inner}'} | {self.grouping}"

    def component_names(self, names: Sequence[str]) -> list[str]:
        """Printed names of components that the structure calls "variance[j]" or "rho[i,j]"."""
        if self.is_intercept:
            return [self.name]
        found = []
        for name in names:
            positions = [int(x) for x in re.findall(r"\d+", name)]
            what = name.split("[")[0]
            shown = ", ".join(str(self.levels[j]) for j in positions)
            found.append(f"{self.name}: {what}" + (f"[{shown}]" if shown else ""))
        return found


def component_names(
    random_terms: Sequence[RandomTerm], terms: Sequence[int], names: Sequence[str]
) -> list[str]:
    """Printed names of components, each with the position of its term."""
    pairs = zip(terms, names, strict=True)
    return [random_terms[i].component_names([name])[0] for i, name in pairs]


def parse_random(random: Any, groups: Any, re_formula: Any) -> list[TermSpec]:
    """Terms of `random`, or of `groups` and `re_formula` as `mixedlm` has them.

    Raises
    ------
    OptionError
        If neither or both are given, or they cannot be read.
    """
    if (random is None) == (groups is None):
        given = "neither" if random is None else "both"
        raise OptionError(f"Give random=, or groups= for a single term; got {given}. {_HOW}")
    if random is None:
        if not isinstance(groups, str):
            raise OptionError(f"groups={type(groups).__name__} is not the name of a column. {_HOW}")
        left = "1" if re_formula is None else str(re_formula)
        random = f"{left} | {groups}"
    elif re_formula is not None:
        raise OptionError("re_formula= goes with groups=; random= says it all.")
    texts = [random] if isinstance(random, str) else random
    if not isinstance(texts, (list, tuple)) or not texts:
        raise OptionError(f"random={random!r} cannot be read. {_HOW}")
    found: list[TermSpec] = []
    for text in texts:
        if not isinstance(text, str):
            raise OptionError(f"random: {text!r} is no text. {_HOW}")
        found += _parse(text)
    seen: set[tuple[str | None, frozenset[str]]] = set()
    for spec in found:
        key = (spec.inner, frozenset(spec.columns))
        if key in seen:
            raise OptionError(f"random has the term of {spec.name!r} twice.")
        seen.add(key)
    return found


def _parse(text: str) -> list[TermSpec]:
    left, bar, right = text.strip().lstrip("~").strip().strip("()").partition("|")
    if not bar or "|" in right or not right.strip():
        raise OptionError(f"random={text!r} has no grouping after one '|'. {_HOW}")
    inner = _left_side(left, text)
    nested: tuple[str, ...] = ()
    found: list[TermSpec] = []
    for part in right.split("/"):
        names = tuple(_column_name(name, text) for name in part.split(":"))
        nested = (*nested, *names)
        depth = len(found)
        name = f"{found[-1].name}/{':'.join(names)}" if depth else ":".join(names)
        found.append(TermSpec(inner, nested, name, depth > 0, text))
    return found


def _left_side(left: str, text: str) -> str | None:
    left = left.strip().lstrip("~").strip()
    if left == "1":
        return None
    parts = [p.strip() for p in left.split("+")]
    if len(parts) == 1 and left.endswith("- 1"):
        parts = ["0", left[:-3].strip()]
    if len(parts) == 2 and "0" in parts:
        name = parts[1] if parts[0] == "0" else parts[0]
        found = re.fullmatch(r"C\((.*)\)", name)
        return _column_name(found.group(1) if found else name, text)
    raise OptionError(
        f"random={text!r}: the left side must be '1' or '0 + column'; random slopes are not among "
        f"the models of this package. {_HOW}"
    )


def _column_name(name: str, text: str) -> str:
    name = name.strip()
    quoted = _BACKTICKS.match(name)
    name = quoted.group(1) if quoted else name
    if not name or name in ("0", "1"):
        raise OptionError(f"random={text!r} names no column where one must stand. {_HOW}")
    return name


def random_terms(
    specs: Sequence[TermSpec], structures: Any, rows: StudyRows
) -> tuple[RandomTerm, ...]:
    """Terms with the groups of the rows of the model.

    Parameters
    ----------
    specs : sequence of TermSpec
        From `parse_random`.
    structures : str or sequence of str
        Structure of the terms with levels: one for all, or one each.
    rows : StudyRows
        The rows of the model.

    Raises
    ------
    OptionError, DesignError
        If a structure is unknown, a column or a label is missing, a time is not a number, or a
        label that seems to name one group lies in two.
    """
    with_levels = [spec for spec in specs if spec.inner is not None]
    kinds = iter(_kinds(structures, with_levels))
    found = []
    cache: dict[str, tuple[Codes, pd.Index]] = {}
    names = [spec.name for spec in specs]
    for spec in specs:
        codes, labels = _grouping(spec, rows, cache)
        shared = names.count(spec.name) > 1
        if spec.inner is None:
            found.append(
                RandomTerm(
                    spec.name,
                    None,
                    pd.Index([spec.name]),
                    labels,
                    "id",
                    Term.intercept(codes),
                    shared,
                )
            )
        else:
            kind = next(kinds)
            level_codes, levels, times = _levels(spec, rows, kind)
            made = structure(kind, len(levels), times)
            term = Term(codes, level_codes, made)
            found.append(RandomTerm(spec.name, spec.inner, levels, labels, kind, term, shared))
    return tuple(found)


def _kinds(structures: Any, specs: Sequence[TermSpec]) -> list[str]:
    names = {name: name for name in STRUCTURES}
    if isinstance(structures, (list, tuple)):
        if len(structures) != len(specs):
            raise OptionError(
                f"structure has {len(structures)} entries for {len(specs)} terms with levels."
            )
        return [choose(names, name, "structure") for name in structures]
    return [choose(names, structures, "structure")] * len(specs)


def _column(rows: StudyRows, name: str, text: str) -> pd.Series:
    if rows.frame is None:
        raise DesignError(
            f"random={text!r} names the column {name!r}, and a model of arrays has none. Give a "
            "data frame as data=."
        )
    return column(rows.frame, name, f"random={text!r}", DesignError)


def _grouping(
    spec: TermSpec, rows: StudyRows, cache: dict[str, tuple[Codes, pd.Index]]
) -> tuple[Codes, pd.Index]:
    codes: Codes | None = None
    parts = []
    for name in spec.columns:
        if name not in cache:
            _column(rows, name, spec.text)
            cache[name] = group_codes(name, rows, f"random={spec.text!r}: column {name!r}")
        inner, levels = cache[name]
        parts.append((inner, levels))
        if codes is None:
            codes = inner
            continue
        outer = codes
        codes = np.asarray(pd.factorize(outer * len(levels) + inner)[0], dtype=np.intp)
        if spec.nested and name == spec.columns[-1]:
            _refuse_two_parents(spec, outer, inner, levels, parts, codes)
    assert codes is not None
    if len(parts) == 1:
        return codes, pd.Index(parts[0][1], name=spec.columns[0])
    first = np.unique(codes, return_index=True)[1]
    arrays = [levels[inner[first]] for inner, levels in parts]
    return codes, pd.MultiIndex.from_arrays(arrays, names=list(spec.columns))


def _refuse_two_parents(
    spec: TermSpec,
    outer: Codes,
    inner: Codes,
    levels: pd.Index,
    parts: Sequence[tuple[Codes, pd.Index]],
    codes: Codes,
) -> None:
    """Refuse a label in two groups where labels seem to be unique.

    Where numbering begins anew in each group most labels of all but the largest group return in
    others, and a label means nothing beyond its group. Where most groups have labels of their own,
    a label in two of them is more likely a slip.
    """
    first = np.unique(codes, return_index=True)[1]
    parent, child = outer[first], inner[first]
    repeated = np.bincount(child, minlength=len(levels)) > 1
    if not repeated.any():
        return
    returns = np.bincount(parent, repeated[child])
    sizes = np.bincount(parent)
    anew = returns > 0.5 * sizes
    anew[sizes.argmax()] = False
    if anew.sum() >= 0.5 * (len(sizes) - 1):
        return
    label = int(np.flatnonzero(repeated)[0])
    rows = first[child == label]
    names = ["/".join(str(lv[codes_[row]]) for codes_, lv in parts[:-1]) for row in rows[:2]]
    a, b = ":".join(spec.columns[:-1]), spec.columns[-1]
    raise DesignError(
        f"random={spec.text!r}: {b} {levels[label]!r} lies in two groups of {a}, {names[0]!r} and "
        f"{names[1]!r}, while most labels of {b} lie in one. If it is one {b}, correct its {a}; if "
        f"they are different, give them different labels, or write ['1 | {a}', '1 | {a}:{b}']."
    )


def _levels(spec: TermSpec, rows: StudyRows, kind: str) -> tuple[Codes, pd.Index, Array | None]:
    assert spec.inner is not None
    values = _column(rows, spec.inner, spec.text)
    name = f"random={spec.text!r}: column {spec.inner!r}"
    if kind in _TIMED:
        times = numeric(values, f"{name} (times of structure={kind!r})", rows.labels, kinds="fiu")
        bad = np.flatnonzero(~np.isfinite(times))
        if bad.size:
            state = "missing" if np.isnan(times[bad[0]]) else "infinite"
            raise DesignError(f"{name} is {state} for {row_label(rows.labels, int(bad[0]))}.")
        levels, codes = np.unique(times, return_inverse=True)
        return codes.astype(np.intp), pd.Index(levels, name=spec.inner), levels
    codes, found = group_codes(spec.inner, rows, name)
    if isinstance(values.dtype, pd.CategoricalDtype):
        present = set(found)
        ordered = pd.Index([c for c in values.cat.categories if c in present])
    else:
        try:
            ordered = found.sort_values()
        except TypeError:
            ordered = found
    return ordered.get_indexer(found)[codes].astype(np.intp), ordered.rename(spec.inner), None
