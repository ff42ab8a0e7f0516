"""Whatever holds the numbers: a fit equal to that of the clean array, or a clear refusal."""

import copy
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import sparse

from metareg_sm import fit_many
from metareg_sm.exceptions import (
    DesignError,
    MetaRegError,
    MissingStudiesError,
    OptionError,
    VarianceError,
)

from ._many import alike, outcomes, same

da = pytest.importorskip("dask.array")
pytest.importorskip("pyarrow")

N, K = 5, 8
STUDIES, OUTCOMES = [f"s{j}" for j in range(K)], [f"g{i}" for i in range(N)]


def clean(seed):
    """Numbers that every type holds exactly: variances 1 to 9, outcomes and moderators -9 to 9."""
    rng = np.random.default_rng(seed)
    y = rng.integers(-9, 10, size=(N, K)).astype(float)
    X = np.column_stack([np.ones(K), np.arange(K) ** 2 - 9.0])
    return {"endog": y, "exog": X, "vi": rng.integers(1, 10, size=(N, K)).astype(float)}


# --- containers: name -> function of (array of any type, mask or None, argument) --------------


def frame(a, name):
    rows, columns = {"endog": (OUTCOMES, STUDIES), "vi": (OUTCOMES, STUDIES)}.get(
        name, (STUDIES, ["one", "dose"])
    )
    return pd.DataFrame(a, index=rows[: len(a)], columns=columns[: a.shape[1]])


class ArrayLike:
    """An object that can become an array and can do nothing else."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype=dtype)


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


CONTAINERS = {
    "array": lambda a, name: a,
    "fortran": lambda a, name: np.asfortranarray(a),
    "strided": lambda a, name: np.repeat(a, 3, axis=1)[:, ::3],
    "reversed": lambda a, name: a[::-1].copy()[::-1],
    "read-only": lambda a, name: read_only(a),
    "list": lambda a, name: a.tolist(),
    "tuple": lambda a, name: tuple(map(tuple, a.tolist())),
    "list of arrays": lambda a, name: list(a),
    "matrix": lambda a, name: np.asmatrix(a),
    "masked": lambda a, name: np.ma.array(a),
    "array-like": lambda a, name: ArrayLike(a),
    "frame": lambda a, name: pd.DataFrame(a),
    "labelled": frame,
    "shuffled": lambda a, name: frame(a, name).iloc[::-1],
    "dask": lambda a, name: da.from_array(a, chunks=(2, 3)),
    "sparse": lambda a, name: sparse.csr_array(np.ones(a.shape[-2:])),
    "dict": lambda a, name: dict(enumerate(a)),
    "generator": lambda a, name: (row for row in a),
    "bytes": lambda a, name: a.tobytes(),
    "None": lambda a, name: None,
    "scalar": lambda a, name: a.flat[0],
}
TYPES = {
    **{t: lambda a, t=t: a.astype(t) for t in ("f8", "f4", "f2", ">f8", "i8", "i1", "g", "O")},
    "text": lambda a: a.astype(str),
    "complex": lambda a: a.astype(complex),
    "objects of text": lambda a: a.astype(str).astype(object),
    "decimal": np.vectorize(Decimal, otypes=[object]),
    "fraction": np.vectorize(Fraction, otypes=[object]),
    "dates": lambda a: a.astype("i8").astype("M8[D]"),
}
# faults of one cell: what it becomes
MISSING = {"nan": np.nan, "none": None, "na": pd.NA}
WRONG = {"inf": np.inf, "word": "x", "imaginary": 1j, "list": [1.0], "time": pd.Timestamp(0)}
SHAPES = {
    "too few rows": lambda a: a[:-1],
    "too many columns": lambda a: np.column_stack([a, a[:, :1]]),
    "three dimensions": lambda a: a[None],
    "nothing": lambda a: a[:0, :0],
}
REFUSED = {"dict", "generator", "bytes", "None", "scalar", "sparse"}


def equal(before, after):
    """Whether an argument is as it was."""
    if isinstance(before, pd.DataFrame):
        return before.equals(after) and before.index.equals(after.index)
    if isinstance(before, ArrayLike):
        return equal(before.values, after.values)
    if isinstance(before, np.ma.MaskedArray) and not equal(before.mask, after.mask):
        return False
    if isinstance(before, np.ndarray):
        same_type = before.dtype == after.dtype and before.shape == after.shape
        return same_type and repr(before.tolist()) == repr(after.tolist())
    return True


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    name=st.sampled_from(["endog", "exog", "vi"]),
    container=st.sampled_from(list(CONTAINERS)),
    kind=st.sampled_from(list(TYPES)),
    fault=st.sampled_from([None, None, "masked", "negative", *MISSING, *WRONG, *SHAPES]),
    where=st.tuples(st.integers(0, N - 1), st.integers(0, 1)),
    seed=st.integers(0, 20),
)
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value", "ignore:the matrix subclass")
def test_equal_to_the_clean_array_or_refused(name, container, kind, fault, where, seed):
    arguments = clean(seed)
    values = TYPES[kind](arguments[name])
    known = {k: a.copy() for k, a in arguments.items()}
    right = kind not in ("text", "complex", "objects of text", "dates")
    right = right and container not in REFUSED
    if fault == "negative":
        values = TYPES[kind](np.where(np.arange(values.size).reshape(values.shape) == 3, -7, 1.0))
        known[name] = np.where(np.arange(values.size).reshape(values.shape) == 3, -7.0, 1.0)
        right = right and name == "endog"
        if name == "exog":
            return
    elif fault in SHAPES:
        values, right = SHAPES[fault](values), False
        # columns more are other moderators, and no outcomes are no error
        if (name, fault) in {("exog", "too many columns"), ("endog", "too few rows")}:
            return
        if container not in ("array", "fortran", "list", "masked"):
            return
    elif fault is not None:
        if fault != "masked":
            values = values.astype(object)
            values[where] = {**MISSING, **WRONG}[fault]
        right = right and (fault == "masked" or fault in MISSING) and name != "exog"
        known[name][where] = np.nan
    argument = CONTAINERS[container](values, name)
    if fault == "masked":
        mask = np.zeros(values.shape, dtype=bool)
        mask[where] = True
        argument = np.ma.array(values, mask=mask)
        right = name != "exog" and kind not in ("text", "complex", "objects of text", "dates")
    elif container == "shuffled":
        # labels say where rows belong among others that have labels
        arguments = {n: frame(a, n) for n, a in arguments.items()}
    arguments[name] = argument
    if not isinstance(argument, (pd.DataFrame, np.ndarray, list, tuple, ArrayLike)):
        before = None
    else:
        before = copy.deepcopy(argument)
    try:
        many = fit_many(**arguments)
        found = {x: np.asarray(getattr(many, x)) for x in ("params", "bse", "tau2", "llf", "nobs")}
    except MetaRegError:
        # whatever has no fault is fitted, whatever it is held in, where its type holds numbers;
        # but dask must hold floats, and the outcomes, too, where it holds the variances
        assert not right or (container == "dask" and (values.dtype == object or name == "vi"))
    else:
        assert right
        expected = fit_many(**known)
        if container == "shuffled" and fault != "masked" and name == "endog":
            found = {x: a[::-1] for x, a in found.items()}
        for x, a in found.items():
            assert_allclose(a, getattr(expected, x), rtol=1e-9, atol=1e-10, err_msg=x)
    if before is not None:
        assert equal(before, argument)


# --- single cases -----------------------------------------------------------------------------


def good():
    y, v, X = outcomes(60, n=N, k=K, missing=0.0)
    return {"endog": y, "exog": X, "vi": v}


@pytest.mark.parametrize("name", ["endog", "vi"])
@pytest.mark.parametrize("held", ["masked", "rows", "objects", "dask", "dask mask"])
def test_what_a_masked_array_masks_is_missing(name, held):
    given_, mask = good(), np.zeros((N, K), dtype=bool)
    mask[2, 3] = mask[4, 5] = True
    known = fit_many(**given_ | {name: np.where(mask, np.nan, given_[name])})
    # what stands under a mask is no number that anybody meant
    values = np.ma.array(np.where(mask, -np.inf, given_[name]), mask=mask)
    if held == "rows":
        values = list(values)
    elif held == "objects":
        values = np.ma.array(values.data.astype(object), mask=mask)
    elif held.startswith("dask"):
        given_["endog"] = da.from_array(given_["endog"], chunks=(2, 4))
        plain = da.from_array(values.data, chunks=(2, 4))
        values = (
            da.ma.masked_array(plain, mask=mask)
            if held == "dask mask"
            else da.from_array(values, chunks=(2, 4))
        )
    found = fit_many(**given_ | {name: values})
    alike(found.compute(), known)
    assert found.compute().nobs.tolist() == [8, 8, 7, 8, 7]
    if not held.startswith("dask"):
        assert found.model(2).nobs == 7


def test_masked_shared_variances():
    given_ = good()
    v = np.ma.array(given_["vi"][0], mask=np.arange(K) == 4)
    known = fit_many(**given_ | {"vi": np.where(v.mask, np.nan, v.data)})
    same(fit_many(**given_ | {"vi": v}), known)
    assert fit_many(**given_ | {"vi": v}).model(0).nobs == 7


def test_masked_moderators_are_refused():
    given_ = good()
    X = np.ma.array(given_["exog"], mask=False)
    same(fit_many(**given_ | {"exog": X}), fit_many(**given_))
    X[3, 1] = np.ma.masked
    for exog in (X, list(X)):
        with pytest.raises(MissingStudiesError, match="study 3 is masked in column 1"):
            fit_many(**given_ | {"exog": exog})


@pytest.mark.parametrize("dtype", ["Float64", "float64[pyarrow]", "Sparse[float64]", object])
@pytest.mark.parametrize("name", ["endog", "vi"])
def test_types_of_pandas_with_missing_values(name, dtype):
    given_ = good()
    given_[name][1, 2] = np.nan
    table = pd.DataFrame(given_[name]).astype(dtype)
    alike(fit_many(**given_ | {name: table}), fit_many(**given_))


@pytest.mark.parametrize("dtype", ["Float64", "float64[pyarrow]", "Sparse[float64]", object])
def test_types_of_pandas_in_the_moderators(dtype):
    given_ = good()
    table = pd.DataFrame(given_["exog"], columns=["const", "x1"])
    same(fit_many(**given_ | {"exog": table.astype(dtype)}), fit_many(**given_))
    table.iloc[4, 1] = np.nan
    with pytest.raises(MissingStudiesError, match=r"study 4.*column 1 \(x1\)"):
        fit_many(**given_ | {"exog": table.astype(dtype)})


def table_of(column):
    def changed(given_):
        return pd.DataFrame(given_["exog"], columns=["one", "dose"]).assign(dose=column)

    return changed


BAD = {
    "None": ("endog", lambda g: None, DesignError, "endog must be an array.*got None"),
    "no variances": ("vi", lambda g: None, VarianceError, "vi must be an array.*got None"),
    "no moderators": ("exog", lambda g: None, DesignError, "exog must be an array.*got None"),
    "number": ("endog", lambda g: 0.5, DesignError, "single value 0.5"),
    "dict": ("endog", lambda g: {"a": [1.0]}, DesignError, "type dict. Make a DataFrame"),
    "generator": ("vi", lambda g: iter(g["vi"]), DesignError, "Make a list"),
    "set": ("exog", lambda g: {1.0, 2.0}, DesignError, "type set"),
    "bytes": ("endog", lambda g: b"y", DesignError, "type bytes"),
    "function": ("endog", lambda g: print, DesignError, "type builtin_function"),
    "sparse": ("endog", lambda g: sparse.csr_matrix(g["endog"]), DesignError, r"endog.toarray\(\)"),
    "ragged": ("endog", lambda g: [[1.0, 2.0], [3.0]], DesignError, "rows differ in length"),
    "text": ("endog", lambda g: g["endog"].astype(str), DesignError, "must be numbers; it has"),
    "one word": ("endog", lambda g: [["x", 1.0]], DesignError, "endog must be numbers"),
    "text in a table": (
        "exog",
        table_of(list("aabbccdd")),
        DesignError,
        "'dose' has dtype.*A formula makes indicators",
    ),
    "text among objects": (
        "exog",
        table_of(pd.Series([1.0, "2", *range(6)], dtype=object)),
        DesignError,
        "study 1 in column 1 has '2'",
    ),
    "dates": ("exog", table_of(pd.Timestamp(0)), DesignError, "'dose' has dtype datetime"),
    "categories": ("exog", table_of(pd.Categorical([*"aabbccdd"])), DesignError, "dtype category"),
    "complex table": ("vi", lambda g: pd.DataFrame(g["vi"] + 0j), DesignError, "dtype complex"),
    "complex objects": (
        "endog",
        lambda g: (g["endog"] + 1j).astype(object),
        DesignError,
        "study 0 of outcome 0 has",
    ),
    "complex dask": ("endog", lambda g: da.from_array(g["endog"] + 1j), DesignError, "complex128"),
    "two columns of one name": (
        "exog",
        lambda g: pd.DataFrame(g["exog"], columns=["x", "x"]),
        DesignError,
        "two columns 'x'",
    ),
    "path": ("exog", lambda g: __import__("pathlib").Path("x.npy"), DesignError, "is a path"),
    "table for no formula": ("data", lambda g: pd.DataFrame(), OptionError, "data= is the table"),
    "no studies": ("exog", lambda g: np.empty((0, 2)), DesignError, "no studies"),
    "dask table": (
        "endog",
        lambda g: pytest.importorskip("dask.dataframe").from_pandas(
            pd.DataFrame(g["endog"]), npartitions=2
        ),
        DesignError,
        r"to_dask_array\(lengths=True\)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_refused(case):
    name, bad, error, text = BAD[case]
    given_ = good()
    with pytest.raises(error, match=text):
        fit_many(**given_ | {name: bad(given_)})


@pytest.mark.parametrize("name", ["endog", "vi"])
def test_dask_of_unknown_shape(name):
    given_ = good()
    lazy = da.from_array(given_[name], chunks=(2, K))
    lazy = lazy[lazy[:, 0] > -np.inf]
    with pytest.raises(DesignError, match=rf"{name}.compute_chunk_sizes\(\)"):
        fit_many(**given_ | {name: lazy})
    known = fit_many(**given_)
    given_["endog"] = da.from_array(given_["endog"], chunks=(2, K))
    alike(fit_many(**given_ | {name: lazy.compute_chunk_sizes()}).compute(), known)


# --- formulas ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "text"),
    [
        ("", "is an empty formula"),
        (" ~ ", "is an empty formula"),
        ("y ~ dose", "has a left side"),
        ("~ dsoe", "names 'dsoe'.*Did you mean 'dose'.*The columns are dose, group"),
        ("~ nosuch(dose)", "names 'nosuch'"),
        ("~ (dose", "cannot be evaluated"),
        ("~ dose +", "cannot be evaluated"),
        ("~ dose ** 0.5", "cannot be evaluated"),
        ("~ 0", "no moderators"),
        ("~ np.log(dose - 0.5)", "row 'b' of data is missing or not a number"),
        ("~ I(1 / zero)", "study 'b' is missing or infinite in column 1"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value", "ignore:divide by zero")
def test_formulas_that_cannot_be(engine, formula, text):
    data = pd.DataFrame({"dose": np.arange(K) - 1.0, "group": list("uuvvwwuu")}, [*"bacdefgh"])
    data["zero"] = np.arange(K)
    with pytest.raises(DesignError, match=text):
        fit_many(good()["endog"], formula, good()["vi"], data=data)


def test_forms_of_the_table_of_a_formula(engine):
    given_ = good()
    dose = given_["exog"][:, 1]
    known = fit_many(**given_)
    table = pd.DataFrame({"dose": dose})
    for data in (
        {"dose": dose},
        table.to_records(),
        table.astype("Float64"),
        table.set_axis([0] * K),
        table.assign(other=pd.array([pd.NA] * K, dtype="Int64")),
    ):
        found = fit_many(given_["endog"], "~ dose", given_["vi"], data=data)
        assert_allclose(found.params, known.params, rtol=1e-12)
    for data in ([1.0], 3, given_["exog"], {"dose": 1.0}):
        with pytest.raises(DesignError, match="data"):
            fit_many(given_["endog"], "~ dose", given_["vi"], data=data)
    twice = pd.concat([table, table], axis=1)
    with pytest.raises(DesignError, match="two columns 'dose'"):
        fit_many(given_["endog"], "~ dose", given_["vi"], data=twice)


@pytest.mark.parametrize("dtype", ["Float64", "Int64", "boolean", "string", "category"])
def test_a_missing_moderator_of_any_type(engine, dtype):
    values = pd.Series([1, 0, 1, 0, 1, 0, 1, 1], index=[7] * K)
    values = (values == 1 if dtype == "boolean" else values).astype(
        "str" if dtype == "string" else None
    )
    data = pd.DataFrame({"x": values.astype(dtype)})
    data.iloc[3, 0] = pd.NA
    with pytest.raises(MissingStudiesError, match="row 7 of data is missing"):
        fit_many(good()["endog"], "~ x", good()["vi"], data=data)


def test_the_names_of_a_formula_are_those_of_the_caller(engine):
    given_ = good()
    data = pd.DataFrame({"dose": given_["exog"][:, 1]})
    factor = 2.0

    def call():
        # a name that only this function has, and one from around it
        shift = factor + 1.0  # noqa: F841 (used in the formula)
        return fit_many(given_["endog"], "~ I(factor * dose + shift + K)", given_["vi"], data=data)

    expected = fit_many(
        given_["endog"], np.column_stack([np.ones(K), 2.0 * data["dose"] + 3.0 + K]), given_["vi"]
    )
    assert_allclose(call().params, expected.params, rtol=1e-9)
    # nothing within the package is seen
    with pytest.raises(DesignError, match="'moderators'"):
        fit_many(given_["endog"], "~ moderators", given_["vi"], data=data)
