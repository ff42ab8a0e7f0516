"""What was done, in sentences: PRISMA 2020, items 13d to 13f."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Sequence

import numpy as np
import statsmodels
from statsmodels.stats.multitest import multitest_alias, multitest_methods_names

from metareg_sm._version import __version__
from metareg_sm.core.tau2 import ESTIMATORS
from metareg_sm.effectsizes.sources import citations
from metareg_sm.postestimation.clusters import ClusterPermutation
from metareg_sm.postestimation.fitted import Fitted, has_tau2
from metareg_sm.postestimation.heterogeneity import Heterogeneity
from metareg_sm.postestimation.scale_permutation import ScalePermutationTest
from metareg_sm.report import references as cited
from metareg_sm.report.content import Content, Permutation
from metareg_sm.report.notes import moderators
from metareg_sm.report.references import Reference
from metareg_sm.report.scale import term_name
from metareg_sm.report.typeset import (
    I2,
    R2,
    TAU2,
    Citation,
    Equation,
    Part,
    Sentence,
    rounded,
    statistic,
)


def listed(items: Sequence[str]) -> str:
    """Items as prose lists them.

    Examples
    --------
    >>> listed(["dose", "year", "age"])
    'dose, year and age'
    """
    *first, last = items
    return f"{', '.join(first)} and {last}" if first else last


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun.

    Examples
    --------
    >>> counted(1, "study", "studies"), counted(13, "study", "studies")
    ('1 study', '13 studies')
    """
    return f"{n} {noun if n == 1 else plural or noun + 's'}"


def with_symbols(text: str) -> Sentence:
    """A text in which tau2 is written as a symbol."""
    first, *rest = re.split(r"\btau2\b", text)
    parts: list[Part] = [first]
    for piece in rest:
        parts += [TAU2, piece]
    return tuple(part for part in parts if part != "")


def joined(items: Sequence[Sequence[Part]], by: str) -> list[Part]:
    """Items of a list in one sentence."""
    parts: list[Part] = []
    for item in items:
        parts += [*([by] if parts else []), *item]
    return parts


def random_part(content: Content) -> str:
    """What the components of a random part that is not one tau2 are called."""
    variances = hasattr(content.fit, "vcomp")
    return "variance components" if variances else "parameters of the heterogeneity"


def methods(content: Content) -> Iterator[Sentence]:
    """Sentences on the methods."""
    yield from _outcome(content)
    yield _model(content)
    yield from _estimation(content)
    yield from _tests(content)
    yield from _heterogeneity(content)
    yield from _scale(content)
    yield from _sensitivity(content)
    yield (
        f"Analyses were done with metareg_sm {__version__} and statsmodels "
        f"{statsmodels.__version__} ",
        Citation((cited.STATSMODELS,)),
        f" in Python {platform.python_version()}.",
    )


def _outcome(content: Content) -> Iterator[Sentence]:
    """Where the effect sizes come from."""
    measure = content.fit.measure
    if measure is not None:
        references = tuple(Reference.of(text) for text in citations(measure.source))
        yield (
            f"The {measure.title} of each study and its sampling variance were computed from its "
            "data ",
            Citation(references),
            ".",
        )


def _random_references(fit: Fitted) -> tuple[Reference, ...]:
    """Where a random part comes from that is not one tau2."""
    intercepts = getattr(fit, "vcomp", None)
    if intercepts is None:
        return (cited.LOCATION_SCALE,)
    structured = len(intercepts) < len(fit.components.names)
    multilevel = (cited.MULTILEVEL,) if len(intercepts) else ()
    return (*multilevel, cited.MULTIVARIATE) if structured else multilevel


def _model(content: Content) -> Sentence:
    fit = content.fit
    k = int(fit.nobs)
    single = has_tau2(fit)
    studies = counted(k, "study", "studies") if single else counted(k, "effect")
    kind = "common-effect" if content.common else "random-effects"
    outcome = content.scale.outcome
    if content.pooled:
        start = f"We pooled {outcome} of {studies} in a {kind} meta-analysis"
    else:
        terms = listed([term_name(t) for t in moderators(fit)])
        start = f"We fitted a {kind} meta-regression of {outcome} on {terms} to {studies}"
    if content.common:
        return (f"{start}, with the inverse of the sampling variances as weights.",)
    if not single:
        parts = listed(fit.components.names)
        return (
            f"{start}, with known sampling variances and the {random_part(content)} ",
            *with_symbols(f"{parts} "),
            Citation(_random_references(fit)),
            ".",
        )
    return (
        f"{start}, each weighted by the inverse of the sum of its sampling variance and the "
        f"{'' if content.pooled else 'residual '}variance of the true effects, ",
        TAU2,
        ".",
    )


def _estimation(content: Content) -> Iterator[Sentence]:
    fit = content.fit
    if content.common:
        return
    if not has_tau2(fit):
        maximised = fit.components.maximised
        if maximised is None:
            yield (f"The {random_part(content)} were obtained by: {fit.components.label}.",)
            return
        entry = ESTIMATORS[maximised]
        yield (
            f"The {random_part(content)} were estimated by {entry.title} ",
            Citation((Reference.of(entry.citation),)),
            ".",
        )
        return
    if fit.estimator is None:
        yield (Equation(TAU2, "=", rounded(fit.tau2, 0, 4)), " was held fixed.")
        return
    title, *_ = fit.estimator.title.split(";")
    yield (
        TAU2,
        f" was estimated by {title} ({fit.estimator.label}) "
        if fit.estimator.kind.likelihood
        else f" was estimated by the {fit.estimator.label} estimator, {title} ",
        Citation((Reference.of(fit.estimator.citation),)),
        ".",
    )


def _reference_distribution(content: Content) -> str:
    df = content.fit.contrast_df()
    if df is None:
        return "the normal distribution"
    values = np.unique(df)
    if len(values) == 1:
        return f"the t distribution with {counted_df(float(values[0]))}"
    return "t distributions with degrees of freedom of their own"


def counted_df(df: float) -> str:
    """Degrees of freedom in words."""
    return f"{df:.4g} degree{'' if df == 1 else 's'} of freedom"


def _tests(content: Content) -> Iterator[Sentence]:
    fit = content.fit
    references = cited.COVARIANCES.get(fit.cov_type.lower(), ())
    if fit.covariance.sandwich is not None:
        references = (*references, cited.SMALL_SAMPLE_CLUSTERS)
    text = fit.covariance.description.removesuffix(".")
    if content.common and fit.cov_type == "nonrobust":
        text = "Standard errors take the sampling variances as known"
    description: list[Part] = [*with_symbols(text)]
    if references:
        description += [" ", Citation(references)]
    yield (*description, ".")
    yield (
        f"Tests and {content.coverage} confidence intervals (CI) refer to "
        f"{_reference_distribution(content)}; p-values are two-sided.",
    )
    if content.omnibus.df_num <= 1:
        return
    if fit.covariance.sandwich is not None:
        yield (
            "All moderators together were tested by an approximate Hotelling test ",
            Citation((cited.HOTELLING,)),
            ".",
        )
    else:
        test: Part = "F" if content.omnibus.df_denom is not None else statistic("chi2")
        yield ("All moderators together were tested by a Wald-type ", test, " test.")


def _heterogeneity(content: Content) -> Iterator[Sentence]:
    fit, found = content.fit, content.heterogeneity
    if isinstance(found, Heterogeneity):
        residual = "" if content.pooled else "residual "
        parts: list[Part] = [
            f"The {residual}heterogeneity was assessed by Cochran's Q with weights of the "
            "inverse sampling variances ",
            Citation((cited.COCHRAN,)),
        ]
        if not content.common:
            parts += [
                " and by ",
                I2,
                ", the share of ",
                TAU2,
                " in the sum of ",
                TAU2,
                " and a typical sampling variance ",
                Citation((cited.I2,)),
            ]
        if has_tau2(fit) and fit.estimator is not None:
            parts += [", with a Q-profile interval for ", TAU2, " ", Citation((cited.Q_PROFILE,))]
        yield (*parts, ".")
        if not content.pooled and has_tau2(fit) and fit.estimator is not None:
            yield (
                R2,
                " is the proportion by which ",
                TAU2,
                " is smaller than without the moderators, by the same estimator ",
                Citation((cited.R2,)),
                ".",
            )
    if content.levels is not None:
        yield (
            "The heterogeneity was assessed by Q with weights of the inverse sampling variances ",
            Citation((cited.COCHRAN,)),
            " and by ",
            I2,
            ", its share in the total variance of a typical effect, in all and by level ",
            Citation((cited.I2,)),
            ".",
        )
    if content.predictions is not None and not content.common:
        yield (
            "Prediction intervals are for the true effect in a new study "
            f"{_heterogeneity_of_predictions(content)}",
            Citation((cited.PREDICTION,)),
            ".",
        )


def _heterogeneity_of_predictions(content: Content) -> str:
    """At which heterogeneity, where it is not the same everywhere."""
    if not hasattr(content.fit, "scale_terms"):
        return ""
    at = content.place is not None and content.place.transform
    return "with the heterogeneity there " if at else "with the mean heterogeneity "


def _scale(content: Content) -> Iterator[Sentence]:
    scale = content.scale
    if scale.exponentiate and content.pooled:
        yield (f"The estimate was exponentiated to a {scale.shown}.",)
    elif scale.exponentiate:
        yield (
            f"Coefficients were exponentiated: exp(b) is the factor on the {scale.shown} for one "
            "unit of the moderator; tests are on the scale of the model.",
        )
    elif scale.back is not None:
        what = "The estimate was" if content.pooled else "Predicted effects were"
        yield (f"{what} taken back to the scale of the {scale.shown}.",)


def _drawn(n: int, exact: bool, method: str = "") -> str:
    kind = f"all {n} distinct" if exact else f"{n} random"
    what = {
        "": "",
        "rows": " permutations of the moderators among the studies",
        "residuals": " permutations of residuals",
        "signs": " changes of signs of the outcomes",
    }[method]
    return kind + what


def _resamples(test: Permutation) -> str:
    if isinstance(test, ScalePermutationTest) and test.scale_n_resamples:
        mean = _drawn(test.n_resamples, test.exact, test.method)
        scale = _drawn(test.scale_n_resamples, test.scale_exact, test.scale_method)
        return f"of the mean {mean}; of the heterogeneity {scale}"
    if isinstance(test, ClusterPermutation):
        return (
            f"{_drawn(test.n_resamples, test.exact)} changes of signs of the residuals of the "
            f"model without the coefficient, those of each of the {test.n_clusters} clusters "
            "together"
        )
    return _drawn(test.n_resamples, test.exact, test.method)


def _sensitivity(content: Content) -> Iterator[Sentence]:
    if content.influence is not None:
        one, _ = content.deleted
        measures = "DFFITS, Cook's distances, leverages and DFBETAS"
        if one == "cluster":
            measures = "Cook's distances"
        yield (
            f"As sensitivity analyses, the model was fitted again without each {one} in turn, and "
            f"influence was judged by {measures} ",
            Citation((cited.INFLUENCE,)),
            ".",
        )
    test = content.permutation
    if test is not None:
        clusters = isinstance(test, ClusterPermutation)
        estimated: Part = "the variances" if clusters else TAU2
        if isinstance(test, ScalePermutationTest):
            estimated = "mean and heterogeneity"
        yield (
            f"p-values were also obtained by a permutation test ({_resamples(test)}), with ",
            estimated,
            " estimated anew in each ",
            Citation((cited.FREEDMAN_LANE if clusters else cited.PERMUTATION,)),
            ".",
        )
    if content.adjusted is not None:
        name = multitest_methods_names[multitest_alias[content.adjusted.method]]
        yield (f"p-values of the moderators were adjusted for their number (method: {name}).",)
