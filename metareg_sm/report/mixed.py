"""Parts of the summary of dependent effects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from metareg_sm.report.tables import Block

if TYPE_CHECKING:
    from metareg_sm.postestimation.components import MixedHeterogeneity
    from metareg_sm.postestimation.fitted import MixedFitted


def components_frame(results: MixedFitted) -> pd.DataFrame:
    """Components with standard errors, number of groups, ICC and I2 of their term.

    Columns estimate, se, n_groups, icc, i2; what a correlation has not is NaN.
    """
    components, h = results.components, results.heterogeneity
    frame = pd.DataFrame(
        {"estimate": components.values, "se": components.se}, index=list(components.names)
    )
    for column in ("n_groups", "icc", "i2"):
        frame[column] = [
            h.levels[column].iloc[i] if first else np.nan for i, first in results.component_rows
        ]
    return frame


def components_cells(frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the table of components."""
    header = ["estimate", "std err", "groups", "ICC", "I2"]

    def shown(value: float, form: str) -> str:
        return format(value, form) if np.isfinite(value) else ""

    cells = [
        [
            shown(row["estimate"], "#.5g"),
            shown(row["se"], "#.4g"),
            shown(row["n_groups"], ".0f"),
            shown(row["icc"], ".4f"),
            shown(row["i2"], ".4f"),
        ]
        for _, row in frame.iterrows()
    ]
    return header, cells


def heterogeneity_block(h: MixedHeterogeneity) -> Block:
    """Q, I2 and R2, all levels together."""
    left = [
        ("tau2 (all levels):", [f"{h.tau2:#.5g}"]),
        ("I2 (all levels):", [f"{h.i2:.4f}"]),
        ("R2 (all levels):", [f"{h.r2:.4f}"]),
    ]
    right = [
        ("H2:", [f"{h.h2:.4f}"]),
        (f"Q_E (df={h.q_df}):", [f"{h.q:#.5g}"]),
        ("Prob (Q_E):", [f"{h.q_pvalue:#.3g}"]),
    ]
    return Block("Heterogeneity", left, right)
