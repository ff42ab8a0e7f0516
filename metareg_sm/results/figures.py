"""Figures of a fit: one line each over the function of `metareg_sm.plots` that draws it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from metareg_sm.results.inference import InferenceResults

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class FigureResults(InferenceResults):
    """Figures that a fit of any model draws of itself.

    matplotlib is imported when one is drawn. `metareg_data` of a figure has the plotted numbers.
    """

    def plot_forest(self, ax: Axes | None = None, **options: Any) -> Figure:
        """Forest plot: every study with its interval, and what the model makes of them.

        Parameters
        ----------
        ax : Axes, optional
            Axes to draw in; by default a figure of its own.
        **options
            As in `metareg_sm.plots.forest`.

        Returns
        -------
        Figure
            `metareg_data` has the plotted numbers.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ 1", bcg, vi="vi").fit()
        >>> fig = res.plot_forest(transform="exp", style="bmj")
        >>> round(float(fig.metareg_data.loc["Total (REML)", "shown"]), 3)
        0.489
        """
        from metareg_sm import plots

        return plots.forest(self, ax=ax, **options)

    def plot_bubble(self, x: str, ax: Axes | None = None, **options: Any) -> Figure:
        """Outcomes against a continuous moderator, with the regression line and its bands.

        Parameters
        ----------
        x : str
            A continuous moderator.
        ax : Axes, optional
            Axes to draw in; by default a figure of its own.
        **options
            As in `metareg_sm.plots.bubble`.

        Returns
        -------
        Figure
            `metareg_data` has the plotted numbers.

        Examples
        --------
        >>> import metareg_sm
        >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
        >>> res = metareg_sm.MetaReg.from_formula("yi ~ ablat", bcg, vi="vi").fit()
        >>> fig = res.plot_bubble("ablat")
        >>> fig.metareg_data["kind"].value_counts().to_dict()
        {'line': 101, 'study': 13}
        """
        from metareg_sm import plots

        return plots.bubble(self, x, ax=ax, **options)

    def plot_orchard(self, factor: str, ax: Axes | None = None, **options: Any) -> Figure:
        """Studies, means, confidence and prediction intervals by the levels of a factor.

        Parameters
        ----------
        factor : str
            A moderator with levels.
        ax : Axes, optional
            Axes to draw in; by default a figure of its own.
        **options
            As in `metareg_sm.plots.orchard`.

        Returns
        -------
        Figure
            `metareg_data` has the plotted numbers.
        """
        from metareg_sm import plots

        return plots.orchard(self, factor, ax=ax, **options)

    def plot_simple_slopes(
        self, moderator: str, partner: str, ax: Axes | None = None, **options: Any
    ) -> Figure:
        """Slopes of one moderator along another, with the Johnson-Neyman region.

        Parameters
        ----------
        moderator : str
            The moderator whose slopes are shown.
        partner : str
            A continuous moderator that it interacts with.
        ax : Axes, optional
            Axes to draw in; by default a figure of its own.
        **options
            As in `metareg_sm.plots.simple_slopes`.

        Returns
        -------
        Figure
            `metareg_data` has the plotted numbers.
        """
        from metareg_sm import plots

        return plots.simple_slopes(self, moderator, partner, ax=ax, **options)

    def plot_funnel(self, ax: Axes | None = None, **options: Any) -> Figure:
        """Funnel plot: effects, or residuals under moderators, against their precision.

        Parameters
        ----------
        ax : Axes, optional
            Axes to draw in; by default a figure of its own.
        **options
            As in `metareg_sm.plots.funnel`.

        Returns
        -------
        Figure
            `metareg_data` has the plotted numbers.
        """
        from metareg_sm import plots

        return plots.funnel(self, ax=ax, **options)

    def plot_radial(self, ax: Axes | None = None, **options: Any) -> Figure:
        """Radial (Galbraith) plot: effects over their standard errors.

        Parameters
        ----------
        ax : Axes, optional
            Axes to draw in; by default a figure of its own.
        **options
            As in `metareg_sm.plots.radial`.

        Returns
        -------
        Figure
            `metareg_data` has the plotted numbers.
        """
        from metareg_sm import plots

        return plots.radial(self, ax=ax, **options)

    def plot_baujat(self, ax: Axes | None = None, **options: Any) -> Figure:
        """Baujat plot: which studies are heterogeneous, and which of them matter.

        Parameters
        ----------
        ax : Axes, optional
            Axes to draw in; by default a figure of its own.
        **options
            As in `metareg_sm.plots.baujat`.

        Returns
        -------
        Figure
            `metareg_data` has the plotted numbers.
        """
        from metareg_sm import plots

        return plots.baujat(self, ax=ax, **options)

    def plot_influence(self, ax: Axes | None = None, **options: Any) -> Figure:
        """Panel of the deletion diagnostics.

        Parameters
        ----------
        ax : Axes, optional
            Axes to draw in; by default a figure of its own.
        **options
            As in `metareg_sm.plots.influence`.

        Returns
        -------
        Figure
            `metareg_data` has the plotted numbers.
        """
        from metareg_sm import plots

        return plots.influence(self, ax=ax, **options)

    def plot_qq(self, ax: Axes | None = None, **options: Any) -> Figure:
        """Normal Q-Q plot of the standardised residuals, with a simulated envelope.

        Parameters
        ----------
        ax : Axes, optional
            Axes to draw in; by default a figure of its own.
        **options
            As in `metareg_sm.plots.qq`.

        Returns
        -------
        Figure
            `metareg_data` has the plotted numbers.
        """
        from metareg_sm import plots

        return plots.qq(self, ax=ax, **options)

    def plot_profile(self, ax: Axes | None = None, **options: Any) -> Figure:
        """Profile log-likelihood of each variance component, its maximum and interval.

        Parameters
        ----------
        ax : Axes, optional
            Axes to draw in; by default a figure of its own.
        **options
            As in `metareg_sm.plots.profile`.

        Returns
        -------
        Figure
            `metareg_data` has the plotted numbers.
        """
        from metareg_sm import plots

        return plots.profile(self, ax=ax, **options)

    def plot_random_effects(self, ax: Axes | None = None, **options: Any) -> Figure:
        """Caterpillar plot of the predicted random effects.

        Parameters
        ----------
        ax : Axes, optional
            Axes to draw in; by default a figure of its own.
        **options
            As in `metareg_sm.plots.random_effects`.

        Returns
        -------
        Figure
            `metareg_data` has the plotted numbers.
        """
        from metareg_sm import plots

        return plots.random_effects(self, ax=ax, **options)
