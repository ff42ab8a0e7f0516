"""Results of fitted models."""

from metareg_sm.results.metareg import MetaRegResults, MetaRegResultsWrapper

__all__ = ["MetaRegResults", "MetaRegResultsWrapper"]
