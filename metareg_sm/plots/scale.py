"""The scale on which effects are shown, its ticks, and how its numbers are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import optimize

from metareg_sm._typing import Array
from metareg_sm.effectsizes import scales
from metareg_sm.exceptions import OptionError
from metareg_sm.options import choose
from metareg_sm.plots.canvas import box_in_points, text_widths, tick_text
from metareg_sm.postestimation.fitted import Fitted

if TYPE_CHECKING:
    from matplotlib.axes import Axes


Transform = str | bool | Callable[[Array], Array] | None


#: transformations by name, beside those of the registry of measures
TRANSFORMS: MappingProxyType[str, Callable[[Array], Array]] = MappingProxyType(
    {"exp": np.exp, "tanh": np.tanh, "expit": scales.logistic}
)


@dataclass(frozen=True, slots=True)
class Scale:
    """How effects are shown.

    Attributes
    ----------
    label : str
        Of the axis.
    transform : callable or None
        From effects to what is shown; None shows them as they are.
    log : bool
        Ratios, on a logarithmic axis.
    null : float or None
        The effect that means no difference, before the transformation.
    """

    label: str
    transform: Callable[[Array], Array] | None = None
    log: bool = False
    null: float | None = 0.0

    def shown(self, y: Any) -> Array:
        """Effects as they are shown."""
        values = np.asarray(y, dtype=float)
        if self.transform is None:
            return values
        with np.errstate(over="ignore"):
            return np.asarray(self.transform(values), dtype=float)

    def effect(self, shown: float) -> float:
        """The effect that is shown as a number; for ends of an axis.

        Raises
        ------
        OptionError
            If no effect is shown as this number.
        """
        if self.transform is None:
            return float(shown)
        if self.log:
            if not shown > 0.0:
                raise OptionError(f"xlim has {shown!r}; the axis has ratios, which are above 0.")
            return float(np.log(shown))
        return self._solved(shown)

    def _solved(self, shown: float) -> float:
        """The effect of a monotone transformation by bracketing."""

        def gap(y: float) -> float:
            return float(self.shown(y)) - shown

        reach = 1.0
        while gap(-reach) * gap(reach) > 0.0:
            reach *= 2.0
            if reach > 1e9:
                raise OptionError(f"xlim has {shown!r}; no effect is shown as this number.")
        return float(optimize.brentq(gap, -reach, reach, xtol=1e-14, rtol=1e-12))

    @property
    def shown_null(self) -> float | None:
        """No effect, as it is shown."""
        return None if self.null is None else float(self.shown(self.null))


def scale_of(fit: Fitted, transform: Transform = "auto") -> Scale:
    """The scale of a fit's effects.

    Parameters
    ----------
    fit : Fitted
        The fit.
    transform : {"auto", "exp", "tanh", "expit"}, callable, or None
        "auto" takes effects of a measure that is known to its natural scale (log odds ratios to
        odds ratios), and leaves others as they are; None leaves all as they are. `numpy.exp`, too,
        gives a logarithmic axis.

    Raises
    ------
    OptionError
        If a name is not known.
    """
    measure = fit.measure
    outcome = str(fit.terms.outcome)
    null = 0.0 if measure is None else measure.null
    if transform is None or transform is False:
        return Scale(outcome if measure is None else measure.label, null=null)
    if isinstance(transform, str) and transform.lower() == "auto":
        if measure is None:
            return Scale(outcome)
        if measure.back is None:
            return Scale(measure.label, null=null)
        return Scale(measure.natural_label, measure.natural, measure.back is np.exp, null)
    if isinstance(transform, str):
        transform = choose(TRANSFORMS, transform, "transform")
    if not callable(transform):
        raise OptionError(
            f"transform must be 'auto', 'exp', 'tanh', 'expit', a function or None; got "
            f"{transform!r}."
        )
    label = outcome
    if measure is not None and measure.back is not None:
        label = measure.natural_label
    elif transform is np.exp:
        label = f"exp({outcome})"
    return Scale(label, transform, transform is np.exp, null)


def minus(text: str) -> str:
    """A number with a minus sign instead of a hyphen."""
    return text.replace("-", "\u2212")


def decimals_for(scale: Scale, lower: Array, upper: Array) -> int:
    """Decimals that show an interval of typical width to two or three digits."""
    if scale.log:
        return 2
    widths = scale.shown(upper) - scale.shown(lower)
    widths = widths[np.isfinite(widths) & (widths > 0.0)]
    if not widths.size:
        return 2
    magnitude = int(np.floor(np.log10(np.median(widths))))
    return int(np.clip((2 if magnitude >= 0 else 1) - magnitude, 0, 8))


def written(value: float, decimals: int) -> str:
    """A number with so many decimals; in powers of ten where that is too long."""
    if not np.isfinite(value):
        return "NA" if np.isnan(value) else minus("-\u221e" if value < 0 else "\u221e")
    if abs(value) >= 1e5:
        return minus(f"{value:.1e}")
    text = f"{value:.{decimals}f}"
    # no negative zero
    return minus(text.lstrip("-") if float(text) == 0.0 else text)


# decades, halves and doubles, and finer steps within one decade
_LADDERS = (
    (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0),
    (1.0, 1.5, 2.0, 3.0, 5.0, 7.0),
    (1.0, 2.0, 5.0),
    (1.0, 3.0),
    (1.0,),
)


def _log_candidates(low: float, high: float) -> list[Array]:
    first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
    found = []
    decades = 10.0 ** np.arange(first, last + 1)
    for ladder in _LADDERS:
        found.append(np.unique(np.outer(decades, ladder).ravel()))
    for step in range(2, 1 + max(2, last - first)):
        found.append(10.0 ** np.arange(-(-first // step) * step, last + 1, step))
    return found


def log_steps(low: float, high: float, most: int) -> Array:
    """The finest round ratios between two ends of which there are no more than `most`."""
    found = [c[(c >= low) & (c <= high)] for c in _log_candidates(low, high)]
    few = [c for c in found if 1 <= len(c) <= most]
    return max(few, key=len) if few else np.array([np.sqrt(low * high)])


def _linear_candidates(low: float, high: float) -> list[Array]:
    from matplotlib.ticker import MaxNLocator

    return [
        MaxNLocator(n, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high) for n in (6, 5, 4, 3, 2, 1)
    ]


def _tick_texts(ticks: Array) -> list[str]:
    ticks = np.where(np.abs(ticks) < 1e-12 * np.abs(ticks).max(initial=0.0), 0.0, ticks)
    return [tick_text(t) for t in ticks]


def set_ticks(ax: Axes, size: float, log: bool, axis: str = "x") -> None:
    """As many ticks as their labels leave room for, at round numbers.

    Parameters
    ----------
    ax : Axes
        With its limits and its place.
    size : float
        Of the labels, in points.
    log : bool
        Ratios: steps are factors.
    axis : {"x", "y"}
    """
    from matplotlib.ticker import NullLocator

    along = ax.xaxis if axis == "x" else ax.yaxis
    length = box_in_points(ax)[0 if axis == "x" else 1]
    view = np.sort(along.get_view_interval())
    ends = np.log(view) if log else view
    candidates = _log_candidates(*view) if log else _linear_candidates(*view)
    ticks: Array = np.empty(0)
    texts: list[str] = []
    for candidate in candidates:
        inside = candidate[(candidate >= view[0] * (1 - 1e-9 * log)) & (candidate <= view[1])]
        if len(inside) < 2 and len(ticks):
            continue
        ticks, texts = inside, _tick_texts(inside)
        where = ((np.log(ticks) if log else ticks) - ends[0]) / (ends[1] - ends[0]) * length
        if _apart(where, text_widths(ax, texts) * size if axis == "x" else 1.2 * size, size):
            break
    along.set_minor_locator(NullLocator())
    along.set_ticks(ticks, labels=texts)


def _apart(where: Array, extents: Any, size: float) -> bool:
    half = 0.5 * np.broadcast_to(extents, where.shape)
    return bool((np.diff(where) >= half[1:] + half[:-1] + 0.6 * size).all())


def limits_of(estimates: Array, lower: Array, upper: Array, always: Sequence[float]) -> Array:
    """Ends of an axis that show every estimate, and most intervals whole.

    An interval that reaches beyond all estimates by more than three typical half widths is cut.
    """
    half = np.concatenate([estimates - lower, upper - estimates])
    reach = 3.0 * float(np.nanmedian(half)) if half.size else 0.0
    seen = np.concatenate([estimates, np.asarray(list(always), dtype=float)])
    seen = seen[np.isfinite(seen)]
    low, high = seen.min(), seen.max()
    low = min(low, max(np.nanmin(lower, initial=low), low - reach))
    high = max(high, min(np.nanmax(upper, initial=high), high + reach))
    span = high - low if high > low else max(1.0, abs(high))
    return np.array([low - 0.03 * span, high + 0.03 * span])
