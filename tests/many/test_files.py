"""Outcomes from files, results into files, memory, the progress bar and what is refused."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from metareg_sm import fit_many
from metareg_sm.exceptions import DesignError, MissingStudiesError, OptionError, VarianceError

from ._many import FIELDS, alike, outcomes, same

pq = pytest.importorskip("pyarrow.parquet")

pytestmark = pytest.mark.plumbing


@pytest.fixture
def data():
    """Forty outcomes; two cannot be fitted."""
    y, v, X = outcomes(1, n=40)
    y[11] = np.nan
    y[30, 2:] = np.nan
    return y, v, X


def write_parquet(path, values, rows):
    columns = [f"study{j}" for j in range(values.shape[1])]
    pd.DataFrame(values, columns=columns).to_parquet(path, row_group_size=rows)


# --- into the fit ----------------------------------------------------------------------------


def test_memmap(data, tmp_path):
    y, v, X = data
    known = fit_many(y, X, v, chunk=7)
    maps = []
    for name, values in (("y", y), ("v", v)):
        mapped = np.memmap(tmp_path / name, dtype=float, mode="w+", shape=values.shape)
        mapped[:] = values
        mapped.flush()
        maps.append(np.memmap(tmp_path / name, dtype=float, mode="r", shape=values.shape))
    same(fit_many(maps[0], X, maps[1], chunk=7), known)


@pytest.mark.parametrize("chunk", [1, 7, 13, 40, 100])
def test_npy_and_parquet(data, tmp_path, chunk):
    y, v, X = data
    np.save(tmp_path / "y.npy", y)
    np.save(tmp_path / "v.npy", v)
    np.save(tmp_path / "shared.npy", v[0])
    write_parquet(tmp_path / "y.parquet", y, 13)
    write_parquet(tmp_path / "v.parquet", v, 6)
    known = fit_many(y, X, v, chunk=chunk)
    same(fit_many(tmp_path / "y.npy", X, tmp_path / "v.npy", chunk=chunk), known)
    alike(fit_many(str(tmp_path / "y.parquet"), X, tmp_path / "v.npy", chunk=chunk), known)
    alike(fit_many(tmp_path / "y.npy", X, tmp_path / "v.parquet", chunk=chunk), known)
    shared = fit_many(tmp_path / "y.parquet", X, tmp_path / "shared.npy", chunk=chunk)
    alike(shared, fit_many(y, X, v[0], chunk=chunk))


def test_single_precision_file(data, tmp_path):
    y, v, X = data
    small = y.astype(np.float32)
    np.save(tmp_path / "y.npy", small)
    same(fit_many(tmp_path / "y.npy", X, v), fit_many(small.astype(float), X, v))


def test_model_of_a_file(data, tmp_path):
    y, v, X = data
    np.save(tmp_path / "y.npy", y)
    write_parquet(tmp_path / "y.parquet", y, 13)
    for name in ("y.npy", "y.parquet"):
        many = fit_many(tmp_path / name, X, v)
        for i in (0, 12, 13, 39):
            assert many.model(i).tau2 == fit_many(y, X, v).model(i).tau2
            assert many.model(i).nobs == (~np.isnan(y[i])).sum()


def test_last_model_of_a_parquet_file(data, tmp_path):
    y, v, X = data
    write_parquet(tmp_path / "y.parquet", y, 13)
    assert fit_many(tmp_path / "y.parquet", X, v).model(-1).tau2 == fit_many(y, X, v).model(39).tau2


def test_parquet_with_labels(data, tmp_path):
    y, v, X = data
    labels = pd.Index([f"gene{i}" for i in range(40)], name="gene")
    frame = pd.DataFrame(y, index=labels, columns=[f"study{j}" for j in range(9)])
    frame.to_parquet(tmp_path / "y.parquet")
    alike(fit_many(tmp_path / "y.parquet", X, v), fit_many(y, X, v))


def test_integers_and_nulls_in_parquet(tmp_path):
    _, v, X = outcomes(2, n=4, missing=0.0)
    frame = pd.DataFrame(np.arange(36).reshape(4, 9) ** 2 % 17, columns=[*"abcdefghi"])
    frame = frame.astype({"a": "Int64"})
    frame.loc[1, "a"] = pd.NA
    frame.to_parquet(tmp_path / "y.parquet")
    y = frame.astype(float).to_numpy(dtype=float, na_value=np.nan)
    assert np.isnan(y[1, 0])
    alike(fit_many(tmp_path / "y.parquet", X, v), fit_many(y, X, v))


def test_files_are_not_written_to(data, tmp_path):
    y, v, X = data
    np.save(tmp_path / "y.npy", y)
    before = (tmp_path / "y.npy").read_bytes()
    many = fit_many(tmp_path / "y.npy", X, v)
    assert np.isnan(many.q[11])
    assert (tmp_path / "y.npy").read_bytes() == before


# --- out of the fit --------------------------------------------------------------------------


def same_frame(found, known):
    """Equal but for the rounding of products of differently many rows."""
    pd.testing.assert_frame_equal(found, known, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("chunk", [1, 7, 40])
def test_iter_frames(data, chunk):
    y, v, X = data
    labels = pd.Index([f"gene{i}" for i in range(40)], name="gene")
    for endog in (y, pd.DataFrame(y, index=labels)):
        for vi in (v, v[0]):
            many = fit_many(endog, X, vi, chunk=chunk)
            parts = list(many.iter_frames())
            assert [len(p) for p in parts[:-1]] == [chunk] * (len(parts) - 1)
            same_frame(pd.concat(parts), many.to_frame())


@pytest.mark.parametrize("chunk", [7, 40])
def test_save(data, tmp_path, chunk):
    y, v, X = data
    many = fit_many(y, X, v, chunk=chunk)
    frame = pd.concat(many.iter_frames())
    many.save(tmp_path / "out.parquet")
    many.save(str(tmp_path / "out.npy"))
    read = pd.read_parquet(tmp_path / "out.parquet")
    pd.testing.assert_frame_equal(read, frame, check_exact=True)
    assert pq.ParquetFile(tmp_path / "out.parquet").metadata.num_row_groups == -(-40 // chunk)
    array = np.load(tmp_path / "out.npy")
    assert array.shape == frame.shape
    assert_array_equal(array, frame.to_numpy(dtype=float))
    # again over the same file
    many.save(tmp_path / "out.npy")
    assert_array_equal(np.load(tmp_path / "out.npy"), array)


def test_save_keeps_labels(data, tmp_path):
    y, v, X = data
    labels = pd.Index([f"gene{i}" for i in range(40)], name="gene")
    many = fit_many(pd.DataFrame(y, index=labels), X, v, chunk=9)
    many.save(tmp_path / "out.parquet")
    read = pd.read_parquet(tmp_path / "out.parquet")
    same_frame(read, many.to_frame())
    assert read.index.name == "gene"


@pytest.mark.parametrize("suffix", ["npy", "parquet"])
def test_save_no_outcomes(tmp_path, suffix):
    y, v, X = outcomes(3)
    many = fit_many(y[:0], X, v[0])
    path = tmp_path / f"out.{suffix}"
    many.save(path)
    read = pd.read_parquet(path) if suffix == "parquet" else np.load(path)
    assert read.shape == many.to_frame().shape


def test_save_knows_two_formats(data, tmp_path):
    y, v, X = data
    with pytest.raises(OptionError, match=r"'\.parquet' or '\.npy'"):
        fit_many(y, X, v).save(tmp_path / "out.csv")
    assert not list(tmp_path.iterdir())


def peak(call):
    """Result of a call and the bytes it held at most, beyond what was there."""
    tracemalloc.start()
    try:
        result = call()
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["npy", "parquet", "shared"])
def test_memory_is_constant_in_the_number_of_outcomes(tmp_path, kind):
    k, chunk = 10, 500
    X = np.column_stack([np.ones(k), np.linspace(-1.0, 1.0, k)])
    suffix = "parquet" if kind == "parquet" else "npy"
    needed = {}
    for n in (500, 8_000):
        rng = np.random.default_rng(n)
        y, v = rng.normal(size=(n, k)), rng.uniform(0.1, 0.5, (n, k))
        y[rng.uniform(size=(n, k)) < 0.1] = np.nan
        paths = []
        for name, values in (("y", y), ("v", v)):
            path = tmp_path / f"{name}{n}.{suffix}"
            if kind == "parquet":
                write_parquet(path, values, chunk)
            else:
                np.save(path, values)
            paths.append(path)
        vi = v[0] if kind == "shared" else paths[1]
        del y, v
        many, most = peak(lambda p=paths, vi=vi: fit_many(p[0], X, vi, chunk=chunk))
        needed[n] = most
        _, most = peak(lambda m=many, n=n: m.save(tmp_path / f"out{n}.npy"))
        needed[-n] = most
    # far less than either of the files, 640 kB each
    assert needed[8_000] < needed[500] + 1.6e5
    assert needed[-8_000] < needed[-500] + 1.6e5


# --- the progress bar ------------------------------------------------------------------------


def test_progress(data, capsys):
    pytest.importorskip("tqdm")
    y, v, X = data
    many = fit_many(y, X, v, chunk=10, progress=True)
    shown = capsys.readouterr()
    assert "blocks of outcomes" in shown.err
    assert "4/4" in shown.err
    assert shown.out == ""
    quiet = fit_many(y, X, v, chunk=10)
    assert quiet.llf.shape == (40,)
    shown = capsys.readouterr()
    assert shown.err == shown.out == ""
    same(many, quiet)


# --- what is refused -------------------------------------------------------------------------


def good():
    y, v, X = outcomes(4, n=6, missing=0.0)
    return {"endog": y, "exog": X, "vi": v}


def change(name, at, value):
    def changed():
        given = good()
        given[name][at] = value
        return given

    return changed


BAD = {
    "one outcome": (lambda: good() | {"endog": good()["endog"][0]}, DesignError, "one row an"),
    "studies": (lambda: good() | {"endog": good()["endog"][:, :5]}, DesignError, "5 columns.*9"),
    "vi length": (lambda: good() | {"vi": np.ones(5)}, DesignError, r"shape \(5,\)"),
    "vi rows": (lambda: good() | {"vi": np.ones((5, 9))}, DesignError, r"\(5, 9\)"),
    "vi scalar": (lambda: good() | {"vi": 0.1}, DesignError, "shape"),
    "negative vi": (change("vi", (2, 3), -0.5), VarianceError, "study 3 of outcome 2.*-0.5"),
    "infinite vi": (change("vi", (2, 3), np.inf), VarianceError, "study 3 of outcome 2.*inf"),
    "infinite endog": (change("endog", (4, 1), -np.inf), DesignError, "study 1 of outcome 4"),
    "missing exog": (change("exog", (4, 1), np.nan), MissingStudiesError, "study 4.*column 1"),
    "infinite exog": (change("exog", (4, 1), np.inf), MissingStudiesError, "study 4.*column 1"),
    "exog of 3 dimensions": (
        lambda: good() | {"exog": good()["exog"][None]},
        DesignError,
        "two dimensions",
    ),
    "redundant": (
        lambda: good() | {"exog": np.column_stack([good()["exog"], np.full(9, 2.0)])},
        DesignError,
        "redundant",
    ),
    "more moderators than studies": (
        lambda: good() | {"exog": np.random.default_rng(1).normal(size=(9, 10))},
        DesignError,
        "redundant",
    ),
    "formula without data": (lambda: good() | {"exog": "~ x"}, OptionError, "data="),
    "formula of other studies": (
        lambda: good() | {"exog": "~ x", "data": pd.DataFrame({"x": np.arange(5.0)})},
        DesignError,
        "5 studies",
    ),
    "estimator": (lambda: good() | {"tau2": "remll"}, OptionError, "Did you mean 'reml'"),
    "no estimator": (lambda: good() | {"tau2": None}, OptionError, "tau2=None"),
    "truth": (lambda: good() | {"tau2": True}, OptionError, "tau2=True"),
    "negative tau2": (lambda: good() | {"tau2": -0.1}, OptionError, ">= 0"),
    "undefined tau2": (lambda: good() | {"tau2": np.nan}, OptionError, "finite"),
    "robust": (lambda: good() | {"cov_type": "HC3"}, OptionError, "not for many.*'nonrobust'"),
    "covariance": (lambda: good() | {"cov_type": "wald"}, OptionError, "'wald'"),
    "chunk 0": (lambda: good() | {"chunk": 0}, OptionError, "chunk"),
    "chunk 1.5": (lambda: good() | {"chunk": 1.5}, OptionError, "chunk"),
    "chunk True": (lambda: good() | {"chunk": True}, OptionError, "chunk"),
    "chunk of text": (lambda: good() | {"chunk": "many"}, OptionError, "chunk"),
    "chunk undefined": (lambda: good() | {"chunk": np.nan}, OptionError, "chunk"),
    "file format": (lambda: good() | {"endog": "outcomes.csv"}, OptionError, "'outcomes.csv'"),
    "file format of vi": (lambda: good() | {"vi": "vi.csv"}, OptionError, "vi='vi.csv'"),
}


@pytest.mark.parametrize("case", BAD)
def test_refused(case):
    given, error, text = BAD[case]
    assert fit_many(**good()).converged.all()
    with pytest.raises(error, match=text):
        fit_many(**given())


def test_formula_with_a_missing_moderator(engine):
    given = good()
    data = pd.DataFrame({"x": np.arange(9.0)})
    data.loc[3, "x"] = np.nan
    with pytest.raises(MissingStudiesError):
        fit_many(given["endog"], "~ x", given["vi"], data=data)


def test_no_such_file(tmp_path):
    given = good()
    for name in ("none.npy", "none.parquet"):
        with pytest.raises(FileNotFoundError):
            fit_many(tmp_path / name, given["exog"], given["vi"])


@pytest.mark.parametrize("name", ["endog", "vi"])
def test_complex_numbers_are_refused(name):
    given = good()
    with pytest.raises(DesignError, match=f"{name} must be numbers"):
        fit_many(**given | {name: given[name] + 1j})


def test_error_names_the_outcome_whatever_its_block():
    given = change("endog", (4, 1), np.inf)()
    with pytest.raises(DesignError, match="study 1 of outcome 4"):
        fit_many(**given, chunk=2)


def test_refused_t_test():
    many = fit_many(**good())
    for R in ([1.0], [1.0, 2.0, 3.0], np.eye(3)):
        with pytest.raises(DesignError, match="r_matrix"):
            many.t_test(R)


def test_no_such_outcome(tmp_path):
    given = good()
    write_parquet(tmp_path / "y.parquet", given["endog"], 4)
    for endog in (given["endog"], tmp_path / "y.parquet"):
        many = fit_many(endog, given["exog"], given["vi"])
        for i in (6, 7, -7):
            with pytest.raises(IndexError):
                many.model(i)


def test_every_field_has_a_row_an_outcome():
    many = fit_many(**good())
    for name in FIELDS:
        assert getattr(many, name).shape[0] == 6
