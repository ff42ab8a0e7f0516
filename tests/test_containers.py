"""Container x dtype x fault: the fit of the clean array, or an error of ours; nothing else."""

import copy
import pickle
import warnings
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from metareg_sm import MetaReg
from metareg_sm.exceptions import MetaRegError, RankDeficiencyWarning

pytestmark = pytest.mark.plumbing

K = 12
RNG = np.random.default_rng(77)
CLEAN = {
    "endog": RNG.integers(-8, 9, K) / 4.0,
    "exog": np.column_stack([np.ones(K), RNG.permutation(K)]).astype(float),
    "vi": RNG.integers(1, 9, K) / 8.0,
}

CONTAINERS = {
    "array": np.asarray,
    "fortran": np.asfortranarray,
    "strided": lambda a: np.repeat(a, 2, axis=0)[::2],
    "read-only": lambda a: _read_only(a),  # noqa: PLW0108 (it is defined below)
    "list": lambda a: a.tolist(),
    "tuple": lambda a: tuple(map(tuple, a)) if a.ndim == 2 else tuple(a.tolist()),
    "series": lambda a: pd.Series(list(a)) if a.ndim == 1 else pd.DataFrame(a),
    "labelled": lambda a: _labelled(a),  # noqa: PLW0108 (it is defined below)
    "nullable": lambda a: (pd.Series(a) if a.ndim == 1 else pd.DataFrame(a)).convert_dtypes(),
    "masked": np.ma.masked_invalid,
    "masked none": np.ma.array,
    "matrix": lambda a: np.matrix(a).T if a.ndim == 1 else np.matrix(a),
    "column": lambda a: a[:, None] if a.ndim == 1 else a,
    "generator": iter,
    "dict": lambda a: dict(enumerate(a.tolist())),
    "set": lambda a: set(map(str, a.tolist())),
    "bytes": lambda a: a.tobytes(),
    "sparse": lambda a: scipy.sparse.csr_matrix(np.atleast_2d(a)),
    "none": lambda a: None,
    "scalar": lambda a: float(np.ravel(a)[0]) if a.size else 1.0,
    "text": lambda a: "yi",
    "three axes": lambda a: a[None, None],
}
DTYPES = ["float64", "float32", "int64", "int8", "bool", "object", "complex128", "str", "M8[D]"]
FAULTS = {
    "none": lambda a: a,
    "nan": lambda a: _with(a, np.nan),
    "inf": lambda a: _with(a, np.inf),
    "-inf": lambda a: _with(a, -np.inf),
    "None": lambda a: _with(a.astype(object), None),
    "NA": lambda a: _with(a.astype(object), pd.NA),
    "word": lambda a: _with(a.astype(object), "many"),
    "huge": lambda a: _with(a.astype(object), 10**400),
    "short": lambda a: a[:-1],
    "empty": lambda a: a[:0],
    "negative": lambda a: _with(a, -1.0),
}


def _read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def _labelled(a):
    index = [f"s{i}" for i in range(len(a))]
    return pd.Series(list(a), index) if a.ndim == 1 else pd.DataFrame(a, index)


def _with(a, value):
    a = a.copy()
    if len(a):
        a[(3, *[-1] * (a.ndim - 1))] = value
    return a


def _frozen(value):
    return value if hasattr(value, "__next__") else pickle.dumps(value)


def _numbers(value):
    """What a human reads in a container: floats, missing as NaN."""
    if isinstance(value, np.ma.MaskedArray):
        value = np.ma.filled(value.astype(float), np.nan)
    if isinstance(value, (pd.Series, pd.DataFrame)):
        value = value.astype(object).where(value.notna(), np.nan).to_numpy()
    a = np.array(value, dtype=object)
    missing = np.vectorize(lambda x: x is None or x is pd.NA, otypes=[bool])(a)
    return np.where(missing, np.nan, a).astype(float)


ENDED = Counter()


@given(
    argument=st.sampled_from(sorted(CLEAN)),
    container=st.sampled_from(sorted(CONTAINERS)),
    dtype=st.sampled_from(DTYPES),
    fault=st.sampled_from(sorted(FAULTS)),
    missing=st.sampled_from(["none", "drop", "raise"]),
)
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
def test_arrays(argument, container, dtype, fault, missing):
    _try_arrays(argument, container, dtype, fault, missing)


def _try_arrays(argument, container, dtype, fault, missing):
    data = dict(CLEAN)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            if dtype == "M8[D]":
                values = data[argument].astype("int64").astype(dtype)
            else:
                values = data[argument].astype(dtype)
            given_ = CONTAINERS[container](FAULTS[fault](values))
        except (TypeError, ValueError, OverflowError):
            return  # there is no such input
    data[argument] = given_
    before = {name: _frozen(value) for name, value in data.items()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", RankDeficiencyWarning)
            res = MetaReg(data["endog"], data["exog"], vi=data["vi"], missing=missing).fit(
                cov_type="nonrobust", tau2=0.25
            )
    except MetaRegError as error:
        assert 15 < len(str(error)) < 600  # noqa: PT017 (an error is one of two right answers)
        ENDED["refused"] += 1
        return
    finally:
        for name, value in data.items():
            if not hasattr(value, "__next__"):
                assert _frozen(value) == before[name]
    clean = {
        name: _numbers(value).reshape(CLEAN[name].shape[: len(CLEAN[name].shape)])
        if np.size(value) == CLEAN[name].size
        else _numbers(value)
        for name, value in data.items()
    }
    y, X, v = clean["endog"].ravel(), clean["exog"].reshape(K, -1), clean["vi"].ravel()
    keep = ~(np.isnan(y) | np.isnan(X).any(1) | np.isnan(v))
    assert keep.all() or missing == "drop"
    w = 1.0 / (v[keep] + 0.25)
    root = np.sqrt(w)
    known = np.linalg.pinv(root[:, None] * X[keep], rcond=1e-10) @ (root * y[keep])
    assert_allclose(X[keep] @ np.asarray(res.params), X[keep] @ known, rtol=1e-6, atol=1e-7)
    assert res.nobs == keep.sum()
    ENDED["right"] += 1


FRAME = pd.DataFrame(
    {"y": CLEAN["endog"], "x": CLEAN["exog"][:, 1], "v": CLEAN["vi"], "g": list("aabbccddeeff")}
)


@given(
    column=st.sampled_from(["y", "x", "v"]),
    dtype=st.sampled_from(
        [
            "float64",
            "Float64",
            "Int64",
            "object",
            "str",
            "category",
            "complex128",
            "bool",
            "boolean",
            "float32",
            "string",
        ]
    ),
    fault=st.sampled_from(sorted(FAULTS)),
    engine=st.sampled_from(["patsy", "formulaic"]),
    index=st.sampled_from(["range", "text", "twins"]),
    table=st.sampled_from(["frame", "dict", "records"]),
)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_formulas(column, dtype, fault, engine, index, table):
    import statsmodels.formula

    options = statsmodels.formula.options
    was, options.formula_engine = options.formula_engine, engine
    try:
        _try_formula(column, dtype, fault, index, table)
    finally:
        options.formula_engine = was


def _try_formula(column, dtype, fault, index, table):
    frame = FRAME.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            values = FAULTS[fault](FRAME[column].to_numpy())
            rounded = np.round(values) if dtype in ("Int64", "boolean") else values
            series = pd.Series(rounded)
            if dtype == "boolean":
                series = series > 0
            frame[column] = series.astype(dtype)
        except (TypeError, ValueError, OverflowError):
            return
    frame.index = {
        "range": frame.index,
        "text": pd.Index([f"s{i}" for i in range(K)]),
        "twins": pd.Index(np.repeat(range(K // 2), 2)),
    }[index]
    data = {"frame": frame, "dict": frame.to_dict("list")}.get(table)
    if data is None:
        data = frame.to_records(index=False)
    before = copy.deepcopy(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", RankDeficiencyWarning)
            res = MetaReg.from_formula("y ~ x", data, vi="v").fit(cov_type="nonrobust", tau2=0.25)
    except MetaRegError as error:
        assert 15 < len(str(error)) < 900  # noqa: PT017 (an error is one of two right answers)
        ENDED["refused"] += 1
        return
    finally:
        if table == "frame":
            pd.testing.assert_frame_equal(data, before)
    if list(res.params.index) != ["Intercept", "x"]:
        # truth values and labels are factors, as everywhere with formulas
        assert dtype in ("str", "string", "category", "bool", "boolean", "object")
        ENDED["right"] += 1
        return
    y, x, v = (_numbers(frame[c]) for c in ("y", "x", "v"))
    keep = ~(np.isnan(y) | np.isnan(x) | np.isnan(v))
    root = np.sqrt(1.0 / (v[keep] + 0.25))
    X = np.column_stack([np.ones(keep.sum()), x[keep]])
    known = np.linalg.lstsq(root[:, None] * X, root * y[keep], rcond=1e-10)[0]
    assert_allclose(res.params, known, rtol=1e-6, atol=1e-7)
    assert res.nobs == keep.sum()
    ENDED["right"] += 1


def test_some_ended_each_way():
    _try_arrays("endog", "array", "float64", "none", "none")
    _try_arrays("endog", "generator", "float64", "none", "none")
    assert ENDED["right"] > 0
    assert ENDED["refused"] > 0
