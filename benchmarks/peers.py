"""What metareg_sm is compared with: Python packages, metafor, and the likelihood written out."""

from __future__ import annotations

import csv
import importlib.metadata
import importlib.util
import itertools
import platform
import shutil
import subprocess
import warnings
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import metareg_sm

HERE = Path(__file__).parent
Array = np.ndarray


#: the Python peers by the names that they are imported by
PACKAGES = {
    "pymare": "PyMARE",
    "pimeta": "pimeta",
    "meta_analyze": "PyMetaAnalysis",
    "mixmetapy": "mixmetapy",
}


def missing(module: str) -> str | None:
    """Why a Python peer cannot be asked; None where it can."""
    return None if importlib.util.find_spec(module) else f"{module} is not installed"


@cache
def missing_metafor() -> str | None:
    """Why metafor cannot be asked; None where it can."""
    if shutil.which("Rscript") is None:
        return "Rscript is not installed"
    found = subprocess.run(
        ["Rscript", "-e", "library(metafor)"], capture_output=True, check=False
    ).returncode
    return "R has no metafor" if found else None


@cache
def versions() -> str:
    """Versions of all that takes part."""
    names = ("numpy", "scipy", "pandas", "statsmodels", *PACKAGES.values(), "dask", "distributed")
    parts = [f"Python {platform.python_version()}"]
    parts.append(f"metareg_sm {metareg_sm.__version__}")
    for name in names:
        try:
            parts.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            parts.append(f"{name} absent")
    parts.append("metafor absent" if missing_metafor() else _r_versions())
    return ", ".join(parts)


def _r_versions() -> str:
    code = 'cat("R", paste0(R.version$major, ".", R.version$minor), ", metafor", sep = " "); '
    code += 'cat("", packageDescription("metafor")$Version)'
    out = subprocess.run(["Rscript", "-e", code], capture_output=True, check=True, text=True)
    return out.stdout.replace(" ,", ",")


# --- the likelihood, independently of the package -----------------------------------------------


def loglike(y: Array, v: Array, X: Array, tau2: Array, reml: bool) -> Array:
    """Profile log-likelihood of each data set, straight from its definition.

    Parameters
    ----------
    y, v : ndarray, (n, k)
        Outcomes and sampling variances.
    X : ndarray, (k, p)
        Moderators.
    tau2 : ndarray, (n,) or (n, m)
        Values of tau2, one or m for each data set.
    reml : bool
        Restricted likelihood, else maximum likelihood.

    Returns
    -------
    ndarray, of the shape of `tau2`
    """
    values = np.atleast_2d(tau2.T).T
    k, p = X.shape
    w = 1.0 / (v[:, None, :] + values[:, :, None])
    products = (X[:, :, None] * X[:, None, :]).reshape(k, p * p)
    gram = (w @ products).reshape(*w.shape[:2], p, p)
    wy = w * y[:, None, :]
    beta = np.linalg.solve(gram, (wy @ X)[..., None])[..., 0]
    rss = (w * (y[:, None, :] - beta @ X.T) ** 2).sum(-1)
    value = 0.5 * np.log(w).sum(-1) - 0.5 * rss
    if reml:
        value += 0.5 * np.linalg.slogdet(X.T @ X)[1] - 0.5 * np.linalg.slogdet(gram)[1]
    value -= 0.5 * (k - p if reml else k) * np.log(2.0 * np.pi)
    return value.reshape(tau2.shape)


# --- PyMARE -------------------------------------------------------------------------------------


class PymareFits(NamedTuple):
    """Its answers, one row an outcome as `fit_many` has them."""

    params: Array
    bse: Array
    tau2: Array
    q: Array
    pvalues: Array | None = None


def pymare_dataset(y: Array, v: Array, X: Array) -> Any:
    """Outcomes (n, k) as PyMARE wants them: (k, n), contiguous, which is its fastest layout."""
    from pymare import Dataset

    return Dataset(
        y=np.ascontiguousarray(y.T), v=np.ascontiguousarray(v.T), X=X, add_intercept=False
    )


def pymare_results(dataset: Any) -> Any:
    """Fit all outcomes of a data set by REML, Knapp-Hartung being its default."""
    from pymare.estimators import VarianceBasedLikelihoodEstimator

    return VarianceBasedLikelihoodEstimator(method="REML").fit_dataset(dataset).summary()


def pymare_fit(dataset: Any, tests: bool = False) -> PymareFits:
    """The same numbers as are taken from `fit_many`, with p-values or without."""
    from pymare.stats import q_gen

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        res = pymare_results(dataset)
        params, se = res.fe_params, res.fe_se
        q = q_gen(dataset.y, dataset.v, dataset.X, 0.0)
        pvalues = res.get_fe_stats()["p"].T if tests else None
    tau2 = np.asarray(res.tau2).reshape(-1)
    return PymareFits(params.T, se.T, tau2, np.ravel(q), pvalues)


# --- metafor ------------------------------------------------------------------------------------


def metafor_speed(table: Path, iterations: int) -> dict[str, list[str]]:
    """Seconds inside R of a fit, its diagnostics and one permutation; and the answers."""
    out = subprocess.run(
        ["Rscript", str(HERE / "metafor.R"), "speed", str(table), str(iterations)],
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    return {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip()}


def metafor_search(
    groups: list[tuple[Array, Array, Array]], folder: Path
) -> list[tuple[Array, Array]]:
    """tau2 by REML and by ML of the data sets (y, v, X) of each group; NaN where it gave up."""
    sets, out = folder / "sets.csv", folder / "tau2.csv"
    width = max(X.shape[1] for _, _, X in groups)
    first, starts = 1, []
    with sets.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["set", "y", "v", *(f"x{j}" for j in range(width))])
        for y, v, X in groups:
            starts.append(first)
            padded = [[*map(repr, row.tolist()), *["NA"] * (width - len(row))] for row in X]
            for i in range(len(y)):
                for a, b, row in zip(y[i].tolist(), v[i].tolist(), padded, strict=True):
                    writer.writerow([first + i, repr(a), repr(b), *row])
            first += len(y)
    subprocess.run(
        ["Rscript", str(HERE / "metafor.R"), "search", str(sets), str(out)],
        check=True,
        capture_output=True,
    )
    table = np.genfromtxt(out, delimiter=",", skip_header=1, missing_values="NA")
    table = table[np.argsort(table[:, 0])]
    bounds = [s - 1 for s in starts] + [len(table)]
    return [(table[a:b, 1], table[a:b, 2]) for a, b in itertools.pairwise(bounds)]
