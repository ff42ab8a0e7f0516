"""Known covariances of sampling errors, kept as blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from metareg_sm._typing import Array, Codes, Rows
from metareg_sm.core.mixed.terms import KnownBlock
from metareg_sm.design.groups import labels_of
from metareg_sm.design.values import container, numeric, row_label
from metareg_sm.design.variances import as_variances, check_range
from metareg_sm.exceptions import DesignError, OptionError, VarianceError
from metareg_sm.stats.gls import clusters_by_size

_SYMMETRIC = 1e-8


@dataclass(frozen=True)
class Stack:
    """Blocks of one size.

    Attributes
    ----------
    rows : ndarray of int, (blocks, n)
        Positions of their effect sizes.
    matrices : ndarray, (blocks, n, n)
        Covariances.
    """

    rows: Rows
    matrices: Array


@dataclass(frozen=True)
class SamplingCovariance:
    """Covariance V of the sampling errors of k effect sizes, as blocks.

    Attributes
    ----------
    k : int
        Number of effect sizes.
    stacks : tuple of Stack
        The blocks by size; they cover every row once.
    """

    k: int
    stacks: tuple[Stack, ...]

    @property
    def vi(self) -> Array:
        """Sampling variances, (k,)."""
        v = np.full(self.k, np.nan)
        for stack in self.stacks:
            v[stack.rows] = np.einsum("gnn->gn", stack.matrices)
        return v

    @property
    def is_diagonal(self) -> bool:
        """Whether no two sampling errors are correlated."""
        return all(s.rows.shape[1] == 1 for s in self.stacks)

    def to_dense(self) -> Array:
        """The whole matrix, (k, k)."""
        V = np.zeros((self.k, self.k))
        for s in self.stacks:
            V[s.rows[:, :, None], s.rows[:, None, :]] = s.matrices
        return V

    def take(self, positions: Rows) -> SamplingCovariance:
        """The covariance of some rows, in their order."""
        new = np.full(self.k, -1, dtype=np.intp)
        new[positions] = np.arange(len(positions))
        found: dict[int, list[Stack]] = {}
        for stack in self.stacks:
            rows = new[stack.rows]
            kept = (rows >= 0).sum(1)
            for n in np.unique(kept[kept > 0]):
                at = np.flatnonzero(kept == n)
                # what is kept of each block first, in its own order
                order = np.argsort(rows[at] < 0, axis=1, kind="stable")[:, :n]
                M = stack.matrices[at]
                M = np.take_along_axis(
                    np.take_along_axis(M, order[:, :, None], 1), order[:, None], 2
                )
                part = Stack(np.take_along_axis(rows[at], order, 1), M)
                found.setdefault(int(n), []).append(part)
        return SamplingCovariance(len(positions), _joined(found))

    def spread(self, positions: Rows, total: int) -> SamplingCovariance:
        """The same as a covariance of `total` rows of which it says something of some alone."""
        return SamplingCovariance(
            total, tuple(Stack(positions[s.rows], s.matrices) for s in self.stacks)
        )

    def blocks(self) -> list[KnownBlock]:
        """The blocks one by one."""
        return [
            KnownBlock(rows, matrix)
            for s in self.stacks
            for rows, matrix in zip(s.rows, s.matrices, strict=True)
        ]

    def partition(self) -> Codes:
        """Block of each effect size, (k,)."""
        found = np.full(self.k, -1, dtype=np.intp)
        begin = 0
        for s in self.stacks:
            found[s.rows] = begin + np.arange(len(s.rows))[:, None]
            begin += len(s.rows)
        return found

    def trace_of_inverse(self) -> float:
        """Tr V^-1."""
        return float(sum(np.einsum("gnn->", np.linalg.inv(s.matrices)) for s in self.stacks))

    def check_definite(self, index: pd.Index | None = None, argument: str = "V") -> None:
        """Refuse a block that is not positive definite.

        Raises
        ------
        VarianceError
            Which names its rows.
        """
        for s in self.stacks:
            d = np.sqrt(np.einsum("gnn->gn", s.matrices))
            if not (d > 0.0).all():
                g, i = np.argwhere(~(d > 0.0))[0]
                raise VarianceError(
                    f"{argument} is not positive definite: the variance of "
                    f"{row_label(index, int(s.rows[g, i]))} is 0."
                )
            if s.rows.shape[1] == 1:
                continue
            correlations = s.matrices / (d[:, :, None] * d[:, None, :])
            least = np.linalg.eigvalsh(correlations)[:, 0]
            bad = np.flatnonzero(~(least > 1e-12))
            if bad.size:
                rows = s.rows[bad[0]]
                named = ", ".join(row_label(index, int(i)) for i in rows[:6])
                more = " ..." if len(rows) > 6 else ""
                raise VarianceError(
                    f"{argument} is not positive definite: the correlation matrix of {named}{more} "
                    f"has the eigenvalue {least[bad[0]]:.3g}. Correlations of one study must go "
                    "together; is a covariance wrong, or an effect size there twice?"
                )


def _joined(found: Mapping[int, list[Stack]]) -> tuple[Stack, ...]:
    return tuple(
        Stack(
            np.concatenate([s.rows for s in found[n]]),
            np.ascontiguousarray(np.concatenate([s.matrices for s in found[n]])),
        )
        for n in sorted(found)
    )


def as_sampling_covariance(V: Any, index: pd.Index | None = None) -> SamplingCovariance:
    """V as it was given: a record, a dense matrix, or a list of blocks in the order of the rows.

    Data frames whose rows have labels of their own are matched to `index` by them.

    Raises
    ------
    VarianceError
        If it is none of these, not square or not symmetric, or has negative or infinite values.
    """
    if isinstance(V, SamplingCovariance):
        return V
    if isinstance(V, (list, tuple)) and V and all(np.ndim(block) == 2 for block in V):
        blocks = _of_blocks(V)
        named = index is not None and all(isinstance(block, pd.DataFrame) for block in V)
        return _by_label(blocks, V, index) if named else blocks
    if isinstance(V, pd.DataFrame) and index is not None and not V.index.equals(index):
        if not V.index.is_unique or len(index.difference(V.index)) or not index.is_unique:
            raise VarianceError("The rows of V and of the data have different labels.")
        V = V.loc[index, index] if set(V.columns) == set(V.index) else V
    dense = numeric(container(V, "V", VarianceError), "V", error=VarianceError)
    if dense.ndim != 2 or dense.shape[0] != dense.shape[1]:
        raise VarianceError(
            f"V must be a square matrix, a list of square blocks, or what sampling_covariance "
            f"returns; it has shape {dense.shape}. Variances alone are given as vi=."
        )
    _check_block(dense, "V")
    k = len(dense)
    i, j = np.nonzero(dense)
    graph = coo_matrix((np.ones(len(i), dtype=np.int8), (i, j)), shape=(k, k))
    codes = connected_components(graph, directed=False)[1].astype(np.intp)
    stacks = [
        Stack(rows, dense[rows[:, :, None], rows[:, None, :]]) for rows in clusters_by_size(codes)
    ]
    return SamplingCovariance(k, tuple(stacks))


def _of_blocks(blocks: Sequence[Any]) -> SamplingCovariance:
    found: dict[int, list[Stack]] = {}
    begin = 0
    for number, given in enumerate(blocks):
        name = f"block {number} of V"
        block = numeric(given, name, error=VarianceError)
        if block.shape[0] != block.shape[1]:
            raise VarianceError(f"{name} must be square; it has shape {block.shape}.")
        _check_block(block, name)
        n = len(block)
        found.setdefault(n, []).append(Stack(begin + np.arange(n)[None], block[None]))
        begin += n
    return SamplingCovariance(begin, _joined(found))


def _by_label(V: SamplingCovariance, blocks: Any, index: pd.Index) -> SamplingCovariance:
    """The rows of labelled blocks that the data have, in their order."""
    labels = blocks[0].index.append([block.index for block in blocks[1:]])
    if labels.equals(index) or not labels.is_unique:
        return V
    at = labels.get_indexer(index)
    if (at < 0).any() or not index.is_unique:
        raise VarianceError("The rows of V and of the data have different labels.")
    return V.take(at)


def _check_block(block: Array, name: str) -> None:
    diagonal = np.diagonal(block)
    if np.isinf(block).any() or (diagonal < 0.0).any():
        raise VarianceError(f"{name} must be finite, and its diagonal not negative.")
    size = np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
    gap = np.abs(block - block.T) / (size[:, None] * size)
    if np.nanmax(gap, initial=0.0) > _SYMMETRIC:
        i, j = np.unravel_index(np.nanargmax(gap), gap.shape)
        raise VarianceError(
            f"{name} must be symmetric; entry ({i}, {j}) is {block[i, j]:g}, entry ({j}, {i}) "
            f"{block[j, i]:g}."
        )
    lost = np.isnan(block) & ~np.isnan(diagonal)[:, None] & ~np.isnan(diagonal)
    if lost.any():
        i, j = np.argwhere(lost)[0]
        raise VarianceError(
            f"{name}: entry ({i}, {j}) is missing; 0 says that it is no covariance."
        )


# --- imputed covariances ---------------------------------------------------------------------


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
    index = vi.index if isinstance(vi, pd.Series) else None
    v = as_variances(container(vi, "vi", VarianceError), "vi", index)
    if v.ndim != 1:
        raise DesignError(f"vi must have one dimension; it has shape {v.shape}.")
    check_range(v, "vi", index)
    k = len(v)
    codes, levels = _codes(groups, "groups", k, index)
    outcome, outcomes = (None, None) if obs is None else _codes(obs, "obs", k, index)
    times = None
    if time is not None:
        times = numeric(_one_each(time, "time", k), "time", index)
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
    found = SamplingCovariance(k, tuple(stacks))
    known = ~np.isnan(v)
    (found if known.all() else found.take(np.flatnonzero(known))).check_definite(
        index if known.all() else None, "The sampling covariance"
    )
    return found


def _one_each(values: Any, name: str, k: int) -> Any:
    values = values if isinstance(values, pd.Categorical) else container(values, name)
    if len(values) != k:
        raise DesignError(f"{name} has {len(values)} values for {k} effect sizes.")
    return values


def _codes(values: Any, name: str, k: int, index: pd.Index | None) -> tuple[Codes, pd.Index]:
    codes, levels = pd.factorize(labels_of(_one_each(values, name, k)), use_na_sentinel=True)
    if (codes < 0).any():
        first = int(np.flatnonzero(codes < 0)[0])
        raise DesignError(f"{name} is missing for {row_label(index, first)}.")
    return np.asarray(codes, dtype=np.intp), pd.Index(levels)


def _correlation(value: Any, name: str) -> float:
    number = np.asarray(value, dtype=float) if np.ndim(value) == 0 else np.array(np.nan)
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
