"""Profile likelihood intervals of the weights of a selection model."""

from __future__ import annotations

import numpy as np
from scipy import special

from metareg_sm._typing import Array, Mask
from metareg_sm.stats.selection.likelihood import LOG_ZERO
from metareg_sm.stats.selection.maximize import maximize
from metareg_sm.stats.selection.model import SelectionModel
from metareg_sm.stats.selection.record import SelectionFit

_MAX_ITERATIONS = 60
# a weight beyond which an interval is called unbounded: e^15 times the first
_UNBOUNDED = 15.0
_TOLERANCE = 1e-9


def _next_point(
    t: Array, gap: Array, slope: Array, inner: Array, outer: Array, upper: Mask
) -> Array:
    """Newton's point where it lies between the ends of the bracket, else one that narrows it."""
    with np.errstate(divide="ignore", invalid="ignore"):
        step = np.clip(-gap / slope, -2.0, 2.0)
    newton = t + np.where(np.isfinite(step), step, 0.0)
    low, high = np.minimum(inner, outer), np.maximum(inner, outer)
    inside = (newton > low) & (newton < high) & (newton != t)
    known = np.isfinite(inner) & np.isfinite(outer)
    middle = 0.5 * (np.where(known, inner, 0.0) + np.where(known, outer, 0.0))
    away = t + np.where(gap > 0.0, 1.0, -1.0) * np.where(upper, 1.0, -1.0)
    return np.minimum(np.where(inside, newton, np.where(known, middle, away)), _UNBOUNDED)


def profile_weights(model: SelectionModel, fit: SelectionFit, alpha: float = 0.05) -> Array:
    """Profile likelihood intervals of the weights of one data set.

    The weights at which twice the profile log-likelihood is a quantile of chi-squared with one
    degree of freedom below its maximum; coefficients, tau2 and the other weights are estimated
    anew at each. Both ends of all weights are searched at once.

    Parameters
    ----------
    model : SelectionModel
        Of one data set.
    fit : SelectionFit
        Its fit.
    alpha : float, default 0.05
        1 minus the coverage.

    Returns
    -------
    ndarray, (J, 2)
        (1, 1) for the first. 0 is the lower end of a weight that is estimated as 0, and the upper
        end is infinite where the likelihood does not fall as far.

    Examples
    --------
    >>> y = np.array([0.7, 0.5, 0.6, 0.1, 0.3, 0.2, 0.8, -0.1])
    >>> v = np.array([0.09, 0.04, 0.05, 0.02, 0.06, 0.03, 0.1, 0.04])
    >>> model = SelectionModel.build(y, v, np.ones((8, 1)))
    >>> profile_weights(model, model.fit()).round(2)
    array([[1.  , 1.  ],
           [0.01, 1.28]])
    """
    s = model.search()
    p, J = s.data.X.shape[-1], fit.weights.shape[-1]
    best = np.zeros(p + J)
    beta = model.step_function.sign * fit.params - s.center[0]
    best[:p] = np.linalg.solve(s.to_params[0], beta)
    best[p] = np.sqrt(fit.tau2) / s.unit[0]
    empty = fit.weights[1:] <= 0.0
    best[p + 1 :] = np.where(empty, LOG_ZERO, np.log(np.where(empty, 1.0, fit.weights[1:])))
    target = float(fit.llf) + s.log_unit[0] - 0.5 * float(special.chdtri(1, alpha))

    # one row for the lower and one for the upper end of each weight
    which = np.repeat(np.arange(J - 1), 2)
    n, column = len(which), p + 1 + which
    upper = np.arange(n) % 2 == 1
    rows = np.arange(n)
    data = s.data.take(np.zeros(n, dtype=np.intp))
    free = np.repeat(s.free, n, axis=0)
    free[rows, column] = False
    x = np.repeat(best[None], n, axis=0)
    if fit.tau2 == 0.0:
        # from the boundary itself no slope of sqrt(tau2) leads away
        x[:, p] = np.where(free[:, p], 0.1, 0.0)
    start = np.where(empty[which], -np.log(s.data.y.shape[-1]), best[column])
    inner = np.where(empty[which], -np.inf, best[column])
    outer = np.where(upper, np.inf, -np.inf)
    width = 1.0 / np.sqrt(np.maximum(1.0, s.data.counts[0, 1:][which]))
    t = start + np.where(empty[which], 0.0, np.where(upper, 2.0, -2.0) * width)
    unbounded = np.zeros(n, dtype=bool)
    done = empty[which] & ~upper
    for _ in range(_MAX_ITERATIONS):
        x[rows, column] = t
        found = maximize(data, x, free, s.limit)
        gap, slope = found.value - target, found.gradient[rows, column]
        inner = np.where(gap > 0.0, t, inner)
        outer = np.where(gap > 0.0, outer, t)
        unbounded |= (gap > 0.0) & upper & (t >= _UNBOUNDED)
        done = done | (np.abs(gap) < _TOLERANCE) | unbounded | (np.abs(outer - inner) < 1e-12)
        if done.all():
            break
        t = np.where(done, t, _next_point(t, gap, slope, inner, outer, upper))
        # the next point starts where the last one ended, but for tau2 on its boundary
        x = found.x
        x[:, p] = np.where(free[:, p], np.maximum(np.abs(x[:, p]), 0.1), x[:, p])
    ends = np.exp(t)
    ends[unbounded] = np.inf
    ends[empty[which] & ~upper] = 0.0
    return np.concatenate([np.ones((1, 2)), ends.reshape(-1, 2)])
