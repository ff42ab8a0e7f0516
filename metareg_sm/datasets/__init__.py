"""Published meta-analyses, in statsmodels' dataset convention.

Each data set is a module with ``load``, ``load_pandas`` and the descriptive strings
``COPYRIGHT``, ``TITLE``, ``SOURCE``, ``DESCRSHORT``, ``DESCRLONG`` and ``NOTE``. It is made of two
files of this folder, a CSV table and a TOML text; to add a data set, add two files. They are read
when something of them is asked for.

Examples
--------
>>> from metareg_sm import datasets
>>> datasets.bcg.load_pandas().data.shape
(13, 11)
>>> datasets.bcg.TITLE
'BCG vaccine against tuberculosis: 13 trials.'
"""

from __future__ import annotations

import sys

from ._loader import DatasetModule, available

_MODULES = {name: DatasetModule(__name__, name) for name in available()}
# so that "import metareg_sm.datasets.bcg" finds it
sys.modules.update({module.__name__: module for module in _MODULES.values()})

__all__ = list(_MODULES)


def __getattr__(name: str) -> DatasetModule:
    if name in _MODULES:
        return _MODULES[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
