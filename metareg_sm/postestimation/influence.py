"""Which studies drive a fit: deletion diagnostics, leave-one-out and cumulative fits."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from metareg_sm._typing import Array, Codes, Mask
from metareg_sm.design.groups import group_codes
from metareg_sm.design.values import row_label
from metareg_sm.design.variances import align, column
from metareg_sm.exceptions import DesignError, FewStudiesWarning, IdentificationWarning
from metareg_sm.options import check_alpha
from metareg_sm.postestimation.fitted import Deletable, Tau2Fitted
from metareg_sm.postestimation.resampling import refit_of
from metareg_sm.printing import Overview, Printed, said
from metareg_sm.stats import influence as stats
from metareg_sm.stats import refits as kernel
from metareg_sm.stats.blocks import Reason
from metareg_sm.stats.reference import interval, two_sided_pvalue
from metareg_sm.stats.refits import Refits, Selections
from metareg_sm.stats.scale_refits import ScaleRefits

__all__ = ["Influence", "cumulative", "get_influence", "leave_one_out"]

WHAT = "Fitting without some studies"


@dataclass(frozen=True, slots=True, repr=False)
class Influence(Printed):
    """Deletion diagnostics of a meta-regression; tau2 is estimated anew for every deletion.

    Names and shapes are those of statsmodels' `OLSInfluence`. There are k studies, p coefficients
    and n deletions: n = k, or the number of groups where whole groups are deleted. What belongs to
    a study (k,) then refers to the deletion of its group. NaN where there is nothing to fit.

    Deleting each of k studies costs time and memory that grow linearly with k, for every estimator
    of tau2 and any ratio of the variances: sums that all data sets share lose the terms of one
    study each. Only the few studies that make up most of such a sum are refitted by themselves.
    Groups are refitted, which costs k times their number.

    Attributes
    ----------
    hat_matrix_diag : ndarray, (k,)
        Leverages at the weights 1/(vi + tau2).
    resid : ndarray, (k,)
        Pearson residuals: residuals over sqrt(vi + tau2).
    resid_studentized_internal : ndarray, (k,)
        Residuals over their standard errors, by the fit to all studies; without the Knapp-Hartung
        factor.
    resid_studentized_external : ndarray, (k,)
        Deleted residuals, of the study from what the others expect, over their standard errors.
    dffits : tuple of ndarray, (k,), and float
        Change of the study's fitted value over its standard error, and the value beyond which it
        is large: 3 sqrt(p / (k - p)).
    dffits_internal : tuple of ndarray, (k,), and float
        The same from `resid_studentized_internal`, without a refit.
    dfbeta, dfbetas : ndarray, (n, p)
        Change of the coefficients, and over their standard errors.
    cooks_distance : tuple of two ndarray, (n,)
        d'V^-1 d for a change d of the coefficients, of which the fit reports the covariance V; and
        the upper tail of chi-squared with p degrees of freedom. It is not divided by p.
    cov_ratio : ndarray, (n,)
        Determinant of the covariance without the studies over that with all.
    tau2_deleted, q_deleted, i2_deleted : ndarray, (n,)
        Heterogeneity, Q_E (weights 1/vi) and I2, a fraction, without the studies.
    params_not_obsi, bse_not_obsi : ndarray, (n, p)
        Coefficients and their standard errors without the studies.
    influential : ndarray of bool, (n,)
        Deletions that stand out by the rules of metafor's documentation: an absolute DFFITS above
        3 sqrt(p / (k - p)), more than half of chi-squared with p degrees of freedom below Cook's
        distance, a leverage above 3 p / k, or an absolute DFBETAS above 1. DFFITS and leverages
        are no rule for groups.
    reason : ndarray of str, (n,)
        Why a deletion leaves nothing to fit, or why its tau2 is not certain; empty where all is
        well.
    names : list of str
        Coefficients.
    labels : Index, (n,)
        Studies, or groups, that are deleted.
    codes : ndarray of int, (k,)
        Which deletion each study belongs to.
    by_study : bool
        Whether each deletion is of one study, as opposed to `groups`.

    References
    ----------
    Viechtbauer, W., & Cheung, M. W.-L. (2010). Outlier and influence diagnostics for meta-analysis.
    Research Synthesis Methods, 1(2), 112-125.
    """

    hat_matrix_diag: Array
    resid: Array
    resid_studentized_internal: Array
    resid_studentized_external: Array
    dffits: tuple[Array, float]
    dfbeta: Array
    dfbetas: Array
    cooks_distance: tuple[Array, Array]
    cov_ratio: Array
    tau2_deleted: Array
    q_deleted: Array
    i2_deleted: Array
    params_not_obsi: Array
    bse_not_obsi: Array
    influential: Mask
    reason: npt.NDArray[np.object_]
    names: list[str]
    labels: pd.Index
    codes: npt.NDArray[np.intp]
    by_study: bool
    _standardised_change: Array
    _studies: pd.Index

    def overview(self) -> Overview:
        """What is printed."""
        kind = "studies" if self.by_study else "groups"
        stand_out = said([str(label) for label in self.labels[self.influential]])
        lines = [("influential", stand_out), ("coefficients", said(self.names))]
        columns = ["student_resid", "dffits", "hat_diag"] if self.by_study else ["n_studies"]
        columns += ["cooks_d", "cov_ratio", "tau2_deleted", "q_deleted"]
        frame = self.summary_frame()[columns]
        note = "summary_frame() has the DFBETAS, and why a deletion leaves nothing to fit."
        return Overview(f"Deletion of each of {len(self.labels)} {kind}", lines, frame, note)

    @property
    def resid_studentized(self) -> Array:
        """Other name of `resid_studentized_internal` in statsmodels."""
        return self.resid_studentized_internal

    @property
    def dffits_internal(self) -> tuple[Array, float]:
        """DFFITS from the fit to all studies alone, and the value beyond which it is large."""
        h = self.hat_matrix_diag
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.resid_studentized_internal * np.sqrt(h / (1.0 - h)), self.dffits[1]

    def summary_frame(self) -> pd.DataFrame:
        """One row a deletion, with statsmodels' column names.

        Returns
        -------
        DataFrame
            Columns dfb_* (one a coefficient), cooks_d, standard_resid, hat_diag, dffits_internal,
            student_resid, dffits; cov_ratio, tau2_deleted, q_deleted, influential and reason. For
            groups n_studies instead of what belongs to a single study, and hat_diag is the sum of
            their leverages.
        """
        columns: dict[str, Any] = {}
        if not self.by_study:
            columns["n_studies"] = np.bincount(self.codes)
        columns |= {f"dfb_{name}": b for name, b in zip(self.names, self.dfbetas.T, strict=True)}
        columns["cooks_d"] = self.cooks_distance[0]
        if self.by_study:
            columns["standard_resid"] = self.resid_studentized_internal
            columns["hat_diag"] = self.hat_matrix_diag
            columns["dffits_internal"] = self.dffits_internal[0]
            columns["student_resid"] = self.resid_studentized_external
            columns["dffits"] = self.dffits[0]
        else:
            columns["hat_diag"] = np.bincount(self.codes, self.hat_matrix_diag)
        columns["cov_ratio"] = self.cov_ratio
        columns["tau2_deleted"] = self.tau2_deleted
        columns["q_deleted"] = self.q_deleted
        columns["influential"] = self.influential
        columns["reason"] = self.reason
        return pd.DataFrame(columns, index=self.labels)

    def baujat(self) -> pd.DataFrame:
        """Coordinates of a Baujat plot: which studies are heterogeneous, and which matter.

        Returns
        -------
        DataFrame
            One row a study. x: squared Pearson residual, the study's contribution to
            sum (y - Xb)^2 / (vi + tau2), which is Q_E where tau2 is 0. y: squared change of its
            fitted value when it is deleted, over the variance of the fitted value without it.

        References
        ----------
        Baujat, B., Mahé, C., Pignon, J.-P., & Hill, C. (2002). A graphical method for exploring
        heterogeneity in meta-analyses: Application to a meta-analysis of 65 trials. Statistics in
        Medicine, 21(18), 2641-2652.
        """
        return pd.DataFrame(
            {"x": self.resid**2, "y": self._standardised_change**2}, index=self._studies
        )


def get_influence(fit: Deletable, groups: Any = None) -> Influence:
    """Deletion diagnostics; see `MetaRegResults.get_influence`."""
    codes, labels = deletions(fit, groups)
    return diagnostics(fit, fit.fits_without(codes, len(labels)), groups is None, codes, labels)


def diagnostics(
    fit: Deletable, fits: Refits, by_study: bool, codes: Codes, labels: pd.Index
) -> Influence:
    """What fits that lack some of the studies say."""
    _tell(fits, labels, "Without", fits.reason > 0, "summary_frame()")
    table, params = fit.table, np.asarray(fit.params)
    k, p = table.exog.shape
    studies = _labels(fit)
    to_params = table.basis.to_params
    d = stats.deletion_statistics(
        fit.regression, table.vi, table.exog, to_params, fit.scale, fits, codes
    )
    single = {"dffits": d.dffits, "leverage": d.leverage} if by_study else {}
    with np.errstate(divide="ignore", invalid="ignore"):
        standardised = d.fitted_change / d.fitted_se
    return Influence(
        hat_matrix_diag=d.leverage,
        resid=fit.regression.resid,
        resid_studentized_internal=d.internal,
        resid_studentized_external=d.external,
        dffits=(d.dffits, stats.dffits_threshold(k, p)),
        dfbeta=d.dfbeta,
        dfbetas=d.dfbetas,
        cooks_distance=(d.cook, special.chdtrc(p, d.cook)),
        cov_ratio=d.cov_ratio,
        tau2_deleted=fits.tau2,
        q_deleted=fits.q,
        i2_deleted=fits.i2,
        params_not_obsi=params + fits.change,
        bse_not_obsi=fits.standard_errors(to_params),
        influential=stats.influential(k, d.dfbetas, d.cook, **single),
        reason=_reasons(fits),
        names=fit.terms.names,
        labels=labels,
        codes=codes,
        by_study=by_study,
        _standardised_change=standardised,
        _studies=studies,
    )


def leave_one_out(fit: Deletable, groups: Any = None, alpha: float = 0.05) -> pd.DataFrame:
    """Fits without each study; see `MetaRegResults.leave_one_out`."""
    alpha = check_alpha(alpha)
    codes, labels = deletions(fit, groups)
    fits = fit.fits_without(codes, len(labels))
    nobs = len(codes) - np.bincount(codes)
    return _frame(fit, fits, nobs, labels, alpha, "Without", np.ones(len(labels), dtype=bool))


def cumulative(fit: Deletable, order: Any = None, alpha: float = 0.05) -> pd.DataFrame:
    """Fits to the first studies in an order; see `MetaRegResults.cumulative`."""
    alpha, k = check_alpha(alpha), len(fit.table.endog)
    at = np.arange(k) if order is None else _positions(fit, order)
    fits = fit.fits_to(kernel.first_of(at), k)
    nobs = np.arange(1, k + 1)
    # that the first few cannot be fitted goes without saying
    expected = fits.reason != Reason.TOO_FEW_STUDIES
    return _frame(fit, fits, nobs, _labels(fit)[at], alpha, "Up to", expected)


def deletions(fit: Deletable, groups: Any) -> tuple[Codes, pd.Index]:
    """Which deletion each study belongs to, and labels of the deletions."""
    if groups is None:
        return np.arange(len(fit.table.endog)), _labels(fit)
    codes, labels = group_codes(groups, fit.table.rows)
    if len(labels) < 2:
        raise DesignError(
            f"There must be 2 groups at least, for something to be left; groups has {labels[0]!r} "
            "alone."
        )
    return codes, labels


def fits_without(fit: Tau2Fitted, codes: Codes, n: int) -> Refits:
    """Fits with one tau2 that lack the studies of one code each."""
    if n < len(codes):
        return fits_to(fit, kernel.without_groups(codes), n)
    table, refit = fit.table, refit_of(fit, WHAT, same_studies=True)
    lacks = np.argsort(codes)
    return kernel.refit_deletions(table.endog, table.vi, _resid(fit), refit, fit.tau2, lacks)


def fits_to(fit: Tau2Fitted, counts: Selections, n: int) -> Refits:
    """Fits with one tau2 to n selections of the studies."""
    table, refit = fit.table, refit_of(fit, WHAT, same_studies=True)
    return kernel.refit_selections(table.endog, table.vi, _resid(fit), refit, n, counts)


def _resid(fit: Tau2Fitted) -> Array:
    return fit.regression.resid * np.sqrt(fit.regression.variances)


def _labels(fit: Deletable) -> pd.Index:
    labels = fit.table.rows.labels
    return pd.RangeIndex(len(fit.table.endog)) if labels is None else labels


def _reasons(fits: Refits) -> npt.NDArray[np.object_]:
    reason = np.full(len(fits.reason), "", dtype=object)
    for at in np.flatnonzero(fits.reason):
        reason[at] = kernel.TEXTS[Reason(fits.reason[at])]
    return reason


def _tell(fits: Refits, labels: pd.Index, word: str, unforeseen: Mask, where: str) -> None:
    """Warn of selections that could not be fitted."""
    reasons, unbounded = _reasons(fits), fits.reason == Reason.UNBOUNDED
    for rows, category in (
        (np.flatnonzero(unforeseen & ~unbounded), FewStudiesWarning),
        (np.flatnonzero(unforeseen & unbounded), IdentificationWarning),
    ):
        if not rows.size:
            continue
        i = int(rows[0])
        numbers = ": the fit is NaN" if np.isnan(fits.tau2[i]) else ""
        others = f" ({rows.size} such rows)" if rows.size > 1 else ""
        warnings.warn(
            f"{word} {row_label(labels, i)} {reasons[i]}{numbers}{others}; see {where}.",
            category,
            stacklevel=5,
        )


def _positions(fit: Deletable, order: Any) -> npt.NDArray[np.intp]:
    """Positions of the studies in ascending order of some values; ties stay as they are."""
    rows, k = fit.table.rows, len(fit.table.endog)
    if isinstance(order, str):
        if rows.frame is None:
            raise DesignError(
                f"order={order!r} names a column, which only the formula interface has."
            )
        values: Any = column(rows.frame, order, "order")
    else:
        values = order
        if not isinstance(values, pd.Series) and np.ndim(values) == 1 and len(values) == rows.total:
            values = pd.Series(values).to_numpy()[rows.positions]
        values = align(values, "order", rows.labels, k, "the studies in the model")
    values = pd.Series(values).reset_index(drop=True)
    missing = values.isna().to_numpy()
    if missing.any():
        first = row_label(rows.labels, int(np.flatnonzero(missing)[0]))
        raise DesignError(f"order is missing for {first}.")
    try:
        return np.asarray(values.argsort(kind="stable"), dtype=np.intp)
    except TypeError as error:
        raise DesignError(f"order has values that cannot be compared: {error}.") from error


def _frame(
    fit: Deletable,
    fits: Refits,
    nobs: npt.NDArray[np.intp],
    labels: pd.Index,
    alpha: float,
    word: str,
    expected: Mask,
) -> pd.DataFrame:
    """Coefficients of each fit, one row a fit and term."""
    reasons, names = _reasons(fits), fit.terms.names
    _tell(fits, labels, word, (fits.reason > 0) & expected, "attrs['reasons']")
    coef = np.asarray(fit.params) + fits.change
    se = fits.standard_errors(fit.table.basis.to_params)
    lost = np.full(len(names), fit.table.basis.rank)
    if isinstance(fits, ScaleRefits):
        names = [*names, *fit.components.names]
        coef, se = np.hstack([coef, fits.alpha]), np.hstack([se, fits.alpha_se])
        lost = np.append(lost, np.full(fits.alpha.shape[1], fits.alpha.shape[1]))
    df = (nobs[:, None] - lost).astype(float) if fit.use_t else None
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = coef / se
    ends = interval(coef, se, alpha, df)
    p = len(names)
    columns = {
        "coef": coef.ravel(),
        "se": se.ravel(),
        "statistic": statistic.ravel(),
        "pvalue": two_sided_pvalue(statistic, df).ravel(),
        "ci_lower": ends[..., 0].ravel(),
        "ci_upper": ends[..., 1].ravel(),
        "tau2": np.repeat(fits.tau2, p),
        "i2": np.repeat(fits.i2, p),
        "q": np.repeat(fits.q, p),
    }
    index = pd.MultiIndex.from_arrays(
        [labels.repeat(p), names * len(labels)], names=["study", "term"]
    )
    frame = pd.DataFrame(columns, index=index)
    frame.attrs["reasons"] = {labels[i]: reasons[i] for i in np.flatnonzero(fits.reason)}
    return frame
