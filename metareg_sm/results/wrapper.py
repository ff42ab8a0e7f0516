"""Results with pandas labels, as statsmodels hands them out."""

from __future__ import annotations

from typing import Any

import pandas as pd
from statsmodels.base.model import LikelihoodResultsWrapper


class _ByCoefficient:
    """An attribute of the results with one value for each coefficient, and their names as labels.

    statsmodels' wrapper makes an index of the names whenever it is asked, which takes several times
    as long as a Series of them; the model keeps one.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        results = object.__getattribute__(instance, "_results")
        values = getattr(results, self.name)
        index = results.model.coefficient_index()
        return values if index is None else pd.Series(values, index=index)


class ModelResultsWrapper(LikelihoodResultsWrapper):
    """Results of any model with pandas labels."""

    params = _ByCoefficient()
    bse = _ByCoefficient()
    tvalues = _ByCoefficient()
    pvalues = _ByCoefficient()

    def __repr__(self) -> str:
        return repr(self._results)

    def __str__(self) -> str:
        return str(self._results)
