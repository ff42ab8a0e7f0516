"""Tables and reports of a fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from metareg_sm.options import check_alpha
from metareg_sm.printing import Overview
from metareg_sm.results.figures import FigureResults

if TYPE_CHECKING:
    from os import PathLike

    from statsmodels.iolib.summary import Summary
    from statsmodels.iolib.summary2 import Summary as Summary2

    from metareg_sm._typing import Seed
    from metareg_sm.report.content import Deletions, Permutation
    from metareg_sm.report.paragraph import Report
    from metareg_sm.report.tables import Block, Grid


class ReportResults(FigureResults):
    """Tables, paragraphs and pages about a fit of any model."""

    _heading, _rows = "Meta-Regression", "studies"

    def _blocks(self, alpha: float) -> Sequence[Block | Grid]:
        """Parts of the summary that come after the coefficients."""
        raise NotImplementedError

    def summary(
        self,
        yname: str | None = None,
        xname: list[str] | None = None,
        title: str | None = None,
        alpha: float = 0.05,
        exponentiate: bool = False,
    ) -> Summary:
        """Summarise the fit.

        Parameters
        ----------
        yname, xname, title : optional
            Other names of the outcome and the coefficients, another title.
        alpha : float, default 0.05
            1 minus the coverage of the intervals.
        exponentiate : bool, default False
            Show exp(b), the factor for one unit, for ratio measures.

        Returns
        -------
        Summary
            Prints as text, shows as HTML in notebooks, converts to LaTeX and CSV.
        """
        from metareg_sm.report.tables import summary_table

        title = title or f"{self._heading} Results"
        blocks = self._blocks(check_alpha(alpha))
        return summary_table(self, blocks, yname, xname, title, alpha, exponentiate)

    def summary2(
        self,
        yname: str | None = None,
        xname: list[str] | None = None,
        title: str | None = None,
        alpha: float = 0.05,
        float_format: str = "%.4f",
        exponentiate: bool = False,
    ) -> Summary2:
        """Summarise the fit in statsmodels' second layout; parameters as in `summary`."""
        from metareg_sm.report.tables import summary_table2

        title = title or f"Results: {self._heading}"
        blocks = self._blocks(check_alpha(alpha))
        return summary_table2(self, blocks, yname, xname, title, alpha, float_format, exponentiate)

    def summary_frame(self, alpha: float = 0.05, exponentiate: bool = False) -> pd.DataFrame:
        """Coefficient table.

        Parameters
        ----------
        alpha : float, default 0.05
            1 minus the coverage of the intervals.
        exponentiate : bool, default False
            For ratio measures: exp(b), the factor for one unit, with its standard error by the
            delta method and the exponentiated interval.

        Returns
        -------
        DataFrame
            Columns coef, se, statistic, pvalue, ci_lower, ci_upper.
        """
        from metareg_sm.report import frames

        return frames.coefficients(self, alpha, exponentiate)

    def report(
        self,
        format: str = "text",
        *,
        alpha: float = 0.05,
        exponentiate: bool | None = None,
        at: Any = None,
        influence: bool | Deletions = False,
        permutation: Permutation | int | None = None,
        adjust: str | None = None,
        rng: Seed = None,
    ) -> Report:
        """Paragraphs for a paper: methods, results and cautions.

        They say what PRISMA 2020 (items 13d to 13f and 20) and the Cochrane Handbook ask for, as
        far as the fit knows it. Whether moderators were chosen in advance, the authors must add.

        Parameters
        ----------
        format : {"text", "markdown", "latex"}
            What the result is a string of; its attributes have the others.
        alpha : float, default 0.05
            1 minus the coverage of all intervals.
        exponentiate : bool, optional
            Show ratios. By default where the measure of the outcomes (see
            `metareg_sm.effect_size`) is known to be the logarithm of one.
        at : mapping or DataFrame, optional
            Moderators of predictions, as `get_prediction` takes them; by default their means, and
            the most frequent levels of factors.
        influence : bool or Influence, default False
            Fits without each study; of dependent effects without each cluster.
        permutation : int, PermutationTest or ClusterPermutation, optional
            A permutation test, or how many permutations to draw for one; of dependent effects
            changes of sign by cluster.
        adjust : str, optional
            Method of `adjust_pvalues`, such as "holm".
        rng : int or Generator, optional
            Seed of `permutation`.

        Returns
        -------
        Report
            A string, with the attributes `text`, `markdown`, `latex`, `html`, `references` and
            `bibtex`.

        References
        ----------
        Page, M. J., et al. (2021). The PRISMA 2020 statement. BMJ, 372, n71. Deeks, J. J., Higgins,
        J. P. T., & Altman, D. G. (2019). Analysing data and undertaking meta-analyses. In Cochrane
        Handbook for Systematic Reviews of Interventions, chapter 10. Wiley.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
        >>> "ablat, b = -0.0291 (95% CI -0.0472 to -0.0111, t(11) = -3.55" in res.report()
        True
        """
        from metareg_sm.report.paragraph import report

        return report(
            self,
            format,
            alpha=alpha,
            exponentiate=exponentiate,
            at=at,
            influence=influence,
            permutation=permutation,
            adjust=adjust,
            rng=rng,
        )

    def to_html(
        self,
        path: str | PathLike[str] | None = None,
        *,
        title: str | None = None,
        call: str | None = None,
        **kwargs: Any,
    ) -> str | None:
        """One page with tables, figures, the paragraphs of `report`, the data and the versions.

        Nothing on it is loaded from elsewhere. Figures need matplotlib; without it the page says
        so.

        Parameters
        ----------
        path : str or path, optional
            Where to write it.
        title : str, optional
            Title; by default the model.
        call : str, optional
            What made the fit; by default a call that does so.
        **kwargs
            Those of `report`, beside `format`.

        Returns
        -------
        str or None
            The page, where there is no path.

        Raises
        ------
        FileError
            If it cannot be written.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
        >>> "<h1>yi ~ ablat</h1>" in res.to_html()
        True
        """
        from metareg_sm.report.html import to_html

        return to_html(self, path, title, call, **kwargs)

    def overview(self) -> Overview:
        """What is printed for the results themselves; `summary()` says more."""
        from metareg_sm.report.overview import fit_overview, variances

        return fit_overview(self, variances(self), self._rows)

    @property
    def __maketables_coef_table__(self) -> pd.DataFrame:
        """Coefficients as maketables reads them."""
        names = {"coef": "b", "se": "se", "statistic": "t", "pvalue": "p"}
        names |= {"ci_lower": "ci95l", "ci_upper": "ci95u"}
        from metareg_sm.report import frames

        return frames.coefficients(self).rename(columns=names).rename_axis("Coefficient")

    def __maketables_stat__(self, key: str) -> int | float | str | None:
        """One number of the fit as maketables asks for it; None for what there is not."""
        known: dict[str, Callable[[], int | float | str]] = {
            "N": lambda: int(self.nobs),
            "ll": lambda: float(self.llf),
            "aic": lambda: float(self.aic),
            "bic": lambda: float(self.bic),
            "se_type": lambda: self.cov_label,
            "tau2": lambda: float(self.components.values[0]),
        }
        return known[key]() if key in known else None

    @property
    def __maketables_depvar__(self) -> str:
        """Name of the outcome as maketables prints it."""
        return self.terms.outcome
