"""Robust covariances in 100-digit arithmetic, independent of the package.

``python make_sandwich_mpmath.py`` makes the cases (data and working variances) and writes them with
their sandwiches to ``sandwich_mpmath.json``. The data are doubles; every number is computed from
them with mpmath at 100 digits, from the definitions with k x k matrices, and stored as the nearest
double. CR2 is A = D (D B D)^(+1/2) D with D = theta^1/2 and B = theta - X M X' within a cluster,
the symmetric root by eigenvalues. As many eigenvalues are exactly 0 as B has; 100 digits tell.
"""

from __future__ import annotations

import json
import platform
import random
from pathlib import Path
from typing import Any

import mpmath

mp = mpmath.MPContext()
mp.dps = 100

HERE = Path(__file__).resolve().parent
# the data are doubles: what is 0 in exact arithmetic is below this at 100 digits
ZERO = mp.mpf(10) ** -60
CORRECTIONS = ("CR0", "CR1", "CR1S", "CR2", "CR3")
Case = dict[str, Any]


def diagonal(values: Any) -> Any:
    """Diagonal matrix."""
    return mp.diag(list(values))


def symmetric_function(S: Any, power: Any, null: int) -> Any:
    """S to a power by eigenvalues, the `null` smallest of them taken as 0."""
    n = S.rows
    values, vectors = mp.eigsy((S + S.T) / 2)
    keep = sorted(range(n), key=lambda i: values[i])[null:]
    out = mp.zeros(n, n)
    for i in keep:
        v = vectors[:, i]
        out += (values[i] ** power) * (v * v.T)
    return out


def rows_of(matrix: Any, rows: list[int]) -> Any:
    """Some rows of a matrix."""
    return mp.matrix([[matrix[i, j] for j in range(matrix.cols)] for i in rows])


def as_list(matrix: Any) -> list[list[float]]:
    """A matrix as rows of doubles."""
    return [[float(matrix[i, j]) for j in range(matrix.cols)] for i in range(matrix.rows)]


class Dense:
    """One working model with k x k matrices."""

    def __init__(self, case: Case) -> None:
        self.X = mp.matrix(case["exog"])
        self.y = mp.matrix(case["y"])
        self.theta = [mp.mpf(v) + mp.mpf(case["tau2"]) for v in case["v"]]
        self.k, self.p = self.X.rows, self.X.cols
        W = diagonal(1 / t for t in self.theta)
        self.M = (self.X.T * W * self.X) ** -1
        self.H = self.X * self.M * self.X.T * W
        self.beta = self.M * self.X.T * W * self.y
        self.resid = self.y - self.X * self.beta
        labels = case["groups"]
        names = sorted(set(labels))
        self.clusters = [[i for i, g in enumerate(labels) if g == name] for name in names]

    def adjustment(self, rows: list[int], correction: str) -> Any:
        """A_g, or None where it does not exist."""
        n = len(rows)
        Xg, theta = rows_of(self.X, rows), [self.theta[i] for i in rows]
        root = diagonal(mp.sqrt(t) for t in theta)
        inverse = diagonal(1 / mp.sqrt(t) for t in theta)
        C = mp.eye(n) - inverse * Xg * self.M * Xg.T * inverse
        null = sum(value < ZERO for value in mp.eigsy(C, eigvals_only=True))
        if correction == "CR2":
            phi = diagonal(theta)
            return root * symmetric_function(phi * C * phi, -mp.mpf(1) / 2, null) * root
        if correction == "CR3":
            return None if null else root * C**-1 * inverse
        J, k, p = len(self.clusters), self.k, self.p
        factor = {
            "CR1": mp.mpf(J) / (J - p) if p < J else None,
            "CR1S": mp.mpf(J * (k - 1)) / ((J - 1) * (k - p)),
        }.get(correction, mp.mpf(1))
        return None if factor is None else mp.sqrt(factor) * mp.eye(n)

    def parts(self, correction: str, clusters: list[list[int]] | None = None) -> list[Any] | None:
        """What each cluster adds to the coefficients, as functions of y."""
        out = []
        for rows in clusters or self.clusters:
            A = self.adjustment(rows, correction)
            if A is None:
                return None
            weights = diagonal(1 / self.theta[i] for i in rows)
            residual = rows_of(mp.eye(self.k) - self.H, rows)
            out.append(self.M * rows_of(self.X, rows).T * weights * A * residual)
        return out

    def degrees(self, parts: list[Any], C: Any) -> Any:
        """Degrees of freedom eta of the contrasts C; Satterthwaite's for a single one."""
        q = C.rows
        root = diagonal(mp.sqrt(t) for t in self.theta)
        parts = [C * part * root for part in parts]
        expected = sum((part * part.T for part in parts), mp.zeros(q, q))
        standard = symmetric_function(expected, -mp.mpf(1) / 2, 0)
        parts = [standard * part for part in parts]
        total = mp.mpf(0)
        for g, left in enumerate(parts):
            for right in parts[g:]:
                X = left * right.T
                term = sum(X[s, s] for s in range(q)) ** 2
                term += sum(X[s, t] * X[t, s] for s in range(q) for t in range(q))
                total += term if right is left else 2 * term
        return q * (q + 1) / total

    def sandwich(self, correction: str, joint: list[list[float]]) -> Case | None:
        """Covariance, degrees of freedom of each coefficient and of the joint test."""
        parts = self.parts(correction)
        if parts is None:
            return None
        estimates = [part * self.y for part in parts]
        cov = sum((e * e.T for e in estimates), mp.zeros(self.p, self.p))
        df = [self.degrees(parts, mp.eye(self.p)[j, :]) for j in range(self.p)]
        out = {"se": [float(mp.sqrt(cov[j, j])) for j in range(self.p)], "vcov": as_list(cov)}
        out["df"] = [float(d) for d in df]
        if joint:
            C = mp.matrix(joint)
            q, gap = C.rows, C * self.beta
            statistic = (gap.T * (C * cov * C.T) ** -1 * gap)[0]
            eta = self.degrees(parts, C)
            denominator = eta - q + 1
            out["HTZ"] = {"eta": float(eta), "df_num": q, "df_denom": float(denominator)}
            if denominator > 0:
                out["HTZ"]["F"] = float(statistic * denominator / (eta * q))
        return out

    def single(self, correction: str) -> Case | None:
        """Standard errors with every study a cluster of its own."""
        parts = self.parts(correction, [[i] for i in range(self.k)])
        if parts is None:
            return None
        estimates = [part * self.y for part in parts]
        cov = sum((e * e.T for e in estimates), mp.zeros(self.p, self.p))
        return {"se": [float(mp.sqrt(cov[j, j])) for j in range(self.p)]}


def issue_case() -> Case:
    """Five clusters, each of a precise and an imprecise study."""
    y = [0.1, 0.9, 0.3, -0.5, 0.2, 1.4, 0.05, -0.8, 0.6, 0.2]
    groups = [g for g in range(5) for _ in range(2)]
    return {
        "y": y,
        "v": [0.01, 900.0] * 5,
        "exog": [[1.0]] * 10,
        "groups": groups,
        "tau2": 0.0,
        "about": "variances that differ by 9e4 within each cluster",
    }


def random_case(seed: int, sizes: list[int], low: float, high: float, **options: Any) -> Case:
    """Clusters of given sizes with variances 10^low to 10^high, rows in random order."""
    rng = random.Random(seed)
    names = rng.sample(range(100), len(sizes))
    groups = [name for name, size in zip(names, sizes, strict=True) for _ in range(size)]
    rng.shuffle(groups)
    k = len(groups)
    v = [10.0 ** rng.uniform(low, high) for _ in range(k)]
    columns = [[1.0] * k] if options.get("intercept", True) else []
    for scale in options.get("scales", ()):
        columns.append([scale * rng.gauss(0.3, 1.0) for _ in range(k)])
    for index in options.get("absorbed", ()):
        columns.append([float(g == names[index]) for g in groups])
    tau2 = options.get("tau2", 0.0)
    y = [0.2 + rng.gauss(0.0, (value + tau2) ** 0.5) for value in v]
    exog = [list(row) for row in zip(*columns, strict=True)]
    return {"y": y, "v": v, "exog": exog, "groups": groups, "tau2": tau2, "about": options["about"]}


def dominated_case() -> Case:
    """One study 1e12 times as precise as all others."""
    case = random_case(17, [3, 1, 2, 4, 2], 0.0, 0.5, scales=[1.0], about="")
    case["v"][case["groups"].index(sorted(set(case["groups"]))[2])] = 1e-12
    case["about"] = "one study 1e12 times as precise as all others: leverage 1 - 1e-12"
    return case


def make_cases() -> dict[str, Case]:
    """Every case, its joint test of all moderators added."""
    cases = {
        "issue": issue_case(),
        "ordinary": random_case(
            1,
            [3, 1, 2, 4, 2, 5],
            -2,
            -0.5,
            scales=[1.0],
            tau2=0.05,
            about="variances of one meta-analysis",
        ),
        "ratio_1e4": random_case(
            2, [2, 2, 3, 1, 4, 3], -2, 2, scales=[1.0], about="variances over 1e4"
        ),
        "ratio_1e8": random_case(
            3, [2, 3, 3, 1, 4, 3], -5, 3, scales=[1.0, 1.0], about="variances over 1e8"
        ),
        "ratio_1e12": random_case(
            4, [2, 3, 3, 1, 4, 3, 2], -8, 4, scales=[1.0], about="variances over 1e12"
        ),
        "ratio_1e14": random_case(
            5, [2, 4, 3, 1, 4, 3, 2, 3], -8, 6, scales=[1.0, 1.0], about="variances over 1e14"
        ),
        "no_intercept": random_case(
            6,
            [2, 4, 3, 1, 4, 3],
            -8,
            4,
            scales=[1.0],
            intercept=False,
            about="one moderator through the origin, variances over 1e12",
        ),
        "scales": random_case(
            7,
            [2, 4, 3, 3, 4, 3, 2, 3],
            -2,
            0,
            scales=[1.0, 3e6, 1e-5],
            tau2=0.1,
            about="moderators of scales 1, 3e6 and 1e-5",
        ),
        "scales_ratio_1e8": random_case(
            8,
            [2, 4, 3, 3, 4, 3, 2, 3],
            -6,
            2,
            scales=[1.0, 3e6],
            about="moderators of scales 1, 3e6, variances over 1e8",
        ),
        "absorbed": random_case(
            9,
            [3, 2, 4, 1, 2, 3],
            -2,
            0,
            absorbed=[0],
            scales=[1.0],
            tau2=0.05,
            about="a dummy of one cluster",
        ),
        "absorbed_ratio_1e12": random_case(
            10,
            [3, 2, 4, 1, 2, 3],
            -8,
            4,
            absorbed=[2],
            scales=[1.0],
            about="a dummy of one cluster, variances over 1e12",
        ),
        "absorbed_singleton": random_case(
            11,
            [3, 2, 4, 1, 2, 3],
            -4,
            2,
            absorbed=[3],
            about="a dummy of one study, variances over 1e6",
        ),
        "absorbed_twice": random_case(
            12,
            [3, 2, 4, 2, 2, 3, 2],
            -3,
            3,
            absorbed=[0, 1],
            about="dummies of two clusters, variances over 1e6",
        ),
        "tiny": random_case(
            13, [2, 2, 3, 2, 3], -14, -10, scales=[1.0], about="variances of 1e-14 to 1e-10"
        ),
        "dominated": dominated_case(),
        "two_clusters": random_case(14, [4, 3], -6, 6, about="two clusters, variances over 1e12"),
        "singletons": random_case(
            15, [1] * 9, -6, 6, scales=[1.0], about="every study a cluster, variances over 1e12"
        ),
        "large": random_case(
            16,
            [12, 9, 15, 1, 6],
            -6,
            4,
            scales=[1.0, 1.0],
            about="large clusters, variances over 1e10",
        ),
    }
    for case in cases.values():
        first = int(len({row[0] for row in case["exog"]}) == 1)
        p = len(case["exog"][0])
        if first == p:
            first = 0
        case["joint"] = [[float(i == j) for j in range(p)] for i in range(first, p)]
    # both coefficients vary with the intercept alone: jointly there is no robust covariance
    cases["absorbed_twice"]["joint"] = [[0.0, 1.0, 0.0]]
    # combinations of coefficients of very different scale, once more than there are dimensions
    cases["scales"]["mixed"] = [[0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 2.0, -1.0, 1.0]]
    cases["scales_ratio_1e8"]["mixed"] = [[0.0, 1.0, 1.0], [0.0, 1.0, -5.0]]
    return cases


def solve(case: Case) -> Case:
    """A case with its sandwiches."""
    dense = Dense(case)
    out = dict(case, beta=[float(b) for b in dense.beta])
    out["CR"] = {c: dense.sandwich(c, case["joint"]) for c in CORRECTIONS}
    names = {"HC0": "CR0", "HC2": "CR2", "HC3": "CR3"}
    out["HC"] = {name: dense.single(correction) for name, correction in names.items()}
    if "mixed" in case:
        out["mixed_CR"] = {c: dense.sandwich(c, case["mixed"]) for c in ("CR2", "CR3")}
    return out


def main() -> None:
    """Write the file."""
    cases = {name: solve(case) for name, case in make_cases().items()}
    meta = {
        "script": Path(__file__).name,
        "packages": {"python": platform.python_version(), "mpmath": mpmath.__version__},
        "digits": mp.dps,
    }
    text = json.dumps({"meta": meta, "cases": cases}, indent=1, allow_nan=False)
    (HERE / "sandwich_mpmath.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
