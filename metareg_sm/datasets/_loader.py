"""A data set as a module: a table (CSV) and what is to be said about it (TOML)."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from statsmodels.datasets.utils import Dataset

_FOLDER = Path(__file__).parent
_FACTS = "The values are facts from the publications under SOURCE; no copyright is claimed."
# attributes that statsmodels' data sets have, and the keys of the TOML file
_TEXTS: Mapping[str, str] = {
    "TITLE": "title",
    "SOURCE": "source",
    "DESCRSHORT": "descrshort",
    "DESCRLONG": "descrlong",
    "COPYRIGHT": "copyright",
}


def available() -> list[str]:
    """Names of the data sets, those of the files beside this one."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


class DatasetModule(ModuleType):
    """One data set, in statsmodels' convention; its files are read when they are asked for.

    Attributes
    ----------
    TITLE, SOURCE, DESCRSHORT, DESCRLONG, NOTE, COPYRIGHT : str
        What it is, where it comes from, what its columns mean.
    """

    TITLE: str
    SOURCE: str
    DESCRSHORT: str
    DESCRLONG: str
    NOTE: str
    COPYRIGHT: str

    def __init__(self, package: str, name: str) -> None:
        super().__init__(f"{package}.{name}")
        self.__package__ = package
        self.__spec__ = ModuleSpec(self.__name__, None, origin=str(_FOLDER / f"{name}.toml"))
        self._stem = name

    def __getattr__(self, name: str) -> Any:
        # read once: what is set here is found before this method is asked again
        if name in _TEXTS or name == "NOTE":
            self.__dict__.update(_texts(self._about(), len(self._table())))
            return self.__dict__[name]
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *_TEXTS, "NOTE", "load", "load_pandas"})

    def load(self) -> Dataset:
        """Load the data and return a Dataset class instance, as `load_pandas` does."""
        return self.load_pandas()

    def load_pandas(self) -> Dataset:
        """Load the data and return a Dataset class instance.

        Returns
        -------
        Dataset
            With ``data`` (a DataFrame with every column, the sampling variance ``vi`` included,
            read anew at each call), ``names``, ``endog``, ``exog``, ``endog_name`` and
            ``exog_name`` attributes.
        """
        from statsmodels.datasets.utils import process_pandas

        data, about = self._table(), self._about()
        return process_pandas(
            data,
            endog_idx=data.columns.get_loc(about["endog"]),
            exog_idx=[data.columns.get_loc(name) for name in about["exog"]],
        )

    def _about(self) -> dict[str, Any]:
        import tomllib

        return tomllib.loads((_FOLDER / f"{self._stem}.toml").read_text(encoding="utf-8"))

    def _table(self) -> pd.DataFrame:
        import pandas as pd

        return pd.read_csv(_FOLDER / f"{self._stem}.csv")


def _texts(about: Mapping[str, Any], n: int) -> dict[str, str]:
    """The descriptive strings of statsmodels' convention."""
    columns: Mapping[str, str] = about["columns"]
    texts = {name: about.get(key, _FACTS) for name, key in _TEXTS.items()}
    width = max(map(len, columns))
    lines = [
        f"Number of observations: {n}",
        f"Number of variables: {len(columns)}",
        "Variable name definitions:",
        "",
    ]
    for name, meaning in columns.items():
        first = f"    {name:<{width}} - "
        lines += textwrap.wrap(first + meaning, 94, subsequent_indent=" " * len(first))
    if "note" in about:
        lines += ["", *textwrap.wrap(about["note"].strip(), 94)]
    return {**texts, "NOTE": "::\n\n" + textwrap.indent("\n".join(lines), "    ") + "\n"}
