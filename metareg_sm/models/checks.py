"""What a fit must know of its options and its studies before it begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from metareg_sm._typing import Array
from metareg_sm.core.studies import Studies
from metareg_sm.core.tau2.estimators import Estimator, Tau2Estimate
from metareg_sm.design import rows as design
from metareg_sm.exceptions import DesignError, OptionError, VarianceError
from metareg_sm.options import check_keywords, choose
from metareg_sm.stats.covariance import CORRECTIONS


class FitChecks:
    """Checks of `MetaReg.fit`, each with an error that says what would be right."""

    # provided by MetaReg
    endog: Array
    exog: Array
    vi: Array
    nobs: int
    df_resid: float
    data: Any
    _studies: Studies

    def _clusters(
        self, cov_type: str, cov_kwds: Mapping[str, Any] | None
    ) -> tuple[npt.NDArray[np.intp] | None, str | None]:
        if cov_kwds is None and cov_type != "cluster":
            return None, None
        given = {} if cov_kwds is None else dict(cov_kwds)
        if cov_type != "cluster":
            check_keywords(given, (), f"cov_kwds of cov_type={cov_type!r}")
            return None, None
        check_keywords(given, ("groups", "correction"), "cov_kwds of cov_type='cluster'")
        if given.get("groups") is None:
            raise OptionError("cov_type='cluster' needs cov_kwds={'groups': ...}.")
        table = {c.lower(): c for c in CORRECTIONS}
        correction = choose(table, given.get("correction", "CR1"), "cov_kwds['correction']")
        data = self.data
        rows = getattr(data, "table_rows", np.arange(self.nobs))
        frame = getattr(data, "frame", None)
        if frame is not None and len(frame) != self.nobs:
            frame = frame.drop(frame.index[list(data.missing_row_idx)])
        labels = None if data.row_labels is None else pd.Index(data.row_labels)
        length = int(getattr(data, "table_length", len(rows)))
        return design.group_codes(given["groups"], frame, labels, rows, length), correction

    def _weights(self, weights: npt.ArrayLike | None, estimator: Estimator) -> Array | None:
        if weights is None:
            return None
        if not estimator.weighted:
            raise OptionError(f"weights= goes with tau2='genq'; got tau2={estimator.name!r}.")
        values = np.asarray(weights, dtype=float)
        if values.shape != (self.nobs,) or not (np.isfinite(values) & (values > 0)).all():
            raise OptionError(
                f"weights must be {self.nobs} finite values > 0, one for each study in the model."
            )
        return values

    def _fixed(self, tau2: float, weights: npt.ArrayLike | None) -> Tau2Estimate:
        if weights is not None:
            raise OptionError("weights= goes with tau2='genq'; tau2 is held fixed.")
        if not np.isfinite(tau2) or tau2 < 0.0:
            raise OptionError(f"A fixed tau2 must be finite and >= 0; got tau2={tau2:g}.")
        if tau2 == 0.0:
            self._refuse_zero_variance("with tau2=0 the weights are 1/vi")
        return Tau2Estimate(np.asarray(tau2), np.asarray(0.0), np.asarray(tau2))

    def _check_df(self, cov_type: str, estimator: Estimator | None, use_t: bool) -> None:
        if self.df_resid > 0:
            return
        needed = None
        if estimator is not None:
            needed = f"tau2={estimator.name!r}"
        elif cov_type != "nonrobust" or use_t:
            needed = f"cov_type={cov_type!r}" + (" with use_t=True" if use_t else "")
        if needed:
            raise DesignError(
                f"{needed} needs more studies than coefficients; there are {self.nobs} studies "
                f"for {self.exog.shape[1]} coefficients. Use fewer moderators, or a fixed tau2 "
                "with cov_type='nonrobust'."
            )

    def _refuse_zero_variance(self, why: str) -> None:
        zero = np.flatnonzero(self.vi == 0.0)
        if zero.size:
            labels = self.data.row_labels
            row = int(zero[0]) if labels is None else labels[zero[0]]
            raise VarianceError(
                f"vi of row {row!r} is 0, and {why}: the model is not defined. It is "
                "where tau2 > 0: try another estimator, or leave the study out."
            )

    def _check_defined(self, tau2: float, estimator: Estimator) -> None:
        if np.minimum.reduce(self.vi) > 0.0:
            return
        if tau2 <= 2.0 * float(self._studies.search_range(True)[0]):
            self._refuse_zero_variance(f"the estimate of tau2 by {estimator.name!r} is 0")
