"""Broken files, full disks, interrupts, little memory, threads and processes."""

import errno
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import metareg_sm
from metareg_sm import fit_many
from metareg_sm.exceptions import (
    DesignError,
    FileError,
    MetaRegError,
    MissingFileError,
    OptionError,
)
from metareg_sm.many import mapped, writers
from metareg_sm.many.layout import SharedModel

from ._many import alike, outcomes, same

pytest.importorskip("pyarrow")

N, K = 40, 9
SUFFIXES = pytest.mark.parametrize("suffix", ["npy", "parquet"])


@pytest.fixture
def data():
    return outcomes(70, n=N, k=K)


def write(path, values):
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        columns = [f"s{j}" for j in range(values.shape[1])]
        pd.DataFrame(values, columns=columns).to_parquet(path, row_group_size=11)
    return path


# --- files that are not what their name says ----------------------------------------------------


@SUFFIXES
@pytest.mark.parametrize("part", [0.0, 0.001, 0.01, 0.3, 0.7, 0.999])
@pytest.mark.parametrize("name", ["endog", "vi"])
def test_truncated(data, tmp_path, suffix, part, name):
    y, v, X = data
    path = write(tmp_path / f"whole.{suffix}", y if name == "endog" else v)
    content = path.read_bytes()
    broken = tmp_path / f"broken.{suffix}"
    broken.write_bytes(content[: int(part * len(content))])
    given = {"endog": y, "exog": X, "vi": v} | {name: broken}
    with pytest.raises(FileError, match=f"{name}=.*broken.*or a part of one"):
        fit_many(**given)


def test_a_page_of_a_parquet_file_is_broken(data, tmp_path):
    y, v, X = data
    path = write(tmp_path / "y.parquet", y)
    content = bytearray(path.read_bytes())
    content[4:40] = b"\xff" * 36
    path.write_bytes(content)
    with pytest.raises(FileError, match="no parquet file, or a part of one"):
        fit_many(path, X, v)


MISLABELLED = {
    "parquet.npy": lambda path, y: path.write_bytes(
        write(path.with_name("p.parquet"), y).read_bytes()
    ),
    "npy.parquet": lambda path, y: path.write_bytes(write(path.with_name("n.npy"), y).read_bytes()),
    "zip.npy": lambda path, y: np.savez(path.open("wb"), y),
    "text.npy": lambda path, y: path.write_text("1,2,3\n4,5,6\n"),
    "text.parquet": lambda path, y: path.write_text("1,2,3\n4,5,6\n"),
    "pickle.npy": lambda path, y: path.write_bytes(pickle.dumps(y)),
    "objects.npy": lambda path, y: np.save(path, y.astype(object), allow_pickle=True),
    "folder.npy": lambda path, y: path.mkdir(),
    "folder.parquet": lambda path, y: path.mkdir(),
}


@pytest.mark.parametrize("name", MISLABELLED)
def test_mislabelled(data, tmp_path, name):
    y, v, X = data
    MISLABELLED[name](tmp_path / name, y)
    with pytest.raises(FileError, match=f"endog=.*{name}"):
        fit_many(tmp_path / name, X, v)


@pytest.mark.parametrize("change", [np.char.mod("%s", np.eye(9)), np.eye(9) + 1j])
def test_npy_of_other_types(data, tmp_path, change):
    np.save(tmp_path / "y.npy", change)
    with pytest.raises(DesignError, match="must be numbers"):
        fit_many(tmp_path / "y.npy", data[2], data[1][0])


def test_parquet_with_text(data, tmp_path):
    y, v, X = data
    table = pd.DataFrame(y, columns=[f"s{j}" for j in range(K)]).astype({"s4": str})
    table.to_parquet(tmp_path / "y.parquet")
    with pytest.raises(DesignError, match="column 's4' has dtype"):
        fit_many(tmp_path / "y.parquet", X, v)


@SUFFIXES
def test_missing_files_and_folders(data, tmp_path, suffix):
    y, v, X = data
    with pytest.raises(MissingFileError, match="No such file"):
        fit_many(tmp_path / f"none.{suffix}", X, v)
    with pytest.raises(MissingFileError, match="cannot be written: No such file"):
        fit_many(y, X, v).save(tmp_path / "none" / f"out.{suffix}")
    # whoever catches the system's errors catches these
    assert issubclass(MissingFileError, FileNotFoundError)
    assert issubclass(MissingFileError, MetaRegError)


@pytest.mark.parametrize("path", [None, 3, b"out.npy", "out", "out.csv", "out\0.npy"])
def test_paths_that_are_none(data, path):
    y, v, X = data
    with pytest.raises(OptionError, match="path"):
        fit_many(y, X, v).save(path)


# --- results into files -------------------------------------------------------------------------


class Full:
    """A file on a disk that is full after some bytes."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, data):
        self.room -= len(data) if isinstance(data, bytes) else memoryview(data).nbytes
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.file.write(data)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()


@pytest.mark.parametrize("before", [None, b"what was there"])
def test_a_full_disk_leaves_what_was_there(data, tmp_path, monkeypatch, before):
    y, v, X = data
    many = fit_many(y, X, v, chunk=5)
    path = tmp_path / "out.npy"
    if before is not None:
        path.write_bytes(before)
    opened = Path.open
    monkeypatch.setattr(Path, "open", lambda self, mode: Full(opened(self, mode), 3000))
    with pytest.raises(FileError, match=r"out\.npy' cannot be written: No space left") as error:
        many.save(path)
    monkeypatch.undo()
    assert error.value.errno == errno.ENOSPC
    assert [x.name for x in tmp_path.iterdir()] == ([] if before is None else ["out.npy"])
    assert before is None or path.read_bytes() == before
    many.save(path)
    assert np.load(path).shape == (N, 20)


SMALL_FILES = """
import resource, sys
import numpy as np
from metareg_sm import fit_many
from metareg_sm.exceptions import FileError

rng = np.random.default_rng(1)
X = np.column_stack([np.ones(8), np.arange(8.0)])
many = fit_many(rng.normal(size=(5000, 8)), X, np.ones(8), chunk=500)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
try:
    many.save(sys.argv[1])
except FileError as error:
    print(error)
"""


def run(code, *arguments, **environment):
    """Output of a script in an interpreter of its own."""
    paths = [str(Path(metareg_sm.__file__).parents[1]), *sys.path]
    found = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | environment,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


@SUFFIXES
def test_files_that_may_not_grow(tmp_path, suffix):
    pytest.importorskip("resource")
    path = tmp_path / f"out.{suffix}"
    path.write_bytes(b"what was there")
    assert "cannot be written: File too large" in run(SMALL_FILES, path)
    assert [x.name for x in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"what was there"


@SUFFIXES
def test_a_disk_that_is_really_full(tmp_path, suffix):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here")
    try:
        y, v, X = outcomes(71, n=2000, k=K)
        with pytest.raises(FileError, match="cannot be written: No space left on device"):
            fit_many(y, X, v, chunk=100).save(disk / f"out.{suffix}")
        assert not list(disk.iterdir())
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_link_leads_to_the_file_that_is_replaced(data, tmp_path):
    y, v, X = data
    (tmp_path / "real.npy").write_bytes(b"")
    (tmp_path / "real.npy").chmod(0o640)
    (tmp_path / "link.npy").symlink_to(tmp_path / "real.npy")
    fit_many(y, X, v).save(tmp_path / "link.npy")
    assert (tmp_path / "link.npy").is_symlink()
    assert np.load(tmp_path / "real.npy").shape == (N, 20)
    assert (tmp_path / "real.npy").stat().st_mode & 0o777 == 0o640


@SUFFIXES
def test_results_may_replace_the_outcomes(data, tmp_path, suffix):
    y, v, X = data
    path = write(tmp_path / f"y.{suffix}", y)
    many = fit_many(path, X, v, chunk=7)
    known = many.to_frame().to_numpy(dtype=float)
    many.save(path)
    found = np.load(path) if suffix == "npy" else pd.read_parquet(path).to_numpy(dtype=float)
    assert_allclose(found, known, rtol=1e-12, atol=1e-13)


# --- where temporary files are ------------------------------------------------------------------


def test_no_folder_for_temporary_files(data, tmp_path, monkeypatch):
    y, v, X = data
    path = write(tmp_path / "y.npy", y)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(FileError, match=r"results need .* in .*gone.*TMPDIR.*No such file"):
        fit_many(path, X, v)
    # in memory nothing is written
    assert fit_many(y, X, v).converged.all()


def test_a_folder_for_temporary_files_that_cannot_be_written(data, tmp_path, monkeypatch):
    y, v, X = data
    path = write(tmp_path / "y.npy", y)

    def refuse(**_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(mapped.tempfile, "TemporaryFile", refuse)
    with pytest.raises(FileError, match=r"TMPDIR.*Permission denied"):
        fit_many(path, X, v)


TMPDIR = """
import sys
import numpy as np
from metareg_sm import fit_many

X = np.column_stack([np.ones(9), np.arange(9.0)])
print(len(fit_many(sys.argv[1], X, np.ones(9)).llf))
"""


def test_python_finds_another_folder(data, tmp_path):
    path = write(tmp_path / "y.npy", data[0])
    assert run(TMPDIR, path, TMPDIR=str(tmp_path / "gone")) == f"{N}\n"


# --- interrupts ---------------------------------------------------------------------------------


class Interrupted:
    """Outcomes whose reader gets Ctrl-C at the n-th block."""

    def __init__(self, values, at):
        self.values, self.at, self.count = values, at, 0
        self.shape, self.dtype, self.ndim = values.shape, values.dtype, values.ndim

    def __getitem__(self, rows):
        self.count += 1
        if self.count == self.at:
            signal.raise_signal(signal.SIGINT)
        return self.values[rows]


@pytest.fixture
def own_interrupts():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@SUFFIXES
@pytest.mark.usefixtures("own_interrupts")
def test_interrupted_while_results_are_written(data, tmp_path, suffix):
    y, v, X = data
    # the fit reads eight blocks; the third of those that are written is interrupted
    many = fit_many(Interrupted(y, 8 + 3), X, v, chunk=5)
    path = tmp_path / f"out.{suffix}"
    path.write_bytes(b"what was there")
    with pytest.raises(KeyboardInterrupt):
        many.save(path)
    assert [x.name for x in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"what was there"
    # and once more, without
    many.save(path)
    found = np.load(path) if suffix == "npy" else pd.read_parquet(path)
    assert found.shape == (N, 20)


@SUFFIXES
@pytest.mark.usefixtures("own_interrupts")
def test_interrupted_while_files_are_fitted(data, tmp_path, monkeypatch, suffix):
    y, v, X = data
    folder = tmp_path / "temporary"
    folder.mkdir()
    path = write(tmp_path / f"y.{suffix}", y)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    fit, count = SharedModel.fit, []

    def interrupted(self, *block):
        count.append(1)
        if len(count) == 4:
            signal.raise_signal(signal.SIGINT)
        return fit(self, *block)

    monkeypatch.setattr(SharedModel, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit_many(path, X, v, chunk=5)
    assert not list(folder.iterdir())
    alike(fit_many(path, X, v, chunk=5), fit_many(y, X, v, chunk=5))


# --- memory ---------------------------------------------------------------------------------------

LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
from metareg_sm import fit_many
from metareg_sm.exceptions import MemoryLimitError

n = 1_000_000
X = np.column_stack([np.ones(4), np.arange(4.0)])
y = np.lib.format.open_memmap(sys.argv[1], mode="w+", dtype=float, shape=(n, 4))
y[:] = np.random.default_rng(1).normal(size=(n, 4))
y.flush()
values = np.array(y)
fit_many(values[:5000], X, np.ones(4), tau2="dl")
used = 1024 * int(next(
    line.split()[1] for line in Path("/proc/self/status").read_text().splitlines()
    if line.startswith("VmData:")
))
resource.setrlimit(resource.RLIMIT_DATA, (used + 2**25, resource.RLIM_INFINITY))
try:
    fit_many(values, X, np.ones(4), tau2="dl")
except MemoryLimitError as error:
    print(error)
del values
print(len(fit_many(sys.argv[1], X, np.ones(4), tau2="dl")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_little_memory(tmp_path):
    said, files = run(LITTLE_MEMORY, tmp_path / "y.npy", OPENBLAS_NUM_THREADS="1").splitlines()
    assert "not enough memory for 1000000 outcomes of 4 studies" in said
    assert "files (.npy or .parquet)" in said
    # with outcomes in a file it is enough
    assert files == "1000000"


# --- threads and processes ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["array", "npy", "parquet"])
def test_eight_threads(tmp_path, kind):
    sets = [outcomes(80 + i, n=300, k=K) for i in range(8)]
    known = [fit_many(y, X, v, chunk=70) for y, v, X in sets]
    given = [
        y if kind == "array" else write(tmp_path / f"{i}.{kind}", y)
        for i, (y, _, _) in enumerate(sets)
    ]
    with ThreadPoolExecutor(8) as pool:
        found = list(
            pool.map(lambda i: fit_many(given[i], sets[i][2], sets[i][1], chunk=70), range(8))
        )
        for many, other in zip(found, known, strict=True):
            alike(many, other)
        # one result, asked by all of them
        rows = list(range(0, 300, 7)) * 2
        one = pool.map(lambda i: float(found[0].model(i).tau2), rows)
        assert_allclose(list(one), [known[0].model(i).tau2 for i in rows], rtol=1e-12)


@pytest.mark.parametrize("kind", ["array", "labels", "npy", "parquet", "dask"])
@pytest.mark.parametrize("tau2", ["reml", "dl", 0.2])
def test_pickled(data, tmp_path, kind, tau2):
    y, v, X = data
    endog = y
    if kind == "labels":
        endog = pd.DataFrame(y, index=[f"gene{i}" for i in range(N)])
    elif kind == "dask":
        endog = pytest.importorskip("dask.array").from_array(y, chunks=(7, K))
    elif kind != "array":
        endog = write(tmp_path / f"y.{kind}", y)
    many = fit_many(endog, X, v, tau2=tau2, cov_type="knapp-hartung-adhoc")
    for protocol in (2, pickle.HIGHEST_PROTOCOL):
        again = pickle.loads(pickle.dumps(many, protocol=protocol)).compute()
        same(again, many.compute())
        assert repr(again) == repr(many.compute())
        assert again.model(3).tau2 == many.model(3).tau2
        pd.testing.assert_frame_equal(again.to_frame(), many.to_frame(), rtol=1e-12)
        again.save(tmp_path / "again.npy")


PROCESSES = """
import multiprocessing, sys
import numpy as np
from metareg_sm import fit_many

if __name__ == "__main__":
    rng = np.random.default_rng(1)
    X = np.column_stack([np.ones(9), np.arange(9.0)])
    sets = [(rng.normal(size=(50, 9)), X, rng.uniform(0.1, 1.0, (50, 9))) for _ in range(3)]
    known = [fit_many(*s) for s in sets]
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        for many, other in zip(pool.starmap(fit_many, sets), known, strict=True):
            np.testing.assert_allclose(many.llf, other.llf, rtol=1e-12)
            np.testing.assert_allclose(many.pvalues, other.pvalues, rtol=1e-9)
            assert many.model(4).tau2 == other.model(4).tau2
        # results go to the processes, too
        np.testing.assert_allclose(
            pool.map(type(known[0]).adjust_pvalues, known), [k.adjust_pvalues() for k in known],
            rtol=1e-9,
        )
    print("equal")
"""


@pytest.mark.parametrize(
    "method", sorted({"fork", "spawn"}.intersection(multiprocessing.get_all_start_methods()))
)
def test_process_pools(tmp_path, method):
    script = tmp_path / "pool.py"
    script.write_text(PROCESSES)
    paths = [str(Path(metareg_sm.__file__).parents[1]), *sys.path]
    found = subprocess.run(
        [sys.executable, str(script), method],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        timeout=120,
    )
    assert found.stdout == "equal\n", found.stderr


def test_no_file_is_left_unfinished(data, tmp_path):
    y, v, X = data
    for suffix in writers._WRITERS:
        fit_many(y, X, v).save(tmp_path / f"out{suffix}")
    assert sorted(x.name for x in tmp_path.iterdir()) == ["out.npy", "out.parquet"]
