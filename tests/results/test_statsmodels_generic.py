"""statsmodels' own generic checks, run on MetaReg under both formula engines."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.base.tests.test_generic_methods as generic
import statsmodels.base.tests.test_predict as predict
import statsmodels.base.tests.test_shrink_pickle as shrink
import statsmodels.formula
import statsmodels.stats.tests.test_anova as anova
import statsmodels.tools._testing as testing
from numpy.testing import assert_allclose

from metareg_sm import MetaReg

# used by a formula below, found in the globals of this module
log = np.log


@pytest.fixture(autouse=True)
def _both_engines(engine):
    """Before every setup_method."""


def _outcome(x, seed=987689):
    """Outcomes with heterogeneity, and their sampling variances."""
    rng = np.random.default_rng(seed)
    k = len(x)
    vi = rng.uniform(0.2, 1.5, k)
    y = np.asarray(x).sum(axis=1) + rng.normal(0.0, 0.7, k) + rng.normal(0.0, np.sqrt(vi))
    return y, vi


# --- generic methods -------------------------------------------------------------------------


class TestGenericWald(generic.CheckGenericMixin):
    def setup_method(self):
        super().setup_method()
        y, vi = _outcome(self.exog)
        self.results = MetaReg(y, self.exog, vi=vi).fit(cov_type="nonrobust")


class TestGenericKnappHartung(generic.CheckGenericMixin):
    def setup_method(self):
        super().setup_method()
        y, vi = _outcome(self.exog)
        self.results = MetaReg(y, self.exog, vi=vi).fit()

    def test_zero_collinear(self):
        # the mixin compares with a nonrobust fit and takes that for the default; here Knapp-Hartung
        model = self.results.model
        doubled = np.column_stack([model.exog, model.exog])
        with pytest.warns(UserWarning, match="redundant"):
            twice = MetaReg(model.endog, doubled, **model._get_init_kwds())
        found = twice._fit_collinear(cov_type="knapp-hartung", disp=0)
        assert_allclose(found.params[:4], self.results.params, rtol=1e-10)
        assert_allclose(found.bse[:4], self.results.bse, rtol=1e-10)
        assert_allclose(found.tvalues[:4], self.results.tvalues, rtol=1e-10)
        assert_allclose(found.pvalues[:4], self.results.pvalues, rtol=1e-10, atol=1e-300)
        assert_allclose(found.resid, self.results.resid, rtol=1e-10, atol=1e-12)
        assert (found.params[4:] == 0.0).all()


class TestGenericOneExog(generic.CheckGenericMixin):
    def setup_method(self):
        super().setup_method()
        x = self.exog[:, 1:2]
        y, vi = _outcome(x)
        self.results = MetaReg(y, x, vi=vi).fit(cov_type="nonrobust")

    test_zero_constrained = None  # the only regressor cannot be removed


class TestGenericFormula:
    """The parts of the generic checks that a formula's results can pass in statsmodels."""

    def setup_method(self):
        rng = np.random.default_rng(3)
        frame = pd.DataFrame(rng.normal(size=(60, 3)), columns=["a", "b", "c"])
        y, vi = _outcome(frame)
        self.results = MetaReg.from_formula("y ~ a + b * c", frame.assign(y=y), vi=vi).fit()

    def test_ttest_tvalues(self):
        testing.check_ttest_tvalues(self.results)

    def test_ftest_pvalues(self):
        testing.check_ftest_pvalues(self.results)

    def test_fitted(self):
        testing.check_fitted(self.results)


# --- terms -----------------------------------------------------------------------------------


def _kidney():
    frame = anova.kidney_table.drop([0, 1, 2]).reset_index(drop=True)
    rng = np.random.default_rng(11)
    return frame.assign(vi=rng.uniform(0.05, 0.6, len(frame)))


class CheckTerms(generic.CheckAnovaMixin):
    cov_type = "knapp-hartung"

    def setup_method(self):
        self.data = _kidney()
        formula = "np.log(Days+1) ~ C(Duration, Sum)*C(Weight, Sum)"
        if statsmodels.formula.options.formula_engine == "formulaic":
            formula = formula.replace("Sum", "contr.sum")
        self.res = MetaReg.from_formula(formula, self.data, vi="vi").fit(cov_type=self.cov_type)


class TestTermsF(CheckTerms):
    def test_predict_missing(self):
        new = self.data[:5].astype(float)
        new.iloc[0, 1] = np.nan
        first = self.res.predict(new)
        second = self.res.predict(new[1:])
        assert list(first.index) == list(new.index)
        assert np.isnan(first.iloc[0])
        assert_allclose(first.iloc[1:], second, rtol=1e-13)


class TestTermsChi2(CheckTerms):
    cov_type = "nonrobust"


class TestTermsRobust(CheckTerms):
    cov_type = "HC3"


class CheckPairs(generic.CheckPairwise):
    right = "C(Duration) + C(Weight)"
    term_name = "C(Weight)"
    constraints = ("C(Weight)[T.2]", "C(Weight)[T.3]", "C(Weight)[T.3] - C(Weight)[T.2]")
    cov_type = "knapp-hartung"

    def setup_method(self):
        self.constraints = list(self.constraints)
        formula = f"np.log(Days+1) ~ {self.right}"
        self.res = MetaReg.from_formula(formula, _kidney(), vi="vi").fit(cov_type=self.cov_type)


class TestPairwise(CheckPairs):
    def test_alpha(self):
        strict = self.res.t_test_pairwise(self.term_name, method="hommel", alpha=1e-9)
        loose = self.res.t_test_pairwise(
            self.term_name, method="hommel", alpha=0.9999, factor_labels=["A", "B", "C"]
        )
        assert_allclose(
            strict.result_frame.iloc[:, :7].to_numpy(float),
            loose.result_frame.iloc[:, :7].to_numpy(float),
            rtol=1e-12,
        )
        assert not strict.result_frame.iloc[:, -1].any()
        assert loose.result_frame.iloc[:, -1].all()
        assert list(loose.result_frame.index) == ["B-A", "C-A", "C-B"]


class TestPairwiseWald(CheckPairs):
    cov_type = "nonrobust"


class TestPairwiseOtherOrder(CheckPairs):
    right = "C(Weight) + C(Duration)"


class TestPairwiseNoConstant(CheckPairs):
    right = "C(Weight) + C(Duration) - 1"
    constraints = (
        "C(Weight)[2] - C(Weight)[1]",
        "C(Weight)[3] - C(Weight)[1]",
        "C(Weight)[3] - C(Weight)[2]",
    )


# --- remove_data, pickle, save and load ------------------------------------------------------


class TestRemoveData(shrink.RemoveDataPickle):
    cov_type = "knapp-hartung"

    def setup_method(self):
        super().setup_method()
        y, vi = _outcome(self.exog)
        self.model_class = MetaReg
        self.model_args = (y, self.exog)
        self.model_kwargs = {"vi": vi}
        self.fit_kwargs = {"cov_type": self.cov_type}
        self.results = self.estimate_model()


class TestRemoveDataWald(TestRemoveData):
    cov_type = "nonrobust"


class TestRemoveDataHC3(TestRemoveData):
    cov_type = "HC3"


class TestRemoveDataFormula(shrink.RemoveDataPickle):
    formula_used = "Y ~ A + B * C"

    @classmethod
    def setup_class(cls):
        super().setup_class()
        frame = pd.DataFrame(np.asarray(cls.exog)[:, 1:], columns=["A", "B", "C"])
        y, vi = _outcome(frame)
        cls.data = frame.assign(Y=y, vi=vi)
        cls.xf = pd.DataFrame(0.25 * np.ones((2, 3)), columns=["A", "B", "C"])
        cls.reduction_factor = 0.666

    def setup_method(self):
        super().setup_method()
        self.formula = self.formula_used
        self.results = self.estimate_model()

    def estimate_model(self):
        return MetaReg.from_formula(self.formula, self.data, vi="vi").fit()


class TestRemoveDataFormulaNumpy(TestRemoveDataFormula):
    formula_used = "Y ~ np.log(abs(A) + 1) + B * C"


class TestRemoveDataFormulaGlobal(TestRemoveDataFormula):
    formula_used = "Y ~ log(abs(A) + 1) + B * C"


# --- predict ---------------------------------------------------------------------------------


class TestPredict(predict.CheckPredictReturns):
    def setup_method(self):
        rng = np.random.default_rng(987128)
        x = rng.normal(size=(30, 3))
        y, vi = _outcome(x)
        # an extra column, to check that it does not matter
        self.data = pd.DataFrame(
            np.round(np.column_stack([y, x]), 4),
            columns=["y", "var1", "var2", "var3"],
            index=[f"obs{i:02d}" for i in range(30)],
        )
        self.res = MetaReg.from_formula("y ~ var1 + var2", self.data, vi=vi).fit()
