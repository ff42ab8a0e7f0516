"""Fixtures that several test modules share."""

import sys

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula

from metareg_sm import MetaReg, datasets


def pytest_configure(config):
    """Know the markers: statsmodels' generic tests' and ours."""
    config.addinivalue_line("markers", "thread_unsafe: not to be run in several threads")
    config.addinivalue_line(
        "markers",
        "plumbing: files, processes and messages, the same under every linear algebra kernel",
    )


@pytest.fixture(params=["patsy", "formulaic"])
def engine(request):
    """Each formula engine in turn; the user's own is put back."""
    options = statsmodels.formula.options
    before = options.formula_engine
    options.formula_engine = request.param
    yield request.param
    options.formula_engine = before


@pytest.fixture
def bcg():
    """The BCG trials, a fresh copy."""
    return datasets.bcg.load_pandas().data


@pytest.fixture
def bcg_res(bcg):
    """The default fit of the BCG trials on latitude and year."""
    return MetaReg.from_formula("yi ~ ablat + year", bcg, vi="vi").fit()


@pytest.fixture
def clustered():
    """Studies in clusters of unequal sizes, singletons included."""
    rng = np.random.default_rng(20)
    sizes = [1, 1, 2, 3, 5, 4, 2, 1, 6, 3]
    group = np.repeat(np.arange(len(sizes)), sizes)
    k = len(group)
    effect = rng.normal(0.0, 0.3, len(sizes))[group]
    v = rng.uniform(0.02, 0.4, k)
    x = rng.normal(size=k)
    z = rng.normal(size=len(sizes))[group]
    y = 0.3 + 0.2 * x + effect + rng.normal(0.0, np.sqrt(v))
    order = rng.permutation(k)
    frame = pd.DataFrame({"y": y, "v": v, "x": x, "z": z, "g": group})
    return frame.iloc[order].reset_index(drop=True)


@pytest.fixture(autouse=True)
def _figures_closed():
    """No figure outlives its test."""
    yield
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close("all")
