"""How journals print a forest plot: one record a style, looked up by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

from metareg_sm.plots.scale import minus, written

#: between the ends of an interval that no minus sign may be mistaken for
_DASH = "\u2013"


def _brackets(estimate: str, lower: str, upper: str) -> str:
    return f"{estimate} [{lower}, {upper}]"


def _dashed(estimate: str, lower: str, upper: str) -> str:
    between = " to " if "\u2212" in lower + upper else _DASH
    return f"{estimate} ({lower}{between}{upper})"


def _to(estimate: str, lower: str, upper: str) -> str:
    return f"{estimate} ({lower} to {upper})"


def _p_value(pvalue: float, symbol: str, spaced: bool, zero: bool) -> str:
    sign, text = "=", f"{pvalue:.2f}"
    if pvalue < 0.001:
        sign, text = "<", "0.001"
    elif pvalue < 0.01 or f"{pvalue:.2f}" == "0.05":
        # two decimals would hide on which side of 0.05 it is
        text = f"{pvalue:.3f}"
    elif pvalue > 0.99:
        sign, text = ">", "0.99"
    gap = " " if spaced else ""
    return f"{symbol}{gap}{sign}{gap}{text if zero else text.lstrip('0')}"


@dataclass(frozen=True, slots=True)
class Style:
    """One way to print a forest plot.

    Attributes
    ----------
    name : str
        What `style=` calls it.
    studies : str
        Heading of the names of the studies.
    interval : callable
        `interval(estimate, lower, upper)` joins three written numbers.
    interval_heading : callable
        `interval_heading(measure, percent)` heads that column.
    before, after : tuple of str
        Which of "weight" and "estimate" stand left and right of the intervals.
    weight_heading : str
    percent : str
        What follows the number of a weight.
    pvalue : callable
        Writes a p-value.
    square, diamond, prediction : str
        Colours.
    favours_above : bool
        Whether the labels of the two sides head the intervals or stand below their axis.
    rule : bool
        A line below the headings.
    pooled : str
        Name of the pooled effect.
    """

    name: str
    studies: str
    interval: Callable[[str, str, str], str]
    interval_heading: Callable[[str, str], str]
    before: tuple[str, ...]
    after: tuple[str, ...]
    weight_heading: str
    percent: str
    pvalue: Callable[[float], str]
    square: str
    diamond: str
    prediction: str
    favours_above: bool
    rule: bool
    pooled: str

    def estimate(self, value: float, lower: float, upper: float, decimals: int) -> str:
        """An estimate with its interval."""
        return self.interval(*(written(x, decimals) for x in (value, lower, upper)))

    def weight(self, share: float, decimals: int = 1) -> str:
        """A weight in percent."""
        return minus(f"{100.0 * share:.{decimals}f}{self.percent}")


_STYLES = (
    Style(
        name="plain",
        studies="Study",
        interval=_brackets,
        interval_heading=lambda measure, percent: f"{measure}\n[{percent}% CI]",
        before=(),
        after=("weight", "estimate"),
        weight_heading="Weight",
        percent="%",
        pvalue=lambda p: _p_value(p, "p", True, True),
        square="#4d4d4d",
        diamond="#0072B2",
        prediction="#D55E00",
        favours_above=False,
        rule=True,
        pooled="Pooled effect",
    ),
    Style(
        name="jama",
        studies="Source",
        interval=_dashed,
        interval_heading=lambda measure, percent: f"{measure}\n({percent}% CI)",
        before=("estimate",),
        after=("weight",),
        weight_heading="Weight, %",
        percent="",
        pvalue=lambda p: _p_value(p, "P", True, False),
        square="#1f5b8e",
        diamond="#1f5b8e",
        prediction="#7f7f7f",
        favours_above=True,
        rule=False,
        pooled="Total",
    ),
    Style(
        name="bmj",
        studies="Study",
        interval=_to,
        interval_heading=lambda measure, percent: f"{measure}\n({percent}% CI)",
        before=(),
        after=("weight", "estimate"),
        weight_heading="Weight\n(%)",
        percent="",
        pvalue=lambda p: _p_value(p, "P", False, True),
        square="#2a6ebb",
        diamond="#e37222",
        prediction="#8c4799",
        favours_above=False,
        rule=True,
        pooled="Total",
    ),
    Style(
        name="revman",
        studies="Study or Subgroup",
        interval=_brackets,
        interval_heading=lambda measure, percent: f"{measure}\nIV, {percent}% CI",
        before=("weight", "estimate"),
        after=(),
        weight_heading="Weight",
        percent="%",
        pvalue=lambda p: _p_value(p, "P", True, True),
        square="#2e8b57",
        diamond="#000000",
        prediction="#4d4d4d",
        favours_above=False,
        rule=True,
        pooled="Total",
    ),
)

STYLES: MappingProxyType[str, Style] = MappingProxyType({s.name: s for s in _STYLES})
"""Every style, by its name."""
