"""Dependent effects in 50-digit arithmetic, independent of the package.

``python make_mixed_mpmath.py`` reads ``mixed.json`` (written by ``make_mixed.R``) and writes
``mixed_mpmath.json``: the maxima of the likelihoods of some cases by Newton's method with dense
matrices of 50 digits, in variances and covariances, from metafor's estimates.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import mpmath

mp = mpmath.MPContext()
mp.dps = 50
mpf, matrix = mp.mpf, mp.matrix

HERE = Path(__file__).resolve().parent
CASES = ("konstantopoulos2011", "berkey1998", "berkey1998_year", "bcg_arms")
LIMIT = mpf(10) ** -40


def column(values: list[float]) -> Any:
    return matrix([mpf(x) for x in values])


def known(case: dict[str, Any]) -> Any:
    """V."""
    k = len(case["y"])
    V = matrix(k, k)
    if case["v"] is not None:
        for i, v in enumerate(case["v"]):
            V[i, i] = mpf(v)
        return V
    for block in case["V"]:
        for a, i in enumerate(block["rows"]):
            for b, j in enumerate(block["rows"]):
                V[i, j] = mpf(block["matrix"][a][b])
    return V


def derivatives(case: dict[str, Any]) -> tuple[list[Any], list[str]]:
    """Derivatives of the marginal covariance by variances and covariances, and their names."""
    k = len(case["y"])
    found, names = [], []
    for number, term in enumerate(case["terms"]):
        groups = term["groups"]
        if term["levels"] is None:
            pairs = [(None, None)]
        else:
            levels = sorted(set(term["levels"]))
            pairs = [(a, b) for i, a in enumerate(levels) for b in levels[: i + 1]]
        for a, b in pairs:
            S = matrix(k, k)
            for i in range(k):
                for j in range(k):
                    if groups[i] != groups[j]:
                        continue
                    if a is None or sorted((term["levels"][i], term["levels"][j])) == sorted(
                        (a, b)
                    ):
                        S[i, j] = mpf(1)
            found.append(S)
            names.append(f"{number}" if a is None else f"{number}:{a},{b}")
    return found, names


def trace_product(A: Any, B: Any) -> Any:
    return mp.fsum(A[i, j] * B[j, i] for i in range(A.rows) for j in range(A.cols))


def evaluate(y: Any, X: Any, V: Any, S: list[Any], t: Any, reml: bool) -> dict[str, Any]:
    """Log-likelihood, score, observed and expected information."""
    k, p = X.rows, X.cols
    sigma = V.copy()
    for j, part in enumerate(S):
        sigma += t[j] * part
    W = sigma**-1
    WX = W * X
    cov = (X.T * WX) ** -1
    P = W - WX * cov * WX.T
    Py = P * y
    n = k - p if reml else k
    value = -(n * mp.log(2 * mp.pi) + mp.log(mp.det(sigma)) + (y.T * Py)[0]) / 2
    if reml:
        value += (mp.log(mp.det(X.T * X)) + mp.log(mp.det(cov))) / 2
    M = P if reml else W
    F = [s * Py for s in S]
    MS = [M * s for s in S]
    m = len(S)
    score = matrix(
        [((Py.T * F[j])[0] - mp.fsum(MS[j][i, i] for i in range(k))) / 2 for j in range(m)]
    )
    average, expected = matrix(m, m), matrix(m, m)
    for i in range(m):
        PF = P * F[i]
        for j in range(m):
            average[i, j] = (F[j].T * PF)[0] / 2
            expected[i, j] = trace_product(MS[i], MS[j]) / 2
    return {
        "value": value,
        "score": score,
        "observed": 2 * average - expected,
        "expected": expected,
        "beta": cov * (WX.T * y),
        "cov": cov,
    }


def maximum(case: dict[str, Any], method: str) -> dict[str, Any]:
    """Newton's method from metafor's estimates."""
    reml = method == "REML"
    y = column(case["y"])
    X = matrix([[mpf(x) for x in row] for row in case["X"]])
    V = known(case)
    S, names = derivatives(case)
    fit = case["fits"][method]
    if fit["sigma2"] is not None:
        t = column(fit["sigma2"])
    else:
        # in the order of the sorted levels
        order = {a: i for i, a in enumerate(levels_in_order(case))}
        ranks = sorted(order)
        tau2 = dict(zip(levels_in_order(case), fit["tau2"], strict=True))
        first, second = ranks
        covariance = fit["rho"][0] * (tau2[first] * tau2[second]) ** 0.5
        t = column([tau2[first], covariance, tau2[second]])
    for _ in range(12):
        at = evaluate(y, X, V, S, t, reml)
        step = mp.lu_solve(at["observed"], at["score"])
        t = t + step
        if max(abs(s) for s in step) < LIMIT * max(abs(x) for x in t):
            break
    else:
        raise RuntimeError(f"{method} did not converge")
    at = evaluate(y, X, V, S, t, reml)
    inverse = at["expected"] ** -1
    return {
        "names": names,
        "components": [float(x) for x in t],
        "components_se": [float(mp.sqrt(inverse[j, j])) for j in range(len(names))],
        "beta": [float(b) for b in at["beta"]],
        "se": [float(mp.sqrt(at["cov"][j, j])) for j in range(X.cols)],
        "llf": float(at["value"]),
    }


def levels_in_order(case: dict[str, Any]) -> list[str]:
    """Levels as metafor orders them: stored with the case, or sorted."""
    term = case["terms"][0]
    return term["order"] if term.get("order") else sorted(set(term["levels"]))


def main() -> None:
    stored = json.loads((HERE / "mixed.json").read_text())
    cases = {}
    for name in CASES:
        case = stored["cases"][name]
        cases[name] = {method: maximum(case, method) for method in ("REML", "ML")}
    meta = {
        "script": "make_mixed_mpmath.py",
        "python": platform.python_version(),
        "packages": {"mpmath": mpmath.__version__},
        "digits": mp.dps,
    }
    text = json.dumps({"meta": meta, "cases": cases}, indent=1)
    (HERE / "mixed_mpmath.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
