"""A few lines about many fits: how many there are, how many could be fitted, and medians."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from metareg_sm._typing import Array
from metareg_sm.many.mapped import forget
from metareg_sm.printing import Overview
from metareg_sm.stats.blocks import Reason

if TYPE_CHECKING:
    from metareg_sm.many.results import ManyResults, ManyTest

REASONS = {
    Reason.FITTED: "fitted",
    Reason.TOO_FEW_STUDIES: "not more studies than coefficients",
    Reason.REDUNDANT_MODERATORS: "the moderators are redundant among the studies that are there",
    Reason.NO_VARIATION: "all outcomes are equal",
    Reason.ZERO_VARIANCE: "a sampling variance of 0 leaves the model undefined",
    Reason.OUT_OF_RANGE: "outcomes or variances are so large or small that their powers leave "
    "floating point",
    Reason.NOT_CERTIFIED: "the search for tau2 gave up before it was certain of the global maximum",
}
"""What the codes in `ManyResults.reason` mean."""

# coefficients that are shown by name
_SHOWN = 12
_LATER = "not computed yet; see compute()"


def overview(results: ManyResults) -> Overview:
    """What many fits have in common; of dask's nothing is computed for it."""
    names = results.exog_names
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    lines = [
        ("Coefficients", shown),
        ("tau2", results.tau2_label),
        ("Standard errors", results.cov_label),
    ]
    title = f"Meta-regressions of {len(results):,} outcomes"
    table = results.in_memory
    if table is None:
        return Overview(title, (*lines, ("Fitted", _LATER)))
    n, reason = len(results), results.reason
    fitted = reason == 0
    count = int(np.count_nonzero(results.converged))
    lines.append(("Fitted", f"{count:,} of {n:,}" + (f" ({count / n:.1%})" if n else "")))
    for code, number in zip(*np.unique(reason, return_counts=True), strict=True):
        if code:
            lines.append(("", f"{number:,}: {REASONS[code]}"))
    medians = []
    if fitted.any():
        nobs = results.nobs[fitted]
        low, high = int(nobs.min()), int(nobs.max())
        studies = f"{low}" if low == high else f"{low} to {high}, median {np.median(nobs):g}"
        lines += [
            ("Studies", studies),
            ("Median tau2", _median(results.tau2)),
            ("Median I2", _median(results.i2)),
        ]
        params, bse = results.params, results.bse
        medians = [
            (name, _median(params[:, j]), _median(bse[:, j]))
            for j, name in enumerate(names[:_SHOWN])
        ]
    forget(table)
    return Overview(title, lines, _medians(medians, ("coef", "se")))


def overview_of_test(test: ManyTest) -> Overview:
    """Medians of each combination of coefficients; of dask's nothing is computed for it."""
    n, m = test.effect.shape
    title = f"Tests of linear combinations of coefficients: {m} in each of {n:,} outcomes"
    if not isinstance(test.effect, np.ndarray):
        return Overview(title, (("Tested", _LATER),))
    lines = (("Tested", f"{np.count_nonzero(~np.isnan(test.pvalue[:, 0])):,} of {n:,}"),)
    medians = [
        (f"Row {j}", *(_median(a[:, j]) for a in (test.effect, test.sd, test.pvalue)))
        for j in range(min(m, _SHOWN))
    ]
    return Overview(title, lines, _medians(medians, ("effect", "sd", "pvalue")))


def _medians(rows: Sequence[tuple[str, ...]], columns: tuple[str, ...]) -> pd.DataFrame:
    frame = pd.DataFrame([values for _, *values in rows], columns=list(columns))
    frame.index = pd.Index([name for name, *_ in rows])
    return frame.rename_axis(columns="Medians")


def _median(values: Array) -> str:
    known = values[~np.isnan(values)]
    return f"{np.median(known):.4g}" if known.size else "nan"
