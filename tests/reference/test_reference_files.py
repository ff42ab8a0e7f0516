"""The reference files agree with each other, before anything is compared with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import patsy
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from . import NAMES, cases, load

METAFOR = cases("fits")
EXACT = cases("mpmath")
# rma.mv's optimiser stops at a relative change of 1e-10 in the likelihood.
RMA_MV = {"viechtbauer_origin"}


@pytest.mark.parametrize("name", NAMES)
def test_file_names_its_origin(name: str) -> None:
    meta = load(name)["meta"]
    assert (Path(__file__).parent / meta["script"]).is_file()
    assert meta["packages"]


def test_unknown_file() -> None:
    with pytest.raises(ValueError, match="no reference file"):
        load("nothing")


@pytest.mark.parametrize("name", sorted(EXACT))
def test_patsy_builds_the_same_design(name: str) -> None:
    case = EXACT[name]
    design = patsy.dmatrix(case.formula.split("~")[1], case.data, return_type="dataframe")
    assert set(design.columns) == set(case.coef)
    assert_array_equal(design[case.coef].to_numpy(), case.exog)


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("name", sorted(METAFOR))
def test_metafor_agrees_with_50_digits(name: str, method: str) -> None:
    r: dict[str, Any] = METAFOR[name].expected[method]
    exact = EXACT[name].expected["fits"][method]
    rtol = 1e-5 if name in RMA_MV else 1e-8
    assert_allclose(r["tau2"], exact["tau2"], rtol=rtol, atol=1e-12)
    assert_allclose(r["beta"], exact["beta"], rtol=rtol * 10)
    assert_allclose(r["tests"]["z"]["se"], exact["se_wald"], rtol=rtol * 10)
    assert_allclose(r["fit.stats"][method]["logLik"], exact["loglik"], rtol=1e-9)
    if "knha" in r["tests"]:
        assert_allclose(r["tests"]["knha"]["se"], exact["se_kh"], rtol=rtol * 10)


@pytest.mark.parametrize("name", sorted(cases("synthetic")))
def test_stored_optimum_is_the_best_local_maximum(name: str) -> None:
    for fit in cases("synthetic")[name].expected["fits"].values():
        best = max(fit["local_maxima"], key=lambda peak: peak["loglik"])
        assert fit["tau2"] == best["tau2"]
        assert np.isfinite(fit["loglik"])


INFLUENCE = load("influence")["cases"]
# the iteration of REML ends at 1e-12 of its steps
RTOL_DELETED = 1e-7


@pytest.mark.parametrize("method", ["REML", "SJ"])
@pytest.mark.parametrize("name", sorted(INFLUENCE))
def test_diagnostics_agree_with_fits_without_each_study(name: str, method: str) -> None:
    case = INFLUENCE[name]
    for fit in case["fits"][method].values():
        # none where the moderators of the others are redundant
        left = [({} if x is None else x) for x in fit["leave_one_out"]]
        assert len(left) == len(case["y"])
        for deleted, known, atol in (("tau2.del", "tau2", 1e-11), ("QE.del", "q", 1e-9)):
            expected = _floats([x.get(known) for x in left])
            assert_allclose(_floats(fit[deleted]), expected, rtol=RTOL_DELETED, atol=atol)


@pytest.mark.parametrize("name", sorted(set(INFLUENCE) & set(EXACT)))
def test_tau2_without_each_study_agrees_with_50_digits(name: str) -> None:
    known = _floats(EXACT[name].expected["tau2_deleted"])
    for fit in INFLUENCE[name]["fits"]["REML"].values():
        assert_allclose(_floats(fit["tau2.del"]), known, rtol=1e-8, atol=1e-11)


def _floats(values: list[float | None]) -> np.ndarray:
    return np.array(values, dtype=float)
