"""Each moderator alone: univariable screening with an honest account of the multiplicity."""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import special
from statsmodels.stats.multitest import multipletests, multitest_alias

from metareg_sm._typing import Array, Missing, Rows
from metareg_sm.exceptions import DesignError, MetaRegError, OptionError, VarianceError
from metareg_sm.models.metareg import MetaReg
from metareg_sm.options import check_alpha, choose, generator, suggestion, whole_number
from metareg_sm.postestimation.fitted import Tau2Fitted
from metareg_sm.postestimation.inference import omnibus_contrasts
from metareg_sm.postestimation.resampling import refit_of
from metareg_sm.printing import Overview, Printed
from metareg_sm.report.notes import wrapped
from metareg_sm.stats.covariance import COVARIANCES
from metareg_sm.stats.multiplicity import family_wise_error
from metareg_sm.stats.resampling import permutation_pvalue, permute_rows, random_orders

if TYPE_CHECKING:
    from statsmodels.iolib.summary import Summary

    from metareg_sm.design.variances import Variances
    from metareg_sm.results.metareg import MetaRegResults

__all__ = ["ScreenResult", "screen"]

_MAX_T = "max-t"


@dataclass(frozen=True, slots=True, repr=False)
class ScreenResult(Printed):
    """Moderators, each fitted alone.

    Attributes
    ----------
    frame : DataFrame
        One row a moderator; the columns are

        - nobs: studies that are complete in this moderator;
        - coef, se: slope and standard error; NaN for a moderator of more than one column;
        - statistic: t (or z) of the slope; F (or chi-squared) where there is more than one column;
        - df, df_resid: columns that are tested, and the denominator's degrees of freedom (infinite
          for z and chi-squared);
        - pvalue: of that test;
        - r2: share of the heterogeneity that the moderator explains; NaN where a variance is 0;
        - tau2: residual heterogeneity, in squared units of the outcome;
        - pvalue_adjusted: for all moderators that were screened.
    outcome, estimator, cov_type, method : str
        What was explained; labels of the estimator of tau2, the covariance and the adjustment.
    n_complete, n_resamples : int
        Studies that are complete in all moderators; permutations of "max-t", None for others.
    """

    frame: pd.DataFrame
    outcome: str
    estimator: str
    cov_type: str
    method: str
    n_complete: int
    n_resamples: int | None

    def overview(self) -> Overview:
        """What is printed."""
        title = f"Moderators of {self.outcome} one at a time ({self.estimator}, {self.cov_type})"
        lines = [
            ("Adjustment", self.method),
            ("Chance of a false positive", f"{self.family_wise_error():.2f} at 0.05, unadjusted"),
        ]
        columns = ["nobs", "coef", "se", "statistic", "pvalue", "pvalue_adjusted", "tau2", "r2"]
        return Overview(title, lines, self.frame[columns], "summary() has the notes.")

    def family_wise_error(self, alpha: float = 0.05) -> float:
        """Chance of a false positive if no moderator matters: 1 - (1 - alpha)^m.

        For m independent tests at the unadjusted level `alpha`; dependent ones have less.
        """
        return family_wise_error(len(self.frame), alpha)

    def notes(self, alpha: float = 0.05) -> list[str]:
        """What a careful reader must know of tests at the level `alpha`, a sentence or two each."""
        m, alpha = len(self.frame), check_alpha(alpha)
        count = f"{m} moderators were" if m > 1 else "1 moderator was"
        found = [
            f"{count} tested one at a time at {alpha:g}. If none of them matters, the "
            f"chance of at least one false positive is up to {self.family_wise_error(alpha):.2f}.",
            "Screening is exploratory: it suggests hypotheses and does not test them. A moderator "
            "alone stands for whatever goes with it; confirm it in other studies.",
        ]
        if self.n_resamples is None:
            found.append(f"Adjusted p-values: {self.method} (statsmodels' multipletests).")
        else:
            found.append(
                "Adjusted p-values: single-step max-|t| over "
                f"{self.n_resamples} permutations of the outcomes against the moderators, in the "
                f"{self.n_complete} studies that are complete in all of them."
            )
        nobs = self.frame["nobs"]
        if nobs.nunique() > 1:
            found.append(
                f"Moderators are missing for different studies: fits have {nobs.min()} to "
                f"{nobs.max()} studies, and {self.n_complete} are complete in all. Rows of this "
                "table describe different studies"
                + ("." if self.n_resamples is None else ", and the adjusted p-values yet others.")
            )
        if self.frame["coef"].isna().any():
            found.append("A moderator of several columns has no slope, but one joint test.")
        found.append(
            "Associations are between studies. They need not hold between individuals within "
            "studies (ecological bias)."
        )
        return found

    def summary(self, alpha: float = 0.05) -> Summary:
        """Table of the screening, with `notes(alpha)`, as statsmodels prints its results."""
        from statsmodels.iolib.summary import Summary
        from statsmodels.iolib.table import SimpleTable
        from statsmodels.iolib.tableformatting import fmt_base

        table = SimpleTable(
            [_row_cells(row) for row in self.frame.itertuples(index=False)],
            headers=["nobs", "coef", "std err", "stat", "df", "P>|stat|", "P adj", "tau2", "R2"],
            stubs=[str(m) for m in self.frame.index],
            title=f"Moderators of {self.outcome} One at a Time ({self.estimator}, {self.cov_type})",
            txt_fmt=fmt_base | {"data_fmts": ["%s"], "colwidths": None},
        )
        smry = Summary()
        smry.tables.append(table)
        smry.add_extra_txt(wrapped(self.notes(check_alpha(alpha))))
        return smry


def _row_cells(row: Any) -> list[str]:
    df = f"{row.df}" if np.isinf(row.df_resid) else f"{row.df}, {row.df_resid:.4g}"
    slope = ["" if np.isnan(x) else f"{x:.4f}" for x in (row.coef, row.se)]
    tests = [f"{row.statistic:.3f}", df, f"{row.pvalue:.3f}", f"{row.pvalue_adjusted:.3f}"]
    r2 = "" if np.isnan(row.r2) else f"{row.r2:.3f}"
    return [f"{row.nobs}", *slope, *tests, f"{row.tau2:.4f}", r2]


def screen(
    data: Any,
    outcome: str,
    moderators: Sequence[str],
    vi: Variances | None = None,
    sei: Variances | None = None,
    *,
    tau2: str | float = "reml",
    cov_type: str = "knapp-hartung",
    method: str = "holm",
    n_resamples: int = 999,
    rng: int | np.random.Generator | None = None,
    missing: Missing = "drop",
) -> ScreenResult:
    """Fit each moderator alone and adjust for having looked at all of them.

    Parameters
    ----------
    data : DataFrame
        One row a study.
    outcome : str
        Column or left-hand side of the formula.
    moderators : list of str
        Columns, or terms of a formula such as "C(design)", "np.log(dose)" or "dose:age". Each
        stands beside an intercept.
    vi, sei : str, Series or array_like
        Sampling variances or standard errors, exactly one of the two; as in `MetaReg`.
    tau2 : str or float, default "reml"
        As in `MetaReg.fit`.
    cov_type : str, default "knapp-hartung"
        As in `MetaReg.fit`, "cluster" excepted.
    method : str, default "holm"
        Adjustment of the p-values: any method of
        `statsmodels.stats.multitest.multipletests`, or "max-t" for a permutation test that takes
        the dependence of the moderators into account.
    n_resamples, rng : int, and int or Generator
        Permutations for "max-t", and their seed or generator.
    missing : {"drop", "raise"}, default "drop"
        A study with a missing moderator is left out of the fit of that moderator alone.

    Returns
    -------
    ScreenResult

    Raises
    ------
    OptionError
        If an option is unknown, a moderator is no column or removes the intercept, or "max-t" is
        asked for a covariance type that cannot be batched.
    DesignError
        If a moderator does not vary, or too few studies are complete.

    Notes
    -----
    "max-t" permutes the pairs (outcome, sampling variance) jointly against the rows of all
    moderators, in the studies that are complete in every one; tau2 is estimated anew each time.
    The adjusted p-value of a moderator is (1 + number of permutations whose largest statistic
    reaches its own) / (1 + n_resamples), the single-step procedure of Westfall & Young (1993). It
    holds the chance of any false positive at the level if no moderator is associated with outcome
    or precision. Where the moderators have different numbers of columns their statistics are not
    on one scale; then p-values of the joint tests are compared instead (min-p).

    References
    ----------
    Westfall, P. H., & Young, S. S. (1993). Resampling-Based Multiple Testing. Wiley.

    Higgins, J. P. T., & Thompson, S. G. (2004). Controlling the risk of spurious findings from
    meta-regression. Statistics in Medicine, 23(11), 1663-1682.

    Examples
    --------
    >>> import metareg_sm
    >>> from metareg_sm.screening import screen
    >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
    >>> found = screen(bcg, "yi", ["ablat", "year", "alloc"], vi="vi")
    >>> found.frame[["coef", "pvalue", "pvalue_adjusted"]].round(4)
                 coef  pvalue  pvalue_adjusted
    moderator
    ablat     -0.0291  0.0046           0.0137
    year       0.0267  0.1288           0.2575
    alloc         NaN  0.4134           0.4134
    >>> round(found.family_wise_error(), 4)
    0.1426
    """
    names = _checked_moderators(data, moderators)
    _check_method(method, cov_type, n_resamples)
    left = _quoted(data, outcome)
    rows, fits = [], []
    for name in names:  # one design each; a loop in this frame keeps the caller's names in reach
        try:
            model = MetaReg.from_formula(
                f"{left} ~ {_quoted(data, name)}", data, vi=vi, sei=sei, missing=missing, eval_env=2
            )
            _check_model(model)
            res = model.fit(tau2=tau2, cov_type=cov_type)._results
            rows.append(_row(res))
        except MetaRegError as error:
            raise type(error)(f"moderator {name!r}: {error}") from error
        fits.append(res)
    frame = pd.DataFrame(rows, index=pd.Index(names, name="moderator"))
    common = reduce(np.intersect1d, [r.table.rows.positions for r in fits])
    if method == _MAX_T:
        adjusted = _max_t(fits, common, n_resamples, generator(rng))
    else:
        adjusted = multipletests(frame["pvalue"].to_numpy(), method=method)[1]
    frame["pvalue_adjusted"] = adjusted
    return ScreenResult(
        frame=frame,
        outcome=outcome,
        estimator=fits[0].method,
        cov_type=fits[0].cov_label,
        method=method,
        n_complete=len(common),
        n_resamples=n_resamples if method == _MAX_T else None,
    )


def _checked_moderators(data: Any, moderators: Any) -> list[str]:
    if isinstance(moderators, str):
        raise OptionError(
            f"moderators must be a list; got a string. Write moderators=[{moderators!r}]."
        )
    if not isinstance(moderators, Iterable):
        raise OptionError(f"moderators must be a list of columns; got {moderators!r}.")
    names = list(moderators)
    if not names:
        raise OptionError("moderators is empty; name at least one.")
    columns = [str(c) for c in data] if isinstance(data, (pd.DataFrame, Mapping)) else []
    for position, name in enumerate(names):
        if not isinstance(name, str):
            raise OptionError(f"moderators must be names or terms of a formula; got {name!r}.")
        if name in names[:position]:
            raise OptionError(f"moderators has {name!r} twice.")
        if columns and name.isidentifier() and name not in columns:
            raise OptionError(
                f"moderators: the data have no column {name!r}.{suggestion(name, columns)} They "
                f"have {', '.join(columns)}."
            )
    return names


def _check_method(method: Any, cov_type: str, n_resamples: Any) -> None:
    covariance = choose(COVARIANCES, cov_type, "cov_type")
    if covariance.name == "cluster":
        raise OptionError(
            "cov_type='cluster' needs groups, which screen does not take. Use another cov_type."
        )
    if method != _MAX_T:
        if method not in multitest_alias:
            known = [_MAX_T, *(a for a in multitest_alias if len(a) > 3)]
            raise OptionError(
                f"method={method!r} is not known.{suggestion(method, known)} Choose 'max-t' or a "
                "method of statsmodels.stats.multitest.multipletests, such as 'holm' or 'fdr_bh'."
            )
        return
    if covariance.factor is None:
        allowed = ", ".join(repr(c.name) for c in COVARIANCES.values() if c.factor is not None)
        raise OptionError(f"method='max-t' goes with cov_type {allowed}; got {cov_type!r}.")
    whole_number(n_resamples, "n_resamples")


def _quoted(data: Any, name: str) -> str:
    """A column name as the formula must write it; anything else is a term already."""
    if not isinstance(name, str):
        raise OptionError(f"outcome must be a column or a left-hand side; got {name!r}.")
    column = isinstance(data, (pd.DataFrame, Mapping)) and name in data
    if column and (not name.isidentifier() or keyword.iskeyword(name)):
        return f"Q({name!r})"
    return name


def _check_model(model: MetaReg) -> None:
    if not (model.exog == 1.0).all(axis=0).any():
        raise OptionError("it removes the intercept; each moderator stands beside one.")
    if model.df_model < 1:
        raise DesignError(f"it does not vary in the {model.nobs} studies that are complete.")


def _row(res: MetaRegResults) -> dict[str, Any]:
    slopes = np.flatnonzero(~(res.model.exog == 1.0).all(axis=0))
    row: dict[str, Any] = {"nobs": int(res.nobs), "coef": np.nan, "se": np.nan}
    if len(slopes) == 1:
        j = slopes[0]
        statistic, pvalue, df = res.tvalues[j], res.pvalues[j], 1.0
        row["coef"], row["se"] = float(res.params[j]), float(res.bse[j])
        df_resid = res.contrast_df()
    else:
        statistic, pvalue = res.fvalue, res.f_pvalue
        df, df_resid = res.f_df
    if np.isnan(pvalue):
        raise DesignError("its test is undefined: the outcome does not vary.")
    try:
        r2 = res.heterogeneity.r2
    except VarianceError:
        r2 = np.nan
    return row | {
        "statistic": float(statistic),
        "df": int(df),
        "df_resid": np.inf if df_resid is None else float(df_resid),
        "pvalue": float(pvalue),
        "r2": r2,
        "tau2": res.tau2,
    }


def _max_t(
    fits: Sequence[Tau2Fitted], common: Rows, n_resamples: int, rng: np.random.Generator
) -> Array:
    """Single-step adjusted p-values of all moderators, (m,)."""
    first = fits[0]
    tables = [r.table.keep(np.isin(r.table.rows.positions, common)) for r in fits]
    ranks = np.array([t.basis.rank for t in tables])
    n = len(common)
    still = [r.terms.formula for r, rank in zip(fits, ranks, strict=True) if rank < 2]
    if n <= ranks.max() or still:
        why = f"{still[0]!r} has a moderator that does not vary" if still else "that is too few"
        raise DesignError(
            f"method='max-t' uses the studies that are complete in all moderators; in the {n} that "
            f"are, {why}. Use method='holm', or fewer moderators."
        )
    # the studies as they are come first
    orders = np.concatenate([np.arange(n)[None], random_orders(n_resamples, n, rng)])
    scores = np.empty((len(orders), len(fits)))
    for j, table in enumerate(tables):
        refit = replace(refit_of(first), basis=table.basis)
        contrasts = omnibus_contrasts(table.exog, table.basis, True)
        scores[:, j] = permute_rows(table.endog, table.vi, refit, contrasts, orders).omnibus
    if len(set(ranks)) > 1:
        m, rest = ranks - 1, n - ranks
        tail = special.fdtrc(m, rest, scores) if first.use_t else special.chdtrc(m, m * scores)
        with np.errstate(divide="ignore"):
            scores = -np.log(tail)
    return permutation_pvalue(scores[1:].max(axis=1)[:, None], scores[0], exact=False)
