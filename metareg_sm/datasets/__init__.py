"""Published meta-analyses, in statsmodels' dataset convention.

Each dataset is a sub-package with ``load``, ``load_pandas`` and the descriptive strings
``COPYRIGHT``, ``TITLE``, ``SOURCE``, ``DESCRSHORT``, ``DESCRLONG`` and ``NOTE``.  Sub-packages are
imported on first use, so that importing this module reads no file and does not pull in
statsmodels' own datasets.

Examples
--------
>>> from metareg_sm import datasets
>>> datasets.bcg.load_pandas().data.shape
(13, 11)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    from . import bangertdrowns2004, bcg, konstantopoulos2011, raudenbush1985

__all__ = ["bangertdrowns2004", "bcg", "konstantopoulos2011", "raudenbush1985"]


def __getattr__(name: str) -> ModuleType:
    """Import a dataset's sub-package on first access (PEP 562)."""
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
