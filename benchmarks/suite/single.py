"""One model, 13 studies."""

import numpy as np
import statsmodels.formula.api as smf

import metareg_sm
from metareg_sm import MetaReg

FORMULA = "yi ~ ablat + year"
OPTIMIZERS = ["newton", "nm", "bfgs", "lbfgs", "powell", "cg", "ncg", "basinhopping", "minimize"]
ESTIMATORS = ["reml", "ml", "dl", "pm", "eb", "he", "sj", "hs"]
COVARIANCES = ["knapp-hartung", "nonrobust", "HC3"]


class Bcg:
    """The data that the benchmarks below share."""

    def setup(self, *_: object) -> None:
        """Data, arrays, model and fit."""
        self.data = metareg_sm.datasets.bcg.load_pandas().data
        self.y, self.v = self.data["yi"].to_numpy(), self.data["vi"].to_numpy()
        self.X = np.column_stack([np.ones(13), self.data["ablat"], self.data["year"]])
        self.model = smf.metareg(FORMULA, self.data, vi="vi")
        self.result = self.model.fit()


class Fit(Bcg):
    """From data to p-values."""

    def time_formula(self) -> None:
        """A formula."""
        res = smf.metareg(FORMULA, self.data, vi="vi").fit()
        _ = res.bse, res.pvalues, res.tau2

    def time_array(self) -> None:
        """Arrays."""
        res = MetaReg(self.y, self.X, vi=self.v).fit()
        _ = res.bse, res.pvalues, res.tau2

    def time_wls_array(self) -> None:
        """The yardstick: weighted least squares of statsmodels on the same arrays."""
        import statsmodels.api as sm

        res = sm.WLS(self.y, self.X, weights=1.0 / self.v).fit()
        _ = res.bse, res.pvalues


class Optimizer(Bcg):
    """Each of statsmodels' optimizers."""

    params = OPTIMIZERS
    param_names = ("method",)

    def time_fit(self, method: str) -> None:
        """The fit alone."""
        self.model.fit(method=method)


class Estimator(Bcg):
    """Estimators of tau2."""

    params = ESTIMATORS
    param_names = ("tau2",)

    def time_fit(self, tau2: str) -> None:
        """The fit alone."""
        self.model.fit(tau2=tau2)


class Covariance(Bcg):
    """Covariances of the coefficients."""

    params = COVARIANCES
    param_names = ("cov_type",)

    def time_fit(self, cov_type: str) -> None:
        """The fit alone."""
        _ = self.model.fit(cov_type=cov_type).bse


class AfterFit(Bcg):
    """What a reader asks of a fit."""

    def time_summary(self) -> None:
        """The printed table, with all that it needs."""
        str(self.model.fit().summary())

    def time_prediction(self) -> None:
        """Ten new studies."""
        new = {"ablat": np.linspace(10, 60, 10), "year": np.full(10, 1950)}
        self.result.get_prediction(new).summary_frame()

    def time_conf_int_tau2(self) -> None:
        """Q-profile interval."""
        self.result.conf_int_tau2()


class Large:
    """One model with very many studies."""

    params = (10_000, 1_000_000)
    param_names = ("studies",)
    timeout = 300

    def setup(self, studies: int) -> None:
        """Arrays."""
        rng = np.random.default_rng(1)
        self.X = np.column_stack([np.ones(studies), rng.normal(size=(studies, 2))])
        self.v = np.exp(rng.uniform(np.log(0.02), np.log(0.5), size=studies))
        self.y = rng.normal(size=studies) * np.sqrt(self.v + 0.1)

    def time_array(self, *_: int) -> None:
        """From arrays to standard errors."""
        _ = MetaReg(self.y, self.X, vi=self.v).fit().bse
