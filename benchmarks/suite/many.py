"""Many models with the same moderators."""

import tempfile
from pathlib import Path

import numpy as np

from metareg_sm import fit_many


def outcomes(n: int, k: int, p: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outcomes (n, k), variances (n, k) and moderators (k, p)."""
    rng = np.random.default_rng(1)
    X = np.column_stack([np.ones(k), rng.normal(size=(k, p - 1))])
    v = np.exp(rng.uniform(np.log(0.02), np.log(0.5), size=(n, k)))
    return rng.normal(size=(n, k)) * np.sqrt(v + 0.1), v, X


class Many:
    """Ten thousand outcomes, variances of their own."""

    params = ((10, 20, 50), (1, 3, 6))
    param_names = ("k", "p")
    timeout = 300

    def setup(self, k: int, p: int) -> None:
        """Outcomes in memory, and the same with a tenth of the cells missing."""
        self.y, self.v, self.X = outcomes(10_000, k, p)
        self.holes = self.y.copy()
        self.holes[np.random.default_rng(2).uniform(size=self.y.shape) < 0.1] = np.nan

    def time_reml(self, *_: int) -> None:
        """REML."""
        _ = fit_many(self.y, self.X, self.v).bse

    def time_missing_cells(self, *_: int) -> None:
        """REML with missing cells."""
        _ = fit_many(self.holes, self.X, self.v).bse

    def time_shared_variances(self, *_: int) -> None:
        """REML, one set of variances for all outcomes."""
        _ = fit_many(self.y, self.X, self.v[0]).bse

    def time_ml(self, *_: int) -> None:
        """Maximum likelihood."""
        _ = fit_many(self.y, self.X, self.v, tau2="ml").bse

    def time_dl(self, *_: int) -> None:
        """DerSimonian and Laird."""
        _ = fit_many(self.y, self.X, self.v, tau2="dl").bse

    def time_statistics(self, *_: int) -> None:
        """Everything: with Q, I2, the log-likelihood and p-values."""
        res = fit_many(self.y, self.X, self.v)
        _ = res.pvalues, res.q, res.i2, res.llf


class Files:
    """Outcomes in a file, results to a file."""

    params = (50_000, 500_000)
    param_names = ("outcomes",)
    timeout = 300

    def setup(self, n: int) -> None:
        """Write the outcomes."""
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)
        k = 10
        for name, seed in (("y.npy", 1), ("v.npy", 2)):
            rng = np.random.default_rng(seed)
            target = np.lib.format.open_memmap(
                self.path / name, mode="w+", dtype=float, shape=(n, k)
            )
            for begin in range(0, n, 50_000):
                size = (min(50_000, n - begin), k)
                values = rng.normal(size=size) if seed == 1 else rng.uniform(0.02, 0.5, size=size)
                target[begin : begin + size[0]] = values
        self.X = np.column_stack([np.ones(k), np.arange(k), np.arange(k) ** 2 / k])

    def teardown(self, *_: int) -> None:
        """Remove the files."""
        self.folder.cleanup()

    def _run(self) -> None:
        res = fit_many(str(self.path / "y.npy"), self.X, str(self.path / "v.npy"))
        res.save(self.path / "results.npy")

    def time_npy(self, *_: int) -> None:
        """From file to file."""
        self._run()

    def peakmem_npy(self, *_: int) -> None:
        """Peak memory, the pages of the mapped files included."""
        self._run()
