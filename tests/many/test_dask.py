"""Many fits of dask arrays: lazy, on threads, and on worker processes that die."""

import os
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from metareg_sm import fit_many
from metareg_sm.exceptions import DesignError

from ._many import FIELDS, alike, outcomes, same

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

pytestmark = pytest.mark.plumbing

ROWS = 7


@pytest.fixture(autouse=True)
def threads():
    with dask.config.set(scheduler="threads", num_workers=2):
        yield


@pytest.fixture
def data():
    """Forty outcomes; two cannot be fitted."""
    y, v, X = outcomes(1, n=40)
    y[11] = np.nan
    y[30, 2:] = np.nan
    return y, v, X


def computed(many):
    """All numbers of a result, in one computation."""
    names = dict(zip(FIELDS, dask.compute(*(getattr(many, f) for f in FIELDS)), strict=True))
    return type("Computed", (), names)


class Reads:
    """An array that counts how often it is read."""

    def __init__(self, values):
        self.values, self.count = values, 0
        self.shape, self.dtype, self.ndim = values.shape, values.dtype, values.ndim

    def __getitem__(self, at):
        self.count += 1
        return self.values[at]


# --- lazy ------------------------------------------------------------------------------------


def test_nothing_is_read_before_compute(data):
    y, v, X = data
    outcome, variance = Reads(y), Reads(v)
    many = fit_many(
        da.from_array(outcome, chunks=(ROWS, 9), asarray=False, meta=np.empty((0, 0))),
        X,
        da.from_array(variance, chunks=(ROWS, 9), asarray=False, meta=np.empty((0, 0))),
    )
    lazy = [getattr(many, name) for name in FIELDS]
    test = many.t_test([[0, 1], [1, 1]])
    lazy += [many.conf_int(), test.effect, test.sd, test.statistic, test.pvalue]
    assert len(many) == 40
    assert "40 outcomes" in repr(many)
    assert all(isinstance(array, da.Array) for array in lazy)
    assert outcome.count == variance.count == 0
    known = fit_many(y, X, v)
    shapes = [getattr(known, name).shape for name in FIELDS]
    assert [array.shape for array in lazy[: len(FIELDS)]] == shapes
    # one block of outcomes is all that is read for one block of results
    many.params[:ROWS].compute()
    assert outcome.count == variance.count == 1


def test_types_are_known_without_computing(data):
    y, v, X = data
    many = fit_many(da.from_array(y, chunks=(ROWS, 9)), X, v)
    for name in FIELDS:
        lazy = getattr(many, name)
        assert lazy.dtype == lazy.compute().dtype == getattr(fit_many(y, X, v), name).dtype
        assert lazy.chunks[0] == (7, 7, 7, 7, 7, 5)


# --- the same numbers ------------------------------------------------------------------------


@pytest.mark.parametrize("tau2", ["reml", "ml", "pm", "dl", 0.2])
@pytest.mark.parametrize("shared", [False, True])
def test_equals_numpy(data, tau2, shared):
    y, v, X = data
    vi = v[0] if shared else v
    known = fit_many(y, X, vi, tau2=tau2, chunk=ROWS)
    lazy = vi if shared else da.from_array(vi, chunks=(ROWS, 9))
    many = fit_many(da.from_array(y, chunks=(ROWS, 9)), X, lazy, tau2=tau2)
    found = computed(many)
    alike(found, known)
    for name in ("params", "tau2", "scale", "q", "i2", "llf"):
        # standard errors are products, of differently many rows, and differ by rounding
        assert_allclose(
            getattr(found, name), getattr(known, name), rtol=1e-12, atol=1e-13, err_msg=name
        )


def test_chunks_of_any_shape(data):
    y, v, X = data
    known = fit_many(y, X, v)
    for chunks in ((40, 9), (2, 1), (13, 4), ((3, 30, 7), (2, 7))):
        for other, size in ((chunks, None), ((11, 2), 5)):
            arrays = da.from_array(y, chunks=chunks), X, da.from_array(v, chunks=other)
            alike(fit_many(*arrays, chunk=size).compute(), known)


def test_forms_of_the_variances(data):
    y, v, X = data
    lazy = da.from_array(y, chunks=(ROWS, 9))
    known = fit_many(y, X, v)
    alike(fit_many(lazy, X, v).compute(), known)
    alike(fit_many(lazy, X, pd.DataFrame(v)).compute(), known)
    shared = fit_many(y, X, v[0])
    alike(fit_many(lazy, X, da.from_array(v[0], chunks=4)).compute(), shared)
    alike(fit_many(lazy, X, pd.Series(v[0])).compute(), shared)
    alike(fit_many(y, X, da.from_array(v[0], chunks=4)), shared)


def test_compute_gives_results_in_memory(data):
    y, v, X = data
    many = fit_many(da.from_array(y, chunks=(ROWS, 9)), X, da.from_array(v, chunks=(ROWS, 9)))
    held = many.compute()
    assert all(isinstance(getattr(held, name), np.ndarray) for name in FIELDS)
    assert held.exog_names == many.exog_names
    alike(held, fit_many(y, X, v))


def test_everything_that_ordinary_results_offer(data, tmp_path):
    y, v, X = data
    many = fit_many(da.from_array(y, chunks=(ROWS, 9)), X, da.from_array(v, chunks=(ROWS, 9)))
    known = fit_many(y, X, v)
    close = {"rtol": 1e-12, "atol": 1e-13}
    pd.testing.assert_frame_equal(many.to_frame(), known.to_frame(), **close)
    pd.testing.assert_frame_equal(pd.concat(many.iter_frames()), known.to_frame(), **close)
    np.testing.assert_allclose(many.adjust_pvalues(), known.adjust_pvalues(), **close)
    test, expected = many.t_test([0, 1]), known.t_test([0, 1])
    np.testing.assert_allclose(test.pvalue.compute(), expected.pvalue, **close)
    np.testing.assert_allclose(many.conf_int(0.2).compute(), known.conf_int(0.2), **close)
    for i in (0, 39, -1):
        assert_allclose(many.model(i).tau2, known.model(i).tau2, rtol=1e-12)
    pytest.importorskip("pyarrow")
    many.save(tmp_path / "out.parquet")
    many.save(tmp_path / "out.npy")
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "out.parquet"), known.to_frame(), **close
    )
    np.testing.assert_allclose(
        np.load(tmp_path / "out.npy"), known.to_frame().to_numpy(dtype=float), **close
    )


def test_iter_frames_holds_one_block_at_a_time(data):
    y, v, X = data
    outcome = Reads(y)
    lazy = da.from_array(outcome, chunks=(8, 9), asarray=False, meta=np.empty((0, 0)))
    frames = fit_many(lazy, X, v[0], chunk=8).iter_frames()
    first = next(frames)
    assert len(first) == 8
    # by the fit and by the statistics that follow it, and no other block at all
    assert outcome.count <= 2


def test_bad_numbers_are_found_when_they_are_computed(data):
    y, v, X = data
    y[20, 3] = np.inf
    many = fit_many(da.from_array(y, chunks=(ROWS, 9)), X, da.from_array(v, chunks=(ROWS, 9)))
    assert np.isfinite(many.tau2[:7].compute()).all()
    with pytest.raises(DesignError, match="infinite in study 3"):
        many.tau2.compute()


def test_variances_of_dask_need_outcomes_of_dask(data):
    y, v, X = data
    with pytest.raises(DesignError, match="make both dask arrays"):
        fit_many(y, X, da.from_array(v, chunks=(ROWS, 9)))
    with pytest.raises(DesignError, match="5 columns"):
        fit_many(da.from_array(y[:, :5]), X, v)


# --- worker processes ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client():
    distributed = pytest.importorskip("distributed")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "20s"}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as connected,
    ):
        connected.wait_for_workers(2, timeout=20)
        yield connected


def fields(client, many):
    """All numbers of a result, computed by the workers."""
    lazy = [getattr(many, name) for name in FIELDS]
    values = client.gather(client.compute(lazy), direct=False)
    return type("Computed", (), dict(zip(FIELDS, values, strict=True)))


def test_two_worker_processes(client, data):
    y, v, X = data
    many = fit_many(da.from_array(y, chunks=(ROWS, 9)), X, da.from_array(v, chunks=(ROWS, 9)))
    # processes of their own, other than this one
    pids = set(client.run(os.getpid).values())
    assert len(pids) == 2
    assert os.getpid() not in pids
    # their linear algebra runs on one thread
    alike(fields(client, many), computed(many))


@pytest.mark.parametrize("dies", ["while it reads", "with results"])
def test_a_worker_is_killed_half_way(client, data, tmp_path, dies):
    y, v, X = data
    undisturbed = da.from_array(y, chunks=(ROWS, 9)), X, da.from_array(v, chunks=(ROWS, 9))
    known = fields(client, fit_many(*undisturbed))
    marker, values = str(tmp_path / "died"), y.copy()

    def read(block, block_info=None):
        # nested, so that workers get it by value
        if block_info[None]["chunk-location"][0] == 3:
            try:
                os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return block
            os._exit(1)
        return block

    def workers():
        return set(client.run(os.getpid).values())

    before = workers()
    source = da.from_array(values, chunks=(ROWS, 9))
    variance = da.from_array(v, chunks=(ROWS, 9))
    with warnings.catch_warnings():
        # distributed reports the death of its worker
        warnings.simplefilter("ignore")
        if dies == "while it reads":
            source = source.map_blocks(read, dtype=float, meta=np.empty((0, 0)))
            found = fields(client, fit_many(source, X, variance))
            assert os.path.exists(marker)
        else:
            # half of the results are there and each worker holds some of the outcomes
            source = client.persist(source.map_blocks(np.positive))
            many = fit_many(source, X, variance)
            half = client.compute(many.params[: 3 * ROWS]).result(timeout=15)
            assert_allclose(half, known.params[: 3 * ROWS], rtol=1e-12, atol=1e-13)
            victim, held = next((w, keys) for w, keys in client.has_what().items() if keys)
            assert held
            client.run(os._exit, 1, workers=[victim], on_error="ignore")
            found = fields(client, many)
        client.wait_for_workers(2, timeout=15)
    same(found, known)
    assert workers() != before
