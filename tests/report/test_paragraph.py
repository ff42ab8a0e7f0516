"""The report in words: every number is the results', and what must and must not be said."""

import dataclasses
import pickle
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import metareg_sm
from metareg_sm import LocationScaleMetaReg, MetaReg, MixedMetaReg, datasets, effect_size
from metareg_sm.core.tau2 import ESTIMATORS
from metareg_sm.effectsizes.registry import MEASURES
from metareg_sm.effectsizes.sources import SOURCES, citations
from metareg_sm.exceptions import DataRemovedError, OptionError, RankDeficiencyWarning
from metareg_sm.postestimation.prediction import predict_effects
from metareg_sm.report import references, typeset
from metareg_sm.report.methods import listed
from metareg_sm.report.paragraph import report
from metareg_sm.report.references import Reference
from metareg_sm.report.scale import coefficient_names, term_name, typical_place
from metareg_sm.stats.components import VarianceComponents
from metareg_sm.stats.covariance import COVARIANCES

NUMBER = r"-?\d+(?:\.\d+)?(?:e[-+]\d+)?"


def fit(data, formula="yi ~ ablat + year", vi="vi", **kwds):
    return MetaReg.from_formula(formula, data, vi=vi).fit(**kwds)


def shows(printed, value):
    """Whether a printed number is the value, to half a unit of its last digit."""
    mantissa, _, power = printed.partition("e")
    decimals = len(mantissa.partition(".")[2])
    unit = 10.0 ** (int(power or 0) - decimals)
    assert abs(float(printed) - value) <= 0.500001 * unit, (printed, value)
    return True


def numbers(pattern, text):
    """Numbers of the one place in the text that a pattern with N for a number fits."""
    found = re.findall(pattern.replace("N", f"({NUMBER})"), text)
    assert len(found) == 1, (pattern, found, text)
    return [found[0]] if isinstance(found[0], str) else list(found[0])


def check(pattern, text, *values):
    printed = numbers(pattern, text)
    assert len(printed) == len(values)
    for shown, value in zip(printed, values, strict=True):
        shows(shown, float(value))
    return printed


class Delegate:
    """Results seen through an object that lacks some of their attributes and has others."""

    def __init__(self, fit, without=(), **instead):
        self._fit, self._without = fit, without
        self.__dict__.update(instead)

    def __getattr__(self, name):
        if name in self._without:
            raise AttributeError(name)
        return getattr(self._fit, name)


@pytest.mark.parametrize("alpha", [0.05, 0.1])
def test_every_number_of_a_meta_regression(bcg, alpha):
    res = fit(bcg)
    text = res.report(alpha=alpha)
    low, high = res.conf_int(alpha).to_numpy().T
    coverage = rf"{100 * (1 - alpha):g}%"
    for j, name in enumerate(["intercept", "ablat", "year"]):
        check(
            rf"{name}, b = N \({coverage} CI N to N, t\(10\) = N, p = N\)",
            text,
            *(res.params.iloc[j], low[j], high[j], res.tvalues.iloc[j], res.pvalues.iloc[j]),
        )
    check(r"together: F\(2, 10\) = N, p = N", text, res.fvalue, res.f_pvalue)
    h, limits = res.heterogeneity, res.conf_int_tau2(alpha).loc["tau2"]
    check(
        rf"was τ² = N \(SE N, {coverage} CI N to N\), with I² = N% \(from τ²\) and "
        r"Q\(10\) = N, p = N",
        text,
        *(res.tau2, res.tau2_se, limits["ci_lower"], limits["ci_upper"]),
        *(100 * h.i2, h.q, h.q_pvalue),
    )
    check(r"explained R² = N% of the heterogeneity \(τ² = N", text, 100 * h.r2, h.tau2_null)
    printed = numbers(
        rf"At ablat = N and year = N, the expected effect was N \({coverage} CI N to N\), and the "
        rf"{coverage} prediction interval for the true effect in a new study was N to N\.",
        text,
    )
    place = {"ablat": [float(printed[0])], "year": [float(printed[1])]}
    shows(printed[0], bcg["ablat"].mean())
    shows(printed[1], bcg["year"].mean())
    row = res.get_prediction(place).summary_frame(alpha).iloc[0].drop("mean_se")
    assert all(shows(p, v) for p, v in zip(printed[2:], row, strict=True))
    assert "13 studies" in text
    assert "REML" in text
    assert "Knapp-Hartung" in text


def test_pooled_effect(bcg):
    res = fit(bcg, "yi ~ 1", tau2="dl", cov_type="nonrobust")
    text = res.report()
    row = res.get_prediction(np.ones((1, 1)), transform=False).summary_frame().iloc[0]
    check(
        r"pooled effect was N \(95% CI N to N, z = N, p < 0.001\), and the 95% prediction interval "
        r"for the true effect in a new study was N to N\.",
        text,
        *(row["mean"], row["mean_ci_lower"], row["mean_ci_upper"], res.tvalues.iloc[0]),
        *(row["obs_ci_lower"], row["obs_ci_upper"]),
    )
    assert res.pvalues.iloc[0] < 0.001
    assert "meta-regression" not in text.lower()
    assert "R²" not in text
    assert "DerSimonian & Laird, 1986" in text
    assert "normal distribution" in text


def test_ratios_by_the_measure(bcg):
    trials = metareg_sm.effect_size("RR", bcg, ai="tpos", bi="tneg", ci="cpos", di="cneg")
    pooled = fit(trials, "yi ~ 1")
    row = np.exp(pooled.get_prediction(np.ones((1, 1)), transform=False).summary_frame().iloc[0])
    check(
        r"pooled risk ratio was N \(95% CI N to N, t\(12\) = N, p = N\), and .* was N to N\. The h",
        pooled.report(),
        *(row["mean"], row["mean_ci_lower"], row["mean_ci_upper"]),
        *(pooled.tvalues.iloc[0], pooled.pvalues.iloc[0]),
        *(row["obs_ci_lower"], row["obs_ci_upper"]),
    )
    res = fit(trials, "yi ~ ablat")
    text = res.report()
    assert "log risk ratio (yi)" in text
    frame = res.summary_frame(exponentiate=True).loc["ablat"]
    check(
        r"ablat, exp\(b\) = N \(95% CI N to N, t\(11\) = N",
        text,
        *frame[["coef", "ci_lower", "ci_upper", "statistic"]],
    )
    row = np.exp(res.get_prediction({"ablat": 33}).summary_frame().iloc[0])
    check(r"ablat = 33, the expected risk ratio was N", text, row["mean"])
    check(r"ablat, b = N", res.report(exponentiate=False), res.params["ablat"])
    assert "expected risk ratio" not in res.report(exponentiate=False)


def test_natural_scale_of_other_measures(bcg):
    bcg.attrs["measure"] = "ZCOR"
    res = fit(bcg, "yi ~ 1")
    check(r"pooled correlation was N", res.report(), np.tanh(res.params.iloc[0]))


def test_ratios_when_asked(bcg):
    res = fit(bcg, "yi ~ ablat")
    text = res.report(exponentiate=True)
    check(r"ablat, exp\(b\) = N", text, np.exp(res.params["ablat"]))
    assert "factor on the ratio for one unit" in text


def test_factor_is_named_by_its_levels(bcg, engine):
    res = fit(bcg, "yi ~ C(alloc) + ablat")
    text = res.report()
    for level in ("random", "systematic"):
        name = f"C(alloc)[T.{level}]"
        check(
            rf"alloc {level} against alternate, b = N \(95% CI N to N, t\(9\) = N, p = N\)",
            text,
            *(res.params[name], *res.conf_int().loc[name], res.tvalues[name], res.pvalues[name]),
        )
    joint = res.wald_test("C(alloc)[T.random] = 0, C(alloc)[T.systematic] = 0", scalar=True)
    check(
        r"alloc, 2 coefficients together: F\(2, 9\) = N, p = N",
        text,
        joint.statistic,
        joint.pvalue,
    )
    check(r"All moderators together: F\(3, 9\) = N, p = N", text, res.fvalue, res.f_pvalue)
    assert "alloc = random" in text, "the most frequent level"


def test_names_of_coefficients(bcg):
    bcg["g"] = np.where(bcg["alloc"] == "random", "a, b", "c [T.d]")
    res = fit(bcg, "yi ~ g + ablat:g")
    names = dict(zip(res.params.index, coefficient_names(res), strict=True))
    assert names["g[T.c [T.d]]"] == "g c [T.d] against a, b"
    assert all(names[n] == n for n in names if ":" in n)
    assert term_name("C(alloc, Treatment('random')):ablat") == "alloc:ablat"


def test_predictions_at_stated_values(bcg):
    res = fit(bcg)
    at = pd.DataFrame({"ablat": [10, 40], "year": [1950, 1970]})
    text = res.report(at=at)
    frame = res.get_prediction(at).summary_frame()
    for i in range(2):
        stated = f"ablat = {at['ablat'][i]} and year = {at['year'][i]}"
        check(rf"At {stated}, the expected effect was N", text, frame["mean"].iloc[i])


def test_places_of_predictions(bcg):
    bcg["my col"], bcg["a"], bcg["half"] = bcg["ablat"] / 7, 1, bcg["trial"] % 2
    res = fit(bcg, "yi ~ Q('my col') + C(half)")
    [stated] = typical_place(res).stated
    assert stated.keys() == {"my col", "half"}
    assert stated["half"] == 1
    assert abs(stated["my col"] - bcg["my col"].mean()) <= 0.05
    bcg["level"] = 1 + bcg["trial"] % 4
    [stated] = typical_place(fit(bcg, "yi ~ C(level)")).stated
    assert stated == {"level": 2}, "a level, no mean"
    outside = bcg["ablat"].to_numpy()  # noqa: F841 (used in the formula)
    assert typical_place(MetaReg.from_formula("yi ~ outside", bcg, vi="vi").fit()) is None
    X = np.column_stack([np.ones(13), bcg["ablat"]])
    arrays = MetaReg(bcg["yi"], X, vi=bcg["vi"]).fit()
    text = arrays.report()
    value = arrays.params.to_numpy() @ [1.0, 33.0]
    check(r"At x1 = 33, the expected effect was N", text, value)
    text = arrays.report(at=[[1, 10], [1, 20]])
    check(r"At x1 = 20, the expected effect was N", text, arrays.params.to_numpy() @ [1.0, 20.0])


def test_sensitivity_where_asked(bcg):
    res = fit(bcg)
    test = res.permutation_test(199, rng=3)
    text = res.report(permutation=test, adjust="holm")
    assert "199 random permutations" in text
    check(
        r"Permutation test: ablat, p = N; year, p = N\.",
        text,
        *test.pvalues[["ablat", "year"]],
    )
    check(
        r"largest of the statistics: ablat, p = N; year, p = N; all together, p = N\.",
        text,
        *test.pvalues_fwer[["ablat", "year"]],
        test.omnibus_pvalue,
    )
    adjusted = res.adjust_pvalues("holm")["pvalue_adjusted"]
    check(r"Adjusted: ablat, p = N; year, p = N\.", text, *adjusted)
    assert "Holm" in text
    assert res.report(permutation=199, rng=3, adjust="holm") == text
    plain = res.report()
    for absent in ("ermutation", "Adjusted", "influential"):
        assert absent not in plain


def test_permutation_of_signs(bcg):
    res = fit(bcg, "yi ~ 1")
    test = res.permutation_test(99, rng=1)
    text = res.report(permutation=test)
    assert "changes of signs" in text
    check(r"Permutation test: p = N\.", text, test.pvalues.iloc[0])


def deletions(res, influential):
    """Fits without each study, as `get_influence` gives them."""
    data = res.model.data.frame
    fits = [fit(data.drop(index=i), res.model.formula) for i in data.index]
    return SimpleNamespace(
        labels=data["author"],
        influential=np.isin(np.arange(len(data)), influential),
        params_not_obsi=np.array([f.params for f in fits]),
        tau2_deleted=np.array([f.tau2 for f in fits]),
        reason=np.full(len(data), "", dtype=object),
    )


def test_influence(bcg):
    res = fit(bcg, "yi ~ ablat")
    found = deletions(res, [3, 6])
    text = res.report(influence=found)
    assert "2 studies were influential (Hart & Sutherland and Vandiviere et al)." in text
    slope, tau2 = found.params_not_obsi[:, 1], found.tau2_deleted
    check(
        r"ablat from N to N; τ² from N to N\.",
        text,
        *(slope.min(), slope.max(), tau2.min(), tau2.max()),
    )
    pooled = fit(bcg, "yi ~ 1")
    found = deletions(pooled, [])
    found.reason[0] = "no fit"
    found.params_not_obsi[0] = np.nan
    text = pooled.report(influence=found, exponentiate=True)
    effect = np.exp(found.params_not_obsi[1:, 0])
    check(r"the ratio from N to N; ", text, effect.min(), effect.max())
    assert "No study was influential." in text
    assert "Without 1 study the model could not be fitted." in text
    with pytest.raises(OptionError, match=r"needs get_influence\(\)"):
        report(Delegate(res._results, without=("get_influence",)), influence=True)


@pytest.mark.parametrize("correction", ["CR1", "CR2"])
def test_clusters(clustered, correction):
    res = MetaReg.from_formula("y ~ x + z", clustered, vi="v").fit(
        cov_type="cluster", cov_kwds={"groups": "g", "correction": correction}
    )
    text = res.report()
    df = np.broadcast_to(res._results.contrast_df(), 3)
    printed = check(r"x, b = .*? t\((?:N)\) = N", text.split("z, b")[0], df[1], res.tvalues["x"])
    # to the digits that are printed
    assert float(printed[0]) == pytest.approx(df[1], rel=1e-3)
    assert ("Tipton & Pustejovsky, 2015" in text) == (correction == "CR2")
    assert correction in text


# --- what is on the boundary, or undefined ------------------------------------------------------


def homogeneous(bcg, noise=0.01):
    bcg["yi"] = 0.2 + noise * np.sin(np.arange(13.0))
    return bcg


def test_no_heterogeneity(bcg):
    res = fit(homogeneous(bcg), "yi ~ ablat", cov_type="nonrobust")
    assert res.tau2 == 0.0
    text = res.report()
    assert re.search(r"τ² = 0 \(SE [\d.]+, the 95% CI being empty", text)
    assert "no heterogeneity to explain (τ² = 0)" in text
    assert "τ² is estimated as 0, on the boundary." in text
    assert "conf_int_tau2" not in text, "advice on what to call is not for a paper"
    assert "I² = 0%" in text


def test_common_effect(bcg):
    res = fit(bcg, "yi ~ ablat", tau2=0, cov_type="nonrobust")
    text = res.report()
    h = res.heterogeneity
    check(r"The residual heterogeneity: Q\(11\) = N, p = N\.", text, h.q, h.q_pvalue)
    for absent in ("prediction interval", "τ²", "I² =", "R²", "random-effects"):
        assert absent not in text
    assert "common-effect" in text


def test_fixed_tau2(bcg):
    text = fit(bcg, "yi ~ ablat", tau2=0.1).report()
    assert "τ² = 0.1 was held fixed." in text.replace("0.1000", "0.1")
    assert "R²" not in text


def test_variance_of_zero(bcg):
    bcg.loc[0, "vi"] = 0.0
    res = fit(bcg, "yi ~ ablat")
    text = res.report()
    check(r"τ² = N \(SE N\); I² and Q are undefined, because a sampl", text, res.tau2, res.tau2_se)


def test_as_many_coefficients_as_studies(bcg):
    text = fit(bcg.iloc[:2], "yi ~ ablat", tau2=0.1, cov_type="nonrobust").report()
    assert "undefined, because there are no more studies than coefficients" in text


def test_unbounded_interval(bcg):
    bcg["yi"] *= 1e4
    few = bcg.iloc[:3]
    res = fit(few, "yi ~ 1", tau2="pm")
    text = res.report()
    limits = res.conf_int_tau2().loc["tau2"]
    check(r"95% CI N to N\), with I²", text, limits["ci_lower"], limits["ci_upper"])


def test_redundant_moderators(bcg):
    bcg["twice"] = 2 * bcg["ablat"]
    with pytest.warns(RankDeficiencyWarning):
        res = fit(bcg, "yi ~ ablat + twice")
    text = res.report()
    assert "redundant (twice)" in text
    assert "on ablat to 13 studies" in text


def test_rows_with_missing_values_are_told(bcg):
    bcg.loc[2, "ablat"] = np.nan
    text = fit(bcg).report()
    assert "1 row with missing values dropped." in text
    assert "12 studies" in text


def test_model_without_constant(bcg):
    text = fit(bcg, "yi ~ 0 + ablat").report()
    assert "intercept" not in text
    assert "about a mean of 0" in text


def test_several_variance_components(bcg):
    res = fit(bcg, "yi ~ ablat")
    values, se = np.array([0.0651, 0.0327]), np.array([0.0618, 0.0104])
    components = VarianceComponents(
        ("district", "district/school"), values, se, values, "REML", "reml", 2
    )
    hidden = ("null_studies", "estimator")
    shares = pd.DataFrame({"i2": [0.31, 0.17]}, index=["district", "school"])
    h = SimpleNamespace(
        q=30.7, q_df=11, q_pvalue=0.0012, i2=0.48, r2=0.21, tau2=0.1, tau2_null=0.2, levels=shares
    )
    mixed = Delegate(res._results, hidden, components=components, vcomp=values, heterogeneity=h)
    text = report(mixed)
    check(
        r"heterogeneity: I² = N% \(district N%, school N%\); Q\(11\) = N, p = N\. The moderators "
        r"explained R² = N% of",
        text,
        *(48, 31, 17, 30.7, 0.0012, 21),
    )
    check(
        r"components were: district N \(SE N\); district/school N \(SE N\)\.",
        text,
        *(values[0], se[0], values[1], se[1]),
    )
    assert "to 13 effects" in text
    assert "the variance components district and district/school (Konstantopoulos, 2011)." in text
    assert "estimated by restricted maximum likelihood (Viechtbauer, 2005)" in text
    scale = dataclasses.replace(components, names=("ln tau2: Intercept", "ln tau2: grade"))
    text = report(Delegate(res._results, hidden, components=scale))
    check(r"heterogeneity were: ln τ²: Intercept N \(SE", text, values[0])
    less = Delegate(res._results, (*hidden, "permutation_test"), components=components)
    with pytest.raises(OptionError, match="needs permutation_test"):
        report(less, permutation=99)


CASES = [
    ("yi ~ 1", {}),
    ("yi ~ ablat", {"tau2": "dl"}),
    ("yi ~ ablat * year", {"tau2": "genq"}),
    ("yi ~ C(alloc)", {"cov_type": "HC3"}),
    ("yi ~ 0 + C(alloc)", {"cov_type": "nonrobust"}),
    ("yi ~ bs(ablat, df=3)", {"cov_type": "knapp-hartung-adhoc"}),
    ("yi ~ ablat", {"tau2": 0.05, "use_t": True, "cov_type": "nonrobust"}),
    ("yi ~ C(alloc)", {"cov_type": "cluster", "cov_kwds": {"groups": "trial"}}),
]


@pytest.mark.parametrize(("formula", "kwds"), CASES)
@pytest.mark.parametrize("exponentiate", [None, True])
@pytest.mark.parametrize("k", [6, 13])
def test_nothing_but_numbers(bcg, formula, kwds, exponentiate, k):
    text = fit(bcg.iloc[::-1].iloc[:k], formula, **kwds).report(exponentiate=exponentiate)
    assert not re.search(r"\b(nan|inf|none)\b|undefined|\{|\}|  ", text, re.IGNORECASE)
    for sentence in (". .", "..", " ,", "( ", " )"):
        assert sentence not in text


@pytest.mark.parametrize("name", sorted({e.name for e in ESTIMATORS.values()}))
def test_every_estimator_is_cited(bcg, name):
    found = fit(bcg, "yi ~ ablat", tau2=name).report()
    reference = Reference.of(ESTIMATORS[name].citation)
    assert f"({reference.cited})" in found
    assert f"{{{reference.key}," in found.bibtex


def test_every_covariance_but_walds_is_cited():
    assert set(references.COVARIANCES) == set(COVARIANCES) - {"nonrobust"}


# --- formats ------------------------------------------------------------------------------------

AWKWARD = "50%_of$a#b&c{d}~e^f\\g<h>"


@pytest.fixture
def awkward(bcg):
    """A fit whose column has a name that LaTeX, Markdown and HTML would take for commands."""
    bcg["col"] = bcg["ablat"]
    res = fit(bcg, "yi ~ col")
    return Delegate(res._results, terms=Delegate(
        res._results.terms, names=["Intercept", AWKWARD], of_columns=lambda: ["Intercept", AWKWARD],
        spec=None,
    ))  # fmt: skip


def test_formats_have_the_same_numbers(bcg):
    res = fit(bcg, "yi ~ ablat + C(alloc)")
    found = res.report()
    plain = re.findall(NUMBER, re.sub(r"\([A-Z][^()]*\d{4}[^()]*\)", "", found.text))
    latex = re.sub(r"\\cite\{[^}]*\}|\^2|\\chi", "", found.latex).replace("$", "")
    markdown = re.sub(r"\[@[^\]]*\]", "", found.markdown)
    assert re.findall(NUMBER, latex) == plain
    assert re.findall(NUMBER, markdown.replace("\\", "")) == plain
    html = re.sub(r"<sup>2</sup>|\([A-Z][^()]*\d{4}[^()]*\)|<[^>]*>|&#x27;", "", found.html)
    assert re.findall(NUMBER, html) == plain


def test_format_is_what_the_string_is(bcg_res):
    for name in ("text", "markdown", "latex"):
        found = bcg_res.report(name)
        assert isinstance(found, str)
        assert found == getattr(bcg_res.report(), name) == getattr(found, name)
        assert found.text == bcg_res.report()
    with pytest.raises(OptionError, match=r"Did you mean 'latex'\?"):
        bcg_res.report(format="latxe")


def test_latex_escapes(awkward):
    found = report(awkward, "latex")
    assert r"50\%\_of\$a\#b\&c\{d\}\textasciitilde{}e\textasciicircum{}f\textbackslash{}g" in found
    assert r"g\textless{}h\textgreater{}" in found
    assert "95\\% CI" in found
    assert r"$\tau^2 = " in found
    assert r"\paragraph{Methods.}" in found
    assert not re.search(r"(?<!\\)[%#&]", found)
    assert len(re.findall(r"(?<!\\)\$", found)) % 2 == 0
    assert not re.search("[τ²χ]", found)


def test_markdown_escapes(awkward):
    found = report(awkward, "markdown")
    assert r"50%\_of\$a\#b\&c\{d\}\~e\^f\\g\<h\>" in found
    assert found.startswith("**Methods.** ")
    assert "[@viechtbauer2005]" in found


def test_html_escapes(awkward):
    found = report(awkward)
    assert "g&lt;h&gt;" in found.html
    assert "<h>" not in found.html
    assert "<h>" not in found._repr_html_()


def test_numbers_in_latex_have_powers():
    assert typeset.FORMATS["latex"].number("1.2e-09") == r"$1.2 \times 10^{-9}$"


def test_bibtex_is_what_is_cited(bcg):
    found = fit(bcg, "yi ~ ablat").report("latex")
    keys = {k for group in re.findall(r"\\cite\{([^}]*)\}", found) for k in group.split(",")}
    assert set(re.findall(r"^@\w+\{(\w+),$", found.bibtex, re.MULTILINE)) == keys
    assert [r.key for r in found.references] == sorted(keys)
    assert "higgins2004" not in keys, "no permutation test was asked for"
    for entry in found.bibtex.split("\n\n"):
        assert entry.count("{") == entry.count("}")
        assert all(f"  {name} = " in entry for name in ("author", "title", "year"))


def test_references_of_all_kinds():
    book = Reference.of(ESTIMATORS["he"].citation)
    assert book.bibtex.startswith("@book{hedges1985,\n  author = {Hedges, L. V. and Olkin, I.},")
    assert "publisher = {Academic Press}" in book.bibtex
    paper = references.SMALL_SAMPLE_CLUSTERS
    assert r"Business \& Economic" in paper.bibtex
    assert "pages = {672--683}" in paper.bibtex
    assert references.R2.cited == "López-López et al., 2014"
    assert references.R2.key == "lopezlopez2014"
    with pytest.raises(ValueError, match="no citation"):
        Reference.of("Somebody, some time")


def test_every_measure_has_its_sources_in_full():
    for measure in MEASURES.values():
        for text in citations(measure.source):
            paper = Reference.of(text)
            entry = paper.bibtex
            assert entry.count("{") == entry.count("}")
            assert paper.cited == next(k for k, v in SOURCES.items() if v == text).replace(
                " (", ", "
            ).rstrip(")")
            assert paper.fields.keys() & {"journal", "publisher"}
            assert paper.title.count("(") == paper.title.count(")")
    used = {text for m in MEASURES.values() for text in citations(m.source)}
    assert used == set(SOURCES.values())


def test_titles_with_full_stops_and_chapters():
    found = Reference.of(SOURCES["Rücker et al. (2009)"])
    assert found.title.startswith("Why add anything to nothing? The arcsine")
    assert found.fields["journal"] == "Statistics in Medicine"
    chapter = Reference.of(SOURCES["Borenstein (2009)"])
    assert chapter.bibtex == (
        "@incollection{borenstein2009,\n  author = {Borenstein, M.},\n"
        "  title = {{Effect sizes for continuous data}},\n"
        "  editor = {H. Cooper and L. V. Hedges and J. C. Valentine},\n"
        "  booktitle = {The handbook of research synthesis and meta-analysis},\n"
        "  edition = {2nd},\n  pages = {221--235},\n"
        "  publisher = {Russell Sage Foundation},\n  year = {2009},\n}"
    )


def test_the_measure_and_the_random_part_are_cited(bcg):
    counts = bcg.drop(columns=["yi", "vi"])
    trials = effect_size("RR", counts, ai="tpos", bi="tneg", ci="cpos", di="cneg")
    found = fit(trials, "yi ~ ablat").report()
    assert "The log risk ratio of each study and its sampling variance were computed" in found
    assert "fleiss2009" in {r.key for r in found.references}
    schools = datasets.konstantopoulos2011.load_pandas().data
    nested = MixedMetaReg.from_formula("yi ~ 1", schools, vi="vi", random="1 | district/school")
    assert "(Konstantopoulos, 2011)" in nested.fit().report()
    outcomes = datasets.berkey1998.load_pandas().data
    both = MixedMetaReg.from_formula(
        "yi ~ outcome", outcomes, vi="vi", random="0 + outcome | trial"
    )
    assert "(van Houwelingen et al., 2002)" in both.fit().report()
    writing = datasets.bangertdrowns2004.load_pandas().data
    scale = LocationScaleMetaReg.from_formula("yi ~ 1", writing, vi="vi", scale_formula="~ grade")
    assert "(Viechtbauer & López-López, 2022)" in scale.fit().report()


def test_keys_are_unique():
    known = [v for v in vars(references).values() if isinstance(v, Reference)]
    known += [Reference.of(e.citation) for e in {e.name: e for e in ESTIMATORS.values()}.values()]
    known += [Reference.of(text) for text in SOURCES.values()]
    by_key = {}
    for reference in known:
        by_key.setdefault(reference.key, set()).add(reference.citation)
    assert all(len(citations) == 1 for citations in by_key.values())


def test_report_can_be_pickled(bcg_res):
    found = bcg_res.report("latex")
    again = pickle.loads(pickle.dumps(found))
    assert again == found
    assert again.bibtex == found.bibtex


def test_data_are_needed(bcg_res):
    bcg_res.remove_data()
    with pytest.raises(DataRemovedError):
        bcg_res.report()


@pytest.mark.parametrize(
    ("kwds", "message"),
    [
        ({"at": [[10, 1950]]}, "at must map moderators to values"),
        ({"at": "ablat"}, "at must map moderators to values"),
        ({"alpha": 5}, "alpha"),
        ({"exponentiate": "yes"}, "exponentiate"),
        ({"permutation": 0}, "permutation"),
        ({"adjust": "hulm"}, "Did you mean 'holm'"),
    ],
)
def test_mistakes(bcg_res, kwds, message):
    with pytest.raises(OptionError, match=message):
        bcg_res.report(**kwds)


# --- digits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", range(-14, 15))
def test_rounded_keeps_two_digits_of_the_error(exponent):
    value, error = 3.14159 * 10.0**exponent, 0.27 * 10.0**exponent
    printed = typeset.rounded(value, typeset.decimals_for(error)).text
    shows(printed, value)
    assert abs(float(printed) - value) <= 0.02 * error
    assert len(re.sub(r"\D", "", printed.split("e")[0])) <= 12


def test_numbers_at_the_ends():
    assert typeset.rounded(-0.0004, 2).text == "0.00", "no minus before zeros"
    assert typeset.rounded(0.0, 2).text == "0"
    assert typeset.rounded(0.00042, 2, digits=2).text == "0.00042"
    assert typeset.rounded(np.inf, 2).text == "infinity"
    assert typeset.significant(1.0e9).text == "1.00e+09"
    assert listed(["a"]) == "a"


@pytest.mark.parametrize("formula", ["yi ~ 1", "yi ~ length", "yi ~ meta"])
def test_reports_of_a_location_scale_model_state_where_they_predict(formula):
    writing = datasets.bangertdrowns2004.load_pandas().data
    res = LocationScaleMetaReg.from_formula(
        formula, writing, vi="vi", scale_formula="~ C(grade)"
    ).fit()
    text = res.report()
    if formula == "yi ~ 1":
        assert "new study with the mean heterogeneity" in text
        found = predict_effects(res._results, [[1.0]], False, None, None).summary_frame()
    else:
        assert "new study with the heterogeneity there" in text
        assert "grade = 4, the expected effect" in text
        value = {"length": 9.8, "meta": 0}[formula[5:]]
        found = res.get_prediction({formula[5:]: value, "grade": 4}).summary_frame()
    low, high = found[["obs_ci_lower", "obs_ci_upper"]].iloc[0]
    shown = re.search(r"new study was (-?[\d.]+) to (-?[\d.]+)\.", text)
    # to the digits that are printed
    assert [float(g) for g in shown.groups()] == pytest.approx([low, high], abs=6e-4)


def test_influence_on_a_location_scale_fit_is_told():
    writing = datasets.bangertdrowns2004.load_pandas().data
    model = LocationScaleMetaReg.from_formula(
        "yi ~ grade", writing, vi="vi", scale_formula="~ grade"
    )
    res = model.fit()
    found = res.get_influence()
    text = res.report(influence=True)
    assert "without each study in turn, and influence was judged by DFFITS, Cook's" in text
    assert found.influential.sum() == 1
    assert f"1 study was influential ({found.labels[found.influential][0]})." in text
    number = r"(-?[\d.]+) to (-?[\d.]+)"
    sentence = re.search(
        rf"Without one study at a time, grade from {number}; ln τ²: Intercept from {number}; "
        rf"ln τ²: grade from {number}\.",
        text,
    )
    shown = np.array([float(g) for g in sentence.groups()]).reshape(3, 2)
    values = np.column_stack([found.params_not_obsi[:, 1], found.scale_params_not_obsi])
    ends = np.column_stack([values.min(0), values.max(0)])
    # to the digits that are printed
    np.testing.assert_allclose(shown, ends, atol=6e-3)
    assert "could not be fitted" not in text
    assert "1 study was influential" in res.to_html(influence=True)


@pytest.mark.filterwarnings("ignore::metareg_sm.exceptions.IdentificationWarning")
def test_deletions_without_a_maximum_are_told():
    classes = datasets.raudenbush1985.load_pandas().data
    res = LocationScaleMetaReg.from_formula(
        "yi ~ weeks", classes, vi="vi", scale_formula="~ setting"
    ).fit()
    found = res.get_influence()
    n = int((found.reason != "").sum())
    assert n == np.isnan(found.scale_params_not_obsi[:, 0]).sum() == 2
    text = res.report(influence=True)
    assert "Without 2 studies the likelihood grew towards a heterogeneity of 0, where ln τ²" in text
    assert "could not be fitted" not in text


def test_influence_of_clusters_is_told():
    schools = datasets.konstantopoulos2011.load_pandas().data
    res = MixedMetaReg.from_formula("yi ~ 1", schools, vi="vi", random="1 | district/school").fit()
    text = res.report(influence=True)
    found = res.leave_one_cluster_out()
    assert "fitted again without each cluster in turn, and influence was judged by Cook's" in text
    assert found.cooks_distance.idxmax() == 71
    assert "1 cluster was influential (71)." in text
    shown = re.search(r"Without one cluster at a time, the effect from (\S+) to (\S+)\.", text)
    values = [found.params["Intercept"].min(), found.params["Intercept"].max()]
    # to the digits that are printed
    assert [float(g) for g in shown.groups()] == pytest.approx(values, abs=6e-3)


@pytest.mark.parametrize("n", [99, 2048])
def test_permutation_by_cluster_is_told(n):
    schools = datasets.konstantopoulos2011.load_pandas().data
    model = MixedMetaReg.from_formula("yi ~ year", schools, vi="vi", random="1 | district/school")
    res = model.fit()
    text = res.report(permutation=n, rng=4)
    test = res.permutation_test(n, rng=4)
    kind = "99 random" if n == 99 else "all 2048 distinct"
    assert (
        f"by a permutation test ({kind} changes of signs of the residuals of the model without the "
        "coefficient, those of each of the 11 clusters together), with the variances estimated "
        "anew in each (Freedman & Lane, 1983)."
    ) in " ".join(text.split())
    check(r"Permutation test: year, p = N\.", text, test.pvalues["year"])
    assert res.report(permutation=test) == text
    assert "Freedman &amp; Lane" in res.to_html(permutation=test)
    assert "freedman1983" in text.bibtex


@pytest.mark.parametrize(("mean", "scale"), [("yi ~ 1", "~ grade"), ("yi ~ ni", "~ ni + grade")])
def test_permutation_of_a_location_scale_model(mean, scale):
    writing = datasets.bangertdrowns2004.load_pandas().data
    model = LocationScaleMetaReg.from_formula(mean, writing, vi="vi", scale_formula=scale)
    res = model.fit()
    test = res.permutation_test(49, rng=4)
    text = res.report(permutation=test)
    assert res.report(permutation=49, rng=4) == text
    what = "changes of signs of the outcomes"
    if mean != "yi ~ 1":
        what = "permutations of the moderators among the studies"
    assert (
        f"by a permutation test (of the mean 49 random {what}; of the heterogeneity 49 random "
        "permutations of the moderators among the studies), with mean and heterogeneity estimated "
        "anew in each (Higgins & Thompson, 2004)."
    ) in " ".join(text.split())
    if mean == "yi ~ 1":
        check(r"Permutation test: p = N\.", text, test.pvalues.iloc[0])
        own = test.scale_pvalues["grade"]
        check(r"Permutation test of the heterogeneity: ln τ²: grade, p = N\.", text, own)
        assert "Allowing for their number" not in text
    else:
        check(r"Permutation test: ni, p = N\.", text, test.pvalues["ni"])
        own = test.scale_pvalues[["ni", "grade"]]
        pattern = r"the heterogeneity: ln τ²: ni, p = N; ln τ²: grade, p = N\."
        check(pattern, text, *own)
        check(
            r"the statistics: ln τ²: ni, p = N; ln τ²: grade, p = N; all together, p = N\.",
            text,
            *test.scale_pvalues_fwer[["ni", "grade"]],
            test.scale_omnibus_pvalue,
        )
    told = dataclasses.replace(test, n_unbounded=1, scale_n_unbounded=2, scale_n_failed=1)
    text = res.report(permutation=told)
    assert "The likelihood of 3 resamples grew towards a heterogeneity of 0." in text
    assert "1 resample could not be fitted and counted as extreme." in text
