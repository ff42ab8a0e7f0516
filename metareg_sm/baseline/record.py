"""What a regression on baseline risk found."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from metareg_sm._typing import Array
from metareg_sm.baseline.arms import SCALES
from metareg_sm.exceptions import IntervalWarning, OptionError
from metareg_sm.options import check_alpha
from metareg_sm.results.metareg import MetaRegResultsWrapper
from metareg_sm.results.mixed import MixedMetaRegResultsWrapper
from metareg_sm.stats.bivariate import Bivariate, profile_interval
from metareg_sm.stats.reference import interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, repr=False)
class BaselineRisk:
    """Regression of the treated on the controls, in true outcomes.

    Attributes
    ----------
    measure : str
        "OR", "RR" or "RD".
    slope, intercept : float
        Of the true outcome of the treated on that of the controls. With slope 1 the effect does
        not depend on the baseline risk.
    slope_se, intercept_se : float
        By the delta method, from the expected information about the covariance of the true
        outcomes.
    slope_se_profile : float
        From the curvature of the profile log-likelihood.
    naive, naive_se : float
        The same slope by a meta-regression of the effect on the observed outcome of the controls:
        its slope plus 1.
    reliability : float
        Share of the (weighted) variance of the observed controls that is no sampling error.
    dilution, shared_arm : float
        Bias of the naive slope that the model expects: of regression dilution,
        (1 - slope)(1 - reliability), and of the control arm that effect and moderator share,
        -(1 - reliability).
    frame : DataFrame
        One row a study: treated, control and their variances treated_vi, control_vi.
    model : MixedMetaRegResultsWrapper
        The bivariate model: results of `mixedmetareg`, with `summary()`, `cov_re` (rows control and
        treated), `llf` and what else they have. The slope is cov(control, treated) / var(control)
        of `cov_re`.
    naive_fit : MetaRegResultsWrapper
        The naive meta-regression.
    """

    measure: str
    slope: float
    slope_se: float
    slope_se_profile: float
    intercept: float
    intercept_se: float
    naive: float
    naive_se: float
    reliability: float
    dilution: float
    shared_arm: float
    frame: pd.DataFrame
    model: MixedMetaRegResultsWrapper
    naive_fit: MetaRegResultsWrapper
    _fit: Bivariate

    def conf_int(
        self, alpha: float = 0.05, method: Literal["profile", "delta"] = "profile"
    ) -> tuple[float, float]:
        """Confidence interval of the slope.

        Parameters
        ----------
        alpha : float, default 0.05
            1 minus the coverage.
        method : {"profile", "delta"}
            Profile likelihood, or estimate and standard error with the normal distribution.

        Returns
        -------
        tuple of float

        Raises
        ------
        OptionError
            If the method is unknown.

        Warns
        -----
        IntervalWarning
            If the profile likelihood has no end on one side.
        """
        alpha = check_alpha(alpha)
        if method not in ("profile", "delta"):
            raise OptionError(f"method={method!r} is not known. Choose 'profile' or 'delta'.")
        if method == "delta":
            low, high = interval(np.array(self.slope), np.array(self.slope_se), alpha, None)
            return float(low), float(high)
        ends = profile_interval(*columns_of(self.frame), self._fit, alpha)
        if not np.isfinite(ends).all():
            warnings.warn(
                "The profile likelihood of the slope has no end on one side: the risks of the "
                "controls hardly differ beyond sampling error.",
                IntervalWarning,
                stacklevel=2,
            )
        return ends

    def __repr__(self) -> str:
        return (
            f"<BaselineRisk {self.measure}: slope {self.slope:.4f} (se {self.slope_se:.4f}), "
            f"{len(self.frame)} studies>"
        )

    def _repr_html_(self) -> str:
        return f"<pre>{self}</pre>"

    def __str__(self) -> str:
        low, high = self.conf_int()
        label = SCALES[self.measure.lower()].label
        return (
            f"Baseline risk ({label}, {len(self.frame)} studies)\n"
            f"treated = {self.intercept:.4f} + {self.slope:.4f} control\n"
            f"slope {self.slope:.4f} (se {self.slope_se:.4f}; 95% interval {low:.4f} to "
            f"{high:.4f}); 1 means that the effect does not depend on the baseline risk\n"
            f"naive slope {self.naive:.4f} (se {self.naive_se:.4f}); the model expects "
            f"{self.slope * self.reliability:.4f}: regression dilution {self.dilution:+.4f}, "
            f"shared control arm {self.shared_arm:+.4f}"
        )

    def plot(self, ax: Axes | None = None, width: Any = "column") -> Figure:
        """Both arms of each study as an ellipse of one standard error, and three lines.

        The line of no effect, the slope of the model and the naive slope; the first is where the
        two arms are alike.

        Parameters
        ----------
        ax : Axes, optional
            Where to draw.
        width : "column", "page" or float
            Width of a new figure, in mm.

        Returns
        -------
        Figure
            `metareg_data` is the frame with the rows of the studies.
        """
        from metareg_sm.baseline.figure import plot_baseline

        return plot_baseline(self, ax, width)


def columns_of(frame: pd.DataFrame) -> tuple[Array, Array, Array, Array]:
    """Control and treated, and their variances, (k,) each."""
    names = ("control", "treated", "control_vi", "treated_vi")
    x, y, vx, vy = (frame[name].to_numpy(dtype=float) for name in names)
    return x, y, vx, vy
