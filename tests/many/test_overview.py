"""What many fits print, and options of what can be asked of them."""

import numpy as np
import pandas as pd
import pytest

from metareg_sm import fit_many
from metareg_sm.exceptions import DesignError, OptionError
from metareg_sm.many import REASONS
from metareg_sm.stats.blocks import Reason

from ._many import outcomes


@pytest.fixture
def many():
    y, v, X = outcomes(90, n=200, missing=0.0)
    y[0, 3] = np.nan
    y[1, 2:] = np.nan
    y[2] = y[3] = 0.5
    return fit_many(y, X, v)


def test_a_few_aligned_lines(many):
    lines = repr(many).splitlines()
    assert str(many) == repr(many)
    begin = [
        "Meta-regressions of 200 outcomes",
        "Coefficients     const, x1",
        "tau2             REML",
        "Standard errors  Knapp-Hartung",
        "Fitted           197 of 200 (98.5%)",
        f"                 1: {REASONS[Reason.TOO_FEW_STUDIES]}",
        f"                 2: {REASONS[Reason.NO_VARIATION]}",
        "Studies          8 to 9, median 9",
    ]
    assert lines[: len(begin)] == begin
    rest = {line.split()[0]: line.split()[1:] for line in lines[-3:]}
    assert rest["Medians"] == ["coef", "se"]
    for j, name in enumerate(many.exog_names):
        shown = [float(x) for x in rest[name]]
        known = [np.nanmedian(many.params[:, j]), np.nanmedian(many.bse[:, j])]
        # to the four digits that are printed
        np.testing.assert_allclose(shown, known, rtol=5e-4)
    assert len({len(line) for line in lines[-3:]}) == 1
    median = next(line for line in lines if line.startswith("Median tau2")).split()[-1]
    # to the four digits that are printed
    np.testing.assert_allclose(float(median), np.nanmedian(many.tau2), rtol=5e-4)


def test_in_notebooks(many):
    shown = many._repr_html_()
    assert shown.startswith("<p>Meta-regressions of 200 outcomes</p><table>")
    assert "<td>197 of 200 (98.5%)</td>" in shown
    assert shown.count("<table") == shown.count("</table>") == 2
    y, v, X = outcomes(91, n=3)
    odd = fit_many(y, pd.DataFrame(X, columns=["<b>", "a & b"]), v)
    assert "&lt;b&gt;, a &amp; b" in odd._repr_html_()


def test_other_results_print():
    y, v, X = outcomes(92, n=4, missing=0.0)
    assert "fixed tau2, 0.25" in repr(fit_many(y, X, v, tau2=0.25))
    assert "nonrobust" in repr(fit_many(y, X, v, cov_type="nonrobust"))
    nothing = repr(fit_many(np.full_like(y, np.nan), X, v))
    assert "0 of 4 (0.0%)" in nothing
    assert "Median" not in nothing
    assert "0 of 0" in repr(fit_many(y[:0], X, v[0]))
    wide = fit_many(
        np.random.default_rng(1).normal(size=(2, 40)),
        np.random.default_rng(2).normal(size=(40, 15)),
        np.ones(40),
    )
    assert "x12, ..." in repr(wide)
    assert len(repr(wide).splitlines()) < 25


def test_tests_print(many):
    shown = repr(many.t_test([[0, 1], [1, 1]])).splitlines()
    assert shown[0].endswith("2 in each of 200 outcomes")
    assert shown[1].split() == ["Tested", "197", "of", "200"]
    assert shown[2].split() == ["Medians", "effect", "sd", "pvalue"]
    assert [line.split()[:2] for line in shown[3:]] == [["Row", "0"], ["Row", "1"]]
    assert many.t_test([0, 1])._repr_html_().count("<table") == 2


def test_of_dask_nothing_is_computed():
    da = pytest.importorskip("dask.array")
    y, v, X = outcomes(93, n=6)

    def read(block):
        if len(block):
            raise AssertionError("computed")
        return block

    lazy = da.from_array(y, chunks=(2, 9)).map_blocks(read, dtype=float, meta=np.empty((0, 0)))
    many = fit_many(lazy, X, v)
    assert "not computed yet" in repr(many)
    assert "not computed yet" in many._repr_html_()
    assert "not computed yet" in repr(many.t_test([0, 1]))


def test_each_reason_has_a_text():
    # many fits have one variance each, and no scale
    assert set(REASONS) == set(Reason) - {Reason.REDUNDANT_SCALE, Reason.UNBOUNDED}


def test_an_outcome_without_variation_has_no_numbers(many):
    assert many.reason[2] == Reason.NO_VARIATION
    assert not many.converged[2]
    for name in ("params", "bse", "pvalues", "tau2", "llf"):
        assert np.isnan(getattr(many, name)[2]).all(), name


@pytest.mark.parametrize("alpha", [0, 1, 0.0, 1.0, -0.1, 5, np.nan, np.inf, None, "0.05", True, []])
def test_alpha(many, alpha):
    for call in (
        lambda: many.conf_int(alpha),
        lambda: many.to_frame(alpha=alpha),
        lambda: many.adjust_pvalues(alpha=alpha),
    ):
        with pytest.raises(OptionError, match="alpha must be between 0 and 1"):
            call()


@pytest.mark.parametrize("method", ["nosuch", None, 3, "fdr_hb"])
def test_no_such_adjustment(many, method):
    with pytest.raises(OptionError, match="method="):
        many.adjust_pvalues(method)


@pytest.mark.parametrize(
    "contrast",
    [
        None,
        "x1 = 0",
        {},
        0.5,
        [1, 2, 3],
        [[[1, 2]]],
        [1, np.nan],
        [1, np.inf],
        [1j, 0],
        ["a", "b"],
        np.ma.array([1, 2], mask=[False, True]),
    ],
)
def test_no_contrast(many, contrast):
    with pytest.raises(DesignError, match="r_matrix"):
        many.t_test(contrast)
