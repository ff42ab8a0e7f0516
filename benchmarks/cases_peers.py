"""Other Python packages for the same models: time, and largest differences of their answers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import peers
import statsmodels.formula.api as smf
from timing import Finding, faster, in_turns, largest, skipped

import metareg_sm
from metareg_sm import datasets


class Answer(NamedTuple):
    """What every package gives."""

    params: np.ndarray
    bse: np.ndarray
    tau2: np.ndarray


#: data set and moderators of the meta-regressions, by REML with Knapp-Hartung tests
MODELS = {"bcg": ("ablat", "year"), "bangertdrowns2004": ("length",), "hackshaw1998": ("year",)}


def other_packages(repeat: int | None) -> list[Finding]:
    """Meta-regressions of three data sets, a model of three levels and one of two outcomes."""
    found = [
        _beside(module, name, moderators, repeat or 15)
        for name, moderators in MODELS.items()
        for module in ("pimeta", "meta_analyze", "pymare")
    ]
    return [*found, _three_levels(repeat or 5), _two_outcomes(repeat or 15)]


def _beside(module: str, name: str, moderators: tuple[str, ...], pairs: int) -> Finding:
    what = f"{name} ~ {' + '.join(moderators)}: one fit by REML, Knapp-Hartung"
    if why := peers.missing(module):
        return skipped("peers", what, peers.PACKAGES[module], why)
    data = getattr(datasets, name).load_pandas().data
    data = data.dropna(subset=["yi", "vi", *moderators]).astype(dict.fromkeys(moderators, float))
    model = smf.metareg(f"yi ~ {' + '.join(moderators)}", data, vi="vi")

    def ours() -> Answer:
        res = model.fit()
        return Answer(res.params.to_numpy(), res.bse.to_numpy(), np.array([res.tau2]))

    return _compared(what, module, ours, lambda: _PEERS[module](data, list(moderators)), pairs)


def _compared(
    what: str, module: str, ours: Callable[[], Answer], peer: Callable[[], Answer], pairs: int
) -> Finding:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        turns = in_turns(ours, peer, pairs)
        a, b = ours(), peer()
    answers = largest(
        estimates=(a.params, b.params), bse=(a.bse, b.bse), variances=(a.tau2, b.tau2)
    )
    return faster("peers", what, peers.PACKAGES[module], turns, None, answers)


def _pimeta(data: Any, moderators: list[str]) -> Answer:
    import pimeta

    fit = pimeta.rma(
        data["yi"].to_numpy(), data["vi"].to_numpy(), mods=data[moderators].to_numpy(), test="knha"
    )
    return Answer(np.array(fit.b), np.array(fit.se), np.array([fit.tau2]))


def _pymetaanalysis(data: Any, moderators: list[str]) -> Answer:
    import meta_analyze

    fit = meta_analyze.meta_regression(
        data,
        effect="yi",
        variance="vi",
        moderators=moderators,
        inference_method="hartung_knapp",
    )
    table = fit.coefficients
    return Answer(
        table["estimate"].to_numpy(), table["standard_error"].to_numpy(), np.array([fit.tau2])
    )


def _pymare(data: Any, moderators: list[str]) -> Answer:
    X = np.column_stack([np.ones(len(data)), data[moderators].to_numpy()])
    y, v = data["yi"].to_numpy()[None], data["vi"].to_numpy()[None]
    fit = peers.pymare_fit(peers.pymare_dataset(y, v, X))
    return Answer(fit.params[0], fit.bse[0], fit.tau2)


_PEERS = {"pimeta": _pimeta, "meta_analyze": _pymetaanalysis, "pymare": _pymare}


def _three_levels(pairs: int) -> Finding:
    what = "konstantopoulos2011: three levels, 56 effects, REML"
    if why := peers.missing("pimeta"):
        return skipped("peers", what, peers.PACKAGES["pimeta"], why)
    import pimeta

    data = datasets.konstantopoulos2011.load_pandas().data
    model = smf.mixedmetareg("yi ~ 1", data, vi="vi", random="1 | district/school")
    y, v = data["yi"].to_numpy(), data["vi"].to_numpy()

    def ours() -> Answer:
        res = model.fit()
        return Answer(res.params.to_numpy(), res.bse.to_numpy(), res.vcomp.to_numpy())

    def peer() -> Answer:
        fit = pimeta.rma_mv(y, v, data=data, random="~ 1 | district/school")
        return Answer(np.ravel(fit.beta), np.ravel(fit.se), np.ravel(fit.sigma2))

    return _compared(what, "pimeta", ours, peer, pairs)


def _two_outcomes(pairs: int) -> Finding:
    what = "berkey1998: two outcomes with known covariances, 5 trials, REML"
    if why := peers.missing("mixmetapy"):
        return skipped("peers", what, peers.PACKAGES["mixmetapy"], why)
    import mixmetapy

    data = datasets.berkey1998.load_pandas().data.sort_values(["trial", "outcome"])
    V = metareg_sm.sampling_covariance(data["vi"], data["trial"], rho=0.5)
    blocks = [b.to_numpy() if hasattr(b, "to_numpy") else np.asarray(b) for b in _matrices(data)]
    model = smf.mixedmetareg("yi ~ 0 + outcome", data, V=V, random="0 + outcome | trial")
    y, S = data["yi"].to_numpy().reshape(-1, 2), np.array(blocks)

    def ours() -> Answer:
        res = model.fit()
        return Answer(res.params.to_numpy(), res.bse.to_numpy(), np.ravel(res.cov_re))

    def peer() -> Answer:
        fit = mixmetapy.mixmeta(y, S)
        return Answer(np.ravel(fit.coef), np.sqrt(np.diag(fit.vcov)), np.ravel(fit.Psi))

    return _compared(what, "mixmetapy", ours, peer, pairs)


def _matrices(data: Any) -> list[np.ndarray]:
    """Sampling covariances of the trials, with the correlation that the other model has."""
    found = []
    for _, trial in data.groupby("trial"):
        root = np.sqrt(trial["vi"].to_numpy())
        found.append(np.outer(root, root) * np.where(np.eye(2) == 1.0, 1.0, 0.5))
    return found
