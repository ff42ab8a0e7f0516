"""What must hold for every table."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose

from metareg_sm import effect_size
from metareg_sm.effectsizes import MEASURES
from metareg_sm.effectsizes.layouts import (
    CHANGE,
    CHANGE_SCORES,
    DIFFERENCE,
    MEANS,
    RATES,
    SPREADS,
    TABLE,
)

K = 5
SETTINGS = settings(max_examples=25, deadline=None)
SWAP = {"ai": "ci", "bi": "di", "x1i": "x2i", "t1i": "t2i", "m1i": "m2i", "sd1i": "sd2i"}
SWAP |= {"n1i": "n2i"}
SWAP |= {second: first for first, second in SWAP.items()}


def counts(top=10**5):
    return hnp.arrays(float, K, elements=st.integers(0, top).map(float))


def positive(low=1e-3, high=1e6):
    return hnp.arrays(float, K, elements=st.floats(low, high))


def sizes():
    return hnp.arrays(float, K, elements=st.integers(2, 10**5).map(float))


TABLES = st.fixed_dictionaries({name: counts() for name in ("ai", "bi", "ci", "di")})
PERSON = st.fixed_dictionaries(
    {"x1i": counts(), "x2i": counts(), "t1i": positive(), "t2i": positive()}
)
GROUPS = st.fixed_dictionaries(
    {"m1i": positive(), "m2i": positive(), "sd1i": positive(), "sd2i": positive()}
    | {"n1i": sizes(), "n2i": sizes()}
)
DATA = {TABLE: TABLES, RATES: PERSON, MEANS: GROUPS, DIFFERENCE: GROUPS}
SYMMETRIC = [
    m for m in MEASURES.values() if m.layout in (*DATA, SPREADS) and m.name not in {"SMD1H"}
]


def estimate(measure, cells, **options):
    """yi and vi; NaN in every row where no row has any."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            out = effect_size(measure.name, **cells, **options)
        except ValueError as error:
            assert "anything about" in str(error) or "in no row" in str(error)  # noqa: PT017 (an error is one of two right answers)
            return np.full((K, 2), np.nan)
    return out[["yi", "vi"]].to_numpy()


def draw(data, measure):
    layout = MEANS if measure.layout is SPREADS else measure.layout
    cells = data.draw(DATA[layout])
    allowed = {cell.name for cell in measure.layout.cells}
    return {name: values for name, values in cells.items() if name in allowed}


@pytest.mark.parametrize("measure", SYMMETRIC, ids=lambda m: m.name)
@SETTINGS
@given(data=st.data())
def test_swapping_the_groups_turns_the_sign(measure, data):
    cells = draw(data, measure)
    swapped = {name: cells[SWAP[name]] for name in cells}
    one, other = estimate(measure, cells), estimate(measure, swapped)
    # a difference of two numbers of the size of 10 keeps its absolute digits; at thresholds of
    # 1e-5 the tetrachoric root is as sharp as the normal density there allows
    sharp = 1e-7 if measure.name == "RTET" else 1e-9
    assert_allclose(other[:, 0], -one[:, 0], rtol=sharp, atol=1e-10)
    assert_allclose(other[:, 1], one[:, 1], rtol=100 * sharp)


@pytest.mark.parametrize("measure", SYMMETRIC, ids=lambda m: m.name)
@SETTINGS
@given(data=st.data())
def test_order_of_the_studies(measure, data):
    cells = draw(data, measure)
    order = np.array(data.draw(st.permutations(range(K))))
    one = estimate(measure, cells)
    other = estimate(measure, {name: values[order] for name, values in cells.items()})
    assert_allclose(other, one[order], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", [m.name for m in MEASURES.values() if m.layout is TABLE])
@SETTINGS
@given(cells=TABLES)
def test_complements_are_the_same_table(name, cells):
    measure = MEASURES[name.lower()]
    expected = estimate(measure, cells)
    n1i, n2i = cells["ai"] + cells["bi"], cells["ci"] + cells["di"]
    sized = {"ai": cells["ai"], "n1i": n1i, "ci": cells["ci"], "n2i": n2i}
    assert_allclose(estimate(measure, sized), expected, rtol=1e-12)
    others = {"bi": cells["bi"], "n1i": n1i, "di": cells["di"], "n2i": n2i}
    assert_allclose(estimate(measure, others), expected, rtol=1e-12)
    both = {**cells, "n1i": n1i, "n2i": n2i}
    assert_allclose(estimate(measure, both), expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["SMD", "SMDH", "SMD1H", "ROM", "CVR", "VR", "D2ORL", "RPB", "MD"])
@SETTINGS
@given(cells=GROUPS, factor=st.floats(1e-3, 1e3))
def test_units_of_the_measurement(name, cells, factor):
    measure = MEASURES[name.lower()]
    allowed = {cell.name for cell in measure.layout.cells}
    cells = {k: v for k, v in cells.items() if k in allowed}
    scaled = {k: v * factor if k[:2] in {"m1", "m2", "sd"} else v for k, v in cells.items()}
    by = factor if name == "MD" else 1.0
    assert_allclose(
        estimate(measure, scaled), estimate(measure, cells) * [by, by**2], rtol=1e-8, atol=1e-11
    )


@SETTINGS
@given(cells=GROUPS, ri=hnp.arrays(float, K, elements=st.floats(-1, 1)))
def test_variances_of_changes_are_not_negative(cells, ri):
    paired = {k: cells[k] for k in ("m1i", "m2i", "sd1i", "sd2i")}
    for measure in MEASURES.values():
        if measure.layout in (CHANGE, CHANGE_SCORES):
            v = estimate(measure, {**paired, "ri": ri, "ni": cells["n1i"]})[:, 1]
            assert (v[np.isfinite(v)] >= 0).all()


@pytest.mark.parametrize("name", sorted(m.name for m in MEASURES.values() if m.layout is TABLE))
@SETTINGS
@given(cells=TABLES)
def test_estimates_and_variances_go_together(name, cells):
    out = estimate(MEASURES[name.lower()], cells)
    assert (np.isnan(out[:, 0]) == np.isnan(out[:, 1])).all()
    finite = out[np.isfinite(out[:, 1])]
    assert (finite[:, 1] >= 0).all()
    if name in {"PHI", "YUQ", "YUY", "RTET"}:
        assert (np.abs(finite[:, 0]) <= 1).all()


@SETTINGS
@given(cells=TABLES)
def test_natural_scale_undoes_the_logarithm(cells):
    out = estimate(MEASURES["or"], cells, add=0.5, to="all")
    a, b, c, d = (cells[name] + 0.5 for name in ("ai", "bi", "ci", "di"))
    expected = np.where(np.isnan(out[:, 0]), np.nan, a * d / (b * c))
    assert_allclose(MEASURES["or"].natural(out[:, 0]), expected, rtol=1e-12)
