"""Back from the scale of the analysis to the natural one; values beyond its ends stay at them."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from metareg_sm._typing import Array

exp = np.exp
tanh = np.tanh
logistic = expit


def squared_sine(y: Array) -> Array:
    """A proportion from its angle arcsin √p."""
    return np.sin(np.clip(y, 0.0, np.pi / 2)) ** 2


def square(y: Array) -> Array:
    """A rate from its square root."""
    return np.maximum(y, 0.0) ** 2


def freeman_tukey(y: Array, size: float | None = None) -> Array:
    """A proportion from its double arcsine, for `size` people (Miller 1978)."""
    if size is None:
        return squared_sine(y)
    # the transform of 0 and of all events are the ends of what it can be
    low = 0.5 * np.arcsin(np.sqrt(1.0 / (size + 1.0)))
    high = 0.5 * (np.arcsin(np.sqrt(size / (size + 1.0))) + np.pi / 2)
    z = np.clip(y, low, high)
    s, c = np.sin(2.0 * z), np.cos(2.0 * z)
    # s is above 0 inside: both ends are away from 0 and pi/2
    inside = 1.0 - (s + (s - 1.0 / s) / size) ** 2
    return np.clip(0.5 * (1.0 - np.sign(c) * np.sqrt(np.maximum(inside, 0.0))), 0.0, 1.0)


def freeman_tukey_rate(y: Array, size: float | None = None) -> Array:
    """A rate from ½(√(x/t) + √((x+1)/t)), for a time at risk of `size`."""
    if size is None:
        return square(y)
    z = np.maximum(y, 0.5 / np.sqrt(size))
    return (z - 0.25 / (z * size)) ** 2


def hakstian_whalen(y: Array) -> Array:
    """A reliability from 1 − (1 − α)^⅓."""
    return 1.0 - (1.0 - np.minimum(y, 1.0)) ** 3


def bonett(y: Array) -> Array:
    """A reliability from −ln(1 − α)."""
    return -np.expm1(-y)
