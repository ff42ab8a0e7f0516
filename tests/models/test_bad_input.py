"""Every mistake a user can make has an error that names it."""

import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from statsmodels.tools.sm_exceptions import MissingDataError, SingularMatrixWarning

from metareg_sm import MetaReg
from metareg_sm.exceptions import (
    DesignError,
    MissingStudiesError,
    OptionError,
    RankDeficiencyWarning,
    VarianceError,
)

pytestmark = [pytest.mark.usefixtures("engine"), pytest.mark.plumbing]


@pytest.fixture
def arrays(bcg):
    """Outcome, design and sampling variances as arrays."""
    exog = sm.add_constant(bcg[["ablat"]]).to_numpy()
    return bcg["yi"].to_numpy(), exog, bcg["vi"].to_numpy()


def fit(data, formula="yi ~ ablat", **kwds):
    return MetaReg.from_formula(formula, data, vi="vi").fit(**kwds)


# --- sampling variances ----------------------------------------------------------------------


def test_errors_are_those_that_statsmodels_users_catch():
    assert issubclass(VarianceError, ValueError)
    assert issubclass(DesignError, ValueError)
    assert issubclass(MissingStudiesError, MissingDataError)
    assert issubclass(OptionError, ValueError)
    assert issubclass(OptionError, TypeError)
    assert issubclass(RankDeficiencyWarning, SingularMatrixWarning)


def test_neither_vi_nor_sei(bcg, arrays):
    with pytest.raises(VarianceError, match="vi= or the standard errors as sei=; got neither"):
        MetaReg.from_formula("yi ~ ablat", bcg)
    with pytest.raises(VarianceError, match="got neither"):
        MetaReg(*arrays[:2])


def test_both_vi_and_sei(bcg, arrays):
    with pytest.raises(VarianceError, match="got both"):
        MetaReg.from_formula("yi ~ ablat", bcg, vi="vi", sei="vi")
    with pytest.raises(VarianceError, match="got both"):
        MetaReg(*arrays, sei=arrays[2])


def test_vi_given_twice(bcg):
    with pytest.raises(OptionError, match="once, as vi="):
        MetaReg.from_formula("yi ~ ablat", bcg, None, None, "vi", vi="vi")


def test_column_that_does_not_exist(bcg):
    bcg = bcg.rename(columns={"vi": "variance"})
    with pytest.raises(VarianceError, match=r"vi='varience'.*Did you mean 'variance'\?"):
        MetaReg.from_formula("yi ~ ablat", bcg, vi="varience")
    with pytest.raises(VarianceError, match=r"sei='zzz': the data have no such column. They have"):
        MetaReg.from_formula("yi ~ ablat", bcg, sei="zzz")


def test_column_name_without_formula(arrays):
    with pytest.raises(VarianceError, match="only the formula interface has"):
        MetaReg(*arrays[:2], vi="vi")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-0.1, r"row 3 has the negative variance -0.1"),
        (np.inf, r"row 3 has the infinite variance inf"),
    ],
)
def test_impossible_variance(bcg, arrays, value, message):
    bcg.loc[3, "vi"] = value
    with pytest.raises(VarianceError, match=message):
        MetaReg.from_formula("yi ~ ablat", bcg, vi="vi")
    with pytest.raises(VarianceError, match=message):
        MetaReg(*arrays[:2], vi=bcg["vi"])


def test_impossible_variance_names_the_label(bcg):
    bcg.index = list("abcdefghijklm")
    bcg.loc["d", "vi"] = -1.0
    with pytest.raises(VarianceError, match="row 'd' has the negative variance -1"):
        MetaReg.from_formula("yi ~ ablat", bcg, vi="vi")


def test_negative_standard_error_is_not_squared_away(bcg, arrays):
    se = np.sqrt(arrays[2])
    se[2] = -se[2]
    with pytest.raises(VarianceError, match="sei must be finite and not negative; row 2"):
        MetaReg.from_formula("yi ~ ablat", bcg, sei=se)
    with pytest.raises(VarianceError, match="negative standard error"):
        MetaReg(*arrays[:2], sei=se)


def test_variance_that_is_no_number(bcg, arrays):
    words = bcg["vi"].astype(object)
    words[5] = "small"
    with pytest.raises(VarianceError, match="must be numbers; row 5 has 'small'"):
        MetaReg.from_formula("yi ~ ablat", bcg, vi=words)
    with pytest.raises(VarianceError, match="must be numbers"):
        MetaReg.from_formula("yi ~ ablat", bcg, vi="author")
    with pytest.raises(VarianceError, match="vi must be numbers"):
        MetaReg(*arrays[:2], vi=words.tolist())
    with pytest.raises(VarianceError, match="must be numbers; it has dtype complex"):
        MetaReg(*arrays[:2], vi=arrays[2] + 0j)
    with pytest.raises(VarianceError, match="must be numbers; it has dtype bool"):
        MetaReg(*arrays[:2], vi=arrays[2] > 0)


def test_variances_of_the_wrong_shape(bcg, arrays):
    y, X, v = arrays
    with pytest.raises(DesignError, match="vi has 12 values for the 13 rows of data"):
        MetaReg.from_formula("yi ~ ablat", bcg, vi=v[1:])
    with pytest.raises(DesignError, match="vi has 12 values for the 13 rows of endog"):
        MetaReg(y, X, vi=v[1:])
    with pytest.raises(DesignError, match="one value a study; got the single value"):
        MetaReg(y, X, vi=0.1)
    with pytest.raises(DesignError, match="one value a study"):
        MetaReg.from_formula("yi ~ ablat", bcg, vi=0.1)
    with pytest.raises(DesignError, match="one-dimensional; it has shape"):
        MetaReg(y, X, vi=np.column_stack([v, v]))


def test_series_that_cannot_be_aligned(bcg, arrays):
    y, X, _ = arrays
    bcg.index = list("abcdefghijklm")
    short = bcg["vi"].iloc[1:]
    with pytest.raises(DesignError, match=r"cannot be aligned.*no entry for 'a'"):
        MetaReg.from_formula("yi ~ ablat", bcg, vi=short)
    with pytest.raises(DesignError, match=r"cannot be aligned.*no entry for 'a'"):
        MetaReg(bcg["yi"], X, vi=short)
    doubled = pd.Series(y**2, index=["a"] * 13)
    with pytest.raises(DesignError, match="duplicate labels"):
        MetaReg.from_formula("yi ~ ablat", bcg, vi=doubled)


@pytest.mark.parametrize("tau2", ["reml", "pm", "eb", "he", "sj", "sjit", "pmm"])
def test_zero_variance_is_legal_where_tau2_is_positive(bcg, tau2):
    bcg.loc[4, "vi"] = 0.0
    res = fit(bcg, tau2=tau2)
    assert res.tau2 > 0.0
    w = 1.0 / (bcg["vi"] + res.tau2)
    known = sm.WLS(bcg["yi"], sm.add_constant(bcg[["ablat"]]), weights=w).fit()
    assert_allclose(res.params, known.params, rtol=1e-10)


def test_zero_variance_with_fixed_tau2(bcg):
    bcg.loc[4, "vi"] = 0.0
    assert np.isfinite(fit(bcg, tau2=0.2).bse).all()
    with pytest.raises(VarianceError, match="vi of row 4 is 0, and with tau2=0"):
        fit(bcg, tau2=0.0)


def test_zero_variance_leaves_the_full_likelihood_unbounded(bcg):
    # the fit passes through that study as tau2 falls to 0, and its density there grows for ever
    bcg.loc[4, "vi"] = 0.0
    with pytest.raises(VarianceError, match="vi of row 4 is 0, and the estimate of tau2 by 'ml'"):
        fit(bcg, tau2="ml")


@pytest.mark.parametrize("tau2", ["dl", "hs", "hsk", "genq"])
def test_zero_variance_where_weights_are_its_inverse(bcg, tau2):
    bcg.loc[4, "vi"] = 0.0
    with pytest.raises(VarianceError, match=f"vi of row 4 is 0, and the estimator '{tau2}'"):
        fit(bcg, tau2=tau2)


def test_zero_variance_and_tau2_estimated_as_zero():
    frame = pd.DataFrame({"y": [1.0, 1.1, 0.9, 1.0], "v": [0.0, 2.0, 2.0, 2.0]})
    model = MetaReg.from_formula("y ~ 1", frame, vi="v")
    for tau2 in ("pm", "he"):
        with pytest.raises(VarianceError, match="vi of row 0 is 0, and the estimate of tau2"):
            model.fit(tau2=tau2)


# --- outcomes and moderators -----------------------------------------------------------------


@pytest.mark.parametrize("column", ["yi", "ablat"])
def test_infinite_value(bcg, column):
    bcg[column] = bcg[column].astype(float)
    bcg.loc[7, column] = np.inf
    with pytest.raises(DesignError, match=f"{column}.* of row 7 is infinite"):
        MetaReg.from_formula("yi ~ ablat", bcg, vi="vi")
    with pytest.raises(DesignError, match="of row 7 is infinite"):
        MetaReg(bcg["yi"], bcg[["ablat"]], vi=bcg["vi"])


def test_infinities_that_cancel_are_found(bcg):
    bcg.loc[[2, 7], "yi"] = [np.inf, -np.inf]
    with pytest.raises(DesignError, match="of row 2 is infinite"):
        MetaReg.from_formula("yi ~ ablat", bcg, vi="vi")


@pytest.mark.parametrize("where", ["yi", "ablat", "vi"])
def test_missing_value_in_arrays(bcg, where):
    bcg[where] = bcg[where].astype(float)
    bcg.loc[6, where] = np.nan
    args = bcg["yi"].to_numpy(), bcg[["ablat"]].to_numpy(), bcg["vi"].to_numpy()
    with pytest.raises(MissingStudiesError, match=r"row 6 is missing. missing='drop'"):
        MetaReg(*args)
    with pytest.raises(MissingDataError):
        MetaReg(*args, missing="raise")
    assert MetaReg(*args, missing="drop").nobs == 12


@pytest.mark.parametrize("where", ["yi", "ablat", "vi"])
def test_missing_value_in_formula_may_be_refused(bcg, where):
    bcg[where] = bcg[where].astype(float)
    bcg.loc[6, where] = np.nan
    with pytest.raises(MissingDataError):
        MetaReg.from_formula("yi ~ ablat", bcg, vi="vi", missing="raise")


@pytest.mark.parametrize("where", ["yi", "ablat", "vi"])
def test_all_rows_missing(bcg, where):
    bcg[where] = np.nan
    with pytest.raises(MissingStudiesError, match="No study is left"):
        MetaReg.from_formula("yi ~ ablat", bcg, vi="vi")
    args = bcg["yi"].to_numpy(), bcg[["ablat"]].to_numpy(), bcg["vi"].to_numpy()
    with pytest.raises(MissingStudiesError, match="No study is left"):
        MetaReg(*args, missing="drop")


def test_no_row_is_complete(bcg):
    bcg = bcg.astype({"ablat": float})
    bcg.loc[:6, "ablat"] = np.nan
    bcg.loc[7:, "yi"] = np.nan
    with pytest.raises(MissingStudiesError, match="No study is left"):
        MetaReg.from_formula("yi ~ ablat", bcg, vi="vi")


def test_empty_data(bcg):
    with pytest.raises(DesignError, match="data has no rows"):
        MetaReg.from_formula("yi ~ ablat", bcg[:0], vi="vi")
    with pytest.raises(DesignError, match="subset leaves no rows"):
        MetaReg.from_formula("yi ~ ablat", bcg, vi="vi", subset=bcg["ablat"] > 90)
    with pytest.raises(ValueError, match="No study is left"):
        MetaReg(np.empty(0), np.empty((0, 1)), vi=np.empty(0))


def test_no_data_frame():
    with pytest.raises(DesignError, match="data must be a DataFrame; got int"):
        MetaReg.from_formula("yi ~ 1", 3, vi="vi")


def test_fewer_studies_than_coefficients(bcg):
    with pytest.raises(DesignError, match="fewer studies than coefficients: 2 studies, 3 coeff"):
        MetaReg.from_formula("yi ~ ablat + year", bcg[:2], vi="vi")


def test_no_exog(arrays):
    with pytest.raises(DesignError, match="exog is required; for the pooled mean"):
        MetaReg(arrays[0], vi=arrays[2])


def test_two_outcomes(arrays):
    y, X, v = arrays
    with pytest.raises(DesignError, match="endog must have one column"):
        MetaReg(np.column_stack([y, y]), X, vi=v)


def test_text_outcome(bcg):
    with pytest.raises(ValueError, match=r"dtype|numeric|categor"):
        MetaReg(bcg["author"], bcg[["ablat"]], vi=bcg["vi"])


def test_rows_that_do_not_match(arrays):
    y, X, v = arrays
    with pytest.raises(ValueError, match=r"endog|exog|size"):
        MetaReg(y, X[1:], vi=v)


# --- redundant moderators --------------------------------------------------------------------


def test_redundant_moderators(bcg):
    bcg["twice"] = 2.0 * bcg["ablat"] + 3.0
    with pytest.warns(RankDeficiencyWarning, match="'twice' depend.* linearly") as caught:
        model = MetaReg.from_formula("yi ~ ablat + twice + year", bcg, vi="vi")
    assert len(caught) == 1
    res = model.fit(cov_type="nonrobust")
    assert res.redundant == ["twice"]
    assert res.df_model == 2.0
    assert res.df_resid == 10.0
    w = 1.0 / (bcg["vi"] + res.tau2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularMatrixWarning)
        known = sm.WLS(model.endog, model.exog, weights=w).fit(
            method="pinv", cov_type="fixed scale"
        )
    assert_allclose(res.fittedvalues, known.fittedvalues, rtol=1e-8)
    plain = MetaReg.from_formula("yi ~ ablat + year", bcg, vi="vi").fit(cov_type="nonrobust")
    assert_allclose(res.tau2, plain.tau2, rtol=1e-10)
    assert_allclose(res.llf, plain.llf, rtol=1e-10)
    assert_allclose(res.fittedvalues, plain.fittedvalues, rtol=1e-9)
    assert_allclose(res.fvalue, plain.fvalue, rtol=1e-8)


def test_redundant_moderators_of_equal_variance_are_those_of_pinv(arrays):
    y, X, v = arrays
    rng = np.random.default_rng(1)
    X = np.column_stack([X, rng.normal(size=13)])
    X = np.column_stack([X, X[:, 1] - 0.5 * X[:, 2]])
    with pytest.warns(RankDeficiencyWarning, match="x3") as caught:
        res = MetaReg(y, X, vi=v).fit(tau2=0.1, cov_type="nonrobust")
    assert caught[0].filename == __file__
    root = np.sqrt(1.0 / (v + 0.1))
    # the minimum-norm solution of the unweighted design's row space
    best = np.linalg.lstsq(root[:, None] * X, root * y, rcond=1e-10)[0]
    assert_allclose(res.params, best, rtol=1e-8)
    assert_allclose(
        res.cov_params(), np.linalg.pinv(X.T @ (X * root[:, None] ** 2), rcond=1e-12), rtol=1e-6
    )


def test_other_units_are_not_redundant(bcg):
    bcg["population"] = bcg["year"] * 1e9
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        res = MetaReg.from_formula("yi ~ ablat + population", bcg, vi="vi").fit()
    plain = MetaReg.from_formula("yi ~ ablat + year", bcg, vi="vi").fit()
    assert_allclose(res.params["population"] * 1e9, plain.params["year"], rtol=1e-8)
