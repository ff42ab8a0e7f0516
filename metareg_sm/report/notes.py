"""What a careful reader must know of a fit, a sentence or two each."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable

from metareg_sm.design.participants import participant_notes
from metareg_sm.postestimation.collinearity import condition_note
from metareg_sm.postestimation.fitted import Fitted
from metareg_sm.stats.multiplicity import family_wise_error

WIDTH = 78
_STUDIES_EACH = 10


def moderators(fit: Fitted) -> list[str]:
    """Terms of the model beside the constant; a factor is one, however many levels it has."""
    names, constant = fit.terms.names, fit.terms.constant
    redundant = set(fit.redundant)
    terms = fit.terms.of_columns()
    kept = (
        term
        for j, (name, term) in enumerate(zip(names, terms, strict=True))
        if j != constant and name not in redundant
    )
    return list(dict.fromkeys(kept))


def notes(fit: Fitted, alpha: float, exponentiate: bool) -> list[str]:
    """What a careful reader must know about the fit.

    Parameters
    ----------
    fit : Fitted
        The fit.
    alpha : float
        Level of the tests.
    exponentiate : bool
        The table shows exponentiated coefficients.

    Returns
    -------
    list of str
    """
    found = [fit.covariance.description, *_measure_notes(fit)]
    k = int(fit.nobs)
    m = len(moderators(fit)) if fit.df_model > 0 else 0
    if exponentiate:
        found.append(
            "Coefficients are exponentiated: the factor for one unit. Their standard errors are by "
            "the delta method; tests are on the scale of the model."
        )
    components = fit.components
    if components.n_estimated and components.boundary:
        ends = dict(zip(components.names, components.values, strict=True))
        zero = [name for name in components.boundary if ends[name] == 0.0]
        if zero:
            found.append(
                f"{', '.join(zero)} {'are' if len(zero) > 1 else 'is'} estimated as 0, on the "
                "boundary. This does not show that the studies are homogeneous; see "
                f"{components.interval}()."
            )
        found += [
            f"{name} is estimated as {ends[name]:.3g}, on the boundary."
            for name in components.boundary
            if ends[name] != 0.0
        ]
    if fit.cov_type == "knapp-hartung" and fit.scale < 1.0:
        found.append(
            f"The Knapp-Hartung factor is {fit.scale:.3g}, below 1: standard errors are "
            "smaller than Wald's. cov_type='knapp-hartung-adhoc' keeps it at 1."
        )
    if m and k < _STUDIES_EACH * m:
        found.append(
            f"There are {k} studies for {m} moderator{'s' if m > 1 else ''}, fewer than "
            f"{_STUDIES_EACH} each: estimates are unstable."
        )
    if m > 1:
        found.append(
            f"With {m} moderators tested at {alpha:g}, the chance of at least one false positive "
            f"is up to {family_wise_error(m, alpha):.2f}; see adjust_pvalues()."
        )
    found += participant_notes(fit.participants)
    if m > (len(fit.participants.names) if fit.participants else 0):
        found.append(
            "Associations are between studies. They need not hold between individuals within "
            "studies (ecological bias)."
        )
    condition = condition_note(fit)
    if condition:
        found.append(condition)
    if fit.components.converged is False:
        found.append("The optimizer did not converge; tau2 is not the maximum of the likelihood.")
    redundant = fit.redundant
    if redundant:
        found.append(
            f"The moderators are redundant ({', '.join(redundant)}): single coefficients are not "
            "identified."
        )
    dropped = fit.n_dropped
    if dropped:
        found.append(f"{dropped} row{'s' if dropped > 1 else ''} with missing values dropped.")
    return found


def _measure_notes(fit: Fitted) -> list[str]:
    """What the outcomes measure, and how to see it on its natural scale."""
    measure = fit.measure
    if measure is None:
        return []
    back = "; get_prediction(transform='natural') takes effects back from it"
    if measure.sized:
        size = "a very large study" if measure.size is None else f"a size of {measure.size:.1f}"
        back += f", as for {size}"
        if measure.size is not None:
            back += ", the harmonic mean of the studies"
    return [f"{fit.terms.outcome} is the {measure.title}{back if measure.back else ''}."]


def wrapped(found: Iterable[str]) -> list[str]:
    """Notes as the lines of a table's foot, numbered."""
    lines = ["Notes:"]
    for number, note in enumerate(found, start=1):
        lines += textwrap.wrap(f"[{number}] {note}", WIDTH, subsequent_indent="    ")
    return lines


# what to call next: for whoever fitted the model, not for readers of a paper
_ADVICE = re.compile(r"; see \w+\(\)|; \w+\(\) does not| cov_type='[\w-]+' keeps it at 1\.")


def cautions(fit: Fitted, alpha: float) -> list[str]:
    """What readers of a paper must know about a fit: the notes without advice on what to call."""
    known = {fit.covariance.description, *_measure_notes(fit)}
    return [_ADVICE.sub("", n) for n in notes(fit, alpha, False) if n not in known]
