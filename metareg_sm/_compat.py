"""Every private name of statsmodels that the package uses, so that a change there is met here."""

from statsmodels.base.model import ResultMixin
from statsmodels.base.optimizer import Optimizer
from statsmodels.formula import handle_formula_data
from statsmodels.formula._manager import FormulaManager
from statsmodels.regression._prediction import PredictionResults
from statsmodels.tools._decorators import cached_data, cached_value
from statsmodels.tools.data import _to_pandas as to_pandas

__all__ = [
    "FormulaManager",
    "Optimizer",
    "PredictionResults",
    "ResultMixin",
    "cached_data",
    "cached_value",
    "handle_formula_data",
    "to_pandas",
]
