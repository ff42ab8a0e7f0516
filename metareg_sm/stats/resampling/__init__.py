"""Permutation tests and the bootstrap on the batched kernel.

Permuting whole rows of the moderators is the same as permuting outcomes with their variances
against fixed moderators; deleting, drawing and choosing studies is counting them. So every
resampling scheme is a batch of data sets that share one design.
"""

from metareg_sm.stats.resampling.arrangements import (
    all_arrangements,
    all_signs,
    count_arrangements,
    orders_of,
    random_orders,
    random_signs,
)
from metareg_sm.stats.resampling.intervals import bca_interval, percentile_interval
from metareg_sm.stats.resampling.permutation import (
    NullDistribution,
    flip_signs,
    permutation_pvalue,
    permute_residuals,
    permute_rows,
)
from metareg_sm.stats.resampling.refit import (
    ResampledModel,
    blocks,
    deletions,
    refit_counts,
    refit_outcomes,
)

__all__ = [
    "NullDistribution",
    "ResampledModel",
    "all_arrangements",
    "all_signs",
    "bca_interval",
    "blocks",
    "count_arrangements",
    "deletions",
    "flip_signs",
    "orders_of",
    "percentile_interval",
    "permutation_pvalue",
    "permute_residuals",
    "permute_rows",
    "random_orders",
    "random_signs",
    "refit_counts",
    "refit_outcomes",
]
