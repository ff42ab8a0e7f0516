"""One study: its fit by a model of statsmodels, or the reason why there is none."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from statsmodels.discrete.discrete_model import BinaryModel, CountModel
from statsmodels.duration.hazard_regression import PHReg
from statsmodels.genmod import families
from statsmodels.genmod.generalized_linear_model import GLM
from statsmodels.tools.sm_exceptions import PerfectSeparationError

from metareg_sm._typing import Array
from metareg_sm.core.basis import design_basis
from metareg_sm.postestimation.aggregation import factors
from metareg_sm.printing import Printed

_LEVEL = re.compile(r"\[[^\]]*\]$")
# Information about a direction of the coefficients, in participants of weight 1 with the spread of
# the design, below which its estimate is on its way to infinity.
_SEPARATED = 1e-3
# Share of a standard error by which an estimate may miss the root of the score.
_UNFINISHED = 1e-3


@dataclass(frozen=True, slots=True, repr=False)
class StudyFit(Printed):
    """The model fitted to the participants of one study.

    Attributes
    ----------
    study : object
        Label of the study.
    names : tuple of str
        Coefficients that could be estimated.
    params : ndarray, (p,)
        Their estimates.
    cov : ndarray, (p, p)
        Their covariance, as the model reports it.
    means, sds : mapping
        Mean and standard deviation of each column of the design.
    nobs : int
        Participants (rows) in the fit.
    """

    study: Any
    names: tuple[str, ...]
    params: Array
    cov: Array
    means: Mapping[str, float]
    sds: Mapping[str, float]
    nobs: int


@dataclass(frozen=True, slots=True, repr=False)
class Failure(Printed):
    """A study without estimates, and why.

    Attributes
    ----------
    study : object
        Label of the study.
    reason : str
        In words.
    """

    study: Any
    reason: str


@dataclass(frozen=True, slots=True)
class Task:
    """What a process needs to fit one study.

    Attributes
    ----------
    study : object
        Label of the study.
    cls : type
        The model's class.
    endog, exog : ndarray, (n,) or (n, 2) and (n, p)
        Rows of the study.
    names : tuple of str
        Columns of the design.
    keywords, fit_keywords : mapping
        Of the model, rows of the study where they have rows; and of its `fit`.
    effects : tuple of str
        Coefficients that are wanted.
    min_events : int
        Fewest events (and fewest participants without) of a study that is fitted.
    """

    study: Any
    cls: type
    endog: Array
    exog: Array
    names: tuple[str, ...]
    keywords: Mapping[str, Any]
    fit_keywords: Mapping[str, Any]
    effects: tuple[str, ...]
    min_events: int


def columns_of(name: str, columns: Sequence[str]) -> list[str]:
    """Columns of a design that a coefficient, a variable or a product has, in any order.

    Spaces do not matter.

    Examples
    --------
    >>> columns_of("age:arm", ["Intercept", "arm[T.drug]", "age", "arm[T.drug]:age"])
    ['arm[T.drug]:age']
    >>> columns_of("log(age):arm", ["arm", "log(age)", "arm:log( age )"])
    ['arm:log( age )']
    """
    if name in columns:
        return [name]
    product = sorted(factors(name.replace(" ", "")))
    found = []
    for column in columns:
        parts = factors(column.replace(" ", ""))
        if product in (sorted(parts), sorted(_LEVEL.sub("", part) for part in parts)):
            found.append(column)
    return found


def fit_study(task: Task) -> StudyFit | Failure:
    """Fit one study; a study that cannot be fitted gives its reason.

    Parameters
    ----------
    task : Task
        The study.

    Returns
    -------
    StudyFit or Failure
    """
    kept = _identified(task)
    if isinstance(kept, str):
        return Failure(task.study, kept)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            model = task.cls(task.endog, task.exog[:, kept], **task.keywords)
            reason = _too_few(model, task.min_events)
            if reason:
                return Failure(task.study, reason)
            results = model.fit(**_quietly(model, task.fit_keywords))
            params = np.asarray(results.params, dtype=float)
            cov = np.asarray(results.cov_params(), dtype=float)
            reason = _doubtful(model, results, params, cov)
    except (ValueError, ArithmeticError, np.linalg.LinAlgError, PerfectSeparationError) as error:
        return Failure(task.study, f"the fit failed: {error}")
    if reason:
        return Failure(task.study, reason)
    means, sds = task.exog.mean(axis=0), task.exog.std(axis=0)
    return StudyFit(
        task.study,
        tuple(task.names[column] for column in kept),
        params[: len(kept)],
        cov[: len(kept), : len(kept)],
        dict(zip(task.names, means.tolist(), strict=True)),
        dict(zip(task.names, sds.tolist(), strict=True)),
        len(task.exog),
    )


def _identified(task: Task) -> list[int] | str:
    """Columns of the design that are not redundant, or why an effect cannot be estimated."""
    n, p = task.exog.shape
    if not n:
        return "no participant has complete data"
    wanted = [task.names.index(effect) for effect in task.effects]
    for j in wanted:
        values = task.exog[:, j]
        if np.ptp(values) == 0.0:
            return f"{task.names[j]!r} is {values[0]:g} for all {n} participants"
    order = [j for j in range(p) if j not in wanted] + wanted
    # a proportional hazards model has its constant in the baseline hazard
    first = 1 if issubclass(task.cls, PHReg) else 0
    # rows of 0 change no dependence, and a basis needs at least as many rows as columns
    whole = np.zeros((max(n, p + first), p + first))
    whole[:n, :first], whole[:n, first:] = 1.0, task.exog[:, order]
    gone = {order[j - first] for j in design_basis(whole).redundant}
    lost = [task.names[j] for j in wanted if j in gone]
    if lost:
        return f"{lost[0]!r} cannot be told from the other terms: it depends linearly on them"
    if n < p - len(gone) + (0 if _is_grouped(task) else 1):
        return f"{n} participants are too few for {p} coefficients"
    return [j for j in range(p) if j not in gone]


def _is_grouped(task: Task) -> bool:
    """Whether a row may count many participants: as many rows as coefficients then leave errors."""
    family = task.keywords.get("family")
    if isinstance(family, families.Binomial):
        return task.endog.ndim == 2 or bool({"var_weights", "freq_weights"} & set(task.keywords))
    return issubclass(task.cls, CountModel) or isinstance(family, families.Poisson)


def _events(model: Any) -> tuple[float, float] | None:
    """Events, and participants without one; None for outcomes that are no events."""
    if isinstance(model, PHReg):
        events = float(np.sum(model.status))
        return events, np.inf
    y = np.asarray(model.endog, dtype=float)
    if isinstance(model, BinaryModel):
        return float(y.sum()), float((1.0 - y).sum())
    if isinstance(model, CountModel):
        return float(y.sum()), np.inf
    if isinstance(model, GLM) and isinstance(model.family, families.Binomial):
        # shares of events come with their totals as one of the weights
        trials = model.n_trials * np.asarray(model.freq_weights * model.var_weights)
        return float((trials * y).sum()), float((trials * (1.0 - y)).sum())
    if isinstance(model, GLM) and isinstance(model.family, families.Poisson):
        return float((np.asarray(model.freq_weights) * y).sum()), np.inf
    return None


def _too_few(model: Any, least: int) -> str:
    found = _events(model)
    if found is None:
        y = np.asarray(model.endog, dtype=float)
        return f"the outcome is {y.flat[0]:g} for all participants" if np.ptp(y) == 0.0 else ""
    events, others = found
    if events < max(least, 1):
        return "no events" if events == 0 else f"too few events: {events:g}"
    if others < max(least, 1):
        return (
            "events in all participants"
            if others == 0
            else f"too few participants without an event: {others:g}"
        )
    return ""


def _quietly(model: Any, keywords: Mapping[str, Any]) -> dict[str, Any]:
    quiet = "disp" in inspect.signature(model.fit).parameters
    return ({"disp": 0} if quiet else {}) | dict(keywords)


def _doubtful(model: Any, results: Any, params: Array, cov: Array) -> str:
    """Why estimates are not to be used."""
    p = np.asarray(model.exog).shape[1]
    variances = np.diagonal(cov)
    if not (np.isfinite(params).all() and np.isfinite(cov).all() and (variances > 0.0).all()):
        if _events(model) is not None:
            return "separation: some estimates are infinite"
        return "the covariance of the estimates is singular"
    if _events(model) is not None and _separated(np.asarray(model.exog), cov[:p, :p]):
        return "separation: some estimates are infinite"
    converged = getattr(results, "converged", None)
    if converged is None:
        converged = (getattr(results, "mle_retvals", None) or {}).get("converged")
    if converged is None and isinstance(model, PHReg):
        score = np.asarray(model.score(params))
        converged = score @ cov @ score < _UNFINISHED**2
    return "" if converged is None or converged else "the fit did not converge"


def _separated(exog: Array, cov: Array) -> bool:
    """Whether a direction of the coefficients has next to no information."""
    scaled = np.linalg.qr(exog / np.sqrt(len(exog)))[1]
    # eigenvalues are 1 / information per direction, the design having mean square 1 in each
    return bool(np.linalg.eigvalsh(scaled @ cov @ scaled.T)[-1] > 1.0 / _SEPARATED)
