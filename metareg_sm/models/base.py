"""What every model with known sampling variances shares: data, formulas, checks."""

from __future__ import annotations

import math
import types
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from statsmodels.base.data import PandasData
from statsmodels.base.model import LikelihoodModel
from statsmodels.tools.sm_exceptions import MissingDataError

from metareg_sm._typing import Array, Missing
from metareg_sm.core.basis import TALL, design_basis
from metareg_sm.core.gram import squared_length
from metareg_sm.core.studies import out_of_range
from metareg_sm.design import values
from metareg_sm.design.formula import (
    column_kinds,
    design_columns,
    formula_context,
    formula_faults,
    portable,
    restored,
    used_columns,
)
from metareg_sm.design.rows import StudyRows, check_missing, formula_studies
from metareg_sm.design.terms import Terms
from metareg_sm.design.variances import Variances, variances
from metareg_sm.exceptions import (
    DesignError,
    MissingStudiesError,
    RankDeficiencyWarning,
)
from metareg_sm.models import checks
from metareg_sm.options import check_keywords, flag_or_none

if TYPE_CHECKING:
    from metareg_sm.design.participants import Participants
    from metareg_sm.effectsizes import Measure

FORMULA_KEYWORDS = (
    "vi",
    "sei",
    "missing",
    "subset",
    "drop_cols",
    "participant_level",
    "participant_sd",
    "baseline",
    "eval_env",
    "hasconst",
)
"""What `from_formula` of every model takes."""


class KnownVarianceModel(LikelihoodModel):
    """Outcomes with known sampling variances and a design of their expectation.

    Subclasses say in `_prepare` what else they need of the rows of the data.
    """

    endog: Array
    exog: Array
    vi: Array
    # what a row of the data is
    _row = "studies"

    def __init__(
        self,
        endog: npt.ArrayLike,
        exog: npt.ArrayLike | None = None,
        vi: Variances | None = None,
        sei: Variances | None = None,
        missing: Missing = "none",
        hasconst: bool | None = None,
        participant_level: str | Sequence[str] | None = None,
        participant_sd: Any = None,
        **kwargs: Any,
    ) -> None:
        if exog is None:
            raise DesignError(
                "exog is required; for the pooled mean pass a column of ones, or use the formula "
                "'y ~ 1'."
            )
        check_missing(missing)
        hasconst = flag_or_none(hasconst, "hasconst")
        if kwargs:
            check_keywords(kwargs, ("missing_idx", "formula", "model_spec"), type(self).__name__)
        by_formula = "formula" in kwargs
        if not by_formula:
            endog, exog = values.clean_endog(endog), values.clean_exog(exog)
        index = values.index_of(endog)
        self._named = values.has_names(exog)
        total = np.shape(endog)[0] if np.ndim(endog) else 0
        if not by_formula:
            exog = values.aligned_rows(exog, index)
            vi = variances(vi, sei, index, total)
            values.check_values(endog, exog, np.asarray(vi), index, missing)
        if isinstance(exog, np.ndarray) and len(exog) >= TALL:
            # what statsmodels and the fit do with each column is slow across the rows of a table
            exog = np.asfortranarray(exog)
        try:
            super().__init__(endog, exog, vi=vi, missing=missing, hasconst=hasconst, **kwargs)
        except MissingDataError:
            # a formula has dropped what is missing, so that only infinite values are left to name
            values.check_values(endog, exog, np.asarray(vi), index, missing)
            raise
        self._data_attr.extend(["vi", "basis", "rows"])
        self.context: Mapping[str, Any] = {}
        self.measure_name: str | None = None
        self.measure_size: float | None = None
        self._kinds: Mapping[Any, str] = {}
        self._named_index: tuple[list[str], pd.Index] | None = None
        self.participants: Participants | None = None
        if not by_formula:
            self._total = total
            if participant_level is not None or participant_sd is not None:
                from metareg_sm.design.participants import participants

                frame = pd.DataFrame(self.exog, columns=self.exog_names)
                self.participants = participants(
                    participant_level, participant_sd, frame, self.exog_names, self._row
                )
            self._prepare()

    @cached_property
    def rows(self) -> StudyRows:
        """Which rows of the user's table the studies are."""
        return _rows_of_arrays(self.data, self._total)

    @property
    def weights(self) -> Array:
        """Weights 1/vi before heterogeneity, (k,); `weights` of a fit are 1/(vi + tau2).

        statsmodels' tools for weighted least squares scale them by `mse_resid` of a fit.
        """
        if not self.vi.all():
            raise AttributeError(
                "weights are 1/vi; a study with a sampling variance of 0 has none. "
                "get_prediction() and plot_bubble() need none."
            )
        return 1.0 / self.vi

    @property
    def measure(self) -> Measure | None:
        """What the outcomes measure, where `effect_size` computed them."""
        if self.measure_name is None:
            return None
        from metareg_sm.effectsizes import MEASURES

        return replace(MEASURES[self.measure_name.lower()], size=self.measure_size)

    def _prepare(self) -> None:
        """What the model makes of its rows, once they are known."""

    @property
    def terms(self) -> Terms:
        """Names of the design, and how new rows of it are made."""
        data = self.data
        spec = getattr(data, "model_spec", None)
        formula = getattr(self, "formula", None)
        names = list(self.exog_names)
        return Terms(
            names,
            self.endog_names,
            data.const_idx,
            formula,
            spec,
            self.context,
            self._named,
            self._kinds,
        )

    def coefficient_index(self) -> pd.Index | None:
        """Names of the coefficients as an index; None for arrays, which have no labels.

        Each caller has one of its own: who names it names no other.
        """
        if not isinstance(self.data, PandasData):
            return None
        names, known = self.data.param_names, self._named_index
        if known is None or known[0] != names:
            self._named_index = known = list(names), pd.Index(names, tupleize_cols=False)
        return known[1].view()

    def initialize(self) -> None:
        """Check the studies and prepare the column space of the moderators."""
        self._check_studies()
        self.basis = design_basis(self.exog)
        self.redundant = self.basis.redundant
        self.nobs = self.endog.shape[0]
        self.df_model = float(self.basis.rank - self.k_constant)
        self.df_resid = float(self.nobs - self.basis.rank)
        if self.redundant:
            names = ", ".join(repr(self.exog_names[j]) for j in self.redundant)
            warnings.warn(
                f"The moderators are redundant: {names} depend(s) linearly on the columns before. "
                "The fit uses the pseudo-inverse; single coefficients are not identified.",
                RankDeficiencyWarning,
                stacklevel=5,
            )

    def _check_studies(self) -> None:
        k, p = self.exog.shape
        finite = math.isfinite(squared_length(self.endog))
        # statsmodels looks at the largest of each column, which is blind to log(0)
        if not (finite and math.isfinite(np.minimum.reduce(self.exog, axis=None, initial=0.0))):
            endog, exog = self.data.orig_endog, self.data.orig_exog
            values.check_values(endog, exog, self.vi, values.index_of(endog), "none")
        if self.endog.ndim != 1:
            raise DesignError(f"endog must have one column; it has shape {self.endog.shape}.")
        if k < p:
            raise DesignError(
                f"There are fewer studies than coefficients: {k} studies, {p} coefficients. Use "
                "fewer moderators."
            )
        if np.isnan(np.add.reduce(self.vi)):
            row = int(np.flatnonzero(np.isnan(self.vi))[0])
            raise MissingStudiesError(
                f"vi of {values.row_label(self.data.row_labels, row)} is missing. missing='drop' "
                "drops such studies."
            )
        if self.endog.dtype != np.float64:
            self.endog = self.endog.astype(float)
        if self.exog.dtype != np.float64:
            self.exog = self.exog.astype(float)
        if out_of_range(self.endog, self.vi):
            raise DesignError(
                f"The outcomes (up to {np.abs(self.endog).max():.3g}) or their sampling variances "
                f"({self.vi[self.vi > 0].min(initial=np.inf):.3g} to {self.vi.max():.3g}) are so "
                "large or small that their powers leave floating point. Measure the outcome in "
                "another unit."
            )

    @classmethod
    def _of_formula(
        cls,
        formula: Any,
        data: Any,
        caller: types.FrameType,
        vi: Variances | None,
        sei: Variances | None,
        subset: Any,
        drop_cols: Any,
        missing: Missing,
        keywords: Mapping[str, Any],
        mentions: Sequence[str] = (),
        **own: Any,
    ) -> Self:
        """Model of a formula; `own` goes to the constructor, and `mentions` are further formulas.

        Parameters are those of `from_formula`, and the frame of whoever called it. `keywords` are
        the rest of them, as `FORMULA_KEYWORDS` lists them.
        """
        check_keywords(keywords, FORMULA_KEYWORDS, "from_formula")
        kept = dict(keywords)
        participant_level, participant_sd, baseline, eval_env = (
            kept.pop(name, None)
            for name in ("participant_level", "participant_sd", "baseline", "eval_env")
        )
        context = formula_context(formula, eval_env, caller)
        for other in mentions:
            context = {**formula_context(other, eval_env, caller), **context}
        rows, v = formula_studies(formula, data, vi, sei, subset, missing, context, mentions)
        assert rows.frame is not None
        with formula_faults(formula, rows.frame):
            if drop_cols is not None:
                checks.check_dropped(drop_cols, design_columns(formula, rows.frame, context))
            model = super().from_formula(
                formula,
                rows.frame,
                None,
                drop_cols,
                vi=v,
                missing=missing,
                eval_env=context,
                **own,
                **kept,
            )
        model.context = context
        model.measure_name, model.measure_size = _measure(rows.frame, model.endog_names)
        model._kinds = column_kinds(rows.frame, formula, *mentions)
        model.rows = rows.without(getattr(model.data, "missing_row_idx", None))
        if participant_level is not None or participant_sd is not None:
            from metareg_sm.design.participants import participants

            rights = (str(f).rpartition("~")[2] for f in (formula, *mentions))
            used = used_columns(rows.frame, f"~ {' + '.join(rights)}")
            model.participants = participants(
                participant_level, participant_sd, model.rows.frame, used, cls._row
            )
        if baseline is not None or "effect_size" in rows.frame.attrs:
            from metareg_sm.design.control_arm import warn_of_baseline

            warn_of_baseline(formula, rows.frame, baseline)
        model._prepare()
        return model

    def with_moderator(self, values: Array, name: str) -> Self:
        """The same model of the same rows with one more moderator, behind the others.

        Parameters
        ----------
        values : ndarray, (k,)
            The moderator.
        name : str
            Its name; a prime is added where the design has a column of that name.

        Returns
        -------
        model of the same class
            Its design is one of columns, whether this one is of a formula or not.
        """
        labels = self.rows.labels
        exog = pd.DataFrame(self.exog, index=labels, columns=self.exog_names)
        while name in exog.columns:
            name += "'"
        exog[name] = values
        endog = pd.Series(self.endog, index=labels, name=self.endog_names)
        other = type(self)(endog, exog, **self._beside_the_mean())
        other.measure_name, other.measure_size = self.measure_name, self.measure_size
        return other

    def _beside_the_mean(self) -> dict[str, Any]:
        """What the constructor takes beside outcomes and moderators, for the rows in the model."""
        return {"vi": self.vi}

    def predict(self, params: npt.ArrayLike, exog: npt.ArrayLike | None = None) -> Array:
        """Expected effects x'beta.

        Parameters
        ----------
        params : array_like, (p,)
            Coefficients.
        exog : array_like, (n, p), optional
            Moderators; those of the studies by default.

        Returns
        -------
        ndarray, (n,)
        """
        return np.dot(self.exog if exog is None else exog, np.asarray(params))

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__() if hasattr(super(), "__getstate__") else self.__dict__
        return {**state, "context": portable(getattr(self, "context", {}))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.context = restored(state["context"])


def _measure(data: Any, outcome: str) -> tuple[str | None, float | None]:
    """The measure that `effect_size` computed the outcome of a table in, and the typical size."""
    if not getattr(data, "attrs", None):
        return None, None
    from metareg_sm.effectsizes import measure_of

    found = measure_of(data, outcome)
    return (None, None) if found is None else (found.name, found.size)


def _rows_of_arrays(data: Any, total: int) -> StudyRows:
    """Rows of a model of arrays, of which statsmodels has dropped some."""
    labels = data.row_labels
    keep = np.delete(np.arange(total), list(getattr(data, "missing_row_idx", None) or ()))
    return StudyRows(None, None if labels is None else pd.Index(labels), keep, total, total)
