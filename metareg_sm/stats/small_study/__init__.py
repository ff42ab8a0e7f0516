"""Small-study effects: tests of funnel plot asymmetry and what corrects for it."""

from metareg_sm.stats.small_study.analysis import Analysis, RegressionFit, multiplicative_fit
from metareg_sm.stats.small_study.excess import (
    ExcessSignificanceTest,
    excess_significance_test,
    poisson_binomial,
)
from metareg_sm.stats.small_study.fail_safe import orwin, rosenberg, rosenthal
from metareg_sm.stats.small_study.precision import (
    PetPeese,
    PrecisionEffect,
    conditional,
    pet_peese,
    precision_effect,
)
from metareg_sm.stats.small_study.rank import RankCorrelationTest, rank_correlation_test
from metareg_sm.stats.small_study.regression import (
    EggerTest,
    check_predictor,
    egger_of,
    egger_test,
    is_mean,
    precision_predictor,
)
from metareg_sm.stats.small_study.trim_fill import TrimAndFill, trim_and_fill

__all__ = [
    "Analysis",
    "EggerTest",
    "ExcessSignificanceTest",
    "PetPeese",
    "PrecisionEffect",
    "RankCorrelationTest",
    "RegressionFit",
    "TrimAndFill",
    "check_predictor",
    "conditional",
    "egger_of",
    "egger_test",
    "excess_significance_test",
    "is_mean",
    "multiplicative_fit",
    "orwin",
    "pet_peese",
    "poisson_binomial",
    "precision_effect",
    "precision_predictor",
    "rank_correlation_test",
    "rosenberg",
    "rosenthal",
    "trim_and_fill",
]
