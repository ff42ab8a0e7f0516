"""Reference values for metareg_sm in 50-digit arithmetic, independent of the package.

``python make_mpmath.py`` reads ``data.json`` (written by ``make_reference.R``), writes
``mpmath.json`` for those cases, and makes the hard synthetic cases with their solutions in
``synthetic.json``.  Every number is computed with mpmath at 50 digits from the exact doubles of the
data and stored as the nearest double.  numpy serves only to lay out the arrays that were read.

The design is orthonormalised first (in 50 digits).  Both likelihoods are invariant to that, given
the term 1/2 ln|X'X| in REML, and a plain double-precision scan for sign changes of the score then
sees a perfectly conditioned problem.  Roots are refined in 50 digits.
"""

from __future__ import annotations

import json
import math
import platform
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import mpmath
import numpy as np

# A context of its own, so that importing this module leaves mpmath's global precision alone.
mp = mpmath.MPContext()
mp.dps = 50
mpf = mp.mpf

HERE = Path(__file__).resolve().parent
ALPHA = mpf("0.05")
N_GRID = 800
METHODS = ("REML", "ML")

Vector = list[Any]
Rows = list[list[Any]]


# ------------------------------------------------------------------ small linear algebra


def solve(a: Rows, b: Rows) -> Rows:
    """Solve ``a x = b`` by Gaussian elimination with partial pivoting (float or mpf)."""
    n, m = len(a), len(b[0])
    rows = [list(a[i]) + list(b[i]) for i in range(n)]
    for i in range(n):
        pivot = max(range(i, n), key=lambda r: abs(rows[r][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        for r in range(i + 1, n):
            f = rows[r][i] / rows[i][i]
            if f:
                rows[r] = [x - f * y for x, y in zip(rows[r], rows[i], strict=True)]
    x = [[rows[i][n + j] for j in range(m)] for i in range(n)]
    for i in reversed(range(n)):
        for j in range(m):
            total = x[i][j] - sum(rows[i][c] * x[c][j] for c in range(i + 1, n))
            x[i][j] = total / rows[i][i]
    return x


def identity(n: int) -> Rows:
    return [[mpf(int(i == j)) for j in range(n)] for i in range(n)]


def matmul(a: Rows, b: Rows) -> Rows:
    return [
        [sum(x * y for x, y in zip(r, c, strict=True)) for c in zip(*b, strict=True)] for r in a
    ]


def trace(a: Rows) -> Any:
    return sum(a[i][i] for i in range(len(a)))


def logdet(a: Rows, log: Callable[[Any], Any]) -> Any:
    """Log determinant of a positive definite matrix by Cholesky's pivots."""
    n = len(a)
    rows = [list(r) for r in a]
    out = log(rows[0][0])
    for i in range(n - 1):
        for r in range(i + 1, n):
            f = rows[r][i] / rows[i][i]
            rows[r] = [x - f * y for x, y in zip(rows[r], rows[i], strict=True)]
        out += log(rows[i + 1][i + 1])
    return out


def orthonormal(x: Rows) -> tuple[Rows, Rows]:
    """Return Q with orthonormal columns and upper triangular R with ``x = Q R``."""
    k, p = len(x), len(x[0])
    q = [[x[i][j] for i in range(k)] for j in range(p)]
    r = [[mpf(0)] * p for _ in range(p)]
    for j in range(p):
        for i in range(j):
            r[i][j] = mp.fdot(q[i], q[j])
            q[j] = [a - r[i][j] * b for a, b in zip(q[j], q[i], strict=True)]
        r[j][j] = mp.sqrt(mp.fdot(q[j], q[j]))
        q[j] = [a / r[j][j] for a in q[j]]
    return [[q[j][i] for j in range(p)] for i in range(k)], r


# ------------------------------------------------------------------ distributions


def chi2_cdf(x: mpf, df: int) -> mpf:
    return mp.gammainc(mpf(df) / 2, 0, x / 2, regularized=True)


def chi2_sf(x: mpf, df: int) -> mpf:
    return mp.gammainc(mpf(df) / 2, x / 2, mp.inf, regularized=True) if x > 0 else mpf(1)


def f_sf(x: mpf, d1: int, d2: int) -> mpf:
    return mp.betainc(mpf(d2) / 2, mpf(d1) / 2, 0, d2 / (d2 + d1 * x), regularized=True)


def t_pvalue(t: mpf, df: int) -> mpf:
    return f_sf(t * t, 1, df)


def z_pvalue(z: mpf) -> mpf:
    return mp.erfc(abs(z) / mp.sqrt(2))


@lru_cache
def chi2_ppf(q: str, df: int) -> mpf:
    target = mpf(q)
    hi = mpf(df) + 10
    while chi2_cdf(hi, df) < target:
        hi *= 2
    return root(lambda x: chi2_cdf(x, df) - target, mpf(0), hi)


@lru_cache
def t_crit(df: int) -> mpf:
    hi = mpf(2)
    while t_pvalue(hi, df) > ALPHA:
        hi *= 2
    return root(lambda x: ALPHA - t_pvalue(x, df), mpf(0), hi)


def z_crit() -> mpf:
    return mp.sqrt(2) * mp.erfinv(1 - ALPHA)


def root(f: Callable[[mpf], mpf], a: mpf, b: mpf) -> mpf:
    """Root of ``f`` in a bracket: Illinois steps, halving whenever those stall."""
    fa, fb = f(a), f(b)
    if fa == 0:
        return a
    if fb == 0:
        return b
    if (fa > 0) == (fb > 0):
        raise ValueError("no sign change in the bracket")
    side = 0
    width = b - a
    for step in range(2000):
        if abs(b - a) <= mpf(10) ** -46 * (abs(a) + abs(b)):
            return (a + b) / 2
        if step % 4 == 3 and abs(b - a) > width / 2:
            c = (a + b) / 2
        else:
            c = (a * fb - b * fa) / (fb - fa)
        if step % 4 == 3:
            width = abs(b - a)
        if not min(a, b) < c < max(a, b):
            c = (a + b) / 2
        fc = f(c)
        if fc == 0:
            return c
        if (fc > 0) == (fb > 0):
            b, fb = c, fc
            if side == -1:
                fa /= 2
            side = -1
        else:
            a, fa = c, fc
            if side == 1:
                fb /= 2
            side = 1
        if abs(fc) < mpf(10) ** -(mp.dps + 20):
            return c
    raise ArithmeticError("root did not converge")


# ------------------------------------------------------------------ the model


@dataclass(frozen=True)
class Moments:
    """Everything the likelihoods need at one value of tau2 (P as in the package's design)."""

    sum_log: Any
    logdet_xwx: Any
    rss: Any
    ypp_y: Any
    yppp_y: Any
    tr_w: Any
    tr_w2: Any
    tr_p: Any
    tr_pp: Any
    gamma: Vector
    cov: Rows


class Problem:
    """One meta-regression; ``x`` is orthonormalised on entry."""

    def __init__(self, y: Vector, v: Vector, x: Rows) -> None:
        self.y, self.v, self.x_raw = y, v, x
        self.k, self.p = len(y), len(x[0])
        self.x, self.r = orthonormal(x)
        self.y_float = [float(a) for a in y]
        self.v_float = [float(a) for a in v]
        self.x_float = [[float(a) for a in row] for row in self.x]

    @property
    def df(self) -> int:
        return self.k - self.p

    def moments(self, tau2: Any, *, exact: bool = True) -> Moments:
        if exact:
            y, v, x, log = self.y, self.v, self.x, mp.log
        else:
            y, v, x, log = self.y_float, self.v_float, self.x_float, math.log
        p = self.p
        w = [1 / (a + tau2) for a in v]

        def gram(weights: Vector) -> Rows:
            out = [[0] * p for _ in range(p)]
            for i in range(p):
                for j in range(i, p):
                    out[i][j] = sum(a * r[i] * r[j] for a, r in zip(weights, x, strict=True))
                    out[j][i] = out[i][j]
            return out

        w2 = [a * a for a in w]
        a1 = gram(w)
        one = [[1 if i == j else 0 for j in range(p)] for i in range(p)]
        inv = solve(a1, one)
        c2 = matmul(inv, gram(w2))
        c3 = matmul(inv, gram([a * b for a, b in zip(w, w2, strict=True)]))
        xwy = [sum(a * r[j] * b for a, r, b in zip(w, x, y, strict=True)) for j in range(p)]
        gamma = [sum(a * b for a, b in zip(row, xwy, strict=True)) for row in inv]
        resid = [
            b - sum(g * c for g, c in zip(gamma, r, strict=True)) for b, r in zip(y, x, strict=True)
        ]
        z = [a * b for a, b in zip(w, resid, strict=True)]
        xwz = [sum(a * r[j] * b for a, r, b in zip(w, x, z, strict=True)) for j in range(p)]
        quad = sum(xwz[i] * inv[i][j] * xwz[j] for i in range(p) for j in range(p))
        return Moments(
            sum_log=sum(log(a + tau2) for a in v),
            logdet_xwx=logdet(a1, log),
            rss=sum(a * b for a, b in zip(z, resid, strict=True)),
            ypp_y=sum(a * a for a in z),
            yppp_y=sum(a * b * b for a, b in zip(w, z, strict=True)) - quad,
            tr_w=sum(w),
            tr_w2=sum(w2),
            tr_p=sum(w) - trace(c2),
            tr_pp=sum(w2) - 2 * trace(c3) + trace(matmul(c2, c2)),
            gamma=gamma,
            cov=inv,
        )

    # X'X is the identity after the orthonormalisation, so its log determinant is 0; the value of
    # the REML likelihood is that of the original design because ln|X'X| - ln|X'WX| is invariant.
    def loglik(self, m: Moments, method: str, log2pi: Any) -> Any:
        if method == "ML":
            return -(self.k * log2pi + m.sum_log + m.rss) / 2
        return -(self.df * log2pi + m.sum_log + m.logdet_xwx + m.rss) / 2

    def ll(self, tau2: mpf, method: str) -> mpf:
        return self.loglik(self.moments(tau2), method, mp.log(2 * mp.pi))

    def score_of(self, m: Moments, method: str) -> Any:
        return (m.ypp_y - (m.tr_w if method == "ML" else m.tr_p)) / 2

    def score(self, tau2: mpf, method: str) -> mpf:
        return self.score_of(self.moments(tau2), method)

    def beta(self, m: Moments) -> Vector:
        return [row[0] for row in solve(self.r, [[g] for g in m.gamma])]

    def cov_beta(self, m: Moments) -> Rows:
        rinv = solve(self.r, identity(self.p))
        return matmul(matmul(rinv, m.cov), [list(c) for c in zip(*rinv, strict=True)])

    @cached_property
    def grid(self) -> list[float]:
        """tau2 = 0 and a geometric grid well beyond every place a stationary point can be."""
        lo = min(self.v_float) * 1e-4
        ols = self.moments(1e6 * max(self.v_float), exact=False)
        spread = ols.ypp_y * (1e6 * max(self.v_float)) ** 2
        hi = 1e4 * (max(self.v_float) + spread)
        step = (hi / lo) ** (1 / (N_GRID - 1))
        return [0.0, *(lo * step**i for i in range(N_GRID))]

    @cached_property
    def scan(self) -> list[Moments]:
        return [self.moments(t, exact=False) for t in self.grid]

    def local_maxima(self, method: str) -> list[mpf]:
        """Every tau2 >= 0 at which the profile likelihood has a local maximum, ascending."""
        s = [self.score_of(m, method) for m in self.scan]
        # The sign at 0 decides whether the boundary is a maximum: take it in 50 digits.
        at_zero = self.score(mpf(0), method)
        s[0] = float(at_zero)
        found = [mpf(0)] if at_zero <= 0 else []
        for i in range(len(s) - 1):
            if s[i] > 0 >= s[i + 1]:
                a, b = mpf(self.grid[i]), mpf(self.grid[i + 1])
                found.append(root(lambda t: self.score(t, method), a, b))
        return found

    def optimum(self, method: str) -> tuple[mpf, list[tuple[mpf, mpf]]]:
        peaks = [(t, self.ll(t, method)) for t in self.local_maxima(method)]
        return max(peaks, key=lambda item: item[1])[0], peaks

    def without(self, i: int) -> Problem:
        def keep(a: list[Any]) -> list[Any]:
            return a[:i] + a[i + 1 :]

        return Problem(keep(self.y), keep(self.v), keep(self.x_raw))


# ------------------------------------------------------------------ intervals


def generalised_q(problem: Problem, tau2: mpf) -> mpf:
    return problem.moments(tau2).rss


def q_root(problem: Problem, target: mpf) -> mpf | None:
    """Solve ``Q(tau2) = target``; None when Q(0) is already below it."""
    if generalised_q(problem, mpf(0)) < target:
        return None
    hi = mpf(max(problem.v_float))
    while generalised_q(problem, hi) > target:
        hi *= 4
    return root(lambda t: generalised_q(problem, t) - target, mpf(0), hi)


def q_profile(problem: Problem) -> list[mpf | str]:
    hi = q_root(problem, chi2_ppf(str(ALPHA / 2), problem.df))
    if hi is None:
        return ["empty", "empty"]
    lo = q_root(problem, chi2_ppf(str(1 - ALPHA / 2), problem.df))
    return [mpf(0) if lo is None else lo, hi]


def likelihood_region(problem: Problem, method: str, top: mpf) -> list[list[mpf | str]]:
    """All intervals of tau2 whose profile log-likelihood is within chi2_1/2 of the maximum."""
    level = top - chi2_ppf(str(1 - ALPHA), 1) / 2
    log2pi = math.log(2 * math.pi)
    floor = float(level)
    inside = [problem.loglik(m, method, log2pi) >= floor for m in problem.scan]
    inside[0] = problem.ll(mpf(0), method) >= level
    pieces: list[list[mpf | str]] = [[mpf(0)]] if inside[0] else []
    for i in range(len(inside) - 1):
        if inside[i] != inside[i + 1]:
            a, b = mpf(problem.grid[i]), mpf(problem.grid[i + 1])
            end = root(lambda t: problem.ll(t, method) - level, a, b)
            if inside[i]:
                pieces[-1].append(end)
            else:
                pieces.append([end])
    if inside[-1]:
        pieces[-1].append("unbounded")
    return pieces


def derived(ends: Sequence[mpf | str], s2: mpf) -> dict[str, list[mpf | str]]:
    """The ends carried over to tau, I2 (a fraction) and H2."""

    def each(f: Callable[[mpf], mpf]) -> list[mpf | str]:
        return [a if isinstance(a, str) else f(a) for a in ends]

    return {
        "tau2": list(ends),
        "tau": each(mp.sqrt),
        "i2": each(lambda t: t / (s2 + t)),
        "h2": each(lambda t: t / s2 + 1),
    }


# ------------------------------------------------------------------ one case


def moment_estimators(problem: Problem) -> dict[str, mpf]:
    """Estimators with a closed form, and Paule-Mandel, truncated at 0."""
    m0 = problem.moments(mpf(0))
    k, df = problem.k, problem.df
    ones = Problem(problem.y, [mpf(1)] * k, problem.x_raw)
    ols = ones.moments(mpf(0))
    leverage = [
        sum(row[i] * row[j] * ols.cov[i][j] for i in range(problem.p) for j in range(problem.p))
        for row in problem.x
    ]
    tr_pv = sum((1 - h) * v for h, v in zip(leverage, problem.v, strict=True))
    mean = sum(problem.y) / k
    start = sum((a - mean) ** 2 for a in problem.y) / k
    pm = q_root(problem, mpf(df))
    raw = {
        "dl": (m0.rss - df) / m0.tr_p,
        "he": (ols.rss - tr_pv) / df,
        "hs": (m0.rss - k) / m0.tr_w,
        "sj": start * problem.moments(start).rss / df,
        "pm": mpf(0) if pm is None else pm,
    }
    return {name: max(mpf(0), value) for name, value in raw.items()}


def fit(problem: Problem, null: Problem, method: str, intercept: bool) -> dict[str, Any]:
    tau2, peaks = problem.optimum(method)
    m = problem.moments(tau2)
    m0 = problem.moments(mpf(0))
    df, p = problem.df, problem.p
    s2 = df / m0.tr_p
    beta, cov = problem.beta(m), problem.cov_beta(m)
    se = [mp.sqrt(cov[j][j]) for j in range(p)]
    q = m.rss / df
    se_kh = [mp.sqrt(q) * a for a in se]
    top = problem.loglik(m, method, mp.log(2 * mp.pi))
    pieces = likelihood_region(problem, method, top)
    lr = 2 * (top - problem.ll(mpf(0), method))
    out: dict[str, Any] = {
        "tau2": tau2,
        "loglik": top,
        "local_maxima": [{"tau2": t, "loglik": value} for t, value in peaks],
        "score_at_zero": problem.score(mpf(0), method),
        "tau2_se": mp.sqrt(2 / (m.tr_w2 if method == "ML" else m.tr_pp)),
        "information_observed": m.yppp_y - (m.tr_w2 if method == "ML" else m.tr_pp) / 2,
        "beta": beta,
        "se_wald": se,
        "p_wald": [z_pvalue(b / s) for b, s in zip(beta, se, strict=True)],
        "q": q,
        "se_kh": se_kh,
        "p_kh": [t_pvalue(b / s, df) for b, s in zip(beta, se_kh, strict=True)],
        "cov_wald": cov,
        "i2": tau2 / (s2 + tau2),
        "h2": tau2 / s2 + 1,
        "lr_tau2": {"statistic": lr, "pvalue": chi2_sf(lr, 1) / 2 if lr > 0 else mpf(1)},
        "profile_likelihood": derived([pieces[0][0], pieces[-1][1]], s2),
        "profile_likelihood_pieces": pieces,
    }
    tested = list(range(1, p)) if intercept else list(range(p))
    if tested:
        sub = [[cov[i][j] for j in tested] for i in tested]
        x = solve(sub, [[beta[i]] for i in tested])
        chi2 = sum(beta[i] * x[n][0] for n, i in enumerate(tested))
        out["omnibus"] = {
            "df": len(tested),
            "chi2": chi2,
            "chi2_p": chi2_sf(chi2, len(tested)),
            "f": chi2 / len(tested) / q,
            "f_p": f_sf(chi2 / len(tested) / q, len(tested), df),
        }
    if intercept:
        tau2_null = null.optimum(method)[0]
        out["tau2_null"] = tau2_null
        out["r2"] = max(mpf(0), (tau2_null - tau2) / tau2_null) if tau2_null > 0 else mpf(0)
    return out


def likelihood_table(problem: Problem) -> list[dict[str, Any]]:
    """Value, score and information of both likelihoods at values of tau2 away from the optimum."""
    centre = mpf(float(np.median(problem.v_float)))
    out = []
    for tau2 in (mpf(0), centre / 16, centre, 16 * centre):
        m = problem.moments(tau2)
        row: dict[str, Any] = {"tau2": tau2}
        for method in METHODS:
            second = m.tr_w2 if method == "ML" else m.tr_pp
            row[method] = {
                "loglik": problem.loglik(m, method, mp.log(2 * mp.pi)),
                "score": problem.score_of(m, method),
                "information_observed": m.yppp_y - second / 2,
                "information_expected": second / 2,
            }
        out.append(row)
    return out


def solve_case(
    y: Sequence[float], v: Sequence[float], x: Sequence[Sequence[float]], *, intercept: bool
) -> dict[str, Any]:
    y_, v_ = [mpf(a) for a in y], [mpf(a) for a in v]
    problem = Problem(y_, v_, [[mpf(a) for a in row] for row in x])
    null = Problem(y_, v_, [[mpf(1)] for _ in y_])
    m0 = problem.moments(mpf(0))
    df = problem.df
    s2 = df / m0.tr_p
    q_total = null.moments(mpf(0)).rss
    i2_total = max(mpf(0), (q_total - (problem.k - 1)) / q_total)
    i2_residual = max(mpf(0), (m0.rss - df) / q_total)
    out: dict[str, Any] = {
        "k": problem.k,
        "p": problem.p,
        "t_crit": t_crit(df),
        "QE": m0.rss,
        "QEp": chi2_sf(m0.rss, df),
        "s2": s2,
        "i2_q": max(mpf(0), (m0.rss - df) / m0.rss),
        "estimators": moment_estimators(problem),
        "q_profile": derived(q_profile(problem), s2),
        "fits": {method: fit(problem, null, method, intercept) for method in METHODS},
        "likelihood": likelihood_table(problem),
    }
    if intercept:
        out["decomposition"] = {
            "q_total": q_total,
            "q_model": q_total - m0.rss,
            "i2_total": i2_total,
            "i2_residual": i2_residual,
        }
    if problem.df > 1:
        out["tau2_deleted"] = [deleted(problem, i) for i in range(problem.k)]
    return out


def deleted(problem: Problem, i: int) -> mpf | None:
    """REML tau2 without study ``i``; None if that leaves a design of lower rank."""
    rest = [row for j, row in enumerate(problem.x) if j != i]
    leverage = 1 - sum(a * a for a in problem.x[i])
    if leverage < mpf(10) ** -20 or len(rest) <= problem.p:
        return None
    return problem.without(i).optimum("REML")[0]


# ------------------------------------------------------------------ synthetic cases


def log_uniform(rng: random.Random, decades: float) -> float:
    return 10 ** (decades * (rng.random() - 1))


def hard(seed: int, k: int, p: int) -> tuple[list[float], list[float], list[list[float]]]:
    """Few studies, sampling variances over four decades: several local maxima are common."""
    rng = random.Random(seed)
    v = [log_uniform(rng, 4) for _ in range(k)]
    x = [[1.0, *(rng.gauss(0, 1) for _ in range(p - 1))] for _ in range(k)]
    tau2 = log_uniform(rng, 3)
    y = [rng.gauss(0, math.sqrt(a + tau2)) for a in v]
    return y, v, x


def regular(
    seed: int, k: int, x: Callable[[random.Random], list[float]], scale: float = 1.0
) -> tuple[list[float], list[float], list[list[float]]]:
    """An ordinary meta-regression, with the design and the scale of the outcome given."""
    rng = random.Random(seed)
    rows = [x(rng) for _ in range(k)]
    v = [0.01 + 0.2 * rng.random() for _ in range(k)]
    y = [scale * rng.gauss(0.3, math.sqrt(a + 0.1)) for a in v]
    return y, [a * scale * scale for a in v], rows


def year_and_money(rng: random.Random) -> list[float]:
    return [1.0, float(rng.randint(1930, 1950)), 1e6 * rng.random()]


def year_squared(rng: random.Random) -> list[float]:
    year = float(rng.randint(1930, 1950))
    return [1.0, year, year * year]


def plain(rng: random.Random) -> list[float]:
    return [1.0, rng.gauss(0, 1)]


def synthetic() -> dict[str, dict[str, Any]]:
    """Every synthetic case: what it is for, and its data."""
    out: dict[str, dict[str, Any]] = {}

    def add(
        name: str, about: str, data: tuple[list[float], list[float], list[list[float]]]
    ) -> None:
        y, v, x = data
        out[name] = {"about": about, "y": y, "v": v, "exog": x}

    for name, seed, k, p, about in HARD:
        add(name, about, hard(seed, k, p))
    add("scale_year_money", "year uncentred, a column of scale 1e6", regular(1, 20, year_and_money))
    add("scale_year_squared", "year and its square, both uncentred", regular(2, 20, year_squared))
    add("scale_tiny", "outcome of scale 1e-6", regular(3, 15, plain, 1e-6))
    add("scale_huge", "outcome of scale 1e6", regular(3, 15, plain, 1e6))
    add("one_df", "k = p + 1", regular(6, 3, plain))
    y, v, x = regular(5, 12, plain)
    add("one_precise", "one study 1e8 times as precise as the rest", (y, [v[0] * 1e-8, *v[1:]], x))
    y, v, x = regular(7, 10, plain)
    add("homogeneous", "far less spread than sampling error", ([a * 0.05 for a in y], v, x))
    return out


# Seeds picked by scanning the first 1500 for more than one local maximum.
HARD: tuple[tuple[str, int, int, int, str], ...] = (
    ("reml_two_interior", 364, 5, 2, "REML: two interior maxima, the larger one global"),
    ("reml_two_interior_small", 1452, 5, 2, "REML: two interior maxima, the smaller one global"),
    ("reml_zero_global", 976, 5, 1, "REML: tau2 = 0 global, an interior maximum besides"),
    ("reml_interior_global", 198, 7, 2, "REML: interior maximum global, tau2 = 0 a local one"),
    ("reml_near_tie", 269, 6, 2, "REML: tau2 = 0 and an interior maximum 0.03 apart"),
    ("both_two", 1024, 5, 1, "REML and ML both with maxima at 0 and inside, one global each"),
    ("ml_zero_global", 576, 5, 1, "ML: tau2 = 0 global, an interior maximum besides"),
    ("ml_interior_global", 116, 5, 2, "ML: interior maximum global, tau2 = 0 a local one"),
    ("ml_near_tie", 164, 5, 2, "ML: tau2 = 0 and an interior maximum 0.05 apart"),
    ("ml_zero_global_k8", 731, 8, 1, "ML: as ml_zero_global, with more studies"),
)


# ------------------------------------------------------------------ files


def plain_json(a: Any) -> Any:
    if isinstance(a, mpf):
        return float(a)
    if isinstance(a, dict):
        return {key: plain_json(value) for key, value in a.items()}
    if isinstance(a, (list, tuple)):
        return [plain_json(value) for value in a]
    return a


def dump(a: Any, depth: int = 0) -> str:
    """JSON with one vector or matrix a line."""
    if isinstance(a, dict) and a:
        pad = "\n" + " " * (depth + 1)
        body = ("," + pad).join(f"{json.dumps(k)}: {dump(v, depth + 1)}" for k, v in a.items())
        return "{" + pad + body + "\n" + " " * depth + "}"
    if isinstance(a, list) and any(isinstance(b, dict) for b in a):
        pad = "\n" + " " * (depth + 1)
        return "[" + pad + ("," + pad).join(json.dumps(b) for b in a) + "\n" + " " * depth + "]"
    return json.dumps(a)


def write(name: str, cases: dict[str, Any]) -> None:
    meta = {
        "script": "make_mpmath.py",
        "digits": mp.dps,
        "python": platform.python_version(),
        "packages": {"mpmath": mpmath.__version__, "numpy": np.__version__},
    }
    text = dump(plain_json({"meta": meta, "cases": cases}))
    (HERE / name).write_text(text + "\n", encoding="utf-8")


def job(args: tuple[Any, Any, Any, bool]) -> dict[str, Any]:
    y, v, x, intercept = args
    # Numbers of a private context cannot be pickled on their way back.
    solved: dict[str, Any] = plain_json(solve_case(y, v, x, intercept=intercept))
    return solved


def main() -> None:
    data = json.loads((HERE / "data.json").read_text(encoding="utf-8"))
    hard_cases = synthetic()
    jobs: dict[str, tuple[Any, Any, Any, bool]] = {}
    for name, case in data["cases"].items():
        frame = data["frames"][case["frame"]]
        exog = np.array(case["exog"], dtype=float).reshape(case["k"], case["p"])
        jobs[name] = (frame["yi"], frame["vi"], exog.tolist(), case["intercept"])
    for name, case in hard_cases.items():
        jobs[f"synthetic:{name}"] = (case["y"], case["v"], case["exog"], True)
    with ProcessPoolExecutor() as pool:
        solved = dict(zip(jobs, pool.map(job, jobs.values()), strict=True))
    write("mpmath.json", {name: solved[name] for name in data["cases"]})
    write(
        "synthetic.json",
        {name: {**case, **solved[f"synthetic:{name}"]} for name, case in hard_cases.items()},
    )


if __name__ == "__main__":
    main()
