"""Models of the stored cases with dependent effects, as a user would write them."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import metareg_sm

_HERE = Path(__file__).resolve().parent


@lru_cache
def stored(name: str) -> dict[str, Any]:
    """The cases of one file."""
    found: dict[str, Any] = json.loads((_HERE / f"{name}.json").read_text(encoding="utf-8"))
    return found["cases"]


def dense(case: dict[str, Any]) -> np.ndarray | None:
    """V of a case as one matrix."""
    if case["V"] is None:
        return None
    V = np.zeros((len(case["y"]),) * 2)
    for block in case["V"]:
        V[np.ix_(block["rows"], block["rows"])] = block["matrix"]
    return V


@lru_cache
def model(name: str) -> metareg_sm.MixedMetaReg:
    """The model of a case."""
    case = stored("mixed")[name]
    data, random, structures = {}, [], []
    for i, term in enumerate(case["terms"]):
        data[f"g{i}"] = term["groups"]
        if term["levels"] is None:
            random.append(f"1 | g{i}")
            continue
        levels = term["levels"]
        if term["structure"] in ("ar", "har"):
            times = dict(zip(term["order"], term["times"], strict=True))
            data[f"l{i}"] = [float(times[level]) for level in levels]
        else:
            data[f"l{i}"] = pd.Categorical(levels, categories=term["order"])
        random.append(f"0 + l{i} | g{i}")
        structures.append(term["structure"])
    V = dense(case)
    return metareg_sm.MixedMetaReg(
        np.array(case["y"]),
        np.array(case["X"]),
        vi=np.array(case["v"]) if V is None else None,
        V=V,
        random=random,
        structure=structures or "un",
        data=pd.DataFrame(data),
    )
