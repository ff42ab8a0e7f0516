"""Baseline risk of the BCG trials in 50-digit arithmetic.

    python make_ipd_mpmath.py       ipd_mpmath.json

The bivariate normal likelihood of both arms with the means profiled out, as a function of slope,
u and w: the true outcomes of a trial have covariance [[u, s u], [s u, s^2 u + w]] (controls
first). The maximum is a root of its gradient; ends of profile intervals are roots of (likelihood
less its fall, slopes by u and w). The counts are those of metadat's dat.bcg.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path

import mpmath as mp

mp.mp.dps = 60
HERE = Path(__file__).resolve().parent

TREATED = [
    (4, 119), (6, 300), (3, 228), (62, 13536), (33, 5036), (180, 1361), (8, 2537), (505, 87886),
    (29, 7470), (17, 1699), (186, 50448), (5, 2493), (27, 16886),
]  # fmt: skip
CONTROL = [
    (11, 128), (29, 274), (11, 209), (248, 12619), (47, 5761), (372, 1079), (10, 619), (499, 87892),
    (45, 7232), (65, 1600), (141, 27197), (3, 2338), (29, 17825),
]  # fmt: skip


def arm(measure: str, events: int, others: int) -> tuple[mp.mpf, mp.mpf]:
    x, n = mp.mpf(events), mp.mpf(events + others)
    if measure == "OR":
        return mp.log(x / (n - x)), 1 / x + 1 / (n - x)
    if measure == "RR":
        return mp.log(x / n), 1 / x - 1 / n
    return x / n, x * (n - x) / n**3


class Likelihood:
    """Log-likelihood of (slope, u, w) and its gradient, means profiled out."""

    def __init__(self, measure: str) -> None:
        self.rows = [
            (*arm(measure, *c), *arm(measure, *t)) for c, t in zip(CONTROL, TREATED, strict=True)
        ]

    def solve(self, s: mp.mpf, u: mp.mpf, w: mp.mpf) -> tuple[mp.matrix, list[mp.matrix]]:
        inverses = [
            mp.inverse(mp.matrix([[u + vx, s * u], [s * u, s * s * u + w + vy]]))
            for _, vx, _, vy in self.rows
        ]
        A, b = mp.zeros(2), mp.zeros(2, 1)
        for P, (x, _, y, _) in zip(inverses, self.rows, strict=True):
            A += P
            b += P * mp.matrix([x, y])
        return mp.lu_solve(A, b), inverses

    def value(self, s: mp.mpf, u: mp.mpf, w: mp.mpf) -> mp.mpf:
        mean, inverses = self.solve(s, u, w)
        total = mp.mpf(0)
        for P, (x, _, y, _) in zip(inverses, self.rows, strict=True):
            r = mp.matrix([x, y]) - mean
            total += mp.log(mp.det(P)) / 2 - (r.T * P * r)[0] / 2 - mp.log(2 * mp.pi)
        return total

    def gradient(self, s: mp.mpf, u: mp.mpf, w: mp.mpf) -> list[mp.mpf]:
        mean, inverses = self.solve(s, u, w)
        D = self.directions(s, u)
        found = [mp.mpf(0)] * 3
        for P, (x, _, y, _) in zip(inverses, self.rows, strict=True):
            z = P * (mp.matrix([x, y]) - mean)
            for i, d in enumerate(D):
                M = P * d
                found[i] += ((z.T * d * z)[0] - M[0, 0] - M[1, 1]) / 2
        return found

    @staticmethod
    def directions(s: mp.mpf, u: mp.mpf) -> list[mp.matrix]:
        return [
            mp.matrix([[0, u], [u, 2 * s * u]]),
            mp.matrix([[1, s], [s, s * s]]),
            mp.matrix([[0, 0], [0, 1]]),
        ]

    def expected(self, s: mp.mpf, u: mp.mpf, w: mp.mpf) -> mp.matrix:
        _, inverses = self.solve(s, u, w)
        D, found = self.directions(s, u), mp.zeros(3)
        for P in inverses:
            for i in range(3):
                for j in range(3):
                    M = P * D[i] * P * D[j]
                    found[i, j] += (M[0, 0] + M[1, 1]) / 2
        return found

    def observed(self, theta: list[mp.mpf]) -> mp.matrix:
        found = mp.zeros(3)
        for j in range(3):
            h = mp.mpf(10) ** -20 * abs(theta[j])
            up, down = list(theta), list(theta)
            up[j] += h
            down[j] -= h
            for i, (a, b) in enumerate(zip(self.gradient(*up), self.gradient(*down), strict=True)):
                found[i, j] = -(a - b) / (2 * h)
        return found


START = {
    "OR": ("0.73", "2.4073", "0.1485"),
    "RR": ("0.7408", "2.2128", "0.1564"),
    "RD": ("0.4007", "0.004624", "0.000005"),
}


def case(measure: str) -> dict[str, float | list[float]]:
    data = Likelihood(measure)
    theta = list(mp.findroot(data.gradient, tuple(map(mp.mpf, START[measure])), tol=1e-80))
    best = data.value(*theta)
    mean, inverses = data.solve(*theta)
    A = mp.zeros(2)
    for P in inverses:
        A += P
    cov = mp.inverse(A)
    expected = mp.inverse(data.expected(*theta))[0, 0]
    observed = mp.inverse(data.observed(theta))[0, 0]
    s = theta[0]
    line = mp.matrix([-s, 1])
    intercept_var = (line.T * cov * line)[0] + mean[0] ** 2 * expected
    # chi-squared(1) at 0.95
    fall = mp.findroot(lambda c: mp.erf(mp.sqrt(c / 2)) - mp.mpf("0.95"), 3.84) / 2
    ends = []
    for side in (-1, 1):
        begin = (s + side * 2 * mp.sqrt(observed), theta[1], theta[2])

        def equations(*t: mp.mpf) -> list[mp.mpf]:
            return [data.value(*t) - best + fall, *data.gradient(*t)[1:]]

        ends.append(mp.findroot(equations, begin, tol=1e-60)[0])
    numbers = {
        "slope": s,
        "u": theta[1],
        "w": theta[2],
        "mean": list(mean),
        "intercept": mean[1] - s * mean[0],
        "intercept_se": mp.sqrt(intercept_var),
        "llf": best,
        "slope_se": mp.sqrt(expected),
        "slope_se_profile": mp.sqrt(observed),
        "conf_int": ends,
    }
    return {
        name: [float(v) for v in value] if isinstance(value, list) else float(value)
        for name, value in numbers.items()
    }


if __name__ == "__main__":
    found = {
        "meta": {
            "script": "make_ipd_mpmath.py",
            "python": platform.python_version(),
            "mpmath": mp.__version__,
        },
        "cases": {measure: case(measure) for measure in START},
    }
    (HERE / "ipd_mpmath.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
