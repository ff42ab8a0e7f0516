"""Effect sizes: from raw tables, and from what papers print, to yi and vi."""

from metareg_sm.effectsizes.compute import effect_size
from metareg_sm.effectsizes.conversions import (
    d_to_log_odds_ratio,
    d_to_r,
    log_odds_ratio_to_d,
    log_odds_ratio_to_r,
    r_to_d,
    r_to_log_odds_ratio,
)
from metareg_sm.effectsizes.frame import measure_of
from metareg_sm.effectsizes.printed import (
    from_interval,
    from_pvalue,
    from_standard_error,
    from_statistic,
)
from metareg_sm.effectsizes.quantiles import mean_sd_from_quantiles
from metareg_sm.effectsizes.records import Layout, Measure
from metareg_sm.effectsizes.registry import MEASURES

__all__ = [
    "MEASURES",
    "Layout",
    "Measure",
    "d_to_log_odds_ratio",
    "d_to_r",
    "effect_size",
    "from_interval",
    "from_pvalue",
    "from_standard_error",
    "from_statistic",
    "log_odds_ratio_to_d",
    "log_odds_ratio_to_r",
    "mean_sd_from_quantiles",
    "measure_of",
    "r_to_d",
    "r_to_log_odds_ratio",
]
