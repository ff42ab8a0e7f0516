"""Many climbs of the likelihood in step, by Newton and scoring steps inside bounds.

Lanes are starts of one search, resampled outcomes or points of a profile: whatever differs, one
evaluation serves all that are still on their way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from metareg_sm._typing import Array, Codes, Mask
from metareg_sm.core.mixed.bounded import FAR, LEAST, NEAR, POOR, bounded_step, misplaced
from metareg_sm.core.mixed.moments import Heights

# Newton decrement whose step is the last: the error of a Newton step is about the square of this.
LAST = 1e-12
_NOTHING = 1e-20
# Least eigenvalue, of a matrix of diagonal about 1, of a Hessian that a step relies on.
_DEFINITE = 1e-6
# Squared distance, by the information, at which a step is taken to lead to a known end: half of it
# is what the log-likelihood differs by.
_SAME = 0.1
_HALVINGS, _MOST = 10, 60


class Ascent(NamedTuple):
    """Where climbs ended.

    Attributes
    ----------
    phi : ndarray, (B, m)
        Working parameters.
    converged : ndarray of bool, (B,)
        Whether the next step would change the log-likelihood by nothing that can be told.
    heights : Heights
        The last evaluation of each lane: before its last step, where the Hessian made that.
    evaluations : int
        Evaluations of the likelihood with derivatives.
    """

    phi: Array
    converged: Mask
    heights: Heights
    evaluations: int

    @property
    def value(self) -> Array:
        """Log-likelihood, (B,)."""
        return self.heights.value


def ascend(
    heights: Callable[[Array, Codes], Heights],
    start: Array,
    lower: Array,
    upper: Array,
    moved: Callable[[Array, Array], Array],
    last: float = LAST,
    canonical: Callable[[Array], Array] | None = None,
    alone: bool = False,
) -> Ascent:
    """Climb from each of many starts.

    Parameters
    ----------
    heights : callable
        Takes working parameters (n, m) and the lanes (n,) that they belong to.
    start : ndarray, (B, m)
        Working parameters to begin with.
    lower, upper : ndarray, (m,)
        Ends of the parameters.
    moved : callable
        Where scoring steps (n, m) lead from parameters (n, m).
    last : float
        Newton decrement whose step is not followed by another.
    canonical : callable, optional
        Where lanes are climbs of one likelihood: what makes parameters (m,) that mean the same
        equal. A lane that plainly leads to where another one does, or ended, is given up.
    alone : bool
        Whether the last lane, where it is the highest, is left at its next step near a maximum:
        it may climb on by itself in less time.

    Returns
    -------
    Ascent
    """
    phi = start.copy()
    converged = np.zeros(len(phi), dtype=bool)
    lanes = np.arange(len(phi))
    at = ends = heights(phi, lanes)
    evaluations, here = 1, start
    keep = np.isfinite(at.value)
    if not keep.all():
        lanes, here, at = _kept(keep, lanes, here, at)

    def leave(away: Mask, where: Array, arrived: Mask | bool) -> None:
        gone = lanes[away]
        phi[gone], converged[gone] = where[away], arrived
        if at is not ends:
            for old, new in zip(ends, at, strict=True):
                old[gone] = new[away]

    for _ in range(_MOST):
        if not lanes.size:
            break
        step, decrement, definite = steps(here, at, lower, upper)
        to = here + step
        if not definite.all():
            far = ~definite
            to[far] = moved(here[far], step[far])
        following = np.minimum(np.maximum(to, lower), upper)
        going = ~((decrement < last) & (definite | (decrement < _NOTHING)))
        if not going.all():
            leave(~going, following, True)
        if canonical is not None and len(phi) > 1 and (definite.any() or converged.any()):
            places = canonical(np.concatenate([following, phi[converged]]))
            expected = np.concatenate([at.expected[definite], ends.expected[converged]])
            known = going & _known(places, expected, decrement, definite)
            leave(known, here, False)
            going &= ~known
        if not going.all():
            lanes, here, step, following, decrement, at = _kept(
                going, lanes, here, step, following, decrement, at
            )
        if not lanes.size:
            break
        if alone and len(lanes) == 1 and definite[going] and at.value[0] >= ends.value.max():
            here = following
            break
        new = heights(following, lanes)
        evaluations += 1
        worse = ~((new.value > at.value) | ((decrement < NEAR) & np.isfinite(new.value)))
        if worse.any():
            evaluations += _shortened(
                heights, lanes, here, (lower, upper), step, at, (following, new, worse)
            )
            # no rise can be told from rounding, or this lane is given up
            small = 1e-9 * np.maximum(1.0, np.abs(at.value[worse]))
            leave(worse, here, decrement[worse] < small)
            lanes, following, new = _kept(~worse, lanes, following, new)
        here, at = following, new
        if len(lanes) == len(phi):
            ends = at
    leave(np.ones(len(lanes), dtype=bool), here, False)
    return Ascent(phi, converged, ends, evaluations)


def _part(at: Heights, which: Mask) -> Heights:
    return Heights(*(part[which] for part in at))


def _kept(which: Mask, *arrays: Any) -> tuple[Any, ...]:
    """The lanes that go on of arrays, and of heights."""
    return tuple(_part(a, which) if isinstance(a, Heights) else a[which] for a in arrays)


def _shortened(
    heights: Callable[[Array, Codes], Heights],
    lanes: Codes,
    here: Array,
    bounds: tuple[Array, Array],
    step: Array,
    at: Heights,
    moved: tuple[Array, Heights, Mask],
) -> int:
    """Shorten steps that led no higher, in place; the number of evaluations that this took."""
    following, new, worse = moved
    for halving in range(1, _HALVINGS + 1):
        where = np.flatnonzero(worse)
        if not where.size:
            return halving - 1
        tried = np.clip(here[where] + 0.3**halving * step[where], *bounds)
        shorter = heights(tried, lanes[where])
        better = shorter.value > at.value[where]
        for old, short in zip(new, shorter, strict=True):
            old[where[better]] = short[better]
        following[where[better]] = tried[better]
        worse[where[better]] = False
    return _HALVINGS


def _known(places: Array, expected: Array, decrement: Array, near: Mask) -> Mask:
    """Lanes whose next step leads to where one that is nearer to its end will, or ended.

    Parameters
    ----------
    places : ndarray, (B + n, m)
        Where the next steps of B lanes lead, and n ends.
    expected : ndarray, (B' + n, m, m)
        Information of the B' lanes near a maximum, and at the ends.
    decrement : ndarray, (B,)
        Decrements of the lanes.
    near : ndarray of bool, (B,)
        Whether they are near a maximum.
    """
    B = len(decrement)
    following, ended = places[:B], places[B:]
    gap = following[:, None] - np.concatenate([following[near], ended])
    same = np.einsum("bni,nij,bnj->bn", gap, expected, gap) < _SAME
    nearer = np.append(decrement[near], np.zeros(len(ended))) < decrement[:, None]
    return np.asarray((same & nearer).any(1) & (decrement < 1.0))


def steps(phi: Array, at: Heights, lower: Array, upper: Array) -> tuple[Array, Array, Mask]:
    """Steps (B, m), twice the rise that they promise (B,), and where the Hessian made them."""
    gradient, m = at.gradient, phi.shape[1]
    held = ((phi <= lower) & (gradient <= 0.0)) | ((phi >= upper) & (gradient >= 0.0))
    size = np.sqrt(
        np.maximum(np.abs(at.observed.diagonal(0, -2, -1)), at.expected.diagonal(0, -2, -1))
    )
    size[size == 0.0] = 1.0
    outer = size[:, :, None] * size[:, None, :]
    H = _without(at.observed / outer, held)
    g = gradient / size
    free = np.where(held, 0.0, g)
    close: Mask = (free * free).sum(1) < FAR
    definite = close & (_least(H) > _DEFINITE) if close.any() else close
    if not definite.all():
        other = ~definite
        E = _without(at.expected[other] / outer[other], held[other])
        H[other] = _positive(H[other], E)
    step = _solve(H, free)
    to = phi + step / size
    if not ((to < lower) | (to > upper)).any():
        return step / size, (step * g).sum(1), definite
    low, high = (lower - phi) * size, (upper - phi) * size
    beyond: Mask = (step < low) | (step > high)
    if m > 1:
        # what would leave stops at its end, and the others step as is best then
        move = np.where(beyond, np.minimum(np.maximum(step, low), high), 0.0)
        rest = free - (H @ move[:, :, None])[..., 0]
        stays = held | beyond
        again = _solve(_without(H, stays), np.where(stays, 0.0, rest))
        step = np.where(beyond.any(1, keepdims=True), move + again, step)
        step = np.minimum(np.maximum(step, low), high)
        wrong = misplaced(H, free, step, low, high)
        if wrong.any():
            step[wrong] = bounded_step(H[wrong], free[wrong], low[wrong], high[wrong])
    step = np.minimum(np.maximum(step, low), high)
    return step / size, (step * g).sum(1), definite


def _positive(H: Array, E: Array) -> Array:
    """Positive definite matrices to step by where Hessians are not to be relied on.

    The information, or, where that is singular, the Hessian with directions of negative curvature
    climbed as if it were positive (Dauphin et al., 2014).
    """
    poor = _least(E) <= POOR
    if not poor.any():
        return E
    E = E.copy()
    values, vectors = np.linalg.eigh(H[poor])
    positive = np.maximum(np.abs(values), LEAST)
    E[poor] = (vectors * positive[:, None, :]) @ vectors.swapaxes(-1, -2)
    return E


def _without(H: Array, held: Mask) -> Array:
    """Matrices with rows and columns of what is held replaced by those of the identity."""
    if not held.any():
        return H
    free = ~held
    return np.where(free[:, :, None] & free[:, None, :], H, np.eye(held.shape[1]))


def _least(H: Array) -> Array:
    """Least eigenvalue, (B,)."""
    if H.shape[-1] == 1:
        return H[:, 0, 0]
    if H.shape[-1] == 2:
        a, b, c = H[:, 0, 0], H[:, 1, 1], H[:, 0, 1]
        return 0.5 * (a + b - np.hypot(a - b, 2.0 * c))
    return np.asarray(np.linalg.eigvalsh(H), dtype=float)[:, 0]


def _solve(H: Array, g: Array) -> Array:
    try:
        return np.asarray(np.linalg.solve(H, g[..., None]), dtype=float)[..., 0]
    except np.linalg.LinAlgError:
        # beside a standard deviation of almost 0 numbers underflow: the gradient leads on
        singular = np.linalg.slogdet(H)[0] == 0.0
        H = np.where(singular[:, None, None], np.eye(H.shape[-1]), H)
        return np.asarray(np.linalg.solve(H, g[..., None]), dtype=float)[..., 0]
