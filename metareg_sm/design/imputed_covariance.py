"""Covariances of sampling errors that share participants, from assumed correlations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from metareg_sm._typing import Array, Codes, Rows
from metareg_sm.design.groups import labels_of
from metareg_sm.design.sampling import SamplingCovariance, Stack
from metareg_sm.design.values import container, numeric, row_label
from metareg_sm.design.variances import align, as_variances, check_range
from metareg_sm.exceptions import DesignError, OptionError, VarianceError
from metareg_sm.stats.gls import clusters_by_size


def sampling_covariance(
    vi: npt.ArrayLike | pd.Series,
    groups: npt.ArrayLike | pd.Series,
    rho: Any = None,
    *,
    phi: float | None = None,
    time: npt.ArrayLike | pd.Series | None = None,
    obs: npt.ArrayLike | pd.Series | None = None,
) -> SamplingCovariance:
    r"""Covariance of the sampling errors of effect sizes that share participants.

    Within a group two errors have the correlation `rho` (between different outcomes where `obs` is
    given), times ``phi ** |t_i - t_j|`` where `phi` is; errors of different groups are independent.
    Series are matched by their index, and the rows of what is made of them to those of the data.

    Parameters
    ----------
    vi : array_like or Series, (k,)
        Sampling variances, in squared units of the outcome.
    groups : array_like or Series, (k,)
        The study, or sample, of each effect size. Rows of a group need not stand together.
    rho : float, mapping or DataFrame, optional
        Correlation within a group: one number; with `obs`, a number, a square table with the
        outcomes as labels, or a mapping from pairs of outcomes such as ``{("AL", "PD"): .4}``;
        or a Series or mapping from groups to a number each.
    phi : float, optional
        Correlation of errors one unit of time apart; needs `time`.
    time : array_like or Series, (k,), optional
        Time of each effect size, in any unit.
    obs : array_like or Series, (k,), optional
        Outcome, or type, of each effect size.

    Returns
    -------
    SamplingCovariance
        To be given as ``V=``; `vi`, `to_dense()` show it.

    Raises
    ------
    VarianceError
        If the covariance of a group is not positive definite, or a variance is impossible.
    OptionError
        If neither `rho` nor `phi` is given, or a correlation is not between -1 and 1 or missing.
    DesignError
        If lengths differ, a group is missing, or a time is not a number.

    References
    ----------
    Pustejovsky, J. E., & Tipton, E. (2022). Meta-analysis with robust variance estimation:
    Expanding the range of working models. Prevention Science, 23, 425-438.

    Examples
    --------
    >>> import metareg_sm
    >>> V = metareg_sm.sampling_covariance([0.04, 0.09, 0.01], ["a", "a", "b"], rho=0.5)
    >>> V.to_dense()
    array([[0.04, 0.03, 0.  ],
           [0.03, 0.09, 0.  ],
           [0.  , 0.  , 0.01]])
    """
    named = (x.index for x in (vi, groups, time, obs) if isinstance(x, pd.Series))
    index = next(named, None)
    v = as_variances(container(vi, "vi", VarianceError), "vi", index)
    if v.ndim != 1:
        raise DesignError(f"vi must have one dimension; it has shape {v.shape}.")
    check_range(v, "vi", index)
    k = len(v)
    codes, levels = _codes(groups, "groups", k, index)
    outcome, outcomes = (None, None) if obs is None else _codes(obs, "obs", k, index)
    times = None
    if time is not None:
        times = numeric(_one_each(time, "time", k, index), "time", index)
        if not np.isfinite(times).all():
            first = int(np.flatnonzero(~np.isfinite(times))[0])
            raise DesignError(f"time of {row_label(index, first)} is missing or infinite.")
    if rho is None and phi is None:
        raise OptionError("Give rho=, the correlation of sampling errors within a group, or phi=.")
    if (phi is None) != (times is None):
        raise OptionError("phi= and time= go together.")
    base = 1.0 if phi is None else _correlation(phi, "phi")
    if base < 0.0:
        raise OptionError(f"phi must be between 0 and 1; got {base:g}.")
    make = _correlations(rho, codes, levels, outcome, outcomes, times is not None)
    stacks = []
    for rows in clusters_by_size(codes):
        n = rows.shape[1]
        R = make(rows)
        if times is not None:
            gap = np.abs(times[rows][:, :, None] - times[rows][:, None, :])
            R = R * base**gap
        R[:, np.arange(n), np.arange(n)] = 1.0
        sd = np.sqrt(v[rows])
        M = R * (sd[:, :, None] * sd[:, None, :])
        M[:, np.arange(n), np.arange(n)] = v[rows]
        stacks.append(Stack(rows, M))
    found = SamplingCovariance(k, tuple(stacks), index)
    known = ~np.isnan(v)
    (found if known.all() else found.take(np.flatnonzero(known))).check_definite(
        index if known.all() else None, "The sampling covariance"
    )
    return found


def _one_each(values: Any, name: str, k: int, index: pd.Index | None) -> Any:
    labelled = isinstance(values, pd.Series)
    values = values if isinstance(values, pd.Categorical) else container(values, name)
    if np.ndim(values) != 1:
        raise DesignError(f"{name} must have one value an effect size; got {values!r:.60}.")
    if len(values) != k:
        raise DesignError(f"{name} has {len(values)} values for {k} effect sizes.")
    return align(values, name, index, k, "the effect sizes") if labelled else values


def _codes(values: Any, name: str, k: int, index: pd.Index | None) -> tuple[Codes, pd.Index]:
    codes, levels = pd.factorize(labels_of(_one_each(values, name, k, index)), use_na_sentinel=True)
    if (codes < 0).any():
        first = int(np.flatnonzero(codes < 0)[0])
        raise DesignError(f"{name} is missing for {row_label(index, first)}.")
    return np.asarray(codes, dtype=np.intp), pd.Index(levels)


def _correlation(value: Any, name: str) -> float:
    real = np.ndim(value) == 0 and np.asarray(value).dtype.kind in "iuf"
    number = np.asarray(value, dtype=float) if real else np.array(np.nan)
    if isinstance(value, (bool, str)) or not -1.0 <= float(number) <= 1.0:
        raise OptionError(f"{name} must be a correlation between -1 and 1; got {value!r}.")
    return float(number)


def _correlations(
    rho: Any,
    codes: Codes,
    groups: pd.Index,
    outcome: Codes | None,
    outcomes: pd.Index | None,
    timed: bool,
) -> Callable[[Rows], Array]:
    """Correlations (blocks, n, n) of the rows of groups of one size; any diagonal."""
    if outcome is not None and outcomes is not None:
        table = _pair_table(rho, outcomes, timed)
        return lambda rows: table[outcome[rows][:, :, None], outcome[rows][:, None, :]]
    if rho is None or (np.ndim(rho) == 0 and not isinstance(rho, Mapping)):
        value = 1.0 if rho is None else _correlation(rho, "rho")
        return lambda rows: np.full((*rows.shape, rows.shape[1]), value)
    given = dict(rho) if isinstance(rho, (Mapping, pd.Series)) else None
    if given is None:
        raise OptionError(
            "rho must be a number, or a mapping from groups to numbers; a table of outcomes needs "
            "obs=, the outcome of each effect size."
        )
    absent = [g for g in groups if g not in given]
    if absent:
        raise OptionError(f"rho has no entry for group {absent[0]!r}.")
    each = np.array([_correlation(given[g], f"rho of {g!r}") for g in groups])
    return lambda rows: np.repeat(each[codes[rows]][:, :, None], rows.shape[1], axis=2)


def _pair_table(rho: Any, outcomes: pd.Index, timed: bool) -> Array:
    """Correlations between outcomes, in the order of `outcomes`.

    Of an outcome with itself it is 1, for two times or as an error that the check then names; but
    a single number without times is that of any two effect sizes.
    """
    q = len(outcomes)
    if rho is None:
        return np.ones((q, q))
    if np.ndim(rho) == 0 and not isinstance(rho, Mapping):
        value = _correlation(rho, "rho")
        table = np.full((q, q), value)
        np.fill_diagonal(table, 1.0 if timed else value)
        return table
    if isinstance(rho, pd.DataFrame):
        absent = [o for o in outcomes if o not in rho.index or o not in rho.columns]
        if absent:
            raise OptionError(f"rho has no row and column for outcome {absent[0]!r}.")
        table = rho.loc[outcomes, outcomes].to_numpy(dtype=float)
        if not np.allclose(table, table.T) or not (np.abs(table) <= 1.0).all():
            raise OptionError("rho must be a symmetric table of correlations.")
        return table
    if not isinstance(rho, Mapping):
        raise OptionError("rho must be a number, a table, or a mapping from pairs of outcomes.")
    table = np.eye(q)
    for i in range(q):
        for j in range(i + 1):
            a, b = outcomes[i], outcomes[j]
            value = rho.get((a, b), rho.get((b, a)))
            if value is None and i == j:
                value = 1.0
            elif value is None:
                raise OptionError(f"rho has no entry for the pair {(a, b)!r}.")
            else:
                value = _correlation(value, f"rho of {(a, b)!r}")
            table[i, j] = table[j, i] = value
    return table
