"""Multiple imputation of missing moderators."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from metareg_sm._typing import Array, Seed
from metareg_sm.design.formula import check_formula, formula_context, used_columns
from metareg_sm.design.rows import formula_studies
from metareg_sm.design.variances import Variances
from metareg_sm.exceptions import DesignError, OptionError
from metareg_sm.models.metareg import MetaReg
from metareg_sm.models.together import fit_together
from metareg_sm.options import generator, whole_number
from metareg_sm.printing import Overview, Printed, said
from metareg_sm.results.metareg import MetaRegResultsWrapper

__all__ = ["Imputations", "impute"]

# Neighbours among which predictive mean matching draws: few among few studies, or those at the ends
# of a moderator's range get neighbours that all lie on one side, and slopes are weakened (with 10
# known values by 9% among 5 neighbours, by 2% among 2).
_DONORS = (2, 5)
_KNOWN_EACH = 8


@dataclass(frozen=True, slots=True, repr=False)
class Imputations(Printed, Sequence[MetaRegResultsWrapper]):
    """Completed data sets and the model fitted to each; a sequence of the fits.

    Attributes
    ----------
    frames : list of DataFrame
        Completed data.
    results : list of MetaRegResultsWrapper
        The fits.
    imputed : list of str
        Columns in which values were missing.
    """

    frames: list[pd.DataFrame] = field(repr=False)
    results: list[MetaRegResultsWrapper] = field(repr=False)
    imputed: list[str]

    def overview(self) -> Overview:
        """What is printed."""
        values = {
            name: [float(r.params[name]) for r in self] for name in self.results[0].params.index
        }
        frame = pd.DataFrame(values).describe().loc[["mean", "std", "min", "max"]].T
        lines = [("imputed", said(self.imputed))]
        title = f"{len(self)} imputations, and the coefficients that they give"
        return Overview(title, lines, frame, "pool() combines them by Rubin's rules.")

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, i: Any) -> Any:
        return self.results[i]

    def __iter__(self) -> Iterator[MetaRegResultsWrapper]:
        return iter(self.results)


def impute(
    data: pd.DataFrame,
    formula: str,
    vi: Variances | None = None,
    n_imputations: int = 20,
    rng: Seed = None,
    *,
    sei: Variances | None = None,
    n_burnin: int = 10,
    auxiliary: str | Sequence[str] = (),
    **fit_kwds: Any,
) -> Imputations:
    """Impute missing moderators by chained equations, and fit the model to each completed table.

    Parameters
    ----------
    data : DataFrame
        One row a study; it is not changed.
    formula : str
        The meta-regression.
    vi, sei : str, Series or array_like
        Sampling variances or standard errors, exactly one of the two.
    n_imputations : int, default 20
        Completed data sets.
    rng : int or Generator, optional
        Seed.
    n_burnin : int, default 10
        Cycles of the chain before the first data set, and between two.
    auxiliary : str or list of str, optional
        Further numeric columns that help to predict what is missing.
    **fit_kwds
        Of `MetaReg.fit`.

    Returns
    -------
    Imputations
        Of which `pool` takes the fits.

    Raises
    ------
    DesignError
        If a column with missing values is not numeric, or no study would be left.
    OptionError
        If nothing is missing.

    Notes
    -----
    statsmodels' `MICEData` imputes each moderator by predictive mean matching on all others, on the
    outcome and on 1/vi: an imputation without the outcome weakens its slopes towards 0, and the
    precision belongs to the model. Studies without an outcome or a variance say nothing about
    the slopes and are left out first.
    Matching draws from the 2 to 5 nearest studies, the fewer the fewer there are.

    Where the completed designs have one shape tau2 of all imputations is estimated in one call of
    the batch kernel.

    Products and powers in the formula are computed from the imputed columns. Moderators are assumed
    to be missing at random.

    References
    ----------
    White, I. R., Royston, P., & Wood, A. M. (2011). Multiple imputation using chained equations:
    issues and guidance for practice. Statistics in Medicine, 30(4), 377-399.

    Examples
    --------
    >>> import metareg_sm
    >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
    >>> bcg.loc[[2, 7], "ablat"] = float("nan")
    >>> made = metareg_sm.impute(bcg, "yi ~ ablat", vi="vi", n_imputations=3, rng=1)
    >>> len(made), made.imputed, int(made.frames[0]["ablat"].isna().sum())
    (3, ['ablat'], 0)
    """
    m = whole_number(n_imputations, "n_imputations", 2)
    burnin = whole_number(n_burnin, "n_burnin")
    check_formula(formula)
    seed = generator(rng)
    context = formula_context(formula, None, sys._getframe(1))
    outcome = formula.partition("~")[0].strip() + " ~ 1"
    rows, v = formula_studies(outcome, data, vi, sei, None, "drop", context)
    frame = rows.frame
    assert frame is not None
    used = used_columns(frame, formula)
    others = [auxiliary] if isinstance(auxiliary, str) else auxiliary
    if not isinstance(others, (Sequence, pd.Index, np.ndarray)):
        raise OptionError(f"auxiliary must be a list of columns; got {auxiliary!r}.")
    others = list(others)
    for name in others:
        if name not in frame.columns:
            raise OptionError(f"auxiliary names {name!r}, which is no column of the data.")
    columns = list(dict.fromkeys([*used, *others]))
    gaps = [c for c in columns if frame[c].isna().any()]
    if not gaps:
        # it says so where the formula names what is not there
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            MetaReg.from_formula(formula, frame, vi=v, eval_env=context)
        raise OptionError(f"Nothing is missing in {', '.join(map(repr, columns))}: fit the model.")
    for name in gaps:
        if not pd.api.types.is_numeric_dtype(frame[name].dtype):
            raise DesignError(
                f"{name!r} has missing values and is not numeric: it cannot be imputed. Code it by "
                "numbers, such as 0 and 1."
            )
        if frame[name].notna().sum() < 2:
            raise DesignError(f"{name!r} is known for fewer than two studies.")
    completed = _chained(frame[columns], gaps, v, m, burnin, seed)
    frames = []
    for values in completed:
        copy = frame.copy()
        for name in gaps:
            copy[name] = values[name].to_numpy()
        frames.append(copy)
    models = [MetaReg.from_formula(formula, f, vi=v, eval_env=context) for f in frames]
    return Imputations(frames, fit_together(models, **fit_kwds), gaps)


def _chained(
    frame: pd.DataFrame, gaps: list[str], v: Array, m: int, burnin: int, rng: np.random.Generator
) -> list[pd.DataFrame]:
    """Columns with gaps, completed m times."""
    from statsmodels.imputation.mice import MICEData

    coded = pd.get_dummies(frame, drop_first=True, dtype=float).astype(float)
    coded["precision"] = 1.0 / v
    # names that need not be identifiers
    names = {c: f"x{j}" for j, c in enumerate(coded.columns)}
    scaled = coded.rename(columns=names)
    constant = [c for c in scaled if scaled[c].nunique(dropna=True) < 2]
    scaled = scaled.drop(columns=[c for c in constant if c not in {names[g] for g in gaps}])
    for name in gaps:
        known = int(scaled[names[name]].notna().sum())
        if known <= scaled.shape[1]:
            raise DesignError(
                f"{name!r} is known for {known} studies, too few to be predicted from "
                f"{scaled.shape[1] - 1} other columns."
            )
    # one unit each: the imputation models are unweighted regressions
    centre, spread = scaled.mean(), scaled.std(ddof=0).replace(0.0, 1.0)
    known = min(int(frame[name].notna().sum()) for name in gaps)
    donors = min(max(known // _KNOWN_EACH, _DONORS[0]), _DONORS[1])
    chain = MICEData((scaled - centre) / spread, k_pmm=donors, rng=rng)
    found = []
    for _ in range(m):
        chain.update_all(burnin)
        values = chain.data * spread + centre
        found.append(pd.DataFrame({g: values[names[g]] for g in gaps}))
    # matching takes observed values: give them back to the last digit
    for values in found:
        for g in gaps:
            values[g] = _nearest(values[g].to_numpy(), np.sort(frame[g].dropna().to_numpy(float)))
    return found


def _nearest(values: Array, observed: Array) -> Array:
    """The observed value next to each."""
    at = np.clip(np.searchsorted(observed, values), 1, len(observed) - 1)
    left, right = observed[at - 1], observed[at]
    return np.where(values - left < right - values, left, right)
