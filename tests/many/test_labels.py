"""Tables go together by label, whatever the order of their rows and columns, or are refused."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from metareg_sm import fit_many
from metareg_sm.exceptions import DesignError, OptionError, OutcomeError

from ._many import alike, outcomes, same

N, K = 6, 9
STUDIES = [f"trial {j}" for j in range(K)]
OUTCOMES = [f"gene{i}" for i in range(N)]


def tables():
    y, v, X = outcomes(50, n=N, k=K, missing=0.1)
    return (
        pd.DataFrame(y, index=OUTCOMES, columns=STUDIES),
        pd.DataFrame(X, index=STUDIES, columns=["one", "dose"]),
        pd.DataFrame(v, index=OUTCOMES, columns=STUDIES),
    )


def arrays():
    return tuple(table.to_numpy() for table in tables())


@settings(max_examples=40, deadline=None)
@given(
    orders=st.tuples(*[st.permutations(range(K))] * 3),
    rows=st.permutations(range(N)),
    how=st.sampled_from(["table", "formula", "array of vi", "shared vi"]),
)
def test_any_order_of_studies_and_outcomes_gives_the_same_numbers(orders, rows, how):
    y, X, v = tables()
    known = fit_many(y.to_numpy(), X.to_numpy(), v.iloc[2].to_numpy() if how == "shared vi" else v)
    y, X, w = y.iloc[:, orders[0]], X.iloc[orders[1]], v.iloc[rows, orders[2]]
    if how == "formula":
        found = fit_many(y, "~ dose", w, data=X)
    elif how == "array of vi":
        # arrays go by position, that of the outcomes' columns
        found = fit_many(y, X, v.to_numpy()[:, orders[0]])
    elif how == "shared vi":
        found = fit_many(y, X, v.iloc[2, orders[2]])
    else:
        found = fit_many(y, X, w)
    assert_allclose(found.params, known.params, rtol=1e-9, atol=1e-12)
    assert_allclose(found.llf, known.llf, rtol=1e-9)
    for i in (0, N - 1):
        assert_allclose(found.model(i).params, known.model(i).params, rtol=1e-9, atol=1e-12)


def test_outcomes_in_another_order_keep_their_labels():
    y, X, v = tables()
    found = fit_many(y.iloc[::-1], X, v).to_frame()
    assert list(found.index) == OUTCOMES[::-1]
    known = fit_many(y, X, v).to_frame()
    pd.testing.assert_frame_equal(found.loc[OUTCOMES], known, rtol=1e-12)


def test_labelled_moderators_and_variances_beside_an_array_of_outcomes():
    y, X, v = tables()
    known = fit_many(y.to_numpy(), X.to_numpy(), v.iloc[0].to_numpy())
    same(fit_many(y.to_numpy(), X, v.iloc[0, ::-1]), known)
    alike(fit_many(y.to_numpy(), X, v.iloc[[0] * N].iloc[:, ::-1].reset_index(drop=True)), known)


@pytest.mark.parametrize("table", ["endog", "exog", "vi"])
def test_numbers_in_another_order_are_labels(table):
    # a table that was sorted still has its labels, though nobody gave it any
    y, X, v = (pd.DataFrame(a) for a in arrays())
    order = [3, 1, 2, 0, 8, 7, 6, 5, 4]
    known = fit_many(y, X, v)
    y, X, v = {
        "endog": (y[order], X, v),
        "exog": (y, X.loc[order], v),
        "vi": (y, X, v[order]),
    }[table]
    assert_allclose(fit_many(y, X, v).params, known.params, rtol=1e-9, atol=1e-12)


def test_default_labels_go_by_position():
    y, X, v = tables()
    known = fit_many(*arrays())
    plain = pd.DataFrame(y.to_numpy())
    alike(fit_many(plain, X, v), known)
    alike(fit_many(y, pd.DataFrame(X.to_numpy()), v), known)
    # a part of a longer table: its numbers are no labels of these columns
    alike(fit_many(plain, X.set_axis(range(20, 20 + K)), v.to_numpy()), known)


@pytest.mark.parametrize(
    ("change", "label"),
    [
        (lambda y, X, v: (y, X.rename(index={"trial 3": "trial X"}), v), "'trial 3'"),
        (lambda y, X, v: (y, X, v.rename(columns={"trial 3": "trial X"})), "'trial 3'"),
        (lambda y, X, v: (y, X, v.rename(index={"gene2": "gene X"})), "'gene2'"),
        (lambda y, X, v: (y, X, v.iloc[0].rename({"trial 3": "trial X"})), "'trial 3'"),
        (lambda y, X, v: (y.iloc[:, :8], X, v.iloc[:, :8]), "'trial 8'"),
        (lambda y, X, v: (y, X.iloc[1:], v), "'trial 0'"),
        (lambda y, X, v: (y.rename(columns={"trial 3": "trial 2"}), X, v), "'trial 2'"),
        (lambda y, X, v: (y, X, v.rename(index={"gene2": "gene1"})), "'gene1'"),
    ],
)
def test_labels_that_differ_are_refused(change, label):
    y, X, v = change(*tables())
    with pytest.raises(DesignError, match=label):
        fit_many(y, X, v)


def test_the_table_of_a_formula_is_named():
    y, X, v = tables()
    with pytest.raises(DesignError, match=r"'trial 3' is in .*endog and not in the index of data"):
        fit_many(y, "~ dose", v, data=X.rename(index={"trial 3": "trial X"}))


def test_equal_labels_may_be_there_twice():
    y, X, v = tables()
    twice = ["trial"] * K
    y.columns, X.index, v.columns = twice, twice, twice
    alike(fit_many(y, X, v), fit_many(*arrays()))


def test_callers_tables_are_not_changed():
    y, X, v = tables()
    X, v = X.iloc[::-1], v.iloc[::-1, ::-1]
    before = [t.copy(deep=True) for t in (y, X, v)]
    fit_many(y, X, v)
    for table, known in zip((y, X, v), before, strict=True):
        pd.testing.assert_frame_equal(table, known)


def test_parquet_files_go_by_label(tmp_path):
    pytest.importorskip("pyarrow")
    y, X, v = tables()
    known = fit_many(y.to_numpy(), X.to_numpy(), v.to_numpy())
    y.iloc[:, ::-1].to_parquet(tmp_path / "y.parquet", row_group_size=4)
    v.to_parquet(tmp_path / "v.parquet", row_group_size=3)
    v.iloc[::-1].to_parquet(tmp_path / "reversed.parquet")
    v.rename(index={"gene2": "gene X"}).to_parquet(tmp_path / "other.parquet")
    found = fit_many(tmp_path / "y.parquet", X, tmp_path / "v.parquet", chunk=2)
    assert_allclose(found.params, known.params, rtol=1e-9, atol=1e-12)
    assert list(found.to_frame().index) == OUTCOMES
    assert list(pd.concat(found.iter_frames()).index) == OUTCOMES
    assert found.model("gene4").tau2 == pytest.approx(known.model(4).tau2, rel=1e-9)
    with pytest.raises(DesignError, match="another order in the file of vi"):
        fit_many(tmp_path / "y.parquet", X, tmp_path / "reversed.parquet")
    with pytest.raises(DesignError, match="gene2"):
        fit_many(tmp_path / "y.parquet", X, tmp_path / "other.parquet")
    alike(fit_many(tmp_path / "y.parquet", X, v.iloc[::-1]).compute(), found)


# --- one outcome of many -----------------------------------------------------------------------


def test_model_by_label():
    y, X, v = tables()
    many = fit_many(y, X, v)
    assert many.model("gene3").tau2 == many.model(3).tau2
    with pytest.raises(OutcomeError, match="gene9"):
        many.model("gene9")
    with pytest.raises(OutcomeError, match="no labels"):
        fit_many(y.to_numpy(), X, v).model("gene3")
    twice = fit_many(y.rename(index={"gene4": "gene3"}), X, v.to_numpy())
    with pytest.raises(OutcomeError, match="several"):
        twice.model("gene3")


@pytest.mark.parametrize("kind", ["array", "table", "npy", "parquet", "dask"])
def test_model_of_an_outcome_that_is_not_there(kind, tmp_path):
    y, X, v = tables()
    if kind == "npy":
        np.save(tmp_path / "y.npy", y)
    elif kind == "parquet":
        pytest.importorskip("pyarrow")
        y.to_parquet(tmp_path / "y.parquet")
    elif kind == "dask":
        y = pytest.importorskip("dask.array").from_array(y.to_numpy(), chunks=(2, K))
    elif kind == "array":
        y = y.to_numpy()
    many = fit_many(tmp_path / f"y.{kind}" if kind in ("npy", "parquet") else y, X, v)
    assert_allclose(many.model(-N).params, many.model(0).params)
    for i in (N, 12, -N - 1):
        with pytest.raises(OutcomeError, match=rf"no outcome {i}: there are 6, 0 to 5"):
            many.model(i)
    for i in (None, 1.0, True, [1], np.array([1, 2]), np.nan):
        with pytest.raises(OptionError, match="whole number or a label"):
            many.model(i)


def test_no_outcomes_no_model():
    y, X, v = arrays()
    with pytest.raises(OutcomeError, match="there are none"):
        fit_many(y[:0], X, v[0]).model(0)
