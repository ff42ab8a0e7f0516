"""Likelihood, derivatives and maxima of step-function selection models in 50-digit arithmetic.

``python make_selection_mpmath.py`` reads ``small_study.json`` (written by ``make_small_study.R``)
for the data and for starting values, and writes ``small_study_mpmath.json``. It is independent of
the package: the likelihood is written down from Vevea & Hedges (1995), derivatives are central
differences at 120 digits, maxima are found by Newton's method.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import mpmath

mp = mpmath.MPContext()
mp.dps = 120
mpf = mp.mpf
HERE = Path(__file__).resolve().parent
STEP = mpf(10) ** -30

# case, alternative, steps, whether tau2 is held at 0
FITS = (
    ("hackshaw1998", "greater", (0.025,), False),
    ("hackshaw1998", "greater", (0.025, 0.1, 0.5), False),
    ("hackshaw1998_year", "greater", (0.05, 0.5), False),
    ("bcg", "less", (0.025,), False),
    ("bcg_ablat", "less", (0.025, 0.1, 0.5), False),
    ("raudenbush1985", "greater", (0.025,), False),
    ("raudenbush1985_weeks", "greater", (0.05, 0.5), False),
    ("bangertdrowns2004", "two-sided", (0.05, 0.5), False),
    ("egger2001_year", "less", (0.025,), True),
    ("cohen1981", "greater", (0.025,), True),
)
# points (coefficients, tau2, log weights) far from any maximum, where tails matter
FAR = (
    ("bcg", "less", (0.025, 0.5), ([4.0], 0.01, [-2.0, 1.5])),
    ("bcg", "greater", (0.025, 0.5), ([-6.0], 0.0, [-9.0, 0.5])),
    ("hackshaw1998", "two-sided", (0.05, 0.5), ([2.5], 0.001, [-1.0, -3.0])),
    ("hackshaw1998", "greater", (0.024, 0.0241, 0.0242), ([0.1], 1000.0, [0.5, -1.0, -2.0])),
    ("raudenbush1985_weeks", "greater", (0.001, 0.0011, 0.9), ([1.0, -0.4], 0.1, [1.0, -4.0, 3.0])),
)


def ncdf(x: Any) -> Any:
    """Normal distribution function."""
    return mp.erfc(-x / mp.sqrt(2)) / 2


def quantile(p: float) -> Any:
    """Normal quantile of the double p."""
    guess = mpf(mpmath.mp.sqrt(2) * mpmath.mp.erfinv(2 * mpmath.mpf(p) - 1))
    return mp.findroot(lambda x: ncdf(x) - mpf(p), guess)


class Model:
    """Log-likelihood of one model, its derivatives and its maximum."""

    def __init__(self, case: dict[str, Any], alternative: str, steps: tuple[float, ...]) -> None:
        self.sign = -1 if alternative == "less" else 1
        self.y = [mpf(a) for a in case["y"]]
        self.v = [mpf(a) for a in case["v"]]
        self.X = [[mpf(a) for a in row] for row in case["X"]]
        self.p = len(self.X[0])
        self.two = alternative == "two-sided"
        # descending bounds of z for ascending p
        self.z = [-quantile(s / 2 if self.two else s) for s in steps]
        self.steps = steps

    def interval(self, y: Any, v: Any) -> int:
        """Index of the interval of the p-value."""
        z = self.sign * y / mp.sqrt(v)
        z = abs(z) if self.two else z
        return sum(1 for c in self.z if z < c)

    def loglike(self, beta: list[Any], tau2: Any, weights: list[Any]) -> Any:
        """Log-likelihood; the first of the weights is 1."""
        total = mpf(0)
        for y, v, x in zip(self.y, self.v, self.X, strict=True):
            s2, m = v + tau2, sum(a * b for a, b in zip(x, beta, strict=True))
            s, root = mp.sqrt(s2), mp.sqrt(v)
            tails = []
            for c in self.z:
                upper = ncdf((self.sign * m - c * root) / s)
                if self.two:
                    upper += ncdf((-self.sign * m - c * root) / s)
                tails.append(upper)
            edges = [mpf(0), *tails, mpf(1)]
            A = sum(w * (b - a) for w, a, b in zip(weights, edges[:-1], edges[1:], strict=True))
            total += mp.log(weights[self.interval(y, v)]) - mp.log(A)
            total -= (mp.log(2 * mp.pi * s2) + (y - m) ** 2 / s2) / 2
        return total

    def at(self, x: list[Any], log: bool) -> Any:
        """The same of one vector: coefficients, tau2, (logs of) the weights but the first."""
        rest = [mp.exp(a) for a in x[self.p + 1 :]] if log else x[self.p + 1 :]
        return self.loglike(x[: self.p], x[self.p], [mpf(1), *rest])


def derivatives(f: Any, x: list[Any]) -> tuple[Any, Any]:
    """Gradient and Hessian by central differences."""
    d = len(x)

    def shifted(moves: list[tuple[int, int]]) -> Any:
        at = list(x)
        for i, by in moves:
            at[i] = at[i] + by * STEP
        return f(at)

    center = f(x)
    ups = [shifted([(i, 1)]) for i in range(d)]
    downs = [shifted([(i, -1)]) for i in range(d)]
    gradient = [(a - b) / (2 * STEP) for a, b in zip(ups, downs, strict=True)]
    hessian = mp.matrix(d, d)
    for i in range(d):
        hessian[i, i] = (ups[i] - 2 * center + downs[i]) / STEP**2
        for j in range(i):
            both = shifted([(i, 1), (j, 1)]) + shifted([(i, -1), (j, -1)])
            mixed = both - shifted([(i, 1), (j, -1)]) - shifted([(i, -1), (j, 1)])
            hessian[i, j] = hessian[j, i] = mixed / (4 * STEP**2)
    return gradient, hessian


def doubles(values: Any) -> list[float]:
    """Nearest doubles."""
    return [float(a) for a in values]


def rows_of(matrix: Any) -> list[list[float]]:
    """Nearest doubles of a matrix."""
    return [[float(matrix[i, j]) for j in range(matrix.cols)] for i in range(matrix.rows)]


def maximum(model: Model, x: list[Any], held: bool) -> dict[str, Any]:
    """Newton's method from a start that is right to a few digits."""
    p = model.p
    free = [i for i in range(len(x)) if not (held and i == p)]

    def f(part: list[Any]) -> Any:
        full = list(x)
        for i, value in zip(free, part, strict=True):
            full[i] = value
        return model.at(full, False)

    part = [x[i] for i in free]
    for _ in range(8):
        gradient, hessian = derivatives(f, part)
        step = mp.lu_solve(hessian, mp.matrix(gradient))
        part = [a - b for a, b in zip(part, step, strict=True)]
        if max(abs(b) for b in step) < mpf(10) ** -25:
            break
    else:
        raise ArithmeticError("Newton's method did not converge")
    gradient, hessian = derivatives(f, part)
    if max(mp.eigsy(hessian)[0]) >= 0:
        raise ArithmeticError("not a maximum")
    inverse = -(hessian**-1)
    for i, value in zip(free, part, strict=True):
        x[i] = value
    se: list[float | None] = [None] * len(x)
    for at, i in enumerate(free):
        se[i] = float(mp.sqrt(inverse[at, at]))
    return {"x": doubles(x), "se": se, "llf": float(f(part))}


def main() -> None:
    """Write the file."""
    source = json.loads((HERE / "small_study.json").read_text(encoding="utf-8"))["cases"]
    fits = []
    for name, alternative, steps, held in FITS:
        stored = next(
            s
            for s in source[name]["selection"]
            if s["method"] == ("EE" if held else "ML")
            and s["alternative"].replace(".", "-") == alternative
            and tuple(s["steps"]) == steps
        )
        model = Model(source[name], alternative, steps)
        zero = held or stored["tau2"] < 1e-8
        tau2 = mpf(0) if zero else mpf(stored["tau2"])
        x = [*map(mpf, stored["beta"]), tau2, *map(mpf, stored["delta"][1:])]
        found = maximum(model, x, zero)
        fits.append(
            {"case": name, "alternative": alternative, "steps": steps, "held": held} | found
        )
        print(name, alternative, steps, found["llf"], found["x"], flush=True)
    points = []
    for name, alternative, steps, (beta, tau2, logs) in FAR:
        model = Model(source[name], alternative, steps)
        x = [mpf(a) for a in (*beta, tau2, *logs)]
        gradient, hessian = derivatives(lambda a, m=model: m.at(a, True), x)
        points.append(
            {
                "case": name,
                "alternative": alternative,
                "steps": steps,
                "beta": beta,
                "tau2": tau2,
                "log_weights": logs,
                "value": float(model.at(x, True)),
                "gradient": doubles(gradient),
                "hessian": rows_of(hessian),
            }
        )
    meta = {
        "script": "make_selection_mpmath.py",
        "python": platform.python_version(),
        "packages": {"mpmath": mpmath.__version__},
    }
    text = json.dumps({"meta": meta, "fits": fits, "points": points}, indent=1)
    (HERE / "small_study_mpmath.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
