"""Simulated data with known truth, for what the pages warn of.

None of it is real. Each generator takes ``rng=``, a seed or a numpy ``Generator``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from metareg_sm._typing import Array, Seed
from metareg_sm.exceptions import OptionError
from metareg_sm.options import finite_number, generator, whole_number
from metareg_sm.printing import Printed

__all__ = [
    "Ecological",
    "Screening",
    "Tables",
    "baseline",
    "collapsibility",
    "ecological",
    "participants",
    "screening",
]

_MEAN_AGE = 50.0


@dataclass(frozen=True, slots=True, repr=False)
class Tables(Printed):
    """Simulated trials with events in two arms.

    Attributes
    ----------
    ai, ci : ndarray, (n_sets, k)
        Events among the treated and the controls.
    n1i, n2i : ndarray, (k,)
        Participants in the two arms.
    baseline : ndarray, (k,) or (n_sets, k)
        True log odds of the controls.
    truth : mapping
        Parameters that the data were drawn with.
    """

    ai: Array
    n1i: Array
    ci: Array
    n2i: Array
    baseline: Array
    truth: Mapping[str, float]

    def log_odds(self) -> tuple[Array, Array, Array, Array]:
        """Log odds of the treated, of the controls, and their sampling variances, (n_sets, k).

        1/2 is added to the four counts of a trial where one of them is 0.
        """
        cells = np.stack([self.ai, self.n1i - self.ai, self.ci, self.n2i - self.ci])
        cells = cells + 0.5 * (cells == 0.0).any(axis=0)
        a, b, c, d = cells
        return np.log(a / b), np.log(c / d), 1.0 / a + 1.0 / b, 1.0 / c + 1.0 / d

    def log_odds_ratios(self) -> tuple[Array, Array]:
        """Log odds ratios and their sampling variances, (n_sets, k)."""
        treated, control, v1, v2 = self.log_odds()
        return treated - control, v1 + v2

    def frame(self, i: int = 0) -> pd.DataFrame:
        """One data set: columns ai, n1i, ci, n2i."""
        columns = {"ai": self.ai[i], "n1i": self.n1i, "ci": self.ci[i], "n2i": self.n2i}
        frame = pd.DataFrame(columns).astype(int)
        frame.attrs["simulated"] = True
        return frame


@dataclass(frozen=True, slots=True, repr=False)
class Ecological(Printed):
    """Simulated estimates of trials whose effect depends on age within and between them.

    Attributes
    ----------
    mean_age : ndarray, (k,)
        Mean age of each trial.
    effects, interactions : ndarray, (n_sets, k)
        Estimated treatment effects at the trials' mean ages, and interactions with age.
    effects_vi, interactions_vi : ndarray, (k,)
        Their sampling variances; the two are independent.
    truth : mapping
        within, across: the slopes that the data were drawn with.
    """

    mean_age: Array
    effects: Array
    effects_vi: Array
    interactions: Array
    interactions_vi: Array
    truth: Mapping[str, float]


@dataclass(frozen=True, slots=True, repr=False)
class Screening(Printed):
    """Simulated studies with moderators that do not matter.

    Attributes
    ----------
    yi : ndarray, (n_sets, k)
        Outcomes.
    vi : ndarray, (k,)
        Sampling variances.
    moderators : DataFrame, (k, m)
        Columns x1, x2 and so on, independent of the outcomes.
    """

    yi: Array
    vi: Array
    moderators: pd.DataFrame


def _check_numbers(**given: float) -> None:
    for name, value in given.items():
        finite_number(value, name)


def participants(
    n_studies: int = 12,
    n_per_study: int = 150,
    effect: float = -0.5,
    within: float = 0.03,
    across: float = -0.04,
    tau2: float = 0.02,
    outcome: str = "normal",
    rng: Seed = None,
) -> pd.DataFrame:
    """Participants of simulated trials; no real data.

    The effect of treatment on a participant is ``effect + within (age - m) + across (m - 50) + u``,
    m being the mean age of the trial.

    Parameters
    ----------
    n_studies, n_per_study : int
        Trials, and their mean number of participants; half of each trial is treated.
    effect : float
        Effect at age 50; a difference of means in standard deviations of the residuals, or of log
        odds.
    within, across : float
        Change of the effect with one year of age, between participants of a trial, and between
        trials.
    tau2 : float
        Variance of u.
    outcome : {"normal", "binary"}
        y is continuous, or 0 and 1 from a logistic model.
    rng : int or Generator, optional
        Seed.

    Returns
    -------
    DataFrame
        Columns study, treat, age, y. `attrs["simulated"]` is True, `attrs["truth"]` holds within
        and across.

    Examples
    --------
    >>> from metareg_sm import simulate
    >>> people = simulate.participants(n_studies=5, rng=1)
    >>> people.columns.tolist(), people.attrs["simulated"]
    (['study', 'treat', 'age', 'y'], True)
    """
    if outcome not in ("normal", "binary"):
        raise OptionError(f"outcome={outcome!r} is not known. Choose 'normal' or 'binary'.")
    k = whole_number(n_studies, "n_studies")
    n = whole_number(n_per_study, "n_per_study", 8)
    _check_numbers(effect=effect, within=within, across=across)
    draw = generator(rng)
    sizes = 2 * np.maximum(4, draw.poisson(n / 2, k))
    study = np.repeat(np.arange(k), sizes)
    mean_age = np.linspace(_MEAN_AGE - 12.0, _MEAN_AGE + 12.0, k)[study]
    age = draw.normal(mean_age, 8.0)
    treat = np.concatenate([np.arange(size) % 2 for size in sizes])
    own = pd.Series(age).groupby(study).transform("mean").to_numpy()
    u = draw.normal(0.0, np.sqrt(finite_number(tau2, "tau2", 0.0)), k)[study]
    slope = effect + within * (age - own) + across * (own - _MEAN_AGE) + u
    level = draw.normal(0.0, 0.3, k)[study] + 0.02 * (age - _MEAN_AGE) + treat * slope
    if outcome == "normal":
        y = level + draw.normal(size=len(study))
    else:
        y = (draw.uniform(size=len(study)) < special.expit(level - 0.5)).astype(float)
    frame = pd.DataFrame(
        {"study": [f"trial {i + 1}" for i in study], "treat": treat, "age": age, "y": y}
    )
    frame.attrs.update(simulated=True, truth={"within": within, "across": across})
    return frame


def ecological(
    n_sets: int = 1,
    n_studies: int = 12,
    n_per_study: int = 200,
    within: float = 0.03,
    across: float = -0.04,
    tau2: float = 0.02,
    rng: Seed = None,
) -> Ecological:
    """Estimates of trials whose slope across trials is not the slope within them.

    The model of `participants` with normal outcomes, drawn as each trial's estimates rather than
    participant by participant: with residuals of variance 1 and a standard deviation of age of 8,
    n participants in two equal arms give the effect with variance 4/n and the interaction with
    4/(64 n).

    Parameters
    ----------
    n_sets : int
        Data sets.
    n_studies, n_per_study, within, across, tau2
        As in `participants`.
    rng : int or Generator, optional
        Seed.

    Returns
    -------
    Ecological
    """
    n, k = whole_number(n_sets, "n_sets"), whole_number(n_studies, "n_studies", 3)
    _check_numbers(within=within, across=across)
    tau2 = finite_number(tau2, "tau2", 0.0)
    draw = generator(rng)
    mean_age = np.linspace(_MEAN_AGE - 12.0, _MEAN_AGE + 12.0, k)
    sizes = whole_number(n_per_study, "n_per_study", 8) * np.geomspace(0.5, 2.0, k)[::-1]
    effects_vi, interactions_vi = 4.0 / sizes, 4.0 / (64.0 * sizes)
    centre = -0.5 + across * (mean_age - _MEAN_AGE)
    effects = draw.normal(centre, np.sqrt(effects_vi + tau2), (n, k))
    interactions = draw.normal(within, np.sqrt(interactions_vi), (n, k))
    truth = {"within": within, "across": across}
    return Ecological(mean_age, effects, effects_vi, interactions, interactions_vi, truth)


def collapsibility(
    n_sets: int = 1,
    n_studies: int = 20,
    n_per_arm: int = 5000,
    log_odds_ratio: float = 1.0,
    risk_sd: float = 2.0,
    rng: Seed = None,
) -> Tables:
    """Trials with one odds ratio for every participant, whose log odds differ within a trial.

    The odds ratio of a trial's 2x2 table is nearer to 1 than that of its participants, and the more
    so where the average risk is moderate: a slope on the baseline risk that nobody has.

    Parameters
    ----------
    n_sets, n_studies, n_per_arm : int
        Data sets, trials, participants in an arm.
    log_odds_ratio : float
        Of each participant.
    risk_sd : float
        Standard deviation of the participants' log odds within a trial.
    rng : int or Generator, optional
        Seed.

    Returns
    -------
    Tables
        `truth` has log_odds_ratio, and slope: that of the trials' marginal log odds ratios on the
        log odds of their controls, by least squares.
    """
    n, k = whole_number(n_sets, "n_sets"), whole_number(n_studies, "n_studies", 3)
    size = whole_number(n_per_arm, "n_per_arm")
    _check_numbers(log_odds_ratio=log_odds_ratio)
    risk_sd = finite_number(risk_sd, "risk_sd", 0.0)
    draw = generator(rng)
    level = np.linspace(-6.0, -1.0, k)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    person = level[:, None] + risk_sd * nodes
    share = weights / weights.sum()
    control, treated = special.expit(person) @ share, special.expit(person + log_odds_ratio) @ share
    baseline_odds = special.logit(control)
    marginal = special.logit(treated) - baseline_odds
    truth = {
        "log_odds_ratio": log_odds_ratio,
        "slope": float(np.polyfit(baseline_odds, marginal, 1)[0]),
    }
    sizes = np.full(k, float(size))
    ai = draw.binomial(size, treated, (n, k)).astype(float)
    ci = draw.binomial(size, control, (n, k)).astype(float)
    return Tables(ai, sizes, ci, sizes, baseline_odds, truth)


def baseline(
    n_sets: int = 1,
    n_studies: int = 15,
    n_per_arm: int = 100,
    slope: float = 1.0,
    intercept: float = -0.5,
    mean: float = -1.0,
    sd: float = 0.5,
    tau: float = 0.1,
    rng: Seed = None,
) -> Tables:
    """Trials whose true log odds in the two arms lie about a line.

    Treated = intercept + slope * control + N(0, tau^2), control ~ N(mean, sd^2). With slope 1 the
    log odds ratio does not depend on the baseline risk.

    Parameters
    ----------
    n_sets, n_studies, n_per_arm : int
        Data sets, trials, participants in an arm (on average).
    slope, intercept, mean, sd, tau : float
        As above.
    rng : int or Generator, optional
        Seed.

    Returns
    -------
    Tables
        `truth` has slope and intercept.
    """
    n, k = whole_number(n_sets, "n_sets"), whole_number(n_studies, "n_studies", 3)
    _check_numbers(slope=slope, intercept=intercept, mean=mean)
    sd, tau = finite_number(sd, "sd", 0.0), finite_number(tau, "tau", 0.0)
    draw = generator(rng)
    sizes = np.round(whole_number(n_per_arm, "n_per_arm", 4) * np.geomspace(0.5, 2.0, k))
    control = draw.normal(mean, sd, (n, k))
    treated = intercept + slope * control + draw.normal(0.0, tau, (n, k))
    ai = draw.binomial(sizes.astype(int), special.expit(treated)).astype(float)
    ci = draw.binomial(sizes.astype(int), special.expit(control)).astype(float)
    return Tables(ai, sizes, ci, sizes, control, {"slope": slope, "intercept": intercept})


def screening(
    n_sets: int = 1,
    n_studies: int = 20,
    n_moderators: int = 12,
    tau2: float = 0.1,
    rng: Seed = None,
) -> Screening:
    """Studies with moderators none of which matters.

    Parameters
    ----------
    n_sets, n_studies, n_moderators : int
        Data sets, studies, moderators; the moderators are the same in all data sets.
    tau2 : float
        Heterogeneity.
    rng : int or Generator, optional
        Seed.

    Returns
    -------
    Screening
    """
    n, k = whole_number(n_sets, "n_sets"), whole_number(n_studies, "n_studies", 3)
    m = whole_number(n_moderators, "n_moderators")
    draw = generator(rng)
    vi = np.geomspace(0.02, 0.5, k)
    yi = draw.normal(0.0, np.sqrt(vi + finite_number(tau2, "tau2", 0.0)), (n, k))
    moderators = pd.DataFrame(draw.normal(size=(k, m)), columns=[f"x{j + 1}" for j in range(m)])
    return Screening(yi, vi, moderators)
