"""Interaction of treatment and a covariate of participants, within studies and across them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from metareg_sm._typing import Array
from metareg_sm.exceptions import DesignError, OptionError
from metareg_sm.ipd.study import StudyFit, columns_of
from metareg_sm.models.metareg import MetaReg
from metareg_sm.options import check_alpha
from metareg_sm.plots.canvas import (
    COLOURS,
    GREY,
    attach,
    dress,
    legend_above,
    single,
    thin_ticks,
)
from metareg_sm.postestimation.aggregation import factors
from metareg_sm.results.metareg import MetaRegResultsWrapper
from metareg_sm.stats.reference import critical_value, interval, two_sided_pvalue

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FRAME = [
    "study",
    "interaction",
    "interaction_vi",
    "effect",
    "effect_vi",
    "covariance",
    "mean",
    "sd",
]
_NAME = re.compile(r"[^\W\d]\w*")


@dataclass(frozen=True, slots=True, repr=False)
class Interaction:
    """Slopes of a treatment effect on a covariate, from within studies alone and across studies.

    Attributes
    ----------
    effect : str
        The product that was pooled.
    within, within_se : float
        Pooled interaction of participants: how the effect changes for one unit of the covariate
        between participants of one study.
    across, across_se : float
        Slope of the studies' effects on their means of the covariate.
    difference, se, statistic, pvalue : float
        Ecological bias across - within, its standard error and its test.
    df : float or None
        Welch-Satterthwaite degrees of freedom of the test; None where tests are normal.
    frame : DataFrame
        One row a study: study, interaction, interaction_vi, effect (of treatment at the study's
        mean), effect_vi, covariance (of the two), mean, sd (of the covariate).
    within_fit, across_fit : MetaRegResultsWrapper
        The two meta-regressions.
    """

    effect: str
    within: float
    within_se: float
    across: float
    across_se: float
    difference: float
    se: float
    statistic: float
    pvalue: float
    df: float | None
    frame: pd.DataFrame
    within_fit: MetaRegResultsWrapper
    across_fit: MetaRegResultsWrapper

    def __repr__(self) -> str:
        return f"<Interaction {self.effect}: within {self.within:.4g}, across {self.across:.4g}>"

    def summary_frame(self, alpha: float = 0.05) -> pd.DataFrame:
        """The two slopes and their difference.

        Parameters
        ----------
        alpha : float, default 0.05
            1 minus the coverage of the intervals.

        Returns
        -------
        DataFrame
            Rows within, across, difference; columns coef, se, statistic, pvalue, ci_lower,
            ci_upper.
        """
        alpha = check_alpha(alpha)
        fits = (self.within_fit, self.across_fit)
        dfs = [float(r.df_resid) if r.use_t else None for r in fits] + [self.df]
        coefs = (self.within, self.across, self.difference)
        rows = []
        for coef, se, df in zip(coefs, (self.within_se, self.across_se, self.se), dfs, strict=True):
            statistic = np.array(coef / se)
            low, high = interval(np.array(coef), np.array(se), alpha, df)
            rows.append((coef, se, float(statistic), two_sided_pvalue(statistic, df), low, high))
        columns = ["coef", "se", "statistic", "pvalue", "ci_lower", "ci_upper"]
        return pd.DataFrame(rows, ["within", "across", "difference"], columns)

    def _repr_html_(self) -> str:
        return self.summary_frame().to_html()

    def __str__(self) -> str:
        return f"Interaction {self.effect}\n{self.summary_frame().round(4).to_string()}"

    def plot(self, ax: Axes | None = None, width: float | str = "column") -> Figure:
        """Effects of the studies at their means, the slope across, and each study's own slope.

        Parameters
        ----------
        ax : Axes, optional
            Where to draw.
        width : float or {"column", "page"}, default "column"
            Of a figure of its own, in mm.

        Returns
        -------
        Figure
            `metareg_data` is `frame`.
        """
        figure, ax, size = single(ax, width)
        treatment, covariate = factors(self.effect)[:2]
        dress(ax, size, f"{covariate} (mean of the study)", f"Effect of {treatment}")
        frame = self.frame
        half = float(critical_value(0.05, None)) * np.sqrt(frame["effect_vi"])
        ax.errorbar(
            frame["mean"],
            frame["effect"],
            half,
            fmt="o",
            color=GREY,
            markersize=0.45 * size,
            linewidth=0.7,
            zorder=2.0,
        )
        reach = np.multiply.outer([-1.0, 1.0], frame["sd"].to_numpy())
        ax.plot(
            frame["mean"].to_numpy() + reach,
            frame["effect"].to_numpy() + frame["interaction"].to_numpy() * reach,
            color=COLOURS[0],
            linewidth=0.7,
        )
        ends = np.array([frame["mean"].min(), frame["mean"].max()])
        ax.plot(
            ends,
            self.across_fit.params.iloc[0] + self.across * ends,
            color=COLOURS[1],
            linestyle=(0, (4, 2)),
            linewidth=1.2,
            label=f"across studies: {self.across:.3g}",
        )
        middle = float(np.average(frame["mean"], weights=1.0 / frame["effect_vi"]))
        level = self.across_fit.params.iloc[0] + self.across * middle
        wide = np.array([(frame["mean"] - frame["sd"]).min(), (frame["mean"] + frame["sd"]).max()])
        ax.plot(
            wide,
            level + self.within * (wide - middle),
            color=COLOURS[0],
            linewidth=2.0,
            label=f"within studies: {self.within:.3g}",
        )
        thin_ticks(ax, size)
        legend_above(ax, size)
        return attach(figure, ax, frame)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Coefficients of a product, of its treatment, and of its covariate."""

    product: str
    treatment: str
    covariate: str


def _columns(fits: Sequence[StudyFit], effect: str) -> _Columns:
    parts = factors(effect)
    if len(parts) != 2:
        raise OptionError(
            f"effect={effect!r} is no product of a treatment and a covariate, such as 'treat:age'."
        )
    found = [columns_of(name, list(fits[0].means)) for name in (effect, *parts)]
    for name, matches in zip((effect, *parts), found, strict=True):
        if len(matches) != 1:
            raise OptionError(
                f"effect={effect!r} needs one coefficient {name!r}; the model has "
                f"{', '.join(map(repr, matches or fits[0].means))}."
            )
    columns = _Columns(*(names[0] for names in found))
    for fit in fits:
        for name in (columns.product, columns.treatment):
            if name not in fit.names:
                raise OptionError(
                    f"effect={effect!r} needs the coefficient {name!r}, which cannot be told from "
                    f"the others in study {fit.study!r}."
                )
    return columns


def interaction(
    fits: Sequence[StudyFit],
    effect: str,
    raw_means: Mapping[str, pd.Series],
    tau2: str | float,
    cov_type: str,
) -> Interaction:
    """Pool an interaction within studies, and compare it with the slope across them.

    Fisher, Copas, Tierney & Parmar (2011); Fisher, Carpenter, Morris, Freeman & Tierney (2017). The
    treatment effect of a study is taken at its mean of the covariate, from the same fit as the
    interaction, so that the covariance of the two is known.
    """
    named = _columns(fits, effect)
    covariate = named.covariate
    data_column = next((c for c in _NAME.findall(covariate) if c in raw_means), None)
    rows = []
    for fit in fits:
        i, j = fit.names.index(named.product), fit.names.index(named.treatment)
        mean = fit.means[covariate]
        at_mean = np.zeros(len(fit.params))
        at_mean[j], at_mean[i] = 1.0, mean
        raw = mean if data_column is None else float(raw_means[data_column].loc[fit.study])
        rows.append(
            (
                fit.study,
                fit.params[i],
                fit.cov[i, i],
                at_mean @ fit.params,
                at_mean @ fit.cov @ at_mean,
                at_mean @ fit.cov[:, i],
                raw,
                fit.sds[covariate],
            )
        )
    frame = pd.DataFrame(rows, columns=_FRAME)
    if np.ptp(frame["mean"]) <= 1e-9 * np.abs(frame["mean"]).max():
        raise DesignError(
            f"effect={effect!r}: {covariate!r} has the same mean in all studies, so that there is "
            "no slope across them. The treatment is to be named first, the covariate second."
        )
    within = MetaReg.from_formula("interaction ~ 1", frame, vi="interaction_vi")
    across = MetaReg.from_formula("effect ~ mean", frame, vi="effect_vi")
    fit_w, fit_a = (m.fit(tau2=tau2, cov_type=cov_type) for m in (within, across))
    slopes = float(fit_w.params.iloc[0]), float(fit_a.params["mean"])
    ses = float(fit_w.bse.iloc[0]), float(fit_a.bse["mean"])
    shared = float(
        np.sum(_row_weights(fit_w, 0) * _row_weights(fit_a, 1) * frame["covariance"].to_numpy())
    )
    shared *= np.sqrt(fit_w.scale * fit_a.scale)
    se = float(np.sqrt(ses[0] ** 2 + ses[1] ** 2 - 2.0 * shared))
    df = None
    if fit_w.use_t:
        parts = [s**4 / r.df_resid for s, r in zip(ses, (fit_w, fit_a), strict=True)]
        df = (ses[0] ** 2 + ses[1] ** 2) ** 2 / sum(parts)
    difference = slopes[1] - slopes[0]
    statistic = difference / se
    return Interaction(
        effect,
        slopes[0],
        ses[0],
        slopes[1],
        ses[1],
        difference,
        se,
        statistic,
        float(two_sided_pvalue(np.array(statistic), df)),
        df,
        frame,
        fit_w,
        fit_a,
    )


def _row_weights(res: MetaRegResultsWrapper, coefficient: int) -> Array:
    """How much each outcome counts in a coefficient: a row of (X'WX)^-1 X'W."""
    X, w = res.model.exog, np.asarray(res.weights)
    found: Array = np.linalg.solve((X.T * w) @ X, X.T * w)[coefficient]
    return found
