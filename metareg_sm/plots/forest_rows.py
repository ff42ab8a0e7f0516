"""The rows of a forest plot: studies, blocks, pooled effects, lines of statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from metareg_sm._typing import Codes, Rows
from metareg_sm.exceptions import MetaRegError
from metareg_sm.plots.moderators import at_values, value_text
from metareg_sm.plots.scale import Scale, minus
from metareg_sm.plots.studies import Studies, has_moderators, predictions_at
from metareg_sm.plots.styles import Style
from metareg_sm.plots.subgroups import q_text, summarise, tau2_text, test_text
from metareg_sm.plots.table import Row
from metareg_sm.postestimation.fitted import Fitted
from metareg_sm.postestimation.inference import omnibus_test


@dataclass(frozen=True, slots=True)
class Content:
    """What the rows of a forest plot are made of."""

    fit: Fitted
    studies: Studies
    names: list[str]
    columns: dict[str, list[str]]
    scale: Scale
    style: Style
    decimals: int
    alpha: float
    fitted: bool
    prediction: bool

    @property
    def coverage(self) -> str:
        """Coverage of the intervals in percent."""
        return f"{100.0 * (1.0 - self.alpha):g}"

    def estimate_text(self, value: float, lower: float, upper: float) -> str:
        """An estimate with its interval, on the scale that is shown."""
        shown = self.scale.shown([value, lower, upper])
        # a falling transformation swaps the ends
        low, high = np.sort(shown[1:])
        return self.style.estimate(float(shown[0]), float(low), float(high), self.decimals)

    def study(self, i: int, indent: float) -> Row:
        """The row of one study."""
        s = self.studies
        cells = {name: texts[i] for name, texts in self.columns.items()}
        cells |= {
            "study": self.names[i],
            "estimate": self.estimate_text(s.y[i], s.lower[i], s.upper[i]),
            "weight": self.style.weight(s.weights[i]),
        }
        row = Row(
            "study",
            cells,
            s.y[i],
            s.lower[i],
            s.upper[i],
            s.weights[i] / s.weights.max(),
            indent=indent,
        )
        if not self.fitted:
            return row
        p = s.predictions.iloc[i]
        row = replace(row, fitted=p["mean"])
        if not self.prediction:
            return row
        return replace(row, obs_lower=p["obs_ci_lower"], obs_upper=p["obs_ci_upper"], height=1.25)

    def diamond(self, name: str, numbers: Any, share: float | None, indent: float = 0.0) -> Row:
        """The row of a mean effect: estimate, interval, prediction interval."""
        estimate, lower, upper, obs_lower, obs_upper = (float(x) for x in numbers)
        cells = {"study": name, "estimate": self.estimate_text(estimate, lower, upper)}
        if share is not None:
            cells["weight"] = self.style.weight(share)
        return Row(
            "diamond",
            cells,
            estimate,
            lower,
            upper,
            obs_lower=obs_lower,
            obs_upper=obs_upper,
            bold=True,
            indent=indent,
        )

    def bar(self, row: Row) -> Row:
        """The prediction interval of a mean effect, in a row of its own."""
        ends = np.sort(self.scale.shown([row.obs_lower, row.obs_upper]))
        text = self.style.estimate(0.0, float(ends[0]), float(ends[1]), self.decimals)
        text = text[text.index(" ") + 1 :]
        cells = {"study": f"{self.coverage}% prediction interval", "estimate": text}
        return Row(
            "prediction",
            cells,
            row.estimate,
            row.obs_lower,
            row.obs_upper,
            indent=row.indent,
        )


def _numbers(frame: pd.DataFrame, i: int) -> list[float]:
    names = ("mean", "mean_ci_lower", "mean_ci_upper", "obs_ci_lower", "obs_ci_upper")
    return [frame[n].iloc[i] for n in names]


def without_prediction(row: Row) -> Row:
    """A diamond without the line of its prediction interval."""
    return replace(row, obs_lower=np.nan, obs_upper=np.nan)


def _note(text: str, indent: float = 0.0) -> Row:
    return Row("text", {"": text}, indent=indent)


SPACE = Row("blank", height=0.6)


def blocks_of(
    content: Content, order: Rows, codes: Codes, levels: Sequence[Any], notes: bool
) -> tuple[list[Row], list[str]]:
    """Rows of the studies by level, each with its mean, and the level of each row."""
    found = summarise(content.fit, codes, len(levels), content.alpha, content.style)
    rows: list[Row] = []
    blocks: list[str] = []
    for j, level in enumerate(levels):
        members = order[codes[order] == j]
        own = [Row("blank", {"study": str(level)}, bold=True)]
        own += [content.study(i, 1.0) for i in members]
        if np.isfinite(found.means[j, 0]):
            share = float(content.studies.weights[members].sum())
            row = content.diamond(f"Subtotal (k = {len(members)})", found.means[j], share, 1.0)
            own.append(row if content.prediction else without_prediction(row))
        if notes and found.notes[j]:
            own.append(_note(found.notes[j], 1.0))
        rows += [*own, SPACE]
        blocks += [str(level)] * (len(own) + 1)
    if notes and found.test:
        rows += [_note(f"Test for subgroup differences: {found.test}"), SPACE]
        blocks += ["", ""]
    return rows, blocks


def summary_of(content: Content, at: Any, notes: bool) -> tuple[list[Row], float]:
    """Rows of the pooled effect, or of effects at stated moderators; the pooled effect."""
    fit, style = content.fit, content.style
    rows: list[Row] = []
    reference = np.nan
    if at is not None:
        stated, values = at_values(fit, at)
        frame = predictions_at(fit, values).summary_frame(content.alpha)
        for i in range(len(stated)):
            name = ", ".join(f"{c} = {value_text(stated[c].iloc[i])}" for c in stated.columns)
            row = content.diamond(name, _numbers(frame, i), None)
            rows.append(row if content.prediction else without_prediction(row))
    elif not has_moderators(fit):
        name = f"{style.pooled} ({fit.components.label})"
        row = content.diamond(name, _numbers(content.studies.predictions, 0), 1.0)
        reference = row.estimate
        rows.append(without_prediction(row))
        if content.prediction:
            rows.append(content.bar(row))
    if notes:
        # the axis stands clear of the last line
        rows += [*(_note(text) for text in _notes(content)), replace(SPACE, height=0.4)]
    return rows, reference


def _notes(content: Content) -> list[str]:
    """Heterogeneity, and the test of the moderators."""
    fit, style = content.fit, content.style
    components = fit.components
    # components of other models are variances, correlations or coefficients: their names say which
    texts = [
        tau2_text(float(v)) if name == "tau2" else f"{name} = {minus(f'{v:#.3g}')}"
        for name, v in zip(components.names, components.values, strict=True)
    ]
    try:
        h = getattr(fit, "heterogeneity", None)
    except MetaRegError:
        # undefined, where a sampling variance is 0
        h = None
    if h is not None and hasattr(h, "i2"):
        texts.append(q_text(h.q, h.q_df, h.q_pvalue, h.i2, style))
    residual = "Residual heterogeneity" if fit.df_model > 0 else "Heterogeneity"
    found = [f"{residual}: {'; '.join(texts)}"]
    if fit.df_model > 0:
        test = omnibus_test(fit)
        text = test_text(test.statistic, (test.df_num, test.df_denom), test.pvalue, style)
        found.append(f"Test of moderators: {text}")
    if content.fitted:
        key = "\u25c7 fitted value"
        if content.prediction:
            key += f"; line below: {content.coverage}% prediction interval"
        found.append(key)
    return found
