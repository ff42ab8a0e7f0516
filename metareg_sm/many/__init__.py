"""Mass-univariate meta-regression: the same small model for very many outcomes."""

from metareg_sm.many.fit import fit_many
from metareg_sm.many.overview import REASONS
from metareg_sm.many.results import ManyResults, ManyTest

__all__ = ["REASONS", "ManyResults", "ManyTest", "fit_many"]
