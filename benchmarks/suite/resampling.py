"""Batches of refits of one model."""

import statsmodels.formula.api as smf

import metareg_sm


class Resampling:
    """BCG, two moderators, REML in each resample."""

    timeout = 300

    def setup(self) -> None:
        """Fit once."""
        data = metareg_sm.datasets.bcg.load_pandas().data
        self.result = smf.metareg("yi ~ ablat + year", data, vi="vi").fit()
        self.mean = smf.metareg("yi ~ 1", data, vi="vi").fit()

    def time_permutation(self) -> None:
        """10,000 permutations of rows."""
        self.result.permutation_test(10_000, rng=1)

    def time_permutation_of_residuals(self) -> None:
        """2,000 permutations of the residuals of each smaller model."""
        self.result.permutation_test(2_000, rng=1, method="residuals")

    def time_bootstrap(self) -> None:
        """2,000 parametric resamples."""
        self.result.bootstrap(2_000, rng=1)

    def time_bootstrap_of_studies(self) -> None:
        """2,000 resamples of studies."""
        self.result.bootstrap(2_000, rng=1, method="studies")

    def time_gosh(self) -> None:
        """All 8,178 subsets of 13 studies."""
        metareg_sm.gosh(self.mean)
