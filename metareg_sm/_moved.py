"""Modules that README or the docs once named, by the paths that they had then."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import MappingProxyType, ModuleType

_NOW = MappingProxyType(
    {
        "bootstrap": ("bootstrap",),
        "collinearity": ("collinearity",),
        "comparison": ("comparison",),
        "frames": ("heterogeneity",),
        "prediction": ("prediction",),
        "ranking": ("comparison",),
        "resample": ("permutation", "gosh"),
        "slopes": ("slopes",),
    }
)


class _Moved(MetaPathFinder, Loader):
    """Finds a module under its old path."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 (importlib's signature)
        target: ModuleType | None = None,  # noqa: ARG002 (importlib's signature)
    ) -> ModuleSpec | None:
        package, _, name = fullname.rpartition(".")
        if package != "metareg_sm" or name not in _NOW:
            return None
        return ModuleSpec(fullname, self)

    def exec_module(self, module: ModuleType) -> None:
        for now in _NOW[module.__name__.rpartition(".")[2]]:
            names = vars(import_module(f"metareg_sm.postestimation.{now}"))
            module.__dict__.update({k: v for k, v in names.items() if not k.startswith("__")})


def install() -> None:
    """Let `import metareg_sm.ranking` and the like go on working."""
    if not any(isinstance(finder, _Moved) for finder in sys.meta_path):
        sys.meta_path.append(_Moved())
