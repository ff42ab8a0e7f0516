"""Conditional slopes of a moderator that interacts with others."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize

from metareg_sm._typing import Array
from metareg_sm.exceptions import DesignError, OptionError
from metareg_sm.options import check_alpha, suggestion
from metareg_sm.postestimation.fitted import Fitted, Labelled, plain
from metareg_sm.postestimation.prediction import new_rows
from metareg_sm.printing import Overview, Printed, number, percent
from metareg_sm.stats.reference import critical_value

__all__ = ["JohnsonNeyman", "SimpleSlopes", "simple_slopes"]

# relative to the largest element of a column: what rounding of a difference quotient may leave
_LINEAR = 1e-8
_POINTS = 5
_ANGLES = 1441


@dataclass(frozen=True, slots=True, repr=False)
class JohnsonNeyman(Printed):
    """Where along a partner the slope of a moderator is significant.

    Attributes
    ----------
    moderator, partner, alpha : str, str, float
        The slope of which, along what, and the level of the pointwise tests.
    bounds : tuple of float
        Values of the partner at which the slope's confidence interval just touches zero.
    significant : {"inside", "outside", "nowhere", "everywhere", "mixed"}
        Where the slope is significant, relative to two bounds; "mixed" for other numbers of them.
    regions : tuple of (float, float)
        The same as intervals of the partner; ends may be infinite.
    observed : (float, float)
        Range of the partner in the studies. Bounds beyond it are extrapolations.
    """

    moderator: str
    partner: str
    alpha: float
    bounds: tuple[float, ...]
    significant: str
    regions: tuple[tuple[float, float], ...]
    observed: tuple[float, float]

    def overview(self) -> Overview:
        """What is printed."""
        regions = (f"{number(a)} to {number(b)}" for a, b in self.regions)
        lines = (
            ("Bounds", ", ".join(number(b) for b in self.bounds) or "none"),
            (f"p < {self.alpha:g}", "; ".join(regions) or "nowhere"),
            ("Observed", " to ".join(number(x) for x in self.observed)),
        )
        title = f"Where along {self.partner} the slope of {self.moderator} is significant"
        return Overview(title, lines, note="The tests are pointwise (Johnson-Neyman).")


@dataclass(frozen=True, slots=True, repr=False)
class SimpleSlopes(Printed):
    """Slopes of one moderator at chosen values of its partners.

    Attributes
    ----------
    frame : DataFrame
        One row a combination of partner values, with slope, se, statistic, pvalue, ci_lower and
        ci_upper.
    contrasts : ndarray, (n, p)
        The slopes as linear combinations of the coefficients.
    moderator, alpha : str, float
        Whose slopes they are; 1 minus the coverage of the intervals.
    """

    frame: pd.DataFrame
    contrasts: Array
    moderator: str
    alpha: float
    _at: dict[str, list[Any]] = field(repr=False)
    _fit: Fitted = field(repr=False)

    def overview(self) -> Overview:
        """What is printed."""
        title = f"Slopes of {self.moderator}, intervals at {percent(self.alpha)}"
        return Overview(title, (), self.frame)

    def johnson_neyman(self, partner: str, alpha: float | None = None) -> JohnsonNeyman:
        """Values of a continuous partner at which the slope turns significant.

        Parameters
        ----------
        partner : str
            A numeric partner that the slope is linear in. Other partners keep the one value that
            `at` gave them.
        alpha : float, optional
            Level of the tests; by default that of the slopes.

        Returns
        -------
        JohnsonNeyman

        Raises
        ------
        OptionError, DesignError
            If the partner is not one of `at`, is not numeric, or another has several values; if
            the slope does not depend on the partner, or not linearly.

        Notes
        -----
        The tests are pointwise: somewhere in a range a slope is significant by chance more often
        than `alpha` says. The bounds are roots of a quadratic, or with Satterthwaite degrees of
        freedom, which change along the partner, of the p-value less `alpha`.

        References
        ----------
        Bauer, D. J., & Curran, P. J. (2005). Probing interactions in fixed and multilevel
        regression. Multivariate Behavioral Research, 40(3), 373-400.
        """
        level = check_alpha(self.alpha if alpha is None else alpha)
        if partner not in self._at:
            raise OptionError(f"partner={partner!r} is not in at, which has {list(self._at)}.")
        several = [n for n, v in self._at.items() if n != partner and len(v) > 1]
        if several:
            raise OptionError(f"at[{several[0]!r}] must have one value to hold it at.")
        frame = _studies_frame(self._fit)
        if not _numeric(frame[partner]):
            raise OptionError(f"partner={partner!r} is not numeric; its slopes are in frame.")
        points = _observed(frame[partner])
        rows = _contrasts(self._fit, frame, self.moderator, self._at | {partner: points})
        z = points.astype(float)
        constant, linear = _line(z, rows, self.moderator, partner)
        middle, half = 0.5 * (z[0] + z[-1]), 0.5 * (z[-1] - z[0])
        centre, tilt = constant + middle * linear, half * linear
        df = self._fit.contrast_df(rows)
        if isinstance(df, np.ndarray):
            roots = _roots_searched(self._fit, centre, tilt, level)
        else:
            roots = _roots_quadratic(self._fit, centre, tilt, level, df)
        regions, label = _regions(self._fit, centre, tilt, roots, level)
        return JohnsonNeyman(
            moderator=self.moderator,
            partner=partner,
            alpha=level,
            bounds=tuple(float(middle + half * u) for u in roots),
            significant=label,
            regions=tuple((float(middle + half * a), float(middle + half * b)) for a, b in regions),
            observed=(float(z[0]), float(z[-1])),
        )


def simple_slopes(
    results: Fitted | Labelled[Fitted], moderator: str, at: Mapping[str, Any], alpha: float = 0.05
) -> SimpleSlopes:
    """Slopes of a moderator at chosen values of the moderators that it interacts with.

    Parameters
    ----------
    results : MetaRegResults
        A fit by formula.
    moderator : str
        A numeric column that the model is linear in, given all others.
    at : mapping
        Values of each partner: numbers, or levels of a categorical one. Several partners are
        combined in all ways.
    alpha : float, default 0.05
        1 minus the coverage of the intervals.

    Returns
    -------
    SimpleSlopes

    Raises
    ------
    OptionError, DesignError
        If the fit is not by formula, a name is no column, or a value is missing or no level; if
        the moderator enters nonlinearly, or its slope depends on one that is not in `at`.

    Notes
    -----
    A slope is the difference of two rows of the formula's design divided by the step, which is the
    derivative where a moderator enters linearly; one with two values is linear between them.

    Examples
    --------
    >>> import metareg_sm
    >>> from metareg_sm.postestimation.slopes import simple_slopes
    >>> bcg = metareg_sm.datasets.bcg.load_pandas().data
    >>> res = metareg_sm.MetaReg.from_formula("yi ~ ablat * year", bcg, vi="vi").fit()
    >>> found = simple_slopes(res, "ablat", {"year": [1950, 1970]})
    >>> found.frame[["year", "slope", "se", "pvalue"]].round(4)
       year   slope      se  pvalue
    0  1950 -0.0204  0.0397  0.6197
    1  1970 -0.0261  0.0143  0.1009
    """
    alpha = check_alpha(alpha)
    fit = plain(results)
    frame = _studies_frame(fit)
    _check_column(frame, moderator, "moderator")
    if frame[moderator].dtype.kind not in "biuf":
        raise OptionError(
            f"moderator={moderator!r} is not numeric; a slope is defined for numbers. Compare its "
            "levels with t_test or get_prediction."
        )
    if not isinstance(at, Mapping):
        raise OptionError(f"at must map partners to values, as {{'dose': [0, 1]}}; got {at!r}.")
    values = {str(name): _checked_values(frame, moderator, name, at[name]) for name in at}
    contrasts = _contrasts(fit, frame, moderator, values)
    test = fit.t_test(contrasts)
    columns = [np.ravel(c) for c in (test.effect, test.sd, test.tvalue, test.pvalue)]
    columns += list(test.conf_int(alpha).T)
    table = pd.DataFrame(list(itertools.product(*values.values())), columns=list(values))
    table[["slope", "se", "statistic", "pvalue", "ci_lower", "ci_upper"]] = np.stack(columns, 1)
    return SimpleSlopes(table, contrasts, moderator, alpha, values, fit)


def _studies_frame(fit: Fitted) -> pd.DataFrame:
    """Rows of the user's data that are in the model."""
    frame = fit.table.rows.frame
    if frame is None:
        raise OptionError(
            "simple_slopes needs a fit by formula. For arrays write the slope as a row of t_test."
        )
    return frame


def _check_column(frame: pd.DataFrame, name: Any, argument: str) -> None:
    if name not in frame.columns:
        columns = [str(c) for c in frame.columns]
        raise OptionError(
            f"{argument}={name!r} is no column of the data.{suggestion(name, columns)}"
        )


def _checked_values(frame: pd.DataFrame, moderator: str, name: Any, given: Any) -> list[Any]:
    _check_column(frame, name, "at: partner")
    if name == moderator:
        raise OptionError(f"at has the moderator {moderator!r} itself; give its partners.")
    values = [given] if np.ndim(given) == 0 else list(given)
    if not values:
        raise OptionError(f"at[{name!r}] is empty; give at least one value.")
    levels = None if _numeric(frame[name]) else list(pd.unique(frame[name]))
    for value in values:
        if levels is not None and value not in levels:
            raise OptionError(
                f"at[{name!r}]: {value!r} is no level. There are {', '.join(map(repr, levels))}."
            )
        number = isinstance(value, (int, float, np.number)) and np.isfinite(value)
        if levels is None and not number:
            raise OptionError(f"at[{name!r}] must have finite numbers; got {value!r}.")
    return values


def _numeric(column: pd.Series) -> bool:
    return column.dtype.kind in "iuf"


def _observed(column: pd.Series) -> Any:
    """Up to five observed values from the smallest to the largest."""
    values = np.unique(column.dropna().to_numpy())
    picks = np.linspace(0, len(values) - 1, min(_POINTS, len(values))).round().astype(int)
    return values[picks]


def _contrasts(fit: Fitted, frame: pd.DataFrame, moderator: str, at: Mapping[str, Any]) -> Array:
    """Derivative of the design's rows by the moderator for each combination of `at`, (n, p)."""
    points = _observed(frame[moderator])
    if len(points) < 2:
        raise DesignError(f"moderator={moderator!r} does not vary in the studies.")
    cells = list(itertools.product(*at.values()))
    k, m = len(frame), len(points)
    # every study is a background: a slope that differs between them depends on more than `at`
    grid = frame.iloc[np.tile(np.arange(k), len(cells) * m)].reset_index(drop=True)
    where = np.repeat(np.arange(len(cells)), k * m)
    for j, name in enumerate(at):
        column = pd.Series([cell[j] for cell in cells]).iloc[where].reset_index(drop=True)
        grid[name] = column if _numeric(frame[name]) else column.astype(frame[name].dtype)
    grid[moderator] = np.tile(np.repeat(points, k), len(cells))
    design = new_rows(fit, grid, True)[0].reshape(len(cells), m, k, -1)
    x = points.astype(float)
    slopes = np.diff(design, axis=1) / np.diff(x)[:, None, None]
    total = (design[:, -1] - design[:, 0]) / (x[-1] - x[0])
    tolerance = _LINEAR * np.maximum(np.abs(design).max(axis=(0, 1, 2)) / (x[-1] - x[0]), 1e-300)
    bent = (np.abs(slopes - total[:, None]) > tolerance * (m - 1)).any(axis=(0, 1, 2))
    names = fit.terms.names
    if bent.any():
        columns = ", ".join(repr(names[j]) for j in np.flatnonzero(bent))
        raise DesignError(
            f"moderator={moderator!r} does not enter linearly ({columns}), so it has no one slope. "
            "Compare predictions with get_prediction."
        )
    if not (np.abs(total) > tolerance).any():
        raise DesignError(f"moderator={moderator!r} does not enter the model.")
    varies = (np.abs(total - total[:, :1]) > tolerance).any(axis=(0, 1))
    if varies.any():
        columns = ", ".join(repr(names[j]) for j in np.flatnonzero(varies))
        raise DesignError(
            f"The slope of {moderator!r} depends on more than at={list(at)}: see {columns}. Give "
            "values for every moderator that it interacts with."
        )
    contrasts = total[:, 0]
    if fit.redundant:
        exog = fit.table.exog
        outside = contrasts - contrasts @ np.linalg.pinv(exog) @ exog
        lost = np.flatnonzero((np.abs(outside) > tolerance.max()).any(axis=1))
        if lost.size:
            cell = dict(zip(at, cells[lost[0]], strict=True))
            raise DesignError(
                f"The slope of {moderator!r} at {cell} is not identified; see results.redundant."
            )
    return contrasts


def _line(z: Array, rows: Array, moderator: str, partner: str) -> tuple[Array, Array]:
    """Contrasts as constant + z * linear."""
    span = z[-1] - z[0]
    if not span > 0.0:
        raise DesignError(f"partner={partner!r} does not vary in the studies.")
    linear = (rows[-1] - rows[0]) / span
    constant = rows[0] - z[0] * linear
    tolerance = _LINEAR * np.abs(rows).max(axis=0)
    if (np.abs(rows - constant - z[:, None] * linear) > tolerance).any():
        raise DesignError(
            f"The slope of {moderator!r} is not linear in {partner!r}; its values are in frame."
        )
    if (np.abs(linear) * span <= tolerance).all():
        raise DesignError(f"The slope of {moderator!r} does not depend on {partner!r}.")
    return constant, linear


def _roots_quadratic(
    fit: Fitted, centre: Array, tilt: Array, alpha: float, df: float | None
) -> list[float]:
    """Roots u of (slope / se)^2 = crit^2, slope and variance being those of centre + u * tilt."""
    C = np.stack([centre, tilt])
    a, b = C @ np.asarray(fit.params)
    root = C @ fit.covariance.root
    (vaa, vab), (_, vbb) = root @ root.T
    crit2 = float(critical_value(alpha, df)) ** 2
    if not np.isfinite(crit2):
        return []
    qa, qb, qc = b * b - crit2 * vbb, a * b - crit2 * vab, a * a - crit2 * vaa
    disc = qb * qb - qa * qc
    if disc < 0.0:
        return []
    # the root that cancellation would spoil follows from the product of the two
    far = -(qb + np.copysign(np.sqrt(disc), qb))
    found = {far / qa if qa else np.inf, qc / far if far else 0.0}
    return sorted(float(u) for u in found if np.isfinite(u))


def _pvalues(fit: Fitted, contrasts: Array) -> Array:
    return np.ravel(fit.t_test(contrasts).pvalue)


def _roots_searched(fit: Fitted, centre: Array, tilt: Array, alpha: float) -> list[float]:
    """The same where degrees of freedom differ: along u = tan(angle), which covers the line."""
    angles = np.linspace(-0.5 * np.pi, 0.5 * np.pi, _ANGLES)

    def gap(angle: Any) -> Array:
        angle = np.atleast_1d(angle)[:, None]
        # a t statistic does not change when its contrast is multiplied by cos(angle) > 0
        return _pvalues(fit, np.cos(angle) * centre + np.sin(angle) * tilt) - alpha

    values = gap(angles)
    crossing = np.flatnonzero(np.signbit(values[1:]) != np.signbit(values[:-1]))
    return [
        float(np.tan(optimize.brentq(lambda t: gap(t)[0], angles[i], angles[i + 1], xtol=1e-14)))
        for i in crossing
    ]


def _regions(
    fit: Fitted, centre: Array, tilt: Array, roots: list[float], alpha: float
) -> tuple[list[tuple[float, float]], str]:
    ends = [-np.inf, *roots, np.inf]
    inner = [0.5 * (a + b) for a, b in itertools.pairwise(roots)]
    outer = [roots[0] - 1.0, *inner, roots[-1] + 1.0] if roots else [0.0]
    tests = _pvalues(fit, centre + np.array(outer)[:, None] * tilt) < alpha
    regions = [pair for pair, yes in zip(itertools.pairwise(ends), tests, strict=True) if yes]
    labels: dict[tuple[bool, ...], str] = {(True,): "everywhere", (False,): "nowhere"}
    labels |= {(False, True, False): "inside", (True, False, True): "outside"}
    return regions, labels.get(tuple(bool(t) for t in tests), "mixed")
