"""Two-stage analysis of individual participant data."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf

from metareg_sm._typing import Codes
from metareg_sm.design.formula import check_formula, formula_context
from metareg_sm.design.rows import as_frame
from metareg_sm.design.values import row_label
from metareg_sm.exceptions import DesignError, OptionError
from metareg_sm.ipd.design import whole_design
from metareg_sm.ipd.interaction import Interaction, interaction
from metareg_sm.ipd.study import Failure, StudyFit, Task, columns_of, fit_study
from metareg_sm.options import suggestion, whole_number
from metareg_sm.postestimation.aggregation import factors

__all__ = ["TwoStage", "two_stage"]

_LEAST_STUDIES = 3
# Below so many studies the start of processes costs more than the fits.
_MANY = 64


@dataclass(frozen=True, slots=True, repr=False)
class TwoStage:
    """Estimates of each study, ready to be pooled.

    Attributes
    ----------
    frame : DataFrame
        One row a study with the columns study, yi, vi and n (participants in the fit). With several
        effects one row a study and effect, with the column effect besides; the rows of a study
        stand together.
    V : list of DataFrame, (m, m) each
        Sampling covariance of the effects of each study: one row a row of `frame`, with its label,
        so that `mixedmetareg` finds the rows of a part of `frame`, or of another order; one column
        an effect.
    failed : DataFrame
        Columns study and reason: studies without estimates.
    effects : tuple of str
        Coefficients that `yi` holds.
    fits : tuple of StudyFit
        All coefficients of each study.
    """

    frame: pd.DataFrame
    V: list[pd.DataFrame]
    failed: pd.DataFrame
    effects: tuple[str, ...]
    fits: tuple[StudyFit, ...]
    _asked: tuple[str, ...]
    _raw_means: Mapping[str, pd.Series]

    def interaction(
        self, effect: str | None = None, tau2: str | float = "reml", cov_type: str = "knapp-hartung"
    ) -> Interaction:
        """Interaction of treatment and participant covariate: within studies alone, and across.

        Parameters
        ----------
        effect : str, optional
            The product, treatment first, such as "treat:age"; by default the one of `effects`.
        tau2, cov_type : optional
            Of the two meta-regressions, as `MetaReg.fit` has them.

        Returns
        -------
        Interaction
            `within`, `across`, their `difference` with a test, and `plot()`.

        Raises
        ------
        OptionError
            If the effect is no product of two terms of the model.
        """
        if effect is None:
            products = [name for name in self._asked if len(factors(name)) == 2]
            if len(products) != 1:
                raise OptionError(
                    "effect= must name the product, such as 'treat:age'; the effects are "
                    f"{', '.join(map(repr, self.effects))}."
                )
            effect = products[0]
        return interaction(self.fits, effect, self._raw_means, tau2, cov_type)

    def __repr__(self) -> str:
        without = f", {len(self.failed)} without estimates" if len(self.failed) else ""
        return f"<TwoStage: {len(self.fits)} studies{without}; {', '.join(self.effects)}>"

    def _repr_html_(self) -> str:
        return self.frame.to_html(index=False)

    def __str__(self) -> str:
        lines = [
            f"Two-stage analysis: {len(self.fits)} studies, {', '.join(self.effects)}",
            self.frame.to_string(index=False),
        ]
        if len(self.failed):
            lines += ["Without estimates:", self.failed.to_string(index=False)]
        return "\n".join(lines)


def two_stage(
    formula: str,
    data: pd.DataFrame,
    study: Any,
    model: Callable[..., Any] = smf.ols,
    effect: str | Sequence[str] = "treat",
    *,
    n_jobs: int = 1,
    progress: bool = False,
    min_events: int = 1,
    fit_kwds: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> TwoStage:
    """Fit the same model to the participants of each study, and collect what is to be pooled.

    Parameters
    ----------
    formula : str
        Of a participant's outcome, for instance "death ~ treat * age".
    data : DataFrame
        One row a participant; it is not changed.
    study : str or array_like
        Column, or labels of the rows, that says whose participant a row is.
    model : callable, default `statsmodels.formula.api.ols`
        A model of `statsmodels.formula.api`: ols, logit, glm, poisson, phreg and so on.
    effect : str or list of str, default "treat"
        Coefficients to collect: by name, or by the variable or product ("treat:age", in any order)
        that has them.
    n_jobs : int, default 1
        Processes (joblib's meaning, -1 for all processors), used where there are many studies.
    progress : bool, default False
        Show a progress bar (needs tqdm).
    min_events : int, default 1
        For events: studies with fewer events, or fewer participants without one, are left out.
    fit_kwds : mapping, optional
        Keywords of the model's `fit`.
    **kwargs
        Keywords of the model, such as ``family=`` or ``status=``. The name of a column, and values
        for all rows, are given to each study for its own rows.

    Returns
    -------
    TwoStage
        `frame` (study, yi, vi, n) for `metareg`; with several effects also `V` for `mixedmetareg`;
        `failed` (study, reason).

    Raises
    ------
    DesignError
        If the study is missing in a row, the treatment has one value in all data, or fewer than
        three studies can be fitted.
    OptionError
        If an effect is not in the model.

    Notes
    -----
    The design is made once for all participants, so that levels of factors and stateful transforms
    mean the same in every study. Columns that are redundant in one study alone (a level that it
    lacks) are left out there; a study in which the effect itself cannot be told from the rest is
    reported. Rows with missing values are dropped, as statsmodels does. Missing covariates are
    better imputed within each study, and pooled by Rubin's rules before the studies are (Burgess
    et al., 2013).

    A study with an infinite estimate (separation), a fit that does not converge, one treatment for
    all or too few events is reported in `failed` and left out; nothing is added to its counts.

    References
    ----------
    Riley, R. D., Lambert, P. C., & Abo-Zaid, G. (2010). Meta-analysis of individual participant
    data: rationale, conduct, and reporting. BMJ, 340, c221.

    Burgess, S., White, I. R., Resche-Rigon, M., & Wood, A. M. (2013). Combining multiple imputation
    and meta-analysis with individual participant data. Statistics in Medicine, 32(26), 4499-4514.

    Examples
    --------
    >>> import statsmodels.formula.api as smf
    >>> import metareg_sm
    >>> people = metareg_sm.simulate.participants(n_studies=8, rng=1)
    >>> stage = metareg_sm.two_stage("y ~ treat + age", people, study="study", model=smf.ols)
    >>> stage.frame.columns.tolist(), len(stage.failed)
    (['study', 'yi', 'vi', 'n'], 0)
    >>> res = metareg_sm.metareg("yi ~ 1", stage.frame, vi="vi").fit()
    """
    least = whole_number(min_events, "min_events")
    if whole_number(n_jobs, "n_jobs", -1) == 0:
        raise OptionError("n_jobs must be a number of processes, or -1 for all processors; got 0.")
    table = as_frame(data)
    codes, levels = _studies(study, table)
    check_formula(formula)
    context = formula_context(formula, kwargs.pop("eval_env", None), sys._getframe(1))
    design = whole_design(formula, table, model, context, kwargs)
    names, rows = design.names, design.rows
    effects = _effects(effect, list(names), table)
    for name in effects:
        values = design.exog[:, names.index(name)]
        if np.ptp(values) == 0.0:
            raise DesignError(
                f"effect={name!r} is {values[0]:g} for all participants of all studies: "
                "there is one arm only."
            )
    kept = [np.flatnonzero(codes[rows] == code) for code in range(len(levels))]
    tasks = [
        Task(
            label,
            design.cls,
            design.endog[at],
            design.exog[at],
            names,
            design.keywords_of(at),
            dict(fit_kwds or {}),
            tuple(effects),
            least,
        )
        for label, at in zip(levels, kept, strict=True)
    ]
    found = _fitted(tasks, n_jobs, progress)
    numeric = table.select_dtypes("number").iloc[rows]
    raw = numeric.groupby(levels.to_numpy()[codes[rows]], sort=False).mean()
    return _collected(found, effects, {str(name): raw[name] for name in raw.columns})


def _studies(study: Any, table: pd.DataFrame) -> tuple[Codes, pd.Index]:
    values = study
    if isinstance(study, str):
        if study not in table.columns:
            columns = [str(c) for c in table.columns]
            raise DesignError(
                f"study={study!r}: the data have no such column.{suggestion(study, columns)} They "
                f"have {', '.join(columns)}."
            )
        values = table[study]
    if np.ndim(values) != 1 or len(values) != len(table):
        raise DesignError(
            f"study must name a column, or have one label for each of the {len(table)} rows."
        )
    codes, levels = pd.factorize(pd.Series(np.asarray(values)))
    missing = np.flatnonzero(codes < 0)
    if missing.size:
        raise DesignError(
            f"study is missing for {row_label(table.index, int(missing[0]))}"
            + (f" and {missing.size - 1} more." if missing.size > 1 else ".")
        )
    if len(levels) < _LEAST_STUDIES:
        raise DesignError(
            f"There are {len(levels)} studies; a two-stage analysis needs at least "
            f"{_LEAST_STUDIES}."
        )
    return np.asarray(codes, dtype=np.intp), pd.Index(levels)


def _effects(effect: Any, names: list[str], table: pd.DataFrame) -> dict[str, str]:
    """Coefficients that are wanted, and what the user called each."""
    if not isinstance(effect, (str, Sequence)):
        raise OptionError(f"effect must name coefficients, such as 'treat'; got {effect!r}.")
    wanted = [effect] if isinstance(effect, str) else list(effect)
    found: dict[str, str] = {}
    for name in wanted:
        matches = columns_of(str(name), names)
        if not matches:
            for part in factors(str(name)):
                if part in table.columns and table[part].nunique() == 1:
                    raise DesignError(
                        f"effect={name!r}: {part!r} is {table[part].dropna().iloc[0]!r} for all "
                        "participants of all studies: there is one arm only."
                    )
            raise OptionError(
                f"effect={name!r} is not in the model.{suggestion(name, names)} The coefficients "
                f"are {', '.join(map(repr, names))}."
            )
        found |= {column: str(name) for column in matches if column not in found}
    if not found:
        raise OptionError("effect is empty; name at least one coefficient.")
    return found


def _fitted(tasks: list[Task], n_jobs: int, progress: bool) -> list[StudyFit | Failure]:
    shown: Iterable[Task] = tasks
    if progress:
        from tqdm.auto import tqdm

        shown = tqdm(tasks, unit="study")
    if n_jobs == 1 or len(tasks) < _MANY:
        return [fit_study(task) for task in shown]
    from joblib import Parallel, delayed

    found: list[StudyFit | Failure] = Parallel(n_jobs=n_jobs, batch_size="auto")(
        delayed(fit_study)(task) for task in shown
    )
    return found


def _collected(
    found: list[StudyFit | Failure], wanted: Mapping[str, str], raw_means: Mapping[str, pd.Series]
) -> TwoStage:
    effects = tuple(wanted)
    fits = tuple(f for f in found if isinstance(f, StudyFit))
    failed = pd.DataFrame(
        [(f.study, f.reason) for f in found if isinstance(f, Failure)], columns=["study", "reason"]
    )
    if len(fits) < _LEAST_STUDIES:
        reasons = "; ".join(f"{row.study}: {row.reason}" for row in failed.itertuples())
        raise DesignError(
            f"{len(fits)} of {len(found)} studies could be fitted, fewer than {_LEAST_STUDIES}. "
            f"{reasons}."
        )
    at = [[f.names.index(name) for name in effects] for f in fits]
    m = len(effects)
    blocks = [f.cov[np.ix_(j, j)] for f, j in zip(fits, at, strict=True)]
    V = [
        pd.DataFrame(block, pd.RangeIndex(i * m, (i + 1) * m), pd.Index(effects))
        for i, block in enumerate(blocks)
    ]
    columns: dict[str, Any] = {"study": np.repeat(pd.Index([f.study for f in fits]), m)}
    if m > 1:
        columns["effect"] = list(effects) * len(fits)
    columns["yi"] = np.concatenate([f.params[j] for f, j in zip(fits, at, strict=True)])
    columns["vi"] = np.concatenate([np.diagonal(block) for block in blocks])
    columns["n"] = np.repeat([f.nobs for f in fits], m)
    return TwoStage(
        pd.DataFrame(columns), V, failed, effects, fits, tuple(wanted.values()), raw_means
    )
