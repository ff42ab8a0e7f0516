"""Reference values: real and synthetic cases with results from R and from 50-digit arithmetic.

The files and their keys are described in ``README.md`` beside this module.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["NAMES", "Case", "cases", "load"]

NAMES = (
    "data",
    "fits",
    "inference",
    "robust",
    "mpmath",
    "synthetic",
    "synthetic_metafor",
    "sandwich_mpmath",
    "sandwich_clubsandwich",
    "influence",
    "effectsizes",
    "small_study",
    "small_study_mpmath",
    "mixed",
    "mixed_mpmath",
    "location_scale",
    "scale_influence",
)

_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Case:
    """One case: its data, its model, and the entry of the file that was asked for.

    Attributes
    ----------
    name : str
        Name of the case.
    data : DataFrame
        Complete rows only; the outcome is ``yi`` and its sampling variance ``vi``.
    formula : str
        Formula as patsy reads it.
    coef : list of str
        patsy's coefficient names in the order of the reference values, which is R's.
    exog : ndarray, shape (k, p)
        The design, columns in the same order.
    intercept : bool
        Whether the model has an intercept (then the first column).
    cluster : str or None
        Column of ``data`` with the clusters of the robust values.
    dataset : str or None
        The bundled dataset that the data come from.
    expected : dict
        The case's entry in the file.
    """

    name: str
    data: pd.DataFrame
    formula: str
    coef: list[str]
    exog: np.ndarray
    intercept: bool
    cluster: str | None
    dataset: str | None
    expected: dict[str, Any]

    @property
    def y(self) -> np.ndarray:
        """Outcome, shape (k,)."""
        return self.data["yi"].to_numpy(dtype=float)

    @property
    def v(self) -> np.ndarray:
        """Sampling variance, shape (k,)."""
        return self.data["vi"].to_numpy(dtype=float)


@lru_cache
def _text(name: str) -> str:
    if name not in NAMES:
        raise ValueError(f"no reference file {name!r}; there are {', '.join(NAMES)}")
    return (_HERE / f"{name}.json").read_text(encoding="utf-8")


def load(name: str) -> dict[str, Any]:
    """Read one reference file.

    Parameters
    ----------
    name : str
        One of `NAMES`.

    Returns
    -------
    dict
        A fresh copy of the file's content.

    Raises
    ------
    ValueError
        If there is no such file.
    """
    content: dict[str, Any] = json.loads(_text(name))
    return content


def cases(name: str) -> dict[str, Case]:
    """Read one reference file together with the data and model of each of its cases.

    Parameters
    ----------
    name : str
        One of `NAMES`.

    Returns
    -------
    dict
        `Case` by name of the case.

    Raises
    ------
    ValueError
        If there is no such file.
    """
    entries = load(name)["cases"]
    if name.startswith("synthetic"):
        source = load("synthetic")["cases"]
        return {case: _synthetic(case, source[case], entries[case]) for case in entries}
    source = load("data")
    return {case: _real(case, source, entries[case]) for case in entries}


def _real(name: str, source: dict[str, Any], expected: dict[str, Any]) -> Case:
    info = source["cases"][name]
    return Case(
        name=name,
        data=pd.DataFrame(source["frames"][info["frame"]]),
        formula=info["formula"],
        coef=info["coef"],
        exog=np.array(info["exog"], dtype=float),
        intercept=info["intercept"],
        cluster=info["cluster"],
        dataset=info["dataset"],
        expected=expected,
    )


def _synthetic(name: str, info: dict[str, Any], expected: dict[str, Any]) -> Case:
    exog = np.array(info["exog"], dtype=float)
    moderators = [f"x{j}" for j in range(1, exog.shape[1])]
    data = pd.DataFrame({"yi": info["y"], "vi": info["v"]})
    for j, moderator in enumerate(moderators, start=1):
        data[moderator] = exog[:, j]
    return Case(
        name=name,
        data=data,
        formula="yi ~ " + (" + ".join(moderators) or "1"),
        coef=["Intercept", *moderators],
        exog=exog,
        intercept=True,
        cluster=None,
        dataset=None,
        expected=expected,
    )
