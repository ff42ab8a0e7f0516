"""Tables of the largest differences from reference values, computed while the pages are built."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from metareg_sm import LocationScaleMetaReg, MetaReg, effect_size
from metareg_sm.effectsizes import MEASURES
from metareg_sm.exceptions import FewStudiesWarning, IdentificationWarning
from tests.reference import Case, cases, load, mixed_cases

Table = tuple[list[str], list[list[str]], list[int]]

# metafor's rma.uni is wrong where the columns do not span the constant: tests/reference/README.md
LEFT_OUT = "viechtbauer_origin"
METHODS = ("REML", "ML", "DL", "PM", "EB", "HE", "SJ", "HS", "HSk", "DLIT", "SJIT", "PMM", "EE")
LARGEST_MIXED = 200
# below it a value counts as 0, and the difference is absolute
SMALL = 1e-9
CORRECTIONS = ("CR0", "CR1S", "CR2", "CR3")


class Largest:
    """The largest relative difference of each quantity, and how many numbers were compared."""

    def __init__(self) -> None:
        self.found: dict[str, float] = {}
        self.count: dict[str, int] = {}

    def add(self, quantity: str, ours: Any, theirs: Any) -> None:
        """Compare numbers or vectors; a vector is compared on the scale of its largest entry."""
        a, b = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
        known = np.isfinite(b)
        if not known.any():
            return
        a, b = a[known], b[known]
        scale = np.abs(b).max()
        worst = float(np.abs(a - b).max() / (scale if scale > SMALL else 1.0))
        before = self.found.get(quantity, 0.0)
        self.found[quantity] = math.nan if math.isnan(worst) else max(before, worst)
        self.count[quantity] = self.count.get(quantity, 0) + a.size

    def row(self, quantities: Iterable[str]) -> list[str]:
        """The differences as they are printed."""
        return [shown(self.found.get(q)) for q in quantities]


def shown(difference: float | None) -> str:
    """A difference in one digit; the last digits of a double are all one."""
    if difference is None:
        return ""
    return "< 1e-15" if difference < 1e-15 else f"{difference:.0e}"


@cache
def stored(file: str) -> dict[str, Case]:
    """The cases of a file, read once."""
    return cases(file)


@cache
def _model(file: str, name: str) -> MetaReg:
    case = stored(file)[name]
    return MetaReg.from_formula(case.formula, case.data, vi="vi")


def _order(model: MetaReg, case: Case) -> list[int]:
    return [model.exog_names.index(c) for c in case.coef]


def fifty_digits() -> Table:
    """Each data set and model by REML and ML against 50-digit arithmetic."""
    quantities = ("tau2", "coefficients", "SE (Wald)", "SE (Knapp-Hartung)", "log-likelihood", "Q")
    rows = []
    for file in ("mpmath", "synthetic"):
        for name, case in stored(file).items():
            model, largest = _model(file, name), Largest()
            at = _order(model, case)
            for method, r in case.expected["fits"].items():
                wald = model.fit(tau2=method.lower(), cov_type="nonrobust")
                kh = model.fit(tau2=method.lower())
                largest.add("tau2", wald.tau2, r["tau2"])
                largest.add("coefficients", np.asarray(wald.params)[at], r["beta"])
                largest.add("SE (Wald)", np.asarray(wald.bse)[at], r["se_wald"])
                largest.add("SE (Knapp-Hartung)", np.asarray(kh.bse)[at], r["se_kh"])
                largest.add("log-likelihood", wald.llf, r["loglik"])
                largest.add("Q", wald.heterogeneity.q, case.expected["QE"])
            rows.append([f"``{name}``", str(len(case.y)), *largest.row(quantities)])
    return ["model", "k", *quantities], rows, [28, 6, *[12] * len(quantities)]


def metafor_estimators() -> Table:
    """Every estimator of tau2 against metafor, over all real models."""
    quantities = ("tau2", "SE of tau2", "coefficients", "SE (Knapp-Hartung)", "Q")
    rows = []
    for method in METHODS:
        largest, models = Largest(), 0
        for name, case in stored("fits").items():
            r = case.expected.get(method, {"error": ""})
            if name == LEFT_OUT or "error" in r:
                continue
            models += 1
            model = _model("fits", name)
            tau2: Any = 0.0 if method == "EE" else method.lower()
            at = _order(model, case)
            res = model.fit(tau2=tau2)
            largest.add("tau2", res.tau2, r["tau2"])
            if method != "EE":
                largest.add("SE of tau2", res.tau2_se, r["se.tau2"])
            largest.add("coefficients", np.asarray(res.params)[at], r["beta"])
            if "knha" in r["tests"]:
                largest.add("SE (Knapp-Hartung)", np.asarray(res.bse)[at], r["tests"]["knha"]["se"])
            largest.add("Q", res.heterogeneity.q, r["QE"])
        rows.append([method, str(models), *largest.row(quantities)])
    return ["method", "models", *quantities], rows, [12, 8, *[13] * len(quantities)]


def club_sandwich() -> Table:
    """Cluster-robust covariances against clubSandwich."""
    quantities = ("SE", "degrees of freedom", "p-values")
    rows = []
    for correction in CORRECTIONS:
        largest, models = Largest(), 0
        for name, case in stored("robust").items():
            model = _model("robust", name)
            at = _order(model, case)
            source = stored("fits")[name].expected["REML"]
            # rma.mv's tau2 is good to 1e-6 only; the stored sandwiches stand on it
            tau2 = source["tau2"] if source.get("source") == "rma.mv" else "reml"
            for clusters, entry in case.expected.items():
                r = entry.get("clubSandwich", {}).get(correction, {"error": ""})
                if "error" in r:
                    continue
                models += 1
                groups = np.arange(len(case.y)) if clusters == "row" else clusters
                kwds = {"groups": groups, "correction": correction}
                res = model.fit(tau2=tau2, cov_type="cluster", cov_kwds=kwds)
                largest.add("SE", np.asarray(res.bse)[at], r["se"])
                if correction in ("CR2", "CR3"):
                    largest.add("degrees of freedom", np.asarray(res.contrast_df())[at], r["df"])
                    largest.add("p-values", np.asarray(res.pvalues)[at], r["p"])
        rows.append([correction, str(models), *largest.row(quantities)])
    return ["correction", "fits", *quantities], rows, [20, 10, *[20] * len(quantities)]


def effect_sizes() -> Table:
    """Every measure against metafor's escalc."""
    stored = load("effectsizes")
    tables = {name: pd.DataFrame(t, dtype=float) for name, t in stored["tables"].items()}
    largest: dict[str, Largest] = {m.name: Largest() for m in MEASURES.values()}
    for case in stored["cases"]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ours = effect_size(
                case["measure"], tables[case["table"]], **case["arguments"], **case["options"]
            )
        yi, vi = (np.array(case[name], dtype=float) for name in ("yi", "vi"))
        known = np.isfinite(ours["yi"].to_numpy()) & np.isfinite(yi) & np.isfinite(vi)
        largest[case["measure"]].add("yi", ours["yi"].to_numpy()[known], yi[known])
        largest[case["measure"]].add("vi", ours["vi"].to_numpy()[known], vi[known])
    rows = [
        [f"``{name}``", str(x.count.get("yi", 0)), *x.row(("yi", "vi"))]
        for name, x in largest.items()
    ]
    return ["measure", "studies", "yi", "vi"], rows, [25, 25, 25, 25]


def small_study() -> Table:
    """Small-study effects against metafor, by data set."""
    quantities = ("Egger, mixed", "Egger, multiplicative", "rank correlation", "trim and fill")
    rows = []
    for name, case in load("small_study")["cases"].items():
        largest = Largest()
        X = np.asarray(case["X"], dtype=float).reshape(len(case["y"]), -1)
        model = MetaReg(np.array(case["y"]), X, vi=np.array(case["v"]))
        res = model.fit(cov_type="nonrobust")
        for r in case["egger"]:
            if r["predictor"] not in ("sei", "vi"):
                continue
            if r["model"] == "lm":
                found = res.egger_test(r["predictor"], "multiplicative")
                largest.add("Egger, multiplicative", found.statistic, r["statistic"])
            elif r["method"] == "REML" and r["test"] == "z":
                found = res.egger_test(r["predictor"])
                largest.add("Egger, mixed", found.statistic, r["statistic"])
        if X.shape[1] == 1:
            # metafor's take no notice of moderators
            rank = res.rank_correlation_test()
            largest.add("rank correlation", rank.statistic, case["rank"]["tau"])
            for r in case["trimfill"]:
                if (r["method"], r["side"], r["estimator"]) == ("REML", "auto", "L0"):
                    filled = res.trim_and_fill()
                    largest.add("trim and fill", filled.results.params.iloc[0], r["estimate"])
        rows.append([f"``{name}``", str(len(case["y"])), *largest.row(quantities)])
    return ["data", "k", *quantities], rows, [28, 8, *[16] * len(quantities)]


def influence() -> Table:
    """Deletion diagnostics against metafor, REML and Wald tests, by data set."""
    names = {
        "rstudent": lambda i: i.resid_studentized_external,
        "dffits": lambda i: i.dffits[0],
        "cook.d": lambda i: i.cooks_distance[0],
        "cov.r": lambda i: i.cov_ratio,
        "tau2.del": lambda i: i.tau2_deleted,
        "QE.del": lambda i: i.q_deleted,
        "hat": lambda i: i.hat_matrix_diag,
    }
    rows = []
    for name, case in load("influence")["cases"].items():
        known = case["fits"]["REML"]["z"]
        largest = Largest()
        X = np.asarray(case["X"], dtype=float).reshape(len(case["y"]), -1)
        model = MetaReg(np.array(case["y"]), X, vi=np.array(case["v"]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FewStudiesWarning)
            found = model.fit(cov_type="nonrobust").get_influence()
        for quantity, ours in names.items():
            largest.add(quantity, ours(found), known[quantity])
        rows.append([f"``{name}``", str(len(case["y"])), *largest.row(names)])
    return ["data", "k", *names], rows, [24, 6, *[10] * len(names)]


def scale_influence() -> Table:
    """Deletion diagnostics of location-scale models against metafor's refits, REML and ML."""
    names = {
        "beta": lambda i: i.params_not_obsi,
        "alpha": lambda i: i.scale_params_not_obsi,
        "se_alpha": lambda i: i.scale_bse_not_obsi,
        "rstudent": lambda i: i.resid_studentized_external,
        "dffits": lambda i: i.dffits[0],
        "cook": lambda i: i.cooks_distance[0],
        "cov_ratio": lambda i: i.cov_ratio,
    }
    rows = []
    for name, methods in load("scale_influence")["cases"].items():
        case, largest = load("location_scale")["cases"][name], Largest()
        y, v, X, Z = (np.asarray(case[key], dtype=float) for key in ("y", "v", "X", "Z"))
        model = LocationScaleMetaReg(y, X, vi=v, scale_exog=Z)
        for method, known in methods.items():
            if known is None:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", IdentificationWarning)
                found = model.fit(reml=method == "REML").get_influence()
            fitted = [i for i, row in enumerate(known["deleted"]) if row is not None]
            for quantity, ours in names.items():
                theirs = [known["deleted"][i][quantity] for i in fitted]
                largest.add(quantity, ours(found)[fitted], theirs)
        rows.append([f"``{name}``", str(len(y)), *largest.row(names)])
    return ["data", "k", *names], rows, [24, 6, *[10] * len(names)]


def mixed() -> Table:
    """Models of dependent effects against metafor's rma.mv, REML and ML."""
    quantities = ("coefficients", "SE", "variances", "log-likelihood")
    rows = []
    for name, case in mixed_cases.stored("mixed").items():
        if len(case["y"]) > LARGEST_MIXED:
            continue
        model, largest = mixed_cases.model(name), Largest()
        for method, known in case["fits"].items():
            if method not in ("REML", "ML"):
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                res = model.fit(reml=method == "REML", df="residual")
            largest.add("coefficients", np.asarray(res.params), known["beta"])
            largest.add("SE", np.asarray(res.bse), known["se"])
            largest.add("log-likelihood", res.llf, known["llf"])
            if known["sigma2"]:
                largest.add("variances", np.asarray(res.vcomp), known["sigma2"])
        rows.append([f"``{name}``", str(len(case["y"])), *largest.row(quantities)])
    return ["data", "k", *quantities], rows, [30, 10, *[15] * len(quantities)]


def mixed_egger() -> Table:
    """Multilevel Egger regressions against rma.mv and clubSandwich, REML and ML."""
    quantities = ("slope", "SE", "t", "CR2 t", "CR2 df", "limit")
    rows = []
    for name, entry in mixed_cases.stored("mixed_egger").items():
        model, largest = mixed_cases.model(name), Largest()
        clusters = {"groups": entry["cluster"], "correction": "CR2"}
        for method in ("REML", "ML"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                kwds: dict[str, Any] = {"reml": method == "REML"}
                plain = model.fit(**kwds)
                robust = None
                if "CR2" in entry[method]["sei"]:
                    robust = model.fit(cov_type="cluster", cov_kwds=clusters, **kwds)
                for predictor, known in entry[method].items():
                    found = plain.egger_test(predictor)
                    largest.add("slope", found.slope, known["beta"][-1])
                    largest.add("SE", found.slope_se, known["se"][-1])
                    largest.add("t", found.statistic, known["statistic"][-1])
                    if np.isfinite(found.limit):
                        largest.add("limit", found.limit, known["beta"][0])
                    if robust is not None:
                        found = robust.egger_test(predictor)
                        largest.add("CR2 t", found.statistic, known["CR2"]["statistic"][-1])
                        largest.add("CR2 df", found.df, known["CR2"]["df"][-1])
        rows.append([f"``{name}``", str(model.nobs), *largest.row(quantities)])
    return ["data", "k", *quantities], rows, [28, 8, *[11] * len(quantities)]


TABLES: dict[str, Callable[[], Table]] = {
    "validation-50-digits": fifty_digits,
    "validation-metafor": metafor_estimators,
    "validation-clubsandwich": club_sandwich,
    "validation-effect-sizes": effect_sizes,
    "validation-influence": influence,
    "validation-scale-influence": scale_influence,
    "validation-mixed": mixed,
    "validation-mixed-egger": mixed_egger,
    "validation-small-study": small_study,
}
