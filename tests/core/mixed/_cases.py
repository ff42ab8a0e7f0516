"""The stored cases as problems of the engine."""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np

from metareg_sm.core.basis import design_basis
from metareg_sm.core.mixed.likelihood import MixedLikelihood
from metareg_sm.core.mixed.search import maximize
from metareg_sm.core.mixed.solution import solve
from metareg_sm.core.mixed.structures import structure
from metareg_sm.core.mixed.terms import KnownBlock, Term

REFERENCE = Path(__file__).parents[2] / "reference"


@lru_cache
def stored(name):
    """The cases of one file."""
    return json.loads((REFERENCE / f"{name}.json").read_text(encoding="utf-8"))["cases"]


def term(entry):
    groups = np.unique(entry["groups"], return_inverse=True)[1]
    if entry["levels"] is None:
        return Term.intercept(groups)
    levels = np.array([entry["order"].index(level) for level in entry["levels"]])
    times = entry["times"]
    q = len(entry["order"])
    made = structure(entry["structure"], q, None if times is None else np.array(times, dtype=float))
    return Term(groups, levels, made)


@lru_cache
def built(name):
    """Outcomes, design and prepared likelihood of a case."""
    case = stored("mixed")[name]
    y, X = np.array(case["y"]), np.array(case["X"])
    if case["V"] is None:
        known = np.array(case["v"])
    else:
        known = [KnownBlock(np.array(b["rows"]), np.array(b["matrix"])) for b in case["V"]]
    terms = [term(entry) for entry in case["terms"]]
    return y, X, MixedLikelihood.build(y, design_basis(X), known, terms)


@lru_cache
def fitted(name, method):
    """Search and solution of a case."""
    problem = built(name)[2]
    found = maximize(problem, method == "REML")
    return found, solve(problem, found.best.point.phi, method == "REML")
