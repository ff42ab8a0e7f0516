"""What a report is about: the fit, and everything that its sentences and tables are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from scipy import special

from metareg_sm._typing import Array, Mask, Seed
from metareg_sm.exceptions import MetaRegError, OptionError
from metareg_sm.options import check_alpha, whole_number
from metareg_sm.postestimation.clusters import ClusterPermutation
from metareg_sm.postestimation.fitted import Fitted, has_tau2
from metareg_sm.postestimation.heterogeneity import Heterogeneity, heterogeneity
from metareg_sm.postestimation.inference import OmnibusTest, omnibus_test
from metareg_sm.postestimation.multiplicity import adjust_pvalues
from metareg_sm.postestimation.permutation import PermutationTest, permutation_test
from metareg_sm.postestimation.prediction import MetaRegPrediction, predict_effects
from metareg_sm.report.frames import coefficients
from metareg_sm.report.scale import (
    Place,
    Scale,
    coefficient_names,
    scale_of,
    stated_place,
    typical_place,
)

Permutation = PermutationTest | ClusterPermutation


class Reported(Fitted, Protocol):
    """A fit that predicts."""

    def get_prediction(self, exog: Any = None, transform: bool = True) -> MetaRegPrediction:
        """Mean effects at given moderators, and the true effects of new studies."""


class StudyDeletions(Protocol):
    """What a report tells of deletion diagnostics."""

    @property
    def labels(self) -> Sequence[Any] | pd.Index:
        """What is deleted, (n,)."""

    @property
    def influential(self) -> Mask:
        """Deletions that stand out, (n,)."""

    @property
    def params_not_obsi(self) -> Array:
        """Coefficients without the studies, (n, p); NaN where nothing is left to fit."""

    @property
    def tau2_deleted(self) -> Array:
        """Heterogeneity without them, (n,)."""


class ClusterRefits(Protocol):
    """Fits without each cluster of dependent effects in turn."""

    params: pd.DataFrame
    cooks_distance: pd.Series


@dataclass(frozen=True, slots=True)
class ClusterDeletions:
    """Deletions of clusters, as a report tells of them; see `StudyDeletions`."""

    labels: Sequence[Any] | pd.Index
    influential: Mask
    params_not_obsi: Array

    @classmethod
    def of(cls, found: ClusterRefits) -> ClusterDeletions:
        """Influential are clusters that move the estimates beyond the middle of their region."""
        params = found.params.to_numpy(dtype=float)
        median = 2.0 * float(special.gammaincinv(0.5 * params.shape[1], 0.5))
        return cls(
            found.params.index,
            np.asarray(found.cooks_distance.to_numpy(dtype=float) > median, dtype=bool),
            params,
        )


Deletions = StudyDeletions | ClusterDeletions


class LevelHeterogeneity(Protocol):
    """Heterogeneity of a random part of several terms, in all and by term."""

    q: float
    q_df: int
    q_pvalue: float
    i2: float
    r2: float
    tau2: float
    tau2_null: float
    levels: pd.DataFrame


@dataclass(frozen=True, slots=True)
class Adjusted:
    """p-values adjusted for their number.

    Attributes
    ----------
    method : str
        Of statsmodels' `multipletests`.
    frame : DataFrame
        One row a coefficient beside the constant: pvalue, pvalue_adjusted, reject.
    """

    method: str
    frame: pd.DataFrame


@dataclass(frozen=True, slots=True)
class Content:
    """What a report is made of.

    Attributes
    ----------
    fit : Reported
        The fit.
    alpha : float
        1 minus the coverage of all intervals.
    scale : Scale
        How its numbers are shown.
    names : list of str, (p,)
        Coefficients as a text calls them.
    table : DataFrame
        Coefficients on the scale that is shown.
    omnibus : OmnibusTest
        Test of all moderators.
    heterogeneity : Heterogeneity, MetaRegError or None
        The error where it is undefined; None for a random part that is not one tau2.
    levels : LevelHeterogeneity or None
        The same for a random part of several terms.
    place, predictions : Place and DataFrame, or None
        Where predictions are made, and what they are, on the scale that is shown.
    influence, permutation, adjusted : optional
        Sensitivity analyses that were asked for.
    """

    fit: Reported
    alpha: float
    scale: Scale
    names: list[str]
    table: pd.DataFrame
    omnibus: OmnibusTest
    heterogeneity: Heterogeneity | MetaRegError | None
    levels: LevelHeterogeneity | None
    place: Place | None
    predictions: pd.DataFrame | None
    influence: Deletions | None
    permutation: Permutation | None
    adjusted: Adjusted | None

    @property
    def coverage(self) -> str:
        """Coverage of the intervals, in percent."""
        return f"{100.0 * (1.0 - self.alpha):g}%"

    @property
    def deleted(self) -> tuple[str, str]:
        """What is left out in turn, one and several."""
        clusters = isinstance(self.influence, ClusterDeletions)
        return ("cluster", "clusters") if clusters else ("study", "studies")

    @property
    def pooled(self) -> bool:
        """Whether the model has no moderators."""
        return self.fit.df_model <= 0 and bool(self.fit.k_constant)

    @property
    def common(self) -> bool:
        """Whether the studies are taken to have one true effect (given their moderators)."""
        return has_tau2(self.fit) and self.fit.estimator is None and self.fit.tau2 == 0.0


def gather(
    fit: Reported,
    alpha: float,
    exponentiate: bool | None,
    at: Any,
    influence: bool | Deletions,
    permutation: Permutation | int | None,
    adjust: str | None,
    rng: Seed,
) -> Content:
    """Compute what a report is made of; see `ModelResults.report` for the arguments."""
    alpha = check_alpha(alpha)
    if exponentiate not in (None, True, False):
        raise OptionError(f"exponentiate must be True, False or None; got {exponentiate!r}.")
    scale = scale_of(fit, exponentiate)
    pooled = fit.df_model <= 0 and bool(fit.k_constant)
    if at is not None:
        place: Place | None = stated_place(fit, at)
    elif pooled:
        place = Place(fit.table.exog[:1], False, [{}])
    else:
        place = typical_place(fit)
    return Content(
        fit,
        alpha,
        scale,
        coefficient_names(fit),
        coefficients(fit, alpha, scale.exponentiate),
        omnibus_test(fit),
        _heterogeneity(fit),
        _levels(fit),
        place,
        None if place is None else _predictions(fit, place, scale, alpha),
        _influence(fit, influence),
        _permutation(fit, permutation, rng),
        None if adjust is None else Adjusted(adjust, adjust_pvalues(fit, adjust, alpha)),
    )


def _heterogeneity(fit: Reported) -> Heterogeneity | MetaRegError | None:
    if not has_tau2(fit):
        return None
    try:
        return heterogeneity(fit)
    except MetaRegError as error:
        return error


def _levels(fit: Reported) -> LevelHeterogeneity | None:
    try:
        found = None if has_tau2(fit) else getattr(fit, "heterogeneity", None)
    except MetaRegError:
        return None
    return found if hasattr(found, "levels") else None


def _predictions(fit: Reported, place: Place, scale: Scale, alpha: float) -> pd.DataFrame:
    if place.transform or not hasattr(fit, "scale_terms"):
        found = fit.get_prediction(place.exog, transform=place.transform)
    else:
        # moderators of the heterogeneity are not among these: it is the mean one
        found = predict_effects(fit, place.exog, place.transform, None, None)
    frame = found.summary_frame(alpha)
    shown = {"mean": scale.values(frame["mean"])}
    for kind in ("mean_ci", "obs_ci"):
        ends = scale.values(frame[[f"{kind}_lower", f"{kind}_upper"]])
        # a falling transformation swaps the ends
        shown[f"{kind}_lower"], shown[f"{kind}_upper"] = np.sort(ends, axis=1).T
    return pd.DataFrame(shown)


def _influence(fit: Reported, influence: bool | Deletions) -> Deletions | None:
    if influence is False:
        return None
    if influence is not True:
        return influence
    clusters = getattr(fit, "leave_one_cluster_out", None)
    if clusters is not None:
        return ClusterDeletions.of(clusters())
    diagnostics = getattr(fit, "get_influence", None)
    if diagnostics is None:
        raise OptionError(
            f"influence=True needs get_influence(), which {type(fit).__name__} does not have."
        )
    return diagnostics()


def _permutation(
    fit: Reported, permutation: Permutation | int | None, rng: Seed
) -> Permutation | None:
    if permutation is None or isinstance(permutation, Permutation):
        return permutation
    n = whole_number(permutation, "permutation")
    if has_tau2(fit):
        return permutation_test(fit, n, "rows", rng)
    asked: Any = fit
    try:
        own_test = asked.permutation_test
    except AttributeError as error:
        raise OptionError(f"permutation= needs permutation_test(). {error}") from error
    found: Permutation = own_test(n, rng)
    return found
