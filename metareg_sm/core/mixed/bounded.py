"""Steps inside bounds that are best for a quadratic model, and what a climb may rely on."""

from __future__ import annotations

import numpy as np

from metareg_sm._typing import Array, Mask

# Newton decrement (a difference of log-likelihoods) below which a step needs no test.
NEAR = 1e-7
# Far from a maximum a scoring step, unbiased whatever the start (and the last one where data are
# balanced), beats a Newton step: those are for where scoring promises twice a rise of less.
FAR = 0.1
# Least eigenvalues, of matrices of diagonal about 1, that steps rely on: of the information, and of
# what stands in for it.
POOR, LEAST = 1e-2, 1e-4

# Rounds, after which it is known which coordinates are at an end.
_ROUNDS = 10
# Share of the diagonal that keeps matrices regular which rounding made singular.
_RIDGE = 1e-13


def misplaced(H: Array, g: Array, step: Array, low: Array, high: Array) -> Mask:
    """Whether a step stops a coordinate at an end that the model would have it leave, (...,)."""
    left = g - (H @ step[..., None])[..., 0]
    up, down = (step <= low) & (left > 0.0), (step >= high) & (left < 0.0)
    return np.asarray(((up | down) & (low < high)).any(-1))


def bounded_step(H: Array, g: Array, low: Array, high: Array) -> Array:
    """Steps s (B, m) from low to high, 0 among them, with the largest g's - s'Hs / 2.

    In turn, each coordinate goes where is best with the others where they are, and those inside go
    together towards where is best for them, as far as the ends allow. Both only raise the model.

    Parameters
    ----------
    H : ndarray, (B, m, m)
        Positive definite.
    g, low, high : ndarray, (B, m)
        Gradient, and ends of the step.
    """
    step, identity = np.zeros(g.shape), np.eye(g.shape[1])
    ridge = _RIDGE * H * identity
    for _ in range(_ROUNDS):
        for j in range(g.shape[1]):
            left = g[:, j] - (H[:, j] * step).sum(1)
            best = step[:, j] + left / H[:, j, j]
            step[:, j] = np.minimum(np.maximum(best, low[:, j]), high[:, j])
        ends = (step <= low) | (step >= high)
        inner = np.where(ends[:, :, None] | ends[:, None, :], identity, H) + ridge
        rest = np.where(ends, 0.0, g - (H @ step[..., None])[..., 0])
        move = np.linalg.solve(inner, rest[..., None])[..., 0]
        room = np.where(move > 0.0, high - step, step - low)
        share = np.where(np.abs(move) > room, room / np.where(move == 0.0, 1.0, np.abs(move)), 1.0)
        step = step + share.min(1, keepdims=True) * move
        step = np.minimum(np.maximum(step, low), high)
    return step
