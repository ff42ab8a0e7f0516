"""Mapped files: pages that are given back, and results that are kept in a file."""

import errno
import mmap
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from metareg_sm import fit_many
from metareg_sm.many import mapped as paging
from metareg_sm.many.mapped import TableInFile, forget, mapping

pytestmark = pytest.mark.plumbing

K, N = 8, 20_000


@pytest.fixture
def outcomes(tmp_path):
    rng = np.random.default_rng(1)
    X = np.column_stack([np.ones(K), np.linspace(-1.0, 1.0, K)])
    y, v = rng.normal(size=(N, K)), rng.uniform(0.1, 0.5, size=(N, K))
    np.save(tmp_path / "y.npy", y)
    np.save(tmp_path / "v.npy", v)
    return y, v, X, tmp_path


def resident(path):
    """Bytes of a file that are resident in this process."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    found, inside = 0, False
    for line in lines:
        if "-" in line.split(" ", 1)[0] and ":" not in line.split(" ", 1)[0]:
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            found += 1024 * int(line.split()[1])
    return found


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="reads /proc")
@pytest.mark.parametrize("order", ["C", "F"])
def test_pages_that_were_read_are_given_back(outcomes, order):
    y, v, X, folder = outcomes
    path = folder / "mapped"
    values = np.memmap(path, mode="w+", dtype=float, shape=(N, K), order=order)
    values[:] = y
    if resident(path) < y.nbytes // 2:
        pytest.skip("the system does not say what is resident of this file")
    many = fit_many(values, X, v[0], chunk=1000)
    assert resident(path) <= y.nbytes // 4
    assert_array_equal(values, y)
    assert_allclose(many.params, fit_many(y, X, v[0], chunk=1000).params, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("rows", [slice(None), slice(3, 4), slice(5, 5)])
def test_forgetting_changes_nothing(outcomes, rows):
    y, _, _, folder = outcomes
    for values in (np.load(folder / "y.npy", mmap_mode="r"), y, y[:, 0], "y.npy", None):
        if isinstance(values, np.ndarray):
            forget(values[rows])
            assert_array_equal(values, y if values.ndim == 2 else y[:, 0])
        else:
            forget(values)


def test_changes_of_a_copy_on_write_map_stay(outcomes):
    y, v, X, folder = outcomes
    values = np.load(folder / "y.npy", mmap_mode="c")
    values[7] += 1.0
    assert mapping(values) is None
    many = fit_many(values, X, v[0], chunk=1000)
    assert_array_equal(values[7], y[7] + 1.0)
    assert_allclose(many.params[7], fit_many(y[7:8] + 1.0, X, v[0]).params[0], rtol=1e-12)


def test_memory_that_is_no_file_is_left_alone():
    memory = mmap.mmap(-1, 8 * N)
    values = np.frombuffer(memory, dtype=float)
    values[:] = 1.0
    assert mapping(values) is None
    forget(values)
    assert (values == 1.0).all()


@pytest.mark.parametrize("name", ["params", "bse", "tau2", "q", "i2", "llf", "nobs", "reason"])
def test_results_in_a_file_are_those_in_memory(outcomes, name):
    y, v, X, folder = outcomes
    here = fit_many(y, X, v, chunk=3000)
    there = fit_many(folder / "y.npy", X, folder / "v.npy", chunk=3000)
    assert mapping(there._table) is not None
    assert_allclose(getattr(there, name), getattr(here, name), rtol=1e-12, atol=1e-13)


def test_results_in_a_file_cannot_be_overwritten(outcomes):
    *_, X, folder = outcomes
    many = fit_many(folder / "y.npy", X, folder / "v.npy")
    with pytest.raises(ValueError, match="read-only"):
        many.params[0, 0] = 1.0


def test_results_outlive_the_files_they_came_from(outcomes):
    y, v, X, folder = outcomes
    many = fit_many(folder / "y.npy", X, v[0])
    (folder / "y.npy").unlink()
    assert_allclose(many.tau2, fit_many(y, X, v[0]).tau2, rtol=1e-12, atol=1e-13)
    assert not list(folder.glob("metareg_sm*"))


def test_no_room_for_the_results(monkeypatch):
    class Full:
        def seek(self, _):
            pass

        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(paging.tempfile, "TemporaryFile", lambda **_: Full())
    table = TableInFile((1 << 20, 2))
    with pytest.raises(OSError, match=r"results need 16 MiB in .*TMPDIR.*No space left"):
        table[0:1] = np.zeros((1, 2))


def test_an_empty_table():
    assert TableInFile((0, 3)).array().shape == (0, 3)
