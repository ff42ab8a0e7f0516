"""Fits of all subsets of the studies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from metareg_sm._typing import Mask, Seed
from metareg_sm.exceptions import OptionError
from metareg_sm.options import generator, whole_number
from metareg_sm.postestimation.fitted import Labelled, Tau2Fitted, plain
from metareg_sm.postestimation.resampling import refit_of
from metareg_sm.printing import Overview, Printed
from metareg_sm.stats.resampling import refit_counts


@dataclass(frozen=True, repr=False)
class Gosh(Printed):
    """Fits of subsets of the studies: graphical display of study heterogeneity.

    Attributes
    ----------
    frame : DataFrame
        One row a subset: size, the coefficients, tau2, i2 and q.
    subsets : ndarray of bool, (n, k)
        Which studies each subset has.
    exhaustive : bool
        All subsets of at least the smallest size are there.
    n_failed : int
        Subsets that are left out: their moderators are redundant, or a variance of 0 leaves I2
        and Q undefined.
    """

    frame: pd.DataFrame
    subsets: Mask
    exhaustive: bool
    n_failed: int

    def overview(self) -> Overview:
        """What is printed: quantiles over the subsets."""
        n, k = self.subsets.shape
        drawn = "all there are" if self.exhaustive else "drawn at random"
        failed = f"; {self.n_failed:,} left out" if self.n_failed else ""
        lines = [("Subsets", f"{n:,} of {k} studies, {drawn}{failed}")]
        quantiles = self.frame.quantile([0.0, 0.25, 0.5, 0.75, 1.0]).T
        quantiles.columns = ["min", "25 %", "median", "75 %", "max"]
        return Overview("Fits of subsets of the studies (GOSH)", lines, quantiles)

    def plot_data(
        self, x: str = "i2", y: str | None = None, study: int | None = None
    ) -> pd.DataFrame:
        """What a GOSH plot shows.

        Parameters
        ----------
        x, y : str
            Columns of `frame`; `y` is the first coefficient by default.
        study : int, optional
            Position of a study whose presence is to be coloured.

        Returns
        -------
        DataFrame
            Columns x and y, and `included` where a study is given.
        """
        y = self.frame.columns[1] if y is None else y
        unknown = [c for c in (x, y) if c not in self.frame.columns]
        if unknown:
            raise OptionError(f"{unknown[0]!r} is no column. There are {list(self.frame.columns)}.")
        data = self.frame[[x, y]].copy()
        if study is not None:
            k = self.subsets.shape[1]
            if whole_number(study, "study", 0) >= k:
                raise OptionError(f"study must be a position from 0 to {k - 1}; got {study}.")
            data["included"] = self.subsets[:, study]
        return data


def _random_subsets(n: int, k: int, smallest: int, rng: np.random.Generator) -> Mask:
    """Subsets of at least `smallest` of k studies, each as likely as any other."""
    sizes = np.arange(smallest, k + 1)
    log_number = (
        special.gammaln(k + 1) - special.gammaln(sizes + 1) - special.gammaln(k - sizes + 1)
    )
    size = rng.choice(sizes, size=n, p=special.softmax(log_number))
    rank = rng.permuted(np.broadcast_to(np.arange(k), (n, k)), axis=1)
    return rank < size[:, None]


def gosh(
    results: Tau2Fitted | Labelled[Tau2Fitted],
    n_subsets: int = 1_000_000,
    min_size: int | None = None,
    rng: Seed = None,
) -> Gosh:
    """Refit a model to all subsets of its studies, or to a random sample of them.

    Parameters
    ----------
    results : MetaRegResults
        A fit.
    n_subsets : int, default 1,000,000
        Fit all subsets if there are at most so many, else a random sample of this size.
    min_size : int, optional
        Studies of the smallest subset; p + 1 by default.
    rng : int or Generator, optional
        Seed of the random sample.

    Returns
    -------
    Gosh

    Raises
    ------
    OptionError
        If a size is impossible or the fit has options that cannot be carried over.

    References
    ----------
    Olkin, I., Dahabreh, I. J., & Trikalinos, T. A. (2012). GOSH - a graphical display of study
    heterogeneity. Research Synthesis Methods, 3(3), 214-223.

    Examples
    --------
    >>> import metareg_sm
    >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
    >>> res = metareg_sm.MetaReg.from_formula("yi ~ 1", bcg, vi="vi").fit()
    >>> len(metareg_sm.gosh(res).frame)
    8178
    """
    fit = plain(results)
    refit, table = refit_of(fit), fit.table
    k, p = table.exog.shape
    n = whole_number(n_subsets, "n_subsets")
    smallest = p + 1 if min_size is None else whole_number(min_size, "min_size")
    if not p < smallest <= k:
        raise OptionError(f"min_size must be from {p + 1} to {k}; got {smallest}.")
    exhaustive = k < 63 and 2**k <= 4 * n
    if exhaustive:
        bits = ((np.arange(2**k)[:, None] >> np.arange(k)) & 1).astype(bool)
        bits = bits[bits.sum(axis=1) >= smallest]
        exhaustive = len(bits) <= n
    if not exhaustive:
        bits = _random_subsets(n, k, smallest, generator(rng))
    fits = refit_counts(table.endog, table.vi, refit, bits)
    # I2 and Q are NaN for a subset that has a study with a variance of 0
    columns = np.column_stack([fits.params, fits.tau2, fits.i2, fits.q])
    keep = ~np.isnan(columns).any(axis=1)
    frame = pd.DataFrame(columns[keep], columns=[*fit.terms.names, "tau2", "i2", "q"])
    frame.insert(0, "size", bits[keep].sum(axis=1))
    return Gosh(frame, bits[keep], exhaustive, int((~keep).sum()))
