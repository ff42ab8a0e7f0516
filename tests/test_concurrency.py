"""Threads, pools of processes, and warnings as errors over the whole path."""

import multiprocessing
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from metareg_sm import MetaReg, datasets

pytestmark = pytest.mark.plumbing


def numbers(seed):
    """Everything that a summary shows of one data set."""
    rng = np.random.default_rng(seed)
    k = 20 + seed % 7
    frame = pd.DataFrame({"y": rng.normal(size=k), "v": rng.uniform(0.1, 1.0, k)})
    frame["x"], frame["g"] = rng.normal(size=k), rng.integers(0, 3, k).astype(str)
    res = MetaReg.from_formula("y ~ x + g", frame, vi="v").fit()
    res.summary()
    interval = res.conf_int_tau2().loc["tau2"].tolist()
    return [*res.params, *res.bse, res.tau2, res.llf, res.heterogeneity.q, *interval]


def ends(res):
    """What a fitted model that was sent elsewhere says there."""
    return [*res.params, *res.get_prediction({"ablat": [33]}).predicted_mean]


@pytest.mark.filterwarnings("ignore::metareg_sm.exceptions.IntervalWarning")
def test_eight_threads():
    known = [numbers(seed) for seed in range(40)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(numbers, range(40)))
    for a, b in zip(found, known, strict=True):
        assert_allclose(a, b, rtol=1e-12)


def test_eight_threads_share_one_fit(bcg):
    res = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
    known = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: res.conf_int_tau2().loc["tau2"].tolist(), range(32)))
    for row in found:
        assert_allclose(row, known.conf_int_tau2().loc["tau2"].tolist(), rtol=1e-12)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes(method, tmp_path):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} on this system")
    script = textwrap.dedent(
        f"""
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor
        from metareg_sm import MetaReg, datasets

        def ends(res):
            return [*res.params, *res.get_prediction({{"ablat": [33]}}).predicted_mean]

        if __name__ == "__main__":
            bcg = datasets.bcg.load_pandas().data
            res = MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
            context = multiprocessing.get_context({method!r})
            with ProcessPoolExecutor(2, mp_context=context) as pool:
                for found in pool.map(ends, [res] * 4):
                    print(*found)
        """
    )
    (tmp_path / "pool.py").write_text(script)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "pool.py")],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    res = MetaReg.from_formula("yi ~ ablat", datasets.bcg.load_pandas().data, vi="vi").fit()
    rows = [[float(x) for x in line.split()] for line in done.stdout.splitlines()]
    assert len(rows) == 4
    for row in rows:
        assert_allclose(row, ends(res), rtol=1e-12)


@pytest.mark.parametrize("engine", ["patsy", "formulaic"])
def test_warnings_as_errors(engine):
    script = textwrap.dedent(
        f"""
        import statsmodels.formula
        statsmodels.formula.options.formula_engine = {engine!r}
        import statsmodels.formula.api as smf
        import metareg_sm
        bcg = metareg_sm.datasets.bcg.load_pandas().data
        res = smf.metareg("yi ~ ablat + C(alloc)", bcg, vi="vi").fit()
        str(res.summary()), str(res.summary2()), res.summary().as_latex(), repr(res)
        res.get_prediction({{"ablat": [33], "alloc": ["random"]}}).summary_frame()
        res.predict(bcg), res.conf_int_tau2(), res.lr_test_tau2(), res.heterogeneity, res.vif()
        res.permutation_test(99, rng=1), res.bootstrap(99, rng=1), res.random_effects
        res.t_test_pairwise("C(alloc)"), res.wald_test_terms(scalar=True)
        metareg_sm.screen(bcg, "yi", ["ablat", "alloc"], vi="vi").summary()
        groups = {{"groups": "year", "correction": "CR2"}}
        str(res.model.fit(cov_type="cluster", cov_kwds=groups).summary())
        print("done")
        """
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "done\n", done.stderr
