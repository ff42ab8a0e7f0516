"""Limit estimates of excess significance, and Freeman-Tukey transforms taken back, by metafor."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from numpy.testing import assert_allclose

import metareg_sm
from metareg_sm.stats.small_study import excess_significance_test

STORED = json.loads((Path(__file__).parent / "checks.json").read_text(encoding="utf-8"))
NAMES = {"two.sided": "two-sided", "binom": "binomial"}


@pytest.mark.parametrize("case", STORED["limits"], ids=lambda c: c["data"])
def test_limit_estimate(case):
    frame = STORED["frames"][case["data"]]
    y, v = (np.array(frame[name], dtype=float) for name in "yv")
    options = {k: NAMES.get(case[k], case[k]) for k in ("alternative", "test", "test_alternative")}
    found = excess_significance_test(y, v, case["theta"], case["tau2"], **options)
    assert_allclose(found.theta_lim, np.sort(case["exact"]), rtol=1e-9)
    # metafor's own search stops at uniroot's default, the fourth root of the machine's precision
    assert_allclose(found.theta_lim, np.sort(case["own"]), atol=0.5 * np.finfo(float).eps ** 0.25)


@pytest.mark.parametrize("case", STORED["natural"], ids=lambda c: f"{c['data']} {c['measure']}")
def test_back_by_the_harmonic_mean(case):
    data = pd.DataFrame({"xi": case["xi"], "ni": case["ni"]})
    cells = {"PFT": {"xi": "xi", "ni": "ni"}, "IRFT": {"xi": "xi", "ti": "ni"}}[case["measure"]]
    effects = metareg_sm.effect_size(case["measure"], data, **cells)
    # of the studies in the model alone
    used = np.arange(len(data)) < case["rows"]
    res = smf.metareg("yi ~ 1", effects, vi="vi", subset=used).fit()
    assert_allclose(res.measure.size, case["size"], rtol=1e-12)
    frame = res.get_prediction(transform="natural").summary_frame()
    columns = ["mean", "mean_ci_lower", "mean_ci_upper"]
    assert_allclose(frame[columns].iloc[0], case["natural"], rtol=1e-9, atol=1e-15)
    assert "harmonic mean" in " ".join(str(res.summary()).split())
